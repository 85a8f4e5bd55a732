//go:build unix

//lint:file-ignore SA1019 These servers speak the revisions that have logging and sampling.

package servers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// server-everything in both ways: what it says by itself and what it asks
// reaches its client, and nobody else.
func TestEverything(t *testing.T) {
	w := newWorld(t)
	for _, server := range []string{"everything", "everything-http"} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var progress []float64
			var asked, elicited, logged int
			count := func(n *int) {
				mu.Lock()
				defer mu.Unlock()
				*n++
			}
			one := w.connect(t, server, "one", &mcp.ClientOptions{
				ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) {
					mu.Lock()
					defer mu.Unlock()
					progress = append(progress, r.Params.Progress)
				},
				LoggingMessageHandler: func(context.Context, *mcp.LoggingMessageRequest) { count(&logged) },
				CreateMessageHandler: func(_ context.Context, r *mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
					count(&asked)
					return &mcp.CreateMessageResult{Model: "none", Role: "assistant", Content: &mcp.TextContent{Text: "forty-two"}}, nil
				},
				ElicitationHandler: func(_ context.Context, r *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
					count(&elicited)
					return &mcp.ElicitResult{Action: "decline"}, nil
				},
			})
			two := w.connect(t, server, "two", &mcp.ClientOptions{
				LoggingMessageHandler: func(_ context.Context, r *mcp.LoggingMessageRequest) {
					// Of its own: that it has no roots.
					if text := fmt.Sprint(r.Params.Data); !strings.HasPrefix(text, "Roots updated") {
						t.Errorf("the other session was told %s", text)
					}
				},
				ProgressNotificationHandler: func(context.Context, *mcp.ProgressNotificationClientRequest) { t.Error("the other session was told") },
			})
			if one.ID() == "" || one.ID() == two.ID() {
				t.Errorf("sessions %q and %q", one.ID(), two.ID())
			}
			checkTools(t, one, two)

			if got, err := call(t, one, "echo", map[string]any{"message": "line\nbreak \u2028 ✓"}); err != nil || got != "Echo: line\nbreak \u2028 ✓" {
				t.Errorf("echo: %q %v", got, err)
			}
			if got, err := call(t, one, "trigger-long-running-operation", map[string]any{"duration": 0.3, "steps": 3}, "long"); err != nil || !strings.Contains(got, "completed") {
				t.Errorf("long: %q %v", got, err)
			}
			// As of the answer the Go SDK may still be at work on what came before it.
			eventually(t, "three steps", func() bool { mu.Lock(); defer mu.Unlock(); return slices.Equal(progress, []float64{1, 2, 3}) })
			if got, err := call(t, one, "trigger-sampling-request", map[string]any{"prompt": "what?"}); err != nil || !strings.Contains(got, "forty-two") || asked != 1 {
				t.Errorf("sampling: %q %v, asked %d times", got, err, asked)
			}
			if got, err := call(t, one, "trigger-elicitation-request", nil); err != nil || !strings.Contains(got, "decline") || elicited != 1 {
				t.Errorf("elicitation: %q %v, asked %d times", got, err, elicited)
			}
			// Nobody calls: these come by the stream of the GET, every 5 s from now on.
			if err := one.SetLoggingLevel(t.Context(), &mcp.SetLoggingLevelParams{Level: "debug"}); err != nil {
				t.Error(err)
			}
			if got, err := call(t, one, "toggle-simulated-logging", nil); err != nil || !strings.Contains(got, "Started") {
				t.Errorf("logging: %q %v", got, err)
			}
			eventually(t, "a log message", func() bool { mu.Lock(); defer mu.Unlock(); return logged >= 2 })
			if got, err := call(t, two, "echo", map[string]any{"message": "mine"}); err != nil || got != "Echo: mine" {
				t.Errorf("the other session: %q %v", got, err)
			}
		})
	}
}

// checkTools: what is shown is what may be called.
func checkTools(t *testing.T, one, two *mcp.ClientSession) {
	t.Helper()
	for s, want := range map[*mcp.ClientSession]bool{one: true, two: false} {
		list, err := s.ListTools(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		shown := slices.ContainsFunc(list.Tools, func(tool *mcp.Tool) bool { return tool.Name == "get-env" })
		if shown != want || len(list.Tools) < 10 {
			t.Errorf("get-env is shown: %v, among %d", shown, len(list.Tools))
		}
		_, err = call(t, s, "get-env", nil)
		if (err == nil) != want || err != nil && !strings.Contains(err.Error(), "deny[0]") {
			t.Errorf("get-env: %v", err)
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// The child gets the listed variables and nothing of ours.
func TestEnvironment(t *testing.T) {
	w := newWorld(t)
	got, err := call(t, w.connect(t, "everything", "one", nil), "get-env", nil)
	if err != nil {
		t.Fatal(err)
	}
	var env map[string]string
	if err := json.Unmarshal([]byte(got), &env); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if env["GREETING"] != "hello, child" || env["PATH"] != os.Getenv("PATH") || strings.Contains(got, "a-secret-of-ours") {
		t.Errorf("%s", got)
	}
	for name := range env {
		if !slices.Contains([]string{"GREETING", "PATH", "HOME", "LANG", "SYSTEMROOT"}, name) {
			t.Errorf("%s is in it", name)
		}
	}
}

func TestFilesystem(t *testing.T) {
	w := newWorld(t)
	s := w.connect(t, "files", "one", nil)
	list, err := s.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range list.Tools {
		if !strings.HasPrefix(tool.Name, "read_") && !strings.HasPrefix(tool.Name, "list_") {
			t.Errorf("%s is shown", tool.Name)
		}
	}
	path := filepath.Join(w.dir, "hello.txt")
	if got, err := call(t, s, "read_text_file", map[string]any{"path": path}); err != nil || !strings.Contains(got, "a file of ours") {
		t.Errorf("%q %v", got, err)
	}
	if got, err := call(t, s, "read_text_file", map[string]any{"path": "/etc/hostname"}); err == nil {
		t.Errorf("outside: %q", got)
	}
	if _, err := call(t, s, "write_file", map[string]any{"path": path, "content": "x"}); err == nil || !strings.Contains(err.Error(), "servers.files") {
		t.Errorf("writing: %v", err)
	}
}

func TestMemory(t *testing.T) {
	w := newWorld(t)
	s := w.connect(t, "memory", "one", nil)
	if _, err := call(t, s, "create_entities", map[string]any{"entities": []any{map[string]any{"name": "Ada", "entityType": "person", "observations": []string{"wrote"}}}}); err != nil {
		t.Fatal(err)
	}
	if got, err := call(t, w.connect(t, "memory", "two", nil), "search_nodes", map[string]any{"query": "Ada"}); err != nil || !strings.Contains(got, "wrote") {
		t.Errorf("the file is shared by the sessions: %q %v", got, err)
	}
}

// The off switch ends the process, a DELETE does, and the end of the server;
// each within a second.
func TestEnds(t *testing.T) {
	w := newWorld(t)
	pid := func(n int) int {
		m := w.said.Wait(t, patience, `the process of an MCP server started" server=everything pid=(\d+)`, n)
		pid, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
	gone := func(what string, pid int, since time.Time) {
		t.Helper()
		eventually(t, "it ends", func() bool { return syscall.Kill(pid, 0) != nil })
		if took := time.Since(since); took > time.Second {
			t.Errorf("%s: it took %s", what, took)
		}
	}
	closed, revoked, other := w.connect(t, "everything", "one", nil), (*mcp.ClientSession)(nil), (*mcp.ClientSession)(nil)
	first := pid(1)
	begin := time.Now()
	if err := closed.Close(); err != nil {
		t.Error(err)
	}
	gone("close", first, begin)

	revoked = w.connect(t, "everything", "one", nil)
	second := pid(2)
	other = w.connect(t, "everything", "two", nil)
	third := pid(3)
	if out, err := exec.Command(w.bin, "revoke", "client:one", "--config", filepath.Join(w.dir, "doorward.yaml")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	begin = time.Now() // how long the command takes to start is not the server's time
	gone("revoke", second, begin)
	if _, err := call(t, other, "echo", map[string]any{"message": "still here"}); err != nil || syscall.Kill(third, 0) != nil {
		t.Errorf("the other client's session: %v", err)
	}
	_ = revoked.Close()
}
