package keyset

import (
	"context"
	"time"
)

// Start fetches now and then in the background until ctx ends, so that no
// request waits for it: at once, unless a request was faster, then shortly before
// each set's TTL ends; after a failure after the cooldown, then twice that, and so
// on up to the TTL.
func (r *Remote) Start(ctx context.Context) {
	go func() {
		retry := r.c.Cooldown
		for fetch := r.first; ctx.Err() == nil; fetch = r.join {
			r.mu.Lock()
			f := fetch(ctx)
			r.mu.Unlock()
			wait := r.c.TTL - r.c.TTL/10
			if f.wait(ctx) != nil {
				wait = min(retry, wait)
				retry = 2 * wait
			} else {
				retry = r.c.Cooldown
			}
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
			}
		}
	}()
}

// first is the first fetch: one that is over, if a request caused it. The lock is
// held.
func (r *Remote) first(ctx context.Context) *flight {
	if r.flight != nil || r.set == nil && r.failed.IsZero() {
		return r.join(ctx)
	}
	f := &flight{done: make(chan struct{}), err: r.err}
	close(f.done)
	return f
}
