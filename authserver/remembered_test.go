package authserver

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// choosing is a site where people come by a password or by one of two
// providers, of which "login" is up.
func choosing(t *testing.T, local bool) (*site, *fakeProvider) {
	f := newProvider(t)
	second := OIDCProvider{Name: "second", Title: "Second", Issuer: "https://second.example", ClientID: "x"}
	s := newSite(t, func(c *Config) {
		c.HTTP = f
		if providers := OIDC(second, provided(nil)); local {
			c.SignIn = AnyOf(c.SignIn, providers)
		} else {
			c.SignIn = providers
		}
	})
	f.mu.Lock()
	f.s = s
	f.mu.Unlock()
	return s, f
}

// order says in which order ways to sign in stand on a page.
func order(t *testing.T, p page, texts ...string) {
	t.Helper()
	at := -1
	for _, text := range texts {
		i := strings.Index(p.body, text)
		if i <= at {
			t.Fatalf("%q does not stand where it should, of %q, in:\n%s", text, texts, p.body)
		}
		at = i
	}
}

const usedLast = "as the last time in this browser"

// What somebody signed in by stands first the next time, and the choice stays
// theirs, whatever the client wants.
func TestProviderIsRemembered(t *testing.T) {
	for _, local := range []bool{false, true} {
		s, f := choosing(t, local)
		b := s.browser()
		page := b.get(s.ask("desktop", desktopBack))
		order(t, page, `value="second"`, `value="login"`)
		if strings.Contains(page.body, usedLast) {
			t.Fatal("nobody signed in here yet")
		}
		action, fields := page.form(t, "provider", "login")
		b.get(f.letIn(b.post(action, fields))).shows(t, 200, "Desktop", carolID)
		b.submit(b.get(siteURL + "/logout"))
		if page = b.get(s.ask("desktop", desktopBack)); local {
			order(t, page, `value="login"`, usedLast, `value="second"`, `name="password"`)
			if strings.Contains(page.body, "autofocus") {
				t.Error("the page scrolls past what stands first")
			}
		} else {
			order(t, page, `value="login"`, usedLast, `value="second"`)
		}
		for _, prompt := range []string{"login", "select_account"} {
			page = b.get(s.ask("desktop", desktopBack, "prompt", prompt))
			order(t, page, `value="login"`, usedLast, `value="second"`) // a page: nobody is sent anywhere
			action, fields = page.form(t, "provider", "login")
			if got := b.post(action, fields).arrived(t, loginURL+"/authorize").Get("prompt"); got != prompt {
				t.Errorf("the provider is asked for prompt %q, not %q", got, prompt)
			}
		}
		if strings.Contains(s.browser().get(s.ask("desktop", desktopBack)).body, usedLast) {
			t.Error("another browser is told")
		}
	}
}

// Whoever came by a provider and then by a password finds the password first.
func TestPasswordIsRememberedToo(t *testing.T) {
	s, f := choosing(t, true)
	b := s.browser()
	action, fields := b.get(siteURL+"/login").form(t, "provider", "login")
	b.get(f.letIn(b.post(action, fields)))
	b.submit(b.get(siteURL + "/logout"))
	page := b.get(siteURL + "/login")
	order(t, page, usedLast, `name="password"`)
	action, fields = page.form(t, "username", "alice", "password", "wrong")
	page = b.post(action, fields)
	page.shows(t, 403, "not right")
	order(t, page, `name="password"`, `value="second"`) // what was typed is what the page is about
	action, fields = page.form(t, "username", "alice", "password", password)
	b.post(action, fields).shows(t, 200, "You are signed in")
	b.submit(b.get(siteURL + "/logout"))
	page = b.get(siteURL + "/login")
	order(t, page, `name="password"`, `value="second"`, `value="login"`)
}

// The cookie holds the name of a provider and nothing else; one that holds
// something else is none.
func TestRememberedIsNoSecret(t *testing.T) {
	s, f := choosing(t, false)
	b := s.browser()
	action, fields := b.get(siteURL+"/login").form(t, "provider", "login")
	b.get(f.letIn(b.post(action, fields)))
	at, err := url.Parse(siteURL)
	if err != nil {
		t.Fatal(err)
	}
	var kept *http.Cookie
	for _, c := range b.client.Jar.Cookies(at) {
		if strings.Contains(c.Name, "dw-provider-") {
			kept = c
		}
	}
	if kept == nil || !strings.HasPrefix(kept.Name, "__Host-") || kept.Value != "login" {
		t.Fatalf("%v", kept)
	}
	for _, value := range []string{"third", "", `"><b>x`, "LOGIN", strings.Repeat("a", 3000)} {
		other := s.browser()
		other.client.Jar.SetCookies(at, []*http.Cookie{{Name: kept.Name, Value: url.PathEscape(value), Path: "/", Secure: true}})
		page := other.get(siteURL + "/login")
		order(t, page, `value="second"`, `value="login"`)
		if strings.Contains(page.body, usedLast) || strings.Contains(page.body, "<b>x") {
			t.Errorf("%q: %s", value, page.body)
		}
	}
	// With one way in there is nothing to remember.
	one, g := newProvidedSite(t, nil)
	c := one.browser()
	c.get(g.letIn(c.get(siteURL + "/login")))
	for _, k := range c.client.Jar.Cookies(at) {
		if strings.Contains(k.Name, "dw-provider-") {
			t.Errorf("kept for nothing: %v", k)
		}
	}
}

// Pages call people by their name, beside the account that it is about.
func TestPagesCallPeopleByName(t *testing.T) {
	s, f := newProvidedSite(t, nil)
	f.claims = map[string]any{"name": "<b>Carol"}
	b := s.browser()
	const called = `<bdi class="name">&lt;b&gt;Carol</bdi> (<bdi>` + carolID + `</bdi>)`
	for name, p := range map[string]page{"consent": b.get(f.letIn(b.get(s.ask("desktop", desktopBack)))), "account": b.get(siteURL + "/account"),
		"welcome": b.get(siteURL + "/login"), "sign out": b.get(siteURL + "/logout")} {
		if !strings.Contains(p.body, called) {
			t.Errorf("%s: %s", name, p.body)
		}
	}
	f.claims = map[string]any{"name": nil}
	f.userinfo = map[string]any{"sub": "u-1"}
	b = s.browser()
	if p := b.get(f.letIn(b.get(s.ask("desktop", desktopBack)))); !strings.Contains(p.body, `as you, <bdi class="name">`+carolID+`</bdi>.`) {
		t.Errorf("without a name: %s", p.body)
	}
}

// A provider may refuse prompt=select_account: then it is asked for a sign-in,
// once, and its second refusal is one.
func TestSelectAccountIsRefusedThere(t *testing.T) {
	s, _ := newProvidedSite(t, nil)
	b := s.browser()
	refused := func(p page, code string) page {
		q := p.arrived(t, loginURL+"/authorize")
		return b.get(q.Get("redirect_uri") + "?" + url.Values{"error": {code}, "error_description": {"unsupported prompt value"}, "state": {q.Get("state")}, "iss": {loginURL}}.Encode())
	}
	first := b.get(s.ask("desktop", desktopBack, "prompt", "select_account"))
	if got := first.url.Query().Get("prompt"); got != "select_account" {
		t.Fatalf("prompt %q", got)
	}
	second := refused(first, "invalid_request")
	if got := second.url.Query().Get("prompt"); got != "login" {
		t.Fatalf("prompt %q at %s", got, second.url)
	}
	refused(second, "invalid_request").shows(t, 502, "unsupported prompt value")
	refused(b.get(s.ask("desktop", desktopBack, "prompt", "login")), "invalid_request").shows(t, 502, "unsupported prompt value")
	refused(b.get(s.ask("desktop", desktopBack, "prompt", "select_account")), "access_denied").shows(t, 403, "You were not signed in")
}
