package gateway_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"doorward/internal/access"
	"doorward/internal/gateway"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

// What goes upstream has nothing of the caller's credentials and identity.
// covers: SEC-03, RS-TOK-10, RS-TOK-12
func TestNothingOfTheCallerGoesUpstream(t *testing.T) {
	u := newUpstream(t)
	s := files(u.URL + "/inner?key=ours")
	s.Header = http.Header{"authorization": {"Bearer ours"}, "X-Tenant": {"acme"}}
	r := newRig(t, map[string]gateway.Server{"files": s})
	_, token := r.grant("alice", "/files/mcp", "files:read")
	resp, _ := r.do(http.MethodPost, "/files/mcp?access_token="+token+"&debug=1", token, toolCall("read_file"),
		"Cookie", "sid=1", "Dpop", "proof", "Proxy-Authorization", "x", "Forwarded", "for=1.2.3.4", "X-Forwarded-For", "1.2.3.4",
		"X_forwarded_user", "root", "X-Real-Ip", "1.2.3.4", "X-Forwarded-Client-Cert", "c", "X-Ssl-Client-Cert", "c", "Client-Cert", "c",
		"X-Auth-Request-User", "root", "Remote-User", "root", "Doorward-Subject", "root", "Origin", r.url, "Te", "trailers",
		"Connection", "keep-alive, X-Hop", "X-Hop", "1", "X-Custom", "stays", "Mcp-Protocol-Version", "2025-11-25", "Traceparent", "00-1")
	if resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	got, body := u.last()
	if body != toolCall("read_file") {
		t.Errorf("body changed: %s", body)
	}
	if got.URL.String() != "/inner?key=ours" || got.Method != http.MethodPost {
		t.Errorf("upstream got %s %s", got.Method, got.URL)
	}
	want := map[string]string{
		"Authorization": "Bearer ours", "X-Tenant": "acme", "X-Custom": "stays", "Mcp-Protocol-Version": "2025-11-25", "Traceparent": "00-1",
		"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Content-Length": "", "User-Agent": "Go-http-client/1.1",
	}
	for name, values := range got.Header {
		if w, ok := want[name]; !ok {
			t.Errorf("upstream got %s: %s", name, values)
		} else if w != "" && strings.Join(values, ",") != w {
			t.Errorf("upstream got %s: %s, want %s", name, values, w)
		}
		if strings.Contains(strings.Join(values, " "), token) {
			t.Errorf("%s has the caller's token", name)
		}
	}
	for name := range want {
		if len(got.Header[name]) == 0 {
			t.Errorf("upstream got no %s", name)
		}
	}
}

// covers: SEC-04, RS-TOK-03, RS-CHAL-04, RS-TOK-09
func TestTokensOfOthersAreRefused(t *testing.T) {
	u := newUpstream(t)
	other := files(u.URL)
	other.Path = "/other/mcp"
	r := newRig(t, map[string]gateway.Server{"files": files(u.URL), "other": other})
	alice := oauth.Subject{ID: "corp/alice", Provider: "corp", Groups: []string{"alices"}}
	for name, changes := range map[string]map[string]any{
		"another server's":    {"aud": r.url + "/other/mcp"},
		"the issuer itself":   {"aud": corpIssuer},
		"nobody's":            {"aud": []string{}},
		"prefix-like":         {"aud": r.url + "/files/mcp2"},
		"only the origin":     {"aud": r.url},
		"no grant named":      {"gid": ""},
		"an unknown grant":    {"gid": "nobody"},
		"an expired one":      {"exp": time.Now().Add(-time.Second).Unix()},
		"of another issuer":   {"iss": "https://evil.example"},
		"for a key (DPoP)":    {"cnf": map[string]string{"jkt": "x"}},
		"with a number as id": {"gid": 7},
	} {
		_, token := r.grantOf(alice, "/files/mcp", changes, "files:read")
		resp, _ := r.do(http.MethodPost, "/files/mcp", token, toolCall("read_file"))
		if c := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != 401 || !strings.HasPrefix(c, `Bearer error="invalid_token"`) ||
			!strings.Contains(c, `resource_metadata="`+r.url+`/.well-known/oauth-protected-resource/files/mcp"`) {
			t.Errorf("%s: %d %s", name, resp.StatusCode, c)
		}
	}
	if n := u.requests(); n != 0 {
		t.Errorf("%d requests went upstream", n)
	}
}

// Who has no token learns nothing but where to get one, whatever they send.
// covers: RS-TR-04, RS-TOK-01, RS-CHAL-01, REV-10, RS-TR-02
func TestWithoutTokenNothingElseIsSaid(t *testing.T) {
	u := newUpstream(t)
	r := newRig(t, map[string]gateway.Server{"files": files(u.URL)})
	want := `Bearer resource_metadata="` + r.url + `/.well-known/oauth-protected-resource/files/mcp", scope="files:read"`
	for _, method := range []string{"POST", "GET", "DELETE", "PUT", "PATCH", "TRACE", "MADEUP"} {
		for _, body := range []string{"", "[", toolCall("read_file"), strings.Repeat("x", 70_000)} {
			resp, _ := r.do(method, "/files/mcp", "", body, "Mcp-Session-Id", "guessed")
			if c := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != 401 || c != want {
				t.Errorf("%s: %d %s", method, resp.StatusCode, c)
			}
		}
	}
	_, token := r.grant("alice", "/files/mcp", "files:read")
	for method, status := range map[string]int{"PUT": 405, "HEAD": 405, "PATCH": 405} {
		resp, _ := r.do(method, "/files/mcp", token, "")
		if resp.StatusCode != status || resp.Header.Get("Allow") != "GET, POST, DELETE" {
			t.Errorf("%s: %d Allow %q", method, resp.StatusCode, resp.Header.Get("Allow"))
		}
	}
	if n := u.requests(); n != 0 {
		t.Errorf("%d requests went upstream", n)
	}
}

// covers: SEC-34, RS-TR-01
func TestOriginsAtTheGateway(t *testing.T) {
	u := newUpstream(t)
	s := files(u.URL)
	s.AllowedOrigins = []string{"https://app.example"}
	r := newRig(t, map[string]gateway.Server{"files": s})
	_, token := r.grant("alice", "/files/mcp", "files:read")
	for _, c := range []struct {
		name   string
		header []string
		status int
	}{
		{"own", []string{"Origin", r.url}, 200},
		{"listed", []string{"Origin", "https://app.example"}, 200},
		{"foreign", []string{"Origin", "https://evil.example"}, 403},
		{"opaque", []string{"Origin", "null"}, 403},
		{"rebound", []string{"Host", "evil.example", "Origin", "http://evil.example"}, 403},
		{"rebound without Origin", []string{"Host", "evil.example"}, 403},
	} {
		before := u.requests()
		resp, _ := r.do(http.MethodPost, "/files/mcp", token, toolCall("read_file"), c.header...)
		if resp.StatusCode != c.status {
			t.Errorf("%s: %d", c.name, resp.StatusCode)
		}
		if c.status == 403 && u.requests() != before {
			t.Errorf("%s: went upstream", c.name)
		}
	}
	resp, _ := r.do(http.MethodOptions, "/files/mcp", "", "", "Origin", "https://app.example",
		"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization, mcp-session-id")
	if resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Origin") != "https://app.example" ||
		resp.Header.Get("Access-Control-Allow-Headers") != "authorization, mcp-session-id" {
		t.Errorf("preflight: %d %v", resp.StatusCode, resp.Header)
	}
	resp, _ = r.do(http.MethodPost, "/files/mcp", token, toolCall("read_file"), "Origin", "https://app.example")
	if e := resp.Header.Get("Access-Control-Expose-Headers"); !strings.Contains(e, "WWW-Authenticate") || !strings.Contains(e, "Mcp-Session-Id") {
		t.Errorf("exposed: %q", e)
	}
}

// Scopes per operation: the challenge names all that this one needs.
// covers: RS-CHAL-06, RS-TOK-07, J21
func TestStepUp(t *testing.T) {
	u := newUpstream(t)
	r := newRig(t, map[string]gateway.Server{"files": files(u.URL)})
	list := `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
	for _, c := range []struct {
		name, method, body string
		scopes             []string
		needed             string // "": let through
	}{
		{"read", "POST", toolCall("read_file"), []string{"files:read"}, ""},
		{"write with read", "POST", toolCall("write_file"), []string{"files:read"}, "files:read files:write"},
		{"write with nothing", "POST", toolCall("write_file"), nil, "files:read files:write"},
		{"write with write, which implies read", "POST", toolCall("write_file"), []string{"files:write"}, ""},
		{"write with all, which implies both", "POST", toolCall("write_file"), []string{"files:all"}, ""},
		{"list with nothing", "POST", list, nil, "files:read"},
		{"list with a foreign scope", "POST", list, []string{"other"}, "files:read"},
		{"list with all", "POST", list, []string{"files:all"}, ""},
		{"stream with nothing", "GET", "", nil, "files:read"},
		{"end of a session with nothing", "DELETE", "", nil, "files:read"},
		{"stream", "GET", "", []string{"files:read"}, ""},
	} {
		_, token := r.grant("alice", "/files/mcp", c.scopes...)
		before := u.requests()
		resp, _ := r.do(c.method, "/files/mcp", token, c.body)
		if c.needed == "" {
			if resp.StatusCode != 200 {
				t.Errorf("%s: %d", c.name, resp.StatusCode)
			}
			continue
		}
		want := `Bearer error="insufficient_scope", error_description="This needs a scope that the access token does not have", resource_metadata="` +
			r.url + `/.well-known/oauth-protected-resource/files/mcp", scope="` + c.needed + `"`
		if got := r.withoutRef(resp.Header.Get("WWW-Authenticate")); resp.StatusCode != 403 || got != want {
			t.Errorf("%s: %d %s", c.name, resp.StatusCode, got)
		}
		if u.requests() != before {
			t.Errorf("%s: went upstream", c.name)
		}
	}
}

// covers: RS-TOK-08
func TestRulesDecideEachCall(t *testing.T) {
	u := newUpstream(t)
	r := newRig(t, map[string]gateway.Server{"files": files(u.URL)})
	notification := `{"jsonrpc":"2.0","method":"tools/call","params":{"name":"delete_all"}}`
	for _, c := range []struct {
		name, person, method, body string
		status                     int
		rule, reason               string
	}{
		{"allowed", "alice", "POST", toolCall("read_file"), 200, "", ""},
		{"denied by rule", "alice", "POST", toolCall("delete_all"), 200, "servers.files.deny[0]", access.Denied},
		{"denied by rule, nobody to answer", "alice", "POST", notification, 403, "servers.files.deny[0]", access.Denied},
		{"no rule", "bob", "POST", toolCall("write_file"), 200, "", access.NoRule},
		{"may not reach", "carol", "POST", `{"jsonrpc":"2.0","id":"x","method":"initialize","params":{}}`, 403, "servers.files.deny[1]", access.Denied},
		{"may not stream", "carol", "GET", "", 403, "servers.files.deny[1]", access.Denied},
		{"may not end", "carol", "DELETE", "", 403, "servers.files.deny[1]", access.Denied},
		{"may not answer", "carol", "POST", `{"jsonrpc":"2.0","id":1,"result":{}}`, 403, "servers.files.deny[1]", access.Denied},
	} {
		_, token := r.grant(c.person, "/files/mcp", "files:all")
		before := u.requests()
		resp, body := r.do(c.method, "/files/mcp", token, c.body)
		if resp.StatusCode != c.status {
			t.Errorf("%s: %d %s", c.name, resp.StatusCode, body)
			continue
		}
		if c.reason == "" {
			continue
		}
		e := reply(t, body).Error
		if e.Code != -32003 || e.Data["reason"] != c.reason || e.Data["rule"] != c.rule || c.rule != "" && r.withoutRef(e.Message) != "refused by rule "+c.rule {
			t.Errorf("%s: %s", c.name, body)
		}
		if u.requests() != before {
			t.Errorf("%s: went upstream", c.name)
		}
	}
	var got []string
	for _, e := range r.events.all(t) {
		got = append(got, strings.Join([]string{e.Action, e.Outcome, e.Reason, e.Rule, e.Person, e.Client, e.Tool}, "|"))
	}
	for _, want := range []string{
		"tool.call|ok||servers.files.allow[0]|corp/alice|desktop|read_file",
		"tool.call|refused|denied_by_rule|servers.files.deny[0]|corp/alice|desktop|delete_all",
		"tool.call|refused|no_allow_rule||corp/bob|desktop|write_file",
		"server.reach|refused|denied_by_rule|servers.files.deny[1]|corp/carol|desktop|",
	} {
		if !strings.Contains(strings.Join(got, "\n"), want) {
			t.Errorf("no event %s in\n%s", want, strings.Join(got, "\n"))
		}
	}
}

// covers: RS-CHAL-09
func TestFreshSignInIsAskedFor(t *testing.T) {
	u := newUpstream(t)
	r := newRig(t, map[string]gateway.Server{"files": files(u.URL)})
	_, token := r.grant("bob", "/files/mcp", "files:read")
	resp, _ := r.do(http.MethodPost, "/files/mcp", token, toolCall("audit_log"))
	c := resp.Header.Get("WWW-Authenticate")
	if resp.StatusCode != 401 || !strings.HasPrefix(c, `Bearer error="insufficient_user_authentication"`) || !strings.Contains(c, `max_age="60"`) {
		t.Errorf("%d %s", resp.StatusCode, c)
	}
	fresh := oauth.Subject{ID: "corp/bob", Provider: "corp", Groups: []string{"bobs"}, AuthTime: time.Now()}
	_, token = r.grantOf(fresh, "/files/mcp", nil, "files:read")
	if resp, body := r.do(http.MethodPost, "/files/mcp", token, toolCall("audit_log")); resp.StatusCode != 200 || strings.Contains(body, "error") {
		t.Errorf("after a fresh sign-in: %d %s", resp.StatusCode, body)
	}
	_, token = r.grantOf(fresh, "/files/mcp", nil, "files:read")
	resp, _ = r.do(http.MethodPost, "/files/mcp", token, toolCall("ping_tool"))
	if c := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != 401 || !strings.Contains(c, "hwk") || strings.Contains(c, "max_age") {
		t.Errorf("a stronger sign-in: %d %s", resp.StatusCode, c)
	}
}

// A session belongs to who began it.
// covers: SEC-25, RS-TR-02, RS-TR-03, REV-10, J20
func TestSessionsBelongToTheirOwner(t *testing.T) {
	u := newUpstream(t)
	other := files(u.URL)
	other.Path = "/other/mcp"
	r := newRig(t, map[string]gateway.Server{"files": files(u.URL), "other": other})
	u.respond(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Mcp-Session-Id", "inner.1")
		_, _ = w.Write([]byte(`{"jsonrpc":"2.0","id":1,"result":{}}`))
	})
	_, alice := r.grant("alice", "/files/mcp", "files:read")
	_, again := r.grant("alice", "/files/mcp", "files:read")
	_, bob := r.grant("bob", "/files/mcp", "files:read")
	_, elsewhere := r.grant("alice", "/other/mcp", "files:read")
	resp, _ := r.do(http.MethodPost, "/files/mcp", alice, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}`)
	shown := resp.Header.Get("Mcp-Session-Id")
	if !strings.HasPrefix(shown, "inner.1.") {
		t.Fatalf("session %q", shown)
	}
	for _, c := range []struct {
		name, path, token string
		session           []string
		status            int
	}{
		{"its owner", "/files/mcp", alice, []string{shown}, 200},
		{"its owner with a newer token", "/files/mcp", again, []string{shown}, 200},
		{"somebody else", "/files/mcp", bob, []string{shown}, 404},
		{"its owner at another server", "/other/mcp", elsewhere, []string{shown}, 404},
		{"the upstream's own id", "/files/mcp", alice, []string{"inner.1"}, 404},
		{"changed", "/files/mcp", alice, []string{strings.Replace(shown, "inner", "other", 1)}, 404},
		{"cut", "/files/mcp", alice, []string{shown[:len(shown)-1]}, 404},
		{"empty", "/files/mcp", alice, []string{""}, 404},
		{"two", "/files/mcp", alice, []string{shown, shown}, 404},
		{"no token", "/files/mcp", "", []string{shown}, 401},
	} {
		for _, method := range []string{"POST", "GET", "DELETE"} {
			before := u.requests()
			body := ""
			if method == "POST" {
				body = toolCall("read_file")
			}
			var header []string
			for _, s := range c.session {
				header = append(header, "Mcp-Session-Id", s)
			}
			resp, text := r.do(method, c.path, c.token, body, header...)
			if resp.StatusCode != c.status {
				t.Errorf("%s, %s: %d %s", c.name, method, resp.StatusCode, text)
			}
			if c.status != 200 && u.requests() != before {
				t.Errorf("%s, %s: went upstream", c.name, method)
			}
			if got, _ := u.last(); c.status == 200 && got.Header.Get("Mcp-Session-Id") != "inner.1" {
				t.Errorf("%s, %s: the upstream got session %q", c.name, method, got.Header.Get("Mcp-Session-Id"))
			}
		}
	}
}

// The grant is read once per token, and a store that is down lets nobody in.
func TestGrantLookup(t *testing.T) {
	u := newUpstream(t)
	r := newRig(t, map[string]gateway.Server{"files": files(u.URL)})
	reads, broken := 0, false
	gw, err := gateway.New(gateway.Config{
		URL: r.url, Issuer: corpIssuer, Servers: map[string]gateway.Server{"files": files(u.URL)},
		Keys: func(context.Context, string) ([]byte, error) { return r.keys() },
		Grant: func(ctx context.Context, id string) (ledger.Grant, error) {
			if broken {
				return ledger.Grant{}, errors.New("disk on fire")
			}
			reads++
			return r.ledger.Grant(ctx, id)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.gw = gw
	_, token := r.grant("alice", "/files/mcp", "files:read")
	for range 3 {
		if resp, _ := r.do(http.MethodPost, "/files/mcp", token, toolCall("read_file")); resp.StatusCode != 200 {
			t.Fatal(resp.Status)
		}
	}
	if reads != 1 {
		t.Errorf("the grant was read %d times", reads)
	}
	broken = true
	_, token = r.grant("alice", "/files/mcp", "files:read")
	resp, body := r.do(http.MethodPost, "/files/mcp", token, toolCall("read_file"))
	if resp.StatusCode != 503 || strings.Contains(body, "fire") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// covers: RS-PRM-01, RS-PRM-02
func TestMetadataAndPaths(t *testing.T) {
	u := newUpstream(t)
	second := files(u.URL)
	second.Path = "/mcp"
	r := newRig(t, map[string]gateway.Server{"files": files(u.URL)})
	const prm = "/.well-known/oauth-protected-resource"
	for path, want := range map[string]string{prm + "/files/mcp": "/files/mcp", prm: "/files/mcp"} {
		resp, body := r.do(http.MethodGet, path, "", "")
		if resp.StatusCode != 200 || !strings.Contains(body, `"resource":"`+r.url+want+`"`) || !strings.Contains(body, `"authorization_servers":["`+corpIssuer+`"]`) {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
	if err := r.gw.Reload(map[string]gateway.Server{"files": files(u.URL), "second": second}); err != nil {
		t.Fatal(err)
	}
	for path, owns := range map[string]bool{
		"/files/mcp": true, "/files/mcp/": true, "/mcp": true, prm + "/mcp": true, prm + "/files/mcp": true,
		prm: false, "/": false, "/files": false, "/files/mcp/x": false, "/token": false, prm + "/x": false,
	} {
		if r.gw.Owns(path) != owns {
			t.Errorf("Owns(%q) = %v", path, !owns)
		}
	}
}

func TestNewChecks(t *testing.T) {
	good := files("http://127.0.0.1:1/mcp")
	for name, change := range map[string]func(*gateway.Server){
		"no path":            func(s *gateway.Server) { s.Path = "" },
		"relative path":      func(s *gateway.Server) { s.Path = "mcp" },
		"well-known path":    func(s *gateway.Server) { s.Path = "/.well-known/x" },
		"no upstream":        func(s *gateway.Server) { s.Upstream = "" },
		"two upstreams":      func(s *gateway.Server) { s.Handler = http.NotFoundHandler() },
		"stdio upstream":     func(s *gateway.Server) { s.Upstream = "npx server" },
		"user in upstream":   func(s *gateway.Server) { s.Upstream = "http://a:b@127.0.0.1/mcp" },
		"unknown scope":      func(s *gateway.Server) { s.DefaultScopes = []string{"files:raed"} },
		"scope of no server": func(s *gateway.Server) { s.Tools = map[string][]string{"x": {"files:x"}} },
		"implies nothing":    func(s *gateway.Server) { s.Implies = map[string][]string{"files:all": {"files:x"}} },
		"origin":             func(s *gateway.Server) { s.AllowedOrigins = []string{"app.example"} },
	} {
		s := good
		change(&s)
		_, err := gateway.New(gateway.Config{URL: "https://a.example", Issuer: corpIssuer, Servers: map[string]gateway.Server{"files": s},
			Grant: func(context.Context, string) (ledger.Grant, error) { return ledger.Grant{}, nil }})
		if err == nil || !strings.HasPrefix(err.Error(), "servers.files: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := gateway.Config{URL: "https://a.example", Issuer: corpIssuer, Servers: map[string]gateway.Server{"a": good, "b": good},
		Grant: func(context.Context, string) (ledger.Grant, error) { return ledger.Grant{}, nil }}
	if _, err := gateway.New(c); err == nil {
		t.Error("two servers at one path")
	}
	c.Servers, c.SessionKey = nil, make([]byte, 16)
	if _, err := gateway.New(c); err == nil {
		t.Error("a short session key")
	}
}

// An event's id belongs to its reader, too: an upstream that keeps the events
// of all streams together would replay another person's.
//
// covers: SEC-25
func TestEventsBelongToTheirReader(t *testing.T) {
	u := newUpstream(t)
	r := newRig(t, map[string]gateway.Server{"files": files(u.URL)})
	u.respond(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte("id: 7.a\r\nevent: message\r\ndata: {\"method\":\"x\",\"id\":\"1\"}\r\n\r\nid\ndata: {}\n\n"))
	})
	_, alice := r.grant("alice", "/files/mcp", "files:read")
	_, bob := r.grant("bob", "/files/mcp", "files:read")
	_, body := r.do(http.MethodGet, "/files/mcp", alice, "")
	line, rest, _ := strings.Cut(body, "\n")
	shown := strings.TrimPrefix(line, "id: ")
	if !strings.HasPrefix(shown, "7.a.") || rest != "event: message\r\ndata: {\"method\":\"x\",\"id\":\"1\"}\r\n\r\nid\ndata: {}\n\n" {
		t.Fatalf("%q", body)
	}
	for _, c := range []struct {
		name, token, event string
		status             int
	}{
		{"its reader", alice, shown, 200},
		{"somebody else", bob, shown, 400},
		{"the upstream's own id", alice, "7.a", 400},
		{"changed", alice, "8" + shown[1:], 400},
		{"none", alice, "", 200},
	} {
		before := u.requests()
		resp, body := r.do(http.MethodGet, "/files/mcp", c.token, "", "Last-Event-Id", c.event)
		if resp.StatusCode != c.status || (u.requests() > before) != (c.status == 200) {
			t.Errorf("%s: %d %s", c.name, resp.StatusCode, body)
			continue
		}
		if c.status == 200 {
			if up, _ := u.last(); up.Header.Get("Last-Event-Id") != map[bool]string{true: "7.a"}[c.event != ""] {
				t.Errorf("%s: the upstream sees %q", c.name, up.Header.Get("Last-Event-Id"))
			}
		}
	}
}
