// Subject is Doorward as `doorward serve` and `doorward idp` put it together,
// with the listener of bench/control beside it: the product has no profiler.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"doorward"
	"doorward/authserver"
	"doorward/bench/control"
	"doorward/internal/access"
	"doorward/internal/audit"
	"doorward/internal/gateway"
	"doorward/internal/ledger"
	"doorward/internal/metrics"
	"doorward/internal/vault"
	"doorward/store/sqlite"
)

const secret = "a-secret-of-the-bench-0123456789"

func main() {
	role := flag.String("role", "serve", "serve or idp")
	dir := flag.String("dir", "", "directory for the database")
	upstream := flag.String("upstream", "", "URL of the MCP server")
	issuer := flag.String("issuer", "", "issuer of ID-JAGs and of the guard's tokens")
	flag.Parse()
	if err := run(*role, *dir, *upstream, *issuer); err != nil {
		fmt.Fprintln(os.Stderr, "subject:", err)
		os.Exit(1)
	}
}

func run(role, dir, upstream, issuer string) error {
	l, base, err := control.Listen()
	if err != nil {
		return err
	}
	db, err := sqlite.Open(filepath.Join(dir, role+".db"))
	if err != nil {
		return err
	}
	defer db.Close()
	cfg := authserver.Config{URL: base, Store: db, MasterKey: make([]byte, vault.MasterKeySize),
		SignIn: authserver.LocalPeople(map[string]authserver.LocalPerson{"alice": {Email: "alice@example.com", Groups: []string{"eng"}, Password: "alice-password-12"}}),
		Clients: map[string]authserver.Client{
			"desktop": {Name: "Desktop", Secret: secret, RedirectURIs: []string{"http://127.0.0.1/callback"}},
		}}
	if role == "idp" {
		cfg.Audiences = map[string]authserver.Audience{"https://as.example": {Resources: []string{"https://as.example/mcp"},
			ClientIDs: map[string]string{"desktop": "desktop"}, Allow: everyone()}}
		engine, err := authserver.New(cfg)
		if err != nil {
			return err
		}
		defer engine.Close()
		return control.Serve(l, new(metrics.Registry).Served(engine, engine.Owns), nil)
	}
	return serve(cfg, db, upstream, issuer, func(h http.Handler) error { return control.Serve(l, h, nil) })
}

func everyone() []authserver.Rule { return []authserver.Rule{{Who: []string{"everyone"}}} }

// serve is the authorization server, the gateway before one MCP server, and a
// guard of the library before nothing.
func serve(cfg authserver.Config, db *sqlite.Store, upstream, issuer string, listen func(http.Handler) error) error {
	scopes := map[string]string{"use": "Use the server"}
	allow := append(everyone(), authserver.Rule{Who: []string{"client:agent"}})
	cfg.Clients["agent"] = authserver.Client{Secret: secret, GrantTypes: []string{"client_credentials"}}
	cfg.Clients["api"] = authserver.Client{Secret: secret, Introspects: []string{cfg.URL + "/mcp"}}
	cfg.Registration = authserver.Registration{Mode: "open", Total: 1 << 30}
	cfg.Resources = []authserver.Resource{{ID: cfg.URL + "/mcp", Name: "mcp", Scopes: scopes, DefaultScopes: []string{"use"}, RuleName: "servers.mcp", Allow: allow}}
	cfg.Issuers = map[string]authserver.TrustedIssuer{"corp": {Issuer: issuer, JWKSURI: issuer + "/jwks", EmailDomains: []string{"example.com"}}}
	engine, err := authserver.New(cfg)
	if err != nil {
		return err
	}
	defer engine.Close()
	records := &ledger.Ledger{Store: db}
	ended, err := records.WatchEnded(context.Background())
	if err != nil {
		return err
	}
	events := audit.New(nil, records.AuditSink())
	defer events.Close()
	gate, err := gateway.New(gateway.Config{URL: cfg.URL, Issuer: cfg.URL, Keys: engine.JWKS, Ended: ended, Grant: records.Grant, Audit: events,
		Servers: map[string]gateway.Server{"mcp": {Path: "/mcp", Name: "mcp", Upstream: upstream, Scopes: scopes, DefaultScopes: []string{"use"},
			Rules: access.Rules{Name: "servers.mcp", Allow: allow}}}})
	if err != nil {
		return err
	}
	guard, err := doorward.NewGuard(doorward.GuardConfig{Resource: cfg.URL + "/guarded", Issuers: []string{issuer}, Ended: ended.Has})
	if err != nil {
		return err
	}
	guarded := guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, _ := doorward.CallerFrom(r.Context())
		io.WriteString(w, caller.Subject)
	}))
	counted := new(metrics.Registry).Served(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if gate.Owns(r.URL.Path) {
			gate.ServeHTTP(w, r)
			return
		}
		engine.ServeHTTP(w, r)
	}), func(path string) bool { return gate.Owns(path) || engine.Owns(path) })
	return listen(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/guarded" { // of the library, which counts nothing
			guarded.ServeHTTP(w, r)
			return
		}
		counted.ServeHTTP(w, r)
	}))
}
