package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"doorward/internal/audit"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
	"doorward/store/sqlite"
)

func open(t *testing.T) *ledger.Ledger {
	t.Helper()
	s, err := sqlite.Open(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &ledger.Ledger{Store: s}
}

func grant(id, person, client, resource string) ledger.Grant {
	now := time.Now()
	return ledger.Grant{
		Grant: oauth.Grant{ID: id, Subject: oauth.Subject{ID: person}, Client: client, Resource: resource, Issuer: "https://idp.example",
			Scopes: oauth.Scopes{"read"}, Created: now, Expires: now.Add(time.Hour)},
		TokensUntil: now.Add(time.Hour),
	}
}

func put(t *testing.T, l *ledger.Ledger, grants ...ledger.Grant) {
	t.Helper()
	for _, g := range grants {
		if err := l.Store.Commit(context.Background(), g.Put()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEndEndsWhatIsNamedAndNothingElse(t *testing.T) {
	all := []ledger.Grant{
		grant("g1", "corp/alice", "desktop", "https://a.example/mcp"),
		grant("g2", "corp/alice", "agent", "https://b.example/mcp"),
		grant("g3", "corp/bob", "desktop", "https://b.example/mcp"),
		grant("g4", "corp/alicia", "phone", "https://a.example/mcp2"),
	}
	for name, c := range map[string]struct {
		which ledger.Which
		ended []string
	}{
		"a person":   {ledger.Which{Person: "corp/alice"}, []string{"g1", "g2"}},
		"a client":   {ledger.Which{Client: "desktop"}, []string{"g1", "g3"}},
		"a server":   {ledger.Which{Resource: "https://b.example/mcp"}, []string{"g2", "g3"}},
		"an issuer":  {ledger.Which{Issuer: "https://idp.example"}, []string{"g1", "g2", "g3", "g4"}},
		"one grant":  {ledger.Which{Grant: "g2"}, []string{"g2"}},
		"everything": {ledger.Which{All: true}, []string{"g1", "g2", "g3", "g4"}},
		"a stranger": {ledger.Which{Person: "corp/ali"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := open(t)
			put(t, l, all...)
			ended, err := l.WatchEnded(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			rec, err := l.End(t.Context(), c.which, "test")
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]bool{}
			for _, id := range c.ended {
				want[id] = true
			}
			if len(rec.Grants) != len(want) {
				t.Errorf("the receipt has %d grants, want %d", len(rec.Grants), len(want))
			}
			for _, g := range all {
				now, err := l.Grant(t.Context(), g.ID)
				if err != nil {
					t.Fatal(err)
				}
				if now.Active(time.Now()) == want[g.ID] || ended.Has(g.ID) != want[g.ID] {
					t.Errorf("%s: active=%v known as ended=%v, want ended=%v", g.ID, now.Active(time.Now()), ended.Has(g.ID), want[g.ID])
				}
			}
		})
	}
}

func TestEndNamesNothing(t *testing.T) {
	if _, err := open(t).End(t.Context(), ledger.Which{}, "test"); err == nil {
		t.Error("an empty Which ended something")
	}
}

// Ending races with refreshes of the same grant: whatever the order, it ends.
func TestEndRacesWithWrites(t *testing.T) {
	l := open(t)
	put(t, l, grant("g1", "corp/alice", "desktop", "https://a.example/mcp"))
	ctx := t.Context()
	var writers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		writers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				g, err := l.Grant(ctx, "g1")
				if err != nil || !g.Ended.IsZero() {
					continue
				}
				g.TokensUntil = g.TokensUntil.Add(time.Second)
				if err := l.Store.Commit(ctx, g.Put()); err != nil && !errors.Is(err, store.ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	rec, err := l.End(ctx, ledger.Which{Person: "corp/alice"}, "test")
	close(stop)
	writers.Wait()
	if err != nil || len(rec.Grants) != 1 {
		t.Fatalf("End: %v, %d grants", err, len(rec.Grants))
	}
	if g, err := l.Grant(ctx, "g1"); err != nil || g.Ended.IsZero() {
		t.Errorf("the grant lives on (%v)", err)
	}
}

func TestLeave(t *testing.T) {
	l := open(t)
	ctx := t.Context()
	put(t, l, grant("g1", "corp/alice", "desktop", "https://a.example/mcp"))
	for _, kind := range []store.Kind{ledger.KindSession, ledger.KindConsent} {
		r := store.Record{Kind: kind, Key: "k", Value: []byte("{}"), Expires: time.Now().Add(time.Hour), Index: []string{"person=corp/alice"}}
		if err := l.Store.Commit(ctx, store.Put(r)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.CheckPerson(ctx, "corp/alice"); err != nil {
		t.Fatal(err)
	}
	rec, err := l.Leave(ctx, "corp/alice")
	if err != nil {
		t.Fatal(err)
	}
	if len(rec.Grants) != 1 || rec.Sessions != 1 || rec.Consents != 1 {
		t.Errorf("receipt %+v", rec)
	}
	if err := l.CheckPerson(ctx, "corp/alice"); !errors.Is(err, ledger.ErrLeft) {
		t.Errorf("CheckPerson: %v", err)
	}
	if rec, err := l.Leave(ctx, "corp/alice"); err != nil || len(rec.Grants) != 0 {
		t.Errorf("leaving twice: %v %+v", err, rec)
	}
	if err := l.Return(ctx, "corp/alice"); err != nil {
		t.Fatal(err)
	}
	if err := l.CheckPerson(ctx, "corp/alice"); err != nil {
		t.Errorf("after the return: %v", err)
	}
	if g, err := l.Grant(ctx, "g1"); err != nil || g.Ended.IsZero() {
		t.Error("what ended came back with the person")
	}
}

func TestFindPerson(t *testing.T) {
	l := open(t)
	for _, a := range []ledger.Account{
		{ID: "corp/alice", Provider: "corp", Account: "alice", Email: "alice@example.com"},
		{ID: "corp/bob", Provider: "corp", Account: "bob", Email: "bob@example.com"},
		{ID: "other/bob", Provider: "other", Account: "bob", Email: "bob@other.example"},
	} {
		if err := l.Store.Commit(t.Context(), a.Put()); err != nil {
			t.Fatal(err)
		}
	}
	for typed, want := range map[string]string{"corp/alice": "corp/alice", "alice": "corp/alice", "ALICE@example.com": "corp/alice", "bob@other.example": "other/bob"} {
		if got, err := l.FindPerson(t.Context(), typed); got != want || err != nil {
			t.Errorf("%s: %q, %v", typed, got, err)
		}
	}
	if _, err := l.FindPerson(t.Context(), "bob"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("two people called bob: %v", err)
	}
	for _, typed := range []string{"carol", ""} {
		if _, err := l.FindPerson(t.Context(), typed); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%q: %v", typed, err)
		}
	}
}

func TestOnEnd(t *testing.T) {
	l := open(t)
	put(t, l, grant("g1", "corp/alice", "desktop", "https://a.example/mcp"), grant("g2", "corp/bob", "desktop", "https://a.example/mcp"))
	ended, err := l.WatchEnded(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]int{}
	var mu sync.Mutex
	note := func(id string) func() { return func() { mu.Lock(); calls[id]++; mu.Unlock() } }
	ended.OnEnd("g1", note("g1"))
	cancel := ended.OnEnd("g1", note("cancelled"))
	ended.OnEnd("g2", note("g2"))
	cancel()
	if _, err := l.End(t.Context(), ledger.Which{Grant: "g1"}, "test"); err != nil {
		t.Fatal(err)
	}
	ended.OnEnd("g1", note("late"))
	mu.Lock()
	defer mu.Unlock()
	if fmt.Sprint(calls) != "map[g1:1 late:1]" {
		t.Errorf("called: %v", calls)
	}
}

// A process that starts later knows what ended before.
func TestWatchEndedKnowsThePast(t *testing.T) {
	l := open(t)
	put(t, l, grant("g1", "corp/alice", "desktop", "https://a.example/mcp"))
	if _, err := l.End(t.Context(), ledger.Which{All: true}, "test"); err != nil {
		t.Fatal(err)
	}
	ended, err := l.WatchEnded(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !ended.Has("g1") {
		t.Error("an ended grant is forgotten by who starts later")
	}
}

func TestAuditSink(t *testing.T) {
	l := open(t)
	log := audit.New(func(err error) { t.Error(err) }, l.AuditSink())
	for i := range 3 {
		log.Add(audit.Event{Action: fmt.Sprint("test.", i), Outcome: "ok"})
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	recs, _, err := l.Store.List(context.Background(), store.Query{Kind: ledger.KindAudit})
	if err != nil || len(recs) != 3 {
		t.Errorf("%d events kept, %v", len(recs), err)
	}
}

// faltering is a store that takes so many commits and no more.
type faltering struct {
	store.Store
	left int
}

var errFaltered = errors.New("the disk is full")

func (f *faltering) Commit(ctx context.Context, ops ...store.Op) error {
	if f.left--; f.left < 0 {
		return errFaltered
	}
	return f.Store.Commit(ctx, ops...)
}

// Wherever an end stops, its event is there exactly if something has ended, and
// once.
func TestEndIsWrittenDownWithTheFirst(t *testing.T) {
	for name, c := range map[string]struct {
		which   ledger.Which
		commits int // that do something of it
	}{
		"nobody":   {ledger.Which{Person: "nobody"}, 0},
		"a person": {ledger.Which{Person: "alice"}, 2},                   // a consent, and the grants
		"a server": {ledger.Which{Resource: "https://a.example/mcp"}, 2}, // the codes of which nothing lies here, and the grants
		"a grant":  {ledger.Which{Grant: "g1"}, 1},
	} {
		for n := range c.commits + 1 {
			l := open(t)
			put(t, l, grant("g1", "alice", "desktop", "https://a.example/mcp"), grant("g2", "alice", "desktop", "https://a.example/mcp"))
			if err := l.Store.Commit(t.Context(), store.Put(store.Record{Kind: ledger.KindConsent, Key: "c", Index: []string{"person=alice"}})); err != nil {
				t.Fatal(err)
			}
			event := l.AuditOp(audit.Event{Action: "revoke"})
			inner := l.Store
			l.Store = &faltering{inner, n}
			rec, err := l.End(t.Context(), c.which, "test", event)
			if errors.Is(err, errFaltered) != (n < c.commits) {
				t.Fatalf("%s, %d commits: %v", name, n, err)
			}
			recs, _, err := inner.List(t.Context(), store.Query{Kind: ledger.KindAudit})
			if err != nil || len(recs) != min(n, 1) {
				t.Errorf("%s, %d commits: %d events (%v)", name, n, len(recs), err)
			}
			if rec.Noted != (len(recs) == 1) {
				t.Errorf("%s, %d commits: %d events, but the receipt says %v", name, n, len(recs), rec.Noted)
			}
		}
	}
}
