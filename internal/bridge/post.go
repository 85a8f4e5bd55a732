package bridge

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"

	"doorward"
)

// call is a request of the program that is under way.
type call struct {
	message
	ctx    context.Context
	cancel context.CancelFunc
	reply  func(raw []byte)
	wire   string        // the revision that it is sent in; empty: none is known yet
	sent   chan struct{} // closed when the server has it
	once   sync.Once     // closes sent
	given  atomic.Bool   // an answer was given, or none is to come

	started atomic.Bool // its turn has come
	givenUp atomic.Bool // the program wants no answer any more
}

// begin notes a call, so that whatever the program says next can be about it.
func (b *bridge) begin(m message, reply func(raw []byte)) *call {
	c := &call{message: m, reply: reply, wire: m.meta().Meta.Version, sent: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(b.ctx)
	b.calls.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.wire == "" {
		c.wire = b.version
	}
	b.open[string(m.ID)] = c
	return c
}

// run sends a call when its turn has come and brings its answer, or the error
// in its place. One that was given up has no answer.
func (b *bridge) run(c *call) {
	defer b.calls.Done()
	defer c.cancel()
	defer b.finish(c)
	select {
	case b.slots <- struct{}{}:
		defer func() { <-b.slots }()
		c.started.Store(true)
	case <-c.ctx.Done():
		return
	}
	err := b.carry(c)
	if errors.Is(err, ErrUnattended) { // it met the flight of a request of ours
		err = b.carry(c)
	}
	if err != nil && c.ctx.Err() == nil {
		text, data := explain(err)
		c.give(refusal(c.ID, codeServer, text, data))
	}
}

func (c *call) give(raw []byte) {
	if c.given.CompareAndSwap(false, true) {
		c.reply(raw)
	}
}

// finish forgets a call.
func (b *bridge) finish(c *call) {
	b.mu.Lock()
	if b.open[string(c.ID)] == c {
		delete(b.open, string(c.ID))
	}
	if !c.given.Load() && b.ctx.Err() != nil && c.wire < stateless && c.hasLeft() && c.Method != "initialize" {
		b.cut = append(b.cut, c.ID)
	}
	b.mu.Unlock()
	c.give(nil)
}

func (c *call) hasLeft() bool {
	select {
	case <-c.sent:
		return true
	default:
		return false
	}
}

// carry exchanges a call and gives the program what comes back.
func (b *bridge) carry(c *call) error {
	trace := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { c.once.Do(func() { close(c.sent) }) }}
	ctx := httptrace.WithClientTrace(c.ctx, trace)
	sink := func(m, of message) {
		if m.answers(of) {
			b.answer(c, m)
		} else {
			b.pass(m)
		}
	}
	if c.Method == "subscriptions/listen" {
		return b.subscribe(ctx, c.message, sink)
	}
	return b.exchange(ctx, c.message, sink)
}

// answer gives a call its answer.
func (b *bridge) answer(c *call, m message) {
	if m = b.learned(m, c.message); c.givenUp.Load() { // some servers answer all the same
		c.give(nil)
	} else {
		c.give(m.raw)
	}
}

// pass gives the program what came beside an answer. Servers that replay too
// much answer calls on streams of others, too: such a call is over, and
// nothing more would come where it waits.
func (b *bridge) pass(m message) {
	if m.Method != "" {
		b.write(m.raw)
		return
	}
	b.mu.Lock()
	c := b.open[string(m.ID)]
	b.mu.Unlock()
	if c != nil { // else it is an answer to nobody
		b.answer(c, m)
		c.cancel()
	}
}

// learned takes from an answer what later messages need.
func (b *bridge) learned(m, of message) message {
	if len(m.Error) > 0 {
		return m
	}
	wire := of.meta().Meta.Version
	if wire >= stateless {
		b.modern.Store(true)
	}
	switch of.Method {
	case "initialize":
		b.agreed(m)
	case "tools/list":
		if bad := b.tools.learn(m.Result); wire >= stateless && len(bad) > 0 {
			b.c.Logger.Warn("tools with x-mcp-header where it may not be are left out", "tools", bad)
			return m.withoutTools(bad)
		}
	case "logging/setLevel", "resources/subscribe", "resources/unsubscribe":
		b.mu.Lock()
		b.state.note(of)
		b.mu.Unlock()
	}
	return m
}

// errCutOff is a stream that ended without the answer, and cannot be resumed.
var errCutOff = wrong("the server's stream ended without the answer")

// reads are the methods that may be sent again when it is not known what has
// become of them: they change nothing, or to the same state.
var reads = map[string]bool{
	"ping": true, "server/discover": true, "completion/complete": true, "logging/setLevel": true,
	"tools/list": true, "prompts/list": true, "prompts/get": true, "resources/list": true, "resources/templates/list": true,
	"resources/read": true, "resources/subscribe": true, "resources/unsubscribe": true,
	"tasks/get": true, "tasks/list": true, "tasks/result": true,
}

// exchange sends a request and passes what comes back to sink until its answer
// has. A session that the server has forgotten is made anew, once; so are the
// headers of a tool that has changed.
func (b *bridge) exchange(ctx context.Context, m message, sink func(m, of message)) error {
	renewed, relearned, again := false, false, false
	for {
		resp, session, err := b.post(ctx, m)
		if err != nil {
			return err
		}
		if over, err := lost(resp, session); err != nil {
			return err
		} else if over && !renewed {
			renewed = true
			drain(resp)
			if err := b.renew(ctx, session); err != nil {
				return err
			}
			continue
		}
		if !relearned && m.Method == "tools/call" && isHeaderMismatch(resp) {
			relearned = true
			if b.relearn(ctx, m) {
				drain(resp)
				continue
			}
		}
		err = b.receive(ctx, resp, m, sink)
		if errors.Is(err, errCutOff) && reads[m.Method] && !again && ctx.Err() == nil {
			again = true
			continue
		}
		return err
	}
}

// dials is how often a server that was there before is tried again.
const dials = 3

// post sends one message. session is the one that it was sent in. While the
// server cannot be reached nothing was sent, so it is tried again.
func (b *bridge) post(ctx context.Context, m message) (resp *http.Response, session string, err error) {
	pause := resume{pause: b.c.Backoff}
	for try := 1; ; try++ {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.c.URL, bytes.NewReader(m.raw))
		if err != nil {
			return nil, "", err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		if reads[m.Method] {
			req.Header["Idempotency-Key"] = nil // lets net/http send it again; the header itself is not sent
		}
		session = b.wire(req, m)
		if resp, err = b.c.HTTP.Do(req); err == nil {
			b.reached.Store(true)
			return resp, session, nil
		}
		if try > dials || !b.reached.Load() || ctx.Err() != nil || !isUnsent(err) && !reads[m.Method] || final(err) {
			return nil, session, err
		}
		if pause.wait(ctx) != nil {
			return nil, session, err
		}
	}
}

// isUnsent reports that no connection was to be had.
func isUnsent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" && !errors.As(err, new(*doorward.Error))
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
		req.Header.Set("Mcp-Protocol-Version", headerValue(version))
	}
	if version >= stateless {
		if m.Method != "" {
			req.Header.Set("Mcp-Method", headerValue(m.Method))
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
