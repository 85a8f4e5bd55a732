package storetest

import (
	"fmt"
	"slices"
	"testing"

	"doorward/store"
)

func keys(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s%03d", prefix, i)
	}
	return all
}

func (b *bed) putAll(keys []string, index ...string) {
	b.Helper()
	var ops []store.Op
	for _, k := range keys {
		ops = append(ops, store.Put(record(k, "value of "+k, index...)))
	}
	b.commit(ops...)
}

func listPages(t *testing.T, b *bed) {
	even, odd := keys("even", 60), keys("odd", 60)
	b.putAll(even, "even", "all")
	b.putAll(odd, "odd", "all")
	both := slices.Concat(even, odd)
	for _, limit := range []int{0, 1, 7, 60, 120, store.MaxPage} {
		b.lists(store.Query{Kind: kind, Limit: limit}, slices.Clone(both)...)
		b.lists(store.Query{Kind: kind, Index: "all", Limit: limit}, slices.Clone(both)...)
		b.lists(store.Query{Kind: kind, Index: "even", Limit: limit}, slices.Clone(even)...)
		b.lists(store.Query{Kind: kind, Index: "nobody", Limit: limit})
	}
	for _, index := range []string{"", "all"} {
		recs, next, err := b.List(t.Context(), store.Query{Kind: kind, Index: index})
		if err != nil || len(recs) != store.PageSize || next == "" {
			t.Fatalf("a page without limit: %d records, cursor %q, %v", len(recs), next, err)
		}
		recs, next, err = b.List(t.Context(), store.Query{Kind: kind, Index: index, Limit: 120})
		if err != nil || len(recs) != 120 || next != "" {
			t.Fatalf("a page that holds all: %d records, cursor %q, %v", len(recs), next, err)
		}
		for _, r := range recs {
			if !equal(r, b.get(r.Key)) {
				t.Fatalf("listed %+v, got %+v", r, b.get(r.Key))
			}
		}
	}
}

// listUnderWrites checks that a record that is there all the time is listed
// exactly once, whatever is written between the pages.
func listUnderWrites(t *testing.T, b *bed) {
	for _, index := range []string{"", "i"} {
		stays := keys("m"+index, 30)
		b.putAll(stays, "i")
		seen := map[string]int{}
		q := store.Query{Kind: kind, Index: index, Limit: 4}
		for page := 0; ; page++ {
			recs, next, err := b.List(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range recs {
				seen[r.Key]++
			}
			if next == "" {
				break
			}
			q.After = next
			last := recs[len(recs)-1].Key
			b.putAll([]string{fmt.Sprint("a", page), fmt.Sprint("z", page), last + "x"}, "i") // before, behind, at the cursor
			b.putAll(stays, "i")                                                              // new versions
			b.commit(store.Take(kind, stays[page]))
			b.commit(store.Delete(kind, fmt.Sprint("a", page-1)), store.Delete(kind, fmt.Sprint("z", page-1)))
			if page%2 == 0 { // the record that the cursor stands at goes
				b.commit(store.Delete(kind, last))
				stays = slices.DeleteFunc(stays, func(k string) bool { return k == last })
			}
		}
		for _, k := range stays {
			if seen[k] != 1 {
				t.Errorf("index %q: %s was listed %d times", index, k, seen[k])
			}
		}
		for k, n := range seen {
			if n > 1 {
				t.Errorf("index %q: %s was listed %d times", index, k, n)
			}
		}
		for _, k := range b.pages(store.Query{Kind: kind}) {
			b.commit(store.Delete(kind, k))
		}
	}
}

func listReindexed(t *testing.T, b *bed) {
	b.commit(store.Put(record("k", "", "a", "b")))
	b.commit(store.Put(record("k", "", "b", "c")))
	b.lists(store.Query{Kind: kind, Index: "a"})
	b.lists(store.Query{Kind: kind, Index: "b"}, "k")
	b.lists(store.Query{Kind: kind, Index: "c"}, "k")
	b.commit(store.Put(record("k", "")))
	for _, index := range []string{"a", "b", "c"} {
		b.lists(store.Query{Kind: kind, Index: index})
	}
	b.lists(store.Query{Kind: kind}, "k")
	b.commit(store.Put(record("k", "", "a")), store.Put(record("k", "", "b")), store.Put(record("k", "", "a", "d")))
	b.lists(store.Query{Kind: kind, Index: "a"}, "k")
	b.lists(store.Query{Kind: kind, Index: "b"})
	b.lists(store.Query{Kind: kind, Index: "d"}, "k")
}

func listApart(t *testing.T, b *bed) {
	other := store.Record{Kind: "test2", Key: "theirs", Index: []string{"a"}}
	b.commit(store.Put(record("k", "", "a")), store.Put(record("ab", "", "ab")), store.Put(record("a", "", "\x00")), store.Put(other))
	b.lists(store.Query{Kind: kind}, "k", "ab", "a")
	b.lists(store.Query{Kind: kind, Index: "a"}, "k")
	b.lists(store.Query{Kind: kind, Index: "A"})
	b.lists(store.Query{Kind: "test2"}, "theirs")
	b.lists(store.Query{Kind: "test2", Index: "a"}, "theirs")
	b.lists(store.Query{Kind: "tes"})
}

func listRefuses(t *testing.T, b *bed) {
	for _, q := range []store.Query{
		{}, {Kind: kind, Limit: -1}, {Kind: kind, Limit: store.MaxPage + 1}, {Kind: kind, Index: string(make([]byte, store.MaxIndex+1))},
	} {
		if _, _, err := b.List(t.Context(), q); err == nil {
			t.Errorf("list %+v: no error", q)
		}
	}
}
