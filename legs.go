package doorward

import (
	"context"
	"time"

	"golang.org/x/oauth2"

	"doorward/internal/oauth"
)

// Exchange asks the IdP of the CrossApp for an ID-JAG of the context's person
// (RFC 8693; the first leg of cross-app access), for the authorization server
// issuer, the resource (empty: none) and scopes. The AccessToken of the result is
// the ID-JAG, with the Expiry that it has and the TokenType N_A; Extra("scope")
// is what it carries. Nothing is kept. Programs that call MCP servers need
// neither Exchange nor Redeem: RoundTrip does both.
func (t *Transport) Exchange(ctx context.Context, issuer, resource string, scopes ...string) (*oauth2.Token, error) {
	f, w, err := t.leg(ctx, issuer, resource, scopes)
	if err != nil {
		return nil, err
	}
	j, until, err := f.assertion(ctx, w, &oauth.ServerMetadata{Issuer: issuer})
	if err != nil {
		return nil, err
	}
	if !until.IsZero() {
		until = until.Add(requestTime)
	}
	return tokenOf(j.assertion, "N_A", until, j.scopes), nil
}

// Redeem gets an access token for an ID-JAG (RFC 7523 section 2.1; the second
// leg) at the authorization server issuer, whose metadata names the endpoint.
// Extra("scope") is what was granted, as far as the answer says. Nothing is kept.
func (t *Transport) Redeem(ctx context.Context, issuer, resource, assertion string, scopes ...string) (*oauth2.Token, error) {
	f, w, err := t.leg(ctx, issuer, resource, scopes)
	if err != nil {
		return nil, err
	}
	as, err := t.metadata(ctx, w.target)
	if err != nil {
		return nil, err
	}
	if err := t.bound(f.Server, as.Issuer); err != nil {
		return nil, err
	}
	g, err := f.redeem(ctx, w, as, jag{assertion: assertion, scopes: w.scopes})
	if err != nil {
		return nil, err
	}
	return tokenOf(g.access, tokenType(g.key), g.expires, g.granted), nil
}

// leg is what both legs start from.
func (t *Transport) leg(ctx context.Context, issuer, resource string, scopes []string) (*CrossApp, want, error) {
	f, ok := t.Flow.(*CrossApp)
	if !ok {
		return nil, want{}, misconfigured("Exchange and Redeem need a CrossApp")
	}
	if err := oauth.CheckIssuer(issuer); err != nil {
		return nil, want{}, misconfigured("the authorization server's issuer: %v", err)
	}
	who, err := t.who(ctx)
	if err != nil {
		return nil, want{}, err
	}
	at := target{server: resource, covers: resource, resource: resource, issuer: issuer, by: byUser}
	w := want{t: t, target: at, scopes: oauth.Scopes(nil).Union(scopes).Union(f.Scopes), subject: who}
	if t.DPoP != nil {
		if w.key, err = t.proofKey(issuer); err != nil {
			return nil, want{}, err
		}
	}
	return f, w, nil
}

func tokenOf(token, kind string, expires time.Time, scopes oauth.Scopes) *oauth2.Token {
	t := &oauth2.Token{AccessToken: token, TokenType: kind, Expiry: expires}
	return t.WithExtra(map[string]any{"scope": scopes.String()})
}
