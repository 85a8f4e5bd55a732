package doorward

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// place is where a person's tokens for one origin are kept. Tokens of two
// people never lie in one place.
type place struct {
	origin origin
	person string
}

// quietPatience is how long a renewal that nobody asked for waits for its turn.
const quietPatience = 5 * time.Second

// errBusy is the end of that wait.
var errBusy = errors.New("somebody is signing in")

// earlyTimeout is how long a renewal may take that nobody waits for.
const earlyTimeout = time.Minute

// maxShelf bounds the resources of one origin.
const maxShelf = 64

// shelf holds the grants of one place.
type shelf struct {
	mu     sync.Mutex
	grants []*grant
}

// grant is what one person has at one resource, from one issuer.
type grant struct {
	covers, issuer string        // of its target; they never change
	turn           chan struct{} // one token request at a time (C-TOK-05)

	mu     sync.Mutex
	asked  address // the last that somebody wanted to know of whether it is covered
	within bool    // the answer
	target target
	held   held
	stored stamp     // what the TokenStore had last, as far as this process knows
	signed string    // who signed in, by the access tokens; "": they do not say
	pause  time.Time // no renewal before this time: the last one failed
	tries  map[string]tries
	gone   bool // forgotten: what is still brought is not kept
	early  bool // a renewal that nobody waits for is under way

	unsaved int       // how often what is held could not be saved; 0: it is saved
	saveAt  time.Time // when that is tried again
}

// held is a token, and what it takes to get the next one.
type held struct {
	access  string
	header  []string     // the values of Authorization that it is sent as; never changed
	key     *jose.Key    // that the token is bound to; nil: it is a bearer token
	scopes  oauth.Scopes // all that were asked for so far
	refresh string
	client  registration
	made    time.Time
	expires time.Time // zero: not known
}

// aging reports whether a token should be renewed while it is still used:
// an eighth of its life before its end, 5 minutes at most, and up to a fifth of
// that later, so that what began together is not renewed together.
func (h held) aging(now time.Time) bool {
	if h.expires.IsZero() {
		return false
	}
	early := min(5*time.Minute, h.expires.Sub(h.made)/8)
	early -= early / 5 * time.Duration(h.made.Nanosecond()/1000%1000) / 1000
	return !now.Before(h.expires.Add(-early))
}

// due reports whether a request waits for the renewal: 30 seconds before the
// end, or a tenth of the life if that is less.
func (h held) due(now time.Time) bool {
	if h.expires.IsZero() {
		return false
	}
	early := min(30*time.Second, h.expires.Sub(h.made)/10)
	return !now.Before(h.expires.Add(-early))
}

func (h held) over(now time.Time) bool { return !h.expires.IsZero() && !now.Before(h.expires) }

func (h held) oauth2() *oauth2.Token {
	return &oauth2.Token{AccessToken: h.access, TokenType: tokenType(h.key), Expiry: h.expires}
}

// meets reports whether the token is an answer to the need.
func (h held) meets(n need) bool {
	if h.access == "" || h.access == n.rejected || n.bound && h.key == nil {
		return false
	}
	scopes, err := oauth.ParseScope(n.scope)
	return !n.wider || err == nil && h.scopes.HasAll(scopes)
}

func (g *grant) now() held {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held
}

func (g *grant) at() target {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.target
}

// ready is the token to send to a server: the zero value if there is none yet.
// One that ends soon is renewed first, as far as that needs no person.
func (t *Transport) ready(ctx context.Context, server address, who Subject) (held, error) {
	g, h := t.find(server, who.Person)
	if g == nil && t.Store != nil {
		if err := t.restore(ctx, server, who.Person); err != nil {
			return held{}, err
		}
		g, h = t.find(server, who.Person)
	}
	if g == nil {
		return held{}, nil
	}
	now := t.now()
	if t.Store != nil && g.saves(now) {
		t.saveLater(ctx, g, who.Person)
	}
	switch {
	case !h.aging(now), !h.over(now) && g.pausing(now):
		return h, nil
	case !h.due(now):
		t.renewEarly(ctx, g, h, server, who)
		return h, nil
	}
	token, err := t.renew(ctx, g, h, server, who)
	switch {
	case err == nil:
		return token, nil
	case ctx.Err() != nil:
		return held{}, givenUp(server, ctx.Err())
	case !h.over(now):
		return h, nil
	}
	// The next request starts from a challenge: the issuer may have changed.
	g.drop(h.access)
	if errors.Is(err, errQuiet) || errors.Is(err, errBusy) {
		return held{}, nil
	}
	return held{}, err
}

// renew gets the next token without a person, by one attempt for all who want
// it. After a failure it is not tried again at once.
func (t *Transport) renew(ctx context.Context, g *grant, h held, server address, who Subject) (held, error) {
	n := need{server: server, rejected: h.access, quiet: true}
	token, err := t.state.flights.do(ctx, errand{n, who.Person}, func(ctx context.Context) (held, error) {
		return t.obtain(ctx, g, g.at(), n, who)
	})
	switch {
	case err == nil || ctx.Err() != nil:
	case errors.Is(err, errQuiet):
		g.rest(h.expires)
	default:
		g.rest(t.now().Add(5 * time.Second))
	}
	return token, err
}

// renewEarly renews while the token that is held is used on: the request that
// noticed does not wait, and its end does not end the renewal.
func (t *Transport) renewEarly(ctx context.Context, g *grant, h held, server address, who Subject) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.early {
		return
	}
	g.early = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), earlyTimeout)
	go func() {
		defer cancel()
		_, _ = t.renew(ctx, g, h, server, who) // obtain logs why not
		g.mu.Lock()
		defer g.mu.Unlock()
		g.early = false
	}()
}

// held is the living token for a server.
func (t *Transport) held(server address, person string) (held, bool) {
	g, h := t.find(server, person)
	return h, g != nil && !h.over(t.now())
}

// find returns the grant with a token whose resource covers the server most
// closely; of two issuers', the newer.
func (t *Transport) find(server address, person string) (*grant, held) {
	var best *grant
	var bestHeld held
	s, ok := t.state.shelves.get(t.now(), placeOf(server, person))
	if !ok {
		return nil, held{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.grants {
		if !g.covering(server) {
			continue
		}
		h := g.now()
		if h.access == "" {
			continue
		}
		if best == nil || len(g.covers) > len(best.covers) ||
			len(g.covers) == len(best.covers) && h.made.After(bestHeld.made) {
			best, bestHeld = g, h
		}
	}
	return best, bestHeld
}

// grants are those that cover a server (C-TOK-02), with or without a token.
func (t *Transport) grants(server address, person string) []*grant {
	s, ok := t.state.shelves.get(t.now(), placeOf(server, person))
	if !ok {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*grant
	for _, g := range s.grants {
		if g.covering(server) {
			all = append(all, g)
		}
	}
	return all
}

// covering reports whether the grant's resource covers an address. Most
// programs call one address of a server again and again: its answer is kept.
func (g *grant) covering(server address) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.asked != server {
		g.asked, g.within = server, oauth.ResourceCovers(g.covers, server.whole())
	}
	return g.within && !g.gone
}

// satisfy gets a token that meets the need: one that somebody else got in the
// meantime, or a new one, by one attempt for all who have the same need.
func (t *Transport) satisfy(ctx context.Context, n need, who Subject) (held, error) {
	for _, g := range t.grants(n.server, who.Person) {
		if !g.patient(t.now(), n) {
			return held{}, errGiveUp
		}
		if !n.wider && !n.demand.login && n.rejected != "" {
			g.drop(n.rejected)
		}
	}
	if h, ok := t.held(n.server, who.Person); ok && h.meets(n) {
		return h, nil
	}
	h, err := t.state.flights.do(ctx, errand{n, who.Person}, func(ctx context.Context) (held, error) {
		at, err := t.discover(ctx, n)
		if err != nil {
			return held{}, err
		}
		return t.obtain(ctx, t.grantFor(at, n.server, who.Person), at, n, who)
	})
	if err != nil && ctx.Err() != nil {
		err = givenUp(n.server, ctx.Err())
	}
	return h, err
}

// obtain runs the Flow for a grant, unless a run before this one brought what
// is needed.
func (t *Transport) obtain(ctx context.Context, g *grant, at target, n need, who Subject) (held, error) {
	turn := ctx
	if n.quiet { // the token is good for a while: nobody waits until a person has signed in
		var cancel context.CancelFunc
		turn, cancel = context.WithTimeout(ctx, quietPatience)
		defer cancel()
	}
	select {
	case g.turn <- struct{}{}:
		defer func() { <-g.turn }()
	case <-turn.Done():
		return held{}, cmp.Or(ctx.Err(), errBusy)
	}
	unlock, err := t.alone(turn, g, at, who.Person)
	if turn.Err() != nil && ctx.Err() == nil && err != nil {
		err = errBusy
	}
	if err != nil {
		return held{}, err
	}
	defer unlock()
	h := g.now()
	if h.meets(n) && !h.due(t.now()) {
		return h, nil
	}
	if n.wider || n.demand.login {
		g.tried(t.now(), n)
	}
	w := want{t: t, target: at, scopes: at.asked(n, h.scopes), subject: who,
		refresh: h.refresh, client: h.client, quiet: n.quiet, demand: n.demand}
	w.wider = n.wider || !h.scopes.HasAll(w.scopes)
	var brought got
	if w.key, err = t.keyFor(ctx, at, h); err == nil {
		brought, err = t.Flow.obtain(ctx, w)
	}
	if err != nil {
		if errors.Is(err, errQuiet) {
			g.forget(h.refresh)
			if g.saved() {
				err = errors.Join(err, t.save(ctx, g, who.Person))
			}
		} else {
			t.log().WarnContext(ctx, "no token", "resource", g.covers, "issuer", g.issuer, "error", err)
		}
		if !n.wider && !n.demand.login && who.Renew != nil && hasCode(err, oauth.InsufficientUserAuth) {
			g.tried(t.now(), n) // whoever was asked need not be asked at each request
		}
		return held{}, err
	}
	now := t.now()
	g.mu.Lock()
	g.held = held{access: brought.access, key: brought.key, header: headerOf(brought.access, brought.key), scopes: w.scopes, refresh: brought.refresh, client: brought.client, made: now, expires: brought.expires}
	next := g.held
	g.isOf(subOf(brought.access))
	g.mu.Unlock()
	t.keep(g, placeOf(n.server, who.Person), next)
	if err := t.save(ctx, g, who.Person); err != nil {
		t.log().ErrorContext(ctx, "token not saved", "resource", g.covers, "issuer", g.issuer, "error", err)
		return held{}, err
	}
	t.log().InfoContext(ctx, "token obtained", "resource", g.covers, "issuer", g.issuer,
		"scope", w.scopes.String(), "type", tokenType(next.key), "expires", brought.expires)
	return next, nil
}

// asked are the scopes to ask for: those that were asked for before, and the
// challenge's (C-SCOPE-02). Without either, all that the resource lists
// (C-AUTHZ-05).
func (at target) asked(n need, before oauth.Scopes) oauth.Scopes {
	if n.quiet {
		return before
	}
	if scopes, err := oauth.ParseScope(n.scope); err == nil && len(scopes) > 0 {
		return before.Union(scopes)
	}
	if n.wider || len(before) == 0 {
		return before.Union(at.scopes)
	}
	return before
}

// grantFor is the grant of a person at a target. Grants of another issuer for
// the same resource end here: the server has moved (C-DISC-08).
func (t *Transport) grantFor(at target, server address, person string) *grant {
	key := placeOf(server, person)
	t.state.mu.Lock()
	s, ok := t.state.shelves.get(t.now(), key)
	if !ok {
		s = &shelf{}
		t.state.shelves.put(t.now(), key, s, t.now().Add(time.Hour)) // see keep
	}
	t.state.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grants = slices.DeleteFunc(s.grants, func(g *grant) bool {
		return g.covers == at.covers && g.issuer != at.issuer || g.ended()
	})
	for _, g := range s.grants {
		if g.covers == at.covers && g.issuer == at.issuer {
			g.mu.Lock()
			g.target = at
			g.mu.Unlock()
			return g
		}
	}
	if len(s.grants) >= maxShelf {
		s.grants = slices.Delete(s.grants, 0, 1)
	}
	g := &grant{covers: at.covers, issuer: at.issuer, target: at, turn: make(chan struct{}, 1)}
	s.grants = append(s.grants, g)
	return g
}

// keep lets the place of a grant live as long as what lies there is of use.
func (t *Transport) keep(g *grant, key place, h held) {
	t.state.mu.Lock()
	defer t.state.mu.Unlock()
	if g.ended() {
		return
	}
	s, ok := t.state.shelves.get(t.now(), key)
	if !ok {
		s = &shelf{grants: []*grant{g}}
	}
	until := h.expires
	s.mu.Lock()
	if h.refresh != "" || len(s.grants) > 1 {
		until = time.Time{}
	}
	s.mu.Unlock()
	if !until.IsZero() {
		until = until.Add(time.Hour) // its scopes and counts are of use a while longer
	}
	t.state.shelves.put(t.now(), key, s, until)
}

// drop forgets exactly this token.
func (g *grant) drop(access string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held.access == access {
		g.held.access = ""
	}
}

// forget forgets exactly this refresh token.
func (g *grant) forget(refresh string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held.refresh == refresh {
		g.held.refresh = ""
	}
}

// saved reports whether the TokenStore has it, as far as this process knows.
func (g *grant) saved() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stored != (stamp{})
}

func (g *grant) pausing(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return now.Before(g.pause)
}

func (g *grant) rest(until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pause = until
}

func placeOf(server address, person string) place { return place{originOf(server.url()), person} }
