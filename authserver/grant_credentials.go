package authserver

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"time"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// grantCredentials is a client that acts for itself (RFC 6749 section 4.4). It
// stands on one grant a day for each client and resource, so that a token
// costs no write and can still be ended.
func (s *Server) grantCredentials(ctx context.Context, a *asked) (*granted, error) {
	c := a.client.client
	if !a.client.proven { // AS-CC-01
		return nil, &oauth.Error{Code: oauth.UnauthorizedClient, Description: "only a client with a secret may act for itself"}
	}
	res, err := a.st.resource(a.Resources)
	if err != nil {
		return nil, err
	}
	a.seen.Resource = res.ID
	if a.Scope, err = a.st.narrowed(c, res, a.Scope); err != nil {
		return nil, err
	}
	if len(a.Scope) == 0 && len(res.scopes) > 0 {
		return nil, &oauth.Error{Code: oauth.InvalidScope, Description: "name a scope: this client has no default here"}
	}
	out := &granted{rules: res.rules, life: a.st.tokens.Access, grant: oauth.Grant{Client: c.ID, Resource: res.ID, Scopes: a.Scope,
		Type: oauth.ClientCredentials, Subject: oauth.Subject{ID: "client:" + c.ID, Name: c.Name}}} // AS-CC-03: no person has such an id
	out.grant.ID, err = s.standingGrant(ctx, &out.grant, res, out.life)
	return out, err
}

// standingGrants remembers the standing grants of a day.
type standingGrants struct {
	mu  sync.Mutex
	day time.Time
	all map[[2]string]standingGrant // by client and resource
}

// standingGrant is the nth of a client at a resource on a day: the ones before
// it were ended.
type standingGrant struct {
	id    string
	n     int
	until time.Time // tokens that name it may live so long
}

func (c *standingGrants) get(day time.Time, client, resource string) standingGrant {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.day.Equal(day) {
		return standingGrant{}
	}
	return c.all[[2]string{client, resource}]
}

func (c *standingGrants) put(day time.Time, client, resource string, g standingGrant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.day.Equal(day) {
		c.day, c.all = day, map[[2]string]standingGrant{}
	}
	c.all[[2]string{client, resource}] = g
}

// maxStanding is how many grants of a day all processes find. After so many ends
// each process makes grants of its own.
const maxStanding = 64

// standingGrant returns the id of today's grant of a client at a resource, and
// makes it if it is not there. After one was ended the next one counts.
func (s *Server) standingGrant(ctx context.Context, g *oauth.Grant, res *resource, life time.Duration) (string, error) {
	now := s.now().UTC()
	day := now.Truncate(24 * time.Hour)
	last := s.standing.get(day, g.Client, g.Resource)
	if last.id != "" && !s.ended.Has(last.id) && !now.Add(life).After(last.until) {
		return last.id, nil
	}
	return s.nextStanding(ctx, *g, res, day, last.n, life)
}

// nextStanding finds or makes the first of the day's grants from the nth on that
// was not ended.
func (s *Server) nextStanding(ctx context.Context, g oauth.Grant, res *resource, day time.Time, from int, life time.Duration) (string, error) {
	for n := from; ; n++ {
		if g.ID = newID(); n < maxStanding {
			g.ID = s.standingID(g.Client, g.Resource, day.Format(time.DateOnly), n)
		}
		rec, err := s.findStanding(ctx, g, res, life)
		if err != nil {
			return "", err
		}
		if rec.Ended.IsZero() {
			s.standing.put(day, g.Client, g.Resource, standingGrant{g.ID, n, rec.TokensUntil})
			return g.ID, nil
		}
	}
}

// findStanding finds or makes the grant with the id. It outlives the day by a day,
// or by a token's life if that is longer or was made so meanwhile.
func (s *Server) findStanding(ctx context.Context, g oauth.Grant, res *resource, life time.Duration) (ledger.Grant, error) {
	for range attempts {
		now := s.now().UTC()
		rec, err := s.ledger.Grant(ctx, g.ID)
		switch until := now.Add(life); {
		case err == nil && rec.Ended.IsZero() && until.After(rec.TokensUntil):
			rec.Expires, rec.TokensUntil = until, until
		case err == nil || !notFound(err):
			return rec, err
		default:
			midnight := now.Truncate(24 * time.Hour).Add(24 * time.Hour)
			g.Created, g.Expires, g.Scopes = now, midnight.Add(max(life, 24*time.Hour)), res.scopes
			rec = ledger.Grant{Grant: g, TokensUntil: g.Expires}
		}
		err = s.ledger.Store.Commit(ctx, rec.Put())
		if !errors.Is(err, store.ErrConflict) { // else another process was faster: read what it wrote
			return rec, err
		}
	}
	return ledger.Grant{}, store.ErrConflict
}

// standingID is the same in every process on the store.
func (s *Server) standingID(client, resource, day string, n int) string {
	sum := s.derived.standing.mac(fmt.Appendf(nil, "%q %q %s %d", client, resource, day, n))
	return base64.RawURLEncoding.EncodeToString(sum[:idSize])
}
