package gateway_test

import (
	"encoding/json"
	"net/http"
	"strings"
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
