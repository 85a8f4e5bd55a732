package authserver

import (
	"context"
	"net/http"
	"net/url"

	"doorward/internal/audit"
	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

// revoke is the revocation endpoint (RFC 7009): the grant of a client's own
// refresh or access token ends. Whatever else is sent gets the same answer.
func (s *Server) revoke(ctx context.Context, st *settings, r *http.Request, form url.Values) (any, error) {
	req, err := oauth.ParseTokenRequest(form)
	if err != nil {
		return nil, err
	}
	client, err := s.authenticate(ctx, st, r.Header, &req)
	if err != nil {
		return nil, err
	}
	token, err := tokenOf(form)
	if err != nil {
		return nil, err
	}
	g, err := s.grantOfToken(ctx, st, client.client.ID, token)
	if err != nil || g == nil {
		return nil, err
	}
	e := audit.Event{Grant: g.ID, Client: g.Client, Resource: g.Resource, Scope: g.Scopes.String(), Address: address(r)}
	if g.Subject.ID != "client:"+g.Client {
		e.Person = g.Subject.ID
	}
	_, err = s.ledger.End(ctx, ledger.Which{Grant: g.ID}, "revoked by its client", s.ledger.AuditOp(s.event("revoke", e)))
	return nil, err
}

// tokenOf is the parameter token of a revocation or introspection request. Its
// hint is not needed: the form of a token tells its kind.
func tokenOf(form url.Values) (string, error) {
	tokens := form["token"]
	if len(tokens) != 1 || tokens[0] == "" || len(form["token_type_hint"]) > 1 {
		return "", &oauth.Error{Code: oauth.InvalidRequest, Description: "one token is needed, and at most one token_type_hint"}
	}
	return tokens[0], nil
}

// grantOfToken is the grant of a token that belongs to the client; nil if it is
// no such token. A genuine token of another kind is unsupported_token_type
// (RFC 7009 section 2.2.1): it lives its short life.
func (s *Server) grantOfToken(ctx context.Context, st *settings, client, token string) (*ledger.Grant, error) {
	var id string
	if t, ok := parseRefresh(s.derived.refreshMAC, token); ok {
		id = t.grantID()
	} else if c, ok := s.ownAccess(ctx, st, token); ok {
		id, _ = c.Text("gid")
	} else if s.ownStatement(ctx, st, token) {
		return nil, &oauth.Error{Code: oauth.UnsupportedTokenType, Description: "only access and refresh tokens can be revoked"}
	}
	if id == "" {
		return nil, nil
	}
	g, err := s.ledger.Grant(ctx, id)
	switch {
	case notFound(err) || err == nil && g.Client != client:
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &g, nil
}

// ownAccess checks an access token of this issuer, whatever its audience.
func (s *Server) ownAccess(ctx context.Context, st *settings, token string) (jose.Claims, bool) {
	v, err := s.verifyOwn(ctx, token, oauth.TypAccessToken)
	if err != nil {
		return nil, false
	}
	c := v.Claims()
	iss, err := c.Text("iss")
	return c, err == nil && iss == st.cfg.URL && jose.CheckTimes(c, s.now(), 0) == nil
}

// ownStatement reports whether it is a living ID token or ID-JAG of this
// issuer. Whose it is does not matter: that it is genuine, anybody sees from
// its signature.
func (s *Server) ownStatement(ctx context.Context, st *settings, token string) bool {
	for _, typ := range []string{oauth.TypIDToken, oauth.TypIDJAG} {
		if v, err := s.verifyOwn(ctx, token, typ); err == nil {
			iss, err := v.Claims().Text("iss")
			return err == nil && iss == st.cfg.URL && jose.CheckTimes(v.Claims(), s.now(), 0) == nil
		}
	}
	return false
}
