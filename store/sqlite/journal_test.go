package sqlite

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/store"
)

// A journal is listed in the order of its commits, in pages of any length and among
// records; and what expired goes, as many as are asked for, whatever stands beside it
// and whoever is between two pages.
func TestBundles(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		now := time.UnixMilli(1_000_000)
		s, err := OpenConfig(Config{Path: memory, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		type kept struct {
			value string
			ends  time.Time
		}
		want := map[string]kept{}
		var logged []string // of want, in the journal
		for commit := range 30 {
			var ops []store.Op
			for range 1 + rnd.IntN(40) {
				k := kept{value: strings.Repeat("v", rnd.IntN(400))}
				if commit == 7 {
					k.value = strings.Repeat("v", pageSize)
				}
				if rnd.IntN(3) > 0 {
					k.ends = now.Add(time.Duration(1+rnd.IntN(1000)) * time.Second)
				}
				key := fmt.Sprintf("%04d%x", 10*commit+rnd.IntN(40), rnd.Uint64())
				r := store.Record{Kind: "log", Key: key, Value: []byte(k.value), Expires: k.ends}
				want[key] = k
				if rnd.IntN(8) == 0 {
					ops = append(ops, store.Add(r))
				} else {
					logged = append(logged, key)
					ops = append(ops, store.Log(r), store.Log(store.Record{Kind: "other", Key: key, Expires: k.ends}))
				}
			}
			if err := s.Commit(t.Context(), ops...); err != nil {
				t.Fatal(err)
			}
		}
		living := func(keys []string) []string {
			return slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return !want[key].ends.IsZero() && !now.Before(want[key].ends) })
		}
		var between func()
		list := func(kind store.Kind) (got []string) {
			t.Helper()
			limit := 1 + rnd.IntN(70)
			for q := (store.Query{Kind: kind, Limit: limit}); ; {
				recs, next, err := s.List(t.Context(), q)
				if err != nil || next != "" && len(recs) != limit || next == "" && q.After != "" && len(recs) == 0 && between == nil {
					t.Fatalf("seed %d: a page of %d of %d, %v", seed, len(recs), limit, err)
				}
				for _, r := range recs {
					got = append(got, r.Key)
					if k := want[r.Key]; kind == "log" && string(r.Value) != k.value || !r.Expires.Equal(k.ends) {
						t.Fatalf("seed %d: %s is %+v, want %+v", seed, r.Key, r, k)
					}
				}
				if q.After = next; next == "" {
					return got
				}
				if between != nil {
					between()
				}
			}
		}
		check := func() {
			t.Helper()
			var keys []string
			for key, k := range want {
				if k.ends.IsZero() || now.Before(k.ends) {
					keys = append(keys, key)
				}
			}
			slices.Sort(keys)
			for kind, want := range map[store.Kind][]string{"log": keys, "other": living(logged)} {
				got := list(kind)
				if kind == "log" {
					slices.Sort(got)
				}
				if !slices.Equal(got, want) {
					t.Fatalf("seed %d, %s: %d listed, want %d", seed, kind, len(got), len(want))
				}
			}
		}
		check()
		over, inJournal := 0, bundles(t, s, "log")
		if inJournal >= len(logged) {
			t.Fatalf("%d rows for %d records", inJournal, len(logged))
		}
		now = now.Add(500 * time.Second)
		for _, k := range want {
			if !k.ends.IsZero() && !now.Before(k.ends) {
				over++
			}
		}
		check()
		gone, n := 0, 0
		between = func() {
			limit := 1 + rnd.IntN(100)
			if n, err = s.Sweep(t.Context(), limit); err != nil || n > min(limit, 2*over-gone) {
				t.Fatalf("seed %d: swept %d of %d, limit %d, %v", seed, n, 2*over-gone, limit, err)
			}
			gone += n
		}
		for between(); n > 0; between() {
			check()
		}
		between = nil
		if gone == 0 {
			t.Fatalf("seed %d: of %d nothing was swept", seed, over)
		}
		now = now.Add(500 * time.Second)
		if _, err := s.Sweep(t.Context(), 1<<20); err != nil {
			t.Fatal(err)
		}
		check()
	}
}

// bundles is how many rows the journal of a kind has.
func bundles(t *testing.T, s *Store, kind store.Kind) int {
	t.Helper()
	c := <-s.writer
	defer func() { s.writer <- c }()
	n, err := c.text("SELECT count(*) FROM journal WHERE kind = '" + string(kind) + "'")
	if err != nil {
		t.Fatal(err)
	}
	var count int
	if _, err := fmt.Sscan(n, &count); err != nil {
		t.Fatal(err)
	}
	return count
}

// Pages end early when they hold much, and nothing is left out between them.
func TestBundlesOfLargeRecords(t *testing.T) {
	s := openAt(t, memory)
	large := make([]byte, store.MaxValue)
	for i := range 12 {
		key := fmt.Sprintf("%02d", i)
		op := store.Log(store.Record{Kind: "log", Key: key, Value: large})
		if i%3 == 0 {
			op = store.Add(op.Record)
		}
		if err := s.Commit(t.Context(), op); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	pages := 0
	for q := (store.Query{Kind: "log"}); ; pages++ {
		recs, next, err := s.List(t.Context(), q)
		if err != nil || len(recs) > pageBytes/len(large)+1 {
			t.Fatal(len(recs), err)
		}
		for _, r := range recs {
			got = append(got, r.Key)
		}
		if q.After = next; next == "" {
			break
		}
	}
	if len(got) != 12 || !slices.IsSorted(got) || pages == 0 {
		t.Errorf("%d pages: %q", pages+1, got)
	}
	if _, _, err := s.List(t.Context(), store.Query{Kind: "log", After: "MDA"}); !errors.Is(err, errCursor) {
		t.Errorf("a cursor of nobody's: %v", err)
	}
}

// Whoever is between two pages while all is swept sees what is logged then.
func TestBundlesAfterAllWereSwept(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	s, err := OpenConfig(Config{Path: memory, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	log := func(key string) {
		t.Helper()
		if err := s.Commit(t.Context(), store.Log(store.Record{Kind: "log", Key: key, Expires: now.Add(time.Minute)})); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 {
		log(fmt.Sprint("a", i))
	}
	q := store.Query{Kind: "log", Limit: 9}
	if _, q.After, err = s.List(t.Context(), q); err != nil || q.After == "" {
		t.Fatal(q.After, err)
	}
	now = now.Add(time.Hour)
	if n, err := s.Sweep(t.Context(), 100); err != nil || n != 10 {
		t.Fatal(n, err)
	}
	log("b")
	if recs, _, err := s.List(t.Context(), q); err != nil || len(recs) != 1 || recs[0].Key != "b" {
		t.Errorf("%+v, %v", recs, err)
	}
}

// What expired does not lie for ever behind what lives longer, however much that is.
func TestBundlesBehindOthers(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	s, err := OpenConfig(Config{Path: memory, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 1000 { // a row each
		r := store.Record{Kind: "stays", Key: fmt.Sprint(i)}
		if i%250 == 249 {
			r.Kind, r.Expires = "log", now.Add(time.Minute)
		}
		if err := s.Commit(t.Context(), store.Log(r)); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(time.Hour)
	gone := 0
	for range 2 * 1000 / 100 {
		n, err := s.Sweep(t.Context(), 100)
		if err != nil {
			t.Fatal(err)
		}
		gone += n
	}
	if gone != 4 || bundles(t, s, "log") != 0 || bundles(t, s, "stays") != 996 {
		t.Errorf("%d swept, %d and %d left", gone, bundles(t, s, "log"), bundles(t, s, "stays"))
	}
}

// What older schemas logged, one record a row, is listed and swept among the rest,
// and a program of that schema can log no more.
func TestOldJournalIsKept(t *testing.T) {
	for version := int64(4); version <= 8; version++ {
		path := filepath.Join(t.TempDir(), "old.db")
		c := openSchema(t, path, version)
		write := func(key string, expires int64) error {
			_, err := c.raw.ExecContext(context.Background(), "INSERT INTO journal (kind, key, expires, value) VALUES ('log', ?, ?, ?)",
				c.bind([]driver.Value{[]byte(key), expires, []byte("value of " + key)}))
			return err
		}
		until := time.Now().Add(time.Hour).UnixMilli()
		if err := errors.Join(write("b", until), write("a", 0), write("c", 7)); err != nil {
			t.Fatal(err)
		}
		s := openAt(t, path)
		if err := write("later", until); err == nil {
			t.Error("the older program still logs")
		}
		if err := s.Commit(t.Context(), store.Log(store.Record{Kind: "log", Key: "bb", Value: []byte("value of bb")})); err != nil {
			t.Fatal(err)
		}
		for _, swept := range []int{1, 0} {
			recs, _, err := s.List(t.Context(), store.Query{Kind: "log"})
			if err != nil || len(recs) != 3 || recs[0].Key != "a" || recs[1].Key != "b" || recs[1].Expires.UnixMilli() != until || recs[2].Key != "bb" {
				t.Fatalf("schema %d: %+v, %v", version, recs, err)
			}
			for _, r := range recs {
				if string(r.Value) != "value of "+r.Key {
					t.Errorf("schema %d: %s is %q", version, r.Key, r.Value)
				}
			}
			if n, err := s.Sweep(t.Context(), 10); err != nil || n != swept {
				t.Errorf("schema %d: swept %d, %v, want %d", version, n, err, swept)
			}
		}
		if err := c.close(); err != nil {
			t.Error(err)
		}
	}
}

// A row that cannot be read is said, and not left out.
func TestBrokenBundle(t *testing.T) {
	s := openAt(t, memory)
	if err := s.Commit(t.Context(), store.Log(store.Record{Kind: "log", Key: "a", Expires: time.UnixMilli(7)})); err != nil {
		t.Fatal(err)
	}
	c := <-s.writer
	err := c.script("UPDATE journal SET records = x'ff'")
	s.writer <- c
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.List(t.Context(), store.Query{Kind: "log"}); err == nil || !strings.Contains(err.Error(), "journal") {
		t.Errorf("listed: %v", err)
	}
	if n, err := s.Sweep(t.Context(), 10); err == nil {
		t.Errorf("swept: %d", n)
	}
	if err := s.Commit(t.Context(), store.Put(store.Record{Kind: "test", Key: "a"})); err != nil {
		t.Errorf("what else there is cannot be written: %v", err)
	}
}

func FuzzBundle(f *testing.F) {
	f.Add(appendLog(appendLog(nil, "a", 0, nil), "b", 7, []byte("value")))
	f.Add([]byte{1, 'a', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0})
	f.Add([]byte{0xff, 'a'})
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		u := bundle{b: b}
		err := u.each(func(key []byte, ends int64, value []byte) { again = appendLog(again, string(key), ends, value) })
		var once []byte
		u.b = again
		if err2 := u.each(func(key []byte, ends int64, value []byte) { once = appendLog(once, string(key), ends, value) }); err2 != nil || !bytes.Equal(once, again) {
			t.Fatalf("%x, again %x, then %x, %v", b, again, once, err2)
		}
		if err == nil && len(again) > len(b) {
			t.Fatalf("%x is longer when it is written: %x", b, again)
		}
	})
}
