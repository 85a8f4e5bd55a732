package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"runtime"
	"strings"
	"time"

	"doorward"
)

// added is what a Transport that holds a token adds to a request: the CPU time
// of one goroutine, and allocations.
type added struct {
	bare, ours float64 // µs
	allocs     float64
}

const (
	addedGoal       = 2.0 // µs
	addedAllocsGoal = 3.0
	addedCalls      = 2000 // of a round
)

// wire is a network without a network: an MCP server, its authorization server
// and the metadata of both, in one function.
type wire struct{ answer http.Response }

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		req.Body.Close()
	}
	switch {
	case req.URL.Path == "/mcp" && req.Header.Get("Authorization") == "":
		return &http.Response{StatusCode: http.StatusUnauthorized, Header: http.Header{"Www-Authenticate": {"Bearer"}}, Body: http.NoBody}, nil
	case req.URL.Path == "/mcp":
		return &w.answer, nil
	}
	document := map[string]string{
		"/.well-known/oauth-protected-resource/mcp": `{"resource":"https://mcp.example/mcp","authorization_servers":["https://mcp.example"]}`,
		"/.well-known/oauth-authorization-server":   `{"issuer":"https://mcp.example","token_endpoint":"https://mcp.example/token"}`,
		"/token": `{"access_token":"a.token.of.some.length","token_type":"Bearer","expires_in":86400}`,
	}[req.URL.Path]
	status := http.StatusOK
	if document == "" {
		status = http.StatusNotFound
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(document))}, nil
}

// client measures requests through the Transport and without it in turn; the
// least of the rounds counts.
func client(rounds int) (added, error) {
	bare := &wire{answer: http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody}}
	ours := &doorward.Transport{Base: bare, Flow: &doorward.ClientCredentials{Client: doorward.Credentials{ID: "bench", Secret: "secret"}}}
	a := added{bare: math.Inf(1), ours: math.Inf(1), allocs: math.Inf(1)}
	for range rounds {
		without, few, err := calls(bare, "Bearer a.token.of.some.length")
		if err != nil {
			return a, err
		}
		with, many, err := calls(ours, "")
		if err != nil {
			return a, err
		}
		a.bare, a.ours, a.allocs = min(a.bare, without), min(a.ours, with), min(a.allocs, many-few)
	}
	return a, nil
}

// calls are what one of many calls took, in µs and allocations.
func calls(rt http.RoundTripper, authorization string) (took, allocs float64, err error) {
	body := bytes.NewReader([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}`))
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "https://mcp.example/mcp", body)
	if err != nil {
		return 0, 0, err
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"},
		"Mcp-Session-Id": {"0123456789abcdef"}, "Mcp-Protocol-Version": {"2025-11-25"}}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	call := func() error {
		_, _ = body.Seek(0, io.SeekStart)
		resp, err := rt.RoundTrip(req)
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("a call was answered with %d", resp.StatusCode)
		}
		return resp.Body.Close()
	}
	if err := call(); err != nil { // which also gets the token
		return 0, 0, err
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	for range addedCalls {
		if err := call(); err != nil {
			return 0, 0, err
		}
	}
	spent := time.Since(start)
	runtime.ReadMemStats(&after)
	return float64(spent.Nanoseconds()) / 1000 / addedCalls, float64(after.Mallocs-before.Mallocs) / addedCalls, nil
}

func (a added) markdown() string {
	return fmt.Sprintf("\n| a request of a client, no network | bare | with `Transport` | added | goal |\n|---|--:|--:|--:|--:|\n"+
		"| with a token that is held | %.2f µs | %.2f µs | **%.2f µs**, %.0f allocations | %.0f µs, %.0f allocations |\n",
		a.bare, a.ours, a.ours-a.bare, a.allocs, addedGoal, addedAllocsGoal)
}
