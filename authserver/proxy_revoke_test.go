package authserver

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/internal/ledger"
	"doorward/store"
)

// revocations waits until n came to the separate server, and a moment longer.
func (f *fakeProvider) revocations(n int) []url.Values {
	f.t.Helper()
	for range 400 {
		f.mu.Lock()
		got := slices.Clone(f.revoked)
		f.mu.Unlock()
		if len(got) >= n {
			return got
		}
		time.Sleep(5 * time.Millisecond)
	}
	f.t.Fatalf("%d revocations never came", n)
	return nil
}

func (s *site) toRevoke() int {
	s.t.Helper()
	recs, _, err := s.ledger.Store.List(context.Background(), store.Query{Kind: ledger.KindRevoke})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range recs {
		if bytes.Contains(r.Value, []byte("upstream-refresh")) || bytes.Contains(r.Value, []byte("upstream-access")) {
			s.t.Error("a token that is to be revoked does not lie sealed")
		}
	}
	return len(recs)
}

// announceRevoke is for the configuration, since metadata is read early.
func announceRevoke(c *Config) {
	c.HTTP.(*fakeProvider).meta["revocation_endpoint"] = loginURL + "/revoke"
}

// Whoever ends a grant ends the separate server's tokens there, too, also where
// another process does it.
//
// covers: AS-PROXY-04
func TestProxiedRevocation(t *testing.T) {
	ctx := context.Background()
	s, f := newProxiedSite(t, announceRevoke)
	id := gid(t, f.proxiedTokens(s, s.browser()).text("access_token"))
	other := &ledger.Ledger{Store: s.cfg.Store, Now: s.cfg.Now} // as `doorward leave` has one
	if _, err := other.Leave(ctx, proxiedCarol); err != nil {
		t.Fatal(err)
	}
	got := f.revocations(1)
	if len(got) != 1 || got[0].Get("token") != "upstream-refresh" || got[0].Get("token_type_hint") != "refresh_token" || got[0].Has("client_secret") {
		t.Errorf("revoked %v", got)
	}
	for range 400 {
		if s.toRevoke() == 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if n := s.toRevoke(); n != 0 {
		t.Errorf("%d are still to be revoked, of grant %s", n, id)
	}
}

// Who leaves while a token is renewed leaves no new one behind.
//
// covers: AS-PROXY-04
func TestProxiedRevocationOfRenewed(t *testing.T) {
	ctx := context.Background()
	s, f := newProxiedSite(t, announceRevoke)
	id := gid(t, f.proxiedTokens(s, s.browser()).text("access_token"))
	s.wait(6 * time.Minute)
	f.mu.Lock()
	f.renewing = func() {
		if _, err := s.ledger.Leave(ctx, proxiedCarol); err != nil {
			t.Error(err)
		}
	}
	f.mu.Unlock()
	if got, err := s.UpstreamToken(ctx, id); !errors.Is(err, ErrUpstreamOver) {
		t.Errorf("%q, %v", got, err)
	}
	if got := f.revocations(1); got[0].Get("token") != "upstream-refresh+" {
		t.Errorf("revoked %v", got)
	}
	s.wait(revokeAgain) // what was under way at the end may be spent, and has time
	if err := s.revokeDue(ctx); err != nil || f.revocations(2)[1].Get("token") != "upstream-refresh" {
		t.Errorf("%v, revoked %v", err, f.revoked)
	}
}

// A separate server that is down holds up no end; it is asked again, a minute
// later at the earliest, until it answers or a day is over.
//
// covers: AS-PROXY-04
func TestProxiedRevocationLater(t *testing.T) {
	ctx := context.Background()
	var log logBuffer
	s, f := newProxiedSite(t, func(c *Config) {
		announceRevoke(c)
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	f.mu.Lock()
	f.refresh = "" // so that there is an access token only
	f.mu.Unlock()
	id := gid(t, f.proxiedTokens(s, s.browser()).text("access_token"))
	f.mu.Lock()
	f.revoking = 503
	f.mu.Unlock()
	began := time.Now()
	if _, err := s.ledger.End(ctx, ledger.Which{Grant: id}, "test"); err != nil || time.Since(began) > 5*time.Second {
		t.Fatalf("ended after %s: %v", time.Since(began), err)
	}
	if got := f.revocations(1); got[0].Get("token") != "upstream-access" || got[0].Get("token_type_hint") != "access_token" {
		t.Errorf("revoked %v", got)
	}
	for _, step := range []struct {
		wait         time.Duration
		answer, seen int
		left         int
	}{{revokeAgain / 2, 503, 1, 1}, {revokeAgain, 429, 2, 1}, {revokeAgain, 200, 3, 0}} {
		f.mu.Lock()
		f.revoking = step.answer
		f.mu.Unlock()
		s.wait(step.wait)
		_ = s.revokeDue(ctx) // its error is what the step says
		if got := f.revocations(step.seen); len(got) != step.seen || s.toRevoke() != step.left {
			t.Errorf("%+v: %d tries, %d left", step, len(got), s.toRevoke())
		}
	}
	if strings.Contains(log.String(), "upstream-access") {
		t.Error("the token is in the log")
	}
}

// Where nothing is to be revoked, or that is refused for good, it is let be.
func TestProxiedRevocationLetBe(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		announced bool
		answer    int
		seen      int
	}{"not announced": {false, 200, 0}, "refused": {true, 400, 1}, "not found": {true, 404, 1}} {
		s, f := newProxiedSite(t, func(cfg *Config) {
			if c.announced {
				announceRevoke(cfg)
			}
		})
		f.mu.Lock()
		f.revoking = c.answer
		f.mu.Unlock()
		id := gid(t, f.proxiedTokens(s, s.browser()).text("access_token"))
		if _, err := s.ledger.End(ctx, ledger.Which{Grant: id}, "test"); err != nil {
			t.Fatal(err)
		}
		for range 400 {
			if s.toRevoke() == 0 {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		f.mu.Lock()
		seen := len(f.revoked)
		f.mu.Unlock()
		if n := s.toRevoke(); n != 0 || seen != c.seen {
			t.Errorf("%s: %d left, %d tries", name, n, seen)
		}
	}
}
