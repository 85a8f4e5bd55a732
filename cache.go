package doorward

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// maxKept bounds every cache: people, servers and issuers come and go.
const maxKept = 10_000

// cache keeps values until a time, at most maxKept of them: what was used
// longest ago leaves first. The zero cache is empty.
type cache[K comparable, V any] struct {
	mu    sync.Mutex
	items map[K]*list.Element
	order list.List // front: used last
	swept time.Time
}

type item[K comparable, V any] struct {
	key   K
	value V
	until time.Time // zero: no end
}

func (i *item[K, V]) over(now time.Time) bool { return !i.until.IsZero() && !now.Before(i.until) }

func (c *cache[K, V]) get(now time.Time, key K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.items[key]
	if !ok {
		var none V
		return none, false
	}
	i := e.Value.(*item[K, V])
	if i.over(now) {
		c.remove(e)
		var none V
		return none, false
	}
	c.order.MoveToFront(e)
	return i.value, true
}

func (c *cache[K, V]) put(now time.Time, key K, value V, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.items == nil {
		c.items = map[K]*list.Element{}
	}
	if e, ok := c.items[key]; ok {
		c.remove(e)
	}
	if now.Sub(c.swept) > time.Minute {
		c.sweep(now)
	}
	for len(c.items) >= maxKept {
		c.remove(c.order.Back())
	}
	c.items[key] = c.order.PushFront(&item[K, V]{key, value, until})
}

func (c *cache[K, V]) drop(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.items[key]; ok {
		c.remove(e)
	}
}

// dropIf drops what is there if it is the one that is meant: another may have
// taken its place meanwhile.
func (c *cache[K, V]) dropIf(key K, meant func(V) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.items[key]; ok && meant(e.Value.(*item[K, V]).value) {
		c.remove(e)
	}
}

// dropAll drops what has a key of a kind.
func (c *cache[K, V]) dropAll(of func(K) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, e := range c.items {
		if of(key) {
			c.remove(e)
		}
	}
}

// values are those whose key is of a kind.
func (c *cache[K, V]) values(of func(K) bool) []V {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []V
	for key, e := range c.items {
		if of(key) {
			all = append(all, e.Value.(*item[K, V]).value)
		}
	}
	return all
}

func (c *cache[K, V]) sweep(now time.Time) {
	c.swept = now
	for e := c.order.Front(); e != nil; {
		next := e.Next()
		if e.Value.(*item[K, V]).over(now) {
			c.remove(e)
		}
		e = next
	}
}

func (c *cache[K, V]) remove(e *list.Element) {
	delete(c.items, e.Value.(*item[K, V]).key)
	c.order.Remove(e)
}

// flights lets everybody who wants the same thing at the same time share one
// attempt at it.
type flights[K comparable, V any] struct {
	mu sync.Mutex
	m  map[K]*flight[V]
}

type flight[V any] struct {
	waiting int
	cancel  context.CancelFunc
	done    chan struct{}
	value   V
	err     error
}

// do runs fn, or waits for the run that is under way. A waiter whose ctx ends
// leaves alone; the run is cancelled when the last one has left. It has the
// values of the first waiter's ctx, and not its end.
func (f *flights[K, V]) do(ctx context.Context, key K, fn func(context.Context) (V, error)) (V, error) {
	f.mu.Lock()
	run, ok := f.m[key]
	if !ok {
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		run = &flight[V]{cancel: cancel, done: make(chan struct{})}
		if f.m == nil {
			f.m = map[K]*flight[V]{}
		}
		f.m[key] = run
		go func() {
			run.value, run.err = fn(own)
			f.land(key, run)
			cancel()
			close(run.done)
		}()
	}
	run.waiting++
	f.mu.Unlock()

	select {
	case <-run.done:
		return run.value, run.err
	case <-ctx.Done():
	}
	f.leave(key, run)
	var none V
	return none, ctx.Err()
}

// leave ends the run if nobody waits for it any more. Nobody can join between
// the count and the end: both are under the lock.
func (f *flights[K, V]) leave(key K, run *flight[V]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if run.waiting--; run.waiting > 0 {
		return
	}
	if f.m[key] == run {
		delete(f.m, key)
	}
	run.cancel()
}

// land makes the next caller start a run of its own.
func (f *flights[K, V]) land(key K, run *flight[V]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m[key] == run {
		delete(f.m, key)
	}
}

// fresh is a cache whose values are loaded when they are missing, each by one
// load for all who wait for it.
type fresh[K comparable, V any] struct {
	kept    cache[K, V]
	loading flights[K, V]
}

func (f *fresh[K, V]) get(ctx context.Context, now func() time.Time, key K, ttl time.Duration, load func(context.Context) (V, error)) (V, error) {
	if v, ok := f.kept.get(now(), key); ok {
		return v, nil
	}
	return f.loading.do(ctx, key, func(ctx context.Context) (V, error) {
		if v, ok := f.kept.get(now(), key); ok {
			return v, nil
		}
		v, err := load(ctx)
		if err == nil {
			f.kept.put(now(), key, v, now().Add(ttl))
		}
		return v, err
	})
}
