package authserver

import (
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"doorward/internal/oauth"
)

// newProvidedIdP is an identity provider whose people sign in elsewhere.
func newProvidedIdP(t *testing.T, change func(*OIDCProvider)) (*site, *fakeProvider) {
	return newProvidedSite(t, func(c *Config, p *OIDCProvider) {
		c.Resources = nil
		c.Audiences = map[string]Audience{asURL: {Resources: []string{files}, ClientIDs: map[string]string{"desktop": "desktop there"},
			Allow: []Rule{{Who: []string{"everyone"}}}}}
		if change != nil {
			change(p)
		}
	})
}

// exchanges sends a subject token of carol's.
func exchanges(s *site, kind, token string) reply {
	return post(s.Server, "/token", "desktop a secret of the desktop", url.Values{"grant_type": {oauth.TokenExchange}, "requested_token_type": {oauth.TokenTypeIDJAG},
		"subject_token_type": {kind}, "subject_token": {token}, "audience": {asURL}, "resource": {files}, "scope": {"files:read"}})
}

// openid is what carol's client asks for at an identity provider.
var openid = []string{"resource", "", "scope", "openid offline_access"}

// At an exchange the provider that the person signed in at is asked again if
// its word is older than a minute, by whichever of our tokens it comes.
func TestExchangeAsksProvider(t *testing.T) {
	for kind, member := range map[string]string{oauth.TokenTypeIDToken: "id_token", oauth.TokenTypeRefreshToken: "refresh_token"} {
		t.Run(member, func(t *testing.T) {
			s, f := newProvidedIdP(t, nil)
			f.refresh = "r"
			b := s.browser()
			token := f.tokens(s, b, openid...).text(member)
			for _, step := range []struct {
				wait  time.Duration
				asked int // how often the provider's token endpoint was asked until then
			}{{0, 1}, {59 * time.Second, 1}, {2 * time.Second, 2}, {30 * time.Second, 2}, {31 * time.Second, 3}} {
				s.wait(step.wait)
				if r := exchanges(s, kind, token); r.status != 200 || len(f.forms) != step.asked {
					t.Fatalf("after %s: %d %s, the provider was asked %d times, not %d", step.wait, r.status, r.body, len(f.forms), step.asked)
				}
			}
			s.wait(61 * time.Second)
			f.refuse = "invalid_grant"
			r := exchanges(s, kind, token)
			if r.status != 400 || r.text("error") != oauth.InvalidGrant || s.living() != 0 {
				t.Fatalf("%d %s, %d grants live", r.status, r.body, s.living())
			}
			f.refuse = ""
			if r := exchanges(s, kind, token); r.status != 400 {
				t.Errorf("once more: %d %s", r.status, r.body)
			}
			b.get(s.ask("desktop", desktopBack, openid...)).arrived(t, loginURL+"/authorize?") // the session is over
		})
	}
}

// A provider that does not answer is not asked at each exchange, and its last
// word holds no longer than at a refresh. One that is never asked is not asked
// here either.
func TestExchangeProviderDown(t *testing.T) {
	s, f := newProvidedIdP(t, func(p *OIDCProvider) { p.Recheck = 10 * time.Minute })
	f.refresh = "r"
	token := f.tokens(s, s.browser(), openid...).text("id_token")
	f.refuse, f.status = "server_error", 500
	asked := len(f.forms)
	s.wait(2 * time.Minute)
	for range 3 {
		if r := exchanges(s, oauth.TokenTypeIDToken, token); r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	if len(f.forms) != asked+1 {
		t.Errorf("the provider was asked %d times", len(f.forms)-asked)
	}
	s.wait(18 * time.Minute)
	if r := exchanges(s, oauth.TokenTypeIDToken, token); r.status != 503 || r.text("error") != oauth.TemporarilyUnavailable {
		t.Errorf("%d %s", r.status, r.body)
	}

	s, f = newProvidedIdP(t, func(p *OIDCProvider) { p.Recheck = -1 })
	f.refresh = "r"
	token = f.tokens(s, s.browser(), openid...).text("id_token")
	s.wait(10 * time.Minute)
	if r := exchanges(s, oauth.TokenTypeIDToken, token); r.status != 200 || len(f.forms) != 1 {
		t.Errorf("%d %s, asked %d times", r.status, r.body, len(f.forms))
	}
}

// Of many exchanges at once one asks, and when the answer is no, none gets by.
func TestExchangesAtOnceHearOneAnswer(t *testing.T) {
	s, f := newProvidedIdP(t, nil)
	f.refresh = "r"
	token := f.tokens(s, s.browser(), openid...).text("id_token")
	s.wait(2 * time.Minute)
	f.refuse = "invalid_grant"
	var all sync.WaitGroup
	var passed atomic.Int64
	f.mu.Lock() // until all are under way
	for range 16 {
		all.Go(func() {
			if r := exchanges(s, oauth.TokenTypeIDToken, token); r.status == 200 {
				passed.Add(1)
			}
		})
	}
	for s.questions.asking() == 0 {
		time.Sleep(time.Millisecond)
	}
	f.mu.Unlock()
	all.Wait()
	if passed.Load() != 0 || len(f.forms) != 2 {
		t.Errorf("%d got by, the provider was asked %d times", passed.Load(), len(f.forms)-1)
	}
}

func (q *questions) asking() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.pending)
}

// A back-channel logout of the provider ends the exchanges of that session.
func TestExchangeAfterBackchannelLogout(t *testing.T) {
	s, f := newProvidedIdP(t, nil)
	f.claims["sid"] = "s-1"
	token := f.tokens(s, s.browser(), openid...).text("id_token")
	if r := exchanges(s, oauth.TokenTypeIDToken, token); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r := logOut(s, f.logoutToken(nil)); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r := exchanges(s, oauth.TokenTypeIDToken, token); r.status != 400 || r.text("error") != oauth.InvalidGrant {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// People of two tenants with one sub are two people to whoever takes the ID-JAG,
// by the sub alone: this issuer is not several, and it knows nobody by names of
// theirs, so there is no tenant, aud_tenant or aud_sub.
//
// covers: IDP-JAG-07
func TestExchangeOfTenants(t *testing.T) {
	s, f := newProvidedIdP(t, func(p *OIDCProvider) { p.Tenants = []string{"acme", "umbrella"} })
	subs := map[string]bool{}
	for _, tenant := range []string{"acme", "umbrella"} {
		f.claims["tid"] = tenant
		r := exchanges(s, oauth.TokenTypeIDToken, f.tokens(s, s.browser(), openid...).text("id_token"))
		if r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		c := claimsOf(t, r.text("access_token"))
		sub, _ := c.Text("sub")
		subs[sub] = true
		for _, name := range []string{"tenant", "tid", "aud_tenant", "aud_sub"} {
			if c.Has(name) {
				t.Errorf("the ID-JAG of %s has %s: %s", sub, name, c[name])
			}
		}
	}
	if len(subs) != 2 {
		t.Errorf("the ID-JAGs are of %v", subs)
	}
}
