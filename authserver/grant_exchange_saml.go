package authserver

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"doorward/internal/ledger"
	"doorward/internal/login"
	"doorward/internal/oauth"
	"doorward/internal/saml"
	"doorward/store"
)

// samlSubject is somebody of whom a SAML assertion says who they are.
type samlSubject struct {
	oauth.Subject
	ends time.Time // of what comes of it
	ops  []store.Op
}

// signsInBySAML reports whether a provider is there and is a SAML one: without it
// nothing stands behind what its assertions were exchanged for.
func (st *settings) signsInBySAML(provider string) bool {
	p := st.provider(provider)
	return p != nil && p.saml != nil
}

// samlSubject checks a SAML 2.0 assertion that a client got as a service
// provider (ID-JAG section 4.5): of a provider that people sign in at, made for
// this very client, sent to where it takes them, used once. Who answered which
// request the client has to know; it authenticates, so it is not somebody who
// found the assertion.
func (s *Server) samlSubject(ctx context.Context, a *asked) (samlSubject, error) {
	var none samlSubject
	c := a.client.client
	if !a.client.registeredFor(oauth.TokenExchange) || c.SAMLEntityID == "" {
		return none, &oauth.Error{Code: oauth.UnauthorizedClient, Reason: "saml_client", Description: "this client has no SAML entity id here, or no secret"}
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(a.SubjectToken, "="))
	if err != nil {
		return none, a.invalid("saml_assertion", errors.New("it is not base64url (RFC 8693 section 3)"))
	}
	p, idp, err := s.samlIssuer(ctx, a, raw)
	if err != nil {
		return none, err
	}
	a.seen.Issuer = idp.EntityID
	said, err := saml.CheckAssertion(raw, saml.Expected{From: idp, Audience: c.SAMLEntityID, Recipients: c.SAMLACS, AnyRequest: true, Now: s.now()})
	if err != nil {
		return none, a.invalid("saml_assertion", err)
	}
	claims, err := p.saml.claims(said)
	if err != nil {
		return none, err
	}
	var who idjag
	if err = who.account(claims, p.trust); err == nil {
		err = who.person(claims, p.trust)
	}
	if err != nil {
		return none, a.invalid("saml_assertion", err)
	}
	_, ops, err := s.accountOps(ctx, a, p.trust, &who.subject)
	if err != nil {
		return none, err
	}
	out := samlSubject{Subject: who.subject, ends: s.now().Add(login.Lifetime), ops: append(ops, store.Once(assertionOnce(said), said.Until))}
	if !said.SessionEnds.IsZero() && said.SessionEnds.Before(out.ends) {
		out.ends = said.SessionEnds
	}
	return out, nil
}

// samlIssuer is the provider whose assertion it says to be.
func (s *Server) samlIssuer(ctx context.Context, a *asked, raw []byte) (*provider, saml.IdentityProvider, error) {
	issuer, err := saml.IssuerOf(raw)
	if err != nil {
		return nil, saml.IdentityProvider{}, a.invalid("saml_assertion", err)
	}
	var down error
	for _, p := range a.st.providers {
		if p.saml == nil {
			continue
		}
		idp, err := p.saml.describe(ctx, s.now())
		if err == nil && idp.EntityID == issuer {
			return p, idp, nil
		}
		if err != nil {
			down = err
		}
	}
	if down != nil { // perhaps it is the one
		return nil, saml.IdentityProvider{}, &oauth.Error{Code: oauth.TemporarilyUnavailable, Reason: "provider_down", Err: down,
			Description: "the provider's metadata cannot be had at the moment: try again in a minute"}
	}
	return nil, saml.IdentityProvider{}, a.invalid("saml_assertion", errors.New("its issuer is no provider here"))
}

// grantSAML makes a refresh token of an assertion: a sign-in that lasts as long
// as one in a browser, and no longer than the provider's session.
func (s *Server) grantSAML(ctx context.Context, a *asked) (*granted, error) {
	if !a.st.mayUse(a.client.client, oauth.RefreshToken) {
		return nil, &oauth.Error{Code: oauth.UnauthorizedClient, Description: "this client is not registered for refresh tokens"}
	}
	if !a.Scope.Has("openid") || !a.Scope.Has("offline_access") {
		return nil, &oauth.Error{Code: oauth.InvalidScope, Description: "a refresh token needs the scopes openid and offline_access"}
	}
	who, err := s.samlSubject(ctx, a)
	if err != nil {
		return nil, err
	}
	res, now := a.st.byID(a.st.cfg.URL), s.now()
	if err := a.sameResource(res.ID); err != nil {
		return nil, err
	}
	g := ledger.Grant{Grant: oauth.Grant{ID: orderedText(now, idSize), Subject: who.Subject, Client: a.client.client.ID, Resource: res.ID,
		Type: oauth.TokenExchange, Created: now}}
	if g.Scopes, err = a.boundBy(res, a.Scope.Intersect(res.scopes)); err != nil {
		return nil, err
	}
	a.Scope = g.Scopes
	out := &granted{grant: g.Grant, stored: &g, rules: res.rules, write: true, made: true, ops: who.ops}
	if out.refresh, err = s.firstRefresh(&g, a.st.tokens); err != nil {
		return nil, err
	}
	if who.ends.Before(g.Expires) {
		g.Expires = who.ends
	}
	return out, nil
}

// mintRefresh gives a refresh token out as what was issued (RFC 8693 section
// 2.2.1, ID-JAG section 4.5).
func (s *Server) mintRefresh(ctx context.Context, a *asked, g *granted) (*oauth.TokenResponse, error) {
	return &oauth.TokenResponse{AccessToken: g.refresh, IssuedTokenType: oauth.TokenTypeRefreshToken, TokenType: "N_A",
		Scope: g.grant.Scopes.String()}, s.keep(ctx, a, g, s.now())
}
