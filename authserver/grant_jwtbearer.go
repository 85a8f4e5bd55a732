package authserver

import (
	"context"
	"errors"
	"fmt"

	"doorward/internal/dpop"
	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// Replay policies of a trusted issuer (CONFLICT-1).
const (
	replayAuto        = "auto"         // the same bytes again by the same authenticated client for the same resource
	replayNever       = "never"        // once
	replayUntilExpiry = "until-expiry" // by an authenticated client as often as it likes
)

// grantJWTBearer turns another issuer's ID-JAG into a grant here (RFC 7523
// section 2.1, ID-JAG section 4.4).
func (s *Server) grantJWTBearer(ctx context.Context, a *asked) (*granted, error) {
	switch {
	case a.Assertion == "":
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "assertion is missing"}
	case a.AuthorizationDetails != "" && len(a.st.cfg.AuthorizationDetails) == 0:
		return nil, &oauth.Error{Code: oauth.InvalidAuthzDetails, Description: "no type of authorization_details exists here"}
	}
	from, claims, err := s.verifyAssertion(ctx, a)
	if err != nil {
		return nil, a.unacceptable(err)
	}
	jag, err := checkIDJAG(claims, from, a.st.cfg.URL, a.client.client.ID, a.proof.Key(), s.now())
	if err != nil {
		return nil, a.unacceptable(err)
	}
	if a.keyBound && !claims.Has("cnf") { // AS-JAG-28
		return nil, a.unacceptable(reject(dpop.ReasonKey, "the grant type jwt-dpop is for assertions that are bound to a key, and there is no cnf"))
	}
	if claims.Has("cnf") {
		jag.key = a.proof.Key()
	}
	a.seen.JTI, a.seen.Person = jtiHash(jag.jti), jag.subject.ID
	res, err := jag.pickResource(a.st, a.Resources)
	if err != nil {
		return nil, a.unacceptable(err)
	}
	a.seen.Resource = res.ID
	if jag.details, err = a.st.details(jag.detailsText, res); err != nil { // AS-JAG-15
		return nil, a.unacceptable(reject("authorization_details", "%v", err))
	}
	scopes, err := jag.entitled(res, a.client.client.Scopes, from.Scopes)
	if err != nil {
		return nil, a.unacceptable(err)
	}
	if err := a.intersect(scopes, res); err != nil {
		return nil, err
	}
	return s.grantOfAssertion(ctx, a, from, &jag, res, scopes)
}

// verifyAssertion finds the trusted issuer and checks class and signature
// (AS-JAG-03, 04, 25).
func (s *Server) verifyAssertion(ctx context.Context, a *asked) (*issuer, jose.Claims, error) {
	if err := s.decrypted(a); err != nil {
		return nil, nil, err
	}
	read, err := jose.Read(a.Assertion)
	if err != nil {
		return nil, nil, reject("malformed", "%v", err)
	}
	iss, err := read.Claims().Text("iss")
	switch {
	case err != nil:
		return nil, nil, reject("malformed", "%v", err)
	case iss == "":
		return nil, nil, reject("malformed", "iss is missing")
	case iss == a.st.cfg.URL:
		return nil, nil, reject("own_issuer", "iss is this issuer itself")
	}
	from := a.st.issuers[iss]
	if from == nil {
		inVain(read)
		return nil, nil, reject("unknown_issuer", "iss %.200q is no trusted issuer", iss)
	}
	v, err := from.verify(ctx, read, idjagTypes)
	if err != nil {
		if !errors.Is(err, jose.ErrSignature) {
			inVain(read)
		}
		return nil, nil, reject("signature", "%v", err)
	}
	a.seen.Issuer = iss
	if a.encrypted && !from.Encrypted {
		return nil, nil, reject("encrypted", "it is encrypted, and %s may not (encrypted)", from.name)
	}
	if !a.client.registeredFor(oauth.JWTBearer) && !listed(from.PublicClients, a.client.client) { // AS-JAG-02
		return nil, nil, reject("public_client", "a client without a secret, and %s does not list it", from.name)
	}
	return from, v.Claims(), nil
}

var idjagTypes = []string{oauth.TypIDJAG}

// inVain checks a signature whose outcome is known, so that the time of the
// refusal does not tell which issuers are trusted (AS-JAG-04).
func inVain(token jose.Unverified) { token.Verify(jose.Decoy(), assertionAlgs, idjagTypes) }

// intersect makes the request's scopes those that it asks for and the
// assertion entitles to. Nothing left is invalid_scope (CONFLICT-9).
func (a *asked) intersect(entitled oauth.Scopes, res *resource) error {
	if len(a.Scope) > 0 {
		a.Scope = a.Scope.Intersect(entitled)
	} else {
		a.Scope = entitled
	}
	if len(a.Scope) == 0 && len(res.scopes) > 0 {
		return &oauth.Error{Code: oauth.InvalidScope, Description: "nothing is left of the scopes: the assertion, the request and this client's registration have none in common"}
	}
	return nil
}

// grantOfAssertion finds or makes the grant of what the assertion states. The
// single use of its jti is spent in the commit of all that the answer writes
// (AS-JAG-09).
func (s *Server) grantOfAssertion(ctx context.Context, a *asked, from *issuer, jag *idjag, res *resource, scopes oauth.Scopes) (*granted, error) {
	out := &granted{rules: res.rules, life: a.st.tokens.AccessIDJAG, stands: true}
	if a.repeats != "" {
		return s.grantAgain(ctx, a, jag, res, scopes, out)
	}
	var err error
	var news []store.Op
	if out.person, news, err = s.accountOps(ctx, a, from, &jag.subject); err != nil {
		return nil, err
	}
	if len(news) == 0 { // else what they write fails if the account has changed
		out.holds = []store.Op{out.person.Same()}
	}
	rec := &ledger.Grant{Grant: oauth.Grant{Subject: jag.subject, Client: a.client.client.ID, Resource: res.ID, Scopes: scopes, Details: jag.details,
		Type: oauth.JWTBearer, Issuer: from.Issuer, Key: jag.key}}
	if rec, err = s.grantOfStatement(ctx, rec, out.life); err != nil {
		return nil, err
	}
	out.made = rec.New()
	out.write, out.stored, out.grant = out.made, rec, rec.Grant
	a.use = s.useOf(a, from, jag, res.ID)
	out.once = append(append(make([]store.Op, 0, 2), a.use.op(rec.ID)), news...)
	return out, nil
}

// grantAgain finds the grant that the same request was answered with.
func (s *Server) grantAgain(ctx context.Context, a *asked, jag *idjag, res *resource, scopes oauth.Scopes, out *granted) (*granted, error) {
	now := s.now()
	rec, err := s.ledger.FindGrant(ctx, a.repeats)
	switch {
	case notFound(err), err == nil && (!rec.Active(now) || rec.Subject.ID != jag.subject.ID):
		return nil, a.invalid("grant_over", nil)
	case err != nil:
		return nil, err
	}
	if err := a.intersect(rec.Scopes.Intersect(scopes), res); err != nil {
		return nil, err
	}
	out.write, out.stored, out.grant = true, rec, rec.Grant
	out.withinKept(rec, now)
	return out, nil
}

// accountOps reads the account of a person, makes it if they are new, or refuses
// them; what the issuer says now of name and address replaces what it said before.
func (s *Server) accountOps(ctx context.Context, a *asked, from *issuer, p *oauth.Subject) (*ledger.Account, []store.Op, error) {
	acc, err := s.ledger.Account(ctx, p.ID)
	switch {
	case notFound(err) && from.ExistingOnly:
		return nil, nil, a.invalid("no_account", fmt.Errorf("%s has no account here and %s may not make one", p.ID, from.name))
	case notFound(err):
		acc = ledger.Account{ID: p.ID, Provider: p.Provider, Account: p.Account, Created: s.now()}
	case err != nil:
		return nil, nil, err
	case acc.Name == p.Name && acc.Email == p.Email:
		return &acc, nil, nil
	}
	acc.Name, acc.Email = p.Name, p.Email
	return &acc, []store.Op{acc.Put()}, nil
}

// unacceptable makes a rejection look the same as every other from outside.
func (a *asked) unacceptable(err error) error {
	var r *rejection
	if errors.As(err, &r) {
		return a.invalid(r.reason, err)
	}
	return err
}
