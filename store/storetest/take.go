package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"doorward/store"
)

func take(t *testing.T, b *bed) {
	r := record("code", "grant", "client=c")
	r.Expires = b.in(time.Minute)
	b.refused(store.ErrNotFound, store.Take(kind, "code"))
	b.commit(store.Create(r))
	b.refused(store.ErrNotFound, store.Take("other", "code"))
	b.clock.advance(time.Second)
	at := b.clock.Now()
	b.commit(store.Take(kind, "code"))
	b.clock.advance(time.Second)
	b.refused(store.ErrTaken, store.Take(kind, "code"))

	got := b.get("code")
	if !got.Taken.Equal(at) || string(got.Value) != "grant" || !got.Expires.Equal(r.Expires) {
		t.Fatalf("got %+v, want it taken at %v", got, at)
	}
	if got.Version != 2 { // a take is a write: who read before it and puts after it conflicts
		t.Fatalf("version %d after the take, want 2", got.Version)
	}
	r.Version = 1
	b.refused(store.ErrConflict, store.Put(r))
	b.lists(store.Query{Kind: kind}, "code")
	b.lists(store.Query{Kind: kind, Index: "client=c"}, "code")

	b.clock.advance(time.Minute)
	b.absent("code")
	b.refused(store.ErrNotFound, store.Take(kind, "code"))
}

func takeOneWinner(t *testing.T, b *bed) {
	for round := range 5 {
		key := fmt.Sprint("code", round)
		b.commit(store.Create(record(key, "")))
		errs := race(50, func(i int) error {
			return b.Commit(t.Context(), store.Take(kind, key), store.Create(record(fmt.Sprint(key, "-", i), "")))
		})
		b.oneWinner(errs, store.ErrTaken)
		b.refused(store.ErrTaken, store.Take(kind, key))
		for i, err := range errs {
			if err == nil {
				b.get(fmt.Sprint(key, "-", i))
			} else {
				b.absent(fmt.Sprint(key, "-", i))
			}
		}
	}
}

func takenStaysTaken(t *testing.T, b *bed) {
	b.commit(store.Create(record("code", "one")), store.Take(kind, "code"))
	b.commit(store.Put(record("code", "two"))) // a later note on it does not bring it back
	if got := b.get("code"); string(got.Value) != "two" || got.Taken.IsZero() || got.Version != 3 {
		t.Fatalf("got %+v", got)
	}
	b.refused(store.ErrTaken, store.Take(kind, "code"))
	b.commit(store.Delete(kind, "code"), store.Create(record("code", "three")), store.Take(kind, "code"))
}

func takeInFailedCommit(t *testing.T, b *bed) {
	b.commit(store.Create(record("code", "")), store.Create(record("there", "")))
	errs := race(20, func(int) error {
		return b.Commit(t.Context(), store.Take(kind, "code"), store.Create(record("there", "")))
	})
	for _, err := range errs {
		if !errors.Is(err, store.ErrConflict) { // never ErrTaken: nobody took it
			t.Fatalf("%v, want %v", err, store.ErrConflict)
		}
	}
	b.commit(store.Take(kind, "code"))
}

func once(t *testing.T, b *bed) {
	b.commit(store.Once("jti", b.in(time.Minute)))
	b.refused(store.ErrSeen, store.Once("jti", b.in(time.Hour)))
	b.commit(store.Once("another", b.in(time.Minute)))
	b.clock.advance(time.Minute - time.Millisecond)
	b.refused(store.ErrSeen, store.Once("jti", b.in(time.Hour)))
	b.clock.advance(time.Millisecond)
	b.commit(store.Once("jti", b.in(time.Minute)))
	b.refused(store.ErrSeen, store.Once("jti", b.in(time.Hour)))

	b.commit(store.Once("for ever", time.Time{}))
	b.clock.advance(1000 * time.Hour)
	b.refused(store.ErrSeen, store.Once("for ever", time.Time{}))
}

func onceOneWinner(t *testing.T, b *bed) {
	for round := range 5 {
		name := fmt.Sprint("jti", round)
		b.oneWinner(race(50, func(int) error {
			return b.Commit(t.Context(), store.Once(name, b.in(time.Minute)))
		}), store.ErrSeen)
		b.refused(store.ErrSeen, store.Once(name, b.in(time.Minute)))
	}
}

func onceKeeps(t *testing.T, b *bed) {
	with := func(name, value string, until time.Time) store.Op {
		op := store.Once(name, until)
		op.Record.Value = []byte(value)
		return op
	}
	until := b.in(time.Minute)
	b.commit(with("jti", "first", until), store.Once("bare", until))
	b.refused(store.ErrSeen, with("jti", "second", b.in(time.Hour)))
	want := store.Record{Kind: store.KindOnce, Key: "jti", Value: []byte("first"), Expires: until, Version: 1}
	if got, err := b.Get(t.Context(), store.KindOnce, "jti"); err != nil || !equal(got, want) {
		t.Fatalf("got %+v, %v, want %+v", got, err, want)
	}
	b.lists(store.Query{Kind: store.KindOnce, Limit: 1}, "jti", "bare")
	b.lists(store.Query{Kind: store.KindOnce, Index: "any"})

	b.clock.advance(time.Minute)
	if _, err := b.Get(t.Context(), store.KindOnce, "jti"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("after its time: %v", err)
	}
	b.lists(store.Query{Kind: store.KindOnce})
	b.commit(with("jti", "third", b.in(time.Minute)))
	if got, err := b.Get(t.Context(), store.KindOnce, "jti"); err != nil || string(got.Value) != "third" {
		t.Fatalf("used again after its time: %+v, %v", got, err)
	}

	named := with("named", "", until)
	named.Record.Index = []string{"name"}
	r := store.Record{Kind: store.KindOnce, Key: "jti"}
	for _, op := range []store.Op{named, store.Put(r), store.Create(r), store.Add(r), store.Log(r),
		store.Take(store.KindOnce, "jti"), store.Delete(store.KindOnce, "jti"), {Do: store.DoOnce, Record: record("k", "")}} {
		if err := b.Commit(t.Context(), op); err == nil {
			t.Errorf("action %d: a name that is used once is written by Once only", op.Do)
		}
	}
	b.refused(store.ErrSeen, store.Once("jti", until))
}

// onceSwept checks that sweeps do not fall behind what is written, and take
// nothing that is to be remembered.
func onceSwept(t *testing.T, b *bed) {
	for round := range 40 {
		var ops []store.Op
		for i := range 100 {
			ops = append(ops, store.Once(fmt.Sprintf("%02d/%d", i, round), b.in(time.Second)))
		}
		b.commit(append(ops, store.Once(fmt.Sprint("stays", round), b.in(time.Hour)))...)
		b.clock.advance(time.Second)
		for n := 200; n == 200; {
			var err error
			if n, err = b.Sweep(t.Context(), 200); err != nil {
				t.Fatal(err)
			}
		}
		b.commit(store.Once(fmt.Sprintf("%02d/%d", round, round), b.in(time.Millisecond)))
		b.refused(store.ErrSeen, store.Once(fmt.Sprint("stays", round/2), b.in(time.Hour)))
	}
	b.clock.advance(30 * time.Minute)
	left := 0
	for {
		n, err := b.Sweep(t.Context(), 1000)
		if left += n; err != nil || left > 200 {
			t.Fatalf("%d were left, %v", left, err)
		}
		if n == 0 {
			break
		}
	}
	b.refused(store.ErrSeen, store.Once("stays0", b.in(time.Hour)))
}
