package authserver

import (
	"bytes"
	"context"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/internal/ledger"
	"doorward/store"
)

// A plain OAuth server of GitHub's shape: there and back, and what it says of
// the person, and nothing that it cannot know, in the account and the tokens.
func TestSignInAtPlainOAuth(t *testing.T) {
	var log logBuffer
	s, h := newHubSite(t, func(c *Config, _ *OAuthProvider) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	b := s.browser()
	res := h.tokens(s, b)
	want := map[string]string{"tenant": "a", "response_type": "code", "client_id": "hub-client", "redirect_uri": siteURL + "/callback/hub",
		"scope": "read:user", "code_challenge_method": "S256", "nonce": "", "claims": ""}
	for name, want := range want {
		if got := h.asked.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if len(h.asked.Get("code_challenge")) != 43 || !s.stateIsSealed(h.asked.Get("state")) {
		t.Errorf("challenge or state: %v", h.asked)
	}
	if !slices.Equal(h.bearers, []string{"Bearer hub-access-1"}) {
		t.Errorf("userinfo was asked with %q", h.bearers)
	}
	c := claimsOf(t, res.text("access_token"))
	if sub, _ := c.Text("sub"); sub != daveID || c.Has("auth_time") || c.Has("amr") || c.Has("acr") {
		t.Errorf("claims %v", c)
	}
	acc, err := s.ledger.Account(context.Background(), daveID)
	if err != nil || acc.Name != "dave" || acc.Email != "dave@corp.example" || !slices.Equal(acc.Groups, []string{"eng"}) || acc.Provider != "hub" || acc.Account != "583231" {
		t.Errorf("account %+v, %v", acc, err)
	}
	for _, secret := range []string{h.forms[0].Get("code"), hubSecret, "hub-access"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

// What such a server answers and is not what it must be signs nobody in.
func TestPlainOAuthAnswersRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*fakeHub)
		status int
		shows  string
	}{
		{"refused with 200", func(h *fakeHub) { h.codes = map[string]url.Values{} }, 502, "not acceptable"},
		{"refused as JSON with 200", func(h *fakeHub) { h.token = `{"error":"bad_verification_code","error_description":"CODE"}` }, 502, "not acceptable"},
		{"an error beside a token", func(h *fakeHub) { h.token = `{"error":"x","access_token":"t"}` }, 502, "not acceptable"},
		{"HTML", func(h *fakeHub) { h.token = "<h1>Sign in</h1>" }, 502, "not acceptable"},
		{"an empty answer", func(h *fakeHub) { h.token = " " }, 502, "not acceptable"},
		{"no access token", func(h *fakeHub) { h.token = `{"token_type":"bearer"}` }, 502, "not acceptable"},
		{"an endless answer", func(h *fakeHub) { h.token = strings.Repeat(" ", maxIssuerDocument) + "{}" }, 502, "not acceptable"},
		{"broken there", func(h *fakeHub) { h.token, h.status = "oops", 500 }, 503, "does not answer"},
		{"down meanwhile", func(h *fakeHub) { h.down = true }, 503, "does not answer"},
		{"userinfo refuses", func(h *fakeHub) { h.user, h.userIs = "{}", 401 }, 502, "not acceptable"},
		{"userinfo is broken", func(h *fakeHub) { h.userIs = 503 }, 503, "does not answer"},
		{"userinfo moved", func(h *fakeHub) { h.userIs = 302 }, 502, "not acceptable"},
		{"userinfo is HTML", func(h *fakeHub) { h.user = "<html>" }, 502, "not acceptable"},
		{"userinfo is a list", func(h *fakeHub) { h.user = `[{"id":1}]` }, 502, "not acceptable"},
		{"userinfo repeats a member", func(h *fakeHub) { h.user = `{"id":1,"id":2}` }, 502, "not acceptable"},
		{"no account", func(h *fakeHub) { h.user = `{"login":"dave"}` }, 403, "This account cannot be used here"},
		{"null as account", func(h *fakeHub) { h.user = `{"id":null}` }, 403, "This account cannot be used here"},
		{"a fraction as account", func(h *fakeHub) { h.user = `{"id":1.5}` }, 403, "This account cannot be used here"},
		{"a power as account", func(h *fakeHub) { h.user = `{"id":1e3}` }, 403, "This account cannot be used here"},
		{"an object as account", func(h *fakeHub) { h.user = `{"id":{"n":1}}` }, 403, "This account cannot be used here"},
		{"a truth as account", func(h *fakeHub) { h.user = `{"id":true}` }, 403, "This account cannot be used here"},
		{"groups that are none", func(h *fakeHub) { h.user = `{"id":1,"groups":[{"id":1}]}` }, 502, "not acceptable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log logBuffer
			s, h := newHubSite(t, func(c *Config, _ *OAuthProvider) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
			b := s.browser()
			back := h.letIn(b.get(s.ask("desktop", desktopBack)))
			u, err := url.Parse(back)
			if err != nil {
				t.Fatal(err)
			}
			h.mu.Lock()
			tt.change(h)
			h.mu.Unlock()
			b.get(back).shows(t, tt.status, tt.shows, "Reference", ">Try again<")
			if strings.Contains(log.String(), u.Query().Get("code")) {
				t.Errorf("the log holds the code: %s", log.String())
			}
			if welcome := b.get(siteURL + "/login"); !welcome.left {
				t.Error("somebody is signed in")
			}
		})
	}
}

// Who somebody is: by members that are theirs for ever, and by an address only
// if the server says that it verified it.
func TestPlainOAuthAccounts(t *testing.T) {
	by := func(names ...string) func(*Config, *OAuthProvider) {
		return func(_ *Config, p *OAuthProvider) { p.Account = names }
	}
	for _, tt := range []struct {
		name, user string
		change     func(*Config, *OAuthProvider)
		id, email  string // id "": refused
	}{
		{"a text", `{"id":"u-1"}`, nil, "hub/u-1", ""},
		{"two members", `{"org":7,"id":9}`, by("org", "id"), "hub/7:9", ""},
		{"one that looks like another form", `{"id":"aud:7"}`, nil, "hub/aud%3A7", ""},
		{"verified", `{"id":1,"email":"d@corp.example","email_verified":true}`, nil, "hub/1", "d@corp.example"},
		{"not said to be verified", `{"id":1,"email":"d@corp.example"}`, nil, "hub/1", ""},
		{"not verified", `{"id":1,"email":"d@corp.example","email_verified":false}`, nil, "hub/1", ""},
		{"another domain", `{"id":1,"email":"d@evil.example","email_verified":true}`, nil, "hub/1", ""},
		{"named by an address", `{"email":"d@corp.example","email_verified":true}`, by("email"), "hub/d@corp.example", "d@corp.example"},
		{"named by an address that nobody verified", `{"email":"d@corp.example"}`, by("email"), "", ""},
		{"a tenant is no matter", `{"id":1,"tenant":"acme","aud_tenant":"x","aud_sub":"y","sub":"z"}`, nil, "hub/1", ""},
		{"no new accounts", `{"id":1}`, func(_ *Config, p *OAuthProvider) { p.ExistingOnly = true }, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, h := newHubSite(t, tt.change)
			h.user = tt.user
			b := s.browser()
			p := b.get(h.letIn(b.get(s.ask("desktop", desktopBack))))
			if tt.id == "" {
				p.shows(t, 403, "Reference")
				return
			}
			p.shows(t, 200, tt.id)
			if acc, err := s.ledger.Account(context.Background(), tt.id); err != nil || acc.Email != tt.email {
				t.Errorf("account %+v, %v", acc, err)
			}
		})
	}
}

// How fresh a sign-in is such a server does not say, so who must know is told,
// and the wishes of OpenID Connect are not sent where nobody hears them.
func TestPlainOAuthIsNotFresh(t *testing.T) {
	s, h := newHubSite(t, nil)
	b := s.browser()
	back := h.letIn(b.get(s.ask("desktop", desktopBack, "max_age", "600", "acr_values", "gold", "login_hint", "dave", "prompt", "select_account")))
	if h.asked.Has("max_age") || h.asked.Has("acr_values") || h.asked.Get("login_hint") != "dave" || h.asked.Get("prompt") != "select_account" {
		t.Errorf("asked %v", h.asked)
	}
	b.get(back).shows(t, 403, "A fresh sign-in is needed", "does not say when")
}

// The state belongs to one browser and one provider, also of two plain ones.
func TestPlainOAuthState(t *testing.T) {
	s, h := newHubSite(t, nil)
	b := s.browser()
	back := h.letIn(b.get(s.ask("desktop", desktopBack)))
	other := s.browser()
	other.get(s.ask("desktop", desktopBack))
	other.get(back).shows(t, 403, "another browser")
	b.get(back).shows(t, 200, "Desktop", daveID)
	sent := len(h.forms)
	b.get(back).shows(t, 200, "Desktop", daveID)
	if len(h.forms) != sent {
		t.Error("the code was sent twice")
	}
}

// An access token without an end is what the server is asked again with: when
// it does not take it any more, what came of the sign-in ends.
func TestPlainOAuthRecheck(t *testing.T) {
	s, h := newHubSite(t, nil)
	b := s.browser()
	res := h.tokens(s, b)
	recs, _, err := s.ledger.Store.List(context.Background(), store.Query{Kind: ledger.KindUpstream})
	if err != nil || len(recs) != 1 || bytes.Contains(recs[0].Value, []byte("hub-access")) {
		t.Errorf("records %v, %v", recs, err)
	}
	s.wait(61 * time.Minute)
	if res = refreshWith(s, res.text("refresh_token")); res.status != 200 || len(h.bearers) != 2 {
		t.Fatalf("%d %s, asked %d times", res.status, res.body, len(h.bearers))
	}
	h.userIs = 503 // its last word holds for another hour
	s.wait(61 * time.Minute)
	if res = refreshWith(s, res.text("refresh_token")); res.status != 200 {
		t.Fatalf("%d %s", res.status, res.body)
	}
	h.userIs = 401
	s.wait(time.Minute)
	if res = refreshWith(s, res.text("refresh_token")); res.status != 400 || res.text("error") != "invalid_grant" {
		t.Fatalf("%d %s", res.status, res.body)
	}
	b.get(s.ask("desktop", desktopBack)).arrived(t, hubURL+"/authorize")
}

// A refresh token goes before, each once; whom the new access token stands for
// must be the same person.
func TestPlainOAuthRefresh(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*fakeHub)
		ok     bool
	}{
		{"the same", func(*fakeHub) {}, true},
		{"refused with 200", func(h *fakeHub) { h.token = "error=bad_refresh_token&error_description=x" }, false},
		{"somebody else", func(h *fakeHub) { h.user = `{"id":7}` }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, h := newHubSite(t, nil)
			h.more = "&refresh_token=one&expires_in=28800"
			res := h.tokens(s, s.browser())
			h.mu.Lock()
			h.more = "&refresh_token=two&expires_in=28800"
			tt.change(h)
			h.mu.Unlock()
			s.wait(61 * time.Minute)
			res = refreshWith(s, res.text("refresh_token"))
			if tt.ok != (res.status == 200) || !tt.ok && res.text("error") != "invalid_grant" || h.forms[1].Get("refresh_token") != "one" {
				t.Fatalf("%d %s, sent %v", res.status, res.body, h.forms[1])
			}
			if !tt.ok {
				return
			}
			s.wait(61 * time.Minute)
			if res = refreshWith(s, res.text("refresh_token")); res.status != 200 || h.forms[2].Get("refresh_token") != "two" {
				t.Errorf("%d %s, sent %v", res.status, res.body, h.forms[2])
			}
		})
	}
}

// An access token that ends, and no refresh token: it cannot be asked, and the
// sign-in is good for as long as a session.
func TestPlainOAuthCannotBeAsked(t *testing.T) {
	s, h := newHubSite(t, nil)
	h.more = "&expires_in=3600"
	res := h.tokens(s, s.browser())
	s.wait(2 * time.Hour)
	if res = refreshWith(s, res.text("refresh_token")); res.status != 200 || len(h.bearers) != 1 {
		t.Fatalf("%d %s, asked %d times", res.status, res.body, len(h.bearers))
	}
	s.wait(11 * time.Hour)
	if res = refreshWith(s, res.text("refresh_token")); res.status != 400 {
		t.Fatalf("%d %s", res.status, res.body)
	}
}

// A form for local people, an OpenID provider and a plain one on one page.
func TestEveryKindOfSignIn(t *testing.T) {
	var all Config
	s, h := newHubSite(t, func(c *Config, p *OAuthProvider) { all.SignIn = c.SignIn })
	p := OAuthProvider{Name: "hub", AuthorizeURL: hubURL + "/authorize?tenant=a", TokenURL: hubURL + "/token", UserinfoURL: hubURL + "/user",
		ClientID: "hub-client", ClientSecret: hubSecret, Account: []string{"id"}}
	s.cfg.SignIn = AnyOf(all.SignIn, OIDC(provided(nil)), OAuth(p))
	if err := s.Reload(s.cfg); err != nil {
		t.Fatal(err)
	}
	b := s.browser()
	page := b.get(s.ask("desktop", desktopBack))
	page.shows(t, 200, "Password", "Login Inc", "hub")
	action, fields := page.form(t, "provider", "hub")
	gone := b.post(action, fields)
	if q := gone.arrived(t, hubURL+"/authorize"); q.Has("scope") {
		t.Errorf("scope %q without any", q.Get("scope"))
	}
	b.get(h.letIn(gone)).shows(t, 200, "Desktop", daveID)
}

// Configurations that cannot work do not start.
func TestPlainOAuthConfigRefused(t *testing.T) {
	for name, change := range map[string]func(*OAuthProvider){
		"no account":     func(p *OAuthProvider) { p.Account = nil },
		"an empty one":   func(p *OAuthProvider) { p.Account = []string{"id", ""} },
		"plain http":     func(p *OAuthProvider) { p.TokenURL = "http://hub.example/token" },
		"no userinfo":    func(p *OAuthProvider) { p.UserinfoURL = "" },
		"no authorize":   func(p *OAuthProvider) { p.AuthorizeURL = "/authorize" },
		"no client":      func(p *OAuthProvider) { p.ClientID = "" },
		"a path as name": func(p *OAuthProvider) { p.Name = "a/b" },
		"user info":      func(p *OAuthProvider) { p.UserinfoURL = "https://a:b@hub.example/user" },
	} {
		p := OAuthProvider{Name: "hub", AuthorizeURL: hubURL, TokenURL: hubURL, UserinfoURL: hubURL, ClientID: "c", Account: []string{"id"}}
		change(&p)
		if s, err := New(Config{URL: siteURL, Store: openStore(t, time.Now), SignIn: OAuth(p)}); err == nil {
			s.Close()
			t.Errorf("%s: it started", name)
		}
	}
}

func FuzzTokenAnswer(f *testing.F) {
	for _, seed := range []string{"access_token=a&scope=&token_type=bearer", "error=x", `{"access_token":"a"}`, "<html>", "access_token=%zz", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		out := asJSON([]byte(body))
		if string(out) != body && !strings.HasPrefix(string(out), "{") {
			t.Errorf("%q became %q", body, out)
		}
	})
}
