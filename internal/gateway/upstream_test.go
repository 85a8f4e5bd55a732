package gateway_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"doorward/internal/gateway"
)

// What the upstream says in our name does not go out.
func TestAnswersThatAreNotMCP(t *testing.T) {
	u := newUpstream(t)
	r := newRig(t, map[string]gateway.Server{"files": files(u.URL)})
	_, token := r.grant("alice", "/files/mcp", "files:read")
	say := func(status int, contentType, body string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			if contentType == "" {
				w.Header()["Content-Type"] = nil
			} else {
				w.Header().Set("Content-Type", contentType)
			}
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	const result = `{"jsonrpc":"2.0","id":1,"result":{}}`
	const html = `<html><script>alert(1)</script>`
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		body   string // sent; "": a call of a tool
		status int
		reason string // of the JSON-RPC error; "": the upstream's own answer
	}{
		{"JSON", say(200, "application/json", result), "", 200, ""},
		{"an error in plain text", say(400, "text/plain; charset=utf-8", "no"), "", 400, ""},
		{"an error in JSON", say(404, "application/json", result), "", 404, ""},
		{"accepted", say(202, "", ""), "", 202, ""},
		{"accepted, with words", say(202, "text/html", html), `{"jsonrpc":"2.0","method":"notifications/initialized"}`, 202, ""},
		{"401", say(401, "text/plain", "who?", "Www-Authenticate", `Bearer resource_metadata="https://evil.example"`), "", 502, "upstream_refused"},
		{"403", say(403, "application/json", result, "Www-Authenticate", `Bearer error="insufficient_scope"`), "", 502, "upstream_refused"},
		{"407", say(407, "text/plain", "who?"), "", 502, "upstream_refused"},
		{"redirect", say(302, "text/html", "", "Location", "https://evil.example/"), "", 502, "upstream_redirect"},
		{"redirect that keeps the method", say(307, "application/json", result, "Location", u.URL+"/elsewhere"), "", 502, "upstream_redirect"},
		{"a page", say(200, "text/html", html), "", 502, "upstream_unreadable"},
		{"a page of an error", say(404, "text/html", html), "", 404, "upstream_refused"},
		{"a page of a failure", say(500, "text/html", html), "", 502, "upstream_failed"},
		{"no type", say(200, "", result), "", 502, "upstream_unreadable"},
		{"compressed", say(200, "application/json", "\x1f\x8b", "Content-Encoding", "gzip"), "", 502, "upstream_unreadable"},
		{"a script", say(200, "text/javascript", "1"), "", 502, "upstream_unreadable"},
		{"a list of tools that is none", say(200, "application/json", "{"), `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, 502, "upstream_unreadable"},
	} {
		u.respond(func(w http.ResponseWriter, r *http.Request) {
			for _, name := range []string{"Set-Cookie", "Access-Control-Allow-Origin", "Strict-Transport-Security", "Alt-Svc", "Clear-Site-Data", "Refresh", "Link"} {
				w.Header().Set(name, "evil")
			}
			w.Header().Set("Mcp-Extra", "stays")
			c.answer(w, r)
		})
		before := u.requests()
		body := c.body
		if body == "" {
			body = toolCall("read_file")
		}
		resp, text := r.do(http.MethodPost, "/files/mcp", token, body)
		if resp.StatusCode != c.status {
			t.Errorf("%s: %d %s", c.name, resp.StatusCode, text)
			continue
		}
		if n := u.requests() - before; n != 1 {
			t.Errorf("%s: %d requests", c.name, n)
		}
		for name, values := range resp.Header {
			if strings.Join(values, "") == "evil" || name == "Location" || name == "Www-Authenticate" {
				t.Errorf("%s: the caller got %s: %s", c.name, name, values)
			}
		}
		if strings.Contains(text, "<script") || strings.Contains(resp.Header.Get("Content-Type"), "html") || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: the caller got a page: %v %s", c.name, resp.Header, text)
		}
		if c.reason != "" {
			if e := reply(t, text); e.Error.Data["reason"] != c.reason || string(e.ID) != "1" {
				t.Errorf("%s: %s", c.name, text)
			}
		} else if resp.Header.Get("Mcp-Extra") != "stays" {
			t.Errorf("%s: %v", c.name, resp.Header)
		}
	}
}

func TestUpstreamDown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String() + "/mcp"
	_ = l.Close()
	r := newRig(t, map[string]gateway.Server{"files": files(url)})
	_, token := r.grant("alice", "/files/mcp", "files:read")
	resp, body := r.do(http.MethodPost, "/files/mcp", token, toolCall("read_file"))
	if e := reply(t, body); resp.StatusCode != 502 || r.withoutRef(e.Error.Message) != "the MCP server behind Files cannot be reached" || string(e.ID) != "1" || strings.Contains(body, l.Addr().String()) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// covers: X-HTTP-06
func TestBodyLimit(t *testing.T) {
	u := newUpstream(t)
	r := newRig(t, map[string]gateway.Server{"files": files(u.URL)})
	_, token := r.grant("alice", "/files/mcp", "files:read")
	fits := `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"` + strings.Repeat("a", 64<<10-60) + `"}}`
	for body, status := range map[string]int{fits: 200, fits + strings.Repeat(" ", 100): 413} {
		if resp, text := r.do(http.MethodPost, "/files/mcp", token, body); resp.StatusCode != status {
			t.Errorf("%d bytes: %d %s", len(body), resp.StatusCode, text)
		}
		// Without Content-Length.
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/files/mcp", struct{ *strings.Reader }{strings.NewReader(body)})
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = -1
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != status {
			t.Errorf("%d bytes in chunks: %d", len(body), resp.StatusCode)
		}
	}
}

// What could be read in two ways is refused, and never goes upstream.
func TestSmuggling(t *testing.T) {
	u := newUpstream(t)
	r := newRig(t, map[string]gateway.Server{"files": files(u.URL)})
	_, token := r.grant("bob", "/files/mcp", "files:all")
	for _, c := range []struct {
		name, body string
		header     []string
		status     int
	}{
		{"batch", "[" + toolCall("write_file") + "]", nil, 400},
		{"Method", `{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","params":{"name":"write_file"}}`, nil, 400},
		{"method twice", `{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"write_file"}}`, nil, 400},
		{"name twice", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_file","name":"write_file"}}`, nil, 400},
		{"name twice, escaped", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_file","na\u006de":"write_file"}}`, nil, 400},
		{"Mcp-Method", toolCall("write_file"), []string{"Mcp-Method", "tools/list"}, 400},
		{"Mcp-Name", toolCall("read_file"), []string{"Mcp-Name", "write_file"}, 400},
		{"another charset", toolCall("read_file"), []string{"Content-Type", "application/json; charset=utf-7"}, 415},
		{"compressed", toolCall("read_file"), []string{"Content-Encoding", "gzip"}, 415},
		{"escaped name", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"na\u006de":"\u0077rite_file"}}`, nil, 200}, // understood, and refused by rule
	} {
		before := u.requests()
		resp, body := r.do(http.MethodPost, "/files/mcp", token, c.body, c.header...)
		if e := reply(t, body).Error; resp.StatusCode != c.status || e.Code == 0 {
			t.Errorf("%s: %d %s", c.name, resp.StatusCode, body)
		}
		if u.requests() != before {
			t.Errorf("%s: went upstream", c.name)
		}
	}
}

// What is shown is what may be called, in JSON and in events.
func TestToolsListIsFiltered(t *testing.T) {
	u := newUpstream(t)
	r := newRig(t, map[string]gateway.Server{"files": files(u.URL)})
	const tools = `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"read_file"},{"name":"write_file"},{"name":"delete_all"},{"name":"audit_log"}],"nextCursor":"2"}}`
	const forAlice = `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"read_file"},{"name":"write_file"},{"name":"audit_log"}],"nextCursor":"2"}}`
	const forBob = `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"read_file"},{"name":"audit_log"}],"nextCursor":"2"}}` // audit_log: after a fresh sign-in
	const listing = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
	for _, c := range []struct {
		name, method, body, contentType, wrap string
	}{
		{"JSON", "POST", listing, "application/json", "%s"},
		{"events", "POST", listing, "text/event-stream", "event: message\nretry: 1\ndata: %s\n\n"},
		{"events of another call", "POST", toolCall("read_file"), "text/event-stream", "event: message\ndata: {\"method\":\"x\"}\n\nevent: message\ndata: %s\n\n"},
		{"a stream", "GET", "", "text/event-stream; charset=utf-8", "data: %s\n\n"},
	} {
		u.respond(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", c.contentType)
			fmt.Fprintf(w, c.wrap, tools)
		})
		for person, want := range map[string]string{"alice": forAlice, "bob": forBob} {
			_, token := r.grant(person, "/files/mcp", "files:read")
			resp, body := r.do(c.method, "/files/mcp", token, c.body)
			if resp.StatusCode != 200 || body != fmt.Sprintf(c.wrap, want) || resp.Header.Get("Content-Type") != c.contentType {
				t.Errorf("%s, %s: %d %s", c.name, person, resp.StatusCode, body)
			}
		}
	}
}

// What is refused of an answer does not wait for its end, which may never come.
func TestRefusalOfAnAnswerWithoutEnd(t *testing.T) {
	u := newUpstream(t)
	r := newRig(t, map[string]gateway.Server{"files": files(u.URL)})
	_, token := r.grant("alice", "/files/mcp", "files:read")
	for _, c := range []struct {
		name, media, body string
		status, answer    int
	}{
		{"refused", "text/plain", "", 401, 502},
		{"refused after a little", "text/plain", "who?", 403, 502},
		{"a redirect", "", "", 307, 502},
		{"a page", "text/html", "<p>", 200, 502},
		{"without a Content-Type", "", "{", 200, 502},
		{"to a notification", "text/html", "<p>", 200, 200},
	} {
		u.respond(func(w http.ResponseWriter, req *http.Request) {
			w.Header()["Content-Type"] = nil
			if c.media != "" {
				w.Header().Set("Content-Type", c.media)
			}
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-req.Context().Done():
			case <-time.After(5 * time.Second):
			}
		})
		call := toolCall("read_file")
		if c.name == "to a notification" {
			call = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
		}
		began := time.Now()
		resp, body := r.do(http.MethodPost, "/files/mcp", token, call)
		if took := time.Since(began); resp.StatusCode != c.answer || took > time.Second {
			t.Errorf("%s: %d after %s: %s", c.name, resp.StatusCode, took, body)
		}
	}
}
