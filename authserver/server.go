package authserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"doorward/internal/audit"
	"doorward/internal/dpop"
	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/internal/login"
	"doorward/internal/oauth"
	"doorward/internal/vault"
)

// Server is one issuer. It is safe for use by any number of goroutines.
type Server struct {
	ledger   *ledger.Ledger
	audit    *audit.Log
	attempts *audit.Attempts
	vault    *vault.Vault
	sessions *login.Sessions
	ended    *ledger.Ended
	clock    func() time.Time
	log      *slog.Logger

	grants  map[string]grantFunc // grant_type to its function; metadata and registration read it too
	routes  map[string]route
	guarded *http.ServeMux // what Protect added

	state     atomic.Pointer[settings]
	change    sync.Mutex // one Reload or Protect at a time; guards protected
	protected []Resource
	trusted   keysets
	upstreams upstreams
	questions questions

	ring     atomic.Pointer[keyring]
	crypt    atomic.Pointer[[]*jose.Decrypter]
	keyLoads sync.Mutex
	keyLoad  time.Time // of the last load that an unknown kid caused; guarded by keyLoads
	derived  derivedKeys
	nonces   *dpop.Nonces
	standing standingGrants
	owing    atomic.Bool               // endDistrusted failed
	issued   map[string]*atomic.Uint64 // by grant type
	places   places
	polls    polls
	typed    typedCodes

	stop       context.CancelFunc
	background sync.WaitGroup
}

// New makes an issuer and starts what it does in the background: it fetches
// the key sets of trusted issuers, replaces its own signing keys and sweeps the
// store. The first start on an empty store makes the signing keys. New fails if
// the configuration contradicts itself, if the store belongs to another issuer,
// or if the master key does not open the signing keys that lie there.
func New(cfg Config) (*Server, error) {
	if cfg.Store == nil {
		return nil, errors.New("authserver: Config.Store is missing: open one with store/sqlite, for instance")
	}
	s := &Server{clock: cfg.Now, log: cfg.Logger, guarded: http.NewServeMux()}
	if s.clock == nil {
		s.clock = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	st, err := newSettings(cfg, nil)
	if err != nil {
		return nil, err
	}
	s.grants = s.grantTable(st.idp)
	s.issued = make(map[string]*atomic.Uint64, len(s.grants))
	for grantType := range s.grants {
		s.issued[grantType] = new(atomic.Uint64)
	}
	st.publish(s.grantTypes())
	st.limits = newLimits(cfg, st.loopback, nil)
	s.ledger = &ledger.Ledger{Store: cfg.Store, Now: s.clock, AuditKeep: cfg.AuditKeep}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	if err := s.open(ctx, st); err != nil {
		stop()
		return nil, err
	}
	s.typed = newTypedCodes()
	s.sessions = login.NewSessions(s.ledger, s.vault, cfg.URL, !st.plain, s.clock)
	s.audit = audit.New(func(err error) { s.log.Error("audit events were not written", "error", err) }, s.ledger.AuditSink())
	s.attempts = audit.NewAttempts(s.audit)
	s.routes = s.routeTable(st)
	s.state.Store(st)
	s.trusted.use(ctx, st, s.clock)
	s.upstreams.use(ctx, st, s.clock)
	if err := s.endDistrusted(ctx, st); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.background.Go(func() { s.housekeep(ctx) })
	if st.proxied != nil {
		if err := s.revokeEnded(ctx); err != nil {
			s.Close()
			return nil, err
		}
	}
	if st.idp {
		if err := s.tellParties(ctx); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

// open takes possession of the store: its owner, its keys, its ended grants.
func (s *Server) open(ctx context.Context, st *settings) error {
	if err := s.openVault(ctx, st); err != nil {
		return err
	}
	s.derived = deriveKeys(s.vault)
	s.nonces = dpop.NewNonces(s.vault.Derive("dpop nonce"))
	if err := s.openDecrypters(ctx, st); err != nil {
		return err
	}
	if err := s.openKeys(ctx, st); err != nil {
		return err
	}
	ended, err := s.ledger.WatchEnded(ctx)
	if err != nil {
		return fmt.Errorf("authserver: reading ended grants: %w", err)
	}
	s.ended = ended
	return s.ledger.FinishLeaving(ctx, "")
}

// Reload takes over clients, resources, rules, trusted issuers, audiences,
// lifetimes and names of cfg for all later requests; what came of an issuer of
// assertions that is no longer there ends. URL and MasterKey must be
// those of New, Audiences must stay nil or stay set; Store, Now, Logger and
// HTTP are those of New whatever cfg says. With an error nothing changes.
func (s *Server) Reload(cfg Config) error {
	s.change.Lock()
	defer s.change.Unlock()
	old := s.current()
	if err := old.mayBecome(cfg); err != nil {
		return err
	}
	cfg.Store, cfg.Now, cfg.Logger, cfg.HTTP = old.cfg.Store, old.cfg.Now, old.cfg.Logger, old.cfg.HTTP
	return s.use(cfg)
}

// use makes cfg, with the protected resources, the settings of all later
// requests. The caller holds change.
func (s *Server) use(cfg Config) error {
	st, err := newSettings(cfg, s.protected)
	if err != nil {
		return err
	}
	st.publish(s.grantTypes())
	old := s.current()
	st.limits = newLimits(cfg, st.loopback, old.limits)
	if cfg.Fetch.same(old.cfg.Fetch) { // else what clients published, and the bounds on asking for it, would be forgotten
		st.documents, st.clientKeys = old.documents, old.clientKeys
	}
	ctx := context.Background()
	if err := s.openDecrypters(ctx, st); err != nil {
		return err
	}
	if err := s.signWith(ctx, st); err != nil {
		return err
	}
	if err := s.keepLongest(ctx, st.longest()); err != nil {
		return err
	}
	s.trusted.use(ctx, st, s.clock)
	s.upstreams.use(ctx, st, s.clock)
	s.state.Store(st)
	if err := s.endDistrusted(ctx, st); err != nil {
		s.log.Error("what came of an issuer that is trusted no longer has not ended yet; it is tried again", "error", err)
		s.owing.Store(true)
	}
	return nil
}

// Close stops the background work and writes the audit events that wait. The
// store stays open: it is the caller's.
func (s *Server) Close() error {
	s.stop()
	s.trusted.stop()
	s.upstreams.stop()
	s.background.Wait()
	return s.audit.Close()
}

// current is the snapshot of the configuration that a request works with from
// beginning to end.
func (s *Server) current() *settings { return s.state.Load() }

func (s *Server) now() time.Time { return s.clock() }

// route is one entry of the route table.
type route struct {
	methods []string // allowed ones; GET allows HEAD too
	cors    cors
	handle  http.HandlerFunc
}

// cors is what scripts of other origins may do at a route; always without
// credentials (AS-META-14).
type cors uint8

const (
	noCORS       cors = iota
	corsDocument      // any origin
	corsEndpoint      // any origin, which sees how to authenticate, too
)

// routeTable is every path that the issuer serves, by path.
func (s *Server) routeTable(st *settings) map[string]route {
	if st.relay != nil {
		return s.relayTable(st)
	}
	get, post, both := []string{http.MethodGet}, []string{http.MethodPost}, []string{http.MethodGet, http.MethodPost}
	document := func(pick func(*settings) []byte) route {
		return route{get, corsDocument, s.answerDocument(pick)}
	}
	asMetadata := document(func(st *settings) []byte { return st.issuer[s.signingKey().Alg()].as })
	oidcMetadata := document(func(st *settings) []byte { return st.issuer[s.signingKey().Alg()].oidc })
	p := st.path
	t := map[string]route{
		oauth.WellKnownAS + p:       asMetadata,
		oauth.WellKnownOIDC + p:     oidcMetadata,
		p + oauth.WellKnownOIDC:     oidcMetadata,
		p + "/jwks":                 document(func(*settings) []byte { return s.ring.Load().document }),
		p + "/token":                {post, corsEndpoint, s.limited(s.answerForm(s.token))},
		p + "/revoke":               {post, corsEndpoint, s.limited(s.answerForm(s.revoke))},
		p + "/introspect":           {post, noCORS, s.limitedStrangers(s.answerForm(s.introspect))},
		p + "/register":             {post, corsEndpoint, s.limitedTo(registering, s.answerJSON(http.StatusCreated, s.register))},
		p + "/par":                  {post, noCORS, s.limited(s.answerFormWith(http.StatusCreated, s.par))},
		p + "/device_authorization": {post, noCORS, s.limited(s.answerForm(s.deviceAuthorization))},
		p + "/device":               {both, noCORS, s.devicePage},
		p + "/authorize":            {both, noCORS, s.authorizePage},
		p + "/login":                {both, noCORS, s.loginPage},
		p + "/consent":              {both, noCORS, s.consentPage},
		p + "/logout":               {both, noCORS, s.logoutPage},
		p + "/account":              {both, noCORS, s.accountPage},
	}
	if st.idp {
		t[p+"/userinfo"] = route{both, corsEndpoint, s.answerPlain(s.userinfo)}
	}
	return t
}

// ServeHTTP serves the issuer's endpoints and pages, and what Protect added.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rt, ok := s.routes[r.URL.Path]
	if !ok {
		rt, ok = s.namedRoute(r.URL.Path)
	}
	if !ok {
		s.serveGuarded(w, r)
		return
	}
	defer s.recover(w, r)
	if r.ContentLength != 0 {
		hurry(w)
	}
	h := w.Header()
	secureHeaders(h)
	if rt.cors == corsEndpoint {
		h["Access-Control-Expose-Headers"] = corsExposed
	}
	if rt.cors != noCORS {
		h["Access-Control-Allow-Origin"] = anyOrigin
		if r.Method == http.MethodOptions {
			preflight(w, rt.methods)
			return
		}
	}
	if !allows(rt.methods, r.Method) {
		h.Set("Allow", allowed(rt.methods))
		s.refuse(w, r, &oauth.Error{Code: oauth.InvalidRequest, Status: http.StatusMethodNotAllowed,
			Description: "this endpoint takes " + allowed(rt.methods)})
		return
	}
	rt.handle(w, s.current().withCertificates(r))
}

// serveGuarded serves what Protect added. The mux would send a path that is not
// clean to the clean one by 307, which repeats a form with its password
// (AS-AUTHZ-07).
func (s *Server) serveGuarded(w http.ResponseWriter, r *http.Request) {
	clean := path.Clean(r.URL.Path)
	if _, pattern := s.guarded.Handler(r); pattern == "" || clean != r.URL.Path && clean+"/" != r.URL.Path {
		hurry(w)
		http.NotFound(w, r)
		return
	}
	s.guarded.ServeHTTP(w, r)
}

// readTime is how long a request's body may take.
const readTime = time.Minute

// hurry bounds the time of the body, so that whoever never sends what they
// announced does not hold the connection for ever (X-HTTP-06, SEC-38). Not every
// ResponseWriter has deadlines; the server's own has.
func hurry(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTime))
}

// JWKS is this issuer's key set as a document (RFC 7517), for guards in the
// same process. Another issuer is an error.
func (s *Server) JWKS(_ context.Context, issuer string) ([]byte, error) {
	if own := s.current().cfg.URL; issuer != own {
		return nil, fmt.Errorf("authserver: %s has no keys of %s", own, issuer)
	}
	return s.ring.Load().document, nil
}

// client returns a client: of the configuration, of its own metadata document
// if its id is a URL, else of the store.
// An unknown one is invalid_client. It is not to be written to.
func (s *Server) client(ctx context.Context, st *settings, id string) (*ledger.Client, error) {
	if c, ok := st.clients[id]; ok {
		return c, nil
	}
	if id == "" || len(id) > maxClientID {
		return nil, unknownClient()
	}
	c, err := s.clientElsewhere(ctx, st, id)
	if notFound(err) {
		return nil, unknownClient()
	}
	return c, err
}

// clientElsewhere is client for one that is not of the configuration.
func (s *Server) clientElsewhere(ctx context.Context, st *settings, id string) (*ledger.Client, error) {
	var c ledger.Client
	var err error
	if oauth.IsClientURL(id) {
		c, err = s.documented(ctx, st, id)
	} else {
		c, err = s.ledger.KnownClient(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	return &c, nil
}

// origin is scheme and host of a URL that newSettings has checked.
func origin(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return issuer
	}
	return u.Scheme + "://" + u.Host
}

func allows(methods []string, method string) bool {
	for _, m := range methods {
		if m == method || m == http.MethodGet && method == http.MethodHead {
			return true
		}
	}
	return false
}

func allowed(methods []string) string {
	s := strings.Join(methods, ", ")
	if methods[0] == http.MethodGet {
		s = strings.Replace(s, http.MethodGet, "GET, HEAD", 1)
	}
	return s
}
