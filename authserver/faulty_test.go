package authserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// faulty is a store that fails once, at the nth operation after it was armed:
// before it does anything, or, of a commit, after it was done, as when the
// answer of a database is lost. Audit events that are written in the background
// do not count.
type faulty struct {
	store.Store
	mu      sync.Mutex
	left    int  // operations until the fault; 0: none comes
	after   bool // of commits only
	tripped bool
}

var errLost = errors.New("connection to db.internal:5432 lost")

func (f *faulty) arm(n int, after bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.after, f.tripped = n, after, false
}

// disarm says whether there was a fault.
func (f *faulty) disarm() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = 0
	return f.tripped
}

// trips says whether this operation is the one.
func (f *faulty) trips(commit bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left == 0 || f.after && !commit {
		return false
	}
	f.left--
	f.tripped = f.left == 0
	return f.tripped
}

func (f *faulty) Get(ctx context.Context, kind store.Kind, key string) (store.Record, error) {
	if f.trips(false) {
		return store.Record{}, errLost
	}
	return f.Store.Get(ctx, kind, key)
}

func (f *faulty) List(ctx context.Context, q store.Query) ([]store.Record, string, error) {
	if f.trips(false) {
		return nil, "", errLost
	}
	return f.Store.List(ctx, q)
}

func (f *faulty) Commit(ctx context.Context, ops ...store.Op) error {
	onlyAudit := true
	for _, op := range ops {
		onlyAudit = onlyAudit && op.Record.Kind == ledger.KindAudit
	}
	trips := !onlyAudit && f.trips(true)
	if trips && !f.after {
		return errLost
	}
	if err := f.Store.Commit(ctx, ops...); err != nil {
		return err
	}
	if trips {
		return errLost
	}
	return nil
}

// flow is one request that changes something, and what must be true after it.
type flow struct {
	name string
	// prepare makes everything ready and returns the request; sending it again
	// sends the same one.
	prepare func(t *testing.T) func() reply
	// done is whether an answer says that it worked; it checks that everything
	// that it says is there.
	done func(t *testing.T, r reply) bool
	// spent is how the same request is refused after it worked; "": it works
	// again.
	spent string
	// reads: it writes nothing.
	reads bool
}

// Whichever operation of the store fails, before it was done or after: no
// token is out without its record, nothing is spent by a request that can be
// had again, and the answer is a plain server_error.
func TestStoreFailsAtEachOperation(t *testing.T) {
	db := &faulty{}
	w := newWorld(t, func(as, _ *Config) { db.Store = as.Store; as.Store = db })
	if err := w.as.Protect("/extra", http.NotFoundHandler()); err != nil {
		t.Fatal(err)
	}
	for _, f := range tokenFlows(w) {
		t.Run(f.name, func(t *testing.T) { db.everywhere(t, f) })
	}
	s := newSite(t, func(c *Config) {
		db = &faulty{Store: c.Store}
		c.Store = db
	})
	for _, f := range pageFlows(s) {
		t.Run(f.name, func(t *testing.T) { db.everywhere(t, f) })
	}
}

// everywhere runs a flow again and again, with the fault one operation later
// each time, until it is over before the fault comes.
func (f *faulty) everywhere(t *testing.T, fl flow) {
	for _, after := range []bool{false, true} {
		n := 1
		for ; n < 100; n++ {
			request := fl.prepare(t)
			f.arm(n, after)
			r := request()
			if !f.disarm() {
				break
			}
			ok := fl.done(t, r)
			if !ok {
				plainFault(t, r)
			}
			again := request()
			switch redone := fl.done(t, again); {
			case redone:
			case ok && fl.spent != "" && strings.Contains(again.body, fl.spent):
			default:
				t.Errorf("operation %d, after it was done: %t: %s\nand the same again: %s", n, after, r.brief(), again.brief())
			}
		}
		if none := after && fl.reads; none != (n == 1) {
			t.Errorf("operations that could fail: %d, after they were done: %t", n-1, after)
		}
	}
}

// plainFault checks the answer to a fault: a 5xx that says nothing of it.
func plainFault(t *testing.T, r reply) {
	t.Helper()
	if r.status < 500 || strings.Contains(r.body, "db.internal") || strings.Contains(r.body, "goroutine") || r.text("access_token") != "" {
		t.Errorf("the answer to a fault: %s", r.brief())
	}
}

// brief is an answer, of a page what it says first.
func (r reply) brief() string {
	_, body, page := strings.Cut(r.body, "<h1>")
	if !page {
		body = r.body
	}
	return fmt.Sprintf("%d %.300s", r.status, body)
}

// holdsRecord checks that the tokens of an answer have their record and work.
func holdsRecord(t *testing.T, s *Server, r reply) bool {
	t.Helper()
	token := r.text("access_token")
	if r.status != http.StatusOK || token == "" {
		return false
	}
	g, err := s.ledger.Grant(t.Context(), gid(t, token))
	if err != nil || !g.Ended.IsZero() {
		t.Errorf("a token without a living record: %+v %v", g, err)
		return true
	}
	exp, err := claimsOf(t, token).Time("exp")
	if err != nil || g.TokensUntil.Before(exp) {
		t.Errorf("the record knows tokens until %v, and there is one until %v (%v)", g.TokensUntil, exp, err)
	}
	if text := r.text("refresh_token"); text != "" && (g.Refresh == nil || string(hashText(text)) != string(g.Refresh.Hash)) {
		t.Error("the refresh token is not the one of the record")
	}
	return true
}

func tokenFlows(w *world) []flow {
	holds := func(t *testing.T, r reply) bool { return holdsRecord(t, w.as, r) }
	send := func(path, who string, f url.Values) func() reply {
		return func() reply { return post(w.as, path, who, f) }
	}
	redeem := func(t *testing.T) url.Values {
		code := w.code(t, w.as, filesGrant("desktop"), "http://127.0.0.1/callback")
		return form("grant_type=authorization_code", "code="+code, "code_verifier="+codeVerifier)
	}
	return []flow{
		{"code", func(t *testing.T) func() reply { return send("/token", desktop, redeem(t)) }, holds, "the code is not valid", false},
		{"refresh", func(t *testing.T) func() reply {
			first := post(w.as, "/token", desktop, redeem(t))
			return send("/token", desktop, form("grant_type=refresh_token", "refresh_token="+first.text("refresh_token")))
		}, holds, "", false},
		{"refresh without grace", func(t *testing.T) func() reply {
			first := post(w.as, "/token", desktop, redeem(t))
			cfg := w.asCfg
			cfg.Tokens.RefreshGrace = -1
			if err := w.as.Reload(cfg); err != nil {
				t.Fatal(err)
			}
			return send("/token", desktop, form("grant_type=refresh_token", "refresh_token="+first.text("refresh_token")))
		}, holds, "the refresh token is not valid", false},
		{"ID-JAG", func(t *testing.T) func() reply {
			return send("/token", desktop, form("grant_type="+oauth.JWTBearer, "assertion="+w.jag(t, map[string]any{"sub": newID()})))
		}, holds, "", false},
		{"ID-JAG of a public client", func(t *testing.T) func() reply {
			jag := w.jag(t, map[string]any{"client_id": "mobile", "sub": newID()})
			return send("/token", "", form("grant_type="+oauth.JWTBearer, "client_id=mobile", "assertion="+jag))
		}, holds, "assertion is not acceptable", false},
		{"ID-JAG, on a grant that stands", func(t *testing.T) func() reply {
			w.stated(t, nil)
			return send("/token", desktop, form("grant_type="+oauth.JWTBearer, "assertion="+w.jag(t, nil)))
		}, holds, "", false},
		{"ID-JAG of a public client, on a grant that stands", func(t *testing.T) func() reply {
			jag := func() string { return w.jag(t, map[string]any{"client_id": "mobile"}) }
			post(w.as, "/token", "", form("grant_type="+oauth.JWTBearer, "client_id=mobile", "assertion="+jag()))
			return send("/token", "", form("grant_type="+oauth.JWTBearer, "client_id=mobile", "assertion="+jag()))
		}, holds, "assertion is not acceptable", false},
		{"client credentials", func(*testing.T) func() reply {
			w.forward(24 * time.Hour) // a day has one record
			return send("/token", "agent "+agentSecret, form("grant_type=client_credentials"))
		}, holds, "", false},
		{"revoke", func(t *testing.T) func() reply {
			r := post(w.as, "/token", desktop, redeem(t))
			return func() reply {
				got := post(w.as, "/revoke", desktop, form("token="+r.text("refresh_token")))
				got.header.Set("X-Token", r.text("access_token"))
				return got
			}
		}, func(t *testing.T, r reply) bool {
			if r.status == http.StatusOK && !w.as.ended.Has(gid(t, r.header.Get("X-Token"))) {
				t.Error("revoked, and its token lives")
			}
			return r.status == http.StatusOK
		}, "", false},
		{"registration", func(t *testing.T) func() reply {
			body := `{"client_name":"` + newID() + `","redirect_uris":["https://app.example/cb"]}`
			return func() reply {
				r := httptest.NewRequest(http.MethodPost, asURL+"/register", strings.NewReader(body))
				r.Header.Set("Content-Type", "application/json")
				rec := httptest.NewRecorder()
				w.as.ServeHTTP(rec, r)
				return reply{rec.Code, rec.Header(), rec.Body.String()}
			}
		}, func(t *testing.T, r reply) bool {
			if r.status != http.StatusCreated {
				return false
			}
			if c, err := w.as.ledger.Client(t.Context(), r.text("client_id")); err != nil || string(c.SecretHash) != string(hashText(r.text("client_secret"))) {
				t.Errorf("registered, and not there: %v", err)
			}
			return true
		}, "", false},
	}
}

// pageFlows are those of a browser. What a page answered as an answer of the
// issuer is the page, and a redirect to a client its URL.
func pageFlows(s *site) []flow {
	as := func(p page) reply { return reply{p.status, p.header, p.body + p.url.String()} }
	codeHolds := func(t *testing.T, r reply) bool {
		t.Helper()
		at := strings.LastIndex(r.body, "https://desktop.example.com/cb")
		if at < 0 {
			return false
		}
		u, err := url.Parse(r.body[at:])
		if err != nil || u.Query().Get("code") == "" {
			return false
		}
		if _, _, err := s.byCode(t.Context(), u.Query().Get("code"), true); err != nil {
			t.Errorf("a code without its record: %v", err)
		}
		return true
	}
	press := func(b *browser, p page, typed ...string) func() reply {
		action, f := p.form(b.t, typed...)
		if m := buttonTag.FindStringSubmatch(p.body); m != nil && m[1] != "" {
			f.Set(m[1], m[2])
		}
		return func() reply { return as(b.post(action, f)) }
	}
	return []flow{
		{"sign-in", func(t *testing.T) func() reply {
			b := s.browser()
			return press(b, b.get(s.ask("desktop", desktopCB, "prompt", "consent")), "username", "alice", "password", password)
		}, func(t *testing.T, r reply) bool {
			return r.status == http.StatusOK && strings.Contains(r.body, `action="/consent"`)
		}, "", false},
		{"consent", func(t *testing.T) func() reply {
			b := s.browser()
			return press(b, b.signIn(b.get(s.ask("desktop", desktopCB, "prompt", "consent")), "alice"))
		}, codeHolds, "This was answered already", false},
		{"silent", func(t *testing.T) func() reply {
			b := s.browser()
			b.submit(b.signIn(b.get(s.ask("desktop", desktopCB, "prompt", "consent")), "alice"))
			return func() reply { return as(b.get(s.ask("desktop", desktopCB))) }
		}, codeHolds, "", true},
		{"silent code", func(t *testing.T) func() reply {
			code := s.lend(t).code
			return func() reply { return s.redeem(code) }
		}, func(t *testing.T, r reply) bool { return holdsRecord(t, s.Server, r) }, "the code is not valid", false},
		{"pushed request", func(t *testing.T) func() reply {
			u, err := url.Parse(s.ask("desktop", desktopCB))
			if err != nil {
				t.Fatal(err)
			}
			return func() reply { return post(s.Server, "/par", "desktop a secret of the desktop", u.Query()) }
		}, func(t *testing.T, r reply) bool {
			if r.status == http.StatusCreated {
				s.browser().get(s.url+"/authorize?client_id=desktop&request_uri="+url.QueryEscape(r.text("request_uri"))).shows(t, 200, "Sign in")
			}
			return r.status == http.StatusCreated
		}, "", false},
		{"pushed request at the browser", func(t *testing.T) func() reply {
			b, target := s.browser(), s.push(t)
			return func() reply { return as(b.get(target)) }
		}, func(t *testing.T, r reply) bool {
			return r.status == http.StatusOK && strings.Contains(r.body, `action="/login"`)
		}, "", false},
		{"device authorization", func(t *testing.T) func() reply {
			return func() reply {
				return post(s.Server, "/device_authorization", "", form("client_id=tv", "scope=files:read"))
			}
		}, func(t *testing.T, r reply) bool {
			if r.status == http.StatusOK && s.poll(r.text("device_code")).text("error") != oauth.AuthorizationPending {
				t.Error("a device code without its record")
			}
			return r.status == http.StatusOK
		}, "", false},
		{"consent for a device", func(t *testing.T) func() reply {
			s.wait(time.Minute) // codes can be typed so often
			_, user := s.newCodes(t)
			b := s.browser()
			return press(b, b.submit(b.signIn(b.get(s.url+"/device?user_code="+user), "alice")))
		}, func(t *testing.T, r reply) bool {
			return r.status == http.StatusOK && strings.Contains(r.body, "Your device is connected")
		}, "This code is over", false},
		{"device code", func(t *testing.T) func() reply {
			s.wait(time.Minute)
			device, user := s.newCodes(t)
			b := s.browser()
			b.submit(b.submit(b.signIn(b.get(s.url+"/device?user_code="+user), "alice"))).shows(t, 200, "connected")
			return func() reply { return s.poll(device) }
		}, func(t *testing.T, r reply) bool { return holdsRecord(t, s.Server, r) }, "invalid_grant", false},
	}
}
