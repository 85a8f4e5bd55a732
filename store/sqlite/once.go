package sqlite

import (
	"database/sql/driver"
	"math"
)

// usedAtOnce is how many names one statement remembers, if there are so many.
const usedAtOnce = 8

// The sweep of what Once remembers has no index to go by: it walks over the
// table, a part with each sweep. For each name that was written it
// examines walkPerName, so that what has expired stays below a third of what has
// not, and at least walkLeast, so that it comes round where little is written. As
// long as one name in walkPerName that it examines has expired it goes on.
const (
	walkLeast   = 2000
	walkPerName = 4
)

// walk is how far the sweep of what Once remembers has come. It is the writer's.
type walk struct {
	after int64 // the row that it examined last
	owed  int   // names that are to be examined since others were written
}

// flushUsed writes the names that were used, whether they were used before, and
// that is over, or not: each gets the next row.
func (t *transaction) flushUsed() error {
	var args [3 * usedAtOnce]driver.Value
	for fresh := t.uses; len(fresh) > 0; {
		n, insertion := 1, insertUsed
		if len(fresh) >= usedAtOnce {
			n, insertion = usedAtOnce, insertUseds
		}
		for i, e := range fresh[:n] {
			args[3*i], args[3*i+1], args[3*i+2] = []byte(e.key), e.expires, e.value
		}
		done, err := t.c.execFor(insertion, args[:3*n]...)
		if err != nil {
			return err
		}
		last, err := done.LastInsertId()
		if err != nil {
			return err
		}
		for i, e := range fresh[:n] { // each gets the largest row and one more
			e.row = last - int64(n-1-i)
		}
		fresh = fresh[n:]
	}
	if len(t.uses) == 0 {
		return nil
	}
	if empty := t.used.emptied(); empty != 0 { // it need not keep its number any more
		return t.c.exec(removeUsed, empty)
	}
	return nil
}

// usedSweep goes on with the walk, once round at most.
type usedSweep struct {
	*walk
	left int // names that it examines in any case
	ends int // how often it came to the end of the table
}

// step examines the next limit names.
func (w *usedSweep) step(t *transaction, limit int, now int64) (gone int, more bool, err error) {
	upTo := int64(math.MaxInt64)
	err = t.c.query(nextUsed, func(row []driver.Value) bool { upTo = row[0].(int64); return false }, w.after, int64(limit)-1)
	if err != nil {
		return 0, false, err
	}
	if gone, err = t.c.count(cutUsed, w.after, upTo, now); err != nil {
		return 0, false, err
	}
	last, err := t.c.count(emptyUsed, w.after, upTo, now)
	if err != nil {
		return 0, false, err
	}
	gone += last
	t.wrote, t.empties = t.wrote || gone > 0, t.empties || last > 0
	w.after, w.left, w.owed = upTo, w.left-limit, max(0, w.owed-limit)
	if upTo == math.MaxInt64 {
		w.after = 0
		if w.ends++; w.ends == 2 { // all of it was examined
			w.owed = 0
			return gone, false, nil
		}
	}
	return gone, w.left > 0 || w.owed > 0 || gone*walkPerName >= limit, nil
}
