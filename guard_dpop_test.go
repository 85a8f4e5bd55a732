package doorward_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"doorward"
	"doorward/internal/dpop"
	"doorward/internal/jose"
	"doorward/internal/oauth"
)

const (
	dpopAsking = `DPoP algs="ES256 EdDSA PS256 RS256", resource_metadata="` + guardPRM + `", scope="files:read"`
)

// prove adds a token and the proof of a key to a request; changes to the claims
// of the proof, nil leaves one out.
func prove(t testing.TB, key *jose.Key, token string, now time.Time, changes map[string]any) func(*http.Request) {
	return func(r *http.Request) {
		t.Helper()
		claims := map[string]any{"jti": rand16(), "htm": r.Method, "htu": "https://" + r.Host + r.URL.EscapedPath(), "iat": now.Unix(), "ath": dpop.TokenHash(token)}
		for name, v := range changes {
			if v == nil {
				delete(claims, name)
			} else {
				claims[name] = v
			}
		}
		proof, err := key.SignEmbedded(oauth.TypDPoP, claims)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "DPoP "+token)
		r.Header.Set("DPoP", proof)
	}
}

var proofs atomic.Int64

func rand16() string { return fmt.Sprintf("proof-%d", proofs.Add(1)) }

// boundToken is a token that is bound to a key.
func boundToken(t testing.TB, issuer, key *jose.Key, now time.Time) string {
	t.Helper()
	return guardSign(t, issuer, oauth.TypAccessToken, guardClaims(now, map[string]any{"cnf": map[string]string{"jkt": key.ID()}}))
}

// covers: RS-DPOP-01, RS-DPOP-02, RS-DPOP-03, RS-CHAL-08, SEC-37, V02
func TestGuardDemandsProof(t *testing.T) {
	issuer, key := guardKey(t), guardKey(t)
	now := time.Now().Truncate(time.Second)
	_, h := newGuard(t, doorward.GuardConfig{Now: func() time.Time { return now },
		Keys: guardKeySets(t, map[string][]*jose.Key{guardIssuer: {issuer}})})
	bound := boundToken(t, issuer, key, now)
	free := guardSign(t, issuer, oauth.TypAccessToken, guardClaims(now, nil))
	cert := guardSign(t, issuer, oauth.TypAccessToken, guardClaims(now, map[string]any{"cnf": map[string]string{"x5t#S256": "x"}}))
	both := guardSign(t, issuer, oauth.TypAccessToken, guardClaims(now, map[string]any{"cnf": map[string]string{"jkt": key.ID(), "x5t#S256": "x"}}))
	type m = map[string]any
	again := prove(t, key, bound, now, m{"jti": "once"})
	for _, c := range []struct {
		name   string
		change func(*http.Request)
		status int
		scheme string // whose challenge has the error
		code   string
	}{
		{"good", prove(t, key, bound, now, nil), 200, "", ""},
		{"lower case scheme", func(r *http.Request) {
			prove(t, key, bound, now, nil)(r)
			r.Header.Set("Authorization", "dpop "+bound)
		}, 200, "", ""},
		{"first use", again, 200, "", ""},
		{"again", again, 401, "DPoP", oauth.InvalidDPoPProof},
		{"as a bearer token", withToken(bound), 401, "Bearer", oauth.InvalidToken},
		{"as a bearer token, with a proof", func(r *http.Request) {
			prove(t, key, bound, now, nil)(r)
			withToken(bound)(r)
		}, 401, "Bearer", oauth.InvalidToken},
		{"a bearer token", withToken(free), 200, "", ""},
		{"a bearer token with a proof", prove(t, key, free, now, nil), 401, "DPoP", oauth.InvalidToken},
		{"bound to a certificate", withToken(cert), 401, "Bearer", oauth.InvalidToken},
		{"bound to a certificate, with a proof", prove(t, key, cert, now, nil), 401, "DPoP", oauth.InvalidToken},
		{"bound to both", prove(t, key, both, now, nil), 401, "DPoP", oauth.InvalidToken},
		{"another key", prove(t, guardKey(t), bound, now, nil), 401, "DPoP", oauth.InvalidToken},
		{"no proof", func(r *http.Request) { r.Header.Set("Authorization", "DPoP "+bound) }, 401, "DPoP", oauth.InvalidDPoPProof},
		{"two proofs", func(r *http.Request) {
			prove(t, key, bound, now, nil)(r)
			r.Header.Add("DPoP", r.Header.Get("DPoP"))
		}, 401, "DPoP", oauth.InvalidDPoPProof},
		{"another token", prove(t, key, bound, now, m{"ath": dpop.TokenHash(free)}), 401, "DPoP", oauth.InvalidDPoPProof},
		{"no token named", prove(t, key, bound, now, m{"ath": nil}), 401, "DPoP", oauth.InvalidDPoPProof},
		{"another method", prove(t, key, bound, now, m{"htm": "GET"}), 401, "DPoP", oauth.InvalidDPoPProof},
		{"another URL", prove(t, key, bound, now, m{"htu": "https://files.example/other"}), 401, "DPoP", oauth.InvalidDPoPProof},
		{"another server", prove(t, key, bound, now, m{"htu": "https://evil.example/mcp"}), 401, "DPoP", oauth.InvalidDPoPProof},
		{"a minute old", prove(t, key, bound, now, m{"iat": now.Add(-time.Minute).Unix()}), 200, "", ""},
		{"two minutes old", prove(t, key, bound, now, m{"iat": now.Add(-2 * time.Minute).Unix()}), 401, "DPoP", oauth.UseDPoPNonce},
		{"of five minutes ago", prove(t, key, bound, now, m{"iat": now.Add(-5*time.Minute - time.Second).Unix()}), 401, "DPoP", oauth.InvalidDPoPProof},
		{"of the future", prove(t, key, bound, now, m{"iat": now.Add(5*time.Minute + time.Second).Unix()}), 401, "DPoP", oauth.InvalidDPoPProof},
		{"no token", func(*http.Request) {}, 401, "", ""},
		{"a proof and no token", func(r *http.Request) { r.Header.Set("DPoP", "x") }, 401, "", ""},
		{"rubbish", func(r *http.Request) { r.Header.Set("Authorization", "DPoP rubbish") }, 401, "DPoP", oauth.InvalidToken},
	} {
		w := guardAsk(h, c.change)
		got := w.Header().Values("WWW-Authenticate")
		if w.Code != c.status || (c.status == 401) != (len(got) == 2) {
			t.Errorf("%s: %d %q %s", c.name, w.Code, got, w.Body)
			continue
		}
		if c.status != 401 {
			continue
		}
		for i, want := range []string{guardAsking, dpopAsking} {
			scheme, rest, _ := strings.Cut(want, " ")
			if scheme == c.scheme && !(strings.HasPrefix(got[i], scheme+` error="`+c.code+`", error_description="`) && strings.HasSuffix(got[i], rest)) || scheme != c.scheme && got[i] != want {
				t.Errorf("%s: says %s", c.name, got[i])
			}
		}
		if nonce := w.Header().Values("DPoP-Nonce"); (len(nonce) == 1) != (c.code == oauth.UseDPoPNonce) {
			t.Errorf("%s: nonces %q", c.name, nonce)
		}
	}
}

// A token that was seen with its key is not good with another, nor without.
// covers: RS-DPOP-02
func TestGuardRemembersTheKey(t *testing.T) {
	issuer, key := guardKey(t), guardKey(t)
	now := time.Now()
	_, h := newGuard(t, doorward.GuardConfig{Keys: guardKeySets(t, map[string][]*jose.Key{guardIssuer: {issuer}})})
	bound := boundToken(t, issuer, key, now)
	for range 3 {
		if w := guardAsk(h, prove(t, key, bound, now, nil)); w.Code != 200 {
			t.Fatal(w.Code, w.Body)
		}
		if w := guardAsk(h, prove(t, guardKey(t), bound, now, nil)); w.Code != 401 {
			t.Fatal("another key")
		}
		if w := guardAsk(h, withToken(bound)); w.Code != 401 {
			t.Fatal("a bearer token")
		}
	}
}

// Nonces are asked for where the clock is wrong, taken by every guard with the
// key, and renewed by the answers.
// covers: RS-DPOP-04
func TestGuardNonces(t *testing.T) {
	issuer, key := guardKey(t), guardKey(t)
	now := time.Now().Truncate(time.Minute)
	config := doorward.GuardConfig{DPoPNonceKey: []byte("0123456789abcdef"), Now: func() time.Time { return now },
		Keys: guardKeySets(t, map[string][]*jose.Key{guardIssuer: {issuer}})}
	_, one := newGuard(t, config)
	_, two := newGuard(t, config)
	bound := boundToken(t, issuer, key, now)
	late := func(nonce any) func(*http.Request) {
		return prove(t, key, bound, now, map[string]any{"iat": now.Add(-3 * time.Minute).Unix(), "nonce": nonce})
	}
	first := guardAsk(one, late(nil))
	nonce := first.Header().Get("DPoP-Nonce")
	if first.Code != 401 || nonce == "" {
		t.Fatal(first.Code, first.Header())
	}
	if w := guardAsk(two, late(nonce)); w.Code != 200 || w.Header().Get("DPoP-Nonce") != "" {
		t.Errorf("at another guard: %d %v", w.Code, w.Header())
	}
	now = now.Add(time.Minute)
	w := guardAsk(one, late(nonce))
	if next := w.Header().Get("DPoP-Nonce"); w.Code != 200 || next == "" || next == nonce {
		t.Errorf("a minute later: %d %v", w.Code, w.Header())
	}
	now = now.Add(2 * time.Minute)
	if w := guardAsk(one, late(nonce)); w.Code != 401 || !strings.Contains(strings.Join(w.Header().Values("WWW-Authenticate"), " "), oauth.UseDPoPNonce) {
		t.Errorf("three minutes later: %d", w.Code)
	}
	if w := guardAsk(one, late("of somebody else")); w.Code != 401 {
		t.Errorf("another's: %d", w.Code)
	}
	_, other := newGuard(t, doorward.GuardConfig{Now: config.Now, Keys: config.Keys})
	if w := guardAsk(other, late(guardAsk(one, late(nil)).Header().Get("DPoP-Nonce"))); w.Code != 401 {
		t.Errorf("a guard with keys of its own takes it: %d", w.Code)
	}
}

// Behind a proxy that rewrites, the URL that counts is the public one.
// covers: RS-DPOP-05, SEC-33
func TestGuardComparesThePublicURL(t *testing.T) {
	issuer, key := guardKey(t), guardKey(t)
	now := time.Now()
	g, err := doorward.NewGuard(doorward.GuardConfig{Resource: guardedFiles, Issuers: []string{guardIssuer},
		Keys: guardKeySets(t, map[string][]*jose.Key{guardIssuer: {issuer}})})
	if err != nil {
		t.Fatal(err)
	}
	h := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	bound := boundToken(t, issuer, key, now)
	for _, c := range []struct {
		at, htu string
		status  int
	}{
		{"http://10.0.0.7:8080/mcp", guardedFiles, 200},
		{"http://10.0.0.7:8080/mcp", "HTTPS://Files.Example:443/mcp?x=1#y", 200},
		{"http://10.0.0.7:8080/mcp?session=1", guardedFiles, 200},
		{"http://10.0.0.7:8080/mcp", "http://10.0.0.7:8080/mcp", 401},
		{"http://10.0.0.7:8080/mcp/part", guardedFiles + "/part", 200},
		{"http://10.0.0.7:8080/mcp/part", guardedFiles, 401},
		{"http://10.0.0.7:8080/", guardedFiles, 200}, // the proxy took the path away
		{"http://10.0.0.7:8080/other", "https://files.example/other", 401},
	} {
		r := httptest.NewRequest(http.MethodPost, c.at, nil)
		prove(t, key, bound, now, map[string]any{"htu": c.htu})(r)
		r.Header.Set("X-Forwarded-Host", "10.0.0.7:8080")
		r.Header.Set("X-Forwarded-Proto", "http")
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != c.status {
			t.Errorf("%s at %s: %d", c.htu, c.at, w.Code)
		}
	}
}

// What a client may do without, it may not where it is required, and where it
// is off no proof counts.
// covers: RS-PRM-05, REV-14
func TestGuardModes(t *testing.T) {
	issuer, key := guardKey(t), guardKey(t)
	now := time.Now()
	keys := guardKeySets(t, map[string][]*jose.Key{guardIssuer: {issuer}})
	bound := boundToken(t, issuer, key, now)
	free := guardSign(t, issuer, oauth.TypAccessToken, guardClaims(now, nil))
	document := func(h http.Handler) string {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, guardPRM, nil))
		return w.Body.String()
	}
	for _, c := range []struct {
		mode             string
		free, bound      int
		challenges       []string
		listed, required bool
	}{
		{"", 200, 200, []string{guardAsking, dpopAsking}, true, false},
		{"optional", 200, 200, []string{guardAsking, dpopAsking}, true, false},
		{"required", 401, 200, []string{dpopAsking}, true, true},
		{"off", 200, 401, []string{guardAsking}, false, false},
	} {
		_, h := newGuard(t, doorward.GuardConfig{DPoP: c.mode, Keys: keys})
		if w := guardAsk(h, withToken(free)); w.Code != c.free {
			t.Errorf("%s: a bearer token: %d", c.mode, w.Code)
		} else if got := w.Header().Get("WWW-Authenticate"); c.required && !strings.HasPrefix(got, `DPoP error="invalid_token"`) {
			t.Errorf("%s: %s", c.mode, got)
		}
		if w := guardAsk(h, prove(t, key, bound, now, nil)); w.Code != c.bound {
			t.Errorf("%s: a bound token: %d", c.mode, w.Code)
		}
		if w := guardAsk(h, withToken(bound)); w.Code != 401 {
			t.Errorf("%s: a bound token as bearer: %d", c.mode, w.Code)
		}
		if got := guardAsk(h, func(*http.Request) {}).Header().Values("WWW-Authenticate"); strings.Join(got, "\n") != strings.Join(c.challenges, "\n") {
			t.Errorf("%s: challenges %q", c.mode, got)
		}
		if got := document(h); strings.Contains(got, `"dpop_signing_alg_values_supported":["ES256","EdDSA","PS256","RS256"]`) != c.listed ||
			strings.Contains(got, `"dpop_bound_access_tokens_required":true`) != c.required {
			t.Errorf("%s: %s", c.mode, got)
		}
	}
	for _, bad := range []doorward.GuardConfig{{DPoP: "on"}, {DPoPNonceKey: []byte("short")}} {
		bad.Resource, bad.Issuers = guardedFiles, []string{guardIssuer}
		if _, err := doorward.NewGuard(bad); err == nil {
			t.Errorf("%q %q: taken", bad.DPoP, bad.DPoPNonceKey)
		}
	}
}

// covers: RS-DPOP-06
func TestGuardComparesTheBody(t *testing.T) {
	issuer, key := guardKey(t), guardKey(t)
	now := time.Now()
	g, err := doorward.NewGuard(doorward.GuardConfig{Resource: guardedFiles, Issuers: []string{guardIssuer},
		Keys: guardKeySets(t, map[string][]*jose.Key{guardIssuer: {issuer}})})
	if err != nil {
		t.Fatal(err)
	}
	var read string
	h := g.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		read = string(b)
	}))
	bound := boundToken(t, issuer, key, now)
	digest := func(body string) any {
		sum := sha256.Sum256([]byte(body))
		return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
	}
	for _, c := range []struct {
		name, body string
		digest     any
		status     int
	}{
		{"none", "{}", nil, 200}, {"good", `{"a":1}`, digest(`{"a":1}`), 200}, {"empty", "", digest(""), 200},
		{"another body", `{"a":2}`, digest(`{"a":1}`), 401}, {"unreadable", "{}", "md5", 401},
		{"endless", strings.Repeat(" ", 9<<20), digest(strings.Repeat(" ", 9<<20)), 401},
	} {
		read = "nothing"
		r := httptest.NewRequest(http.MethodPost, guardedFiles, strings.NewReader(c.body))
		prove(t, key, bound, now, map[string]any{"content_digest": c.digest})(r)
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != c.status || c.status == 200 && read != c.body || c.status != 200 && read != "nothing" {
			t.Errorf("%s: %d, read %.20q", c.name, w.Code, read)
		}
	}
}

// Whoever copies a request as it goes by gets nothing of it.
// covers: SEC-37, RS-DPOP-04
func TestGuardTakesAProofOnce(t *testing.T) {
	issuer, key := guardKey(t), guardKey(t)
	_, h := newGuard(t, doorward.GuardConfig{Keys: guardKeySets(t, map[string][]*jose.Key{guardIssuer: {issuer}})})
	now := time.Now()
	same := prove(t, key, boundToken(t, issuer, key, now), now, map[string]any{"jti": "the same"})
	var group sync.WaitGroup
	var good atomic.Int32
	for range 50 {
		group.Go(func() {
			if guardAsk(h, same).Code == 200 {
				good.Add(1)
			}
		})
	}
	group.Wait()
	if good.Load() != 1 {
		t.Errorf("%d were let through", good.Load())
	}
}

// A page of an origin that may call can send proofs, and read what it is told.
// covers: RS-PRM-07
func TestGuardDPoPAcrossOrigins(t *testing.T) {
	_, h := newGuard(t, doorward.GuardConfig{AllowedOrigins: []string{"https://app.example"}, Keys: guardKeySets(t, nil)})
	r := httptest.NewRequest(http.MethodOptions, guardedFiles, nil)
	r.Header.Set("Origin", "https://app.example")
	r.Header.Set("Access-Control-Request-Headers", "authorization,dpop")
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != 204 || !strings.Contains(w.Header().Get("Access-Control-Allow-Headers"), "dpop") {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	got := guardAsk(h, func(r *http.Request) { r.Header.Set("Origin", "https://app.example") }).Header().Get("Access-Control-Expose-Headers")
	for _, name := range []string{"WWW-Authenticate", "DPoP-Nonce"} {
		if !strings.Contains(got, name) {
			t.Errorf("%s is not exposed: %s", name, got)
		}
	}
}

// The scheme that a request used has the error of a missing scope too.
// covers: RS-CHAL-08
func TestStepUpInTheSchemeThatWasUsed(t *testing.T) {
	issuer, key := guardKey(t), guardKey(t)
	now := time.Now()
	g, err := doorward.NewGuard(doorward.GuardConfig{Resource: guardedFiles, Issuers: []string{guardIssuer},
		Keys: guardKeySets(t, map[string][]*jose.Key{guardIssuer: {issuer}})})
	if err != nil {
		t.Fatal(err)
	}
	h := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), "files:write")
	w := guardAsk(h, prove(t, key, boundToken(t, issuer, key, now), now, nil))
	got := w.Header().Values("WWW-Authenticate")
	if w.Code != 403 || len(got) != 2 || strings.Contains(got[0], "error") || !strings.HasPrefix(got[1], `DPoP error="insufficient_scope"`) {
		t.Errorf("%d %q", w.Code, got)
	}
	w = guardAsk(h, withToken(guardSign(t, issuer, oauth.TypAccessToken, guardClaims(now, nil))))
	if got := w.Header().Values("WWW-Authenticate"); w.Code != 403 || len(got) != 2 || !strings.HasPrefix(got[0], `Bearer error="insufficient_scope"`) || strings.Contains(got[1], "error") {
		t.Errorf("%d %q", w.Code, got)
	}
}

func BenchmarkGuardDPoP(b *testing.B) {
	issuer, key := guardKey(b), guardKey(b)
	now := time.Now()
	g, err := doorward.NewGuard(doorward.GuardConfig{Resource: guardedFiles, Issuers: []string{guardIssuer}, Now: func() time.Time { return now },
		Keys: guardKeySets(b, map[string][]*jose.Key{guardIssuer: {issuer}})})
	if err != nil {
		b.Fatal(err)
	}
	h := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	bound := boundToken(b, issuer, key, now)
	var requests []*http.Request
	for range 20_000 {
		r := httptest.NewRequest(http.MethodPost, guardedFiles, nil)
		prove(b, key, bound, now, nil)(r)
		requests = append(requests, r)
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(discard{http.Header{}}, requests[i%len(requests)])
		i++
	}
}

// unread is a body that never ends by itself, and knows how much of it was read.
type unread struct {
	io.ReadCloser
	begun chan struct{} // closed at the first read
	once  sync.Once
	n     atomic.Int64
}

func (b *unread) Read(p []byte) (int, error) {
	b.once.Do(func() { close(b.begun) })
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}

// Who sends one proof with many bodies makes the guard hold one of them.
// covers: RS-DPOP-04
func TestGuardReadsOneBodyForAProof(t *testing.T) {
	issuer, key := guardKey(t), guardKey(t)
	_, h := newGuard(t, doorward.GuardConfig{Keys: guardKeySets(t, map[string][]*jose.Key{guardIssuer: {issuer}})})
	now := time.Now()
	same := prove(t, key, boundToken(t, issuer, key, now), now, map[string]any{"jti": "one of many", "content_digest": "sha-256=:x:"})
	ask := func(body io.ReadCloser) int {
		return guardAsk(h, func(r *http.Request) {
			r.Method = http.MethodPost
			r.Body, r.ContentLength = body, -1
			same(r)
		}).Code
	}
	in, out := io.Pipe()
	first := &unread{ReadCloser: in, begun: make(chan struct{})}
	done := make(chan int)
	go func() { done <- ask(first) }()
	<-first.begun // and it waits for more
	second := &unread{ReadCloser: io.NopCloser(strings.NewReader("{}")), begun: make(chan struct{})}
	if code := ask(second); code != http.StatusUnauthorized || second.n.Load() != 0 {
		t.Errorf("the same proof at once: %d after %d bytes", code, second.n.Load())
	}
	_ = out.Close()
	if code := <-done; code != http.StatusUnauthorized { // the digest is that of nothing
		t.Errorf("the first: %d", code)
	}
}

// Of a body that is too large nothing is kept, and nothing read where it says so.
// covers: RS-DPOP-06
func TestGuardReadsNoMoreThanIsTaken(t *testing.T) {
	issuer, key := guardKey(t), guardKey(t)
	_, h := newGuard(t, doorward.GuardConfig{Keys: guardKeySets(t, map[string][]*jose.Key{guardIssuer: {issuer}})})
	now := time.Now()
	bound := boundToken(t, issuer, key, now)
	for _, c := range []struct {
		name            string
		announced, most int64
		bound           int64 // of who serves the guard; 0: none
		status          int
	}{
		{"announced", 9 << 20, 0, 0, 401},
		{"bounded", -1, 2 << 10, 1 << 10, 413},
		{"bounded and announced", 64 << 10, 2 << 10, 1 << 10, 413},
	} {
		body := &unread{ReadCloser: io.NopCloser(strings.NewReader(strings.Repeat(" ", 9<<20))), begun: make(chan struct{})}
		w := guardAsk(h, func(r *http.Request) {
			r.Method = http.MethodPost
			r.Body, r.ContentLength = body, c.announced
			if c.bound > 0 {
				r.Body = http.MaxBytesReader(nil, body, c.bound)
			}
			prove(t, key, bound, now, map[string]any{"content_digest": "sha-256=:x:"})(r)
		})
		if w.Code != c.status || body.n.Load() > c.most {
			t.Errorf("%s: %d after %d bytes: %s", c.name, w.Code, body.n.Load(), w.Body)
		}
	}
}

// endless is a body that goes on until end is closed, and says when all that
// it has was read.
type endless struct {
	io.Reader
	waits, end chan struct{}
	once       sync.Once
}

func (b *endless) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		b.once.Do(func() { close(b.waits) })
		<-b.end
	}
	return n, err
}

// Who sends many proofs with a digest each, and bodies that do not end, makes
// the guard hold so many bytes and no more; others are served.
//
// covers: RS-DPOP-04
func TestGuardHoldsFewBodiesOfOneCaller(t *testing.T) {
	issuer, key := guardKey(t), guardKey(t)
	_, h := newGuard(t, doorward.GuardConfig{Keys: guardKeySets(t, map[string][]*jose.Key{guardIssuer: {issuer}})})
	now := time.Now()
	const size = 7 << 20 // nine fit into 64 MiB
	sum := sha256.Sum256(bytes.Repeat([]byte{' '}, size))
	digest := "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
	ask := func(subject string, body io.Reader) *httptest.ResponseRecorder {
		bound := guardSign(t, issuer, oauth.TypAccessToken, guardClaims(now, map[string]any{"cnf": map[string]string{"jkt": key.ID()}, "sub": subject}))
		return guardAsk(h, func(r *http.Request) {
			r.Method, r.Body, r.ContentLength = http.MethodPost, io.NopCloser(body), -1
			prove(t, key, bound, now, map[string]any{"content_digest": digest})(r)
		})
	}
	whole := func() io.Reader { return bytes.NewReader(bytes.Repeat([]byte{' '}, size)) }
	end, done := make(chan struct{}), make(chan int)
	for range 9 {
		body := &endless{Reader: whole(), waits: make(chan struct{}), end: end}
		go func() { done <- ask("alice", body).Code }()
		<-body.waits // all of it is counted
	}
	w := ask("alice", whole())
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "5" || w.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("the tenth: %d %v %s", w.Code, w.Header(), w.Body)
	}
	if w := ask("bob", whole()); w.Code != http.StatusOK {
		t.Errorf("another: %d %s", w.Code, w.Body)
	}
	close(end)
	for range 9 {
		if code := <-done; code != http.StatusOK {
			t.Errorf("one that ends: %d", code)
		}
	}
	for range 12 {
		if w := ask("alice", whole()); w.Code != http.StatusOK {
			t.Fatalf("afterwards: %d %s", w.Code, w.Body)
		}
	}
}
