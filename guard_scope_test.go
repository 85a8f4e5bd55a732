package doorward_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"doorward"
	"doorward/internal/jose"
	"doorward/internal/oauth"
)

const lacksScope = `Bearer error="insufficient_scope", error_description="This needs a scope that the access token does not have", resource_metadata="` + guardPRM + `", scope="`

// A scope counts with what it includes, directly and through others; the
// challenge names what the operation needs, all of it at once.
// covers: RS-TOK-07, RS-CHAL-06, REV-09, J07, J13, J21
func TestGuardDemandsScopes(t *testing.T) {
	key := guardKey(t)
	for _, c := range []struct {
		name   string
		has    string
		needed []string
		repeat bool
		status int
		asks   string
	}{
		{"nothing needed", "", nil, false, 200, ""},
		{"has it", "files:list files:read", []string{"files:read"}, false, 200, ""},
		{"has all of them", "files:list files:read", []string{"files:read", "files:list"}, false, 200, ""},
		{"has one of two", "files:read", []string{"files:read", "files:list"}, false, 403, "files:read files:list"},
		{"broader", "files:write", []string{"files:read"}, false, 200, ""},
		{"broader by two steps", "files:all", []string{"files:read", "files:write"}, false, 200, ""},
		{"broader and another", "files:all", []string{"files:read", "files:list"}, false, 403, "files:read files:list"},
		{"narrower", "files:read", []string{"files:write"}, false, 403, "files:write"},
		{"none", "", []string{"files:read"}, false, 403, "files:read"},
		{"another case", "FILES:READ", []string{"files:read"}, false, 403, "files:read"},
		{"a beginning", "files:rea", []string{"files:read"}, false, 403, "files:read"},
		{"what was granted is said again", "files:list files:read offline_access", []string{"files:write", "files:read"}, true, 403, "files:write files:read files:list"},
	} {
		g, err := doorward.NewGuard(doorward.GuardConfig{
			Resource: guardedFiles, Issuers: []string{guardIssuer}, Scopes: []string{"files:read"}, RepeatGranted: c.repeat,
			Implies: map[string][]string{"files:all": {"files:write"}, "files:write": {"files:read"}},
			Keys:    guardKeySets(t, map[string][]*jose.Key{guardIssuer: {key}}),
		})
		if err != nil {
			t.Fatal(err)
		}
		reached := false
		inside := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if reached = g.Require(w, r, c.needed...); reached != caller(r).HasScope(c.needed...) {
				t.Errorf("%s: HasScope and Require differ", c.name)
			}
		})
		whole := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true })
		for how, h := range map[string]http.Handler{"Require": g.Handler(inside), "Handler": g.Handler(whole, c.needed...)} {
			reached = false
			w := guardAsk(h, withToken(guardSign(t, key, oauth.TypAccessToken, guardClaims(time.Now(), map[string]any{"scope": c.has}))))
			challenge := ""
			if c.asks != "" {
				challenge = lacksScope + c.asks + `"`
			}
			if got := w.Header().Get("WWW-Authenticate"); w.Code != c.status || got != challenge || reached != (c.status == 200) {
				t.Errorf("%s by %s: %d %s, reached: %v", c.name, how, w.Code, got, reached)
			}
		}
	}
}

func caller(r *http.Request) doorward.Caller {
	c, _ := doorward.CallerFrom(r.Context())
	return c
}

// An expired token without scopes is expired first: more scopes on it would help nobody.
// covers: J14, J11, J23, L02
func TestGuardChecksTheTokenBeforeItsScopes(t *testing.T) {
	key := guardKey(t)
	g, err := doorward.NewGuard(doorward.GuardConfig{Resource: guardedFiles, Issuers: []string{guardIssuer},
		Keys: guardKeySets(t, map[string][]*jose.Key{guardIssuer: {key}})})
	if err != nil {
		t.Fatal(err)
	}
	h := g.Handler(http.NotFoundHandler(), "files:write")
	past := map[string]any{"scope": "", "exp": time.Now().Add(-time.Second).Unix()}
	w := guardAsk(h, withToken(guardSign(t, key, oauth.TypAccessToken, guardClaims(time.Now(), past))))
	var body struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != 401 || body.Error != "invalid_token" || body.Description != "The access token expired" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	want := `Bearer error="invalid_token", error_description="The access token expired", resource_metadata="` + guardPRM + `"`
	if got := w.Header().Get("WWW-Authenticate"); got != want || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("a guard without scopes says %s", got)
	}
}

// Who asks for scopes without a guard before it finds nobody there.
func TestRequireWithoutAGuard(t *testing.T) {
	g, _ := newGuard(t, doorward.GuardConfig{Keys: guardKeySets(t, nil)})
	w := httptest.NewRecorder()
	if g.Require(w, httptest.NewRequest(http.MethodPost, guardedFiles, nil)) || w.Code != 401 {
		t.Errorf("let through: %d", w.Code)
	}
}

// covers: K05
func TestResourceMetadataURL(t *testing.T) {
	for resource, want := range map[string]string{
		guardedFiles:                      guardPRM,
		"https://files.example":           "https://files.example/.well-known/oauth-protected-resource",
		"https://files.example/":          "https://files.example/.well-known/oauth-protected-resource",
		"https://files.example:8443/a/b/": "https://files.example:8443/.well-known/oauth-protected-resource/a/b/",
		"http://localhost:1/mcp?x=1":      "http://localhost:1/.well-known/oauth-protected-resource/mcp?x=1",
	} {
		if got, err := doorward.ResourceMetadataURL(resource); got != want || err != nil {
			t.Errorf("%s: %s %v", resource, got, err)
		}
	}
	for _, resource := range []string{"", "/mcp", "urn:x", "https://files.example/mcp#x"} {
		if got, err := doorward.ResourceMetadataURL(resource); err == nil {
			t.Errorf("%s: %s", resource, got)
		}
	}
}

// What is not the guard's stays with whoever has the mux.
// covers: K10, A09
func TestGuardLeavesOtherPaths(t *testing.T) {
	g, err := doorward.NewGuard(doorward.GuardConfig{Resource: guardedFiles, Issuers: []string{guardIssuer}, Keys: guardKeySets(t, nil)})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	g.Mount(mux, http.NotFoundHandler())
	for path, want := range map[string]int{
		"/": 418, "/mcp2": 418, "/other": 418, "/mcp": 401, "/mcp/x": 401, "/.well-known/oauth-protected-resource/mcp": 200,
		"/.well-known/oauth-protected-resource": 418, "/.well-known/oauth-protected-resource/mcp2": 418, "/.well-known/oauth-protected-resource/mcp/x": 418,
	} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "https://files.example"+path, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
}
