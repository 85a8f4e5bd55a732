//go:build unix

package servers_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"doorward"
	"doorward/interop/rig"
)

// patience bounds whatever a test waits for.
const patience = 60 * time.Second

// run starts a program that the test's end ends.
func run(t *testing.T, said *rig.Output, env []string, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = said, said, env
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		late := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		late.Stop()
	})
	return cmd
}

// world is a gateway from the real binary, in front of the three servers.
type world struct {
	*testing.T
	bin, dir, url string
	said          *rig.Output
}

const site = `
url: http://%s
ops: ""
telemetry: {log: debug}
clients:
  registered:
    one: {secret: secret-of-the-first-one, grant_types: [client_credentials]}
    two: {secret: secret-of-the-second-one, grant_types: [client_credentials]}
servers:
  everything:
    path: /everything/mcp
    run: [node, %[2]q]
    env: {GREETING: "hello, child"}
    allow: [{who: ["client:one", "client:two"]}]
    deny: [{who: "client:two", tools: [get-env]}]
  everything-http:
    path: /everything-http/mcp
    upstream: http://%[3]s/mcp
    allow: [{who: ["client:one", "client:two"]}]
    deny: [{who: "client:two", tools: [get-env]}]
  files:
    path: /files/mcp
    run: [node, %[4]q, %[6]q]
    allow: [{who: "client:one", tools: ["read_*", "list_*"]}]
  memory:
    path: /memory/mcp
    run: [node, %[5]q]
    env: {MEMORY_FILE_PATH: %[7]q}
    allow: [{who: ["client:one", "client:two"]}]
`

func newWorld(t *testing.T) *world {
	t.Helper()
	rig.Node(t)
	entry := func(server string) string {
		path, err := filepath.Abs("node_modules/@modelcontextprotocol/server-" + server + "/dist/index.js")
		if err == nil {
			_, err = os.Stat(path)
		}
		rig.Need(t, "server-"+server+" of npm", err == nil)
		return path
	}
	w := &world{T: t, bin: rig.Doorward(t), dir: t.TempDir(), said: &rig.Output{}}
	everything := rig.Free(t)
	_, port, _ := net.SplitHostPort(everything)
	out := &rig.Output{}
	run(t, out, append(os.Environ(), "PORT="+port), "node", entry("everything"), "streamableHttp")
	out.Wait(t, patience, "listening on port", 1)
	if err := os.WriteFile(filepath.Join(w.dir, "hello.txt"), []byte("a file of ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	listen := rig.Free(t)
	w.url = "http://" + listen
	file := filepath.Join(w.dir, "doorward.yaml")
	text := fmt.Sprintf(site, listen, entry("everything"), everything, entry("filesystem"), entry("memory"), w.dir, filepath.Join(w.dir, "memory.jsonl"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, w.said, append(os.Environ(), "DOORWARD_CANARY=a-secret-of-ours"), w.bin, "serve", "--config", file)
	w.said.Wait(t, patience, "doorward serve is ready", 1)
	return w
}

// connect is a session of a client at a server.
func (w *world) connect(t *testing.T, server, client string, options *mcp.ClientOptions) *mcp.ClientSession {
	t.Helper()
	secret := map[string]string{"one": "secret-of-the-first-one", "two": "secret-of-the-second-one"}[client]
	transport := &doorward.Transport{Flow: &doorward.ClientCredentials{Client: doorward.Credentials{Issuer: w.url, ID: client, Secret: secret}}}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	s, err := mcp.NewClient(&mcp.Implementation{Name: "interop", Version: "1"}, options).
		Connect(ctx, &mcp.StreamableClientTransport{Endpoint: w.url + "/" + server + "/mcp", HTTPClient: &http.Client{Transport: transport}}, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, w.said)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// call calls a tool and returns the text of its answer.
func call(t *testing.T, s *mcp.ClientSession, tool string, args map[string]any, meta ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if args == nil {
		args = map[string]any{}
	}
	params := &mcp.CallToolParams{Name: tool, Arguments: args}
	if len(meta) > 0 {
		params.SetProgressToken(meta[0])
	}
	res, err := s.CallTool(ctx, params)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, c := range res.Content {
		if c, ok := c.(*mcp.TextContent); ok {
			text.WriteString(c.Text)
		}
	}
	if res.IsError {
		return "", fmt.Errorf("%s", text.String())
	}
	return text.String(), nil
}

func TestMain(m *testing.M) { rig.Main(m) }
