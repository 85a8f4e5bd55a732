package sqlite

import (
	"context"
	"database/sql/driver"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"

	"doorward/store"
)

// pageBytes is when a page of List ends early, so that a page of large
// records does not fill the memory.
const pageBytes = 8 << 20

var errCursor = errors.New("store/sqlite: the cursor is none that a page returned: start again without it")

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, kind store.Kind, key string) (store.Record, error) {
	if kind == store.KindOnce {
		return s.getUsed(ctx, key)
	}
	at := id{kind, key}
	r, known, state, remember := s.cache.get(at)
	if known {
		if err := s.canRead(ctx); err != nil {
			return store.Record{}, err
		}
	}
	if !known || !r.full {
		c, err := s.reader(ctx)
		if err != nil {
			return store.Record{}, err
		}
		r, err = readRow(c, at)
		s.release(c)
		if err != nil {
			return store.Record{}, explain(s.path, err)
		}
		if remember {
			s.cache.put(r, state)
		}
	}
	if !r.exists || !isLive(r.expires, millis(s.now())) {
		return store.Record{}, store.ErrNotFound
	}
	return r.record(), nil
}

// getUsed is Get for what Once remembers.
func (s *Store) getUsed(ctx context.Context, name string) (store.Record, error) {
	if err := s.canRead(ctx); err != nil {
		return store.Record{}, err
	}
	if seq, ok := s.used.find(name); ok && seq == 0 {
		return store.Record{}, store.ErrNotFound
	}
	c, err := s.reader(ctx)
	if err != nil {
		return store.Record{}, err
	}
	defer s.release(c)
	now := millis(s.now())
	seq, err := s.used.findBy(c, name, now)
	if err != nil {
		return store.Record{}, explain(s.path, err)
	}
	r, err := readUsed(c, name, seq)
	if err != nil {
		return store.Record{}, explain(s.path, err)
	}
	if !r.exists || !isLive(r.expires, now) {
		return store.Record{}, store.ErrNotFound
	}
	return r.record(), nil
}

// loadUsed brings the index of what Once remembers into memory, at first need
// and before the lock of the file is held.
func (s *Store) loadUsed(ctx context.Context) error {
	c, err := s.reader(ctx)
	if err != nil {
		return err
	}
	defer s.release(c)
	_, err = s.used.findBy(c, "", millis(s.now()))
	return explain(s.path, err)
}

// readRow reads a record, expired or not, or that there is none.
func readRow(c *conn, at id) (remembered, error) {
	r := remembered{id: at, full: true}
	err := c.query(get, func(row []driver.Value) bool {
		r.exists = true
		r.version, r.expires, r.taken, r.row = row[1].(int64), row[2].(int64), row[3].(int64), row[6].(int64)
		r.names, r.value = unpack(blob(row[4])), blob(row[5])
		return false
	}, string(at.kind), []byte(at.key))
	return r, err
}

// List implements store.Store. The order is that of the keys' bytes; under an
// index name, and of what Once remembers, that in which they were made.
func (s *Store) List(ctx context.Context, q store.Query) ([]store.Record, string, error) {
	if err := q.Check(); err != nil {
		return nil, "", err
	}
	after, err := base64.RawURLEncoding.DecodeString(q.After)
	if err != nil || byRow(q) && len(after) != 0 && len(after) != 8 {
		return nil, "", errCursor
	}
	c, err := s.reader(ctx)
	if err != nil {
		return nil, "", err
	}
	defer s.release(c)
	recs, last, err := readPage(c, q, after, millis(s.now()))
	if err != nil {
		return nil, "", explain(s.path, err)
	}
	return recs, base64.RawURLEncoding.EncodeToString(last), nil
}

func readRecord(c *conn, kind store.Kind, key string, now int64) (store.Record, bool, error) {
	r, err := readRow(c, id{kind, key})
	if err != nil || !r.exists || !isLive(r.expires, now) {
		return store.Record{}, false, err
	}
	return r.record(), true, nil
}

// byRow reports whether pages of a query are in the order of rows, not of keys.
func byRow(q store.Query) bool { return q.Index != "" || q.Kind == store.KindOnce }

// readPage also returns where the page ends if there are records after it: the
// last key, or where rows are the order the last row.
func readPage(c *conn, q store.Query, after []byte, now int64) (recs []store.Record, last []byte, err error) {
	limit := q.Limit
	if limit == 0 {
		limit = store.PageSize
	}
	size, row, more := 0, int64(0), false
	each := func(columns []driver.Value) bool {
		r := recordOf(q.Kind, columns)
		if q.Index != "" && !slices.Contains(r.Index, q.Index) {
			return true
		}
		if more = len(recs) == limit || size > pageBytes; more {
			return false
		}
		recs, row = append(recs, r), columns[6].(int64)
		size += len(r.Value)
		return true
	}
	switch {
	case q.Index == "" && q.Kind == store.KindOnce:
		err = c.query(listUsed, each, rowOf(after), now, int64(limit)+1)
	case q.Index == "":
		return readKind(c, q.Kind, after, limit, now)
	default:
		err = c.query(listIndex, each, string(q.Kind), []byte(q.Index), rowOf(after), now)
	}
	if !more {
		return recs, nil, err
	}
	return recs, binary.BigEndian.AppendUint64(nil, uint64(row)), err
}

// kindPage is a page of the records of a kind, those of its journal among them.
type kindPage struct {
	recs  []store.Record
	limit int
	size  int
	key   string   // the last that is no record of the journal
	log   logPlace // behind the last that is
	more  bool     // there are records after it
}

func (p *kindPage) add(r store.Record) bool {
	if p.more = len(p.recs) == p.limit || p.size > pageBytes; !p.more {
		p.recs = append(p.recs, r)
		p.size += len(r.Value)
	}
	return !p.more
}

// readKind is readPage for all records of a kind. Both parts are in their own order,
// and are merged by their keys. Where a page ends is the last key of the one and the
// place in the other.
func readKind(c *conn, kind store.Kind, after []byte, limit int, now int64) (recs []store.Record, last []byte, err error) {
	p := kindPage{limit: limit}
	if len(after) > 0 {
		ok := false
		if p.key, p.log, ok = readPlace(after); !ok {
			return nil, nil, errCursor
		}
	}
	var others []store.Record
	size := 0
	err = c.query(listKind, func(columns []driver.Value) bool {
		full := size > pageBytes
		others = append(others, recordOf(kind, columns))
		size += len(others[len(others)-1].Value)
		return !full
	}, string(kind), []byte(p.key), now, int64(limit)+1)
	if err != nil {
		return nil, nil, err
	}
	upTo := func(key string) bool { // those before a key of the journal
		for len(others) > 0 && (key == "" || others[0].Key < key) {
			if !p.add(others[0]) {
				return false
			}
			p.key, others = others[0].Key, others[1:]
		}
		return true
	}
	err = readLogs(c, kind, p.log, now, func(r store.Record, behind logPlace) bool {
		if !upTo(r.Key) || !p.add(r) {
			return false
		}
		p.log = behind
		return true
	})
	if err != nil {
		return nil, nil, err
	}
	if p.more || !upTo("") {
		last = p.place()
	}
	return p.recs, last, nil
}

// place is where the page ends.
func (p *kindPage) place() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(p.log.seq))
	b = binary.BigEndian.AppendUint32(b, uint32(p.log.n))
	return append(b, p.key...)
}

// readPlace is the reverse of place.
func readPlace(b []byte) (key string, log logPlace, ok bool) {
	if len(b) < 8+4 {
		return "", log, false
	}
	log = logPlace{int64(binary.BigEndian.Uint64(b)), int(binary.BigEndian.Uint32(b[8:]))}
	return string(b[8+4:]), log, log.seq >= 0
}

// rowOf is the row at which a page under an index name ended; 0 for the first.
func rowOf(last []byte) int64 {
	if len(last) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(last))
}

// recordOf makes a record from a row of columns.
func recordOf(kind store.Kind, row []driver.Value) store.Record {
	return store.Record{
		Kind:    kind,
		Key:     string(blob(row[0])),
		Version: uint64(row[1].(int64)),
		Expires: fromMillis(row[2].(int64)),
		Taken:   fromMillis(row[3].(int64)),
		Index:   unpack(blob(row[4])),
		Value:   blob(row[5]),
	}
}

func isLive(expires, now int64) bool { return expires == 0 || now < expires }

// blob is a column's bytes; the driver gives nil for an empty one.
func blob(v driver.Value) []byte {
	b, _ := v.([]byte)
	return b
}

// pack writes names one after the other, each after its length. nil for none.
func pack(names ...string) []byte {
	size := 0
	for _, n := range names {
		size += len(n) + binary.MaxVarintLen16
	}
	if size == 0 {
		return nil
	}
	b := make([]byte, 0, size)
	for _, n := range names {
		b = binary.AppendUvarint(b, uint64(len(n)))
		b = append(b, n...)
	}
	return b
}

// unpack is the reverse of pack. What pack cannot have written ends it.
func unpack(b []byte) []string {
	var names []string
	for len(b) > 0 {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			return names
		}
		names = append(names, string(b[w:w+int(n)]))
		b = b[w+int(n):]
	}
	return names
}
