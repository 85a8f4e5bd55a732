package ledger

import (
	"context"
	"slices"

	"doorward/internal/audit"
	"doorward/store"
)

// Grants is a page of the grants that w names, ended ones too, and where the
// next page begins ("" at the end).
func (l *Ledger) Grants(ctx context.Context, w Which, after string) ([]Grant, string, error) {
	q, err := w.query()
	if err != nil {
		return nil, "", err
	}
	q.After = after
	recs, next, err := l.Store.List(ctx, q)
	if err != nil {
		return nil, "", err
	}
	grants := make([]Grant, 0, len(recs))
	for _, r := range recs {
		g, err := l.grantOf(r)
		if err != nil {
			return nil, "", err
		}
		grants = append(grants, g)
	}
	return grants, next, nil
}

// Events is a page of the audit, in the order of the store and within it by time, and
// where the next page begins ("" at the end). Events that were queued come some
// moments after those of their time.
func (l *Ledger) Events(ctx context.Context, after string) ([]audit.Event, string, error) {
	recs, next, err := l.Store.List(ctx, store.Query{Kind: KindAudit, After: after, Limit: 1000})
	if err != nil {
		return nil, "", err
	}
	events := make([]audit.Event, len(recs))
	for i, r := range recs {
		if err := decode(r, &events[i]); err != nil {
			return nil, "", err
		}
	}
	slices.SortStableFunc(events, func(a, b audit.Event) int { return a.Time.Compare(b.Time) })
	return events, next, nil
}
