package browser_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"doorward/authserver"
)

const (
	partner     = "A partner with a name that is rather long for one button"
	arabicTitle = "\u062f\u062e\u0648\u0644 \u0627\u0644\u0634\u0631\u0643\u0629 (SSO)" // "company sign-in"
	remembered  = "as the last time in this browser"
)

// company is an identity provider for alice at which servers are known, each
// with a provider named corp.
func (p *place) company() string {
	return p.serve(func(c *authserver.Config) {
		c.Name, c.Resources, c.Registration = "Acme SSO", nil, authserver.Registration{}
		c.Audiences = map[string]authserver.Audience{"https://unused.example": {}}
		c.Clients = map[string]authserver.Client{"as": {Name: "Acme MCP servers", Secret: "a-secret-of-the-server-0123",
			RedirectURIs: []string{"http://127.0.0.1/callback/corp"}}}
	})
}

// choosing is a server where people choose: three providers, of which corp is
// up, and alice's password with local.
func (p *place) choosing(corp string, local bool) string {
	p.t.Helper()
	return p.serve(func(c *authserver.Config) {
		providers := authserver.OIDC(
			authserver.OIDCProvider{Name: "far", Title: partner, Issuer: p.IdP, ClientID: "x", ClientSecret: "y"},
			authserver.OIDCProvider{Name: "sharika", Title: arabicTitle, Issuer: p.Server, ClientID: "x", ClientSecret: "y"},
			authserver.OIDCProvider{Name: "corp", Title: "Acme SSO", Issuer: corp, ClientID: "as", ClientSecret: "a-secret-of-the-server-0123"})
		if local {
			providers = authserver.AnyOf(c.SignIn, providers)
		}
		c.SignIn = providers
	})
}

// unverified registers a public client under a name of its own choice.
func (p *place) unverified(issuer, name string) string {
	p.t.Helper()
	body, err := json.Marshal(map[string]any{"client_name": name, "redirect_uris": []string{p.callback}, "token_endpoint_auth_method": "none"})
	if err != nil {
		p.t.Fatal(err)
	}
	return p.answerOf(issuer+"/register", "application/json", body)["client_id"].(string)
}

func way(name string) string { return fmt.Sprintf(`button[name=provider][value=%s]`, name) }

// walkProviders leads through choosing, signing in elsewhere, consent and the
// account, for a client with a long Arabic name and one that is unverified.
func (p *place) walkProviders(see func(b *tab, name string)) {
	corp := p.company()
	issuer, b := p.choosing(corp, false), newTab(p.t)
	arabic, notes := p.unverified(issuer, arabicName), p.unverified(issuer, "Notes for Teams")
	b.open(p.ask(issuer, arabic))
	see(b, "choose")
	if !strings.Contains(strings.ReplaceAll(b.says(), "\n", ""), arabicName) || strings.Contains(b.says(), remembered) {
		p.t.Errorf("who asks, or what is remembered: %s", b.says())
	}
	b.lands(click(way("corp")))
	see(b, "choose-signin")
	b.signIn("alice", password)
	see(b, "choose-consent-arabic")
	b.lands(click(allow))
	p.redeemAt(b, issuer, arabic, "")
	b.open(p.ask(issuer, notes))
	see(b, "choose-consent-unverified")
	b.lands(click(allow))
	p.redeemAt(b, issuer, notes, "")
	b.open(issuer + "/account")
	see(b, "choose-account")
	if got := strings.Count(b.says(), "The application chose this name itself"); got != 2 {
		p.t.Errorf("%d of two applications are said to be unverified: %s", got, b.says())
	}
	b.open(issuer + "/logout")
	b.lands(click("main form button"))
	b.open(p.ask(issuer, notes))
	see(b, "choose-again")

	mixed := p.choosing(corp, true)
	m := newTab(p.t)
	m.open(mixed + "/login")
	see(m, "login-providers")
	m.lands(click(way("corp")))
	m.signIn("alice", password)
	m.open(mixed + "/logout")
	m.lands(click("main form button"))
	m.open(mixed + "/login")
	see(m, "login-providers-again")
}

// What was used last is the first thing that Tab comes to, and it is said to be
// the last, to people and to what reads pages to them.
func TestProviderIsOfferedFirst(t *testing.T) {
	t.Parallel()
	p, b := newPlace(t), newTab(t)
	issuer := p.choosing(p.company(), true)
	b.open(issuer + "/login")
	b.focused("#username")
	b.tabTo(way("corp"))
	b.lands(chromedp.KeyEvent(kb.Enter))
	b.focused("#username")
	b.keys("alice" + kb.Tab + password)
	b.lands(chromedp.KeyEvent(kb.Enter))
	if got := b.title(); got != "You are signed in" {
		t.Fatal(b.says())
	}
	b.open(issuer + "/logout")
	b.lands(click("main form button"))
	b.open(issuer + "/login")
	b.keys(kb.Tab)
	b.focused(way("corp"))
	if got := b.controls()[0]; got != (control{"button", "Sign in with Acme SSO " + remembered}) {
		t.Errorf("%+v", got)
	}
	b.lands(chromedp.KeyEvent(kb.Enter)) // the provider still knows alice: no page there
	if got := b.title(); got != "You are signed in" {
		t.Error(b.says())
	}
}
