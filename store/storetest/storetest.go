// Package storetest checks that a [store.Store] keeps what the package store
// promises. Every backend, ours and others, runs the same suite:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store {
//			return open(t, now)
//		})
//	}
//
// What only an outside look can show is left to the backend's own tests: that a
// commit outlives a crash, and what other processes on the same data see.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"doorward/store"
)

// Run runs the suite. open returns a new, empty store whose clock is now; the
// suite closes it.
func Run(t *testing.T, open func(t *testing.T, now func() time.Time) store.Store) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *bed)
	}{
		{"get what was put", getWhatWasPut},
		{"put over", putOver},
		{"put over a version", putOverVersion},
		{"create", create},
		{"add", add},
		{"log", log},
		{"log is part of its commit", logAllOrNothing},
		{"log expires", logExpiry},
		{"delete", deleteRecord},
		{"same", same},
		{"same in one step with what it lets through", sameWhileChanged},
		{"commit is all or nothing", allOrNothing},
		{"first error is returned", firstError},
		{"ops see the ops before", opsInOrder},
		{"empty commit", emptyCommit},
		{"concurrent increments", concurrentIncrements},
		{"concurrent creates", concurrentCreates},

		{"take", take},
		{"take has one winner", takeOneWinner},
		{"taken stays taken", takenStaysTaken},
		{"take in a failed commit", takeInFailedCommit},
		{"once", once},
		{"once has one winner", onceOneWinner},
		{"once keeps a value", onceKeeps},
		{"what was used once is swept", onceSwept},

		{"expiry to the moment", expiry},
		{"expiry by every op", expiryByOp},
		{"sweep", sweep},
		{"sweep what ends otherwise than it said", sweepChanged},
		{"limits", limits},
		{"a value is the store's own", ownValue},
		{"closed", closed},
		{"cancelled", cancelled},

		{"list in pages", listPages},
		{"list under writes", listUnderWrites},
		{"list what changed its index", listReindexed},
		{"list keeps kinds and names apart", listApart},
		{"list refuses", listRefuses},

		{"watch", watch},
		{"watch ends", watchEnds},
		{"watch while others commit", watchConcurrent},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := &bed{T: t, clock: &clock{now: time.Date(2026, 7, 28, 12, 0, 0, 0, time.UTC)}}
			b.Store = open(t, b.clock.Now)
			t.Cleanup(func() { b.Store.Close() })
			test.run(t, b)
		})
	}
}

// clock is a clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// bed is one store under test and shorthands for what tests say of it.
type bed struct {
	*testing.T
	store.Store
	clock *clock
}

const kind store.Kind = "test"

func record(key, value string, index ...string) store.Record {
	return store.Record{Kind: kind, Key: key, Value: []byte(value), Index: index}
}

func (b *bed) in(d time.Duration) time.Time { return b.clock.Now().Add(d) }

// commit commits what must succeed.
func (b *bed) commit(ops ...store.Op) {
	b.Helper()
	if err := b.Commit(b.Context(), ops...); err != nil {
		b.Fatalf("commit: %v", err)
	}
}

// refused commits what must fail with want.
func (b *bed) refused(want error, ops ...store.Op) {
	b.Helper()
	if err := b.Commit(b.Context(), ops...); !errors.Is(err, want) {
		b.Fatalf("commit: %v, want %v", err, want)
	}
}

// get reads what must be there.
func (b *bed) get(key string) store.Record {
	b.Helper()
	r, err := b.Get(b.Context(), kind, key)
	if err != nil {
		b.Fatalf("get %q: %v", key, err)
	}
	return r
}

func (b *bed) absent(keys ...string) {
	b.Helper()
	for _, key := range keys {
		if r, err := b.Get(b.Context(), kind, key); !errors.Is(err, store.ErrNotFound) {
			b.Fatalf("get %q: %+v, %v, want %v", key, r, err, store.ErrNotFound)
		}
	}
}

// pages lists all pages and returns the keys in the store's order.
func (b *bed) pages(q store.Query) []string {
	b.Helper()
	var keys []string
	for {
		recs, next, err := b.List(b.Context(), q)
		if err != nil {
			b.Fatalf("list %+v: %v", q, err)
		}
		if q.Limit > 0 && len(recs) > q.Limit {
			b.Fatalf("list %+v: a page of %d records", q, len(recs))
		}
		for _, r := range recs {
			keys = append(keys, r.Key)
		}
		if next == "" {
			return keys
		}
		if len(recs) == 0 || next == q.After {
			b.Fatalf("list %+v: does not go on", q)
		}
		q.After = next
	}
}

// lists checks which keys a query finds, in any order.
func (b *bed) lists(q store.Query, want ...string) {
	b.Helper()
	got := b.pages(q)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		b.Fatalf("list %+v: %q, want %q", q, got, want)
	}
}

func equal(a, b store.Record) bool {
	return a.Kind == b.Kind && a.Key == b.Key && bytes.Equal(a.Value, b.Value) && a.Expires.Equal(b.Expires) &&
		slices.Equal(a.Index, b.Index) && a.Version == b.Version && a.Taken.Equal(b.Taken)
}

// race calls fn from n goroutines that start together and returns their errors.
func race(n int, fn func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = fn(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// oneWinner checks that one of the errors is nil and all others are lost.
func (b *bed) oneWinner(errs []error, lost error) {
	b.Helper()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, lost) {
			b.Fatalf("%v, want %v", err, lost)
		}
	}
	if won != 1 {
		b.Fatalf("%d of %d won, want 1", won, len(errs))
	}
}

func cancelledContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
