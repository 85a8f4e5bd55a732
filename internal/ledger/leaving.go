package ledger

import (
	"context"
	"errors"
	"slices"

	"doorward/store"
)

// EndWith does ops, which mark the person's account, and ends everything of
// theirs. The mark and the ends of their grants are one commit, with a note that
// more is to end: after a crash in between FinishLeaving goes on where this
// stopped. store.ErrConflict: an op met a record that somebody else changed, and
// nothing was done.
func (l *Ledger) EndWith(ctx context.Context, person, reason string, ops ...store.Op) (Receipt, error) {
	ops = append(slices.Clone(ops), LeavingOp(person, reason))
	var rec Receipt
	ended, err := l.firstEnds(ctx, person, reason)
	if err != nil {
		return rec, err
	}
	err = l.Store.Commit(ctx, append(ops, ended.ops...)...)
	switch {
	case err == nil:
		rec.Grants = ended.grants
	case errors.Is(err, store.ErrConflict) && len(ended.ops) > 0: // of a grant, perhaps: they end one by one then
		err = l.Store.Commit(ctx, ops...)
	}
	if err != nil {
		return rec, err
	}
	rest, err := l.finish(ctx, person, reason)
	rest.Grants = append(rec.Grants, rest.Grants...)
	return rest, err
}

// ends is the ends of grants, to be committed with more.
type ends struct {
	ops    []store.Op
	grants []EndedGrant
}

// firstEnds ends the first grants of a person, as many as a page has.
func (l *Ledger) firstEnds(ctx context.Context, person, reason string) (ends, error) {
	var out ends
	q, err := Which{Person: person}.query()
	if err != nil {
		return out, err
	}
	recs, _, err := l.Store.List(ctx, q)
	if err != nil {
		return out, err
	}
	for _, r := range recs {
		g, err := l.grantOf(r)
		if err != nil {
			return out, err
		}
		if g.Ended.IsZero() {
			out.ops = append(out.ops, l.endOps(ctx, g, reason)...)
			out.grants = append(out.grants, receiptOf(g))
		}
	}
	return out, nil
}

// finish ends what is left of a person and takes the note away.
func (l *Ledger) finish(ctx context.Context, person, reason string) (Receipt, error) {
	rec, err := l.End(ctx, Which{Person: person}, reason)
	if err != nil {
		return rec, err
	}
	return rec, l.Store.Commit(ctx, store.Delete(KindLeaving, person))
}

// FinishLeaving ends what was to end when a process stopped in the middle of it:
// of one person, or with "" of everybody.
func (l *Ledger) FinishLeaving(ctx context.Context, person string) error {
	if person != "" {
		r, err := l.Store.Get(ctx, KindLeaving, person)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err == nil {
			_, err = l.finish(ctx, person, string(r.Value))
		}
		return err
	}
	for {
		recs, _, err := l.Store.List(ctx, store.Query{Kind: KindLeaving, Limit: 500})
		if err != nil || len(recs) == 0 {
			return err
		}
		for _, r := range recs {
			if _, err := l.finish(ctx, r.Key, string(r.Value)); err != nil {
				return err
			}
		}
	}
}

// LeavingOp notes that everything of a person is to end, for FinishLeaving.
func LeavingOp(person, reason string) store.Op {
	return store.Put(store.Record{Kind: KindLeaving, Key: person, Value: []byte(reason)})
}
