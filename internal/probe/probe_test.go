package probe_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"doorward/authtest"
	"doorward/internal/browse"
	"doorward/internal/probe"
	"doorward/interop/rig"
)

// watched is a transport that remembers what it must not find in a report.
type watched struct {
	mu      sync.Mutex
	secrets []string
}

// Nothing secret stands in what the probe shows, also of a server that breaks
// every rule.
func TestNothingSecretIsShown(t *testing.T) {
	var faults []string
	for id := range authtest.Faults() {
		faults = append(faults, id)
	}
	for _, with := range [][]string{nil, faults} {
		seen := &watched{}
		w := authtest.NewWeak(t, with...)
		wire := w.Transport()
		r, err := probe.Run(t.Context(), probe.Config{Issuer: w.Issuer, ClientID: authtest.ClientID, ClientSecret: authtest.ClientSecret, User: user, Password: password,
			Transport: roundTrip(func(r *http.Request) (*http.Response, error) { return seen.read(wire, r) }), Pace: -1, IdPAddress: "127.0.0.1:0", Trust: w.Trust})
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		secrets := append(seen.secrets, password, authtest.ClientSecret)
		if len(secrets) < 100 {
			t.Fatalf("only %d secrets were seen", len(secrets))
		}
		for _, s := range secrets {
			if len(s) > 12 && strings.Contains(string(b), s) {
				i := strings.Index(string(b), s)
				t.Errorf("the report shows %q: …%s", s, string(b)[max(i-200, 0):i])
				break
			}
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (s *watched) read(base *http.Transport, r *http.Request) (*http.Response, error) {
	resp, err := base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(strings.NewReader(string(body)))
	s.mu.Lock()
	defer s.mu.Unlock()
	var m map[string]any
	_ = json.Unmarshal(body, &m)
	for _, name := range []string{"access_token", "refresh_token", "client_secret"} {
		if text, _ := m[name].(string); text != "" {
			s.secrets = append(s.secrets, text)
		}
	}
	for _, c := range resp.Cookies() {
		s.secrets = append(s.secrets, c.Value)
	}
	if u, err := url.Parse(resp.Header.Get("Location")); err == nil {
		s.secrets = append(s.secrets, u.Query()["code"]...)
		s.secrets = append(s.secrets, u.Query()["attempt"]...)
	}
	return resp, nil
}

// With the browser of a person the codes come over the loopback callback.
func TestBrowser(t *testing.T) {
	s := newStrong(t)
	p, err := browse.New(user, password, http.DefaultTransport)
	if err != nil {
		t.Fatal(err)
	}
	opened := 0
	r, err := probe.Run(t.Context(), probe.Config{Issuer: s.URL, Pace: -1, Only: []string{"AS-PKCE", "AS-CODE", "AS-RT", "AS-UI-03"},
		Open: func(ctx context.Context, address string) error {
			opened++
			return p.Open(ctx, address)
		}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Broken != 0 || r.Held < 20 || opened < 10 {
		t.Errorf("held %d, broken %d, opened %d", r.Held, r.Broken, opened)
	}
	for _, res := range r.Rules {
		if res.Result != probe.Held && res.ID != "AS-UI-03.consent" {
			t.Errorf("%s: %s: %s", res.ID, res.Result, res.Saw)
		}
	}
}

// Who never comes back is waited for once.
func TestBrowserThatNobodyUses(t *testing.T) {
	s := newStrong(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := probe.Run(ctx, probe.Config{Issuer: s.URL, Pace: -1, Patience: 100 * time.Millisecond, Only: []string{"AS-CODE"},
		Open: func(context.Context, string) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	if r.NotTestable != len(r.Rules) {
		t.Errorf("%+v", r)
	}
}

// Whoever mistypes the password is told so, wherever somebody would have to be
// signed in, and nothing is said to be broken.
func TestWrongPassword(t *testing.T) {
	s := newStrong(t)
	r, err := probe.Run(t.Context(), probe.Config{Issuer: s.URL, User: user, Password: "not-" + password, Pace: -1, Only: []string{"AS-CODE", "AS-AUTHZ-08", "AS-UI-03"}})
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	for _, res := range r.Rules {
		if res.Result == probe.NotTestable {
			told++
			if !strings.Contains(res.Saw, "--user and --password were not accepted") {
				t.Errorf("%s: %s", res.ID, res.Saw)
			}
		}
	}
	if told < 5 || r.Broken > 0 {
		t.Errorf("%d rows told, %d broken", told, r.Broken)
	}
}

// What nobody offers is not testable, and a dead server has nothing to probe.
func TestNothingToTry(t *testing.T) {
	bare := httptest.NewUnstartedServer(nil)
	issuer := "http://" + bare.Listener.Addr().String()
	bare.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/oauth-authorization-server" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":%q,"token_endpoint":"https://elsewhere.example.com/token"}`, issuer, issuer+"/authorize")
	})
	bare.Start()
	defer bare.Close()
	r, err := probe.Run(t.Context(), probe.Config{Issuer: issuer, Pace: -1})
	if err != nil {
		t.Fatal(err)
	}
	for _, res := range r.Rules {
		if !strings.HasPrefix(res.ID, "AS-META") && res.Result == probe.Held && !slices.Contains([]string{"AS-PKCE-02.metadata", "AS-AUTHZ-04.metadata", "X-HTTP-01.https"}, res.ID) {
			t.Errorf("%s is held by a server that has nothing", res.ID)
		}
		if res.Result == probe.NotTestable && res.Saw == "" {
			t.Errorf("%s: no reason", res.ID)
		}
	}
	bare.Config.Handler = http.NotFoundHandler()
	if _, err := probe.Run(t.Context(), probe.Config{Issuer: "http://" + rig.Free(t)}); err == nil {
		t.Error("a server that is not there was probed")
	}
	if _, err := probe.Run(t.Context(), probe.Config{Issuer: issuer, Only: []string{"AS-NOTHING"}}); err == nil || !strings.Contains(err.Error(), "AS-NOTHING") {
		t.Errorf("%v", err)
	}
}

// The probe stays at the issuer's own host, whatever the metadata says.
func TestItGoesNowhereElse(t *testing.T) {
	var mu sync.Mutex
	visited := 0
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		visited++
	}))
	defer elsewhere.Close()
	var issuer string
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":"https://example.com/authorize","token_endpoint":%q,"jwks_uri":%q,"registration_endpoint":%q}`,
			issuer, elsewhere.URL+"/token", elsewhere.URL+"/jwks", elsewhere.URL+"/register")
	}))
	defer srv.Close()
	issuer = strings.Replace(srv.URL, "127.0.0.1", "example.com", 1) // httptest's certificate is for it, and the transport goes to the server
	tr, _ := srv.Client().Transport.(*http.Transport)
	tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, srv.Listener.Addr().String())
	}
	r, err := probe.Run(t.Context(), probe.Config{Issuer: issuer, Transport: tr, Pace: -1})
	if err != nil {
		t.Fatal(err)
	}
	if visited != 0 {
		t.Errorf("another host was visited %d times", visited)
	}
	if !slices.ContainsFunc(r.Rules, func(res probe.Result) bool { return strings.Contains(res.Saw, "not the issuer's own host") }) {
		t.Error("no rule says why")
	}
}

// A server that limits its guests is waited for, and then left alone.
func TestRateLimits(t *testing.T) {
	s := newStrong(t)
	strict := s.Config.Handler
	var mu sync.Mutex
	n, limited := 0, 0
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		if r.URL.Path == "/token" {
			n++
		}
		no := r.URL.Path == "/token" && (n == 5 || n == 9)
		if no {
			limited++
		}
		mu.Unlock()
		if no {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		strict.ServeHTTP(w, r)
	})
	r, err := probe.Run(t.Context(), probe.Config{Issuer: s.URL, User: user, Password: password, Pace: -1, Only: []string{"AS-PKCE-04", "AS-RT"}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Broken != 0 || r.Held == 0 || limited != 2 {
		t.Errorf("held %d, broken %d, limited %d times", r.Held, r.Broken, limited)
	}
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		strict.ServeHTTP(w, r)
	})
	if r, err = probe.Run(t.Context(), probe.Config{Issuer: s.URL, User: user, Password: password, Pace: -1, Only: []string{"AS-PKCE-04"}}); err != nil {
		t.Fatal(err)
	}
	for _, res := range r.Rules {
		if res.Result != probe.NotTestable || !strings.Contains(res.Saw, "rate limit") {
			t.Errorf("%s: %s: %s", res.ID, res.Result, res.Saw)
		}
	}
}

// Control over the host is shown by a file with exactly what was asked for.
func TestProof(t *testing.T) {
	var content atomic.Pointer[string] // a request of a wait that is over may still be answered
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, *content.Load()) }))
	defer srv.Close()
	p, err := probe.Prove(srv.URL + "/tenant")
	if err != nil || !strings.HasPrefix(p.URL, srv.URL+"/.well-known/doorward-probe-") || p.Content == "" || strings.Contains(p.URL, p.Content) {
		t.Fatalf("%+v %v", p, err)
	}
	again, err := probe.Prove(srv.URL)
	if err != nil || again == p {
		t.Error("the same file a second time")
	}
	wait := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		return p.Wait(ctx, nil, 20*time.Millisecond)
	}
	for _, wrong := range []string{"", "hello", p.Content + "x", p.Content + "\n" + p.Content} { // a server that answers everything proves nothing
		content.Store(&wrong)
		if wait() == nil {
			t.Errorf("%q was taken", wrong)
		}
	}
	content.Store(&p.Content)
	if err := wait(); err != nil {
		t.Error(err)
	}
}

func TestLoopback(t *testing.T) {
	for issuer, want := range map[string]bool{"http://127.0.0.1:8080": true, "http://localhost": true, "https://[::1]:1": true,
		"https://auth.example.com": false, "http://127.0.0.1.example.com": false, "http://10.0.0.1": false, "://": false} {
		if probe.Loopback(issuer) != want {
			t.Errorf("%s: %v", issuer, !want)
		}
	}
}
