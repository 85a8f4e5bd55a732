package doorward_test

import (
	"context"
	"errors"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"doorward"
)

// drawer is a TokenStore that several Transports share, as processes do.
type drawer struct {
	mu     sync.Mutex
	values map[string]string
	locks  map[string]chan struct{}
	fail   func(what string) error
}

func newDrawer() *drawer {
	return &drawer{values: map[string]string{}, locks: map[string]chan struct{}{}, fail: func(string) error { return nil }}
}

func (d *drawer) Load(_ context.Context, key string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return []byte(d.values[key]), d.fail("load")
}

func (d *drawer) Save(ctx context.Context, key string, value []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := errors.Join(ctx.Err(), d.fail("save")); err != nil {
		return err
	}
	if d.values[key] = string(value); len(value) == 0 {
		delete(d.values, key)
	}
	return nil
}

func (d *drawer) Lock(ctx context.Context, key string) (func(), error) {
	d.mu.Lock()
	if d.locks[key] == nil {
		d.locks[key] = make(chan struct{}, 1)
	}
	l, err := d.locks[key], d.fail("lock")
	d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case l <- struct{}{}:
		return func() { <-l }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// covers: P23, S13, T14
func TestStoreIsSharedByProcesses(t *testing.T) {
	w := newWorld(t)
	d := newDrawer()
	var wg sync.WaitGroup
	for range 8 {
		tr := &doorward.Transport{Flow: w.crossApp(), Store: d}
		for range 10 {
			wg.Go(func() {
				if status, err := post(as("alice"), tr, w.url()); status != 200 || err != nil {
					t.Errorf("status %d, error %v", status, err)
				}
			})
		}
	}
	wg.Wait()
	if w.count("idp") != 1 || w.count("as") != 1 {
		t.Errorf("%d exchanges and %d redemptions for eight processes", w.count("idp"), w.count("as"))
	}
	w.trace()
	tr := &doorward.Transport{Flow: w.crossApp(), Store: d}
	must(t, as("alice"), tr, w.url()+"/deep") // under the same resource
	if got := w.trace(); len(got) != 1 {
		t.Errorf("a later run sent %q", got)
	}
	must(t, as("bob"), tr, w.url())
	if w.count("idp") != 2 {
		t.Error("bob came with alice's token")
	}
	other := w.crossApp()
	other.Server.ID = "other"
	must(t, as("alice"), &doorward.Transport{Flow: other, Store: d}, w.url())
	if w.count("as") != 3 {
		t.Error("another client used the token")
	}
	name := regexp.MustCompile(`^[a-z0-9-]{64,80}$`)
	for key := range d.values {
		if !name.MatchString(key) {
			t.Errorf("key %q", key)
		}
	}
}

// The refresh token that another process rotated is taken from the store.
//
// covers: T05, T14
func TestRotationIsSeenByOtherProcesses(t *testing.T) {
	w := newWorld(t)
	d := newDrawer()
	now := time.Now()
	clock := func() time.Time { return now }
	valid, n := "", 0
	w.token = func(form url.Values) (int, map[string]any) {
		if form.Get("grant_type") == "refresh_token" && form.Get("refresh_token") != valid {
			return 400, m{"error": "invalid_grant"}
		}
		n++
		valid = "refresh-" + strings.Repeat("r", n)
		return 200, m{"refresh_token": valid}
	}
	one := &doorward.Transport{Flow: w.code(), Store: d, Now: clock}
	two := &doorward.Transport{Flow: w.code(), Store: d, Now: clock}
	must(t, context.Background(), one, w.url())
	must(t, context.Background(), two, w.url())
	for range 3 {
		now = now.Add(2 * time.Hour)
		must(t, context.Background(), one, w.url())
		must(t, context.Background(), two, w.url())
	}
	if len(w.sent) != 1 || n != 4 {
		t.Errorf("%d sign-ins, %d token answers; want 1 and 4", len(w.sent), n)
	}

	// A token that cannot be saved is not lost, and is not kept silently.
	d.mu.Lock()
	d.fail = func(what string) error {
		if what == "save" {
			return errors.New("the disk is full")
		}
		return nil
	}
	d.mu.Unlock()
	now = now.Add(2 * time.Hour)
	w.trace()
	_, err := post(context.Background(), one, w.url())
	var e *doorward.Error
	if !errors.As(err, &e) || e.Step != "store" || !strings.Contains(err.Error(), "disk is full") {
		t.Errorf("error %v", err)
	}
	must(t, context.Background(), one, w.url())
	if got := w.trace(); len(got) != 3 || got[1] != "as POST /token 200" || got[2] != "mcp POST /mcp 200" {
		t.Errorf("requests %q", got)
	}
}

func TestStoreThatFails(t *testing.T) {
	for _, what := range []string{"load", "lock"} {
		w := newWorld(t)
		d := newDrawer()
		d.fail = func(does string) error {
			if does == what {
				return errors.New("the keyring is locked")
			}
			return nil
		}
		_, err := post(as("alice"), &doorward.Transport{Flow: w.crossApp(), Store: d}, w.url())
		var e *doorward.Error
		if !errors.As(err, &e) || e.Step != "store" || w.count("idp") != 0 {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, value := range []string{"{", `{"v":2}`, "\x00\x01", `[]`, `{"v":1}`, strings.Repeat("x", 300<<10)} {
		w := newWorld(t)
		d := newDrawer()
		must(t, as("alice"), &doorward.Transport{Flow: w.crossApp(), Store: d}, w.url())
		for key := range d.values {
			d.values[key] = value
		}
		must(t, as("alice"), &doorward.Transport{Flow: w.crossApp(), Store: d}, w.url())
		if w.count("as") != 2 {
			t.Errorf("%.10q was taken for a token", value)
		}
	}
}

// A token that could not be saved is saved when it is used again, a few times,
// and never over what another process has saved in the meantime.
func TestSaveIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	w.token = func(url.Values) (int, map[string]any) { return 200, m{"expires_in": 1 << 24} }
	d := newDrawer()
	var full atomic.Bool
	var saves, later atomic.Int64
	d.fail = func(what string) error {
		if what != "save" {
			return nil
		}
		saves.Add(1)
		if full.Load() {
			return errors.New("the disk is full")
		}
		return nil
	}
	start := time.Now()
	clock := func() time.Time { return start.Add(time.Duration(later.Load())) }
	use := func(tr *doorward.Transport, after time.Duration, want int64) {
		t.Helper()
		later.Add(int64(after))
		must(t, as("alice"), tr, w.url())
		for end := time.Now().Add(5 * time.Second); saves.Load() < want && time.Now().Before(end); time.Sleep(time.Millisecond) {
		}
		time.Sleep(100 * time.Millisecond) // none follows, and what is known of the last one is noted
		if got := saves.Load(); got != want {
			t.Fatalf("saved %d times, want %d", got, want)
		}
	}
	token := func(tr *doorward.Transport) string {
		t.Helper()
		tok, err := tr.Token(as("alice"), w.url())
		if err != nil {
			t.Fatal(err)
		}
		return tok.AccessToken
	}
	lost := func() *doorward.Transport {
		t.Helper()
		saves.Store(0)
		full.Store(true)
		tr := &doorward.Transport{Flow: w.crossApp(), Store: d, Now: clock}
		var e *doorward.Error
		if _, err := post(as("alice"), tr, w.url()); !errors.As(err, &e) || e.Step != "store" {
			t.Fatal(err)
		}
		return tr
	}

	tr := lost()
	use(tr, time.Second, 1)
	use(tr, 5*time.Second, 2)
	full.Store(false)
	use(tr, 11*time.Second, 3)
	use(tr, time.Hour, 3) // it is saved
	before := w.count("as")
	if again := token(&doorward.Transport{Flow: w.crossApp(), Store: d}); again != token(tr) || w.count("as") != before {
		t.Errorf("the next start has %s, and %d more were asked for", again, w.count("as")-before)
	}

	clear(d.values)
	tr = lost()
	full.Store(false)
	other := &doorward.Transport{Flow: w.crossApp(), Store: d}
	theirs := token(other)
	use(tr, time.Minute, 2)
	if got := token(tr); got != theirs || got != token(&doorward.Transport{Flow: w.crossApp(), Store: d}) {
		t.Errorf("%s is used, and another process has saved %s", got, theirs)
	}

	clear(d.values)
	tr = lost()
	for range 20 {
		later.Add(int64(2 * time.Hour))
		must(t, as("alice"), tr, w.url())
		time.Sleep(5 * time.Millisecond)
	}
	if n := saves.Load(); n != 9 {
		t.Errorf("saved %d times where that never works", n)
	}
}

// covers: P12
func TestForget(t *testing.T) {
	w := newWorld(t)
	d := newDrawer()
	flow := w.crossApp()
	tr := &doorward.Transport{Flow: flow, Store: d}
	alice := doorward.Subject{Person: "alice"}
	must(t, as("alice"), tr, w.url())
	must(t, as("bob"), tr, w.url())
	for _, address := range []string{w.url(), ""} {
		before := w.count("idp")
		if err := tr.Forget(t.Context(), alice, address); err != nil {
			t.Fatal(err)
		}
		if len(d.values) != 1 {
			t.Errorf("%d entries are left in the store, want bob's", len(d.values))
		}
		must(t, as("bob"), tr, w.url())
		must(t, as("alice"), tr, w.url())
		if w.count("idp") != before+1 {
			t.Errorf("address %q: %d exchanges more, want alice's", address, w.count("idp")-before)
		}
	}

	// Out of the callback, and while an attempt is under way.
	inner := flow.Subject
	flow.Subject = func(ctx context.Context) (doorward.Subject, error) {
		if err := tr.Forget(ctx, alice, ""); err != nil {
			t.Error(err)
		}
		return inner(ctx)
	}
	w.exchange = func(url.Values) (int, map[string]any) {
		if err := tr.Forget(t.Context(), alice, w.url()); err != nil {
			t.Error(err)
		}
		return 200, m{}
	}
	must(t, as("alice"), tr, w.url())
	w.mu.Lock()
	kept := len(d.values)
	w.mu.Unlock()
	if kept != 1 {
		t.Error("what was forgotten while it was on its way was kept")
	}
	var e *doorward.Error
	if err := tr.Forget(t.Context(), alice, "::"); !errors.As(err, &e) || e.Step != "configure" {
		t.Errorf("error %v", err)
	}
	d.fail = func(string) error { return errors.New("the disk is full") }
	if err := tr.Forget(t.Context(), alice, w.url()); !errors.As(err, &e) || e.Step != "store" {
		t.Errorf("error %v", err)
	}
}

// A grant that somebody removed from the store is over in all processes: none
// renews it and puts it back, where another person may find it.
//
// covers: P12
func TestRemovedGrantStaysRemoved(t *testing.T) {
	w := newWorld(t)
	w.token = func(url.Values) (int, map[string]any) { return 200, m{"refresh_token": "r", "expires_in": 3600} }
	d := newDrawer()
	now := time.Now()
	tr := &doorward.Transport{Flow: w.code(), Store: d, Now: func() time.Time { return now }}
	must(t, t.Context(), tr, w.url())
	for key := range d.values {
		if err := d.Save(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(time.Hour - 10*time.Second) // a request waits for the renewal
	must(t, t.Context(), tr, w.url())
	if len(d.values) != 0 || w.count("as") != 1 {
		t.Errorf("%d entries in the store, %d token requests; want none and the first", len(d.values), w.count("as"))
	}
	now = now.Add(time.Minute)
	must(t, t.Context(), tr, w.url())
	for _, form := range w.forms["as"] {
		if form.Get("grant_type") != "authorization_code" {
			t.Errorf("asked with %s", form.Get("grant_type"))
		}
	}
	if len(w.sent) != 2 || len(d.values) == 0 {
		t.Errorf("%d sign-ins, %d entries", len(w.sent), len(d.values))
	}
}
