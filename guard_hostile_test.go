package doorward_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"doorward"
	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// pair is a key that can sign anything.
type pair struct {
	private *ecdsa.PrivateKey
	key     *jose.Key
}

func newPair(t testing.TB, kid string) pair {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := jose.NewKey(private, kid)
	if err != nil {
		t.Fatal(err)
	}
	return pair{private, key}
}

func forgeInput(header, claims map[string]any) string {
	part := func(m map[string]any) string {
		b, err := json.Marshal(m)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	return part(header) + "." + part(claims)
}

func (p pair) forge(header, claims map[string]any) string {
	input := forgeInput(header, claims)
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, p.private, digest[:])
	if err != nil {
		panic(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

// Only the keys of the issuer that a token names count, and only for what they
// are: whatever the token's header says about keys and algorithms.
// covers: SEC-18, SEC-19, X-JWT-01, X-JWT-03
func TestGuardKeyConfusion(t *testing.T) {
	now := time.Now()
	ours, twin, theirs, mallory := newPair(t, "k1"), newPair(t, "k1"), newPair(t, "k2"), newPair(t, "k1")
	const second = "https://second.example"
	_, h := newGuard(t, doorward.GuardConfig{Issuers: []string{guardIssuer, second},
		Keys: guardKeySets(t, map[string][]*jose.Key{guardIssuer: {ours.key, twin.key}, second: {theirs.key}})})
	claims := guardClaims(now, nil)
	of2 := guardClaims(now, map[string]any{"iss": second})
	header := func(changes map[string]any) map[string]any {
		out := map[string]any{"alg": "ES256", "typ": "at+jwt", "kid": "k1"}
		maps.Copy(out, changes)
		return out
	}
	spki, err := x509.MarshalPKIXPublicKey(&ours.private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	mac := func(secret []byte) string {
		input := forgeInput(header(map[string]any{"alg": "HS256"}), claims)
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(input))
		return input + "." + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
	}
	var jwk map[string]any
	set, err := json.Marshal(jose.NewSet(mallory.key))
	if err != nil {
		t.Fatal(err)
	}
	var parsed struct{ Keys []map[string]any }
	if err := json.Unmarshal(set, &parsed); err != nil {
		t.Fatal(err)
	}
	jwk = parsed.Keys[0]
	good := ours.forge(header(nil), claims)
	cut := strings.LastIndexByte(good, '.')
	for name, c := range map[string]struct {
		token string
		want  int
	}{
		"good":                           {good, 200},
		"good, by the key of one kid":    {twin.forge(header(nil), claims), 200},
		"good, of the second":            {theirs.forge(header(map[string]any{"kid": "k2"}), of2), 200},
		"no signature":                   {good[:cut+1], 401},
		"none":                           {forgeInput(header(map[string]any{"alg": "none"}), claims) + ".", 401},
		"None":                           {forgeInput(header(map[string]any{"alg": "None"}), claims) + ".", 401},
		"HS256 with the public key":      {mac(spki), 401},
		"RS256 on an EC key":             {ours.forge(header(map[string]any{"alg": "RS256"}), claims), 401},
		"half a signature":               {good[:cut+44], 401},
		"zeros":                          {good[:cut+1] + base64.RawURLEncoding.EncodeToString(make([]byte, 64)), 401},
		"another's key":                  {mallory.forge(header(nil), claims), 401},
		"a key of its own":               {mallory.forge(header(map[string]any{"jwk": jwk}), claims), 401},
		"a place for keys":               {mallory.forge(header(map[string]any{"jku": "https://evil.example/jwks", "x5u": "https://evil.example/x5u"}), claims), 401},
		"a certificate":                  {mallory.forge(header(map[string]any{"x5c": []string{base64.StdEncoding.EncodeToString(spki)}}), claims), 401},
		"kid of the second, its key":     {theirs.forge(header(map[string]any{"kid": "k2"}), claims), 401},
		"kid of ours, the second's key":  {theirs.forge(header(nil), claims), 401},
		"kid of the second, our key":     {ours.forge(header(map[string]any{"kid": "k2"}), of2), 401},
		"kid with a path":                {mallory.forge(header(map[string]any{"kid": "../../dev/null"}), claims), 401},
		"kid with SQL":                   {mallory.forge(header(map[string]any{"kid": "' OR 1=1 --"}), claims), 401},
		"kid no text":                    {ours.forge(header(map[string]any{"kid": 1}), claims), 401},
		"critical":                       {ours.forge(header(map[string]any{"crit": []string{"exp"}, "exp": 1}), claims), 401},
		"compressed":                     {ours.forge(header(map[string]any{"zip": "DEF", "crit": []string{"zip"}}), claims), 401},
		"the parts of two":               {strings.Join([]string{strings.Split(good, ".")[0], strings.Split(ours.forge(header(nil), of2), ".")[1], good[cut+1:]}, "."), 401},
		"four parts":                     {good + ".x", 401},
		"padded":                         {good + "=", 401},
		"white space within":             {good[:cut] + "." + "\t" + good[cut+1:], 401},
		"claims that are no object":      {forgeInput(header(nil), nil) + "." + good[cut+1:], 401},
		"deep claims":                    {ours.forge(header(nil), map[string]any{"iss": guardIssuer, "x": json.RawMessage(strings.Repeat("[", 9000) + strings.Repeat("]", 9000))}), 401},
		"no UTF-8":                       {"\xff\xfe." + good[cut+1:], 401},
		"text beyond ASCII":              {"ü.ü.ü", 401},
		"longer than any token may be":   {good + strings.Repeat("A", jose.MaxToken), 401},
		"nothing between the dots":       {"..", 401},
		"one dot":                        {".", 401},
		"an array for the header":        {base64.RawURLEncoding.EncodeToString([]byte("[]")) + good[strings.IndexByte(good, '.'):], 401},
		"the header twice in one object": {base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","alg":"ES256","typ":"at+jwt","kid":"k1"}`)) + good[strings.IndexByte(good, '.'):], 401},
	} {
		if w := guardAsk(h, withToken(c.token)); w.Code != c.want {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

// What a proxy or anybody else says in headers about host, scheme, address or
// certificate changes nothing: not who calls, not where a token is to be had.
// covers: SEC-33, RS-PRM-06, RS-TOK-12
func TestForgedHeadersChangeNothing(t *testing.T) {
	key := guardKey(t)
	_, h := newGuard(t, doorward.GuardConfig{Keys: guardKeySets(t, map[string][]*jose.Key{guardIssuer: {key}})})
	good := guardSign(t, key, oauth.TypAccessToken, guardClaims(time.Now(), nil))
	forged := map[string]string{
		"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Port": "1",
		"X-Forwarded-Prefix": "/evil", "Forwarded": "for=127.0.0.1;host=evil.example;proto=http", "X-Original-Url": "/public", "X-Rewrite-Url": "/public",
		"X-Client-Cert": "MIIB", "X-Forwarded-Client-Cert": "Hash=00", "Client-Cert": ":MIIB:", "X-Ssl-Client-Verify": "SUCCESS",
		"X-Forwarded-User": "root", "Remote-User": "root", "X-Auth-Request-User": "root", "X-Http-Method-Override": "OPTIONS",
	}
	for _, c := range []struct {
		name, method, path, token string
	}{
		{"metadata", http.MethodGet, "/.well-known/oauth-protected-resource/mcp", ""},
		{"without a token", http.MethodPost, "/mcp", ""}, {"with a bad one", http.MethodPost, "/mcp", "x.y.z"}, {"with a good one", http.MethodPost, "/mcp", good},
	} {
		ask := func(host string, header map[string]string) *httptest.ResponseRecorder {
			r := httptest.NewRequest(c.method, "https://files.example"+c.path, nil)
			r.Host = host
			for name, value := range header {
				r.Header.Set(name, value)
			}
			if c.token != "" {
				withToken(c.token)(r)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w
		}
		plain, odd := ask("files.example", nil), ask("evil.example", forged)
		if plain.Code != odd.Code || plain.Body.String() != odd.Body.String() || plain.Header().Get("Www-Authenticate") != odd.Header().Get("Www-Authenticate") {
			t.Errorf("%s: %d %s %v\nforged: %d %s %v", c.name, plain.Code, plain.Body, plain.Header(), odd.Code, odd.Body, odd.Header())
		}
	}
}

// Nothing but a good token is let through, and nothing makes more of a request
// than a refusal that can be read.
// covers: X-HTTP-06, X-JWT-01
func FuzzGuard(f *testing.F) {
	key := guardKey(f)
	_, h := newGuard(f, doorward.GuardConfig{Keys: guardKeySets(f, map[string][]*jose.Key{guardIssuer: {key}})})
	good := guardSign(f, key, oauth.TypAccessToken, guardClaims(time.Now().Add(time.Hour*24*365-time.Hour), map[string]any{"iat": time.Now().Unix()}))
	for _, seed := range []string{"", "Bearer", "Bearer ", "bearer " + good, "Bearer " + good + " x", "DPoP " + good, "Basic eDp5", "Bearer a.b.c", "Bearer\t" + good, "Bearer " + good + "," + good} {
		f.Add(seed, "application/json", "{}")
	}
	f.Add("Bearer "+good, "application/x-www-form-urlencoded", "a=b&access_token=x")
	f.Fuzz(func(t *testing.T, authorization, contentType, body string) {
		w := guardAsk(h, func(r *http.Request) {
			*r = *httptest.NewRequest(http.MethodPost, guardedFiles, strings.NewReader(body))
			r.Header["Authorization"] = []string{authorization}
			r.Header["Content-Type"] = []string{contentType}
		})
		switch w.Code {
		case 200:
			if scheme, token, _ := strings.Cut(authorization, " "); !strings.EqualFold(scheme, "bearer") || strings.Trim(token, " ") != good {
				t.Fatalf("let through: %q", authorization)
			}
		case 400, 401:
			challenge := w.Header().Get("WWW-Authenticate")
			if challenge == "" || !json.Valid(w.Body.Bytes()) || !utf8.ValidString(challenge) || strings.ContainsAny(challenge, "\r\n\x00") {
				t.Fatalf("%q: %d %q %s", authorization, w.Code, challenge, w.Body)
			}
		default:
			t.Fatalf("%q: %d", authorization, w.Code)
		}
	})
}

// Tokens with made-up key ids do not keep a new key of an issuer in this
// process from counting, and cause one call in each pause.
// covers: X-JWT-07, SEC-38
func TestUnknownKeysDoNotHoldUpNewOnes(t *testing.T) {
	now := time.Now()
	old, next, junk := newPair(t, "old"), newPair(t, "next"), newPair(t, "junk")
	keys, calls := []*jose.Key{old.key}, 0
	_, h := newGuard(t, doorward.GuardConfig{KeysPause: time.Second, Now: func() time.Time { return now },
		Keys: func(context.Context, string) ([]byte, error) { calls++; return json.Marshal(jose.NewSet(keys...)) }})
	ask := func(p pair) int {
		return guardAsk(h, withToken(guardSign(t, p.key, oauth.TypAccessToken, guardClaims(now, nil)))).Code
	}
	if got := ask(old); got != 200 || calls != 1 {
		t.Fatal(got, calls)
	}
	now = now.Add(time.Second)
	for range 5 {
		if got := ask(junk); got != 401 {
			t.Error(got)
		}
	}
	if calls != 2 {
		t.Errorf("%d calls", calls)
	}
	keys = append(keys, next.key)
	if now = now.Add(time.Second); ask(next) != 200 || calls != 3 {
		t.Errorf("the new key does not count after a second; %d calls", calls)
	}
}

// Where keys are fetched, it stays at one fetch in 30 seconds, whatever the pause.
// covers: X-JWT-07, SEC-38
func TestFetchedKeysAreFetchedSeldom(t *testing.T) {
	now, fetched := time.Now(), 0
	real, junk := newPair(t, "real"), newPair(t, "junk")
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	defer srv.Close()
	mux.HandleFunc(oauth.WellKnownAS, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(oauth.ServerMetadata{Issuer: srv.URL, JWKSURI: srv.URL + "/jwks"})
	})
	mux.HandleFunc("/jwks", func(w http.ResponseWriter, _ *http.Request) {
		fetched++
		_ = json.NewEncoder(w).Encode(jose.NewSet(real.key))
	})
	_, h := newGuard(t, doorward.GuardConfig{Issuers: []string{srv.URL}, KeysPause: time.Second, Now: func() time.Time { return now },
		Keys: func(context.Context, string) ([]byte, error) { return nil, nil }})
	ask := func(p pair) int {
		return guardAsk(h, withToken(guardSign(t, p.key, oauth.TypAccessToken, guardClaims(now, map[string]any{"iss": srv.URL})))).Code
	}
	if got := ask(real); got != 200 {
		t.Fatal(got)
	}
	for range 40 {
		now = now.Add(2 * time.Second)
		if got := ask(junk); got != 401 {
			t.Error(got)
		}
	}
	if fetched > 4 {
		t.Errorf("fetched %d times in 80 seconds", fetched)
	}
}
