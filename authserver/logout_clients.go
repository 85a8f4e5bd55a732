package authserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"doorward/internal/audit"
	"doorward/internal/ledger"
	"doorward/internal/login"
	"doorward/internal/oauth"
	"doorward/store"
)

// Clients of an identity provider are told when a session ends by which they
// signed somebody in. Whoever ends it, in whichever process, leaves that in the
// store in the same step (ledger.EndParties); what is told to whom follows here,
// so that no client holds up an end, and one that is away is tried again.

const (
	// tellEvery is how often those that were away are looked for.
	tellEvery = 5 * time.Second
	// tellTimeout is how long a client may take to answer.
	tellTimeout = 5 * time.Second
	tellAtOnce  = 32
	// logoutTokenLife: section 2.4 of Back-Channel Logout wants it short.
	logoutTokenLife = 2 * time.Minute
	maxLogoutURI    = 2000 // bytes
	maxLogoutFrames = 20
)

// tellAgain is the pause after each try; after the last one the client stays
// untold.
var tellAgain = []time.Duration{10 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute}

// checkLogoutURIs checks those of a client of the configuration.
func (st *settings) checkLogoutURIs(c Client) error {
	l := ledger.Logout{Backchannel: c.BackchannelLogoutURI, Frontchannel: c.FrontchannelLogoutURI}
	if l != (ledger.Logout{}) && !st.idp {
		return errors.New("only an identity provider tells its clients that somebody signed out")
	}
	return checkLogout(l, c.RedirectURIs)
}

// logoutOf is where a client that registers itself is told of logouts: an
// authorization server has no ID tokens, so it tells nobody and says so.
func (st *settings) logoutOf(l ledger.Logout, redirects []string) (ledger.Logout, error) {
	if !st.idp {
		return ledger.Logout{}, nil
	}
	return l, checkLogout(l, redirects)
}

// checkLogout is section 2.2 of Back-Channel Logout and section 2 of
// Front-Channel Logout. The error names the member.
func checkLogout(l ledger.Logout, redirects []string) error {
	for name, uri := range map[string]string{"backchannel_logout_uri": l.Backchannel, "frontchannel_logout_uri": l.Frontchannel} {
		if uri != "" && (len(uri) > maxLogoutURI || checkProviderURL(uri) != nil || strings.Contains(uri, "#")) {
			return fmt.Errorf("%s must be an https URL (http is for loopback) without a fragment", name)
		}
	}
	if l.Frontchannel != "" && !slices.ContainsFunc(redirects, func(r string) bool { return origin(r) == origin(l.Frontchannel) }) {
		return errors.New("frontchannel_logout_uri must be on the origin of one of the redirect_uris")
	}
	return nil
}

// partyOps notes that the client signs somebody in by a session. A refreshed ID
// token names the session that the first one named, and is no sign-in.
func (a *asked) partyOps(g *oauth.Grant, now time.Time) []store.Op {
	l, session := a.client.client.Logout, g.Subject.Session
	if session == "" || l.Backchannel == "" && l.Frontchannel == "" || a.GrantType == oauth.RefreshToken {
		return nil
	}
	return []store.Op{ledger.Party{SID: session, Session: session, Person: g.Subject.ID, Client: a.client.client.ID, Expires: now.Add(login.Lifetime)}.Put()}
}

// partyStands has the client told at once if the session ended while its tokens
// were made. That this fails changes nothing about them.
func (s *Server) partyStands(ctx context.Context, session string) {
	ctx = context.WithoutCancel(ctx)
	alive, err := s.sessions.Alive(ctx, session)
	if err == nil && !alive {
		err = s.ledger.EndParties(ctx, "session="+session)
	}
	if err != nil {
		s.log.ErrorContext(ctx, "whether a session stands is not known, after a sign-in by it", "error", err)
	}
}

// framesWithin is how long a page waits to learn where clients want to hear.
const framesWithin = time.Second

// parties are the clients that signed somebody in by this browser's session.
func (v *visit) parties() ([]ledger.Party, error) {
	if v.session == nil || !v.st.idp {
		return nil, nil
	}
	return v.s.ledger.Parties(v.r.Context(), "session="+v.session.ID)
}

// logoutFrames are the URLs by which clients hear in this browser that its
// session ended (section 3 of Front-Channel Logout: with iss and sid). A client
// whose metadata document does not come in time is told by the back channel only.
func (v *visit) logoutFrames(parties []ledger.Party) []string {
	if len(parties) == 0 {
		return nil
	}
	found := make(chan string)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(v.r.Context()), framesWithin)
	defer cancel()
	s, st := v.s, v.st
	go func() {
		defer close(found)
		for _, p := range parties {
			c, err := s.client(ctx, st, p.Client)
			if err != nil || c.Logout.Frontchannel == "" {
				continue
			}
			sep := "?"
			if strings.Contains(c.Logout.Frontchannel, "?") {
				sep = "&"
			}
			select {
			case found <- c.Logout.Frontchannel + sep + url.Values{"iss": {st.cfg.URL}, "sid": {p.SID}}.Encode():
			case <-ctx.Done():
				return
			}
		}
	}()
	var out []string
	for len(out) < maxLogoutFrames {
		select {
		case frame, more := <-found:
			if !more {
				return out
			}
			out = append(out, frame)
		case <-ctx.Done():
			return out
		}
	}
	return out
}

// tellParties tells clients in the background, until ctx ends.
func (s *Server) tellParties(ctx context.Context) error {
	wake := make(chan struct{}, 1)
	err := s.ledger.Store.Watch(ctx, ledger.KindParty, func(r store.Record) {
		if slices.Contains(r.Index, ledger.PartyDue) {
			select {
			case wake <- struct{}{}:
			default:
			}
		}
	})
	if err != nil {
		return fmt.Errorf("authserver: watching for sessions that end: %w", err)
	}
	s.background.Go(func() {
		tick := time.NewTicker(tellEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-wake:
			case <-tick.C:
			}
			if err := s.tellDue(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("clients were not told that a session ended", "error", err)
			}
		}
	})
	return nil
}

// tellDue tells every client whose time it is.
func (s *Server) tellDue(ctx context.Context) error {
	parties, err := s.ledger.Parties(ctx, ledger.PartyDue)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	places := make(chan struct{}, tellAtOnce)
	for _, p := range parties {
		if s.now().Before(p.Due) {
			continue
		}
		mine, err := s.claimParty(ctx, &p)
		if err != nil {
			return err
		}
		if !mine {
			continue
		}
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			s.tellParty(ctx, p)
		})
	}
	return nil
}

// claimParty puts off the next try, which makes this one ours: of several
// processes one tells.
func (s *Server) claimParty(ctx context.Context, p *ledger.Party) (bool, error) {
	p.Due = s.now().Add(tellAgain[min(p.Tries, len(tellAgain)-1)])
	p.Tries++
	err := s.ledger.Store.Commit(ctx, p.Put())
	if errors.Is(err, store.ErrConflict) || notFound(err) {
		return false, nil
	}
	return err == nil, err
}

// tellParty sends one logout token, and forgets the party if it got it or was
// away too often.
func (s *Server) tellParty(ctx context.Context, p ledger.Party) {
	st := s.current()
	c, err := s.client(ctx, st, p.Client)
	switch {
	case err == nil && c.Logout.Backchannel == "", isUnknownClient(err): // nobody to tell
		s.forgetParty(ctx, p)
		return
	case err == nil:
		err = s.sendLogout(ctx, st, *c, p)
	}
	e := audit.Event{Person: p.Person, Client: p.Client}
	switch {
	case err == nil:
		s.audit.Add(s.event("client_logout", e))
	case p.Tries <= len(tellAgain):
		s.log.WarnContext(ctx, "a client was not told that a session ended, and will be again", "client", p.Client, "try", p.Tries, "error", err)
		return
	default:
		e.Outcome, e.Detail = "failed", err.Error()
		s.audit.Add(s.event("client_logout", e))
		s.log.ErrorContext(ctx, "a client does not know that a session ended", "client", p.Client, "person", p.Person, "error", err)
	}
	s.forgetParty(ctx, p)
}

func (s *Server) forgetParty(ctx context.Context, p ledger.Party) {
	if err := s.ledger.Store.Commit(context.WithoutCancel(ctx), p.Delete()); err != nil {
		s.log.ErrorContext(ctx, "a client is told twice that a session ended", "client", p.Client, "error", err)
	}
}

// logoutClaims are a logout token's (section 2.4 of Back-Channel Logout): like
// those of an ID token, and never to be taken for one.
type logoutClaims struct {
	Issuer   string                    `json:"iss"`
	Subject  string                    `json:"sub"`
	Audience string                    `json:"aud"`
	IssuedAt int64                     `json:"iat"`
	Expires  int64                     `json:"exp"`
	ID       string                    `json:"jti"`
	Events   map[string]map[string]any `json:"events"`
	Session  string                    `json:"sid"`
}

// sendLogout is section 2.5. Where strangers want to be told is asked by the
// rules of what they name; an operator's clients may be anywhere.
func (s *Server) sendLogout(ctx context.Context, st *settings, c ledger.Client, p ledger.Party) error {
	now := s.now()
	token, err := s.signingKey().Sign(typLogoutToken, logoutClaims{Issuer: st.cfg.URL, Subject: p.Person, Audience: c.ID, IssuedAt: now.Unix(),
		Expires: now.Add(logoutTokenLife).Unix(), ID: newID(), Events: map[string]map[string]any{logoutEvent: {}}, Session: p.SID})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Logout.Backchannel, strings.NewReader(url.Values{"logout_token": {token}}.Encode()))
	if err != nil {
		return errors.New("backchannel_logout_uri is no URL")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	client := issuerClient(st.cfg.HTTP)
	if !c.OfAdministrator() {
		client = issuerClient(st.documents.fetcher.RoundTripper())
	}
	res, err := client.Do(req)
	if err != nil {
		var wrapped *url.Error // with the whole URL, whose query may be a secret
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return fmt.Errorf("%s: %w", req.URL.Host, err)
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, 4<<10) // so that the connection serves again; what it says does not matter
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusNoContent {
		return fmt.Errorf("%s answers %d instead of 200", req.URL.Host, res.StatusCode)
	}
	return nil
}

const typLogoutToken = "logout+jwt"
