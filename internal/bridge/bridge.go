// Package bridge carries MCP between a program that speaks it over stdin and
// stdout and a server that speaks streamable HTTP: both the wire with sessions
// (MCP 2025-03-26 to 2025-11-25) and the one without (2026-07-28).
//
// It owns the wire and nothing of authorization: the http.Client that it is
// given gets the tokens, and what goes wrong there comes back as the JSON-RPC
// error of the call. Read [Run] first.
package bridge

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
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
	// Backoff is the first pause before a stream is opened again; each further
	// one is twice as long, up to 30 seconds. 0: 1 second.
	Backoff time.Duration
	// Linger is how long calls may still be answered after the end of In.
	// 0: 3 seconds, since clients wait 5 before they kill.
	Linger time.Duration
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
	tools toolHeaders

	out sync.Mutex // on Config.Out

	renewing sync.Mutex // one new session at a time

	mu          sync.Mutex
	session     string // Mcp-Session-Id
	version     string // that initialize agreed on
	initialize  message
	initialized message
	stopStream  context.CancelFunc
	open        map[string]context.CancelFunc // calls, by id
}

// errOver ends a run as its input's end does.
var errOver = errors.New("the input ended")

// Run carries messages until In ends, ctx is done or Out is gone. The end of In
// and of ctx are no errors.
func Run(ctx context.Context, c Config) error {
	b := newBridge(ctx, c)
	defer b.stop(errOver)
	lines := b.read()
	for b.ctx.Err() == nil {
		select {
		case <-b.ctx.Done():
		case line, more := <-lines:
			if !more {
				return b.end()
			}
			b.take(line)
		}
	}
	return b.end()
}

func newBridge(ctx context.Context, c Config) *bridge {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = 16 << 20
	}
	if c.Backoff == 0 {
		c.Backoff = time.Second
	}
	if c.Linger == 0 {
		c.Linger = 3 * time.Second
	}
	client := *c.HTTP
	client.CheckRedirect = sameServer
	c.HTTP = &client
	b := &bridge{c: c, open: map[string]context.CancelFunc{}, stopStream: func() {}}
	b.ctx, b.stop = context.WithCancelCause(ctx)
	return b
}

// take handles one line. Calls run beside each other; what a server must have
// seen before the rest (initialize, notifications, answers) is waited for.
func (b *bridge) take(line line) {
	if line.tooLong {
		b.write(refusal(nil, codeInvalid, "the message is larger than this bridge carries", nil))
		return
	}
	m, err := parse(line.text)
	if err != nil {
		b.write(refusal(nil, codeParse, err.Error(), nil))
		return
	}
	switch {
	case m.Method == "initialize" && m.isCall():
		b.calls.Add(1)
		b.call(m)
	case m.isCall():
		b.calls.Add(1)
		go b.call(m)
	case m.Method == "notifications/cancelled":
		b.cancelled(m)
	default:
		b.notify(m)
	}
}

// end waits for what is under way, closes the session and says why the run is over.
func (b *bridge) end() error {
	b.stopListening()
	waited := make(chan struct{})
	go func() { b.calls.Wait(); close(waited) }()
	select {
	case <-waited:
	case <-b.ctx.Done():
		<-waited
	}
	cause := context.Cause(b.ctx)
	b.stop(errOver)
	b.goodbye()
	if cause == nil || errors.Is(cause, errOver) || errors.Is(cause, context.Canceled) {
		return nil
	}
	return cause
}

// line is one message of the program, or the remark that it was too long.
type line struct {
	text    []byte
	tooLong bool
}

// read brings the lines of In. Their end bounds the rest of the run.
func (b *bridge) read() <-chan line {
	lines := make(chan line)
	go func() {
		defer close(lines)
		r := bufio.NewReaderSize(b.c.In, 64<<10)
		for {
			l, err := readLine(r, b.c.MaxMessage)
			if len(l.text) > 0 || l.tooLong {
				select {
				case lines <- l:
				case <-b.ctx.Done():
					return
				}
			}
			if err != nil {
				time.AfterFunc(b.c.Linger, func() { b.stop(errOver) })
				return
			}
		}
	}()
	return lines
}

// readLine reads up to a line feed; of a line that is too long, nothing is kept.
func readLine(r *bufio.Reader, most int) (line, error) {
	var l line
	for {
		part, err := r.ReadSlice('\n')
		if l.tooLong = l.tooLong || len(l.text)+len(part) > most+1; l.tooLong {
			l.text = nil
		} else {
			l.text = append(l.text, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		l.text = trim(l.text)
		return l, err
	}
}

// write puts one message on one line of Out. When Out is gone, so is the
// program, and the run ends.
func (b *bridge) write(text []byte) {
	b.out.Lock()
	defer b.out.Unlock()
	if _, err := b.c.Out.Write(append(text, '\n')); err != nil {
		b.stop(err)
	}
}
