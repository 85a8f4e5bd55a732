package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"doorward/store"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	memory = ":memory:"
	// schemaTable is where the migrations that were done are written down.
	schemaTable = "doorward_schema"
	// openTime is how long Open waits for others that open or migrate the same
	// file.
	openTime = 10 * time.Second
	pageSize = 8192
)

//go:embed migrations/*.sql
var migrations embed.FS

// connect makes sure that there is a file and returns what opens it.
func connect(path string) (driver.Connector, error) {
	if path == "" {
		return nil, errors.New("store/sqlite: the path of the database is empty")
	}
	if path == memory {
		return memoryConnector{}, nil
	}
	if err := ensureFile(path); err != nil {
		return nil, fmt.Errorf("store/sqlite: the database cannot be opened: %w", err)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("store/sqlite: %s: %w", path, err)
	}
	// As a URI, because a plain name would end at a question mark.
	slashed := filepath.ToSlash(abs)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed // C:/… on Windows
	}
	uri := url.URL{Scheme: "file", Path: slashed, RawQuery: "_txlock=immediate"}
	return sqlite.NewConnector(uri.String())
}

// ensureFile makes the file, readable by its owner only; SQLite gives its
// companions (-wal, -shm) the same mode.
func ensureFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		// Not opened: closing it again would end the locks that another store of
		// this process has on it (POSIX). Whether it can be written SQLite says.
		info, err := os.Stat(path)
		if err == nil && info.IsDir() {
			err = fmt.Errorf("%s is a directory", path)
		}
		return err
	}
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	// The new name must survive a crash as the first commit does. Systems that
	// cannot sync a directory (Windows) keep it without.
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		_ = dir.Sync()
		return dir.Close()
	}
	return nil
}

// openWriter opens the first connection and brings the schema up to date.
func openWriter(connector driver.Connector, path string) (*conn, error) {
	c, err := newConn(connector, "PRAGMA busy_timeout=5000")
	if err != nil {
		return nil, err
	}
	end := time.Now().Add(openTime)
	for {
		err = prepareFile(c, path)
		// Another process that makes or migrates the same file at this moment
		// may be faster by a step: then the next try finds it done.
		var lost *goose.PartialError
		if again := isBusy(err) || errors.As(err, &lost); !again || time.Now().After(end) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func openReader(connector driver.Connector) (*conn, error) {
	return newConn(connector, "PRAGMA busy_timeout=5000; PRAGMA query_only=1; PRAGMA cache_size=-1000")
}

// prepareFile checks whose file it is, migrates it and sets up the connection
// for writing.
func prepareFile(c *conn, path string) error {
	if err := checkOwner(c); err != nil {
		return err
	}
	if path != memory {
		// Of a new file; one that has pages keeps their size. A commit costs by the
		// page, and most pages have several records that are written together.
		if err := c.script(fmt.Sprintf("PRAGMA page_size=%d", pageSize)); err != nil {
			return err
		}
		mode, err := c.text("PRAGMA journal_mode=WAL")
		if err != nil {
			return err
		}
		if mode != "wal" {
			return fmt.Errorf("the file system does not support a write-ahead log (journal_mode is %q): put the database on a local disk", mode)
		}
	}
	// FULL before the first write: the migration is to be as durable as the rest.
	// SQLite's checkpoint is for where ours cannot tell that it is time.
	if err := c.script(fmt.Sprintf("PRAGMA synchronous=FULL; PRAGMA cache_size=-4000; PRAGMA wal_autocheckpoint=%d; PRAGMA journal_size_limit=16777216", 2*logFrames)); err != nil {
		return err
	}
	if err := migrate(c); err != nil {
		return err
	}
	// From here on begin waits on its own, in short steps.
	return c.script("PRAGMA busy_timeout=20")
}

// checkOwner refuses a file that is no database, and one of another program.
func checkOwner(c *conn) error {
	tables, err := c.text("SELECT CASE WHEN count(*) = 0 THEN 'none' WHEN sum(name = '" + schemaTable + "') > 0 THEN 'ours' ELSE 'others' END FROM sqlite_schema")
	if err != nil {
		return err
	}
	if tables == "others" {
		return errors.New("it is a SQLite database of another program: name another file")
	}
	return nil
}

func migrate(c *conn) error {
	// goose wants a *sql.DB: it gets one that only knows this connection.
	db := sql.OpenDB(lender{c.raw})
	defer db.Close()
	db.SetMaxOpenConns(1)
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files,
		goose.WithTableName(schemaTable), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	ctx := context.Background()
	current, target, err := provider.GetVersions(ctx)
	if err != nil {
		return err
	}
	if current > target {
		return fmt.Errorf("it has schema %d and this program knows up to %d: run the newer program, or restore a backup that was made before the upgrade: %w",
			current, target, store.ErrNewer)
	}
	if current == target {
		return nil
	}
	_, err = provider.Up(ctx)
	return err
}

// lender is a connector that lends one open connection.
type lender struct{ raw rawConn }

func (l lender) Connect(context.Context) (driver.Conn, error) { return lent{l.raw}, nil }
func (l lender) Driver() driver.Driver                        { return nil }

type lent struct{ rawConn }

func (lent) Close() error { return nil } // its owner closes it

// explain says what an error of SQLite means for whoever runs the program.
func explain(path string, err error) error {
	if err == nil {
		return nil
	}
	hint := ""
	switch code(err) & 0xff {
	case sqlite3.SQLITE_NOTADB:
		hint = "it is not a SQLite database: name another file, or move this one away: "
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY:
		hint = "the file and its directory (for " + filepath.Base(path) + "-wal and -shm) must be writable: "
	case sqlite3.SQLITE_BUSY:
		hint = "another process holds its lock: "
	case sqlite3.SQLITE_FULL:
		hint = "the disk is full: "
	case sqlite3.SQLITE_CORRUPT:
		hint = "it is damaged: restore a backup: "
	}
	return fmt.Errorf("store/sqlite: %s: %s%w", path, hint, err)
}

// code is the extended result code of SQLite, 0 if the error is not SQLite's.
func code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}

func isBusy(err error) bool { return code(err)&0xff == sqlite3.SQLITE_BUSY }
