package authtest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"doorward"
	"doorward/authserver"
	"doorward/authtest"
)

// A test of an MCP server of one's own, behind the real gateway: alice's client
// walks in through an ID-JAG, bob's is refused by a rule, and when alice leaves
// her token is refused at its next use.
func ExampleNew() {
	var t testing.TB // of the test

	mine := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { /* the server that is tested */ })
	w := authtest.New(t, authtest.Config{MCP: mine, Deny: []authserver.Rule{{Who: []string{"person:bob"}}}})

	call := func(c *http.Client) int {
		resp, err := c.Post(w.MCP, "application/json", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
		if err != nil {
			return 0 // no token: errors.As(err, &e) with a *doorward.Error says at which step
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	alice := &http.Client{Transport: &doorward.Transport{Flow: w.CrossApp("alice")}}
	bob := &http.Client{Transport: &doorward.Transport{Flow: w.CrossApp("bob")}}
	if call(alice) != http.StatusOK || call(bob) != 0 {
		t.Error("alice may, and bob may not")
	}
	w.Ahead(2 * time.Hour) // her token expired: a new one is fetched
	if call(alice) != http.StatusOK {
		t.Error("two hours later")
	}
	w.Leave("alice")
	if call(alice) == http.StatusOK {
		t.Error("she left")
	}
}

// What the example says is so.
func TestExample(t *testing.T) {
	w := authtest.New(t, authtest.Config{Deny: []authserver.Rule{{Who: []string{"person:bob"}}}})
	alice := &http.Client{Transport: &doorward.Transport{Flow: w.CrossApp("alice")}}
	if status, body := post(t, alice, w.MCP); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	bob := &http.Client{Transport: &doorward.Transport{Flow: w.CrossApp("bob")}}
	if resp, err := bob.Post(w.MCP, "application/json", strings.NewReader("{}")); err == nil {
		t.Errorf("bob: %s", resp.Status)
	}
	w.Leave("alice")
	if resp, err := alice.Post(w.MCP, "application/json", strings.NewReader("{}")); err == nil && resp.StatusCode == http.StatusOK {
		t.Error("alice left, and is let in")
	}
}

// A test of an authorization server of one's own: every known client comes in,
// but those that somebody has to be registered for by hand.
func ExampleClients() {
	var t *testing.T // of the test

	visit, err := authtest.PersonAt("alice", "her password", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range authtest.Clients() {
		if c.TypedIn() {
			continue
		}
		if _, err := c.Connect(t.Context(), authtest.Site{MCP: "https://mcp.example.com/mcp", Visit: visit}); err != nil {
			t.Error(err) // the client, the way it came, the step at which the server failed it
		}
	}
}
