package doorward

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"doorward/internal/keyset"
	"doorward/internal/oauth"
)

// GuardConfig describes a protected MCP server. Resource and Issuers are
// required; every other field says what its zero value means.
type GuardConfig struct {
	// Resource is the server's resource identifier (RFC 9728 section 1.2): the
	// URL that clients connect to, in canonical form: https, or http on a
	// loopback host; scheme and host in lower case; no query and no fragment.
	Resource string
	// Name is shown to people (resource_name). "": none.
	Name string
	// Issuers are the authorization servers whose tokens are taken, by their
	// exact issuer identifiers. At least one.
	Issuers []string
	// Scopes stand in the challenge and in the metadata: the least that a client
	// needs to begin. They are asked for and not demanded: Handler and Require
	// demand. nil: none.
	Scopes []string
	// Implies is a broader scope to the narrower ones that it includes, directly
	// or through others: whoever has files:write needs no files:read. nil: none does.
	Implies map[string][]string
	// RepeatGranted lets the challenge of a 403 name also the scopes that the
	// token has, for clients that ask for what it names and nothing else (MCP
	// 2025-11-25). false: the scopes of the operation, to which newer clients add
	// their own (MCP 2026-07-28).
	RepeatGranted bool
	// InsecureHTTP lets Resource and Issuers be plain http on hosts that are not
	// loopback. Whoever is on the way can then read tokens: for closed test
	// networks only.
	InsecureHTTP bool
	// AllowedOrigins are the browser origins that may call besides the
	// resource's own ("https://app.example.com"). A request with any other
	// Origin gets 403 before anything else. nil: none.
	AllowedOrigins []string
	// Keys returns an issuer's JWK Set (RFC 7517 section 5). It is asked when
	// there are no keys yet, every 10 minutes, and at most every 30 seconds for
	// an unknown key id. nil, or nil and no error from it: the issuer's metadata
	// (RFC 8414) names its jwks_uri.
	Keys func(ctx context.Context, issuer string) ([]byte, error)
	// KeysPause is the least time between two calls of Keys for an unknown key id:
	// shorter for keys that lie in memory, so that a new one counts at once. What
	// is fetched through metadata keeps to 30 seconds. 0: 30 seconds.
	KeysPause time.Duration
	// Introspect names issuers that are asked about each token instead (RFC 7662),
	// and our client there: an ID, and a Secret or a Key. Their metadata names the
	// introspection endpoint. What they say of a token counts for 30 seconds, or
	// until it expires. The tokens may be opaque ones: these go to the one issuer
	// that is named here, and with several named to none. nil: signatures are
	// checked with keys.
	Introspect map[string]Credentials
	// DPoP says whether tokens are bound to keys of their clients (RFC 9449):
	// "optional" (also ""), bearer tokens are taken, and bound ones with a proof of
	// possession; "required", bound ones only; "off", bearer tokens only. A body that
	// the proof has a digest of (content_digest) is read before the handler gets it,
	// 8 MiB at most; http.MaxBytesReader before the Guard makes it less (413).
	DPoP string
	// DPoPNonceKey makes the nonces that clients are given whose clock is off: at
	// least 16 random bytes, the same in every process that serves the resource.
	// nil: random ones.
	DPoPNonceKey []byte
	// Ended reports whether the grant that a token names (claim gid) has ended.
	// It is asked at every request. nil: it is not asked.
	Ended func(grant string) bool
	// Base fetches metadata and keys when Keys is nil, and asks the issuers of
	// Introspect. nil: http.DefaultTransport.
	Base http.RoundTripper
	// Refused is told of each request that is refused here: why, as a short
	// code (token_missing, token_expired, token_audience, …) and in words that
	// hold no secret. What it returns ends the description that the caller gets,
	// as a reference to ask about. It must be quick. nil: nobody is told.
	Refused func(r *http.Request, reason, detail string) (reference string)
	// Logger gets the reason of each refusal at level Debug, and of keys that
	// cannot be had at level Warn; never a token. nil: nothing is logged.
	Logger *slog.Logger
	// Now is the clock. nil: time.Now.
	Now func() time.Time
}

// Guard is the resource server's side of OAuth 2.1: it lets a request through
// to a handler only with an access token that one of its issuers made for this
// resource, and says how to get one otherwise. Make it with NewGuard; it may be
// used by many goroutines.
type Guard struct {
	c           GuardConfig
	path        string // of the resource; "" for an origin alone
	loopback    bool
	origins     map[string]bool
	metadataURL string
	document    []byte
	implies     map[string]oauth.Scopes
	issuers     map[string]*keyset.Remote
	asked       map[string]*introspector // in the place of keys
	opaque      string                   // the issuer that tokens without a name on them go to; "": none
	seen        guardCache
	proofs      guardProofs
}

// NewGuard makes a guard. Everything in the configuration is checked here.
func NewGuard(c GuardConfig) (*Guard, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	u, err := parseGuarded(c.Resource, c.InsecureHTTP)
	if err != nil {
		return nil, err
	}
	g := &Guard{
		c: c, path: u.Path, loopback: oauth.IsLoopbackHost(u.Host),
		origins: map[string]bool{guardOrigin(u): true}, issuers: map[string]*keyset.Remote{},
	}
	if g.metadataURL, err = oauth.ResourceMetadataURL(c.Resource); err != nil {
		return nil, err
	}
	if _, err := oauth.ParseScope(strings.Join(c.Scopes, " ")); err != nil {
		return nil, fmt.Errorf("doorward: GuardConfig.Scopes: %w", err)
	}
	if g.implies, err = parseImplies(c.Implies); err != nil {
		return nil, err
	}
	for _, o := range c.AllowedOrigins {
		ou, err := url.Parse(o)
		if err != nil || ou.Host == "" || o != guardOrigin(ou) {
			return nil, fmt.Errorf("doorward: GuardConfig.AllowedOrigins: %q is not an origin; write it as a browser sends it, like https://app.example.com", o)
		}
		g.origins[o] = true
	}
	if err := g.trust(c); err != nil {
		return nil, err
	}
	if err := g.demandProofs(); err != nil {
		return nil, err
	}
	// RFC 9728 section 2; built once, from the configuration and never from a
	// request's Host.
	document := oauth.ResourceMetadata{
		Resource: c.Resource, AuthorizationServers: c.Issuers, ScopesSupported: withoutOffline(c.Scopes),
		BearerMethodsSupported: []string{"header"}, ResourceName: c.Name,
	}
	g.proofs.describe(&document)
	g.document, err = json.Marshal(document)
	return g, err
}

// parseGuarded checks a resource identifier of our own (RFC 9728 section 1.2;
// MCP 2026-07-28, canonical server URI).
func parseGuarded(resource string, insecure bool) (*url.URL, error) {
	bad := func(what string) error {
		return fmt.Errorf("doorward: GuardConfig.Resource %q %s", resource, what)
	}
	if err := oauth.CheckResource(resource); err != nil {
		return nil, bad("is no resource identifier: " + err.Error())
	}
	u, err := url.Parse(resource)
	switch {
	case err != nil:
		return nil, bad("is no URL")
	case u.Scheme != "https" && (u.Scheme != "http" || !insecure && !oauth.IsLoopbackHost(u.Host)):
		return nil, bad("must be https (http only on a loopback host)")
	case u.RawQuery != "" || u.ForceQuery || u.User != nil:
		return nil, bad("must have no query and no user info")
	case strings.ContainsAny(u.Path, "{}"), u.EscapedPath() != u.Path, u.Path != "" && path.Clean(u.Path) != strings.TrimSuffix(u.Path, "/") && u.Path != "/":
		return nil, bad("must have a plain path: no escapes, braces, dots or doubled slashes")
	case !strings.HasPrefix(resource, u.Scheme+"://"+strings.ToLower(u.Host)):
		return nil, bad("must have scheme and host in lower case")
	}
	return u, nil
}

func (g *Guard) trust(c GuardConfig) error {
	issuers := c.Issuers
	if len(issuers) == 0 {
		return errors.New("doorward: GuardConfig.Issuers is empty: name at least one authorization server")
	}
	for _, issuer := range issuers {
		checked := issuer
		if g.c.InsecureHTTP {
			checked = strings.Replace(issuer, "http://", "https://", 1)
		}
		if err := oauth.CheckIssuer(checked); err != nil {
			return fmt.Errorf("doorward: GuardConfig.Issuers: %q: %w", issuer, err)
		}
		discover := guardKeys{issuer: issuer, base: g.c.Base, insecure: g.c.InsecureHTTP}.fetch
		fetch, pause := discover, time.Duration(0)
		if keys := g.c.Keys; keys != nil {
			fetch = func(ctx context.Context) ([]byte, error) {
				if set, err := keys(ctx, issuer); set != nil || err != nil {
					return set, err
				}
				return discover(ctx)
			}
			if g.c.KeysPause > 0 {
				pause, discover = g.c.KeysPause, seldom(discover, g.c.Now)
			}
		}
		g.issuers[issuer] = keyset.New(keyset.Config{Fetch: fetch, Cooldown: pause, Now: g.c.Now})
	}
	return g.introspects(c)
}

// guardOrigin is the origin of a URL as a browser writes it in Origin (RFC 6454
// section 6.2).
func guardOrigin(u *url.URL) string {
	host := strings.ToLower(u.Host)
	switch {
	case u.Scheme == "https":
		host = strings.TrimSuffix(host, ":443")
	case u.Scheme == "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return u.Scheme + "://" + host
}

// withoutOffline leaves out offline_access, which is the client's to ask for
// and no scope of a resource (MCP SEP-2207).
func withoutOffline(scopes []string) []string {
	return oauth.Scopes(scopes).Minus(oauth.Scopes{"offline_access"})
}

// Mount serves h, guarded as by Handler, at the resource's path and below it,
// and the metadata at the well-known path that belongs to it (RFC 9728 section 3.1).
func (g *Guard) Mount(mux *http.ServeMux, h http.Handler, needed ...string) {
	at := strings.TrimSuffix(g.path, "/")
	guarded := g.Handler(h, needed...)
	if at != "" {
		mux.Handle(at, guarded)
	}
	mux.Handle(at+"/", guarded)
	mux.Handle(oauth.WellKnownPRM+at, g.Metadata())
	mux.Handle(oauth.WellKnownPRM+at+"/{$}", g.Metadata())
}

// Handler guards h. Requests come to it with a Caller in their context; see
// CallerFrom. A foreign Origin gets 403, a preflight its answer, a request
// without a good token 401 with a challenge, one whose token has not all of the
// needed scopes 403 with theirs, before h sees anything.
func (g *Guard) Handler(h http.Handler, needed ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.admitOrigin(w, r) {
			return
		}
		if r.Method == http.MethodOptions {
			answerPreflight(w, r, "GET, POST, DELETE")
			return
		}
		caller, refusal := g.check(r)
		if refusal == nil {
			var over func()
			if over, refusal = g.prove(w, r, caller); over != nil {
				defer over()
			}
		}
		if refusal != nil {
			g.refuse(w, r, refusal)
			return
		}
		caller.implies = g.implies
		r = r.WithContext(context.WithValue(r.Context(), callerKey{}, caller))
		if len(needed) == 0 || g.Require(w, r, needed...) {
			h.ServeHTTP(w, r)
		}
	})
}

type callerKey struct{}

// Caller is who a request comes from, as its access token says. It is made
// from a token that was checked, never from other headers or arguments.
type Caller struct {
	Issuer   string    // claim iss
	Subject  string    // claim sub: unique at this issuer only
	ClientID string    // claim client_id
	Scopes   []string  // claim scope; an upper bound on what the caller may do
	Grant    string    // claim gid: the grant at a Doorward issuer; "" elsewhere
	Expires  time.Time // claim exp
	AuthTime time.Time // claim auth_time: when the person signed in; zero if not said
	ACR      string    // claim acr
	AMR      []string  // claim amr

	implies map[string]oauth.Scopes
	key     string // thumbprint of the key that the token is bound to; ""
	cert    string // of the certificate
}

// HasScope reports whether the token has all of these scopes, or broader ones
// that include them (GuardConfig.Implies).
func (c Caller) HasScope(scopes ...string) bool {
	has := oauth.Scopes(c.Scopes)
	return has.HasAll(scopes) || c.implies != nil && has.Imply(c.implies).HasAll(scopes)
}

// IsClient reports whether the client acts for itself: there is no person
// behind the token (RFC 9068 section 2.2).
func (c Caller) IsClient() bool {
	return c.Subject == c.ClientID || c.Subject == "client:"+c.ClientID
}

// CallerFrom returns who a request comes from that a Guard let through, given
// the request's context.
func CallerFrom(ctx context.Context) (Caller, bool) {
	if c, ok := ctx.Value(callerKey{}).(*Caller); ok {
		return *c, true
	}
	return Caller{}, false
}
