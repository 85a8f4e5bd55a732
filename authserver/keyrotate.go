package authserver

import (
	"context"
	"errors"
	"slices"
	"time"

	"doorward/internal/audit"
	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/store"
)

// keyLead is how long a new key is published before it signs, so that whoever
// checks tokens elsewhere has it by then: 10 minutes that guards keep a key set
// (keyset.Config.TTL; most libraries keep it as long or shorter), 5 minutes that
// a cache between may keep the document (its max-age), and 5 minutes for a fetch
// that fails, and for clocks of several processes that differ.
const keyLead = 20 * time.Minute

// signer is a key that signs from then on, until a later one does.
type signer struct {
	key  *jose.Key
	from time.Time
}

// signingKey is the key that signs now. It follows from the stored times alone,
// so that all processes on the store agree and nothing has to happen at the
// moment of the change.
func (s *Server) signingKey() *jose.Key { return s.ring.Load().at(s.now()) }

func (r *keyring) at(now time.Time) *jose.Key {
	for _, k := range r.signers {
		if !now.Before(k.from) {
			return k.key
		}
	}
	return r.signers[len(r.signers)-1].key // the clock went back
}

// from is when the key begins to sign.
func (k keyRecord) from() time.Time {
	if k.Signs.IsZero() {
		return k.Created
	}
	return k.Signs
}

// alg is what the key signs with.
func (k keyRecord) alg() string {
	if k.Alg == "" { // of a version that knew no other
		return jose.ES256
	}
	return k.Alg
}

// RotateKey publishes a new signing key, which signs in 20 minutes; until then
// the current one does, which stays published until everything that it signed
// has expired. If a new key is published already, it is that one.
func (s *Server) RotateKey(ctx context.Context) (oldID, newID string, err error) {
	return s.rotate(ctx, s.current(), 0)
}

// rotate publishes the next key if the last one is at least minAge old and no
// next one waits; else newID is that one, or "".
func (s *Server) rotate(ctx context.Context, st *settings, minAge time.Duration) (oldID, newID string, err error) {
	for {
		stored, err := s.storedKeys(ctx)
		if err != nil {
			return "", "", err
		}
		if len(stored) == 0 {
			return "", "", errNoKey
		}
		last, now := stored[0], s.now()
		same := last.alg() == st.tokens.Alg
		switch waiting := now.Before(last.from()); {
		case same && waiting && minAge == 0:
			err := s.loadKeys(ctx)
			return s.signingKey().ID(), last.id, err
		case same && now.Sub(last.from()) < minAge:
			return last.id, "", nil
		}
		key, ops, err := s.newKey(st, now.Add(keyLead))
		if err != nil {
			return "", "", err
		}
		last.Retired = now.Add(keyLead)
		r, err := last.put()
		if err != nil {
			return "", "", err
		}
		ops = append(ops, r, s.ledger.AuditOp(s.event("key.rotate",
			audit.Event{Detail: "signing key " + last.id + " will be replaced by " + key.ID() + " at " + last.Retired.UTC().Format(time.RFC3339)})))
		err = s.ledger.Store.Commit(ctx, ops...)
		if errors.Is(err, store.ErrConflict) {
			continue // another process was faster
		}
		if err != nil {
			return "", "", err
		}
		return last.id, key.ID(), s.loadKeys(ctx)
	}
}

// ReplaceKey makes a new signing key that signs at once, and withdraws all
// others, for when one of them may be in wrong hands: tokens that they signed
// count no more at whoever reads the key set again. Refresh tokens stay.
func (s *Server) ReplaceKey(ctx context.Context) (newID string, err error) {
	for {
		stored, err := s.storedKeys(ctx)
		if err != nil {
			return "", err
		}
		key, ops, err := s.newKey(s.current(), time.Time{})
		if err != nil {
			return "", err
		}
		for _, k := range stored {
			// With its version, which a deletion would not look at: of two processes that
			// do this at once, one has to do it again.
			ops = append(ops, store.Put(store.Record{Kind: ledger.KindKey, Key: k.id, Value: []byte("{}"), Version: k.version, Expires: s.now().Add(-time.Second)}))
		}
		ops = append(ops, s.ledger.AuditOp(s.event("key.rotate", audit.Event{Detail: "signing key " + key.ID() + " signs, and all others are withdrawn"})))
		err = s.ledger.Store.Commit(ctx, ops...)
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err != nil {
			return "", err
		}
		return key.ID(), s.loadKeys(ctx)
	}
}

// put writes a key that was read, if nobody wrote it since.
func (k storedKey) put() (store.Op, error) {
	r, err := k.record(k.id)
	r.Version = k.version
	return store.Put(r), err
}

// signWith has the next key sign with the algorithm that the settings want.
func (s *Server) signWith(ctx context.Context, st *settings) error {
	if s.ring.Load().signers[0].key.Alg() == st.tokens.Alg {
		return nil
	}
	_, _, err := s.rotate(ctx, st, 0)
	return err
}

// keepLongest notes with the keys that sign, now or next, how long their tokens
// live, so that they stay published long enough even if lifetimes are shortened
// afterwards.
func (s *Server) keepLongest(ctx context.Context, longest time.Duration) error {
	for {
		stored, err := s.storedKeys(ctx)
		if err != nil {
			return err
		}
		stored = slices.DeleteFunc(stored, func(k storedKey) bool {
			return k.Longest >= longest || !k.Retired.IsZero() && !s.now().Before(k.Retired)
		})
		var ops []store.Op
		for _, k := range stored {
			k.Longest = longest
			op, err := k.put()
			if err != nil {
				return err
			}
			ops = append(ops, op)
		}
		if len(ops) == 0 {
			return nil
		}
		err = s.ledger.Store.Commit(ctx, ops...)
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

func (s *Server) rotateByAge(ctx context.Context) error {
	age := s.current().cfg.KeyRotation
	if age <= 0 {
		age = defaultRotation
	}
	if _, _, err := s.rotate(ctx, s.current(), age); err != nil {
		return err
	}
	return s.loadKeys(ctx) // drops retired keys whose time is over
}
