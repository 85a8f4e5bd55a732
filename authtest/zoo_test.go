package authtest_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"

	"doorward"
	"doorward/authserver"
	"doorward/authtest"
	"doorward/store/sqlite"
)

const zooPassword = "alice-password-12"

// cheap is a password whose check costs nothing, so that many worlds do not.
func cheap(password string) string {
	salt, b64 := []byte("a salt of these tests"), base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=19$m=8,t=1,p=1$%s$%s", b64(salt), b64(argon2.IDKey([]byte(password), salt, 1, 8, 1, 32)))
}

func zooPeople() map[string]authserver.LocalPerson {
	return map[string]authserver.LocalPerson{"alice": {Email: "alice@example.com", Password: cheap(zooPassword)}}
}

func zooPerson(t *testing.T) authtest.Visit {
	t.Helper()
	visit, err := authtest.PersonAt("alice", zooPassword, nil)
	if err != nil {
		t.Fatal(err)
	}
	return visit
}

// newSite is a world, with a mistake before its server if there is one, and
// alice in it.
func newSite(t *testing.T, mistake spoil) authtest.Site {
	t.Helper()
	docs := authtest.NewDocuments(t)
	c := authtest.Config{People: zooPeople(), Fetch: authserver.Fetch{Roots: docs.Roots()}}
	if mistake != nil {
		spoiled := mistake(docs)
		c.Wrap = func(part string, h http.Handler) http.Handler {
			if part == "server" {
				return spoiled(h)
			}
			return h
		}
	}
	w := authtest.New(t, c)
	return authtest.Site{
		MCP: w.MCP, Visit: zooPerson(t), Documents: docs.At, ClientID: authtest.ClientID, ClientSecret: authtest.ClientSecret,
		Enterprise: authtest.Enterprise{Issuer: w.IdP, ClientID: authtest.IdPClientID, ClientSecret: authtest.IdPClientSecret},
	}
}

// Every client of the zoo comes in, in every way that it has, and comes again,
// and what it had the first time is still good.
//
// covers: AS-DCR-08, AS-CIMD-01, AS-REDIR-04, REV-04, REV-05
func TestZooComesIn(t *testing.T) {
	for _, c := range authtest.Clients() {
		t.Run(strings.ReplaceAll(c.String(), "/", " "), func(t *testing.T) {
			t.Parallel()
			first, err := c.Connect(t.Context(), newSite(t, nil))
			if err != nil {
				t.Fatal(err)
			}
			again, err := first.Again(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for when, conn := range map[string]*authtest.Connection{"first": first, "second": again} {
				if err := conn.Call(t.Context()); err != nil {
					t.Errorf("the %s connection: %v", when, err)
				}
				if err := conn.Renew(t.Context()); err != nil && c.Way != "enterprise" {
					t.Errorf("the %s connection's renewal: %v", when, err)
				}
			}
		})
	}
}

// rooted is an MCP server without a path, beside its authorization server.
func rooted(t *testing.T, mistake spoil) authtest.Site {
	t.Helper()
	mux := http.NewServeMux()
	mcp := httptest.NewServer(mux)
	t.Cleanup(mcp.Close)
	var engine http.Handler
	as := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { engine.ServeHTTP(w, r) }))
	t.Cleanup(as.Close)
	db, err := sqlite.Open(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s, err := authserver.New(authserver.Config{URL: as.URL, Store: db, SignIn: authserver.LocalPeople(zooPeople()), Registration: authserver.Registration{Mode: "open"},
		Resources: []authserver.Resource{{ID: mcp.URL, Name: "notes", Open: true}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if engine = s; mistake != nil {
		engine = mistake(nil)(s)
	}
	g, err := doorward.NewGuard(doorward.GuardConfig{Resource: mcp.URL, Issuers: []string{as.URL}})
	if err != nil {
		t.Fatal(err)
	}
	g.Mount(mux, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"jsonrpc":"2.0","id":1,"result":{}}`) }))
	return authtest.Site{MCP: mcp.URL, Visit: zooPerson(t)}
}

// A resource identifier that is an origin comes back with a slash from clients
// that keep it as a URL; a server that compares letters refuses them.
func TestZooAtTheRoot(t *testing.T) {
	for _, c := range authtest.Clients() {
		if c.Way != "registration" || strings.HasPrefix(c.Name, "mcp-2025") {
			continue // the others need documents, or the server at the issuer's origin
		}
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			if err := twice(t.Context(), c, rooted(t, nil)); err != nil {
				t.Error(err)
			}
		})
	}
	letters := refuses("/authorize", "invalid_target", slashed)
	for name, fails := range map[string]bool{"typescript-sdk/registration": true, "go-sdk/registration": false} {
		_, err := zooClient(t, name).Connect(t.Context(), rooted(t, letters))
		if fails != (err != nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// docs/clients.md has the clients of the zoo, and nothing else.
func TestZooPage(t *testing.T) {
	const begin, end = "<!-- zoo -->\n", "<!-- end -->\n"
	var b strings.Builder
	b.WriteString("| client | how it comes | what a server has to bear |\n|---|---|---|\n")
	for _, c := range authtest.Clients() {
		fmt.Fprintf(&b, "| [%s](%s) | %s | %s |\n", c.Name, c.Source, c.Way, strings.Join(c.Quirks, "; "))
	}
	page, err := os.ReadFile("../docs/clients.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), begin)
	table, _, there := strings.Cut(rest, end)
	if !there || table != b.String() {
		t.Errorf("docs/clients.md: between %q and %q belongs\n%s", begin, end, b.String())
	}
}
