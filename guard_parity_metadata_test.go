package doorward_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"doorward"
	"doorward/internal/oauth"
)

// document asks for something below a guard.
func document(h http.Handler, method, url string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, url, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// resourceDocument reads the metadata of a resource where it must stand.
func resourceDocument(t *testing.T, h http.Handler, url string) map[string]any {
	t.Helper()
	w := document(h, http.MethodGet, url)
	var m map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil || w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%s: %d %s %v", url, w.Code, w.Body, err)
	}
	return m
}

func guarding(t *testing.T, resource string) http.Handler {
	t.Helper()
	return newGate(t, func(c *doorward.GuardConfig) { c.Resource = resource }).h
}

func metadataURL(t *testing.T, resource, want string) {
	t.Helper()
	if got, err := doorward.ResourceMetadataURL(resource); err != nil || got != want {
		t.Errorf("%s: %s %v, want %s", resource, got, err, want)
	}
}

func notGuarded(change func(*doorward.GuardConfig)) error {
	c := doorward.GuardConfig{Resource: guardedFiles, Issuers: []string{guardIssuer}}
	change(&c)
	_, err := doorward.NewGuard(c)
	return err
}

// upstream: server/test/server/oauthMetadata.test.ts
func TestParityResourceMetadata(t *testing.T) {
	const other = "https://page.example"
	h := guarding(t, guardedFiles)
	issuers := func(t *testing.T, ok bool, urls ...string) {
		t.Helper()
		for _, u := range urls {
			if err := notGuarded(func(c *doorward.GuardConfig) { c.Issuers = []string{u} }); (err == nil) != ok {
				t.Errorf("%s: %v", u, err)
			}
		}
	}
	cases{
		"derives the RFC 9728 document": func(t *testing.T) {
			named := newGate(t, func(c *doorward.GuardConfig) { c.Name = "Files" }).h
			m := resourceDocument(t, named, guardPRM)
			if m["resource"] != guardedFiles || fmt.Sprint(m["authorization_servers"]) != "["+guardIssuer+"]" || fmt.Sprint(m["scopes_supported"]) != "[files:read]" || m["resource_name"] != "Files" {
				t.Errorf("%v", m)
			}
		},
		"rejects a non-HTTPS issuer": func(t *testing.T) { issuers(t, false, "http://auth.example", "ftp://auth.example") },
		"exempts localhost and honors the insecure escape hatch": func(t *testing.T) {
			issuers(t, true, "http://localhost:3000", "http://127.0.0.1:3000")
			if err := notGuarded(func(c *doorward.GuardConfig) { c.Issuers, c.InsecureHTTP = []string{"http://auth.example"}, true }); err != nil {
				t.Error(err)
			}
		},
		"rejects issuer URLs with fragments or query strings": func(t *testing.T) {
			issuers(t, false, "https://auth.example/#x", "https://auth.example/?x=1", "https://auth.example?")
		},
		"is path-aware": func(t *testing.T) {
			metadataURL(t, "https://files.example/a/mcp", "https://files.example/.well-known/oauth-protected-resource/a/mcp")
			metadataURL(t, "https://files.example:8443/mcp", "https://files.example:8443/.well-known/oauth-protected-resource/mcp")
		},
		"omits the trailing path for a root resource URL": func(t *testing.T) {
			metadataURL(t, "https://files.example/", "https://files.example/.well-known/oauth-protected-resource")
			metadataURL(t, "https://files.example", "https://files.example/.well-known/oauth-protected-resource")
		},
		"serves the path-aware PRM document with permissive CORS": func(t *testing.T) {
			if w := document(h, http.MethodGet, guardPRM, "Origin", other); w.Code != 200 || w.Header().Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("%d %v", w.Code, w.Header())
			}
		},
		"serves the PRM at the bare well-known path for a root resource URL": func(t *testing.T) {
			root := guarding(t, "https://files.example/")
			if m := resourceDocument(t, root, "https://files.example/.well-known/oauth-protected-resource"); m["resource"] != "https://files.example/" {
				t.Errorf("%v", m)
			}
		},
		"answers 405 with an Allow header and OAuth error body for non-GET methods": func(t *testing.T) {
			for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
				w := document(h, method, guardPRM)
				if w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD, OPTIONS" || !strings.Contains(w.Body.String(), `"error":`) {
					t.Errorf("%s: %d %v %s", method, w.Code, w.Header(), w.Body)
				}
			}
		},
		"answers CORS preflight with 204 and reflected request headers": func(t *testing.T) {
			w := document(h, http.MethodOptions, guardPRM, "Origin", other, "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "mcp-protocol-version")
			if w.Code != 204 || w.Header().Get("Access-Control-Allow-Origin") != "*" || w.Header().Get("Access-Control-Allow-Headers") != "mcp-protocol-version" {
				t.Errorf("%d %v", w.Code, w.Header())
			}
		},
		"returns undefined for unmatched paths so the host falls through": func(t *testing.T) {
			for _, path := range []string{"/", "/other", "/mcpx", "/.well-known/oauth-protected-resource/other", "/.well-known/oauth-protected-resource"} {
				if w := document(h, http.MethodGet, "https://files.example"+path); w.Code != 404 {
					t.Errorf("%s: %d", path, w.Code)
				}
			}
		},
		"never throws for unmatched paths, even with a misconfigured issuer": func(t *testing.T) { issuers(t, false, "no URL") }, // there is no guard to ask
		"surfaces the issuer misconfiguration on the discovery routes only": func(t *testing.T) {
			if err := notGuarded(func(c *doorward.GuardConfig) { c.Issuers = []string{"http://auth.example"} }); err == nil || !strings.Contains(err.Error(), "http://auth.example") {
				t.Errorf("%v", err) // at the start, and by its name
			}
		},
		"serves the PRM when the resource URL itself has a trailing slash": func(t *testing.T) {
			slash := guarding(t, "https://files.example/mcp/")
			if m := resourceDocument(t, slash, "https://files.example/.well-known/oauth-protected-resource/mcp/"); m["resource"] != "https://files.example/mcp/" {
				t.Errorf("%v", m)
			}
		},
		"tolerates a single trailing slash like path-mounted routers": func(t *testing.T) {
			if m := resourceDocument(t, h, guardPRM+"/"); m["resource"] != guardedFiles {
				t.Errorf("%v", m)
			}
		},
		"supports HEAD with the same headers and no body": func(t *testing.T) {
			get, head := document(h, http.MethodGet, guardPRM), document(h, http.MethodHead, guardPRM)
			if head.Code != 200 || head.Body.Len() != 0 || fmt.Sprint(head.Header()) != fmt.Sprint(get.Header()) {
				t.Errorf("%d %v, GET %v", head.Code, head.Header(), get.Header())
			}
		},
		"marks the reflected preflight allow-list as varying": func(t *testing.T) {
			w := document(h, http.MethodOptions, guardPRM, "Origin", other, "Access-Control-Request-Headers", "x-a")
			if got := strings.Join(w.Header().Values("Vary"), ","); !strings.Contains(got, "Access-Control-Request-Headers") {
				t.Errorf("Vary: %s", got)
			}
		},
	}.run(t)
}

// upstream: middleware/express/test/auth/resourceServer.test.ts
func TestParityResourceServer(t *testing.T) {
	g := newGate(t, nil)
	bearer := func(t *testing.T, changes map[string]any) string { return "Bearer " + g.token(t, changes) }
	faulty := newGate(t, func(c *doorward.GuardConfig) {
		c.Keys = func(context.Context, string) ([]byte, error) { return nil, errors.New("down") }
	})
	cases{
		"attaches AuthInfo to req.auth and calls next on a valid token": func(t *testing.T) {
			if c := g.in(t, bearer(t, nil)); c.Subject != "corp/alice" {
				t.Errorf("%+v", c)
			}
		},
		"responds 401 with WWW-Authenticate (incl. resource_metadata) when header is missing": func(t *testing.T) { g.out(t, "", 401, "", "Bearer ", namesMetadata) },
		"responds 401 when the verifier throws InvalidToken":                                  func(t *testing.T) { g.out(t, "Bearer x.y.z", 401, "invalid_token", `error="invalid_token"`) },
		"responds 401 when the token is expired": func(t *testing.T) {
			g.out(t, bearer(t, map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}), 401, "invalid_token", "expired")
		},
		"responds 403 with scope in WWW-Authenticate when required scopes are missing": func(t *testing.T) {
			g.out(t, bearer(t, map[string]any{"scope": "x"}), 403, "insufficient_scope", namesScope)
		},
		"responds 500 when the verifier throws a non-OAuth error": func(t *testing.T) { faulty.out(t, "Bearer "+faulty.token(t, nil), 503, "temporarily_unavailable") },
		"responds 500 without a WWW-Authenticate challenge": func(t *testing.T) {
			faulty.out(t, "Bearer "+faulty.token(t, nil), 503, "temporarily_unavailable", "!Bearer")
		},
		"responds 400 without a WWW-Authenticate challenge for other OAuth error codes": func(t *testing.T) {
			g.out(t, bearer(t, nil)+", x", 400, "invalid_request") // with one: RFC 6750 section 3.1
		},
		"serves PRM at a path-aware route when resourceServerUrl has a path": func(t *testing.T) {
			if m := resourceDocument(t, g.h, guardPRM); m["resource"] != guardedFiles {
				t.Errorf("%v", m)
			}
		},
		"rejects non-GET methods on metadata endpoints with 405": func(t *testing.T) {
			if w := document(g.h, http.MethodPost, guardPRM); w.Code != 405 || w.Header().Get("Allow") == "" {
				t.Errorf("%d %v", w.Code, w.Header())
			}
		},
		"rejects non-HTTPS issuer URLs": func(t *testing.T) {
			if notGuarded(func(c *doorward.GuardConfig) { c.Issuers = []string{"http://auth.example"} }) == nil {
				t.Error("taken")
			}
		},
		"inserts the well-known prefix ahead of the path": func(t *testing.T) { metadataURL(t, guardedFiles, guardPRM) },
		"drops a bare root path": func(t *testing.T) {
			metadataURL(t, "https://files.example/", "https://files.example"+oauth.WellKnownPRM)
		},
	}.run(t)
}
