package authserver

import (
	"bytes"
	"context"
	"errors"

	"doorward/internal/ledger"
	"doorward/store"
)

// commit commits ops, the first of which writes a record that no other request
// writes with the same value. When the store's answer is lost, which is an error
// that is none of its refusals, the record says whether the commit was done: it
// is all or nothing. A code whose redemption was done is then not spent in vain.
func (s *Server) commit(ctx context.Context, ops ...store.Op) error {
	err := s.ledger.Store.Commit(ctx, ops...)
	if err == nil || refusedByStore(err) {
		return err
	}
	r := ops[0].Record
	if got, getErr := s.ledger.Store.Get(ctx, r.Kind, r.Key); getErr != nil || !bytes.Equal(got.Value, r.Value) {
		return err
	}
	s.log.WarnContext(ctx, "a commit was done, and its answer lost", "kind", string(r.Kind), "error", err)
	return nil
}

func refusedByStore(err error) bool {
	for _, known := range []error{store.ErrConflict, store.ErrTaken, store.ErrSeen, store.ErrNotFound, store.ErrNewer, store.ErrClosed} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// checkAgain is CheckPerson after a grant was made: the client has something to
// lose now, so a store that hesitates is asked once more.
func (s *Server) checkAgain(ctx context.Context, person string) error {
	err := s.ledger.CheckPerson(ctx, person)
	if err != nil && !errors.Is(err, ledger.ErrLeft) {
		err = s.ledger.CheckPerson(ctx, person)
	}
	return err
}
