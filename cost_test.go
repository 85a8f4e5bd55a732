package doorward

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"
)

// wire answers every request with 200 and costs nothing.
type wire struct {
	answer http.Response
	sent   []string // the last Authorization
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		req.Body.Close()
	}
	w.answer.StatusCode, w.sent = http.StatusOK, req.Header["Authorization"]
	return &w.answer, nil
}

// bare is a transport without a network.
func bare() (*http.Transport, *wire) {
	t, w := &http.Transport{}, &wire{answer: http.Response{Header: http.Header{}, Body: http.NoBody}}
	t.RegisterProtocol("http", w)
	return t, w
}

// holding is a Transport over base that has a token for the server at address.
func holding(base http.RoundTripper, req *http.Request) *Transport {
	t := &Transport{Flow: &ClientCredentials{Client: Credentials{ID: "c", Secret: "s"}}, Base: base}
	server := addressOf(req.URL)
	g := t.grantFor(target{server: server.String(), covers: "http://127.0.0.1/mcp", issuer: "https://as.example"}, server, "")
	now := time.Now()
	g.held = held{access: "token", header: []string{"Bearer token"}, made: now, expires: now.Add(time.Hour)}
	t.state.addresses.put(now, originOf(req.URL), reach{loopback: true}, time.Time{})
	return t
}

// toolCall is what an MCP client sends. Its body is read again and again.
func toolCall(tb testing.TB) (*http.Request, *bytes.Reader) {
	body := bytes.NewReader([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}`))
	req, err := http.NewRequest(http.MethodPost, "http://127.0.0.1/mcp?tenant=1", body)
	if err != nil {
		tb.Fatal(err)
	}
	for name, value := range map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
		"Mcp-Session-Id": "0123456789abcdef", "Mcp-Protocol-Version": "2025-11-25", "User-Agent": "agent"} {
		req.Header.Set(name, value)
	}
	return req, body
}

func send(tb testing.TB, rt http.RoundTripper, req *http.Request, body *bytes.Reader) {
	_, _ = body.Seek(0, io.SeekStart)
	resp, err := rt.RoundTrip(req)
	if err != nil {
		tb.Fatal(err)
	}
	resp.Body.Close()
}

// A request with a living token costs a copy of the request and of its header.
func TestAllocationsOfARequest(t *testing.T) {
	base, w := bare()
	req, body := toolCall(t)
	tr := holding(base, req)
	without := testing.AllocsPerRun(200, func() { send(t, base, req, body) })
	with := testing.AllocsPerRun(200, func() { send(t, tr, req, body) })
	if with-without > 3 {
		t.Errorf("%v allocations, %v over the bare transport: more than 3", with, with-without)
	}
	if len(w.sent) != 1 || w.sent[0] != "Bearer token" || req.Header.Get("Authorization") != "" {
		t.Errorf("sent %q, and the caller's request has %q", w.sent, req.Header.Get("Authorization"))
	}
}

// make bench prints the difference of these two.
func BenchmarkRoundTrip(b *testing.B) {
	base, _ := bare()
	req, body := toolCall(b)
	for name, rt := range map[string]http.RoundTripper{"bare": base, "doorward": holding(base, req)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				send(b, rt, req, body)
			}
		})
	}
}
