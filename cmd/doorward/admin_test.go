package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/internal/jose"
)

// counter is a server that runs, or stands still, while it is administered.
type counter struct {
	*desk
	file, url string
	running   bool
	p         *process
}

// inBothStates runs a test against a running server, through its socket, and
// against a stopped one, on its store.
func inBothStates(t *testing.T, more string, test func(t *testing.T, c *counter)) {
	for name, running := range map[string]bool{"running": true, "stopped": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &counter{desk: newDesk(t), running: running}
			c.file = siteAt(t, c.desk, more)
			c.up()
			test(t, c)
		})
	}
}

// up makes the server run, so that one sees what became of it.
func (c *counter) up() {
	c.t.Helper()
	if c.p == nil {
		c.p = c.desk.start("serve", "--config", c.file)
		c.url = c.p.url
	}
}

// admin administers, in the state that is to be shown.
func (c *counter) admin(args ...string) ran {
	c.t.Helper()
	if !c.running && c.p != nil {
		c.p.stop()
		c.p = nil
	}
	return c.desk.run(append(args, "--config", c.file)...)
}

// does is admin for what has to succeed; the server runs afterwards.
func (c *counter) does(args ...string) string {
	c.t.Helper()
	r := c.admin(args...)
	if r.code != 0 {
		c.t.Fatalf("%q: exit %d\n%s%s", args, r.code, r.out, r.errs)
	}
	c.up()
	return r.out
}

func (c *counter) mcp() string { return c.url + "/one/mcp" }

func (c *counter) alice() string {
	c.t.Helper()
	return c.token(c.mcp(), "alice", alicesPassword, "--client-id", "tool")
}

func TestLeave(t *testing.T) {
	inBothStates(t, "", func(t *testing.T, c *counter) {
		alice, agent := c.alice(), agentToken(t, c.url)
		out := c.does("leave", "alice@example.com")
		for _, word := range []string{"person alice · leave · ", "1 grant, 1 session", "alice → " + c.mcp(), "by tool"} {
			if !strings.Contains(out, word) {
				t.Errorf("the receipt lacks %q:\n%s", word, out)
			}
		}
		if opens(t, c.mcp(), alice) {
			t.Error("her token opens the server")
		}
		if !opens(t, c.mcp(), agent) {
			t.Error("the agent's token ended, too")
		}
		if r := c.browser(person(t, "alice", alicesPassword), "token", c.mcp(), "--no-browser", "--timeout", "2s"); r.code != 1 {
			t.Errorf("she signed in after she left: exit %d", r.code)
		}
		if out := c.does("leave", "alice"); !strings.Contains(out, "0 grants") {
			t.Errorf("a second time: %s", out)
		}
		if out := c.does("user", "list"); !regexp.MustCompile(`alice .*left 20`).MatchString(out) {
			t.Errorf("user list does not say that she left:\n%s", out)
		}
		if r := c.admin("can", "alice", "one"); r.code != 1 || !strings.Contains(r.out, "no: left") {
			t.Errorf("can: exit %d %s%s", r.code, r.out, r.errs)
		}
		if out := c.does("leave", "--undo", "alice"); !strings.Contains(out, "may sign in again") {
			t.Errorf("the receipt of the return: %s", out)
		}
		if opens(t, c.mcp(), alice) {
			t.Error("what had ended came back with her")
		}
		if !opens(t, c.mcp(), c.alice()) {
			t.Error("she is back and cannot get a token")
		}
		if out := c.does("leave", "--undo", "alice"); !strings.Contains(out, "had not left") {
			t.Errorf("the receipt of a second return: %s", out)
		}
	})
}

// Somebody who never came may leave, too.
func TestLeaveBeforeTheFirstVisit(t *testing.T) {
	inBothStates(t, "", func(t *testing.T, c *counter) {
		c.does("leave", "ALICE@example.com")
		if r := c.browser(person(t, "alice", alicesPassword), "token", c.mcp(), "--no-browser", "--timeout", "2s"); r.code != 1 {
			t.Errorf("exit %d", r.code)
		}
	})
}

func TestRevoke(t *testing.T) {
	inBothStates(t, "", func(t *testing.T, c *counter) {
		alice, agent := c.alice(), agentToken(t, c.url)
		grant := regexp.MustCompile(`grant (\S+)  `)
		shows := func(what string, aliceIn, agentIn bool) {
			t.Helper()
			if got := opens(t, c.mcp(), alice); got != aliceIn {
				t.Errorf("after revoke %s: Alice's token opens the server: %v", what, got)
			}
			if got := opens(t, c.mcp(), agent); got != agentIn {
				t.Errorf("after revoke %s: the agent's token opens the server: %v", what, got)
			}
			alice, agent = c.alice(), agentToken(t, c.url)
			if !opens(t, c.mcp(), alice) || !opens(t, c.mcp(), agent) {
				t.Fatalf("after revoke %s: new tokens do not open the server", what)
			}
		}
		if out := c.does("revoke", "client:tool"); !strings.Contains(out, "may ask again") || !grant.MatchString(out) {
			t.Errorf("the receipt: %s", out)
		}
		shows("client:tool", false, true)
		c.does("revoke", "client:agent")
		shows("client:agent", true, false)
		c.does("revoke", "server:one")
		shows("server:one", false, false)
		c.does("revoke", "server:"+c.mcp())
		shows("server:URL", false, false)
		c.does("revoke", "grant:"+gid(t, alice))
		shows("grant:ID", false, true)
		if out := c.does("revoke", "--all"); strings.Count(out, "grant ") < 2 {
			t.Errorf("the receipt: %s", out)
		}
		shows("--all", false, false)
		if r := c.admin("revoke", "grant:"+gid(t, alice)+"x"); r.code != 1 || !strings.Contains(r.errs, "no living grant") {
			t.Errorf("a grant that is not there: exit %d %s", r.code, r.errs)
		}
	})
}

// gid is the grant that a token names.
func gid(t testing.TB, token string) string {
	t.Helper()
	_, claims := decoded(token)
	id, _ := claims["gid"].(string)
	if id == "" {
		t.Fatalf("no gid in %v", claims)
	}
	return id
}

func TestCan(t *testing.T) {
	more := `  two:
    path: /two/mcp
    run: sample
    allow: [{who: "group:eng", tools: [whoami], require: {signed_in_within: 8h, amr: [pwd]}}, {who: "client:agent"}]
    deny: [{who: "person:alice", tools: [note]}]
  three: {path: /three/mcp, run: sample, allow: [{who: "client:agent"}]}
`
	inBothStates(t, more, func(t *testing.T, c *counter) {
		for _, q := range []struct {
			line, says string
			code       int
		}{
			{"alice one", "yes: allowed · servers.one.allow[0]", 0},
			{"alice one note", "yes", 0},
			{"alice two whoami --amr pwd", "yes: allowed · servers.two.allow[0]", 0},
			{"alice two whoami --amr pwd --signed-in 9h", "no: needs_sign_in · servers.two.allow[0]", 1},
			{"alice two whoami", "no: needs_sign_in", 1},
			{"alice two note --amr pwd", "no: denied_by_rule · servers.two.deny[0]", 1},
			{"alice two whoami --amr pwd --group sales", "no: no_allow_rule · no rule lets them", 1},
			{"alice three", "no: no_allow_rule", 1},
			{"alice three --client agent", "yes", 0},
			{"alice@example.com one", "yes", 0},
			{"alice " + c.mcp(), "yes", 0},
		} {
			r := c.admin(append([]string{"can"}, strings.Fields(q.line)...)...)
			if r.code != q.code || !strings.HasPrefix(r.out, q.says) || r.errs != "" {
				t.Errorf("can %s: exit %d %q %q, want %d %q", q.line, r.code, r.out, r.errs, q.code, q.says)
			}
		}
	})
}

func TestClients(t *testing.T) {
	inBothStates(t, "", func(t *testing.T, c *counter) {
		out := c.admin("client", "add", "helper", "--name", "Helper", "--redirect-uri", "http://127.0.0.1/callback")
		m := regexp.MustCompile(`(?m)^client_id      helper\nclient_secret  (\S{40,})$`).FindStringSubmatch(out.out)
		if m == nil || !strings.Contains(out.errs, "this once") || strings.Contains(out.errs, m[1]) {
			t.Fatalf("exit %d %s%s", out.code, out.out, out.errs)
		}
		c.up()
		c.vars["HELPER"] = m[1]
		token := c.token(c.mcp(), "alice", alicesPassword, "--client-id", "helper", "--client-secret", "env:HELPER")
		if !opens(t, c.mcp(), token) {
			t.Error("the client's token does not open the server")
		}
		if status, got := ask(t, c.url+"/token", "helper", m[1]+"x", "grant_type", "refresh_token", "refresh_token", "r"); status != http.StatusUnauthorized {
			t.Errorf("another secret: %d %v", status, got)
		}
		if out := c.does("client", "list"); strings.Contains(out, m[1]) || !regexp.MustCompile(`(?m)^agent .*\n(.*\n)*helper .*Helper`).MatchString(out) {
			t.Errorf("list:\n%s", out)
		}
		if out := c.does("client", "remove", "helper"); !strings.Contains(out, "client helper · removed") || !strings.Contains(out, "1 grant") {
			t.Errorf("the receipt: %s", out)
		}
		if opens(t, c.mcp(), token) {
			t.Error("the token of a client that was removed opens the server")
		}
		if status, got := ask(t, c.url+"/token", "helper", m[1], "grant_type", "refresh_token", "refresh_token", "r"); status != http.StatusUnauthorized || got["error"] != "invalid_client" {
			t.Errorf("a client that was removed: %d %v", status, got)
		}
		if out := c.does("client", "add", "page", "--public", "--redirect-uri", "https://page.example/cb"); strings.Contains(out, "secret") {
			t.Errorf("a public client has a secret: %s", out)
		}
	})
}

// restart starts the server anew with a line more under clients.
func (c *counter) restart(t *testing.T, line string) {
	t.Helper()
	b, err := os.ReadFile(c.file)
	if err != nil {
		t.Fatal(err)
	}
	c.p.stop()
	c.p = nil
	if err := writeFile(c.file, []byte(strings.Replace(string(b), "clients:\n", "clients:\n  "+line+"\n", 1))); err != nil {
		t.Fatal(err)
	}
	c.up()
}

// stranger registers a client with that redirect URI.
func (c *counter) stranger(t *testing.T, redirect string) (id string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.url+"/register",
		strings.NewReader(`{"client_name":"Stranger","redirect_uris":["`+redirect+`"],"token_endpoint_auth_method":"none"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	var reg struct {
		ID string `json:"client_id"`
	}
	if a := do(t, req); json.Unmarshal([]byte(a.body), &reg) != nil || a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.body)
	}
	return reg.ID
}

// Where an administrator consents, an approval is the consent for everybody,
// also of a client that policy lets in.
func TestClientApproveForAll(t *testing.T) {
	inBothStates(t, "", func(t *testing.T, c *counter) {
		c.restart(t, "consent: {others: admin}")
		id := c.stranger(t, "https://stranger.example/cb")
		at := c.url + "/authorize?client_id=" + id + "&response_type=code&code_challenge=" + strings.Repeat("x", 43) + "&code_challenge_method=S256"
		if a := get(t, at); a.status != http.StatusForbidden || !strings.Contains(a.body, "doorward client approve "+id) {
			t.Errorf("nobody consented: %d %s", a.status, a.body)
		}
		if out := c.does("client", "approve", id); !strings.Contains(out, "approved: "+id+" (Stranger), for everybody") {
			t.Errorf("%s", out)
		}
		if a := get(t, at); strings.Contains(a.body, "An administrator must approve") || !strings.Contains(a.body, "sent no cookie") { // it goes on to the sign-in
			t.Errorf("after the consent: %d %s", a.status, a.body)
		}
	})
}

func TestClientApprove(t *testing.T) {
	inBothStates(t, "", func(t *testing.T, c *counter) {
		c.restart(t, "others: ask-admin")
		var reg struct{ ID string }
		reg.ID = c.stranger(t, "http://127.0.0.1/callback")
		if r := c.browser(person(t, "alice", alicesPassword), "token", c.mcp(), "--no-browser", "--client-id", reg.ID, "--timeout", "2s"); r.code != 1 {
			t.Errorf("nobody approved it: exit %d", r.code)
		}
		if a := get(t, c.url+"/authorize?client_id="+reg.ID+"&redirect_uri=http://127.0.0.1:1/callback&response_type=code&code_challenge="+strings.Repeat("x", 43)+
			"&code_challenge_method=S256"); a.status != http.StatusForbidden || !strings.Contains(a.body, "An administrator must approve") || !strings.Contains(a.body, "doorward client approve "+reg.ID) {
			t.Errorf("the page does not say whom to ask: %d %s", a.status, a.body)
		}
		if out := c.does("client", "approve", reg.ID); !strings.Contains(out, "approved: "+reg.ID+" (Stranger)") {
			t.Errorf("%s", out)
		}
		if !opens(t, c.mcp(), c.token(c.mcp(), "alice", alicesPassword, "--client-id", reg.ID)) {
			t.Error("approved, and its token does not open the server")
		}
	})
}

func TestUsers(t *testing.T) {
	inBothStates(t, "", func(t *testing.T, c *counter) {
		password := regexp.MustCompile(`(?m)^name      carol\npassword  (\S+)$`)
		added := c.admin("user", "add", "carol", "--email", "carol@example.com", "--group", "eng")
		m := password.FindStringSubmatch(added.out)
		if m == nil || !strings.Contains(added.errs, "this once") || strings.Contains(added.errs, m[1]) {
			t.Fatalf("exit %d %s%s", added.code, added.out, added.errs)
		}
		c.up()
		first := c.token(c.mcp(), "carol", m[1])
		if !opens(t, c.mcp(), first) {
			t.Error("her token does not open the server")
		}
		changed := password.FindStringSubmatch(c.does("user", "password", "carol"))
		if changed == nil || changed[1] == m[1] {
			t.Fatal("no new password")
		}
		if opens(t, c.mcp(), first) {
			t.Error("what she had before the new password lives on")
		}
		if r := c.browser(person(t, "carol", m[1]), "token", c.mcp(), "--no-browser", "--timeout", "2s"); r.code != 1 {
			t.Errorf("the old password still works: exit %d", r.code)
		}
		c.vars["OWN"] = "tango-orchard-83-anvil"
		if out := c.does("user", "password", "carol", "--password", "env:OWN"); strings.Contains(out, "password") {
			t.Errorf("a password that was given is repeated: %s", out)
		}
		if !opens(t, c.mcp(), c.token(c.mcp(), "carol", c.vars["OWN"])) {
			t.Error("her token with a password of her own does not open the server")
		}
		if out := c.does("user", "list"); !regexp.MustCompile(`(?m)^alice +file .*eng$\n^carol +admin +carol@example.com +eng$`).MatchString(out) {
			t.Errorf("list:\n%s", out)
		}
	})
}

func TestKeys(t *testing.T) {
	inBothStates(t, "", func(t *testing.T, c *counter) {
		token := agentToken(t, c.url)
		before := strings.Fields(c.does("key", "list"))
		m := regexp.MustCompile(`^(\S+) signs from (\S+) on; until then (\S+) does`).FindStringSubmatch(c.does("key", "rotate"))
		after := strings.Fields(c.does("key", "list"))
		if m == nil || len(before) != 1 || len(after) != 2 || after[0] != m[1] || after[1] != m[3] || after[1] != before[0] {
			t.Fatalf("before %q, after %q, said %q", before, after, m)
		}
		if from, err := time.Parse(time.RFC3339, m[2]); err != nil || time.Until(from) > 20*time.Minute || time.Until(from) < 15*time.Minute {
			t.Errorf("from %s: %v", m[2], err)
		}
		if !opens(t, c.mcp(), token) {
			t.Error("a token of the old key does not open the server")
		}
		signedBy := func(kid string) {
			t.Helper()
			fresh := agentToken(t, c.url)
			if header, _, err := jose.Peek(fresh); err != nil || header.Kid != kid || !opens(t, c.mcp(), fresh) {
				t.Errorf("the new token is signed with %q, not %q: %v", header.Kid, kid, err)
			}
		}
		signedBy(before[0])
		m = regexp.MustCompile(`now signing with (\S+); all other keys are withdrawn`).FindStringSubmatch(c.does("key", "rotate", "--now"))
		if after = strings.Fields(c.does("key", "list")); m == nil || len(after) != 1 || after[0] != m[1] {
			t.Fatalf("after %q, said %q", after, m)
		}
		signedBy(m[1])
	})
}

func TestAdministrationRefused(t *testing.T) {
	inBothStates(t, "", func(t *testing.T, c *counter) {
		c.vars["WEAK"] = "password1234"
		c.does("user", "add", "carol")
		c.does("client", "add", "helper")
		for _, q := range []struct {
			code       int
			line, says string
		}{
			{1, "leave nobody", `nobody here is called "nobody"`},
			{1, "leave corp/alice", `nobody here is called "corp/alice"`},
			{1, "can nobody one", `nobody here is called "nobody"`},
			{1, "can alice nowhere", `there is no server "nowhere"; there are: one`},
			{2, "can alice one --signed-in yesterday", "--signed-in"},
			{1, "revoke client:nobody", `there is no client "nobody": ` + "`doorward client list`"},
			{1, "revoke server:nowhere", `there is no server "nowhere"; there are: one`},
			{1, "revoke issuer:nobody", `there is no issuer "nobody"`},
			{1, "revoke grant:nothing", `there is no living grant "nothing"`},
			{1, "client add agent", "the configuration file has a client"},
			{1, "client remove agent", "is in the configuration file"},
			{1, "client approve agent", "is in the configuration file"},
			{1, "client remove nobody", `there is no client "nobody"`},
			{1, "client approve nobody", `there is no client "nobody"`},
			{1, "client add helper", `there is a client "helper" already`},
			{2, "client add UPPER", "cannot be a client id"},
			{2, "client add x --grant magic", "unknown grant type"},
			{2, "client add x --grant token-exchange", "`doorward idp`"},
			{2, "client add x --grant urn:ietf:params:oauth:grant-type:token-exchange", "`doorward idp`"},
			{2, "client add x --grant client_credentials --public", "leave out --public"},
			{2, "client add x --grant authorization_code", "--redirect-uri"},
			{2, "client add x --public", "--redirect-uri"},
			{2, "client add x --redirect-uri http://evil.example/cb", "http://evil.example/cb"},
			{2, `client add x --scope a"b`, "--scope"},
			{1, "user add alice", "the configuration file has a person"},
			{1, "user password alice", "in the configuration file"},
			{1, "user password nobody", "no local person"},
			{1, "user add carol", `there is a person "carol" already`},
			{2, "user add a/b", "cannot be a name"},
			{2, "user add dave --password secret", "env:NAME or file:PATH"},
			{2, "user add dave --password env:WEAK", "will not do"},
		} {
			r := c.admin(strings.Fields(q.line)...)
			if r.code != q.code || r.out != "" || !strings.Contains(r.errs, q.says) {
				t.Errorf("%s: exit %d %q %q, want %d %q", q.line, r.code, r.out, r.errs, q.code, q.says)
			}
			if strings.Contains(r.errs, c.vars["WEAK"]) {
				t.Errorf("%s repeats the password", q.line)
			}
		}
	})
}

// What programs read keeps its shape: these members and no others.
func TestAdministrationJSON(t *testing.T) {
	inBothStates(t, "", func(t *testing.T, c *counter) {
		c.alice()
		receiptOf := "what reason grants sessions consents time took_ms"
		for _, q := range []struct{ line, members string }{
			{"client add helper --redirect-uri https://a.example/cb --name H", "id name secret redirect_uris grant_types source public approved created"},
			{"client approve helper", "id name redirect_uris grant_types source public approved created"},
			{"client list", "id grant_types source public approved"},
			{"user add carol --email carol@example.com --group eng", "name email groups source password"},
			{"user password carol", "name email groups source password"},
			{"user list", "name email groups source"},
			{"can alice one whoami", "allowed rule reason person server tool"},
			{"key list", "ids keys"},
			{"key rotate", "old new from"},
			{"key rotate --now", "new"},
			{"revoke client:tool", receiptOf + " note"},
			{"client remove helper", receiptOf},
			{"leave alice", receiptOf},
			{"leave --undo alice", receiptOf + " note"},
			{"revoke --all", receiptOf},
		} {
			out := c.does(append(strings.Fields(q.line), "--json")...)
			var got any
			if err := json.Unmarshal([]byte(out), &got); err != nil || strings.Count(out, "\n") != 1 {
				t.Errorf("%s: %v: %s", q.line, err, out)
				continue
			}
			if list, ok := got.([]any); ok && len(list) > 0 {
				got = list[0]
			}
			object, _ := got.(map[string]any)
			want := strings.Fields(q.members)
			slices.Sort(want)
			if names := sortedNames(object); !slices.Equal(names, want) {
				t.Errorf("%s: members %q, want %q", q.line, names, want)
			}
			if strings.Contains(out, ":null") {
				t.Errorf("%s: an empty list is null: %s", q.line, out)
			}
			if grants, _ := object["grants"].([]any); q.line == "revoke client:tool" {
				first, _ := grants[0].(map[string]any)
				if names := sortedNames(first); !slices.Equal(names, []string{"client", "id", "person", "resource", "scope", "since"}) {
					t.Errorf("a grant of a receipt has %q", names)
				}
			}
		}
	})
}

// A server without a file is administered by its url or its state, also when
// it stands still: its flags are not forgotten.
func TestAdministrationWithoutAFile(t *testing.T) {
	t.Parallel()
	for name, running := range map[string]bool{"running": true, "stopped": false} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			u := newUpstream(t)
			p := d.start("serve", "--url", "http://"+free(t), "--ops", "off", "--upstream", u.URL+"/mcp", "--allow", "client:https://tool.example/id")
			if !running {
				p.stop()
			}
			if r := d.run("can", "admin", "mcp", "--url", p.url); r.code != 1 || !strings.HasPrefix(r.out, "no: no_allow_rule") {
				t.Errorf("exit %d %s%s", r.code, r.out, r.errs)
			}
			d.must("revoke", "server:mcp", "--url", p.url)
			d.must("leave", "admin", "--url", p.url)
			d.refused(1, []string{"user", "add", "admin", "--url", p.url}, "admin")
		})
	}
}

// An identity provider is administered likewise.
func TestAdministrationOfAnIdP(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	idp, server, file := company(t, d)
	config := filepath.Join(filepath.Dir(file), "idp.yaml")
	for _, running := range []bool{true, false} {
		if !running {
			idp.stop()
		}
		if out := d.must("can", "alice", server.url, "--config", config); !strings.Contains(out, `audiences["`+server.url+`"].allow[0]`) {
			t.Errorf("%s", out)
		}
		if r := d.run("can", "bob", server.url+"/mcp", "--config", config); r.code != 1 || !strings.Contains(r.out, "deny[0]") {
			t.Errorf("exit %d %s%s", r.code, r.out, r.errs)
		}
		d.refused(1, []string{"can", "bob", "https://other.example", "--config", config}, server.url)
		d.refused(2, []string{"client", "add", "x", "--grant", "jwt-bearer", "--config", config}, "token-exchange")
		d.must("leave", "bob", "--config", config)
		d.must("leave", "--undo", "bob", "--config", config)
	}
}

// The off switch works while the file is being mended.
func TestLeaveWithABrokenFile(t *testing.T) {
	t.Parallel()
	c := &counter{desk: newDesk(t), running: true}
	c.t, c.file = t, siteAt(t, c.desk, "")
	c.up()
	token := c.alice()
	b, err := os.ReadFile(c.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeFile(c.file, append(b, "serverz: {}\n"...)); err != nil {
		t.Fatal(err)
	}
	delete(c.vars, "ALICE") // the administrator's shell has not the server's secrets
	c.does("leave", "alice")
	if opens(t, c.mcp(), token) {
		t.Error("her token opens the server")
	}
	c.p.stop()
	if r := c.admin("leave", "alice"); r.code != 1 || !strings.Contains(r.errs, "doorward.yaml:") {
		t.Errorf("of a stopped server the file must be good: exit %d %s", r.code, r.errs)
	}
}
