package sqlite

import (
	"cmp"
	"time"

	"doorward/store"
)

// same is whether the record lies in the version that was read, after the commits
// before it in the transaction. Nothing is remembered of it: it is not written.
func (t *transaction) same(r *store.Record, now time.Time) error {
	at := id{r.Kind, r.Key}
	var version uint64
	if e := t.entries[at]; e != nil {
		if e.assumed && !e.exists { // a commit that failed left it unseen
			if err := t.read(e); err != nil {
				return err
			}
		}
		version = livingVersion(e.exists, e.version, e.expires, now)
	} else {
		lies, known := t.cache.held(at)
		if !known {
			var err error
			if lies, err = readRow(t.c, at); err != nil {
				t.failed = cmp.Or(t.failed, err)
				return err
			}
		}
		version = livingVersion(lies.exists, lies.version, lies.expires, now)
	}
	if version != r.Version {
		return store.ErrConflict
	}
	return nil
}

// livingVersion is the version of a record; 0: it is not there, or has expired.
func livingVersion(exists bool, version, expires int64, now time.Time) uint64 {
	if !exists || !isLive(expires, millis(now)) {
		return 0
	}
	return uint64(version)
}
