package bridge

import (
	"context"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"time"

	"doorward/internal/oauth"
)

// receive reads the answer to a request, whichever of its forms it has.
func (b *bridge) receive(ctx context.Context, resp *http.Response, m message, sink func(m, of message)) error {
	defer drain(resp)
	if m.Method == "initialize" && resp.StatusCode == http.StatusOK {
		b.began(m, resp.Header.Get("Mcp-Session-Id"))
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case resp.StatusCode >= 300 || resp.StatusCode < 200:
		return b.failed(resp, m, sink)
	case kind == "text/event-stream":
		return b.follow(ctx, resp, m, sink)
	case kind == "application/json":
		text, err := b.body(resp)
		if err != nil {
			return err
		}
		return b.answered(resp.StatusCode, text, m, sink)
	}
	return wrong("the server answered %s with content type %q instead of JSON or an event stream", resp.Status, oauth.Printable(kind))
}

// answered passes on what a server answered in one piece.
func (b *bridge) answered(status int, text []byte, m message, sink func(m, of message)) error {
	messages, _, err := parseLine(text)
	if err != nil {
		return wrong("the server's answer is no MCP: %v", err)
	}
	found := false
	for _, got := range messages {
		if len(got.ID) == 0 && len(got.Error) > 0 { // it did not know whose
			if got, err = got.with(m.ID); err != nil {
				return err
			}
		}
		if got.answers(m) {
			found = true
			if len(got.Error) > 0 {
				got = b.mismatched(m, status, got)
			}
		} else if len(messages) == 1 {
			break
		}
		sink(got, m)
	}
	if !found {
		return wrong("the server answered another call than this")
	}
	return nil
}

func (b *bridge) body(resp *http.Response) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(resp.Body, int64(b.c.MaxMessage)+1))
	if err == nil && len(text) > b.c.MaxMessage {
		err = wrong("the server's answer is larger than the %d bytes that this bridge carries", b.c.MaxMessage)
	}
	return text, err
}

// maxRefusal bounds what is read of a refusal.
const maxRefusal = 1 << 20

// failed passes a JSON-RPC error on, under the id of the call, and makes one of
// anything else.
func (b *bridge) failed(resp *http.Response, m message, sink func(m, of message)) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	if err == nil {
		if answer, err := parse(text); err == nil && answer.Method == "" && len(answer.Error) > 0 {
			if answer, err = answer.with(m.ID); err == nil {
				sink(b.mismatched(m, resp.StatusCode, answer), m)
				return nil
			}
		}
	}
	e := &statusError{status: resp.StatusCode, server: b.c.URL, location: redirected(resp), wires: b.maybeStateful(m, resp.StatusCode)}
	for _, c := range oauth.ParseChallenges(resp.Header.Values("WWW-Authenticate")) {
		if code := oauth.Printable(c.Params["error"]); code != "" && e.code == "" {
			e.code, e.says = code, oauth.Printable(c.Params["error_description"])
		}
	}
	return e
}

// sameServer follows a redirect that keeps the method and stays at the server.
func sameServer(req *http.Request, via []*http.Request) error {
	first := via[0]
	if req.Method != first.Method || req.URL.Scheme != first.URL.Scheme || req.URL.Host != first.URL.Host || len(via) > 3 {
		return http.ErrUseLastResponse
	}
	return nil
}

// drain closes a body, after a little of it so that the connection can be used
// again. A body that is slow to end is not waited for.
func drain(resp *http.Response) {
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != "text/event-stream" {
		slow := time.AfterFunc(100*time.Millisecond, func() { resp.Body.Close() })
		io.CopyN(io.Discard, resp.Body, 64<<10)
		slow.Stop()
	}
	resp.Body.Close()
}

// agreed takes the version of initialize's result.
func (b *bridge) agreed(m message) {
	var result struct {
		Version string `json:"protocolVersion"`
	}
	if json.Unmarshal(m.Result, &result) != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.version = result.Version
}
