package sqlite

import (
	"cmp"
	"database/sql/driver"
	"errors"
	"slices"
	"time"

	"doorward/store"
)

// id names a record.
type id struct {
	kind store.Kind
	key  string
}

// entry is what a transaction knows of one record: how it lies in the
// database, and how it is to be.
type entry struct {
	id
	row           int64
	stored        bool // there is a row, expired or not
	assumed       bool // nobody looked: it is taken to be new
	storedExpires int64
	storedNames   []string

	exists  bool // there is to be a row
	version int64
	expires int64
	taken   int64
	names   []string
	value   []byte // known only if written, or remembered
	written bool   // value, names and expires are new
	changed bool   // anything is
	unread  bool   // nobody will read it soon
}

// transaction collects commits in memory, each checked against the state that
// the ones before it leave, and writes the outcome at once. So a commit that
// fails costs no savepoint, and a record that several commits touch is written
// once.
type transaction struct {
	c       *conn
	cache   *cache
	used    *used
	look    bool // whether records that are to be new are there; else the insertion tells
	entries map[id]*entry
	order   []*entry
	puts    []store.Record // for the watchers, in order
	logs    []store.Record // for the journal, in order
	uses    []*entry       // that Once is to remember
	empties bool           // the last of what it remembers was swept
	due     []duePlace     // where the sweep is to look
	swept   []id           // that the sweep removed
	undo    []entry        // what the ops of a commit found
	fresh   []*entry       // to be inserted
	news    []naming       // likewise
	lost    []naming       // what may be removed
	ends    []remembered   // what the cache is to know
	wrote   bool           // there is something to commit
	failed  error          // the database could not be read: nothing may be written
}

// work is the transaction of the writer, whose memory is used again.
type work struct{ t transaction }

// keptEntries is how many records a transaction may touch for its memory to be kept.
const keptEntries = 1024

// begin starts it anew.
func (w *work) begin(c *conn, s *Store, look bool) *transaction {
	w.clear()
	t := &w.t
	if t.entries == nil {
		t.entries = map[id]*entry{}
	}
	t.c, t.cache, t.used, t.look = c, s.cache, s.used, look
	return t
}

// clear lets go of all records.
func (w *work) clear() {
	t := &w.t
	if len(t.order) > keptEntries || len(t.logs) > keptEntries {
		*t = transaction{}
		return
	}
	clear(t.entries)
	*t = transaction{entries: t.entries, order: emptied(t.order), puts: emptied(t.puts), logs: emptied(t.logs), undo: emptied(t.undo[:cap(t.undo)]),
		fresh: emptied(t.fresh), news: emptied(t.news), lost: emptied(t.lost), uses: emptied(t.uses), due: t.due[:0], ends: emptied(t.ends)}
}

// emptied is the slice without its elements.
func emptied[T any](s []T) []T {
	clear(s)
	return s[:0]
}

// apply does the ops of one commit, all or none.
func (t *transaction) apply(ops []store.Op, now time.Time) error {
	undo := t.undo[:0]
	defer func() { t.undo = undo }()
	puts, logs := len(t.puts), len(t.logs)
	for i := range ops {
		var err error
		before := len(undo)
		if ops[i].Do == store.DoLog {
			t.logs = append(t.logs, ops[i].Record)
		} else if ops[i].Do == store.DoSame {
			err = t.same(&ops[i].Record, now)
		} else if e, readErr := t.entry(&ops[i], now); readErr != nil {
			err = readErr
		} else {
			undo = append(undo, *e)
			err = t.do(e, &ops[i], now)
		}
		if err != nil {
			for j, was := range slices.Backward(undo) {
				if was.assumed && j < before { // that op may be the first that fails, if one looks
					t.failed = cmp.Or(t.failed, errThere)
				}
				*t.entries[was.id] = was
			}
			t.puts, t.logs = t.puts[:puts], t.logs[:logs]
			return err
		}
	}
	return nil
}

// errThere: a record that was to be new is there, perhaps expired.
var errThere = errors.New("a record that was to be new is there")

// entry finds the record's entry, or reads it from the database. One that is to
// be new seldom is there, so at first it is taken to be new.
func (t *transaction) entry(op *store.Op, now time.Time) (*entry, error) {
	at := id{op.Record.Kind, op.Record.Key}
	isNew := !t.look && (op.Do == store.DoAdd || op.Do == store.DoCreate)
	if e := t.entries[at]; e != nil {
		if e.assumed && !e.exists && !isNew { // a commit that failed left it unseen
			return e, t.read(e)
		}
		return e, nil
	}
	e := &entry{id: at}
	if op.Do == store.DoOnce {
		if err := t.readUsed(e, now); err != nil {
			return nil, err
		}
	} else if r, known := t.cache.held(at); known {
		e.row, e.stored, e.exists, e.version, e.expires, e.taken, e.names, e.value = r.row, r.exists, r.exists, r.version, r.expires, r.taken, r.names, r.value
		e.storedExpires, e.storedNames = e.expires, e.names
	} else if e.assumed = isNew; !isNew {
		if err := t.read(e); err != nil {
			return nil, err
		}
	}
	t.entries[at] = e
	t.order = append(t.order, e)
	return e, nil
}

// read finds out how the record lies in the database.
func (t *transaction) read(e *entry) error {
	e.assumed = false
	err := t.c.query(load, func(row []driver.Value) bool {
		e.stored, e.exists = true, true
		e.row = row[0].(int64)
		e.version = row[1].(int64)
		e.expires = row[2].(int64)
		e.taken = row[3].(int64)
		e.names = unpack(blob(row[4]))
		return false
	}, string(e.kind), []byte(e.key))
	e.storedExpires, e.storedNames = e.expires, e.names
	if err != nil {
		t.failed = err
	}
	return err
}

// readUsed finds out what Once remembers of a name.
func (t *transaction) readUsed(e *entry, now time.Time) error {
	seq, err := t.used.findBy(t.c, e.key, millis(now))
	if err == nil {
		var r remembered
		r, err = readUsed(t.c, e.key, seq)
		e.stored, e.exists, e.version, e.expires = r.exists, r.exists, r.version, r.expires
	}
	t.failed = cmp.Or(t.failed, err)
	return err
}

// changed is what the cache is to know after the commit.
func (t *transaction) changed() []remembered {
	all := t.ends
	for _, e := range t.order {
		switch {
		case !e.changed || e.kind == store.KindOnce:
		case !e.exists:
			all = append(all, remembered{id: e.id, full: true})
		case e.unread:
			all = append(all, remembered{id: e.id, unknown: true})
		default:
			all = append(all, remembered{id: e.id, row: e.row, exists: e.exists, version: e.version, expires: e.expires, taken: e.taken,
				names: slices.Clone(e.names), value: slices.Clone(e.value), full: e.written || e.value != nil})
		}
	}
	for _, at := range t.swept {
		all = append(all, remembered{id: at, full: true})
	}
	t.ends = all
	return all
}

// do does one op on its entry.
func (t *transaction) do(e *entry, op *store.Op, now time.Time) error {
	live := e.exists && isLive(e.expires, millis(now))
	switch r := &op.Record; op.Do {
	case store.DoPut:
		if r.Version != 0 && (!live || uint64(e.version) != r.Version) {
			return store.ErrConflict
		}
		e.put(r, live)
		t.wasPut(e, op)
	case store.DoCreate, store.DoAdd:
		if live {
			return store.ErrConflict
		}
		e.put(r, live)
		t.wasPut(e, op)
	case store.DoOnce:
		if live {
			return store.ErrSeen
		}
		e.put(r, live)
	case store.DoTake:
		if !live {
			return store.ErrNotFound
		}
		if e.taken != 0 {
			return store.ErrTaken
		}
		e.taken = millis(now)
		e.version++
		e.changed = true
	case store.DoDelete:
		e.exists, e.changed = false, true
	}
	return nil
}

// wasPut is what follows from the op's hints.
func (t *transaction) wasPut(e *entry, op *store.Op) {
	e.unread = op.Unread
	if !op.Unwatched {
		t.puts = append(t.puts, e.record())
	}
}

// put writes r. Over a living record the version goes on, and a record that
// was taken stays taken.
func (e *entry) put(r *store.Record, live bool) {
	if !live {
		e.version, e.taken = 0, 0
	}
	e.version++
	e.expires = millis(r.Expires)
	e.names = r.Index
	e.value = r.Value
	e.exists, e.written, e.changed = true, true, true
}

// record is the entry as the watchers see it.
func (e *entry) record() store.Record {
	return store.Record{
		Kind: e.kind, Key: e.key, Value: e.value, Expires: fromMillis(e.expires), Index: e.names,
		Version: uint64(e.version), Taken: fromMillis(e.taken),
	}
}

// flush writes the entries that changed: what was there first, then what is new.
func (t *transaction) flush() error {
	for _, e := range t.order {
		if e.assumed && e.changed && !e.exists { // made and removed: was there one before?
			return errThere
		}
		if !e.changed || !e.exists && !e.stored {
			continue
		}
		t.wrote = true
		if e.kind == store.KindOnce {
			t.uses = append(t.uses, e)
			continue
		}
		if !e.stored {
			t.fresh = append(t.fresh, e)
			continue
		}
		if err := t.writeRow(e); err != nil {
			return err
		}
		if e.exists && e.written {
			t.noteEnd(e.row, e.storedExpires, e.expires)
		}
		if e.written || !e.exists {
			t.noteNames(e)
		}
	}
	if err := t.insertRows(t.fresh); err != nil {
		return err
	}
	for _, rest := range []func() error{t.insertNames, t.removeNames, t.flushDue, t.flushUsed, t.flushLogs} {
		if err := rest(); err != nil {
			return err
		}
	}
	return nil
}

// writeRow writes an entry that is stored.
func (t *transaction) writeRow(e *entry) error {
	switch {
	case !e.exists:
		return t.c.exec(remove, e.row)
	case !e.written:
		return t.c.exec(updateTaken, e.row, e.version, e.taken)
	}
	return t.c.exec(update, e.row, e.version, e.expires, e.taken, pack(e.names...), e.value)
}
