package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"doorward/internal/ledger"
	"doorward/store"
)

// Who names the redirect URI of a known client is taken for one, so strangers
// can fill the places of these, too. Therefore, when there is none left, some
// make room that nobody has used.
const (
	roomAtOnce = 256       // that make room, at most once in recountInterval
	roomPerOp  = 64        // in one commit
	unusedAge  = time.Hour // nobody is still on their way to the first use
)

// idle is a registration that nobody has used.
type idle struct {
	id       string
	approved bool // by policy: an administrator's word has no end
	expires  time.Time
}

// recount counts the registrations, and makes room if no place is left.
func (s *Server) recount(ctx context.Context, st *settings) (int, error) {
	n, idles, err := s.countDynamic(ctx, st)
	if err != nil || n < st.places() {
		return n, err
	}
	ended, err := s.makeRoom(ctx, st, idles)
	return n - ended, err
}

// countDynamic counts the registrations and finds those that nobody has used,
// the ones to make room first at the beginning: who waits for an administrator
// waits longest.
func (s *Server) countDynamic(ctx context.Context, st *settings) (n int, idles []idle, err error) {
	for after := ""; ; {
		recs, next, err := s.ledger.Store.List(ctx, store.Query{Kind: ledger.KindClient, Index: "source=" + ledger.FromDynamic, After: after, Limit: 1000})
		if err != nil {
			return 0, nil, err
		}
		for _, r := range recs {
			var c struct {
				Approved bool `json:"approved"`
			}
			if st.unusedUntil(r.Expires, s.now()) && json.Unmarshal(r.Value, &c) == nil {
				idles = append(idles, idle{r.Key, c.Approved, r.Expires})
			}
		}
		if n += len(recs); next == "" {
			break
		}
		after = next
	}
	slices.SortFunc(idles, func(a, b idle) int {
		if a.approved != b.approved {
			if a.approved {
				return -1
			}
			return 1
		}
		return a.expires.Compare(b.expires)
	})
	return n, idles, nil
}

// unusedUntil says whether a registration that ends then was made, or made
// again, some time ago and not used since: use prolongs it (keepRegistration).
func (st *settings) unusedUntil(expires, now time.Time) bool {
	return !expires.IsZero() && expires.Before(now.Add(st.unused()-unusedAge))
}

// makeRoom ends registrations and returns how many. What somebody uses or
// approves meanwhile, or gave anything to, stays.
func (s *Server) makeRoom(ctx context.Context, st *settings, idles []idle) (ended int, err error) {
	for batch := range slices.Chunk(idles[:min(len(idles), roomAtOnce)], roomPerOp) {
		var ops []store.Op
		for _, i := range batch {
			c, err := s.ledger.Client(ctx, i.id)
			if notFound(err) {
				continue
			}
			if err != nil {
				return ended, err
			}
			given, _, err := s.ledger.Grants(ctx, ledger.Which{Client: i.id}, "")
			if err != nil {
				return ended, err
			}
			if len(given) > 0 || !st.unusedUntil(c.Expires, s.now()) {
				continue
			}
			c.Expires = s.now()
			ops = append(ops, c.Put()) // over the version that was read
		}
		if len(ops) == 0 {
			continue
		}
		err := s.ledger.Store.Commit(ctx, ops...)
		switch {
		case err == nil:
			ended += len(ops)
		case !errors.Is(err, store.ErrConflict): // then some are in use: they stay
			return ended, err
		}
	}
	if ended > 0 {
		s.log.WarnContext(ctx, "all places for registrations were taken: some that nobody had used have ended", "ended", ended)
	}
	return ended, nil
}
