package ledger

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"time"

	"doorward/internal/audit"
	"doorward/store"
)

// DefaultAuditKeep is how long events are kept.
const DefaultAuditKeep = 2160 * time.Hour

// AuditOp is the op that writes an event in the commit of what it records.
func (l *Ledger) AuditOp(e audit.Event) store.Op {
	if e.Time.IsZero() {
		e.Time = l.now()
	}
	keep := l.AuditKeep
	if keep == 0 {
		keep = DefaultAuditKeep
	}
	r := store.Record{Kind: KindAudit, Key: eventKey(e.Time), Value: encodeEvent(&e), Expires: e.Time.Add(keep)}
	if e.Ref == "" {
		return store.Log(r)
	}
	r.Index = []string{"ref=" + e.Ref}
	return store.Add(r)
}

// Attempt is the kept refusal with the reference. store.ErrNotFound if there
// is none: it was never kept here, or its time is over.
func (l *Ledger) Attempt(ctx context.Context, ref string) (audit.Event, error) {
	recs, _, err := l.Store.List(ctx, store.Query{Kind: KindAudit, Index: "ref=" + ref, Limit: 1})
	if err == nil && len(recs) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return audit.Event{}, err
	}
	var e audit.Event
	return e, decode(recs[0], &e)
}

// eventKey orders events by time: 8 bytes of nanoseconds and 8 random ones, which
// keep it unlike others and are no secret.
func eventKey(t time.Time) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(t.UnixNano()))
	binary.BigEndian.PutUint64(b[8:], rand.Uint64())
	var text [2 * len(b)]byte
	hex.Encode(text[:], b[:])
	return string(text[:])
}

// AuditSink writes queued events to the store.
func (l *Ledger) AuditSink() audit.Sink { return auditSink{l} }

type auditSink struct{ l *Ledger }

// Write keeps the events in one commit.
func (s auditSink) Write(ctx context.Context, events []audit.Event) error {
	ops := make([]store.Op, len(events))
	for i, e := range events {
		ops[i] = s.l.AuditOp(e)
	}
	return s.l.Store.Commit(ctx, ops...)
}
