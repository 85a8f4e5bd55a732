package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"doorward/store"
)

func same(t *testing.T, b *bed) {
	at := func(v uint64) store.Op { return store.Same(kind, "k", v) }
	with := store.Put(record("with", ""))
	b.commit(at(0))
	b.refused(store.ErrConflict, with, at(1))
	b.absent("with", "k")
	b.commit(store.Put(record("k", "v")))
	b.refused(store.ErrConflict, at(0), with)
	b.refused(store.ErrConflict, store.Add(record("with", "")), at(2))
	b.absent("with")
	b.commit(at(1), with)
	if got := b.get("k"); got.Version != 1 || string(got.Value) != "v" {
		t.Errorf("it was written: %+v", got)
	}
	b.commit(store.Take(kind, "k"), at(2)) // it sees the ops before it
	b.refused(store.ErrConflict, at(1))
	b.refused(store.ErrConflict, at(2), store.Put(record("k", "more")), at(2))
	b.commit(store.Delete(kind, "k"), at(0))
	b.refused(store.ErrConflict, at(2))

	r := record("k", "anew")
	r.Expires = b.in(time.Minute)
	b.commit(store.Create(r), at(1))
	b.commit(store.Same("other", "k", 0), at(1))
	b.clock.advance(time.Minute)
	b.refused(store.ErrConflict, at(1))
	b.commit(at(0))
	if err := b.Commit(t.Context(), store.Same(store.KindOnce, "name", 0)); err == nil {
		t.Error("it was asked for a name of Once")
	}
}

// Of a commit that stands on a record and one that ends it either comes first.
func sameWhileChanged(t *testing.T, b *bed) {
	for i := range 50 {
		gate, made := fmt.Sprint("gate ", i), fmt.Sprint("made ", i)
		b.commit(store.Put(record(gate, "")))
		errs := race(8, func(n int) error {
			if n == 0 {
				if err := b.Commit(t.Context(), store.Delete(kind, gate)); err != nil {
					return err
				}
				// Whatever was let through is there by now.
				_, err := b.Get(t.Context(), kind, made)
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					return err
				}
				return b.Commit(t.Context(), store.Put(record(gate+" saw", fmt.Sprint(err == nil))))
			}
			err := b.Commit(t.Context(), store.Same(kind, gate, 1), store.Put(record(made, "")))
			if errors.Is(err, store.ErrConflict) {
				return nil
			}
			return err
		})
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		_, err := b.Get(t.Context(), kind, made)
		if saw := string(b.get(gate + " saw").Value); saw != fmt.Sprint(err == nil) {
			t.Fatalf("after the end: made %s; later: %v", saw, err)
		}
	}
}
