package authserver

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"doorward/internal/oauth"
	"doorward/store"
)

// slow is a store in which commits wait for each other, and the time goes on
// while they do.
type slow struct {
	store.Store
	wait func()

	mu      sync.Mutex
	waiting int
	all     chan struct{}
}

func (d *slow) Commit(ctx context.Context, ops ...store.Op) error {
	d.mu.Lock()
	all := d.all
	if all != nil {
		if d.waiting--; d.waiting == 0 {
			d.wait()
			d.all = nil
			close(all)
		}
	}
	d.mu.Unlock()
	if all != nil {
		<-all
	}
	return d.Store.Commit(ctx, ops...)
}

// Two requests that are checked in the last moment of an assertion, and written
// after it, are two uses all the same.
//
// covers: AS-CAUTH-04, SEC-14
func TestLastMomentOfAnAssertion(t *testing.T) {
	d := &slow{}
	w := newWorld(t, func(as, _ *Config) { d.Store = as.Store; as.Store = d })
	d.wait = func() { w.forward(10 * time.Second) }
	now := w.now()
	assertion, err := testKeys()["es"].Sign("JWT", map[string]any{"iss": "signer", "sub": "signer", "aud": asURL, "jti": "1",
		"iat": now.Unix(), "exp": now.Add(time.Minute).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	w.forward(time.Minute + assertionSkew - time.Second)
	d.waiting, d.all = 2, make(chan struct{})
	st := w.as.current()
	var both sync.WaitGroup
	var results [2]error
	for i := range results {
		both.Go(func() { results[i] = w.as.checkClientAssertion(t.Context(), st, *st.clients["signer"], assertion) })
	}
	both.Wait()
	good := 0
	for _, err := range results {
		var e *oauth.Error
		switch {
		case err == nil:
			good++
		case !errors.As(err, &e) || e.Reason != "client_assertion_replay":
			t.Error(err)
		}
	}
	if good != 1 {
		t.Errorf("it was taken %d times", good)
	}
}
