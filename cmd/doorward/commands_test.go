//go:build unix

package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shellServer is an MCP server in the shell: it says its name and where it is.
const shellServer = `while read -r line; do
  case $line in
    *'"initialize"'*) echo '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"'"$NAME $$ $(pwd) $CANARY"'","version":"1"}}}';;
  esac
done
`

var shellPID = regexp.MustCompile(`"name":"(\S*) (\d+) (\S+) "`)

// send posts a message, with a token and in a session.
func send(t *testing.T, url, token, session, message string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(message))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}}
	if session != "" {
		req.Header.Set("Mcp-Session-Id", session)
	}
	return do(t, req)
}

// beginShell starts a session; the match is name, process and directory.
func beginShell(t *testing.T, url, token string) (session string, m []string) {
	t.Helper()
	a := send(t, url, token, "", initialize)
	session, m = a.header.Get("Mcp-Session-Id"), shellPID.FindStringSubmatch(a.body)
	if a.status != http.StatusOK || session == "" || m == nil {
		t.Fatalf("%d %s", a.status, a.body)
	}
	return session, m
}

func lives(t *testing.T, pid string) bool {
	t.Helper()
	var n int
	if _, err := fmt.Sscan(pid, &n); err != nil {
		t.Fatal(err)
	}
	return syscall.Kill(n, 0) == nil
}

func diesWithin(t *testing.T, pid string, limit time.Duration) {
	t.Helper()
	for end := time.Now().Add(limit); lives(t, pid); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("process %s is still there", pid)
		}
	}
}

// Commands of a file: their directory and environment, a reload that leaves
// what did not change, and the end.
func TestCommands(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "CANARY", "ours")
	const server = `
  %s: {path: /%s/mcp, run: [sh, server.sh], env: {NAME: %q}, allow: [{who: "client:agent"}]}`
	two := func(env string) string {
		return fmt.Sprintf(server, "two", "two", "2") + fmt.Sprintf(server, "three", "three", env)
	}
	file := siteAt(t, d, strings.TrimPrefix(two("3"), "\n")+"\n")
	dir := filepath.Dir(file)
	if err := os.WriteFile(filepath.Join(dir, "server.sh"), []byte(shellServer), 0o600); err != nil {
		t.Fatal(err)
	}
	p := d.start("serve", "--config", file)
	p.errs.wait(t, `/two/mcp → sh …, a process for each session`)
	token := func(name string) string {
		_, got := ask(t, p.url+"/token", "agent", agentsSecret, "grant_type", "client_credentials", "resource", p.url+"/"+name+"/mcp")
		s, _ := got["access_token"].(string)
		return s
	}
	kept, m := beginShell(t, p.url+"/two/mcp", token("two"))
	if m[1] != "2" || m[3] != dir {
		t.Errorf("%q", m)
	}
	ended, changed := beginShell(t, p.url+"/three/mcp", token("three"))

	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), two("3"), two("drei"), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	p.errs.wait(t, "configuration reloaded")
	diesWithin(t, changed[2], patience)
	ping := `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	for _, c := range []struct {
		server, session string
		status          int
	}{{"two", kept, http.StatusAccepted}, {"three", ended, http.StatusNotFound}} {
		if a := send(t, p.url+"/"+c.server+"/mcp", token(c.server), c.session, ping); a.status != c.status {
			t.Errorf("%s after the reload: %d %s", c.server, a.status, a.body)
		}
	}
	if _, again := beginShell(t, p.url+"/three/mcp", token("three")); again[1] != "drei" {
		t.Errorf("%q", again)
	}
	if !lives(t, m[2]) {
		t.Error("what did not change ended with the reload")
	}
	p.stop()
	diesWithin(t, m[2], time.Second)
}

func TestServeCommand(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	script := filepath.Join(t.TempDir(), "server.sh")
	if err := os.WriteFile(script, []byte(shellServer), 0o600); err != nil {
		t.Fatal(err)
	}
	p := d.start("serve", "--url", "http://"+free(t), "--ops", "off", "--", "sh", script)
	password := p.errs.wait(t, `with the password (\S+)`)
	p.errs.wait(t, `/mcp → sh …, a process for each session`)
	token := d.token(p.url+"/mcp", "admin", password[1])
	_, m := beginShell(t, p.url+"/mcp", token)
	began := time.Now()
	d.must("leave", "admin", "--url", p.url)
	diesWithin(t, m[2], time.Second)
	t.Logf("ended after %s", time.Since(began))
	if a := send(t, p.url+"/mcp", token, "", initialize); a.status != http.StatusUnauthorized {
		t.Errorf("after leaving: %d %s", a.status, a.body)
	}
	p.stop()

	if r := d.run("can", "admin", "mcp", "--url", p.url); r.out != "no: left · no rule lets them\n" { // it knows the server
		t.Errorf("%+v", r)
	}
	d.refused(2, []string{"serve", "--upstream", "http://127.0.0.1:1", "--", "sh"}, "exclude each other")
	d.refused(2, []string{"serve", "sh"}, "stands after --")
	d.refused(2, []string{"serve", "--config", siteAt(t, d, ""), "--", "sh"}, "goes without --config")
}
