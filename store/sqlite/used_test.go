package sqlite

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"doorward/store"
)

// bench is several stores on one file, with one clock that the test sets.
type bench struct {
	*testing.T
	path   string
	now    time.Time
	stores []*Store
}

func newBench(t *testing.T, n int) *bench {
	b := &bench{T: t, path: filepath.Join(t.TempDir(), "auth.db"), now: time.Date(2026, 7, 28, 12, 0, 0, 0, time.UTC)}
	for range n {
		b.stores = append(b.stores, b.open())
	}
	return b
}

func (b *bench) open() *Store {
	b.Helper()
	s, err := OpenConfig(Config{Path: b.path, Now: func() time.Time { return b.now }})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// use uses a name for a time; want is nil or store.ErrSeen.
func (b *bench) use(s *Store, name string, life time.Duration, want error) {
	b.Helper()
	if err := s.Commit(b.Context(), store.Once(name, b.now.Add(life))); !errors.Is(err, want) || (err == nil) != (want == nil) {
		b.Fatalf("use of %s: %v, want %v", name, err, want)
	}
}

// sweep removes everything that is over.
func (b *bench) sweep(s *Store) (gone int) {
	b.Helper()
	for {
		n, err := s.Sweep(b.Context(), 200)
		if err != nil {
			b.Fatal(err)
		}
		if gone += n; n < 200 {
			return gone
		}
	}
}

// counted is a number that a query finds.
func (b *bench) counted(query string) string {
	b.Helper()
	c := <-b.stores[0].writer
	defer func() { b.stores[0].writer <- c }()
	n, err := c.text(query)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// A number of a row is never given twice, also when all names are over and swept:
// so nobody takes a new row for one that it has read.
func TestRowsOfNamesAreNew(t *testing.T) {
	b := newBench(t, 2)
	first, second := b.stores[0], b.stores[1]
	for round := range 5 {
		for i := range 10 {
			b.use(first, fmt.Sprint(round, "/", i), time.Minute, nil)
		}
		b.use(second, fmt.Sprint(round, "/9"), time.Minute, store.ErrSeen)
		b.now = b.now.Add(time.Hour)
		if n := b.sweep([]*Store{first, second}[round%2]); n != 10+round {
			t.Errorf("swept %d, want %d", n, 10+round)
		}
		if left := b.counted("SELECT group_concat(length(name)) FROM used"); left != "0" {
			t.Fatalf("names of these lengths are left: %s", left)
		}
		if n := b.sweep(second); n != 0 {
			t.Errorf("swept %d of nothing", n)
		}
		if recs, _, err := first.List(t.Context(), store.Query{Kind: store.KindOnce}); err != nil || len(recs) != 0 {
			t.Errorf("listed %+v, %v", recs, err)
		}
		new := b.open() // has seen nothing of it
		for i := range round + 1 {
			b.use([]*Store{second, new}[round%2], fmt.Sprint("new ", round, i), time.Minute, nil)
			b.use(first, fmt.Sprint("new ", round, i), time.Minute, store.ErrSeen)
		}
		if n := b.counted("SELECT count(*) FROM used WHERE name = x''"); n != "0" {
			t.Errorf("%s empty rows are left", n)
		}
	}
}

// What one process sweeps another can use again, and forgets.
func TestSweptByAnother(t *testing.T) {
	b := newBench(t, 2)
	first, second := b.stores[0], b.stores[1]
	for i := range 100 {
		var ops []store.Op
		for j := range 50 {
			ops = append(ops, store.Once(fmt.Sprint(50*i+j), b.now.Add(time.Minute)))
		}
		if err := second.Commit(t.Context(), ops...); err != nil {
			t.Fatal(err)
		}
		if i == 50 {
			b.use(first, "stays", time.Hour, nil)
		}
	}
	b.use(first, "4999", time.Minute, store.ErrSeen)
	for _, s := range b.stores {
		if n := s.used.rows.Len(); n != 5001 {
			t.Fatalf("%d names in memory", n)
		}
	}
	b.now = b.now.Add(2 * time.Minute)
	if n := b.sweep(second); n != 5000 {
		t.Errorf("swept %d", n)
	}
	b.use(first, "4999", time.Minute, nil)
	b.use(second, "4999", time.Minute, store.ErrSeen)
	b.use(first, "stays", time.Minute, store.ErrSeen)
	for range 10 {
		b.sweep(first)
	}
	for _, s := range b.stores {
		if n := s.used.rows.Len(); n > 10 {
			t.Errorf("%d names in memory, of two", n)
		}
	}
}

// What a transaction did not write is not remembered, whatever it failed of, and
// what it shares the transaction with is.
func TestUseThatFails(t *testing.T) {
	b := newBench(t, 2)
	first, second := b.stores[0], b.stores[1]
	script := func(text string) {
		t.Helper()
		c := <-first.writer
		err := c.script(text)
		if first.writer <- c; err != nil {
			t.Fatal(err)
		}
	}
	for name, breaks := range map[string]string{
		"write":  "CREATE TRIGGER fails AFTER INSERT ON used BEGIN SELECT RAISE(ROLLBACK, 'fails'); END",
		"commit": "CREATE TRIGGER fails AFTER INSERT ON used BEGIN INSERT INTO q VALUES (1); END",
	} {
		script(`PRAGMA foreign_keys=1; CREATE TABLE p (id INTEGER PRIMARY KEY);
			CREATE TABLE q (id REFERENCES p DEFERRABLE INITIALLY DEFERRED);` + breaks)
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if err := first.Commit(t.Context(), store.Once(name, time.Time{})); err == nil {
					t.Errorf("%s: no error", name)
				}
			})
		}
		all.Wait()
		script("DROP TRIGGER fails; PRAGMA foreign_keys=0; DROP TABLE q; DROP TABLE p")
		for _, s := range b.stores {
			if _, err := s.Get(t.Context(), store.KindOnce, name); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s: read: %v", name, err)
			}
		}
		b.use(first, name, time.Hour, nil)
		b.use(second, name, time.Hour, store.ErrSeen)
	}
	if err := first.Commit(t.Context(), store.Once("with", time.Time{}), store.Take("test", "nothing")); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
	b.use(second, "with", time.Hour, nil)
	b.use(first, "with", time.Hour, store.ErrSeen)
}

// A table that was emptied by hand, so that numbers come again, is read anew.
func TestTableCutByHand(t *testing.T) {
	b := newBench(t, 2)
	for i := range 5 {
		b.use(b.stores[0], fmt.Sprint("a", i), time.Hour, nil)
	}
	b.use(b.stores[1], "a4", time.Hour, store.ErrSeen)
	c := <-b.stores[0].writer
	if err := c.script("DELETE FROM used"); err != nil {
		t.Fatal(err)
	}
	b.stores[0].writer <- c
	b.use(b.stores[1], "b", time.Hour, nil)
	b.use(b.stores[0], "b", time.Hour, store.ErrSeen)
	b.use(b.stores[0], "a0", time.Hour, nil)
	b.use(b.stores[1], "a0", time.Hour, store.ErrSeen)
}

// A row that has another name than it had, which nothing here does, is no reason
// to take the name for unused.
func TestRowOfAnotherName(t *testing.T) {
	b := newBench(t, 1)
	b.use(b.stores[0], "a", time.Hour, nil)
	b.use(b.stores[0], "b", time.Hour, nil)
	c := <-b.stores[0].writer
	if err := c.script("UPDATE used SET name = CAST('c' AS BLOB) WHERE seq = 1"); err != nil {
		t.Fatal(err)
	}
	b.stores[0].writer <- c
	if err := b.stores[0].Commit(t.Context(), store.Once("a", time.Time{})); err == nil || errors.Is(err, store.ErrSeen) {
		t.Errorf("used: %v", err)
	}
	if _, err := b.stores[0].Get(t.Context(), store.KindOnce, "a"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("read: %v", err)
	}
}

// A name that is not used costs no query, also when other records were written.
func TestUnusedNameIsNotRead(t *testing.T) {
	for _, path := range []string{memory, filepath.Join(t.TempDir(), "auth.db")} {
		s := openAt(t, path)
		if s.cache.index == nil {
			continue // the WAL index is not mapped on this system: every read asks
		}
		if err := s.Commit(t.Context(), store.Once("a", time.Time{})); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(t.Context(), create("b")); err != nil {
			t.Fatal(err)
		}
		if _, ok := s.used.find("a"); !ok {
			t.Errorf("%s: own commits left the index behind", path)
		}
		for range cap(s.readers) { // nobody can query
			c := <-s.readers
			defer func() { s.readers <- c }()
		}
		if _, err := s.Get(t.Context(), store.KindOnce, "b"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// Several stores on one file, of which some end and others come, agree with what
// a map remembers: who may use a name, what it was used with, and which there are.
func TestNamesAgree(t *testing.T) {
	b := newBench(t, 3)
	type use struct {
		value string
		until time.Time
	}
	want := map[string]use{}
	rnd := rand.New(rand.NewPCG(7, 8))
	for step := range 4000 {
		i, name := rnd.IntN(len(b.stores)), fmt.Sprint(rnd.IntN(40))
		s := b.stores[i]
		before, there := want[name]
		there = there && b.now.Before(before.until)
		switch rnd.IntN(12) {
		case 0, 1, 2, 3:
			op := store.Once(name, b.now.Add(time.Duration(1+rnd.IntN(300))*time.Second))
			op.Record.Value = fmt.Append(nil, step)
			err := s.Commit(t.Context(), op, store.Once(name+"too", op.Record.Expires))
			if there && !errors.Is(err, store.ErrSeen) || !there && err != nil {
				t.Fatalf("step %d: %s: %v, there: %v", step, name, err, there)
			}
			if err == nil {
				want[name], want[name+"too"] = use{fmt.Sprint(step), op.Record.Expires}, use{"", op.Record.Expires}
			}
		case 4, 5, 6, 7:
			r, err := s.Get(t.Context(), store.KindOnce, name)
			if there != (err == nil) || there && (string(r.Value) != before.value || !r.Expires.Equal(before.until)) || err != nil && !errors.Is(err, store.ErrNotFound) {
				t.Fatalf("step %d: read %+v, %v, want %v %v", step, r, err, before, there)
			}
		case 8:
			b.now = b.now.Add(time.Duration(rnd.IntN(60)) * time.Second)
		case 9:
			b.sweep(s)
		case 10:
			if err := s.Commit(t.Context(), store.Put(store.Record{Kind: "test", Key: name})); err != nil {
				t.Fatal(err)
			}
			if rnd.IntN(4) == 0 {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				b.stores[i] = b.open()
			}
		default:
			var names, got []string
			for name, u := range want {
				if b.now.Before(u.until) {
					names = append(names, name)
				}
			}
			for q := (store.Query{Kind: store.KindOnce, Limit: 7}); ; {
				recs, next, err := s.List(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range recs {
					got = append(got, r.Key)
				}
				if q.After = next; next == "" {
					break
				}
			}
			if !slices.Equal(sorted(names), sorted(got)) {
				t.Fatalf("step %d: listed %v, want %v", step, got, names)
			}
		}
	}
}

// BenchmarkLoadNames opens a file with 100,000 names that were used and uses
// another, which brings them into memory.
func BenchmarkLoadNames(b *testing.B) {
	path := filepath.Join(b.TempDir(), "auth.db")
	s, err := Open(path)
	if err != nil {
		b.Fatal(err)
	}
	const names = 100_000
	for i := range names / 1000 {
		var ops []store.Op
		for j := range 1000 {
			ops = append(ops, store.Once(fmt.Sprintf("jag:%064x", i*1000+j), time.Time{}))
		}
		if err := s.Commit(b.Context(), ops...); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s, err := Open(path)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Commit(b.Context(), store.Once(fmt.Sprint(i), time.Time{})); err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/names, "ns/name")
}
