package doorward_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"doorward"
	"doorward/internal/jose"
	"doorward/internal/oauth"
)

const (
	guardedFiles  = "https://files.example/mcp"
	guardIssuer   = "https://auth.example"
	guardPRM      = "https://files.example/.well-known/oauth-protected-resource/mcp"
	guardAsking   = `Bearer resource_metadata="` + guardPRM + `", scope="files:read"`
	guardRefusing = `Bearer error="invalid_token", error_description="The access token is not valid here", resource_metadata="` + guardPRM + `", scope="files:read"`
)

func guardKey(t testing.TB) *jose.Key {
	t.Helper()
	k, err := jose.NewES256()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func guardSign(t testing.TB, k *jose.Key, typ string, claims map[string]any) string {
	t.Helper()
	token, err := k.Sign(typ, claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// guardClaims are those of a good token, with changes; nil leaves one out.
func guardClaims(now time.Time, changes map[string]any) map[string]any {
	claims := map[string]any{
		"iss": guardIssuer, "sub": "corp/alice", "aud": guardedFiles, "client_id": "desktop", "jti": "j1", "gid": "g1",
		"iat": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(), "scope": "files:read files:list",
		"auth_time": now.Add(-time.Hour).Unix(), "acr": "1", "amr": []string{"pwd", "mfa"},
	}
	for name, value := range changes {
		if value == nil {
			delete(claims, name)
		} else {
			claims[name] = value
		}
	}
	return claims
}

// guardKeySets serves key sets from memory.
func guardKeySets(t testing.TB, sets map[string][]*jose.Key) func(context.Context, string) ([]byte, error) {
	docs := map[string][]byte{}
	for issuer, keys := range sets {
		doc, err := json.Marshal(jose.NewSet(keys...))
		if err != nil {
			t.Fatal(err)
		}
		docs[issuer] = doc
	}
	return func(_ context.Context, issuer string) ([]byte, error) {
		if doc := docs[issuer]; doc != nil {
			return doc, nil
		}
		return nil, fmt.Errorf("no keys of %s", issuer)
	}
}

// newGuard makes a guard and a handler behind it that says who called.
func newGuard(t testing.TB, c doorward.GuardConfig) (*doorward.Guard, http.Handler) {
	t.Helper()
	if c.Resource == "" {
		c.Resource = guardedFiles
	}
	if c.Issuers == nil {
		c.Issuers = []string{guardIssuer}
	}
	if c.Scopes == nil {
		c.Scopes = []string{"files:read", "offline_access"}
	}
	g, err := doorward.NewGuard(c)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	g.Mount(mux, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, ok := doorward.CallerFrom(r.Context())
		if !ok {
			http.Error(w, "no caller", http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(caller)
	}))
	return g, mux
}

func guardAsk(h http.Handler, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, guardedFiles, strings.NewReader("{}"))
	change(r)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func withToken(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

// covers: RS-TOK-01, RS-TOK-02, RS-CHAL-01, RS-CHAL-02, RS-CHAL-03, RS-CHAL-05, J01, J02, J03, J04, J05, J26
func TestGuardTakesTheTokenFromOneHeader(t *testing.T) {
	key := guardKey(t)
	_, h := newGuard(t, doorward.GuardConfig{Keys: guardKeySets(t, map[string][]*jose.Key{guardIssuer: {key}})})
	good := guardSign(t, key, oauth.TypAccessToken, guardClaims(time.Now(), nil))
	form := func(r *http.Request) *http.Request {
		body := "access_token=" + good + "&x=1"
		f := httptest.NewRequest(http.MethodPost, guardedFiles, strings.NewReader(body))
		f.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
		*r = *f
		return r
	}
	malformed := `Bearer error="invalid_request", error_description="send one access token, in one Authorization header", resource_metadata="` + guardPRM + `", scope="files:read"`
	for _, c := range []struct {
		name      string
		change    func(*http.Request)
		status    int
		challenge string
	}{
		{"good", withToken(good), 200, ""},
		{"lower case scheme", func(r *http.Request) { r.Header.Set("Authorization", "bEARER  "+good) }, 200, ""},
		{"GET", func(r *http.Request) { r.Method = http.MethodGet; withToken(good)(r) }, 200, ""},
		{"none", func(*http.Request) {}, 401, guardAsking},
		{"none, GET", func(r *http.Request) { r.Method = http.MethodGet }, 401, guardAsking},
		{"none, DELETE, inside a session", func(r *http.Request) { r.Method = http.MethodDelete; r.Header.Set("Mcp-Session-Id", "s") }, 401, guardAsking},
		{"empty", func(r *http.Request) { r.Header.Set("Authorization", "Bearer") }, 401, guardAsking},
		{"another scheme", func(r *http.Request) { r.Header.Set("Authorization", "Basic "+good) }, 401, guardAsking},
		{"DPoP scheme, unbound token", func(r *http.Request) { r.Header.Set("Authorization", "DPoP "+good) }, 401, guardAsking},
		{"in the query", func(r *http.Request) { r.URL.RawQuery = "access_token=" + good }, 401, guardAsking},
		{"in the form", func(r *http.Request) { form(r) }, 401, guardAsking},
		{"header and form", func(r *http.Request) { withToken(good)(form(r)) }, 400, malformed},
		{"two headers", func(r *http.Request) { r.Header["Authorization"] = []string{"Bearer " + good, "Bearer " + good} }, 400, malformed},
		{"two headers, joined", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+good+", Bearer "+good) }, 400, malformed},
		{"words after the token", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+good+" x") }, 401, guardRefusing},
		{"too long", withToken(strings.Repeat("a", jose.MaxToken+1)), 401, guardRefusing},
		{"no JWT", withToken("abc"), 401, guardRefusing},
	} {
		w := guardAsk(h, c.change)
		if got := w.Header().Get("WWW-Authenticate"); w.Code != c.status || got != c.challenge {
			t.Errorf("%s: %d %s\nwant %d %s", c.name, w.Code, got, c.status, c.challenge)
		}
		if w.Code != 200 && (w.Header().Get("Cache-Control") != "no-store" || strings.Contains(w.Body.String(), good)) {
			t.Errorf("%s: cached, or says too much: %v %s", c.name, w.Header(), w.Body)
		}
	}
}

// The form is looked into only, and reaches the handler whole.
func TestGuardLeavesTheBody(t *testing.T) {
	key := guardKey(t)
	g, err := doorward.NewGuard(doorward.GuardConfig{Resource: guardedFiles, Issuers: []string{guardIssuer},
		Keys: guardKeySets(t, map[string][]*jose.Key{guardIssuer: {key}})})
	if err != nil {
		t.Fatal(err)
	}
	sent := strings.Repeat("a=1&", 40_000)
	h := g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var got strings.Builder
		buf := make([]byte, 1000)
		for n, err := r.Body.Read(buf); n > 0 || err == nil; n, err = r.Body.Read(buf) {
			got.Write(buf[:n])
		}
		if got.String() != sent {
			t.Errorf("the handler got %d bytes of %d", got.Len(), len(sent))
		}
	}))
	r := httptest.NewRequest(http.MethodPost, guardedFiles, strings.NewReader(sent))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	withToken(guardSign(t, key, oauth.TypAccessToken, guardClaims(time.Now(), nil)))(r)
	h.ServeHTTP(httptest.NewRecorder(), r)
}

// covers: RS-TOK-03, RS-TOK-04, RS-TOK-06, RS-CHAL-04, X-JWT-05, SEC-04, J06, J15, J16, J17
func TestGuardRefusesClaims(t *testing.T) {
	now := time.Now()
	key, other := guardKey(t), guardKey(t)
	_, h := newGuard(t, doorward.GuardConfig{
		Issuers: []string{guardIssuer, "https://second.example"},
		Keys:    guardKeySets(t, map[string][]*jose.Key{guardIssuer: {key}, "https://second.example": {other}}),
	})
	for _, c := range []struct {
		name    string
		signer  *jose.Key
		changes map[string]any
		status  int
	}{
		{"good", key, nil, 200},
		{"audiences, ours among them", key, map[string]any{"aud": []string{"https://other.example", guardedFiles}}, 200},
		{"second issuer", other, map[string]any{"iss": "https://second.example"}, 200},
		{"clock of the issuer is ahead", key, map[string]any{"iat": now.Add(30 * time.Second).Unix()}, 200},
		{"audience of another server", key, map[string]any{"aud": "https://other.example/mcp"}, 401},
		{"audiences of others", key, map[string]any{"aud": []string{"https://other.example/mcp", "https://files.example"}}, 401},
		{"no audience", key, map[string]any{"aud": nil}, 401},
		{"prefix of an audience", key, map[string]any{"aud": guardedFiles + "2"}, 401},
		{"audience with a slash", key, map[string]any{"aud": guardedFiles + "/"}, 401},
		{"audience in upper case", key, map[string]any{"aud": "HTTPS://files.example/mcp"}, 401},
		{"audience no string", key, map[string]any{"aud": 7}, 401},
		{"one issuer's name, the other's key", other, nil, 401},
		{"unknown issuer", key, map[string]any{"iss": "https://evil.example"}, 401},
		{"issuer with a slash", key, map[string]any{"iss": guardIssuer + "/"}, 401},
		{"no issuer", key, map[string]any{"iss": nil}, 401},
		{"no subject", key, map[string]any{"sub": nil}, 401},
		{"no client", key, map[string]any{"client_id": nil}, 401},
		{"no jti", key, map[string]any{"jti": nil}, 401},
		{"no iat", key, map[string]any{"iat": nil}, 401},
		{"no exp", key, map[string]any{"exp": nil}, 401},
		{"exp a string", key, map[string]any{"exp": "9999999999"}, 401},
		{"subject no string", key, map[string]any{"sub": 7}, 401},
		{"not yet", key, map[string]any{"nbf": now.Add(2 * time.Minute).Unix()}, 401},
		{"from the future", key, map[string]any{"iat": now.Add(2 * time.Minute).Unix()}, 401},
		{"bound to a DPoP key", key, map[string]any{"cnf": map[string]string{"jkt": "x"}}, 401},
		{"bound to a certificate", key, map[string]any{"cnf": map[string]string{"x5t#S256": "x"}}, 401},
		{"a scope that is none", key, map[string]any{"scope": `a"b`}, 401},
	} {
		w := guardAsk(h, withToken(guardSign(t, c.signer, oauth.TypAccessToken, guardClaims(now, c.changes))))
		if w.Code != c.status {
			t.Errorf("%s: %d", c.name, w.Code)
		}
		if got := w.Header().Get("WWW-Authenticate"); c.status == 401 && got != guardRefusing {
			t.Errorf("%s: says %s", c.name, got)
		}
	}
	expired := guardAsk(h, withToken(guardSign(t, key, oauth.TypAccessToken, guardClaims(now, map[string]any{"exp": now.Add(-time.Second).Unix()}))))
	if got := expired.Header().Get("WWW-Authenticate"); expired.Code != 401 || !strings.Contains(got, `error="invalid_token", error_description="The access token expired"`) {
		t.Errorf("expired: %d %s", expired.Code, got)
	}
}

// Each JWT of another class, signed by the right issuer with every other claim
// right, is no access token.
// covers: RS-TOK-05, RS-TOK-09, X-JWT-01, X-JWT-04, SEC-20
func TestGuardRefusesOtherClasses(t *testing.T) {
	key := guardKey(t)
	_, h := newGuard(t, doorward.GuardConfig{Keys: guardKeySets(t, map[string][]*jose.Key{guardIssuer: {key}})})
	for _, typ := range []string{oauth.TypIDToken, oauth.TypIDJAG, oauth.TypClientAssertion, "dpop+jwt", "token-introspection+jwt", "logout+jwt", "secevent+jwt", ""} {
		if w := guardAsk(h, withToken(guardSign(t, key, typ, guardClaims(time.Now(), nil)))); w.Code != 401 {
			t.Errorf("typ %q: %d", typ, w.Code)
		}
	}
	for _, typ := range []string{"at+jwt", "application/at+jwt", "AT+JWT"} {
		if w := guardAsk(h, withToken(guardSign(t, key, typ, guardClaims(time.Now(), nil)))); w.Code != 200 {
			t.Errorf("typ %q: %d", typ, w.Code)
		}
	}
	none := "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + strings.Split(guardSign(t, key, "at+jwt", guardClaims(time.Now(), nil)), ".")[1] + "."
	if w := guardAsk(h, withToken(none)); w.Code != 401 {
		t.Errorf("alg none: %d", w.Code)
	}
}

// covers: RS-TOK-12, RS-TOK-13, J18, J19
func TestCallerComesFromTheToken(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	key := guardKey(t)
	_, h := newGuard(t, doorward.GuardConfig{Keys: guardKeySets(t, map[string][]*jose.Key{guardIssuer: {key}})})
	token := guardSign(t, key, oauth.TypAccessToken, guardClaims(now, nil))
	for _, sight := range []string{"first", "second"} {
		w := guardAsk(h, func(r *http.Request) {
			withToken(token)(r)
			r.Header.Set("X-Forwarded-User", "mallory")
			r.Header.Set("Doorward-Subject", "mallory")
		})
		var c doorward.Caller
		if err := json.Unmarshal(w.Body.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		if c.Issuer != guardIssuer || c.Subject != "corp/alice" || c.ClientID != "desktop" || c.Grant != "g1" || c.ACR != "1" ||
			!c.HasScope("files:list", "files:read") || c.HasScope("files:write") || len(c.AMR) != 2 || c.AMR[1] != "mfa" ||
			!c.Expires.Equal(now.Add(10*time.Minute)) || !c.AuthTime.Equal(now.Add(-time.Hour)) || c.IsClient() {
			t.Errorf("%s sight: %+v", sight, c)
		}
	}
	for _, c := range []doorward.Caller{{Subject: "desktop", ClientID: "desktop"}, {Subject: "client:desktop", ClientID: "desktop"}} {
		if !c.IsClient() {
			t.Errorf("%+v is the client itself", c)
		}
	}
	if _, ok := doorward.CallerFrom(t.Context()); ok {
		t.Error("a caller out of nothing")
	}
}

// The grant's end counts at the next request, also for a token that was seen.
// covers: RS-CHAL-04
func TestGuardAsksWhetherTheGrantEnded(t *testing.T) {
	key := guardKey(t)
	var ended, fetched atomic.Int32
	keys := guardKeySets(t, map[string][]*jose.Key{guardIssuer: {key}})
	_, h := newGuard(t, doorward.GuardConfig{
		Keys: func(ctx context.Context, issuer string) ([]byte, error) {
			fetched.Add(1)
			return keys(ctx, issuer)
		},
		Ended: func(grant string) bool { return grant == "g1" && ended.Load() == 1 },
	})
	token := withToken(guardSign(t, key, oauth.TypAccessToken, guardClaims(time.Now(), nil)))
	fresh := withToken(guardSign(t, key, oauth.TypAccessToken, guardClaims(time.Now(), map[string]any{"jti": "j2"})))
	other := withToken(guardSign(t, key, oauth.TypAccessToken, guardClaims(time.Now(), map[string]any{"gid": "g2"})))
	for range 3 {
		if w := guardAsk(h, token); w.Code != 200 {
			t.Fatal(w.Code)
		}
	}
	ended.Store(1)
	for name, c := range map[string]struct {
		ask    func(*http.Request)
		status int
	}{"seen": {token, 401}, "not seen": {fresh, 401}, "another grant": {other, 200}} {
		if w := guardAsk(h, c.ask); w.Code != c.status {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	if n := fetched.Load(); n != 1 {
		t.Errorf("keys fetched %d times", n)
	}
}

// A token is believed without a look at its signature for five minutes, so a
// key that its issuer withdrew stops counting.
// covers: X-JWT-07
func TestGuardForgetsWithdrawnKeys(t *testing.T) {
	key := guardKey(t)
	var keys atomic.Pointer[jose.Key]
	keys.Store(key)
	now := time.Now()
	_, h := newGuard(t, doorward.GuardConfig{
		Now:  func() time.Time { return now },
		Keys: func(context.Context, string) ([]byte, error) { return json.Marshal(jose.NewSet(keys.Load())) },
	})
	token := withToken(guardSign(t, key, oauth.TypAccessToken, guardClaims(now, map[string]any{"exp": now.Add(time.Hour).Unix()})))
	if w := guardAsk(h, token); w.Code != 200 {
		t.Fatal(w.Code)
	}
	keys.Store(guardKey(t))
	now = now.Add(11 * time.Minute)
	if w := guardAsk(h, token); w.Code != 401 {
		t.Errorf("a withdrawn key still counts: %d", w.Code)
	}
}

// Between its first sight and its end nothing keeps a token alive.
func TestGuardCacheEndsWithTheToken(t *testing.T) {
	key := guardKey(t)
	now := time.Now()
	_, h := newGuard(t, doorward.GuardConfig{
		Now: func() time.Time { return now }, Keys: guardKeySets(t, map[string][]*jose.Key{guardIssuer: {key}}),
	})
	token := withToken(guardSign(t, key, oauth.TypAccessToken, guardClaims(now, map[string]any{"exp": now.Add(time.Minute).Unix()})))
	for _, c := range []struct {
		later  time.Duration
		status int
	}{{0, 200}, {58 * time.Second, 200}, {3 * time.Second, 401}} {
		now = now.Add(c.later)
		if w := guardAsk(h, token); w.Code != c.status {
			t.Errorf("after %s: %d", c.later, w.Code)
		}
	}
}

// covers: J08, J09
func TestGuardWithoutKeys(t *testing.T) {
	_, h := newGuard(t, doorward.GuardConfig{Keys: guardKeySets(t, nil)})
	w := guardAsk(h, withToken(guardSign(t, guardKey(t), oauth.TypAccessToken, guardClaims(time.Now(), nil))))
	if w.Code != 503 || w.Header().Get("WWW-Authenticate") != "" || w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "no keys of") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}

// Without Keys they come from the issuer's metadata, which must be its own.
// covers: X-JWT-03, J24
func TestGuardDiscoversKeys(t *testing.T) {
	key := guardKey(t)
	for _, c := range []struct {
		name   string
		answer func(issuer string) map[string]any
		status int
	}{
		{"good", func(i string) map[string]any { return map[string]any{"issuer": i, "jwks_uri": i + "/jwks"} }, 200},
		{"metadata of another issuer", func(i string) map[string]any {
			return map[string]any{"issuer": i + "/", "jwks_uri": i + "/jwks"}
		}, 503},
		{"keys over http", func(i string) map[string]any {
			return map[string]any{"issuer": i, "jwks_uri": "http://keys.example/jwks"}
		}, 503},
		{"keys behind a redirect", func(i string) map[string]any {
			return map[string]any{"issuer": i, "jwks_uri": i + "/moved"}
		}, 503},
	} {
		mux := http.NewServeMux()
		srv := httptest.NewServer(mux)
		defer srv.Close()
		mux.HandleFunc(oauth.WellKnownAS, func(w http.ResponseWriter, r *http.Request) {
			_ = json.NewEncoder(w).Encode(c.answer(srv.URL))
		})
		mux.HandleFunc("/jwks", func(w http.ResponseWriter, r *http.Request) { _ = json.NewEncoder(w).Encode(jose.NewSet(key)) })
		mux.Handle("/moved", http.RedirectHandler("/jwks", http.StatusFound))
		_, h := newGuard(t, doorward.GuardConfig{Issuers: []string{srv.URL}})
		w := guardAsk(h, withToken(guardSign(t, key, oauth.TypAccessToken, guardClaims(time.Now(), map[string]any{"iss": srv.URL}))))
		if w.Code != c.status {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
	}
}

// discard is a ResponseWriter that costs nothing.
type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

func BenchmarkGuard(b *testing.B) {
	key := guardKey(b)
	g, err := doorward.NewGuard(doorward.GuardConfig{Resource: guardedFiles, Issuers: []string{guardIssuer},
		Keys: guardKeySets(b, map[string][]*jose.Key{guardIssuer: {key}}), Ended: func(string) bool { return false }})
	if err != nil {
		b.Fatal(err)
	}
	h := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	now := time.Now()
	b.Run("hit", func(b *testing.B) {
		r := httptest.NewRequest(http.MethodPost, guardedFiles, nil)
		withToken(guardSign(b, key, oauth.TypAccessToken, guardClaims(now, nil)))(r)
		b.ReportAllocs()
		for b.Loop() {
			h.ServeHTTP(discard{http.Header{}}, r)
		}
	})
	b.Run("first", func(b *testing.B) {
		var tokens []string
		for i := range 2000 {
			tokens = append(tokens, guardSign(b, key, oauth.TypAccessToken, guardClaims(now, map[string]any{"jti": fmt.Sprint(i)})))
		}
		r := httptest.NewRequest(http.MethodPost, guardedFiles, nil)
		i := 0
		b.ReportAllocs()
		for b.Loop() {
			if i%len(tokens) == 0 { // a new guard has seen none
				b.StopTimer()
				if g, err = doorward.NewGuard(doorward.GuardConfig{Resource: guardedFiles, Issuers: []string{guardIssuer},
					Keys: guardKeySets(b, map[string][]*jose.Key{guardIssuer: {key}})}); err != nil {
					b.Fatal(err)
				}
				h = g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
				b.StartTimer()
			}
			withToken(tokens[i%len(tokens)])(r)
			h.ServeHTTP(discard{http.Header{}}, r)
			i++
		}
	})
}

func TestGuardInsecureHTTP(t *testing.T) {
	c := doorward.GuardConfig{Resource: "http://mcp.internal/mcp", Issuers: []string{"http://auth.internal"}}
	if _, err := doorward.NewGuard(c); err == nil {
		t.Error("plain http beyond loopback without a word")
	}
	c.InsecureHTTP = true
	if _, err := doorward.NewGuard(c); err != nil {
		t.Error(err)
	}
	c.Issuers = []string{"ftp://auth.internal"}
	if _, err := doorward.NewGuard(c); err == nil {
		t.Error("an issuer that is no web address")
	}
}
