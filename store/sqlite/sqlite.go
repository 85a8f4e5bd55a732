// Package sqlite keeps the records of a [store.Store] in one SQLite file, or
// in memory. It is pure Go and needs no server.
//
// Durable means: write-ahead log, synchronous=FULL, and Commit returns after
// the log is on disk. One goroutine writes ([Store.write]); commits that wait
// at the same time share one transaction and one fsync, yet each is all or
// nothing on its own. Reads run beside it on a few connections.
//
// Several processes may use the same file on the same machine. It must not lie
// on a network file system.
//
// Read OpenConfig first, then write.go.
package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"time"

	"doorward/store"
)

// Config says where the records lie.
type Config struct {
	// Path of the file; made with mode 0600 if it is missing, in a directory
	// that must exist. ":memory:" is a private database that ends with Close.
	Path string
	// Now is the clock that records expire by. nil: time.Now.
	Now func() time.Time
}

// Store is a [store.Store] on SQLite. Make it with Open or OpenConfig.
type Store struct {
	path      string
	now       func() time.Time
	id        int64 // marks our rows in the table change
	connector driver.Connector

	writer  chan *conn // holds the writing connection; in memory it is readers
	readers chan *conn // nil in it: not opened yet

	mu      sync.Mutex
	queue   []*request
	closed  bool
	wake    chan struct{} // buffered, 1: the queue is not empty, or closed
	closing chan struct{} // closed by Close
	written chan struct{} // closed when the writer has ended

	cache    *cache
	work     work  // of the writer
	walk     walk  // likewise
	logged   int64 // likewise: the row of the journal that a sweep came to last
	used     *used
	watch    watchers
	trimming int // transactions logged since the last cut
	together int // requests of the last transaction; the writer's
}

var _ store.Store = (*Store)(nil)

// Open opens the database file at the path, or makes it. It brings the schema
// up to date; if the schema is newer than this program the error is
// store.ErrNewer.
func Open(path string) (*Store, error) { return OpenConfig(Config{Path: path}) }

// OpenConfig is Open with all that can be set.
func OpenConfig(cfg Config) (*Store, error) {
	connector, err := connect(cfg.Path)
	if err != nil {
		return nil, err
	}
	defer beginOpening()()
	first, err := openWriter(connector, cfg.Path)
	if err != nil {
		return nil, explain(cfg.Path, err)
	}
	s := &Store{
		path: cfg.Path, now: cfg.Now, id: randomID(), connector: connector,
		writer: make(chan *conn, 1),
		wake:   make(chan struct{}, 1), closing: make(chan struct{}), written: make(chan struct{}),
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.cache = newCache(s.openIndex())
	s.used = newUsed(s.cache)
	s.writer <- first
	if s.readers = s.writer; !s.inMemory() {
		s.readers = make(chan *conn, min(max(runtime.GOMAXPROCS(0), 2), 8))
		for range cap(s.readers) {
			s.readers <- nil
		}
	}
	go s.write()
	return s, nil
}

// openIndex is what tells of other processes' commits; nil where it cannot be had.
func (s *Store) openIndex() *walIndex {
	if s.inMemory() {
		return &walIndex{close: func() error { return nil }}
	}
	w, err := openWALIndex(s.path)
	if err != nil {
		return nil // then every read asks SQLite
	}
	return w
}

// Close waits for the commits that were accepted and closes the file. Calls
// that come later fail with store.ErrClosed; closing again does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		<-s.written
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.closing)
	s.wakeWriter()
	<-s.written

	err := s.watch.stop()
	if !s.inMemory() {
		for range cap(s.readers) {
			err = errors.Join(err, (<-s.readers).close())
		}
	}
	index := s.cache.end()
	// The writing connection is the last: it moves the log into the file.
	err = errors.Join(err, (<-s.writer).close())
	if index != nil {
		err = errors.Join(err, index.close())
	}
	return err
}

func (s *Store) inMemory() bool { return s.path == memory }

// canRead is the error of a read that comes too late.
func (s *Store) canRead(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.closing:
		return store.ErrClosed
	default:
		return nil
	}
}

// reader lends a connection until release.
func (s *Store) reader(ctx context.Context) (*conn, error) {
	if err := s.canRead(ctx); err != nil {
		return nil, err
	}
	var c *conn
	select {
	case c = <-s.readers:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.closing:
		return nil, store.ErrClosed
	}
	if c != nil {
		return c, nil
	}
	c, err := openReader(s.connector)
	if err != nil {
		s.readers <- nil
		return nil, explain(s.path, err)
	}
	return c, nil
}

func (s *Store) release(c *conn) { s.readers <- c }

func randomID() int64 {
	var b [8]byte
	rand.Read(b[:])
	return int64(binary.NativeEndian.Uint64(b[:]))
}

// millis is how a time lies in the database: 0 is the zero time, which means
// never, so the first millisecond of 1970 and all before it are 1.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return max(t.UnixMilli(), 1)
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
