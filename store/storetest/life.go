package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/store"
)

func expiry(t *testing.T, b *bed) {
	r := record("k", "v", "a")
	r.Expires = b.in(1500 * time.Millisecond)
	b.commit(store.Put(r), store.Put(record("stays", "", "a")))
	b.clock.advance(1499 * time.Millisecond)
	b.get("k")
	b.lists(store.Query{Kind: kind, Index: "a"}, "k", "stays")
	b.clock.advance(time.Millisecond)
	b.absent("k")
	b.lists(store.Query{Kind: kind}, "stays")
	b.lists(store.Query{Kind: kind, Index: "a"}, "stays")
	b.clock.advance(100000 * time.Hour)
	b.get("stays")

	for _, past := range []time.Time{b.in(-time.Second), b.clock.Now(), time.UnixMilli(0), time.UnixMilli(-5)} {
		r.Expires = past
		b.commit(store.Put(r))
		b.absent("k")
	}
}

// expiryByOp checks that an expired record, not yet swept, counts for no op.
func expiryByOp(t *testing.T, b *bed) {
	expired := func(key string) uint64 {
		r := record(key, "old", "old")
		r.Expires = b.in(time.Second)
		b.commit(store.Put(r), store.Put(r))
		b.clock.advance(time.Second)
		return 2
	}
	expired("take")
	b.refused(store.ErrNotFound, store.Take(kind, "take"))

	r := record("put", "new")
	r.Version = expired("put")
	b.refused(store.ErrConflict, store.Put(r))
	b.absent("put")

	expired("create")
	b.commit(store.Create(record("create", "new", "new")))
	if got := b.get("create"); string(got.Value) != "new" || got.Version != 1 || !got.Expires.IsZero() {
		t.Fatalf("got %+v", got)
	}

	expired("taken")
	r = record("taken", "old")
	r.Expires = b.in(time.Second)
	b.commit(store.Put(r), store.Take(kind, "taken"))
	b.clock.advance(time.Second)
	b.commit(store.Put(record("taken", "new", "new")))
	if got := b.get("taken"); got.Version != 1 || !got.Taken.IsZero() {
		t.Fatalf("a new record in place of an expired one is not taken: %+v", got)
	}
	b.lists(store.Query{Kind: kind, Index: "old"})
	b.lists(store.Query{Kind: kind, Index: "new"}, "create", "taken")

	expired("delete")
	b.commit(store.Delete(kind, "delete"))
}

func sweep(t *testing.T, b *bed) {
	for i := range 12 {
		r := record(fmt.Sprint("k", i), "", "a", "b")
		r.Expires = b.in(time.Duration(i+1) * time.Second)
		b.commit(store.Put(r))
	}
	b.commit(store.Put(record("stays", "", "a")), store.Once("jti", b.in(10*time.Second)))
	swept := func(limit, want int) {
		t.Helper()
		if n, err := b.Sweep(t.Context(), limit); err != nil || n != want {
			t.Fatalf("swept %d, %v, want %d", n, err, want)
		}
	}
	swept(100, 0)
	b.clock.advance(5 * time.Second)
	swept(0, 0)
	swept(3, 3)
	swept(100, 2)
	swept(100, 0)
	if got := len(b.pages(store.Query{Kind: kind})); got != 8 {
		t.Fatalf("%d left, want 8", got)
	}
	b.clock.advance(time.Hour)
	swept(100, 8)
	b.lists(store.Query{Kind: kind, Index: "a"}, "stays")
	b.lists(store.Query{Kind: kind, Index: "b"})
	b.get("stays")

	var ops []store.Op
	for i := range 500 {
		ops = append(ops, store.Once(fmt.Sprint("jti", i), b.in(time.Second)))
	}
	b.commit(ops...)
	b.clock.advance(time.Second)
	swept(450, 450)
	swept(450, 50)
}

// sweepChanged changes records so that they end sooner, later, never or again,
// and checks that every sweep removes exactly what has expired.
func sweepChanged(t *testing.T, b *bed) {
	rnd := rand.New(rand.NewPCG(1, 2))
	ends := map[string]time.Time{} // zero: never
	for range 60 {
		var ops []store.Op
		for range 40 {
			r := record(fmt.Sprint("k", rnd.IntN(300)), "", "all")
			switch rnd.IntN(8) {
			case 0:
				ops = append(ops, store.Delete(kind, r.Key))
				delete(ends, r.Key)
				continue
			case 1: // never
			case 2, 3, 4:
				r.Expires = b.in(time.Duration(1+rnd.IntN(90)) * time.Second)
			default:
				r.Expires = b.in(time.Duration(1+rnd.IntN(90)) * time.Minute)
			}
			ops = append(ops, store.Put(r))
			ends[r.Key] = r.Expires
		}
		b.commit(ops...)
		b.clock.advance(time.Duration(rnd.IntN(120)) * time.Second)
		want := 0
		for key, at := range ends {
			if !at.IsZero() && !b.clock.Now().Before(at) {
				want++
				delete(ends, key)
			}
		}
		if n, err := b.Sweep(t.Context(), 1000); err != nil || n != want {
			t.Fatalf("swept %d, %v, want %d", n, err, want)
		}
		b.lists(store.Query{Kind: kind, Index: "all"}, slices.Collect(maps.Keys(ends))...)
	}
}

func limits(t *testing.T, b *bed) {
	long := func(n int) string { return strings.Repeat("x", n) }
	with := func(change func(*store.Record)) store.Record {
		r := record("k", "v")
		change(&r)
		return r
	}
	eight := make([]string, store.MaxIndexes)
	for i := range eight {
		eight[i] = fmt.Sprint(i, long(store.MaxIndex-1))
	}
	most := store.Record{Kind: store.Kind(long(store.MaxKind)), Key: long(store.MaxKey), Value: make([]byte, store.MaxValue), Index: eight}
	b.commit(store.Put(most))
	if got, err := b.Get(t.Context(), most.Kind, most.Key); err != nil || len(got.Value) != store.MaxValue {
		t.Fatalf("the largest record: %d bytes, %v", len(got.Value), err)
	}
	if recs, _, err := b.List(t.Context(), store.Query{Kind: most.Kind, Index: eight[7]}); err != nil || len(recs) != 1 {
		t.Fatalf("the largest record: %d listed, %v", len(recs), err)
	}
	b.commit(store.Put(record("twice", "", "same", "same")))
	b.lists(store.Query{Kind: kind, Index: "same"}, "twice")

	for name, r := range map[string]store.Record{
		"no kind":         with(func(r *store.Record) { r.Kind = "" }),
		"long kind":       with(func(r *store.Record) { r.Kind = store.Kind(long(store.MaxKind + 1)) }),
		"no key":          with(func(r *store.Record) { r.Key = "" }),
		"long key":        with(func(r *store.Record) { r.Key = long(store.MaxKey + 1) }),
		"large value":     with(func(r *store.Record) { r.Value = make([]byte, store.MaxValue+1) }),
		"nine index":      with(func(r *store.Record) { r.Index = append(eight, "nine") }),
		"long index name": with(func(r *store.Record) { r.Index = []string{long(store.MaxIndex + 1)} }),
		"no index name":   with(func(r *store.Record) { r.Index = []string{""} }),
	} {
		for _, op := range []store.Op{store.Put(r), store.Create(r)} {
			err := b.Commit(t.Context(), store.Put(record("beside", "")), op)
			if err == nil || errors.Is(err, store.ErrConflict) {
				t.Errorf("%s: %v, want an error that says so", name, err)
			}
		}
	}
	for name, op := range map[string]store.Op{
		"no action":          {Record: record("k", "")},
		"unknown action":     {Do: 99, Record: record("k", "")},
		"take without key":   store.Take(kind, ""),
		"once without name":  store.Once("", b.in(time.Hour)),
		"delete with no key": store.Delete(kind, ""),
	} {
		if err := b.Commit(t.Context(), store.Put(record("beside", "")), op); err == nil {
			t.Errorf("%s: committed", name)
		}
	}
	b.absent("beside", "k")
}

func ownValue(t *testing.T, b *bed) {
	var heard told
	if err := b.Watch(t.Context(), kind, heard.add); err != nil {
		t.Fatal(err)
	}
	value, index := []byte("before"), []string{"before"}
	b.commit(store.Put(store.Record{Kind: kind, Key: "k", Value: value, Index: index}))
	copy(value, "after!")
	index[0] = "after!"
	got := b.get("k")
	for _, r := range append(heard.take(), got) {
		if string(r.Value) != "before" || r.Index[0] != "before" {
			t.Fatalf("got %+v", r)
		}
	}
	copy(got.Value, "after!")
	if got := b.get("k"); string(got.Value) != "before" {
		t.Fatalf("got %+v", got)
	}
}

func closed(t *testing.T, b *bed) {
	b.commit(store.Put(record("k", "v")))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	_, getErr := b.Get(ctx, kind, "k")
	_, _, listErr := b.List(ctx, store.Query{Kind: kind})
	_, sweepErr := b.Sweep(ctx, 1)
	for name, err := range map[string]error{
		"Get": getErr, "List": listErr, "Sweep": sweepErr,
		"Commit": b.Commit(ctx, store.Put(record("k", "v"))),
		"Watch":  b.Watch(ctx, kind, func(store.Record) {}),
	} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s: %v, want %v", name, err, store.ErrClosed)
		}
	}
	if err := b.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

func cancelled(t *testing.T, b *bed) {
	b.commit(store.Put(record("k", "v")))
	ctx := cancelledContext()
	_, getErr := b.Get(ctx, kind, "k")
	_, _, listErr := b.List(ctx, store.Query{Kind: kind})
	_, sweepErr := b.Sweep(ctx, 1)
	for name, err := range map[string]error{
		"Get": getErr, "List": listErr, "Sweep": sweepErr,
		"Commit": b.Commit(ctx, store.Put(record("new", "v"))),
		"Watch":  b.Watch(ctx, kind, func(store.Record) {}),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want %v", name, err, context.Canceled)
		}
	}
	b.absent("new")

	// Contexts that end while commits are on their way leave whole commits only.
	race(20, func(i int) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*100*time.Microsecond)
		defer cancel()
		return b.Commit(ctx, store.Put(record(fmt.Sprint("a", i), "")), store.Put(record(fmt.Sprint("b", i), "")))
	})
	b.commit(store.Put(record("after", "")))
	for i := range 20 {
		_, errA := b.Get(t.Context(), kind, fmt.Sprint("a", i))
		_, errB := b.Get(t.Context(), kind, fmt.Sprint("b", i))
		if !errors.Is(errA, errB) {
			t.Fatalf("half a commit: %v, %v", errA, errB)
		}
	}
}
