package authserver

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"doorward/internal/audit"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// logoutToken is what the provider sends when somebody signs out there.
func (f *fakeProvider) logoutToken(change map[string]any) string {
	f.t.Helper()
	return f.signLogout("logout+jwt", change)
}

func (f *fakeProvider) signLogout(typ string, change map[string]any) string {
	f.t.Helper()
	now := f.s.now().Unix()
	c := map[string]any{"iss": loginURL, "aud": loginClient, "iat": now, "exp": now + 120, "jti": newID(), "sid": "s-1", "sub": "u-1",
		"events": map[string]any{logoutEvent: map[string]any{}}}
	maps.Copy(c, change)
	for name, v := range c {
		if v == nil {
			delete(c, name)
		}
	}
	token, err := f.key.Sign(typ, c)
	if err != nil {
		f.t.Error(err)
	}
	return token
}

// unsigned is a token whose header names another algorithm.
func unsigned(token, alg string) string {
	_, rest, _ := strings.Cut(token, ".")
	return base64.RawURLEncoding.EncodeToString([]byte(`{"typ":"logout+jwt","alg":"`+alg+`"}`)) + "." + rest
}

func logOut(s *site, token string) reply {
	return post(s.Server, "/backchannel-logout/login", "", form("logout_token="+token))
}

// living counts the living grants of carol.
func (s *site) living() int {
	n := 0
	for _, g := range s.grantsOf(carolID) {
		if g.Active(s.now()) {
			n++
		}
	}
	return n
}

// A sid ends the sign-in of that session and all that came of it, for whoever
// watches at the same moment; another session of the person goes on.
func TestBackchannelLogoutOfSession(t *testing.T) {
	var log logBuffer
	s, f := newProvidedSite(t, func(c *Config, _ *OIDCProvider) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	b := s.browser()
	f.claims["sid"] = "s-1"
	first := f.tokens(s, b)
	f.claims["sid"] = "s-2"
	second := f.tokens(s, s.browser())
	closed := make(chan struct{})
	s.ended.OnEnd(gid(t, first.text("access_token")), func() { close(closed) })

	token := f.logoutToken(map[string]any{"sub": nil})
	r := logOut(s, token)
	if r.status != 200 || r.body != "" || r.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %q %v", r.status, r.body, r.header)
	}
	select {
	case <-closed: // before the answer: a stream of that grant is over
	default:
		t.Error("whoever watches the grant was not told")
	}
	if r := refreshWith(s, first.text("refresh_token")); r.status != 400 || r.text("error") != "invalid_grant" {
		t.Errorf("the session's refresh token: %d %s", r.status, r.body)
	}
	if r := refreshWith(s, second.text("refresh_token")); r.status != 200 {
		t.Errorf("the other session's: %d %s", r.status, r.body)
	}
	b.get(s.ask("desktop", desktopBack)).arrived(t, loginURL+"/authorize?") // the session is over too
	if recs, _, _ := s.ledger.Store.List(context.Background(), store.Query{Kind: ledger.KindUpstream}); len(recs) != 1 {
		t.Errorf("%d last words are kept", len(recs))
	}
	if events := eventsOf(t, s.Server); !slices.ContainsFunc(events, func(e audit.Event) bool {
		return e.Action == "backchannel_logout" && e.Detail == "ended: 1 sessions, 1 grants" && e.Person == carolID && e.Issuer == loginURL
	}) {
		t.Errorf("the receipt is missing: %+v", events)
	}
	if strings.Contains(log.String(), token) {
		t.Error("the log holds the token")
	}
}

// A sub alone ends everything of the person, also what did not come of a
// sign-in, and nothing of anybody else.
func TestBackchannelLogoutOfPerson(t *testing.T) {
	s, f := newProvidedSite(t, nil)
	f.tokens(s, s.browser())
	f.claims["sid"] = "s-2"
	f.tokens(s, s.browser())
	f.claims = map[string]any{"sub": "u-2"}
	dave := f.tokens(s, s.browser())
	// By an ID-JAG of the same issuer: no session, the same person.
	g := s.ledger.AddGrant(ledger.Grant{Grant: oauth.Grant{ID: newID(), Client: "desktop", Resource: files, Issuer: loginURL,
		Subject: oauth.Subject{ID: carolID, Provider: "login", Account: "u-1"}, Created: s.now(), Expires: s.now().Add(time.Hour)}})
	if err := s.ledger.Store.Commit(context.Background(), g); err != nil {
		t.Fatal(err)
	}
	if n := s.living(); n != 3 {
		t.Fatalf("%d grants live before", n)
	}
	if r := logOut(s, f.logoutToken(map[string]any{"sid": nil})); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if n := s.living(); n != 0 {
		t.Errorf("%d grants live", n)
	}
	if r := refreshWith(s, dave.text("refresh_token")); r.status != 200 {
		t.Errorf("somebody else's: %d %s", r.status, r.body)
	}
	// Unknown people and sessions have ended already (section 2.7).
	for _, of := range []map[string]any{{"sub": "nobody", "sid": nil}, {"sid": "nothing"}} {
		if r := logOut(s, f.logoutToken(of)); r.status != 200 {
			t.Errorf("%v: %d %s", of, r.status, r.body)
		}
	}
	// They may come again: signing out is not leaving.
	f.claims = map[string]any{}
	s.wait(time.Second)
	f.tokens(s, s.browser())
}

// Every way in which a logout token is not one. From outside all look the same.
func TestBackchannelLogoutRefused(t *testing.T) {
	with := func(change map[string]any) func(*fakeProvider) string {
		return func(f *fakeProvider) string { return f.logoutToken(change) }
	}
	at := func(name string, off time.Duration) func(*fakeProvider) string {
		return func(f *fakeProvider) string { return f.logoutToken(map[string]any{name: f.s.now().Add(off).Unix()}) }
	}
	for name, tt := range map[string]struct {
		token  func(*fakeProvider) string
		reason string
	}{
		"not a JWT":         {func(*fakeProvider) string { return "logout" }, "logout_token"},
		"alg none":          {func(f *fakeProvider) string { return unsigned(f.logoutToken(nil), "none") }, "logout_token"},
		"alg None":          {func(f *fakeProvider) string { return unsigned(f.logoutToken(nil), "None") }, "logout_token"},
		"alg HS256":         {func(f *fakeProvider) string { return unsigned(f.logoutToken(nil), "HS256") }, "logout_token"},
		"no signature":      {func(f *fakeProvider) string { t := f.logoutToken(nil); return t[:strings.LastIndex(t, ".")+1] }, "logout_token"},
		"two tokens in one": {func(f *fakeProvider) string { return f.logoutToken(nil) + f.logoutToken(nil) }, "logout_token"},
		"another key": {func(f *fakeProvider) string {
			own := f.key
			f.turnKey()
			t := f.logoutToken(nil)
			f.key = own
			return t
		}, "logout_token"},
		"an ID token":               {func(f *fakeProvider) string { return f.idToken("n") }, "logout_claims"},
		"typ of an access token":    {func(f *fakeProvider) string { return f.signLogout(oauth.TypAccessToken, nil) }, "logout_token"},
		"typ of an ID-JAG":          {func(f *fakeProvider) string { return f.signLogout(oauth.TypIDJAG, nil) }, "logout_token"},
		"iss missing":               {with(map[string]any{"iss": nil}), "logout_claims"},
		"iss of another":            {with(map[string]any{"iss": "https://other.example"}), "logout_claims"},
		"iss with a slash":          {with(map[string]any{"iss": loginURL + "/"}), "logout_claims"},
		"iss a list":                {with(map[string]any{"iss": []string{loginURL}}), "logout_claims"},
		"aud missing":               {with(map[string]any{"aud": nil}), "logout_claims"},
		"aud of another client":     {with(map[string]any{"aud": "other"}), "logout_claims"},
		"aud empty":                 {with(map[string]any{"aud": []string{}}), "logout_claims"},
		"aud with null":             {with(map[string]any{"aud": []any{loginClient, nil}}), "logout_claims"},
		"aud a number":              {with(map[string]any{"aud": 7}), "logout_claims"},
		"azp of another client":     {with(map[string]any{"azp": "other"}), "logout_claims"},
		"jti missing":               {with(map[string]any{"jti": nil}), "logout_claims"},
		"jti empty":                 {with(map[string]any{"jti": ""}), "logout_claims"},
		"jti a number":              {with(map[string]any{"jti": 7}), "logout_claims"},
		"jti too long":              {with(map[string]any{"jti": strings.Repeat("j", maxText+1)}), "logout_claims"},
		"neither sub nor sid":       {with(map[string]any{"sub": nil, "sid": nil}), "logout_claims"},
		"sub empty":                 {with(map[string]any{"sub": ""}), "logout_claims"},
		"sub a list":                {with(map[string]any{"sub": []string{"u-1"}}), "logout_claims"},
		"sid empty":                 {with(map[string]any{"sid": ""}), "logout_claims"},
		"sid a number":              {with(map[string]any{"sid": 1}), "logout_claims"},
		"events missing":            {with(map[string]any{"events": nil}), "logout_claims"},
		"events a list":             {with(map[string]any{"events": []string{logoutEvent}}), "logout_claims"},
		"events a string":           {with(map[string]any{"events": logoutEvent}), "logout_claims"},
		"events without the event":  {with(map[string]any{"events": map[string]any{}}), "logout_claims"},
		"another event":             {with(map[string]any{"events": map[string]any{"https://schemas.openid.net/secevent/risc/event-type/account-disabled": map[string]any{}}}), "logout_claims"},
		"event null":                {with(map[string]any{"events": map[string]any{logoutEvent: nil}}), "logout_claims"},
		"event a string":            {with(map[string]any{"events": map[string]any{logoutEvent: "yes"}}), "logout_claims"},
		"nonce":                     {with(map[string]any{"nonce": "n"}), "logout_claims"},
		"nonce that is null":        {with(map[string]any{"nonce": json.RawMessage("null")}), "logout_claims"},
		"tenant, and none is known": {with(map[string]any{"tenant": "acme"}), "logout_claims"},
		"iat missing":               {with(map[string]any{"iat": nil}), "logout_time"},
		"iat a string":              {with(map[string]any{"iat": "now"}), "logout_time"},
		"iat later than now":        {at("iat", 31*time.Second), "logout_time"},
		"iat after exp": {func(f *fakeProvider) string {
			n := f.s.now().Unix()
			return f.logoutToken(map[string]any{"iat": n, "exp": n - 1})
		}, "logout_time"},
		"exp missing":              {with(map[string]any{"exp": nil}), "logout_time"},
		"exp over":                 {at("exp", -31*time.Second), "logout_time"},
		"exp in more than an hour": {at("exp", time.Hour+time.Second), "logout_time"},
		"nbf later than now":       {at("nbf", 31*time.Second), "logout_time"},
		"the same once more": {func(f *fakeProvider) string {
			t := f.logoutToken(map[string]any{"sid": "another"})
			logOut(f.s, t)
			return t
		}, "logout_replay"},
		"the same jti once more": {func(f *fakeProvider) string {
			j := map[string]any{"jti": "j", "sid": "another"}
			logOut(f.s, f.logoutToken(j))
			j["sid"] = "s-1"
			return f.logoutToken(j)
		}, "logout_replay"},
	} {
		t.Run(name, func(t *testing.T) {
			s, f := newProvidedSite(t, nil)
			f.claims["sid"] = "s-1"
			tokens := f.tokens(s, s.browser())
			r := logOut(s, tt.token(f))
			if r.status != 400 || r.text("error") != oauth.InvalidRequest || !strings.HasPrefix(r.text("error_description"), "the logout token is not valid here") {
				t.Errorf("%d %s", r.status, r.body)
			}
			if e, ok := s.kept(r); !ok || e.Reason != tt.reason || e.Action != "backchannel_logout.refuse" {
				t.Errorf("the reason is not %s: %+v", tt.reason, e)
			}
			if r := refreshWith(s, tokens.text("refresh_token")); r.status != 200 {
				t.Errorf("it ended something: %d %s", r.status, r.body)
			}
		})
	}
}

// Who may ask, and how.
func TestBackchannelLogoutRequest(t *testing.T) {
	s, f := newProvidedSite(t, nil)
	for name, r := range map[string]reply{
		"no token":     post(s.Server, "/backchannel-logout/login", "", form("token=x")),
		"two tokens":   post(s.Server, "/backchannel-logout/login", "", form("logout_token="+f.logoutToken(nil), "logout_token="+f.logoutToken(nil))),
		"empty token":  post(s.Server, "/backchannel-logout/login", "", form("logout_token=")),
		"in the query": post(s.Server, "/backchannel-logout/login?logout_token="+f.logoutToken(nil), "", form()),
	} {
		if r.status != 400 || r.text("error") != oauth.InvalidRequest {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	if r := post(s.Server, "/backchannel-logout/other", "", form("logout_token="+f.logoutToken(nil))); r.status != 404 {
		t.Errorf("another provider: %d %s", r.status, r.body)
	}
	if r := send(s.Server, httptest.NewRequest("GET", siteURL+"/backchannel-logout/login?logout_token="+f.logoutToken(nil), nil)); r.status != 405 {
		t.Errorf("GET: %d %s", r.status, r.body)
	}
	for _, typ := range []string{"logout+jwt", "application/logout+jwt", "JWT", ""} {
		if r := logOut(s, f.signLogout(typ, nil)); r.status != 200 {
			t.Errorf("typ %q: %d %s", typ, r.status, r.body)
		}
	}
}

// While the provider's keys cannot be had nothing is decided.
func TestBackchannelLogoutWithoutKeys(t *testing.T) {
	s, f := newProvidedSite(t, nil)
	if r := logOut(s, f.logoutToken(nil)); r.status != 200 { // no first fetch of the keys ends after the time has moved
		t.Fatalf("%d %s", r.status, r.body)
	}
	token := f.logoutToken(nil)
	f.mu.Lock()
	f.down = true
	f.mu.Unlock()
	s.wait(25 * time.Hour)
	if r := logOut(s, token); r.status != 503 || r.text("error") != oauth.TemporarilyUnavailable {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// A sign-in that is under way while the provider ends it does not arrive.
func TestBackchannelLogoutDuringSignIn(t *testing.T) {
	for name, change := range map[string]map[string]any{"session": {"sub": nil}, "person": {"sid": nil}} {
		t.Run(name, func(t *testing.T) {
			s, f := newProvidedSite(t, nil)
			f.claims["sid"] = "s-1"
			b := s.browser()
			back := f.letIn(b.get(s.ask("desktop", desktopBack)))
			if r := logOut(s, f.logoutToken(change)); r.status != 200 {
				t.Fatalf("%d %s", r.status, r.body)
			}
			b.get(back).shows(t, 403, "ended this sign-in")
			b.get(s.ask("desktop", desktopBack)).arrived(t, loginURL+"/authorize?")
			for _, kind := range []store.Kind{ledger.KindSession, ledger.KindUpstream} {
				if recs, _, err := s.ledger.Store.List(context.Background(), store.Query{Kind: kind}); err != nil || len(recs) != 0 {
					t.Errorf("%s: %d are kept, %v", kind, len(recs), err)
				}
			}
		})
	}
}

// Consent that is given in a session that ended meanwhile gives nothing.
func TestBackchannelLogoutDuringConsent(t *testing.T) {
	s, f := newProvidedSite(t, nil)
	f.tokens(s, s.browser())
	who := s.grantOf(carolID).Subject
	if r := logOut(s, f.logoutToken(map[string]any{"sid": nil})); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	// As somebody whose session was read before, and whose grant is made after.
	_, err := s.newCode(context.Background(), oauth.Grant{Client: "desktop", Resource: files, Subject: who}, oauth.AuthorizationRequest{}, desktopBack)
	var e *oauth.Error
	if !errors.As(err, &e) || e.Code != oauth.AccessDenied || s.living() != 0 {
		t.Errorf("%v, %d grants live", err, s.living())
	}
}

// Work that the store breaks off is done when the token comes again.
func TestBackchannelLogoutAgain(t *testing.T) {
	var db *breaking
	s, f := newProvidedSite(t, func(c *Config, _ *OIDCProvider) {
		db = &breaking{Store: c.Store}
		c.Store = db
	})
	f.claims["sid"] = "s-1"
	f.tokens(s, s.browser())
	token := f.logoutToken(nil)
	for n := int64(1); ; n++ {
		db.left.Store(n)
		r := logOut(s, token)
		db.left.Store(0)
		if r.status == 200 {
			if n < 4 {
				t.Errorf("after %d commits all was done", n)
			}
			break
		}
		if r.status != 500 || n > 10 {
			t.Fatalf("try %d: %d %s", n, r.status, r.body)
		}
	}
	if s.living() != 0 {
		t.Errorf("%d grants live", s.living())
	}
	if n := endEvents(t, db.Store, "backchannel_logout"); n != 1 {
		t.Errorf("%d events lie in the store when it is answered", n)
	}
}

// breaking is a store whose commits fail from the left-th on; those of the
// journal, which come at their own time, neither fail nor count. 0: none fails.
type breaking struct {
	store.Store
	left atomic.Int64
}

func (b *breaking) Commit(ctx context.Context, ops ...store.Op) error {
	if ops[0].Do != store.DoLog && b.left.Load() != 0 && (b.left.Load() == 1 || b.left.Add(-1) == 1) {
		return errors.New("the disk is full")
	}
	return b.Store.Commit(ctx, ops...)
}

// Of two tenants with the same sub the logout of one ends nothing of the other.
func TestBackchannelLogoutOfTenant(t *testing.T) {
	s, f := newProvidedSite(t, func(_ *Config, p *OIDCProvider) { p.Tenants = []string{"acme", "umbrella"} })
	f.claims["tid"] = "acme"
	acme := f.tokens(s, s.browser())
	f.claims["tid"] = "umbrella"
	umbrella := f.tokens(s, s.browser())
	if r := logOut(s, f.logoutToken(map[string]any{"sid": nil})); r.status != 400 {
		t.Errorf("without a tenant: %d %s", r.status, r.body)
	}
	if r := logOut(s, f.logoutToken(map[string]any{"sid": nil, "tid": "other"})); r.status != 400 {
		t.Errorf("a tenant that is not allowed: %d %s", r.status, r.body)
	}
	if r := logOut(s, f.logoutToken(map[string]any{"sid": nil, "tid": "acme"})); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r := refreshWith(s, acme.text("refresh_token")); r.status != 400 {
		t.Errorf("the one that signed out: %d %s", r.status, r.body)
	}
	if r := refreshWith(s, umbrella.text("refresh_token")); r.status != 200 {
		t.Errorf("the other one: %d %s", r.status, r.body)
	}
}

// However many grants a sign-in brought about, all end, and no others.
func TestBackchannelLogoutOfManyGrants(t *testing.T) {
	const many = maxListed + 200 // more than the account page looks at
	s, f := newProvidedSite(t, nil)
	f.claims["sid"] = "s-1"
	f.tokens(s, s.browser())
	who := s.grantOf(carolID).Subject
	f.claims["sid"] = "s-2"
	other := gid(t, f.tokens(s, s.browser()).text("access_token"))
	var ids []string
	for len(ids) < many {
		var ops []store.Op
		for range 200 {
			g := oauth.Grant{ID: newID(), Client: "desktop", Resource: files, Subject: who, Created: s.now(), Expires: s.now().Add(time.Hour)}
			ids, ops = append(ids, g.ID), append(ops, s.ledger.AddGrant(ledger.Grant{Grant: g}))
		}
		if err := s.ledger.Store.Commit(t.Context(), ops...); err != nil {
			t.Fatal(err)
		}
	}
	if r := logOut(s, f.logoutToken(nil)); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	for _, id := range ids {
		if g, err := s.ledger.Grant(t.Context(), id); err != nil || g.Ended.IsZero() {
			t.Fatalf("a grant lives: %+v, %v", g, err)
		}
	}
	if g, err := s.ledger.Grant(t.Context(), other); err != nil || !g.Ended.IsZero() {
		t.Errorf("the grant of the other session: %+v, %v", g, err)
	}
}
