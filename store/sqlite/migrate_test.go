package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"doorward/store"

	"github.com/pressly/goose/v3"
)

// A file of the first schema keeps its records, their index names and their
// versions.
func TestOldFileKeepsItsRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "old.db")
	writeFirstSchema(t, path)
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	r, err := s.Get(ctx, "grant", "a")
	if err != nil || string(r.Value) != "old" || r.Version != 3 || r.Taken.IsZero() {
		t.Errorf("the record is %+v, %v", r, err)
	}
	if recs, _, err := s.List(ctx, store.Query{Kind: "grant", Index: "person=alice"}); err != nil || len(recs) != 1 {
		t.Errorf("found by its index name: %d, %v", len(recs), err)
	}
	if err := s.Commit(ctx, store.Create(store.Record{Kind: "grant", Key: "a"})); !errors.Is(err, store.ErrConflict) {
		t.Errorf("made a second time: %v", err)
	}
	if err := s.Commit(ctx, store.Once("jti", time.Time{})); !errors.Is(err, store.ErrSeen) {
		t.Errorf("a name that was used before: %v", err)
	}
	if n, err := s.Sweep(ctx, 10); err != nil || n != 1 {
		t.Errorf("swept %d expired records, %v", n, err)
	}
}

func writeFirstSchema(t *testing.T, path string) {
	t.Helper()
	c := openSchema(t, path, 1)
	const insertFirst = "INSERT INTO record (kind, key, version, expires, taken, names, value) VALUES (?, ?, ?, ?, ?, ?, ?)"
	run := func(text string, args ...driver.Value) error {
		_, err := c.raw.ExecContext(context.Background(), text, c.bind(args))
		return err
	}
	err := run(insertFirst, "grant", []byte("a"), int64(3), int64(0), int64(5), pack("person=alice"), []byte("old"))
	if err == nil {
		err = run("INSERT INTO named (kind, name, key) VALUES (?, ?, ?)", "grant", []byte("person=alice"), []byte("a"))
	}
	if err == nil {
		err = run(insertFirst, "code", []byte("b"), int64(1), int64(7), int64(0), nil, []byte("expired"))
	}
	if err == nil {
		err = run(insertFirst, "once", []byte("jti"), int64(1), int64(0), int64(0), nil, nil)
	}
	if err := errors.Join(err, c.close()); err != nil {
		t.Fatal(err)
	}
}

// A program of an older schema that has the file open while it is migrated can
// write no more: it would look for what was used once where it is no more.
func TestOlderProgramFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.db")
	writeFirstSchema(t, path)
	connector, err := connect(path)
	if err != nil {
		t.Fatal(err)
	}
	old, err := newConn(connector, "")
	if err != nil {
		t.Fatal(err)
	}
	defer old.close()
	st, err := old.raw.Prepare("INSERT INTO record (kind, key, version, expires, taken, names, value) VALUES (?, ?, ?, ?, ?, ?, ?)")
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	write := func(key string) error {
		_, err := st.(driver.StmtExecContext).ExecContext(t.Context(), old.bind([]driver.Value{"once", []byte(key), int64(1), int64(0), int64(0), nil, nil}))
		return err
	}
	if err := write("before"); err != nil {
		t.Fatal(err)
	}
	s := openAt(t, path)
	if err := write("after"); err == nil {
		t.Error("the older program still writes")
	}
	if err := s.Commit(t.Context(), store.Once("before", time.Time{})); !errors.Is(err, store.ErrSeen) {
		t.Errorf("what the older program used: %v", err)
	}
}

// A file of every older schema keeps what was used once, until when and with
// what; and a program of that schema that has it open can use no name any more.
func TestOldNamesStayUsed(t *testing.T) {
	const insertRecord = "INSERT INTO record (kind, key, version, expires, taken, value) VALUES ('once', ?, 1, ?, 0, ?)"
	const insertSeen = "INSERT INTO seen (name, expires, value) VALUES (?, ?, ?)"
	for version := int64(1); version <= 7; version++ {
		t.Run(fmt.Sprint("schema ", version), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "old.db")
			c := openSchema(t, path, version)
			text := insertRecord
			if version >= 5 {
				text = insertSeen
			}
			st, err := c.raw.Prepare(text)
			if err != nil {
				t.Fatal(err)
			}
			until := time.Now().Add(time.Hour).Truncate(time.Millisecond)
			write := func(name string, expires time.Time) error {
				_, err := st.(driver.StmtExecContext).ExecContext(t.Context(), c.bind([]driver.Value{[]byte(name), millis(expires), []byte("value of " + name)}))
				return err
			}
			ends := map[string]time.Time{"for ever": {}, "for an hour": until, "over": time.Now().Add(-time.Hour)}
			for name, expires := range ends {
				if err := write(name, expires); err != nil {
					t.Fatal(err)
				}
			}

			s := openAt(t, path)
			if err := write("later", until); err == nil {
				t.Error("the older program still uses names")
			}
			for name, expires := range ends {
				r, err := s.Get(t.Context(), store.KindOnce, name)
				used := s.Commit(t.Context(), store.Once(name, time.Now().Add(time.Minute)))
				if name == "over" {
					if !errors.Is(err, store.ErrNotFound) || used != nil {
						t.Errorf("%s: read %v, used %v", name, err, used)
					}
				} else if err != nil || !r.Expires.Equal(expires) || string(r.Value) != "value of "+name || !errors.Is(used, store.ErrSeen) {
					t.Errorf("%s: read %+v, %v, used %v", name, r, err, used)
				}
			}
			if err := errors.Join(st.Close(), c.close()); err != nil {
				t.Error(err)
			}
		})
	}
}

// openSchema makes a file of an older schema and keeps it open.
func openSchema(t *testing.T, path string, version int64) *conn {
	t.Helper()
	connector, err := connect(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := newConn(connector, "PRAGMA journal_mode=WAL")
	if err != nil {
		t.Fatal(err)
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(lender{c.raw})
	defer db.Close()
	db.SetMaxOpenConns(1)
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithTableName(schemaTable), goose.WithDisableGlobalRegistry(true))
	if err == nil {
		_, err = p.UpTo(context.Background(), version)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}
