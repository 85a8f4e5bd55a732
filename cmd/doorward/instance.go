package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"doorward/authserver"
	"doorward/internal/audit"
	"doorward/internal/gateway"
	"doorward/internal/ledger"
	"doorward/internal/peer"
	"doorward/internal/sample"
	"doorward/internal/vault"
	"doorward/store"
	"doorward/store/sqlite"
)

// instance is one issuer of this process, put together: state, store, engine,
// gateway, administration.
type instance struct {
	env     env
	role    role
	file    string      // configuration file; "": none
	flags   *serveFlags // nil: not started by flags
	state   state
	store   store.Store
	ledger  *ledger.Ledger
	engine  *authserver.Server
	gate    *gateway.Gateway // nil: identity provider
	audit   *audit.Log
	log     *slog.Logger
	level   *slog.LevelVar // of log: a reload may change it
	sample  http.Handler
	ended   *ledger.Ended // nil: identity provider
	run     children
	stop    context.CancelFunc
	since   atomic.Pointer[time.Time] // when it began to serve; nil: it does not
	proxy   atomic.Pointer[peer.Trusted]
	cert    certificate
	meters  *meters
	audited auditFile

	mu  sync.Mutex
	cfg *Config
}

// openInstance puts an issuer together without listening yet.
func openInstance(ctx context.Context, e env, cfg *Config, file string) (_ *instance, err error) {
	i := &instance{env: e, role: cfg.role, file: file, cfg: cfg, meters: newMeters(), sample: sample.New(), level: new(slog.LevelVar)}
	i.level.Set(cfg.logLevel())
	i.proxy.Store(cfg.trustedProxies())
	i.log = slog.New(slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: i.level}))
	i.cert.log = i.log
	dir, err := stateDir(e, string(cfg.State), file, cfg.URL)
	if err != nil {
		return nil, err
	}
	if i.state, err = openState(dir); err != nil {
		return nil, err
	}
	path, err := databasePath(cfg.Database, i.state)
	if err != nil {
		return nil, err
	}
	if i.store, err = sqlite.Open(path); err != nil {
		return nil, err
	}
	i.store = countedStore{auditedStore{i.store, &i.audited}, i.meters}
	ctx, i.stop = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			i.close()
		}
	}()
	i.audited.log = i.log
	if err := i.audited.use(string(cfg.Audit.File)); err != nil {
		return nil, err
	}
	i.ledger = &ledger.Ledger{Store: i.store, AuditKeep: cfg.Audit.Keep}
	return i, i.build(ctx)
}

func (i *instance) build(ctx context.Context) error {
	empty, err := i.storeIsEmpty(ctx)
	if err != nil {
		return err
	}
	master, err := i.state.master(string(i.cfg.Keys.Master), empty)
	if err != nil {
		return err
	}
	if err := i.registrationToken(i.cfg); err != nil {
		return err
	}
	i.audit = audit.New(func(err error) { i.log.Error("audit events were not written", "error", err) }, i.ledger.AuditSink())
	if i.engine, err = authserver.New(i.engineConfig(i.cfg, master)); err != nil {
		return err
	}
	i.measure()
	if i.role == roleIdP {
		return nil
	}
	v, err := vault.New(master)
	if err != nil {
		return err
	}
	if i.ended, err = i.ledger.WatchEnded(ctx); err != nil {
		return err
	}
	servers := i.cfg.gatewayServers(i.sample)
	keep, _, err := i.run.place(i.cfg, i.commonCommand(), servers)
	if err != nil {
		return err
	}
	keep()
	i.gate, err = gateway.New(gateway.Config{
		URL: originOf(i.cfg.URL), Issuer: i.cfg.URL, InsecureHTTP: i.cfg.InsecurePublic, Keys: i.engine.JWKS, Ended: i.ended, Grant: i.ledger.Grant, Groups: i.engine.Groups,
		Vault: i.engine.UpstreamToken, SignCaller: i.engine.SignCaller, Servers: servers, SessionKey: v.Derive("mcp-session"), DPoPNonceKey: v.Derive("dpop nonce guard"), BodyLimit: int64(i.cfg.Limits.Body),
		Audit: i.audit, Attempts: i.engine.Attempts(), Logger: i.log,
	})
	return err
}

// registrationToken gives a configuration that asks for an initial access token,
// and names none, the one of the state directory.
func (i *instance) registrationToken(cfg *Config) error {
	r := &cfg.Clients.Registration
	if r.Dynamic != "token" || r.Token != "" {
		return nil
	}
	path := i.state.path("registration-token")
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		b = []byte(rand.Text() + "\n")
		if err = writeFile(path, b); err == nil {
			i.env.say("Clients register with the initial access token in %s.", path)
		}
	}
	if err != nil {
		return fmt.Errorf("clients.registration.token: %w", err)
	}
	if r.Token = secret(strings.TrimSpace(string(b))); len(r.Token) < shortestSecret {
		return fmt.Errorf("clients.registration.token: %s has fewer than %d characters: remove it, and one is made", path, shortestSecret)
	}
	return nil
}

func (i *instance) engineConfig(cfg *Config, master []byte) authserver.Config {
	c := cfg.authserverConfig()
	c.Store, c.MasterKey, c.Logger = i.store, master, i.log
	c.SignIn = cfg.signIn()
	return c
}

// storeIsEmpty reports whether nothing sealed can lie in the store yet.
func (i *instance) storeIsEmpty(ctx context.Context) (bool, error) {
	for _, kind := range []store.Kind{ledger.KindKey, ledger.KindMeta} {
		recs, _, err := i.store.List(ctx, store.Query{Kind: kind, Limit: 1})
		if err != nil || len(recs) > 0 {
			return false, err
		}
	}
	return true, nil
}

// databasePath is the SQLite path of the key `database`.
func databasePath(configured string, s state) (string, error) {
	switch {
	case configured == "":
		return s.path("doorward.db"), nil
	case strings.HasPrefix(configured, "sqlite:"):
		return strings.TrimPrefix(configured, "sqlite:"), nil
	}
	return "", fmt.Errorf("database: %q is not in this version: use sqlite:PATH", configured)
}

// reload takes a new configuration. What cannot change while serving is said
// and left as it is; with an error everything stays.
func (i *instance) reload(cfg *Config) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, fixed := range []struct{ key, old, new string }{
		{"url", i.cfg.URL, cfg.URL}, {"listen", i.cfg.Listen, cfg.Listen}, {"ops", i.cfg.Ops, cfg.Ops},
		{"state", string(i.cfg.State), string(cfg.State)}, {"database", i.cfg.Database, cfg.Database},
		{"tls (on or off)", fmt.Sprint(i.cfg.TLS.isSet()), fmt.Sprint(cfg.TLS.isSet())},
		{"tls.client_cert_header", i.cfg.TLS.ClientCertHeader, cfg.TLS.ClientCertHeader},
		{"certificates of clients (looked at or not)", fmt.Sprint(i.cfg.mtls()), fmt.Sprint(cfg.mtls())},
		{"keys.master", string(i.cfg.Keys.Master), string(cfg.Keys.Master)},
		{"limits.body", fmt.Sprint(i.cfg.Limits.Body), fmt.Sprint(cfg.Limits.Body)},
		{"audit.keep", i.cfg.Audit.Keep.String(), cfg.Audit.Keep.String()},
	} {
		if fixed.old != fixed.new {
			return fmt.Errorf("%s cannot change while serving (from %q to %q): start again for that", fixed.key, fixed.old, fixed.new)
		}
	}
	master, err := i.state.master(string(cfg.Keys.Master), false)
	if err != nil {
		return err
	}
	if err := i.registrationToken(cfg); err != nil {
		return err
	}
	if err := i.engine.Reload(i.engineConfig(cfg, master)); err != nil {
		return err
	}
	if i.gate != nil {
		if err := i.reloadServers(cfg); err != nil {
			return errors.Join(err, i.engine.Reload(i.engineConfig(i.cfg, master)))
		}
	}
	if cfg.TLS.isSet() {
		if err := i.cert.use(cfg.TLS); err != nil {
			i.log.Error("the certificate is not taken; the old one stays", "error", err)
		}
	}
	if err := i.audited.use(string(cfg.Audit.File)); err != nil {
		i.log.Error("the audit file is not taken; the old one stays", "error", err)
	}
	i.cfg = cfg
	i.proxy.Store(cfg.trustedProxies())
	i.level.Set(cfg.logLevel())
	if err := i.endChanged(context.Background(), cfg); err != nil {
		i.log.Error("the configuration was taken", "but", err)
	}
	return nil
}

func (i *instance) reloadServers(cfg *Config) error {
	servers := cfg.gatewayServers(i.sample)
	keep, drop, err := i.run.place(cfg, i.commonCommand(), servers)
	if err != nil {
		return err
	}
	if err := i.gate.Reload(servers); err != nil {
		drop()
		return err
	}
	keep()
	return nil
}

func (i *instance) config() *Config {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.cfg
}

// ServeHTTP sends each request to the part that owns its path.
func (i *instance) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if i.gate != nil && i.gate.Owns(r.URL.Path) {
		i.gate.ServeHTTP(w, r)
		return
	}
	i.engine.ServeHTTP(w, r)
}

// serving are the listeners of an instance.
type serving struct {
	main, ops net.Listener // ops nil: off
	// wrap stands before the handlers ("serve", "idp", "ops", "admin"); nil: nothing.
	wrap func(part string, h http.Handler) http.Handler
	// ready is called when nothing can keep it from answering any more; nil: nothing.
	ready func() error
}

// serve answers until ctx ends, then lets requests finish for a moment.
func (i *instance) serve(ctx context.Context, s serving) error {
	ballast()
	if s.wrap == nil {
		s.wrap = func(_ string, h http.Handler) http.Handler { return h }
	}
	socket, cleanup, err := i.listenAdmin()
	if err != nil {
		return err
	}
	defer cleanup()
	now := time.Now().UTC()
	i.since.Store(&now)
	if s.ready != nil {
		if err := s.ready(); err != nil {
			socket.Close()
			return err
		}
	}
	errs := make(chan error, 3)
	var servers []*http.Server
	start := func(l net.Listener, h http.Handler, secure bool) {
		srv := &http.Server{Handler: i.calm(h), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
			ErrorLog: slog.NewLogLogger(i.log.Handler(), slog.LevelDebug)}
		servers = append(servers, srv)
		go func() {
			var err error
			if secure {
				srv.TLSConfig = i.serverTLS()
				err = srv.ServeTLS(l, "", "")
			} else {
				err = srv.Serve(l)
			}
			if !errors.Is(err, http.ErrServerClosed) {
				errs <- err
			}
		}()
	}
	start(s.main, s.wrap(string(i.role), peer.Handler(func() peer.Trusted { return *i.proxy.Load() },
		peer.CertHeader(i.cfg.TLS.ClientCertHeader, i.meters.Served(i.calm(strictTransport(i.cfg.URL, i)), i.owns)))), i.cfg.TLS.isSet())
	start(socket, s.wrap("admin", i.adminHandler()), false)
	if s.ops != nil {
		start(s.ops, s.wrap("ops", i.opsHandler()), false)
	}
	select {
	case err = <-errs:
	case <-ctx.Done():
	}
	i.stop() // closes streams of the gateway's watchers, too
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	for _, srv := range servers {
		if srv.Shutdown(grace) != nil {
			srv.Close()
		}
	}
	return err
}

// opsHandler is /metrics, /healthz and /readyz: nothing secret, no authentication.
func (i *instance) opsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", &i.meters.Registry)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		if _, _, err := i.store.List(ctx, store.Query{Kind: ledger.KindKey, Limit: 1}); err != nil {
			i.log.Error("not ready", "error", err)
			http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

func (i *instance) close() {
	i.stop()
	i.run.close()
	if i.engine != nil {
		if err := i.engine.Close(); err != nil {
			i.log.Error("closing", "error", err)
		}
	}
	if i.audit != nil {
		if err := i.audit.Close(); err != nil {
			i.log.Error("closing the audit log", "error", err)
		}
	}
	if err := i.store.Close(); err != nil {
		i.log.Error("closing the database", "error", err)
	}
	i.audited.close()
}

func (c *Config) logLevel() slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Telemetry.Log)); err != nil {
		return slog.LevelInfo
	}
	return level
}

// listen opens a TCP address, with words for what usually goes wrong.
func listen(key, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: cannot listen on %s: %w (is another program, or another doorward, using the port? set `%s:` or --%s to another one)", key, address, errors.Unwrap(err), key, key)
	}
	return l, nil
}

// passwordOf is the password of the one person of a start without a file, as
// the state directory keeps it from the first start on; "": there is none yet.
func passwordOf(s state) (string, error) {
	b, err := os.ReadFile(s.path("password"))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if password := strings.TrimSpace(string(b)); len(password) >= 12 {
		return password, err
	}
	return "", err
}
