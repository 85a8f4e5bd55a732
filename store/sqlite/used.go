package sqlite

import (
	"crypto/rand"
	"crypto/sha256"
	"database/sql/driver"
	"fmt"
	"sync"
	"sync/atomic"

	"doorward/internal/churn"
	"doorward/store"
)

// used is the index of the table used, in memory: which row a name has. It is of
// one state of the file, as the cache is; whoever asks brings it up to that of
// the moment first, by reading the rows behind the last one that it knows. Rows
// come in the order of the commits and no number comes twice, so it does not
// matter which connection read them, nor that some were read before.
type used struct {
	cache *cache // tells the state of the file

	loaded atomic.Bool // it was of some state once
	mu     sync.Mutex
	at     stamp // that state
	known  bool  // at is known
	last   int64 // the last row
	spare  int64 // the same, if it is emptied
	rows   churn.Map[digest, usedRow]
	salt   [16]byte // so that nobody can look for two names with one digest
}

// digest stands for a name. There are no pointers in the index, so the collector
// does not look through it.
type digest [16]byte

// usedRow is where a name lies, and until when it counts.
type usedRow struct{ seq, expires int64 }

// tidyRows is how many entries tidy looks at without letting others pass.
const tidyRows = 1000

func newUsed(c *cache) *used {
	u := &used{cache: c}
	rand.Read(u.salt[:]) // never fails
	return u
}

func (u *used) digest(name string) digest {
	var b [len(u.salt) + store.MaxKey]byte
	n := copy(b[:], u.salt[:])
	n += copy(b[n:], name)
	sum := sha256.Sum256(b[:n])
	return digest(sum[:])
}

// now asks for the state of the file; false: it cannot be told.
func (u *used) now() (stamp, bool) { return u.cache.now() }

// find returns the row of a name, 0 for none, if the index is of the current
// state; else ok is false.
func (u *used) find(name string) (seq int64, ok bool) {
	d := u.digest(name)
	u.mu.Lock()
	defer u.mu.Unlock()
	state, ok := u.now()
	if !ok || !u.known || state != u.at {
		return 0, false
	}
	return u.row(d).seq, true
}

// findBy is find with a connection to bring the index up to date.
func (u *used) findBy(c *conn, name string, now int64) (seq int64, err error) {
	d := u.digest(name)
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.catchUp(c, now); err != nil {
		return 0, err
	}
	return u.row(d).seq, nil
}

// catchUp reads what was written since the index was brought up to date, or all
// of it. The caller holds mu.
func (u *used) catchUp(c *conn, now int64) error {
	state, ok := u.now() // before the reading: what comes between counts as not read
	if ok && u.known && state == u.at {
		return nil
	}
	for {
		found := u.last == 0
		err := c.query(usedSince, func(row []driver.Value) bool {
			seq, name := row[0].(int64), blob(row[1])
			found = true
			if u.last, u.spare = seq, 0; len(name) == 0 {
				u.spare = seq
				return true
			}
			u.add(u.digest(string(name)), usedRow{seq, row[2].(int64)}, now)
			return true
		}, u.last)
		if err != nil {
			return err
		}
		if found {
			break
		}
		// The last row is never removed: somebody else's hand has been here.
		u.last, u.spare = 0, 0
		u.rows.Clear()
	}
	u.at, u.known = state, ok
	u.loaded.Store(true)
	return nil
}

// row is where a name lies; the zero one: nowhere. The caller holds mu.
func (u *used) row(d digest) usedRow {
	r, _ := u.rows.Get(d)
	return r
}

// add makes an entry of a row, unless it is over or there is a later one. The
// caller holds mu.
func (u *used) add(d digest, r usedRow, now int64) {
	if isLive(r.expires, now) && r.seq > u.row(d).seq {
		u.rows.Set(d, r)
	}
}

// emptied returns the last row if it is empty and another is to come behind it;
// 0: none. The caller holds the lock of the file and has brought the index up to date.
func (u *used) emptied() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.spare
}

// learn adds what a transaction wrote, which is durable, and alone led from the
// state before to the state after, if that is known.
func (u *used) learn(written []*entry, now int64, before, after stamp, known bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, e := range written {
		u.add(u.digest(e.key), usedRow{e.row, e.expires}, now)
		if e.row > u.last { // else somebody who reads was here before
			u.last, u.spare = e.row, 0
		}
	}
	if known && u.known && u.at == before {
		u.at = after
	}
}

// tidy forgets names whose time is over, whoever removes their rows. It begins
// anywhere, as a map does, and goes on as long as one in four is over.
func (u *used) tidy(now int64) {
	for looked, gone := 0, 0; 4*gone >= looked; {
		looked, gone = 0, 0
		u.mu.Lock()
		for d, r := range u.rows.All() {
			if looked++; !isLive(r.expires, now) {
				u.rows.Delete(d)
				gone++
			}
			if looked == tidyRows {
				break
			}
		}
		u.mu.Unlock()
		if looked == 0 {
			return
		}
	}
}

// readUsed reads what a row remembers of a name, expired or not. Where the row is
// no more, or empty, it was swept: nothing is remembered.
func readUsed(c *conn, name string, seq int64) (remembered, error) {
	r := remembered{id: id{store.KindOnce, name}}
	if seq == 0 {
		return r, nil
	}
	var has []byte
	err := c.query(getUsed, func(row []driver.Value) bool {
		has, r.expires, r.value = blob(row[0]), row[1].(int64), blob(row[2])
		return false
	}, seq)
	if err == nil && len(has) > 0 && string(has) != name {
		err = fmt.Errorf("row %d of the table used has another name than it had: restore a backup", seq)
	}
	r.exists, r.version = len(has) > 0, 1
	return r, err
}
