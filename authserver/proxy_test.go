package authserver

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/internal/ledger"
	"doorward/store"
)

// proxiedCarol is the account of who signs in at the separate server.
const proxiedCarol = "separate/u-1"

// newProxiedSite is a site whose people sign in at the fake provider, for each
// access anew, and whose tokens are its own.
func newProxiedSite(t *testing.T, change func(*Config)) (*site, *fakeProvider) {
	t.Helper()
	f := newProvider(t)
	f.refresh, f.extra = "upstream-refresh", map[string]any{"expires_in": 300}
	s := newSite(t, func(c *Config) {
		c.HTTP, c.SignIn, c.Mode = f, nil, "proxy"
		c.Separate = Separate{Issuer: loginURL, Title: "Login Inc", ClientID: loginClient, ClientSecret: loginSecret}
		if change != nil {
			change(c)
		}
	})
	f.mu.Lock()
	f.s = s
	f.mu.Unlock()
	return s, f
}

// proxiedTokens walks to the tokens of the desktop by our page and theirs.
func (f *fakeProvider) proxiedTokens(s *site, b *browser, pairs ...string) reply {
	f.t.Helper()
	p := b.get(s.ask("desktop", desktopBack, pairs...))
	if !p.left {
		p = b.submit(p)
	}
	return f.redeemed(s, b.get(f.letIn(p)))
}

func (f *fakeProvider) redeemed(s *site, p page) reply {
	f.t.Helper()
	code := p.arrived(f.t, "https://desktop.example.com/cb").Get("code")
	r := post(s.Server, "/token", "desktop a secret of the desktop", form("grant_type=authorization_code", "code="+code, "code_verifier="+verifier,
		"redirect_uri="+desktopBack))
	if r.status != 200 {
		f.t.Fatalf("token: %d %s", r.status, r.body)
	}
	return r
}

func (s *site) upstreamRecords() []store.Record {
	s.t.Helper()
	recs, _, err := s.ledger.Store.List(context.Background(), store.Query{Kind: ledger.KindUpstream})
	if err != nil {
		s.t.Fatal(err)
	}
	return recs
}

// Our own consent page comes first, then the separate server; the tokens are
// ours, and its own lie sealed beside the grant, until it ends.
//
// covers: AS-PROXY-01, AS-PROXY-03, AS-PROXY-04, I13
func TestProxiedTokens(t *testing.T) {
	var log logBuffer
	s, f := newProxiedSite(t, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	b := s.browser()
	p := b.get(s.ask("desktop", desktopBack))
	p.shows(t, 200, "Desktop", "Read files", "you sign in at <bdi>Login Inc</bdi> next")
	if strings.Contains(p.header.Get("Set-Cookie"), "dw-auth") || len(f.forms) != 0 {
		t.Error("something was sent to the separate server before the consent")
	}
	res := f.redeemed(s, b.get(f.letIn(b.submit(p))))
	token := res.text("access_token")
	c := claimsOf(t, token)
	iss, _ := c.Text("iss")
	sub, _ := c.Text("sub")
	if iss != siteURL || sub != proxiedCarol {
		t.Errorf("iss %q, sub %q", iss, sub)
	}
	id := gid(t, token)
	if got, err := s.UpstreamToken(context.Background(), id); err != nil || got != "upstream-access" {
		t.Errorf("the vault has %q, %v", got, err)
	}
	for _, rec := range s.upstreamRecords() {
		if bytes.Contains(rec.Value, []byte("upstream-access")) || bytes.Contains(rec.Value, []byte("upstream-refresh")) {
			t.Error("the separate server's tokens do not lie sealed")
		}
	}
	for _, secret := range []string{"upstream-access", "upstream-refresh", loginSecret} {
		if strings.Contains(res.body+log.String(), secret) {
			t.Errorf("%s is in an answer or in the log", secret)
		}
	}
	if _, err := s.ledger.End(context.Background(), ledger.Which{Grant: id}, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.UpstreamToken(context.Background(), id); !errors.Is(err, ErrNoUpstream) {
		t.Errorf("the separate server's token outlives its grant: %v", err)
	}
}

// Another client in the browser of somebody who approved a first one: our page
// must appear, and nothing leads to the separate server before it was answered.
//
// covers: AS-PROXY-01, AS-PROXY-02, SEC-01
func TestProxiedConfusedDeputy(t *testing.T) {
	s, f := newProxiedSite(t, nil)
	b := s.browser()
	f.proxiedTokens(s, b)
	if p := b.get(s.ask("desktop", desktopBack)); !p.left || p.url.Host != "login.example" {
		t.Errorf("what was consented to is asked again, at %s", p.url)
	}
	evil := s.attacker()
	seen := len(b.seen)
	p := b.get(s.ask(evil.ID, evil.RedirectURIs[0]))
	p.shows(t, 200, "Nice App", "Not verified", proxiedCarol)
	for _, res := range b.seen[seen:] {
		if strings.Contains(res.Header.Get("Location"), "login.example") {
			t.Error("the browser was sent to the separate server before the approval")
		}
	}
	no := b.submit(p, "decision", "no")
	if q := no.arrived(t, "https://evil.example.net/cb"); q.Get("error") != "access_denied" || q.Has("code") {
		t.Errorf("a no brings %v", q)
	}
}

// The way back is good in the browser that agreed, once, for ten minutes.
//
// covers: AS-PROXY-02, AS-PROXY-05
func TestProxiedReturn(t *testing.T) {
	s, f := newProxiedSite(t, nil)
	b := s.browser()
	back := f.letIn(b.submit(b.get(s.ask("desktop", desktopBack))))
	if q := f.asked; q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43 || len(q.Get("state")) < 43 ||
		q.Get("redirect_uri") != siteURL+"/callback/separate" || q.Has("resource") {
		t.Errorf("asked with %v", q)
	}
	s.browser().get(back).shows(t, 403, "sent no cookie")
	other := s.browser()
	other.get(siteURL + "/logout")
	other.get(back).shows(t, 403, "another browser")
	wrong, err := url.Parse(back)
	if err != nil {
		t.Fatal(err)
	}
	q := wrong.Query()
	q.Set("iss", "https://evil.example")
	wrong.RawQuery = q.Encode()
	b.get(wrong.String()).shows(t, 502, "not acceptable")
	b.get(back).arrived(t, desktopBack)
	if n := len(f.forms); n != 1 {
		t.Errorf("the code was sent %d times", n)
	}
	b.get(back) // the back button
	if n := len(f.forms); n != 1 {
		t.Errorf("the code was sent %d times", n)
	}

	late := f.letIn(b.submit(b.get(s.ask("two", "https://two.example.com/a"))))
	s.wait(attemptLife + time.Second)
	if p := b.get(late); p.left && p.url.Host == "two.example.com" {
		t.Errorf("a return after ten minutes is taken: %s", p.url)
	}
	if n := len(f.forms); n != 1 {
		t.Errorf("a late code was sent: %d", n)
	}
}

// A token that is nearly over is renewed once for all who ask.
//
// covers: AS-PROXY-04
func TestProxiedRenewalOnce(t *testing.T) {
	s, f := newProxiedSite(t, nil)
	id := gid(t, f.proxiedTokens(s, s.browser()).text("access_token"))
	f.extra = map[string]any{"expires_in": "300", "access_token": "upstream-second"}
	s.wait(5 * time.Minute)
	before := len(f.forms)
	var callers sync.WaitGroup
	for range 50 {
		callers.Go(func() {
			if got, err := s.UpstreamToken(context.Background(), id); err != nil || got != "upstream-second" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	callers.Wait()
	if n := len(f.forms) - before; n != 1 || f.forms[before].Get("refresh_token") != "upstream-refresh" {
		t.Errorf("renewed %d times", n)
	}
	s.wait(5 * time.Minute)
	if _, err := s.UpstreamToken(context.Background(), id); err != nil || f.forms[before+1].Get("refresh_token") != "upstream-refresh+" {
		t.Errorf("the rotated refresh token is not used: %v", err)
	}
}

// What cannot be renewed ends the grant, and nothing else; a server that is
// down ends nothing.
//
// covers: AS-PROXY-04
func TestProxiedRenewalRefused(t *testing.T) {
	ctx := context.Background()
	s, f := newProxiedSite(t, nil)
	res, other := f.proxiedTokens(s, s.browser()), f.proxiedTokens(s, s.browser())
	id := gid(t, res.text("access_token"))
	s.wait(6 * time.Minute)
	f.down = true
	if _, err := s.UpstreamToken(ctx, id); !errors.Is(err, ErrUpstreamDown) {
		t.Errorf("down: %v", err)
	}
	if no := refreshWith(s, res.text("refresh_token")); no.status != 503 || no.text("error") != "temporarily_unavailable" {
		t.Errorf("a refresh meanwhile: %d %s", no.status, no.body)
	}
	f.down = false
	s.wait(10 * time.Second)
	if res = refreshWith(s, res.text("refresh_token")); res.status != 200 {
		t.Fatalf("a refresh afterwards: %d %s", res.status, res.body)
	}
	s.wait(6 * time.Minute)
	f.refuse = "invalid_grant"
	if no := refreshWith(s, res.text("refresh_token")); no.status != 400 || no.text("error") != "invalid_grant" {
		t.Errorf("refused: %d %s", no.status, no.body)
	}
	if g, err := s.ledger.Grant(ctx, id); err != nil || g.Ended.IsZero() {
		t.Errorf("the grant lives: %+v, %v", g, err)
	}
	if g, err := s.ledger.Grant(ctx, gid(t, other.text("access_token"))); err != nil || !g.Ended.IsZero() {
		t.Errorf("the other grant ended: %+v, %v", g, err)
	}
}

// What counts as a no to a refresh token: the code that says so, or 400 and not
// a word, as Glewlwyd answers. A page of HTML is something else in between.
//
// covers: AS-PROXY-04
func TestRefusalOfProviders(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   bool
	}{
		"invalid_grant": {400, `{"error":"invalid_grant"}`, true}, "as GitHub": {200, `{"error":"bad_refresh_token"}`, true},
		"without a word": {400, "", true}, "a line break": {400, "\r\n", true},
		"invalid_client": {401, `{"error":"invalid_client"}`, false}, "another error": {400, `{"error":"invalid_request"}`, false},
		"a page": {400, "<html>blocked</html>", false}, "an empty object": {400, "{}", false},
		"an empty 401": {401, "", false}, "an empty 404": {404, "", false}, "an empty 500": {500, "", false},
	} {
		if got := isRefused(errorOf(c.status, []byte(c.body))); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
