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
	client, err := s.authenticate(ctx, st, r.Header, req)
	if err != nil {
		return nil, err
	}
	tokens := form["token"]
	if len(tokens) != 1 || tokens[0] == "" {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "one token is needed"}
	}
	id, err := s.grantOfToken(ctx, st, client.client.ID, tokens[0])
	if err != nil || id == "" {
		return nil, err
	}
	receipt, err := s.ledger.End(ctx, ledger.Which{Grant: id}, "revoked by its client")
	if err != nil {
		return nil, err
	}
	for _, g := range receipt.Grants {
		e := audit.Event{Grant: g.ID, Client: g.Client, Resource: g.Resource, Scope: g.Scope, Address: address(r)}
		if g.Person != "client:"+g.Client {
			e.Person = g.Person
		}
		s.audit.Add(s.event("revoke", e))
	}
	return nil, nil
}

// grantOfToken is the grant of a token that belongs to the client; "" if it is
// no such token. The form of a token tells its kind: the hint is not needed.
func (s *Server) grantOfToken(ctx context.Context, st *settings, client, token string) (string, error) {
	var id string
	if t, ok := parseRefresh(s.derived.refreshMAC, token); ok {
		id = t.grantID()
	} else if c, ok := s.ownAccess(ctx, st, token); ok {
		id, _ = c.Text("gid")
	}
	if id == "" {
		return "", nil
	}
	g, err := s.ledger.Grant(ctx, id)
	if notFound(err) || err == nil && g.Client != client {
		return "", nil
	}
	return id, err
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
