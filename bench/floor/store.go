package main

import (
	"context"
	"database/sql/driver"
	"encoding/binary"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"
)

// db is the durable write and nothing else: one goroutine, synchronous=FULL, one
// commit for those who wait at the same time, time-ordered keys.
type db struct {
	queue chan write
	last  atomic.Int64
}

// write is the rows of one request and where its answer goes.
type write struct {
	rows [][]byte
	done chan error
}

func openDB(dir string) (*db, error) {
	connector, err := sqlite.NewConnector("file:" + filepath.Join(dir, "floor.db"))
	if err != nil {
		return nil, err
	}
	c, err := connector.Connect(context.Background())
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	_, err = c.(driver.ExecerContext).ExecContext(ctx, `PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-8000;
		PRAGMA wal_autocheckpoint=4000; CREATE TABLE row (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID`, nil)
	if err != nil {
		return nil, err
	}
	var stmts [3]driver.StmtExecContext
	for i, text := range []string{"BEGIN IMMEDIATE", "INSERT INTO row VALUES (?, ?)", "COMMIT"} {
		st, err := c.Prepare(text)
		if err != nil {
			return nil, err
		}
		stmts[i] = st.(driver.StmtExecContext)
	}
	d := &db{queue: make(chan write, 256)}
	go d.run(ctx, stmts)
	return d, nil
}

func (d *db) run(ctx context.Context, stmts [3]driver.StmtExecContext) {
	begin, insert, commit := stmts[0], stmts[1], stmts[2]
	together := 0
	for first := range d.queue {
		if together >= 8 { // the last time: as Doorward does (ADR 20), so that the floor is no dearer than it need be
			time.Sleep(time.Millisecond)
		}
		group := []write{first}
		_, err := begin.ExecContext(ctx, nil)
		for before := -1; before < len(group); { // as long as others come along
			before = len(group)
			runtime.Gosched()
			for len(d.queue) > 0 {
				group = append(group, <-d.queue)
			}
		}
		for _, w := range group {
			for _, value := range w.rows {
				if err == nil {
					_, err = insert.ExecContext(ctx, []driver.NamedValue{{Ordinal: 1, Value: d.key()}, {Ordinal: 2, Value: value}})
				}
			}
		}
		if err == nil {
			_, err = commit.ExecContext(ctx, nil)
		}
		together = len(group)
		for _, w := range group {
			w.done <- err
		}
	}
}

func (d *db) key() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixNano()))
	return binary.BigEndian.AppendUint64(b, uint64(d.last.Add(1)))
}

// commit returns when the rows are on disk.
func (d *db) commit(rows ...[]byte) error {
	w := write{rows, make(chan error, 1)}
	d.queue <- w
	return <-w.done
}
