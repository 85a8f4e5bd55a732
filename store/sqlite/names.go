package sqlite

import (
	"bytes"
	"cmp"
	"database/sql/driver"
	"slices"

	"doorward/store"
)

const (
	// nameRows is how many rows are a block here, which is smaller than that of
	// the sweep since whoever lists waits; see the migration.
	nameRows = 32
	// namesAtOnce is how many names one statement inserts, if there are so many.
	namesAtOnce = 4
)

// naming is an entry of the index: in the block is a record that has the name.
type naming struct {
	kind  store.Kind
	name  string
	block int64
}

func (n naming) compare(m naming) int {
	return cmp.Or(cmp.Compare(n.kind, m.kind), cmp.Compare(n.name, m.name), cmp.Compare(n.block, m.block))
}

// noteNames notes which names an entry that was written has anew, and which it
// has no more.
func (t *transaction) noteNames(e *entry) {
	if e.exists && slices.Equal(e.names, e.storedNames) {
		return
	}
	block := e.row / nameRows
	for _, n := range e.names {
		if e.exists && !slices.Contains(e.storedNames, n) {
			t.news = append(t.news, naming{e.kind, n, block})
		}
	}
	for _, n := range e.storedNames {
		if !e.exists || !slices.Contains(e.names, n) {
			t.lost = append(t.lost, naming{e.kind, n, block})
		}
	}
}

// insertNames puts what was noted into the index. In its order, since that finds
// the places faster.
func (t *transaction) insertNames() error {
	slices.SortFunc(t.news, naming.compare)
	var args [3 * namesAtOnce]driver.Value
	for news := slices.Compact(t.news); len(news) > 0; {
		n, insertion := 1, insertName
		if len(news) >= namesAtOnce {
			n, insertion = namesAtOnce, insertNames
		}
		for i, x := range news[:n] {
			args[3*i], args[3*i+1], args[3*i+2] = string(x.kind), []byte(x.name), x.block
		}
		if err := t.c.exec(insertion, args[:3*n]...); err != nil {
			return err
		}
		news = news[n:]
	}
	return nil
}

// removeNames takes out of the index what no record of the block has any more.
func (t *transaction) removeNames() error {
	slices.SortFunc(t.lost, func(a, b naming) int { return cmp.Or(cmp.Compare(a.block, b.block), a.compare(b)) })
	for lost := slices.Compact(t.lost); len(lost) > 0; {
		n := 1
		for n < len(lost) && lost[n].block == lost[0].block {
			n++
		}
		gone, err := t.without(lost[:n:n])
		if err != nil {
			return err
		}
		for _, x := range gone {
			if err := t.c.exec(removeName, string(x.kind), []byte(x.name), x.block); err != nil {
				return err
			}
		}
		lost = lost[n:]
	}
	t.lost = emptied(t.lost)
	return nil
}

// without is those of the names of one block that none of its records has.
func (t *transaction) without(names []naming) ([]naming, error) {
	first := names[0].block * nameRows
	err := t.c.query(blockNames, func(row []driver.Value) bool {
		kind, has := store.Kind(row[0].(string)), blob(row[1])
		names = slices.DeleteFunc(names, func(x naming) bool {
			return x.kind == kind && bytes.Contains(has, []byte(x.name)) && slices.Contains(unpack(has), x.name)
		})
		return len(names) > 0
	}, first, first+nameRows)
	return names, err
}
