package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// upstreamTokens are the separate server's tokens: of a sign-in that no grant
// has taken yet, by the session, then of one grant, by its id. They are sealed
// for the place where they lie, so that those of one grant are of no use at
// another one's.
type upstreamTokens struct {
	Person  string    `json:"person"`
	Issuer  string    `json:"issuer"`
	Sub     string    `json:"sub"` // whom the separate server means
	Attempt string    `json:"attempt,omitempty"`
	Target  string    `json:"target,omitempty"`  // the resource parameter that they were asked for with
	Access  []byte    `json:"access,omitempty"`  // sealed; nil: a grant took them
	Refresh []byte    `json:"refresh,omitempty"` // sealed; nil: it gave none
	Until   time.Time `json:"until,omitzero"`    // of the access token; zero: not said
	Since   time.Time `json:"since"`             // when the access token came
	// Renewing is when somebody set out to renew them, and Failed when the last
	// try failed without an answer.
	Renewing time.Time `json:"renewing,omitzero"`
	Failed   time.Time `json:"failed,omitzero"`

	version uint64
	expires time.Time
}

const (
	// renewAhead is how long before its end an access token is renewed.
	renewAhead = 30 * time.Second
	// renewUnsaid is the age at which a token whose end is not said is renewed.
	renewUnsaid = time.Hour
	// renewTime is how long a renewal may take: after it another one may begin.
	renewTime = 2 * issuerTimeout
	// renewRest is the least time between two tries that get no answer.
	renewRest = 5 * time.Second
	// renewLook is how often those who wait for a renewal look.
	renewLook = 50 * time.Millisecond
)

var (
	errNotPending = errors.New("the sign-in has no tokens that nobody took")
	// ErrUpstreamOver: the separate server's token is over and cannot be renewed;
	// the grant has ended with it.
	ErrUpstreamOver = ledger.ErrUpstreamOver
	// ErrUpstreamDown: the token has to be renewed, and the separate server does
	// not answer.
	ErrUpstreamDown = ledger.ErrUpstreamDown
	// ErrNoUpstream: the grant has no token of a separate server.
	ErrNoUpstream = ledger.ErrNoUpstream
)

func (s *Server) upstreamTokens(ctx context.Context, key string) (upstreamTokens, error) {
	var u upstreamTokens
	rec, err := s.ledger.Store.Get(ctx, ledger.KindUpstream, key)
	if err != nil {
		return u, err
	}
	if err := json.Unmarshal(rec.Value, &u); err != nil {
		return u, fmt.Errorf("tokens of the separate server cannot be read: %w", err)
	}
	u.version, u.expires = rec.Version, rec.Expires
	return u, nil
}

func (u upstreamTokens) put(key string) store.Op {
	value, err := json.Marshal(u)
	if err != nil {
		panic("authserver: tokens of the separate server cannot be encoded: " + err.Error()) // our own type only
	}
	rec := store.Record{Kind: ledger.KindUpstream, Key: key, Value: value, Index: []string{"person=" + u.Person}, Expires: u.expires, Version: u.version}
	if u.version == 0 {
		return store.Create(rec)
	}
	return store.Put(rec)
}

func (s *Server) sealUpstream(u *upstreamTokens, key string, access, refresh []byte) {
	u.Access, u.Refresh = s.vault.Seal(wordPlace(key)+"/access", access), nil
	if len(refresh) > 0 {
		u.Refresh = s.vault.Seal(wordPlace(key)+"/refresh", refresh)
	}
}

func (s *Server) openUpstream(u upstreamTokens, key string) (access, refresh []byte, err error) {
	if access, err = s.vault.Open(wordPlace(key)+"/access", u.Access); err == nil && u.Refresh != nil {
		refresh, err = s.vault.Open(wordPlace(key)+"/refresh", u.Refresh)
	}
	return access, refresh, err
}

// keepPending keeps what a sign-in brought, until a grant takes it.
func (s *Server) keepPending(ctx context.Context, session string, u upstreamTokens, t providerTokens) error {
	if err := t.usable(); err != nil {
		return err
	}
	now := s.now()
	u.Since, u.Until, u.expires = now, t.until(now), now.Add(attemptLife)
	s.sealUpstream(&u, session, []byte(t.AccessToken), []byte(t.RefreshToken))
	return s.ledger.Store.Commit(ctx, u.put(session))
}

// pendingUpstream is what a sign-in brought; without Access if a grant has it.
func (s *Server) pendingUpstream(ctx context.Context, session string) (upstreamTokens, error) {
	u, err := s.upstreamTokens(ctx, session)
	if notFound(err) {
		return upstreamTokens{}, nil
	}
	return u, err
}

// takePending is how a new grant takes them: of two, one gets them.
func (s *Server) takePending(ctx context.Context, st *settings, session, grant string) ([]store.Op, error) {
	u, err := s.pendingUpstream(ctx, session)
	if err != nil {
		return nil, err
	}
	if u.Access == nil {
		return nil, errNotPending
	}
	access, refresh, err := s.openUpstream(u, session)
	if err != nil {
		return nil, err
	}
	own := u
	own.version, own.expires, own.Attempt = 0, s.now().Add(codeLife+st.tokens.RefreshMax), ""
	s.sealUpstream(&own, grant, access, refresh)
	u.Access, u.Refresh = nil, nil // that the sign-in was answered stays known
	return []store.Op{u.put(session), own.put(grant)}, nil
}

// usable checks a token answer that is to be kept (RFC 6749 section 5.1).
func (t providerTokens) usable() error {
	switch {
	case t.AccessToken == "":
		return errors.New("the provider's token answer has no access_token")
	case t.TokenType != "" && !strings.EqualFold(t.TokenType, "bearer"):
		return fmt.Errorf("the provider's access token is of a type that cannot be sent on: %s", oauth.Printable(t.TokenType))
	case strings.ContainsFunc(t.AccessToken, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("the provider's access token has characters that no header can carry")
	}
	return nil
}

// until is when the access token ends; zero: not said. Some send the number as
// a text.
func (t providerTokens) until(now time.Time) time.Time {
	var n float64
	if json.Unmarshal([]byte(strings.Trim(string(t.ExpiresIn), `"`)), &n) != nil || n <= 0 || n > 1e9 {
		return time.Time{}
	}
	return now.Add(time.Duration(n) * time.Second)
}

// fresh reports whether the access token need not be renewed yet.
func (u upstreamTokens) fresh(now time.Time) bool {
	if u.Until.IsZero() {
		return u.Refresh == nil || now.Sub(u.Since) < renewUnsaid
	}
	return now.Before(u.Until.Add(-min(renewAhead, u.Until.Sub(u.Since)/4)))
}

// alive reports whether it can still be used.
func (u upstreamTokens) alive(now time.Time) bool { return u.Until.IsZero() || now.Before(u.Until) }

// UpstreamToken returns the separate server's access token of a grant (mode
// proxy), for the MCP server that it is for and nobody else. One that is nearly
// over is renewed first, once for all who ask, in whatever process. The errors are
// ErrNoUpstream, ErrUpstreamOver, ErrUpstreamDown, or of the store.
func (s *Server) UpstreamToken(ctx context.Context, grant string) (string, error) {
	for {
		u, err := s.upstreamTokens(ctx, grant)
		now := s.now()
		switch {
		case notFound(err) || err == nil && u.Access == nil:
			return "", ErrNoUpstream
		case err != nil:
			return "", err
		case s.current().proxied == nil || u.Issuer != s.current().proxied.Issuer:
			return "", errors.Join(ErrUpstreamOver, s.endProxied(ctx, grant, "the separate server is another one now"))
		case u.fresh(now):
			access, _, err := s.openUpstream(u, grant)
			return string(access), err
		case u.Refresh == nil && u.alive(now):
			access, _, err := s.openUpstream(u, grant)
			return string(access), err
		case u.Refresh == nil:
			return "", errors.Join(ErrUpstreamOver, s.endProxied(ctx, grant, "the separate server's token is over, and it gave none to renew it"))
		case u.alive(now) && (now.Sub(u.Renewing) < renewTime || now.Sub(u.Failed) < renewRest):
			access, _, err := s.openUpstream(u, grant)
			return string(access), err
		case now.Sub(u.Failed) < renewRest:
			return "", ErrUpstreamDown
		case now.Sub(u.Renewing) < renewTime: // somebody is about it
			select {
			case <-ctx.Done():
				return "", ctx.Err()
			case <-time.After(renewLook):
			}
			continue
		}
		u.Renewing = now
		err = s.ledger.Store.Commit(ctx, u.put(grant))
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err != nil {
			return "", err
		}
		u.version++
		if err := s.renewUpstream(context.WithoutCancel(ctx), grant, u); err != nil {
			return "", err
		}
	}
}

// renewUpstream spends the refresh token and keeps what comes back. A no of the
// separate server ends the grant (AS-PROXY-04).
func (s *Server) renewUpstream(ctx context.Context, grant string, u upstreamTokens) error {
	access, refresh, err := s.openUpstream(u, grant)
	if err != nil {
		return err
	}
	st := s.current()
	tokens, err := s.askUpstream(ctx, st, st.proxied, grant, string(refresh))
	if err == nil {
		err = tokens.usable()
	}
	switch {
	case err != nil:
	case st.proxied.plain != nil:
		err = st.proxied.sameAccount(ctx, issuerClient(st.cfg.HTTP), tokens.AccessToken, u.Sub)
	case tokens.IDToken != "": // OpenID Connect Core section 12.2
		err = st.proxied.sameAs(ctx, tokens.IDToken, u.Sub, s.now())
	}
	now := s.now()
	u.Renewing = time.Time{}
	switch {
	case isRefused(err), errors.Is(err, errSomebodyElse):
		return errors.Join(ErrUpstreamOver, s.endProxied(ctx, grant, "the separate server did not renew its token"))
	case err != nil:
		s.log.ErrorContext(ctx, "a token of the separate server could not be renewed", "grant", grant, "person", u.Person, "error", err)
		u.Failed = now
		if tokens.RefreshToken != "" { // the one before may be spent, whatever else is wrong
			refresh = []byte(tokens.RefreshToken)
		}
		s.sealUpstream(&u, grant, access, refresh)
		if err := s.ledger.Store.Commit(ctx, u.put(grant)); err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
		if u.alive(now) {
			return nil
		}
		return ErrUpstreamDown
	}
	u.Failed, u.Since, u.Until = time.Time{}, now, tokens.until(now)
	if tokens.RefreshToken != "" {
		refresh = []byte(tokens.RefreshToken)
	}
	s.sealUpstream(&u, grant, []byte(tokens.AccessToken), refresh)
	err = s.ledger.Store.Commit(ctx, u.put(grant))
	if errors.Is(err, store.ErrConflict) { // it was ended meanwhile
		return errors.Join(ErrUpstreamOver, s.revokeRenewed(ctx, grant, u))
	}
	return err
}

// besideOld makes a second key of a grant, whose old tokens may be under way to
// be revoked.
const besideOld = "+renewed"

// revokeRenewed leaves new tokens to be revoked if their grant ended while they
// were made: what was kept then are the old ones.
func (s *Server) revokeRenewed(ctx context.Context, grant string, u upstreamTokens) error {
	if _, err := s.upstreamTokens(ctx, grant); !notFound(err) {
		return err
	}
	return s.ledger.Store.Commit(ctx, store.Put(store.Record{Kind: ledger.KindRevoke, Key: grant + besideOld, Value: u.put(grant).Record.Value,
		Expires: s.now().Add(ledger.RevokeWithin)}))
}

func (s *Server) askUpstream(ctx context.Context, st *settings, p *provider, grant, refresh string) (providerTokens, error) {
	meta, err := p.metadata(ctx)
	if err != nil {
		return providerTokens{}, err
	}
	form := url.Values{"grant_type": {oauth.RefreshToken}, "refresh_token": {refresh}}
	if g, err := s.ledger.Grant(ctx, grant); err == nil {
		if id := p.resourceParameter(g.Resource); id != "" {
			form.Set("resource", id)
		}
	}
	return p.redeem(ctx, issuerClient(st.cfg.HTTP), meta, form)
}

// endProxied ends a grant whose upstream token is over; its tokens go with it.
func (s *Server) endProxied(ctx context.Context, grant, reason string) error {
	_, err := s.ledger.End(ctx, ledger.Which{Grant: grant}, reason)
	return err
}

// upstreamStands is whether the separate server's token behind a grant is good
// or can be renewed, as a refresh hears of it.
func (s *Server) upstreamStands(ctx context.Context, a *asked, g *ledger.Grant) error {
	if !g.Upstream {
		return s.recheckFor(ctx, a, g.Subject, 0)
	}
	_, err := s.UpstreamToken(ctx, g.ID)
	switch {
	case errors.Is(err, ErrUpstreamOver), errors.Is(err, ErrNoUpstream):
		return a.invalid("provider_over", err)
	case errors.Is(err, ErrUpstreamDown):
		return &oauth.Error{Code: oauth.TemporarilyUnavailable, Reason: "provider_down", Err: err,
			Description: "the sign-in behind this cannot be verified at the moment: try again in a minute"}
	}
	return err
}

// upstreamLasts makes the upstream tokens last as long as their grant and its
// access tokens, once a client has them.
func (s *Server) upstreamLasts(ctx context.Context, a *asked, rec *ledger.Grant) ([]store.Op, error) {
	if !rec.Upstream {
		return nil, nil
	}
	u, err := s.upstreamTokens(ctx, rec.ID)
	if notFound(err) {
		return nil, a.invalid("provider_over", ErrNoUpstream)
	}
	if err != nil {
		return nil, err
	}
	until := rec.Expires
	if rec.TokensUntil.After(until) {
		until = rec.TokensUntil
	}
	if u.expires.Equal(until) {
		return nil, nil
	}
	u.expires = until
	return []store.Op{u.put(rec.ID)}, nil
}
