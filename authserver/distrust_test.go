package authserver

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// withoutIssuers trusts nobody.
func withoutIssuers(w *world) Config {
	cfg := w.asConfig(nil)
	cfg.Issuers = nil
	return cfg
}

func (w *world) redeemedJAG(t *testing.T) string {
	t.Helper()
	r := post(w.as, "/token", desktop, form("grant_type="+oauth.JWTBearer, "assertion="+w.jag(t, nil)))
	if r.status != 200 {
		t.Fatal(r.body)
	}
	return r.text("access_token")
}

// An issuer that was taken out while the server did not run: what came of it is
// over when it starts again.
func TestDistrustedAtStart(t *testing.T) {
	w := newWorld(t)
	token := w.redeemedJAG(t)
	cfg := withoutIssuers(w)
	cfg.Store = w.asCfg.Store
	second, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if !second.ended.Has(gid(t, token)) {
		t.Error("what came of it has not ended")
	}
	// A process that still has the old configuration goes on to honour it; what
	// came of that ends when it has the new one, too.
	late := w.redeemedJAG(t)
	if err := second.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if !second.ended.Has(gid(t, late)) {
		t.Error("what another process made meanwhile has not ended")
	}
	same, err := New(w.asCfg)
	if err != nil {
		t.Fatal(err)
	}
	defer same.Close()
	w.as = same
	again := w.redeemedJAG(t)
	third, err := New(w.asCfg)
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	if third.ended.Has(gid(t, again)) {
		t.Error("a start with the same issuers ended something")
	}
}

// Whatever is under way when an issuer is taken out: no grant of it outlives that.
func TestDistrustedMeanwhile(t *testing.T) {
	for range 5 {
		w := newWorld(t)
		w.redeemedJAG(t)
		const n = 60
		tokens := make([]string, n)
		for i := range tokens {
			tokens[i] = w.jag(t, nil)
		}
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				if i == n/2 {
					if err := w.as.Reload(withoutIssuers(w)); err != nil {
						t.Error(err)
					}
					return
				}
				r := post(w.as, "/token", desktop, form("grant_type="+oauth.JWTBearer, "assertion="+tokens[i]))
				if r.status != 200 && r.text("error") != oauth.InvalidGrant {
					t.Errorf("%d %s", r.status, r.body)
				}
			})
		}
		all.Wait()
		recs, _, err := w.as.ledger.Store.List(context.Background(), store.Query{Kind: ledger.KindGrant, Index: "issuer=" + idpURL, Limit: 500})
		if err != nil || len(recs) == 0 {
			t.Fatalf("%d grants, %v", len(recs), err)
		}
		for _, r := range recs {
			g, err := w.as.ledger.Grant(context.Background(), r.Key)
			if err != nil {
				t.Fatal(err)
			}
			if g.Ended.IsZero() || !w.as.ended.Has(g.ID) {
				t.Errorf("a grant of it lives: %+v", g)
			}
		}
	}
}

// A store that fails in the middle: either the reload fails and changes nothing,
// or the rest is done later.
func TestDistrustedDespiteFaults(t *testing.T) {
	faults := 0
	for n := 1; ; n++ {
		f := &faulty{}
		w := newWorld(t, func(as, _ *Config) { f.Store = as.Store; as.Store = f })
		token := w.redeemedJAG(t)
		f.arm(n, false)
		err := w.as.Reload(withoutIssuers(w))
		tripped := f.disarm()
		if err != nil {
			if !tripped || w.as.ended.Has(gid(t, token)) {
				t.Fatalf("fault %d: %v, and the grant has ended", n, err)
			}
			w.redeemedJAG(t)
			continue
		}
		if tripped {
			faults++
			if err := w.as.finishDistrusted(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if !w.as.ended.Has(gid(t, token)) {
			t.Errorf("fault %d: the grant lives", n)
		}
		if !tripped {
			break
		}
	}
	if faults < 2 {
		t.Errorf("only %d faults met the end of the grants", faults)
	}
}

// between runs something once after the list of issuers was read.
type between struct {
	store.Store
	then func()
}

func (b *between) Get(ctx context.Context, kind store.Kind, key string) (store.Record, error) {
	r, err := b.Store.Get(ctx, kind, key)
	if then := b.then; then != nil && kind == ledger.KindMeta && key == metaTrusted {
		b.then = nil
		then()
	}
	return r, err
}

// Two processes that start at once, and reload at once, write down the issuers of
// both.
func TestTrustedIssuersOfTwoProcesses(t *testing.T) {
	w := newWorld(t)
	other := func(name string) Config {
		cfg := w.asConfig(w.asCfg.Store)
		cfg.Issuers = map[string]TrustedIssuer{name: {Issuer: "https://" + name + ".example"}}
		return cfg
	}
	start := func(cfg Config) *Server {
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	cfg := other("one")
	b := &between{Store: cfg.Store, then: func() { start(other("two")) }}
	cfg.Store = b
	s := start(cfg)
	b.then = func() { start(other("three")) }
	if err := s.Reload(other("four")); err != nil {
		t.Fatal(err)
	}
	all, _, err := s.lastTrusted(t.Context())
	for _, name := range []string{"one", "two", "three", "four"} {
		if err != nil || !slices.Contains(all, "https://"+name+".example") {
			t.Errorf("%s is not in %v (%v)", name, all, err)
		}
	}
}

// endEvents are the events of an action that lie in the store at this moment.
func endEvents(t *testing.T, db store.Store, action string) (n int) {
	t.Helper()
	recs, _, err := db.List(t.Context(), store.Query{Kind: ledger.KindAudit, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range recs {
		if strings.Contains(string(r.Value), `"`+action+`"`) {
			n++
		}
	}
	return n
}

// What an end is in the audit is in the commit that ends the grants: wherever
// the store fails, there is one exactly if they have ended.
func TestEndsAreInTheAuditAtOnce(t *testing.T) {
	for name, end := range map[string]struct {
		action string
		do     func(w *world, user, token string) error
	}{
		"an issuer is taken out": {"revoke", func(w *world, _, _ string) error {
			err := w.as.Reload(withoutIssuers(w))
			if err == nil {
				err = w.as.finishDistrusted(t.Context())
			}
			return err
		}},
		"a directory takes a person out": {"leave", func(w *world, user, _ string) error {
			if r := provisioning(w.as, "DELETE", "/Users/"+user, ""); r.status != http.StatusNoContent {
				return errors.New(r.body)
			}
			return nil
		}},
		"a client revokes": {"revoke", func(w *world, _, token string) error {
			if r := post(w.as, "/revoke", desktop, form("token="+token)); r.status != http.StatusOK {
				return errors.New(r.body)
			}
			return nil
		}},
	} {
		for n := 1; ; n++ {
			f := &faulty{}
			w := newWorld(t, withDirectory, func(as, _ *Config) { f.Store = as.Store; as.Store = f })
			user := provisioning(w.as, "POST", "/Users", `{"userName":"alice","externalId":"alice"}`).text("id")
			token := w.redeemedJAG(t)
			f.arm(n, false)
			err := end.do(w, user, token)
			tripped := f.disarm()
			ended, said := w.as.ended.Has(gid(t, token)), endEvents(t, f.Store, end.action)
			if ended != (said == 1) || said > 1 || err == nil && !ended {
				t.Errorf("%s, fault %d: ended %t, %d events (%v)", name, n, ended, said, err)
			}
			if !tripped {
				break
			}
		}
	}
}
