//go:build unix

// Package connect_test puts other people's MCP clients, servers and OpenID
// providers on both sides of doorward connect.
package connect_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds whatever a test waits for.
const patience = 20 * time.Second

// need skips a test, or fails it in CI, where something is not installed.
func need(t *testing.T, what string, ok bool) {
	t.Helper()
	switch {
	case ok:
	case os.Getenv("CI") != "":
		t.Fatalf("%s is missing: .ci/deps installs it", what)
	default:
		t.Skipf("SKIPPED: %s is missing: make deps installs it", what)
	}
}

func needNode(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath("node")
	need(t, "Node.js", err == nil)
	for _, part := range []string{"@modelcontextprotocol/client", "@modelcontextprotocol/server", "@modelcontextprotocol/node", "@modelcontextprotocol/server-everything", "oidc-provider"} {
		_, err := os.Stat(filepath.Join("node_modules", part))
		need(t, part+" of npm", err == nil)
	}
}

// output is what a process says.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// wait returns the first match, once it stands there.
func (o *output) wait(t *testing.T, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if m := re.FindStringSubmatch(o.String()); m != nil {
			return m
		}
	}
	t.Fatalf("%q never came:\n%s", pattern, o)
	return nil
}

// run starts a program that the test's end ends.
func run(t *testing.T, env []string, name string, args ...string) *output {
	t.Helper()
	said := &output{}
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = said, said, append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		late := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		late.Stop()
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(name), said)
		}
	})
	return said
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func port(address string) string {
	_, p, _ := net.SplitHostPort(address)
	return p
}

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "doorward-interop-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "doorward")
	if out, err := exec.Command("go", "build", "-o", bin, "doorward/cmd/doorward").CombinedOutput(); err != nil {
		return bin, fmt.Errorf("%w\n%s", err, out)
	}
	return bin, nil
})

func doorward(t *testing.T) string {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

func TestMain(m *testing.M) {
	code := m.Run()
	bin, _ := build() // the cache has it
	_ = os.RemoveAll(filepath.Dir(bin))
	os.Exit(code)
}

// relay stands on the way to a server; cut drops all connections.
type relay struct {
	at    string
	mu    sync.Mutex
	conns []net.Conn
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{at: l.Addr().String()}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", to)
			if err != nil {
				c.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, c, s)
			r.mu.Unlock()
			go func() { _, _ = io.Copy(s, c); s.Close() }()
			go func() { _, _ = io.Copy(c, s); c.Close() }()
		}
	}()
	t.Cleanup(func() { l.Close(); r.cut() })
	return r
}

func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.Close()
	}
	r.conns = nil
}

// client runs the TypeScript SDK's client on doorward connect, to its end. on
// is called while it runs.
func client(t *testing.T, env []string, scenario, wire string, args []string, on func(said *output)) string {
	t.Helper()
	said := &output{}
	home := t.TempDir()
	cmd := exec.Command("node", append([]string{"client.mjs", scenario, wire, doorward(t), "connect"}, args...)...)
	cmd.Env = append(append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_STATE_HOME="+home), env...)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	if on != nil {
		on(said)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%s on the %s wire: %v\n%s", scenario, wire, err, said)
	}
	return strings.TrimSpace(said.String())
}
