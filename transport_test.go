package doorward_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"golang.org/x/oauth2"

	"doorward"
	"doorward/internal/jose"
)

var _ auth.OAuthHandler = (&doorward.Transport{}).OAuth()

// covers: C-DISC-08, P13, T12
func TestRefusedTokenIsRenewedOnce(t *testing.T) {
	w := newWorld(t)
	tr := &doorward.Transport{Flow: w.crossApp()}
	must(t, as("alice"), tr, w.url())
	must(t, as("bob"), tr, w.url())
	w.mu.Lock()
	for token, form := range w.live { // alice's token ends
		if strings.HasSuffix(form.Get("assertion"), "alice") {
			delete(w.live, token)
		}
	}
	w.mu.Unlock()
	w.trace()
	must(t, as("alice"), tr, w.url())
	must(t, as("bob"), tr, w.url())
	got := strings.Join(w.trace(), "\n")
	want := "mcp POST /mcp 401\nmcp GET /.well-known/oauth-protected-resource/mcp 200\nas POST /token 200\nmcp POST /mcp 200\nmcp POST /mcp 200"
	if got != want {
		t.Errorf("requests:\n%s\nwant:\n%s", got, want)
	}
}

// A server that refuses every token makes neither a loop nor a flood.
func TestServerThatRefusesEveryToken(t *testing.T) {
	w := newWorld(t)
	w.bad = true
	now := time.Now()
	tr := &doorward.Transport{Flow: w.crossApp(), Now: func() time.Time { return now }}
	for range 10 {
		if status, err := post(as("alice"), tr, w.url()); err != nil || status != 401 {
			t.Fatalf("status %d, error %v; want the 401 back", status, err)
		}
	}
	if n := w.count("as"); n != 2 {
		t.Errorf("%d tokens were asked for by ten calls, want 2", n)
	}
	w.bad = false
	now = now.Add(2 * time.Minute)
	must(t, as("alice"), tr, w.url())
}

// covers: C-SCOPE-01, C-SCOPE-02, C-AUTHZ-05, P15, T09
func TestStepUpAsksForTheUnion(t *testing.T) {
	w := newWorld(t)
	w.scope = "read"
	w.prm["scopes_supported"] = []string{"decoy"}
	tr := &doorward.Transport{Flow: w.crossApp()}
	must(t, as("alice"), tr, w.url())
	w.needs = "write"
	must(t, as("alice"), tr, w.url())
	if got := w.forms["idp"][1].Get("scope"); got != "read write" {
		t.Errorf("step-up asked for %q", got)
	}
	w.needs = ""
	must(t, as("alice"), tr, w.url())
	if w.count("as") != 2 {
		t.Error("the wider token was not kept")
	}
}

// covers: C-SCOPE-03
func TestStepUpEnds(t *testing.T) {
	w := newWorld(t)
	w.scope, w.needs = "read", "never"
	w.token = func(form url.Values) (int, map[string]any) {
		form.Set("scope", "read") // whatever was asked for
		return 200, m{}
	}
	now := time.Now()
	tr := &doorward.Transport{Flow: w.crossApp(), Now: func() time.Time { return now }}
	for range 5 {
		if status, err := post(as("alice"), tr, w.url()); err != nil || status != 403 {
			t.Fatalf("status %d, error %v; want the 403 back", status, err)
		}
	}
	if n := w.count("as"); n != 3 {
		t.Errorf("%d attempts, want 3", n)
	}
	now = now.Add(11 * time.Minute)
	if _, err := post(as("alice"), tr, w.url()); err != nil || w.count("as") == 3 {
		t.Errorf("after a while it is not tried again: %v", err)
	}
}

// covers: P16, T13
func TestOther403IsTheCallers(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403) }))
	defer s.Close()
	status, err := post(context.Background(), &doorward.Transport{Flow: newWorld(t).code()}, s.URL)
	if status != 403 || err != nil {
		t.Errorf("status %d, error %v", status, err)
	}
}

// covers: C-TOK-02, C-TOK-04
func TestTokenStaysWithItsResource(t *testing.T) {
	var got []string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Authorization"))
		w.Header().Set("WWW-Authenticate", "Bearer")
		w.WriteHeader(401)
	}))
	defer other.Close()
	w := newWorld(t)
	w.prm["resource"] = w.mcp.URL + "/mcp"
	beside := "nothing"
	tr := &doorward.Transport{Flow: w.crossApp(), Base: roundTripper(func(req *http.Request) (*http.Response, error) {
		if req.URL.Path == "/mcpother" {
			beside = req.Header.Get("Authorization")
		}
		return http.DefaultTransport.RoundTrip(req)
	})}
	must(t, as("alice"), tr, w.url())

	redirect := &redirecting{tr, w.url(), other.URL}
	w.trace()
	status, err := post(as("alice"), redirect, w.url())
	if err != nil || status != 401 {
		t.Errorf("redirect: status %d, error %v", status, err)
	}
	if len(got) != 1 || got[0] != "" {
		t.Errorf("the other origin got %q", got)
	}
	if n := w.count("idp"); n != 1 {
		t.Error("a flow was started for the target of a redirect")
	}
	// Another path of the same origin is not covered by the resource.
	if _, err := post(as("alice"), tr, w.mcp.URL+"/mcpother"); err != nil {
		t.Fatal(err)
	}
	for _, line := range w.trace() {
		if strings.HasPrefix(line, "as ") {
			t.Errorf("%q for a path without authorization", line)
		}
	}
	if beside != "" {
		t.Errorf("a path that the resource does not cover got %q", beside)
	}
}

// redirecting answers requests to one URL with a redirect.
type redirecting struct {
	next     http.RoundTripper
	from, to string
}

func (r *redirecting) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.next.RoundTrip(req)
	if err == nil && req.URL.String() == r.from {
		resp.StatusCode = http.StatusTemporaryRedirect
		resp.Header.Set("Location", r.to)
	}
	return resp, err
}

// covers: C-CB-05, N16, X-LOG-01
func TestSecretsFollowNoRedirect(t *testing.T) {
	var reached atomic.Int32
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer thief.Close()
	moved := httptest.NewServer(http.RedirectHandler(thief.URL, http.StatusTemporaryRedirect))
	defer moved.Close()
	for name, change := range map[string]func(w *world, tr *doorward.Transport){
		"exchange": func(w *world, tr *doorward.Transport) { w.idpMetadata["token_endpoint"] = moved.URL },
		"redeem":   func(w *world, tr *doorward.Transport) { w.asMetadata["token_endpoint"] = moved.URL },
		"register": func(w *world, tr *doorward.Transport) {
			w.asMetadata["registration_endpoint"] = moved.URL
			tr.Flow = w.code()
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tr := &doorward.Transport{Flow: w.crossApp()}
			change(w, tr)
			_, err := post(as("alice"), tr, w.url())
			var e *doorward.Error
			if !errors.As(err, &e) || e.Step != name || !strings.Contains(err.Error(), "redirect") {
				t.Errorf("error %v", err)
			}
		})
	}
	if reached.Load() > 0 {
		t.Error("a redirect was followed")
	}
}

func TestOwnAuthorizationIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	req, _ := http.NewRequest(http.MethodPost, w.url(), strings.NewReader("x"))
	req.Header.Set("Authorization", "Bearer mine")
	resp, err := (&doorward.Transport{Flow: w.crossApp()}).RoundTrip(req)
	if err != nil || resp.StatusCode != 401 {
		t.Fatalf("%v %v", resp, err)
	}
	resp.Body.Close()
	if n := len(w.trace()); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestBodiesAreSentAgain(t *testing.T) {
	w := newWorld(t)
	big := strings.Repeat("x", 5<<20)
	send := func(ctx context.Context, body io.Reader, getBody bool) (int, error) {
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, w.url(), body)
		if !getBody {
			req.GetBody = nil
		}
		resp, err := (&doorward.Transport{Flow: w.crossApp()}).RoundTrip(req)
		if err != nil {
			return 0, err
		}
		resp.Body.Close()
		if resp.Request != req || req.Header.Get("Authorization") != "" {
			t.Error("the caller's request was changed, or the answer shows another")
		}
		return resp.StatusCode, nil
	}
	for name, c := range map[string]struct {
		body    io.Reader
		getBody bool
		status  int
		arrived string
	}{
		"GetBody":               {strings.NewReader("one"), true, 200, "one"},
		"buffered":              {io.MultiReader(strings.NewReader("two")), false, 200, "two"},
		"large with GetBody":    {bytes.NewReader([]byte(big)), true, 200, big},
		"large without":         {bytes.NewReader([]byte(big)), false, 401, ""},
		"large, length unknown": {io.MultiReader(strings.NewReader(big)), false, 401, ""},
		"none":                  {nil, false, 200, ""},
	} {
		w.bodies = nil
		status, err := send(as("alice"), c.body, c.getBody)
		if err != nil || status != c.status {
			t.Errorf("%s: status %d, error %v", name, status, err)
		}
		if got := strings.Join(w.bodies, ""); got != c.arrived {
			t.Errorf("%s: %d bytes arrived", name, len(got))
		}
	}
}

// covers: C-CC-01, R01, R02, R05, R06, E04
func TestClientCredentials(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		client doorward.Credentials
		listed any
		check  func(t *testing.T, w *world, form url.Values, head http.Header)
	}{
		{"basic", doorward.Credentials{ID: "svc", Secret: "s"}, []string{"client_secret_post", "client_secret_basic"}, isBasic},
		{"basic by default", doorward.Credentials{ID: "svc", Secret: "s"}, nil, isBasic},
		{"post", doorward.Credentials{ID: "svc", Secret: "s"}, []string{"client_secret_post"}, func(t *testing.T, w *world, form url.Values, head http.Header) {
			if form.Get("client_id") != "svc" || form.Get("client_secret") != "s" || head.Get("Authorization") != "" {
				t.Errorf("form %v", form)
			}
		}},
		{"key", doorward.Credentials{ID: "svc", Secret: "s", Key: key}, []string{"private_key_jwt", "client_secret_basic"}, func(t *testing.T, w *world, form url.Values, head http.Header) {
			checkAssertion(t, key, form, w.as.URL)
			if head.Get("Authorization") != "" || form.Has("client_secret") {
				t.Error("two client authentications")
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.scope = "run"
			w.asMetadata["token_endpoint_auth_methods_supported"] = c.listed
			if c.listed == nil {
				delete(w.asMetadata, "token_endpoint_auth_methods_supported")
			}
			must(t, context.Background(), &doorward.Transport{Flow: &doorward.ClientCredentials{Client: c.client, Scopes: []string{"more"}}}, w.url())
			form := w.forms["as"][0]
			if form.Get("grant_type") != "client_credentials" || form.Get("resource") != w.url() || form.Get("scope") != "run more" {
				t.Errorf("form %v", form)
			}
			c.check(t, w, form, w.heads["as"][0])
			if len(w.made) > 0 {
				t.Error("it registered itself")
			}
		})
	}
	var e *doorward.Error
	if _, err := post(context.Background(), &doorward.Transport{Flow: &doorward.ClientCredentials{}}, newWorld(t).url()); !errors.As(err, &e) || e.Step != "configure" {
		t.Errorf("without credentials: %v", err)
	}
	if _, err := post(context.Background(), &doorward.Transport{}, newWorld(t).url()); !errors.As(err, &e) || e.Step != "configure" {
		t.Errorf("without a Flow: %v", err)
	}
}

func isBasic(t *testing.T, w *world, form url.Values, head http.Header) {
	r := http.Request{Header: head}
	if id, secret, ok := r.BasicAuth(); !ok || id != "svc" || secret != "s" || form.Has("client_id") {
		t.Errorf("header %v form %v", head, form)
	}
}

func checkAssertion(t *testing.T, key *ecdsa.PrivateKey, form url.Values, issuer string) {
	t.Helper()
	k, err := jose.NewKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	v, err := jose.Verify(form.Get("client_assertion"), jose.NewSet(k), []string{jose.ES256}, []string{"client-authentication+jwt"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"iss": "svc", "sub": "svc", "aud": issuer} {
		if got, err := v.Claims().Text(name); err != nil || got != want {
			t.Errorf("%s = %q %v", name, got, err)
		}
	}
	if jti, _ := v.Claims().Text("jti"); len(jti) < 20 {
		t.Errorf("jti %q", jti)
	}
	if exp, err := v.Claims().Time("exp"); err != nil || time.Until(exp) > time.Minute || time.Until(exp) < 30*time.Second {
		t.Errorf("exp %v %v", exp, err)
	}
}

// covers: C-REG-02, C-DISC-04, R08, P17, S12
func TestSecretIsSentToOneIssuerOnly(t *testing.T) {
	w, evil := newWorld(t), newWorld(t)
	tr := &doorward.Transport{Flow: &doorward.ClientCredentials{Client: doorward.Credentials{ID: "svc", Secret: "s"}}}
	must(t, context.Background(), tr, w.url())
	_, err := post(context.Background(), tr, evil.url())
	var e *doorward.Error
	if !errors.As(err, &e) || e.Who != "client's maker" || evil.count("as") > 0 {
		t.Errorf("error %v, %d token requests at the other issuer", err, evil.count("as"))
	}
	tr = &doorward.Transport{Flow: &doorward.ClientCredentials{Client: doorward.Credentials{Issuer: w.as.URL, ID: "svc", Secret: "s"}}}
	if _, err := post(context.Background(), tr, evil.url()); !errors.As(err, &e) || evil.count("as") > 0 {
		t.Errorf("error %v, %d token requests at the other issuer", err, evil.count("as"))
	}
	w.prm["authorization_servers"] = []string{evil.as.URL, w.as.URL}
	must(t, context.Background(), tr, w.url())
	flow := evil.crossApp()
	flow.Server.Issuer = w.as.URL
	if _, err := (&doorward.Transport{Flow: flow}).Redeem(as("alice"), evil.as.URL, evil.url(), "jag"); !errors.As(err, &e) || evil.count("as") > 0 {
		t.Errorf("redeemed: error %v, %d token requests at the other issuer", err, evil.count("as"))
	}
}

func TestTokenWithoutACall(t *testing.T) {
	w := newWorld(t)
	w.scope = "read"
	tr := &doorward.Transport{Flow: w.crossApp()}
	token, err := tr.Token(as("alice"), w.url())
	if err != nil {
		t.Fatal(err)
	}
	if token.TokenType != "Bearer" || token.RefreshToken != "" || time.Until(token.Expiry) < 50*time.Minute {
		t.Errorf("token %+v", token)
	}
	again, err := tr.Token(as("alice"), w.url())
	if err != nil || again.AccessToken != token.AccessToken {
		t.Errorf("second: %v %v", again, err)
	}
	if len(w.bodies) > 0 || w.count("as") != 1 || w.forms["idp"][0].Get("scope") != "read" {
		t.Errorf("calls %d, token requests %d", len(w.bodies), w.count("as"))
	}
	if _, err := tr.Token(as("alice"), "http://example.com/mcp"); err == nil {
		t.Error("a token for plain http")
	}
}

// covers: P28, X-LOG-01
func TestLogHasNoSecrets(t *testing.T) {
	w := newWorld(t)
	var log syncBuffer
	tr := &doorward.Transport{Flow: w.crossApp(), Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	must(t, as("alice"), tr, w.url())
	w.exchange = func(url.Values) (int, map[string]any) { return 400, m{"error": "invalid_target"} }
	_, _ = post(as("bob"), tr, w.url())
	text := log.String()
	if !strings.Contains(text, "token obtained") || !strings.Contains(text, "invalid_target") {
		t.Errorf("log: %s", text)
	}
	for _, secret := range []string{"id-token-of", "jag-", "token-2", "secret"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q stands in the log: %s", secret, text)
		}
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// covers: A04
func TestHandlerOfTheSDK(t *testing.T) {
	w := newWorld(t)
	tr := &doorward.Transport{Flow: w.crossApp()}
	h := tr.OAuth()
	ctx := as("alice")
	if ts, err := h.TokenSource(ctx); ts != nil || err != nil {
		t.Fatalf("before the first authorization: %v %v", ts, err)
	}
	call := func(ts oauth2.TokenSource, address string) (*http.Request, *http.Response) {
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader("x"))
		if ts != nil {
			token, err := ts.Token()
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+token.AccessToken)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return req, resp
	}
	if err := h.Authorize(call2(ctx, call, w.url())); err != nil {
		t.Fatal(err)
	}
	ts, err := h.TokenSource(ctx)
	if err != nil || ts == nil {
		t.Fatalf("after it: %v %v", ts, err)
	}
	_, resp := call(ts, w.url())
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
	w.revoke() // a 401 with a token brings another one
	if req, resp := call(ts, w.url()); resp.StatusCode != 401 || h.Authorize(ctx, req, resp) != nil {
		t.Errorf("after it was revoked: status %d", resp.StatusCode)
	}
	if ts, err = h.TokenSource(ctx); err != nil || ts == nil {
		t.Fatalf("after it was revoked: %v %v", ts, err)
	}
	if _, resp = call(ts, w.url()); resp.StatusCode != 200 {
		t.Errorf("with the second token: status %d", resp.StatusCode)
	}
	resp.Body.Close()
	// A handler that is shared by two servers must not send one's token to the other.
	other := newWorld(t)
	if err := h.Authorize(call2(ctx, call, other.url())); err == nil || other.count("as") > 0 {
		t.Errorf("a second server: %v", err)
	}
	if _, err := h.TokenSource(ctx); err == nil {
		t.Error("the shared handler still gives a token")
	}
}

func TestHandlerGivesUp(t *testing.T) {
	w := newWorld(t)
	w.bad = true
	h := (&doorward.Transport{Flow: w.crossApp()}).OAuth()
	refused := func(status int, header, sent string) error {
		req, _ := http.NewRequestWithContext(as("alice"), http.MethodPost, w.url(), nil)
		if sent != "" {
			req.Header.Set("Authorization", "Bearer "+sent)
		}
		resp := &http.Response{StatusCode: status, Header: http.Header{"Www-Authenticate": {header}}, Body: http.NoBody, Request: req}
		return h.Authorize(as("alice"), req, resp)
	}
	var e *doorward.Error
	if err := refused(403, `Bearer error="other"`, ""); !errors.As(err, &e) || e.Status != 403 || w.count("as") > 0 {
		t.Errorf("403 that a token cannot change: %v", err)
	}
	var err error
	for n := 0; n < 6 && err == nil; n++ {
		sent := ""
		if ts, _ := h.TokenSource(as("alice")); ts != nil {
			token, _ := ts.Token()
			sent = token.AccessToken
		}
		err = refused(401, "Bearer", sent)
	}
	if !errors.As(err, &e) || w.count("as") > 3 {
		t.Errorf("a server that refuses all tokens: %v after %d tokens", err, w.count("as"))
	}
}

func call2(ctx context.Context, call func(oauth2.TokenSource, string) (*http.Request, *http.Response), address string) (context.Context, *http.Request, *http.Response) {
	req, resp := call(nil, address)
	return ctx, req, resp
}
