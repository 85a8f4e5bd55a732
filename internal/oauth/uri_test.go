package oauth

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// covers: AS-REDIR-01, AS-REDIR-02, AS-REDIR-03, SEC-17, X-URI-01
func TestMatchRedirect(t *testing.T) {
	for _, tt := range []struct {
		name       string
		registered string
		given      string
		want       bool
	}{
		{"same", "https://app.example/cb", "https://app.example/cb", true},
		{"same with query", "https://app.example/cb?a=1", "https://app.example/cb?a=1", true},
		{"same private-use", "com.example.app:/cb", "com.example.app:/cb", true},
		{"other loopback port", "http://127.0.0.1:1/cb", "http://127.0.0.1:54321/cb", true},
		{"port where none is registered", "http://127.0.0.1/cb", "http://127.0.0.1:54321/cb", true},
		{"no port where one is registered", "http://127.0.0.1:8080/cb", "http://127.0.0.1/cb", true},
		{"IPv6", "http://[::1]/cb", "http://[::1]:9/cb", true},
		{"localhost", "http://localhost:3000/cb", "http://localhost:65535/cb", true},
		{"loopback with the same query", "http://localhost/cb?a=1", "http://localhost:1/cb?a=1", true},
		{"loopback without path", "http://localhost", "http://localhost:1", true},

		{"empty", "", "", false},
		{"suffix host", "https://app.example/cb", "https://app.example.evil.com/cb", false},
		{"prefix host", "https://app.example/cb", "https://evilapp.example/cb", false},
		{"subdomain", "https://app.example/cb", "https://x.app.example/cb", false},
		{"user info", "https://app.example/cb", "https://app.example@evil.com/cb", false},
		{"user info before the host", "https://app.example/cb", "https://evil@app.example/cb", false},
		{"backslash", "https://app.example/cb", `https://app.example\@evil.com/cb`, false},
		{"encoded slash", "https://app.example/a/cb", "https://app.example/a%2Fcb", false},
		{"encoded letter", "https://app.example/cb", "https://app.example/%63b", false},
		{"extra query", "https://app.example/cb", "https://app.example/cb?x=1", false},
		{"empty query", "https://app.example/cb", "https://app.example/cb?", false},
		{"other query", "https://app.example/cb?a=1", "https://app.example/cb?a=2", false},
		{"less query", "https://app.example/cb?a=1", "https://app.example/cb", false},
		{"fragment", "https://app.example/cb", "https://app.example/cb#x", false},
		{"dot segments", "https://app.example/cb", "https://app.example/x/../cb", false},
		{"dot segments after", "https://app.example/cb", "https://app.example/cb/../evil", false},
		{"longer path", "https://app.example/cb", "https://app.example/cb/x", false},
		{"case of host", "https://app.example/cb", "https://App.example/cb", false},
		{"case of scheme", "https://app.example/cb", "HTTPS://app.example/cb", false},
		{"case of path", "https://app.example/cb", "https://app.example/CB", false},
		{"trailing slash", "https://app.example/cb", "https://app.example/cb/", false},
		{"trailing slash missing", "https://app.example/", "https://app.example", false},
		{"port on another host", "https://app.example/cb", "https://app.example:8443/cb", false},
		{"default port on another host", "https://app.example/cb", "https://app.example:443/cb", false},
		{"http for https", "https://app.example/cb", "http://app.example/cb", false},
		{"IDN look-alike", "https://app.example/cb", "https://аpp.example/cb", false},
		{"punycode look-alike", "https://app.example/cb", "https://xn--pp-6kc.example/cb", false},
		{"space before", "https://app.example/cb", " https://app.example/cb", false},

		{"localhost for 127.0.0.1", "http://127.0.0.1/cb", "http://localhost/cb", false},
		{"127.0.0.1 for localhost", "http://localhost/cb", "http://127.0.0.1:1/cb", false},
		{"[::1] for 127.0.0.1", "http://127.0.0.1/cb", "http://[::1]:1/cb", false},
		{"127.1", "http://127.0.0.1/cb", "http://127.1:1/cb", false},
		{"127.0.0.2", "http://127.0.0.1/cb", "http://127.0.0.2:1/cb", false},
		{"0.0.0.0", "http://127.0.0.1/cb", "http://0.0.0.0:1/cb", false},
		{"decimal", "http://127.0.0.1/cb", "http://2130706433:1/cb", false},
		{"localhost with a dot", "http://localhost/cb", "http://localhost.:1/cb", false},
		{"LOCALHOST", "http://localhost/cb", "http://LOCALHOST:1/cb", false},
		{"localhost as a prefix", "http://localhost/cb", "http://localhost.evil.com:1/cb", false},
		{"127.0.0.1 as a prefix", "http://127.0.0.1/cb", "http://127.0.0.10:1/cb", false},
		{"long IPv6", "http://[::1]/cb", "http://[0:0:0:0:0:0:0:1]:1/cb", false},
		{"https loopback port", "https://127.0.0.1/cb", "https://127.0.0.1:1/cb", false},
		{"https for http loopback", "http://127.0.0.1/cb", "https://127.0.0.1/cb", false},
		{"loopback user info", "http://localhost/cb", "http://localhost:1@evil.com/cb", false},
		{"loopback user info without port", "http://localhost/cb", "http://localhost@evil.com/cb", false},
		{"loopback backslash", "http://localhost/cb", `http://localhost:1\@evil.com/cb`, false},
		{"loopback backslash after the path", `http://localhost/\cb`, `http://localhost:1/\cb`, false},
		{"loopback other path", "http://localhost/cb", "http://localhost:1/evil", false},
		{"loopback extra query", "http://localhost/cb", "http://localhost:1/cb?x", false},
		{"loopback less query", "http://localhost/cb?x", "http://localhost:1/cb", false},
		{"loopback fragment", "http://localhost/cb", "http://localhost:1/cb#x", false},
		{"loopback trailing slash", "http://localhost", "http://localhost:1/", false},
		{"port is a word", "http://localhost/cb", "http://localhost:http/cb", false},
		{"port is empty", "http://localhost/cb", "http://localhost:/cb", false},
		{"port is zero", "http://localhost/cb", "http://localhost:0/cb", false},
		{"port with a leading zero", "http://localhost/cb", "http://localhost:080/cb", false},
		{"port is too large", "http://localhost/cb", "http://localhost:65536/cb", false},
		{"port with a sign", "http://localhost/cb", "http://localhost:+1/cb", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := MatchRedirect([]string{"https://other.example/", tt.registered}, tt.given); got != tt.want {
				t.Errorf("MatchRedirect(%q, %q) = %v", tt.registered, tt.given, got)
			}
		})
	}
	if MatchRedirect(nil, "https://app.example/cb") {
		t.Error("matched none registered")
	}
}

func FuzzMatchRedirect(f *testing.F) {
	for _, s := range [][2]string{
		{"https://app.example/cb", "https://app.example/cb"}, {"http://127.0.0.1/cb", "http://127.0.0.1:1/cb"},
		{"http://localhost:1/cb?a=1", "http://localhost:2/cb?a=1"}, {"http://[::1]", "http://[::1]:1"},
		{"http://localhost/cb", "http://localhost:1@evil.com/cb"}, {"http://localhost/cb", `http://localhost:1\@evil/cb`},
		{"http://localhost?x", "http://localhost:1?x"}, {"http://127.0.0.1/%2f", "http://127.0.0.1:9//"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, registered, given string) {
		if given != "" && !MatchRedirect([]string{registered, given}, given) {
			t.Fatalf("%q does not match itself", given)
		}
		if !MatchRedirect([]string{registered}, given) || registered == given {
			return
		}
		r, err := url.Parse(registered)
		if err != nil {
			return // then nothing can be said but that the text after the port is equal
		}
		g, err := url.Parse(given)
		if err != nil {
			t.Fatalf("%q matches %q and is no URL", given, registered)
		}
		if g.Scheme != "http" || g.User != nil || r.User != nil || g.Hostname() != r.Hostname() || !slices.Contains([]string{"127.0.0.1", "::1", "localhost"}, g.Hostname()) {
			t.Fatalf("%q matches %q", given, registered)
		}
		if g.EscapedPath() != r.EscapedPath() || g.RawQuery != r.RawQuery || g.ForceQuery != r.ForceQuery || g.Fragment != "" {
			t.Fatalf("%q matches %q", given, registered)
		}
	})
}

// covers: AS-REDIR-04, AS-DCR-05
func TestCheckRedirectURI(t *testing.T) {
	for _, tt := range []struct {
		uri                 string
		plain, asPrivateUse bool // accepted without and with private-use schemes allowed
	}{
		{"https://app.example/cb", true, true},
		{"https://app.example/cb?a=1", true, true},
		{"https://app.example:8443", true, true},
		{"http://127.0.0.1/cb", true, true},
		{"http://127.0.0.1:8080/cb", true, true},
		{"http://[::1]:1/cb", true, true},
		{"http://localhost/cb", true, true},
		{"com.example.app:/cb", false, true},
		{"com.example.app://cb", false, true},

		{"", false, false},
		{"/cb", false, false},
		{"//app.example/cb", false, false},
		{"app.example/cb", false, false},
		{"https:/cb", false, false},
		{"https:app.example/cb", false, false},
		{"https://", false, false},
		{"https://:8443/cb", false, false},
		{"https://app.example:/cb", false, false},
		{"https://app.example:x/cb", false, false},
		{"https://app.example/cb#", false, false},
		{"https://app.example/cb#x", false, false},
		{"https://u@app.example/cb", false, false},
		{"https://u:p@app.example/cb", false, false},
		{`https://app.example\@evil.com/cb`, false, false},
		{"https://app.example/c b", false, false},
		{"https://app.example/cb\r\nX: y", false, false},
		{"https://аpp.example/cb", false, false},
		{"https://app.example/" + strings.Repeat("a", 2000), false, false},
		{"http://app.example/cb", false, false},
		{"http://127.1/cb", false, false},
		{"http://0.0.0.0/cb", false, false},
		{"http://localhost./cb", false, false},
		{"http://localhost.evil.com/cb", false, false},
		{"http://localhost@evil.com/cb", false, false},
		{"http://10.0.0.1/cb", false, false},
		{"myapp:/cb", false, false},
		{"myapp.:/cb", false, false},
		{"com.example.app:/cb#x", false, false},
		{"com.example.app://u@x/cb", false, false},
		{"javascript:alert(1)", false, false},
		{"JavaScript:alert(1)", false, false},
		{"javascript://app.example/%0aalert(1)", false, false},
		{"data:text/html,x", false, false},
		{"file:///etc/passwd", false, false},
		{"vbscript:x", false, false},
		{"blob:https://app.example/x", false, false},
		{"about:blank", false, false},
		{"ftp://app.example/cb", false, false},
	} {
		for allow, want := range map[bool]bool{false: tt.plain, true: tt.asPrivateUse} {
			err := CheckRedirectURI(tt.uri, allow)
			if (err == nil) != want {
				t.Errorf("CheckRedirectURI(%q, %v) = %v", tt.uri, allow, err)
			}
			if err != nil {
				wantCode(t, err, InvalidRedirectURI)
			}
		}
	}
}

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LocalHost": true, "localhost:8080": true, "app.localhost": true, "a.b.localhost:1": true, "127.0.0.1": true,
		"127.0.0.1:0": true, "127.8.9.1": true, "::1": true, "[::1]": true, "[::1]:8080": true,

		"": false, ":8080": false, "localhost.": false, ".localhost": false, "a..localhost": false, "notlocalhost": false, "localhost.com": false,
		"127.1": false, "127.0.0.01": false, "2130706433": false, "0x7f000001": false, "0.0.0.0": false, "::": false, "[::]": false,
		"0:0:0:0:0:0:0:1": false, "::ffff:127.0.0.1": false, "::1%lo": false, "[::1": false, "[::1]x": false, "[127.0.0.1]": false,
		"localhost:": false, "localhost:x": false, "u@localhost": false, "evil.com/.localhost": false, "128.0.0.1": false, "10.0.0.1:1": false,
		"evil.com#.localhost": false,
	} {
		if got := IsLoopbackHost(host); got != want {
			t.Errorf("IsLoopbackHost(%q) = %v", host, got)
		}
	}
	for uri, want := range map[string]bool{
		"http://localhost/cb": true, "http://127.0.0.1:1/cb": true, "https://[::1]/cb": true, "http://app.localhost/": true,
		"https://app.example/cb": false, "com.example.app://localhost/cb": false, "http://localhost@evil.com/": false,
		"http://u@localhost/": false, "http://localhost.evil.com/": false, "": false, "::": false,
	} {
		if got := IsLoopbackRedirect(uri); got != want {
			t.Errorf("IsLoopbackRedirect(%q) = %v", uri, got)
		}
	}
}

// covers: AS-RES-01
func TestCheckResource(t *testing.T) {
	for _, ok := range []string{"https://mcp.example.com", "https://mcp.example.com/mcp/", "HTTPS://MCP.example.com/mcp?tenant=1", "http://127.0.0.1:8080/mcp", "api://app/x"} {
		if err := CheckResource(ok); err != nil {
			t.Errorf("%s: %v", ok, err)
		}
	}
	for _, bad := range []string{"", "mcp.example.com/mcp", "/mcp", "//mcp.example.com/mcp", "urn:example:mcp", "https:/mcp", "https://", "https://:443/mcp", "https://mcp.example.com/mcp#x", "https://mcp.example.com/mcp#",
		"https://u@mcp.example.com/", `https://mcp.example.com\x`, "https://mcp.example.com/ x", "https://mcp.example.com/%zz", "https://mcp.example.com/" + strings.Repeat("a", 2000)} {
		wantCode(t, CheckResource(bad), InvalidTarget)
	}
}

// covers: AS-RES-06, X-URI-03
func TestMatchResource(t *testing.T) {
	registered := []string{"https://mcp.example.com/files", "https://mcp.example.com/notes/", "https://mcp.example.com/notes", "https://root.example", "https://q.example/mcp?tenant=A", "https://Odd.example/x"}
	for given, want := range map[string]string{
		"https://mcp.example.com/files":  "https://mcp.example.com/files",
		"https://mcp.example.com/files/": "https://mcp.example.com/files",
		"HTTPS://MCP.Example.com/files":  "https://mcp.example.com/files",
		"https://mcp.example.com/notes":  "https://mcp.example.com/notes",
		"https://mcp.example.com/notes/": "https://mcp.example.com/notes/",
		"https://root.example/":          "https://root.example",
		"https://Q.example/mcp?tenant=A": "https://q.example/mcp?tenant=A",
		"https://odd.example/x":          "https://Odd.example/x",

		"":                                  "",
		"https://mcp.example.com/Files":     "",
		"https://mcp.example.com/files//":   "",
		"https://mcp.example.com/files/x":   "",
		"https://mcp.example.com/files?x":   "",
		"https://mcp.example.com/files#":    "",
		"https://mcp.example.com:443/files": "",
		"https://mcp.example.com./files":    "",
		"http://mcp.example.com/files":      "",
		"https://u@mcp.example.com/files":   "",
		"https://mcp.example.com/%66iles":   "",
		"https://q.example/mcp/?tenant=A":   "",
		"https://q.example/mcp?tenant=a":    "",
		"https://q.example/mcp?tenant=A/":   "",
		"https://q.example/mcp":             "",
		"mcp.example.com/files":             "",
	} {
		if got := MatchResource(registered, given); got != want {
			t.Errorf("MatchResource(%q) = %q, want %q", given, got, want)
		}
	}
}

// covers: C-DISC-03
func TestResourceCovers(t *testing.T) {
	for _, tt := range []struct {
		resource, url string
		want          bool
	}{
		{"https://a.example/mcp", "https://a.example/mcp", true},
		{"https://a.example", "https://a.example/mcp", true},
		{"https://a.example/", "https://a.example/mcp", true},
		{"https://a.example/mcp", "https://a.example/mcp/", true},
		{"https://a.example/mcp/", "https://a.example/mcp", true},
		{"https://a.example/mcp", "https://a.example/mcp/x?y=1", true},
		{"https://A.example:443/mcp", "HTTPS://a.example/mcp", true},
		{"http://127.0.0.1:8080", "http://127.0.0.1:8080/mcp", true},
		{"https://a.example/mcp?t=1", "https://a.example/mcp?t=1", true},

		{"https://a.example/mcp", "https://a.example/mcpx", false},
		{"https://a.example/mcp/x", "https://a.example/mcp", false},
		{"https://a.example/mcp", "https://a.example/MCP", false},
		{"https://a.example/mcp", "https://a.example/mcp/../other", false},
		{"https://a.example/mcp", "https://a.example/mcp/%2e%2e/other", false},
		{"https://a.example/mcp", "https://a.example/mcp/..%2fother", false},
		{"https://a.example/mcp", "https://a.example/mcp/..%5cother", false},
		{"https://a.example/mcp/x", "https://a.example/mcp%2fx", false},
		{"https://a.example/mcp", "http://a.example/mcp", false},
		{"https://a.example/mcp", "https://a.example:8443/mcp", false},
		{"https://a.example/mcp", "https://b.example/mcp", false},
		{"https://a.example/mcp", "https://a.example.evil.com/mcp", false},
		{"https://a.example/mcp", "https://a.example@evil.com/mcp", false},
		{"https://a.example/mcp#x", "https://a.example/mcp", false},
		{"https://u@a.example/mcp", "https://a.example/mcp", false},
		{"https://a.example/mcp?t=1", "https://a.example/mcp?t=2", false},
		{"https://a.example/mcp?t=1", "https://a.example/mcp", false},
		{"", "https://a.example/mcp", false},
		{"https://a.example", "", false},
		{"/mcp", "/mcp", false},
	} {
		if got := ResourceCovers(tt.resource, tt.url); got != tt.want {
			t.Errorf("ResourceCovers(%q, %q) = %v", tt.resource, tt.url, got)
		}
	}
}

// wantCode fails unless err is an *Error with this code and a description that
// may be sent.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("got %v, want %s", err, code)
		return
	}
	if e.Description == "" || e.Description != Printable(e.Description) {
		t.Errorf("description %q may not be sent", e.Description)
	}
}
