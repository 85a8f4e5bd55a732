package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"doorward/internal/keep"
	"doorward/interop/rig"
)

// program is doorward, for tests that run it as clients do.
func (d *desk) program() string {
	d.t.Helper()
	return rig.Doorward(d.t)
}

// stdio starts doorward as an MCP client starts a stdio server.
func (d *desk) stdio(path, version string, args ...string) (*mcp.ClientSession, *exec.Cmd, *buffer, error) {
	d.t.Helper()
	cmd, errs := exec.Command(path, args...), newBuffer()
	for name, value := range d.vars {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Stderr = errs
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	s, err := mcp.NewClient(&mcp.Implementation{Name: "t", Version: "1"}, nil).Connect(ctx,
		&mcp.CommandTransport{Command: cmd}, &mcp.ClientSessionOptions{ProtocolVersion: version})
	return s, cmd, errs, err
}

// logIn signs alice in at the provider of company.
func logIn(t *testing.T, d *desk, idp *process, more ...string) ran {
	t.Helper()
	d.vars["DOORWARD_STORE_KEY"] = strings.Repeat("a5", 32)
	return d.browser(person(t, "alice", alicesPassword), append([]string{"login", idp.url, "--client-id", "desktop-idp", "--client-secret", "env:IDP_SECRET", "--no-browser"}, more...)...)
}

func whoamiCall(t *testing.T, s *mcp.ClientSession) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	res, err := s.CallTool(ctx, &mcp.CallToolParams{Name: "whoami"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(res.StructuredContent)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// covers: C-EMA-01, C-EMA-04
func TestConnectWithTheKeptSignIn(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	idp, p, file := company(t, d)
	if r := logIn(t, d, idp); r.code != 0 || !strings.Contains(r.out, "alice") || !strings.Contains(r.out, "renewed by itself") {
		t.Fatalf("exit %d\n%s%s", r.code, r.out, r.errs)
	}
	args := []string{"connect", p.url + "/mcp", "--client-id", "desktop", "--client-secret", "env:SERVER_SECRET"}
	path := d.program()
	var both sync.WaitGroup // two share one sign-in
	for _, version := range []string{"2025-11-25", "2026-07-28"} {
		both.Go(func() {
			s, _, errs, err := d.stdio(path, version, args...)
			if err != nil {
				t.Errorf("%v\n%s", err, errs)
				return
			}
			if who := whoamiCall(t, s); !strings.Contains(who, "corp/alice") || !strings.Contains(who, "desktop") {
				t.Errorf("%s", who)
			}
			if err := s.Close(); err != nil {
				t.Errorf("%s: it did not end by itself: %v\n%s", version, err, errs)
			}
			if errs.String() != "" {
				t.Errorf("%s", errs)
			}
		})
	}
	both.Wait()

	token := strings.TrimSpace(d.must("token", p.url+"/mcp", "--client-id", "desktop", "--client-secret", "env:SERVER_SECRET"))
	if !opens(t, p.url+"/mcp", token) {
		t.Error("the token of the kept sign-in does not open the server")
	}

	// What goes wrong is said to the caller.
	s, _, _, err := d.stdio(path, "2025-11-25", args...)
	if err != nil {
		t.Fatal(err)
	}
	d.must("leave", "alice", "--config", file)
	if _, err := s.ListTools(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "invalid_grant") {
		t.Errorf("after leave: %v", err)
	}
	s.Close()

	// After logout nothing can be exchanged any more.
	if out := d.must("logout"); !strings.Contains(out, "signed out") {
		t.Error(out)
	}
	d.refused(1, []string{"whoami"}, "nobody is signed in")
	d.refused(2, append([]string{"token"}, append(args[1:], "--flow", "enterprise")...), "doorward login ISSUER")
}

// An expired ID token is renewed before it is exchanged, and the new refresh
// token is kept.
// covers: C-TOK-05
func TestKeptSignInIsRenewed(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	idp, p, _ := company(t, d)
	if r := logIn(t, d, idp, "--profile", "work"); r.code != 0 {
		t.Fatal(r.errs)
	}
	store, err := d.env(io.Discard, io.Discard).kept()
	if err != nil {
		t.Fatal(err)
	}
	var before keep.SignIn
	age := func() {
		t.Helper()
		err := store.Update(t.Context(), "work", func(p *keep.Profile) (bool, error) {
			p.SignIn.Until = time.Now().Add(-time.Hour)
			p.Tokens = nil // which would do without an exchange
			before = *p.SignIn
			return true, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	age()
	args := []string{"token", p.url + "/mcp", "--profile", "work", "--client-id", "desktop", "--client-secret", "env:SERVER_SECRET"}
	var all sync.WaitGroup
	for range 4 { // each its own run: they take turns, and one renews
		all.Go(func() {
			if token := strings.TrimSpace(d.must(args...)); !opens(t, p.url+"/mcp", token) {
				t.Error("the token does not open the server")
			}
		})
	}
	all.Wait()
	after, err := store.Read(t.Context(), "work")
	if err != nil || after.SignIn.IDToken == before.IDToken || after.SignIn.RefreshToken == before.RefreshToken || after.SignIn.Until.Before(time.Now()) {
		t.Errorf("not renewed: %v, until %s", err, after.SignIn.Until)
	}
	// A sign-in that the provider has ended says so.
	age()
	err = store.Update(t.Context(), "work", func(p *keep.Profile) (bool, error) {
		p.SignIn.RefreshToken = "x" + p.SignIn.RefreshToken
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	d.refused(1, args, "is over: run doorward login "+idp.url)
}

// Where the server takes no ID-JAGs, or none from this kind of client, auto goes
// by the browser.
// covers: C-EMA-08, C-REG-01
func TestAutoFallsBackToTheBrowser(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	idp, _, _ := company(t, d)
	if r := logIn(t, d, idp); r.code != 0 {
		t.Fatal(r.errs)
	}
	var at string
	var clients []string // that were authorized
	grants := []string{"authorization_code"}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/mcp":
			w.WriteHeader(http.StatusUnauthorized)
		case "/.well-known/oauth-protected-resource/mcp":
			json.NewEncoder(w).Encode(map[string]any{"resource": at + "/mcp", "authorization_servers": []string{at}})
		case "/.well-known/oauth-authorization-server":
			json.NewEncoder(w).Encode(map[string]any{"issuer": at, "authorization_endpoint": at + "/authorize", "token_endpoint": at + "/token",
				"registration_endpoint": at + "/register", "grant_types_supported": grants, "code_challenge_methods_supported": []string{"S256"}})
		case "/register":
			w.WriteHeader(http.StatusCreated)
			io.WriteString(w, `{"client_id":"made","token_endpoint_auth_method":"none"}`)
		case "/authorize":
			q := r.URL.Query()
			clients = append(clients, q.Get("client_id"))
			http.Redirect(w, r, q.Get("redirect_uri")+"?error=access_denied&state="+q.Get("state"), http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()
	at = srv.URL
	args := []string{"token", at + "/mcp", "--client-id", "tool", "--no-browser"}
	if r := d.browser(person(t, "alice", alicesPassword), args...); r.code != 1 || !strings.Contains(r.errs, at+"/authorize") || !strings.Contains(r.errs, "access_denied") {
		t.Errorf("auto: exit %d\n%s", r.code, r.errs)
	}
	grants = append(grants, "urn:ietf:params:oauth:grant-type:jwt-bearer")
	document := []string{"token", at + "/mcp", "--client-id", "https://tool.example/client.json", "--no-browser"}
	if r := d.browser(person(t, "alice", alicesPassword), document...); r.code != 1 || !strings.Contains(r.errs, "access_denied") {
		t.Errorf("auto, by a metadata document: exit %d\n%s", r.code, r.errs)
	}
	if strings.Join(clients, " ") != "tool made" {
		t.Errorf("authorized: %q", clients)
	}
	d.refused(1, append(document, "--flow", "enterprise"), "client_id_metadata_document_supported")
	grants = grants[:1]
	// Whoever asks for enterprise gets nothing else, and what the provider
	// refuses is final.
	d.refused(1, append(args, "--flow", "enterprise"), "does not say that it takes ID-JAGs")
	other := newDesk(t)
	p := other.start("serve", "--config", siteAt(t, other, ""))
	d.refused(1, []string{"token", p.url + "/one/mcp", "--client-id", "tool"}, "invalid_target")
}

func TestConnectByTheBrowser(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := d.start("serve", "--config", siteAt(t, d, ""))
	in, w := io.Pipe()
	outR, outW := io.Pipe()
	errs := newBuffer()
	e := d.env(outW, errs)
	e.stdin = in
	over := make(chan int, 1)
	go func() {
		over <- run(t.Context(), []string{"connect", p.url + "/one/mcp", "--no-browser"}, e)
		outW.Close()
	}()
	go func() {
		if m := errs.wait(t, `\n  (http\S+)`); m != nil {
			if err := person(t, "alice", alicesPassword).Open(t.Context(), m[1]); err != nil {
				t.Error(err)
			}
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := mcp.NewClient(&mcp.Implementation{Name: "t", Version: "1"}, nil).Connect(ctx, &mcp.IOTransport{Reader: outR, Writer: w}, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, errs)
	}
	if who := whoamiCall(t, s); !strings.Contains(who, "alice") {
		t.Error(who)
	}
	w.Close()
	if code := <-over; code != 0 {
		t.Errorf("exit %d\n%s", code, errs)
	}
	s.Close()
}

// A bridge whose client dies, and one that is killed in a call.
func TestConnectEnds(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	called := make(chan struct{}, 8)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		called <- struct{}{}
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	path := d.program()
	for _, kill := range []bool{false, true} {
		cmd := exec.Command(path, "connect", srv.URL, "--flow", "browser", "--no-browser")
		cmd.Env = []string{"HOME=" + d.home}
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		io.WriteString(in, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`+"\n")
		<-called
		if kill {
			cmd.Process.Kill()
		} else {
			in.Close()
		}
		over := make(chan error, 1)
		go func() { over <- cmd.Wait() }()
		select {
		case err := <-over:
			if !kill && err != nil {
				t.Errorf("at the end of its input: %v", err)
			}
		case <-time.After(patience):
			cmd.Process.Kill()
			t.Error("it lives on")
		}
	}
}

func TestConnectRefused(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for _, c := range []struct {
		code int
		line string
		says string
	}{
		{2, "connect", "URL is missing"},
		{2, "connect nowhere", "is no URL of an MCP server"},
		{2, "connect http://127.0.0.1:1/mcp --flow workload", "needs --workload-jwt"},
		{2, "connect http://127.0.0.1:1/mcp --flow magic", `--flow "magic"`},
		{2, "connect http://127.0.0.1:1/mcp --flow enterprise --client-id x", "doorward login ISSUER"},
		{1, "connect http://127.0.0.1:1/mcp --profile work --flow enterprise --client-id x", "nobody is signed in in the profile work"},
		{2, "login https://acme.okta.com --client-id x --flow magic", `--flow "magic"`},
		{2, "login", "ISSUER is missing"},
		{2, "login acme.okta.com --client-id x", "no issuer"},
		{2, "login https://acme.okta.com", "--client-id is needed"},
		{2, "login https://acme.okta.com --client-id x --profile ../x", "no name of a profile"},
		{2, "login https://acme.okta.com --client-id x --client-secret plain", "env:NAME or file:PATH"},
		{1, "login http://127.0.0.1:1 --client-id x", "cannot be reached"},
		{1, "whoami", "nobody is signed in"},
		{2, "setup", "CLIENT is missing"},
		{2, "setup netscape", "vscode, claude-code, claude, chatgpt, cursor, mcpc"},
		{2, "setup vscode nowhere", "is no URL"},
		{2, "setup vscode http://a.example/$(id)", "takes for something else|would take"},
		{2, "setup vscode --issuer nowhere", "--issuer"},
		{2, `setup claude-code --name a;b`, "--name"},
	} {
		r := d.run(strings.Fields(c.line)...)
		says := strings.Split(c.says, "|")
		if r.code != c.code || r.out != "" || !strings.Contains(r.errs, says[len(says)-1]) {
			t.Errorf("%s: exit %d, want %d; stdout %q\n%s", c.line, r.code, c.code, r.out, r.errs)
		}
	}
	if r := d.run("logout"); r.code != 0 || r.out != "" {
		t.Errorf("logout of nobody: %+v", r)
	}
}

// covers: C-TOK-04
func TestLoginKeepsNoSecretInTheClear(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	idp, _, _ := company(t, d)
	r := logIn(t, d, idp)
	if r.code != 0 || !strings.Contains(r.errs, "DOORWARD_STORE_KEY") {
		t.Fatalf("exit %d: %s", r.code, r.errs)
	}
	if again := logIn(t, d, idp); strings.Contains(again.errs, "DOORWARD_STORE_KEY") {
		t.Error("what the key protects against is said twice")
	}
	var who struct {
		SignIns []signedIn `json:"sign_ins"`
	}
	out := d.must("whoami", "--json")
	if err := json.Unmarshal([]byte(out), &who); err != nil || len(who.SignIns) != 1 {
		t.Fatal(out, err)
	}
	if s := who.SignIns[0]; s.Profile != "default" || s.Issuer != idp.url || s.Subject != "alice" || !s.Renewable || s.Until.Before(time.Now()) {
		t.Errorf("%+v", s)
	}
	store, err := d.env(io.Discard, io.Discard).kept()
	if err != nil {
		t.Fatal(err)
	}
	p, err := store.Read(t.Context(), "default")
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{p.SignIn.IDToken, p.SignIn.RefreshToken, p.SignIn.ClientSecret} {
		if secret == "" || strings.Contains(r.out+r.errs+out, secret) {
			t.Error("a secret is shown, or missing")
		}
	}
	// A file that was changed is said to be; logout gets rid of it.
	path := filepath.Join(d.home, "s", "doorward", "profiles", "default.sealed")
	if err := os.WriteFile(path, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.refused(1, []string{"whoami"}, path, "doorward logout")
	d.must("logout")
	d.refused(1, []string{"whoami"}, "nobody is signed in")
}
