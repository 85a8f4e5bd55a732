package gateway_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"doorward/internal/access"
	"doorward/internal/gateway"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

// One caller has so much open and no more, over all servers and clients; others
// do not notice, and what ends makes room.
//
// covers: SEC-38, X-HTTP-06
func TestOpenPerCaller(t *testing.T) {
	up := newTicker(t)
	server := func(path string) gateway.Server {
		return gateway.Server{Path: path, Upstream: up.URL, Rules: access.Rules{Allow: []access.Rule{{Who: []string{"everyone", "client:desktop"}}}}}
	}
	r := newRig(t, map[string]gateway.Server{"a": server("/a"), "b": server("/b")})
	r.config.OpenPerCaller = 3
	r.gw = r.with(nil)
	atA, alice := r.grant("alice", "/a")
	atB, aliceAtB := r.grantOf(oauth.Subject{ID: "corp/alice", Provider: "corp", Account: "alice"}, "/b", map[string]any{"client_id": "other"})
	_, bob := r.grant("bob", "/a")
	open := []chan string{r.stream("/a", alice), r.stream("/a", alice), r.stream("/b", aliceAtB)}
	for path, token := range map[string]string{"/a": alice, "/b": aliceAtB} {
		for _, ask := range []struct{ method, body string }{{http.MethodGet, ""}, {http.MethodPost, toolCall("x")}, {http.MethodDelete, ""}} {
			resp, body := r.do(ask.method, path, token, ask.body)
			var e struct {
				Error struct {
					Message string
					Data    struct{ Reason, Ref string }
				}
			}
			if err := json.Unmarshal([]byte(body), &e); err != nil || resp.StatusCode != http.StatusTooManyRequests ||
				resp.Header.Get("Retry-After") != "5" || e.Error.Data.Reason != "too_many_open" || e.Error.Data.Ref == "" || !strings.Contains(e.Error.Message, e.Error.Data.Ref) {
				t.Errorf("%s %s: %d %v %s", ask.method, path, resp.StatusCode, resp.Header, body)
			}
		}
	}
	waitFor(t, "streams", func() bool { return up.streams() == 3 })
	// Others do not notice; a client that acts for itself is another caller, and
	// not the client that alice uses.
	_, agent := r.grantOf(oauth.Subject{ID: "client:desktop"}, "/a", nil)
	for _, token := range []string{bob, agent} {
		for range 3 {
			r.stream("/a", token)
		}
		if resp, _ := r.do(http.MethodGet, "/a", token, ""); resp.StatusCode != http.StatusTooManyRequests {
			t.Errorf("a fourth one: %d", resp.StatusCode)
		}
	}
	for _, id := range []string{atA, atB} { // what ended counts no more
		if _, err := r.ledger.End(t.Context(), ledger.Which{Grant: id}, "test"); err != nil {
			t.Fatal(err)
		}
	}
	for _, lines := range open {
		closesWithin(t, lines, 5e9)
	}
	_, again := r.grant("alice", "/a")
	for range 3 {
		r.stream("/a", again)
	}
	if resp, _ := r.do(http.MethodGet, "/a", again, ""); resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("a fourth one: %d", resp.StatusCode)
	}
}

// stalled is a body that stops after some bytes until end is closed, and breaks
// off then.
type stalled struct {
	bytes int
	begun chan struct{} // closed when it stops
	end   chan struct{}
}

func (b *stalled) Read(p []byte) (int, error) {
	if b.bytes > 0 {
		n := min(len(p), b.bytes)
		b.bytes -= n
		return n, nil
	}
	close(b.begun)
	<-b.end
	return 0, io.ErrUnexpectedEOF
}

func (b *stalled) Close() error { return nil }

// The messages of one caller are bounded together: those that are announced,
// those that come bit by bit, and those whose answer lasts. Others do not notice,
// and what ends makes room.
//
// covers: SEC-38, X-HTTP-06
func TestOpenBodiesPerCaller(t *testing.T) {
	up := newTicker(t)
	r := newRig(t, map[string]gateway.Server{"a": {Path: "/a", Upstream: up.URL, Rules: access.Rules{Allow: []access.Rule{{Who: []string{"everyone"}}}}}})
	r.config.BodyLimit = 1 << 20
	r.gw = r.with(nil)
	id, lasting := r.grantOf(oauth.Subject{ID: "corp/alice", Provider: "corp", Account: "alice"}, "/a", nil)
	_, alice := r.grant("alice", "/a")
	_, bob := r.grant("bob", "/a")
	post := func(token string, body io.Reader, length int64) int {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/a", body)
		req.ContentLength = length
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		r.gw.ServeHTTP(w, req)
		if (w.Code == http.StatusTooManyRequests) != strings.Contains(w.Body.String(), "too_many_open") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		return w.Code
	}
	var wait sync.WaitGroup
	end := make(chan struct{})
	stall := func(bytes int, length int64) {
		body := &stalled{bytes: bytes, begun: make(chan struct{}), end: end}
		wait.Go(func() {
			if code := post(alice, body, length); code != http.StatusBadRequest {
				t.Errorf("a body that breaks off: %d", code)
			}
		})
		<-body.begun
	}
	over := make(chan struct{})
	close(over)
	gone := func(bytes int) io.Reader { return &stalled{bytes: bytes, begun: make(chan struct{}), end: over} }
	listening := `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{}}`
	long := listening + strings.Repeat(" ", 1<<20-len(listening))
	listened := make(chan int)
	go func() { listened <- post(lasting, strings.NewReader(long), 1<<20) }()
	waitFor(t, "the subscription", func() bool { return up.requests() == 1 })
	for range 62 {
		stall(0, 1<<20)
	}
	stall(1<<19, -1)
	for _, length := range []int64{1 << 20, -1} {
		if code := post(alice, gone(1<<20), length); code != http.StatusTooManyRequests {
			t.Errorf("more than 64 MiB, announced as %d: %d", length, code)
		}
	}
	if code := post(alice, gone(0), 1<<19); code != http.StatusBadRequest { // what was refused left its room
		t.Errorf("exactly 64 MiB: %d", code)
	}
	if code := post(bob, gone(0), 1<<20); code != http.StatusBadRequest {
		t.Errorf("somebody else: %d", code)
	}
	if _, err := r.ledger.End(t.Context(), ledger.Which{Grant: id}, "test"); err != nil {
		t.Fatal(err)
	}
	if code := <-listened; code != http.StatusUnauthorized {
		t.Errorf("the subscription that was ended: %d", code)
	}
	if code := post(alice, gone(0), 1<<20); code != http.StatusBadRequest {
		t.Errorf("after one ended: %d", code)
	}
	close(end)
	wait.Wait()
}
