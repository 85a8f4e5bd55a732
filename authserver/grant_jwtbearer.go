package authserver

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

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
func (s *Server) grantJWTBearer(ctx context.Context, a *asked) (granted, error) {
	switch {
	case a.Assertion == "":
		return granted{}, &oauth.Error{Code: oauth.InvalidRequest, Description: "assertion is missing"}
	case a.AuthorizationDetails != "" && len(a.st.cfg.AuthorizationDetails) == 0:
		return granted{}, &oauth.Error{Code: oauth.InvalidAuthzDetails, Description: "no type of authorization_details exists here"}
	}
	from, claims, err := s.verifyAssertion(ctx, a)
	if err != nil {
		return granted{}, a.unacceptable(err)
	}
	jag, err := checkIDJAG(claims, from, a.st.cfg.URL, a.client.client.ID, a.proof.Key(), s.now())
	if err != nil {
		return granted{}, a.unacceptable(err)
	}
	if a.keyBound && !claims.Has("cnf") { // AS-JAG-28
		return granted{}, a.unacceptable(reject(dpop.ReasonKey, "the grant type jwt-dpop is for assertions that are bound to a key, and there is no cnf"))
	}
	a.seen.JTI, a.seen.Person = jtiHash(jag.jti), jag.subject.ID
	res, err := jag.pickResource(a.st, a.Resources)
	if err != nil {
		return granted{}, a.unacceptable(err)
	}
	a.seen.Resource = res.ID
	if jag.details, err = a.st.details(jag.detailsText, res); err != nil { // AS-JAG-15
		return granted{}, a.unacceptable(reject("authorization_details", "%v", err))
	}
	scopes, err := jag.entitled(res, a.client.client.Scopes, from.Scopes)
	if err != nil {
		return granted{}, a.unacceptable(err)
	}
	if err := a.intersect(scopes, res); err != nil {
		return granted{}, err
	}
	return s.grantOfAssertion(ctx, a, from, jag, res, scopes)
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

// grantOfAssertion finds or makes the grant. The name of the grant is derived
// from the assertion's bytes, the client and the resource: the same request
// finds the same grant, anything else makes a new one and meets the single use
// of jti, which is spent in the same commit (AS-JAG-09).
func (s *Server) grantOfAssertion(ctx context.Context, a *asked, from *issuer, jag idjag, res *resource, scopes oauth.Scopes) (granted, error) {
	hash := sha256.Sum256([]byte(a.Assertion))
	id := s.assertionID(hash[:], a.client.client.ID, res.ID, jag.expires)
	now := s.now()
	out := granted{rules: res.rules, life: a.st.tokens.AccessIDJAG, write: true}
	var rec ledger.Grant
	err := error(store.ErrNotFound)
	if a.again || s.ledger.SawGrant(id) { // else it is taken to be new: if it is there, the commit says so
		rec, err = s.ledger.Grant(ctx, id)
	}
	switch {
	case err == nil:
		if from.Replay == replayNever || !a.client.proven {
			return granted{}, a.invalid("replay", nil)
		}
		if !rec.Active(now) {
			return granted{}, a.invalid("grant_over", nil)
		}
		rec.Scopes, rec.Subject = rec.Scopes.Union(scopes), jag.subject
		out.withinKept(rec, now)
	case notFound(err):
		rec = ledger.Grant{Assertion: hash[:], Grant: oauth.Grant{ID: id, Subject: jag.subject, Client: a.client.client.ID,
			Resource: res.ID, Scopes: scopes, Details: jag.details, Type: oauth.JWTBearer, Issuer: from.Issuer, Created: now,
			Expires: jag.expires.Add(assertionSkew)}}
		out.made = true
		if out.ops, err = s.firstUse(ctx, a, from, jag); err != nil {
			return granted{}, err
		}
	default:
		return granted{}, err
	}
	out.stored, out.grant = &rec, rec.Grant
	out.grant.Scopes = scopes
	return out, nil
}

// firstUse is what a new grant of an assertion writes besides: the use of its
// jti, and the account.
func (s *Server) firstUse(ctx context.Context, a *asked, from *issuer, jag idjag) ([]store.Op, error) {
	ops, err := s.accountOps(ctx, a, from, jag)
	if err != nil {
		return nil, err
	}
	if from.Replay == replayUntilExpiry && a.client.proven {
		return ops, nil
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q", from.Issuer, jag.jti))
	return append(ops, store.Once("jag:"+hex.EncodeToString(sum[:]), jag.expires.Add(assertionSkew+afterwards))), nil
}

// accountOps makes the account of a person who is new, or refuses them; what
// the issuer says now of name and address replaces what it said before.
func (s *Server) accountOps(ctx context.Context, a *asked, from *issuer, jag idjag) ([]store.Op, error) {
	p := jag.subject
	acc, err := s.ledger.Account(ctx, p.ID)
	switch {
	case notFound(err) && from.ExistingOnly:
		return nil, a.invalid("no_account", fmt.Errorf("%s has no account here and %s may not make one", p.ID, from.name))
	case notFound(err):
		acc = ledger.Account{ID: p.ID, Provider: p.Provider, Account: p.Account, Created: s.now()}
	case err != nil:
		return nil, err
	case acc.Name == p.Name && acc.Email == p.Email:
		return nil, nil
	}
	acc.Name, acc.Email = p.Name, p.Email
	return []store.Op{acc.Put()}, nil
}

// assertionID is the name of the grant, which begins with the second of the
// assertion's end, so that new grants lie together.
func (s *Server) assertionID(hash []byte, client, resource string, end time.Time) string {
	sum := s.derived.assertion.mac(fmt.Appendf(nil, "%x %q %q", hash, client, resource))
	id := append(binary.BigEndian.AppendUint64(nil, uint64(end.Unix()))[4:], sum...)
	return base64.RawURLEncoding.EncodeToString(id[:idSize])
}

// unacceptable makes a rejection look the same as every other from outside.
func (a *asked) unacceptable(err error) error {
	var r *rejection
	if errors.As(err, &r) {
		return a.invalid(r.reason, err)
	}
	return err
}
