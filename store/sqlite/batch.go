package sqlite

import (
	"cmp"
	"database/sql/driver"
	"slices"

	sqlite3 "modernc.org/sqlite/lib"
)

// How many new rows and names one statement inserts, if there are so many: a
// statement costs more than what it inserts.
const (
	rowsAtOnce  = 4
	namesAtOnce = 12
)

// insertRows inserts entries that are to be new and gives them their rows.
func (t *transaction) insertRows(fresh []*entry) error {
	var args [7 * rowsAtOnce]driver.Value
	for len(fresh) > 0 {
		n, insertion := 1, insert
		if len(fresh) >= rowsAtOnce {
			n, insertion = rowsAtOnce, insertRows
		}
		for i, e := range fresh[:n] {
			copy(args[7*i:], []driver.Value{string(e.kind), []byte(e.key), e.version, e.expires, e.taken, pack(e.names...), e.value})
		}
		done, err := t.c.execFor(insertion, args[:7*n]...)
		if !t.look && code(err) == sqlite3.SQLITE_CONSTRAINT_UNIQUE {
			return errThere
		}
		if err != nil {
			return err
		}
		last, err := done.LastInsertId()
		if err != nil {
			return err
		}
		for i, e := range fresh[:n] { // each gets the largest row and one more
			e.row = last - int64(n-1-i)
			t.noteEnd(e.row, 0, e.expires)
		}
		fresh = fresh[n:]
	}
	return nil
}

// removeNames takes the entry's row out of the index where the record does not
// say the name any more.
func (t *transaction) removeNames(e *entry) error {
	var names []string
	if e.exists {
		names = e.names
	}
	for i, n := range e.storedNames {
		if !slices.Contains(names, n) && !slices.Contains(e.storedNames[:i], n) {
			if err := t.c.exec(removeName, string(e.kind), []byte(n), e.row); err != nil {
				return err
			}
		}
	}
	return nil
}

// naming is an entry of the index.
type naming struct {
	e    *entry
	name string
}

// insertNames puts the rows of all that was written into the index, under what
// they were not found by before. In its order, since that finds the places faster.
func (t *transaction) insertNames() error {
	news := t.news
	for _, e := range t.order {
		if !e.exists || !e.written {
			continue
		}
		for i, n := range e.names {
			if !slices.Contains(e.storedNames, n) && !slices.Contains(e.names[:i], n) {
				news = append(news, naming{e, n})
			}
		}
	}
	t.news = news
	slices.SortFunc(news, func(a, b naming) int {
		return cmp.Or(cmp.Compare(a.e.kind, b.e.kind), cmp.Compare(a.name, b.name), cmp.Compare(a.e.row, b.e.row))
	})
	var args [3 * namesAtOnce]driver.Value
	for len(news) > 0 {
		n, insertion := 1, insertName
		if len(news) >= namesAtOnce {
			n, insertion = namesAtOnce, insertNames
		}
		for i, x := range news[:n] {
			args[3*i], args[3*i+1], args[3*i+2] = string(x.e.kind), []byte(x.name), x.e.row
		}
		if err := t.c.exec(insertion, args[:3*n]...); err != nil {
			return err
		}
		news = news[n:]
	}
	return nil
}
