package doorward_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward"
	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// covers: RS-PRM-01, RS-PRM-02, RS-PRM-03, RS-PRM-04, RS-PRM-05, RS-PRM-06, K01, K02, K06, K07, K08, K09
func TestGuardMetadata(t *testing.T) {
	key := guardKey(t)
	_, h := newGuard(t, doorward.GuardConfig{Name: "Files", Keys: guardKeySets(t, map[string][]*jose.Key{guardIssuer: {key}})})
	get := func(method, path string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "https://wrong.example"+path, nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	const path = "/.well-known/oauth-protected-resource/mcp"
	want := `{"resource":"https://files.example/mcp","authorization_servers":["https://auth.example"],"scopes_supported":["files:read"],"bearer_methods_supported":["header"],"resource_name":"Files","dpop_signing_alg_values_supported":["ES256","EdDSA","PS256","RS256"]}`
	for _, p := range []string{path, path + "/"} {
		w := get(http.MethodGet, p)
		if w.Code != 200 || w.Body.String() != want || w.Header().Get("Content-Type") != "application/json" ||
			w.Header().Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(w.Header().Get("Cache-Control"), "max-age=") {
			t.Errorf("%s: %d %s %v", p, w.Code, w.Body, w.Header())
		}
	}
	if w := get(http.MethodHead, path); w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("Content-Length") != fmt.Sprint(len(want)) {
		t.Errorf("HEAD: %d %v", w.Code, w.Header())
	}
	tag := get(http.MethodGet, path).Header().Get("ETag")
	if w := get(http.MethodGet, path, "If-None-Match", `W/"x", `+tag); w.Code != 304 || w.Body.Len() != 0 || len(tag) < 10 {
		t.Errorf("who has it: %d %s %v", w.Code, w.Body, w.Header())
	}
	if w := get(http.MethodGet, path, "If-None-Match", `"x"`); w.Code != 200 {
		t.Errorf("who has another: %d", w.Code)
	}
	if w := get(http.MethodPost, path); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD, OPTIONS" {
		t.Errorf("POST: %d %v", w.Code, w.Header())
	}
	w := get(http.MethodOptions, path, "Origin", "https://any.example", "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "mcp-protocol-version")
	if w.Code != 204 || w.Header().Get("Access-Control-Allow-Headers") != "mcp-protocol-version" || w.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("preflight: %d %v", w.Code, w.Header())
	}
}

// covers: RS-TR-01, RS-PRM-07, SEC-34
func TestGuardOrigins(t *testing.T) {
	key := guardKey(t)
	keys := guardKeySets(t, map[string][]*jose.Key{guardIssuer: {key}})
	_, public := newGuard(t, doorward.GuardConfig{Keys: keys, AllowedOrigins: []string{"https://app.example"}})
	const loopbackMCP = "http://127.0.0.1:8080/mcp"
	_, local := newGuard(t, doorward.GuardConfig{Keys: keys, Resource: loopbackMCP})
	good := guardSign(t, key, oauth.TypAccessToken, guardClaims(time.Now(), map[string]any{"aud": []string{guardedFiles, loopbackMCP}}))
	for _, c := range []struct {
		name         string
		h            http.Handler
		host, origin string
		status       int
	}{
		{"no browser", public, "files.example", "", 200},
		{"own origin", public, "files.example", "https://files.example", 200},
		{"listed origin", public, "files.example", "https://app.example", 200},
		{"foreign origin", public, "files.example", "https://evil.example", 403},
		{"another port", public, "files.example", "https://files.example:8443", 403},
		{"another scheme", public, "files.example", "http://files.example", 403},
		{"an origin that begins alike", public, "files.example", "https://files.example.evil.example", 403},
		{"opaque origin", public, "files.example", "null", 403},
		{"loopback", local, "127.0.0.1:8080", "", 200},
		{"loopback by name", local, "localhost:8080", "http://127.0.0.1:8080", 200},
		{"rebound name", local, "evil.example:8080", "", 403},
		{"rebound name and origin", local, "evil.example:8080", "http://evil.example:8080", 403},
		{"foreign page to loopback", local, "127.0.0.1:8080", "https://evil.example", 403},
	} {
		for _, token := range []string{good, ""} {
			w := guardAsk(c.h, func(r *http.Request) {
				r.Host = c.host
				if c.origin != "" {
					r.Header.Set("Origin", c.origin)
				}
				if token != "" {
					withToken(token)(r)
				}
			})
			want := c.status
			if token == "" && want == 200 {
				want = 401
			}
			if w.Code != want {
				t.Errorf("%s: %d, want %d", c.name, w.Code, want)
			}
			if want == 403 && (w.Header().Get("WWW-Authenticate") != "" || w.Header().Get("Access-Control-Allow-Origin") != "") {
				t.Errorf("%s: a page may read it: %v", c.name, w.Header())
			}
			if want != 403 && !strings.Contains(w.Header().Get("Access-Control-Expose-Headers"), "WWW-Authenticate") || w.Header().Get("Access-Control-Allow-Origin") != allowedOrigin(c.origin, want) {
				t.Errorf("%s: %v", c.name, w.Header())
			}
		}
	}
	w := guardAsk(public, func(r *http.Request) {
		r.Method = http.MethodOptions
		r.Header.Set("Origin", "https://app.example")
		r.Header.Set("Access-Control-Request-Method", "POST")
		r.Header.Set("Access-Control-Request-Headers", "authorization,content-type")
	})
	if w.Code != 204 || w.Header().Get("Access-Control-Allow-Origin") != "https://app.example" || !strings.Contains(w.Header().Get("Access-Control-Allow-Headers"), "authorization") {
		t.Errorf("preflight: %d %v", w.Code, w.Header())
	}
}

func allowedOrigin(origin string, status int) string {
	if status == 403 {
		return ""
	}
	return origin
}

// covers: RS-CHAL-06, RS-CHAL-07, J07, J10, J12
func TestInsufficientScope(t *testing.T) {
	g, _ := newGuard(t, doorward.GuardConfig{Keys: guardKeySets(t, nil)})
	w := httptest.NewRecorder()
	g.InsufficientScope(w, httptest.NewRequest(http.MethodPost, guardedFiles, nil), "files:read", "files:write")
	want := `Bearer error="insufficient_scope", error_description="This needs a scope that the access token does not have", resource_metadata="` + guardPRM + `", scope="files:read files:write"`
	if got := w.Header().Get("WWW-Authenticate"); w.Code != 403 || got != want {
		t.Errorf("%d %s", w.Code, got)
	}
}

// covers: X-URI-02, X-HTTP-01, K03
func TestNewGuardChecks(t *testing.T) {
	good := doorward.GuardConfig{Resource: guardedFiles, Issuers: []string{guardIssuer}}
	for name, change := range map[string]func(*doorward.GuardConfig){
		"no resource":          func(c *doorward.GuardConfig) { c.Resource = "" },
		"relative":             func(c *doorward.GuardConfig) { c.Resource = "/mcp" },
		"http":                 func(c *doorward.GuardConfig) { c.Resource = "http://files.example/mcp" },
		"fragment":             func(c *doorward.GuardConfig) { c.Resource += "#x" },
		"query":                func(c *doorward.GuardConfig) { c.Resource += "?x" },
		"user info":            func(c *doorward.GuardConfig) { c.Resource = "https://a@files.example/mcp" },
		"upper case":           func(c *doorward.GuardConfig) { c.Resource = "https://Files.example/mcp" },
		"upper case scheme":    func(c *doorward.GuardConfig) { c.Resource = "HTTPS://files.example/mcp" },
		"dots":                 func(c *doorward.GuardConfig) { c.Resource = "https://files.example/a/../mcp" },
		"braces":               func(c *doorward.GuardConfig) { c.Resource = "https://files.example/%7Bx%7D" },
		"no issuer":            func(c *doorward.GuardConfig) { c.Issuers = nil },
		"issuer over http":     func(c *doorward.GuardConfig) { c.Issuers = []string{"http://auth.example"} },
		"issuer with fragment": func(c *doorward.GuardConfig) { c.Issuers = []string{"https://auth.example#x"} },
		"scope with quotes":    func(c *doorward.GuardConfig) { c.Scopes = []string{`a"b`} },
		"origin with path":     func(c *doorward.GuardConfig) { c.AllowedOrigins = []string{"https://app.example/"} },
		"any origin":           func(c *doorward.GuardConfig) { c.AllowedOrigins = []string{"*"} },
		"implies by no scope":  func(c *doorward.GuardConfig) { c.Implies = map[string][]string{"a b": {"c"}} },
		"implies no scope":     func(c *doorward.GuardConfig) { c.Implies = map[string][]string{"a": {`"`}} },
	} {
		c := good
		change(&c)
		if _, err := doorward.NewGuard(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	for _, resource := range []string{guardedFiles, "https://files.example", "https://files.example/", "http://localhost:8080/mcp", "http://[::1]:1/mcp", "https://files.example:8443/a/b/"} {
		c := good
		c.Resource = resource
		g, err := doorward.NewGuard(c)
		if err != nil {
			t.Errorf("%s: %v", resource, err)
			continue
		}
		mux := http.NewServeMux()
		g.Mount(mux, http.NotFoundHandler())
		u, err := url.Parse(resource)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodGet, u.Scheme+"://"+u.Host+"/.well-known/oauth-protected-resource"+strings.TrimSuffix(u.Path, "/"), nil)
		w := httptest.NewRecorder()
		if mux.ServeHTTP(w, r); w.Code != 200 || !strings.Contains(w.Body.String(), `"resource":"`+resource+`"`) {
			t.Errorf("%s: metadata at its place: %d %s", resource, w.Code, w.Body)
		}
	}
}
