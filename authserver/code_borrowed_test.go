package authserver

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// lent is a code that nothing was written for, and the browser that brought it.
type lent struct {
	b    *browser
	code string
}

// lend signs alice in, lets her consent, and asks once more.
func (s *site) lend(t *testing.T, pairs ...string) lent {
	t.Helper()
	b := s.browser()
	b.agree(b.get(s.ask("desktop", desktopCB, append([]string{"prompt", "consent"}, pairs...)...))).arrived(t, "https://desktop.example.com/cb")
	return lent{b, b.get(s.ask("desktop", desktopCB, pairs...)).arrived(t, "https://desktop.example.com/cb").Get("code")}
}

const desktopOfSite = "desktop a secret of the desktop"

func (s *site) redeem(code string, pairs ...string) reply {
	return post(s.Server, "/token", desktopOfSite, form(append([]string{"grant_type=" + oauth.AuthorizationCode, "code=" + code, "code_verifier=" + verifier}, pairs...)...))
}

// countedStore counts commits that are not of the audit alone.
type countedStore struct {
	store.Store
	commits atomic.Int64
	before  atomic.Pointer[func()] // called before the next one
}

func (c *countedStore) Commit(ctx context.Context, ops ...store.Op) error {
	if slices.ContainsFunc(ops, func(op store.Op) bool { return op.Record.Kind != ledger.KindAudit }) {
		c.commits.Add(1)
		if f := c.before.Swap(nil); f != nil {
			(*f)()
		}
	}
	return c.Store.Commit(ctx, ops...)
}

func countedSite(t *testing.T) (*site, *countedStore) {
	db := &countedStore{}
	return newSite(t, func(c *Config) { db.Store, c.Store = c.Store, db }), db
}

// covers: AS-CODE-01, AS-CODE-03, AS-REDIR-06
// A request that changes nothing writes nothing, and its code is worth as much
// as one that is kept: once, to its client, with its verifier.
func TestBorrowedCode(t *testing.T) {
	s, db := countedSite(t)
	l := s.lend(t, "nonce", "n-1")
	at := db.commits.Load()
	code := l.b.get(s.ask("desktop", desktopCB)).arrived(t, "https://desktop.example.com/cb").Get("code")
	if n := db.commits.Load() - at; n != 0 {
		t.Errorf("%d commits at /authorize", n)
	}
	if len(code) <= codeText || strings.Contains(code, "alice") {
		t.Errorf("code %s", code)
	}
	for name, r := range map[string]reply{
		"another client":   post(s.Server, "/token", "two a secret of the second", form("grant_type="+oauth.AuthorizationCode, "code="+code, "code_verifier="+verifier)),
		"another verifier": post(s.Server, "/token", desktopOfSite, form("grant_type="+oauth.AuthorizationCode, "code="+code, "code_verifier="+strings.ToUpper(verifier))),
		"another redirect": s.redeem(code, "redirect_uri=https://desktop.example.com/other"),
		"cut":              s.redeem(code[:len(code)-1]),
		"longer":           s.redeem(code + "A"),
	} {
		if r.status != http.StatusBadRequest || r.text("error") != oauth.InvalidGrant {
			t.Errorf("%s: %s", name, r.brief())
		}
	}
	r := s.redeem(code, "redirect_uri="+desktopCB)
	if r.status != http.StatusOK || r.text("refresh_token") == "" || r.text("scope") != "files:read" {
		t.Fatal(r.brief())
	}
	g, err := s.ledger.Grant(t.Context(), gid(t, r.text("access_token")))
	if err != nil || g.Subject.ID != "alice" || g.Subject.Email != "alice@example.com" || g.Subject.Session == "" || g.Client != "desktop" || g.Resource != files {
		t.Errorf("grant %+v, %v", g, err)
	}
	again := post(s.Server, "/token", desktopOfSite, form("grant_type=refresh_token", "refresh_token="+r.text("refresh_token")))
	if again.status != http.StatusOK {
		t.Error(again.brief())
	}
	if r := s.redeem(code); r.text("error") != oauth.InvalidGrant || !s.ended.Has(g.ID) {
		t.Errorf("shown twice: %s", r.brief())
	}
	if r := post(s.Server, "/token", desktopOfSite, form("grant_type=refresh_token", "refresh_token="+again.text("refresh_token"))); r.status == http.StatusOK {
		t.Error("the refresh token of a code that was shown twice works")
	}
}

// covers: AS-AUTHZ-11
// It lives for a minute, and its grant is known for at least as long, also where
// tokens live for less: else it could be used again.
func TestBorrowedCodeEndsAfterAMinute(t *testing.T) {
	s := newSite(t, func(c *Config) {
		c.Tokens.Access = 10 * time.Second
		d := c.Clients["desktop"]
		d.GrantTypes = []string{oauth.AuthorizationCode}
		c.Clients["desktop"] = d
	})
	l := s.lend(t)
	first := s.redeem(l.code)
	if first.status != http.StatusOK || first.text("refresh_token") != "" {
		t.Fatal(first.brief())
	}
	other := l.b.get(s.ask("desktop", desktopCB)).arrived(t, "https://desktop.example.com/cb").Get("code")
	s.wait(codeLife - time.Millisecond)
	if err := s.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := s.redeem(l.code); r.status == http.StatusOK {
		t.Error("a second time, when its token is over")
	}
	s.wait(time.Millisecond)
	if r := s.redeem(other); r.text("error") != oauth.InvalidGrant {
		t.Errorf("after a minute: %s", r.brief())
	}
}

// Whatever ends the session or the consent ends the code: nothing of it lies
// where it could be found.
func TestBorrowedCodeEndsWithWhatItStandsOn(t *testing.T) {
	end := func(w ledger.Which) func(*testing.T, *site, lent) {
		return func(t *testing.T, s *site, _ lent) {
			if _, err := s.ledger.End(t.Context(), w, "test"); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, change := range map[string]func(*testing.T, *site, lent){
		"signed out": func(t *testing.T, s *site, l lent) { l.b.submit(l.b.get(s.url + "/logout")) },
		"signed in anew": func(t *testing.T, s *site, l lent) {
			l.b.signIn(l.b.get(s.ask("desktop", desktopCB, "prompt", "login")), "alice")
		},
		"consent taken back": func(t *testing.T, s *site, l lent) {
			if err := s.endGiven(t.Context(), "alice", consentKey("alice", "desktop", files), "192.0.2.1"); err != nil {
				t.Fatal(err)
			}
		},
		"consent to less": func(t *testing.T, s *site, l lent) {
			op := s.consentOp("alice", &asking{client: &ledger.Client{ID: "desktop"}, resource: s.current().byID(files)}, oauth.Scopes{"files:write"})
			if err := s.ledger.Store.Commit(t.Context(), op); err != nil {
				t.Fatal(err)
			}
		},
		"person": end(ledger.Which{Person: "alice"}),
		"client": end(ledger.Which{Client: "desktop"}),
		"all":    end(ledger.Which{All: true}),
		"server": end(ledger.Which{Resource: files}),
		"left": func(t *testing.T, s *site, _ lent) {
			if _, err := s.ledger.Leave(t.Context(), "alice"); err != nil {
				t.Fatal(err)
			}
		},
		"left and back": func(t *testing.T, s *site, _ lent) {
			if _, err := s.ledger.Leave(t.Context(), "alice"); err != nil {
				t.Fatal(err)
			}
			if err := s.ledger.Return(t.Context(), "alice"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, nil)
			l := s.lend(t)
			before := len(s.grantsOf("alice"))
			change(t, s, l)
			if r := s.redeem(l.code); r.status != http.StatusBadRequest || r.text("error") != oauth.InvalidGrant {
				t.Error(r.brief())
			}
			if n := len(s.grantsOf("alice")); n != before {
				t.Errorf("%d grants more", n-before)
			}
		})
	}
}

// The same at the very moment: after the code was looked at and before its grant
// is there.
func TestBorrowedCodeWhileThingsEnd(t *testing.T) {
	for name, which := range map[string]ledger.Which{"person": {Person: "alice"}, "client": {Client: "desktop"}, "all": {All: true}, "server": {Resource: files}} {
		t.Run(name, func(t *testing.T) {
			s, db := countedSite(t)
			l := s.lend(t)
			meanwhile := func() {
				if _, err := s.ledger.End(t.Context(), which, "test"); err != nil {
					t.Error(err)
				}
			}
			db.before.Store(&meanwhile)
			if r := s.redeem(l.code); r.status != http.StatusBadRequest || r.text("error") != oauth.InvalidGrant {
				t.Error(r.brief())
			}
			for _, g := range s.grantsOf("alice") {
				if g.Ended.IsZero() {
					t.Errorf("a grant lives: %+v", g)
				}
			}
		})
	}
}

// The redemption is held to all that it stands on: nothing is made first and ended
// then. What only looks different now lets it through.
func TestBorrowedCodeIsHeldToWhatItStandsOn(t *testing.T) {
	consent := func(scopes ...string) func(*site) error {
		return func(s *site) error {
			return s.ledger.Store.Commit(t.Context(), s.consentOp("alice", &asking{client: &ledger.Client{ID: "desktop"}, resource: s.current().byID(files)}, scopes))
		}
	}
	end := func(w ledger.Which) func(*site) error {
		return func(s *site) error { _, err := s.ledger.End(t.Context(), w, "test"); return err }
	}
	for name, test := range map[string]struct {
		meanwhile func(*site) error
		ok        bool
	}{
		"person": {end(ledger.Which{Person: "alice"}), false},
		"server": {end(ledger.Which{Resource: files}), false},
		"left":   {func(s *site) error { _, err := s.ledger.Leave(t.Context(), "alice"); return err }, false},
		"signed out": {func(s *site) error {
			recs, _, err := s.ledger.Store.List(t.Context(), store.Query{Kind: ledger.KindSession, Index: "person=alice"})
			for _, r := range recs {
				err = errors.Join(err, s.ledger.EndSession(t.Context(), r.Key))
			}
			return err
		}, false},
		"consent taken back": {func(s *site) error {
			return s.endGiven(t.Context(), "alice", consentKey("alice", "desktop", files), "")
		}, false},
		"consent to less": {consent("files:write"), false},
		"consent to more": {consent("files:read", "files:write"), true},
		"account renamed": {func(s *site) error {
			acc, err := s.ledger.Account(t.Context(), "alice")
			acc.Name = "Alice"
			return errors.Join(err, s.ledger.Store.Commit(t.Context(), acc.Put()))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, db := countedSite(t)
			l := s.lend(t)
			before := len(s.grantsOf("alice"))
			meanwhile := func() {
				if err := test.meanwhile(s); err != nil {
					t.Error(err)
				}
			}
			db.before.Store(&meanwhile)
			r := s.redeem(l.code)
			if test.ok && r.status != http.StatusOK || !test.ok && (r.status != http.StatusBadRequest || r.text("error") != oauth.InvalidGrant) {
				t.Error(r.brief())
			}
			if made := len(s.grantsOf("alice")) - before; made != 0 && !test.ok || made != 1 && test.ok {
				t.Errorf("%d grants more", made)
			}
		})
	}
}

// And when the end has begun: what lets new grants be made goes before the
// grants are listed.
func TestBorrowedCodeWhenTheEndHasBegun(t *testing.T) {
	for name, which := range map[string]ledger.Which{"person": {Person: "alice"}, "client": {Client: "desktop"}, "all": {All: true}, "server": {Resource: files}} {
		t.Run(name, func(t *testing.T) {
			s, db := countedSite(t)
			code := s.lend(t).code
			for _, g := range s.grantsOf("alice") { // of the first time: nothing is left to end but what comes now
				if _, err := s.ledger.End(t.Context(), ledger.Which{Grant: g.ID}, "test"); err != nil {
					t.Fatal(err)
				}
			}
			redeem := func() {
				if r := s.redeem(code); r.status != http.StatusOK {
					t.Error(r.brief())
				}
			}
			db.before.Store(&redeem)
			receipt, err := s.ledger.End(t.Context(), which, "test")
			if err != nil || len(receipt.Grants) != 1 {
				t.Errorf("%+v, %v", receipt, err)
			}
		})
	}
}

// What must be written is written: the use of a pushed request, a consent. And
// what is too long for a URL is kept.
func TestCodesThatAreKept(t *testing.T) {
	s := newSite(t, nil)
	l := s.lend(t)
	for name, target := range map[string]string{
		"pushed":     s.push(t),
		"long nonce": s.ask("desktop", desktopCB, "nonce", strings.Repeat("n", 900)),
	} {
		code := l.b.get(target).arrived(t, "https://desktop.example.com/cb").Get("code")
		if len(code) != codeText {
			t.Errorf("%s: a code of %d characters", name, len(code))
		}
		if r := s.redeem(code); r.status != http.StatusOK {
			t.Errorf("%s: %s", name, r.brief())
		}
	}
	// A session that ends before the code would.
	s.clock.Add(int64(12*time.Hour - codeLife + time.Second))
	if code := l.b.get(s.ask("desktop", desktopCB)).arrived(t, "https://desktop.example.com/cb").Get("code"); len(code) != codeText {
		t.Errorf("a code of %d characters stands on a session that is almost over", len(code))
	}
}

// covers: SEC-11, AS-CODE-02
func TestParallelRedemptionsOfABorrowedCode(t *testing.T) {
	s := newSite(t, nil)
	twin, err := New(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { twin.Close() })
	f := form("grant_type="+oauth.AuthorizationCode, "code="+s.lend(t).code, "code_verifier="+verifier)
	replies := together(200, []*Server{s.Server, twin}, desktopOfSite, f)
	ok := succeeded(replies)
	if len(ok) != 1 {
		t.Fatalf("%d redemptions succeeded", len(ok))
	}
	g, err := s.ledger.Grant(t.Context(), gid(t, ok[0].text("access_token")))
	if err != nil || g.Ended.IsZero() {
		t.Errorf("the grant lives on: %+v, %v", g, err)
	}
}

// No byte of it can be changed, and nothing that we did not make is one.
func FuzzBorrowedCode(f *testing.F) {
	key := newMACKey([]byte("0123456789abcdef0123456789abcdef"))
	good := borrowedCode{grant: "AAAAAAAAAAAAAAAAAAAAAA", session: "s", until: time.UnixMilli(1785229200000), client: "c", redirect: "https://a.example/cb", resource: files,
		scopes: "a b", nonce: "n", proof: "p", key: "k"}
	text := good.text(key)
	f.Add(text, 0, byte(0))
	f.Add(text, 12, byte(1))
	f.Add(strings.Repeat("A", 200), 3, byte(2))
	f.Fuzz(func(t *testing.T, other string, at int, with byte) {
		if got, ok := parseBorrowed(key, other); ok && (other != text || got != good) {
			t.Errorf("%q is taken: %+v", other, got)
		}
		b := []byte(text)
		if at >= 0 && at < len(b) && with != 0 {
			b[at] ^= with
			if got, ok := parseBorrowed(key, string(b)); ok {
				t.Errorf("changed at %d: %+v", at, got)
			}
		}
	})
}
