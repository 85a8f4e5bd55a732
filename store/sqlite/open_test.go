package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/store"
	"doorward/store/sqlite"
)

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c#d%20é.db")
	s := open(t, sqlite.Config{Path: path})
	want := store.Record{Kind: "test", Key: "k", Value: []byte("v"), Index: []string{"a"}, Expires: time.Now().Add(time.Hour).Truncate(time.Millisecond).UTC()}
	ops := []store.Op{store.Put(want), store.Put(want), store.Take("test", "k"), store.Once("jti", want.Expires)}
	if err := s.Commit(t.Context(), ops...); err != nil {
		t.Fatal(err)
	}
	before, err := s.Get(t.Context(), "test", "k")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := names(t, filepath.Dir(path)); !slices.Equal(got, []string{filepath.Base(path)}) {
		t.Errorf("after Close the directory has %q", got)
	}
	s = open(t, sqlite.Config{Path: path})
	got, err := s.Get(t.Context(), "test", "k")
	if err != nil || fmt.Sprint(got) != fmt.Sprint(before) || got.Version != 3 || !got.Expires.Equal(want.Expires) {
		t.Errorf("got %+v, %v, want %+v", got, err, before)
	}
	if err := s.Commit(t.Context(), store.Take("test", "k")); !errors.Is(err, store.ErrTaken) {
		t.Errorf("take: %v", err)
	}
	if err := s.Commit(t.Context(), store.Once("jti", want.Expires)); !errors.Is(err, store.ErrSeen) {
		t.Errorf("once: %v", err)
	}
}

func TestInMemoryIsPrivate(t *testing.T) {
	a, b := open(t, sqlite.Config{Path: ":memory:"}), open(t, sqlite.Config{Path: ":memory:"})
	if err := a.Commit(t.Context(), put("k")); err != nil {
		t.Fatal(err)
	}
	later := open(t, sqlite.Config{Path: ":memory:"})
	for name, s := range map[string]*sqlite.Store{"the other": b, "the later": later} {
		if _, err := s.Get(t.Context(), "test", "k"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s store has it: %v", name, err)
		}
	}
}

func TestOwnerOnly(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // it has no modes
	}
	dir := t.TempDir()
	s := open(t, sqlite.Config{Path: filepath.Join(dir, "auth.db")})
	if err := s.Commit(t.Context(), put("k")); err != nil {
		t.Fatal(err)
	}
	files := names(t, dir)
	if !slices.Equal(files, []string{"auth.db", "auth.db-shm", "auth.db-wal"}) {
		t.Errorf("files %q", files)
	}
	for _, name := range files {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
}

func TestRefusedFiles(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	text := strings.Repeat("this is no database\n", 500)
	if err := os.WriteFile(at("text"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	execAt(t, at("foreign"), "CREATE TABLE theirs (x)")
	open(t, sqlite.Config{Path: at("newer")}).Close()
	execAt(t, at("newer"), "INSERT INTO doorward_schema (version_id, is_applied) VALUES (99, 1)")

	for _, test := range []struct{ path, says string }{
		{"", "empty"},
		{dir, "directory"},
		{at("missing/auth.db"), "no such file or directory"},
		{at("text"), "not a SQLite database"},
		{at("text/auth.db"), "not a directory"},
		{at("foreign"), "another program"},
		{at("newer"), "run the newer program, or restore a backup"},
	} {
		s, err := sqlite.Open(test.path)
		if err == nil {
			s.Close()
			t.Errorf("%s: opened", test.path)
			continue
		}
		if !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), test.path) {
			t.Errorf("%s: %q does not say %q", test.path, err, test.says)
		}
		if newer := test.path == at("newer"); errors.Is(err, store.ErrNewer) != newer {
			t.Errorf("%s: %v", test.path, err)
		}
	}
	if got, err := os.ReadFile(at("text")); err != nil || string(got) != text {
		t.Error("the text was changed")
	}
}

// Several may make the same file at the same moment.
func TestOpenedTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.db")
	var wg sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		wg.Go(func() {
			s, err := sqlite.Open(path)
			if err == nil {
				err = errors.Join(s.Commit(t.Context(), put(fmt.Sprint(i))), s.Close())
			}
			errs[i] = err
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	s := open(t, sqlite.Config{Path: path})
	if recs, _, err := s.List(t.Context(), store.Query{Kind: "test"}); err != nil || len(recs) != len(errs) {
		t.Fatalf("%d records, %v", len(recs), err)
	}
}

// A caller whose context ends while another process holds the lock gets away,
// and its commit does not happen later.
func TestLockedByAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.db")
	s := open(t, sqlite.Config{Path: path})
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.Commit(ctx, put("given up")); !errors.Is(err, ctx.Err()) || err == nil {
		t.Fatalf("commit: %v", err)
	}
	patient := make(chan error, 1)
	go func() { patient <- s.Commit(t.Context(), put("patient")) }()
	if _, err := s.Get(t.Context(), "test", "patient"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("a read beside the lock: %v", err)
	}
	if _, err := db.Exec("COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := <-patient; err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "test", "given up"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("the commit that was given up: %v", err)
	}
}

// BenchmarkOpen opens and closes an existing database.
func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "auth.db")
	for b.Loop() {
		s, err := sqlite.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func execAt(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.Exec(statement)
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}
