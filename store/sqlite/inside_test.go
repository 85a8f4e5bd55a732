package sqlite

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/store"
)

func openAt(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func create(key string) store.Op {
	return store.Create(store.Record{Kind: "test", Key: key, Index: []string{"i"}})
}

// If the transaction cannot be begun, written or committed everybody in it
// learns so, nothing is left, and the next one is not hurt.
func TestWriteFails(t *testing.T) {
	for name, test := range map[string]struct{ breaks, mends string }{
		"begin": {"PRAGMA query_only=1", "PRAGMA query_only=0"},
		"write": {"CREATE TRIGGER fails AFTER INSERT ON record BEGIN SELECT RAISE(ROLLBACK, 'fails'); END", "DROP TRIGGER fails"},
		"commit": {`PRAGMA foreign_keys=1;
			CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE q (id REFERENCES p DEFERRABLE INITIALLY DEFERRED);
			CREATE TRIGGER fails AFTER INSERT ON record BEGIN INSERT INTO q VALUES (1); END`,
			"DROP TRIGGER fails; PRAGMA foreign_keys=0; DROP TABLE q; DROP TABLE p"},
	} {
		for _, path := range []string{memory, filepath.Join(t.TempDir(), "auth.db")} {
			t.Run(name+" "+filepath.Base(path), func(t *testing.T) { writeFails(t, openAt(t, path), test.breaks, test.mends) })
		}
	}
}

func writeFails(t *testing.T, s *Store, breaks, mends string) {
	script := func(text string) {
		t.Helper()
		c := <-s.writer
		err := c.script(text)
		if s.writer <- c; err != nil {
			t.Fatal(err)
		}
	}
	script(breaks)
	told := 0
	if err := s.Watch(t.Context(), "test", func(store.Record) { told++ }); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			err := s.Commit(t.Context(), create(fmt.Sprint(i)), create("same"))
			if err == nil || errors.Is(err, store.ErrConflict) { // "same" was never there
				t.Errorf("%v, want why it could not be written", err)
			}
		})
	}
	wg.Wait()
	script(mends)
	if recs, _, err := s.List(t.Context(), store.Query{Kind: "test", Index: "i"}); err != nil || len(recs) > 0 || told > 0 {
		t.Errorf("left %+v, %v, told %d times", recs, err, told)
	}
	if err := s.Commit(t.Context(), create("same")); err != nil || told != 1 {
		t.Errorf("told %d times, %v", told, err)
	}
}

// A process that was stopped for so long that the log of changes was cut
// behind it hears of every record that may be new.
func TestLaggingWatcher(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.db")
	s, other := openAt(t, path), openAt(t, path)
	heard := map[string]bool{}
	s.watch.add("test", &watcher{t.Context(), func(r store.Record) { heard[r.Key] = true }})
	c, err := openReader(s.connector)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	p := &poller{s: s, c: c, version: -1}
	look := func(want ...string) {
		t.Helper()
		clear(heard)
		if err := p.look(); err != nil {
			t.Fatal(err)
		}
		for _, key := range want {
			if !heard[key] {
				t.Errorf("did not hear of %q", key)
			}
		}
		if len(heard) != len(want) {
			t.Errorf("heard of %v, want %q", heard, want)
		}
	}
	commit := func(keys ...string) {
		t.Helper()
		for _, key := range keys {
			if err := other.Commit(t.Context(), create(key)); err != nil {
				t.Fatal(err)
			}
		}
	}
	commit("a", "b")
	look("a", "b")
	look()
	commit("c", "d", "e")
	cut := <-other.writer
	if err := cut.exec(cutChanges, int64(1)); err != nil {
		t.Fatal(err)
	}
	other.writer <- cut
	look("a", "b", "c", "d", "e")
	commit("f")
	look("f")
}

// The log of changes does not grow without end.
func TestLogIsCut(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "auth.db"))
	c := <-s.writer
	if err := c.script(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 20000)
		INSERT INTO change (writer, puts) SELECT 1, x'' FROM n`); err != nil {
		t.Fatal(err)
	}
	s.writer <- c
	for i := range cutEvery {
		if err := s.Commit(t.Context(), create(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	c = <-s.writer
	defer func() { s.writer <- c }()
	first, err := c.number(firstChange)
	last, err2 := c.number(lastChange)
	if err := errors.Join(err, err2); err != nil || last != 20000+cutEvery || last-first >= keepChanges {
		t.Fatalf("changes %d to %d, %v", first, last, err)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(pack("a", "", "person=corp/alice"))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte{5, 'a'})
	f.Fuzz(func(t *testing.T, b []byte) {
		names := unpack(b)
		if again := unpack(pack(names...)); !slices.Equal(names, again) {
			t.Fatalf("%q, again %q", names, again)
		}
	})
}

// No statement walks a whole table or sorts.
func TestQueryPlans(t *testing.T) {
	s := openAt(t, memory)
	c := <-s.writer
	defer func() { s.writer <- c }()
	for st := get; st < dataVersion; st++ {
		text := strings.NewReplacer("?1", "1", "?2", "1", "?3", "1", "?4", "1", "?5", "1", "?6", "1", "?7", "1", "?", "1").Replace(statementText[st])
		rows, err := c.raw.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+text, nil)
		if err != nil {
			t.Fatal(err)
		}
		row := make([]driver.Value, len(rows.Columns()))
		for err = rows.Next(row); err == nil; err = rows.Next(row) {
			if step := fmt.Sprint(row[3]); strings.HasPrefix(step, "SCAN record") || strings.HasPrefix(step, "SCAN named") || strings.HasPrefix(step, "SCAN journal") || strings.HasPrefix(step, "SCAN used") || strings.HasPrefix(step, "SCAN due") || strings.Contains(step, "TEMP B-TREE") {
				t.Errorf("%s: %s", statementText[st], step)
			}
		}
		rows.Close()
	}
}

// A limit that is a variable alone would have its statement parsed at each call.
func TestLimitsAreNoReasonToPrepare(t *testing.T) {
	limit := regexp.MustCompile(`LIMIT \?\d?(.{0,2})`)
	found := 0
	for _, text := range statementText {
		for _, m := range limit.FindAllStringSubmatch(text, -1) {
			if found++; m[1] != "+0" {
				t.Errorf("%s", text)
			}
		}
	}
	if found == 0 {
		t.Error("no statement has a limit")
	}
}

// Records that are to be new are not looked for first; what was there all the
// same is found, whatever else shares the transaction.
func TestTakenToBeNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.db")
	old := openAt(t, path)
	put := func(key string) store.Op {
		return store.Put(store.Record{Kind: "test", Key: key, Value: []byte("new")})
	}
	logged := func(key string) store.Op { return store.Log(store.Record{Kind: "log", Key: key}) }
	used := func(name string) store.Op { return store.Once(name, time.Time{}) }
	if err := old.Commit(t.Context(), used("a")); err != nil {
		t.Fatal(err)
	}
	there := func(s *Store, want ...string) {
		t.Helper()
		recs, _, err := s.List(t.Context(), store.Query{Kind: "test"})
		if err != nil || len(recs) != len(want) {
			t.Fatalf("there are %+v, %v, want %q", recs, err, want)
		}
	}
	for name, group := range map[string]struct {
		ops  [][]store.Op
		errs []error
		left []string
	}{
		"made again":               {[][]store.Op{{create("a")}, {create("b")}}, []error{store.ErrConflict, nil}, []string{"a", "b"}},
		"made again, then removed": {[][]store.Op{{create("a")}, {store.Delete("test", "a")}}, []error{store.ErrConflict, nil}, nil},
		"made again in a commit that fails, then taken": {[][]store.Op{{create("a"), store.Take("test", "nothing")}, {store.Take("test", "a")}, {store.Take("test", "a")}},
			[]error{store.ErrConflict, nil, store.ErrTaken}, []string{"a"}},
		"new in a commit that fails, then put": {[][]store.Op{{create("b"), store.Take("test", "nothing")}, {put("b")}, {create("b")}},
			[]error{store.ErrNotFound, nil, store.ErrConflict}, []string{"a", "b"}},
		"added twice": {[][]store.Op{{store.Add(store.Record{Kind: "test", Key: "b"})}, {store.Add(store.Record{Kind: "test", Key: "b"})}},
			[]error{nil, store.ErrConflict}, []string{"a", "b"}},
		"used again":                   {[][]store.Op{{used("a")}, {used("b"), put("b")}, {used("b")}}, []error{store.ErrSeen, nil, store.ErrSeen}, []string{"a", "b"}},
		"used again beside what fails": {[][]store.Op{{used("a"), store.Take("test", "nothing")}, {used("c")}}, []error{store.ErrSeen, nil}, []string{"a"}},
		"used again beside a journal":  {[][]store.Op{{logged("a")}, {put("b"), logged("b"), used("a")}, {logged("c")}}, []error{nil, store.ErrSeen, nil}, []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := old.Commit(t.Context(), store.Delete("test", "a"), store.Delete("test", "b")); err != nil {
				t.Fatal(err)
			}
			if err := old.Commit(t.Context(), create("a")); err != nil {
				t.Fatal(err)
			}
			s := openAt(t, path) // which remembers nothing
			c := <-s.writer
			var requests []*request
			for _, ops := range group.ops {
				requests = append(requests, &request{ops: ops, done: make(chan error, 1)})
			}
			s.mu.Lock()
			s.queue = slices.Clone(requests)
			s.mu.Unlock()
			s.writer <- c
			s.wakeWriter()
			for i, r := range requests {
				if err := <-r.done; !errors.Is(err, group.errs[i]) || (err == nil) != (group.errs[i] == nil) {
					t.Errorf("commit %d: %v, want %v", i, err, group.errs[i])
				}
			}
			there(s, group.left...)
			there(old, group.left...)
		})
	}
}

// What nobody watches is told to nobody, and other processes need not look for it.
func TestUnwatched(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "auth.db"))
	var told []string
	if err := s.Watch(t.Context(), "test", func(r store.Record) { told = append(told, r.Key) }); err != nil {
		t.Fatal(err)
	}
	changes := func() int64 {
		c := <-s.writer
		defer func() { s.writer <- c }()
		n, err := c.number(lastChange)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := changes()
	quiet := create("quiet")
	quiet.Unwatched = true
	if err := s.Commit(t.Context(), quiet); err != nil {
		t.Fatal(err)
	}
	if len(told) > 0 || changes() != before {
		t.Errorf("told of %q, %d changes", told, changes()-before)
	}
	quiet.Do, quiet.Record.Version = store.DoPut, 1
	if err := s.Commit(t.Context(), quiet, create("loud")); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(told, []string{"loud"}) || changes() != before+1 {
		t.Errorf("told of %q, %d changes", told, changes()-before)
	}
	if r, err := s.Get(t.Context(), "test", "quiet"); err != nil || r.Version != 2 {
		t.Errorf("%+v, %v", r, err)
	}
}

// A transaction waits for others if the last one was shared by many, and holds no
// lock meanwhile; one of few does not.
func TestLinger(t *testing.T) {
	s := openAt(t, memory)
	took := func(together, waiting int) time.Duration {
		s.mu.Lock()
		s.queue = make([]*request, waiting)
		s.mu.Unlock()
		s.together = together
		least := time.Hour
		for range 5 {
			began := time.Now()
			s.linger()
			least = min(least, time.Since(began))
		}
		s.mu.Lock()
		s.queue = nil
		s.mu.Unlock()
		s.together = 0
		return least
	}
	if got := took(lingerAfter, 1); got < lingerTime {
		t.Errorf("after many: %v", got)
	}
	if got := min(took(lingerAfter-1, 1), took(lingerAfter, lingerEnough)); got >= lingerTime {
		t.Errorf("after few, or with many: %v", got)
	}
}
