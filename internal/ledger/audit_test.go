package ledger_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"doorward/internal/audit"
	"doorward/internal/ledger"
	"doorward/store"
)

// An event with a text that no store takes does not keep those behind it from
// being written.
// covers: X-HTTP-06
func TestAnEventIsNeverTooLarge(t *testing.T) {
	l := open(t)
	log := audit.New(func(err error) { t.Error(err) }, l.AuditSink())
	long := strings.Repeat("<\u202e", store.MaxValue)
	log.Add(audit.Event{Action: "tool.call", Tool: long, Person: long, Client: long, Resource: long, Scope: long, Detail: long, Rule: long, Address: long})
	log.Add(audit.Event{Action: "tool.call", Tool: "next"})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := log.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	recs, _, err := l.Store.List(ctx, store.Query{Kind: ledger.KindAudit, Limit: 10})
	if err != nil || len(recs) != 2 {
		t.Errorf("%d events were written: %v", len(recs), err)
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
}
