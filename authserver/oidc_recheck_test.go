package authserver

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"doorward/internal/ledger"
	"doorward/store"
)

// At a refresh the provider is asked again, at most once per recheck, and with
// the refresh token that it gave last.
func TestRecheck(t *testing.T) {
	s, f := newProvidedSite(t, nil)
	f.refresh = "upstream-refresh"
	res := f.tokens(s, s.browser())
	res = refreshWith(s, res.text("refresh_token"))
	if res.status != 200 || len(f.forms) != 1 {
		t.Fatalf("%d %s, the provider was asked %d times", res.status, res.body, len(f.forms))
	}
	for range 2 {
		s.wait(61 * time.Minute)
		if res = refreshWith(s, res.text("refresh_token")); res.status != 200 {
			t.Fatalf("%d %s", res.status, res.body)
		}
	}
	if len(f.forms) != 3 || f.forms[2].Get("refresh_token") != "upstream-refresh+" {
		t.Fatalf("the provider was asked %v", f.forms)
	}
	// The refresh token lies sealed.
	recs, _, err := s.ledger.Store.List(context.Background(), store.Query{Kind: ledger.KindUpstream})
	if err != nil || len(recs) != 1 || bytes.Contains(recs[0].Value, []byte("upstream-refresh")) {
		t.Errorf("records %v, %v", recs, err)
	}
	if _, err := s.ledger.Leave(context.Background(), carolID); err != nil {
		t.Fatal(err)
	}
	if recs, _, _ := s.ledger.Store.List(context.Background(), store.Query{Kind: ledger.KindUpstream}); len(recs) != 0 {
		t.Error("the provider's refresh token outlives the person's leaving")
	}
}

// The provider's no ends what came of that sign-in, and nothing else.
func TestRecheckRefused(t *testing.T) {
	s, f := newProvidedSite(t, nil)
	f.refresh = "r"
	b := s.browser()
	first := f.tokens(s, b)
	other := f.tokens(s, s.browser())
	access := gid(t, first.text("access_token"))
	s.wait(61 * time.Minute)
	f.refuse = "invalid_grant"
	if res := refreshWith(s, first.text("refresh_token")); res.status != 400 || res.text("error") != "invalid_grant" {
		t.Fatalf("%d %s", res.status, res.body)
	}
	if g, err := s.ledger.Grant(context.Background(), access); err != nil || g.Ended.IsZero() {
		t.Errorf("the grant lives: %+v, %v", g, err)
	}
	b.get(s.ask("desktop", desktopBack)).arrived(t, loginURL+"/authorize?") // the session is over too
	f.refuse = ""
	if res := refreshWith(s, other.text("refresh_token")); res.status != 200 {
		t.Errorf("the other sign-in: %d %s", res.status, res.body)
	}
}

// While the provider is down its last word holds, for at most another recheck.
func TestRecheckDown(t *testing.T) {
	for name, down := range map[string]func(*fakeProvider, bool){
		"no route": func(f *fakeProvider, down bool) { f.down = down },
		"500": func(f *fakeProvider, down bool) {
			f.refuse, f.status = map[bool]string{true: "server_error"}[down], 500
		},
		"our secret": func(f *fakeProvider, down bool) {
			f.refuse, f.status = map[bool]string{true: "invalid_client"}[down], 401
		},
		"bad answers": func(f *fakeProvider, down bool) { f.claims["iss"] = map[bool]string{true: "x", false: loginURL}[down] },
	} {
		t.Run(name, func(t *testing.T) {
			s, f := newProvidedSite(t, nil)
			f.refresh = "r"
			res := f.tokens(s, s.browser())
			set := func(is bool) {
				f.mu.Lock()
				defer f.mu.Unlock()
				down(f, is)
			}
			set(true)
			s.wait(90 * time.Minute)
			if res = refreshWith(s, res.text("refresh_token")); res.status != 200 {
				t.Fatalf("%d %s", res.status, res.body)
			}
			s.wait(31 * time.Minute)
			if no := refreshWith(s, res.text("refresh_token")); no.status != 503 || no.text("error") != "temporarily_unavailable" {
				t.Fatalf("%d %s", no.status, no.body)
			}
			set(false)
			s.wait(time.Minute)
			if res = refreshWith(s, res.text("refresh_token")); name != "bad answers" && res.status != 200 {
				t.Fatalf("%d %s", res.status, res.body)
			}
		})
	}
}

// Without a refresh token of the provider a sign-in is good for as long as a
// session; with another person behind it for nothing.
func TestRecheckWithoutRefreshToken(t *testing.T) {
	s, f := newProvidedSite(t, nil)
	res := f.tokens(s, s.browser())
	s.wait(11 * time.Hour)
	if res = refreshWith(s, res.text("refresh_token")); res.status != 200 {
		t.Fatalf("%d %s", res.status, res.body)
	}
	s.wait(61 * time.Minute)
	if res = refreshWith(s, res.text("refresh_token")); res.status != 400 {
		t.Fatalf("%d %s", res.status, res.body)
	}
}

func TestRecheckAboutSomebodyElse(t *testing.T) {
	s, f := newProvidedSite(t, nil)
	f.refresh = "r"
	res := f.tokens(s, s.browser())
	s.wait(61 * time.Minute)
	f.claims["sub"] = "u-2"
	if res = refreshWith(s, res.text("refresh_token")); res.status != 400 {
		t.Fatalf("%d %s", res.status, res.body)
	}
}

func TestRecheckOff(t *testing.T) {
	s, f := newProvidedSite(t, func(_ *Config, p *OIDCProvider) { p.Recheck = -1 })
	res := f.tokens(s, s.browser())
	s.wait(100 * time.Hour)
	if res = refreshWith(s, res.text("refresh_token")); res.status != 200 || len(f.forms) != 1 {
		t.Fatalf("%d %s", res.status, res.body)
	}
}

// Of many refreshes at once one asks: a provider takes two questions with one
// refresh token for theft.
func TestRecheckOnce(t *testing.T) {
	s, f := newProvidedSite(t, nil)
	f.refresh = "r"
	b := s.browser()
	var tokens []string
	tokens = append(tokens, f.tokens(s, b).text("refresh_token"))
	for range 4 {
		code := b.get(s.ask("desktop", desktopBack)).arrived(t, "https://desktop.example.com/cb").Get("code")
		res := post(s.Server, "/token", "desktop a secret of the desktop", form("grant_type=authorization_code", "code="+code, "code_verifier="+verifier, "redirect_uri="+desktopBack))
		tokens = append(tokens, res.text("refresh_token"))
	}
	s.wait(61 * time.Minute)
	f.mu.Lock()
	asked := len(f.forms)
	f.mu.Unlock()
	var all sync.WaitGroup
	for _, token := range tokens {
		all.Go(func() {
			if res := refreshWith(s, token); res.status != 200 {
				t.Errorf("%d %s", res.status, res.body)
			}
		})
	}
	all.Wait()
	if len(f.forms) != asked+1 {
		t.Errorf("the provider was asked %d times", len(f.forms)-asked)
	}
}

// A provider that is taken out of the configuration speaks for nobody.
func TestRecheckProviderGone(t *testing.T) {
	s, f := newProvidedSite(t, nil)
	f.refresh = "r"
	res := f.tokens(s, s.browser())
	cfg := s.cfg
	cfg.SignIn = LocalPeople(nil)
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if res = refreshWith(s, res.text("refresh_token")); res.status != 400 {
		t.Fatalf("%d %s", res.status, res.body)
	}
	s.browser().get(siteURL+"/callback/login?state=x").shows(t, 404)
}

// Nor does another issuer that gets its name, which is not shown the refresh
// token of the one before either.
func TestRecheckProviderReplaced(t *testing.T) {
	s, f := newProvidedSite(t, nil)
	f.refresh = "r"
	b := s.browser()
	res := f.tokens(s, b)
	cfg := s.cfg
	cfg.SignIn = OIDC(provided(func(p *OIDCProvider) { p.Issuer = "https://second.example" }))
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	for _, wait := range []time.Duration{0, 61 * time.Minute} {
		s.wait(wait)
		if again := refreshWith(s, res.text("refresh_token")); again.status != 400 {
			t.Fatalf("after %s: %d %s", wait, again.status, again.body)
		}
	}
	if len(f.forms) != 1 {
		t.Errorf("a token endpoint was sent %v", f.forms[1:])
	}
	if p := b.get(s.ask("desktop", desktopBack)); p.left {
		t.Errorf("the session led to %s", p.url)
	}
}

// A new client does not come by a session that the provider would end.
func TestRecheckAtAuthorize(t *testing.T) {
	s, f := newProvidedSite(t, nil)
	f.refresh = "r"
	b := s.browser()
	f.tokens(s, b)
	s.wait(61 * time.Minute)
	f.refuse = "invalid_grant"
	b.get(s.ask("desktop", desktopBack)).arrived(t, loginURL+"/authorize?")
	if got := s.browser().get(s.ask("desktop", desktopBack, "prompt", "none")).arrived(t, "https://desktop.example.com/cb").Get("error"); got != "login_required" {
		t.Errorf("error %q", got)
	}
}
