package login

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"doorward/internal/ledger"
	"doorward/store"
)

// Of is the person's sessions that live, the youngest first; at most 1000.
func (s *Sessions) Of(ctx context.Context, person string) ([]Session, error) {
	recs, _, err := s.ledger.Store.List(ctx, store.Query{Kind: ledger.KindSession, Index: "person=" + person, Limit: store.MaxPage})
	if err != nil {
		return nil, err
	}
	var out []Session
	for _, rec := range recs {
		var v record
		if err := json.Unmarshal(rec.Value, &v); err != nil {
			return nil, fmt.Errorf("login: a session of %s cannot be read: %w", person, err)
		}
		if s.now().Before(rec.Expires) {
			out = append(out, Session{ID: rec.Key, Subject: v.Subject, Created: v.Created})
		}
	}
	slices.SortStableFunc(out, func(a, b Session) int { return b.Created.Compare(a.Created) })
	return out, nil
}

// EndOf ends the session with that id if it is the person's; if it is not, or
// is over, nothing happens. It reports whether it ended one.
func (s *Sessions) EndOf(ctx context.Context, person, id string) (bool, error) {
	if id == "" || len(id) > 64 {
		return false, nil
	}
	rec, err := s.ledger.Store.Get(ctx, ledger.KindSession, id)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !slices.Contains(rec.Index, "person="+person) {
		return false, nil
	}
	return true, s.ledger.EndSession(ctx, id)
}
