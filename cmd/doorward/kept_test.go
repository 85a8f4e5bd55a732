package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"doorward/internal/keep"
)

// keptProfile is what lies in the default profile.
func (d *desk) keptProfile() keep.Profile {
	d.t.Helper()
	store, err := d.env(io.Discard, io.Discard).kept()
	if err != nil {
		d.t.Fatal(err)
	}
	p, err := store.Read(d.t.Context(), defaultProfile)
	if err != nil {
		d.t.Fatal(err)
	}
	return p
}

// What the browser flow got is found by the next start, shown by whoami and
// ended by logout, here and at the server.
//
// covers: C-TOK-04
func TestTokensAreKept(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := d.start("serve", "--config", siteAt(t, d, ""))
	server := p.url + "/one/mcp"
	first := d.browser(person(t, "alice", alicesPassword), "token", server, "--no-browser")
	if first.code != 0 || !strings.Contains(first.errs, "store.key beside it") {
		t.Fatalf("exit %d\n%s", first.code, first.errs)
	}
	again := d.run("token", server, "--no-browser")
	if again.code != 0 || again.out != first.out || again.errs != "" {
		t.Errorf("the second run: exit %d, the same token: %v\n%s", again.code, again.out == first.out, again.errs)
	}
	// Other scopes are another grant.
	if r := d.browser(person(t, "alice", alicesPassword), "token", server, "--no-browser", "--scope", "one:write"); r.code != 0 || r.out == first.out {
		t.Errorf("--scope: exit %d, the same token: %v\n%s", r.code, r.out == first.out, r.errs)
	}
	s, _, errs, err := d.stdio(d.program(), "2025-11-25", "connect", server, "--no-browser")
	if err != nil {
		t.Fatalf("%v\n%s", err, errs)
	}
	if who := whoamiCall(t, s); !strings.Contains(who, "alice") {
		t.Error(who)
	}
	s.Close()
	if errs.String() != "" {
		t.Errorf("connect talked: %s", errs)
	}

	var who struct {
		SignIns []signedIn `json:"sign_ins"`
		Servers []reached  `json:"servers"`
	}
	out := d.must("whoami", "--json")
	if err := json.Unmarshal([]byte(out), &who); err != nil || len(who.SignIns) != 0 || len(who.Servers) != 2 {
		t.Fatal(out, err)
	}
	if r := who.Servers[0]; r.Profile != "default" || r.Server != server || r.Issuer != p.url || r.ClientID == "" || !r.Renewable || r.Until.IsZero() {
		t.Errorf("%+v", r)
	}
	if text := d.must("whoami"); !strings.Contains(text, server+" by "+p.url) {
		t.Error(text)
	}
	kept := keptTokens(d.keptProfile())
	for _, secret := range []string{strings.TrimSpace(first.out), kept[0].Refresh, kept[1].Refresh} {
		if secret == "" || strings.Contains(out+again.errs+first.errs, secret) {
			t.Error("a secret is shown, or missing")
		}
	}

	if r := d.run("logout"); r.code != 0 || !strings.Contains(r.out, "default: signed out") || r.errs != "" {
		t.Errorf("%+v", r)
	}
	if opens(t, server, strings.TrimSpace(first.out)) {
		t.Error("after logout the token still opens the server")
	}
	for _, k := range kept {
		if status, got := ask(t, p.url+"/token", k.Client.ID, k.Client.Secret, "grant_type", "refresh_token", "refresh_token", k.Refresh); status != 400 || got["error"] != "invalid_grant" {
			t.Errorf("after logout the refresh token brings %d %v", status, got["error"])
		}
	}
	d.refused(1, []string{"whoami"}, "nobody is signed in")
}

// Where nothing can be kept the way in is open all the same, and is said to be
// gone after it; what was kept and cannot be read is an error.
func TestTokensThatCannotBeKept(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := d.start("serve", "--config", siteAt(t, d, ""))
	server := p.url + "/one/mcp"
	if err := os.WriteFile(filepath.Join(d.home, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	state := d.vars["XDG_STATE_HOME"]
	d.vars["XDG_STATE_HOME"] = filepath.Join(d.home, "file")
	if r := d.browser(person(t, "alice", alicesPassword), "token", server, "--no-browser", "--flow", "browser"); r.code != 0 || !strings.Contains(r.errs, "the next start signs in again") {
		t.Errorf("exit %d\n%s", r.code, r.errs)
	}
	d.vars["XDG_STATE_HOME"] = state
	d.vars["DOORWARD_STORE_KEY"] = strings.Repeat("a5", 32)
	if r := d.browser(person(t, "alice", alicesPassword), "token", server, "--no-browser"); r.code != 0 {
		t.Fatal(r.errs)
	}
	d.vars["DOORWARD_STORE_KEY"] = strings.Repeat("5a", 32)
	d.refused(1, []string{"token", server, "--no-browser", "--flow", "browser"}, "put the right key back")
	s, _, _, err := d.stdio(d.program(), "2025-11-25", "connect", server, "--no-browser", "--flow", "browser")
	if err == nil {
		s.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "put the right key back") {
		t.Errorf("the client hears %v", err)
	}
	d.vars["DOORWARD_STORE_KEY"] = strings.Repeat("a5", 32)
	if r := d.run("token", server, "--no-browser"); r.code != 0 || r.errs != "" {
		t.Errorf("the token is lost: exit %d\n%s", r.code, r.errs)
	}
}

// The client that came in once with the company's sign-in needs no flags the
// next time, and its secret lies sealed.
//
// covers: C-REG-01, C-REG-02
func TestEnterpriseWithoutFlags(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	idp, p, file := company(t, d)
	if r := logIn(t, d, idp); r.code != 0 {
		t.Fatal(r.errs)
	}
	server := p.url + "/mcp"
	r := d.run("token", server, "--client-id", "desktop", "--client-secret", "env:SERVER_SECRET")
	if r.code != 0 || !opens(t, server, strings.TrimSpace(r.out)) {
		t.Fatalf("exit %d\n%s", r.code, r.errs)
	}
	delete(d.vars, "SERVER_SECRET")
	if again := d.run("token", server); again.code != 0 || again.out != r.out || again.errs != "" {
		t.Errorf("exit %d, the same token: %v\n%s", again.code, again.out == r.out, again.errs)
	}
	d.must("revoke", "client:desktop", "--config", file)
	s, _, errs, err := d.stdio(d.program(), "2026-07-28", "connect", server)
	if err != nil {
		t.Fatalf("%v\n%s", err, errs)
	}
	if who := whoamiCall(t, s); !strings.Contains(who, "corp/alice") {
		t.Error(who)
	}
	s.Close()
	// Somebody else's sign-in takes nothing over, and ends what was there.
	last := strings.TrimSpace(d.must("token", server))
	if !opens(t, server, last) {
		t.Error("the last token opens nothing")
	}
	ended := d.browser(person(t, "bob", d.vars["BOB"]), "login", idp.url, "--client-id", "desktop-idp", "--client-secret", "env:IDP_SECRET", "--no-browser")
	if ended.code != 0 {
		t.Fatal(ended.errs)
	}
	if p := d.keptProfile(); len(p.Tokens)+len(p.Clients) != 0 || p.SignIn.Subject != "bob" {
		t.Errorf("%d tokens, %d clients of %s", len(p.Tokens), len(p.Clients), p.SignIn.Subject)
	}
	if opens(t, server, last) {
		t.Errorf("a token of who was signed in before is thrown away, and lives: %s", ended.errs)
	}
}

// A person elsewhere enters the code of a command that has no browser.
func TestDeviceFlow(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.vars["ALICE"], d.vars["TV"] = alicesPassword, longSecret
	file := filepath.Join(write(t, map[string]string{"doorward.yaml": fmt.Sprintf(`
url: http://%s
ops: ""
people: {alice: {email: alice@example.com, password: "${ALICE}"}}
clients:
  registered:
    tv: {grant_types: [device_code, refresh_token]}
    box: {secret: "${TV}", grant_types: [device_code, refresh_token]}
servers: {sample: {path: /mcp, run: sample, allow: [{who: everyone}]}}
`, free(t))}), "doorward.yaml")
	p := d.start("serve", "--config", file)
	server := p.url + "/mcp"
	// The page at the end has no way back to a program: that is where it ends.
	at := func(args ...string) ran {
		r := d.browser(person(t, "alice", alicesPassword), args...)
		return r
	}
	for _, client := range [][]string{{"--client-id", "tv"}, {"--client-id", "box", "--client-secret", "env:TV"}} {
		r := at(append([]string{"token", server, "--flow", "device"}, client...)...)
		if r.code != 0 || !opens(t, server, strings.TrimSpace(r.out)) || !strings.Contains(r.errs, "/device?user_code=") || !strings.Contains(r.errs, "with the code") {
			t.Errorf("exit %d\n%s", r.code, r.errs)
		}
		if again := d.run(append([]string{"token", server, "--flow", "device"}, client...)...); again.out != r.out {
			t.Errorf("the second run: exit %d\n%s", again.code, again.errs)
		}
	}
	// In an SSH session without a display auto takes it, too.
	d.vars["SSH_CONNECTION"] = "10.0.0.1 1 10.0.0.2 22"
	d.must("logout")
	if r := at("token", server, "--client-id", "tv"); r.code != 0 || !strings.Contains(r.errs, "with the code") {
		t.Errorf("over SSH: exit %d\n%s", r.code, r.errs)
	}
	// A client that registers itself gets no codes here: then by a browser, whose address is shown.
	d.must("logout")
	if r := at("token", server); r.code != 0 || !opens(t, server, strings.TrimSpace(r.out)) || !strings.Contains(r.errs, "ssh -L") {
		t.Errorf("over SSH, unknown: exit %d\n%s", r.code, r.errs)
	}
	d.must("logout")
	d.refused(1, []string{"token", server, "--flow", "device"}, "--client-id")
	d.refused(1, []string{"token", server, "--flow", "device", "--client-id", "nobody"}, "doorward: authorize at "+p.url)
}
