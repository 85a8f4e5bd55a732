// Package keyset keeps the public keys of other issuers: fetched in the
// background, bounded, withdrawn keys dropped, outages survived with the last
// good set.
package keyset

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"doorward/internal/jose"
)

// Config says where the keys come from and how often they may be asked for.
type Config struct {
	// Fetch gets the JWK Set document.
	Fetch func(ctx context.Context) ([]byte, error)
	// TTL is how long a set is fresh; 0: 10 minutes.
	TTL time.Duration
	// Cooldown is the least time between two fetches that unknown kids or
	// failures cause; 0: 30 seconds.
	Cooldown time.Duration
	// MaxStale is how long a set is used after its last successful fetch while
	// fetching fails; 0: 24 hours.
	MaxStale time.Duration
	// Patience is how long Verify waits for fetches in all; 0: as long as its
	// context lets it.
	Patience time.Duration
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// ErrNoKeys is returned (wrapped) while there is no set that may be used.
var ErrNoKeys = errors.New("no usable keys")

// ErrNotAsked is what Fetch returns (wrapped) when it did not ask at all. It is
// the matter of one caller: it counts as no failure, and starts no cooldown.
var ErrNotAsked = errors.New("not asked")

// stalePatience is how long a caller waits for a fetch while there is a set that
// is older than its TTL and may be used: an issuer that is slow is as one that is
// down.
const stalePatience = time.Second

// fetchTime bounds one fetch, whatever Fetch itself allows.
const fetchTime = 30 * time.Second

// Remote is one issuer's key set. It may be used by many goroutines.
type Remote struct {
	c Config

	mu      sync.Mutex
	set     *jose.Set // the last good one
	fetched time.Time // when set was
	failed  time.Time // the last failed fetch; zero if the last one was good
	err     error     // of it
	asked   time.Time // the last fetch that an unknown kid caused
	flight  *flight   // the fetch under way
}

// flight is one fetch and everybody who waits for it.
type flight struct {
	done chan struct{}
	err  error // readable after done
}

// New makes a set that has not been fetched yet.
func New(c Config) *Remote {
	if c.TTL <= 0 {
		c.TTL = 10 * time.Minute
	}
	if c.Cooldown <= 0 {
		c.Cooldown = 30 * time.Second
	}
	if c.MaxStale <= 0 {
		c.MaxStale = 24 * time.Hour
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Remote{c: c}
}

// Keys returns the current set, fetching it if there is none yet or it is
// older than its TTL. One fetch serves all callers. While fetching fails or takes
// longer than a second, the last good set is returned until it is older than
// MaxStale.
func (r *Remote) Keys(ctx context.Context) (*jose.Set, error) {
	r.mu.Lock()
	now := r.c.Now()
	if r.set != nil && now.Sub(r.fetched) < r.c.TTL {
		defer r.mu.Unlock()
		return r.set, nil
	}
	if !r.failed.IsZero() && now.Sub(r.failed) < r.c.Cooldown {
		defer r.mu.Unlock()
		return r.lastGood(now)
	}
	f := r.join(ctx)
	waiting, cancel := ctx, context.CancelFunc(func() {})
	if r.set != nil && now.Sub(r.fetched) < r.c.MaxStale {
		waiting, cancel = context.WithTimeout(ctx, stalePatience)
	}
	defer cancel()
	r.mu.Unlock()
	waited := f.wait(waiting)
	if waited != nil && ctx.Err() != nil {
		return nil, waited
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	set, err := r.lastGood(r.c.Now())
	if err != nil && errors.Is(waited, ErrNotAsked) {
		err = fmt.Errorf("%w: %w", ErrNoKeys, waited)
	}
	return set, err
}

// lastGood is the set unless it is too old. The lock is held.
func (r *Remote) lastGood(now time.Time) (*jose.Set, error) {
	if r.set != nil && now.Sub(r.fetched) < r.c.MaxStale {
		return r.set, nil
	}
	return nil, fmt.Errorf("%w: %w", ErrNoKeys, r.err)
}

// Verify is jose.Verify with this set; an unknown kid causes one more fetch,
// at most one per cooldown.
func (r *Remote) Verify(ctx context.Context, token string, algs, types []string) (jose.Verified, error) {
	u, err := jose.Read(token)
	if err != nil {
		return jose.Verified{}, err
	}
	return r.VerifyRead(ctx, u, algs, types)
}

// VerifyRead is Verify for a token that was read already.
func (r *Remote) VerifyRead(ctx context.Context, token jose.Unverified, algs, types []string) (jose.Verified, error) {
	before, fresh := r.last()
	if fresh { // nearly always: nothing is waited for
		v, err := token.Verify(before, algs, types)
		if !errors.Is(err, jose.ErrUnknownKey) {
			return v, err
		}
	}
	if r.c.Patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.c.Patience)
		defer cancel()
	}
	set, err := r.Keys(ctx)
	if err != nil {
		return jose.Verified{}, err
	}
	v, err := token.Verify(set, algs, types)
	if !errors.Is(err, jose.ErrUnknownKey) || set != before {
		return v, err // verified, or refused by a set that was fetched just now
	}
	if newer := r.again(ctx, set); newer != set {
		return token.Verify(newer, algs, types)
	}
	return v, err
}

// last is the last good set, and whether it is younger than its TTL.
func (r *Remote) last() (set *jose.Set, fresh bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.set, r.set != nil && r.c.Now().Sub(r.fetched) < r.c.TTL
}

// again fetches because a key was not in set, unless that was done less than a
// cooldown ago, and returns the set there is then.
func (r *Remote) again(ctx context.Context, set *jose.Set) *jose.Set {
	r.mu.Lock()
	if r.set != set {
		defer r.mu.Unlock()
		return r.set
	}
	now := r.c.Now()
	f := r.flight
	if f == nil && r.rested(now) {
		r.asked = now
		f = r.join(ctx)
	}
	r.mu.Unlock()
	if f == nil || f.wait(ctx) != nil {
		return set
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.set
}

// rested reports whether neither an unknown kid nor a failure was the matter
// within the last cooldown. The lock is held.
func (r *Remote) rested(now time.Time) bool {
	return (r.asked.IsZero() || now.Sub(r.asked) >= r.c.Cooldown) &&
		(r.failed.IsZero() || now.Sub(r.failed) >= r.c.Cooldown)
}

// join returns the fetch under way, starting one if there is none. The lock is
// held. The fetch outlives the caller that caused it, since others wait too.
func (r *Remote) join(ctx context.Context) *flight {
	if r.flight == nil {
		r.flight = &flight{done: make(chan struct{})}
		go r.fly(context.WithoutCancel(ctx), r.flight)
	}
	return r.flight
}

func (r *Remote) fly(ctx context.Context, f *flight) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	set, err := r.get(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.c.Now()
	switch {
	case err == nil:
		// The new set takes the place of the old one: a key that is no
		// longer in it has been withdrawn.
		r.set, r.fetched, r.failed, r.err = set, now, time.Time{}, nil
	case !errors.Is(err, ErrNotAsked):
		r.failed, r.err = now, err
	}
	f.err, r.flight = err, nil
	close(f.done)
}

func (r *Remote) get(ctx context.Context) (*jose.Set, error) {
	doc, err := r.c.Fetch(ctx)
	if err != nil {
		return nil, err
	}
	return jose.ParseSet(doc)
}

func (f *flight) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
