package authserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// bringJAG redeems an ID-JAG as the client desktop.
func (w *world) bringJAG(s *Server, jag string, more ...string) reply {
	return post(s, "/token", desktop, form(append(more, "grant_type="+oauth.JWTBearer, "assertion="+jag)...))
}

// stated is the grant of a new ID-JAG with claims changed.
func (w *world) stated(t *testing.T, change map[string]any, more ...string) string {
	t.Helper()
	r := w.bringJAG(w.as, w.jag(t, change), more...)
	if r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	return gid(t, r.text("access_token"))
}

// grantsOf are all grants of a person, ended or not.
func (w *world) grantsOf(t *testing.T, person string) []ledger.Grant {
	t.Helper()
	grants, next, err := w.as.ledger.Grants(t.Context(), ledger.Which{Person: person}, "")
	if err != nil || next != "" {
		t.Fatal(err, next)
	}
	return grants
}

// What an issuer says again is the same grant, whatever the ID-JAG is called and
// when it was made; anything else that it says is another one, and so is the same
// in the next part of the day.
//
// covers: AS-JAG-13, AS-JAG-17
func TestSameStatementSameGrant(t *testing.T) {
	w := newWorld(t, func(as, _ *Config) {
		as.AuthorizationDetails = map[string]DetailType{"payment": payment}
		as.Clients["laptop"] = Client{Secret: "laptop-secret-0123456789", RedirectURIs: []string{"http://127.0.0.1/callback"}}
	})
	login := w.now().Add(-time.Hour).Unix()
	said := map[string]any{"auth_time": login, "groups": []string{"a", "b"}, "name": "Alice", "acr": "gold", "amr": []string{"mfa"}}
	first := w.stated(t, said)
	w.forward(10 * time.Minute)
	for what, again := range map[string]string{
		"said again":              w.stated(t, said),
		"for less than it states": w.stated(t, said, "scope=files:read"),
	} {
		if again != first {
			t.Errorf("%s: another grant", what)
		}
	}
	seen := map[string]string{first: "the first"}
	for what, change := range map[string]map[string]any{
		"sub": {"sub": "bob"}, "email": {"email": "al@corp.example"}, "no email": {"email": nil}, "name": {"name": "Al"}, "groups": {"groups": []string{"a"}},
		"groups as one": {"groups": []string{`a","b`}}, "unknown groups": {"hasgroups": true, "groups": nil}, "auth_time": {"auth_time": login + 1}, "acr": {"acr": "silver"}, "amr": {"amr": []string{"pwd"}},
		"scope": {"scope": "files:read"}, "resource": {"resource": notesURL, "scope": "notes:read"}, "details": {"authorization_details": json.RawMessage(pay)},
	} {
		claims := map[string]any{}
		for _, from := range []map[string]any{said, change} {
			for name, v := range from {
				claims[name] = v
			}
		}
		id := w.stated(t, claims)
		if other := seen[id]; other != "" {
			t.Errorf("%s: the grant of %s", what, other)
		}
		seen[id] = what
	}
	key := newProofKey(t)
	for _, bound := range []bool{true, false} { // bound to a key by the issuer, or only the token
		claims := map[string]any{"cnf": map[string]string{"jkt": key.ID()}}
		if !bound {
			delete(claims, "cnf")
		}
		for name, v := range said {
			claims[name] = v
		}
		r, _ := proved(t, w.as, key, desktop, "grant_type="+oauth.JWTBearer, "assertion="+w.jag(t, claims))
		got := send(w.as, r)
		if got.status != http.StatusOK || (gid(t, got.text("access_token")) == first) == bound {
			t.Errorf("bound to a key: %t: %d %s", bound, got.status, got.body)
		}
	}
	rec, err := w.as.ledger.Grant(t.Context(), first)
	if err != nil || !rec.Expires.Equal(rec.TokensUntil) || rec.Expires.Sub(rec.Created) > statementSpan+time.Hour || rec.Expires.Before(w.now().Add(time.Hour)) {
		t.Errorf("%+v %v", rec, err)
	}
	w.forward(statementSpan)
	if w.stated(t, said) == first {
		t.Error("the same grant eight hours later")
	}
}

// What the issuer says of a person counts from then on, also where the grant is
// an older one.
func TestStandingGrantKeepsTheAccountFresh(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"Alice", "Alice B.", "Alice"} {
		w.stated(t, map[string]any{"name": name})
		if acc, err := w.as.ledger.Account(t.Context(), "corp/alice"); err != nil || acc.Name != name {
			t.Errorf("%q, %v, want %q", acc.Name, err, name)
		}
	}
	if n := len(w.grantsOf(t, "corp/alice")); n != 2 {
		t.Errorf("%d grants", n)
	}
}

// Grants that were ended stay ended, for the ID-JAGs that were brought before
// under every policy; a new one makes the next, however many were ended.
//
// covers: AS-JAG-09
func TestEndedStatement(t *testing.T) {
	for _, policy := range []string{replayAuto, replayUntilExpiry} {
		t.Run(policy, func(t *testing.T) {
			w := newWorld(t, func(as, _ *Config) {
				corp := as.Issuers["corp"]
				corp.Replay = policy
				as.Issuers["corp"] = corp
			})
			seen := map[string]bool{}
			for n := range maxEnded + 3 {
				jag, other := w.jag(t, nil), w.jag(t, nil)
				r := w.bringJAG(w.as, jag)
				if r.status != http.StatusOK || seen[gid(t, r.text("access_token"))] {
					t.Fatalf("%d ends: %d %s", n, r.status, r.body)
				}
				id := gid(t, r.text("access_token"))
				if seen[id] = true; w.as.ended.Has(id) {
					t.Fatal("a token of a grant that was ended")
				}
				if again := w.bringJAG(w.as, jag); again.status != http.StatusOK || gid(t, again.text("access_token")) != id {
					t.Errorf("%d ends: the same ID-JAG again: %s", n, again.body)
				}
				if r := w.bringJAG(w.as, other); n < maxEnded && gid(t, r.text("access_token")) != id {
					t.Errorf("%d ends: the same statement is another grant", n)
				}
				if r := post(w.as, "/revoke", desktop, form("token="+r.text("access_token"))); r.status != http.StatusOK {
					t.Fatal(r.body)
				}
				for range 2 {
					if r := w.bringJAG(w.as, jag); r.text("error") != oauth.InvalidGrant {
						t.Errorf("the ID-JAG of an ended grant: %d %s", r.status, r.body)
					}
				}
			}
		})
	}
}

// The mark of an end covers the last token that names the grant, also where
// tokens were made to live longer meanwhile, and at the end of the span.
func TestStandingGrantOutlivesItsTokens(t *testing.T) {
	w := newWorld(t)
	lives := func(who string, f func() reply) {
		t.Helper()
		r := f()
		if !holdsRecord(t, w.as, r) {
			t.Fatalf("%s: %d %s", who, r.status, r.body)
		}
	}
	byJAG := func() reply { return w.bringJAG(w.as, w.jag(t, nil)) }
	byItself := func() reply { return post(w.as, "/token", "agent "+agentSecret, form("grant_type=client_credentials")) }
	longer := func(life time.Duration) {
		cfg := w.asCfg
		cfg.Tokens.AccessIDJAG, cfg.Tokens.Access = life, life
		if err := w.as.Reload(cfg); err != nil {
			t.Fatal(err)
		}
	}
	span := w.now().UTC().Truncate(statementSpan).Add(statementSpan)
	lives("first", byJAG)
	lives("first", byItself)
	w.forward(span.Sub(w.now()) - time.Nanosecond)
	lives("at the end of the span", byJAG)
	w.forward(time.Nanosecond)
	lives("after it", byJAG)
	for _, life := range []time.Duration{20 * time.Hour, 100 * time.Hour, time.Minute} {
		longer(life)
		lives(fmt.Sprint("tokens of ", life), byJAG)
		lives(fmt.Sprint("tokens of ", life), byItself)
	}
	if n := len(w.grantsOf(t, "corp/alice")); n != 2 {
		t.Errorf("%d grants", n)
	}
}

// However many come at once at two servers, they make one grant, and no jti is
// spent in vain.
//
// covers: SEC-14
func TestCrowdMakesOneGrant(t *testing.T) {
	w := newWorld(t)
	servers := []*Server{w.as, w.replica(t)}
	const n = 200
	var jags [n]string
	for i := range jags {
		jags[i] = w.jag(t, map[string]any{"sub": "crowd"})
	}
	var wg sync.WaitGroup
	var replies [n]reply
	for i := range n {
		wg.Go(func() { replies[i] = w.bringJAG(servers[i%2], jags[i]) })
	}
	wg.Wait()
	for _, r := range replies {
		if r.status != http.StatusOK || gid(t, r.text("access_token")) != gid(t, replies[0].text("access_token")) {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	if got := w.grantsOf(t, "corp/crowd"); len(got) != 1 {
		t.Errorf("%d grants", len(got))
	}
}

// hooked is a store that does something before the next commit that uses up a name.
type hooked struct {
	store.Store
	before func()
}

func (h *hooked) Commit(ctx context.Context, ops ...store.Op) error {
	before := h.before
	if before != nil && slices.ContainsFunc(ops, func(op store.Op) bool { return op.Do == store.DoOnce }) {
		h.before = nil
		before()
	}
	return h.Store.Commit(ctx, ops...)
}

// A token that was made while its grant ended is not given out.
func TestEndDuringRedemption(t *testing.T) {
	db := &hooked{}
	w := newWorld(t, func(as, _ *Config) { db.Store = as.Store; as.Store = db })
	id := w.stated(t, nil)
	jag := w.jag(t, nil)
	db.before = func() {
		if _, err := w.as.ledger.End(t.Context(), ledger.Which{Grant: id}, "test"); err != nil {
			t.Error(err)
		}
	}
	if r := w.bringJAG(w.as, jag); r.text("error") != oauth.InvalidGrant {
		t.Errorf("%d %s", r.status, r.body)
	}
	if next := w.stated(t, nil); next == id || w.as.ended.Has(next) {
		t.Error("the next ID-JAG is none of a new grant")
	}
}

// A client that revoked its tokens more often than grants of a day are looked
// for still gets some, which can be ended.
//
// covers: AS-CC-04
func TestCredentialsRevokedOften(t *testing.T) {
	w := newWorld(t)
	seen := map[string]bool{}
	ask := func(s *Server) reply {
		return post(s, "/token", "agent "+agentSecret, form("grant_type=client_credentials"))
	}
	for n := range maxStanding + 3 {
		r := ask(w.as)
		if r.status != http.StatusOK {
			t.Fatalf("%d ends: %s", n, r.body)
		}
		id := gid(t, r.text("access_token"))
		if seen[id] || gid(t, ask(w.as).text("access_token")) != id {
			t.Fatalf("%d ends: the grant of one that ended, or another one the second time", n)
		}
		seen[id] = true
		if r := post(w.as, "/revoke", "agent "+agentSecret, form("token="+r.text("access_token"))); r.status != http.StatusOK || !w.as.ended.Has(id) {
			t.Fatalf("%d ends: %d %s", n, r.status, r.body)
		}
	}
	if r := ask(w.replica(t)); r.status != http.StatusOK || seen[gid(t, r.text("access_token"))] {
		t.Errorf("another process: %d %s", r.status, r.body)
	}
}
