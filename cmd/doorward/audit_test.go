//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"doorward/internal/audit"
)

// events reads lines of JSON.
func eventsIn(t *testing.T, text string) []audit.Event {
	t.Helper()
	var events []audit.Event
	for line := range strings.Lines(text) {
		var e audit.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		events = append(events, e)
	}
	return events
}

// has reports whether there is an event of this action and client or person.
func has(events []audit.Event, action, who string) bool {
	for _, e := range events {
		if e.Action == action && (e.Client == who || e.Person == who) {
			return true
		}
	}
	return false
}

// What was decided can be read while the server runs and when it does not: all
// of it, or that of a time, in the order in which it happened.
func TestAuditExport(t *testing.T) {
	began := time.Now()
	inBothStates(t, "", func(t *testing.T, c *counter) {
		c.alice()
		told(t, c.url, "agent", agentsSecret, "grant_type", "client_credentials", "resource", "https://other.example/mcp")
		c.does("leave", "alice")
		events := eventsIn(t, c.does("audit", "export", "--json"))
		for _, want := range [][2]string{{"token.issue", "alice"}, {"sign_in", "alice"}, {"authorize.approve", "alice"}, {"token.refuse", "agent"}, {"leave", "alice"}} {
			if !has(events, want[0], want[1]) {
				t.Errorf("no %s of %s", want[0], want[1])
			}
		}
		for i := range events[1:] {
			if events[i+1].Time.Before(events[i].Time) {
				t.Errorf("%s comes before %s", events[i].Time, events[i+1].Time)
			}
		}
		lines := c.does("audit", "export", "--since", "1h")
		if n := strings.Count(lines, "\n"); n != len(events) || !strings.Contains(lines, "token.refuse       refused  reason=invalid_target client=agent") {
			t.Errorf("%d lines for %d events:\n%s", n, len(events), lines)
		}
		if out := c.does("audit", "export", "--until", began.Format(time.RFC3339)); out != "" {
			t.Errorf("before the test: %s", out)
		}
		if out := c.does("audit", "export", "--since", time.Now().Add(time.Hour).Format(time.RFC3339)); out != "" {
			t.Errorf("after the test: %s", out)
		}
		for _, when := range []string{"yesterday", "-1h", "2026-13-01"} {
			if r := c.admin("audit", "export", "--since", when); r.code != 2 || !strings.Contains(r.errs, "is no time") {
				t.Errorf("%s: exit %d, %s", when, r.code, r.errs)
			}
		}
	})
}

// The file has what the database has; SIGHUP opens it anew, and a file that
// cannot be written holds up nothing.
//
// covers: X-LOG-01
func TestAuditFile(t *testing.T) {
	d := newDesk(t)
	file := siteAt(t, d, "audit: {file: audit.jsonl}\n")
	path := filepath.Join(filepath.Dir(file), "audit.jsonl")
	p := d.start("serve", "--config", file)
	alice := d.token(p.url+"/one/mcp", "alice", alicesPassword)
	token := agentToken(t, p.url)
	read := func(path string) string {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	exported := d.must("audit", "export", "--config", file, "--json") // writes what waits
	text := read(path)
	events := eventsIn(t, text)
	if len(events) != len(eventsIn(t, exported)) || !has(events, "token.issue", "alice") || !has(events, "token.issue", "agent") {
		t.Errorf("the file:\n%s\nthe database:\n%s", text, exported)
	}
	for _, secret := range []string{alice, token, alicesPassword, agentsSecret} {
		if strings.Contains(text, secret) {
			t.Error("a secret lies in the audit")
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}

	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	p.errs.wait(t, "configuration reloaded")
	d.must("leave", "alice", "--config", file)
	d.must("audit", "export", "--config", file)
	if moved := read(path + ".1"); moved != text {
		t.Errorf("the file that was moved away grew:\n%s", moved)
	}
	if events := eventsIn(t, read(path)); !has(events, "leave", "alice") || has(events, "token.issue", "alice") {
		t.Errorf("the new file: %+v", events)
	}
	p.stop()
	d.must("leave", "alice", "--undo", "--config", file)
	if n := strings.Count(read(path), "\n"); n < 2 {
		t.Error("what is done while the server does not run is not in the file")
	}

	if err := os.Chmod(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	broken := siteAt(t, d, "audit: {file: nowhere/audit.jsonl}\n")
	notStarting(t, d, []string{"serve", "--config", broken}, "audit.file: ")
	full := siteAt(t, d, "audit: {file: /dev/full}\n")
	if _, err := os.Stat("/dev/full"); err == nil {
		q := d.start("serve", "--config", full)
		agentToken(t, q.url)
		q.errs.wait(t, "audit events are not written to the file")
	}
}

func TestLs(t *testing.T) {
	inBothStates(t, "", func(t *testing.T, c *counter) {
		c.alice()
		agentToken(t, c.url)
		out := c.does("ls", "grants")
		if !strings.HasPrefix(out, "GRANT ") || strings.Count(out, "\n") != 3 || !strings.Contains(out, "alice") || !strings.Contains(out, "(itself)") || !strings.Contains(out, c.mcp()) {
			t.Errorf("%s", out)
		}
		var grants []grantOut
		if err := json.Unmarshal([]byte(c.does("ls", "grants", "--person", "alice", "--json")), &grants); err != nil || len(grants) != 1 ||
			grants[0].Person != "alice" || grants[0].Resource != c.mcp() || grants[0].Created.IsZero() || grants[0].Expires.IsZero() {
			t.Errorf("%+v %v", grants, err)
		}
		if out := c.does("ls", "grants", "--client", "agent"); strings.Contains(out, "alice") || !strings.Contains(out, "agent") {
			t.Errorf("%s", out)
		}
		c.does("leave", "alice")
		if out := c.does("ls", "grants", "--person", "alice"); strings.Count(out, "\n") != 1 {
			t.Errorf("after leaving: %s", out)
		}
		if out := c.does("ls", "grants", "--person", "alice", "--all"); !strings.Contains(out, "ended ") || !strings.Contains(out, "(leave)") {
			t.Errorf("%s", out)
		}
		if out := c.does("ls", "people"); !strings.Contains(out, "alice@example.com") || !strings.Contains(out, time.Now().Format("2006-")) {
			t.Errorf("%s", out)
		}
		if out := c.does("ls", "clients"); !strings.Contains(out, "confidential") || !strings.Contains(out, "public") {
			t.Errorf("%s", out)
		}
		c.does("key", "rotate")
		if out := c.does("ls", "keys"); strings.Count(out, "ES256") != 2 || strings.Count(out, "signs") != 1 || !strings.Contains(out, "published until") {
			t.Errorf("%s", out)
		}
		out = c.does("ls")
		for _, want := range []string{"people: 1\n", "clients: ", "grants: 1\n", "keys: 2\n"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
		var all map[string][]map[string]any
		if err := json.Unmarshal([]byte(c.does("ls", "--json")), &all); err != nil || len(all) != 4 || len(all["keys"]) != 2 {
			t.Errorf("%v %v", all, err)
		}
		for _, args := range [][]string{{"ls", "tokens"}, {"ls", "people", "--all"}, {"ls", "--person", "alice"}} {
			if r := c.admin(args...); r.code != 2 {
				t.Errorf("%q: exit %d", args, r.code)
			}
		}
	})
}

// A name that a stranger chose for its client does not draw on the terminal.
func TestLsShowsNamesSafely(t *testing.T) {
	d := newDesk(t)
	p := d.start("serve", "--config", siteAt(t, d, ""))
	req, err := http.NewRequest(http.MethodPost, p.url+"/register", strings.NewReader(`{"client_name":"evil\u001b[2Jname","redirect_uris":["http://127.0.0.1/cb"]}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if a := do(t, req); a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.body)
	}
	var b strings.Builder
	if err := table(&b, [][]string{{"a\x1b[2J", "b\u202e", ""}}); err != nil || b.String() != "a[2J  b  -\n" {
		t.Errorf("%q %v", b.String(), err)
	}
}

// Another algorithm in the file replaces the key while the server runs.
func TestAlgReload(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	file := siteAt(t, d, "tokens: {alg: ES256}\n")
	p := d.start("serve", "--config", file)
	before := agentToken(t, p.url)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for n, alg := range []string{"EdDSA", "PS256"} {
		if err := writeFile(file, []byte(strings.Replace(string(text), "alg: ES256", "alg: "+alg, 1))); err != nil {
			t.Fatal(err)
		}
		p.errs.wait(t, fmt.Sprintf(`(?s)(configuration reloaded.*){%d}`, n+1))
		if !opens(t, p.url+"/one/mcp", before) || !opens(t, p.url+"/one/mcp", agentToken(t, p.url)) {
			t.Errorf("%s: a token does not open the server", alg)
		}
		if out := d.must("ls", "keys", "--config", file); strings.Count(out, alg) != 1 || strings.Count(out, "\n") != n+3 {
			t.Errorf("%s:\n%s", alg, out)
		}
	}
}
