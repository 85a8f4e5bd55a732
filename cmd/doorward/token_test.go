package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTokenForms(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := d.start("serve", "--config", siteAt(t, d, ""))
	server := p.url + "/one/mcp"
	alice := person(t, "alice", alicesPassword)

	plain := d.browser(alice, "token", server, "--flow", "browser", "--no-browser")
	if plain.code != 0 || strings.Count(plain.out, "\n") != 1 || !opens(t, server, strings.TrimSpace(plain.out)) {
		t.Errorf("exit %d, %d bytes\n%s", plain.code, len(plain.out), plain.errs)
	}
	header := d.browser(alice, "token", server, "--no-browser", "--header")
	if a := post(t, server, strings.TrimSpace(header.out), initialize); header.code != 0 || a.status != http.StatusOK {
		t.Errorf("--header: exit %d, then %d", header.code, a.status)
	}
	asJSON := d.browser(alice, "token", server, "--no-browser", "--json", "--scope", "one:write")
	var got struct {
		AccessToken string    `json:"access_token"`
		TokenType   string    `json:"token_type"`
		Expires     time.Time `json:"expires"`
	}
	if err := json.Unmarshal([]byte(asJSON.out), &got); err != nil || got.TokenType != "Bearer" || got.Expires.Before(time.Now()) || !opens(t, server, got.AccessToken) {
		t.Errorf("--json: %v, type %q, expires %s", err, got.TokenType, got.Expires)
	}
	// With a client that is registered, not one that registers itself.
	tool := d.browser(alice, "token", server, "--no-browser", "--client-id", "tool")
	if tool.code != 0 || !opens(t, server, strings.TrimSpace(tool.out)) {
		t.Errorf("--client-id: exit %d\n%s", tool.code, tool.errs)
	}
}

func TestTokenOfAClient(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := d.start("serve", "--config", siteAt(t, d, ""))
	server := p.url + "/one/mcp"
	file := filepath.Join(d.home, "secret")
	if err := os.WriteFile(file, []byte(agentsSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"env:AGENT", "file:" + file} {
		for _, flow := range []string{"client", "auto"} {
			token := strings.TrimSpace(d.must("token", server, "--flow", flow, "--client-id", "agent", "--client-secret", secret))
			if !opens(t, server, token) {
				t.Errorf("%s %s: the token does not open the server", flow, secret)
			}
		}
	}
	d.vars["WRONG"] = "not-the-secret-of-the-agent"
	d.refused(1, []string{"token", server, "--flow", "client", "--client-id", "agent", "--client-secret", "env:WRONG"}, "invalid_client")
}

func TestTokenRefused(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "SECRET", longSecret, "EMPTY", "")
	open := filepath.Join(d.home, "open")
	if err := os.WriteFile(open, []byte(longSecret), 0o644); err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + free(t) + "/mcp"
	token := func(args ...string) []string { return append([]string{"token", nobody}, args...) }
	client := token("--flow", "client", "--client-id", "agent", "--client-secret")
	for _, c := range []struct {
		code int
		args []string
		says string
	}{
		{2, append(client, longSecret), "env:NAME or file:PATH"},
		{2, append(client, "env:MISSING"), "is not set"},
		{2, append(client, "env:EMPTY"), "is not set"},
		{1, append(client, "file:"+open), "chmod 600"},
		{1, append(client, "file:nowhere"), "nowhere"},
		{2, token("--idp", "http://127.0.0.1:1", "--idp-client-secret", longSecret), "env:NAME or file:PATH"},
		{2, token("--flow", "workload"), "needs --workload-jwt"},
		{2, token("--flow", "workload", "--workload-jwt", longSecret), "env:NAME or file:PATH"},
		{2, token("--flow", "browser", "--workload-jwt", "env:JWT"), "goes with the workload flow"},
		{2, token("--flow", "magic"), `--flow "magic"`},
		{1, token("--profile", "x", "--flow", "enterprise"), "nobody is signed in in the profile x: run doorward login"},
		{1, token("--profile", "x"), "connection refused"}, // auto goes on without a sign-in
		{2, token("--profile", "../x"), "no name of a profile"},
		{2, token("--flow", "client"), "--client-id and --client-secret"},
		{2, token("--flow", "enterprise"), "--idp, --idp-client-id and --client-id"},
		{2, token("--flow", "browser", "--idp", "http://127.0.0.1:1"), "go with the enterprise flow"},
		{2, append(client, "env:SECRET", "--assume-pkce", "https://a.example"), "--assume-pkce"},
		{1, append(client, "env:SECRET"), "127.0.0.1"},
		{1, token("--idp", "http://127.0.0.1:1", "--idp-client-id", "a", "--client-id", "b"), "cannot be reached"},
		{2, []string{"token", "localhost:1/mcp", "--no-browser"}, `"localhost:1/mcp" is no URL`},
		{2, []string{"token", "ftp://127.0.0.1/mcp", "--no-browser"}, "is no URL"},
		{1, token("--no-browser"), "doorward: discover at " + nobody},
	} {
		d.refused(c.code, c.args, c.says)
		if r := d.run(c.args...); strings.Contains(r.errs, longSecret) {
			t.Errorf("%q repeats the secret", c.args)
		}
	}
}

// covers: C-AUTHZ-07, Q07
func TestSignInOpensNoStrangeAddress(t *testing.T) {
	for _, address := range []string{"javascript:alert(1)", "file:///etc/passwd", "http://idp.example/authorize", "//idp.example/authorize", "-x", ""} {
		var issuer string
		idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			json.NewEncoder(w).Encode(map[string]string{"issuer": issuer, "authorization_endpoint": address, "token_endpoint": issuer + "/token", "jwks_uri": issuer + "/jwks"})
		}))
		issuer = idp.URL
		err := signInAt(t, issuer, func(context.Context, string) error {
			t.Errorf("%q was opened", address)
			return nil
		})
		if err == nil || !strings.Contains(err.Error(), "authorization_endpoint") {
			t.Errorf("%q: %v", address, err)
		}
		idp.Close()
	}
}

func signInAt(t testing.TB, issuer string, open func(context.Context, string) error) error {
	t.Helper()
	_, err := signIn{Issuer: issuer, ClientID: "x", RedirectURI: "http://127.0.0.1/callback", Open: open, Now: time.Now}.do(t.Context())
	return err
}

// company is an identity provider and an authorization server that trusts it.
func company(t testing.TB, d *desk) (idp, server *process, file string) {
	t.Helper()
	for name, value := range map[string]string{"ALICE": alicesPassword, "BOB": "violet-anvil-83-tango", "IDP_SECRET": longSecret + "1", "SERVER_SECRET": longSecret + "2"} {
		d.vars[name] = value
	}
	idpURL, serverURL := "http://"+free(t), "http://"+free(t)
	dir := write(t, map[string]string{
		"idp.yaml": fmt.Sprintf(`
url: %s
ops: ""
state: idp-state
people:
  alice: {email: alice@example.com, groups: [eng], password: "${ALICE}"}
  bob: {email: bob@example.com, groups: [eng], password: "${BOB}"}
clients:
  registered:
    desktop-idp: {secret: "${IDP_SECRET}", redirect_uris: ["http://127.0.0.1/callback"]}
audiences:
  %s:
    resources: [%s/mcp]
    client_ids: {desktop-idp: desktop}
    allow: [{who: "group:eng"}]
    deny: [{who: "person:bob"}]
`, idpURL, serverURL, serverURL),
		"doorward.yaml": fmt.Sprintf(`
url: %s
ops: ""
providers:
  corp: {issuer: "%s", id_jag: {}}
clients:
  registered:
    desktop: {secret: "${SERVER_SECRET}", grant_types: [jwt-bearer]}
servers:
  sample: {path: /mcp, run: sample, allow: [{who: everyone}]}
`, serverURL, idpURL),
	})
	file = filepath.Join(dir, "doorward.yaml")
	return d.start("idp", "--config", filepath.Join(dir, "idp.yaml")), d.start("serve", "--config", file), file
}

// covers: C-EMA-02, C-EMA-03
func TestTokenEnterprise(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	idp, p, file := company(t, d)
	server := p.url + "/mcp"
	args := []string{"token", server, "--flow", "enterprise", "--no-browser", "--idp", idp.url, "--idp-client-id", "desktop-idp",
		"--idp-client-secret", "env:IDP_SECRET", "--client-id", "desktop", "--client-secret", "env:SERVER_SECRET"}
	token := func() string {
		t.Helper()
		r := d.browser(person(t, "alice", alicesPassword), args...)
		if r.code != 0 {
			t.Fatalf("exit %d\n%s", r.code, r.errs)
		}
		return strings.TrimSpace(r.out)
	}
	first := token()
	if !opens(t, server, first) {
		t.Fatal("the token does not open the server")
	}
	if r := d.browser(person(t, "bob", d.vars["BOB"]), args...); r.code != 1 || r.out != "" || !strings.Contains(r.errs, "deny[0]") {
		t.Errorf("Bob: exit %d, %d bytes\n%s", r.code, len(r.out), r.errs)
	}

	// What came by an issuer can be ended by its name, whether the server runs
	// or not; the person by their name at the provider.
	d.must("revoke", "issuer:corp", "--config", file)
	if opens(t, server, first) {
		t.Error("it lives on after revoke issuer:corp")
	}
	second := token()
	p.stop()
	out := d.must("revoke", "--config", file, "issuer:corp")
	if !strings.Contains(out, "corp/alice") {
		t.Errorf("the receipt does not name her: %s", out)
	}
	d.start("serve", "--config", file)
	if opens(t, server, second) {
		t.Error("it lives on after revoke issuer:corp while the server stood still")
	}
	third := token()
	d.must("leave", "alice", "--config", file)
	if opens(t, server, third) {
		t.Error("it lives on after leave")
	}
	if r := d.browser(person(t, "alice", alicesPassword), args...); r.code != 1 || !strings.Contains(r.errs, "invalid_grant") {
		t.Errorf("after leave: exit %d\n%s", r.code, r.errs)
	}
	d.must("leave", "--undo", "corp/alice", "--config", file)
	if !opens(t, server, token()) {
		t.Error("after leave --undo the token does not open the server")
	}
}
