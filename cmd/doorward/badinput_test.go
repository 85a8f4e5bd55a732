package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/internal/ledger"
	"doorward/store"
	"doorward/store/sqlite"
)

// notStarting runs serve or idp on a file, which must end with 1 at once.
func notStarting(t *testing.T, d *desk, args []string, says ...string) {
	t.Helper()
	begin := time.Now()
	d.refused(1, args, says...)
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("%q took %s to say so", args, took)
	}
}

func TestConfigurationErrorsHaveAPlace(t *testing.T) {
	d := newDesk(t)
	dir := write(t, map[string]string{
		"key.yaml":    "version: 1\nserverz: {}\n" + oneServer,
		"type.yaml":   "version: 1\n" + oneServer + "audit: {keep: soon}\n",
		"yaml.yaml":   "version: 1\n  url: [\n",
		"gap.yaml":    oneServer + "redis: redis://127.0.0.1\n",
		"env.yaml":    oneServer + "state: ${NOT_SET}\n",
		"who.yaml":    "servers:\n  s: {path: /mcp, run: sample, allow: [{who: \"person:zed\"}]}\n",
		"binary.yaml": "\x00\x01\x02",
	})
	for name, says := range map[string]string{
		"key.yaml":    `key.yaml:2:1: unknown key "serverz": did you mean "servers"?`,
		"type.yaml":   "type.yaml:4:15: audit.keep",
		"yaml.yaml":   "yaml.yaml:2:",
		"gap.yaml":    "gap.yaml:3:1: redis: not in this version",
		"env.yaml":    "env.yaml:3:8: state",
		"who.yaml":    `who.yaml:2:46: servers.s.allow[0].who[0]: "person:zed"`,
		"binary.yaml": "binary.yaml:1:",
	} {
		file := filepath.Join(dir, name)
		notStarting(t, d, []string{"serve", "--config", file}, file[:len(file)-len(name)]+says)
		if r := d.run("doctor", file); r.code != 1 || !strings.Contains(r.out, says) || r.errs != "" {
			t.Errorf("doctor %s: exit %d, stdout %q, stderr %q", name, r.code, r.out, r.errs)
		}
	}
}

func TestFilesOfTheOtherRole(t *testing.T) {
	d := newDesk(t)
	everywhere(d)
	for role, file := range map[string]string{"serve": "idp.yaml", "idp": "serve.yaml"} {
		file = filepath.Join("..", "..", "examples", file)
		notStarting(t, d, []string{role, "--config", file}, file+":", "`doorward")
	}
}

// everywhere sets every variable that the example files name.
func everywhere(d *desk) {
	for _, name := range []string{"ALICE_PASSWORD", "BOB_PASSWORD", "IDP_SECRET", "WIKI_SECRET", "DESKTOP_SECRET", "OKTA_SECRET"} {
		d.vars[name], _ = everything(name)
	}
}

func TestPortInUse(t *testing.T) {
	d := newDesk(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	notStarting(t, d, []string{"serve", "--url", "http://" + taken, "--ops", "off"}, "listen: cannot listen on "+taken, "`listen:` or --listen")
	notStarting(t, d, []string{"idp", "--url", "http://" + taken, "--ops", "off"}, "listen: cannot listen on "+taken)
	notStarting(t, d, []string{"serve", "--url", "http://" + free(t), "--ops", taken}, "ops: cannot listen on "+taken, "`ops:` or --ops")
}

func TestDatabases(t *testing.T) {
	d := newDesk(t)
	file := siteAt(t, d, "")
	state := filepath.Join(filepath.Dir(file), ".doorward")
	serve := []string{"serve", "--config", file}
	d.start(serve...).stop()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	moved := filepath.Join(filepath.Dir(file), "moved.yaml")
	other := "url: http://" + free(t) + string(b)[strings.Index(string(b), "\n"):]
	if err := os.WriteFile(moved, []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	notStarting(t, d, []string{"serve", "--config", moved}, "this database belongs to the issuer")

	master := filepath.Join(state, "master.key")
	key, err := os.ReadFile(master)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(master); err != nil {
		t.Fatal(err)
	}
	notStarting(t, d, serve, "the master key "+master+" is missing", "from its backup")
	if _, err := os.Stat(master); err == nil {
		t.Error("a new master key was made beside a database that is not empty")
	}
	d.refused(1, []string{"leave", "alice", "--config", file}, "the master key "+master+" is missing")

	wrong := make([]byte, 32)
	rand.Read(wrong)
	for text, says := range map[string]string{
		hex.EncodeToString(wrong): "the master key does not open the signing keys",
		"rubbish":                 "64 hex digits",
	} {
		if err := os.WriteFile(master, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		notStarting(t, d, serve, says)
	}
	if err := os.WriteFile(master, key, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(master, 0o644); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" {
		notStarting(t, d, serve, "chmod 600 "+master)
	}
	if err := os.Chmod(master, 0o600); err != nil {
		t.Fatal(err)
	}
	d.start(serve...).stop()

	newer(t, filepath.Join(state, "doorward.db"))
	notStarting(t, d, serve, "run the newer program")
	if err := os.WriteFile(filepath.Join(state, "text.db"), []byte(strings.Repeat("no database\n", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(moved, append(b, "database: sqlite:.doorward/text.db\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	notStarting(t, d, []string{"serve", "--config", moved}, "not a SQLite database")
}

func TestStateThatCannotBeMade(t *testing.T) {
	d := newDesk(t)
	dir := write(t, map[string]string{"file": ""})
	below := filepath.Join(dir, "file", "state")
	notStarting(t, d, []string{"serve", "--url", "http://" + free(t), "--ops", "off", "--state", below}, "the state directory "+below+" cannot be made")
	notStarting(t, d, []string{"serve", "--config", siteAt(t, d, "state: "+below+"\n")}, "the state directory "+below+" cannot be made")
}

// Whatever ports it has, and however deep the directory lies.
func TestSecondServerOnTheSameState(t *testing.T) {
	for name, deep := range map[string]string{"near": "", "deep": strings.Repeat("deep/", 20)} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			file := siteAt(t, d, "state: "+deep+"state\n")
			first := d.start("serve", "--config", file)
			r := d.run("serve", "--config", file, "--listen", "127.0.0.1:0")
			if r.code != 1 || !strings.Contains(r.errs, "another doorward serves this state directory") || strings.Contains(r.errs, "is ready") {
				t.Errorf("exit %d\n%s", r.code, r.errs)
			}
			d.must("leave", "alice", "--config", file) // the first one is where it was
			first.stop()
			if r := d.run("leave", "alice", "--config", file); r.code != 0 {
				t.Errorf("exit %d %s", r.code, r.errs)
			}
		})
	}
}

// What must not be public is refused, with its key, and passes with
// insecure_public, which says so.
func TestPublicAddresses(t *testing.T) {
	people := "people: {alice: {password: \"${ALICE}\"}}\n"
	for name, c := range map[string]struct{ text, says string }{
		"http":         {"url: http://mcp.example.com\n", "c.yaml:1:6: url: http:"},
		"memory":       {"url: https://mcp.example.com\ndatabase: \"sqlite::memory:\"\n", "c.yaml:2:11: database: sqlite::memory:"},
		"others":       {"url: https://mcp.example.com\nclients: {others: allow}\n", "c.yaml:2:19: clients.others: allow"},
		"registration": {"url: https://mcp.example.com\nclients: {registration: {dynamic: open}}\n", "c.yaml:2:35: clients.registration.dynamic: open"},
		"password":     {"url: https://mcp.example.com\npeople: {alice: {password: orchard-tango-27-violet}}\n", "c.yaml:2:28: people.alice.password: is plain text"},
		"secret":       {"url: https://mcp.example.com\nclients: {registered: {x: {secret: short, redirect_uris: [\"https://a.example/cb\"]}}}\n", "clients.registered.x.secret"},
		"listen":       {"url: http://127.0.0.1:8080\nlisten: 0.0.0.0:0\n", "c.yaml:2:9: listen: 0.0.0.0:0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, "ALICE", alicesPassword)
			text := c.text + "servers: {s: {path: /mcp, run: sample, allow: [{who: everyone}]}}\n"
			if name != "password" {
				text += people
			}
			if name != "listen" {
				text += "listen: 127.0.0.1:0\n"
			}
			dir := write(t, map[string]string{"c.yaml": text, "i/c.yaml": text + "insecure_public: true\n"})
			notStarting(t, d, []string{"serve", "--config", filepath.Join(dir, "c.yaml"), "--ops", "off"}, c.says)
			p := d.start("serve", "--config", filepath.Join(dir, "i", "c.yaml"), "--ops", "off")
			if !strings.Contains(p.errs.String(), "insecure_public lets it pass") {
				t.Errorf("it does not say so:\n%s", p.errs)
			}
		})
	}
}

// Flags are checked as the file is.
func TestFlagsThatCannotBe(t *testing.T) {
	d := newDesk(t)
	at := []string{"serve", "--url", "http://" + free(t), "--ops", "off"}
	for _, c := range []struct {
		flags []string
		says  string
	}{
		{[]string{"--listen", "0.0.0.0:0"}, "listen: 0.0.0.0:0"},
		{[]string{"--listen", "nonsense"}, "listen: "},
		{[]string{"--ops", "0.0.0.0:0"}, "ops: 0.0.0.0:0"},
		{[]string{"--allow", "nonsense"}, `servers.sample.allow[0].who[0]: who "nonsense"`},
		{[]string{"--upstream", "nonsense"}, "servers.mcp.upstream: "},
		{[]string{"--url", "http://mcp.example.com"}, "url: http:"},
		{[]string{"--url", "nonsense"}, "url: "},
	} {
		r := d.run(slices.Concat(at, c.flags)...)
		if r.code != 1 || !strings.Contains("\n"+r.errs, "\n"+c.says) {
			t.Errorf("%q: exit %d %q, want %q", c.flags, r.code, r.errs, c.says)
		}
		if strings.Contains(r.errs, "with the password") {
			t.Errorf("%q: a password was said by a server that does not start: %s", c.flags, r.errs)
		}
	}
	for _, flag := range []string{"--url=http://127.0.0.1:1", "--upstream=http://127.0.0.1:1", "--allow=everyone"} {
		d.refused(2, []string{"serve", "--config", siteAt(t, d, ""), flag}, "goes without --config")
	}
}

// newer makes a database look as if a later version had written it.
func newer(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.Exec("INSERT INTO doorward_schema (version_id, is_applied) VALUES (99, 1)")
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if s, err := sqlite.Open(path); err == nil {
		s.Close()
		t.Fatal("the database opens")
	}
}

// A receipt is there also for what nobody could have seen: a store that was
// filled while no server ran.
func TestRevokeAllOfAFullStore(t *testing.T) {
	d := newDesk(t)
	file := siteAt(t, d, "")
	d.start("serve", "--config", file).stop()
	s, err := sqlite.Open(filepath.Join(filepath.Dir(file), ".doorward", "doorward.db"))
	if err != nil {
		t.Fatal(err)
	}
	var ops []store.Op
	for i := range 1200 { // more than a page
		g := ledger.Grant{TokensUntil: time.Now().Add(time.Hour)}
		g.ID, g.Subject.ID, g.Client, g.Resource = hex.EncodeToString([]byte{byte(i >> 8), byte(i)}), "alice", "tool", "https://a.example/mcp"
		g.Expires = time.Now().Add(time.Hour)
		ops = append(ops, g.Put())
	}
	if err := s.Commit(context.Background(), ops...); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if out := d.must("leave", "alice", "--config", file); !strings.Contains(out, "ended: 1200 grants,") {
		t.Errorf("%.200s", out)
	}
}
