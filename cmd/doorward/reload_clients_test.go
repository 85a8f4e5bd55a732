package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
)

// A reload adds clients, changes them and ends them: what they had goes with
// what they were, and nobody else notices.
func TestReloadOfClients(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	file := siteAt(t, d, "")
	p := d.start("serve", "--config", file)
	original, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	reloads := 0
	reload := func(replace, by string) {
		t.Helper()
		text := strings.Replace(string(original), replace, by, 1)
		if text == string(original) {
			t.Fatalf("%q is not in the file", replace)
		}
		if err := writeFile(file, []byte(text)); err != nil {
			t.Fatal(err)
		}
		reloads++
		p.errs.wait(t, fmt.Sprintf(`(?s)(configuration reloaded.*){%d}`, reloads))
	}
	const agent = `    agent: {secret: "${AGENT}", grant_types: [client_credentials]}`
	second := "a-second-agent-of-some-length"
	token := func(client, secret string) (int, string) {
		t.Helper()
		status, got := ask(t, p.url+"/token", client, secret, "grant_type", "client_credentials", "resource", p.url+"/one/mcp")
		text, _ := got["access_token"].(string)
		return status, text
	}
	if status, _ := token("second", second); status != http.StatusUnauthorized {
		t.Fatalf("a client that is not there: %d", status)
	}
	kept := agentToken(t, p.url)
	reload(`clients:
  registered:
`, `clients:
  registered:
    second: {secret: "`+second+`", grant_types: [client_credentials]}
`)
	original = mustRead(t, file)
	if status, _ := token("second", second); status/100 != 2 && status != http.StatusBadRequest {
		t.Errorf("a client that was added: %d", status)
	}
	if !opens(t, p.url+"/one/mcp", kept) {
		t.Error("another client's token ended with it")
	}
	changed := "agent-canary-4712-of-some-length"
	reload(agent, `    agent: {secret: "`+changed+`", grant_types: [client_credentials]}`)
	if opens(t, p.url+"/one/mcp", kept) {
		t.Error("what the old secret got opens the server")
	}
	if status, _ := token("agent", agentsSecret); status != http.StatusUnauthorized {
		t.Errorf("the old secret: %d", status)
	}
	status, kept := token("agent", changed)
	if status != http.StatusOK || !opens(t, p.url+"/one/mcp", kept) {
		t.Errorf("the new secret: %d", status)
	}
	original = mustRead(t, file)
	// Keys in place of the secret.
	reload(`    agent: {secret: "`+changed+`", grant_types: [client_credentials]}`, `    agent: {jwks: `+publicKeys(t)+`, grant_types: [client_credentials]}`)
	if opens(t, p.url+"/one/mcp", kept) {
		t.Error("what the secret got opens the server")
	}
	if status, _ := token("agent", changed); status != http.StatusUnauthorized {
		t.Errorf("a secret beside keys: %d", status)
	}
	// A name that it has now, and a scope that it is bound to, end nothing.
	original = mustRead(t, file)
	alice := d.token(p.url+"/one/mcp", "alice", alicesPassword, "--client-id", "tool")
	reload(`    tool: {redirect_uris`, `    tool: {name: Tool, redirect_uris`)
	if !opens(t, p.url+"/one/mcp", alice) {
		t.Error("a new name ended what people gave the client")
	}
	original = mustRead(t, file)
	reload(`    tool: {name: Tool, redirect_uris: ["http://127.0.0.1/callback"]}`, ``)
	if opens(t, p.url+"/one/mcp", alice) {
		t.Error("a client that is gone has a token that opens the server")
	}
}

func mustRead(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
