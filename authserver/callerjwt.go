package authserver

import (
	"errors"
	"time"

	"doorward/internal/oauth"
)

// SignCaller makes a caller JWT, for gateways in the same process: a statement,
// signed with the issuer's own key (/jwks), for the server behind the gateway and
// nobody else. Issuer, time and id are set here; it ends after a minute, or at
// c.Expires if that is earlier.
func (s *Server) SignCaller(c oauth.CallerClaims) (string, error) {
	if c.Audience == "" || c.Subject == "" || c.Client == "" {
		return "", errors.New("authserver: a caller JWT needs an audience, a subject and a client")
	}
	now := s.now()
	end := now.Add(oauth.CallerJWTLife)
	if c.Expires != 0 && c.Expires < end.Unix() {
		end = time.Unix(c.Expires, 0)
	}
	if !end.After(now) {
		return "", errors.New("authserver: what a caller JWT should stand for is over")
	}
	c.Issuer, c.IssuedAt, c.Expires, c.ID = s.current().cfg.URL, now.Unix(), end.Unix(), newID()
	return s.signingKey().Sign(oauth.TypCallerJWT, &c)
}
