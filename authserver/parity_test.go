package authserver

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

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

// want checks status and error code of an answer; without a code, that there is
// none.
func (r reply) want(t *testing.T, status int, code string) {
	t.Helper()
	if r.status != status || r.text("error") != code {
		t.Errorf("%s, want %d %s", r.brief(), status, code)
	}
}

// all checks several things that must be true of an answer.
func (r reply) all(t *testing.T, true_ map[string]bool) {
	t.Helper()
	for what, ok := range true_ {
		if !ok {
			t.Errorf("not so: %s: %s %v", what, r.brief(), r.header)
		}
	}
}

// jsonPost sends JSON.
func jsonPost(s *Server, path, body string) reply {
	r := httptest.NewRequest(http.MethodPost, s.current().cfg.URL+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Origin", "https://page.example")
	return send(s, r)
}

// redeemed are the tokens of a code of alice's for desktop.
func (w *world) redeemed(t *testing.T, change ...string) reply {
	t.Helper()
	return post(w.as, "/token", desktop, w.redemption(t, change...))
}

// redemption is a token request for a code of alice's for desktop; an empty value
// leaves a parameter out.
func (w *world) redemption(t *testing.T, change ...string) url.Values {
	t.Helper()
	f := form("grant_type=authorization_code", "code="+w.code(t, w.as, filesGrant("desktop"), "http://127.0.0.1/callback"), "code_verifier="+codeVerifier)
	for name, values := range form(change...) {
		if f.Del(name); values[0] != "" {
			f[name] = values
		}
	}
	return f
}

func (w *world) refreshed(token string, change ...string) reply {
	return post(w.as, "/token", desktop, form(append(change, "grant_type=refresh_token", "refresh_token="+token)...))
}

var corsOrigin = []string{"Origin", "https://page.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type"}

// upstream: server-legacy/test/auth/handlers/token.test.ts
func TestParityToken(t *testing.T) {
	w := newWorld(t)
	refused := func(f url.Values, status int, code string) func(*testing.T) {
		return func(t *testing.T) { post(w.as, "/token", desktop, f).want(t, status, code) }
	}
	cases{
		"requires POST method": func(t *testing.T) {
			r := ask(w.as, http.MethodGet, asURL+"/token")
			r.all(t, map[string]bool{"405": r.status == http.StatusMethodNotAllowed, "Allow": r.header.Get("Allow") == "POST", "says why": r.text("error") != ""})
		},
		"requires grant_type parameter":   refused(form("code=x"), 400, "invalid_request"),
		"rejects unsupported grant types": refused(form("grant_type=password", "username=a", "password=b"), 400, "unsupported_grant_type"),
		"requires valid client credentials": func(t *testing.T) {
			post(w.as, "/token", "desktop not-the-secret-0123456", w.redemption(t)).want(t, 401, "invalid_client")
			post(w.as, "/token", "nobody "+desktopSecret, w.redemption(t)).want(t, 401, "invalid_client")
		},
		"accepts valid client credentials": func(t *testing.T) {
			w.redeemed(t).want(t, 200, "")
			post(w.as, "/token", "", w.redemption(t, "client_id=desktop", "client_secret="+desktopSecret)).want(t, 200, "")
		},
		"requires code parameter":          refused(form("grant_type=authorization_code", "code_verifier="+codeVerifier), 400, "invalid_request"),
		"requires code_verifier parameter": func(t *testing.T) { w.redeemed(t, "code_verifier=").want(t, 400, "invalid_request") },
		"verifies code_verifier against challenge": func(t *testing.T) {
			w.redeemed(t, "code_verifier="+strings.Repeat("w", 43)).want(t, 400, "invalid_grant")
		},
		"rejects expired or invalid authorization codes": func(t *testing.T) {
			w.redeemed(t, "code=nonsense").want(t, 400, "invalid_grant")
			f := w.redemption(t)
			w.forward(codeLife)
			post(w.as, "/token", desktop, f).want(t, 400, "invalid_grant")
		},
		"returns tokens for valid code exchange": func(t *testing.T) {
			r := w.redeemed(t)
			expires, _ := r.field("expires_in")
			r.all(t, map[string]bool{"200": r.status == 200, "Bearer": r.text("token_type") == "Bearer", "900 seconds": expires == 900.0, "access token": r.text("access_token") != "",
				"refresh token": r.text("refresh_token") != "", "scope": r.text("scope") == "files:read files:write", "no-store": r.header.Get("Cache-Control") == "no-store"})
		},
		"returns id token in code exchange if provided": func(t *testing.T) {
			g := oauth.Grant{Client: "desktop-idp", Resource: idpURL, Scopes: oauth.Scopes{"openid"}, Subject: oauth.Subject{ID: "alice"}}
			code := w.code(t, w.idp, g, "http://127.0.0.1/callback")
			r := post(w.idp, "/token", desktopIdP, form("grant_type=authorization_code", "code="+code, "code_verifier="+codeVerifier))
			aud, _ := claimsOf(t, r.text("id_token")).Text("aud")
			r.all(t, map[string]bool{"200": r.status == 200, "for the client": aud == "desktop-idp"})
		},
		"requires refresh_token parameter": refused(form("grant_type=refresh_token"), 400, "invalid_request"),
		"rejects invalid refresh tokens":   refused(form("grant_type=refresh_token", "refresh_token=nonsense"), 400, "invalid_grant"),
		"returns new tokens for valid refresh token": func(t *testing.T) {
			first := w.redeemed(t)
			r := w.refreshed(first.text("refresh_token"))
			r.all(t, map[string]bool{"200": r.status == 200, "a new access token": r.text("access_token") != first.text("access_token") && r.text("access_token") != "",
				"a new refresh token": r.text("refresh_token") != first.text("refresh_token") && r.text("refresh_token") != ""})
		},
		"respects requested scopes on refresh": func(t *testing.T) {
			r := w.refreshed(w.redeemed(t).text("refresh_token"), "scope=files:read")
			scope, _ := claimsOf(t, r.text("access_token")).Text("scope")
			r.all(t, map[string]bool{"in the answer": r.text("scope") == "files:read", "in the token": scope == "files:read"})
			w.refreshed(r.text("refresh_token"), "scope=notes:read").want(t, 400, "invalid_scope")
		},
		"includes CORS headers in response": func(t *testing.T) {
			corsOf(t, w.as, "/token", post(w.as, "/token", desktop, w.redemption(t)))
		},
	}.run(t)
}

// corsOf checks that pages of any origin may send to an endpoint and read the
// answer, without credentials.
func corsOf(t *testing.T, s *Server, path string, r reply) {
	t.Helper()
	pre := ask(s, http.MethodOptions, asURL+path, corsOrigin...)
	r.all(t, map[string]bool{"origin": r.header.Get("Access-Control-Allow-Origin") == "*", "no credentials": r.header.Get("Access-Control-Allow-Credentials") == "",
		"preflight": pre.status == http.StatusNoContent && pre.header.Get("Access-Control-Allow-Origin") == "*"})
}

// upstream: server-legacy/test/auth/middleware/clientAuth.test.ts
func TestParityClientAuth(t *testing.T) {
	w := newWorld(t)
	send := func(change ...string) reply { return post(w.as, "/token", "", w.redemption(t, change...)) }
	cases{
		"authenticates valid client credentials": func(t *testing.T) { send("client_id=desktop", "client_secret="+desktopSecret).want(t, 200, "") },
		"rejects invalid client_id": func(t *testing.T) {
			send("client_id=nobody", "client_secret="+desktopSecret).want(t, 401, "invalid_client")
		},
		"rejects invalid client_secret": func(t *testing.T) { send("client_id=desktop", "client_secret=wrong").want(t, 401, "invalid_client") },
		"rejects missing client_id": func(t *testing.T) {
			send("client_secret="+desktopSecret).want(t, 401, "invalid_client")
			send().want(t, 401, "invalid_client")
		},
		"allows missing client_secret if client has none": func(t *testing.T) {
			code := w.code(t, w.as, filesGrant("web"), "https://web.example/callback")
			send("client_id=web", "code="+code).want(t, 200, "")
			send("client_id=desktop").want(t, 401, "invalid_client") // which has one
		},
		"rejects request when client secret has expired": func(t *testing.T) {
			// Secrets of ours end with their registration.
			doc := jsonPost(w.as, "/register", `{"redirect_uris":["http://127.0.0.1/cb"],"token_endpoint_auth_method":"client_secret_post","grant_types":["authorization_code","refresh_token"]}`)
			id, secret := doc.text("client_id"), doc.text("client_secret")
			w.as.approve(t, id)
			asked := []string{"grant_type=refresh_token", "refresh_token=x", "client_id=" + id, "client_secret=" + secret}
			post(w.as, "/token", "", form(asked...)).want(t, 400, "invalid_grant")
			w.forward(defaultUnused)
			post(w.as, "/token", "", form(asked...)).want(t, 401, "invalid_client")
		},
		"handles malformed request body": func(t *testing.T) {
			throw(w.as, http.MethodPost, "/token", "application/json", `{"client_id":7`).want(t, 400, "invalid_request")
			throw(w.as, http.MethodPost, "/token", formKind, "client_id=%zz").want(t, 400, "invalid_request")
		},
		"ignores extra fields in request": func(t *testing.T) {
			send("client_id=desktop", "client_secret="+desktopSecret, "extra=x").want(t, 200, "")
		},
	}.run(t)
}

// approve lets a registered client in.
func (s *Server) approve(t *testing.T, id string) {
	t.Helper()
	c, err := s.ledger.Client(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	c.Approved = true
	if err := s.ledger.Store.Commit(t.Context(), c.Put()); err != nil {
		t.Fatal(err)
	}
}

// upstream: server-legacy/test/auth/handlers/revoke.test.ts
func TestParityRevoke(t *testing.T) {
	w := newWorld(t)
	cases{
		"creates handler if provider supports token revocation": func(t *testing.T) {
			m := ask(w.as, http.MethodGet, asURL+oauth.WellKnownAS)
			post(w.as, "/revoke", desktop, form("token=x")).want(t, 200, "")
			m.all(t, map[string]bool{"in the metadata": m.text("revocation_endpoint") == asURL+"/revoke"})
		},
		"requires POST method": func(t *testing.T) {
			r := ask(w.as, http.MethodGet, asURL+"/revoke")
			r.all(t, map[string]bool{"405": r.status == http.StatusMethodNotAllowed, "Allow": r.header.Get("Allow") == "POST"})
		},
		"requires token parameter": func(t *testing.T) {
			post(w.as, "/revoke", desktop, form("token_type_hint=access_token")).want(t, 400, "invalid_request")
		},
		"authenticates client before revoking token": func(t *testing.T) {
			got := w.redeemed(t)
			post(w.as, "/revoke", "desktop wrong-secret-0123456789", form("token="+got.text("refresh_token"))).want(t, 401, "invalid_client")
			w.refreshed(got.text("refresh_token")).want(t, 200, "")
		},
		"successfully revokes token": func(t *testing.T) {
			got := w.redeemed(t)
			post(w.as, "/revoke", desktop, form("token="+got.text("refresh_token"))).want(t, 200, "")
			w.refreshed(got.text("refresh_token")).want(t, 400, "invalid_grant")
			if !w.as.ended.Has(gid(t, got.text("access_token"))) {
				t.Error("its access token lives on")
			}
		},
		"accepts optional token_type_hint": func(t *testing.T) {
			for _, hint := range []string{"access_token", "refresh_token", "something_else"} {
				got := w.redeemed(t)
				post(w.as, "/revoke", desktop, form("token="+got.text("refresh_token"), "token_type_hint="+hint)).want(t, 200, "")
				w.refreshed(got.text("refresh_token")).want(t, 400, "invalid_grant")
			}
		},
		"includes CORS headers in response": func(t *testing.T) { corsOf(t, w.as, "/revoke", post(w.as, "/revoke", desktop, form("token=x"))) },
	}.run(t)
}
