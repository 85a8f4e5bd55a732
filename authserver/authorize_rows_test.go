package authserver

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"doorward/internal/oauth"
)

// The rows of parity table C, one test for those that one request shows.

// covers: C01, C11, C21, C25
func TestAuthorizationByQueryAndByForm(t *testing.T) {
	for name, begin := range map[string]func(*browser, *url.URL) page{
		"query": func(b *browser, u *url.URL) page { return b.get(u.String()) },
		"form":  func(b *browser, u *url.URL) page { return b.post(siteURL+"/authorize", u.Query()) },
	} {
		s := newSite(t, nil)
		u, _ := url.Parse(s.ask("desktop", desktopCB))
		b := s.browser()
		q := b.submit(b.signIn(begin(b, u), "alice")).arrived(t, "https://desktop.example.com/cb?keep=1&code=")
		if q.Get("code") == "" || q.Get("state") != "st+te/1" || q.Get("iss") != siteURL {
			t.Errorf("%s: %v", name, q)
		}
		for _, res := range b.seen {
			if res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %s %s may be kept", name, res.Request.Method, res.Request.URL.Path)
			}
		}
	}
}

// covers: C02
func TestAuthorizationByOtherMethods(t *testing.T) {
	s := newSite(t, nil)
	for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions} {
		r := send(s.Server, httptest.NewRequest(method, s.ask("desktop", desktopCB), nil))
		allow := strings.Split(r.header.Get("Allow"), ", ")
		if r.status != http.StatusMethodNotAllowed || !slices.Contains(allow, "GET") || !slices.Contains(allow, "POST") || r.text("error") != oauth.InvalidRequest {
			t.Errorf("%s: %d, Allow %q, %s", method, r.status, allow, r.body)
		}
		if r.header.Get("Access-Control-Allow-Origin") != "" || r.header.Get("Location") != "" {
			t.Errorf("%s: %v", method, r.header)
		}
	}
}

// covers: C03, C04, C06, C07, C27
func TestAuthorizationThatMustNotRedirect(t *testing.T) {
	s := newSite(t, nil)
	s.attacker()
	for name, ask := range map[string]string{
		"client_id missing":          s.ask("", desktopCB),
		"client_id unknown":          s.ask("nobody", desktopCB),
		"another path":               s.ask("desktop", "https://desktop.example.com/cb2?keep=1"),
		"a prefix":                   s.ask("desktop", desktopCB+"1"),
		"another scheme":             s.ask("desktop", "http://desktop.example.com/cb?keep=1"),
		"no URI":                     s.ask("desktop", "::not a URI"),
		"relative":                   s.ask("desktop", "/cb"),
		"omitted, two registered":    s.ask("two", ""),
		"a stranger's, before login": s.ask("attacker", "https://evil.example.net/cb", "response_type", "token"),
	} {
		p := s.browser().get(ask)
		p.shows(t, http.StatusBadRequest, "Reference: ")
		if p.header.Get("Location") != "" || strings.Contains(p.body, "http-equiv") {
			t.Errorf("%s: it leads on", name)
		}
	}
	s.browser().get(s.ask("desktop", "")).shows(t, http.StatusOK, "to continue to", "Desktop") // the only one that is registered
	// Who has signed in goes to a stranger's by a link for an error, and by a consent for a code.
	b := s.browser()
	b.signIn(b.get(s.url+"/login"), "alice")
	const evil = "https://evil.example.net/cb"
	b.get(s.ask("attacker", evil, "response_type", "token")).shows(t, http.StatusBadRequest, `<a href="`+evil+`?error=unsupported_response_type`)
	b.get(s.ask("attacker", evil)).shows(t, http.StatusOK, "Allow", "evil.example.net")
}

// covers: C05
func TestLoopbackPortsAreFreeAndNothingElse(t *testing.T) {
	s := newSite(t, func(c *Config) {
		c.Clients["six"] = Client{RedirectURIs: []string{"http://[::1]/callback", "http://localhost/other?a=1"}}
	})
	for _, c := range []struct {
		client, redirect string
		good             bool
	}{
		{"cli", "http://127.0.0.1:1/callback", true},
		{"cli", "http://127.0.0.1:65535/callback", true},
		{"cli", "http://127.0.0.1/callback", true},
		{"six", "http://[::1]:3000/callback", true},
		{"six", "http://localhost:3000/other?a=1", true},
		{"cli", "http://localhost:3000/callback", false},
		{"cli", "http://[::1]:3000/callback", false},
		{"cli", "https://127.0.0.1:3000/callback", false},
		{"cli", "http://127.0.0.1:3000/callback/", false},
		{"cli", "http://127.0.0.1:3000/callback?x=1", false},
		{"cli", "http://127.0.0.2:3000/callback", false},
		{"six", "http://localhost:3000/other?a=2", false},
		{"six", "http://127.0.0.1:3000/callback", false},
		{"desktop", "https://desktop.example.com:8443/cb?keep=1", false},
	} {
		if p := s.browser().get(s.ask(c.client, c.redirect)); (p.status == http.StatusOK) != c.good {
			t.Errorf("%s of %s: %d", c.redirect, c.client, p.status)
		}
	}
}

// covers: C08, C09, C10, C12, C13, C14, C28
// (C13 without error_uri: docs/divergences.md)
func TestAuthorizationErrorsAtTheClient(t *testing.T) {
	s := newSite(t, nil)
	ask := func(pairs ...string) string { return s.ask("two", "https://two.example.com/a", pairs...) }
	for name, c := range map[string]struct{ target, code string }{
		"no response_type":     {ask("response_type", ""), oauth.InvalidRequest},
		"token":                {ask("response_type", "token"), oauth.UnsupportedResponseType},
		"id_token":             {ask("response_type", "id_token"), oauth.UnsupportedResponseType},
		"no challenge":         {ask("code_challenge", ""), oauth.InvalidRequest},
		"no method":            {ask("code_challenge_method", ""), oauth.InvalidRequest},
		"plain":                {ask("code_challenge_method", "plain"), oauth.InvalidRequest},
		"S512":                 {ask("code_challenge_method", "S512"), oauth.InvalidRequest},
		"42 characters":        {ask("code_challenge", strings.Repeat("a", 42)), oauth.InvalidRequest},
		"129 characters":       {ask("code_challenge", strings.Repeat("a", 129)), oauth.InvalidRequest},
		"a forbidden one":      {ask("code_challenge", strings.Repeat("a", 42)+"="), oauth.InvalidRequest},
		"scope twice":          {ask() + "&scope=files:read", oauth.InvalidRequest},
		"response_type twice":  {ask() + "&response_type=code", oauth.InvalidRequest},
		"code_challenge twice": {ask() + "&code_challenge=x", oauth.InvalidRequest},
		"quotes and newlines":  {ask("scope", "a\"\n\\\u00e9b"), oauth.InvalidScope},
		"control character":    {ask("nonce", "a\nb"), oauth.InvalidRequest},
	} {
		q := s.browser().get(c.target).arrived(t, "https://two.example.com/a?error=")
		if name == "quotes and newlines" && q.Get("error") == oauth.InvalidRequest {
			c.code = oauth.InvalidRequest // it is unreadable before it is a scope
		}
		if q.Get("error") != c.code || q.Get("state") != "st+te/1" || q.Get("iss") != siteURL || q.Has("code") {
			t.Errorf("%s: %v", name, q)
		}
		if d := q.Get("error_description"); d == "" || strings.ContainsFunc(d, func(r rune) bool { return r < 0x20 || r > 0x7e || r == '"' || r == '\\' }) {
			t.Errorf("%s: error_description %q", name, d)
		}
	}
}

// covers: C15, C16, C17, C18, C19, C20
func TestScopesAndResourcesOfARequest(t *testing.T) {
	s := newSite(t, func(c *Config) {
		c.Clients["reader"] = Client{RedirectURIs: []string{"https://reader.example.com/cb"}, Scopes: []string{"files:read"}}
	})
	const cb = "https://reader.example.com/cb"
	for name, c := range map[string]struct{ target, code string }{
		"a scope that exists, not for this client": {s.ask("reader", cb, "scope", "files:write"), oauth.InvalidScope},
		"a scope that does not exist":              {s.ask("reader", cb, "scope", "admin"), oauth.InvalidScope},
		"no URL":                                   {s.ask("reader", cb, "resource", "files"), oauth.InvalidTarget},
		"another server":                           {s.ask("reader", cb, "resource", "https://other.example.com/mcp"), oauth.InvalidTarget},
		"a fragment":                               {s.ask("reader", cb, "resource", files+"#part"), oauth.InvalidTarget},
		"two":                                      {s.ask("reader", cb) + "&resource=" + url.QueryEscape("https://other.example.com/mcp"), oauth.InvalidTarget},
	} {
		if q := s.browser().get(c.target).arrived(t, cb+"?error="); q.Get("error") != c.code || q.Get("state") != "st+te/1" {
			t.Errorf("%s: %v", name, q)
		}
	}
	// What can be had is granted, what cannot is left out, and the resource counts.
	b := s.browser()
	p := b.signIn(b.get(s.ask("reader", cb, "scope", "files:read files:write admin")), "alice")
	b.submit(p).arrived(t, cb+"?code=")
	if g := s.grantOf("alice"); g.Scopes.String() != "files:read" || g.Resource != files {
		t.Errorf("grant %+v", g.Grant)
	}
}

// covers: C22, AS-AUTHZ-09
// iss is for the client's redirect URI: no step before it carries one, and a
// client's own parameter of that name does not stand beside it.
func TestIssIsForTheClientOnly(t *testing.T) {
	s := newSite(t, func(c *Config) {
		c.Clients["own"] = Client{Secret: "a secret of this client", RedirectURIs: []string{"https://own.example.com/cb?iss=https://own.example.com&keep=1"}}
	})
	b := s.browser()
	p := b.signIn(b.get(s.ask("own", "")), "alice")
	q := b.submit(p).arrived(t, "https://own.example.com/cb?")
	if q.Get("iss") != siteURL || q.Get("keep") != "1" {
		t.Errorf("answer %v", q)
	}
	steps := 0
	for _, res := range b.seen {
		to, err := url.Parse(res.Header.Get("Location"))
		if err != nil || to.Host == "own.example.com" || res.Header.Get("Location") == "" {
			continue
		}
		if steps++; to.Query().Has("iss") || to.Query().Has("state") {
			t.Errorf("a step of ours says %s", to)
		}
	}
	if steps < 2 {
		t.Errorf("%d steps", steps)
	}
}

// covers: C24
// What a client says of the sign-in reaches it, and what nobody knows does no
// harm.
func TestParametersForTheSignIn(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	b.signIn(b.get(s.url+"/login"), "bob")
	more := []string{"login_hint", "alice", "prompt", "login", "nonce", "n-42", "ui_locales", "de", "claims", `{"id_token":{}}`, "audience", "x"}
	p := b.get(s.ask("desktop", desktopCB, more...))
	p.shows(t, 200, "Sign in", `value="alice"`) // prompt=login, though somebody is signed in
	b.submit(b.signIn(p, "alice")).arrived(t, "https://desktop.example.com/cb?keep=1&code=")
	if g := s.grantOf("alice"); g.Nonce != "n-42" {
		t.Errorf("nonce %q", g.Nonce)
	}
}

// covers: C26
func TestNoPageOfARequestCanBeFramed(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	p := b.get(s.ask("desktop", desktopCB))
	for _, p := range []page{p, b.signIn(p, "alice"), s.browser().get(s.ask("nobody", desktopCB))} {
		if !strings.Contains(p.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") || p.header.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%s can be framed: %v", p.url.Path, p.header)
		}
	}
}

// brokenSignIn is code of a user that fails.
type brokenSignIn struct{ panics bool }

func (b brokenSignIn) SignIn(http.ResponseWriter, *http.Request, Attempt) (*Person, error) {
	if b.panics {
		panic("dsn=postgres://root:canary@db")
	}
	return nil, errors.New("dsn=postgres://root:canary@db")
}

// covers: C29
func TestFaultsOfUsersCodeDoNotLeak(t *testing.T) {
	for _, panics := range []bool{false, true} {
		s := newSite(t, func(c *Config) { c.SignIn = brokenSignIn{panics} })
		p := s.browser().get(s.ask("desktop", desktopCB))
		if p.left || p.status != http.StatusInternalServerError || strings.Contains(p.body, "canary") || strings.Contains(p.body, "goroutine") {
			t.Errorf("panics %v: %d\n%s", panics, p.status, p.body)
		}
		if panics && !strings.Contains(p.body, oauth.ServerError) {
			t.Errorf("a panic answers %s", p.body)
		}
	}
}

// covers: D18
// A token response has what the RFC names, and no field of ours by accident.
func TestMembersOfTokenResponses(t *testing.T) {
	w := newWorld(t)
	code := w.code(t, w.as, filesGrant("desktop"), "http://127.0.0.1/callback")
	for name, c := range map[string]struct {
		r    reply
		want string
	}{
		"code":   {post(w.as, "/token", desktop, form("grant_type=authorization_code", "code="+code, "code_verifier="+codeVerifier)), "access_token expires_in refresh_token scope token_type"},
		"client": {post(w.as, "/token", "agent "+agentSecret, form("grant_type=client_credentials")), "access_token expires_in scope token_type"},
		"ID-JAG": {post(w.as, "/token", desktop, form("grant_type="+oauth.JWTBearer, "assertion="+w.jag(t, nil))), "access_token expires_in resource scope token_type"},
	} {
		if got := strings.Join(membersOf(t, c.r), " "); got != c.want {
			t.Errorf("%s: %s (%s)", name, got, c.r.body)
		}
	}
}

// covers: B08
// Plain http on a public host is refused, unless the one switch says so.
func TestPlainHTTPIssuer(t *testing.T) {
	w := newWorld(t)
	for url, without := range map[string]bool{"http://auth.example.com": false, "http://127.0.0.1:8080": true, "http://[::1]:8080": true, "http://localhost:8080": true} {
		for _, insecure := range []bool{false, true} {
			cfg := w.asConfig(openStore(t, w.now))
			cfg.URL, cfg.InsecurePublic, cfg.Issuers, cfg.Resources = url, insecure, nil, nil
			s, err := New(cfg)
			if (err == nil) != (without || insecure) {
				t.Errorf("%s, insecure %v: %v", url, insecure, err)
			}
			if err == nil {
				s.Close()
			}
		}
	}
}

// covers: B12, B13, B19
func TestMetadataOfRevocationDocumentationAndCaches(t *testing.T) {
	s := newSite(t, func(c *Config) { c.ServiceDocumentation = "https://docs.example.com/" })
	for _, path := range []string{oauth.WellKnownAS, oauth.WellKnownOIDC} {
		r := send(s.Server, httptest.NewRequest(http.MethodGet, s.url+path, nil))
		methods, _ := r.field("revocation_endpoint_auth_methods_supported")
		if list, _ := methods.([]any); !slices.Contains(list, any("none")) || !slices.Contains(list, any("client_secret_basic")) {
			t.Errorf("revocation by %v", methods)
		}
		if r.text("service_documentation") != "https://docs.example.com/" {
			t.Errorf("documentation: %s", r.body)
		}
		if scopes, _ := r.field("scopes_supported"); plain(scopes) != `["files:read","files:write","offline_access"]` {
			t.Errorf("scopes %s", plain(scopes))
		}
		if c := r.header.Get("Cache-Control"); c != "public, max-age=300" {
			t.Errorf("Cache-Control %q", c)
		}
	}
	// And a public client can revoke, as the list says.
	g := oauth.Grant{Client: "cli", Resource: files, Scopes: oauth.Scopes{"files:read"}, Subject: oauth.Subject{ID: "alice"}}
	code, err := s.newCode(context.Background(), g, oauth.AuthorizationRequest{CodeChallenge: oauth.S256(verifier)}, "http://127.0.0.1/callback")
	if err != nil {
		t.Fatal(err)
	}
	r := post(s.Server, "/token", "", form("client_id=cli", "grant_type=authorization_code", "code="+code, "code_verifier="+verifier))
	if r := post(s.Server, "/revoke", "", form("client_id=cli", "token="+r.text("refresh_token"))); r.status != http.StatusOK {
		t.Errorf("revocation by a public client: %d %s", r.status, r.body)
	}
	if !s.ended.Has(gid(t, r.text("access_token"))) {
		t.Error("nothing ended")
	}
}
