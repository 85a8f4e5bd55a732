package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"doorward/internal/audit"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// The record that counts registrations.
const (
	registrationsKey = "registrations"
	recountInterval  = time.Minute
)

// addClient writes a registration whose id is new.
func (s *Server) addClient(ctx context.Context, st *settings, c ledger.Client) (ledger.Client, error) {
	if err := s.takePlace(ctx, st, c.Approved); err != nil {
		return c, err
	}
	return c, s.commit(ctx, c.Add(), s.registered(c))
}

func (s *Server) registered(c ledger.Client) store.Op {
	return s.ledger.AuditOp(s.event("client.register", audit.Event{Client: c.ID, Detail: c.Name}))
}

// keepClient writes the registration, or finds that it is there already.
func (s *Server) keepClient(ctx context.Context, st *settings, c ledger.Client) (ledger.Client, error) {
	for {
		old, err := s.ledger.Client(ctx, c.ID)
		if err == nil {
			// What an administrator decided about it stays.
			old.Approved = old.Approved || c.Approved
			if old.Known == "" {
				old.Known = c.Known
			}
			if !old.Expires.IsZero() && old.Expires.Before(c.Expires) {
				old.Expires = c.Expires
			}
			err = s.ledger.Store.Commit(ctx, old.Put())
			if errors.Is(err, store.ErrConflict) {
				continue
			}
			return old, err
		}
		if !notFound(err) {
			return c, err
		}
		if err := s.takePlace(ctx, st, c.Approved); err != nil {
			return c, err
		}
		err = s.commit(ctx, c.Put(), s.registered(c))
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		return c, err
	}
}

// tally is how many registrations there are, at most: those that expired, and
// places that were reserved and not used, are found out by counting, at most
// once a minute.
type tally struct {
	N       int       `json:"n"`
	Counted time.Time `json:"counted"`
}

// places are reserved for registrations to come, so that those that come
// together do not wait for each other at one record.
type places struct {
	mu   sync.Mutex
	free map[bool]int // by whether the client is approved
}

// Reserved at a time: of what is left a small part, so that other processes find
// some, too; one by one when few are left.
const (
	placesAtOnce = 256
	placesPart   = 8
	placesFew    = 256
)

// takePlace takes a place for one more registration, or refuses it. In mode
// "limited" those that nobody has approved may fill only half of the places,
// so that strangers cannot keep known clients out.
func (s *Server) takePlace(ctx context.Context, st *settings, approved bool) error {
	total := st.places()
	if st.cfg.Registration.Mode == "limited" && !approved {
		total = (total + 1) / 2
	}
	s.places.mu.Lock()
	defer s.places.mu.Unlock()
	if s.places.free[approved] == 0 {
		n, err := s.reserve(ctx, st, total)
		if err != nil {
			return err
		}
		if s.places.free == nil {
			s.places.free = map[bool]int{}
		}
		s.places.free[approved] = n
	}
	s.places.free[approved]--
	return nil
}

// places is how many registrations there may be.
func (st *settings) places() int {
	if total := st.cfg.Registration.Total; total > 0 {
		return total
	}
	return defaultTotal
}

// reserve counts places in the store and returns how many.
func (s *Server) reserve(ctx context.Context, st *settings, total int) (int, error) {
	for {
		rec, err := s.ledger.Store.Get(ctx, ledger.KindMeta, registrationsKey)
		if err != nil && !notFound(err) {
			return 0, err
		}
		var t tally
		if err == nil {
			if err := json.Unmarshal(rec.Value, &t); err != nil {
				return 0, fmt.Errorf("count of registrations cannot be read: %w", err)
			}
		}
		counted := false
		if now := s.now(); t.N >= total && now.Sub(t.Counted) >= recountInterval {
			if t.N, err = s.recount(ctx, st); err != nil {
				return 0, err
			}
			t.Counted, counted = now, true
		}
		n, full := 1, t.N >= total
		switch {
		case full && !counted:
			return 0, registrationsFull()
		case full: // that it was counted is written down, too
			n = 0
		case total-t.N > placesFew:
			n = min(placesAtOnce, (total-t.N)/placesPart)
		}
		t.N += n
		value, err := json.Marshal(t)
		if err != nil {
			return 0, err
		}
		r := store.Record{Kind: ledger.KindMeta, Key: registrationsKey, Value: value, Version: rec.Version}
		op := store.Put(r)
		if rec.Version == 0 {
			op = store.Create(r)
		}
		err = s.ledger.Store.Commit(ctx, op)
		switch {
		case errors.Is(err, store.ErrConflict):
			continue
		case err == nil && full:
			return 0, registrationsFull()
		}
		return n, err
	}
}

func registrationsFull() error {
	return &oauth.Error{Code: oauth.TemporarilyUnavailable, Reason: "registrations_full",
		Description: "too many clients have registered; unused ones end by themselves, or an administrator can add yours"}
}

func (st *settings) unused() time.Duration {
	if st.cfg.Registration.Unused > 0 {
		return st.cfg.Registration.Unused
	}
	return defaultUnused
}

// keepRegistration lets a registration that a person just used live on: as
// long as what they gave it, and then as long as an unused one. If it cannot be
// written now the next use does it.
func (s *Server) keepRegistration(ctx context.Context, st *settings, c ledger.Client) {
	if c.Source != ledger.FromDynamic || c.Expires.IsZero() {
		return
	}
	until := s.now().Add(st.tokens.RefreshMax + st.unused())
	if until.Sub(c.Expires) < time.Hour {
		return
	}
	c.Expires = until
	if err := s.ledger.Store.Commit(ctx, c.Put()); err != nil && !errors.Is(err, store.ErrConflict) {
		s.log.WarnContext(ctx, "registration was not prolonged", "client", c.ID, "error", err)
	}
}
