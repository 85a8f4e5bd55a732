package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"doorward/store"
)

func getWhatWasPut(t *testing.T, b *bed) {
	key := "k\x00\xff/é"
	want := store.Record{
		Kind: kind, Key: key, Value: []byte("v\x00\xff"), Expires: b.in(1234 * time.Millisecond),
		Index: []string{"person=corp/alice", "n\x00\xff"},
	}
	b.commit(store.Put(want))
	want.Version = 1
	if got := b.get(key); !equal(got, want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	b.commit(store.Put(store.Record{Kind: kind, Key: "bare"}))
	if got := b.get("bare"); !equal(got, store.Record{Kind: kind, Key: "bare", Version: 1}) || !got.Expires.IsZero() || !got.Taken.IsZero() {
		t.Fatalf("got %+v", got)
	}
	b.absent("other")
	if _, err := b.Get(t.Context(), "other", key); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("other kind: %v", err)
	}
}

func putOver(t *testing.T, b *bed) {
	r := record("k", "one", "a")
	r.Expires = b.in(time.Hour)
	b.commit(store.Put(r))
	b.commit(store.Put(record("k", "two")))
	want := record("k", "two")
	want.Version = 2
	if got := b.get("k"); !equal(got, want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
}

func putOverVersion(t *testing.T, b *bed) {
	over := func(v uint64) store.Op {
		r := record("k", fmt.Sprint("over ", v))
		r.Version = v
		return store.Put(r)
	}
	b.refused(store.ErrConflict, over(1)) // nothing is there
	b.absent("k")
	b.commit(store.Put(record("k", "first")))
	b.refused(store.ErrConflict, over(2))
	b.commit(over(1))
	b.refused(store.ErrConflict, over(1))
	if got := b.get("k"); string(got.Value) != "over 1" || got.Version != 2 {
		t.Fatalf("got %+v", got)
	}
	b.commit(store.Delete(kind, "k"))
	b.refused(store.ErrConflict, over(2))
	b.absent("k")
}

func create(t *testing.T, b *bed) {
	b.commit(store.Create(record("k", "one")))
	b.refused(store.ErrConflict, store.Create(record("k", "two")))
	if got := b.get("k"); string(got.Value) != "one" || got.Version != 1 {
		t.Fatalf("got %+v", got)
	}
	b.commit(store.Take(kind, "k"))
	b.refused(store.ErrConflict, store.Create(record("k", "two")))
}

func add(t *testing.T, b *bed) {
	b.commit(store.Add(record("k", "one", "a")), store.Add(record("l", "two")))
	if got := b.get("k"); string(got.Value) != "one" || got.Version != 1 {
		t.Fatalf("got %+v", got)
	}
	b.lists(store.Query{Kind: kind, Index: "a"}, "k")
	if err := b.Commit(t.Context(), store.Put(record("m", "")), store.Add(record("k", "again"))); err == nil {
		t.Fatal("added what is there")
	}
	b.absent("m")
	if got := b.get("k"); string(got.Value) != "one" || got.Version != 1 {
		t.Fatalf("left %+v", got)
	}
	b.commit(store.Add(record("n", "three")), store.Take(kind, "n"))
}

func deleteRecord(t *testing.T, b *bed) {
	b.commit(store.Delete(kind, "k"))
	b.commit(store.Put(record("k", "v", "a")))
	b.commit(store.Delete("other", "k"))
	b.get("k")
	b.commit(store.Delete(kind, "k"))
	b.absent("k")
	b.lists(store.Query{Kind: kind})
	b.lists(store.Query{Kind: kind, Index: "a"})
	b.refused(store.ErrNotFound, store.Take(kind, "k"))
	b.commit(store.Create(record("k", "again")), store.Take(kind, "k"))
	b.commit(store.Delete(kind, "k"))
	b.absent("k")
	b.commit(store.Create(record("k", "third")))
	if got := b.get("k"); got.Version != 1 || !got.Taken.IsZero() {
		t.Fatalf("made anew: %+v", got)
	}
}

func allOrNothing(t *testing.T, b *bed) {
	b.commit(
		store.Put(record("old", "before", "before")),
		store.Put(record("doomed", "still here")),
		store.Put(record("code", "")),
		store.Put(record("gone", "")), store.Take(kind, "gone"),
		store.Once("seen", b.in(time.Hour)),
	)
	wrong := record("old", "")
	wrong.Version = 9
	for name, last := range map[string]store.Op{
		"take what is missing": store.Take(kind, "missing"),
		"take what is taken":   store.Take(kind, "gone"),
		"create what is there": store.Create(record("old", "")),
		"put over a version":   store.Put(wrong),
		"use what was used":    store.Once("seen", b.in(time.Hour)),
		"too long a key":       store.Put(record(string(make([]byte, 600)), "")),
	} {
		err := b.Commit(t.Context(),
			store.Put(record("new", "v", "after")), store.Put(record("old", "after", "after")),
			store.Delete(kind, "doomed"), store.Take(kind, "code"), store.Once("fresh", b.in(time.Hour)), last)
		if err == nil {
			t.Fatalf("%s: committed", name)
		}
		b.absent("new")
		if got := b.get("old"); string(got.Value) != "before" || got.Version != 1 {
			t.Fatalf("%s: left %+v", name, got)
		}
		if got := b.get("code"); !got.Taken.IsZero() {
			t.Fatalf("%s: left it taken", name)
		}
		b.get("doomed")
		b.lists(store.Query{Kind: kind, Index: "before"}, "old")
		b.lists(store.Query{Kind: kind, Index: "after"})
	}
	b.commit(store.Once("fresh", b.in(time.Hour)), store.Take(kind, "code"))
}

func firstError(t *testing.T, b *bed) {
	b.commit(store.Put(record("k", "")), store.Take(kind, "k"), store.Once("n", b.in(time.Hour)))
	taken, seen := store.Take(kind, "k"), store.Once("n", b.in(time.Hour))
	conflict, missing := store.Create(record("k", "")), store.Take(kind, "missing")
	b.refused(store.ErrTaken, taken, seen, conflict, missing)
	b.refused(store.ErrSeen, seen, taken, conflict)
	b.refused(store.ErrConflict, conflict, missing, taken)
	b.refused(store.ErrNotFound, missing, seen)
}

func opsInOrder(t *testing.T, b *bed) {
	b.commit(store.Create(record("k", "one")), store.Put(record("k", "two", "a")), store.Take(kind, "k"))
	if got := b.get("k"); string(got.Value) != "two" || got.Taken.IsZero() || got.Version != 3 {
		t.Fatalf("got %+v", got)
	}
	b.refused(store.ErrTaken, store.Create(record("x", "")), store.Take(kind, "x"), store.Take(kind, "x"))
	b.refused(store.ErrSeen, store.Once("n", b.in(time.Hour)), store.Once("n", b.in(time.Hour)))
	b.commit(store.Once("n", b.in(time.Hour)))
	b.refused(store.ErrNotFound, store.Delete(kind, "k"), store.Take(kind, "k"))
	b.commit(store.Delete(kind, "k"), store.Create(record("k", "anew", "b")))
	if got := b.get("k"); string(got.Value) != "anew" || !got.Taken.IsZero() {
		t.Fatalf("got %+v", got)
	}
	b.lists(store.Query{Kind: kind, Index: "a"})
	b.lists(store.Query{Kind: kind, Index: "b"}, "k")
	b.commit(store.Create(record("y", "", "b")), store.Delete(kind, "y"))
	b.absent("y")
	b.lists(store.Query{Kind: kind, Index: "b"}, "k")
}

func emptyCommit(t *testing.T, b *bed) { b.commit() }

func concurrentIncrements(t *testing.T, b *bed) {
	b.commit(store.Put(record("n", "0")))
	const callers, each = 16, 10
	errs := race(callers, func(int) error {
		for done := 0; done < each; {
			r, err := b.Get(t.Context(), kind, "n")
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(string(r.Value))
			if err != nil {
				return err
			}
			r.Value = []byte(strconv.Itoa(n + 1))
			if err = b.Commit(t.Context(), store.Put(r)); err == nil {
				done++
			} else if !errors.Is(err, store.ErrConflict) {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if got := b.get("n"); string(got.Value) != fmt.Sprint(callers*each) || got.Version != callers*each+1 {
		t.Fatalf("counted %s, version %d, want %d", got.Value, got.Version, callers*each)
	}
}

func concurrentCreates(t *testing.T, b *bed) {
	errs := race(50, func(i int) error {
		return b.Commit(t.Context(), store.Create(record("k", fmt.Sprint(i))), store.Put(record(fmt.Sprint("by", i), "")))
	})
	b.oneWinner(errs, store.ErrConflict)
	winner := string(b.get("k").Value)
	for i := range errs {
		if by := fmt.Sprint("by", i); fmt.Sprint(i) == winner {
			b.get(by)
		} else {
			b.absent(by)
		}
	}
}
