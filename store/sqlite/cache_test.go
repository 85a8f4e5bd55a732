package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"doorward/store"
)

// What is remembered never hides a commit of another connection: three stores
// on one file, each read compared with what was written last, by whomever.
func TestRememberedIsCurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.db")
	stores := []*Store{openAt(t, path), openAt(t, path), openAt(t, path)}
	rnd := rand.New(rand.NewPCG(1, 2))
	want := map[string][]byte{}
	taken := map[string]bool{}
	for i := range 3000 {
		s, key := stores[rnd.IntN(len(stores))], fmt.Sprint(rnd.IntN(12))
		switch rnd.IntN(7) {
		case 0:
			value := fmt.Append(nil, "value ", i)
			if err := s.Commit(t.Context(), store.Put(store.Record{Kind: "test", Key: key, Value: value, Index: []string{"i=" + key}})); err != nil {
				t.Fatal(err)
			}
			want[key] = value
		case 1:
			err := s.Commit(t.Context(), store.Take("test", key))
			switch {
			case want[key] == nil && !errors.Is(err, store.ErrNotFound), want[key] != nil && taken[key] && !errors.Is(err, store.ErrTaken), want[key] != nil && !taken[key] && err != nil:
				t.Fatalf("step %d: take: %v", i, err)
			}
			taken[key] = want[key] != nil
		case 2:
			if err := s.Commit(t.Context(), store.Delete("test", key)); err != nil {
				t.Fatal(err)
			}
			delete(want, key)
			delete(taken, key)
		case 3: // nothing of it may be remembered
			err := s.Commit(t.Context(), store.Put(store.Record{Kind: "test", Key: key, Value: []byte("never")}), store.Create(store.Record{Kind: "test", Key: "there"}),
				store.Create(store.Record{Kind: "test", Key: "there"}))
			if !errors.Is(err, store.ErrConflict) {
				t.Fatal(err)
			}
		case 4:
			recs, _, err := s.List(t.Context(), store.Query{Kind: "test", Index: "i=" + key})
			if err != nil || (len(recs) == 1) != (want[key] != nil) {
				t.Fatalf("step %d: listed %+v %v, want %q", i, recs, err, want[key])
			}
		default:
			r, err := s.Get(t.Context(), "test", key)
			if want[key] == nil {
				if !errors.Is(err, store.ErrNotFound) {
					t.Fatalf("step %d: %q: %v, want not found", i, r.Value, err)
				}
				continue
			}
			if err != nil || !bytes.Equal(r.Value, want[key]) || r.Taken.IsZero() == taken[key] || len(r.Index) != 1 || r.Index[0] != "i="+key {
				t.Fatalf("step %d: %+v %v, want %q, taken %v", i, r, err, want[key], taken[key])
			}
		}
	}
}

// A reader that comes after a commit returned sees it, while writers of two
// stores never rest.
func TestNoStaleRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.db")
	stores := []*Store{openAt(t, path), openAt(t, path)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var last [4]atomic.Uint64
	var all sync.WaitGroup
	for k := range last {
		writer, key := stores[k%2], fmt.Sprint(k)
		all.Go(func() {
			for ctx.Err() == nil {
				if err := writer.Commit(t.Context(), store.Put(store.Record{Kind: "test", Key: key})); err != nil {
					t.Error(err)
				}
				last[k].Add(1) // the version that every later read must show at least
			}
		})
		for _, reader := range stores {
			all.Go(func() {
				for ctx.Err() == nil {
					least := last[k].Load()
					r, err := reader.Get(t.Context(), "test", key)
					if err != nil && least > 0 || err == nil && r.Version < least {
						t.Errorf("version %d %v, and %d was committed before", r.Version, err, least)
						return
					}
				}
			})
		}
	}
	all.Wait()
}

// What is remembered is bounded, and large records are not.
func TestRememberedIsBounded(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "auth.db"))
	for i := range 40 {
		ops := make([]store.Op, 100)
		for j := range ops {
			ops[j] = store.Put(store.Record{Kind: "test", Key: fmt.Sprint(i, j), Value: make([]byte, 2000)})
		}
		if err := s.Commit(t.Context(), append(ops, store.Put(store.Record{Kind: "large", Key: fmt.Sprint(i), Value: make([]byte, cacheRecord+1)}))...); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), "large", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.cache.byID.Len(); s.cache.bytes > cacheBytes || n != s.cache.recent.Len() || n < 500 || n > 1000 {
		t.Errorf("%d bytes, %d records, %d in order", s.cache.bytes, n, s.cache.recent.Len())
	}
	for at := range s.cache.byID.All() {
		if at.kind == "large" {
			t.Errorf("%v is remembered", at)
		}
	}
}

// A record that is read again costs no query.
func TestRememberedIsNotRead(t *testing.T) {
	for _, path := range []string{memory, filepath.Join(t.TempDir(), "auth.db")} {
		s := openAt(t, path)
		if s.cache.index == nil {
			t.Skip("the WAL index is not mapped on this system")
		}
		if err := s.Commit(t.Context(), create("a")); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), "test", "b"); !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		for range cap(s.readers) { // nobody can query
			c := <-s.readers
			defer func() { s.readers <- c }()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Get(ctx, "test", "a"); err != nil {
			t.Errorf("%s: the record that was written: %v", path, err)
		}
		if _, err := s.Get(ctx, "test", "b"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: the record that is not there: %v", path, err)
		}
	}
}

// Index names count, too; and a key is no piece of what it was cut from.
func TestRememberedNamesAreBounded(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "auth.db"))
	name := strings.Repeat("n", 500)
	for i := range 40 {
		ops := make([]store.Op, 50)
		for j := range ops {
			ops[j] = store.Put(store.Record{Kind: "test", Key: fmt.Sprint(i, j), Index: []string{name + "1", name + "2", name + "3", name + "4"}})
		}
		if err := s.Commit(t.Context(), ops...); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.cache.byID.Len(); n > cacheBytes/2000 {
		t.Errorf("%d records with names of 2000 bytes are remembered", n)
	}
	request := strings.Repeat("k", 1<<20)
	if _, err := s.Get(t.Context(), "test", request[:40]); !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	for at := range s.cache.byID.All() {
		if unsafe.StringData(at.key) == unsafe.StringData(request) {
			t.Error("the whole request stays in memory with the key")
		}
	}
}

// The log is moved into the file in time, and not as a part of a commit: SQLite
// never comes to do it itself.
func TestLogIsMoved(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "auth.db"))
	if s.cache.index == nil {
		return // the WAL index is not mapped on this system: SQLite moves it
	}
	begun := 0
	for i, before := 0, uint32(0); i < 60; i++ {
		ops := make([]store.Op, 100)
		for j := range ops {
			ops[j] = store.Create(store.Record{Kind: "test", Key: fmt.Sprint(i, "/", j), Value: make([]byte, pageSize)})
		}
		if err := s.Commit(t.Context(), ops...); err != nil {
			t.Fatal(err)
		}
		now, ok := s.cache.now()
		if !ok || now.frames >= 2*logFrames {
			t.Fatalf("%d pages are in the log", now.frames)
		}
		if now.frames < before {
			begun++
		}
		before = now.frames
	}
	if begun < 2 {
		t.Errorf("the log began anew %d times", begun)
	}
}

// What nobody will read soon is not remembered, and hides nothing: not even that it
// was looked for before it was there.
func TestUnreadIsNotRemembered(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "auth.db"))
	unread := func(op store.Op) store.Op { op.Unread = true; return op }
	look := func(key, want string) {
		t.Helper()
		r, err := s.Get(t.Context(), "test", key)
		if want == "" && !errors.Is(err, store.ErrNotFound) || want != "" && (err != nil || string(r.Value) != want) {
			t.Errorf("%s: %q %v, want %q", key, r.Value, err, want)
		}
	}
	for i, write := range []func(store.Record) store.Op{store.Create, store.Add, store.Put} {
		key := fmt.Sprint(i)
		look(key, "")
		if err := s.Commit(t.Context(), unread(write(store.Record{Kind: "test", Key: key, Value: []byte("v")}))); err != nil {
			t.Fatal(err)
		}
		if _, ok := s.cache.byID.Get(id{"test", key}); ok {
			t.Errorf("%s is remembered", key)
		}
		look(key, "v")
		if err := s.Commit(t.Context(), unread(store.Put(store.Record{Kind: "test", Key: key, Value: []byte("w"), Version: 1})), store.Take("test", key)); err != nil {
			t.Fatal(err)
		}
		look(key, "w")
		if err := s.Commit(t.Context(), unread(store.Put(store.Record{Kind: "test", Key: key, Value: []byte("x")})), store.Delete("test", key)); err != nil {
			t.Fatal(err)
		}
		look(key, "")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var next atomic.Int64
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for ctx.Err() == nil {
				s.Get(ctx, "test", fmt.Sprint("key ", next.Load()))
			}
		})
	}
	for i := range int64(300) {
		key := fmt.Sprint("key ", i)
		if err := s.Commit(t.Context(), unread(store.Add(store.Record{Kind: "test", Key: key, Value: []byte("v")}))); err != nil {
			t.Fatal(err)
		}
		look(key, "v")
		next.Store(i + 1)
	}
	cancel()
	readers.Wait()
}
