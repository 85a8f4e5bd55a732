package doorward

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// CrossApp gets tokens by cross-app access, the MCP extension
// io.modelcontextprotocol/enterprise-managed-authorization: it exchanges what
// proves the person at the company's IdP for an ID-JAG and redeems that at the
// MCP server's authorization server. Nobody sees a consent page, and a refusal
// by the IdP is final: there is no other way to the token.
type CrossApp struct {
	// IdP is this client's identity at the company's IdP; Issuer and ID are required.
	IdP Credentials
	// Server is this client's identity at the authorization server; ID is
	// required. With an Issuer, only that authorization server is used, whether
	// or not its metadata mentions ID-JAGs.
	Server Credentials
	// Subject returns the person of the request whose context it gets. It is
	// asked for each request, so that a program that serves many people never
	// mixes their tokens; its Token should be fresh enough to be exchanged.
	Subject func(ctx context.Context) (Subject, error)
	// Scopes are asked for besides those that the MCP server names.
	Scopes []string
}

func (f *CrossApp) server() Credentials { return f.Server }

func (f *CrossApp) subject(ctx context.Context) (Subject, error) {
	if f.IdP.Issuer == "" || f.IdP.ID == "" || f.Server.ID == "" || f.Subject == nil {
		return Subject{}, misconfigured("CrossApp needs IdP.Issuer, IdP.ID, Server.ID and Subject")
	}
	s, err := f.Subject(ctx)
	if err != nil {
		return Subject{}, &Error{Step: stepSubject, Server: f.IdP.Issuer, Who: whoPerson, Description: "nobody is signed in", Err: err}
	}
	if s.Person == "" && s.Token == "" {
		return Subject{}, &Error{Step: stepSubject, Server: f.IdP.Issuer, Who: whoMaker, Description: "Subject names neither a Person nor a Token"}
	}
	s = s.named()
	if s.Type == "" {
		s.Type = oauth.TokenTypeIDToken
	}
	return s, nil
}

// named is a Subject with a Person: the hash of its Token if it has none.
func (s Subject) named() Subject {
	if s.Person == "" && s.Token != "" {
		sum := sha256.Sum256([]byte(s.Token))
		s.Person = "sha256:" + hex.EncodeToString(sum[:])
	}
	return s
}

// jagKey is what an ID-JAG is for.
type jagKey struct{ idp, client, issuer, resource, person, scopes string }

// jag is an ID-JAG that is kept until its exp, with the scopes that it carries.
type jag struct {
	assertion string
	scopes    oauth.Scopes
}

// obtain redeems an ID-JAG that is still held and asks for a new one when
// there is none or the authorization server refuses it, once (C-EMA-06).
func (f *CrossApp) obtain(ctx context.Context, w want) (got, error) {
	as, err := w.t.metadata(ctx, w.target)
	if err != nil {
		return got{}, err
	}
	if err := f.check(as); err != nil {
		return got{}, err
	}
	if err := w.t.bound(f.Server, as.Issuer); err != nil {
		return got{}, err
	}
	w.scopes = w.scopes.Union(f.Scopes)
	key := jagKey{f.IdP.Issuer, f.IdP.ID, as.Issuer, w.target.resource, w.subject.Person, w.scopes.String()}
	if held, ok := w.t.state.jags.get(w.t.now(), key); ok {
		g, err := f.redeem(ctx, w, as, held)
		if !hasCode(err, oauth.InvalidGrant) {
			return g, err
		}
		w.t.state.jags.drop(key)
	}
	j, until, err := f.exchange(ctx, w, as)
	if err != nil {
		return got{}, err
	}
	g, err := f.redeem(ctx, w, as, j)
	if !until.IsZero() && !hasCode(err, oauth.InvalidGrant) {
		w.t.state.jags.put(w.t.now(), key, j, until)
	}
	return g, err
}

// check wants the authorization server to take ID-JAGs, by its metadata or
// because it was configured (C-EMA-01).
func (f *CrossApp) check(as *oauth.ServerMetadata) error {
	if f.Server.Issuer != "" || slices.Contains(as.AuthorizationGrantProfiles, oauth.ProfileIDJAG) ||
		slices.Contains(as.GrantTypesSupported, oauth.JWTBearer) {
		return nil
	}
	return unusable(stepDiscover, as.Issuer, "its metadata does not say that it takes ID-JAGs (authorization_grant_profiles_supported); if it does, set Server.Issuer of the CrossApp")
}

// exchange asks the IdP for an ID-JAG (RFC 8693, EMA section 4). Its endpoints
// come from the configured issuer, never from the MCP server (C-EMA-07).
func (f *CrossApp) exchange(ctx context.Context, w want, as *oauth.ServerMetadata) (jag, time.Time, error) {
	idp, err := w.t.idpMetadata(ctx, f.IdP.Issuer)
	if err != nil {
		return jag{}, time.Time{}, err
	}
	if w.subject.Token == "" {
		return jag{}, time.Time{}, &Error{Step: stepSubject, Server: f.IdP.Issuer, Who: whoPerson, Description: "Subject has no Token to exchange"}
	}
	form := w.formFor(oauth.TokenExchange)
	form.Set("requested_token_type", oauth.TokenTypeIDJAG)
	form.Set("audience", as.Issuer)
	form.Set("subject_token", w.subject.Token)
	form.Set("subject_token_type", w.subject.Type)
	setScope(form, w.scopes)
	a, err := w.t.tokenRequest(ctx, stepExchange, idp, byUser, f.IdP, "", form)
	if err != nil {
		return jag{}, time.Time{}, err
	}
	// Without issued_token_type the answer could be an access token (C-EMA-03).
	if a.IssuedTokenType != oauth.TokenTypeIDJAG {
		return jag{}, time.Time{}, unusable(stepExchange, idp.Issuer, "issued_token_type is %.80q instead of %s: this is no ID-JAG", a.IssuedTokenType, oauth.TokenTypeIDJAG)
	}
	if !strings.EqualFold(a.TokenType, "N_A") { // real providers send others: CONFLICT-15
		w.t.log().WarnContext(ctx, "ID-JAG with another token_type than N_A", "idp", idp.Issuer, "token_type", oauth.Printable(a.TokenType))
	}
	j := jag{assertion: a.AccessToken, scopes: w.scopes}
	if a.Scope != nil {
		if narrowed, err := oauth.ParseScope(*a.Scope); err == nil {
			j.scopes = narrowed
		}
	}
	return j, jagEnd(a, w.t.now()), nil
}

// jagEnd is when an ID-JAG is given up: by its exp and by expires_in, whichever
// is first, less what a request may take. Zero: it is not kept.
func jagEnd(a answer, now time.Time) time.Time {
	until := a.until(now)
	if _, claims, err := jose.Peek(a.AccessToken); err == nil {
		if exp, err := claims.Time("exp"); err == nil && !exp.IsZero() && (until.IsZero() || exp.Before(until)) {
			until = exp
		}
	}
	if until.IsZero() {
		return until
	}
	return until.Add(-5 * time.Second)
}

// redeem gets an access token for an ID-JAG (RFC 7523 section 2.1, EMA section 5).
func (f *CrossApp) redeem(ctx context.Context, w want, as *oauth.ServerMetadata, j jag) (got, error) {
	form := w.formFor(oauth.JWTBearer)
	form.Set("assertion", j.assertion)
	setScope(form, j.scopes)
	a, err := w.t.tokenRequest(ctx, stepRedeem, as, w.target.by, f.Server, "", form)
	if err == nil {
		err = bearer(stepRedeem, as.Issuer, a)
	}
	if err != nil {
		return got{}, err
	}
	return got{access: a.AccessToken, expires: a.until(w.t.now())}, nil
}
