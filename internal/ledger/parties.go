package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"time"

	"doorward/store"
)

// Party is a client that signed somebody in by a session (a relying party of
// OpenID Connect) and is to be told when that ends.
type Party struct {
	// SID is the session as the client's ID token names it, Session the one whose
	// end it is told of: another one once the same person signed in anew.
	SID     string `json:"sid"`
	Session string `json:"session"`
	Person  string `json:"person"`
	Client  string `json:"client"`
	// Due is when the client is to be told next; zero: the session lives. Tries
	// is how often that was begun.
	Due   time.Time `json:"due,omitzero"`
	Tries int       `json:"tries,omitempty"`

	// Expires is when nobody needs the record any more: the session is over by
	// itself, or the client was not to be reached.
	Expires time.Time `json:"-"`
	version uint64
}

// PartyDue is the index name of parties that are to be told.
const PartyDue = "due"

// partyTold is how long the end of a session is of interest to a client that
// cannot be reached.
const partyTold = time.Hour

func (p Party) key() string {
	sum := sha256.Sum256([]byte(p.Client))
	return p.SID + "/" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// Put writes the party: over the version that was read, if it was read.
func (p Party) Put() store.Op {
	r := store.Record{Kind: KindParty, Key: p.key(), Value: encode(p), Expires: p.Expires, Version: p.version,
		Index: []string{"session=" + p.Session, "person=" + p.Person}}
	if !p.Due.IsZero() {
		r.Index = append(r.Index, PartyDue)
	}
	return store.Put(r)
}

// Delete takes the party away.
func (p Party) Delete() store.Op { return store.Delete(KindParty, p.key()) }

// Parties reads those with an index name, which is "session=ID", "person=ID",
// PartyDue or, for all, "".
func (l *Ledger) Parties(ctx context.Context, index string) ([]Party, error) {
	var out []Party
	err := l.each(ctx, store.Query{Kind: KindParty, Index: index, Limit: store.MaxPage}, func(r store.Record) (bool, error) {
		var p Party
		err := decode(r, &p)
		p.Expires, p.version = r.Expires, r.Version
		out = append(out, p)
		return err == nil, err
	})
	return out, err
}

// EndParties lets the parties with an index name be told that it is over.
func (l *Ledger) EndParties(ctx context.Context, index string) error {
	return l.changeParties(ctx, index, func(p *Party) bool {
		if !p.Due.IsZero() {
			return false
		}
		p.Due = l.now()
		p.Expires = p.Due.Add(partyTold)
		return true
	})
}

// FollowSession is for a session that another one replaces. The parties of the
// same person go on with that; those of somebody else are told.
func (l *Ledger) FollowSession(ctx context.Context, old, session, person string, until time.Time) error {
	err := l.changeParties(ctx, "session="+old, func(p *Party) bool {
		if p.Person != person || !p.Due.IsZero() {
			return false
		}
		p.Session, p.Expires = session, until
		return true
	})
	if err != nil {
		return err
	}
	return l.EndParties(ctx, "session="+old)
}

// changeParties writes those that change says it changed.
func (l *Ledger) changeParties(ctx context.Context, index string, change func(*Party) bool) error {
	for {
		parties, err := l.Parties(ctx, index)
		if err != nil {
			return err
		}
		again := false
		for _, p := range parties {
			if !change(&p) {
				continue
			}
			err := l.Store.Commit(ctx, p.Put())
			again = again || errors.Is(err, store.ErrConflict)
			if err != nil && !errors.Is(err, store.ErrConflict) {
				return err
			}
		}
		if !again {
			return nil
		}
	}
}

// EndSession deletes a session, in one commit with more, and lets its parties be
// told: before it, so that none is forgotten if something fails in between, and
// once more after it, as whoever adds one looks for the session after that.
func (l *Ledger) EndSession(ctx context.Context, session string, more ...store.Op) error {
	if err := l.EndParties(ctx, "session="+session); err != nil {
		return err
	}
	if err := l.Store.Commit(ctx, append([]store.Op{store.Delete(KindSession, session)}, more...)...); err != nil {
		return err
	}
	return l.EndParties(ctx, "session="+session)
}
