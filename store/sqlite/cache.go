package sqlite

import (
	"container/list"
	"slices"
	"strings"
	"sync"

	"doorward/internal/churn"
	"doorward/store"
)

const (
	cacheBytes  = 2 << 20 // of records that are remembered
	cacheRecord = 8 << 10 // of one; larger ones are read each time
	cacheCost   = 300     // of an entry beside its value, about
	cacheName   = 16      // of an index name beside its bytes
)

// cache remembers records as they lie in the database at one state of the file,
// so that reading one again, and finding out before a write how it lies there,
// does not cost a query. A state that is not the file's current one counts for
// nothing, so a commit of another process is seen as soon as by a query.
type cache struct {
	index *walIndex // nil: nothing is remembered

	mu      sync.Mutex
	at      stamp // the state that the entries are of
	writing bool  // our own commit is under way and will move at
	byID    churn.Map[id, *list.Element]
	recent  *list.List // of *remembered; the front was used last
	bytes   int
}

// remembered is a record, or that there is none.
type remembered struct {
	id
	row     int64
	exists  bool
	version int64
	expires int64
	taken   int64
	names   []string
	value   []byte
	full    bool // names and value are known; else only what a write must know
	unknown bool // it is to be forgotten
}

func newCache(index *walIndex) *cache {
	return &cache{index: index, recent: list.New()}
}

// end forgets everything for good, and returns the index that is to be closed.
func (c *cache) end() *walIndex {
	c.mu.Lock()
	defer c.mu.Unlock()
	index := c.index
	c.index = nil
	c.forget(stamp{})
	return index
}

// get returns what is known of a record at the current state of the file, and
// that state, to be given to put; false: not now.
func (c *cache) get(at id) (r remembered, known bool, now stamp, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.index == nil {
		return r, false, now, false
	}
	if now, ok = c.index.stamp(); !ok {
		return r, false, now, false
	}
	if now != c.at {
		if c.writing {
			return r, false, now, false
		}
		c.forget(now)
	}
	if e, ok := c.byID.Get(at); ok {
		c.recent.MoveToFront(e)
		return *e.Value.(*remembered), true, now, true
	}
	return r, false, now, true
}

// put remembers a record that was read when the file was in the state before,
// if it still is.
func (c *cache) put(r remembered, before stamp) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.index == nil {
		return
	}
	if now, ok := c.index.stamp(); ok && now == before && c.at == before {
		c.set(r)
	}
}

// now is the state of the file; false: it cannot be told.
func (c *cache) now() (stamp, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.index == nil {
		return stamp{}, false
	}
	return c.index.stamp()
}

// hold is called when the lock of the file is held: until release nobody else
// changes it, and what is remembered is what lies there, in the state that it returns.
func (c *cache) hold() stamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.index == nil {
		return stamp{}
	}
	now, ok := c.index.stamp()
	if !ok || now != c.at {
		c.forget(now)
	}
	c.writing = ok
	return now
}

// held returns what is known of a record while the lock is held.
func (c *cache) held(at id) (remembered, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byID.Get(at); ok && c.writing {
		return *e.Value.(*remembered), true
	}
	return remembered{}, false
}

// release ends what hold began. If we committed and nobody else has since, the
// entries go along with our commit, to the state that it returns.
func (c *cache) release(committed bool, changed []remembered) (after stamp, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.index == nil || !c.writing {
		return after, false
	}
	c.writing = false
	if !committed {
		return after, false
	}
	c.index.committed()
	now, ok := c.index.stamp()
	if !ok || now.change != c.at.change+1 {
		c.forget(now)
		return after, false
	}
	c.at = now
	for _, r := range changed {
		c.set(r)
	}
	return now, true
}

// set makes r an entry and lets the oldest go. The caller holds mu.
func (c *cache) set(r remembered) {
	e, ok := c.byID.Get(r.id)
	keep := !r.unknown && len(r.value) <= cacheRecord
	switch {
	case ok && keep:
		old := e.Value.(*remembered)
		r.key = old.key
		c.bytes += r.size() - old.size()
		*old = r
		c.recent.MoveToFront(e)
	case ok:
		c.bytes -= e.Value.(*remembered).size()
		c.recent.Remove(e)
		c.byID.Delete(r.id)
	case keep:
		r.key = strings.Clone(r.key) // it may be a piece of a large request
		c.bytes += r.size()
		c.byID.Set(r.id, c.recent.PushFront(&r))
	}
	for c.bytes > cacheBytes {
		oldest := c.recent.Back()
		gone := c.recent.Remove(oldest).(*remembered)
		c.bytes -= gone.size()
		c.byID.Delete(gone.id)
	}
}

// forget starts anew at a state. The caller holds mu.
func (c *cache) forget(now stamp) {
	c.at, c.bytes = now, 0
	if c.byID.Len() > 0 {
		c.byID.Clear()
		c.recent.Init()
	}
}

func (r *remembered) size() int {
	n := cacheCost + len(r.key) + len(r.value)
	for _, name := range r.names {
		n += cacheName + len(name)
	}
	return n
}

// record is the record as callers get it: theirs to change.
func (r *remembered) record() store.Record {
	return store.Record{Kind: r.kind, Key: r.key, Value: slices.Clone(r.value), Expires: fromMillis(r.expires), Index: slices.Clone(r.names),
		Version: uint64(r.version), Taken: fromMillis(r.taken)}
}
