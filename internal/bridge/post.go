package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"doorward/internal/oauth"
)

// stateless is the first revision without sessions and without a stream of the
// server's own.
const stateless = "2026-07-28"

// notifyPatience bounds what the program's next message waits for.
const notifyPatience = 30 * time.Second

// call sends a request and brings its answer, or the error in its place.
func (b *bridge) call(m message) {
	defer b.calls.Done()
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	b.mu.Lock()
	b.open[string(m.ID)] = cancel
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.open, string(m.ID))
		b.mu.Unlock()
	}()
	err := b.exchange(ctx, m, b.deliver)
	if errors.Is(err, ErrUnattended) { // it met the flight of a request of ours
		err = b.exchange(ctx, m, b.deliver)
	}
	if err != nil && ctx.Err() == nil {
		text, data := explain(err)
		b.write(refusal(m.ID, codeServer, text, data))
	}
}

// exchange sends a request and passes what comes back to sink until its answer
// has. A session that the server has forgotten is made anew, once.
func (b *bridge) exchange(ctx context.Context, m message, sink func(m, call message)) error {
	resp, session, err := b.post(ctx, m)
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusNotFound && session != "" {
		drain(resp)
		if err := b.renew(ctx, session); err != nil {
			return err
		}
		if resp, _, err = b.post(ctx, m); err != nil {
			return err
		}
	}
	return b.receive(ctx, resp, m, sink)
}

// post sends one message. session is the one that it was sent in.
func (b *bridge) post(ctx context.Context, m message) (resp *http.Response, session string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.c.URL, bytes.NewReader(m.raw))
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	session = b.wire(req, m)
	resp, err = b.c.HTTP.Do(req)
	return resp, session, err
}

// wire sets the headers of the protocol (MCP, transports): of the session, or,
// where each message says its own version, what the message is.
func (b *bridge) wire(req *http.Request, m message) (session string) {
	b.mu.Lock()
	version, session := b.version, b.session
	b.mu.Unlock()
	p := m.meta()
	switch {
	case m.Method == "initialize":
		return ""
	case p.Meta.Version != "":
		version = p.Meta.Version
	}
	if version != "" {
		req.Header.Set("Mcp-Protocol-Version", version)
	}
	if version >= stateless {
		if m.Method != "" {
			req.Header.Set("Mcp-Method", m.Method)
			if name := p.named(m.Method); name != "" {
				req.Header.Set("Mcp-Name", headerValue(name))
			}
		}
		if m.Method == "tools/call" {
			b.tools.set(req.Header, p)
		}
		return ""
	}
	if session != "" {
		req.Header.Set("Mcp-Session-Id", session)
	}
	return session
}

// receive reads the answer to a request, whichever of its forms it has.
func (b *bridge) receive(ctx context.Context, resp *http.Response, m message, sink func(m, call message)) error {
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
		answer, err := parse(text)
		if err != nil {
			return wrong("the server's answer is no MCP: %v", err)
		}
		if len(answer.ID) == 0 && len(answer.Error) > 0 { // it did not know whose
			answer, _ = answer.with(m.ID)
		}
		if !answer.answers(m) {
			return wrong("the server answered another call than this")
		}
		sink(answer, m)
		return nil
	}
	return wrong("the server answered %s with content type %q instead of JSON or an event stream", resp.Status, oauth.Printable(kind))
}

func (b *bridge) body(resp *http.Response) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(resp.Body, int64(b.c.MaxMessage)+1))
	if err == nil && len(text) > b.c.MaxMessage {
		err = wrong("the server's answer is larger than the %d bytes that this bridge carries", b.c.MaxMessage)
	}
	return text, err
}

// failed passes a JSON-RPC error on, under the id of the call, and makes one of
// anything else.
func (b *bridge) failed(resp *http.Response, m message, sink func(m, call message)) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil {
		if answer, err := parse(text); err == nil && answer.Method == "" && len(answer.Error) > 0 {
			if answer, err = answer.with(m.ID); err == nil {
				sink(answer, m)
				return nil
			}
		}
	}
	e := &statusError{status: resp.StatusCode, server: b.c.URL}
	for _, c := range oauth.ParseChallenges(resp.Header.Values("WWW-Authenticate")) {
		for _, name := range []string{"error", "error_description"} {
			if says := oauth.Printable(c.Params[name]); says != "" {
				e.says = strings.TrimPrefix(e.says+": "+says, ": ")
			}
		}
	}
	return e
}

// deliver gives the program what the server sent, after learning from it what
// later messages need.
func (b *bridge) deliver(m, call message) {
	if m.answers(call) {
		switch call.Method {
		case "initialize":
			b.agreed(m)
		case "tools/list":
			b.tools.learn(m.Result)
		}
	}
	b.write(m.raw)
}

// notify sends what has no answer, and waits until the server has it.
func (b *bridge) notify(m message) {
	ctx, cancel := context.WithTimeout(b.ctx, notifyPatience)
	defer cancel()
	resp, _, err := b.post(ctx, m)
	if err != nil {
		b.c.Logger.Warn("not sent", "method", m.Method, "error", err)
		return
	}
	drain(resp)
	if resp.StatusCode >= 300 {
		b.c.Logger.Warn("refused", "method", m.Method, "status", resp.StatusCode)
		return
	}
	if m.Method == "notifications/initialized" {
		b.mu.Lock()
		b.initialized = m
		b.mu.Unlock()
		b.startListening()
	}
}

// cancelled tells the server and gives the call up: without sessions the end of
// its request is what tells.
func (b *bridge) cancelled(m message) {
	p := m.meta()
	b.mu.Lock()
	cancel := b.open[string(p.RequestID)]
	version := b.version
	b.mu.Unlock()
	if p.Meta.Version != "" {
		version = p.Meta.Version
	}
	if cancel != nil && (version >= stateless || version == "") {
		cancel()
	}
	b.notify(m)
	if cancel != nil {
		cancel()
	}
}

// sameServer follows a redirect that keeps the method and stays at the server.
func sameServer(req *http.Request, via []*http.Request) error {
	first := via[0]
	if req.Method != first.Method || req.URL.Scheme != first.URL.Scheme || req.URL.Host != first.URL.Host || len(via) > 3 {
		return http.ErrUseLastResponse
	}
	return nil
}

// drain closes a body, after a little of it so that the connection can be used again.
func drain(resp *http.Response) {
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != "text/event-stream" {
		io.CopyN(io.Discard, resp.Body, 64<<10)
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
