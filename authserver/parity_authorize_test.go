package authserver

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"doorward/internal/oauth"
)

// walk asks for authorization, signs alice in and says yes, and returns the
// parameters that the client gets.
func (s *site) walk(t *testing.T, client, redirect string, pairs ...string) url.Values {
	t.Helper()
	b := s.browser()
	to, _, _ := strings.Cut(redirect, "?")
	return b.agree(b.get(s.ask(client, redirect, pairs...))).arrived(t, to)
}

// agree signs alice in and says yes, if that is still asked.
func (b *browser) agree(p page) page {
	if p = b.signIn(p, "alice"); !p.left {
		p = b.submit(p)
	}
	return p
}

// here checks that a request ends on an error page of ours and nowhere else.
func (s *site) here(t *testing.T, client, redirect string, pairs ...string) {
	t.Helper()
	p := s.browser().get(s.ask(client, redirect, pairs...))
	p.shows(t, http.StatusBadRequest)
	if strings.Contains(p.body, redirect) && redirect != "" {
		t.Errorf("the page leads to %s", redirect)
	}
}

// back checks that a request of a client that is known goes back to it with an
// error, the state and the issuer.
func (s *site) back(t *testing.T, code string, pairs ...string) {
	t.Helper()
	q := s.browser().get(s.ask("desktop", desktopCB, pairs...)).arrived(t, "https://desktop.example.com/cb")
	if q.Get("error") != code || q.Get("error_description") == "" || q.Get("state") != "st+te/1" || q.Get("iss") != siteURL || q.Get("keep") != "1" || q.Get("code") != "" {
		t.Errorf("%v, want %s", q, code)
	}
}

// upstream: server-legacy/test/auth/handlers/authorize.test.ts, but for
// redirectUriMatches
func TestParityAuthorize(t *testing.T) {
	s := newSite(t, nil)
	const web, local, numbers = "https://two.example.com/a", "http://localhost/callback", "http://127.0.0.1/callback"
	add := func(id string, uris ...string) {
		s.cfg.Clients[id] = Client{RedirectURIs: uris}
		if err := s.Reload(s.cfg); err != nil {
			t.Fatal(err)
		}
	}
	add("by-name", local)
	code := func(t *testing.T, q url.Values) {
		t.Helper()
		if q.Get("code") == "" || q.Get("error") != "" {
			t.Errorf("%v", q)
		}
	}
	cases{
		"rejects non-GET/POST methods": func(t *testing.T) {
			for _, method := range []string{"PUT", "DELETE", "PATCH"} {
				r := ask(s.Server, method, siteURL+"/authorize")
				r.all(t, map[string]bool{"405": r.status == http.StatusMethodNotAllowed, "Allow": r.header.Get("Allow") == "GET, HEAD, POST"})
			}
		},
		"requires client_id parameter": func(t *testing.T) { s.here(t, "desktop", desktopCB, "client_id", "") },
		"validates that client exists": func(t *testing.T) { s.here(t, "nobody", "https://evil.example.net/cb") },
		"uses the only redirect_uri if client has just one and none provided": func(t *testing.T) {
			b := s.browser()
			code(t, b.agree(b.get(s.ask("desktop", desktopCB, "redirect_uri", ""))).arrived(t, "https://desktop.example.com/cb"))
		},
		"requires redirect_uri if client has multiple":                 func(t *testing.T) { s.here(t, "two", web, "redirect_uri", "") },
		"validates redirect_uri against client registered URIs":        func(t *testing.T) { s.here(t, "two", "https://evil.example.net/cb") },
		"accepts valid redirect_uri that client registered with":       func(t *testing.T) { code(t, s.walk(t, "two", web)) },
		"accepts loopback redirect_uri with ephemeral port (RFC 8252)": func(t *testing.T) { code(t, s.walk(t, "by-name", "http://localhost:55123/callback")) },
		"accepts 127.0.0.1 loopback redirect_uri with ephemeral port (RFC 8252)": func(t *testing.T) {
			code(t, s.walk(t, "cli", "http://127.0.0.1:61234/callback"))
		},
		"rejects loopback redirect_uri with different path": func(t *testing.T) { s.here(t, "by-name", "http://localhost:55123/evil") },
		"does not relax port for non-loopback redirect_uri": func(t *testing.T) { s.here(t, "two", "https://two.example.com:8443/a") },
		"requires response_type=code":                       func(t *testing.T) { s.back(t, "unsupported_response_type", "response_type", "token") },
		"requires code_challenge parameter":                 func(t *testing.T) { s.back(t, "invalid_request", "code_challenge", "") },
		"requires code_challenge_method=S256": func(t *testing.T) {
			s.back(t, "invalid_request", "code_challenge_method", "plain")
			s.back(t, "invalid_request", "code_challenge_method", "")
		},
		"propagates resource parameter": func(t *testing.T) {
			status, doc := s.browser().redeem("cli", "http://127.0.0.1:1/callback", s.walk(t, "cli", "http://127.0.0.1:1/callback", "resource", files).Get("code"))
			token, _ := doc["access_token"].(string)
			if aud, _ := claimsOf(t, token).Text("aud"); status != 200 || aud != files {
				t.Errorf("%d, for %q", status, aud)
			}
			s.back(t, "invalid_target", "resource", "https://other.example.com/mcp")
		},
		"handles successful authorization with all parameters": func(t *testing.T) {
			q := s.walk(t, "desktop", desktopCB, "scope", "files:read files:write", "state", "xyz789", "resource", files)
			code(t, q)
			if q.Get("state") != "xyz789" || q.Get("keep") != "1" {
				t.Errorf("%v", q)
			}
		},
		"preserves state parameter in response": func(t *testing.T) {
			if q := s.walk(t, "two", web, "state", "a b&c=%2B+~"); q.Get("state") != "a b&c=%2B+~" {
				t.Errorf("%v", q)
			}
		},
		"handles POST requests the same as GET": func(t *testing.T) {
			u, _ := url.Parse(s.ask("two", web))
			b := s.browser()
			code(t, b.agree(b.post(siteURL+"/authorize", u.Query())).arrived(t, web))
		},
		"appends iss to the provider's success redirect and supplies issuer to provider.authorize()": func(t *testing.T) {
			if q := s.walk(t, "two", web); q.Get("iss") != siteURL {
				t.Errorf("%v", q)
			}
		},
		"leaves redirects to non-callback targets untouched": func(t *testing.T) {
			r := ask(s.Server, http.MethodGet, s.ask("two", web))
			if to := r.header.Get("Location"); !strings.HasPrefix(to, "/login?attempt=") || strings.Contains(to, "iss=") {
				t.Errorf("to %s", to)
			}
		},
		"appends iss to error redirects": func(t *testing.T) { s.back(t, "invalid_scope", "scope", "nothing:here") },
		"accepts valid scopes subset":    func(t *testing.T) { code(t, s.walk(t, "two", web, "scope", "files:read")) },
		"validates requested scopes against client registered scopes": func(t *testing.T) {
			s.cfg.Clients["reader"] = Client{RedirectURIs: []string{"https://reader.example.com/cb"}, Scopes: []string{"files:read"}}
			add("by-name", local)
			cb := "https://reader.example.com/cb"
			q := s.browser().get(s.ask("reader", cb, "scope", "files:write")).arrived(t, cb)
			if q.Get("error") != "invalid_scope" {
				t.Errorf("%v", q)
			}
		},
	}.run(t)
}

// upstream: server-legacy/test/auth/handlers/authorize.test.ts, redirectUriMatches
func TestParityRedirectURIMatches(t *testing.T) {
	match := func(want bool, pairs ...string) func(*testing.T) {
		return func(t *testing.T) {
			for i := 0; i < len(pairs); i += 2 {
				if oauth.MatchRedirect([]string{pairs[i]}, pairs[i+1]) != want {
					t.Errorf("%q for %q: %t", pairs[i+1], pairs[i], !want)
				}
			}
		}
	}
	cases{
		"exact match passes": match(true, "https://example.com/cb", "https://example.com/cb", "http://localhost:3000/cb", "http://localhost:3000/cb"),
		"loopback: any port matches portless registration":   match(true, "http://localhost/callback", "http://localhost:53428/callback", "http://127.0.0.1/cb", "http://127.0.0.1:9000/cb", "http://[::1]/cb", "http://[::1]:5000/cb"),
		"loopback: any port matches ported registration":     match(true, "http://localhost:3118/callback", "http://localhost:53428/callback", "http://127.0.0.1:1/cb", "http://127.0.0.1/cb"),
		"loopback: different path rejected":                  match(false, "http://localhost/callback", "http://localhost:53428/other", "http://localhost/callback", "http://localhost:1/callback/", "http://localhost/callback", "http://localhost:1/callback?x=1"),
		"loopback: different scheme rejected":                match(false, "http://localhost/callback", "https://localhost:53428/callback"),
		"loopback: localhost↔127.0.0.1 cross-match rejected": match(false, "http://localhost/callback", "http://127.0.0.1:53428/callback", "http://127.0.0.1/callback", "http://localhost:1/callback", "http://[::1]/cb", "http://127.0.0.1/cb"),
		"non-loopback: port must match exactly":              match(false, "https://example.com/cb", "https://example.com:8443/cb", "https://example.com:443/cb", "https://example.com/cb"),
		"non-loopback: no relaxation for private IPs":        match(false, "http://192.168.1.1/cb", "http://192.168.1.1:8080/cb", "http://10.0.0.1/cb", "http://10.0.0.1:1/cb"),
		"malformed URIs rejected":                            match(false, "http://localhost/cb", "not a url", "not a url", "http://localhost/cb", "http://localhost/cb", "", "http://localhost/cb", "http://localhost:99999999/cb", "http://localhost/cb", "http://localhost:@evil/cb"),
	}.run(t)
}
