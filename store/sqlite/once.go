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
// table, some names after each sweep of the rest. For each name that was written it
// examines walkPerName, so that what has expired stays below a third of what has
// not, and at least walkLeast, so that it comes round where little is written. As
// long as one name in walkPerName that it examines has expired it goes on.
const (
	walkStep    = 500 // names that one transaction examines
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

// sweepSeen examines the next n names and removes those that have expired. end
// says that there are no more names: the next step begins again.
func (t *transaction) sweepSeen(w *walk, n int, now int64) (gone int, end bool, err error) {
	upTo := beyond
	err = t.c.query(nextSeen, func(row []driver.Value) bool { upTo = blob(row[0]); return false }, w.after, int64(n)-1)
	if err != nil {
		return 0, false, err
	}
	gone, err = t.c.count(cutSeen, w.after, upTo, now)
	if err != nil {
		return 0, false, err
	}
	w.owed -= n
	if w.after = upTo; len(upTo) > store.MaxKey {
		w.after = []byte{}
	}
	t.wrote = t.wrote || gone > 0
	return gone, len(w.after) == 0, nil
}
