package sqlite

import (
	"database/sql/driver"

	"doorward/store"

	sqlite3 "modernc.org/sqlite/lib"
)

// logsAtOnce is how many records one statement writes into the journal, if
// there are so many: it saves a third of what they cost one by one.
const logsAtOnce = 8

// log puts a record into the journal. Whether its key is there already is found
// out like that of other new records: by the insertion, and if it is the
// transaction is done again, looking.
func (t *transaction) log(r *store.Record) error {
	if t.look {
		for i := range t.logs {
			if t.logs[i].Kind == r.Kind && t.logs[i].Key == r.Key {
				return store.ErrConflict
			}
		}
		there := false
		err := t.c.query(findLog, func([]driver.Value) bool { there = true; return false }, string(r.Kind), []byte(r.Key))
		if err != nil {
			t.failed = err
			return err
		}
		if there {
			return store.ErrConflict
		}
	}
	t.logs = append(t.logs, *r)
	return nil
}

// flushLogs writes what goes into the journal.
func (t *transaction) flushLogs() error {
	var args [4 * logsAtOnce]driver.Value
	for left := t.logs; len(left) > 0; {
		n, insertion := 1, insertLog
		if len(left) >= logsAtOnce {
			n, insertion = logsAtOnce, insertLogs
		}
		for i, r := range left[:n] {
			args[4*i], args[4*i+1], args[4*i+2], args[4*i+3] = string(r.Kind), []byte(r.Key), millis(r.Expires), r.Value
		}
		t.wrote = true
		err := t.c.exec(insertion, args[:4*n]...)
		if !t.look && code(err) == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY {
			return errThere
		}
		if err != nil {
			return err
		}
		left = left[n:]
	}
	return nil
}

// journalSweep removes what expired among the first records of each journal.
type journalSweep struct{}

func (journalSweep) step(t *transaction, limit int, now int64) (gone int, more bool, err error) {
	for kind := ""; gone < limit; {
		err := t.c.query(nextJournal, func(row []driver.Value) bool { kind = row[0].(string); return false }, kind)
		if err != nil || kind == "" {
			return gone, false, err
		}
		n, err := t.c.count(cutJournal, kind, int64(limit-gone), now)
		if err != nil {
			return gone, false, err
		}
		gone += n
		t.wrote = t.wrote || n > 0
	}
	return gone, true, nil
}
