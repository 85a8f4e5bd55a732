package keyset

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"doorward/internal/jose"
)

// issuer publishes keys, and counts how often it was asked.
type issuer struct {
	mu    sync.Mutex
	keys  []*jose.Key
	down  bool
	slow  time.Duration
	asked int
}

func (i *issuer) fetch(ctx context.Context) ([]byte, error) {
	i.mu.Lock()
	i.asked++
	slow := i.slow
	i.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.down {
		return nil, errors.New("connection refused")
	}
	return json.Marshal(jose.NewSet(i.keys...))
}

func (i *issuer) set(down bool, slow time.Duration, keys ...*jose.Key) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down, i.slow, i.keys = down, slow, keys
}

func (i *issuer) times() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked
}

func key(t *testing.T) *jose.Key {
	t.Helper()
	k, err := jose.NewES256()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sign(t *testing.T, k *jose.Key) string {
	t.Helper()
	token, err := k.Sign("at+jwt", map[string]string{"sub": "x"})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

var algs = []string{jose.ES256}

func TestFreshSetIsNotFetchedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{keys: []*jose.Key{key(t)}}
		r := New(Config{Fetch: i.fetch})
		for range 3 {
			if s, err := r.Keys(t.Context()); err != nil || len(s.IDs()) != 1 {
				t.Fatal(s, err)
			}
			time.Sleep(3 * time.Minute)
		}
		if i.times() != 1 {
			t.Errorf("fetched %d times within the TTL", i.times())
		}
		time.Sleep(2 * time.Minute)
		if _, err := r.Keys(t.Context()); err != nil || i.times() != 2 {
			t.Errorf("fetched %d times after the TTL (%v), want 2", i.times(), err)
		}
	})
}

// covers: X-JWT-07
func TestWithdrawnKeyIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, next := key(t), key(t)
		i := &issuer{keys: []*jose.Key{old}}
		r := New(Config{Fetch: i.fetch})
		if _, err := r.Verify(t.Context(), sign(t, old), algs, nil); err != nil {
			t.Fatal(err)
		}
		i.set(false, 0, next)
		if _, err := r.Verify(t.Context(), sign(t, next), algs, nil); err != nil {
			t.Errorf("a new key is not found: %v", err)
		}
		if i.times() != 2 {
			t.Errorf("fetched %d times, want 2", i.times())
		}
		if _, err := r.Verify(t.Context(), sign(t, old), algs, nil); !errors.Is(err, jose.ErrUnknownKey) {
			t.Errorf("a key that left the set: %v", err)
		}
	})
}

// covers: X-JWT-07
func TestUnknownKidFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known := key(t)
		i := &issuer{keys: []*jose.Key{known}, slow: time.Second}
		r := New(Config{Fetch: i.fetch})
		good := sign(t, known)
		if _, err := r.Verify(t.Context(), good, algs, nil); err != nil {
			t.Fatal(err)
		}
		var tokens []string
		for range 20 {
			tokens = append(tokens, sign(t, key(t)))
		}
		for period := range 3 {
			var flood sync.WaitGroup
			for n := range 400 {
				flood.Go(func() {
					if _, err := r.Verify(t.Context(), tokens[n%len(tokens)], algs, nil); !errors.Is(err, jose.ErrUnknownKey) {
						t.Errorf("an unknown key: %v", err)
					}
				})
				if n%100 == 99 {
					time.Sleep(2 * time.Second)
				}
			}
			flood.Wait()
			if want := 2 + period; i.times() != want {
				t.Errorf("fetched %d times, want %d", i.times(), want)
			}
			if _, err := r.Verify(t.Context(), good, algs, nil); err != nil {
				t.Errorf("a known key after the flood: %v", err)
			}
			time.Sleep(30 * time.Second)
		}
	})
}

// A wrong signature under a known kid is no reason to fetch.
func TestBadSignatureDoesNotFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := key(t)
		i := &issuer{keys: []*jose.Key{k}}
		r := New(Config{Fetch: i.fetch})
		token := sign(t, k)
		if _, err := r.Verify(t.Context(), token, algs, nil); err != nil {
			t.Fatal(err)
		}
		bad := token[:len(token)-8] + "AAAAAAAA"
		if _, err := r.Verify(t.Context(), bad, algs, nil); err == nil || i.times() != 1 {
			t.Errorf("%v, fetched %d times", err, i.times())
		}
	})
}

// covers: X-JWT-07
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := key(t)
		i := &issuer{keys: []*jose.Key{k}}
		r := New(Config{Fetch: i.fetch, TTL: time.Minute, Cooldown: 30 * time.Second, MaxStale: time.Hour})
		if _, err := r.Keys(t.Context()); err != nil {
			t.Fatal(err)
		}
		i.set(true, 0, k)
		token := sign(t, k)
		for minute := range 59 {
			time.Sleep(time.Minute)
			before := i.times()
			for range 50 {
				if _, err := r.Verify(t.Context(), token, algs, nil); err != nil {
					t.Fatalf("minute %d of the outage: %v", minute, err)
				}
			}
			if asked := i.times() - before; asked > 1 {
				t.Fatalf("asked %d times within a cooldown", asked)
			}
		}
		if _, err := r.Verify(t.Context(), sign(t, key(t)), algs, nil); !errors.Is(err, jose.ErrUnknownKey) {
			t.Errorf("an unknown key in the outage: %v", err)
		}
		time.Sleep(2 * time.Minute)
		if _, err := r.Keys(t.Context()); err == nil {
			t.Error("a set older than MaxStale is still used")
		}
		i.set(false, 0, k)
		time.Sleep(30 * time.Second)
		if _, err := r.Verify(t.Context(), token, algs, nil); err != nil {
			t.Errorf("after the outage: %v", err)
		}
	})
}

// While an issuer is slow, nobody waits long for keys that are there.
//
// covers: X-JWT-07
func TestSlowIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, next := key(t), key(t)
		i := &issuer{keys: []*jose.Key{k}}
		r := New(Config{Fetch: i.fetch, TTL: time.Minute, MaxStale: time.Hour})
		token := sign(t, k)
		if _, err := r.Verify(t.Context(), token, algs, nil); err != nil {
			t.Fatal(err)
		}
		i.set(false, 10*time.Second, next)
		time.Sleep(2 * time.Minute)
		began := time.Now()
		if _, err := r.Verify(t.Context(), token, algs, nil); err != nil || time.Since(began) != stalePatience {
			t.Errorf("with the last good keys: %v after %v", err, time.Since(began))
		}
		time.Sleep(10 * time.Second) // the fetch went on
		if _, err := r.Verify(t.Context(), token, algs, nil); !errors.Is(err, jose.ErrUnknownKey) {
			t.Errorf("a key that was withdrawn: %v", err)
		}
		if _, err := r.Verify(t.Context(), sign(t, next), algs, nil); err != nil {
			t.Errorf("a new key: %v", err)
		}
		// Nothing is used that is too old, however slow the issuer is.
		time.Sleep(2 * time.Hour)
		i.set(true, 10*time.Second, next)
		if _, err := r.Keys(t.Context()); err == nil {
			t.Error("a set older than MaxStale is still used")
		}
	})
}

func TestNoSetYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{down: true}
		r := New(Config{Fetch: i.fetch})
		for range 10 {
			if _, err := r.Keys(t.Context()); err == nil {
				t.Fatal("keys out of nothing")
			}
		}
		if i.times() != 1 {
			t.Errorf("asked %d times within a cooldown", i.times())
		}
		bad := New(Config{Fetch: func(context.Context) ([]byte, error) { return []byte("<html>"), nil }})
		if _, err := bad.Keys(t.Context()); err == nil {
			t.Error("a page is taken for a key set")
		}
	})
}

func TestOneFlightForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := key(t)
		i := &issuer{keys: []*jose.Key{k}, slow: 5 * time.Second}
		r := New(Config{Fetch: i.fetch})
		first, cancel := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() {
			if _, err := r.Keys(first); !errors.Is(err, context.Canceled) {
				t.Errorf("the caller that left: %v", err)
			}
		})
		synctest.Wait()
		for range 20 {
			wait.Go(func() {
				if s, err := r.Keys(t.Context()); err != nil || !slices.Equal(s.IDs(), []string{k.ID()}) {
					t.Errorf("a caller that stayed: %v", err)
				}
			})
		}
		time.Sleep(time.Second)
		cancel()
		wait.Wait()
		if i.times() != 1 {
			t.Errorf("fetched %d times, want 1", i.times())
		}
	})
}

func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{keys: []*jose.Key{key(t)}, slow: time.Second, down: true}
		r := New(Config{Fetch: i.fetch, TTL: 10 * time.Minute, Cooldown: 30 * time.Second})
		ctx, cancel := context.WithCancel(t.Context())
		r.Start(ctx)
		// Attempts begin at 0, 31, 92 and 213 seconds: cooldown, then twice it.
		for _, c := range []struct {
			after time.Duration
			want  int
		}{{2 * time.Second, 1}, {28 * time.Second, 1}, {2 * time.Second, 2}, {59 * time.Second, 2}, {2 * time.Second, 3}} {
			time.Sleep(c.after)
			if i.times() != c.want {
				t.Errorf("asked %d times, want %d", i.times(), c.want)
			}
		}
		i.set(false, time.Second, key(t))
		time.Sleep(10 * time.Minute)
		// From now on no caller waits, though more than the TTL goes by.
		for n := range 100 {
			start := time.Now()
			if _, err := r.Keys(t.Context()); err != nil || time.Since(start) != 0 {
				t.Fatal(fmt.Sprint("call ", n), err, time.Since(start))
			}
			time.Sleep(17 * time.Second)
		}
		cancel()
		synctest.Wait()
		before := i.times()
		time.Sleep(time.Hour)
		if i.times() != before {
			t.Error("it goes on after its end")
		}
	})
}

// What a request fetched, or could not, is not fetched at once again.
func TestStartAfterARequest(t *testing.T) {
	for name, down := range map[string]bool{"well": false, "down": true} {
		synctest.Test(t, func(t *testing.T) {
			i := &issuer{keys: []*jose.Key{key(t)}, down: down}
			r := New(Config{Fetch: i.fetch, TTL: 10 * time.Minute, Cooldown: 30 * time.Second})
			if _, err := r.Keys(t.Context()); (err != nil) != down {
				t.Fatal(name, err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			r.Start(ctx)
			wait := 9 * time.Minute // nine tenths of the TTL
			if down {
				wait = 30 * time.Second
			}
			for _, want := range []int{1, 2} {
				time.Sleep(wait - time.Duration(2-want)*time.Second)
				synctest.Wait()
				if i.times() != want {
					t.Errorf("%s: asked %d times, want %d", name, i.times(), want)
				}
				wait = time.Second
			}
			cancel()
		})
	}
}

func TestClockIsInjected(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	i := &issuer{keys: []*jose.Key{key(t)}}
	r := New(Config{Fetch: i.fetch, Now: func() time.Time { return now }})
	for _, step := range []struct {
		ahead time.Duration
		want  int
	}{{0, 1}, {10*time.Minute - 1, 1}, {1, 2}} {
		now = now.Add(step.ahead)
		if _, err := r.Keys(t.Context()); err != nil || i.times() != step.want {
			t.Errorf("fetched %d times (%v), want %d", i.times(), err, step.want)
		}
	}
}

// What was not asked for is the matter of whoever caused it: the next is served.
func TestNotAskedIsNoFailure(t *testing.T) {
	i, may := &issuer{keys: []*jose.Key{key(t)}}, false
	r := New(Config{Fetch: func(ctx context.Context) ([]byte, error) {
		if !may {
			return nil, fmt.Errorf("%w: busy", ErrNotAsked)
		}
		return i.fetch(ctx)
	}})
	if _, err := r.Keys(t.Context()); !errors.Is(err, ErrNoKeys) || !errors.Is(err, ErrNotAsked) {
		t.Error(err)
	}
	may = true
	if set, err := r.Keys(t.Context()); err != nil || set == nil {
		t.Error("after one that was not asked:", err)
	}
}
