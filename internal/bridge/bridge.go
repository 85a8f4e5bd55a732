// Package bridge carries MCP between a program that speaks it over stdin and
// stdout and a server that speaks streamable HTTP: both the wire with sessions
// (MCP 2025-03-26 to 2025-11-25) and the one without (2026-07-28).
//
// It owns the wire and nothing of authorization: the http.Client that it is
// given gets the tokens, and what goes wrong there comes back as the JSON-RPC
// error of the call. Read [Run] first.
package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Config is one connection.
type Config struct {
	// URL of the MCP server.
	URL string
	// HTTP carries the requests; its Transport adds the tokens. It must have no
	// Timeout: streams stay open.
	HTTP *http.Client
	// In and Out are the program's side: one JSON-RPC message on each line.
	// Nothing else is ever written to Out.
	In  io.Reader
	Out io.Writer
	// Logger gets what has no call to answer. nil: nothing is logged.
	Logger *slog.Logger
	// MaxMessage bounds one message, in bytes, either way. 0: 16 MiB.
	MaxMessage int
	// MaxCalls bounds the calls that are at the server at once; further ones
	// wait their turn. 0: 256.
	MaxCalls int
	// Backoff is the first pause before a stream is opened again; each further
	// one is twice as long, up to 30 seconds. 0: 1 second.
	Backoff time.Duration
	// Linger is how long calls may still be answered after the end of In.
	// 0: 3 seconds, since clients wait about as long before they signal.
	Linger time.Duration
	// Idle is called, once each time, when nothing was carried for IdleAfter.
	// nil: nothing is.
	Idle func()
	// IdleAfter is that time. 0: 5 seconds.
	IdleAfter time.Duration
}

// ErrUnattended is what a function that opens a browser should return for a
// context that is [Unattended]; calls that met it by accident are tried again.
var ErrUnattended = errors.New("nobody is waiting for this: the next call will ask for the sign-in")

type unattended struct{}

// Unattended reports whether a request is the bridge's own (a stream that is
// opened again, the end of a session), for which nobody should be asked to sign in.
func Unattended(ctx context.Context) bool { return ctx.Value(unattended{}) != nil }

func alone(ctx context.Context) context.Context { return context.WithValue(ctx, unattended{}, true) }

// bridge is one run.
type bridge struct {
	c     Config
	ctx   context.Context
	stop  context.CancelCauseFunc
	calls sync.WaitGroup // requests and the stream that are under way
	slots chan struct{}  // a place for each call at the server
	room  chan struct{}  // for the messages that are held, in blocks
	tools toolHeaders

	replayed recent

	out   sync.Mutex  // on Config.Out
	quiet *time.Timer // calls Config.Idle

	renewing sync.Mutex  // one new session at a time
	reached  atomic.Bool // the server has answered something
	modern   atomic.Bool // the server has answered a call without sessions

	mu          sync.Mutex
	session     string // Mcp-Session-Id
	version     string // that initialize agreed on
	initialize  message
	initialized message
	state       sessionState
	stopStream  context.CancelFunc
	ending      bool
	open        map[string]*call  // by id
	cut         []json.RawMessage // ids of calls with sessions that the end cut off
}

// errOver ends a run as its input's end does.
var errOver = errors.New("the input ended")

// Run carries messages until In ends, ctx is done or Out is gone. The end of In
// and of ctx are no errors.
func Run(ctx context.Context, c Config) error {
	b := newBridge(ctx, c)
	defer b.stop(errOver)
	defer b.quiet.Stop()
	lines := b.read()
	for {
		select {
		case <-b.ctx.Done():
			return b.end()
		case line, more := <-lines:
			if !more {
				return b.end()
			}
			b.take(line)
		}
	}
}

func newBridge(ctx context.Context, c Config) *bridge {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = 16 << 20
	}
	if c.MaxCalls == 0 {
		c.MaxCalls = 256
	}
	if c.Backoff == 0 {
		c.Backoff = time.Second
	}
	if c.Linger == 0 {
		c.Linger = 3 * time.Second
	}
	if c.IdleAfter == 0 {
		c.IdleAfter = 5 * time.Second
	}
	if c.Idle == nil {
		c.Idle = func() {}
	}
	client := *c.HTTP
	client.CheckRedirect = sameServer
	c.HTTP = &client
	b := &bridge{c: c, open: map[string]*call{}, stopStream: func() {}}
	b.slots = make(chan struct{}, c.MaxCalls)
	b.room = make(chan struct{}, 2*blocks(c.MaxMessage)+32*c.MaxCalls)
	b.ctx, b.stop = context.WithCancelCause(ctx)
	b.quiet = time.AfterFunc(c.IdleAfter, c.Idle)
	return b
}

// take handles one line. Calls and answers run beside each other; what a server
// must have seen before the rest (initialize, notifications) is waited for.
func (b *bridge) take(l line) {
	b.quiet.Reset(b.c.IdleAfter)
	if l.tooLong {
		b.write(refusal(l.id, codeInvalid, "the message is larger than this bridge carries", nil))
		return
	}
	messages, isBatch, err := parseLine(l.text)
	if err != nil {
		b.leave(l.held)
		b.write(refusal(nil, codeParse, err.Error(), nil))
		return
	}
	if isBatch {
		b.takeBatch(messages, l)
		return
	}
	m := messages[0]
	done := func() { b.leave(l.held) }
	if m.isCall() && l.crowded {
		b.write(crowded(m.ID))
		done()
		return
	}
	b.handle(m, func(raw []byte) {
		if raw != nil {
			b.write(raw)
		}
		done()
	})
}

// handle carries one message. reply is called once: with the answer to a call,
// or with nil when there is none or no more to come.
func (b *bridge) handle(m message, reply func(raw []byte)) {
	switch {
	case m.isCall():
		c := b.begin(m, reply)
		if m.Method == "initialize" {
			b.run(c)
		} else {
			go b.run(c)
		}
	case m.Method == "notifications/cancelled":
		b.cancelled(m)
		reply(nil)
	case m.Method != "":
		b.notify(m)
		reply(nil)
	default:
		b.calls.Go(func() {
			b.notify(m)
			reply(nil)
		})
	}
}

// endPatience is what calls get to end when the run is over: more than the
// program reads its output for is not to be had.
const endPatience = 300 * time.Millisecond

// end waits for what is under way, closes the session and says why the run is over.
func (b *bridge) end() error {
	b.mu.Lock()
	b.ending = true
	b.mu.Unlock()
	b.stopListening()
	waited := make(chan struct{})
	go func() { b.calls.Wait(); close(waited) }()
	select {
	case <-waited:
	case <-b.ctx.Done():
		// A program that has gone without closing its side leaves a write that
		// never ends.
		select {
		case <-waited:
		case <-time.After(endPatience):
		}
	}
	cause := context.Cause(b.ctx)
	b.stop(errOver)
	b.goodbye()
	if cause == nil || errors.Is(cause, errOver) || errors.Is(cause, context.Canceled) {
		return nil
	}
	return cause
}

// write puts one message on one line of Out. When Out is gone, so is the
// program, and the run ends.
func (b *bridge) write(text []byte) {
	b.quiet.Reset(b.c.IdleAfter)
	b.out.Lock()
	defer b.out.Unlock()
	if _, err := b.c.Out.Write(append(text, '\n')); err != nil {
		b.stop(err)
	}
}
