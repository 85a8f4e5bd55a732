package doorward

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestCacheIsBounded(t *testing.T) {
	var c cache[int, int]
	now := time.Unix(1e9, 0)
	for i := range maxKept {
		c.put(now, i, i, time.Time{})
	}
	c.get(now, 0)
	c.put(now, maxKept, 0, time.Time{})
	if len(c.items) != maxKept || c.order.Len() != maxKept {
		t.Errorf("%d items", len(c.items))
	}
	if _, ok := c.get(now, 0); !ok {
		t.Error("what was used last left first")
	}
	if _, ok := c.get(now, 1); ok {
		t.Error("what was used longest ago is still there")
	}
}

func TestCacheForgetsWhatIsOver(t *testing.T) {
	var c cache[string, int]
	now := time.Unix(1e9, 0)
	for i := range 100 {
		c.put(now, fmt.Sprint(i), i, now.Add(time.Minute))
	}
	if _, ok := c.get(now.Add(time.Minute), "5"); ok {
		t.Error("a value outlived its time")
	}
	c.put(now.Add(2*time.Minute), "new", 1, time.Time{})
	if len(c.items) != 1 {
		t.Errorf("%d items after the sweep", len(c.items))
	}
}

func TestFlightEndsWhenNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flights[string, int]
		ended := make(chan error, 1)
		run := func(ctx context.Context) (int, error) {
			<-ctx.Done()
			ended <- ctx.Err()
			return 0, ctx.Err()
		}
		ctx, cancel := context.WithCancel(context.Background())
		results := make(chan error, 2)
		for range 2 {
			go func() { _, err := f.do(ctx, "k", run); results <- err }()
		}
		synctest.Wait()
		if len(f.m) != 1 {
			t.Fatalf("%d flights", len(f.m))
		}
		cancel()
		for range 2 {
			if err := <-results; !errors.Is(err, context.Canceled) {
				t.Errorf("waiter: %v", err)
			}
		}
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("flight: %v", err)
		}
		synctest.Wait()
		if len(f.m) != 0 {
			t.Error("the flight was not forgotten")
		}
		// The next caller has a flight of its own.
		if v, err := f.do(context.Background(), "k", func(context.Context) (int, error) { return 7, nil }); v != 7 || err != nil {
			t.Errorf("next: %d %v", v, err)
		}
	})
}

func TestMetadataIsLoadedAgainAfterItsTime(t *testing.T) {
	var f fresh[string, int]
	now, n := time.Unix(1e9, 0), 0
	clock := func() time.Time { return now }
	load := func(context.Context) (int, error) { n++; return n, nil }
	for _, want := range []int{1, 1, 2} {
		if v, err := f.get(context.Background(), clock, "k", time.Minute, load); v != want || err != nil {
			t.Errorf("%d %v, want %d", v, err, want)
		}
		now = now.Add(40 * time.Second)
	}
}

func TestCacheDropsWhatIsMeant(t *testing.T) {
	var c cache[string, int]
	now := time.Unix(1e9, 0)
	c.put(now, "a", 1, time.Time{})
	c.put(now, "a", 2, time.Time{}) // it took the place
	c.dropIf("a", func(v int) bool { return v == 1 })
	if v, ok := c.get(now, "a"); !ok || v != 2 {
		t.Error("another than was meant is gone")
	}
	c.dropIf("a", func(v int) bool { return v == 2 })
	c.dropIf("b", func(int) bool { return true })
	if _, ok := c.get(now, "a"); ok {
		t.Error("what was meant is there")
	}
}

// What took the place of a refused proof while it was being refused stays.
func TestDisproveLeavesWhatIsNewer(t *testing.T) {
	f, now := &CrossApp{}, time.Unix(1e9, 0)
	w := want{t: &Transport{Now: func() time.Time { return now }}}
	for range 2000 {
		key := proofKey{person: "alice"}
		w.t.state.proofs.put(now, key, proof{token: "old"}, time.Time{})
		var both sync.WaitGroup
		both.Go(func() { f.disprove(w, key, proof{token: "old"}) })
		both.Go(func() { w.t.state.proofs.put(now, key, proof{token: "new"}, time.Time{}) })
		both.Wait()
		if held, ok := w.t.state.proofs.get(now, key); !ok || held.token != "new" {
			t.Fatal("the newer proof is gone")
		}
	}
}
