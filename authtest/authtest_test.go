package authtest_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward"
	"doorward/authserver"
	"doorward/authtest"
)

// trace is a wire that notes what went over it.
type trace struct {
	mu    sync.Mutex
	lines []string
	auth  []string
}

func (tr *trace) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	status := 0
	if err == nil {
		status = resp.StatusCode
	}
	tr.lines = append(tr.lines, fmt.Sprintf("%s %s%s %d", r.Method, r.URL.Host, r.URL.Path, status))
	tr.auth = append(tr.auth, r.Header.Get("Authorization"))
	return resp, err
}

func post(t *testing.T, c *http.Client, url string) (int, string) {
	t.Helper()
	resp, err := c.Post(url, "application/json", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// covers: C-EMA-02, C-EMA-04, C-EMA-07, C-DISC-05, RS-CHAL-02
func TestTwoCallsAreEightRequests(t *testing.T) {
	w := authtest.New(t, authtest.Config{})
	tr := &trace{}
	c := &http.Client{Transport: &doorward.Transport{Base: tr, Flow: w.CrossApp("alice")}}
	for range 2 {
		if status, body := post(t, c, w.MCP); status != http.StatusOK {
			t.Fatalf("status %d: %s", status, body)
		}
	}
	server, idp := strings.TrimPrefix(w.Server, "http://"), strings.TrimPrefix(w.IdP, "http://")
	want := []string{
		"POST " + server + "/mcp 401",
		"GET " + server + "/.well-known/oauth-protected-resource/mcp 200",
		"GET " + server + "/.well-known/oauth-authorization-server 200",
		"GET " + idp + "/.well-known/openid-configuration 200",
		"POST " + idp + "/token 200",
		"POST " + server + "/token 200",
		"POST " + server + "/mcp 200",
		"POST " + server + "/mcp 200",
	}
	if !slices.Equal(tr.lines, want) {
		t.Errorf("the wire:\n%s\nwant:\n%s", strings.Join(tr.lines, "\n"), strings.Join(want, "\n"))
	}
}

func TestFiftyFirstCallsAreOneFlight(t *testing.T) {
	w := authtest.New(t, authtest.Config{})
	tr := &trace{}
	c := &http.Client{Transport: &doorward.Transport{Base: tr, Flow: w.CrossApp("alice")}}
	var callers sync.WaitGroup
	for range 50 {
		callers.Go(func() {
			resp, err := c.Post(w.MCP, "application/json", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("status %d", resp.StatusCode)
			}
		})
	}
	callers.Wait()
	tokens := 0
	for _, line := range tr.lines {
		if strings.Contains(line, "/token ") {
			tokens++
		}
	}
	if tokens != 2 {
		t.Errorf("%d token requests, want one at each end", tokens)
	}
}

func TestTwoPeopleNeverShareAToken(t *testing.T) {
	w := authtest.New(t, authtest.Config{})
	alice, bob := w.CrossApp("alice"), w.CrossApp("bob")
	type key struct{}
	flow := *alice
	flow.Subject = func(ctx context.Context) (doorward.Subject, error) {
		if ctx.Value(key{}) == "bob" {
			return bob.Subject(ctx)
		}
		return alice.Subject(ctx)
	}
	tr := &trace{}
	rt := &doorward.Transport{Base: tr, Flow: &flow}
	tokens := map[string]string{}
	for _, person := range []string{"alice", "bob", "alice", "bob"} {
		req, err := http.NewRequestWithContext(context.WithValue(t.Context(), key{}, person), http.MethodPost, w.MCP, bytes.NewReader([]byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		got := tr.auth[len(tr.auth)-1]
		if tokens[person] == "" {
			tokens[person] = got
		}
		if got != tokens[person] || !strings.HasPrefix(got, "Bearer ") {
			t.Errorf("%s's token changed or is missing", person)
		}
	}
	if tokens["alice"] == tokens["bob"] {
		t.Error("alice and bob share a token")
	}
}

// covers: RS-TR-05, RS-CHAL-04
func TestLeaveEndsTokenAndStream(t *testing.T) {
	w := authtest.New(t, authtest.Config{})
	clients := map[string]*http.Client{}
	streams := map[string]chan time.Time{} // when it ended
	for _, person := range []string{"alice", "bob"} {
		c := &http.Client{Transport: &doorward.Transport{Flow: w.CrossApp(person)}}
		clients[person] = c
		resp, err := c.Get(w.MCP)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s's stream: %s", person, resp.Status)
		}
		ended := make(chan time.Time, 1)
		streams[person] = ended
		go func() {
			defer resp.Body.Close()
			io.Copy(io.Discard, resp.Body)
			ended <- time.Now()
		}()
	}
	tok, err := (&doorward.Transport{Flow: w.CrossApp("alice")}).Token(t.Context(), w.MCP)
	if err != nil {
		t.Fatal(err)
	}
	left := time.Now()
	w.Leave("alice")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.MCP, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+tok.AccessToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized || !strings.Contains(resp.Header.Get("WWW-Authenticate"), "invalid_token") {
		t.Errorf("the next request: %s, %s", resp.Status, resp.Header.Get("WWW-Authenticate"))
	}
	select {
	case at := <-streams["alice"]:
		if d := at.Sub(left); d > time.Second {
			t.Errorf("alice's stream lived on for %s", d)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("alice's stream is still open")
	}
	if status, _ := post(t, clients["bob"], w.MCP); status != http.StatusOK {
		t.Errorf("bob's call after alice left: %d", status)
	}
	select {
	case <-streams["bob"]:
		t.Error("bob's stream ended with alice's")
	case <-time.After(200 * time.Millisecond):
	}
	if _, err := clients["alice"].Post(w.MCP, "application/json", strings.NewReader(`{}`)); err == nil {
		t.Error("alice's client got a new token")
	}
}

// covers: C-EMA-08, IDP-TX-10
func TestARuleKeepsSomebodyOut(t *testing.T) {
	w := authtest.New(t, authtest.Config{Deny: []authserver.Rule{{Who: []string{"person:bob"}}}})
	tr := &trace{}
	c := &http.Client{Transport: &doorward.Transport{Base: tr, Flow: w.CrossApp("bob")}}
	_, err := c.Post(w.MCP, "application/json", strings.NewReader(`{}`))
	if err == nil || !strings.Contains(err.Error(), "deny[0]") {
		t.Errorf("the error does not name the rule: %v", err)
	}
	for _, line := range tr.lines {
		if strings.Contains(line, "/authorize") {
			t.Errorf("fell back to the browser: %s", line)
		}
	}
	if status, _ := post(t, &http.Client{Transport: &doorward.Transport{Flow: w.CrossApp("alice")}}, w.MCP); status != http.StatusOK {
		t.Errorf("alice: %d", status)
	}
}

// The browser flow on the same parts: registration, sign-in, consent, token.
func TestBrowserFlow(t *testing.T) {
	w := authtest.New(t, authtest.Config{})
	alice := w.Browser("alice")
	c := &http.Client{Transport: &doorward.Transport{Flow: &doorward.AuthorizationCode{
		ClientName: "A test", Open: alice.Open,
	}}}
	if status, body := post(t, c, w.MCP); status != http.StatusOK {
		t.Fatalf("status %d: %s", status, body)
	}
	w.Ahead(16 * time.Minute) // the access token has expired for the server, not for the client
	if status, body := post(t, c, w.MCP); status != http.StatusOK {
		t.Fatalf("after the refresh: %d: %s", status, body)
	}
}
