//go:build unix

package servers_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"doorward"
)

// patience bounds whatever a test waits for.
const patience = 60 * time.Second

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

// wait returns the n-th match, once it stands there.
func (o *output) wait(t *testing.T, pattern string, n int) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if all := re.FindAllStringSubmatch(o.String(), -1); len(all) >= n {
			return all[n-1]
		}
	}
	t.Fatalf("%q never came:\n%s", pattern, o)
	return nil
}

// run starts a program that the test's end ends.
func run(t *testing.T, said *output, env []string, name string, args ...string) *exec.Cmd {
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

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "doorward-interop-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "doorward")
	if out, err := exec.Command("go", "build", "-o", bin, "doorward/cmd/doorward").CombinedOutput(); err != nil {
		return dir, fmt.Errorf("%w\n%s", err, out)
	}
	return bin, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if bin, err := build(); err == nil { // builds if no test did; the cache has it
		_ = os.RemoveAll(filepath.Dir(bin))
	}
	os.Exit(code)
}

// world is a gateway from the real binary, in front of the three servers.
type world struct {
	*testing.T
	bin, dir, url string
	said          *output
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
	_, err := exec.LookPath("node")
	need(t, "Node.js", err == nil)
	entry := func(server string) string {
		path, err := filepath.Abs("node_modules/@modelcontextprotocol/server-" + server + "/dist/index.js")
		if err == nil {
			_, err = os.Stat(path)
		}
		need(t, "server-"+server+" of npm", err == nil)
		return path
	}
	w := &world{T: t, dir: t.TempDir(), said: &output{}}
	if w.bin, err = build(); err != nil {
		t.Fatal(err)
	}
	everything := free(t)
	_, port, _ := net.SplitHostPort(everything)
	out := &output{}
	run(t, out, append(os.Environ(), "PORT="+port), "node", entry("everything"), "streamableHttp")
	out.wait(t, "listening on port", 1)
	if err := os.WriteFile(filepath.Join(w.dir, "hello.txt"), []byte("a file of ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	listen := free(t)
	w.url = "http://" + listen
	file := filepath.Join(w.dir, "doorward.yaml")
	text := fmt.Sprintf(site, listen, entry("everything"), everything, entry("filesystem"), entry("memory"), w.dir, filepath.Join(w.dir, "memory.jsonl"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, w.said, append(os.Environ(), "DOORWARD_CANARY=a-secret-of-ours"), w.bin, "serve", "--config", file)
	w.said.wait(t, "doorward serve is ready", 1)
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
