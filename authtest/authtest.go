package authtest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"doorward"
	"doorward/authserver"
	"doorward/internal/access"
	"doorward/internal/gateway"
	"doorward/internal/ledger"
	"doorward/internal/vault"
	"doorward/store"
	"doorward/store/sqlite"
)

// Client ids and secrets of the world: one client, registered at both ends.
const (
	IdPClientID     = "desktop-idp"
	IdPClientSecret = "a-secret-that-only-the-idp-knows"
	ClientID        = "desktop"
	ClientSecret    = "a-secret-that-only-the-server-knows"
)

// Config says what the world is like. Each zero value means what it says.
type Config struct {
	// People of the identity provider, by name. nil: alice and bob, both in the
	// group eng, with the password NAME-password-12.
	People map[string]authserver.LocalPerson
	// Allow and Deny are the identity provider's rules for the server. Allow
	// nil: everyone.
	Allow, Deny []authserver.Rule
	// MCP is the guarded server. nil: it answers {"jsonrpc":"2.0","id":1,"result":{}}
	// to every POST and holds a stream open for every GET.
	MCP http.Handler
	// Scopes of the server, with words; the first of DefaultScopes is asked for
	// by the challenge. nil: "use".
	Scopes        map[string]string
	DefaultScopes []string
	// Fetch is how the server fetches client metadata documents. Those of
	// [NewDocuments] need its Roots.
	Fetch authserver.Fetch
	// DPoP says whether the server's tokens are bound to keys, as
	// authserver.Config.DPoP does: "optional", "required" or "off"; "": optional.
	DPoP string
	// Wrap stands before the handlers "idp" and "server". nil: nothing does.
	Wrap func(part string, h http.Handler) http.Handler
}

// World is the parts, up and running.
type World struct {
	IdP    string // issuer of the identity provider
	Server string // issuer of the authorization server
	MCP    string // URL and resource identifier of the guarded server

	IdPEngine, ServerEngine *authserver.Server
	IdPStore, ServerStore   store.Store

	t      testing.TB
	people map[string]authserver.LocalPerson
	ledger *ledger.Ledger
	clock  *clock
}

type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

// New starts a world that ends with the test.
func New(t testing.TB, c Config) *World {
	t.Helper()
	w := &World{t: t, clock: &clock{}, people: c.People}
	if w.people == nil {
		w.people = map[string]authserver.LocalPerson{}
		for _, name := range []string{"alice", "bob"} {
			w.people[name] = authserver.LocalPerson{Email: name + "@example.com", Groups: []string{"eng"}, Password: name + "-password-12"}
		}
	}
	if c.Allow == nil {
		c.Allow = []authserver.Rule{{Who: []string{"everyone"}}}
	}
	if c.Scopes == nil {
		c.Scopes, c.DefaultScopes = map[string]string{"use": "Use the server"}, []string{"use"}
	}
	if c.MCP == nil {
		c.MCP = http.HandlerFunc(plainMCP)
	}
	idp, server := &door{}, &door{}
	w.IdP, w.Server = w.open("idp", idp, c.Wrap), w.open("server", server, c.Wrap)
	w.MCP = w.Server + "/mcp"
	w.IdPStore, w.ServerStore = w.store(), w.store()
	w.startIdP(c, idp)
	w.startServer(c, server)
	return w
}

// door is a listener whose handler comes later: each issuer must know the
// other's address before it is made.
type door struct {
	mu sync.Mutex
	h  http.Handler
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	h := d.h
	d.mu.Unlock()
	h.ServeHTTP(w, r)
}

func (d *door) set(h http.Handler) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.h = h
}

func (w *World) open(part string, d *door, wrap func(string, http.Handler) http.Handler) string {
	d.h = http.NotFoundHandler()
	var h http.Handler = d
	if wrap != nil {
		h = wrap(part, h)
	}
	srv := httptest.NewServer(h)
	w.t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv.URL
}

func (w *World) store() store.Store {
	w.t.Helper()
	s, err := sqlite.OpenConfig(sqlite.Config{Path: ":memory:", Now: w.clock.now})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { s.Close() })
	return s
}

func (w *World) engine(c authserver.Config) *authserver.Server {
	w.t.Helper()
	c.Now = w.clock.now
	s, err := authserver.New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return s
}

func (w *World) startIdP(c Config, d *door) {
	w.IdPEngine = w.engine(authserver.Config{
		URL: w.IdP, Store: w.IdPStore, SignIn: authserver.LocalPeople(w.people),
		Clients: map[string]authserver.Client{
			IdPClientID: {Name: "Desktop", Secret: IdPClientSecret, RedirectURIs: []string{"http://127.0.0.1/callback", "http://127.0.0.1/"}},
		},
		Audiences: map[string]authserver.Audience{
			w.Server: {Resources: []string{w.MCP}, ClientIDs: map[string]string{IdPClientID: ClientID}, Allow: c.Allow, Deny: c.Deny},
		},
	})
	d.set(w.IdPEngine)
}

func (w *World) startServer(c Config, d *door) {
	everyone := []authserver.Rule{{Who: []string{"everyone"}}}
	w.ServerEngine = w.engine(authserver.Config{
		URL: w.Server, Store: w.ServerStore, Fetch: c.Fetch, SignIn: authserver.LocalPeople(w.people),
		Clients: map[string]authserver.Client{
			ClientID: {Name: "Desktop", Secret: ClientSecret, RedirectURIs: []string{"http://127.0.0.1/callback", claudeAI, claudeCom}},
		},
		Registration: authserver.Registration{Mode: "open"},
		DPoP:         c.DPoP,
		Resources: []authserver.Resource{
			{ID: w.MCP, Name: "mcp", Scopes: c.Scopes, DefaultScopes: c.DefaultScopes, RuleName: "servers.mcp", Allow: everyone},
		},
		Issuers: map[string]authserver.TrustedIssuer{"corp": {Issuer: w.IdP}},
	})
	w.ledger = &ledger.Ledger{Store: w.ServerStore, Now: w.clock.now}
	ctx, cancel := context.WithCancel(context.Background())
	w.t.Cleanup(cancel)
	ended, err := w.ledger.WatchEnded(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	v, err := vault.New(make([]byte, vault.MasterKeySize))
	if err != nil {
		w.t.Fatal(err)
	}
	g, err := gateway.New(gateway.Config{
		URL: w.Server, Issuer: w.Server, Keys: w.ServerEngine.JWKS, Ended: ended, Grant: w.ledger.Grant, Groups: w.ServerEngine.Groups, SessionKey: v.Derive("mcp-session"), Now: w.clock.now, Attempts: w.ServerEngine.Attempts(),
		Servers: map[string]gateway.Server{"mcp": {
			Path: "/mcp", Name: "mcp", Handler: c.MCP, Scopes: c.Scopes, DefaultScopes: c.DefaultScopes, DPoP: c.DPoP,
			Rules: access.Rules{Name: "servers.mcp", Allow: everyone},
		}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	d.set(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if g.Owns(r.URL.Path) {
			g.ServeHTTP(rw, r)
			return
		}
		w.ServerEngine.ServeHTTP(rw, r)
	}))
}

// Ahead moves the clock of all parts.
func (w *World) Ahead(d time.Duration) {
	w.clock.mu.Lock()
	defer w.clock.mu.Unlock()
	w.clock.ahead += d
}

// CrossApp is a client's flow for one person, who has signed in at the
// identity provider just now.
func (w *World) CrossApp(person string) *doorward.CrossApp {
	w.t.Helper()
	token := w.IDToken(person)
	return &doorward.CrossApp{
		IdP:    doorward.Credentials{Issuer: w.IdP, ID: IdPClientID, Secret: IdPClientSecret},
		Server: doorward.Credentials{ID: ClientID, Secret: ClientSecret},
		Subject: func(context.Context) (doorward.Subject, error) {
			return doorward.Subject{Person: person, Token: token}, nil
		},
	}
}

// Leave ends everything of a person at the authorization server, as `doorward
// leave` does.
func (w *World) Leave(person string) {
	w.t.Helper()
	if _, err := w.ledger.Leave(context.Background(), "corp/"+person); err != nil {
		w.t.Fatal(err)
	}
}

// plainMCP answers every call and keeps every stream open.
func plainMCP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, `{"jsonrpc":"2.0","id":1,"result":{}}`)
}
