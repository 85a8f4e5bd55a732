package authserver

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"doorward"
)

// Protect puts an MCP server under this issuer, in the same process: h is
// served at path and below it, for requests with an access token of this
// issuer that was made for that resource, and its metadata (RFC 9728) is
// served with it. The resource identifier is the origin of Config.URL and
// path, a path like "/mcp". If Config.Resources has that identifier, its
// scopes and rules count; otherwise whoever signs in may reach it, without
// scopes. Tokens of a grant that ended are refused at once.
//
// The error says what is wrong with the path.
func (s *Server) Protect(path string, h http.Handler) error {
	s.change.Lock()
	defer s.change.Unlock()
	st := s.current()
	id := origin(st.cfg.URL) + path
	switch {
	case st.idp:
		return fmt.Errorf("authserver: an identity provider guards no MCP servers")
	case !strings.HasPrefix(path, "/") || path == "/" || strings.HasSuffix(path, "/"):
		return fmt.Errorf("authserver: Protect: %q must be a path like /mcp", path)
	case s.routes[path].handle != nil || strings.HasPrefix(path, "/.well-known"):
		return fmt.Errorf("authserver: Protect: %s is an endpoint of the issuer", path)
	case slices.ContainsFunc(s.protected, func(r Resource) bool { return r.ID == id }):
		return fmt.Errorf("authserver: Protect: %s is guarded already", path)
	}
	res := Resource{ID: id, Name: strings.TrimPrefix(path, "/"), Open: true}
	if known := st.byID(id); known != nil {
		res = known.Resource
	}
	issuers, keys := []string{st.cfg.URL}, s.JWKS
	if st.relay != nil { // the tokens are its own
		if st.relay.Issuer == "" {
			return fmt.Errorf("authserver: Protect: Separate.Issuer is missing, whose tokens would be taken")
		}
		issuers = append(issuers, st.relay.Issuer)
		keys = func(ctx context.Context, issuer string) ([]byte, error) {
			if issuer != st.cfg.URL {
				return nil, nil // found through its metadata
			}
			return s.JWKS(ctx, issuer)
		}
	}
	g, err := doorward.NewGuard(doorward.GuardConfig{Resource: id, Name: res.Name, Issuers: issuers, Base: st.cfg.HTTP,
		Scopes: res.DefaultScopes, Implies: res.Implies, DPoP: st.cfg.DPoP, DPoPNonceKey: s.vault.Derive("dpop nonce guard"), Keys: keys, KeysPause: time.Second, Ended: s.ended.Has, Now: s.clock, Logger: s.log, Refused: s.keepGuarded(id)})
	if err != nil {
		return fmt.Errorf("authserver: Protect: %w", err)
	}
	s.protected = append(s.protected, res)
	if err := s.use(st.cfg); err != nil {
		s.protected = s.protected[:len(s.protected)-1]
		return err
	}
	g.Mount(s.guarded, h)
	return nil
}
