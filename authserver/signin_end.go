package authserver

import (
	"context"
	"errors"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// endSignIn ends a session, the grants that came of it and what is kept of its
// provider, and adds them to the receipt. The last word says first that it is
// over and goes last: whoever makes a grant meanwhile sees one or the other
// (endIfOver), and if something fails in between it is found again.
func (s *Server) endSignIn(ctx context.Context, who oauth.Subject, reason string, done *ledger.Receipt) error {
	lived, err := s.sessions.Alive(ctx, who.Session)
	if err == nil {
		err = s.markOver(ctx, who.Session)
	}
	if err != nil {
		return err
	}
	if lived {
		done.Sessions++
	}
	got, err := s.ledger.End(ctx, ledger.Which{Person: who.ID, Session: who.Session}, reason)
	done.Grants = append(done.Grants, got.Grants...)
	if err != nil {
		return err
	}
	return s.ledger.Store.Commit(ctx, store.Delete(ledger.KindUpstream, who.Session))
}

// markOver deletes a session and notes that what its provider said is over.
func (s *Server) markOver(ctx context.Context, session string) error {
	for {
		w, err := s.wordOf(ctx, session)
		if notFound(err) {
			return s.ledger.EndSession(ctx, session)
		}
		if err != nil {
			return err
		}
		w.Over = true
		err = s.ledger.EndSession(ctx, session, s.wordOp(session, w))
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

// everyOf calls fn for every record of an index.
func (s *Server) everyOf(ctx context.Context, kind store.Kind, index string, fn func(store.Record) error) error {
	for after := ""; ; {
		recs, next, err := s.ledger.Store.List(ctx, store.Query{Kind: kind, Index: index, After: after, Limit: store.MaxPage})
		if err != nil {
			return err
		}
		for _, rec := range recs {
			if err := fn(rec); err != nil {
				return err
			}
		}
		if after = next; after == "" {
			return nil
		}
	}
}

// endIfOver is endIfLeft for the sign-in at a provider that the grant came of.
func (s *Server) endIfOver(ctx context.Context, g *oauth.Grant) error {
	p := s.current().provider(g.Subject.Provider)
	if p == nil || g.Subject.Session == "" {
		return nil
	}
	w, err := s.wordOf(ctx, g.Subject.Session)
	if err != nil && !notFound(err) || err == nil && !w.Over {
		return err
	}
	if _, err := s.ledger.End(ctx, ledger.Which{Grant: g.ID}, p.Name+" said that the sign-in is over"); err != nil {
		return err
	}
	return &oauth.Error{Code: oauth.AccessDenied, Reason: "provider_over", Description: "the sign-in behind this is over", Err: errGone}
}
