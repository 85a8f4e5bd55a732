package sqlite

import (
	"cmp"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"doorward/store"
)

const (
	// bundleBytes is how long a row of the journal becomes, unless one record is
	// longer: four lie in a page.
	bundleBytes = pageSize/4 - 40
	// bundlesAtOnce is how many rows one statement writes, if there are so many.
	bundlesAtOnce = 4
)

// bundle is a row of the journal: records of one kind that came in one transaction.
type bundle struct {
	seq  int64
	kind store.Kind
	key  string // of the only record, if the row is of an older schema
	ends int64  // when the first of them expires; 0: none does
	b    []byte
}

// soonest is the earlier of two ends, of which 0 is never.
func soonest(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// appendLog adds a record to a bundle's bytes. Without a key it is the place of one
// that was swept.
func appendLog(b []byte, key string, ends int64, value []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(key)))
	b = append(b, key...)
	b = binary.AppendUvarint(b, uint64(ends))
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(b, value...)
}

// takeLog reads the first record of a bundle's bytes and returns the rest.
func takeLog(b []byte) (key []byte, ends int64, value, rest []byte, ok bool) {
	if key, b, ok = takeBytes(b); !ok {
		return nil, 0, nil, nil, false
	}
	n, w := binary.Uvarint(b)
	if w <= 0 || n > math.MaxInt64 {
		return nil, 0, nil, nil, false
	}
	value, rest, ok = takeBytes(b[w:])
	return key, int64(n), value, rest, ok
}

// takeBytes reads bytes that stand after their length.
func takeBytes(b []byte) (head, rest []byte, ok bool) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return nil, nil, false
	}
	end := w + int(n)
	return b[w:end:end], b[end:], true
}

// each calls fn for every record of the bundle, and for the place of each that was.
func (u *bundle) each(fn func(key []byte, ends int64, value []byte)) error {
	if u.key != "" {
		fn([]byte(u.key), u.ends, u.b)
		return nil
	}
	for b := u.b; len(b) > 0; {
		key, ends, value, rest, ok := takeLog(b)
		if !ok {
			return errors.New("a row of the table journal cannot be read: restore a backup")
		}
		fn(key, ends, value)
		b = rest
	}
	return nil
}

// bundleOf makes a bundle from the columns of a row.
func bundleOf(kind store.Kind, row []driver.Value) bundle {
	return bundle{row[0].(int64), kind, string(blob(row[1])), row[2].(int64), blob(row[3])}
}

// flushLogs writes what goes into the journal.
func (t *transaction) flushLogs() error {
	if len(t.logs) == 0 {
		return nil
	}
	last, err := t.c.number(lastBundle)
	if err != nil {
		return err
	}
	slices.SortStableFunc(t.logs, func(a, b store.Record) int { return strings.Compare(string(a.Kind), string(b.Kind)) })
	seq := max(last+1, time.Now().UnixMicro()) // no number comes twice, though the last rows be swept
	var rows [bundlesAtOnce]bundle
	n := 0
	for left := t.logs; len(left) > 0; seq++ {
		rows[n], left = bundleLogs(left)
		rows[n].seq = seq
		if n++; n == bundlesAtOnce {
			if err := t.insertBundles(insertBundles, rows[:]); err != nil {
				return err
			}
			n = 0
		}
	}
	for i := range rows[:n] {
		if err := t.insertBundles(insertBundle, rows[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

// bundleLogs makes one bundle of the first of some records.
func bundleLogs(logs []store.Record) (bundle, []store.Record) {
	u := bundle{kind: logs[0].Kind, ends: millis(logs[0].Expires)}
	for len(logs) > 0 {
		r := &logs[0]
		if len(u.b) > 0 && (r.Kind != u.kind || len(u.b)+len(r.Key)+len(r.Value) > bundleBytes) {
			break
		}
		if u.b == nil {
			u.b = make([]byte, 0, max(bundleBytes, len(r.Key)+len(r.Value))+3*binary.MaxVarintLen64)
		}
		ends := millis(r.Expires)
		u.b, u.ends = appendLog(u.b, r.Key, ends, r.Value), soonest(u.ends, ends)
		logs = logs[1:]
	}
	return u, logs
}

func (t *transaction) insertBundles(s statement, rows []bundle) error {
	var args [4 * bundlesAtOnce]driver.Value
	for i, u := range rows {
		args[4*i], args[4*i+1], args[4*i+2], args[4*i+3] = u.seq, string(u.kind), u.ends, u.b
	}
	t.wrote = true
	return t.c.exec(s, args[:4*len(rows)]...)
}

// logPlace is a place in a journal: n records of row seq and all of the rows before.
type logPlace struct {
	seq int64
	n   int
}

// readLogs calls each for the living records of a journal from a place on, with the
// place behind them, until it returns false.
func readLogs(c *conn, kind store.Kind, from logPlace, now int64, each func(r store.Record, behind logPlace) bool) error {
	var failed error
	err := c.query(listBundles, func(row []driver.Value) bool {
		u := bundleOf(kind, row)
		n, more := 0, true
		failed = u.each(func(key []byte, ends int64, value []byte) {
			if n++; !more || len(key) == 0 || u.seq == from.seq && n <= from.n || !isLive(ends, now) {
				return
			}
			more = each(store.Record{Kind: kind, Key: string(key), Value: value, Expires: fromMillis(ends), Version: 1}, logPlace{u.seq, n})
		})
		return failed == nil && more
	}, string(kind), from.seq)
	return cmp.Or(failed, err)
}

// journalSweep removes what expired, row by row from a place on. Records end as a
// rule in the order of their commits, so a sweep begins at the first row; so that
// nothing lies for ever behind what lives longer, it also goes on where another of
// these came to last.
type journalSweep struct{ after *int64 }

func (w journalSweep) step(t *transaction, limit int, now int64) (gone int, more bool, err error) {
	var over []bundle
	last, n := int64(0), 0
	err = t.c.query(nextBundles, func(row []driver.Value) bool {
		u := bundleOf("", row)
		if last, n = u.seq, n+1; !isLive(u.ends, now) {
			over = append(over, u)
		}
		return true
	}, *w.after, int64(limit), now)
	for i := range over {
		if err != nil {
			return 0, false, err
		}
		cut := 0
		cut, err = t.cutBundle(&over[i], limit-gone, now)
		if gone += cut; gone == limit { // what is left of it is for the next one
			last, n = over[i].seq-1, limit
			break
		}
	}
	if *w.after = last; n < limit {
		*w.after = 0
	}
	return gone, gone > 0 && n == limit, err
}

// cutBundle removes up to limit records that expired from a bundle, and the row
// with the last of them. Those that stay keep their places, which pages of List name.
func (t *transaction) cutBundle(u *bundle, limit int, now int64) (gone int, err error) {
	var b []byte
	var ends int64
	left := false
	err = u.each(func(key []byte, end int64, value []byte) {
		switch {
		case len(key) == 0:
			b = appendLog(b, "", 0, nil)
		case gone < limit && !isLive(end, now):
			gone++
			b = appendLog(b, "", 0, nil)
		default:
			b, ends, left = appendLog(b, string(key), end, value), soonest(ends, end), true
		}
	})
	switch {
	case err != nil || gone == 0:
		return gone, err
	case left:
		err = t.c.exec(updateBundle, u.seq, ends, b)
	default:
		err = t.c.exec(removeBundle, u.seq)
	}
	t.wrote = true
	return gone, err
}
