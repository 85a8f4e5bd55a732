package sqlite

import (
	"sync/atomic"
	"unsafe"
)

// stamp tells two states of the file apart: what the header of the WAL index
// says of the last commit, by whichever process. Two equal stamps mean the same
// log (salt and running checksum of its frames) up to the same frame.
type stamp struct {
	change, frames     uint32
	checksum1, check2  uint32
	salt1, salt2       uint32
	format, headerSize uint32
}

const (
	// walFormat and the offsets are of SQLite's WAL-mode file format, section
	// "WAL-Index Format": two copies of a header, the second one written first.
	walFormat     = 3007000
	walHeaderSize = 48
	walIndexBytes = 2 * walHeaderSize
)

// walIndex is the file's shared WAL index, where every process sees the others'
// commits without asking SQLite.
type walIndex struct {
	mapped []byte       // nil: in memory, where nobody else commits
	commit uint32       // counts our commits there
	close  func() error // to be called after the connections are closed
}

// stamp reads the state; false while somebody is just writing it, or where the
// index is not what we know.
func (w *walIndex) stamp() (stamp, bool) {
	if w.mapped == nil {
		return stamp{change: atomic.LoadUint32(&w.commit)}, true
	}
	a, b := w.header(0), w.header(walHeaderSize)
	return a, a == b && a.format == walFormat
}

// header reads one of the two copies, each word with the ordering that another
// thread's or process's store needs.
func (w *walIndex) header(at uintptr) stamp {
	word := func(offset uintptr) uint32 {
		return atomic.LoadUint32((*uint32)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(w.mapped)), at+offset)))
	}
	return stamp{format: word(0), change: word(8), headerSize: word(12), frames: word(16),
		checksum1: word(24), check2: word(28), salt1: word(32), salt2: word(36)}
}

// committed tells an index in memory of a commit of ours; SQLite keeps the other.
func (w *walIndex) committed() {
	if w.mapped == nil {
		atomic.AddUint32(&w.commit, 1)
	}
}
