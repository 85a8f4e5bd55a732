package authserver

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/internal/dpop"
	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

// prover makes the proofs of a script's requests.
type prover struct {
	keys    map[string]*jose.Key
	key     *jose.Key // nil: no proofs
	changes []string
	nonce   string
	last    string
}

// cmdKey takes up a key, and leaves its thumbprint in $JKT.
func (s *script) cmdKey(_ bool, args []string) {
	s.dpop.key = nil
	if len(args) == 0 {
		return
	}
	if s.dpop.keys == nil {
		s.dpop.keys = map[string]*jose.Key{}
	}
	if s.dpop.keys[args[0]] == nil {
		k, err := jose.NewES256()
		if err != nil {
			s.ts.Fatalf("%v", err)
		}
		s.dpop.keys[args[0]] = k
	}
	s.dpop.key = s.dpop.keys[args[0]]
	s.ts.Setenv("JKT", s.dpop.key.ID())
}

// cmdProof takes, besides changes to claims, again (the last proof once more),
// twice (two headers) and key=NAME (signed by that key, with this one inside).
func (s *script) cmdProof(_ bool, args []string) { s.dpop.changes = args }

func (s *script) cmdNonce(_ bool, args []string) {
	s.dpop.nonce = ""
	if len(args) == 0 {
		if s.dpop.nonce = s.last.header.Get("DPoP-Nonce"); s.dpop.nonce == "" {
			s.ts.Fatalf("no DPoP-Nonce: %v", s.last.header)
		}
	}
}

// prove adds a proof to a request, and to its token the scheme.
func (s *script) prove(r *http.Request, token string) {
	p := &s.dpop
	if p.key == nil {
		return
	}
	if token != "" {
		r.Header.Set("Authorization", "DPoP "+token)
	}
	claims := map[string]any{"jti": newID(), "htm": r.Method, "htu": s.at.current().cfg.URL + strings.TrimPrefix(r.URL.Path, s.at.current().path), "iat": s.now().Unix()}
	if token != "" {
		claims["ath"] = dpop.TokenHash(token)
	}
	if p.nonce != "" {
		claims["nonce"] = p.nonce
	}
	proof, copies := "", 1
	for _, change := range p.changes {
		name, value, set := strings.Cut(change, "=")
		var v any
		switch d, err := time.ParseDuration(value); {
		case change == "again":
			proof = p.last
		case change == "twice":
			copies = 2
		case !set:
			delete(claims, strings.TrimPrefix(name, "-"))
		case name == "iat" && err == nil:
			claims["iat"] = s.now().Add(d).Unix()
		case json.Unmarshal([]byte(value), &v) == nil:
			claims[name] = v
		default:
			claims[name] = value
		}
	}
	if proof == "" {
		var err error
		if proof, err = p.key.SignEmbedded(oauth.TypDPoP, claims); err != nil {
			s.ts.Fatalf("%v", err)
		}
	}
	for range copies {
		r.Header.Add("DPoP", proof)
	}
	p.last, p.changes = proof, nil
}

// proved is a token request with a proof.
func proved(t testing.TB, s *Server, key *jose.Key, who string, entries ...string) (*http.Request, string) {
	t.Helper()
	r := postRequest(s, "/token", who, "", form(entries...))
	proof, err := dpop.Make(key, dpop.Target{Method: "POST", URL: s.current().cfg.URL + "/token"}, "", s.now())
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("DPoP", proof)
	return r, proof
}

func newProofKey(t testing.TB) *jose.Key {
	t.Helper()
	k, err := jose.NewES256()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// One proof brings one answer, at whichever of two servers on one store, and
// whether the request writes something else (a code) or not (client_credentials).
// covers: AS-DPOP-07, SEC-14
func TestProofCountsOnceOverTwoServers(t *testing.T) {
	w := newWorld(t)
	second, err := New(w.asCfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { second.Close() })
	key := newProofKey(t)
	_, proof := proved(t, w.as, key, "agent "+agentSecret)
	const tries = 40
	var mu sync.Mutex
	var group sync.WaitGroup
	codes := map[string]int{}
	for i := range tries {
		entries := []string{"grant_type=client_credentials", "scope=files:read"}
		who := "agent " + agentSecret
		if i%2 == 0 { // each with a code of its own
			who = ""
			entries = []string{"grant_type=authorization_code", "client_id=web", "code_verifier=" + codeVerifier,
				"code=" + w.code(t, w.as, filesGrant("web"), "https://web.example/callback")}
		}
		s := []*Server{w.as, second}[i/2%2]
		group.Go(func() {
			r := postRequest(s, "/token", who, "", form(entries...))
			r.Header.Set("DPoP", proof)
			got := send(s, r)
			mu.Lock()
			defer mu.Unlock()
			codes[got.text("error")]++
		})
	}
	group.Wait()
	if codes[""] != 1 || codes[oauth.InvalidDPoPProof] != tries-1 {
		t.Errorf("%v", codes)
	}
}

// Both servers on a store take each other's nonces.
// covers: AS-DPOP-02
func TestNoncesOfTwoServers(t *testing.T) {
	w := newWorld(t)
	second, err := New(w.asCfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { second.Close() })
	key := newProofKey(t)
	ask := func(s *Server, nonce string) reply {
		r := postRequest(s, "/token", "agent "+agentSecret, "", form("grant_type=client_credentials", "scope=files:read"))
		proof, err := dpop.Make(key, dpop.Target{Method: "POST", URL: asURL + "/token"}, nonce, w.now().Add(-2*time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("DPoP", proof)
		return send(s, r)
	}
	refused := ask(w.as, "")
	nonces := refused.header.Values("DPoP-Nonce")
	if refused.status != 400 || refused.text("error") != oauth.UseDPoPNonce || len(nonces) != 1 {
		t.Fatalf("%d %s %v", refused.status, refused.body, nonces)
	}
	if got := ask(second, nonces[0]); got.status != 200 {
		t.Errorf("the nonce of the other server: %d %s", got.status, got.body)
	}
}

// A browser's page may send proofs and read the nonce.
func TestProofsAcrossOrigins(t *testing.T) {
	w := newWorld(t)
	r := httptest.NewRequest("OPTIONS", asURL+"/token", nil)
	r.Header.Set("Origin", "https://app.example")
	r.Header.Set("Access-Control-Request-Headers", "dpop")
	if got := send(w.as, r); !strings.Contains(got.header.Get("Access-Control-Allow-Headers"), "DPoP") {
		t.Errorf("preflight: %v", got.header)
	}
	if got := post(w.as, "/token", "", form()); !strings.Contains(got.header.Get("Access-Control-Expose-Headers"), "DPoP-Nonce") {
		t.Errorf("answer: %v", got.header)
	}
}

// What a client says of itself when it registers, or in its document, counts.
// covers: AS-DPOP-05
func TestClientsThatWantBoundTokens(t *testing.T) {
	w := newWorld(t, func(as, _ *Config) { as.OtherClients = othersAllow })
	body := `{"client_name":"App","redirect_uris":["http://127.0.0.1/cb"],"token_endpoint_auth_method":"none","dpop_bound_access_tokens":true}`
	register := func() reply {
		r := httptest.NewRequest("POST", asURL+"/register", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		return send(w.as, r)
	}
	got := register()
	if bound, _ := got.field("dpop_bound_access_tokens"); got.status != 201 || bound != true {
		t.Fatalf("%d %s", got.status, got.body)
	}
	id := got.text("client_id")
	entries := []string{"grant_type=authorization_code", "client_id=" + id, "code_verifier=" + codeVerifier,
		"code=" + w.code(t, w.as, filesGrant(id), "http://127.0.0.1/cb")}
	if got := post(w.as, "/token", "", form(entries...)); got.status != 400 || got.text("error") != oauth.InvalidDPoPProof {
		t.Errorf("without a proof: %d %s", got.status, got.body)
	}
	r, _ := proved(t, w.as, newProofKey(t), "", entries...)
	if got := send(w.as, r); got.status != 200 || got.text("token_type") != "DPoP" {
		t.Errorf("with one: %d %s", got.status, got.body)
	}
	body = strings.Replace(body, "true", "false", 1)
	if other := register(); other.status != 201 || other.text("client_id") == id {
		t.Errorf("the same client without the wish: %d %s", other.status, other.body)
	}
	doc, err := parseDocument("https://app.example/doc", []byte(`{"client_id":"https://app.example/doc","client_name":"App","redirect_uris":["https://app.example/cb"],"dpop_bound_access_tokens":true}`))
	if err != nil || !doc.DPoPBound {
		t.Errorf("%+v: %v", doc, err)
	}
	off := w.asConfig(nil)
	off.DPoP = dpopOff
	if err := w.as.Reload(off); err != nil {
		t.Fatal(err)
	}
	body = strings.Replace(body, "false", "true", 1)
	if got := register(); got.status != 400 || got.text("error") != oauth.InvalidClientMetadata {
		t.Errorf("registered where DPoP is off: %d %s", got.status, got.body)
	}
	r, _ = proved(t, w.as, newProofKey(t), "", entries...)
	if got := send(w.as, r); got.status != 400 || got.text("error") != oauth.InvalidDPoPProof {
		t.Errorf("a bearer token for a client that wants none: %d %s", got.status, got.body)
	}
}

// The key that was named with the request stands in the way of the code, from
// the query to the redemption.
// covers: AS-DPOP-06, AS-AUTHZ-10
func TestCodeIsBoundToTheKeyOfTheRequest(t *testing.T) {
	w := newWorld(t)
	key := newProofKey(t)
	query := form("response_type=code", "client_id=web", "redirect_uri=https://web.example/callback", "code_challenge="+oauth.S256(codeVerifier),
		"code_challenge_method=S256", "dpop_jkt="+key.ID())
	req, err := oauth.ParseAuthorizationRequest(query)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := oauth.ParseAuthorizationRequest(queryOf(req)); err != nil || again.DPoPKey != key.ID() {
		t.Errorf("it is lost on the way: %+v, %v", again, err)
	}
	a, err := w.as.examine(context.Background(), w.as.current(), req)
	if err != nil {
		t.Fatal(err)
	}
	code, err := w.as.newCode(context.Background(), filesGrant("web"), a.AuthorizationRequest, a.redirect)
	if err != nil {
		t.Fatal(err)
	}
	entries := []string{"grant_type=authorization_code", "client_id=web", "code_verifier=" + codeVerifier, "code=" + code}
	other, _ := proved(t, w.as, newProofKey(t), "", entries...)
	for name, r := range map[string]*http.Request{"another key": other, "no proof": postRequest(w.as, "/token", "", "", form(entries...))} {
		if got := send(w.as, r); got.status != 400 || got.text("error") != oauth.InvalidGrant {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	r, _ := proved(t, w.as, key, "", entries...)
	if got := send(w.as, r); got.status != 200 {
		t.Errorf("its key: %d %s", got.status, got.body)
	}
	for _, bad := range []string{"x", key.ID() + "A", strings.Repeat("!", 43)} {
		req.DPoPKey = bad
		if _, err := w.as.examine(context.Background(), w.as.current(), req); err == nil {
			t.Errorf("%q is taken for a thumbprint", bad)
		}
	}
	req.DPoPKey = key.ID()
	off := w.asConfig(nil)
	off.DPoP = dpopOff
	if err := w.as.Reload(off); err != nil {
		t.Fatal(err)
	}
	if a, err := w.as.examine(context.Background(), w.as.current(), req); err != nil || a.DPoPKey != "" {
		t.Errorf("DPoP is off and binds a code: %v, %v", a, err)
	}
}

// Only the thumbprint of a public client's key is kept, and no proof.
func TestWhatIsKeptOfAKey(t *testing.T) {
	w := newWorld(t)
	key := newProofKey(t)
	r, proof := proved(t, w.as, key, "", "grant_type=authorization_code", "client_id=web", "code_verifier="+codeVerifier,
		"code="+w.code(t, w.as, filesGrant("web"), "https://web.example/callback"))
	got := send(w.as, r)
	g, err := w.as.ledger.Grant(context.Background(), gid(t, got.text("access_token")))
	if err != nil || g.Key != key.ID() {
		t.Fatalf("%s, %v", g.Key, err)
	}
	rec, err := w.as.ledger.Store.Get(context.Background(), ledger.KindGrant, g.ID)
	if err != nil || strings.Contains(string(rec.Value), proof) {
		t.Errorf("%v", err)
	}
	r, _ = proved(t, w.as, key, "desktop "+desktopSecret, "grant_type=authorization_code", "code_verifier="+codeVerifier,
		"code="+w.code(t, w.as, filesGrant("desktop"), "http://127.0.0.1/callback"))
	if g, err = w.as.ledger.Grant(context.Background(), gid(t, send(w.as, r).text("access_token"))); err != nil || g.Key != "" {
		t.Errorf("a client with a secret: %s, %v", g.Key, err)
	}
}
