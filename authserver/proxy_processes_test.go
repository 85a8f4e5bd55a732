package authserver

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"doorward/store/sqlite"
)

// Two processes over one file renew a token once between them, though the
// separate server would take the refresh token twice; and both have what came.
//
// covers: AS-PROXY-04
func TestProxiedRenewalOfTwoProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.db")
	var now func() time.Time
	open := func() *sqlite.Store {
		db, err := sqlite.OpenConfig(sqlite.Config{Path: path, Now: now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		return db
	}
	s, f := newProxiedSite(t, func(c *Config) { now = c.Now; c.Store = open() })
	cfg := s.cfg
	cfg.Store = open()
	second, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { second.Close() })
	id := gid(t, f.proxiedTokens(s, s.browser()).text("access_token"))
	f.mu.Lock()
	f.extra = map[string]any{"expires_in": 300, "access_token": "upstream-second"}
	before := len(f.forms)
	f.mu.Unlock()
	s.wait(5 * time.Minute)
	var callers sync.WaitGroup
	for range 20 {
		for _, process := range []*Server{s.Server, second} {
			callers.Go(func() {
				if got, err := process.UpstreamToken(context.Background(), id); err != nil || got != "upstream-second" {
					t.Errorf("%q, %v", got, err)
				}
			})
		}
	}
	callers.Wait()
	if n := len(f.forms) - before; n != 1 {
		t.Errorf("renewed %d times", n)
	}
}
