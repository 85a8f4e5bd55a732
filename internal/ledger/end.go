package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"doorward/store"
)

// Which says whose things end. Exactly one field is set; Session narrows Person.
type Which struct {
	Person   string // account id
	Session  string // public id of a session: only the grants that came of it
	Client   string // client id
	Resource string // resource identifier of a guarded server
	Issuer   string // issuer of assertions
	Grant    string // grant id
	All      bool
}

// Receipt is what ended.
type Receipt struct {
	Grants   []EndedGrant `json:"grants"`
	Sessions int          `json:"sessions"`
	Consents int          `json:"consents"`

	// Noted reports whether the ops that End was given are done.
	Noted bool `json:"-"`
}

// Nothing reports whether nothing ended.
func (r Receipt) Nothing() bool { return len(r.Grants)+r.Sessions+r.Consents == 0 }

// EndedGrant is one grant of a receipt.
type EndedGrant struct {
	ID       string    `json:"id"`
	Person   string    `json:"person,omitempty"`
	Client   string    `json:"client"`
	Resource string    `json:"resource"`
	Scope    string    `json:"scope,omitempty"`
	Since    time.Time `json:"since"`
}

func (w Which) query() (store.Query, error) {
	q := store.Query{Kind: KindGrant, Limit: 500}
	switch {
	case w.Session != "" && w.Person == "":
		return q, errors.New("ledger: a session is named without its person")
	case w.All:
	case w.Person != "":
		q.Index = "person=" + w.Person
	case w.Client != "":
		q.Index = "client=" + w.Client
	case w.Resource != "":
		q.Index = "resource=" + w.Resource
	case w.Issuer != "":
		q.Index = "issuer=" + w.Issuer
	default:
		return q, errors.New("ledger: nothing named to end")
	}
	return q, nil
}

// along are ops that go with the first commit that ends something.
type along struct{ ops []store.Op }

func (a *along) commit(ctx context.Context, s store.Store, ops ...store.Op) error {
	err := s.Commit(ctx, append(ops, a.ops...)...)
	if err == nil {
		a.ops = nil
	}
	return err
}

// End ends grants, and with a person, a client or all also the sign-in
// sessions and remembered consents. Every process on the store refuses the
// grants' tokens from its next request on (within a second elsewhere). ops, which
// must not be able to conflict (events), are in the first commit that ends
// something; if nothing ends they are not done, and the receipt says so.
func (l *Ledger) End(ctx context.Context, w Which, reason string, ops ...store.Op) (rec Receipt, err error) {
	with := &along{ops}
	defer func() { rec.Noted = len(ops) > 0 && len(with.ops) == 0 }()
	if w.Grant != "" {
		ended, err := l.endOne(ctx, w.Grant, reason, with)
		if ended != nil {
			rec.Grants = append(rec.Grants, *ended)
		}
		return rec, err
	}
	q, err := w.query()
	if err != nil {
		return rec, err
	}
	// What lets new grants be made goes first: one that it lets through before is
	// in the list of those that end.
	if w.Resource != "" {
		if err := with.commit(ctx, l.Store, l.cutOp(w.Resource)); err != nil { // it ends codes
			return rec, err
		}
	}
	whole := w.Session == "" && (w.Person != "" || w.Client != "" || w.All)
	if whole {
		if err := l.endSources(ctx, w, q.Index, &rec, with); err != nil {
			return rec, err
		}
	}
	if err := l.endGrants(ctx, q, w.Session, reason, &rec, with); err != nil || !whole {
		return rec, err
	}
	_, err = l.deleteAll(ctx, KindUpstream, q.Index, &along{}) // grants that end take theirs along, to be revoked there
	return rec, err
}

// endSources ends the sessions and consents of a person, a client or all.
func (l *Ledger) endSources(ctx context.Context, w Which, index string, rec *Receipt, with *along) (err error) {
	if rec.Sessions, err = l.deleteAll(ctx, KindSession, index, with); err != nil {
		return err
	}
	if w.Client == "" { // whose people stay signed in
		if err = l.EndParties(ctx, index); err != nil {
			return err
		}
	}
	rec.Consents, err = l.deleteAll(ctx, KindConsent, index, with)
	return err
}

// cutLife is longer than any code lives.
const cutLife = 10 * time.Minute

// cutOp notes that everything at a server ends now: its people stay signed in and
// their consents stand, so a code that stands on both must be told by its time.
func (l *Ledger) cutOp(resource string) store.Op {
	now := l.now()
	return store.Put(store.Record{Kind: KindCut, Key: resource, Expires: now.Add(cutLife), Value: strconv.AppendInt(nil, now.UnixMilli(), 10)})
}

// CutSince reports whether everything at a server was ended since a code was
// made, with the op that lets a commit through only as long as that is so.
func (l *Ledger) CutSince(ctx context.Context, resource string, made time.Time) (bool, store.Op, error) {
	r, err := l.Store.Get(ctx, KindCut, resource)
	if errors.Is(err, store.ErrNotFound) {
		return false, store.Same(KindCut, resource, 0), nil
	}
	if err != nil {
		return false, store.Op{}, err
	}
	at, err := strconv.ParseInt(string(r.Value), 10, 64)
	return err != nil || made.UnixMilli() <= at, store.Same(KindCut, resource, r.Version), nil // what cannot be read counts as the end
}

func (l *Ledger) endGrants(ctx context.Context, q store.Query, session, reason string, rec *Receipt, with *along) error {
	for {
		recs, next, err := l.Store.List(ctx, q)
		if err != nil {
			return err
		}
		if err := l.endPage(ctx, recs, session, reason, rec, with); err != nil {
			return err
		}
		if next == "" {
			return nil
		}
		q.After = next
	}
}

// endPage ends a page in one commit; if one of its grants changed meanwhile
// (a refresh at this moment) they are ended one by one. session "": of any.
func (l *Ledger) endPage(ctx context.Context, recs []store.Record, session, reason string, rec *Receipt, with *along) error {
	var ops []store.Op
	var ended []EndedGrant
	for _, r := range recs {
		g, err := l.grantOf(r)
		if err != nil {
			return err
		}
		if g.Ended.IsZero() && (session == "" || g.Subject.Session == session) {
			ops = append(ops, l.endOps(ctx, g, reason)...)
			ended = append(ended, receiptOf(g))
		}
	}
	if len(ops) == 0 {
		return nil
	}
	err := with.commit(ctx, l.Store, ops...)
	if err == nil {
		rec.Grants = append(rec.Grants, ended...)
		return nil
	}
	if !errors.Is(err, store.ErrConflict) {
		return err
	}
	for _, e := range ended {
		one, err := l.endOne(ctx, e.ID, reason, with)
		if err != nil {
			return err
		}
		if one != nil {
			rec.Grants = append(rec.Grants, *one)
		}
	}
	return nil
}

// endOne ends one grant; nil if it is not there or had ended.
func (l *Ledger) endOne(ctx context.Context, id, reason string, with *along) (*EndedGrant, error) {
	for {
		g, err := l.Grant(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if !g.Ended.IsZero() {
			return nil, nil
		}
		err = with.commit(ctx, l.Store, l.endOps(ctx, g, reason)...)
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err != nil {
			return nil, err
		}
		e := receiptOf(g)
		return &e, nil
	}
}

// RevokeWithin is how long a separate server may be away for its tokens to be
// revoked there all the same.
const RevokeWithin = 24 * time.Hour

func (l *Ledger) endOps(ctx context.Context, g Grant, reason string) []store.Op {
	now := l.now()
	g.Ended, g.EndReason, g.Refresh = now, reason, nil
	ops := []store.Op{g.Put()}
	if g.Upstream {
		// That they cannot be read must not keep the grant from ending.
		if r, err := l.Store.Get(ctx, KindUpstream, g.ID); err == nil {
			ops = append(ops, store.Put(r)) // still these: else those of a renewal at this moment would be forgotten and live on
			ops = append(ops, store.Put(store.Record{Kind: KindRevoke, Key: g.ID, Value: r.Value, Expires: now.Add(RevokeWithin)}))
		}
		ops = append(ops, store.Delete(KindUpstream, g.ID))
	}
	if now.Before(g.TokensUntil) {
		ops = append(ops, store.Put(store.Record{Kind: KindEnded, Key: g.ID, Expires: g.TokensUntil}))
	}
	return ops
}

func receiptOf(g Grant) EndedGrant {
	return EndedGrant{ID: g.ID, Person: g.Subject.ID, Client: g.Client, Resource: g.Resource,
		Scope: g.Scopes.String(), Since: g.Created}
}

func (l *Ledger) deleteAll(ctx context.Context, kind store.Kind, index string, with *along) (int, error) {
	n := 0
	for {
		recs, _, err := l.Store.List(ctx, store.Query{Kind: kind, Index: index, Limit: 500})
		if err != nil || len(recs) == 0 {
			return n, err
		}
		ops := make([]store.Op, len(recs))
		for i, r := range recs {
			ops[i] = store.Delete(kind, r.Key)
		}
		if err := with.commit(ctx, l.Store, ops...); err != nil {
			return n, err
		}
		n += len(recs)
	}
}

// Leave marks the person's account as left and ends everything of theirs, in one
// commit as EndWith does, in which ops are, too. A person who never came gets an account that is marked.
func (l *Ledger) Leave(ctx context.Context, person string, ops ...store.Op) (Receipt, error) {
	for {
		a, err := l.Account(ctx, person)
		if errors.Is(err, store.ErrNotFound) {
			a, err = Account{ID: person, Created: l.now()}, nil
			if p, acc, ok := strings.Cut(person, "/"); ok {
				a.Provider, a.Account = p, acc
			}
		}
		if err != nil {
			return Receipt{}, err
		}
		if !a.Left.IsZero() {
			rec, err := l.End(ctx, Which{Person: person}, "leave")
			if err == nil && len(ops) > 0 {
				err = l.Store.Commit(ctx, ops...)
			}
			return rec, err
		}
		a.Left = l.now()
		rec, err := l.EndWith(ctx, person, "leave", append(slices.Clone(ops), a.Put())...)
		if !errors.Is(err, store.ErrConflict) {
			return rec, err
		}
	}
}

// Return lets a person who left come back, with ops in the same commit. What
// ended stays ended.
func (l *Ledger) Return(ctx context.Context, person string, ops ...store.Op) error {
	a, err := l.Account(ctx, person)
	if err != nil {
		return err
	}
	a.Left = time.Time{}
	return l.Store.Commit(ctx, append(slices.Clone(ops), a.Put())...)
}

// FindPerson resolves what an administrator typed: an account id, or the
// account's name or e-mail address at any provider if that is one person. found
// are those of that name who are known elsewhere.
func (l *Ledger) FindPerson(ctx context.Context, typed string, found ...string) (string, error) {
	if _, err := l.Account(ctx, typed); err == nil {
		return typed, nil
	} else if !errors.Is(err, store.ErrNotFound) {
		return "", err
	}
	for after := ""; ; {
		page, next, err := l.Accounts(ctx, after)
		if err != nil {
			return "", err
		}
		for _, a := range page {
			if a.Account == typed || strings.EqualFold(a.Email, typed) && a.Email != "" {
				found = append(found, a.ID)
			}
		}
		if after = next; after == "" {
			break
		}
	}
	slices.Sort(found)
	switch found = slices.Compact(found); len(found) {
	case 0:
		return "", fmt.Errorf("%q: %w", typed, store.ErrNotFound)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%q is several people: %s; name one of them", typed, strings.Join(found, ", "))
}

// Ended is the grants that ended while tokens that name them may still live,
// in memory: told at once by this process, within a second by others.
type Ended struct {
	now  func() time.Time
	mu   sync.Mutex
	till map[string]time.Time
	subs map[string]map[int]func()
	next int
}

// WatchEnded starts the set and keeps it until ctx ends.
func (l *Ledger) WatchEnded(ctx context.Context) (*Ended, error) {
	e := &Ended{now: l.now, till: map[string]time.Time{}, subs: map[string]map[int]func(){}}
	if err := l.Store.Watch(ctx, KindEnded, e.add); err != nil {
		return nil, err
	}
	for after := ""; ; {
		recs, next, err := l.Store.List(ctx, store.Query{Kind: KindEnded, After: after, Limit: 1000})
		if err != nil {
			return nil, err
		}
		for _, r := range recs {
			e.add(r)
		}
		if after = next; after == "" {
			return e, nil
		}
	}
}

func (e *Ended) add(r store.Record) {
	e.mu.Lock()
	if len(e.till) >= 1024 && len(e.till)&(len(e.till)-1) == 0 { // at powers of two: amortised
		now := e.now()
		for id, till := range e.till {
			if now.After(till) {
				delete(e.till, id)
			}
		}
	}
	e.till[r.Key] = r.Expires
	subs := e.subs[r.Key]
	delete(e.subs, r.Key)
	e.mu.Unlock()
	for _, fn := range subs {
		fn()
	}
}

// Has reports whether the grant ended.
func (e *Ended) Has(grant string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, ok := e.till[grant]
	return ok
}

// Len is how many there are.
func (e *Ended) Len() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.till)
}

// OnEnd calls fn once when the grant ends, at once if it has; cancel forgets
// it.
func (e *Ended) OnEnd(grant string, fn func()) (cancel func()) {
	e.mu.Lock()
	if _, ok := e.till[grant]; ok {
		e.mu.Unlock()
		fn()
		return func() {}
	}
	e.next++
	id := e.next
	if e.subs[grant] == nil {
		e.subs[grant] = map[int]func(){}
	}
	e.subs[grant][id] = fn
	e.mu.Unlock()
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.subs[grant], id)
		if len(e.subs[grant]) == 0 {
			delete(e.subs, grant)
		}
	}
}
