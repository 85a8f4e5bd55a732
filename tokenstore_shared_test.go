package doorward_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward"
	"doorward/internal/oauth"
)

// A client that registered itself is found again by later runs, at its issuer
// and at no other, until the issuer does not know it any more.
//
// covers: C-REG-02, C-REG-07, S01
func TestRegistrationIsKept(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	d := newDrawer()
	run := func(w *world) {
		t.Helper()
		for key := range d.values {
			if strings.HasPrefix(key, "grant-") {
				delete(d.values, key)
			}
		}
		must(t, context.Background(), &doorward.Transport{Flow: w.code(), Store: d}, w.url())
	}
	run(w)
	run(w)
	if len(w.made) != 1 || w.sent[0].Get("client_id") != w.sent[1].Get("client_id") {
		t.Errorf("%d registrations for two runs", len(w.made))
	}
	run(other)
	if len(other.made) != 1 || len(w.made) != 1 {
		t.Errorf("another issuer: %d registrations there", len(other.made))
	}
	w.token = func(form url.Values) (int, map[string]any) {
		if form.Get("client_id") == "dynamic-1" {
			return 401, m{"error": "invalid_client"}
		}
		return 200, m{}
	}
	run(w)
	run(w)
	if len(w.made) != 2 || w.sent[len(w.sent)-1].Get("client_id") != "dynamic-2" {
		t.Errorf("after invalid_client: %d registrations", len(w.made))
	}
	// One whose secret is over is made again, and so is what cannot be read.
	for key := range d.values {
		if strings.HasPrefix(key, "client-") {
			d.values[key] = strings.Replace(d.values[key], `"client":{`, `"client":{"until":"2020-01-01T00:00:00Z",`, 1)
		}
	}
	run(w)
	for key := range d.values {
		if strings.HasPrefix(key, "client-") {
			d.values[key] = "rubbish"
		}
	}
	run(w)
	if len(w.made) != 4 {
		t.Errorf("%d registrations, want 4", len(w.made))
	}
}

// The secret of a client that the program was configured with stays with the
// program, and the next run uses its own.
func TestConfiguredSecretIsNotStored(t *testing.T) {
	w := newWorld(t)
	d := newDrawer()
	w.token = func(url.Values) (int, map[string]any) { return 200, m{"refresh_token": "r", "expires_in": 60} }
	now := time.Now()
	for i, secret := range []string{"secret-one", "secret-two"} {
		flow := w.code()
		flow.Client = doorward.Credentials{ID: "tool", Secret: secret}
		tr := &doorward.Transport{Flow: flow, Store: d, Now: func() time.Time { return now.Add(time.Duration(i) * time.Hour) }}
		must(t, context.Background(), tr, w.url())
	}
	if len(w.sent) != 1 || !strings.Contains(w.heads["as"][1].Get("Authorization"), "Basic ") {
		t.Fatalf("%d sign-ins", len(w.sent))
	}
	if first, second := w.heads["as"][0].Get("Authorization"), w.heads["as"][1].Get("Authorization"); first == second {
		t.Error("the second run sent the secret of the first")
	}
	for _, value := range d.values {
		if strings.Contains(value, "secret-") {
			t.Error("the secret lies in the store")
		}
	}
}

// A clock that was set back between two processes makes nobody use a refresh
// token that was rotated.
//
// covers: C-TOK-05, T05
func TestClockSetBack(t *testing.T) {
	w := newWorld(t)
	d := newDrawer()
	now := time.Now()
	valid, n := "", 0
	w.token = func(form url.Values) (int, map[string]any) {
		if form.Get("grant_type") == "refresh_token" && form.Get("refresh_token") != valid {
			t.Error("a refresh token is used twice")
			return 400, m{"error": "invalid_grant"}
		}
		n++
		valid = "refresh-" + strings.Repeat("r", n)
		return 200, m{"refresh_token": valid}
	}
	clock := func() time.Time { return now }
	one := &doorward.Transport{Flow: w.code(), Store: d, Now: clock}
	two := &doorward.Transport{Flow: w.code(), Store: d, Now: clock}
	must(t, t.Context(), one, w.url())
	must(t, t.Context(), two, w.url())
	for range 4 {
		now = now.Add(-24 * time.Hour)
		w.revoke()
		must(t, t.Context(), one, w.url())
		must(t, t.Context(), two, w.url())
	}
	if len(w.sent) != 1 || n != 5 {
		t.Errorf("%d sign-ins, %d token answers; want 1 and 5", len(w.sent), n)
	}
}

// Whoever has a token that is still good goes on with it while somebody signs
// in for more.
func TestRenewalDoesNotWaitForAPerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := newDrawer()
	now := time.Now()
	clock := func() time.Time { return now }
	w.token = func(url.Values) (int, map[string]any) { return 200, m{"expires_in": 3600, "refresh_token": "r"} }
	one := &doorward.Transport{Flow: w.code(), Store: d, Now: clock}
	must(t, t.Context(), one, w.url())
	now = now.Add(3590 * time.Second) // due, and good
	var key string
	for k := range d.values {
		if strings.HasPrefix(k, "grant-") {
			key = k
		}
	}
	unlock, err := d.Lock(t.Context(), key) // as somebody else's sign-in does
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	must(t, t.Context(), one, w.url())
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
	// One that is over waits, and takes what came.
	now = now.Add(time.Minute)
	var wait sync.WaitGroup
	wait.Go(func() { must(t, t.Context(), one, w.url()) })
	time.Sleep(6 * time.Second)
	unlock()
	wait.Wait()
	if len(w.sent) != 1 {
		t.Errorf("%d sign-ins", len(w.sent))
	}
}

// A process goes on with what another saved only if that is the same person's:
// somebody else may have signed in at the browser meanwhile.
//
// covers: C-TOK-05
func TestAnotherPersonsSignInIsNotTaken(t *testing.T) {
	for _, c := range []struct {
		name, first, then string
		taken             bool
	}{{"the same person", "alice", "alice", true}, {"another", "alice", "bob", false}, {"tokens that say nothing", "", "", true}} {
		w := newWorld(t)
		d := newDrawer()
		person, n := c.first, 0
		w.token = func(form url.Values) (int, map[string]any) {
			n++
			token := fmt.Sprint("opaque-", n)
			if person != "" {
				token = guardSign(t, guardKey(t), oauth.TypAccessToken, m{"sub": person, "jti": fmt.Sprint(n)})
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.live[token] = form
			return 200, m{"access_token": token}
		}
		one := &doorward.Transport{Flow: w.code(), Store: d}
		must(t, t.Context(), one, w.url())
		person = c.then
		w.revoke()
		must(t, t.Context(), &doorward.Transport{Flow: w.code(), Store: d}, w.url())
		before := w.count("as")
		status, err := post(t.Context(), one, w.url())
		var e *doorward.Error
		switch {
		case c.taken && (err != nil || status != 200 || w.count("as") != before):
			t.Errorf("%s: %d, %v, %d token requests", c.name, status, err, w.count("as")-before)
		case !c.taken && (!errors.As(err, &e) || !strings.Contains(e.Description, "somebody else") || w.count("as") != before):
			t.Errorf("%s: %d, %v, %d token requests", c.name, status, err, w.count("as")-before)
		}
		if !c.taken { // a new process is theirs
			must(t, t.Context(), &doorward.Transport{Flow: w.code(), Store: d}, w.url())
		}
	}
}
