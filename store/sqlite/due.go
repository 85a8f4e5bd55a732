package sqlite

import (
	"database/sql/driver"
	"math"

	"doorward/store"
)

const (
	dueRows      = 64        // rows that are looked at together; see the migration
	dueUnit      = 60 * 1000 // milliseconds; what ends within them shares an entry
	blocksAtOnce = 16        // blocks that one transaction looks at
)

// duePlace is an entry of the table due: when the sweep is to look at a block.
type duePlace struct{ at, block int64 }

// dueFor is the entry for a row that ends then.
func dueFor(row, ends int64) duePlace {
	return duePlace{ends - ends%dueUnit, row / dueRows}
}

// noteEnd makes sure that a row of ours is looked at when it ends. before is
// when it was to end until now: what ends later than that is found by its entry.
func (t *transaction) noteEnd(row, before, ends int64) {
	if ends == 0 || before != 0 && before <= ends {
		return
	}
	p := dueFor(row, ends)
	if n := len(t.due) - 1; n >= 0 && t.due[n].block == p.block { // new rows lie one after the other
		t.due[n].at = min(t.due[n].at, p.at)
		return
	}
	t.due = append(t.due, p)
}

// flushDue writes the entries of all rows that were written.
func (t *transaction) flushDue() error {
	for _, p := range t.due {
		if err := t.c.exec(insertDue, p.at, p.block); err != nil {
			return err
		}
	}
	return nil
}

// dueSweep removes expired records, block by block in the order in which they
// are due.
type dueSweep struct {
	last duePlace // where it has looked at everything
}

// step removes up to limit of them. more: it has not come to the end.
func (d *dueSweep) step(t *transaction, limit int, now int64) (gone int, more bool, err error) {
	var places []duePlace
	err = t.c.query(nextDue, func(row []driver.Value) bool {
		places = append(places, duePlace{row[0].(int64), row[1].(int64)})
		return true
	}, now, d.last.at, d.last.block, int64(blocksAtOnce))
	for _, p := range places {
		if err != nil || gone == limit {
			return gone, true, err
		}
		var n int
		if n, err = t.sweepRows(p.block, limit-gone, now); err != nil {
			return gone, true, err
		}
		if gone += n; gone == limit { // perhaps not all of the block
			return gone, true, nil
		}
		err = t.lookLater(p)
		d.last = p
	}
	return gone, len(places) == blocksAtOnce, err
}

// sweepRows removes up to limit expired records of a block.
func (t *transaction) sweepRows(block int64, limit int, now int64) (int, error) {
	var gone []*entry
	err := t.c.query(expired, func(row []driver.Value) bool {
		gone = append(gone, &entry{
			id:          id{store.Kind(row[0].(string)), string(blob(row[1]))},
			storedNames: unpack(blob(row[2])),
			row:         row[3].(int64),
		})
		return true
	}, block*dueRows, (block+1)*dueRows, now, int64(limit))
	for _, e := range gone {
		t.wrote = true
		t.swept = append(t.swept, e.id)
		if err == nil {
			err = t.writeRow(e)
		}
		t.noteNames(e)
	}
	if err == nil {
		err = t.removeNames()
	}
	return len(gone), err
}

// lookLater moves the entry of a block to when the first of its records ends.
func (t *transaction) lookLater(p duePlace) error {
	ends, err := t.c.number(firstEnd, p.block*dueRows, (p.block+1)*dueRows)
	next := dueFor(p.block*dueRows, ends)
	if err != nil || next == p {
		return err
	}
	t.wrote = true
	if err := t.c.exec(removeDue, p.at, p.block); err != nil || ends == math.MaxInt64 {
		return err
	}
	return t.c.exec(insertDue, next.at, next.block)
}
