//go:build unix

package sqlite

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
)

// mappings are the indexes that this process has mapped, by file. Closing any
// descriptor of a file ends all locks that the process has on it (POSIX), those
// of SQLite too, so a file is opened once, and closed when the last store here
// has closed its connections to it.
var mappings = struct {
	sync.Mutex
	opening sync.RWMutex // held for reading while a store opens; closing a descriptor waits for it
	open    map[fileID]*mapping
}{open: map[fileID]*mapping{}}

type fileID struct{ device, inode uint64 }

type mapping struct {
	file   int // a descriptor; no os.File, which closes itself when it is lost
	mapped []byte
	stores int
}

// beginOpening keeps descriptors from being closed until the returned func is
// called: from the first connection of a store until it has its index.
func beginOpening() (end func()) {
	mappings.opening.RLock()
	return mappings.opening.RUnlock
}

// openWALIndex maps the header of the index, to be read only. It must lie there:
// a connection to the file is open.
func openWALIndex(path string) (*walIndex, error) {
	mappings.Lock()
	defer mappings.Unlock()
	var st syscall.Stat_t
	if err := syscall.Stat(path+"-shm", &st); err != nil {
		return nil, err
	}
	if st.Size < walIndexBytes {
		return nil, fmt.Errorf("%s-shm is no WAL index", path)
	}
	at := fileID{uint64(st.Dev), st.Ino}
	m := mappings.open[at]
	if m == nil {
		f, err := syscall.Open(path+"-shm", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		mapped, err := syscall.Mmap(f, 0, walIndexBytes, syscall.PROT_READ, syscall.MAP_SHARED)
		if err != nil {
			return nil, err // f stays open: see mappings
		}
		m = &mapping{file: f, mapped: mapped}
		mappings.open[at] = m
	}
	m.stores++
	return &walIndex{mapped: m.mapped, close: func() error { return m.leave(at) }}, nil
}

// leave is called when a store has closed its connections.
func (m *mapping) leave(at fileID) error {
	mappings.opening.Lock()
	defer mappings.opening.Unlock()
	mappings.Lock()
	defer mappings.Unlock()
	if m.stores--; m.stores > 0 {
		return nil
	}
	delete(mappings.open, at)
	return errors.Join(syscall.Munmap(m.mapped), syscall.Close(m.file))
}
