//go:build unix

//lint:file-ignore SA1019 Sampling is what some of these servers are for.

package connect_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"doorward/interop/rig"
)

const site = `
url: http://%s
listen: %s
ops: ""
clients:
  registered:
    desk: {secret: secret-of-the-desk-client, grant_types: [client_credentials]}
servers:
  mcp:
    path: /mcp
    upstream: %s
    allow: [{who: "client:desk"}]
    deny: [{who: "client:desk", tools: [get-env]}]
`

// serve is doorward serve in front of an MCP server, with a relay before it.
func serve(t *testing.T, upstream string) *relay {
	t.Helper()
	listen := rig.Free(t)
	r := newRelay(t, listen)
	dir := t.TempDir()
	file := filepath.Join(dir, "doorward.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, site, r.at, listen, upstream), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, nil, rig.Doorward(t), "serve", "--config", file).Wait(t, patience, "doorward serve is ready", 1)
	return r
}

func desk(r *relay) []string {
	return []string{"http://" + r.at + "/mcp", "--flow", "client", "--client-id", "desk", "--client-secret", "env:DESK_SECRET"}
}

var deskSecret = []string{"DESK_SECRET=secret-of-the-desk-client"}

// server-everything behind doorward serve, on the wire with sessions, and a
// connection that drops in the middle of a call.
func TestEverything(t *testing.T) {
	needNode(t)
	t.Parallel()
	at := rig.Free(t)
	run(t, []string{"PORT=" + rig.Port(at)}, "node", "node_modules/@modelcontextprotocol/server-everything/dist/index.js", "streamableHttp").Wait(t, patience, "listening on port", 1)
	r := serve(t, "http://"+at+"/mcp")
	said := client(t, deskSecret, "everything", "stateful", desk(r), func(said *rig.Output) {
		said.Wait(t, patience, "cut me", 1)
		r.cut()
	})
	if said != "cut me\nall is well" {
		t.Errorf("%s", said)
	}
	// The other wire is not spoken here: the SDK keeps to itself what it is told.
	cmd := exec.Command(rig.Doorward(t), append([]string{"connect"}, desk(r)...)...)
	cmd.Env = append(os.Environ(), deskSecret[0], "HOME="+t.TempDir())
	cmd.Stdin = strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}` + "\n")
	out, err := cmd.Output()
	if err != nil || !strings.Contains(string(out), "speaks only the wire with sessions") || !strings.Contains(string(out), "2026-07-28") {
		t.Errorf("%v %s", err, out)
	}
}

// Servers of the wire without sessions, made with the two SDKs, behind
// doorward serve; a client of the other wire is told what they speak.
func TestStateless(t *testing.T) {
	needNode(t)
	t.Run("Go SDK", func(t *testing.T) {
		t.Parallel()
		srv := httptest.NewServer(small(t, true))
		t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
		if said := client(t, deskSecret, "small", "stateless", desk(serve(t, srv.URL+"/mcp")), nil); said != "all is well" {
			t.Errorf("%s", said)
		}
	})
	t.Run("TypeScript SDK", func(t *testing.T) {
		t.Parallel()
		at := rig.Free(t)
		server := run(t, nil, "node", "server.mjs", rig.Port(at))
		server.Wait(t, patience, "ready", 1)
		r := serve(t, "http://"+at+"/mcp")
		if said := client(t, deskSecret, "small", "stateless", desk(r), nil); said != "all is well" {
			t.Errorf("%s", said)
		}
		server.Wait(t, patience, "the hanging call was cancelled", 1)
		said := client(t, deskSecret, "mismatch", "stateful", desk(r), nil)
		if !strings.Contains(said, "speaks only the wire without sessions (MCP 2026-07-28)") {
			t.Errorf("%s", said)
		}
	})
}

// small is a server made with the Go SDK, of either wire.
func small(t *testing.T, stateless bool) http.Handler {
	t.Helper()
	s := mcp.NewServer(&mcp.Implementation{Name: "small", Version: "1"}, nil)
	said := func(text string) *mcp.CallToolResult {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}
	}
	progress := func(ctx context.Context, req *mcp.CallToolRequest, n int) error {
		return req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: req.Params.GetProgressToken(), Progress: float64(n)})
	}
	type sum struct {
		A int `json:"a"`
		B int `json:"b"`
	}
	mcp.AddTool(s, &mcp.Tool{Name: "add"}, func(_ context.Context, _ *mcp.CallToolRequest, in sum) (*mcp.CallToolResult, any, error) {
		return said(fmt.Sprint(in.A + in.B)), nil, nil
	})
	type walk struct {
		Steps int    `json:"steps"`
		Echo  string `json:"echo,omitempty"`
	}
	mcp.AddTool(s, &mcp.Tool{Name: "walk"}, func(ctx context.Context, req *mcp.CallToolRequest, in walk) (*mcp.CallToolResult, any, error) {
		for n := range in.Steps {
			if err := progress(ctx, req, n+1); err != nil {
				return nil, nil, err
			}
		}
		return said(in.Echo), nil, nil
	})
	cancelled := make(chan struct{}, 1)
	mcp.AddTool(s, &mcp.Tool{Name: "hang"}, func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
		if err := progress(ctx, req, 1); err != nil {
			return nil, nil, err
		}
		<-ctx.Done()
		cancelled <- struct{}{}
		return nil, nil, ctx.Err()
	})
	mcp.AddTool(s, &mcp.Tool{Name: "ask"}, func(_ context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
		given := req.Params.InputResponses
		if len(given) == 0 {
			return &mcp.CallToolResult{RequestState: "state-1", InputRequests: mcp.InputRequestMap{
				"what": &mcp.CreateMessageParams{MaxTokens: 10, Messages: []*mcp.SamplingMessage{{Role: "user", Content: &mcp.TextContent{Text: "what?"}}}},
				"who":  &mcp.ElicitParams{Message: "who?", RequestedSchema: map[string]any{"type": "object", "properties": map[string]any{"name": map[string]any{"type": "string"}}}},
			}}, nil, nil
		}
		var answers struct {
			What struct{ Content struct{ Text string } }
			Who  struct{ Content struct{ Name string } }
		}
		text, err := json.Marshal(given)
		if err == nil {
			err = json.Unmarshal(text, &answers)
		}
		return said(answers.What.Content.Text + ", " + answers.Who.Content.Name), nil, err
	})
	t.Cleanup(func() {
		select {
		case <-cancelled:
		case <-time.After(patience / 6):
			t.Error("the server was not told of the cancelled call")
		}
	})
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s }, &mcp.StreamableHTTPOptions{Stateless: stateless, PropagateRequestCancellation: true})
}
