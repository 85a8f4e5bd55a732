package authserver

import (
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// introspection says what a token is (RFC 7662 section 2.2). Personal data
// stays out, as out of the token itself.
type introspection struct {
	Active    bool            `json:"active"`
	Scope     string          `json:"scope,omitempty"`
	Client    string          `json:"client_id,omitempty"`
	TokenType string          `json:"token_type,omitempty"`
	Expires   int64           `json:"exp,omitempty"`
	IssuedAt  int64           `json:"iat,omitempty"`
	Subject   string          `json:"sub,omitempty"`
	Audience  string          `json:"aud,omitempty"`
	Issuer    string          `json:"iss,omitempty"`
	ID        string          `json:"jti,omitempty"`
	AuthTime  int64           `json:"auth_time,omitempty"` // RFC 9470 section 6.2
	ACR       string          `json:"acr,omitempty"`
	AMR       []string        `json:"amr,omitempty"`
	Details   json.RawMessage `json:"authorization_details,omitempty"` // RFC 9396 section 9.2
	Key       json.RawMessage `json:"cnf,omitempty"`                   // RFC 9449 section 6.2
}

// introspect is the introspection endpoint (RFC 7662) for clients that showed a
// credential. A resource server learns about access tokens for the resources
// that it serves (Client.Introspects), a client about its own tokens, and
// nobody about anything else: whatever is wrong, the answer is the same.
//
// An access token costs a signature check and no look-up in the store: a grant
// that ended is known in memory, as it is to the guard.
func (s *Server) introspect(ctx context.Context, st *settings, r *http.Request, form url.Values) (any, error) {
	req, err := oauth.ParseTokenRequest(form)
	if err != nil {
		return nil, err
	}
	caller, err := s.authenticate(ctx, st, r.Header, &req)
	if err != nil {
		return nil, err
	}
	if !caller.proven { // AS-INT-01: a name is no authentication
		return nil, &oauth.Error{Code: oauth.InvalidClient, Reason: "client_public", Description: "a client without a credential may not ask about tokens"}
	}
	token, err := tokenOf(form)
	if err != nil {
		return nil, err
	}
	answer, err := s.lookInto(ctx, st, caller, token)
	if err != nil {
		return nil, err
	}
	if wantsSigned(r.Header.Values("Accept")) {
		return s.signIntrospection(st, caller, answer)
	}
	return answer, nil
}

// lookInto answers what the token is to this caller. The zero answer is that of
// every token that is not theirs to know about.
func (s *Server) lookInto(ctx context.Context, st *settings, caller authenticated, token string) (introspection, error) {
	if t, ok := parseRefresh(s.derived.refreshMAC, token); ok {
		return s.lookIntoRefresh(ctx, st, caller, t, token)
	}
	c, ok := s.ownAccess(ctx, st, token)
	if !ok {
		return introspection{}, nil
	}
	a, ok := readAccess(c)
	if !ok || s.ended.Has(a.Grant) {
		return introspection{}, nil
	}
	theirs := a.Client == caller.client.ID || slices.Contains(caller.client.Introspects, a.Audience)
	if !theirs || st.byID(a.Audience) == nil {
		return introspection{}, nil
	}
	out := introspection{Active: true, Scope: a.Scope, Client: a.Client, TokenType: "Bearer", Expires: a.Expires, IssuedAt: a.IssuedAt,
		Subject: a.Subject, Audience: a.Audience, Issuer: a.Issuer, ID: a.ID, AuthTime: a.AuthTime, ACR: a.ACR, AMR: a.AMR}
	out.Details = c["authorization_details"]
	if c.Has("cnf") {
		out.Key = c["cnf"]
		var cnf jose.Claims
		if err := c.Decode("cnf", &cnf); err != nil {
			return introspection{}, nil
		}
		if cnf.Has("jkt") {
			out.TokenType = "DPoP"
		}
	}
	return out, nil
}

// lookIntoRefresh is for the client that holds the refresh token only: a
// resource server that took one for an access token would be misled.
func (s *Server) lookIntoRefresh(ctx context.Context, st *settings, caller authenticated, t refreshToken, token string) (introspection, error) {
	g, err := s.ledger.Grant(ctx, t.grantID())
	if notFound(err) {
		return introspection{}, nil
	}
	if err != nil {
		return introspection{}, err
	}
	now := s.now()
	if g.Client != caller.client.ID || st.byID(g.Resource) == nil || !g.Active(now) || g.Refresh == nil || !now.Before(g.Refresh.IdleUntil) {
		return introspection{}, nil
	}
	if current, again := refreshUse(&g, token, st.tokens.RefreshGrace, now); !current && !again {
		return introspection{}, nil
	}
	until := g.Expires
	if g.Refresh.IdleUntil.Before(until) {
		until = g.Refresh.IdleUntil
	}
	var details json.RawMessage
	if len(g.Details) > 0 {
		if details, err = json.Marshal(g.Details); err != nil {
			return introspection{}, err
		}
	}
	// N_A is the registered type of what is no access token (RFC 8693 section 2.2.1).
	return introspection{Active: true, Scope: g.Scopes.String(), Client: g.Client, TokenType: "N_A", Expires: until.Unix(), Details: details,
		Subject: g.Subject.ID, Audience: g.Resource, Issuer: st.cfg.URL}, nil
}

// readAccess reads the claims of an access token that we signed; false if one
// of them is not as we sign it.
func readAccess(c jose.Claims) (a accessClaims, ok bool) {
	for name, to := range map[string]*string{"iss": &a.Issuer, "sub": &a.Subject, "aud": &a.Audience, "client_id": &a.Client,
		"jti": &a.ID, "scope": &a.Scope, "gid": &a.Grant, "acr": &a.ACR} {
		v, err := c.Text(name)
		if err != nil {
			return a, false
		}
		*to = v
	}
	for name, to := range map[string]*int64{"exp": &a.Expires, "iat": &a.IssuedAt, "auth_time": &a.AuthTime} {
		v, err := c.Time(name)
		if err != nil {
			return a, false
		}
		*to = unix(v)
	}
	var err error
	a.AMR, err = c.Texts("amr")
	return a, err == nil && a.Grant != ""
}

const introspectionJWT = "token-introspection+jwt" // RFC 9701

// signIntrospection is the answer as a JWT (RFC 9701 section 5). Nothing in it
// could be taken for the token itself: sub and exp stand inside, and typ is its
// own.
func (s *Server) signIntrospection(st *settings, caller authenticated, answer introspection) (any, error) {
	token, err := s.signingKey().Sign(introspectionJWT, struct {
		Issuer   string        `json:"iss"`
		Audience string        `json:"aud"`
		IssuedAt int64         `json:"iat"`
		Token    introspection `json:"token_introspection"`
	}{st.cfg.URL, caller.client.ID, s.now().Unix(), answer})
	return textAnswer{"application/" + introspectionJWT, token}, err
}

// wantsSigned reports whether a request prefers the signed answer: whoever
// says nothing of it gets JSON.
func wantsSigned(accept []string) bool {
	signed, plain := 0.0, 0.0
	for _, part := range strings.Split(strings.Join(accept, ","), ",") {
		name, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		q, err := strconv.ParseFloat(params["q"], 64)
		if err != nil || params["q"] == "" {
			q = 1
		}
		switch name {
		case "application/" + introspectionJWT:
			signed = max(signed, q)
		case "application/json":
			plain = max(plain, q)
		}
	}
	return signed > 0 && signed >= plain
}
