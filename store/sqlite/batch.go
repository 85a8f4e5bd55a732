package sqlite

import (
	"database/sql/driver"

	sqlite3 "modernc.org/sqlite/lib"
)

// rowsAtOnce is how many new rows one statement inserts, if there are so many: a
// statement costs more than what it inserts.
const rowsAtOnce = 4

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
			t.noteNames(e)
		}
		fresh = fresh[n:]
	}
	return nil
}
