package authserver

import (
	"context"
	"errors"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// grantCode redeems an authorization code (OAuth 2.1 section 4.1.3). The code
// is used up in the commit that makes the grant's handles, so a request that
// fails for any reason leaves it as it was, and of two one wins: both write over
// the same version of the grant, or both make it.
func (s *Server) grantCode(ctx context.Context, a *asked) (*granted, error) {
	a.Scope = nil // no parameter of this request
	if a.Code == "" {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "code is missing"}
	}
	g, lent, err := s.byCode(ctx, a.Code, a.again)
	if notFound(err) {
		return nil, a.invalid("code_unknown", nil)
	}
	if err != nil {
		return nil, err
	}
	a.seen.Grant, a.seen.Person, a.seen.Resource = g.ID, g.Subject.ID, g.Resource
	if err := a.checkCode(g); err != nil {
		return nil, err
	}
	if g.Code.Used { // AS-CODE-03: everything else was right
		_, err := s.ledger.End(ctx, ledger.Which{Grant: g.ID}, "code redeemed twice")
		return nil, errors.Join(err, a.invalid("code_used", nil))
	}
	var holds []store.Op
	if lent {
		g.Subject, holds, err = s.lender(ctx, a, g)
		switch {
		case errors.Is(err, errNotLent):
			return nil, a.invalid("code_not_lent", err)
		case err != nil:
			return nil, err
		}
		a.seen.Person = g.Subject.ID
	}
	res := a.st.byID(g.Resource)
	if !g.Active(s.now()) || res == nil {
		return nil, a.invalid("grant_over", nil)
	}
	if g.Scopes, err = a.boundBy(res, g.Scopes); err != nil {
		return nil, err
	}
	g.Key = a.bindTo(g.Key)
	g.Code.Used = true // what it is bound to stays: whoever shows it again is checked as before
	out := &granted{grant: g.Grant, stored: g, rules: res.rules, life: a.st.tokens.Access, write: true}
	if a.st.mayUse(a.client.client, oauth.RefreshToken) { // AS-TOKEN-04
		out.refresh, err = s.firstRefresh(g, a.st.tokens)
	}
	if lent { // the record must be there as long as somebody can show the code again
		out.made, out.holds = true, holds
		if g.Expires.Before(g.Code.Until) {
			g.Expires = g.Code.Until
		}
	}
	return out, err
}

// checkCode is whether the code belongs to this request: its client
// (AS-CODE-01), its redirect URI if one is named (AS-REDIR-06), its verifier
// (RFC 7636 section 4.6), its resource and its key (RFC 9449 section 10).
func (a *asked) checkCode(g *ledger.Grant) error {
	code := g.Code
	if g.Client != a.client.client.ID {
		return a.invalid("code_of_another_client", nil)
	}
	if a.RedirectURI != "" && a.RedirectURI != code.RedirectURI {
		return a.invalid("redirect_uri_differs", nil)
	}
	if code.Challenge == "" { // AS-PKCE-04; no code of ours is without one
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "this code was asked for without code_challenge"}
	}
	if err := oauth.CheckVerifier(a.CodeVerifier, code.Challenge); err != nil {
		var e *oauth.Error
		if errors.As(err, &e) && e.Code == oauth.InvalidGrant {
			return a.invalid("wrong_verifier", nil)
		}
		return err
	}
	if err := a.sameResource(g.Resource); err != nil {
		return err
	}
	return a.holds(code.Key)
}
