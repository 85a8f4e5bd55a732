package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

const (
	alicesPassword = "orchard-tango-27-violet"
	agentsSecret   = "agent-canary-4711-of-some-length"
)

// site is an authorization server from a file, with Alice and a client that
// acts for itself.
const site = `
ops: ""
people:
  alice: {email: alice@example.com, groups: [eng], password: "${ALICE}"}
clients:
  registered:
    agent: {secret: "${AGENT}", grant_types: [client_credentials]}
    tool: {redirect_uris: ["http://127.0.0.1/callback"]}
servers:
  one:
    path: /one/mcp
    run: sample
    scopes: {"one:read": Read, "one:write": Write}
    allow: [{who: [everyone, "client:agent"]}]
`

// siteAt writes the configuration for a free port and returns its file.
func siteAt(t testing.TB, d *desk, more string) string {
	t.Helper()
	d.vars["ALICE"], d.vars["AGENT"] = alicesPassword, agentsSecret
	dir := write(t, map[string]string{"doorward.yaml": "url: http://" + free(t) + site + more})
	return filepath.Join(dir, "doorward.yaml")
}

// agentToken is a token of the client that acts for itself.
func agentToken(t testing.TB, issuer string) string {
	t.Helper()
	status, got := ask(t, issuer+"/token", "agent", agentsSecret, "grant_type", "client_credentials", "resource", originOf(issuer)+"/one/mcp")
	token, _ := got["access_token"].(string)
	if status != http.StatusOK || token == "" {
		t.Fatalf("%d %v", status, got)
	}
	return token
}

func TestServeWithoutAnything(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ops := free(t)
	args := []string{"serve", "--url", "http://" + free(t), "--ops", ops}
	p := d.start(args...)
	password := p.errs.wait(t, `Sign in as admin with the password (\S+) \(written to (\S+); shown this once\)`)
	kept, err := os.ReadFile(password[2])
	if err != nil || strings.TrimSpace(string(kept)) != password[1] {
		t.Errorf("kept: %q, said: %q, %v", kept, password[1], err)
	}
	if info, err := os.Stat(password[2]); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if a := get(t, "http://"+ops+path); a.status != http.StatusOK {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if a := post(t, p.url+"/mcp", "", initialize); a.status != http.StatusUnauthorized || !strings.Contains(a.header.Get("WWW-Authenticate"), "resource_metadata") {
		t.Errorf("without a token: %d %q", a.status, a.header)
	}
	first := d.token(p.url+"/mcp", "admin", password[1])
	if !opens(t, p.url+"/mcp", first) {
		t.Error("the token does not open the server")
	}
	p.stop()
	if p.code != 0 || p.out.String() != "" || strings.Count(p.errs.String(), password[1]) != 1 {
		t.Errorf("exit %d, stdout %q, stderr\n%s", p.code, p.out, p.errs)
	}

	again := d.start(args...)
	if !opens(t, again.url+"/mcp", first) {
		t.Error("the token did not outlive the restart")
	}
	if !opens(t, again.url+"/mcp", d.token(again.url+"/mcp", "admin", password[1])) {
		t.Error("the password did not outlive the restart")
	}
	again.stop()
	if strings.Contains(again.errs.String(), password[1]) {
		t.Error("the password was said a second time")
	}
}

func TestIdPWithoutAnything(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := d.start("idp", "--url", "http://"+free(t), "--ops", "off")
	p.errs.wait(t, `Sign in as admin with the password \S+`)
	if a := get(t, p.url+"/.well-known/openid-configuration"); a.status != http.StatusOK || !strings.Contains(a.body, "/userinfo") {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// A start that came to nothing has not used up the one time that the password
// is said.
func TestPasswordOfAStartThatFailed(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	taken := httptest.NewServer(http.NotFoundHandler())
	defer taken.Close()
	issuer := "http://" + free(t)
	d.refused(1, []string{"serve", "--url", issuer, "--ops", taken.Listener.Addr().String()}, "ops: cannot listen")
	d.start("serve", "--url", issuer, "--ops", "off").errs.wait(t, `Sign in as admin with the password \S+`)
}

// upstream is an MCP server elsewhere, and the headers that it saw.
type upstream struct {
	*httptest.Server
	mu   sync.Mutex
	seen http.Header
}

func newUpstream(t testing.TB) *upstream {
	u := &upstream{}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		u.seen = r.Header.Clone()
		u.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"elsewhere","version":"1"}}}`)
	}))
	t.Cleanup(u.Close)
	return u
}

// covers: RS-TOK-10
func TestServeUpstream(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	u := newUpstream(t)
	p := d.start("serve", "--url", "http://"+free(t), "--ops", "off", "--upstream", u.URL+"/mcp", "--allow", "person:admin")
	password := p.errs.wait(t, `password (\S+) \(`)[1]
	token := d.token(p.url+"/mcp", "admin", password)
	a := post(t, p.url+"/mcp", "Authorization: Bearer "+token, initialize)
	if a.status != http.StatusOK || !strings.Contains(a.body, `"elsewhere"`) {
		t.Fatalf("%d %s", a.status, a.body)
	}
	u.mu.Lock()
	if u.seen.Get("Authorization") != "" {
		t.Error("the caller's token went upstream")
	}
	u.mu.Unlock()
	u.Close()
	a = post(t, p.url+"/mcp", "Authorization: Bearer "+token, initialize)
	var refusal struct {
		Version string `json:"jsonrpc"`
		ID      int
		Error   struct{ Message string }
	}
	if err := json.Unmarshal([]byte(a.body), &refusal); err != nil || a.status != http.StatusBadGateway ||
		refusal.Version != "2.0" || refusal.ID != 1 || refusal.Error.Message == "" {
		t.Errorf("an upstream that is down: %d %s", a.status, a.body)
	}
	p.stop()
	d.start("serve", "--url", p.url, "--ops", "off", "--upstream", u.URL+"/mcp") // it starts all the same
}

// An issuer may have a path; the servers hang under its origin.
func TestIssuerWithAPath(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := d.start("serve", "--url", "http://"+free(t)+"/auth", "--ops", "off")
	password := p.errs.wait(t, `password (\S+) \(`)[1]
	server := originOf(p.url) + "/mcp"
	if !opens(t, server, d.token(server, "admin", password)) {
		t.Error("the token does not open the server")
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	file := siteAt(t, d, "include: [servers.d/*.yaml, servers.d/*.yml]\ntelemetry: {log: info}\n")
	if err := os.Mkdir(filepath.Join(filepath.Dir(file), "servers.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	p := d.start("serve", "--config", file)
	original, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	change := func(name, text string) {
		t.Helper()
		if err := writeFile(filepath.Join(filepath.Dir(file), name), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	reloads := 0
	reloaded := func() {
		t.Helper()
		reloads++
		p.errs.wait(t, fmt.Sprintf(`(?s)(configuration reloaded.*){%d}`, reloads))
	}
	kept := 0
	isKept := func(why string) {
		t.Helper()
		kept++
		p.errs.wait(t, fmt.Sprintf(`(?s)(the old one stays.*){%d}`, kept))
		if !strings.Contains(p.errs.String(), why) {
			t.Errorf("it does not say %q:\n%s", why, p.errs)
		}
		if !opens(t, p.url+"/one/mcp", agentToken(t, p.url)) {
			t.Error("the old configuration does not hold")
		}
	}

	if a := get(t, p.url+"/two/mcp"); a.status != http.StatusNotFound {
		t.Fatalf("/two/mcp before: %d", a.status)
	}
	change("servers.d/two.yaml", "servers:\n  two: {path: /two/mcp, run: sample}\n")
	reloaded()
	if a := get(t, p.url+"/two/mcp"); a.status != http.StatusUnauthorized {
		t.Errorf("/two/mcp after: %d", a.status)
	}

	change("servers.d/three.yml", "servers:\n  three: {path: /three/mcp, run: sample}\n")
	reloaded()
	if a := get(t, p.url+"/three/mcp"); a.status != http.StatusUnauthorized {
		t.Errorf("/three/mcp, of a file that ends in yml: %d", a.status)
	}

	change("doorward.yaml", string(original)+"serverz: {}\n")
	isKept(`doorward.yaml:17:1: unknown key "serverz"`)
	change("doorward.yaml", strings.Replace(string(original), p.url, "http://127.0.0.1:1", 1))
	isKept("url cannot change while serving")
	change("doorward.yaml", string(original)+"limits: {body: 2MiB}\n")
	isKept("limits.body cannot change while serving")

	agent, alice := agentToken(t, p.url), d.token(p.url+"/one/mcp", "alice", alicesPassword)
	text := strings.Replace(string(original), `    agent: {secret: "${AGENT}", grant_types: [client_credentials]}`, "", 1)
	text = strings.Replace(text, `, "client:agent"`, "", 1)
	text = strings.Replace(text, "  alice:", "  alicia:", 1)
	change("doorward.yaml", strings.Replace(text, "log: info", "log: debug", 1))
	reloaded()
	if opens(t, p.url+"/one/mcp", agent) || opens(t, p.url+"/one/mcp", alice) {
		t.Error("who is gone from the file has a token that opens the server")
	}
	if status, got := ask(t, p.url+"/token", "agent", agentsSecret, "grant_type", "client_credentials"); status != http.StatusUnauthorized {
		t.Errorf("a client that is gone from the file: %d %v", status, got)
	}
}

// Who is taken out of the file while the server is down keeps nothing either.
func TestGoneBeforeAStart(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	file := siteAt(t, d, "")
	p := d.start("serve", "--config", file)
	alice := d.token(p.url+"/one/mcp", "alice", alicesPassword)
	if !opens(t, p.url+"/one/mcp", alice) {
		t.Fatal("alice's token does not open the server")
	}
	p.stop()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeFile(file, []byte(strings.Replace(string(text), "  alice:", "  alicia:", 1))); err != nil {
		t.Fatal(err)
	}
	p = d.start("serve", "--config", file)
	if opens(t, p.url+"/one/mcp", alice) {
		t.Error("who was taken out of the file before the start has a token that opens the server")
	}
}

// A new password is often the answer to a stolen one: it ends what was given
// before, at a reload as at a start.
func TestNewPasswordEndsWhatWasGiven(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	file := siteAt(t, d, "")
	p := d.start("serve", "--config", file)
	agent, alice := agentToken(t, p.url), d.token(p.url+"/one/mcp", "alice", alicesPassword)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "${ALICE}", "another-${ALICE}", 1)
	if changed == string(text) {
		t.Fatal("the file does not hold alice's password")
	}
	if err := writeFile(file, []byte(changed)); err != nil {
		t.Fatal(err)
	}
	p.errs.wait(t, "configuration reloaded")
	if opens(t, p.url+"/one/mcp", alice) {
		t.Error("a token from before the new password opens the server")
	}
	if !opens(t, p.url+"/one/mcp", agent) {
		t.Error("a client's token ended with a person's new password")
	}
}

// A stream that a client keeps open does not keep the server from stopping.
func TestStopWithAnOpenStream(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := d.start("serve", "--config", siteAt(t, d, ""))
	header := "Bearer " + agentToken(t, p.url)
	session := post(t, p.url+"/one/mcp", "Authorization: "+header, initialize).header.Get("Mcp-Session-Id")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/one/mcp", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Authorization": {header}, "Mcp-Session-Id": {session}, "Accept": {"text/event-stream"}}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	begin := time.Now()
	p.stop()
	if took := time.Since(begin); p.code != 0 || took > 5*time.Second {
		t.Errorf("it stopped with %d after %s:\n%s", p.code, took, p.errs)
	}
	io.Copy(io.Discard, resp.Body) // ends, one way or the other
}

func TestStartsWithin500ms(t *testing.T) {
	d := newDesk(t)
	for _, role := range []string{"serve", "idp"} {
		at := "http://" + free(t)
		begin := time.Now()
		p := d.start(role, "--url", at, "--ops", "off")
		get(t, p.url+"/jwks")
		if took := time.Since(begin); took > 500*time.Millisecond && !raceDetector {
			t.Errorf("%s took %s to answer", role, took)
		}
	}
}

// covers: X-LOG-01, SEC-27
func TestNoSecretsInTheLog(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	file := siteAt(t, d, "telemetry: {log: debug}\n")
	p := d.start("serve", "--config", file)
	secrets := map[string]string{"password": alicesPassword, "client secret": agentsSecret}
	secrets["token of a client"] = agentToken(t, p.url)
	secrets["token of a person"] = d.token(p.url+"/one/mcp", "alice", alicesPassword)
	code, verifier := authorizationCode(t, p.url)
	secrets["code"], secrets["verifier"] = code, verifier
	_, got := ask(t, p.url+"/token", "tool", "", "grant_type", "authorization_code", "code", code, "code_verifier", verifier)
	secrets["refresh token"], _ = got["refresh_token"].(string)
	secrets["wrong password"] = "not-the-password-canary"
	if r := d.browser(person(t, "alice", secrets["wrong password"]), "token", p.url+"/one/mcp", "--no-browser", "--timeout", "2s"); r.code != 1 {
		t.Errorf("a wrong password: exit %d", r.code)
	}
	secrets["wrong secret"] = "not-the-secret-canary"
	ask(t, p.url+"/token", "agent", secrets["wrong secret"], "grant_type", "client_credentials")
	post(t, p.url+"/one/mcp", "Authorization: Bearer "+secrets["token of a client"]+"x", initialize)
	p.stop()
	for name, secret := range secrets {
		if secret == "" || strings.Contains(p.errs.String(), secret) {
			t.Errorf("the log has the %s:\n%s", name, p.errs)
		}
	}
	for _, name := range []string{"doorward.db", "server.json"} {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(file), ".doorward", name))
		if err != nil {
			t.Fatal(err)
		}
		for what, secret := range secrets {
			if strings.Contains(string(b), secret) {
				t.Errorf("%s has the %s in plain text", name, what)
			}
		}
	}
}

// authorizationCode lets Alice sign in for the client tool.
func authorizationCode(t testing.TB, issuer string) (code, verifier string) {
	t.Helper()
	got := make(chan url.Values, 1)
	back := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.URL.Query() }))
	defer back.Close()
	verifier = oauth2.GenerateVerifier()
	q := url.Values{"response_type": {"code"}, "client_id": {"tool"}, "redirect_uri": {back.URL + "/callback"}, "state": {"s"},
		"resource": {originOf(issuer) + "/one/mcp"}, "code_challenge": {oauth2.S256ChallengeFromVerifier(verifier)}, "code_challenge_method": {"S256"}}
	if err := person(t, "alice", alicesPassword).Open(t.Context(), issuer+"/authorize?"+q.Encode()); err != nil {
		t.Fatal(err)
	}
	answer := <-got
	if answer.Get("code") == "" {
		t.Fatalf("%v", answer)
	}
	return answer.Get("code"), verifier
}

// binary is the program as people run it.
type binary struct {
	*exec.Cmd
	errs *buffer
}

func (b *binary) start(t testing.TB, d *desk, program string, args ...string) {
	t.Helper()
	b.Cmd, b.errs = exec.CommandContext(t.Context(), program, args...), newBuffer()
	b.Stderr = b.errs
	b.Env = os.Environ()
	for name, value := range d.vars {
		b.Env = append(b.Env, name+"="+value)
	}
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	b.errs.wait(t, "is ready: ")
}

// The real program: a signal ends it with 0, SIGHUP reloads it, and what it
// said it had done outlives kill -9.
// covers: AS-CODE-02, AS-CODE-03
func TestBinary(t *testing.T) {
	program := built(t)
	d := newDesk(t)
	file := siteAt(t, d, "")
	cfg, _ := loadConfig(file, roleServe, d.env(nil, nil).lookup)
	server := cfg.URL + "/one/mcp"
	var b binary
	b.start(t, d, program, "serve", "--config", file)

	code, verifier := authorizationCode(t, cfg.URL)
	redeem := []string{"grant_type", "authorization_code", "code", code, "code_verifier", verifier}
	status, tokens := ask(t, cfg.URL+"/token", "tool", "", redeem...)
	if status != http.StatusOK {
		t.Fatalf("%d %v", status, tokens)
	}
	unused, unusedVerifier := authorizationCode(t, cfg.URL)
	if err := b.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	b.errs.wait(t, "configuration reloaded")

	if err := b.Process.Kill(); err != nil { // as kill -9
		t.Fatal(err)
	}
	if err := b.Wait(); err == nil {
		t.Error("killed, and well")
	}
	http.DefaultClient.CloseIdleConnections()
	b.start(t, d, program, "serve", "--config", file) // the socket that was left does not matter
	access, _ := tokens["access_token"].(string)
	if !opens(t, server, access) {
		t.Error("the grant did not outlive the process")
	}
	if status, got := ask(t, cfg.URL+"/token", "tool", "", "grant_type", "authorization_code", "code", unused, "code_verifier", unusedVerifier); status != http.StatusOK {
		t.Errorf("a code that was not used: %d %v", status, got)
	}
	refresh, _ := tokens["refresh_token"].(string)
	if status, got := ask(t, cfg.URL+"/token", "tool", "", "grant_type", "refresh_token", "refresh_token", refresh); status != http.StatusOK {
		t.Errorf("refresh: %d %v", status, got)
	}
	if status, got := ask(t, cfg.URL+"/token", "tool", "", redeem...); status != http.StatusBadRequest || got["error"] != "invalid_grant" {
		t.Errorf("a code that was spent before: %d %v", status, got)
	}
	if opens(t, server, access) {
		t.Error("a code was redeemed twice, and what it gave lives on")
	}
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		if err := b.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if err := b.Wait(); err != nil {
			t.Errorf("%s: %v\n%s", sig, err, b.errs)
		}
		http.DefaultClient.CloseIdleConnections()
		b.start(t, d, program, "serve", "--config", file)
	}
	b.Process.Kill()
	b.Wait()
}
