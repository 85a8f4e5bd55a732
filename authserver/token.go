package authserver

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"doorward/internal/access"
	"doorward/internal/audit"
	"doorward/internal/dpop"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// grantFunc is the only step of a token request that differs between grants:
// it turns what was asked into a grant. It reads; what it wants written it
// returns.
type grantFunc func(ctx context.Context, a *asked) (*granted, error)

// grantTable is the grants of an authorization server or of an identity
// provider. To add a grant: a file grant_x.go and a line here.
func (s *Server) grantTable(idp bool) map[string]grantFunc {
	if idp {
		return map[string]grantFunc{
			oauth.AuthorizationCode: s.grantCode,
			oauth.RefreshToken:      s.grantRefresh,
			oauth.TokenExchange:     s.grantExchange,
			oauth.DeviceCode:        s.grantDevice,
		}
	}
	return map[string]grantFunc{
		oauth.AuthorizationCode: s.grantCode,
		oauth.RefreshToken:      s.grantRefresh,
		oauth.ClientCredentials: s.grantCredentials,
		oauth.JWTBearer:         s.grantJWTBearer,
		oauth.DeviceCode:        s.grantDevice,
	}
}

// asked is a token request on its way: who asks, for what.
type asked struct {
	oauth.TokenRequest
	st       *settings
	client   authenticated
	proof    dpop.Proof // of possession of a key; the zero one: none came
	again    bool       // a record was not as this request took it to be
	keyBound bool       // the assertion must be bound to a key (jwt-dpop)
	cert     string     // thumbprint of the certificate that the tokens are bound to; "": none
	// encrypted: Assertion is what the encrypted one that came held.
	encrypted bool
	// workload is the JWT that says who asks, in place of a client's authentication.
	workload *workloadJWT
	use      assertionUse // of the ID-JAG
	repeats  string       // the grant that the same ID-JAG was answered with before; "": none
	seen     audit.Event  // what the audit will say: grants fill in what they find out
}

// granted is what a grant function found.
type granted struct {
	grant   oauth.Grant   // what will be stated, to be narrowed
	stored  *ledger.Grant // the record behind it; nil: there is none of its own
	rules   access.Rules
	life    time.Duration
	write   bool            // the record changes (or is made) with this answer
	made    bool            // the record is new
	ops     []store.Op      // more to write in the same commit
	once    []store.Op      // to write even if the record does not change, the first with a value that no other request writes
	person  *ledger.Account // of the subject, as it is once this is written; nil: it was not read
	stands  bool            // other tokens stand on the record, which changes only if this one outlives it
	refresh string          // refresh token to return
	// holds let the commit through only as long as what the grant stands on is as it
	// was read, the person's account included; nil: that is looked at again after it.
	holds    []store.Op
	audience *audience // token exchange: whom the ID-JAG is addressed to
}

// attempts is how often a request starts again because another one was faster
// with the same record. Each time somebody else got on, so it ends.
const attempts = 100

// token is the token endpoint (RFC 6749 section 3.2).
func (s *Server) token(ctx context.Context, st *settings, r *http.Request, form url.Values) (any, error) {
	a := &asked{st: st}
	a.seen.Address = address(r)
	res, err := s.answerToken(ctx, a, r, form)
	if err != nil {
		return nil, a.refused(err)
	}
	s.issued[a.GrantType].Add(1)
	return s.offerNonce(a, res), nil
}

func (s *Server) answerToken(ctx context.Context, a *asked, r *http.Request, form url.Values) (*oauth.TokenResponse, error) {
	req := &a.TokenRequest
	if err := req.Read(form); err != nil {
		return nil, err
	}
	if !a.st.idp && req.GrantType == oauth.JWTDPoP { // CONFLICT-5
		req.GrantType, a.keyBound = oauth.JWTBearer, true
	}
	a.seen.GrantType, a.seen.Client = req.GrantType, oauth.Printable(req.ClientID)
	grant, err := s.grantFor(req.GrantType)
	if err != nil {
		return nil, err
	}
	if !a.keyBound && a.st.byWorkload(r.Header, req) {
		err, grant = s.identify(ctx, a), s.grantWorkload
	} else {
		a.client, err = s.authenticate(ctx, a.st, r.Header, req)
	}
	if err != nil {
		return nil, err
	}
	if !a.st.idp { // asks for a refresh token, which the registration decides
		req.Scope = req.Scope.Minus(oauth.Scopes{"offline_access"})
	}
	a.seen.Client = a.client.client.ID
	if a.proof, err = s.proofKey(a, r); err != nil {
		return nil, err
	}
	if a.cert, err = a.boundCertificate(ctx); err != nil {
		return nil, err
	}
	return s.issue(ctx, a, grant)
}

func (s *Server) grantFor(grantType string) (grantFunc, error) {
	if grantType == "" {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "grant_type is missing"}
	}
	grant, ok := s.grants[grantType]
	if !ok {
		return nil, &oauth.Error{Code: oauth.UnsupportedGrantType, Description: "the metadata lists the grants that exist here"}
	}
	return grant, nil
}

// issue is what follows authentication: grant, narrow, mint. If another
// request changed a record between reading and writing it starts again.
func (s *Server) issue(ctx context.Context, a *asked, grant grantFunc) (*oauth.TokenResponse, error) {
	if !a.st.mayUse(a.client.client, a.GrantType) {
		return nil, &oauth.Error{Code: oauth.UnauthorizedClient, Description: "this client is not registered for this grant"}
	}
	scope := a.Scope
	for range attempts {
		a.Scope = scope
		g, err := grant(ctx, a)
		if err != nil {
			return nil, err
		}
		if err := s.narrow(ctx, a, g); err != nil {
			return nil, err
		}
		res, err := s.mint(ctx, a, g)
		switch {
		case errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrTaken) || errors.Is(err, store.ErrNotFound):
			a.again = true
			continue
		case errors.Is(err, store.ErrSeen):
			if err := s.seenBefore(ctx, a); err != nil {
				return nil, err
			}
			continue
		case err != nil:
			return nil, err
		}
		return res, s.stillHere(ctx, a, g)
	}
	return nil, &oauth.Error{Code: oauth.TemporarilyUnavailable, Description: "too many requests for the same grant at once"}
}

// narrow makes a grant what the request, the client's registration, the
// resource and the access rules leave of it.
func (s *Server) narrow(ctx context.Context, a *asked, g *granted) error {
	subject := &g.grant.Subject
	a.seen.Resource, a.seen.Scope = g.grant.Resource, g.grant.Scopes.String()
	if !subject.IsClient() {
		a.seen.Person = subject.ID
		if err := s.here(ctx, g); errors.Is(err, ledger.ErrLeft) {
			return a.invalid(leftReason(err), err)
		} else if err != nil {
			return err
		}
		if err := s.chargePerson(ctx, a); err != nil {
			return err
		}
	}
	var err error
	if subject.Groups, err = s.groupsOf(ctx, a.st, subject); err != nil {
		return err
	}
	if g.grant.Scopes, err = g.grant.Scopes.Narrow(a.Scope); err != nil {
		return err
	}
	if g.grant.Details, err = a.narrowDetails(g.grant.Details); err != nil {
		return err
	}
	q := access.Question{Subject: subjectOf(subject, a.client.client.ID), Resource: g.grant.Resource, Now: s.now()}
	answer := g.rules.Decide(q)
	if !answer.Allowed {
		return a.refusedBy(g.rules, answer, false)
	}
	if len(g.grant.Scopes) > 0 {
		kept, answer := g.rules.Scopes(q, g.grant.Scopes)
		if len(kept) == 0 {
			return a.refusedBy(g.rules, answer, true)
		}
		g.grant.Scopes = kept
	}
	a.seen.Rule, a.seen.Scope = answer.Rule, g.grant.Scopes.String()
	return nil
}

// here is ledger.CheckPerson of the grant's person, whose account may be at hand. A
// grant that is held to what it stands on is held to it too.
func (s *Server) here(ctx context.Context, g *granted) error {
	if g.person != nil {
		return g.person.Here()
	}
	same, err := s.ledger.HoldPerson(ctx, g.grant.Subject.ID)
	if err == nil && len(g.holds) > 0 {
		g.holds = append(g.holds, same)
	}
	return err
}

// stillHere ends a grant that is new, or that other tokens stand on, if its
// person left or its issuer was taken out while the answer was made. What the
// commit was held to is not looked at again.
func (s *Server) stillHere(ctx context.Context, a *asked, g *granted) error {
	if !g.made && !g.stands {
		return nil
	}
	var err error
	if len(g.holds) > 0 {
		err = s.endIfOver(ctx, &g.grant)
	} else {
		err = s.endIfLeft(ctx, &g.grant)
	}
	switch {
	case errors.Is(err, ledger.ErrLeft):
		return a.invalid(leftReason(err), err)
	case err != nil:
		return err
	}
	if err := s.endIfDistrusted(ctx, a, &g.grant); err != nil || !g.stands || !s.ended.Has(g.grant.ID) {
		return err
	}
	return a.invalid("grant_over", nil) // its tokens are refused, so the client may as well know
}

// boundBy is the scopes that still exist at the resource and that the client's
// registration allows, of those that were granted once.
func (a *asked) boundBy(res *resource, scopes oauth.Scopes) (oauth.Scopes, error) {
	kept := res.bound(scopes.Intersect(res.scopes), a.client.client.Scopes)
	if len(kept) == 0 && len(scopes) > 0 {
		return nil, a.invalid("scope_withdrawn", nil)
	}
	return kept, nil
}

// sameResource checks that the resource parameter, if there is one, means the
// resource of the grant (AS-RES-03).
func (a *asked) sameResource(id string) error {
	if len(a.Resources) == 0 {
		return nil
	}
	res, err := a.st.resource(a.Resources)
	if err != nil {
		return err
	}
	if res.ID != id {
		return &oauth.Error{Code: oauth.InvalidTarget, Description: "this grant is for another resource"}
	}
	return nil
}

// reasonLeft and reasonInactive are the audit's reasons for whoever left.
const (
	reasonLeft     = "person_left"
	reasonInactive = "person_inactive"
)

// leftReason is which of the two an error that is ledger.ErrLeft means.
func leftReason(err error) string {
	if errors.Is(err, ledger.ErrInactive) {
		return reasonInactive
	}
	return reasonLeft
}

// invalidTexts are what invalid_grant says outside, by grant.
var invalidTexts = map[string]string{
	oauth.AuthorizationCode: "the code is not valid for this request",
	oauth.RefreshToken:      "the refresh token is not valid: sign in again",
	oauth.DeviceCode:        "the device code is not valid for this request: begin again",
	oauth.JWTBearer:         "assertion is not acceptable",
	oauth.TokenExchange:     "subject_token is not acceptable: sign in again",
}

// invalid is invalid_grant. From outside it looks the same whatever is wrong;
// reason and cause are for the audit and the log.
func (a *asked) invalid(reason string, cause error) *oauth.Error {
	return &oauth.Error{Code: oauth.InvalidGrant, Description: invalidTexts[a.GrantType], Reason: reason, Err: cause}
}

// refusedBy is the refusal of an access rule. A client that holds a code or a
// refresh token is told that the grant is over, so that it signs in again; at
// an identity provider signing in again does not help (CONFLICT-4).
func (a *asked) refusedBy(rules access.Rules, answer access.Answer, scope bool) *oauth.Error {
	a.seen.Rule = answer.Rule
	e := &oauth.Error{Code: oauth.AccessDenied, Reason: answer.Reason, Description: "refused by rule " + answer.Rule}
	if answer.Rule == "" {
		e.Description = "no rule of " + rules.Name + " allows this"
	}
	again := a.GrantType == oauth.AuthorizationCode || a.GrantType == oauth.RefreshToken || a.GrantType == oauth.DeviceCode
	switch {
	case again:
		e.Code = oauth.InvalidGrant
	case a.workload != nil && !scope: // AS-WIF-04
		e.Code = oauth.UnauthorizedClient
	case answer.Reason == access.NeedsLogin: // RFC 9470 section 3, ID-JAG section 9
		e.Code, e.MaxAge = oauth.InsufficientUserAuth, int(answer.MaxAge/time.Second)
		e.Description = "rule " + answer.Rule + " needs a fresher sign-in"
		if len(answer.AMR) > 0 {
			e.Description = "rule " + answer.Rule + " needs a sign-in with " + strings.Join(answer.AMR, ", ")
		}
	case scope:
		e.Code = oauth.InvalidScope
	case a.GrantType == oauth.TokenExchange:
		e.Code = oauth.InvalidTarget
	}
	return e
}

// event is e with what all events of an action that was done have.
func (s *Server) event(action string, e audit.Event) audit.Event {
	s.fillIn(&e, action)
	return e
}

func (s *Server) fillIn(e *audit.Event, action string) {
	e.Time, e.Action = s.now(), action
	if e.Outcome == "" {
		e.Outcome = "ok"
	}
}
