package doorward_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward"
	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// The tests TestParity… have a subtest for each test of the upstream suite that
// docs/parity-tests.md maps to them, by the upstream's name for it.

// cases are the subtests of one upstream file.
type cases map[string]func(t *testing.T)

func (c cases) run(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(c)) {
		t.Run(name, c[name])
	}
}

// gate is a guard with a handler that wants a scope, and the key of its issuer.
type gate struct {
	key    *jose.Key
	h      http.Handler
	called int
}

func newGate(t *testing.T, change func(*doorward.GuardConfig)) *gate {
	t.Helper()
	gt := &gate{key: guardKey(t)}
	c := doorward.GuardConfig{Resource: guardedFiles, Issuers: []string{guardIssuer}, Scopes: []string{"files:read"},
		Keys: guardKeySets(t, map[string][]*jose.Key{guardIssuer: {gt.key}})}
	if change != nil {
		change(&c)
	}
	g, err := doorward.NewGuard(c)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	g.Mount(mux, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gt.called++
		caller, _ := doorward.CallerFrom(r.Context())
		_ = json.NewEncoder(w).Encode(caller)
	}), c.Scopes...)
	gt.h = mux
	return gt
}

// token is a good one with changes; nil leaves a claim out.
func (g *gate) token(t *testing.T, changes map[string]any) string {
	t.Helper()
	return guardSign(t, g.key, oauth.TypAccessToken, guardClaims(time.Now(), changes))
}

// in wants a request let in, and says who came.
func (g *gate) in(t *testing.T, header string) (c doorward.Caller) {
	t.Helper()
	before := g.called
	w := guardAsk(g.h, func(r *http.Request) { r.Header.Set("Authorization", header) })
	if w.Code != http.StatusOK || g.called != before+1 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// out wants a request kept out with a status and an error, and parts of the
// challenge; "!" before a part: it is not there.
func (g *gate) out(t *testing.T, header string, status int, code string, parts ...string) *httptest.ResponseRecorder {
	t.Helper()
	before := g.called
	w := guardAsk(g.h, func(r *http.Request) {
		if header != "" {
			r.Header.Set("Authorization", header)
		}
	})
	var body struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != status || body.Error != code || body.Description == "" || g.called != before {
		t.Errorf("%d %s (%v), want %d %s", w.Code, w.Body, err, status, code)
	}
	challenge := strings.Join(w.Header().Values("WWW-Authenticate"), ", ")
	for _, part := range parts {
		not, is := strings.CutPrefix(part, "!")
		if strings.Contains(challenge, not) == is {
			t.Errorf("challenge %q: %s", challenge, part)
		}
	}
	return w
}

const (
	namesMetadata = `resource_metadata="` + guardPRM + `"`
	namesScope    = `scope="files:read"`
)

// upstream: server-legacy/test/auth/middleware/bearerAuth.test.ts
func TestParityBearerAuth(t *testing.T) {
	g := newGate(t, nil)
	ended := func(ago time.Duration) map[string]any { return map[string]any{"exp": time.Now().Add(-ago).Unix()} }
	bearer := func(t *testing.T, changes map[string]any) string { return "Bearer " + g.token(t, changes) }
	faulty := newGate(t, func(c *doorward.GuardConfig) {
		c.Keys = func(context.Context, string) ([]byte, error) { return nil, errors.New("no route to auth.internal") }
	})
	without := newGate(t, func(c *doorward.GuardConfig) { c.Scopes = nil })
	narrow := map[string]any{"scope": "files:list"}
	cases{
		"should call next when token is valid": func(t *testing.T) {
			if c := g.in(t, bearer(t, nil)); c.ClientID != "desktop" || c.Subject != "corp/alice" || !c.HasScope("files:read", "files:list") || c.Expires.IsZero() {
				t.Errorf("%+v", c)
			}
		},
		"should reject expired tokens (expired %s seconds ago)": func(t *testing.T) {
			for _, ago := range []time.Duration{0, time.Second, 100 * time.Second, time.Hour} {
				g.out(t, bearer(t, ended(ago)), 401, "invalid_token", `error="invalid_token"`, "expired")
			}
		},
		"should reject tokens with no expiration time (expiresAt: %s)": func(t *testing.T) {
			for _, exp := range []any{nil, "soon", map[string]any{}, -1.5} {
				g.out(t, bearer(t, map[string]any{"exp": exp}), 401, "invalid_token")
			}
		},
		"should accept non-expired tokens": func(t *testing.T) { g.in(t, bearer(t, map[string]any{"exp": time.Now().Add(5 * time.Second).Unix()})) },
		"should require specific scopes when configured": func(t *testing.T) {
			g.out(t, bearer(t, narrow), 403, "insufficient_scope", `error="insufficient_scope"`, "error_description=")
		},
		"should accept token with all required scopes": func(t *testing.T) { g.in(t, bearer(t, map[string]any{"scope": "files:read more"})) },
		"should return 401 when no Authorization header is present": func(t *testing.T) {
			g.out(t, "", 401, "", "Bearer ", "!error=") // RFC 6750 section 3.1: no error where there was no token
		},
		"should return 401 when Authorization header format is invalid": func(t *testing.T) {
			for _, header := range []string{"InvalidFormat", "Basic YTpi", "Bearer", "Bearer ", g.token(t, nil)} {
				g.out(t, header, 401, "", "Bearer ")
			}
		},
		"should return 401 when token verification fails with InvalidTokenError": func(t *testing.T) {
			g.out(t, "Bearer nonsense", 401, "invalid_token", `error="invalid_token"`)
			g.out(t, bearer(t, map[string]any{"aud": "https://other.example/mcp"}), 401, "invalid_token")
		},
		"should return 403 when access token has insufficient scopes": func(t *testing.T) { g.out(t, bearer(t, map[string]any{"scope": ""}), 403, "insufficient_scope") },
		"should return 500 when a ServerError occurs": func(t *testing.T) {
			w := faulty.out(t, "Bearer "+faulty.token(t, nil), 503, "temporarily_unavailable")
			if w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "auth.internal") {
				t.Errorf("%v %s", w.Header(), w.Body)
			}
		},
		"should return 400 for generic OAuthError": func(t *testing.T) { g.out(t, bearer(t, nil)+", Bearer x", 400, "invalid_request") },
		"should return 500 when unexpected error occurs": func(t *testing.T) {
			odd := newGate(t, func(c *doorward.GuardConfig) {
				c.Keys = func(context.Context, string) ([]byte, error) { return []byte("no JSON"), nil }
			})
			odd.out(t, "Bearer "+odd.token(t, nil), 503, "temporarily_unavailable")
		},
		"should include scope in WWW-Authenticate header for 401 responses when requiredScopes is provided": func(t *testing.T) { g.out(t, "Bearer x", 401, "invalid_token", namesScope) },
		"should include scope in WWW-Authenticate header for 403 insufficient scope responses":              func(t *testing.T) { g.out(t, bearer(t, narrow), 403, "insufficient_scope", namesScope) },
		"should include both scope and resource_metadata in WWW-Authenticate header when both are provided": func(t *testing.T) {
			g.out(t, "", 401, "", namesScope, namesMetadata)
			without.out(t, "", 401, "", "! scope=", namesMetadata)
		},
		"should include resource_metadata in WWW-Authenticate header for 401 responses":             func(t *testing.T) { g.out(t, "", 401, "", namesMetadata) },
		"should include resource_metadata in WWW-Authenticate header when token verification fails": func(t *testing.T) { g.out(t, "Bearer x", 401, "invalid_token", namesMetadata) },
		"should include resource_metadata in WWW-Authenticate header for insufficient scope errors": func(t *testing.T) { g.out(t, bearer(t, narrow), 403, "insufficient_scope", namesMetadata) },
		"should include resource_metadata when token is expired":                                    func(t *testing.T) { g.out(t, bearer(t, ended(time.Second)), 401, "invalid_token", namesMetadata) },
		"should include resource_metadata when scope check fails":                                   func(t *testing.T) { g.out(t, bearer(t, narrow), 403, "insufficient_scope", namesMetadata) },
		"should not affect server errors (no WWW-Authenticate header)": func(t *testing.T) {
			if w := faulty.out(t, "Bearer "+faulty.token(t, nil), 503, "temporarily_unavailable"); len(w.Header().Values("WWW-Authenticate")) != 0 {
				t.Errorf("%v", w.Header())
			}
		},
	}.run(t)
}

// upstream: server/test/server/bearerAuth.test.ts
func TestParityVerifyBearerToken(t *testing.T) {
	g := newGate(t, nil)
	bearer := func(t *testing.T, changes map[string]any) string { return "Bearer " + g.token(t, changes) }
	faulty := newGate(t, func(c *doorward.GuardConfig) {
		c.Keys = func(context.Context, string) ([]byte, error) {
			return nil, errors.New("bad \"thing\"\r\nX-Injected: é")
		}
	})
	clean := func(t *testing.T, w *httptest.ResponseRecorder) {
		t.Helper()
		for name, values := range w.Header() {
			for _, v := range values {
				if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) {
					t.Errorf("%s: %q", name, v)
				}
			}
		}
	}
	cases{
		"returns the verifier AuthInfo for a valid token": func(t *testing.T) {
			if c := g.in(t, bearer(t, nil)); c.Issuer != guardIssuer || c.Grant != "g1" {
				t.Errorf("%+v", c)
			}
		},
		"accepts a case-insensitive Bearer scheme":                  func(t *testing.T) { g.in(t, "bEaReR "+g.token(t, nil)) },
		"rejects a missing Authorization header with invalid_token": func(t *testing.T) { g.out(t, "", 401, "", "Bearer ", namesMetadata) },
		"rejects a non-Bearer or empty-token header as a format error": func(t *testing.T) {
			g.out(t, "Basic YTpi", 401, "", "Bearer ")
			g.out(t, "Bearer ", 401, "", "Bearer ")
		},
		"propagates the verifier OAuthError untouched": func(t *testing.T) {
			g.out(t, bearer(t, map[string]any{"iss": "https://evil.example"}), 401, "invalid_token")
		},
		"enforces requiredScopes before expiry (matching the Express middleware order)": func(t *testing.T) {
			// The other way round: of a token that is over nothing counts.
			g.out(t, bearer(t, map[string]any{"exp": time.Now().Add(-time.Second).Unix(), "scope": "none"}), 401, "invalid_token")
		},
		"rejects a token without an expiration time": func(t *testing.T) { g.out(t, bearer(t, map[string]any{"exp": nil}), 401, "invalid_token") },
		"rejects an expired token": func(t *testing.T) {
			g.out(t, bearer(t, map[string]any{"exp": time.Now().Unix()}), 401, "invalid_token")
		},
		"answers 401 invalid_token with the WWW-Authenticate challenge, resource_metadata last": func(t *testing.T) {
			g.out(t, "Bearer x", 401, "invalid_token", `error="invalid_token", error_description="`, namesMetadata)
		},
		"answers 403 insufficient_scope with the configured scopes in the challenge": func(t *testing.T) {
			g.out(t, bearer(t, map[string]any{"scope": "none"}), 403, "insufficient_scope", `error="insufficient_scope"`, namesScope, namesMetadata)
		},
		"answers 500 server_error without a challenge": func(t *testing.T) {
			if w := faulty.out(t, "Bearer "+faulty.token(t, nil), 503, "temporarily_unavailable"); len(w.Header().Values("WWW-Authenticate")) != 0 {
				t.Errorf("%v", w.Header())
			}
		},
		"answers 400 without a challenge for any other OAuth error code": func(t *testing.T) {
			g.out(t, bearer(t, nil)+", "+bearer(t, nil), 400, "invalid_request") // with one: RFC 6750 section 3.1
		},
		"answers 500 server_error for a non-OAuthError value":     func(t *testing.T) { faulty.out(t, "Bearer "+faulty.token(t, nil), 503, "temporarily_unavailable") },
		"resolves to AuthInfo for a valid request":                func(t *testing.T) { g.in(t, bearer(t, nil)) },
		"resolves to the challenge Response for a missing header": func(t *testing.T) { g.out(t, "", 401, "", "Bearer ", namesMetadata) },
		"resolves to a 403 Response when scopes are missing":      func(t *testing.T) { g.out(t, bearer(t, map[string]any{"scope": "none"}), 403, "insufficient_scope") },
		"returns the challenge Response instead of throwing for a non-ASCII verifier message": func(t *testing.T) {
			clean(t, g.out(t, "Bearer \u00e9\u00fc", 401, "invalid_token"))
			clean(t, faulty.out(t, "Bearer "+faulty.token(t, nil), 503, "temporarily_unavailable"))
		},
		"escapes quotes and strips CR/LF in the challenge header": func(t *testing.T) {
			told := newGate(t, func(c *doorward.GuardConfig) {
				c.Refused = func(*http.Request, string, string) string { return "a\"b\r\nX-Injected: c\\" }
			})
			w := told.out(t, "Bearer x", 401, "invalid_token")
			clean(t, w)
			if got := w.Header().Get("WWW-Authenticate"); strings.Count(got, `"`)%2 != 0 || strings.Contains(got, `\`) {
				t.Errorf("%s", got)
			}
		},
		"resolves (not rejects) when the verifier throws a hostile-message OAuthError": func(t *testing.T) {
			clean(t, faulty.out(t, "Bearer "+faulty.token(t, nil), 503, "temporarily_unavailable"))
		},
		"verifies the first token when duplicate Authorization headers are comma-joined": func(t *testing.T) {
			g.out(t, bearer(t, nil)+", Bearer x", 400, "invalid_request") // refused: nobody can say which one was meant
		},
		"throws at creation time for missing options": func(t *testing.T) {
			if _, err := doorward.NewGuard(doorward.GuardConfig{}); err == nil {
				t.Error("a guard of nothing")
			}
		},
	}.run(t)
}
