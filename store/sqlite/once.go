package sqlite

import (
	"bytes"
	"database/sql/driver"

	"doorward/store"

	sqlite3 "modernc.org/sqlite/lib"
)

// seenAtOnce is how many names one statement remembers, if there are so many.
const seenAtOnce = 8

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
	after []byte // the name that it examined last
	owed  int    // names that are to be examined since others were written
}

// beyond is greater than every name.
var beyond = bytes.Repeat([]byte{0xff}, store.MaxKey+1)

// readSeen reads what Once remembers of a name, expired or not.
func readSeen(c *conn, at id) (remembered, error) {
	r := remembered{id: at, full: true}
	err := c.query(getSeen, func(row []driver.Value) bool {
		r.exists, r.version = true, 1
		r.expires, r.value = row[0].(int64), blob(row[1])
		return false
	}, []byte(at.key))
	return r, err
}

// flushSeen writes the names that were used.
func (t *transaction) flushSeen() error {
	fresh := t.seen[:0]
	for _, e := range t.seen {
		if !e.stored {
			fresh = append(fresh, e)
		} else if err := t.c.exec(renewSeen, []byte(e.key), e.expires, e.value); err != nil {
			return err
		}
	}
	var args [3 * seenAtOnce]driver.Value
	for len(fresh) > 0 {
		n, insertion := 1, insertSeen
		if len(fresh) >= seenAtOnce {
			n, insertion = seenAtOnce, insertSeens
		}
		for i, e := range fresh[:n] {
			args[3*i], args[3*i+1], args[3*i+2] = []byte(e.key), e.expires, e.value
		}
		err := t.c.exec(insertion, args[:3*n]...)
		if !t.look && code(err) == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY {
			return errThere
		}
		if err != nil {
			return err
		}
		fresh = fresh[n:]
	}
	return nil
}

// seenSweep goes on with the walk, once round at most.
type seenSweep struct {
	*walk
	left int // names that it examines in any case
	ends int // how often it came to the end of the table
}

// step examines the next limit names.
func (w *seenSweep) step(t *transaction, limit int, now int64) (gone int, more bool, err error) {
	upTo := beyond
	err = t.c.query(nextSeen, func(row []driver.Value) bool { upTo = blob(row[0]); return false }, w.after, int64(limit)-1)
	if err != nil {
		return 0, false, err
	}
	if gone, err = t.c.count(cutSeen, w.after, upTo, now); err != nil {
		return 0, false, err
	}
	t.wrote = t.wrote || gone > 0
	w.after, w.left, w.owed = upTo, w.left-limit, max(0, w.owed-limit)
	if len(upTo) > store.MaxKey {
		w.after = []byte{}
		if w.ends++; w.ends == 2 { // all of it was examined
			w.owed = 0
			return gone, false, nil
		}
	}
	return gone, w.left > 0 || w.owed > 0 || gone*walkPerName >= limit, nil
}
