package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"doorward/internal/browse"
	"doorward/interop/rig"
)

// patience bounds whatever a test waits for.
const patience = 30 * time.Second

// buffer is an output that others write while a test reads.
type buffer struct {
	mu      sync.Mutex
	b       bytes.Buffer
	changed chan struct{} // closed by the next write
}

func newBuffer() *buffer { return &buffer{changed: make(chan struct{})} }

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.changed)
	b.changed = make(chan struct{})
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// wait returns the first match of pattern, once it stands there.
func (b *buffer) wait(t testing.TB, pattern string) []string {
	t.Helper()
	re, late := regexp.MustCompile(pattern), time.After(patience)
	for {
		b.mu.Lock()
		m, changed := re.FindStringSubmatch(b.b.String()), b.changed
		b.mu.Unlock()
		if m != nil {
			return m
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("%q never came:\n%s", pattern, b)
		}
	}
}

// desk is somebody's shell: a home of its own and its variables.
type desk struct {
	t    testing.TB
	home string
	vars map[string]string
}

func newDesk(t testing.TB, pairs ...string) *desk {
	d := &desk{t, t.TempDir(), map[string]string{}}
	d.vars["HOME"], d.vars["XDG_STATE_HOME"] = d.home, filepath.Join(d.home, "s")
	for i := 0; i < len(pairs); i += 2 {
		d.vars[pairs[i]] = pairs[i+1]
	}
	return d
}

// env is the world as the program sees it.
func (d *desk) env(out, errs io.Writer) env {
	vars := maps.Clone(d.vars)
	return env{stdout: out, stderr: errs, lookup: func(name string) (string, bool) { v, ok := vars[name]; return v, ok }}
}

// ran is a command that is over.
type ran struct {
	code      int
	out, errs string
}

// run runs a command that ends by itself.
func (d *desk) run(args ...string) ran {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	out, errs := newBuffer(), newBuffer()
	code := run(ctx, args, d.env(out, errs))
	if ctx.Err() != nil {
		d.t.Errorf("%q did not end by itself", args)
	}
	return ran{code, out.String(), errs.String()}
}

// must is run for what has to succeed.
func (d *desk) must(args ...string) string {
	d.t.Helper()
	r := d.run(args...)
	if r.code != 0 {
		d.t.Fatalf("%q: exit %d\n%s%s", args, r.code, r.out, r.errs)
	}
	return r.out
}

// refused runs what has to fail with code and say every one of says.
func (d *desk) refused(code int, args []string, says ...string) {
	d.t.Helper()
	r := d.run(args...)
	if r.code != code || r.out != "" {
		d.t.Errorf("%q: exit %d, want %d; stdout %q\n%s", args, r.code, code, r.out, r.errs)
	}
	for _, s := range says {
		if !strings.Contains(r.errs, s) {
			d.t.Errorf("%q does not say %q:\n%s", args, s, r.errs)
		}
	}
}

// process is a serve or an idp that runs.
type process struct {
	t         testing.TB
	url       string
	out, errs *buffer
	stop      func() // ends it as Ctrl-C does, and waits
	code      int    // once it has stopped
}

// start starts serve or idp and waits until it answers.
func (d *desk) start(args ...string) *process {
	d.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{t: d.t, out: newBuffer(), errs: newBuffer()}
	over := make(chan struct{})
	go func() {
		defer close(over)
		p.code = run(ctx, args, d.env(p.out, p.errs))
		p.errs.Write([]byte("(ended)\n"))
	}()
	p.stop = sync.OnceFunc(func() {
		cancel()
		<-over
		http.DefaultClient.CloseIdleConnections() // what comes next may be another server on the same port
	})
	d.t.Cleanup(p.stop)
	m := p.errs.wait(d.t, `is ready: (\S+)|\(ended\)`)
	if m[1] == "" {
		d.t.Fatalf("%q ended at once:\n%s", args, p.errs)
	}
	p.url = m[1]
	return p
}

// free is an address on which nobody listens.
func free(t testing.TB) string {
	t.Helper()
	return rig.Free(t)
}

// person is somebody at a browser.
func person(t testing.TB, name, password string) *browse.Person {
	t.Helper()
	p, err := browse.New(name, password, http.DefaultTransport)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// browser runs a command that prints an address to open, and opens it.
func (d *desk) browser(who *browse.Person, args ...string) ran {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	out, errs := newBuffer(), newBuffer()
	over := make(chan int, 1)
	go func() {
		code := run(ctx, args, d.env(out, errs))
		errs.Write([]byte("(ended)\n"))
		over <- code
	}()
	m := errs.wait(d.t, `\n  (http\S+)|\(ended\)`)
	if m[1] != "" {
		if err := who.Open(ctx, m[1]); err != nil {
			cancel()
			errs.Write([]byte("browser: " + err.Error() + "\n"))
		}
	}
	return ran{<-over, out.String(), errs.String()}
}

// profiles counts those of tests that want nothing of what is kept.
var profiles atomic.Int64

// token gets a person's token by the browser flow; each time a new one.
func (d *desk) token(server, name, password string, flags ...string) string {
	d.t.Helper()
	r := d.browser(person(d.t, name, password), append([]string{"token", server, "--flow", "browser", "--no-browser",
		"--profile", fmt.Sprint("fresh-", profiles.Add(1))}, flags...)...)
	if r.code != 0 {
		d.t.Fatalf("token for %s: exit %d\n%s", name, r.code, r.errs)
	}
	return strings.TrimSpace(r.out)
}

const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`

// answer is what an MCP server answered.
type answer struct {
	status int
	header http.Header
	body   string
}

// post sends one message to an MCP server; header is a whole line, or "".
func post(t testing.TB, server, header, message string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server, strings.NewReader(message))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	if name, value, ok := strings.Cut(header, ": "); ok {
		req.Header.Set(name, value)
	}
	return do(t, req)
}

func do(t testing.TB, req *http.Request) answer {
	t.Helper()
	resp, err := (&http.Client{Timeout: patience}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// opens reports whether a token opens an MCP server; anything but 200 and 401
// fails the test.
func opens(t testing.TB, server, token string) bool {
	t.Helper()
	a := post(t, server, "Authorization: Bearer "+token, initialize)
	switch {
	case a.status == http.StatusOK && strings.Contains(a.body, `"serverInfo"`):
		return true
	case a.status == http.StatusUnauthorized && strings.Contains(a.header.Get("WWW-Authenticate"), "invalid_token"):
		return false
	}
	t.Fatalf("%s answers %d %s", server, a.status, a.body)
	return false
}

// ask posts a form to an endpoint of an issuer, as a client with a secret or,
// if that is "", as a public one.
func ask(t testing.TB, endpoint, client, secret string, pairs ...string) (int, map[string]any) {
	t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	if secret == "" {
		form.Set("client_id", client)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if secret != "" {
		req.SetBasicAuth(url.QueryEscape(client), url.QueryEscape(secret))
	}
	a := do(t, req)
	var got map[string]any
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		t.Fatalf("%s: %d %s", endpoint, a.status, a.body)
	}
	return a.status, got
}

func get(t testing.TB, address string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, req)
}

// commands are all commands with their words.
func commands(cmd *cobra.Command, words ...string) map[string]*cobra.Command {
	all := map[string]*cobra.Command{strings.Join(words, " "): cmd}
	for _, sub := range cmd.Commands() {
		maps.Copy(all, commands(sub, append(words[:len(words):len(words)], sub.Name())...))
	}
	return all
}

func TestEveryCommandExplainsItself(t *testing.T) {
	d := newDesk(t)
	all := commands(newRoot(d.env(io.Discard, io.Discard)))
	if len(all) < 20 {
		t.Fatalf("only %d commands", len(all))
	}
	for words, cmd := range all {
		r := d.run(append(strings.Fields(words), "-h")...)
		if r.code != 0 || r.errs != "" || !strings.Contains(r.out, "Usage:") {
			t.Errorf("%s -h: exit %d, stderr %q, stdout %q", words, r.code, r.errs, r.out)
		}
		if words == "" {
			continue
		}
		if cmd.Short == "" || !strings.Contains(cmd.Example, "doorward "+words) || !strings.Contains(r.out, cmd.Example) {
			t.Errorf("%s: its help has no example of itself: %q", words, cmd.Example)
		}
	}
}

func TestExitStatus(t *testing.T) {
	d := newDesk(t)
	for _, c := range []struct {
		code int
		line string
		says string
	}{
		{0, "version", ""},
		{0, "version --json", ""},
		{2, "--json version", "unknown flag"}, // a flag of the command, not of the program
		{2, "nonsense", `unknown command "nonsense"`},
		{2, "client nonsense", `unknown command "nonsense"`},
		{2, "version --nonsense", "unknown flag: --nonsense"},
		{2, "version extra", "extra"},
		{2, "idp extra", "extra"},
		{2, "serve extra", `"extra"`},
		{2, "leave", "PERSON is missing: `doorward leave PERSON`"},
		{2, "leave a b", "\"b\" is one argument too many: `doorward leave PERSON`"},
		{2, "can", "PERSON is missing"},
		{2, "can alice", "SERVER is missing: `doorward can PERSON SERVER [TOOL]`"},
		{2, "can a b c d", "\"d\" is one argument too many"},
		{2, "token", "URL is missing: `doorward token URL`"},
		{2, "doctor", "URL|FILE is missing"},
		{2, "client", "client add"},
		{2, "user", "user add"},
		{2, "key", "key rotate"},
		{2, "client add", "ID is missing: `doorward client add ID`"},
		{2, "client list x", "\"x\" is one argument too many: `doorward client list`"},
		{2, "revoke", "--all"},
		{2, "revoke alice", "doorward leave"},
		{2, "revoke client:a client:b", `"client:b" is one argument too many`},
		{2, "revoke person:alice", "doorward leave"},
		{2, "revoke client:", "client:ID"},
		{2, "revoke client:x --all", "--all"},
		{2, "leave alice --config a --state b", "--state"},
		{2, "token http://127.0.0.1:1/mcp --timeout soon", "--timeout"},
		{2, "serve --config doorward.yaml --url", "--url"},
		{1, "doctor nowhere.yaml", "nowhere.yaml"},
		{1, "serve --config nowhere.yaml", "nowhere.yaml"},
		{1, "leave alice --state nowhere", "no server was ever started"},
		{1, "leave alice", "no server was ever started"},
		{2, "serve --sign-in https://a.example", "go together"},
		{2, "serve --upstream http://127.0.0.1:1 -- npx server", "exclude each other"},
	} {
		r := d.run(strings.Fields(c.line)...)
		if r.code != c.code || !strings.Contains(r.errs, c.says) {
			t.Errorf("%s: exit %d, want %d; stderr %q, want %q in it", c.line, r.code, c.code, r.errs, c.says)
		}
		if good := c.code == 0; good != (r.out != "") || good != (r.errs == "") {
			t.Errorf("%s: stdout %q, stderr %q: results go to stdout, talk to stderr", c.line, r.out, r.errs)
		}
	}
}

func TestVersion(t *testing.T) {
	d := newDesk(t)
	if out := d.must("version"); !strings.HasPrefix(out, "doorward "+version+" (commit ") {
		t.Errorf("%q", out)
	}
	var v map[string]string
	if err := json.Unmarshal([]byte(d.must("version", "--json")), &v); err != nil || v["version"] != version || v["commit"] == "" || v["go"] == "" {
		t.Errorf("%v %v", v, err)
	}
}

// Flags may stand before or after the arguments.
func TestFlagsAnywhere(t *testing.T) {
	d := newDesk(t)
	p := d.start("serve", "--url", "http://"+free(t), "--ops", "off")
	for _, args := range [][]string{
		{"can", "--url", p.url, "--json", "admin", "sample"},
		{"can", "admin", "--url", p.url, "sample", "--json"},
		{"can", "admin", "sample", "--json", "--url", p.url},
	} {
		if out := d.must(args...); !strings.Contains(out, `"allowed":true`) {
			t.Errorf("%q: %s", args, out)
		}
	}
}

// Ctrl-C is no failure to be explained.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	errs := newBuffer()
	code := run(ctx, []string{"token", "http://127.0.0.1:1/mcp", "--no-browser"}, d.env(newBuffer(), errs))
	if got := errs.String(); code != 1 || got != "doorward: interrupted\n" {
		t.Errorf("exit %d: %q", code, got)
	}
}

// Who uses a command wrongly is sent to that command's help.
func TestWrongUseNamesItsHelp(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.refused(2, []string{"setup"}, "See: doorward setup -h")
	d.refused(2, []string{"serve", "--cofnig", "x"}, "unknown flag: --cofnig", "See: doorward serve -h")
	d.refused(2, []string{"serv"}, "See: doorward -h")
}
