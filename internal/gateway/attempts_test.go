package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"doorward/internal/audit"
	"doorward/internal/gateway"
	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

// Every refusal of the gateway carries a reference, in the challenge or in the
// JSON-RPC error, and what is kept under it names the step and the party.
func TestPlantedFaults(t *testing.T) {
	u := newUpstream(t)
	down := files("http://127.0.0.1:1/mcp")
	down.Path = "/down/mcp"
	r := newRig(t, map[string]gateway.Server{"files": files(u.URL), "down": down})
	r.config.Attempts = audit.NewAttempts(r.events.log)
	r.gw = r.with(nil)
	grant := func(person string, scopes ...string) string {
		_, token := r.grant(person, "/files/mcp", scopes...)
		return token
	}
	changed := func(name string, value any) string {
		_, token := r.grantOf(oauth.Subject{ID: "corp/alice"}, "/files/mcp", map[string]any{name: value}, "files:read")
		return token
	}
	stranger := func() string {
		key, err := jose.NewES256()
		if err != nil {
			t.Fatal(err)
		}
		ours := r.key
		defer func() { r.key = ours }()
		r.key = key
		return changed("aud", r.url+"/files/mcp")
	}
	ended := func() string {
		id, token := r.grant("alice", "/files/mcp", "files:read")
		if _, err := r.ledger.End(t.Context(), ledger.Which{Grant: id}, "test"); err != nil {
			t.Fatal(err)
		}
		return token
	}
	_, onDown := r.grant("alice", "/down/mcp", "files:read")
	broken := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusInternalServerError)
	}
	for _, c := range []struct {
		name, path, token, body string
		answer                  http.HandlerFunc
		step, who, rule         string
		known                   bool
	}{
		{"no token", "/files/mcp", "", "{}", nil, "token", audit.Maker, "", false},
		{"rubbish", "/files/mcp", "x.y", "{}", nil, "signature", audit.Maker, "", false},
		{"a foreign key", "/files/mcp", stranger(), "{}", nil, "signature", audit.Maker, "", false},
		{"another audience", "/files/mcp", onDown, "{}", nil, "audience", audit.Maker, "", false},
		{"expired", "/files/mcp", changed("exp", time.Now().Add(-time.Minute).Unix()), "{}", nil, "times", audit.Maker, "", false},
		{"not yet", "/files/mcp", changed("nbf", time.Now().Add(5*time.Minute).Unix()), "{}", nil, "times", audit.Operator, "", false},
		{"a grant that ended", "/files/mcp", ended(), "{}", nil, "alive", audit.Person, "", false},
		{"no grant", "/files/mcp", changed("gid", "nobody"), "{}", nil, "alive", audit.Person, "", true},
		{"no JSON-RPC", "/files/mcp", grant("alice", "files:read"), "{}", nil, "body", audit.Maker, "", true},
		{"may not reach", "/files/mcp", grant("carol", "files:read"), toolCall("read_file"), nil, "reach", audit.Operator, "servers.files.deny[1]", true},
		{"missing scope", "/files/mcp", grant("alice", "files:read"), toolCall("write_file"), nil, "scopes", audit.Person, "", true},
		{"a tool that is denied", "/files/mcp", grant("alice", "files:read"), toolCall("delete_all"), nil, "tool", audit.Operator, "servers.files.deny[0]", true},
		{"a tool that no rule allows", "/files/mcp", grant("bob", "files:all"), toolCall("write_file"), nil, "tool", audit.Operator, "", true},
		{"a sign-in that is too old", "/files/mcp", grant("bob", "files:read"), toolCall("audit_log"), nil, "tool", audit.Person, "servers.files.allow[2]", true},
		{"upstream down", "/down/mcp", onDown, toolCall("read_file"), nil, "upstream", audit.Operator, "", true},
		{"upstream broken", "/files/mcp", grant("alice", "files:read"), toolCall("read_file"), broken, "upstream", audit.Operator, "", true},
	} {
		u.respond(c.answer)
		resp, body := r.do(http.MethodPost, c.path, c.token, c.body)
		said := refForm.FindStringSubmatch(body)
		if said == nil {
			t.Errorf("%s: no reference: %d %s", c.name, resp.StatusCode, body)
			continue
		}
		if h := resp.Header.Get("WWW-Authenticate"); strings.Contains(h, "error_description") && !strings.Contains(h, "(ref "+said[1]+")") {
			t.Errorf("%s: the challenge has another reference: %s", c.name, h)
		}
		event, recent := r.config.Attempts.Recent(said[1])
		for _, e := range r.events.all(t) {
			if e.Ref == said[1] {
				event = e
			}
		}
		x := audit.Explain(event)
		if x.Ref != said[1] || x.Broken != c.step || x.Who != c.who || x.Rule != c.rule || recent == c.known {
			t.Errorf("%s: why says %s, %s must act, rule %q, in memory %t\n%s\n%+v", c.name, x.Broken, x.Who, x.Rule, recent, body, event)
		}
	}
}
