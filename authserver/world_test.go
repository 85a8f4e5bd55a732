package authserver

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
	"doorward/store"
	"doorward/store/sqlite"
)

const (
	asURL        = "https://as.example"
	idpURL       = "https://idp.example"
	filesURL     = asURL + "/files/mcp"
	notesURL     = asURL + "/notes/mcp"
	codeVerifier = "a-verifier-of-forty-three-characters-0123456"

	desktopSecret    = "desktop-secret-0123456789"
	agentSecret      = "agent-secret-0123456789"
	desktopIdPSecret = "desktop-idp-secret-0123456789"
	scimToken        = "scim-token-of-corp-0123456789"
)

// unlimited lets tests ask as often as they like while the clock stands.
var unlimited = Limits{Rate{Requests: -1}, Rate{Requests: -1}, Rate{Requests: -1}}

// world is an authorization server and an identity provider that reach each
// other without a network, and a clock that stands still until it is moved.
type world struct {
	mu      sync.Mutex
	time    time.Time
	as, idp *Server
	asCfg   Config
	idpCfg  Config
	keys    publishedKeys
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.time
}

func (w *world) forward(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.time = w.time.Add(d)
}

// RoundTrip brings a request of the authorization server to the identity
// provider, which was there first.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	if origin(r.URL.String()) == keysURL {
		return w.keys.answer(), nil
	}
	if origin(r.URL.String()) != idpURL {
		return nil, fmt.Errorf("no route to %s", r.URL.Host)
	}
	rec := httptest.NewRecorder()
	w.idp.ServeHTTP(rec, r)
	return rec.Result(), nil
}

type cleaner interface {
	Cleanup(func())
	Fatal(...any)
}

func openStore(t cleaner, now func() time.Time) store.Store {
	db, err := sqlite.OpenConfig(sqlite.Config{Path: ":memory:", Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// newWorld starts both servers; change may alter their configurations first.
func newWorld(t cleaner, change ...func(as, idp *Config)) *world {
	w := &world{time: time.Date(2026, 7, 28, 9, 0, 0, 0, time.UTC)}
	w.asCfg, w.idpCfg = w.asConfig(openStore(t, w.now)), w.idpConfig(openStore(t, w.now))
	for _, f := range change {
		f(&w.asCfg, &w.idpCfg)
	}
	if len(w.asCfg.Workloads) > 0 {
		w.keys.set("rsa", "es") // before the server starts, which fetches them at once
	}
	var err error
	if w.idp, err = New(w.idpCfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.idp.Close() })
	if w.as, err = New(w.asCfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.as.Close() })
	return w
}

func (w *world) asConfig(db store.Store) Config {
	everyone := []string{"everyone"}
	return Config{
		URL: asURL, Store: db, Now: w.now, HTTP: w, MasterKey: []byte("0123456789abcdef0123456789abcdef"),
		Registration: Registration{Mode: "open"}, OtherClients: "ask-admin", Limits: unlimited,
		Clients: map[string]Client{
			"desktop":      {Name: "Desktop", Secret: desktopSecret, RedirectURIs: []string{"http://127.0.0.1/callback"}},
			"other":        {Secret: "other-secret-0123456789", RedirectURIs: []string{"https://other.example/callback"}},
			"web":          {RedirectURIs: []string{"https://web.example/callback"}},
			"once":         {RedirectURIs: []string{"https://web.example/callback"}, GrantTypes: []string{oauth.AuthorizationCode}},
			"mobile":       {RedirectURIs: []string{"https://mobile.example/callback"}},
			"reader":       {Secret: "reader-secret-0123456789", GrantTypes: []string{oauth.JWTBearer}, Scopes: []string{"files:read"}},
			"agent":        {Secret: agentSecret, GrantTypes: []string{oauth.ClientCredentials}},
			"pusher":       {RedirectURIs: []string{"https://pusher.example/cb"}, PushedOnly: true},
			"tv":           {Name: "TV", GrantTypes: []string{oauth.DeviceCode, oauth.RefreshToken}},
			"tv2":          {Secret: "tv2-secret-0123456789", GrantTypes: []string{oauth.DeviceCode}},
			"files-server": {Secret: "files-server-secret-0123456789", Introspects: []string{filesURL}},
			"signer":       {JWKS: jwksOf("es", "ed", "rsa"), GrantTypes: []string{oauth.ClientCredentials, oauth.RefreshToken}},
			"remote":       {JWKSURI: keysURL + "/jwks", GrantTypes: []string{oauth.ClientCredentials}},
			"e+m%a":        {Secret: "p:w%d /+ü-0123456789", GrantTypes: []string{oauth.ClientCredentials}},
			"bound":        {DPoPBound: true, RedirectURIs: []string{"https://bound.example/callback"}},
		},
		Resources: []Resource{
			{ID: filesURL, Name: "Files", RuleName: "servers.files", Default: true, DefaultScopes: []string{"files:read"},
				Scopes: map[string]string{"files:read": "Read files", "files:write": "Change files"}, Implies: map[string][]string{"files:write": {"files:read"}},
				Allow: []Rule{{Who: []string{"everyone", "client:agent", "client:e+m%a", "client:signer", "client:remote", "client:registered", "client:new"}}}, Deny: []Rule{{Who: []string{"person:corp/mallory"}}}},
			{ID: notesURL, Name: "Notes", RuleName: "servers.notes", Deny: []Rule{{Who: []string{"client:agent"}}}, Scopes: map[string]string{"notes:read": "Read notes", "notes:admin": "All"},
				DefaultScopes: []string{"notes:read"},
				Allow: []Rule{{Who: everyone, Scopes: []string{"notes:read"}},
					{Who: everyone, Scopes: []string{"notes:admin"}, Require: Require{AMR: []string{"mfa"}, SignedInWithin: time.Hour}}}},
		},
		Issuers: map[string]TrustedIssuer{"corp": {Issuer: idpURL, PublicClients: []string{"mobile"}, EmailDomains: []string{"corp.example"}}},
	}
}

func (w *world) idpConfig(db store.Store) Config {
	everyone := []string{"everyone"}
	return Config{
		URL: idpURL, Store: db, Now: w.now, HTTP: w, Limits: unlimited,
		Clients: map[string]Client{
			"desktop-idp":                     {Secret: desktopIdPSecret, RedirectURIs: []string{"http://127.0.0.1/callback"}},
			"other-idp":                       {Secret: "other-idp-secret-0123456789", RedirectURIs: []string{"https://other.example/callback"}},
			"mobile-idp":                      {RedirectURIs: []string{"https://mobile.example/callback"}},
			"https://client.example/doc.json": {Secret: "document-secret-0123456789", RedirectURIs: []string{"https://client.example/callback"}},
		},
		Audiences: map[string]Audience{
			asURL: {Resources: []string{filesURL, notesURL}, ClientIDs: map[string]string{"desktop-idp": "desktop", "mobile-idp": "mobile"},
				Claims: []string{"email", "groups"}, PublicClients: []string{"mobile-idp"},
				Allow: []Rule{{Who: everyone}}, Deny: []Rule{{Who: []string{"person:bob"}}}},
			"https://small.example": {Resources: []string{"https://small.example/mcp"}, ClientIDs: map[string]string{"desktop-idp": "small"},
				Subject: "email", Claims: []string{"name"},
				Allow: []Rule{{Who: everyone, Scopes: []string{"a"}}, {Who: everyone, Scopes: []string{"b"}, Require: Require{SignedInWithin: 5 * time.Minute}}}},
		},
	}
}

// reply is an answer that was read.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) field(name string) (any, bool) {
	var v any
	if json.Unmarshal([]byte(r.body), &v) != nil {
		return nil, false
	}
	m, _ := v.(map[string]any)
	got, ok := m[name]
	return got, ok
}

// text is a string member of the answer.
func (r reply) text(name string) string {
	v, _ := r.field(name)
	s, _ := v.(string)
	return s
}

func send(s *Server, r *http.Request) reply {
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, r)
	body, _ := io.ReadAll(rec.Result().Body)
	return reply{rec.Code, rec.Header(), string(body)}
}

// post sends a form. who is "ID SECRET" for HTTP Basic, or "".
func post(s *Server, path, who string, form url.Values) reply {
	return postAccepting(s, path, who, "", form)
}

func postAccepting(s *Server, path, who, accept string, form url.Values) reply {
	return send(s, postRequest(s, path, who, accept, form))
}

func postRequest(s *Server, path, who, accept string, form url.Values) *http.Request {
	r := httptest.NewRequest("POST", s.current().cfg.URL+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	if id, secret, ok := strings.Cut(who, " "); ok {
		r.SetBasicAuth(oauth.EscapeBasic(id), oauth.EscapeBasic(secret))
	}
	return r
}

// form makes a form of "name=value" entries.
func form(entries ...string) url.Values {
	v := url.Values{}
	for _, e := range entries {
		name, value, _ := strings.Cut(e, "=")
		v.Add(name, value)
	}
	return v
}

// code makes an authorization code as the consent page does.
func (w *world) code(t testing.TB, s *Server, g oauth.Grant, redirect string) string {
	t.Helper()
	code, err := s.newCode(context.Background(), g,
		oauth.AuthorizationRequest{CodeChallenge: oauth.S256(codeVerifier), CodeChallengeMethod: "S256", RedirectURI: redirect}, redirect)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// filesGrant is what alice consents to.
func filesGrant(client string) oauth.Grant {
	return oauth.Grant{Client: client, Resource: filesURL, Scopes: oauth.Scopes{"files:read", "files:write"}, Subject: oauth.Subject{ID: "alice"}}
}

// jag signs an ID-JAG of the identity provider with claims changed: a nil
// value leaves a claim out.
func (w *world) jag(t testing.TB, change map[string]any) string {
	t.Helper()
	return w.sign(t, w.idp.signingKey(), oauth.TypIDJAG, change)
}

func (w *world) sign(t testing.TB, key *jose.Key, typ string, change map[string]any) string {
	t.Helper()
	claims := w.jagClaims()
	for name, v := range change {
		if v == nil {
			delete(claims, name)
		} else {
			claims[name] = v
		}
	}
	token, err := key.Sign(typ, claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (w *world) jagClaims() map[string]any {
	now := w.now().Unix()
	return map[string]any{"iss": idpURL, "sub": "alice", "aud": asURL, "client_id": "desktop", "jti": newID(), "iat": now, "exp": now + 300,
		"resource": filesURL, "scope": "files:read files:write", "email": "alice@corp.example"}
}

// claimsOf reads a token without checking it.
func claimsOf(t interface{ Fatal(...any) }, token string) jose.Claims {
	_, c, err := jose.Peek(token)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// gid is the grant that a token names.
func gid(t testing.TB, token string) string {
	t.Helper()
	id, _ := claimsOf(t, token).Text("gid")
	if id == "" {
		t.Fatal("the token names no grant")
	}
	return id
}
