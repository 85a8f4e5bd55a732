package doorward_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"doorward"
	"doorward/internal/jose"
)

// The defects of others' clients that docs/parity.md lists in part (d), each
// with its number, as far as the code flow and what it stands on are concerned.
// d1.9's deadlines and d3.5's challenges are in client_hostile_test.go and
// TestChallengesOfRealServers.

// d1.9: 64 MiB of an answer are not read, whoever sends them.
func TestDefectAnswersWithoutAnEnd(t *testing.T) {
	for _, endpoint := range []string{"registration_endpoint", "token_endpoint", "pushed_authorization_request_endpoint"} {
		w := newWorld(t)
		var sent atomic.Int64
		s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			block := []byte(strings.Repeat(" ", 64<<10))
			for range 1024 {
				n, err := rw.Write(block)
				if sent.Add(int64(n)); err != nil {
					return
				}
			}
			_, _ = io.WriteString(rw, `{"client_id":"c","access_token":"t","token_type":"Bearer","request_uri":"u"}`)
		}))
		w.asMetadata[endpoint] = s.URL
		w.asMetadata["require_pushed_authorization_requests"] = strings.HasPrefix(endpoint, "pushed")
		_, err := post(context.Background(), &doorward.Transport{Flow: w.code()}, w.url())
		s.Close()
		var e *doorward.Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), "longer than") || sent.Load() > 48<<20 {
			t.Errorf("%s: %v after %d bytes", endpoint, err, sent.Load())
		}
	}
}

// d3.6: a body that can be read once only is sent again after a 401 and after a
// 403, whole.
func TestDefectStreamedBodyIsLost(t *testing.T) {
	w := newWorld(t)
	w.scope, w.needs = "read", "write"
	read, write := io.Pipe()
	go func() {
		_, _ = io.WriteString(write, "first half, ")
		_, _ = io.WriteString(write, "second half")
		write.Close()
	}()
	req, err := http.NewRequestWithContext(as("alice"), http.MethodPost, w.url(), read)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: &doorward.Transport{Flow: w.crossApp()}}).Do(req)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v %v", resp, err)
	}
	resp.Body.Close()
	if len(w.bodies) != 1 || w.bodies[0] != "first half, second half" {
		t.Errorf("arrived: %q", w.bodies)
	}
	if got := strings.Join(w.trace(), "\n"); !strings.Contains(got, "mcp POST /mcp 401") || !strings.Contains(got, "mcp POST /mcp 403") {
		t.Errorf("requests:\n%s", got)
	}
}

// d3.7: the state is ours and checked (TestLoginCSRF); every request for a token
// names its resource, with a refresh too; no two assertions have one jti.
func TestDefectResourceAndJTI(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	w.token = func(url.Values) (int, map[string]any) { return 200, m{"refresh_token": "r"} }
	tr := &doorward.Transport{Flow: w.code(), Now: func() time.Time { return now }}
	for range 3 {
		must(t, context.Background(), tr, w.url())
		now = now.Add(2 * time.Hour)
	}
	if len(w.sent) != 1 || w.sent[0].Get("resource") != w.url() || w.count("as") != 3 {
		t.Errorf("authorization requests %v, %d token requests", w.sent, w.count("as"))
	}
	for _, form := range w.forms["as"] {
		if form.Get("resource") != w.url() {
			t.Errorf("%s without its resource: %v", form.Get("grant_type"), form)
		}
	}
	bare := newSite(t, map[string]string{"challenge": "Bearer", asDoc: `{"issuer":"{}","token_endpoint":"{}/token"}`})
	if _, err := post(context.Background(), &doorward.Transport{Flow: machine()}, bare.URL+"/mcp"); err == nil {
		t.Error("a token without a resource to name")
	}

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := jose.NewKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range 50 {
		w := newWorld(t)
		w.asMetadata["token_endpoint_auth_methods_supported"] = []string{"private_key_jwt"}
		must(t, context.Background(), &doorward.Transport{Flow: &doorward.ClientCredentials{Client: doorward.Credentials{ID: "svc", Key: key}}}, w.url())
		v, err := jose.Verify(w.forms["as"][0].Get("client_assertion"), jose.NewSet(public), []string{jose.ES256}, []string{"client-authentication+jwt"})
		if err != nil {
			t.Fatal(err)
		}
		jti, _ := v.Claims().Text("jti")
		if len(jti) < 22 || seen[jti] { // 128 bits and more
			t.Errorf("jti %q", jti)
		}
		seen[jti] = true
	}
}

// d5.10 to d5.12: what a server calls itself, with a slash or a query, is never
// put together with a string; what belongs to another server is an error, and not
// a reason to ask the server's own origin for tokens.
func TestDefectAddressesPutTogether(t *testing.T) {
	for name, c := range map[string]struct {
		documents map[string]string
		call      string
		ok        bool
		opened    string
	}{
		"no metadata at all":       {nil, "/mcp", true, "/authorize"},
		"a query":                  {nil, "/mcp?tenant=1", true, "/authorize"},
		"a slash at the end":       {nil, "/mcp/?tenant=1#x", true, "/authorize"},
		"issuer with a slash":      {map[string]string{prm + "/mcp": `{"resource":"{}/mcp","authorization_servers":["{}/"]}`, asDoc: `{"issuer":"{}/","authorization_endpoint":"{}/authorize","token_endpoint":"{}/token","registration_endpoint":"{}/register","code_challenge_methods_supported":["S256"]}`}, "/mcp", true, "/authorize"},
		"resource of the origin":   {map[string]string{prm + "/mcp": `{"resource":"{}/","authorization_servers":["{}"]}`, asDoc: `{"issuer":"{}","authorization_endpoint":"{}/authorize","token_endpoint":"{}/token","registration_endpoint":"{}/register","code_challenge_methods_supported":["S256"]}`}, "/mcp", true, "/authorize"},
		"resource of another":      {map[string]string{prm + "/mcp": `{"resource":"https://evil.example/mcp","authorization_servers":["{}"]}`}, "/mcp", false, ""},
		"a document that is none":  {map[string]string{prm + "/mcp": `{"resource":`}, "/mcp", false, ""},
		"an issuer with no answer": {map[string]string{prm + "/mcp": `{"resource":"{}/mcp","authorization_servers":["{}/gone"]}`}, "/mcp", false, ""},
	} {
		documents := map[string]string{"challenge": "Bearer", "/register": `{"client_id":"c"}`, "/token": `{"access_token":"t","token_type":"Bearer"}`}
		for k, v := range c.documents {
			documents[k] = v
		}
		s := newSite(t, documents)
		opened := ""
		flow := &doorward.AuthorizationCode{Open: func(ctx context.Context, address string) error {
			u, err := url.Parse(address)
			if err != nil {
				return err
			}
			opened = address
			q := u.Query()
			return visit(ctx, q.Get("redirect_uri")+"?code=c&state="+q.Get("state"))
		}}
		status, err := post(context.Background(), &doorward.Transport{Flow: flow, Legacy: true}, s.URL+c.call)
		if c.ok && (err != nil || status != 200 || !strings.HasPrefix(opened, s.URL+c.opened+"?") || strings.Contains(opened, "tenant")) {
			t.Errorf("%s: status %d, error %v, opened %s", name, status, err, opened)
		}
		if !c.ok && (err == nil || opened != "") {
			t.Errorf("%s: error %v, opened %q", name, err, opened)
		}
	}
}

// d5.15: a 403 that no token can change is the caller's, and the request is not
// sent a second time.
func TestDefectRequestSentTwice(t *testing.T) {
	w := newWorld(t)
	tr := &doorward.Transport{Flow: w.crossApp()}
	must(t, as("alice"), tr, w.url())
	calls := 0
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		calls++
		rw.Header().Set("WWW-Authenticate", `Bearer error="access_denied"`)
		rw.WriteHeader(403)
	}))
	defer s.Close()
	if status, err := post(as("alice"), tr, s.URL+"/mcp"); err != nil || status != 403 || calls != 1 {
		t.Errorf("status %d, error %v, %d calls", status, err, calls)
	}
}

// d5.17: a renewal that hangs holds up nobody who asks another server, and none
// of those who wait for it after they have left.
func TestDefectRenewalHoldsEverybody(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	now := time.Now()
	hang := make(chan struct{})
	defer close(hang)
	w.token = func(form url.Values) (int, map[string]any) {
		if form.Get("grant_type") == "refresh_token" {
			<-hang
		}
		return 200, m{"refresh_token": "r"}
	}
	var clock atomic.Int64
	tr := &doorward.Transport{Flow: w.code(), Now: func() time.Time { return now.Add(time.Duration(clock.Load())) }}
	must(t, context.Background(), tr, w.url())
	must(t, context.Background(), tr, other.url())
	clock.Store(int64(time.Hour - 20*time.Second)) // both are due
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	done := make(chan error, 1)
	go func() { _, err := post(ctx, tr, w.url()); done <- err }()
	must(t, context.Background(), tr, other.url())
	select {
	case err := <-done:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("a caller who left is still held")
	}
}

// d4.9 and T03 are TestRefreshTokenIsKeptAndBypassed; d5.14 is TestRegistration.

// d3.2 and d1.9: what a registration answers is read leniently where that is
// harmless, and an answer that is none is an Error.
func TestDefectRegistrationAnswers(t *testing.T) {
	for body, ok := range map[string]bool{
		`{"client_id":"c"}`: true, `{"client_id":"c","client_secret_expires_at":"0"}`: true, `{"client_id":"c","client_secret_expires_at":0.0}`: true,
		`{"client_id":"c","client_secret_expires_at":null,"application_type":"odd","x":{}}`: true,
		`{"client_id":""}`: false, `{"client_id":7}`: false, `[]`: false, `<html>`: false, ``: false, `null`: false,
	} {
		w := newWorld(t)
		registrar(t, w, 201, body)
		_, err := post(context.Background(), &doorward.Transport{Flow: w.code()}, w.url())
		var e *doorward.Error
		if ok && err != nil || !ok && (!errors.As(err, &e) || e.Step != "register" || len(w.sent) > 0) {
			t.Errorf("%s: %v", body, err)
		}
	}
}
