// Package store is where an issuer keeps its records: an interface of
// guarantees, not of nouns.
//
// A [Store] knows nothing of clients, grants or people. It keeps typed records
// by key, and what is secure about it lies in what it promises of them:
//
//   - Commit is all or nothing, and durable when it returns: after a crash at
//     any later moment every record of it is there. If it returns an error
//     other than a context's, nothing of it is.
//   - Take: of two callers that take the same record, however far apart in
//     processes, one wins. The loser learns that it was taken ([ErrTaken]), and
//     so does everybody who comes later, until the record expires. A taken
//     record can still be read, and says when it was taken.
//   - Once: the first use of a name (a jti, a nonce) succeeds, every later one
//     until its time is over fails with [ErrSeen]. What the first one left with
//     the name can be read.
//   - Put with a version, Create and Same fail with [ErrConflict] if somebody else
//     was faster; so a read, a decision and a write can be made one step.
//   - A record that has expired is not there, to the moment, even if nobody
//     has swept it away yet.
//   - Watch tells of every later commit of a kind, in every process on the
//     same data, within a second.
//
// Any method may be called by any number of goroutines. Values are opaque
// bytes; secrets come here only as hashes or sealed. storetest.Run checks all
// of this of any implementation.
package store

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrNotFound: there is no such record, or it has expired.
	ErrNotFound = errors.New("store: not found")
	// ErrTaken: the record was there and somebody took it.
	ErrTaken = errors.New("store: already taken")
	// ErrSeen: the name was used before.
	ErrSeen = errors.New("store: already used once")
	// ErrConflict: the record is not in the version that the caller read.
	ErrConflict = errors.New("store: changed by somebody else")
	// ErrNewer: the data was written by a newer version of the program.
	ErrNewer = errors.New("store: the database has a newer schema")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store: closed")
)

// Kind is the type of a record: "grant", "client", … At most 32 bytes.
type Kind string

// KindOnce is the kind of what Once remembers, with the name for a key. Get and
// List read it; no other op writes it, and Watch does not tell of it.
const KindOnce Kind = "once"

// Record is one thing that is kept.
type Record struct {
	Kind    Kind
	Key     string    // unique within the kind, 1 to 512 bytes
	Value   []byte    // opaque, at most 1 MiB
	Expires time.Time // to the millisecond; zero: never
	Index   []string  // names under which List finds it ("person=corp/alice"); at most 8, each at most 512 bytes

	Version uint64    // set by the store: 1, 2, … with every write of this record
	Taken   time.Time // set by the store: when it was taken; zero: it was not
}

// Action is what an Op does.
type Action uint8

const (
	DoPut    Action = iota + 1 // write; with Record.Version != 0 only over that version
	DoCreate                   // write; only if there is none (an expired one does not count)
	DoAdd                      // write under a key that was drawn at random just now
	DoTake                     // use up; fails if it is not there or was taken
	DoOnce                     // remember a name until Record.Expires; fails if it is remembered
	DoDelete                   // remove; it need not be there
	DoLog                      // write into the journal of its kind
	DoSame                     // fail if the record is not in Record.Version; write nothing
)

// Op is one step of a commit. Make it with Put, Create, Add, Take, Once, Delete, Log or Same.
type Op struct {
	Do Action
	// Unread is a hint: what Put, Create or Add writes will not be read soon, so that
	// a store need not remember it.
	Unread bool
	// Unwatched is a hint: nobody watches for what Put, Create or Add writes, so that a
	// store need not tell of it.
	Unwatched bool
	Record    Record
}

// Put writes r over whatever is there. If r.Version is not 0 the record must
// still be in that version, else the commit fails with ErrConflict.
func Put(r Record) Op { return Op{Do: DoPut, Record: r} }

// Create writes r if there is no record with its key; else ErrConflict.
func Create(r Record) Op { return Op{Do: DoCreate, Record: r} }

// Add is Create for a key that the caller drew at random just now, 64 bits at
// least: a store may leave out what makes it quick to see that there is one, so
// if there is, the commit fails, with ErrConflict or another error.
func Add(r Record) Op { return Op{Do: DoAdd, Record: r} }

// Take uses the record up: ErrNotFound if it is not there or has expired,
// ErrTaken if somebody took it before. Its value stays readable until it expires.
func Take(kind Kind, key string) Op { return Op{Do: DoTake, Record: Record{Kind: kind, Key: key}} }

// Once remembers a name until a time: ErrSeen if it is remembered already. The
// op's Record may be given a Value, which Get returns until then.
func Once(name string, until time.Time) Op {
	return Op{Do: DoOnce, Record: Record{Kind: KindOnce, Key: name, Expires: until}}
}

// Delete removes a record, taken or not.
func Delete(kind Kind, key string) Op { return Op{Do: DoDelete, Record: Record{Kind: kind, Key: key}} }

// Log writes r into the journal of its kind, which is cheaper than Add: it
// cannot be read by its key, changed, taken or watched, and has no index names.
// It is listed among the other records of its kind, in the order of the commits, until
// it expires. Its key was drawn just now, as for Add, and begins with what places it
// among those, as a rule the time. Whether there is one with its key nobody looks.
// A store may sweep a journal from its beginning only, so that what expired
// lies on, unlisted, until what stands before it has expired.
func Log(r Record) Op { return Op{Do: DoLog, Record: r} }

// Same lets the commit through only if the record is still in the version that the
// caller read; 0: only if there is none, or it has expired. Else ErrConflict. It
// writes nothing: what a commit stands on is as it was when the commit is done.
// A record that was removed and made again begins with version 1 again.
func Same(kind Kind, key string, version uint64) Op {
	return Op{Do: DoSame, Record: Record{Kind: kind, Key: key, Version: version}}
}

// Query asks for a page of records.
type Query struct {
	Kind  Kind
	Index string // only records that carry this name; "": all of the kind
	After string // the cursor that the page before returned; "": from the start
	Limit int    // records a page, 1 to 1000; 0: 100
}

// Store keeps records. See the package's text for what it must guarantee.
type Store interface {
	// Get returns the record, or ErrNotFound. A taken record is returned with
	// Taken set.
	Get(ctx context.Context, kind Kind, key string) (Record, error)
	// List returns a page, in an order of the store's own that later writes do
	// not upset, and the cursor of the next page, "" at the end. Taken records
	// are listed too.
	List(ctx context.Context, q Query) ([]Record, string, error)
	// Commit does all ops in order, or none. The error of the first op that
	// fails is returned as it is (errors.Is holds).
	Commit(ctx context.Context, ops ...Op) error
	// Watch calls fn for every record of the kind that is put or created after
	// Watch returns, by this process (before its Commit returns) or by another
	// (within a second), at least once each, until ctx ends. fn must be quick.
	Watch(ctx context.Context, kind Kind, fn func(Record)) error
	// Sweep removes up to limit records that expired before the store's now and
	// returns how many.
	Sweep(ctx context.Context, limit int) (int, error)
	// Close ends the store. What was committed stays.
	Close() error
}
