package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
)

// rawConn is what the driver's connections can do.
type rawConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
}

// conn is one connection with its prepared statements, for one goroutine at a
// time. It stands directly on the driver, because the pooling and retrying of
// database/sql is done here already, and differently for readers and writer.
type conn struct {
	raw   rawConn
	stmts [statements]driver.Stmt
	args  []driver.NamedValue
}

// statement names a prepared statement.
type statement int

const (
	begin statement = iota
	commit
	rollback
	get
	listKind
	listIndex
	load
	insert
	insertRows
	update
	updateTaken
	remove
	insertName
	insertNames
	removeName
	blockNames
	listBundles
	lastBundle
	insertBundle
	insertBundles
	nextBundles
	updateBundle
	removeBundle
	usedSince
	getUsed
	listUsed
	insertUsed
	insertUseds
	removeUsed
	nextUsed
	cutUsed
	emptyUsed
	insertDue
	removeDue
	nextDue
	expired
	firstEnd
	insertChange
	cutChanges
	lastChange
	firstChange
	changesOfOthers
	dataVersion
	statements // how many there are
)

const columns = "record.key, record.writes, record.ends, record.taken, record.names, record.value, record.row"

// A limit is ?+0: SQLite prepares a statement again, at ten times the cost of
// the statement itself, whenever a limit that is a variable alone is bound.
var statementText = [statements]string{
	begin:    "BEGIN IMMEDIATE",
	commit:   "COMMIT",
	rollback: "ROLLBACK",

	get:      "SELECT " + columns + " FROM record WHERE kind = ? AND key = ?",
	listKind: "SELECT " + columns + " FROM record WHERE kind = ?1 AND key > ?2 AND (ends = 0 OR ends > ?3) ORDER BY key LIMIT ?4+0",
	// CROSS JOIN keeps the order of the loops: the index leads. Whether a record
	// has the name, and not one with it inside, the reader looks. The plus keeps
	// the kind from leading to the rows instead of their numbers.
	listIndex: "SELECT " + columns + ` FROM named CROSS JOIN record
		WHERE named.kind = ?1 AND named.name = ?2 AND named.block >= ?3 / 32
		AND record.row >= named.block * 32 AND record.row < named.block * 32 + 32 AND record.row > ?3
		AND +record.kind = ?1 AND instr(record.names, ?2) > 0
		AND (record.ends = 0 OR record.ends > ?4) ORDER BY named.block, record.row`,

	load:        "SELECT row, writes, ends, taken, names FROM record WHERE kind = ? AND key = ?",
	insert:      "INSERT INTO record (kind, key, writes, ends, taken, names, value) VALUES (?, ?, ?, ?, ?, ?, ?)",
	insertRows:  "INSERT OR FAIL INTO record (kind, key, writes, ends, taken, names, value) VALUES (?, ?, ?, ?, ?, ?, ?)" + strings.Repeat(", (?, ?, ?, ?, ?, ?, ?)", rowsAtOnce-1),
	update:      "UPDATE record SET writes = ?2, ends = ?3, taken = ?4, names = ?5, value = ?6 WHERE row = ?1",
	updateTaken: "UPDATE record SET writes = ?2, taken = ?3 WHERE row = ?1",
	remove:      "DELETE FROM record WHERE row = ?",
	insertName:  "INSERT OR IGNORE INTO named (kind, name, block) VALUES (?, ?, ?)",
	insertNames: "INSERT OR IGNORE INTO named (kind, name, block) VALUES (?, ?, ?)" + strings.Repeat(", (?, ?, ?)", namesAtOnce-1),
	removeName:  "DELETE FROM named WHERE kind = ? AND name = ? AND block = ?",

	blockNames: "SELECT kind, names FROM record WHERE row >= ? AND row < ? AND names IS NOT NULL",

	listBundles:   "SELECT seq, key, ends, records FROM journal WHERE kind = ?1 AND seq >= ?2 ORDER BY seq",
	lastBundle:    "SELECT coalesce(max(seq), 0) FROM journal",
	insertBundle:  "INSERT INTO journal (seq, kind, ends, records) VALUES (?, ?, ?, ?)",
	insertBundles: "INSERT INTO journal (seq, kind, ends, records) VALUES (?, ?, ?, ?)" + strings.Repeat(", (?, ?, ?, ?)", bundlesAtOnce-1),
	nextBundles: `SELECT seq, key, ends, CASE WHEN ends <> 0 AND ends <= ?3 THEN records END FROM journal
		WHERE seq > ?1 ORDER BY seq LIMIT ?2+0`,
	updateBundle: "UPDATE journal SET key = NULL, ends = ?2, records = ?3 WHERE seq = ?1",
	removeBundle: "DELETE FROM journal WHERE seq = ?",

	// With the row itself, which tells whether the table is what it was.
	usedSince:   "SELECT seq, name, expires FROM used WHERE seq >= ? ORDER BY seq",
	getUsed:     "SELECT name, expires, value FROM used WHERE seq = ?",
	listUsed:    "SELECT name, 1, expires, 0, NULL, value, seq FROM used WHERE seq > ?1 AND (expires = 0 OR expires > ?2) AND name <> x'' ORDER BY seq LIMIT ?3+0",
	insertUsed:  "INSERT INTO used (name, expires, value) VALUES (?, ?, ?)",
	insertUseds: "INSERT INTO used (name, expires, value) VALUES (?, ?, ?)" + strings.Repeat(", (?, ?, ?)", usedAtOnce-1),
	removeUsed:  "DELETE FROM used WHERE seq = ?",
	nextUsed:    "SELECT seq FROM used WHERE seq > ? ORDER BY seq LIMIT 1 OFFSET ?+0",
	cutUsed: `DELETE FROM used WHERE seq > ?1 AND seq <= ?2 AND seq < (SELECT max(seq) FROM used)
		AND expires <> 0 AND expires <= ?3`,
	emptyUsed: `UPDATE used SET name = x'', expires = 1, value = NULL WHERE seq > ?1 AND seq <= ?2
		AND seq = (SELECT max(seq) FROM used) AND expires <> 0 AND expires <= ?3 AND name <> x''`,

	insertDue: "INSERT OR IGNORE INTO due (at, block) VALUES (?, ?)",
	removeDue: "DELETE FROM due WHERE at = ? AND block = ?",
	nextDue:   "SELECT at, block FROM due WHERE at <= ?1 AND (at, block) > (?2, ?3) ORDER BY at, block LIMIT ?4+0",
	expired:   "SELECT kind, key, names, row FROM record WHERE row >= ? AND row < ? AND ends <> 0 AND ends <= ? LIMIT ?+0",
	firstEnd:  "SELECT coalesce(min(ends), 9223372036854775807) FROM record WHERE row >= ? AND row < ? AND ends <> 0",

	insertChange:    "INSERT INTO change (writer, puts) VALUES (?, ?)",
	cutChanges:      "DELETE FROM change WHERE seq <= (SELECT max(seq) FROM change) - ?",
	lastChange:      "SELECT coalesce(max(seq), 0) FROM change",
	firstChange:     "SELECT coalesce(min(seq), 0) FROM change",
	changesOfOthers: "SELECT puts FROM change WHERE seq > ? AND seq <= ? AND writer <> ? ORDER BY seq",
	dataVersion:     "PRAGMA data_version",
}

// newConn opens a connection and runs the script that sets it up.
func newConn(connector driver.Connector, setup string) (*conn, error) {
	dc, err := connector.Connect(context.Background())
	if err != nil {
		return nil, err
	}
	raw, ok := dc.(rawConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the driver's connections (%T) cannot do what is needed", dc), dc.Close())
	}
	c := &conn{raw: raw}
	if err := c.script(setup); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *conn) close() error {
	if c == nil {
		return nil
	}
	var errs []error
	for _, st := range c.stmts {
		if st != nil {
			errs = append(errs, st.Close())
		}
	}
	return errors.Join(append(errs, c.raw.Close())...)
}

// script runs statements that return nothing of interest.
func (c *conn) script(text string) error {
	_, err := c.raw.ExecContext(context.Background(), text, nil)
	return err
}

// text runs a query once and returns its one column of one row.
func (c *conn) text(query string) (string, error) {
	rows, err := c.raw.QueryContext(context.Background(), query, nil)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	row := make([]driver.Value, 1)
	if err := rows.Next(row); err != nil {
		return "", err
	}
	return fmt.Sprint(row[0]), nil
}

func (c *conn) prepared(s statement) (driver.Stmt, error) {
	if c.stmts[s] == nil {
		st, err := c.raw.Prepare(statementText[s])
		if err != nil {
			return nil, err
		}
		c.stmts[s] = st
	}
	return c.stmts[s], nil
}

func (c *conn) bind(args []driver.Value) []driver.NamedValue {
	c.args = c.args[:0]
	for i, a := range args {
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return c.args
}

// exec runs a prepared statement that returns no rows. A context would cost a
// goroutine per statement, and every statement here is short.
func (c *conn) exec(s statement, args ...driver.Value) error {
	_, err := c.execFor(s, args...)
	return err
}

// execFor is exec for whoever wants to know what it did.
func (c *conn) execFor(s statement, args ...driver.Value) (driver.Result, error) {
	st, err := c.prepared(s)
	if err != nil {
		return nil, err
	}
	done, err := st.(driver.StmtExecContext).ExecContext(context.Background(), c.bind(args))
	clear(c.args)
	return done, err
}

// count runs a prepared statement and returns how many rows it changed.
func (c *conn) count(s statement, args ...driver.Value) (int, error) {
	done, err := c.execFor(s, args...)
	if err != nil {
		return 0, err
	}
	n, err := done.RowsAffected()
	return int(n), err
}

// query runs a prepared query and calls each for every row until it returns
// false. The values are the callee's to keep; the slice is not.
func (c *conn) query(s statement, each func(row []driver.Value) bool, args ...driver.Value) error {
	st, err := c.prepared(s)
	if err != nil {
		return err
	}
	rows, err := st.(driver.StmtQueryContext).QueryContext(context.Background(), c.bind(args))
	clear(c.args)
	if err != nil {
		return err
	}
	row := make([]driver.Value, len(rows.Columns()))
	for {
		if err = rows.Next(row); err != nil || !each(row) {
			break
		}
	}
	if err == io.EOF {
		err = nil
	}
	return errors.Join(err, rows.Close())
}

// number runs a prepared query for one integer.
func (c *conn) number(s statement, args ...driver.Value) (n int64, err error) {
	err = c.query(s, func(row []driver.Value) bool {
		n = row[0].(int64)
		return false
	}, args...)
	return n, err
}
