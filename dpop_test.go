package doorward_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward"
	"doorward/authtest"
	"doorward/internal/dpop"
	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// wire is what a client sent and what it was answered.
type wire struct {
	mu   sync.Mutex
	sent []sent
}

type sent struct {
	method, url, authorization string
	proofs                     []string
	form                       url.Values
	status                     int
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	s := sent{method: r.Method, url: serverOf(r.URL), authorization: r.Header.Get("Authorization"), proofs: r.Header.Values("DPoP")}
	if r.GetBody != nil && r.Header.Get("Content-Type") == "application/x-www-form-urlencoded" {
		body, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		copied := *r
		copied.Body = body
		if err := copied.ParseForm(); err != nil {
			return nil, err
		}
		s.form = copied.PostForm
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if resp != nil {
		s.status = resp.StatusCode
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, s)
	return resp, err
}

// take returns what was sent so far to an address.
func (w *wire) take(address string) []sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	var taken []sent
	for _, s := range w.sent {
		if s.url == address {
			taken = append(taken, s)
		}
	}
	return taken
}

func serverOf(u *url.URL) string { return u.Scheme + "://" + u.Host + u.Path }

// claimsOf are the claims of a proof that is signed by the key in it, and the
// key's thumbprint.
func claimsOf(t *testing.T, proof string) (map[string]any, string) {
	t.Helper()
	_, jkt, err := jose.VerifyEmbedded(proof, dpop.Algs(), []string{oauth.TypDPoP})
	if err != nil {
		t.Fatalf("a proof that is none: %v", err)
	}
	return bodyOf(t, proof), jkt
}

// bodyOf are the claims of a JWT, unchecked.
func bodyOf(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", token)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// call calls a tool at a real server.
func call(t *testing.T, rt http.RoundTripper, address string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, address, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	resp, err := (&http.Client{Transport: rt}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		t.Fatalf("call: %s %s", resp.Status, body)
	}
}

func p256(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Every flow walks into a server that demands bound tokens, with a key of the
// program's or without: each token request and each call has a proof of its own.
//
// covers: C-DPOP-01, V01, C-TOK-03
func TestEveryFlowProvesItsKey(t *testing.T) {
	w := authtest.New(t, authtest.Config{DPoP: "required"})
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var gone time.Duration // by the server's clock
	flows := map[string]func() doorward.Flow{
		"code":      func() doorward.Flow { return &doorward.AuthorizationCode{Open: w.Browser("alice").Open} },
		"cross-app": func() doorward.Flow { return w.CrossApp("bob") },
	}
	for name, flow := range flows {
		for _, key := range []crypto.Signer{nil, p256(t), edwards} {
			tap := &wire{}
			var ahead time.Duration
			tr := &doorward.Transport{Flow: flow(), Base: tap, DPoP: key, Now: func() time.Time { return time.Now().Add(ahead + gone) }}
			call(t, tr, w.MCP)
			call(t, tr, w.MCP+"?q=1")
			w.Ahead(16 * time.Minute)
			ahead = 16 * time.Minute // the code flow's token is renewed, that of an ID-JAG lives for an hour
			call(t, tr, w.MCP)
			checkProofs(t, name, tap, w, key, time.Now().Add(gone))
			gone += ahead
			if n := len(tap.take(w.Server + "/token")); n != map[string]int{"code": 2, "cross-app": 1}[name] {
				t.Errorf("%s: %d token requests", name, n)
			}
		}
	}
}

// checkProofs checks all proofs of a connection (RFC 9449 section 4.3).
func checkProofs(t *testing.T, name string, tap *wire, w *authtest.World, key crypto.Signer, since time.Time) {
	t.Helper()
	seen, keys := map[string]bool{}, map[string]bool{}
	if key != nil {
		k, err := jose.NewKey(key, "")
		if err != nil {
			t.Fatal(err)
		}
		keys[k.ID()] = true
	}
	proven := 0
	for _, s := range append(tap.take(w.Server+"/token"), tap.take(w.MCP)...) {
		token, bound := strings.CutPrefix(s.authorization, "DPoP ")
		call := s.url == w.MCP
		if call && s.authorization == "" && len(s.proofs) == 0 {
			continue // the first request, which brought the challenge
		}
		if len(s.proofs) != 1 || call != bound {
			t.Fatalf("%s: %s %s with %q and %d proofs", name, s.method, s.url, s.authorization, len(s.proofs))
		}
		proven++
		c, jkt := claimsOf(t, s.proofs[0])
		id, _ := c["jti"].(string)
		if seen[id] || id == "" || c["htm"] != s.method || c["htu"] != s.url {
			t.Errorf("%s: %s %s with the proof %v", name, s.method, s.url, c)
		}
		seen[id], keys[jkt] = true, true
		if iat, _ := c["iat"].(float64); time.Unix(int64(iat), 0).Sub(since).Abs() > 17*time.Minute {
			t.Errorf("%s: a proof of %v", name, c["iat"])
		}
		if ath, _ := c["ath"].(string); call && ath != dpop.TokenHash(token) || !call && ath != "" {
			t.Errorf("%s: %s with ath %q", name, s.url, ath)
		}
		if call {
			if cnf, _ := bodyOf(t, token)["cnf"].(map[string]any); cnf["jkt"] != jkt {
				t.Errorf("%s: a token that is bound to %v, with a proof of %s", name, cnf, jkt)
			}
		}
	}
	if len(keys) != 1 || proven < 4 {
		t.Errorf("%s: proofs of %d keys, %d proofs", name, len(keys), proven)
	}
}

// The code is bound to the key at the authorization endpoint already (RFC 9449
// section 10), and a client that registers itself says that it wants no other
// tokens (section 5.2).
//
// covers: C-DPOP-01
func TestCodeIsBoundToTheKey(t *testing.T) {
	w := newWorld(t)
	key := p256(t)
	k, err := jose.NewKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	w.token = func(url.Values) (int, map[string]any) { return 200, m{"token_type": "dpop"} }
	_, err = post(context.Background(), &doorward.Transport{Flow: w.code(), DPoP: key}, w.url())
	if err != nil { // the stand-in server knows bearer tokens only, and answers 401
		t.Fatal(err)
	}
	if got := w.sent[0].Get("dpop_jkt"); got != k.ID() {
		t.Errorf("dpop_jkt is %q, want %q", got, k.ID())
	}
	if w.made[0]["dpop_bound_access_tokens"] != true {
		t.Errorf("registered as %v", w.made[0])
	}
	plain := newWorld(t)
	must(t, context.Background(), &doorward.Transport{Flow: plain.code()}, plain.url())
	if plain.sent[0].Has("dpop_jkt") || plain.made[0]["dpop_bound_access_tokens"] != nil || plain.heads["as"][0].Get("DPoP") != "" {
		t.Error("a client without a key says that it has one")
	}
}

// Where binding is configured or demanded, a token of another type is not used;
// without a proof, a bound token is none of ours.
//
// covers: C-DPOP-03, C-TOK-03
func TestTokenOfAnotherTypeIsDiscarded(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		key          crypto.Signer
		demanded     bool
		want         string // in the error; empty: there is none
	}{
		{"bound", "DPoP", p256(t), false, ""},
		{"bound, in other letters", "dpOP", p256(t), false, ""},
		{"bearer instead of bound", "Bearer", p256(t), false, "bound to a key (DPoP): it is discarded"},
		{"bearer where the server demands bound ones", "Bearer", nil, true, "bound to a key (DPoP): it is discarded"},
		{"bearer", "bearer", nil, false, ""},
		{"bound, and nobody asked", "DPoP", nil, false, "was for a bearer token"},
		{"unknown", "mac", nil, false, "was for a bearer token"},
		{"unknown instead of bound", "N_A", p256(t), false, "it is discarded"},
		{"none", "", nil, false, "was for a bearer token"},
	} {
		w := newWorld(t)
		w.token = func(url.Values) (int, map[string]any) { return 200, m{"token_type": c.answer} }
		if c.demanded {
			w.prm["dpop_bound_access_tokens_required"] = true
		}
		tr := &doorward.Transport{Flow: w.crossApp(), DPoP: c.key}
		tok, err := tr.Token(as("alice"), w.url())
		var e *doorward.Error
		switch {
		case c.want == "":
			if err != nil || !strings.EqualFold(tok.TokenType, c.answer) {
				t.Errorf("%s: %v %v", c.name, tok, err)
			}
		case !errors.As(err, &e) || e.Step != "redeem" || !strings.Contains(err.Error(), c.want):
			t.Errorf("%s: %v", c.name, err)
		}
		if _, err := post(as("alice"), tr, w.url()); c.want != "" && err == nil {
			t.Errorf("%s: the token was kept", c.name)
		}
	}
}

// A clock that is minutes behind needs the server's nonce: each of the two
// endpoints of one origin has its own, both are kept, and the request is sent
// once more.
//
// covers: C-DPOP-02
func TestNoncesOfARealServer(t *testing.T) {
	w := authtest.New(t, authtest.Config{DPoP: "required"})
	tap := &wire{}
	tr := &doorward.Transport{Flow: w.CrossApp("alice"), Base: tap, Now: func() time.Time { return time.Now().Add(-3 * time.Minute) }}
	call(t, tr, w.MCP)
	call(t, tr, w.MCP)
	var statuses []int
	for _, s := range append(tap.take(w.Server+"/token"), tap.take(w.MCP)...) {
		statuses = append(statuses, s.status)
	}
	if got := fmt.Sprint(statuses); got != "[400 200 401 401 200 200]" {
		t.Errorf("statuses %s", got)
	}
}
