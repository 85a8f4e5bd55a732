package ledger

import (
	"bytes"
	"strings"
	"sync"
	"time"

	"doorward/internal/churn"
	"doorward/store"
)

// memoSize is how many records are remembered as they were read.
const memoSize = 1024

// memo remembers what records say, so that one whose bytes have not changed is
// not parsed again. The store says what the bytes are; nothing here is stale.
type memo struct {
	mu   sync.Mutex
	byID churn.Map[memoKey, memoEntry]
}

type memoKey struct {
	kind store.Kind
	key  string
}

type memoEntry struct {
	value  []byte
	parsed any
}

// get is what the record says, as far as it is remembered; nil: it is not.
func (m *memo) get(r store.Record) any {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.byID.Get(memoKey{r.Kind, r.Key})
	if !ok || !bytes.Equal(e.value, r.Value) {
		return nil
	}
	return e.parsed
}

// take is get for one caller: what it returns is remembered no longer. nil: it is
// not known.
func (m *memo) take(r store.Record) any {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := memoKey{r.Kind, r.Key}
	e, ok := m.byID.Get(at)
	if !ok || !bytes.Equal(e.value, r.Value) {
		return nil
	}
	m.byID.Delete(at)
	return e.parsed
}

// put remembers that the record's bytes mean parsed, which nobody changes.
func (m *memo) put(r store.Record, parsed any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := memoKey{r.Kind, strings.Clone(r.Key)} // it may be a piece of a large request
	if _, ok := m.byID.Get(at); !ok && m.byID.Len() >= memoSize {
		for some := range m.byID.All() {
			m.byID.Delete(some)
			break
		}
	}
	m.byID.Set(at, memoEntry{r.Value, parsed})
}

// Parse reads the JSON of a record of the store, once for the same bytes. What
// it returns shares its slices with later callers: they are not to be written to.
func Parse[T any](l *Ledger, r store.Record) (T, error) {
	if v, ok := l.parsed.get(r).(T); ok {
		return v, nil
	}
	var v T
	if err := decode(r, &v); err != nil {
		return v, err
	}
	l.parsed.put(r, v)
	return v, nil
}

// PutGrant is g.Put. soon: the grant will be read again soon, so it is remembered
// as it is, and is not to be written to any more; else the store need not remember
// it either.
func (l *Ledger) PutGrant(g *Grant, soon bool) store.Op {
	op := g.put()
	op.Unread = !soon
	if soon {
		g.rest()
		l.parsed.put(op.Record, g)
	}
	return op
}

// AddGrant is PutGrant for a grant that is new, whose id is random, and that is read
// soon. What is remembered is a copy.
func (l *Ledger) AddGrant(g Grant) store.Op {
	g.own()
	op := l.PutGrant(&g, true)
	op.Do = store.DoAdd
	return op
}

// rest makes the grant what it is when it is read: times without what only this
// process knows of them. Its Code and Refresh may be those that others read, too.
func (g *Grant) rest() {
	for _, t := range []*time.Time{&g.Created, &g.Expires, &g.TokensUntil, &g.Ended, &g.Subject.AuthTime} {
		*t = wall(*t)
	}
	if g.Code != nil {
		c := *g.Code
		c.Until = wall(c.Until)
		g.Code = &c
	}
	if g.Refresh != nil {
		r := *g.Refresh
		r.Rotated, r.IdleUntil = wall(r.Rotated), wall(r.IdleUntil)
		g.Refresh = &r
	}
}

func wall(t time.Time) time.Time { return t.Round(0).UTC() }

// SawGrant reports whether this process read or wrote the grant a while ago.
// No says nothing.
func (l *Ledger) SawGrant(id string) bool {
	l.parsed.mu.Lock()
	defer l.parsed.mu.Unlock()
	_, ok := l.parsed.byID.Get(memoKey{KindGrant, id})
	return ok
}
