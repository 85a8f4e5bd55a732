package authserver

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"doorward/internal/audit"
	"doorward/internal/jose"
	"doorward/internal/keyset"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// A provider that ends a sign-in says so here (OpenID Connect Back-Channel
// Logout 1.0), and what came of the sign-in ends with it.

const (
	// logoutEvent is the member of events that makes a logout token (section 2.4).
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
	// maxLogoutLife is the longest exp − iat of a logout token; for as long its
	// jti is remembered.
	maxLogoutLife = time.Hour
)

// backchannelRoute is where a provider's logout tokens are sent:
// /backchannel-logout/NAME.
func (s *Server) backchannelRoute(path string) (route, bool) {
	st := s.current()
	name, ok := strings.CutPrefix(path, st.path+backchannelPath)
	if p := st.provider(name); !ok || p == nil || p.plain != nil || p.saml != nil {
		return route{}, false
	}
	return route{[]string{http.MethodPost}, noCORS, s.limited(s.answerForm(s.backchannelLogout))}, true
}

const backchannelPath = "/backchannel-logout/"

// logoutToken is a logout token whose every claim was checked.
type logoutToken struct {
	jti, sub, sid, tenant string
	issued, expires       time.Time
}

// backchannelLogout ends what the logout token names (section 2.7). An unknown
// session or person is no mistake: it has ended then.
func (s *Server) backchannelLogout(ctx context.Context, st *settings, r *http.Request, form url.Values) (any, error) {
	p := st.provider(strings.TrimPrefix(r.URL.Path, st.path+backchannelPath))
	if p == nil || p.plain != nil || p.saml != nil { // gone by a reload since the route was found
		return nil, logoutRefused(reject("logout_token", "the provider is not configured"))
	}
	if tokens := form["logout_token"]; len(tokens) != 1 || tokens[0] == "" {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "one logout_token is needed"}
	}
	v, err := p.keys.Verify(ctx, form.Get("logout_token"), p.trust.Algs, []string{"logout+jwt", "jwt", ""})
	switch {
	case errors.Is(err, keyset.ErrNoKeys):
		return nil, &oauth.Error{Code: oauth.TemporarilyUnavailable, Reason: "provider_down", Err: err,
			Description: "the provider's keys cannot be had at the moment: try again in a minute"}
	case err != nil:
		return nil, logoutRefused(reject("logout_token", "%v", err))
	}
	if c := callerOf(ctx); c != nil {
		c.known = true // a provider may end many sign-ins at once
	}
	t, err := p.checkLogout(v.Claims(), s.now())
	if err != nil {
		return nil, logoutRefused(err)
	}
	return nil, s.endUpstream(context.WithoutCancel(ctx), p, t, v.Claims(), address(r))
}

// logoutRefused looks the same from outside whatever was wrong.
func logoutRefused(err error) error {
	e := &oauth.Error{Code: oauth.InvalidRequest, Reason: "logout_token", Err: err, Description: "the logout token is not valid here"}
	var why *rejection
	if errors.As(err, &why) {
		e.Reason = why.reason
	}
	return e
}

// checkLogout is section 2.6 after the signature.
func (p *provider) checkLogout(c jose.Claims, now time.Time) (logoutToken, error) {
	var t logoutToken
	var iss, azp string
	for name, to := range map[string]*string{"iss": &iss, "azp": &azp, "jti": &t.jti, "sub": &t.sub, "sid": &t.sid} {
		text, err := c.Text(name)
		if err != nil || len(text) > maxText {
			return t, reject("logout_claims", "%s must be a short string", name)
		}
		if _, there := c[name]; there && text == "" {
			return t, reject("logout_claims", "%s is there and empty", name)
		}
		*to = text
	}
	aud, err := c.Texts("aud")
	_, nonce := c["nonce"]
	switch {
	case iss != p.Issuer:
		return t, reject("logout_claims", "iss is %.200q, not %q", iss, p.Issuer)
	case err != nil || !slices.Contains(aud, p.ClientID):
		return t, reject("logout_claims", "aud is %.200q, not this client", aud)
	case azp != "" && azp != p.ClientID:
		return t, reject("logout_claims", "azp is %.200q, not this client", azp)
	case t.jti == "":
		return t, reject("logout_claims", "jti is missing")
	case t.sub == "" && t.sid == "":
		return t, reject("logout_claims", "it names neither a person (sub) nor a session (sid)")
	case nonce:
		return t, reject("logout_claims", "it has a nonce, so it is an ID token")
	}
	if err := checkLogoutEvent(c); err != nil {
		return t, err
	}
	if _, t.tenant, err = p.trust.tenant(c); err != nil && (t.sid == "" || t.tenant != "") {
		return t, reject("logout_claims", "%v", err) // a sid means one session, whatever the tenant
	}
	return t, t.times(c, now)
}

// checkLogoutEvent: events is an object, and so is its member that says what
// happened.
func checkLogoutEvent(c jose.Claims) error {
	var events, event jose.Claims
	if err := c.Decode("events", &events); err != nil {
		return reject("logout_claims", "events is no object: %v", err)
	}
	if !events.Has(logoutEvent) {
		return reject("logout_claims", "events does not name %s", logoutEvent)
	}
	if err := events.Decode(logoutEvent, &event); err != nil {
		return reject("logout_claims", "the event is no object: %v", err)
	}
	return nil
}

func (t *logoutToken) times(c jose.Claims, now time.Time) error {
	if err := jose.CheckTimes(c, now, assertionSkew); err != nil {
		return reject("logout_time", "%v", err)
	}
	var err1, err2 error
	t.expires, err1 = c.Time("exp")
	t.issued, err2 = c.Time("iat")
	switch life := t.expires.Sub(t.issued); {
	case err1 != nil || err2 != nil || t.issued.IsZero():
		return reject("logout_time", "exp and iat must be numbers")
	case life <= 0 || life > maxLogoutLife:
		return reject("logout_time", "it lives %s, allowed are %s", life, maxLogoutLife)
	}
	return nil
}

// endUpstream ends what the token names, once. The jti is remembered when all
// has ended, so that a token whose work failed half way may come again.
func (s *Server) endUpstream(ctx context.Context, p *provider, t logoutToken, c jose.Claims, from string) error {
	begun := s.now()
	once := store.Record{Kind: ledger.KindLogout, Key: upstreamName(p.Issuer, "jti", t.jti), Expires: t.expires.Add(assertionSkew)}
	_, err := s.ledger.Store.Get(ctx, once.Kind, once.Key)
	if err == nil {
		return logoutRefused(reject("logout_replay", "its jti was used before"))
	}
	if !notFound(err) {
		return err
	}
	if err := s.ledger.Store.Commit(ctx, p.logoutMark(t, begun)); err != nil {
		return err
	}
	done, err := s.endNamed(ctx, p, t, c)
	if err != nil {
		return err
	}
	event := s.event("backchannel_logout", audit.Event{Person: done.person, Issuer: p.Issuer, JTI: jtiHash(t.jti), Address: from,
		Detail: fmt.Sprintf("ended: %d sessions, %d grants", done.Sessions, len(done.Grants))})
	s.log.InfoContext(ctx, "a provider ended a sign-in", "provider", p.Name, "person", done.person, "sessions", done.Sessions,
		"grants", len(done.Grants), "took", s.now().Sub(begun))
	err = s.ledger.Store.Commit(ctx, store.Create(once), s.ledger.AuditOp(event))
	if errors.Is(err, store.ErrConflict) {
		return logoutRefused(reject("logout_replay", "its jti was used at the same time"))
	}
	return err
}

// upstreamEnd is what a logout token ended; person is the last of those whom
// it was about.
type upstreamEnd struct {
	ledger.Receipt
	person string
}

// endNamed ends the sign-ins of a session at the provider, or with a sub alone
// everything of the person.
func (s *Server) endNamed(ctx context.Context, p *provider, t logoutToken, c jose.Claims) (upstreamEnd, error) {
	var done upstreamEnd
	reason := p.Name + " said that the sign-in is over"
	index := upstreamName(p.Issuer, "sub", t.sub)
	if t.sid != "" {
		index = upstreamName(p.Issuer, "sid", t.sid)
	}
	people := map[string]bool{}
	err := s.everyOf(ctx, ledger.KindUpstream, index, func(rec store.Record) error {
		w, err := s.parseWord(rec)
		if err != nil || t.sub != "" && w.Sub != t.sub || t.tenant != "" && w.Tenant != t.tenant {
			return err
		}
		people[w.Person], done.person = true, w.Person
		return s.endSignIn(ctx, oauth.Subject{ID: w.Person, Session: rec.Key}, reason, &done.Receipt)
	})
	if err != nil || t.sid != "" {
		return done, err
	}
	var who idjag // somebody who never signed in here, but came by an ID-JAG
	if who.account(c, p.trust) == nil {
		people[who.subject.ID], done.person = true, who.subject.ID
	}
	for person := range people {
		got, err := s.ledger.End(ctx, ledger.Which{Person: person}, reason)
		if err != nil {
			return done, err
		}
		done.Grants, done.Sessions = append(done.Grants, got.Grants...), done.Sessions+got.Sessions
	}
	return done, nil
}

// upstreamName is how what a provider calls a session, a person or a token is
// kept: at a size that fits, and never to be taken for that of another provider.
func upstreamName(issuer, what, name string) string {
	sum := sha256.Sum256([]byte(issuer + "\x00" + what + "\x00" + name))
	return what + "=" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// logoutMark stays for as long as a sign-in that was under way may take, so that
// it cannot arrive after the logout that ended it.
func (p *provider) logoutMark(t logoutToken, now time.Time) store.Op {
	key := upstreamName(p.Issuer, "sub", t.sub+"\x00"+t.tenant)
	if t.sid != "" {
		key = upstreamName(p.Issuer, "sid", t.sid)
	}
	value, _ := t.issued.MarshalText() // checked: within the years that it takes
	return store.Put(store.Record{Kind: ledger.KindLogout, Key: key, Value: value, Expires: now.Add(attemptLife)})
}

// loggedOut reports whether a sign-in was ended while it was under way: its
// session, or whatever was the person's when its ID token was issued.
func (s *Server) loggedOut(ctx context.Context, w lastWord, issued time.Time) (bool, error) {
	if w.SID != "" {
		_, err := s.ledger.Store.Get(ctx, ledger.KindLogout, upstreamName(w.Issuer, "sid", w.SID))
		if !notFound(err) {
			return err == nil, err
		}
	}
	rec, err := s.ledger.Store.Get(ctx, ledger.KindLogout, upstreamName(w.Issuer, "sub", w.Sub+"\x00"+w.Tenant))
	if err != nil {
		return false, ignoreNotFound(err)
	}
	var at time.Time
	err = at.UnmarshalText(rec.Value)
	return !issued.After(at), err
}
