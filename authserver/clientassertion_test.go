package authserver

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store/sqlite"
)

// keysURL is where the client remote publishes its keys.
const keysURL = "https://keys.example"

// testKeys are keys of clients, by name.
var testKeys = sync.OnceValue(func() map[string]*jose.Key {
	out := map[string]*jose.Key{}
	must := func(name string, k *jose.Key, err error) {
		if err != nil {
			panic(err)
		}
		out[name] = k
	}
	es, err := jose.NewES256()
	must("es", es, err)
	es2, err := jose.NewES256()
	must("es2", es2, err)
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	ed, err := jose.NewKey(private, "")
	must("ed", ed, err)
	big, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	rs, err := jose.NewKey(big, "")
	must("rsa", rs, err)
	return out
})

// jwksOf is the key set of the public halves of these keys.
func jwksOf(names ...string) []byte {
	var keys []*jose.Key
	for _, name := range names {
		keys = append(keys, testKeys()[name])
	}
	b, err := json.Marshal(jose.NewSet(keys...))
	if err != nil {
		panic(err)
	}
	return b
}

// publishedKeys is what lies at keysURL, and how often it was asked for.
type publishedKeys struct {
	mu    sync.Mutex
	doc   []byte
	asked int
}

func (p *publishedKeys) set(names ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doc = jwksOf(names...)
}

func (p *publishedKeys) answer() *http.Response {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	rec := httptest.NewRecorder()
	if p.doc == nil {
		rec.WriteHeader(http.StatusNotFound)
	}
	rec.Write(p.doc)
	return rec.Result()
}

func (w *world) assertionClaims(client string) map[string]any {
	now := w.now().Unix()
	return map[string]any{"iss": client, "sub": client, "aud": asURL, "jti": newID(), "iat": now, "exp": now + 60}
}

func (s *script) cmdAssert(_ bool, args []string) {
	s.signed(args, s.assertionClaims("signer"), oauth.TypClientAssertion, testKeys()["es"])
}

// by makes a token request of a client that signs.
func (w *world) by(client, assertion string) reply {
	return post(w.as, "/token", "", form("grant_type=client_credentials", "client_assertion_type="+oauth.ClientAssertionJWT,
		"client_assertion="+assertion, "client_id="+client))
}

func (w *world) assertion(t testing.TB, client, key string) string {
	t.Helper()
	token, err := testKeys()[key].Sign(oauth.TypClientAssertion, w.assertionClaims(client))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Of the same assertion that comes many times at once, to two nodes on one
// database, one is taken.
//
// covers: AS-CAUTH-04, SEC-14
func TestAssertionIsSpentOnce(t *testing.T) {
	path := t.TempDir() + "/db"
	w := newWorld(t, func(as, _ *Config) {
		db, err := sqlite.OpenConfig(sqlite.Config{Path: path, Now: as.Now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		as.Store = db
	})
	db, err := sqlite.OpenConfig(sqlite.Config{Path: path, Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	cfg := w.asCfg
	cfg.Store = db
	second, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { second.Close() })
	assertion := w.assertion(t, "signer", "es")
	var mu sync.Mutex
	count := map[string]int{}
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			at := w.as
			if i%2 == 1 {
				at = second
			}
			got := post(at, "/token", "", form("grant_type=client_credentials", "client_assertion_type="+oauth.ClientAssertionJWT, "client_assertion="+assertion))
			mu.Lock()
			defer mu.Unlock()
			count[http.StatusText(got.status)+got.text("error")]++
		})
	}
	wg.Wait()
	if count["OK"] != 1 || count["Unauthorizedinvalid_client"] != 39 {
		t.Errorf("%v", count)
	}
}

// Keys that cannot be what they say: each of these is refused.
//
// covers: SEC-18, SEC-19, X-JWT-01, X-JWT-03
func TestAssertionKeyConfusion(t *testing.T) {
	w := newWorld(t)
	claims, err := json.Marshal(w.assertionClaims("signer"))
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	good := strings.Split(w.assertion(t, "signer", "es"), ".")
	kid := testKeys()["es"].ID()
	attacker := jwksOf("es2")
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(attacker, &set); err != nil {
		t.Fatal(err)
	}
	own := w.assertion(t, "signer", "es2")
	ownParts := strings.Split(own, ".")
	for name, token := range map[string]string{
		"none":             enc([]byte(`{"alg":"none"}`)) + "." + enc(claims) + ".",
		"None":             enc([]byte(`{"alg":"None"}`)) + "." + enc(claims) + ".",
		"HS256":            enc([]byte(`{"alg":"HS256","kid":"`+kid+`"}`)) + "." + enc(claims) + "." + good[2],
		"RS256 of EC key":  enc([]byte(`{"alg":"RS256","kid":"`+kid+`"}`)) + "." + enc(claims) + "." + good[2],
		"ES384":            enc([]byte(`{"alg":"ES384","kid":"`+kid+`"}`)) + "." + enc(claims) + "." + good[2],
		"zero signature":   good[0] + "." + good[1] + "." + enc(make([]byte, 64)),
		"cut signature":    good[0] + "." + good[1] + "." + good[2][:40],
		"no signature":     good[0] + "." + good[1] + ".",
		"another's key":    own,
		"jwk in header":    enc([]byte(`{"alg":"ES256","jwk":`+string(set.Keys[0])+`}`)) + "." + ownParts[1] + "." + ownParts[2],
		"jku in header":    enc([]byte(`{"alg":"ES256","jku":"https://keys.example/jwks"}`)) + "." + ownParts[1] + "." + ownParts[2],
		"kid with a path":  enc([]byte(`{"alg":"ES256","kid":"../../`+kid+`"}`)) + "." + good[1] + "." + good[2],
		"kid with SQL":     enc([]byte(`{"alg":"ES256","kid":"' OR 1=1 --"}`)) + "." + good[1] + "." + good[2],
		"two payloads":     good[0] + "." + good[1] + good[1] + "." + good[2],
		"a fourth segment": strings.Join(good, ".") + ".x",
	} {
		if got := w.by("signer", token); got.status != http.StatusUnauthorized || got.text("error") != oauth.InvalidClient || got.text("access_token") != "" {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	if got := w.by("signer", w.assertion(t, "signer", "es")); got.status != http.StatusOK {
		t.Errorf("a good one: %s", got.body)
	}
	if w.keys.asked != 0 {
		t.Error("an address in a header was fetched")
	}
}

// Keys at a jwks_uri: fetched when needed, a new one found, a withdrawn one
// dropped, and strangers cannot make us ask for ever.
//
// covers: AS-CAUTH-04, X-JWT-07
func TestAssertionByRemoteKeys(t *testing.T) {
	w := newWorld(t)
	if got := w.by("remote", w.assertion(t, "remote", "es")); got.status != http.StatusUnauthorized {
		t.Errorf("keys that are not there: %s", got.body)
	}
	w.forward(time.Minute)
	w.keys.set("es")
	if got := w.by("remote", w.assertion(t, "remote", "es")); got.status != http.StatusOK {
		t.Fatalf("%s", got.body)
	}
	asked := w.keys.asked
	for range 20 {
		if got := w.by("remote", w.assertion(t, "remote", "es2")); got.status != http.StatusUnauthorized {
			t.Errorf("an unknown key: %s", got.body)
		}
	}
	if w.keys.asked != asked+1 {
		t.Errorf("20 unknown keys made %d requests", w.keys.asked-asked)
	}
	w.forward(time.Minute)
	w.keys.set("es2")
	if got := w.by("remote", w.assertion(t, "remote", "es2")); got.status != http.StatusOK {
		t.Errorf("a new key: %s", got.body)
	}
	if got := w.by("remote", w.assertion(t, "remote", "es")); got.status != http.StatusUnauthorized {
		t.Errorf("a withdrawn key: %s", got.body)
	}
	if got := w.by("signer", w.assertion(t, "signer", "es2")); got.status != http.StatusUnauthorized {
		t.Errorf("a key of another client: %s", got.body)
	}
}

// A document with keys is a client that has to sign; one that may do either
// can do either, and nothing else.
//
// covers: AS-CIMD-07, AS-CIMD-08, AS-CIMD-10, F19
func TestDocumentsWithKeys(t *testing.T) {
	s, d := docSite(t, nil)
	const cb = "https://notes.example/cb"
	d.raw("/jwks", func(w http.ResponseWriter) { w.Write(jwksOf("es")) })
	inline := json.RawMessage(jwksOf("es"))
	sign := func(id string) string {
		now := s.now().Unix()
		token, err := testKeys()["es"].Sign("", map[string]any{"iss": id, "sub": id, "aud": s.url, "jti": newID(), "exp": now + 60})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	redeem := func(id string, more ...string) reply {
		b := s.browser()
		page := b.signIn(b.get(s.ask(id, cb)), "alice")
		if !page.left { // the consent is remembered
			page = b.submit(page)
		}
		code := page.arrived(t, cb).Get("code")
		return post(s.Server, "/token", "", form(append(more, "grant_type=authorization_code", "code="+code, "client_id="+id, "redirect_uri="+cb, "code_verifier="+verifier)...))
	}
	assertion := func(id string) []string {
		return []string{"client_assertion_type=" + oauth.ClientAssertionJWT, "client_assertion=" + sign(id)}
	}
	for name, c := range map[string]struct {
		members      map[string]any
		signs, plain bool
	}{
		"jwks":     {map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks": inline}, true, false},
		"jwks_uri": {map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": d.URL + "/jwks"}, true, false},
		"either": {map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks": inline,
			"token_endpoint_auth_methods_supported": []string{"none", "private_key_jwt", "tls_client_auth"}}, true, true},
		"one of those that exist": {map[string]any{"token_endpoint_auth_method": nil, "jwks": inline,
			"token_endpoint_auth_methods_supported": []string{"private_key_jwt", "tls_client_auth"}}, true, false},
		"none": {map[string]any{"jwks": inline}, false, true},
	} {
		id := d.put("/client-"+strings.ReplaceAll(name, " ", "-"), c.members)
		if got := redeem(id, assertion(id)...); (got.status == http.StatusOK) != c.signs {
			t.Errorf("%s, signed: %d %s", name, got.status, got.body)
		}
		if got := redeem(id); (got.status == http.StatusOK) != c.plain || !c.plain && got.text("error") != oauth.InvalidClient {
			t.Errorf("%s, by its name: %d %s", name, got.status, got.body)
		}
		if got := redeem(id, "client_secret=whatever-it-is-0123456789"); got.text("error") != oauth.InvalidClient {
			t.Errorf("%s, with a secret: %d %s", name, got.status, got.body)
		}
	}
	// Every back-channel request: revocation too.
	id := d.put("/jwks-doc", map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks": inline})
	got := redeem(id, assertion(id)...)
	if bare := post(s.Server, "/revoke", "", form("client_id="+id, "token="+got.text("refresh_token"))); bare.status != http.StatusUnauthorized {
		t.Errorf("revoked by its name: %d %s", bare.status, bare.body)
	}
	if signed := post(s.Server, "/revoke", "", form(append(assertion(id), "token="+got.text("refresh_token"))...)); signed.status != http.StatusOK {
		t.Errorf("revoked by its key: %d %s", signed.status, signed.body)
	}
}

// A jwks_uri is a stranger's URL like any other: it leads to no private
// address, by no redirect, and has 64 KiB.
//
// covers: AS-CIMD-10, AS-DCR-06, SEC-05
func TestKeysOfStrangersAreFetchedWithCare(t *testing.T) {
	s, d := docSite(t, nil)
	d.raw("/jwks", func(w http.ResponseWriter) { w.Write(jwksOf("es")) })
	d.raw("/moved", func(w http.ResponseWriter) {
		w.Header().Set("Location", d.URL+"/jwks")
		w.WriteHeader(http.StatusFound)
	})
	d.raw("/huge", func(w http.ResponseWriter) {
		io.WriteString(w, `{"x":"`+strings.Repeat("x", maxKeysDocument)+`","keys":[]}`)
	})
	try := func(c ledger.Client) error {
		now := s.now().Unix()
		token, err := testKeys()["es"].Sign("", map[string]any{"iss": c.ID, "sub": c.ID, "aud": s.url, "jti": newID(), "exp": now + 60})
		if err != nil {
			t.Fatal(err)
		}
		return s.checkClientAssertion(t.Context(), s.current(), c, token)
	}
	client := func(uri string) ledger.Client {
		return ledger.Client{ID: "c", Source: ledger.FromDynamic, AuthMethod: authPrivateKey, JWKSURI: uri}
	}
	if err := try(client(d.URL + "/jwks")); err != nil {
		t.Errorf("loopback for a server on loopback: %v", err)
	}
	before := d.count("/jwks")
	for _, uri := range []string{d.URL + "/moved", d.URL + "/huge", "https://10.0.0.1/jwks", "https://169.254.169.254/latest", "https://[::ffff:10.0.0.1]/jwks", "http://example.com/jwks"} {
		if err := try(client(uri)); err == nil {
			t.Errorf("%s is taken", uri)
		} else if e, ok := err.(*oauth.Error); !ok || e.Code != oauth.InvalidClient || e.Reason != "client_keys" {
			t.Errorf("%s: %v", uri, err)
		}
	}
	if d.count("/jwks") != before {
		t.Error("a redirect was followed")
	}
	// Many addresses at one host that has nothing: it is left alone.
	for i := range 3 * maxFailures {
		try(client(d.URL + "/missing/" + strings.Repeat("x", i+1)))
	}
	d.mu.Lock()
	asked := 0
	for path, n := range d.seen {
		if strings.HasPrefix(path, "/missing/") {
			asked += n
		}
	}
	d.mu.Unlock()
	if asked > maxFailures {
		t.Errorf("a host without keys was asked %d times", asked)
	}
	for i := range maxClientKeySets + 10 {
		s.current().clientKeys.remote(client(d.URL+"/"+strings.Repeat("y", i)), s.now)
	}
	if n := len(s.current().clientKeys.kept); n > maxClientKeySets {
		t.Errorf("%d key sets are kept", n)
	}
}

// covers: AS-DCR-06, AS-CAUTH-04
func TestRegisteredClientSigns(t *testing.T) {
	s := newSite(t, nil)
	const cb = "https://app.example.com/cb"
	doc := s.mustRegister(`{"client_name":"Signer","redirect_uris":["` + cb + `"],"token_endpoint_auth_method":"private_key_jwt","token_endpoint_auth_signing_alg":"ES256",
		"grant_types":["authorization_code","refresh_token"],"jwks":` + string(jwksOf("es", "rsa")) + `}`)
	id := doc["client_id"].(string)
	if _, secret := doc["client_secret"]; secret || doc["token_endpoint_auth_method"] != "private_key_jwt" || doc["jwks"] == nil {
		t.Fatalf("%v", doc)
	}
	sign := func(key string) string {
		token, err := testKeys()[key].Sign("JWT", map[string]any{"iss": id, "sub": id, "aud": []string{s.url}, "jti": newID(), "exp": s.now().Unix() + 60})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	b := s.browser()
	code := b.submit(b.signIn(b.get(s.ask(id, cb)), "alice")).arrived(t, cb).Get("code")
	redeem := func(more ...string) reply {
		return post(s.Server, "/token", "", form(append(more, "grant_type=authorization_code", "code="+code, "redirect_uri="+cb, "code_verifier="+verifier)...))
	}
	if got := redeem("client_id=" + id); got.text("error") != oauth.InvalidClient {
		t.Errorf("by its name: %s", got.body)
	}
	if got := redeem("client_assertion_type="+oauth.ClientAssertionJWT, "client_assertion="+sign("rsa")); got.text("error") != oauth.InvalidClient {
		t.Errorf("by another algorithm than it registered: %s", got.body)
	}
	if got := redeem("client_assertion_type="+oauth.ClientAssertionJWT, "client_assertion="+sign("es")); got.status != http.StatusOK {
		t.Errorf("by its key: %s", got.body)
	}
	with := func(member string) string {
		return `{"redirect_uris":["` + cb + `"],"token_endpoint_auth_method":"private_key_jwt",` + member + `}`
	}
	for name, member := range map[string]string{
		"no keys":            `"jwks":null`,
		"an empty set":       `"jwks":{"keys":[]}`,
		"both":               `"jwks":` + string(jwksOf("es")) + `,"jwks_uri":"https://app.example.com/jwks"`,
		"a private key":      `"jwks":{"keys":[{"kty":"EC","crv":"P-256","x":"AQAB","y":"AQAB","d":"AQAB"}]}`,
		"a symmetric key":    `"jwks":{"keys":[{"kty":"oct","k":"AQAB"}]}`,
		"no set":             `"jwks":[1]`,
		"text":               `"jwks":"x"`,
		"http":               `"jwks_uri":"http://app.example.com/jwks"`,
		"user info":          `"jwks_uri":"https://u:p@app.example.com/jwks"`,
		"a fragment":         `"jwks_uri":"https://app.example.com/jwks#x"`,
		"a file":             `"jwks_uri":"file:///etc/passwd"`,
		"an algorithm":       `"token_endpoint_auth_signing_alg":"none","jwks":` + string(jwksOf("es")),
		"a symmetric method": `"token_endpoint_auth_signing_alg":"HS256","jwks":` + string(jwksOf("es")),
	} {
		if status, _, doc := s.postRegistration(with(member)); status != http.StatusBadRequest || doc["error"] != oauth.InvalidClientMetadata {
			t.Errorf("%s: %d %v", name, status, doc)
		}
	}
}

// Assertions redeemed by a document's client that signs: only those of the
// issuer that lists it, since nobody gave it the grant.
//
// covers: AS-JAG-02
func TestKeysGiveNoGrant(t *testing.T) {
	c := ledger.Client{ID: "https://app.example/c", Source: ledger.FromDocument, AuthMethod: authPrivateKey, AuthMethods: []string{authPrivateKey},
		GrantTypes: []string{oauth.AuthorizationCode}}
	if (authenticated{client: &c, proven: true}).registeredFor(oauth.JWTBearer) {
		t.Error("a document gives its client a grant")
	}
	w := newWorld(t, func(as, _ *Config) {
		corp := as.Issuers["corp"]
		corp.PublicClients = []string{c.ID}
		as.Issuers = map[string]TrustedIssuer{"corp": corp}
	})
	if !w.as.current().mayUse(&c, oauth.JWTBearer) || w.as.current().mayUse(&c, oauth.ClientCredentials) {
		t.Error("the list of an issuer does not decide")
	}
}

func TestClientsOfTheFileWithKeys(t *testing.T) {
	for name, c := range map[string]Client{
		"a secret and keys": {Secret: "a-secret-0123456789", JWKS: jwksOf("es")},
		"both":              {JWKS: jwksOf("es"), JWKSURI: "https://keys.example/jwks"},
		"http":              {JWKSURI: "http://keys.example/jwks"},
		"no keys":           {JWKS: []byte(`{"keys":[]}`)},
		"a private key":     {JWKS: []byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AQAB","y":"AQAB","d":"AQAB"}]}`)},
	} {
		cfg := Config{URL: asURL, Store: openStore(t, time.Now), Clients: map[string]Client{"c": c}}
		if s, err := New(cfg); err == nil {
			s.Close()
			t.Errorf("%s is taken", name)
		}
	}
}

// FuzzClientAssertion: whatever comes, no assertion that was not signed by the
// client names it.
func FuzzClientAssertion(f *testing.F) {
	w := newWorld(f)
	f.Add(w.assertion(f, "signer", "es2"))
	f.Add("a.b.c")
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"signer"}`)) + ".")
	f.Fuzz(func(t *testing.T, assertion string) {
		got := w.by("signer", assertion)
		if got.status/100 != 4 || got.text("access_token") != "" {
			t.Errorf("%d %s", got.status, got.body)
		}
	})
}
