package sqlite_test

import (
	"path/filepath"
	"testing"
	"time"

	"doorward/store"
	"doorward/store/sqlite"
	"doorward/store/storetest"
)

// covers: AS-CODE-02
func TestStoreInMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store {
		return open(t, sqlite.Config{Path: ":memory:", Now: now})
	})
}

// covers: AS-CODE-02
func TestStoreInFile(t *testing.T) {
	storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store {
		return open(t, sqlite.Config{Path: filepath.Join(t.TempDir(), "auth.db"), Now: now})
	})
}

func open(t *testing.T, cfg sqlite.Config) *sqlite.Store {
	t.Helper()
	s, err := sqlite.OpenConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}
