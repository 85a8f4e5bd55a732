package gateway

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"doorward"
	"doorward/internal/access"
	"doorward/internal/audit"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

// Config describes a gateway. URL, Issuer and Grant are required; every other
// field says what its zero value means.
type Config struct {
	// URL is the public base URL; a server's resource identifier is URL + Path.
	URL string
	// Issuer makes the tokens that are taken.
	Issuer string
	// InsecureHTTP lets URL and Issuer be plain http on hosts that are not
	// loopback.
	InsecureHTTP bool
	// Keys returns the JWK Set of Issuer, or nil. nil: found through its metadata.
	Keys func(ctx context.Context, issuer string) ([]byte, error)
	// Ended knows the grants that ended. nil: it is not asked, and streams end
	// with their tokens only.
	Ended *ledger.Ended
	// Grant reads the grant that a token names (claim gid), for who its person
	// is. It is asked once per token; store.ErrNotFound makes the token invalid.
	Grant func(ctx context.Context, id string) (ledger.Grant, error)
	// Groups returns the groups that the person of a grant is in now. It is asked
	// for each request. nil: those that the grant has.
	Groups func(ctx context.Context, who oauth.Subject) ([]string, error)
	// Vault returns what a separate server issued for a grant. The errors are those
	// of internal/ledger (ErrNoUpstream and its neighbours), or of the store. nil:
	// no server has Vault.
	Vault func(ctx context.Context, grant string) (string, error)
	// SignCaller makes a caller JWT; of the claims it sets iss, iat and jti, and
	// bounds exp. nil: no server has CallerJWT.
	SignCaller func(oauth.CallerClaims) (string, error)
	// Servers are the MCP servers, by their name in the configuration.
	Servers map[string]Server
	// SessionKey ties session ids to their owners; at least 32 bytes, the same in
	// every process. nil: a random one, so that sessions end with this process.
	SessionKey []byte
	// BodyLimit caps request bodies, in bytes. 0: 1 MiB.
	BodyLimit int64
	// DPoPNonceKey is doorward.GuardConfig.DPoPNonceKey of all servers.
	DPoPNonceKey []byte
	// OpenPerCaller bounds the requests of one person, and of one client that acts
	// for itself, that are open at the same time, streams among them, over all
	// servers. Their messages have 64 MiB together, or BodyLimit if that is more. 0:
	// 2048; negative: no bound, nor one of the messages.
	OpenPerCaller int
	// Audit gets an event per decision. nil: none.
	Audit *audit.Log
	// Attempts keeps the refusals under their references. nil: those of callers
	// with a good token in Audit, the others in memory.
	Attempts *audit.Attempts
	// Logger gets what goes wrong with upstreams. nil: nothing is logged.
	Logger *slog.Logger
	// Now is the clock. nil: time.Now.
	Now func() time.Time
	// AskEvery is how often an issuer of Server.Introspect is asked about a token
	// whose answer lasts; at the next time after its last word is 30 seconds old.
	// 0: 30 seconds.
	AskEvery time.Duration
	// Base reaches the upstreams. nil: a transport for many small requests and
	// long streams, through the proxy of the environment.
	Base http.RoundTripper
}

// Server is one MCP server behind the gateway.
type Server struct {
	Path string // below the gateway's URL: "/files/mcp"
	Name string // shown to people
	// Upstream is the server's own URL, or Handler serves it in this process.
	// Exactly one of the two.
	Upstream string
	Handler  http.Handler
	// Scopes of this server, each with its words for people. nil: any may be
	// named below.
	Scopes map[string]string
	// DefaultScopes are needed for every request. nil: none.
	DefaultScopes []string
	// Implies is a broader scope to the narrower ones that it includes.
	Implies map[string][]string
	// Tools is a tool to the scopes that it needs beyond DefaultScopes.
	Tools map[string][]string
	Rules access.Rules
	// Extensions are those of MCP that the gateway and its issuer bring to the
	// server (io.modelcontextprotocol/…): server/discover advertises them. nil: none.
	Extensions []string
	// AllowedOrigins are browser origins besides the gateway's own.
	AllowedOrigins []string
	// Issuers are further issuers whose tokens are taken; their people are not
	// ours, see doc.go. nil: none.
	Issuers []string
	// Introspect are those of them that are asked about each token, and our client
	// there. nil: keys, found through their metadata, check the tokens.
	Introspect map[string]doorward.Credentials
	// DPoP is doorward.GuardConfig.DPoP.
	DPoP string
	// Header goes to the upstream with every request: its own credential.
	Header http.Header
	// Vault sends the token that Config.Vault has for the caller's grant, as a
	// Bearer token. Who has none is refused.
	Vault bool
	// CallerJWT sends a signed statement of who calls (Config.SignCaller), as a
	// Bearer token, to an Upstream. CallerClaims go into it, of email, groups, name.
	CallerJWT    bool
	CallerClaims []string
	// Exchange gets a token for each caller from the authorization server of an
	// Upstream, which goes there as a Bearer token. nil: none.
	Exchange *Exchange
}

// Gateway is an http.Handler for its servers' paths and their metadata.
type Gateway struct {
	c      Config
	base   http.RoundTripper
	lone   *lone // nil: all go through base
	table  atomic.Pointer[table]
	people recent[string, *person]

	mu   sync.Mutex
	live map[*exchange]struct{}

	open open
}

// table is what is served, by path. A reload makes a new one.
type table struct {
	handlers  map[string]http.Handler
	endpoints map[string]*endpoint // by Server.Path
}

// New makes a gateway. Everything in the configuration is checked here.
func New(c Config) (*Gateway, error) {
	switch {
	case c.Grant == nil:
		return nil, errors.New("gateway: Config.Grant is required")
	case c.SessionKey == nil:
		c.SessionKey = make([]byte, sha256.Size)
		_, _ = rand.Read(c.SessionKey) // never fails (crypto/rand)
	case len(c.SessionKey) < sha256.Size:
		return nil, fmt.Errorf("gateway: Config.SessionKey has %d bytes; at least %d are needed", len(c.SessionKey), sha256.Size)
	}
	if c.BodyLimit == 0 {
		c.BodyLimit = 1 << 20
	}
	if c.OpenPerCaller == 0 {
		c.OpenPerCaller = openPerCaller
	}
	if c.AskEvery == 0 {
		c.AskEvery = 30 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Attempts == nil {
		c.Attempts = audit.NewAttempts(c.Audit)
	}
	c.URL = strings.TrimSuffix(c.URL, "/")
	g := &Gateway{c: c, base: c.Base, live: map[*exchange]struct{}{}}
	if g.base == nil {
		dial := (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext
		g.base, g.lone = upstreamTransport(dial), &lone{dial: dial}
	}
	return g, g.Reload(c.Servers)
}

// upstreamTransport has no limit on the time of an answer, since tools may work
// for long and streams have no end; what is bounded is to get through.
func upstreamTransport(dial func(context.Context, string, string) (net.Conn, error)) *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dial,
		TLSHandshakeTimeout: 5 * time.Second,
		ForceAttemptHTTP2:   true,
		DisableCompression:  true, // what is filtered must be readable
		MaxIdleConns:        1024,
		MaxIdleConnsPerHost: 256,
		IdleConnTimeout:     90 * time.Second,
		// A stream holds its buffers for as long as it is idle.
		ReadBufferSize:         2 << 10,
		WriteBufferSize:        2 << 10,
		MaxResponseHeaderBytes: maxHeader,
	}
}

// Reload replaces the servers. With an error, those that were there stay.
// Streams of people who may no longer reach their server are closed.
func (g *Gateway) Reload(servers map[string]Server) error {
	next := &table{handlers: map[string]http.Handler{}, endpoints: map[string]*endpoint{}}
	for _, key := range sortedKeys(servers) {
		s := servers[key]
		e, err := g.endpoint(key, s)
		if err != nil {
			return err
		}
		if next.endpoints[s.Path] != nil {
			return fmt.Errorf("servers.%s: the path %s is another server's already", key, s.Path)
		}
		next.endpoints[s.Path] = e
		at := strings.TrimSuffix(s.Path, "/")
		for _, p := range []string{at, at + "/"} {
			if p != "" {
				next.handlers[p] = e.handler
			}
			next.handlers[oauth.WellKnownPRM+p] = e.guard.Metadata()
		}
	}
	for _, e := range next.endpoints {
		if len(servers) == 1 { // clients that look at the origin's root only
			next.handlers[oauth.WellKnownPRM] = e.guard.Metadata()
		}
	}
	g.table.Store(next)
	g.recheck(next)
	return nil
}

func sortedKeys(servers map[string]Server) []string {
	keys := make([]string, 0, len(servers))
	for key := range servers {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// Owns reports whether a URL path is one of a server or of its metadata, so
// that a mux can send the rest elsewhere.
func (g *Gateway) Owns(path string) bool {
	return g.table.Load().handlers[path] != nil
}

// readTime is how long a request's body may take.
const readTime = time.Minute

// ServeHTTP serves what Owns says; anything else is not found.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Whoever never sends the body that they announced must not hold the
	// connection for ever (X-HTTP-06, SEC-38); once it was read there is no limit.
	// Not every ResponseWriter has deadlines; the server's own has.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTime))
	if h := g.table.Load().handlers[r.URL.Path]; h != nil {
		g.boundBody(w, r)
		h.ServeHTTP(w, r)
		return
	}
	http.NotFound(w, r)
}

// boundBody bounds what the guard reads of a body, too, which may have to
// compare it with a proof. The byte beyond the limit lets readBody see that there
// is more; of a body that says so itself nothing is read.
func (g *Gateway) boundBody(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Body == nil || r.Body == http.NoBody:
	case r.ContentLength > g.c.BodyLimit:
		r.Body = http.MaxBytesReader(w, r.Body, 0)
	default:
		r.Body = http.MaxBytesReader(w, r.Body, g.c.BodyLimit+1)
	}
}

// checkCredential finds a credential that the gateway cannot give.
func (s Server) checkCredential(c Config) error {
	switch {
	case s.Vault && c.Vault == nil:
		return errors.New("sends what is in the vault, and there is none")
	case s.CallerJWT && c.SignCaller == nil:
		return errors.New("sends a caller JWT, and nothing signs it")
	case s.CallerJWT && s.Upstream == "":
		return errors.New("sends a caller JWT, which needs an upstream to be addressed to")
	case s.CallerJWT && s.Vault, s.Exchange != nil && (s.CallerJWT || s.Vault):
		return errors.New("sends either a caller JWT, what is in the vault or an exchanged token")
	case s.Exchange == nil:
		return nil
	case s.Upstream == "":
		return errors.New("exchanges tokens, which needs an upstream to send them to")
	case s.Exchange.Vault && c.Vault == nil || !s.Exchange.Vault && c.SignCaller == nil:
		return errors.New("exchanges tokens, and there is nothing to give for them")
	}
	return nil
}

// checkUpstream says what is wrong with a server's upstream, or nil.
func (s Server) checkUpstream() (*url.URL, error) {
	switch {
	case (s.Upstream == "") == (s.Handler == nil):
		return nil, errors.New("needs either an upstream or a handler")
	case s.Handler != nil:
		return nil, nil
	}
	u, err := url.Parse(s.Upstream)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("upstream %q is no http or https URL", s.Upstream)
	}
	if u.User != nil || u.Fragment != "" {
		return nil, errors.New("upstream must have no user info and no fragment: put a credential into its headers")
	}
	return u, nil
}
