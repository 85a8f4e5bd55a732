package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"doorward/authtest"
)

// zooHouse is an identity provider and a server behind it, as their files make
// them, for the clients of the zoo.
func zooHouse(t testing.TB, d *desk) authtest.Site {
	t.Helper()
	docs := authtest.NewDocuments(t)
	for name, value := range map[string]string{"ALICE": alicesPassword, "IDP_SECRET": longSecret + "1", "SERVER_SECRET": longSecret + "2"} {
		d.vars[name] = value
	}
	idpURL, serverURL := "http://"+free(t), "http://"+free(t)
	dir := write(t, map[string]string{
		"docs.pem": string(docs.PEM()),
		"idp.yaml": fmt.Sprintf(`
url: %s
ops: ""
state: idp-state
people: {alice: {email: alice@example.com, password: "${ALICE}"}}
clients: {registered: {desktop-idp: {secret: "${IDP_SECRET}", redirect_uris: ["http://127.0.0.1/"]}}}
audiences:
  %s: {resources: [%s/mcp], client_ids: {desktop-idp: desktop}, allow: [{who: everyone}]}
`, idpURL, serverURL, serverURL),
		"doorward.yaml": fmt.Sprintf(`
url: %s
ops: ""
fetch: {roots: docs.pem}
people: {alice: {email: alice@example.com, password: "${ALICE}"}}
providers: {corp: {issuer: "%s", id_jag: {}}}
clients:
  registered:
    desktop: {secret: "${SERVER_SECRET}", redirect_uris: ["https://claude.ai/api/mcp/auth_callback", "https://claude.com/api/mcp/auth_callback"]}
servers: {sample: {path: /mcp, run: sample, allow: [{who: everyone}]}}
`, serverURL, idpURL),
	})
	idp := d.start("idp", "--config", filepath.Join(dir, "idp.yaml"))
	p := d.start("serve", "--config", filepath.Join(dir, "doorward.yaml"))
	visit, err := authtest.PersonAt("alice", alicesPassword, nil)
	if err != nil {
		t.Fatal(err)
	}
	return authtest.Site{MCP: p.url + "/mcp", Visit: visit, Documents: docs.At, ClientID: "desktop", ClientSecret: longSecret + "2",
		Enterprise: authtest.Enterprise{Issuer: idp.url, ClientID: "desktop-idp", ClientSecret: longSecret + "1"}}
}

// One serve with an ordinary file lets every known client in, in every way that
// it comes, and again the next time, with all of them there at once.
func TestServeLetsTheZooIn(t *testing.T) {
	t.Parallel()
	site := zooHouse(t, newDesk(t))
	for _, c := range authtest.Clients() {
		t.Run(strings.ReplaceAll(c.String(), "/", " "), func(t *testing.T) {
			first, err := c.Connect(t.Context(), site)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := first.Again(t.Context()); err != nil {
				t.Error(err)
			}
			if err := first.Call(t.Context()); err != nil {
				t.Errorf("the first connection: %v", err)
			}
		})
	}
}
