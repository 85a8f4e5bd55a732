package authserver

import (
	"context"
	"time"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// accessClaims are an access token's (RFC 9068 section 2.2). Personal data
// stays out (AS-AT-04): who needs it asks userinfo.
type accessClaims struct {
	Issuer   string        `json:"iss"`
	Subject  string        `json:"sub"`
	Audience string        `json:"aud"`
	Client   string        `json:"client_id"`
	Expires  int64         `json:"exp"`
	IssuedAt int64         `json:"iat"`
	ID       string        `json:"jti"`
	Scope    string        `json:"scope,omitempty"`
	Grant    string        `json:"gid"`                             // the grant, for the off switch
	Details  oauth.Details `json:"authorization_details,omitempty"` // RFC 9396 section 9.1
	AuthTime int64         `json:"auth_time,omitempty"`
	ACR      string        `json:"acr,omitempty"`
	AMR      []string      `json:"amr,omitempty"`

	Confirm *confirmation `json:"cnf,omitempty"`
}

// idClaims are an ID token's (OpenID Connect Core section 2).
type idClaims struct {
	Issuer        string   `json:"iss"`
	Subject       string   `json:"sub"`
	Audience      string   `json:"aud"`
	Expires       int64    `json:"exp"`
	IssuedAt      int64    `json:"iat"`
	ID            string   `json:"jti"`
	Nonce         string   `json:"nonce,omitempty"`
	AuthTime      int64    `json:"auth_time,omitempty"`
	ACR           string   `json:"acr,omitempty"`
	AMR           []string `json:"amr,omitempty"`
	Session       string   `json:"sid,omitempty"`
	Grant         string   `json:"gid"`
	Name          string   `json:"name,omitempty"`
	Groups        []string `json:"groups,omitempty"`
	HasGroups     bool     `json:"hasgroups,omitempty"`
	Email         string   `json:"email,omitempty"`
	EmailVerified bool     `json:"email_verified,omitempty"`
}

// idjagClaims are an ID-JAG's (ID-JAG section 3.1).
type idjagClaims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience string   `json:"aud"`
	Client   string   `json:"client_id"`
	ID       string   `json:"jti"`
	Expires  int64    `json:"exp"`
	IssuedAt int64    `json:"iat"`
	Resource string   `json:"resource"`
	Scope    string   `json:"scope,omitempty"`
	AuthTime int64    `json:"auth_time,omitempty"`
	ACR      string   `json:"acr,omitempty"`
	AMR      []string `json:"amr,omitempty"`
	Email    string   `json:"email,omitempty"`
	Name     string   `json:"name,omitempty"`
	Groups   []string `json:"groups,omitempty"`
	// HasGroups: there are some, and we were not told which (see overage).
	HasGroups bool `json:"hasgroups,omitempty"`

	Confirm *confirmation `json:"cnf,omitempty"`
}

// mint signs what was granted and writes what must be written, in one commit.
// It signs first: what cannot be signed is not spent.
func (s *Server) mint(ctx context.Context, a *asked, g *granted) (*oauth.TokenResponse, error) {
	if g.audience != nil {
		return s.mintIDJAG(ctx, a, g)
	}
	if a.GrantType == oauth.TokenExchange {
		return s.mintRefresh(ctx, a, g)
	}
	now := s.now()
	token, err := s.signAccess(a, g, now)
	if err != nil {
		return nil, err
	}
	res := &oauth.TokenResponse{AccessToken: token, TokenType: a.tokenType(), ExpiresIn: seconds(g.life),
		RefreshToken: g.refresh, Scope: g.grant.Scopes.String(), Details: g.grant.Details}
	until := now.Add(g.life)
	var party []store.Op
	if a.st.idp && g.grant.Scopes.Has("openid") {
		if res.IDToken, err = s.signID(a, g, now); err != nil {
			return nil, err
		}
		until, party = now.Add(max(g.life, a.st.tokens.IDToken)), a.partyOps(&g.grant, now)
	}
	if a.GrantType == oauth.JWTBearer { // ID-JAG section 4.4.2
		res.Resource = g.grant.Resource
	}
	g.ops = append(g.ops, party...)
	if err := s.keep(ctx, a, g, until); err != nil || len(party) == 0 {
		return res, err
	}
	s.partyStands(ctx, g.grant.Subject.Session)
	return res, nil
}

// keep writes the grant, what goes with it, the proof's one use and the event;
// without a change to write the event is queued.
func (s *Server) keep(ctx context.Context, a *asked, g *granted, until time.Time) error {
	e := a.seen
	e.Grant = g.grant.ID
	s.fillIn(&e, "token.issue")
	write := g.write || g.stands && until.Truncate(time.Second).After(g.stored.TokensUntil)
	if !write && len(g.once) == 0 {
		if err := s.spendProof(ctx, a); err != nil {
			return err
		}
		s.audit.Add(e)
		return nil
	}
	ops := append(make([]store.Op, 0, 3+len(g.once)+len(g.ops)+len(g.holds)), g.once...)
	if write {
		var err error
		if ops, err = s.changes(ctx, a, g, until, ops); err != nil {
			return err
		}
	}
	ops = append(append(ops, s.ledger.AuditOp(e)), g.holds...)
	return s.commit(ctx, append(ops, a.proofOps()...)...)
}

// changes adds to ops what writes the record, first, and what goes with it.
func (s *Server) changes(ctx context.Context, a *asked, g *granted, until time.Time, ops []store.Op) ([]store.Op, error) {
	rec := g.stored
	if until.After(rec.TokensUntil) {
		rec.TokensUntil = until
	}
	if rec.Refresh == nil && until.After(rec.Expires) {
		rec.Expires = until
	}
	soon := a.GrantType != oauth.AuthorizationCode // that one is read next when it is refreshed
	put := s.ledger.PutGrant(rec, soon)
	lasts, err := s.upstreamLasts(ctx, a, rec)
	return append(append(append(ops, put), g.ops...), lasts...), err
}

func (s *Server) signAccess(a *asked, g *granted, now time.Time) (string, error) {
	p := g.grant.Subject
	return s.signingKey().Sign(oauth.TypAccessToken, &accessClaims{
		Issuer: s.current().cfg.URL, Subject: p.ID, Audience: g.grant.Resource, Client: g.grant.Client,
		Expires: now.Add(g.life).Unix(), IssuedAt: now.Unix(), ID: newID(), Scope: g.grant.Scopes.String(), Grant: g.grant.ID, Details: g.grant.Details,
		AuthTime: unix(p.AuthTime), ACR: p.ACR, AMR: p.AMR, Confirm: a.confirm()})
}

// signID makes an ID token. The nonce goes into the first one only: a refreshed
// one answers no authorization request (OpenID Connect Core section 12.2).
func (s *Server) signID(a *asked, g *granted, now time.Time) (string, error) {
	p := g.grant.Subject
	c := idClaims{Issuer: a.st.cfg.URL, Subject: p.ID, Audience: g.grant.Client,
		Expires: now.Add(a.st.tokens.IDToken).Unix(), IssuedAt: now.Unix(), ID: newID(),
		AuthTime: unix(p.AuthTime), ACR: p.ACR, AMR: p.AMR, Session: p.Session, Grant: g.grant.ID}
	if a.GrantType == oauth.AuthorizationCode {
		c.Nonce = g.grant.Nonce
	}
	if g.grant.Scopes.Has("profile") {
		c.Name, c.Groups, c.HasGroups = p.Name, p.Groups, p.GroupsUnknown
	}
	if g.grant.Scopes.Has("email") && p.Email != "" {
		c.Email, c.EmailVerified = p.Email, true
	}
	return s.signingKey().Sign(oauth.TypIDToken, c)
}

// mintIDJAG signs the same statement for another authorization server. Nothing
// is written but the event and the one use of the proof and of an assertion.
func (s *Server) mintIDJAG(ctx context.Context, a *asked, g *granted) (*oauth.TokenResponse, error) {
	now, p, aud := s.now(), g.grant.Subject, g.audience
	c := idjagClaims{Issuer: a.st.cfg.URL, Subject: p.ID, Audience: aud.issuer, Client: g.grant.Client, ID: newID(),
		Expires: now.Add(g.life).Unix(), IssuedAt: now.Unix(), Resource: g.grant.Resource, Scope: g.grant.Scopes.String(),
		AuthTime: unix(p.AuthTime), ACR: p.ACR, AMR: p.AMR, Confirm: a.confirmKey()} // ID-JAG section 9
	if aud.Subject == "email" {
		c.Subject = p.Email
	}
	for _, claim := range aud.Claims {
		switch claim {
		case "email":
			c.Email = p.Email
		case "name":
			c.Name = p.Name
		case "groups":
			c.Groups, c.HasGroups = p.Groups, p.GroupsUnknown
		}
	}
	token, err := s.signingKey().Sign(oauth.TypIDJAG, &c)
	if err != nil {
		return nil, err
	}
	if ops := append(g.ops, a.proofOps()...); len(ops) > 0 {
		if err := s.ledger.Store.Commit(ctx, ops...); err != nil {
			return nil, err
		}
	}
	e := a.seen
	e.JTI, e.Issuer, e.Detail = jtiHash(c.ID), a.st.cfg.URL, "for "+aud.issuer
	s.audit.Add(s.event("token.issue", e))
	return &oauth.TokenResponse{AccessToken: token, IssuedTokenType: oauth.TokenTypeIDJAG, TokenType: "N_A",
		ExpiresIn: seconds(g.life), Scope: c.Scope}, nil
}

// withinKept lets a repeated answer do without a write: its access token ends
// with the last one that the record knows of, if most of its life is left.
func (g *granted) withinKept(rec *ledger.Grant, now time.Time) {
	if left := rec.TokensUntil.Sub(now); left >= g.life/2 {
		g.life, g.write = min(g.life, left), false
	}
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}
