package authserver

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

const desktopCB = "https://desktop.example.com/cb?keep=1"

// covers: AS-AUTHZ-01, AS-AUTHZ-08, AS-AUTHZ-09, AS-AUTHZ-10, AS-RES-06, AS-UI-01
func TestAuthorizeSignInConsentCode(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	p := b.get(s.ask("desktop", desktopCB, "resource", "https://FILES.example.com/mcp/"))
	p.shows(t, 200, "to continue to", "Desktop")
	p = b.signIn(p, "alice")
	p.shows(t, 200, "Allow", "Desktop", "Files", files, "Read files", "desktop.example.com", "alice")
	q := b.submit(p).arrived(t, "https://desktop.example.com/cb?keep=1&code=")
	if q.Get("state") != "st+te/1" || q.Get("iss") != siteURL || q.Get("keep") != "1" {
		t.Errorf("answer %v", q)
	}
	coded, _, err := s.byCode(context.Background(), q.Get("code"), true)
	if err != nil || coded.Code.RedirectURI != desktopCB || coded.Code.Challenge != oauth.S256(verifier) {
		t.Fatalf("the code is not bound to redirect URI and challenge: %+v %v", coded.Code, err)
	}
	g := s.grantOf("alice")
	if g.Resource != files || g.Scopes.String() != "files:read" || g.Client != "desktop" || g.Subject.Email != "alice@example.com" ||
		g.Subject.Session == "" || strings.Join(g.Subject.AMR, " ") != "pwd" {
		t.Errorf("grant %+v", g)
	}
	acc, err := s.ledger.Account(context.Background(), "alice")
	if err != nil || acc.Email != "alice@example.com" {
		t.Errorf("account %+v, %v", acc, err)
	}
}

// grantsOf are the person's grants.
func (s *site) grantsOf(person string) []ledger.Grant {
	s.t.Helper()
	recs, _, err := s.ledger.Store.List(context.Background(), store.Query{Kind: ledger.KindGrant, Index: "person=" + person})
	if err != nil {
		s.t.Fatal(err)
	}
	out := make([]ledger.Grant, len(recs))
	for i, r := range recs {
		if out[i], err = s.ledger.Grant(context.Background(), r.Key); err != nil {
			s.t.Fatal(err)
		}
	}
	return out
}

// grantOf is the person's only grant.
func (s *site) grantOf(person string) ledger.Grant {
	s.t.Helper()
	list := s.grantsOf(person)
	if len(list) != 1 {
		s.t.Fatalf("%s has %d grants", person, len(list))
	}
	return list[0]
}

func TestAuthorizeByPost(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	ask, _ := url.Parse(s.ask("desktop", desktopCB))
	p := b.post(s.url+"/authorize", ask.Query())
	p = b.signIn(p, "alice")
	b.submit(p).arrived(t, "https://desktop.example.com/cb")
	p = b.post(s.url+"/authorize", url.Values{"state": {strings.Repeat("x", maxRequest)}})
	p.shows(t, 400, "too long")
	b.get(s.ask("desktop", desktopCB, "state", strings.Repeat("x", maxRequest))).shows(t, 400, "too long")
}

// covers: AS-AUTHZ-09
func TestRequestWithoutStateHasNone(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	p := b.signIn(b.get(s.ask("desktop", desktopCB, "state", "")), "alice")
	if q := b.submit(p).arrived(t, "https://desktop.example.com/cb"); q.Has("state") {
		t.Errorf("state %q", q.Get("state"))
	}
}

// covers: AS-AUTHZ-02, AS-REDIR-01, AS-REDIR-02, AS-REDIR-05, SEC-07, SEC-17
func TestNoRedirectToWhatIsNotRegistered(t *testing.T) {
	s := newSite(t, nil)
	for name, ask := range map[string]string{
		"no client":          s.ask("", desktopCB),
		"unknown client":     s.ask("nobody", desktopCB),
		"client twice":       s.ask("desktop", desktopCB) + "&client_id=desktop",
		"altered URI":        s.ask("desktop", "https://desktop.example.com/cb?keep=2"),
		"prefix":             s.ask("desktop", desktopCB+"&more=1"),
		"other host":         s.ask("desktop", "https://desktop.example.com.evil.example.net/cb?keep=1"),
		"user info":          s.ask("desktop", "https://desktop.example.com@evil.example.net/cb?keep=1"),
		"backslash":          s.ask("desktop", `https://desktop.example.com\@evil.example.net/cb?keep=1`),
		"http":               s.ask("desktop", "http://desktop.example.com/cb?keep=1"),
		"port":               s.ask("desktop", "https://desktop.example.com:444/cb?keep=1"),
		"case":               s.ask("desktop", "https://DESKTOP.example.com/cb?keep=1"),
		"relative":           s.ask("desktop", "/cb?keep=1"),
		"script":             s.ask("desktop", "javascript:alert(1)"),
		"URI twice":          s.ask("desktop", desktopCB) + "&redirect_uri=https://evil.example.net/",
		"control character":  s.ask("desktop", desktopCB+"\x01"),
		"missing of several": s.ask("two", ""),
		"other loopback":     s.ask("cli", "http://localhost:3000/callback"),
		"loopback path":      s.ask("cli", "http://127.0.0.1:3000/callback/.."),
		"broken query":       s.url + "/authorize?client_id=desktop&redirect_uri=%zz",
	} {
		for _, signedIn := range []bool{false, true} {
			b := s.browser()
			if signedIn {
				b.signIn(b.get(s.url+"/login"), "alice").shows(t, 200, "You are signed in")
			}
			p := b.get(ask)
			if p.left || p.status < 400 || strings.Contains(p.body, "evil.example.net") {
				t.Errorf("%s (signed in: %v): %d at %s\n%s", name, signedIn, p.status, p.url, p.body)
			}
		}
	}
}

func TestSingleRedirectURIMayBeAbsentAndLoopbackPortIsFree(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	p := b.signIn(b.get(s.ask("desktop", "")), "alice")
	b.submit(p).arrived(t, "https://desktop.example.com/cb?keep=1&code=")
	p = b.get(s.ask("cli", "http://127.0.0.1:51234/callback"))
	b.submit(p).arrived(t, "http://127.0.0.1:51234/callback?code=")
}

// wrongRequests are requests of a good client that go back to it as errors.
func (s *site) wrongRequests(client, redirect string) map[string][2]string {
	ask := func(pairs ...string) string { return s.ask(client, redirect, pairs...) }
	return map[string][2]string{
		"no response_type":   {ask("response_type", ""), oauth.InvalidRequest},
		"implicit":           {ask("response_type", "token"), oauth.UnsupportedResponseType},
		"hybrid":             {ask("response_type", "code token"), oauth.UnsupportedResponseType},
		"fragment mode":      {ask("response_mode", "fragment"), oauth.InvalidRequest},
		"no challenge":       {ask("code_challenge", ""), oauth.InvalidRequest},
		"plain":              {ask("code_challenge_method", "plain"), oauth.InvalidRequest},
		"no method":          {ask("code_challenge_method", ""), oauth.InvalidRequest},
		"short challenge":    {ask("code_challenge", "abc"), oauth.InvalidRequest},
		"unknown scope":      {ask("scope", "admin"), oauth.InvalidScope},
		"unreadable scope":   {ask("scope", `a"b`), oauth.InvalidScope},
		"foreign resource":   {ask("resource", "https://other.example.com/mcp"), oauth.InvalidTarget},
		"relative resource":  {ask("resource", "/mcp"), oauth.InvalidTarget},
		"resource fragment":  {ask("resource", files+"#x"), oauth.InvalidTarget},
		"two resources":      {ask() + "&resource=https://two.example.com/", oauth.InvalidTarget},
		"scope twice":        {ask() + "&scope=files:write", oauth.InvalidRequest},
		"request object":     {ask("request", "e30.e30."), oauth.RequestNotSupported},
		"request_uri":        {ask("request_uri", "urn:x"), oauth.RequestURINotSupported},
		"max_age":            {ask("max_age", "soon"), oauth.InvalidRequest},
		"none and something": {ask("prompt", "none login"), oauth.InvalidRequest},
		"silent":             {ask("prompt", "none"), oauth.LoginRequired},
	}
}

// covers: AS-AUTHZ-03, AS-AUTHZ-04, AS-AUTHZ-12, AS-PKCE-01, AS-PKCE-02, AS-PKCE-03, AS-RES-01, SEC-10
func TestErrorsGoBackToTrustedClients(t *testing.T) {
	s := newSite(t, nil)
	for _, client := range [][2]string{{"two", "https://two.example.com/a"}, {"cli", "http://127.0.0.1:4000/callback"}} {
		for name, c := range s.wrongRequests(client[0], client[1]) {
			q := s.browser().get(c[0]).arrived(t, client[1]+"?error=")
			if q.Get("error") != c[1] || q.Get("state") != "st+te/1" || q.Get("iss") != siteURL || q.Get("error_description") == "" || q.Has("code") {
				t.Errorf("%s: %v", name, q)
			}
			if d := q.Get("error_description"); d != oauth.Printable(d) {
				t.Errorf("%s: description %q", name, d)
			}
		}
	}
	q := s.browser().get(s.ask("machine", "https://machine.example.com/cb")).arrived(t, "https://machine.example.com/cb?error=")
	if q.Get("error") != oauth.UnauthorizedClient {
		t.Errorf("a client without the grant: %v", q)
	}
}

// covers: AS-AUTHZ-05, AS-AUTHZ-06, SEC-07
func TestErrorsNeverGoToStrangersBeforeSignIn(t *testing.T) {
	s := newSite(t, nil)
	s.attacker()
	const evil = "https://evil.example.net/cb"
	for name, c := range s.wrongRequests("attacker", evil) {
		p := s.browser().get(c[0])
		if p.left || p.status < 400 || strings.Contains(p.body, "evil.example.net") {
			t.Errorf("%s, nobody signed in: %d at %s\n%s", name, p.status, p.url, p.body)
		}
		if strings.HasPrefix(c[1], "login") {
			continue
		}
		b := s.browser()
		b.signIn(b.get(s.url+"/login"), "alice")
		p = b.get(c[0])
		if p.left || p.status < 400 {
			t.Errorf("%s, signed in: %d at %s", name, p.status, p.url)
		}
		if m := linkTag.FindStringSubmatch(p.body); m == nil || !strings.HasPrefix(m[1], evil+"?error="+c[1]) {
			t.Errorf("%s, signed in: no link with the error:\n%s", name, p.body)
		}
	}
}

// covers: AS-AUTHZ-12, AS-RES-04
func TestScopesAndResourceAreNarrowed(t *testing.T) {
	s := newSite(t, func(c *Config) {
		limited := c.Clients["desktop"]
		limited.Scopes = []string{"files:read"}
		c.Clients["desktop"] = limited
	})
	for asked, want := range map[string]string{
		"":                          "files:read",
		"offline_access":            "files:read",
		"files:read unknown":        "files:read",
		"files:write files:read":    "files:read",
		"offline_access files:read": "files:read",
	} {
		b := s.browser()
		p := b.signIn(b.get(s.ask("desktop", desktopCB, "scope", asked, "resource", "")), "alice")
		b.submit(p).arrived(t, "https://desktop.example.com/cb")
		g := s.grantOf("alice")
		if g.Scopes.String() != want || g.Resource != files {
			t.Errorf("%q: granted %q at %q", asked, g.Scopes, g.Resource)
		}
		if _, err := s.ledger.End(context.Background(), ledger.Which{Person: "alice"}, "test"); err != nil {
			t.Fatal(err)
		}
		s.wait(codeLife) // and the grant that nobody redeemed is gone
	}
	q := s.browser().get(s.ask("desktop", desktopCB, "scope", "files:write")).arrived(t, "https://desktop.example.com/cb")
	if q.Get("error") != oauth.InvalidScope {
		t.Errorf("a scope beyond the client's bound: %v", q)
	}
}

// covers: AS-UI-07
func TestConsentIsRememberedForProvenClientsOnly(t *testing.T) {
	s := newSite(t, nil)
	s.attacker()
	s.register(ledger.Client{ID: "dyn-loop", Name: "Loop", AuthMethod: authPost, SecretHash: make([]byte, 32), Approved: true, RedirectURIs: []string{"http://127.0.0.1/cb"}})
	for _, c := range []struct {
		client, redirect string
		remembered       bool
	}{
		{"desktop", desktopCB, true},
		{"attacker", "https://evil.example.net/cb", true}, // the host is claimed: it is what was approved before
		{"cli", "http://127.0.0.1:4000/callback", false},
		{"dyn-loop", "http://127.0.0.1:4000/cb", false},
	} {
		b := s.browser()
		b.signIn(b.get(s.url+"/login"), "alice")
		b.submit(b.get(s.ask(c.client, c.redirect))).arrived(t, c.redirect)
		p := b.get(s.ask(c.client, c.redirect))
		if p.left != c.remembered {
			t.Errorf("%s: the second time %d at %s", c.client, p.status, p.url)
		}
		b.get(s.ask(c.client, c.redirect, "scope", "files:read files:write")).shows(t, 200, "Change files")
		b.get(s.ask(c.client, c.redirect, "prompt", "consent")).shows(t, 200, "Read files")
		other := s.browser()
		other.signIn(other.get(s.ask(c.client, c.redirect)), "alice")
	}
}

func TestPromptAndMaxAge(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	const cb = "https://desktop.example.com/cb"
	p := b.signIn(b.get(s.ask("desktop", desktopCB, "login_hint", "al<b>ice")), "alice")
	silent := s.ask("desktop", desktopCB, "prompt", "none")
	if q := b.get(silent).arrived(t, cb); q.Get("error") != oauth.ConsentRequired {
		t.Errorf("without consent: %v", q)
	}
	b.submit(p).arrived(t, cb)
	if q := b.get(silent).arrived(t, cb); q.Get("code") == "" {
		t.Errorf("signed in, consent given: %v", q)
	}
	if q := s.browser().get(silent).arrived(t, cb); q.Get("error") != oauth.LoginRequired {
		t.Errorf("another browser: %v", q)
	}
	s.wait(time.Minute)
	for _, pair := range [][2]string{{"prompt", "login"}, {"prompt", "select_account"}, {"max_age", "0"}, {"max_age", "59"}} {
		p = b.get(s.ask("desktop", desktopCB, pair[0], pair[1], "login_hint", "alice"))
		p.shows(t, 200, "Password", `value="alice"`)
		if q := b.signIn(p, "alice").arrived(t, cb); q.Get("code") == "" {
			t.Errorf("%s: %v", pair, q)
		}
		s.wait(time.Minute)
	}
	if q := b.get(s.ask("desktop", desktopCB, "max_age", "600")).arrived(t, cb); q.Get("code") == "" {
		t.Errorf("young enough: %v", q)
	}
	if q := b.get(s.ask("desktop", desktopCB, "max_age", "1", "prompt", "none")).arrived(t, cb); q.Get("error") != oauth.LoginRequired {
		t.Errorf("too old and silent: %v", q)
	}
}

func TestRulesKeepPeopleOut(t *testing.T) {
	s := newSite(t, func(c *Config) {
		c.Resources[0].Allow = []Rule{{Who: []string{"person:alice"}, Require: Require{SignedInWithin: time.Hour}}}
	})
	s.attacker()
	b := s.browser()
	q := b.signIn(b.get(s.ask("desktop", desktopCB)), "bob").arrived(t, "https://desktop.example.com/cb")
	if q.Get("error") != oauth.AccessDenied || !strings.Contains(q.Get("error_description"), "servers.files.deny[0]") {
		t.Errorf("denied by a rule: %v", q)
	}
	b.get(s.ask("attacker", "https://evil.example.net/cb")).shows(t, 403, "You may not use Files", "servers.files.deny[0]", "bob", "administrator")

	a := s.browser()
	a.submit(a.signIn(a.get(s.ask("desktop", desktopCB)), "alice")).arrived(t, "https://desktop.example.com/cb")
	s.wait(2 * time.Hour)
	p := a.get(s.ask("desktop", desktopCB))
	p.shows(t, 200, "Password") // the rule wants a fresh sign-in
	if q := a.signIn(p, "alice").arrived(t, "https://desktop.example.com/cb"); q.Get("code") == "" {
		t.Errorf("after a fresh sign-in: %v", q)
	}
}

func TestRuleThatNoSignInMeetsEnds(t *testing.T) {
	s := newSite(t, func(c *Config) {
		c.Resources[0].Allow = []Rule{{Who: []string{"everyone"}, Require: Require{AMR: []string{"mfa"}}}}
	})
	b := s.browser()
	q := b.signIn(b.get(s.ask("desktop", desktopCB)), "alice").arrived(t, "https://desktop.example.com/cb")
	if q.Get("error") != oauth.AccessDenied || !strings.Contains(q.Get("error_description"), "mfa") {
		t.Errorf("answer %v", q)
	}
}

func TestClientThatNobodyApproved(t *testing.T) {
	s := newSite(t, nil)
	s.register(ledger.Client{ID: "dyn-new", Name: "New App", AuthMethod: authNone, RedirectURIs: []string{"http://127.0.0.1/cb"}})
	p := s.browser().get(s.ask("dyn-new", "http://127.0.0.1:1/cb"))
	p.shows(t, 403, "An administrator must approve", "New App", "doorward client approve dyn-new")
}

func TestWhoLeftIsTurnedAway(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	consent := b.signIn(b.get(s.ask("desktop", desktopCB)), "alice")
	if _, err := s.ledger.Leave(context.Background(), "alice"); err != nil {
		t.Fatal(err)
	}
	p := b.submit(consent)
	p.shows(t, 200, "Password") // the session ended with the account
	b.signIn(p, "alice").shows(t, 403, "Your account is closed", "administrator")
	if len(s.grantsOf("alice")) != 0 {
		t.Error("a grant was made")
	}
}

// covers: AS-UI-07
func TestIdentityProviderDoesNotAskForItsOwnClients(t *testing.T) {
	s := newSite(t, func(c *Config) {
		c.Audiences, c.Resources = map[string]Audience{"https://as.example.com": {}}, nil
	})
	s.attacker()
	b := s.browser()
	sso := func(client, redirect string) string {
		return s.ask(client, redirect, "resource", "", "scope", "openid email offline_access", "nonce", "n-1")
	}
	p := b.signIn(b.get(sso("desktop", desktopCB)), "alice")
	if q := p.arrived(t, "https://desktop.example.com/cb"); q.Get("code") == "" {
		t.Errorf("answer %v", q)
	}
	if g := s.grantOf("alice"); g.Nonce != "n-1" || !g.Scopes.Has("openid") {
		t.Errorf("grant %+v", g)
	}
	b.get(sso("attacker", "https://evil.example.net/cb")).shows(t, 200, "Allow", "Nice App", "Not verified")
}

func TestUnknownClientIsToldWhatToDo(t *testing.T) {
	s := newSite(t, nil)
	s.browser().get(s.ask("nobody", desktopCB)).shows(t, 400, "This application is not known here", "add it again", "Reference")
}

func TestSignInIsNotSetUp(t *testing.T) {
	s := newSite(t, func(c *Config) { c.SignIn = nil })
	s.browser().get(s.ask("desktop", desktopCB)).shows(t, http.StatusNotFound, "Nobody signs in here")
}
