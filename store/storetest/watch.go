package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"doorward/store"
)

// told collects what a watcher hears.
type told struct {
	mu   sync.Mutex
	recs []store.Record
}

func (w *told) add(r store.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.recs = append(w.recs, r)
}

// take returns what was heard since the last call.
func (w *told) take() []store.Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	recs := w.recs
	w.recs = nil
	return recs
}

func watch(t *testing.T, b *bed) {
	b.commit(store.Put(record("before", "")))
	var first, second, other told
	for w, k := range map[*told]store.Kind{&first: kind, &second: kind, &other: "other"} {
		if err := b.Watch(t.Context(), k, w.add); err != nil {
			t.Fatal(err)
		}
	}
	r := record("k", "v", "a")
	r.Expires = b.in(time.Minute)
	b.commit(store.Put(r), store.Create(record("k2", "")))
	for _, w := range []*told{&first, &second} {
		// Before Commit returned; perhaps more than once, but nothing else.
		heard := map[string]store.Record{}
		for _, got := range w.take() {
			heard[got.Key] = got
		}
		if len(heard) != 2 || !equal(heard["k"], b.get("k")) || !equal(heard["k2"], b.get("k2")) {
			t.Fatalf("heard %+v", heard)
		}
	}
	r.Version = 1
	b.commit(store.Put(r))
	if got := first.take(); len(got) == 0 || got[0].Version != 2 {
		t.Fatalf("heard %+v", got)
	}
	b.refused(store.ErrConflict, store.Put(record("k3", "")), store.Create(record("k", "")))
	b.commit(store.Put(store.Record{Kind: "third", Key: "k"}), store.Once("jti", b.in(time.Minute)))
	for _, got := range append(first.take(), other.take()...) {
		if got.Key == "k3" || got.Kind != kind {
			t.Fatalf("heard of %+v", got)
		}
	}
	if err := b.Watch(t.Context(), "", first.add); err == nil {
		t.Fatal("watched no kind")
	}
}

func watchEnds(t *testing.T, b *bed) {
	ctx, cancel := context.WithCancel(t.Context())
	var ends, stays told
	for c, w := range map[context.Context]*told{ctx: &ends, t.Context(): &stays} {
		if err := b.Watch(c, kind, w.add); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	b.commit(store.Put(record("k", "")))
	if got := ends.take(); len(got) != 0 {
		t.Fatalf("heard %+v after its end", got)
	}
	if len(stays.take()) == 0 {
		t.Fatal("the other watcher heard nothing")
	}
}

func watchConcurrent(t *testing.T, b *bed) {
	var w told
	if err := b.Watch(t.Context(), kind, func(r store.Record) {
		if _, err := b.Get(t.Context(), r.Kind, r.Key); err != nil { // a watcher may read
			t.Errorf("get of what was told: %v", err)
		}
		w.add(r)
	}); err != nil {
		t.Fatal(err)
	}
	const callers, each = 16, 10
	errs := race(callers, func(i int) error {
		for j := range each {
			if err := b.Commit(t.Context(), store.Create(record(fmt.Sprint(i, "-", j), ""))); err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(t.Context())
			if err := b.Watch(ctx, kind, func(store.Record) {}); err != nil {
				cancel()
				return err
			}
			cancel()
		}
		return nil
	})
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	heard := map[string]bool{}
	for _, r := range w.take() {
		heard[r.Key] = true
	}
	if len(heard) != callers*each {
		t.Fatalf("heard of %d records, want %d", len(heard), callers*each)
	}
}
