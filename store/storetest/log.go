package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"doorward/store"
)

func logged(b *bed, key string, life time.Duration) store.Op {
	r := record(key, "value of "+key)
	if life != 0 {
		r.Expires = b.in(life)
	}
	return store.Log(r)
}

// log checks that a journal is listed in the order of its commits, among the other
// records of its kind and apart from other kinds, page by page.
func log(t *testing.T, b *bed) {
	b.commit(logged(b, "k1", 0), logged(b, "k3", 0), store.Add(record("k2", "", "a")), store.Log(store.Record{Kind: "test2", Key: "k1"}))
	b.commit(logged(b, "k5", 0))
	b.commit(store.Add(record("k4", "", "a")))
	for limit := range 7 {
		b.lists(store.Query{Kind: kind, Limit: limit}, "k1", "k2", "k3", "k4", "k5")
	}
	b.lists(store.Query{Kind: kind, Index: "a"}, "k2", "k4")
	b.commit(store.Log(store.Record{Kind: "test2", Key: "k0"}))
	for limit := range 3 {
		b.lists(store.Query{Kind: "test2", Limit: limit}, "k1", "k0")
	}
	recs, next, err := b.List(t.Context(), store.Query{Kind: kind})
	if err != nil || next != "" || !slices.IsSortedFunc(recs, func(x, y store.Record) int { return slices.Compare([]byte(x.Key), []byte(y.Key)) }) {
		t.Fatalf("%+v %q %v", recs, next, err)
	}
	if want := (store.Record{Kind: kind, Key: "k1", Value: []byte("value of k1"), Version: 1}); !equal(recs[0], want) {
		t.Fatalf("listed %+v, want %+v", recs[0], want)
	}
	value := []byte("theirs")
	r := record("k6", "")
	r.Value = value
	b.commit(store.Log(r))
	value[0] = 'X'
	if recs, _, err := b.List(t.Context(), store.Query{Kind: kind, Limit: 10}); err != nil || string(recs[5].Value) != "theirs" {
		t.Fatalf("%+v %v", recs, err)
	}
}

// logAllOrNothing checks that a journal is part of its commit.
func logAllOrNothing(t *testing.T, b *bed) {
	b.commit(store.Put(record("k", "")))
	b.refused(store.ErrConflict, logged(b, "l1", 0), store.Create(record("k", "")))
	b.refused(store.ErrNotFound, store.Put(record("m", "")), logged(b, "l2", 0), store.Take(kind, "nobody"))
	b.lists(store.Query{Kind: kind}, "k")
	b.commit(logged(b, "l3", 0))
	b.lists(store.Query{Kind: kind}, "k", "l3")
	if err := b.Commit(t.Context(), store.Log(record("l5", "", "name"))); err == nil {
		t.Fatal("logged with a name")
	}
}

// logExpiry checks that a journal ends like other records, swept from its
// beginning.
func logExpiry(t *testing.T, b *bed) {
	var ops []store.Op
	for i := range 12 {
		ops = append(ops, logged(b, fmt.Sprintf("k%02d", i), time.Duration(i+1)*time.Second))
	}
	b.commit(append(ops, logged(b, "stays", 0), store.Log(store.Record{Kind: "test2", Key: "k", Expires: b.in(time.Second)}))...)
	b.clock.advance(5 * time.Second)
	if got := len(b.pages(store.Query{Kind: kind})); got != 8 {
		t.Fatalf("%d are listed, want 8", got)
	}
	for _, want := range []struct{ limit, n int }{{0, 0}, {4, 4}, {100, 2}, {100, 0}} {
		if n, err := b.Sweep(t.Context(), want.limit); err != nil || n != want.n {
			t.Fatalf("swept %d, %v, want %d", n, err, want.n)
		}
	}
	b.clock.advance(time.Hour)
	if n, err := b.Sweep(t.Context(), 100); err != nil || n != 7 {
		t.Fatalf("swept %d, %v, want 7", n, err)
	}
	b.lists(store.Query{Kind: kind}, "stays")
	b.lists(store.Query{Kind: "test2"})
}
