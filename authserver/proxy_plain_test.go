package authserver

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

const proxiedDave = "separate/583231"

// newPlainProxy is a site in mode proxy in front of a plain OAuth server: no
// metadata, no ID tokens, no resource, answers as forms.
func newPlainProxy(t *testing.T) (*site, *fakeHub) {
	t.Helper()
	_, h := newHubSite(t, nil)
	sep := Separate{Title: "The Hub", AuthorizeURL: hubURL + "/authorize?tenant=a", TokenURL: hubURL + "/token", UserinfoURL: hubURL + "/user",
		ClientID: "hub-client", ClientSecret: hubSecret, Scopes: []string{"read:user"}, Account: []string{"id"}}
	s := newSite(t, func(c *Config) { c.HTTP, c.SignIn, c.Mode, c.Separate = h, nil, "proxy", sep })
	h.more = "&refresh_token=hub-refresh&expires_in=300"
	return s, h
}

// proxied walks dave through our consent and their sign-in to our tokens.
func (h *fakeHub) proxied(s *site) reply {
	h.t.Helper()
	b := s.browser()
	code := b.get(h.letIn(b.submit(b.get(s.ask("desktop", desktopBack))))).arrived(h.t, "https://desktop.example.com/cb").Get("code")
	r := post(s.Server, "/token", "desktop a secret of the desktop", form("grant_type=authorization_code", "code="+code, "code_verifier="+verifier, "redirect_uri="+desktopBack))
	if r.status != 200 {
		h.t.Fatalf("token: %d %s", r.status, r.body)
	}
	return r
}

// A plain OAuth server without PKCE metadata, registration or resource: our
// tokens for its people, its own in the vault, renewed for the same person only.
//
// covers: AS-PROXY-03, AS-PROXY-04, AS-PROXY-05, I13
func TestProxiedPlain(t *testing.T) {
	ctx := context.Background()
	s, h := newPlainProxy(t)
	r := h.proxied(s)
	id := gid(t, r.text("access_token"))
	if sub, _ := claimsOf(t, r.text("access_token")).Text("sub"); sub != proxiedDave {
		t.Errorf("sub %q", sub)
	}
	if h.asked.Get("code_challenge_method") != "S256" || h.asked.Has("resource") || h.asked.Has("nonce") || h.asked.Get("scope") != "read:user" || h.forms[0].Has("resource") {
		t.Errorf("asked with %v and %v", h.asked, h.forms[0])
	}
	first, err := s.UpstreamToken(ctx, id)
	if err != nil || !strings.HasPrefix(first, "hub-access-") || strings.Contains(r.body, first) {
		t.Errorf("the vault has %q, %v", first, err)
	}
	s.wait(5 * time.Minute)
	second, err := s.UpstreamToken(ctx, id)
	if err != nil || second == first || h.forms[len(h.forms)-1].Get("refresh_token") != "hub-refresh" || h.bearers[len(h.bearers)-1] != "Bearer "+second {
		t.Errorf("renewed: %q, %v", second, err)
	}
	s.wait(5 * time.Minute)
	h.user = `{"login":"dave","id":583232}`
	if _, err := s.UpstreamToken(ctx, id); !errors.Is(err, ErrUpstreamOver) {
		t.Errorf("renewed for somebody else: %v", err)
	}
	if g, err := s.ledger.Grant(ctx, id); err != nil || g.Ended.IsZero() {
		t.Errorf("the grant lives: %v", err)
	}
}

// covers: AS-PROXY-04
func TestProxiedPlainRenewal(t *testing.T) {
	ctx := context.Background()
	s, h := newPlainProxy(t)
	r := h.proxied(s)
	id := gid(t, r.text("access_token"))
	s.wait(6 * time.Minute)
	h.userIs = 500
	if _, err := s.UpstreamToken(ctx, id); !errors.Is(err, ErrUpstreamDown) {
		t.Errorf("userinfo is down: %v", err)
	}
	h.userIs = 0
	s.wait(10 * time.Second)
	if _, err := s.UpstreamToken(ctx, id); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	s.wait(6 * time.Minute)
	h.token = "error=bad_refresh_token"
	if no := refreshWith(s, r.text("refresh_token")); no.status != 400 || no.text("error") != "invalid_grant" {
		t.Errorf("refused there: %d %s", no.status, no.body)
	}
	if _, err := s.UpstreamToken(ctx, id); !errors.Is(err, ErrNoUpstream) {
		t.Errorf("after the end: %v", err)
	}

	// A token without an end and without a way to renew it is good until the
	// grant ends.
	s, h = newPlainProxy(t)
	h.more = ""
	id = gid(t, h.proxied(s).text("access_token"))
	s.wait(20 * time.Hour)
	if got, err := s.UpstreamToken(ctx, id); err != nil || got == "" {
		t.Errorf("without an end: %q, %v", got, err)
	}
}

func TestSeparatePlainIsChecked(t *testing.T) {
	for name, change := range map[string]func(*Separate){
		"an issuer":         func(s *Separate) { s.Issuer = loginURL },
		"tenants":           func(s *Separate) { s.Tenants = []string{"t"} },
		"no account":        func(s *Separate) { s.Account = nil },
		"no token URL":      func(s *Separate) { s.TokenURL = "" },
		"no authorize URL":  func(s *Separate) { s.AuthorizeURL = "" },
		"no userinfo URL":   func(s *Separate) { s.UserinfoURL = "" },
		"plain http":        func(s *Separate) { s.UserinfoURL = "http://hub.example/user" },
		"a registration":    func(s *Separate) { s.RegisterURL = hubURL + "/register" },
		"no client":         func(s *Separate) { s.ClientID, s.ClientSecret = "", "" },
		"a wrong method":    func(s *Separate) { s.AuthMethod = "private_key_jwt" },
		"a wrong parameter": func(s *Separate) { s.Resource = "keep" },
	} {
		s := newSite(t, nil)
		cfg := s.cfg
		cfg.SignIn, cfg.Mode = nil, "proxy"
		cfg.Separate = Separate{AuthorizeURL: hubURL + "/authorize", TokenURL: hubURL + "/token", UserinfoURL: hubURL + "/user", ClientID: "c", ClientSecret: "s", Account: []string{"id"}}
		change(&cfg.Separate)
		if as, err := New(cfg); err == nil {
			as.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}
