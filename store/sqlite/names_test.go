package sqlite

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"doorward/store"
)

// Records are found by their names and by no others, whatever shares their blocks; and what nobody has any more is not
// in the index.
func TestNamesLeadToBlocks(t *testing.T) {
	now := time.Date(2026, 7, 28, 12, 0, 0, 0, time.UTC)
	s, err := OpenConfig(Config{Path: memory, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rnd := rand.New(rand.NewPCG(5, 6))
	names := []string{"a", "ab", "b", "person=a", "person=ab", "\x01a", "\x02ab\x01b"} // each inside of another, also as it is packed
	type made struct {
		kind store.Kind
		key  string
	}
	has := map[made][]string{}
	var order []made
	for step := range 150 {
		var ops []store.Op
		for range 1 + rnd.IntN(12) {
			m := made{[]store.Kind{"one", "two"}[rnd.IntN(2)], fmt.Sprint(rnd.IntN(400))}
			if rnd.IntN(4) == 0 {
				ops = append(ops, store.Delete(m.kind, m.key))
				delete(has, m)
				order = slices.DeleteFunc(order, func(x made) bool { return x == m })
				continue
			}
			var index []string
			for _, n := range names {
				if rnd.IntN(4) == 0 {
					index = append(index, n)
				}
			}
			if _, ok := has[m]; !ok {
				order = append(order, m)
			}
			has[m] = index
			r := store.Record{Kind: m.kind, Key: m.key, Index: index}
			if rnd.IntN(3) == 0 {
				r.Expires = now.Add(time.Hour)
			}
			ops = append(ops, store.Put(r))
		}
		if err := s.Commit(t.Context(), ops...); err != nil {
			t.Fatal(err)
		}
		if step == 100 {
			now = now.Add(2 * time.Hour)
			if _, err := s.Sweep(t.Context(), 1000); err != nil {
				t.Fatal(err)
			}
			order = slices.DeleteFunc(order, func(m made) bool {
				_, err := s.Get(t.Context(), m.kind, m.key)
				return err != nil
			})
			maps.DeleteFunc(has, func(m made, _ []string) bool { return !slices.Contains(order, m) })
		}
	}
	for _, kind := range []store.Kind{"one", "two"} {
		for _, name := range names {
			var want, got []string
			for _, m := range order {
				if m.kind == kind && slices.Contains(has[m], name) {
					want = append(want, m.key)
				}
			}
			for after := ""; ; {
				recs, next, err := s.List(t.Context(), store.Query{Kind: kind, Index: name, After: after, Limit: 3})
				if err != nil || len(recs) == 0 && next != "" {
					t.Fatalf("%d records, %q, %v", len(recs), next, err)
				}
				for _, r := range recs {
					got = append(got, r.Key)
				}
				if after = next; next == "" {
					break
				}
			}
			if !slices.Equal(sorted(want), sorted(got)) {
				t.Errorf("%s of %s: %v, want %v", name, kind, got, want)
			}
		}
	}
	c := <-s.writer
	defer func() { s.writer <- c }()
	n, err := c.text(`SELECT count(*) FROM named WHERE NOT EXISTS
		(SELECT 1 FROM record WHERE row >= block * 32 AND row < block * 32 + 32 AND record.kind = named.kind AND instr(names, name) > 0)`)
	if err != nil || n != "0" {
		t.Errorf("%s entries lead to nothing, %v", n, err)
	}
}

func sorted(keys []string) []string {
	slices.Sort(keys)
	return keys
}
