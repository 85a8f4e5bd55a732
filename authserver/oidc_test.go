package authserver

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

const desktopBack = "https://desktop.example.com/cb?keep=1"

// One provider and nobody of our own: straight there and back, with everything
// that the client wished, and what the provider said in the tokens.
//
// covers: AS-AT-04
func TestSignInAtProvider(t *testing.T) {
	var log logBuffer
	s, f := newProvidedSite(t, func(c *Config, _ *OIDCProvider) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	b := s.browser()
	res := f.tokens(s, b, "login_hint", "carol", "max_age", "600", "acr_values", "urn:gold", "prompt", "login")
	q := f.asked
	for name, want := range map[string]string{"response_type": "code", "client_id": loginClient, "redirect_uri": siteURL + "/callback/login",
		"scope": "openid email profile", "code_challenge_method": "S256", "login_hint": "carol", "max_age": "600", "acr_values": "urn:gold", "prompt": "login"} {
		if q.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, q.Get(name), want)
		}
	}
	if len(q.Get("nonce")) < 32 || len(q.Get("code_challenge")) != 43 || !s.stateIsSealed(q.Get("state")) {
		t.Errorf("nonce, challenge or state: %v", q)
	}
	c := claimsOf(t, res.text("access_token"))
	sub, _ := c.Text("sub")
	acr, _ := c.Text("acr")
	amr, _ := c.Texts("amr")
	at, _ := c.Time("auth_time")
	if sub != carolID || acr != "urn:gold" || !slices.Equal(amr, []string{"pwd", "otp"}) || s.now().Sub(at) < 5*time.Second {
		t.Errorf("sub %q acr %q amr %q auth_time %s", sub, acr, amr, at)
	}
	acc, err := s.ledger.Account(context.Background(), carolID)
	if err != nil || acc.Email != "carol@corp.example" || !slices.Equal(acc.Groups, []string{"eng"}) || acc.Provider != "login" || acc.Account != "u-1" {
		t.Errorf("account %+v, %v", acc, err)
	}
	if code := f.forms[0].Get("code"); strings.Contains(log.String(), code) || strings.Contains(log.String(), loginSecret) {
		t.Error("the log holds the code or the secret")
	}
}

// What comes back from the provider and is not what it must be signs nobody in.
func TestProviderAnswersRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*fakeProvider)
		query  func(url.Values)
		status int
		shows  string
	}{
		{"nonce", func(f *fakeProvider) { f.claims["nonce"] = "another" }, nil, 502, "not acceptable"},
		{"no nonce", func(f *fakeProvider) { f.claims["nonce"] = nil }, nil, 502, "not acceptable"},
		{"issuer", func(f *fakeProvider) { f.claims["iss"] = loginURL + "/" }, nil, 502, "not acceptable"},
		{"audience", func(f *fakeProvider) { f.claims["aud"] = "somebody else" }, nil, 502, "not acceptable"},
		{"azp", func(f *fakeProvider) { f.claims["azp"] = "somebody else" }, nil, 502, "not acceptable"},
		{"two audiences without azp", func(f *fakeProvider) { f.claims["aud"] = []string{loginClient, "x"} }, nil, 502, "not acceptable"},
		{"expired", func(f *fakeProvider) { f.claims["exp"] = f.s.now().Unix() - 60 }, nil, 502, "not acceptable"},
		{"issued later than now", func(f *fakeProvider) { f.claims["iat"] = f.s.now().Unix() + 120 }, nil, 502, "not acceptable"},
		{"no iat", func(f *fakeProvider) { f.claims["iat"] = nil }, nil, 502, "not acceptable"},
		{"no sub", func(f *fakeProvider) { f.claims["sub"] = nil }, nil, 502, "not acceptable"},
		{"an ID-JAG", func(f *fakeProvider) { f.typ = oauth.TypIDJAG }, nil, 502, "not acceptable"},
		{"an access token", func(f *fakeProvider) { f.typ = oauth.TypAccessToken }, nil, 502, "not acceptable"},
		{"a tenant", func(f *fakeProvider) { f.claims["tenant"] = "acme" }, nil, 403, "This account cannot be used here"},
		{"code refused", func(f *fakeProvider) { f.refuse = "invalid_grant" }, nil, 502, "not acceptable"},
		{"our secret refused", func(f *fakeProvider) { f.refuse, f.status = "invalid_client", 401 }, nil, 502, "not acceptable"},
		{"broken there", func(f *fakeProvider) { f.refuse, f.status = "server_error", 500 }, nil, 503, "does not answer"},
		{"down meanwhile", func(f *fakeProvider) { f.down = true }, nil, 503, "does not answer"},
		{"somebody else's userinfo", func(f *fakeProvider) {
			f.claims["groups"], f.userinfo = nil, map[string]any{"sub": "u-2", "groups": []string{"admins"}}
		}, nil, 502, "not acceptable"},
		{"iss missing", nil, func(q url.Values) { q.Del("iss") }, 502, "not acceptable"},
		{"iss of another", nil, func(q url.Values) { q.Set("iss", "https://evil.example") }, 502, "not acceptable"},
		{"iss of another with an error", nil, func(q url.Values) { q.Set("iss", "https://evil.example"); q.Set("error", "access_denied") }, 502, "not acceptable"},
		{"no code", nil, func(q url.Values) { q.Del("code") }, 502, "not acceptable"},
		{"two codes", nil, func(q url.Values) { q.Add("code", "x") }, 400, "nothing to go on with"},
		{"no state", nil, func(q url.Values) { q.Del("state") }, 400, "nothing to go on with"},
		{"another state", nil, func(q url.Values) { q.Set("state", q.Get("state")+"AA") }, 400, "nothing to go on with"},
		{"person said no", nil, func(q url.Values) { q.Set("error", "access_denied"); q.Set("error_description", "not assigned") }, 403, "not assigned"},
		{"other error", nil, func(q url.Values) { q.Set("error", "invalid_scope") }, 502, "invalid_scope"},
		{"busy", nil, func(q url.Values) { q.Set("error", "temporarily_unavailable") }, 503, "does not answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log logBuffer
			s, f := newProvidedSite(t, func(c *Config, _ *OIDCProvider) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
			b := s.browser()
			back, err := url.Parse(f.letIn(b.get(s.ask("desktop", desktopBack))))
			if err != nil {
				t.Fatal(err)
			}
			q := back.Query()
			code := q.Get("code")
			if tt.query != nil {
				tt.query(q)
			}
			f.mu.Lock()
			if tt.change != nil {
				tt.change(f)
			}
			f.mu.Unlock()
			back.RawQuery = q.Encode()
			p := b.get(back.String())
			p.shows(t, tt.status, tt.shows, "Reference")
			if strings.Contains(log.String(), code) {
				t.Errorf("the log holds the code: %s", log.String())
			}
			if welcome := b.get(siteURL + "/login"); !welcome.left {
				t.Error("somebody is signed in")
			}
			// Nothing is lost: the page leads back to the sign-in, which works.
			if !strings.Contains(p.body, ">Try again<") {
				return
			}
			f.mu.Lock()
			f.down, f.refuse, f.typ, f.claims = false, "", "JWT", map[string]any{}
			f.mu.Unlock()
			s.wait(10 * time.Second)
			again, err := p.url.Parse(strings.ReplaceAll(linkTag.FindStringSubmatch(p.body)[1], "&amp;", "&"))
			if err != nil {
				t.Fatal(err)
			}
			b.get(f.letIn(b.get(again.String()))).shows(t, 200, "Desktop", carolID)
		})
	}
}

// The state belongs to one browser, one provider and one return.
func TestProviderState(t *testing.T) {
	s, f := newProvidedSite(t, nil)
	alice, mallory := s.browser(), s.browser()
	ask := s.ask("desktop", desktopBack)
	back := f.letIn(alice.get(ask))
	mallory.get(ask)
	mallory.get(back).shows(t, 403, "another browser")
	nobody := s.browser()
	nobody.get(back).shows(t, 403, "cookie")

	u, _ := url.Parse(back)
	early := s.browser()
	early.client.Jar.SetCookies(u, alice.client.Jar.Cookies(u))
	page := alice.get(back)
	page.shows(t, 200, "Desktop", carolID)
	// The back button, or a reload: the code is not sent a second time.
	sent := len(f.forms)
	alice.get(back).shows(t, 200, "Desktop", carolID)
	if len(f.forms) != sent {
		t.Error("the code was sent twice")
	}
	alice.submit(page).arrived(t, "https://desktop.example.com/cb")

	// The same state with another code, by the same browser, which forgot its session.
	f.codes["another"] = f.asked
	q := u.Query()
	q.Set("code", "another")
	u.RawQuery = q.Encode()
	early.get(u.String()).shows(t, 400, "answered already")

	// Two tabs: each sign-in comes back to its own request.
	b := s.browser()
	one, two := f.letIn(b.get(s.ask("desktop", desktopBack, "state", "one"))), f.letIn(b.get(s.ask("desktop", desktopBack, "state", "two", "prompt", "login")))
	if got := b.get(two).arrived(t, "https://desktop.example.com/cb").Get("state"); got != "two" {
		t.Errorf("state %q", got)
	}
	if got := b.get(one).arrived(t, "https://desktop.example.com/cb").Get("state"); got != "one" {
		t.Errorf("state %q", got)
	}

	// Too late: the request begins again.
	b = s.browser()
	late := f.letIn(b.get(ask))
	s.wait(11 * time.Minute)
	b.get(late).arrived(t, loginURL+"/authorize?")
}

// A provider that is down keeps nothing from starting, and is tried again.
func TestProviderDown(t *testing.T) {
	f := newProvider(t)
	f.down = true
	s := newSite(t, func(c *Config) { c.HTTP, c.SignIn = f, AnyOf(LocalPeople(c.localPeopleForTest()), OIDC(provided(nil))) })
	f.mu.Lock()
	f.s = s
	f.mu.Unlock()
	b := s.browser()
	login := b.get(s.ask("desktop", desktopBack))
	login.shows(t, 200, "Password", "Sign in with", "Login Inc")
	if strings.Index(login.body, "password") > strings.Index(login.body, `name="provider"`) {
		t.Error("the provider's button stands before the password form")
	}
	if csp := login.header.Get("Content-Security-Policy"); strings.Contains(csp, "form-action") {
		t.Errorf("the policy would stop the way to the provider: %s", csp)
	}
	action, fields := login.form(t, "provider", "login")
	p := b.post(action, fields)
	p.shows(t, 503, "does not answer", "Reference")
	b.signIn(b.get(s.ask("desktop", desktopBack)), "alice").shows(t, 200, "Desktop", "alice") // local people come in meanwhile

	f.mu.Lock()
	f.down = false
	f.mu.Unlock()
	s.wait(6 * time.Second)
	again := s.browser()
	action, fields = again.get(s.ask("desktop", desktopBack)).form(t, "provider", "login")
	again.get(f.letIn(again.post(action, fields))).shows(t, 200, "Desktop", carolID)
}

func (c *Config) localPeopleForTest() map[string]LocalPerson { return c.SignIn.(*localPeople).people }

func TestProviderKeyChange(t *testing.T) {
	s, f := newProvidedSite(t, nil)
	f.tokens(s, s.browser())
	f.mu.Lock()
	f.turnKey()
	f.mu.Unlock()
	s.wait(6 * time.Second) // an unknown kid causes one fetch per rest
	f.tokens(s, s.browser())
}

// A provider that names another issuer than the configured one is not used.
func TestProviderNamesAnotherIssuer(t *testing.T) {
	f := newProvider(t)
	f.meta["issuer"] = loginURL + "/"
	s := newSite(t, func(c *Config) { c.HTTP, c.SignIn = f, OIDC(provided(nil)) })
	s.browser().get(s.ask("desktop", desktopBack)).shows(t, 503, "does not answer")
}

// Account, address and tenant follow the same rules as an ID-JAG of the issuer.
func TestProviderAccounts(t *testing.T) {
	byEmail := func(_ *Config, p *OIDCProvider) { p.Account, p.EmailDomains = []string{"email"}, nil }
	for _, tt := range []struct {
		name   string
		change func(*Config, *OIDCProvider)
		claims map[string]any
		info   map[string]any
		id     string // "": refused
		email  string
	}{
		{"plain", nil, nil, nil, carolID, "carol@corp.example"},
		{"other domain", nil, map[string]any{"email": "carol@evil.example"}, nil, carolID, ""},
		{"unverified", nil, map[string]any{"email_verified": false}, nil, carolID, ""},
		{"two claims", func(_ *Config, p *OIDCProvider) { p.Account, p.Tenants = []string{"tid", "oid"}, []string{"t1"} }, map[string]any{"tid": "t1", "oid": "o:1"}, nil, "login/t1:o%3A1", "carol@corp.example"},
		{"another tenant", func(_ *Config, p *OIDCProvider) { p.Tenants = []string{"t1"} }, map[string]any{"tid": "t2"}, nil, "", ""},
		{"no tenant", func(_ *Config, p *OIDCProvider) { p.Tenants = []string{"t1"} }, nil, map[string]any{"sub": "u-1"}, "", ""},
		{"one of the tenants", func(_ *Config, p *OIDCProvider) { p.Tenants = []string{"t1"} }, map[string]any{"tid": "t1"}, nil, "login/t1:u-1", "carol@corp.example"},
		{"no new accounts", func(_ *Config, p *OIDCProvider) { p.ExistingOnly = true }, nil, nil, "", ""},
		{"by userinfo", nil, map[string]any{"email": nil, "email_verified": nil, "groups": nil}, map[string]any{"sub": "u-1", "email": "c@corp.example", "groups": []string{"ops"}, "amr": []string{"hwk"}}, carolID, "c@corp.example"},
		{"named by an address", byEmail, nil, nil, "login/carol@corp.example", ""},
		{"named by an unverified address", byEmail, map[string]any{"email_verified": false}, nil, "", ""},
		{"named by an unverified address of userinfo", byEmail, map[string]any{"email": nil, "email_verified": nil},
			map[string]any{"sub": "u-1", "email": "carol@corp.example", "email_verified": "false"}, "", ""},
		{"unverified by userinfo", nil, map[string]any{"email": nil}, map[string]any{"sub": "u-1", "email": "c@corp.example", "email_verified": false}, carolID, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, f := newProvidedSite(t, tt.change)
			if tt.claims != nil {
				f.claims = tt.claims
			}
			f.userinfo = tt.info
			if f.userinfo == nil {
				f.userinfo = map[string]any{"sub": "u-1"}
			}
			b := s.browser()
			p := b.get(f.letIn(b.get(s.ask("desktop", desktopBack))))
			if tt.id == "" {
				p.shows(t, 403, "Reference")
				return
			}
			p.shows(t, 200, tt.id)
			acc, err := s.ledger.Account(context.Background(), tt.id)
			if err != nil || acc.Email != tt.email {
				t.Errorf("account %+v, %v", acc, err)
			}
		})
	}
}

// An account that exists may come in where no new ones are made.
func TestProviderExistingAccount(t *testing.T) {
	s, f := newProvidedSite(t, func(_ *Config, p *OIDCProvider) { p.ExistingOnly = true })
	err := s.ledger.Store.Commit(context.Background(), ledger.Account{ID: carolID, Provider: "login", Account: "u-1", Created: s.now()}.Put())
	if err != nil {
		t.Fatal(err)
	}
	f.tokens(s, s.browser())
	if _, err := s.ledger.Leave(context.Background(), carolID); err != nil {
		t.Fatal(err)
	}
	b := s.browser()
	b.get(f.letIn(b.get(s.ask("desktop", desktopBack)))).shows(t, 403, "Your account is closed")
}

// A wish for a fresh sign-in that the provider did not hear is not granted.
func TestProviderFreshness(t *testing.T) {
	old := func(s *site) any { return s.now().Add(-time.Hour).Unix() }
	for _, tt := range []struct {
		name  string
		pairs []string
		at    func(*site) any
		ok    bool
	}{
		{"prompt", []string{"prompt", "login"}, old, false},
		{"max_age", []string{"max_age", "60"}, old, false},
		{"max_age without auth_time", []string{"max_age", "60"}, func(*site) any { return nil }, false},
		{"max_age that lets it", []string{"max_age", "7200"}, old, true},
		{"no wish", nil, old, true},
		{"no wish and no auth_time", nil, func(*site) any { return nil }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, f := newProvidedSite(t, nil)
			f.claims["auth_time"] = tt.at(s)
			b := s.browser()
			p := b.get(f.letIn(b.get(s.ask("desktop", desktopBack, tt.pairs...))))
			if !tt.ok {
				p.shows(t, 403, "A fresh sign-in is needed")
				return
			}
			p.shows(t, 200, carolID)
		})
	}
}

// Configurations that contradict themselves do not start.
func TestProviderConfigRefused(t *testing.T) {
	for name, change := range map[string]func(*Config, *OIDCProvider){
		"no client id": func(_ *Config, p *OIDCProvider) { p.ClientID = "" },
		"no openid":    func(_ *Config, p *OIDCProvider) { p.Scopes = []string{"email"} },
		"a path":       func(_ *Config, p *OIDCProvider) { p.Name = "a/b" },
		"ourselves":    func(_ *Config, p *OIDCProvider) { p.Issuer = siteURL },
		"plain http":   func(_ *Config, p *OIDCProvider) { p.Issuer = "http://login.example" },
		"none as alg":  func(_ *Config, p *OIDCProvider) { p.Algs = []string{"none"} },
		"its name at another issuer": func(c *Config, p *OIDCProvider) {
			c.Issuers = map[string]TrustedIssuer{p.Name: {Issuer: "https://other.example"}}
		},
		"two names":     func(c *Config, _ *OIDCProvider) { c.Issuers = map[string]TrustedIssuer{"other": {Issuer: loginURL}} },
		"twice":         func(c *Config, p *OIDCProvider) { c.SignIn = AnyOf(OIDC(*p), OIDC(*p)) },
		"a way unknown": func(c *Config, p *OIDCProvider) { c.SignIn = AnyOf(OIDC(*p), ownWay{}) },
	} {
		c := Config{URL: siteURL, Store: openStore(t, time.Now)}
		p := provided(nil)
		change(&c, &p)
		if c.SignIn == nil {
			c.SignIn = OIDC(p)
		}
		if s, err := New(c); err == nil {
			s.Close()
			t.Errorf("%s: it started", name)
		}
	}
}

type ownWay struct{}

func (ownWay) SignIn(http.ResponseWriter, *http.Request, Attempt) (*Person, error) { return nil, nil }

// Several providers and nobody of our own: a button for each, and what one
// brings back is not good at another's address.
func TestTwoProviders(t *testing.T) {
	f := newProvider(t)
	second := OIDCProvider{Name: "second", Issuer: "https://second.example", ClientID: "x"}
	s := newSite(t, func(c *Config) { c.HTTP, c.SignIn = f, AnyOf(OIDC(provided(nil)), OIDC(second)) })
	f.mu.Lock()
	f.s = s
	f.mu.Unlock()
	b := s.browser()
	page := b.get(s.ask("desktop", desktopBack))
	page.shows(t, 200, "Login Inc", "second")
	if strings.Contains(page.body, "password") {
		t.Error("a password form without people")
	}
	back := f.letIn(b.submit(page))
	b.get(strings.Replace(back, "/callback/login", "/callback/second", 1)).shows(t, 400, "nothing to go on with")
	b.get(strings.Replace(back, "/callback/login", "/callback/third", 1)).shows(t, 404)
	b.get(back).shows(t, 200, "Desktop", carolID)
	// Another account is asked for there, not only here.
	again := b.get(siteURL + "/login")
	action, fields := b.get(siteURL+strings.ReplaceAll(linkTag.FindAllStringSubmatch(again.body, -1)[1][1], "&amp;", "&")).form(t, "provider", "login")
	if got := b.post(action, fields).arrived(t, loginURL+"/authorize").Get("prompt"); got != "login" {
		t.Errorf("prompt %q", got)
	}
}
