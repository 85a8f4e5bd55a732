package gateway

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"time"

	"doorward"
	"doorward/internal/oauth"
)

// endpoint is one server, ready to be served.
type endpoint struct {
	g        *Gateway
	key      string // in the configuration
	s        Server
	resource string
	upstream *url.URL // nil: s.Handler
	streams  http.RoundTripper
	needed   oauth.Scopes
	implies  map[string]oauth.Scopes
	guarding doorward.GuardConfig
	guard    *doorward.Guard
	handler  http.Handler // the endpoint behind its guard

	statements recent[[sha256.Size]byte, *statement]
	obtaining  sync.Mutex
	obtained   recent[[sha256.Size]byte, *obtained]
}

func (g *Gateway) endpoint(key string, s Server) (*endpoint, error) {
	fail := func(err error) (*endpoint, error) { return nil, fmt.Errorf("servers.%s: %w", key, err) }
	if !strings.HasPrefix(s.Path, "/") || strings.HasPrefix(s.Path, "/.well-known/") {
		return fail(fmt.Errorf("the path %q must begin with a slash, and not be a well-known one", s.Path))
	}
	upstream, err := s.checkUpstream()
	if err != nil {
		return fail(err)
	}
	if err := s.checkScopes(); err != nil {
		return fail(err)
	}
	if err := s.checkCredential(g.c); err != nil {
		return fail(err)
	}
	e := &endpoint{g: g, key: key, s: s, resource: g.c.URL + s.Path, upstream: upstream, needed: s.DefaultScopes, implies: map[string]oauth.Scopes{}}
	for broad, narrow := range s.Implies {
		e.implies[broad] = narrow
	}
	if e.streams = g.base; g.lone.fits(upstream) {
		e.streams = g.lone
	}
	e.s.Header = http.Header{}
	for name, values := range s.Header {
		e.s.Header[http.CanonicalHeaderKey(name)] = values
	}
	if err := e.protect(); err != nil {
		return fail(err)
	}
	return e, nil
}

// protect makes the guard, or takes over that of the table before if nothing
// changed for it: it knows tokens and keys already.
func (e *endpoint) protect() error {
	e.guarding = doorward.GuardConfig{
		Resource: e.resource, Name: e.s.Name, Issuers: append([]string{e.g.c.Issuer}, e.s.Issuers...), Introspect: e.s.Introspect,
		Scopes: e.s.DefaultScopes, AllowedOrigins: e.s.AllowedOrigins, InsecureHTTP: e.g.c.InsecureHTTP,
		DPoP: e.s.DPoP, DPoPNonceKey: e.g.c.DPoPNonceKey,
	}
	if last := e.g.table.Load(); last != nil {
		if old := last.endpoints[e.s.Path]; old != nil && reflect.DeepEqual(old.guarding, e.guarding) {
			e.guard = old.guard
		}
	}
	if e.guard == nil {
		c := e.guarding
		c.Logger, c.Now = e.g.c.Logger, e.g.c.Now
		if e.g.c.Keys != nil {
			c.Keys, c.KeysPause = e.g.keys, keysPause
		}
		if e.g.c.Ended != nil {
			c.Ended = e.g.c.Ended.Has
		}
		c.Refused = e.g.refusedAtDoor(e.resource)
		var err error
		if e.guard, err = doorward.NewGuard(c); err != nil {
			return err
		}
	}
	e.handler = e.guard.Handler(e)
	return nil
}

// keysPause is short: Config.Keys has them in memory, and whoever sends tokens
// with made-up key ids must not keep a new key from counting.
const keysPause = time.Second

// keys are those that Config.Keys has; others are found through metadata.
func (g *Gateway) keys(ctx context.Context, issuer string) ([]byte, error) {
	if issuer == g.c.Issuer {
		return g.c.Keys(ctx, issuer)
	}
	return nil, nil
}

// checkScopes finds scopes that cannot be granted, because the server has none
// of that name.
func (s Server) checkScopes() error {
	check := func(where string, scopes []string) error {
		for _, scope := range scopes {
			if parsed, err := oauth.ParseScope(scope); err != nil || len(parsed) != 1 {
				return fmt.Errorf("%s: %q is no scope", where, scope)
			}
			if _, ok := s.Scopes[scope]; !ok && s.Scopes != nil {
				return fmt.Errorf("%s: the server has no scope %q", where, scope)
			}
		}
		return nil
	}
	if err := check("default_scopes", s.DefaultScopes); err != nil {
		return err
	}
	for broad, narrow := range s.Implies {
		if err := check("scope_implies", append([]string{broad}, narrow...)); err != nil {
			return err
		}
	}
	for tool, scopes := range s.Tools {
		if err := check("tools."+tool, scopes); err != nil {
			return err
		}
	}
	return nil
}

// ServeHTTP is the way of one request whose token the guard found good.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{e: e, w: w, r: r}
	x.caller, _ = doorward.CallerFrom(r.Context())
	defer x.leave()
	for _, step := range [...]func() *refusal{x.identify, x.enter, x.read, x.decide, x.openSession, x.openEvent, x.openVault, x.openCaller, x.openExchange} {
		if refused := step(); refused != nil {
			x.refuse(refused)
			return
		}
	}
	x.forward()
}
