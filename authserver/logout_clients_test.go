package authserver

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/internal/audit"
	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

const (
	wikiSecret = "a secret of the wiki"
	wikiBack   = "https://wiki.example.com/cb"
)

// wiki is a client that wants to be told of logouts, and whatever else is sent
// out is answered by next.
type wiki struct {
	mu     sync.Mutex
	status int // of its answers; 0: no answer at all
	next   http.RoundTripper
	tokens chan string
}

func (c *wiki) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != "wiki.example.com" {
		if c.next == nil {
			return nil, errors.New("no route")
		}
		return c.next.RoundTrip(r)
	}
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Method == http.MethodPost && r.URL.RequestURI() == "/out?key=42" && r.Header.Get("Content-Type") == "application/x-www-form-urlencoded" && len(form) == 1 {
		c.tokens <- form.Get("logout_token")
	}
	if c.status == 0 {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: c.status, Header: http.Header{"Location": {"https://wiki.example.com/out?key=42"}}, Body: io.NopCloser(strings.NewReader("x"))}, nil
}

func (c *wiki) answers(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status = status
}

// told is the claims of the next logout token, which must come soon.
func (c *wiki) told(t *testing.T, s *site) jose.Claims {
	t.Helper()
	select {
	case token := <-c.tokens:
		set, err := jose.ParseSet(s.ring.Load().document)
		if err != nil {
			t.Fatal(err)
		}
		v, err := jose.Verify(token, set, []string{jose.ES256}, []string{"logout+jwt"})
		if err != nil {
			t.Fatal(err)
		}
		return v.Claims()
	case <-time.After(10 * time.Second):
		t.Fatal("the client was not told")
		return nil
	}
}

// quiet checks that nobody is to be told and nobody was.
func (c *wiki) quiet(t *testing.T, s *site) {
	t.Helper()
	due, err := s.ledger.Parties(context.Background(), ledger.PartyDue)
	if err != nil || len(due) > 0 || len(c.tokens) > 0 {
		t.Errorf("%d are to be told, %d tokens were sent, %v", len(due), len(c.tokens), err)
	}
}

// newLogoutIdP is an identity provider with the wiki among its clients.
func newLogoutIdP(t *testing.T, change func(*Config)) (*site, *wiki) {
	c := &wiki{status: 200, tokens: make(chan string, 100)}
	s := newSite(t, func(cfg *Config) {
		cfg.Resources, cfg.HTTP = nil, c
		cfg.Audiences = map[string]Audience{}
		cfg.Clients["wiki"] = Client{Secret: wikiSecret, RedirectURIs: []string{wikiBack},
			BackchannelLogoutURI: "https://wiki.example.com/out?key=42", FrontchannelLogoutURI: "https://wiki.example.com/front?a=b"}
		if change != nil {
			change(cfg)
		}
		c.next, cfg.HTTP = cfg.HTTP, c
		if c.next == http.RoundTripper(c) {
			c.next = nil
		}
	})
	return s, c
}

// wikiTokens redeems what came back to the wiki.
func wikiTokens(t *testing.T, s *site, p page) reply {
	t.Helper()
	r := post(s.Server, "/token", "wiki "+wikiSecret, form("grant_type=authorization_code", "code="+p.arrived(t, wikiBack).Get("code"), "code_verifier="+verifier,
		"redirect_uri="+wikiBack))
	if r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	return r
}

func askWiki(s *site, pairs ...string) string {
	return s.ask("wiki", wikiBack, append([]string{"resource", "", "scope", "openid offline_access"}, pairs...)...)
}

// wikiSignsIn walks somebody to the wiki: their tokens there.
func wikiSignsIn(t *testing.T, s *site, b *browser, name string) reply {
	t.Helper()
	p := b.get(askWiki(s))
	if !p.left && strings.Contains(p.body, `name="password"`) {
		p = b.signIn(p, name)
	}
	if !p.left {
		p = b.submit(p)
	}
	return wikiTokens(t, s, p)
}

func sidOf(t *testing.T, r reply) string {
	t.Helper()
	sid, err := claimsOf(t, r.text("id_token")).Text("sid")
	if err != nil || sid == "" {
		t.Fatalf("no sid in the ID token: %v", err)
	}
	return sid
}

// However a session ends, the client that signed somebody in by it is told by a
// logout token, once, and no other client and no other session is meant.
func TestClientsAreToldOfLogout(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *site, *browser, string){
		"the logout page": func(_ *testing.T, s *site, b *browser, _ string) { b.submit(b.get(s.url + "/logout")) },
		"the account page, in this browser": func(t *testing.T, s *site, b *browser, sid string) {
			action, form := b.get(s.url + "/account").form(t)
			form.Set("session", sid)
			b.post(action, form)
		},
		"the account page, in another browser": func(t *testing.T, s *site, _ *browser, sid string) {
			other := s.browser()
			other.signIn(other.get(s.url+"/login"), "alice")
			action, form := other.get(s.url + "/account").form(t)
			form.Set("session", sid)
			other.post(action, form)
		},
		"somebody else signs in": func(_ *testing.T, s *site, b *browser, _ string) {
			b.signIn(b.get(askWiki(s, "prompt", "login")), "bob")
		},
		"leaving": func(t *testing.T, s *site, _ *browser, _ string) {
			if _, err := s.ledger.Leave(context.Background(), "alice"); err != nil {
				t.Error(err)
			}
		},
		"all is revoked": func(t *testing.T, s *site, _ *browser, _ string) {
			if _, err := s.ledger.End(context.Background(), ledger.Which{All: true}, "test"); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, c := newLogoutIdP(t, nil)
			b := s.browser()
			first := wikiSignsIn(t, s, b, "alice")
			sid := sidOf(t, first)
			r := post(s.Server, "/token", "wiki "+wikiSecret, form("grant_type=refresh_token", "refresh_token="+first.text("refresh_token")))
			if r.status != 200 || sidOf(t, r) != sid {
				t.Fatalf("refreshed: %d %s", r.status, r.body)
			}
			c.quiet(t, s)
			end(t, s, b, sid)
			got := c.told(t, s)
			for claim, want := range map[string]string{"iss": siteURL, "sub": "alice", "aud": "wiki", "sid": sid} {
				if is, err := got.Text(claim); err != nil || is != want {
					t.Errorf("%s is %q, %v, not %q", claim, is, err, want)
				}
			}
			if err := checkLogoutEvent(got); err != nil || got.Has("nonce") || !got.Has("jti") {
				t.Errorf("%v, %v", err, got)
			}
			var lt logoutToken
			if err := lt.times(got, s.now()); err != nil || lt.expires.Sub(lt.issued) != 2*time.Minute {
				t.Errorf("from %s to %s, %v", lt.issued, lt.expires, err)
			}
			if r := wikiExchanges(s, first.text("id_token")); r.status != 400 || r.text("error") != oauth.InvalidGrant {
				t.Errorf("an exchange afterwards: %d %s", r.status, r.body)
			}
			until(t, func() bool { all, _ := s.ledger.Parties(context.Background(), ""); return len(all) == 0 })
			c.quiet(t, s)
		})
	}
}

// wikiExchanges is an exchange of the wiki's.
func wikiExchanges(s *site, token string) reply {
	return post(s.Server, "/token", "wiki "+wikiSecret, url.Values{"grant_type": {oauth.TokenExchange}, "requested_token_type": {oauth.TokenTypeIDJAG},
		"subject_token_type": {oauth.TokenTypeIDToken}, "subject_token": {token}, "audience": {asURL}})
}

// until waits for what the background does.
func until(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come about")
		}
	}
}

// Whoever proves again who they are stays signed in where they were, and the
// client is told when that session ends, by the name that it knows.
func TestReplacedSessionKeepsClients(t *testing.T) {
	s, c := newLogoutIdP(t, nil)
	b := s.browser()
	sid := sidOf(t, wikiSignsIn(t, s, b, "alice"))
	p := b.signIn(b.get(askWiki(s, "prompt", "login")), "alice")
	again := sidOf(t, wikiTokens(t, s, p))
	if sid == again {
		t.Fatal("the session is the same")
	}
	c.quiet(t, s)
	b.submit(b.get(s.url + "/logout"))
	got := map[string]bool{}
	for range 2 {
		name, _ := c.told(t, s).Text("sid")
		got[name] = true
	}
	if !got[sid] || !got[again] {
		t.Errorf("told of %v, not of %q and %q", got, sid, again)
	}
}

// A session that ends while its code is redeemed is told of all the same.
func TestLogoutBeforeRedemption(t *testing.T) {
	s, c := newLogoutIdP(t, nil)
	b := s.browser()
	p := b.signIn(b.get(askWiki(s)), "alice")
	if !p.left {
		p = b.submit(p)
	}
	b.submit(b.get(s.url + "/logout"))
	sid := sidOf(t, wikiTokens(t, s, p))
	if got, _ := c.told(t, s).Text("sid"); got != sid {
		t.Errorf("told of %q, not %q", got, sid)
	}
}

// A client that is away keeps nobody signed in; it is tried again, and given up
// in the end, which the operator finds.
func TestUnreachableClientIsTriedAgain(t *testing.T) {
	for name, status := range map[string]int{"no answer": 0, "an error": 500, "a refusal": 400, "a redirect": 302} {
		t.Run(name, func(t *testing.T) {
			s, c := newLogoutIdP(t, nil)
			c.answers(status)
			b := s.browser()
			sid := sidOf(t, wikiSignsIn(t, s, b, "alice"))
			b.submit(b.get(s.url + "/logout"))
			c.told(t, s)
			if alive, err := s.sessions.Alive(context.Background(), sid); alive || err != nil {
				t.Errorf("the session lives: %t %v", alive, err)
			}
			for i, pause := range tellAgain {
				tries := func() int { all, _ := s.ledger.Parties(context.Background(), ledger.PartyDue); return all[0].Tries }
				if tries() != i+1 {
					t.Fatalf("tried %d times after %d", tries(), i+1)
				}
				if err := s.tellDue(context.Background()); err != nil || len(c.tokens) > 0 {
					t.Errorf("tried again before its time: %v", err)
				}
				s.wait(pause)
				if err := s.tellDue(context.Background()); err != nil {
					t.Fatal(err)
				}
				c.told(t, s)
			}
			until(t, func() bool { all, _ := s.ledger.Parties(context.Background(), ""); return len(all) == 0 })
			s.told(t, "client_logout", "failed", "wiki.example.com")
		})
	}
	t.Run("back in time", func(t *testing.T) {
		s, c := newLogoutIdP(t, nil)
		c.answers(503)
		b := s.browser()
		wikiSignsIn(t, s, b, "alice")
		b.submit(b.get(s.url + "/logout"))
		c.told(t, s)
		c.answers(204)
		s.wait(tellAgain[0])
		if err := s.tellDue(context.Background()); err != nil {
			t.Fatal(err)
		}
		c.told(t, s)
		until(t, func() bool { all, _ := s.ledger.Parties(context.Background(), ""); return len(all) == 0 })
		s.told(t, "client_logout", "ok", "")
	})
}

// told waits for an event of the audit about alice and the wiki.
func (s *site) told(t *testing.T, action, outcome, detail string) {
	t.Helper()
	until(t, func() bool {
		return slices.ContainsFunc(eventsOf(t, s.Server), func(e audit.Event) bool {
			return e.Action == action && e.Outcome == outcome && e.Person == "alice" && e.Client == "wiki" && strings.Contains(e.Detail, detail) &&
				!strings.Contains(e.Detail, "key=42")
		})
	})
}

// The page that says goodbye loads the clients' pages, with iss and sid, and
// lets no other frames in. Nobody sees them without a session that ends.
func TestFrontchannelLogout(t *testing.T) {
	s, _ := newLogoutIdP(t, nil)
	b := s.browser()
	sid := sidOf(t, wikiSignsIn(t, s, b, "alice"))
	p := b.get(s.url + "/logout")
	if strings.Contains(p.body, "<iframe") || strings.Contains(p.header.Get("Content-Security-Policy"), "frame-src") {
		t.Error("frames before anybody said yes")
	}
	p = b.submit(p)
	p.shows(t, 200, "You are signed out", `<iframe src="https://wiki.example.com/front?a=b&iss=`+url.QueryEscape(siteURL)+"&sid="+sid+`"`)
	csp := p.header.Get("Content-Security-Policy")
	if !strings.Contains(csp, "; frame-src https://wiki.example.com;") || !strings.Contains(csp, "default-src 'none'") || strings.Count(p.body, "<iframe") != 1 {
		t.Errorf("%s\n%s", csp, p.body)
	}
	if p = b.get(s.url + "/logout"); strings.Contains(p.body, "<iframe") {
		t.Error("frames of a session that is over")
	}
}

// What a client may say of it, and what not.
func TestLogoutURIs(t *testing.T) {
	redirects := []string{"https://wiki.example.com/cb", "http://127.0.0.1/cb"}
	for _, tt := range []struct {
		back, front, names string
	}{
		{"https://other.example/out?a=b", "https://wiki.example.com/front", ""},
		{"http://127.0.0.1:9/out", "http://127.0.0.1/front", ""},
		{"http://wiki.example.com/out", "", "backchannel_logout_uri"},
		{"https://wiki.example.com/out#x", "", "backchannel_logout_uri"},
		{"https://user:pw@wiki.example.com/out", "", "backchannel_logout_uri"},
		{"wiki://out", "", "backchannel_logout_uri"},
		{"https://wiki.example.com/" + strings.Repeat("a", maxLogoutURI), "", "backchannel_logout_uri"},
		{"", "https://evil.example/front", "frontchannel_logout_uri"},
		{"", "https://wiki.example.com:444/front", "frontchannel_logout_uri"},
		{"", "http://wiki.example.com/front", "frontchannel_logout_uri"},
		{"", "javascript:alert(1)", "frontchannel_logout_uri"},
		{"", "https://wiki.example.com/front#x", "frontchannel_logout_uri"},
	} {
		err := checkLogout(ledger.Logout{Backchannel: tt.back, Frontchannel: tt.front}, redirects)
		if (err == nil) != (tt.names == "") || err != nil && !strings.HasPrefix(err.Error(), tt.names) {
			t.Errorf("%q %q: %v, want one about %q", tt.back, tt.front, err, tt.names)
		}
	}
	_, err := New(Config{URL: siteURL, Store: openStore(t, time.Now), Clients: map[string]Client{"c": {BackchannelLogoutURI: "https://c.example/out"}}})
	if err == nil || !strings.Contains(err.Error(), "identity provider") {
		t.Errorf("an authorization server took it: %v", err)
	}
}

// A client registers both, and hears back what holds; where strangers want to
// be told is not looked for inside.
func TestRegisteredLogoutURIs(t *testing.T) {
	const ask = `{"redirect_uris":["https://wiki.example.com/cb"],"token_endpoint_auth_method":"none","client_name":"W","backchannel_logout_uri":%q,` +
		`"backchannel_logout_session_required":true,"frontchannel_logout_uri":"https://wiki.example.com/front","frontchannel_logout_session_required":true}`
	s, c := newLogoutIdP(t, nil)
	r := postRegistration(s, strings.Replace(ask, "%q", `"https://10.0.0.1/out"`, 1))
	back, _ := r.field("backchannel_logout_session_required")
	front, _ := r.field("frontchannel_logout_session_required")
	if r.status != 201 || r.text("backchannel_logout_uri") != "https://10.0.0.1/out" || r.text("frontchannel_logout_uri") != "https://wiki.example.com/front" || back != true || front != true {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if bad := postRegistration(s, strings.Replace(ask, "%q", `"http://wiki.example.com/out"`, 1)); bad.status != 400 || bad.text("error") != oauth.InvalidClientMetadata {
		t.Errorf("%d %s", bad.status, bad.body)
	}
	client, err := s.ledger.Client(context.Background(), r.text("client_id"))
	if err != nil {
		t.Fatal(err)
	}
	err = s.sendLogout(context.Background(), s.current(), client, ledger.Party{SID: "s", Session: "s", Person: "alice", Client: client.ID})
	if err == nil || !strings.Contains(err.Error(), "10.0.0.1") || len(c.tokens) > 0 {
		t.Errorf("a private address: %v", err)
	}
	as := newSite(t, func(cfg *Config) { cfg.Registration.Mode = "open" })
	r = postRegistration(as, strings.Replace(ask, "%q", `"https://wiki.example.com/out"`, 1))
	if _, there := r.field("backchannel_logout_uri"); r.status != 201 || there {
		t.Errorf("an authorization server says that it tells: %d %s", r.status, r.body)
	}
}

func postRegistration(s *site, body string) reply {
	r, _ := http.NewRequest(http.MethodPost, s.url+"/register", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return send(s.Server, r)
}

// The provider's own logout, and the word of its directory, go on to the
// clients; what they hold of the session is good for no exchange.
func TestUpstreamEndReachesClients(t *testing.T) {
	for name, end := range map[string]func(*site, *fakeProvider) reply{
		"back-channel logout": func(s *site, f *fakeProvider) reply { return logOut(s, f.logoutToken(nil)) },
		"SCIM": func(s *site, _ *fakeProvider) reply {
			r, _ := http.NewRequest(http.MethodPost, s.url+"/scim/login/Users", strings.NewReader(`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"carol","externalId":"u-1","active":false}`))
			r.Header.Set("Content-Type", "application/scim+json")
			r.Header.Set("Authorization", "Bearer "+scimToken)
			return send(s.Server, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newProvider(t)
			s, c := newLogoutIdP(t, func(cfg *Config) {
				cfg.HTTP, cfg.SignIn, cfg.Directories = f, OIDC(provided(nil)), map[string]Directory{"login": {Token: scimToken}}
			})
			f.mu.Lock()
			f.s = s
			f.mu.Unlock()
			f.claims["sid"] = "s-1"
			b := s.browser()
			p := b.get(f.letIn(b.get(askWiki(s))))
			if !p.left {
				p = b.submit(p)
			}
			tokens := wikiTokens(t, s, p)
			sid := sidOf(t, tokens)
			if r := end(s, f); r.status > 201 {
				t.Fatalf("%d %s", r.status, r.body)
			}
			got := c.told(t, s)
			if is, _ := got.Text("sid"); is != sid {
				t.Errorf("told of %q, not %q", is, sid)
			}
			if sub, _ := got.Text("sub"); sub != carolID {
				t.Errorf("sub is %q", sub)
			}
			if r := wikiExchanges(s, tokens.text("id_token")); r.status != 400 || r.text("error") != oauth.InvalidGrant {
				t.Errorf("an exchange afterwards: %d %s", r.status, r.body)
			}
		})
	}
}

// Both documents of an identity provider say what it does.
func TestLogoutMetadata(t *testing.T) {
	idp, _ := newLogoutIdP(t, nil)
	as := newSite(t, nil)
	for _, path := range []string{oauth.WellKnownOIDC, oauth.WellKnownAS} {
		for _, name := range []string{"backchannel_logout_supported", "backchannel_logout_session_supported", "frontchannel_logout_supported", "frontchannel_logout_session_supported"} {
			r, _ := http.NewRequest(http.MethodGet, siteURL+path, nil)
			if v, _ := send(idp.Server, r).field(name); v != true {
				t.Errorf("%s: %s is %v", path, name, v)
			}
			if v, there := send(as.Server, r).field(name); there {
				t.Errorf("an authorization server: %s: %s is %v", path, name, v)
			}
		}
	}
}
