//go:build unix

// Package connect_test puts other people's MCP clients, servers and OpenID
// providers on both sides of doorward connect.
package connect_test

import (
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/interop/rig"
)

// patience bounds whatever a test waits for.
const patience = 20 * time.Second

// run starts a program that the test's end ends.
func run(t *testing.T, env []string, name string, args ...string) *rig.Output {
	t.Helper()
	return rig.Start(t, env, name, args...)
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
func client(t *testing.T, env []string, scenario, wire string, args []string, on func(said *rig.Output)) string {
	t.Helper()
	said := &rig.Output{}
	home := t.TempDir()
	cmd := exec.Command("node", append([]string{"client.mjs", scenario, wire, rig.Doorward(t), "connect"}, args...)...)
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

func TestMain(m *testing.M) { rig.Main(m) }

func needNode(t *testing.T) {
	t.Helper()
	rig.Node(t, "@modelcontextprotocol/client", "@modelcontextprotocol/server", "@modelcontextprotocol/node", "@modelcontextprotocol/server-everything", "oidc-provider")
}
