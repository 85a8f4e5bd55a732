package dpop

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

const endpoint = "https://as.example/token"

var noon = time.Date(2026, 7, 28, 12, 0, 0, 0, time.UTC)

func newKey(t testing.TB) *jose.Key {
	t.Helper()
	k, err := jose.NewES256()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func checker(now time.Time) Checker {
	return Checker{Nonces: NewNonces([]byte("0123456789abcdef")), Now: func() time.Time { return now }}
}

// proofOf signs the claims of a good proof, with changes; nil leaves one out.
func proofOf(t testing.TB, k *jose.Key, changes map[string]any) string {
	t.Helper()
	claims := map[string]any{"jti": "j1", "htm": "POST", "htu": endpoint, "iat": noon.Unix()}
	for name, v := range changes {
		if v == nil {
			delete(claims, name)
		} else {
			claims[name] = v
		}
	}
	proof, err := k.SignEmbedded(oauth.TypDPoP, claims)
	if err != nil {
		t.Fatal(err)
	}
	return proof
}

func header(proofs ...string) http.Header { return http.Header{Header: proofs} }

// The checks of RFC 9449 section 4.3, one after the other.
// covers: AS-DPOP-01, SEC-37
func TestCheck(t *testing.T) {
	type m = map[string]any
	k := newKey(t)
	good := proofOf(t, k, nil)
	nonces := checker(noon).Nonces
	other, err := k.Sign(oauth.TypDPoP, m{"jti": "j1", "htm": "POST", "htu": endpoint, "iat": noon.Unix()})
	if err != nil {
		t.Fatal(err)
	}
	typ, err := k.SignEmbedded("jwt", m{"jti": "j1", "htm": "POST", "htu": endpoint, "iat": noon.Unix()})
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	stolen := strings.Join([]string{strings.Split(proofOf(t, newKey(t), nil), ".")[0], parts[1], parts[2]}, ".")
	for _, c := range []struct {
		name   string
		proofs []string
		reason string // "": taken
	}{
		{"good", []string{good}, ""},
		{"none", nil, ReasonMissing},
		{"two headers", []string{good, good}, ReasonUnread},
		{"two in one header", []string{good + ", " + good}, ReasonUnread},
		{"endless", []string{good + strings.Repeat("A", maxProof)}, ReasonUnread},
		{"empty", []string{""}, ReasonSignature},
		{"no JWT", []string{"a.b.c"}, ReasonSignature},
		{"without its key", []string{other}, ReasonSignature},
		{"another typ", []string{typ}, ReasonSignature},
		{"signature of another key", []string{stolen}, ReasonSignature},
		{"unsigned", []string{parts[0] + "." + parts[1] + "."}, ReasonSignature},
		{"no jti", []string{proofOf(t, k, m{"jti": nil})}, ReasonUnread},
		{"empty jti", []string{proofOf(t, k, m{"jti": ""})}, ReasonUnread},
		{"long jti", []string{proofOf(t, k, m{"jti": strings.Repeat("x", maxID+1)})}, ReasonUnread},
		{"jti no string", []string{proofOf(t, k, m{"jti": 7})}, ReasonUnread},
		{"no htm", []string{proofOf(t, k, m{"htm": nil})}, ReasonUnread},
		{"no htu", []string{proofOf(t, k, m{"htu": nil})}, ReasonUnread},
		{"no iat", []string{proofOf(t, k, m{"iat": nil})}, ReasonUnread},
		{"iat no number", []string{proofOf(t, k, m{"iat": "1"})}, ReasonUnread},
		{"empty nonce", []string{proofOf(t, k, m{"nonce": ""})}, ReasonUnread},
		{"another method", []string{proofOf(t, k, m{"htm": "GET"})}, ReasonTarget},
		{"method in lower case", []string{proofOf(t, k, m{"htm": "post"})}, ReasonTarget},
		{"another path", []string{proofOf(t, k, m{"htu": "https://as.example/revoke"})}, ReasonTarget},
		{"another host", []string{proofOf(t, k, m{"htu": "https://evil.example/token"})}, ReasonTarget},
		{"another scheme", []string{proofOf(t, k, m{"htu": "http://as.example/token"})}, ReasonTarget},
		{"another port", []string{proofOf(t, k, m{"htu": "https://as.example:8443/token"})}, ReasonTarget},
		{"user info", []string{proofOf(t, k, m{"htu": "https://as.example@evil.example/token"})}, ReasonTarget},
		{"no URL", []string{proofOf(t, k, m{"htu": "/token"})}, ReasonTarget},
		{"query and fragment", []string{proofOf(t, k, m{"htu": endpoint + "?a=b#c"})}, ""},
		{"upper case and default port", []string{proofOf(t, k, m{"htu": "HTTPS://AS.example:443/token"})}, ""},
		{"a minute old", []string{proofOf(t, k, m{"iat": noon.Add(-Fresh).Unix()})}, ""},
		{"a minute ahead", []string{proofOf(t, k, m{"iat": noon.Add(Fresh).Unix()})}, ""},
		{"older", []string{proofOf(t, k, m{"iat": noon.Add(-Fresh - time.Second).Unix()})}, ReasonNonce},
		{"further ahead", []string{proofOf(t, k, m{"iat": noon.Add(Fresh + time.Second).Unix()})}, ReasonNonce},
		{"older, with a nonce", []string{proofOf(t, k, m{"iat": noon.Add(-Allowed).Unix(), "nonce": nonces.Current(noon)})}, ""},
		{"ahead, with a nonce", []string{proofOf(t, k, m{"iat": noon.Add(Allowed).Unix(), "nonce": nonces.Current(noon)})}, ""},
		{"too old", []string{proofOf(t, k, m{"iat": noon.Add(-Allowed - time.Second).Unix(), "nonce": nonces.Current(noon)})}, ReasonTime},
		{"too far ahead", []string{proofOf(t, k, m{"iat": noon.Add(Allowed + time.Second).Unix(), "nonce": nonces.Current(noon)})}, ReasonTime},
		{"nonce of somebody else", []string{proofOf(t, k, m{"nonce": NewNonces([]byte("another key 1234")).Current(noon)})}, ReasonNonce},
		{"a nonce that is over", []string{proofOf(t, k, m{"nonce": nonces.Current(noon.Add(-3 * time.Minute))})}, ReasonNonce},
		{"a nonce of before", []string{proofOf(t, k, m{"nonce": nonces.Current(noon.Add(-2 * time.Minute))})}, ""},
	} {
		p, refusal := checker(noon).Check(header(c.proofs...), Target{Method: "POST", URL: endpoint})
		switch {
		case c.reason == "" && (refusal != nil || p.Key() != k.ID()):
			t.Errorf("%s: %v, key %s", c.name, refusal, p.Key())
		case c.reason != "" && (refusal == nil || refusal.Reason != c.reason || p != Proof{}):
			t.Errorf("%s: %v, wanted %s", c.name, refusal, c.reason)
		case refusal != nil && (refusal.Code == oauth.UseDPoPNonce) != (c.reason == ReasonNonce):
			t.Errorf("%s: code %s", c.name, refusal.Code)
		}
	}
}

// covers: RS-DPOP-05
func TestCanonical(t *testing.T) {
	for raw, want := range map[string]string{
		"HTTPS://Files.Example:443/mcp": "https://files.example/mcp", "http://127.0.0.1:80": "http://127.0.0.1/",
		"https://files.example":             "https://files.example/",
		"https://files.example:80/":         "https://files.example:80/",
		"https://files.example/A%20b?q#f":   "https://files.example/A%20b",
		"https://[::1]:443/mcp":             "https://[::1]/mcp",
		"https://files.example/mcp/":        "https://files.example/mcp/",
		"ftp://files.example/":              "",
		"https://":                          "",
		"https://files.example\x7f/":        "",
		"https:files.example":               "",
		"https://someone@files.example/mcp": "",
	} {
		if got, err := canonical(raw); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", raw, got, err)
		}
	}
}

// Every algorithm that the metadata lists, and none that is symmetric.
func TestAlgorithms(t *testing.T) {
	edKey, err := jose.NewKey(ed25519.NewKeyFromSeed(make([]byte, 32)), "")
	if err != nil {
		t.Fatal(err)
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := jose.NewKey(r, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []*jose.Key{edKey, rsaKey} {
		if _, refusal := checker(noon).Check(header(proofOf(t, k, nil)), Target{Method: "POST", URL: endpoint}); refusal != nil {
			t.Errorf("%s: %v", k.Alg(), refusal)
		}
	}
	for _, alg := range Algs() {
		if strings.HasPrefix(alg, "HS") || alg == "none" {
			t.Errorf("%s is not asymmetric", alg)
		}
	}
}

// The example of RFC 9449 section 7.1: a proof for a request with a token.
//
// covers: AS-DPOP-01
func TestExampleOfTheRFC(t *testing.T) {
	const (
		proof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
		token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
	)
	at := Target{Method: "GET", URL: "https://resource.example.org/protectedresource", Token: token}
	p, refusal := checker(time.Unix(1562262620, 0)).Check(header(proof), at)
	if refusal != nil || p.Key() != "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" {
		t.Fatalf("%s: %v", p.Key(), refusal)
	}
	at.Token += "x"
	if _, refusal := checker(time.Unix(1562262620, 0)).Check(header(proof), at); refusal == nil || refusal.Reason != ReasonToken {
		t.Errorf("another token: %v", refusal)
	}
}

// What Make makes is good for its request, and for no other.
func TestMake(t *testing.T) {
	k, c := newKey(t), checker(noon)
	at := Target{Method: "POST", URL: "https://Files.example/mcp?x=1", Token: "token"}
	seen := map[string]bool{}
	for range 3 {
		proof, err := Make(k, at, c.Nonces.Current(noon), noon)
		if err != nil {
			t.Fatal(err)
		}
		p, refusal := c.Check(header(proof), at)
		if refusal != nil || p.Key() != k.ID() || p.Renew() {
			t.Fatalf("%+v, %v", p, refusal)
		}
		name, until := p.Once()
		if seen[name] || !until.Equal(noon.Add(Allowed+afterwards)) {
			t.Errorf("%s until %s", name, until)
		}
		seen[name] = true
		for _, other := range []Target{{"GET", at.URL, at.Token}, {"POST", "https://files.example/other", at.Token}, {"POST", at.URL, "other"}} {
			if _, refusal := c.Check(header(proof), other); refusal == nil {
				t.Errorf("taken for %+v", other)
			}
		}
	}
}

// covers: AS-DPOP-07
func TestNonces(t *testing.T) {
	a, b := NewNonces([]byte("0123456789abcdef")), NewNonces([]byte("0123456789abcdef"))
	first := a.Current(noon)
	if first != b.Current(noon) {
		t.Error("two processes with one key do not know each other's nonces")
	}
	if first == a.Current(noon.Add(slot)) || first == NewNonces([]byte("0123456789abcdeX")).Current(noon) || len(first) < 22 {
		t.Error("it can be foretold")
	}
	for _, c := range []struct {
		later         time.Duration
		known, newest bool
	}{{-2 * slot, false, false}, {-slot, true, true}, {0, true, true}, {slot, true, false}, {2 * slot, true, false}, {3 * slot, false, false}} {
		if known, newest := b.known(first, noon.Add(c.later)); known != c.known || newest != c.newest {
			t.Errorf("after %s: known %t, newest %t", c.later, known, newest)
		}
	}
}

// covers: AS-DPOP-07
func TestSeen(t *testing.T) {
	var s Seen
	k := newKey(t)
	at := Target{Method: "POST", URL: endpoint}
	check := func(changes map[string]any) Proof {
		p, refusal := checker(noon).Check(header(proofOf(t, k, changes)), at)
		if refusal != nil {
			t.Fatal(refusal)
		}
		return p
	}
	first, second := check(nil), check(map[string]any{"jti": "j2"})
	for _, c := range []struct {
		p     Proof
		later time.Duration
		first bool
	}{{first, 0, true}, {first, 0, false}, {second, 0, true}, {first, Fresh, false}, {second, Fresh, false}, {first, Fresh + 2*time.Second, true}} {
		if got := s.First(c.p, noon.Add(c.later)); got != c.first {
			t.Errorf("after %s: %t", c.later, got)
		}
	}
	k = newKey(t)
	if !s.First(check(nil), noon) {
		t.Error("another key's proof with the same jti counts as seen")
	}
}

// What is over makes room, and there is an end to it.
func TestSeenIsBounded(t *testing.T) {
	var sh shard
	now := noon.Unix()
	for i := range 3 * seenShard {
		key := [16]byte{byte(i), byte(i >> 8), byte(i >> 16)}
		if !sh.first(key, now+1, now) || len(sh.until) > seenShard {
			t.Fatalf("%d: %d are kept", i, len(sh.until))
		}
	}
	sh.tidy(now + 2)
	if len(sh.until) != 0 || sh.sweep != seenSweep {
		t.Errorf("%d are left, next look at %d", len(sh.until), sh.sweep)
	}
}

func TestCheckBody(t *testing.T) {
	k := newKey(t)
	const body = `{"hello": "world"}`
	for _, c := range []struct {
		digest any
		ok     bool
	}{
		{nil, true},
		{"sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:", true}, // RFC 9530 appendix A
		{"sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:, sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:", true},
		{"sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPA=:", false},
		{"sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=", false},
		{"sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:", false},
		{"nonsense", false},
	} {
		p, refusal := checker(noon).Check(header(proofOf(t, k, map[string]any{"content_digest": c.digest})), Target{Method: "POST", URL: endpoint})
		if refusal != nil {
			t.Fatal(refusal)
		}
		if refusal := p.CheckBody([]byte(body)); (refusal == nil) != c.ok || p.HasDigest() != (c.digest != nil) {
			t.Errorf("%v: %v", c.digest, refusal)
		}
	}
}

// FuzzCheck signs what claims come: what is taken is for this request, of now.
func FuzzCheck(f *testing.F) {
	k := newKey(f)
	f.Add(`{"jti":"1","htm":"POST","htu":"https://as.example/token","iat":1785240000}`, "", "")
	f.Add(`{"jti":"1","htm":"POST","htu":"https://as.example/token","iat":1785239800,"nonce":"x"}`, "", "")
	f.Add(`{"jti":"1","htm":"POST","htu":"HTTPS://AS.example:443/token?x#y","iat":1.78524e9,"ath":"x"}`, "", "eyJ0eXAiOiJkcG9wK2p3dCJ9.e30.")
	f.Add(`{"jti":1,"htm":{},"htu":[],"iat":"x"}`, "token", "")
	f.Fuzz(func(t *testing.T, payload, token, raw string) {
		c := checker(noon)
		if _, refusal := c.Check(header(raw), Target{Method: "POST", URL: endpoint}); refusal == nil {
			t.Fatal("a proof that this key did not make") // nobody signs anything here by chance
		}
		proof, err := k.SignEmbedded(oauth.TypDPoP, json.RawMessage(payload))
		if err != nil {
			return
		}
		p, refusal := c.Check(header(proof), Target{Method: "POST", URL: endpoint, Token: token})
		if refusal != nil {
			return
		}
		var said map[string]any
		if err := json.Unmarshal([]byte(payload), &said); err != nil {
			t.Fatalf("taken: %s: %v", payload, err)
		}
		htu, _ := said["htu"].(string)
		iat, _ := said["iat"].(float64)
		if said["jti"] == "" || said["htm"] != "POST" || !strings.Contains(strings.ToLower(htu), "as.example") || token != "" && said["ath"] != TokenHash(token) ||
			iat < float64(noon.Add(-Allowed).Unix()) || iat > float64(noon.Add(Allowed).Unix()) || p.Key() != k.ID() {
			t.Fatalf("taken: %s", payload)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	k, c := newKey(b), checker(noon)
	h, at := header(proofOf(b, k, nil)), Target{Method: "POST", URL: endpoint}
	b.ReportAllocs()
	for b.Loop() {
		if _, refusal := c.Check(h, at); refusal != nil {
			b.Fatal(refusal)
		}
	}
}

// A proof that is checked in its last moment and written down after it is
// remembered then: another one was checked in the same moment.
//
// covers: SEC-14
func TestProofIsRememberedPastItsEnd(t *testing.T) {
	p := Proof{key: "k", id: "1", until: time.Unix(1000, 0)}
	if _, until := p.Once(); until.Before(p.until.Add(30 * time.Second)) {
		t.Errorf("until %v, and it is good until %v", until, p.until)
	}
}
