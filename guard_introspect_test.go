package doorward_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward"
	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// asking is an issuer that answers about its tokens (RFC 7662).
type asking struct {
	*httptest.Server
	mu      sync.Mutex
	tokens  map[string]map[string]any
	methods []string
	client  *jose.Key // of private_key_jwt
	raw     func(w http.ResponseWriter, r *http.Request)
	asked   []url.Values
}

const (
	askingID     = "rs:1"
	askingSecret = "s%ecret of the resource/server"
)

func newAsking(t testing.TB) *asking {
	a := &asking{tokens: map[string]map[string]any{}}
	mux := http.NewServeMux()
	mux.HandleFunc(oauth.WellKnownAS, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": a.URL, "introspection_endpoint": a.URL + "/introspect",
			"introspection_endpoint_auth_methods_supported": a.methods})
	})
	mux.HandleFunc("POST /introspect", a.introspect)
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	return a
}

func (a *asking) introspect(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, r.PostForm)
	if a.raw != nil {
		a.raw(w, r)
		return
	}
	if !a.authentic(r) {
		http.Error(w, `{"error":"invalid_client"}`, http.StatusUnauthorized)
		return
	}
	answer := map[string]any{"active": false}
	if claims := a.tokens[r.PostForm.Get("token")]; claims != nil {
		answer = claims
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

func (a *asking) authentic(r *http.Request) bool {
	switch {
	case a.client != nil:
		v, err := jose.Verify(r.PostForm.Get("client_assertion"), jose.NewSet(a.client), []string{jose.ES256}, []string{oauth.TypClientAssertion})
		if err != nil {
			return false
		}
		aud, _ := v.Claims().Texts("aud")
		return len(aud) == 1 && aud[0] == a.URL
	case len(a.methods) > 0 && a.methods[0] == oauth.AuthPost:
		return r.PostForm.Get("client_id") == askingID && r.PostForm.Get("client_secret") == askingSecret
	}
	id, secret, ok := r.BasicAuth()
	return ok && id == url.QueryEscape(askingID) && secret == url.QueryEscape(askingSecret)
}

func (a *asking) questions() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.asked)
}

// knows makes a token with the claims of a good one, and changes.
func (a *asking) knows(token string, now time.Time, changes map[string]any) string {
	claims := guardClaims(now, map[string]any{"iss": a.URL, "jti": nil, "active": true, "token_type": "Bearer"})
	for name, value := range changes {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tokens[token] = claims
	return token
}

func (a *asking) config() doorward.GuardConfig {
	return doorward.GuardConfig{Issuers: []string{a.URL}, Introspect: map[string]doorward.Credentials{a.URL: {ID: askingID, Secret: askingSecret}}}
}

// Anything but active:true is no token, and what an active one says is checked
// here as a signed one's claims are.
// covers: RS-TOK-11, J25
func TestGuardIntrospects(t *testing.T) {
	a, now := newAsking(t), time.Now()
	_, h := newGuard(t, a.config())
	for _, c := range []struct {
		name    string
		changes map[string]any
		status  int
	}{
		{"good", nil, 200},
		{"of no said issuer", map[string]any{"iss": nil}, 200},
		{"of no said type", map[string]any{"token_type": nil}, 200},
		{"audiences, ours among them", map[string]any{"aud": []string{"https://other.example", guardedFiles}}, 200},
		{"access token by its use", map[string]any{"token_use": "access_token"}, 200},
		{"inactive", map[string]any{"active": false}, 401},
		{"active is missing", map[string]any{"active": nil}, 401},
		{"active is a word", map[string]any{"active": "true"}, 401},
		{"active is a number", map[string]any{"active": 1}, 401},
		{"audience of another", map[string]any{"aud": "https://other.example/mcp"}, 401},
		{"audience that begins alike", map[string]any{"aud": guardedFiles + "2"}, 401},
		{"no audience", map[string]any{"aud": nil}, 401},
		{"another issuer", map[string]any{"iss": "https://evil.example"}, 401},
		{"expired", map[string]any{"exp": now.Add(-time.Second).Unix()}, 401},
		{"no end", map[string]any{"exp": nil}, 401},
		{"not yet", map[string]any{"nbf": now.Add(time.Hour).Unix()}, 401},
		{"no subject", map[string]any{"sub": nil}, 401},
		{"no client", map[string]any{"client_id": nil}, 401},
		{"bound to a key, and no proof", map[string]any{"cnf": map[string]string{"jkt": "x"}}, 401},
		{"an ID-JAG", map[string]any{"token_type": "N_A"}, 401},
		{"refresh token", map[string]any{"token_use": "refresh_token"}, 401},
		{"a type that is no text", map[string]any{"token_type": 7}, 401},
	} {
		token := a.knows("opaque-"+strings.NewReplacer(" ", "-", ",", "").Replace(c.name), now, c.changes)
		if w := guardAsk(h, withToken(token)); w.Code != c.status {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
	}
	if w := guardAsk(h, withToken("never-heard-of")); w.Code != 401 || w.Header().Get("WWW-Authenticate") != guardRefusing {
		t.Errorf("unknown: %d %v", w.Code, w.Header())
	}
	if got := a.asked[0]; got.Get("token") != "opaque-good" || got.Get("token_type_hint") != "access_token" {
		t.Errorf("asked: %v", got)
	}
	var c doorward.Caller
	w := guardAsk(h, withToken("opaque-good"))
	if err := json.Unmarshal(w.Body.Bytes(), &c); err != nil || c.Issuer != a.URL || c.Subject != "corp/alice" || !c.HasScope("files:read") {
		t.Errorf("%+v %v", c, err)
	}
}

// covers: RS-TOK-11
func TestIntrospectionAuthenticates(t *testing.T) {
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		methods []string
		change  func(a *asking, c *doorward.Credentials)
		status  int
	}{
		{"nothing listed", nil, nil, 200},
		{"basic", []string{oauth.AuthBasic}, nil, 200},
		{"post", []string{oauth.AuthPost}, nil, 200},
		{"private_key_jwt", []string{oauth.AuthPrivateKeyJWT}, func(a *asking, c *doorward.Credentials) {
			k, err := jose.NewKey(signer, "")
			if err != nil {
				t.Fatal(err)
			}
			a.client, c.Secret, c.Key = k, "", signer
		}, 200},
		{"wrong secret", nil, func(_ *asking, c *doorward.Credentials) { c.Secret = "wrong" }, 503},
		{"none is all that it takes", []string{oauth.AuthNone}, nil, 503},
		{"mTLS is all that it takes", []string{"tls_client_auth"}, nil, 503},
	} {
		a := newAsking(t)
		a.methods = c.methods
		as := doorward.Credentials{ID: askingID, Secret: askingSecret}
		if c.change != nil {
			c.change(a, &as)
		}
		_, h := newGuard(t, doorward.GuardConfig{Issuers: []string{a.URL}, Introspect: map[string]doorward.Credentials{a.URL: as}})
		if w := guardAsk(h, withToken(a.knows("t", time.Now(), nil))); w.Code != c.status {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
	}
}

// The issuer's word counts for 30 seconds, or until the token ends.
// covers: RS-TOK-11
func TestIntrospectionIsNotBelievedForLong(t *testing.T) {
	a, now := newAsking(t), time.Now()
	c := a.config()
	c.Now = func() time.Time { return now }
	_, h := newGuard(t, c)
	long := a.knows("long", now, nil)
	short := a.knows("short", now, map[string]any{"exp": now.Add(10 * time.Second).Unix()})
	for _, step := range []struct {
		later     time.Duration
		token     string
		status    int
		questions int
	}{
		{0, long, 200, 1}, {29 * time.Second, long, 200, 1}, {time.Second, long, 200, 2},
		{0, short, 401, 3},
	} {
		now = now.Add(step.later)
		if w := guardAsk(h, withToken(step.token)); w.Code != step.status || a.questions() != step.questions {
			t.Errorf("%+v: %d after %d questions", step, w.Code, a.questions())
		}
	}
	a.knows("long", now, map[string]any{"active": false})
	if w := guardAsk(h, withToken(long)); w.Code != 200 {
		t.Errorf("asked too often: %d", w.Code)
	}
	if now = now.Add(30 * time.Second); guardAsk(h, withToken(long)).Code != 401 {
		t.Error("a revoked token counts on")
	}
}

// A token goes to its own issuer and to nobody else.
// covers: SEC-04, RS-TOK-04
func TestTokensAreNotShownAround(t *testing.T) {
	a, b, key := newAsking(t), newAsking(t), guardKey(t)
	keys := guardKeySets(t, map[string][]*jose.Key{guardIssuer: {key}})
	both := map[string]doorward.Credentials{a.URL: {ID: askingID, Secret: askingSecret}, b.URL: {ID: askingID, Secret: askingSecret}}
	one := map[string]doorward.Credentials{a.URL: both[a.URL]}
	now := time.Now()
	of := func(issuer string) string {
		return guardSign(t, key, oauth.TypAccessToken, guardClaims(now, map[string]any{"iss": issuer}))
	}
	nameless := guardSign(t, key, oauth.TypAccessToken, guardClaims(now, map[string]any{"iss": nil}))
	for _, c := range []struct {
		name       string
		introspect map[string]doorward.Credentials
		token      string
		status     int
		toA, toB   int
	}{
		{"signed, of the issuer with keys", both, of(guardIssuer), 200, 0, 0},
		{"signed, of a", both, of(a.URL), 401, 1, 0},
		{"signed, of b", both, of(b.URL), 401, 0, 1},
		{"signed, of a stranger", both, of("https://evil.example"), 401, 0, 0},
		{"opaque, and it could be either's", both, "opaque", 401, 0, 0},
		{"opaque, and one can be asked", one, "opaque", 401, 1, 0},
		{"signed, of nobody", one, nameless, 401, 1, 0},
		{"signed, of b, who has no keys and is not asked", one, of(b.URL), 503, 0, 0},
		{"signed by the right key under the name of a", one, of(a.URL), 401, 1, 0},
		{"no text", one, "\xff\xfe", 401, 0, 0},
	} {
		_, h := newGuard(t, doorward.GuardConfig{Issuers: []string{guardIssuer, a.URL, b.URL}, Introspect: c.introspect, Keys: keys})
		wasA, wasB := a.questions(), b.questions()
		w := guardAsk(h, withToken(c.token))
		if w.Code != c.status || a.questions()-wasA != c.toA || b.questions()-wasB != c.toB {
			t.Errorf("%s: %d, %d to a, %d to b", c.name, w.Code, a.questions()-wasA, b.questions()-wasB)
		}
	}
}

// Who cannot be asked lets nobody in, and nothing of the token or of our secret
// is in what is said about it.
// covers: J08, J09
func TestIntrospectionFails(t *testing.T) {
	for name, raw := range map[string]http.HandlerFunc{
		"error": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) },
		"page":  func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>opaque-token") },
		"empty": func(http.ResponseWriter, *http.Request) {},
		"twice": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"active":true,"active":true}`) },
		"list":  func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `[{"active":true}]`) },
		"huge": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"active":true,"x":"`+strings.Repeat("x", 70<<10)+`"}`)
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		},
	} {
		a := newAsking(t)
		a.raw = raw
		var log bytes.Buffer
		c := a.config()
		c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		_, h := newGuard(t, c)
		w := guardAsk(h, withToken("opaque-token"))
		if w.Code != 503 || w.Header().Get("WWW-Authenticate") != "" || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d %v", name, w.Code, w.Header())
		}
		if said := log.String() + w.Body.String(); strings.Contains(said, "opaque-token") || strings.Contains(said, "s%") || !strings.Contains(said, "cannot be asked") {
			t.Errorf("%s: says %s", name, said)
		}
	}
}

// Many who come with one token at once are one question.
func TestIntrospectionIsAskedOnce(t *testing.T) {
	a := newAsking(t)
	_, h := newGuard(t, a.config())
	token := a.knows("t", time.Now(), nil)
	a.mu.Lock() // the issuer takes its time
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if w := guardAsk(h, withToken(token)); w.Code != 200 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	a.mu.Unlock()
	wg.Wait()
	if n := a.questions(); n > 2 { // who came after the answer finds it kept, but for a moment between the two
		t.Errorf("%d questions", n)
	}
}

// covers: RS-TR-05
func TestAlive(t *testing.T) {
	a, key, now := newAsking(t), guardKey(t), time.Now()
	ended := false
	c := a.config()
	c.Issuers = append(c.Issuers, guardIssuer)
	c.Resource = guardedFiles
	c.Keys = guardKeySets(t, map[string][]*jose.Key{guardIssuer: {key}})
	c.Now, c.Ended = func() time.Time { return now }, func(string) bool { return ended }
	g, err := doorward.NewGuard(c)
	if err != nil {
		t.Fatal(err)
	}
	var inside *http.Request
	h := g.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { inside = r }))
	admit := func(token string) *http.Request {
		t.Helper()
		if w := guardAsk(h, withToken(token)); w.Code != 200 {
			t.Fatal(w.Code)
		}
		return inside
	}
	start := now
	signed := admit(guardSign(t, key, oauth.TypAccessToken, guardClaims(now, nil)))
	opaque := admit(a.knows("opaque", now, nil))
	asks := a.questions()
	if !g.Alive(signed) || !g.Alive(opaque) || a.questions() != asks {
		t.Error("ended too early, or asked too early")
	}
	now = start.Add(31 * time.Second)
	if !g.Alive(opaque) || a.questions() != asks+1 {
		t.Error("a good token ended, or nobody asked about it")
	}
	a.knows("opaque", now, map[string]any{"active": false})
	now = start.Add(62 * time.Second)
	if g.Alive(opaque) || !g.Alive(signed) {
		t.Error("revoked at its issuer, and alive")
	}
	if ended = true; g.Alive(signed) {
		t.Error("its grant ended, and it is alive")
	}
	ended = false
	if now = start.Add(10 * time.Minute); g.Alive(signed) {
		t.Error("expired, and alive")
	}
	if g.Alive(httptest.NewRequestWithContext(context.Background(), http.MethodGet, guardedFiles, nil)) {
		t.Error("nobody was let through")
	}
}

func TestIntrospectIsChecked(t *testing.T) {
	good := doorward.Credentials{ID: askingID, Secret: askingSecret}
	for name, in := range map[string]map[string]doorward.Credentials{
		"not among the issuers":        {"https://other.example": good},
		"no id":                        {guardIssuer: {Secret: "s"}},
		"nothing to authenticate with": {guardIssuer: {ID: "rs"}},
		"credentials of another":       {guardIssuer: {Issuer: "https://other.example", ID: "rs", Secret: "s"}},
	} {
		if _, err := doorward.NewGuard(doorward.GuardConfig{Resource: guardedFiles, Issuers: []string{guardIssuer}, Introspect: in}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// A token that the issuer does not know is no second question for 5 seconds,
// and one that it could not be asked about is.
// covers: SEC-38
func TestUnknownTokensAreAskedAboutOnce(t *testing.T) {
	a, now := newAsking(t), time.Now()
	c := a.config()
	c.Now = func() time.Time { return now }
	_, h := newGuard(t, c)
	a.raw = func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusBadGateway) }
	for range 2 {
		if w := guardAsk(h, withToken("made-up")); w.Code != 503 {
			t.Errorf("an issuer that is down: %d", w.Code)
		}
	}
	a.raw = nil
	for i, step := range []struct {
		later     time.Duration
		token     string
		questions int
	}{
		{0, "made-up", 3}, {0, "made-up", 3}, {0, "another", 4}, {4 * time.Second, "made-up", 4}, {time.Second, "made-up", 5}, {0, "made-up", 5},
	} {
		now = now.Add(step.later)
		if w := guardAsk(h, withToken(step.token)); w.Code != 401 || w.Header().Get("WWW-Authenticate") != guardRefusing || a.questions() != step.questions {
			t.Errorf("%d: %d %v after %d questions", i, w.Code, w.Header(), a.questions())
		}
	}
	a.knows("made-up", now, nil) // it was made a moment after it was shown
	if now = now.Add(5 * time.Second); guardAsk(h, withToken("made-up")).Code != 200 {
		t.Error("a good token stays refused")
	}
}
