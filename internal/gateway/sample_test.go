package gateway_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"doorward/internal/access"
	"doorward/internal/gateway"
	"doorward/internal/ledger"
	"doorward/internal/sample"
)

func sampleServer() gateway.Server {
	return gateway.Server{
		Path: "/mcp", Name: "Sample", Handler: sample.New(),
		Scopes:        map[string]string{sample.ScopeRead: "Read", sample.ScopeWrite: "Keep notes"},
		DefaultScopes: []string{sample.ScopeRead},
		Implies:       map[string][]string{sample.ScopeWrite: {sample.ScopeRead}},
		Tools:         map[string][]string{"note": {sample.ScopeWrite}},
		Rules: access.Rules{Name: "servers.sample", Allow: []access.Rule{{Who: []string{"everyone"}}},
			Deny: []access.Rule{{Who: []string{"person:corp/bob"}, Tools: []string{"note"}}}},
	}
}

// bearer adds a token; it counts refusals.
type bearer struct {
	token   string
	refused atomic.Int32
}

func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	r.Header.Set("Doorward-Subject", "corp/mallory")
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && resp.StatusCode == http.StatusForbidden {
		b.refused.Add(1)
	}
	return resp, err
}

func connect(t *testing.T, url string, b *bearer, version string) *mcp.ClientSession {
	t.Helper()
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	s, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: b}, MaxRetries: -1},
		&mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func tools(t *testing.T, s *mcp.ClientSession) (names []string) {
	t.Helper()
	list, err := s.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
	}
	slices.Sort(names)
	return names
}

// call returns the structured answer of a tool.
func callTool(t *testing.T, s *mcp.ClientSession, tool string, args any) (map[string]any, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	res, err := s.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: args})
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(res.StructuredContent)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil || res.IsError {
		t.Fatalf("%s: %v %+v", tool, err, res)
	}
	return m, nil
}

// A real client of each wire, through the gateway, to a server in this process.
// covers: RS-TOK-12
func TestSampleWithARealClient(t *testing.T) {
	for _, version := range []string{"2025-06-18", "2025-11-25", "2026-07-28"} {
		t.Run(version, func(t *testing.T) {
			r := newRig(t, map[string]gateway.Server{"sample": sampleServer()})
			_, token := r.grant("alice", "/mcp", sample.ScopeWrite)
			s := connect(t, r.url+"/mcp", &bearer{token: token}, version)
			if got := s.InitializeResult().ProtocolVersion; got != version {
				t.Errorf("speaks %s", got)
			}
			if got := tools(t, s); !slices.Equal(got, []string{"note", "whoami"}) {
				t.Errorf("alice sees %q", got)
			}
			who, err := callTool(t, s, "whoami", nil)
			if err != nil || who["subject"] != "corp/alice" || who["client"] != "desktop" || len(who["scopes"].([]any)) != 2 {
				t.Errorf("whoami: %v %v", who, err)
			}
			for i := range 2 {
				notes, err := callTool(t, s, "note", map[string]any{"text": "hello"})
				if err != nil || len(notes["notes"].([]any)) != i+1 {
					t.Errorf("note: %v %v", notes, err)
				}
			}
			_, other := r.grant("carol", "/mcp", sample.ScopeWrite)
			c := connect(t, r.url+"/mcp", &bearer{token: other}, version)
			if notes, err := callTool(t, c, "note", map[string]any{"text": "mine"}); err != nil || len(notes["notes"].([]any)) != 1 {
				t.Errorf("carol has somebody's notes: %v %v", notes, err)
			}
			_, bobs := r.grant("bob", "/mcp", sample.ScopeWrite)
			b := connect(t, r.url+"/mcp", &bearer{token: bobs}, version)
			if got := tools(t, b); !slices.Equal(got, []string{"whoami"}) {
				t.Errorf("bob sees %q", got)
			}
			if _, err := callTool(t, b, "note", map[string]any{"text": "x"}); err == nil || !strings.Contains(err.Error(), "refused by rule servers.sample.deny[0]") {
				t.Errorf("bob notes: %v", err)
			}
		})
	}
}

// covers: RS-CHAL-06
func TestSampleNeedsItsScope(t *testing.T) {
	r := newRig(t, map[string]gateway.Server{"sample": sampleServer()})
	_, token := r.grant("alice", "/mcp", sample.ScopeRead)
	b := &bearer{token: token}
	s := connect(t, r.url+"/mcp", b, "2026-07-28")
	if _, err := callTool(t, s, "whoami", nil); err != nil {
		t.Error(err)
	}
	if _, err := callTool(t, s, "note", map[string]any{"text": "x"}); err == nil || b.refused.Load() == 0 {
		t.Errorf("without the scope: %v, %d refusals", err, b.refused.Load())
	}
}

// The session of a server in this process is its owner's too, and its stream
// ends with the grant.
// covers: SEC-25, RS-TR-05
func TestSampleSession(t *testing.T) {
	r := newRig(t, map[string]gateway.Server{"sample": sampleServer()})
	id, alice := r.grant("alice", "/mcp", sample.ScopeRead)
	_, bob := r.grant("bob", "/mcp", sample.ScopeRead)
	initialize := `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`
	resp, body := r.do(http.MethodPost, "/mcp", alice, initialize)
	session := resp.Header.Get("Mcp-Session-Id")
	if resp.StatusCode != 200 || !strings.Contains(session, ".") || !strings.Contains(body, "doorward-sample") {
		t.Fatalf("%d %q %s", resp.StatusCode, session, body)
	}
	ping := `{"jsonrpc":"2.0","id":2,"method":"ping"}`
	for token, status := range map[string]int{alice: 200, bob: 404} {
		if resp, body := r.do(http.MethodPost, "/mcp", token, ping, "Mcp-Session-Id", session, "Mcp-Protocol-Version", "2025-11-25"); resp.StatusCode != status {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/mcp", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Authorization": {"Bearer " + alice}, "Accept": {"text/event-stream"}, "Mcp-Session-Id": {session}, "Mcp-Protocol-Version": {"2025-11-25"}}
	stream, err := http.DefaultTransport.RoundTrip(req)
	if err != nil || stream.StatusCode != 200 {
		t.Fatal(stream, err)
	}
	defer stream.Body.Close()
	if _, err := r.ledger.End(t.Context(), ledger.Which{Grant: id}, "test"); err != nil {
		t.Fatal(err)
	}
	closed := make(chan bool)
	go func() {
		buf := make([]byte, 100)
		for _, err := stream.Body.Read(buf); err == nil; _, err = stream.Body.Read(buf) {
		}
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(time.Second):
		t.Error("the stream is still open")
	}
}

// The extensions that the gateway brings stand in the answer of a real server,
// and a client that opted into none of them is served as well.
// covers: REV-14
func TestExtensionsAreAdvertised(t *testing.T) {
	const ema = "io.modelcontextprotocol/enterprise-managed-authorization"
	s := sampleServer()
	s.Extensions = []string{ema}
	r := newRig(t, map[string]gateway.Server{"sample": s})
	_, token := r.grant("alice", "/mcp", sample.ScopeRead)
	meta := `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}`
	ask := func(method string) string {
		resp, body := r.do(http.MethodPost, "/mcp", token, `{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":{`+meta+`}}`,
			"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", method)
		if resp.StatusCode != 200 {
			t.Fatalf("%s: %d %s", method, resp.StatusCode, body)
		}
		return body
	}
	var answer struct {
		Result struct {
			Capabilities struct {
				Tools      json.RawMessage            `json:"tools"`
				Extensions map[string]json.RawMessage `json:"extensions"`
			} `json:"capabilities"`
		} `json:"result"`
	}
	body := ask("server/discover")
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Result.Capabilities.Extensions[ema] == nil || answer.Result.Capabilities.Tools == nil {
		t.Errorf("%v: %s", err, body)
	}
	if body := ask("tools/list"); !strings.Contains(body, "whoami") || strings.Contains(body, ema) {
		t.Error(body)
	}
}
