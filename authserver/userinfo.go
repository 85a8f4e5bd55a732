package authserver

import (
	"context"
	"net/http"
	"strings"

	"doorward/internal/oauth"
)

// userinfoAnswer is OpenID Connect Core section 5.3.2.
type userinfoAnswer struct {
	Subject       string   `json:"sub"`
	Name          string   `json:"name,omitempty"`
	Groups        []string `json:"groups,omitempty"`
	HasGroups     bool     `json:"hasgroups,omitempty"`
	Email         string   `json:"email,omitempty"`
	EmailVerified bool     `json:"email_verified,omitempty"`
}

// reasonNoToken marks the challenge that names no error, because nothing was
// wrong but that no token came (RFC 6750 section 3.1).
const reasonNoToken = "no_token"

// userinfo says who the person of an access token is, as far as its scopes go.
// The token must be made for this issuer as a resource, and its grant must live.
func (s *Server) userinfo(ctx context.Context, st *settings, r *http.Request) (any, error) {
	header := r.Header["Authorization"]
	if len(header) != 1 {
		return nil, &oauth.Error{Code: oauth.InvalidToken, Reason: reasonNoToken, Description: "one access token is needed in the Authorization header"}
	}
	refused := &oauth.Error{Code: oauth.InvalidToken, Description: "the access token is not valid here"}
	scheme, token, _ := strings.Cut(header[0], " ")
	token = strings.TrimSpace(token)
	refused.DPoP = st.dpopMode() != dpopOff && strings.EqualFold(scheme, "DPoP")
	if !refused.DPoP && !strings.EqualFold(scheme, "Bearer") {
		return nil, refused
	}
	c, ok := s.ownAccess(ctx, st, token)
	if !ok {
		return nil, refused
	}
	if err := s.possesses(ctx, st, r, token, c, refused); err != nil {
		return nil, err
	}
	aud, err1 := c.Texts("aud")
	id, err2 := c.Text("gid")
	text, err3 := c.Text("scope")
	single, one := oauth.SingleAudience(aud)
	scopes, err4 := oauth.ParseScope(text)
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil || !one || single != st.cfg.URL || id == "" || s.ended.Has(id) {
		return nil, refused
	}
	g, err := s.ledger.Grant(ctx, id)
	if notFound(err) || err == nil && !g.Ended.IsZero() {
		return nil, refused
	}
	if err != nil {
		return nil, err
	}
	if !scopes.Has("openid") {
		return nil, &oauth.Error{Code: oauth.InsufficientScope, Description: "userinfo needs the scope openid"}
	}
	who, err := s.today(ctx, st, g.Subject)
	if err != nil {
		return nil, err
	}
	return infoOf(who, scopes), nil
}

func infoOf(p oauth.Subject, scopes oauth.Scopes) userinfoAnswer {
	a := userinfoAnswer{Subject: p.ID}
	if scopes.Has("profile") {
		a.Name, a.Groups, a.HasGroups = p.Name, p.Groups, p.GroupsUnknown
	}
	if scopes.Has("email") && p.Email != "" {
		a.Email, a.EmailVerified = p.Email, true
	}
	return a
}
