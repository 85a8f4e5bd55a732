package keyset

import (
	"context"
	"time"
)

// Start fetches now and then in the background until ctx ends, so that no
// request waits for it: at once, then shortly before each set's TTL ends; after
// a failure after the cooldown, then twice that, and so on up to the TTL.
func (r *Remote) Start(ctx context.Context) {
	go func() {
		retry := r.c.Cooldown
		for ctx.Err() == nil {
			r.mu.Lock()
			f := r.join(ctx)
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
