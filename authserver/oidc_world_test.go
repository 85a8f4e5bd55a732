package authserver

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

const (
	loginURL    = "https://login.example"
	loginClient = "doorward at login"
	loginSecret = "s3cret:with %signs of the provider"
)

// fakeProvider is an OpenID provider whose every answer a test can change.
type fakeProvider struct {
	t   *testing.T
	s   *site
	mu  sync.Mutex
	key *jose.Key

	down     bool
	meta     map[string]any
	typ      string
	claims   map[string]any // of the next ID token; nil values are left out
	userinfo map[string]any
	refresh  string         // refresh token that the code brings
	extra    map[string]any // of the next token answers; nil values are left out
	refuse   string         // error of the token endpoint
	status   int            // of that error; 0: 400
	asked    url.Values     // last authorization request
	forms    []url.Values
	codes    map[string]url.Values
	revoked  []url.Values // what came to the revocation endpoint, if meta names it
	revoking int          // its answer; 0: 200
	renewing func()       // what happens while a token is renewed
}

func newProvider(t *testing.T) *fakeProvider {
	f := &fakeProvider{t: t, typ: "JWT", codes: map[string]url.Values{}, claims: map[string]any{}, meta: map[string]any{}}
	f.turnKey()
	return f
}

func (f *fakeProvider) turnKey() {
	key, err := jose.NewES256()
	if err != nil {
		f.t.Fatal(err)
	}
	f.key = key
}

// RoundTrip answers requests of the server under test.
func (f *fakeProvider) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down || r.URL.Host != "login.example" {
		return nil, errors.New("connection refused")
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		meta := map[string]any{"issuer": loginURL, "authorization_endpoint": loginURL + "/authorize?keep=1", "token_endpoint": loginURL + "/token",
			"jwks_uri": loginURL + "/jwks", "userinfo_endpoint": loginURL + "/userinfo", "authorization_response_iss_parameter_supported": true}
		maps.Copy(meta, f.meta)
		return f.answer(200, meta)
	case "/jwks":
		return f.answer(200, jose.NewSet(f.key))
	case "/userinfo":
		return f.answer(200, f.userinfo)
	case "/token":
		return f.token(r)
	case "/revoke":
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		if id, _, ok := r.BasicAuth(); !ok || id != url.QueryEscape(loginClient) {
			return f.answer(401, map[string]any{"error": "invalid_client"})
		}
		f.revoked = append(f.revoked, form)
		return f.answer(max(f.revoking, 200), map[string]any{})
	}
	return f.answer(404, nil)
}

func (f *fakeProvider) answer(status int, v any) (*http.Response, error) {
	b, err := json.Marshal(v)
	if err != nil {
		f.t.Error(err)
	}
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(string(b)))}, nil
}

func (f *fakeProvider) token(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	f.forms = append(f.forms, form)
	if id, secret, ok := r.BasicAuth(); !ok || id != url.QueryEscape(loginClient) || secret != url.QueryEscape(loginSecret) {
		return f.answer(401, map[string]any{"error": "invalid_client"})
	}
	if f.refuse != "" {
		status := f.status
		if status == 0 {
			status = 400
		}
		return f.answer(status, map[string]any{"error": f.refuse, "error_description": "no good: " + form.Get("code") + form.Get("refresh_token")})
	}
	out := map[string]any{"access_token": "upstream-access", "token_type": "Bearer"}
	if form.Get("grant_type") == "refresh_token" {
		if f.renewing != nil {
			f.renewing()
		}
		if form.Get("refresh_token") != f.refresh {
			return f.answer(400, map[string]any{"error": "invalid_grant"})
		}
		f.refresh += "+"
		out["refresh_token"], out["id_token"] = f.refresh, f.idToken("")
		return f.answer(200, f.with(out))
	}
	asked, ok := f.codes[form.Get("code")]
	delete(f.codes, form.Get("code"))
	if !ok || oauth.S256(form.Get("code_verifier")) != asked.Get("code_challenge") || form.Get("redirect_uri") != asked.Get("redirect_uri") {
		return f.answer(400, map[string]any{"error": "invalid_grant", "error_description": "code " + form.Get("code") + " is not good"})
	}
	if f.refresh != "" {
		out["refresh_token"] = f.refresh
	}
	out["id_token"] = f.idToken(asked.Get("nonce"))
	return f.answer(200, f.with(out))
}

// with is a token answer as the test changed it.
func (f *fakeProvider) with(out map[string]any) map[string]any {
	for name, v := range f.extra {
		if out[name] = v; v == nil {
			delete(out, name)
		}
	}
	return out
}

func (f *fakeProvider) idToken(nonce string) string {
	now := f.s.now().Unix()
	c := map[string]any{"iss": loginURL, "sub": "u-1", "aud": loginClient, "iat": now, "exp": now + 300, "nonce": nonce, "name": "Carol",
		"auth_time": now - 5, "acr": "urn:gold", "amr": []string{"pwd", "otp"}, "email": "carol@corp.example", "email_verified": true, "groups": []string{"eng"}}
	if nonce == "" {
		delete(c, "nonce")
	}
	for name, v := range f.claims {
		if c[name] = v; v == nil {
			delete(c, name)
		}
	}
	token, err := f.key.Sign(f.typ, c)
	if err != nil {
		f.t.Error(err)
	}
	return token
}

// letIn is the provider's page, at which the person says yes: the address that
// it sends the browser back to.
func (f *fakeProvider) letIn(p page) string {
	f.t.Helper()
	q := p.arrived(f.t, loginURL+"/authorize?keep=1&")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = q
	code := "code-" + newID()
	f.codes[code] = q
	return q.Get("redirect_uri") + "?" + url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {loginURL}}.Encode()
}

// carolID is the account of who signs in at the provider.
const carolID = "login/u-1"

func provided(change func(*OIDCProvider)) OIDCProvider {
	p := OIDCProvider{Name: "login", Title: "Login Inc", Issuer: loginURL, ClientID: loginClient, ClientSecret: loginSecret,
		EmailDomains: []string{"corp.example"}}
	if change != nil {
		change(&p)
	}
	return p
}

// newProvidedSite is a site whose only way in is the fake provider.
func newProvidedSite(t *testing.T, change func(*Config, *OIDCProvider)) (*site, *fakeProvider) {
	t.Helper()
	f := newProvider(t)
	s := newSite(t, func(c *Config) {
		c.HTTP = f
		p := provided(nil)
		c.SignIn = OIDC(p)
		if change != nil {
			change(c, &p)
			if _, ok := c.SignIn.(oidcSignIn); ok {
				c.SignIn = OIDC(p)
			}
		}
	})
	f.mu.Lock()
	f.s = s
	f.mu.Unlock()
	return s, f
}

// signedUp walks carol to the client: her tokens there.
func (f *fakeProvider) tokens(s *site, b *browser, pairs ...string) reply {
	f.t.Helper()
	p := b.get(f.letIn(b.get(s.ask("desktop", "https://desktop.example.com/cb?keep=1", pairs...))))
	if !p.left {
		p = b.submit(p)
	}
	code := p.arrived(f.t, "https://desktop.example.com/cb").Get("code")
	r := post(s.Server, "/token", "desktop a secret of the desktop", form("grant_type=authorization_code", "code="+code, "code_verifier="+verifier,
		"redirect_uri=https://desktop.example.com/cb?keep=1"))
	if r.status != 200 {
		f.t.Fatalf("token: %d %s", r.status, r.body)
	}
	return r
}

func refreshWith(s *site, token string) reply {
	return post(s.Server, "/token", "desktop a secret of the desktop", form("grant_type=refresh_token", "refresh_token="+token))
}

// state reads what the state parameter hides, as only the server can.
func (s *site) stateIsSealed(state string) bool {
	raw, err := base64.RawURLEncoding.DecodeString(state)
	return err == nil && !strings.Contains(string(raw), "desktop")
}
