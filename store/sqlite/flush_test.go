package sqlite_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"doorward/store"
	"doorward/store/sqlite"
)

// However many records a commit makes, so that they are inserted one by one or
// several with one statement: each has its own row, names and value, and later
// changes and removals meet the right one.
func TestRecordsMadeTogether(t *testing.T) {
	for _, n := range []int{1, 7, 8, 9, 16, 25} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			db := open(t, sqlite.Config{Path: filepath.Join(t.TempDir(), "auth.db")})
			var ops []store.Op
			for i := range n {
				ops = append(ops, store.Create(store.Record{Kind: "test", Key: key(i), Value: []byte(key(i)), Index: []string{"all", own(i), own(i), "third"}}))
			}
			if err := db.Commit(t.Context(), ops...); err != nil {
				t.Fatal(err)
			}
			for i := range n {
				if got := listed(t, db, own(i)); !slices.Equal(got, []string{key(i)}) {
					t.Errorf("under %s: %v", own(i), got)
				}
			}
			if got := listed(t, db, "all"); len(got) != n || !slices.IsSorted(got) {
				t.Errorf("under the name of all: %v", got)
			}
			last := store.Record{Kind: "test", Key: key(n - 1), Value: []byte("changed"), Index: []string{"all", "new"}}
			if err := db.Commit(t.Context(), store.Delete("test", key(0)), store.Put(last)); err != nil {
				t.Fatal(err)
			}
			if got, err := db.Get(t.Context(), "test", key(n-1)); err != nil || string(got.Value) != "changed" {
				t.Errorf("changed: %+v, %v", got, err)
			}
			for i := range n - 1 {
				got, err := db.Get(t.Context(), "test", key(i))
				if i == 0 && !errors.Is(err, store.ErrNotFound) || i > 0 && string(got.Value) != key(i) {
					t.Errorf("%s: %+v, %v", key(i), got, err)
				}
			}
			for name, want := range map[string]int{"all": max(1, n-1), "third": max(0, n-2), own(n - 1): 0, own(0): 0, "new": 1} {
				if got := listed(t, db, name); len(got) != want {
					t.Errorf("under %s are %v, want %d", name, got, want)
				}
			}
		})
	}
}

// One of many new records that is there already is found by the insertion of
// all of them: then none is there, or, if it has expired, all are.
func TestOneOfManyIsThere(t *testing.T) {
	now := time.Now()
	db := open(t, sqlite.Config{Path: filepath.Join(t.TempDir(), "auth.db"), Now: func() time.Time { return now }})
	var ops []store.Op
	for i := range 20 {
		ops = append(ops, store.Create(store.Record{Kind: "test", Key: key(i), Index: []string{"all"}}))
	}
	before := store.Create(store.Record{Kind: "test", Key: key(12), Index: []string{"before"}, Expires: now.Add(time.Hour)})
	if err := db.Commit(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	if err := db.Commit(t.Context(), ops...); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("over a record that lives: %v", err)
	}
	if got := listed(t, db, "all"); len(got) != 0 {
		t.Errorf("something is left of a commit that failed: %v", got)
	}
	now = now.Add(2 * time.Hour)
	if err := db.Commit(t.Context(), ops...); err != nil {
		t.Fatal(err)
	}
	if got := listed(t, db, "all"); len(got) != 20 {
		t.Errorf("%d records", len(got))
	}
	if got := listed(t, db, "before"); len(got) != 0 {
		t.Errorf("the one that had expired keeps its name: %v", got)
	}
}

func key(i int) string { return fmt.Sprintf("key-%03d", i) }

func own(i int) string { return "own=" + key(i) }

// listed is the keys under an index name.
func listed(t *testing.T, db *sqlite.Store, name string) []string {
	t.Helper()
	recs, _, err := db.List(t.Context(), store.Query{Kind: "test", Index: name})
	if err != nil {
		t.Fatal(err)
	}
	keys := make([]string, len(recs))
	for i, r := range recs {
		keys[i] = r.Key
	}
	return keys
}
