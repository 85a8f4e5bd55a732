package stdio

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"
)

// maxGrants bounds the grants that one session is tied to: the latest ones.
const maxGrants = 16

// session is one client's conversation with one process.
type session struct {
	s     *Server
	id    string
	owner string
	p     *process
	out   *outbox // what waits for the stream of a GET

	mu      sync.Mutex
	ended   bool
	over    chan struct{}    // closed when it ended
	pending map[string]*call // requests of the client, by the key of their id
	calls   int              // that there were
	stream  *stream          // of the latest GET; nil: none is open
	using   int              // exchanges
	used    time.Time        // when the last of them ended
	idle    *time.Timer
	grants  []grant
}

// call is a request that waits for its answer.
type call struct {
	message
	n      int
	events bool // its POST takes an event stream
	out    *outbox
}

// stream is an open GET.
type stream struct{ replaced chan struct{} }

// grant is one that the session was used under.
type grant struct {
	id     string
	forget func()
}

// begin starts a session in a process of its own; its first request is
// initialize. The place that reserve took is given back or filled.
func (s *Server) begin(owner string) (*session, error) {
	if err := s.reserve(owner); err != nil {
		return nil, err
	}
	one := &session{s: s, id: rand.Text(), owner: owner, out: newOutbox(), over: make(chan struct{}), pending: map[string]*call{}, using: 1}
	one.idle = time.AfterFunc(s.c.Idle, func() { one.endIdle() })
	one.idle.Stop()
	started := make(chan struct{})
	p, err := s.start(func(line []byte) { <-started; one.receive(line) }, func(why string) { <-started; one.broke(why) })
	if err != nil {
		s.release(owner, nil)
		s.procs.Done()
		return nil, err
	}
	one.p = p
	s.release(owner, one) // it may end from here on
	close(started)
	s.mu.Lock()
	closed := s.closed // while it started: Close has not seen it
	s.mu.Unlock()
	if closed {
		one.end(errClosed.Error())
		return nil, errClosed
	}
	p.voice.log.Debug("the process of an MCP server started")
	return one, nil
}

// enter counts an exchange that begins, under a grant; false: the session has ended.
func (one *session) enter(id string) bool {
	one.mu.Lock()
	if one.ended {
		one.mu.Unlock()
		return false
	}
	one.using++
	one.idle.Stop()
	one.mu.Unlock()
	one.tie(id)
	return true
}

// leave counts one that is over.
func (one *session) leave() {
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.using--; one.using == 0 && !one.ended {
		one.used = one.s.c.Now()
		one.idle.Reset(one.s.c.Idle)
	}
}

// tie makes the session end with the grant.
func (one *session) tie(id string) {
	if one.s.c.OnEnd == nil || id == "" {
		return
	}
	one.mu.Lock()
	for _, g := range one.grants {
		if g.id == id {
			one.mu.Unlock()
			return
		}
	}
	one.mu.Unlock()
	forget := one.s.c.OnEnd(id, func() { one.end("the permission ended") })
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.ended {
		forget()
		return
	}
	if one.grants = append(one.grants, grant{id, forget}); len(one.grants) > maxGrants {
		one.grants[0].forget()
		one.grants = one.grants[1:]
	}
}

func (one *session) idleSince() (time.Time, bool) {
	one.mu.Lock()
	defer one.mu.Unlock()
	return one.used, one.using == 0
}

func (one *session) endIdle() {
	if _, idle := one.idleSince(); idle {
		one.end("nobody used it")
	}
}

// broke ends a session whose process did not end because of us.
func (one *session) broke(why string) {
	one.mu.Lock()
	ended := one.ended
	one.mu.Unlock()
	if !ended {
		one.p.voice.log.Warn("the process of an MCP server can serve no longer", "cause", why)
	}
	one.end(why)
}

// end ends the session and its process, and answers what waits.
func (one *session) end(why string) {
	one.mu.Lock()
	if one.ended {
		one.mu.Unlock()
		return
	}
	one.ended = true
	pending, grants := one.pending, one.grants
	one.pending, one.grants = nil, nil
	one.idle.Stop()
	close(one.over)
	one.mu.Unlock()
	one.s.forget(one)
	for _, g := range grants {
		g.forget()
	}
	for _, c := range pending {
		c.out.putLast(errorMessage(c.id, codeInternal, one.s.lost(why)))
	}
	one.p.stop()
	one.p.voice.log.Debug("the session of an MCP server ended", "cause", why)
}

func (s *Server) lost(why string) string {
	return fmt.Sprintf("the session with the MCP server %s ended: %s", s.c.Name, why)
}

var (
	errEnded    = errors.New("the session has ended")
	errSameID   = errors.New("a request with this id is still being worked on")
	errManyOpen = errors.New("too many requests of this session are being worked on")
	errNotRead  = errors.New("the MCP server does not read what it is sent; try again later")
)

// ask sends a request to the process. The answer comes through the call's
// outbox, the last message in it.
func (one *session) ask(m message, events bool) (*call, error) {
	c := &call{message: m, events: events, out: newOutbox()}
	id := key(m.id)
	one.mu.Lock()
	switch {
	case one.ended:
		one.mu.Unlock()
		return nil, errEnded
	case one.pending[id] != nil:
		one.mu.Unlock()
		return nil, errSameID
	case len(one.pending) >= maxWaiting:
		one.mu.Unlock()
		return nil, errManyOpen
	}
	one.calls++
	c.n = one.calls
	one.pending[id] = c
	one.mu.Unlock()
	if !one.p.queue.put(m.raw) {
		one.drop(c)
		return nil, errNotRead
	}
	return c, nil
}

// tell sends a notification or a response to the process.
func (one *session) tell(m message) error {
	if !one.p.queue.put(m.raw) {
		return errNotRead
	}
	if m.cancel == "" {
		return nil
	}
	// A server does not answer what was cancelled (MCP, cancellation), and the
	// client does not look at an answer.
	one.mu.Lock()
	c := one.pending[m.cancel]
	delete(one.pending, m.cancel)
	one.mu.Unlock()
	if c != nil {
		c.out.putLast(errorMessage(c.id, codeCancelled, "cancelled by the client"))
	}
	return nil
}

// drop forgets a call whose client is not there any more. What was on its way
// there, but for an answer, goes to the stream of a GET.
func (one *session) drop(c *call) {
	one.mu.Lock()
	id := key(c.id)
	waits := one.pending[id] == c
	if waits {
		delete(one.pending, id)
	}
	one.mu.Unlock()
	if waits {
		for _, m := range c.out.take() {
			one.out.put(m.raw)
		}
	}
}

// receive finds the way of a line of the process.
func (one *session) receive(line []byte) {
	m, err := parseMessage(line)
	if err != nil {
		one.p.voice.say("an MCP server wrote what is no message", line)
		return
	}
	if m.isResponse() {
		one.mu.Lock()
		c := one.pending[key(m.id)]
		delete(one.pending, key(m.id))
		one.mu.Unlock()
		if c != nil { // else it was cancelled, or the client went away
			c.out.putLast(m.raw)
		}
		return
	}
	if one.way(m).put(m.raw) {
		return
	}
	one.p.voice.say("nobody reads what an MCP server sends: dropped", []byte(m.method))
	if m.isRequest() {
		one.p.queue.put(errorMessage(m.id, codeInternal, "the client does not take requests now"))
	}
}

// way is where a request or notification of the process goes.
func (one *session) way(m message) *outbox {
	one.mu.Lock()
	defer one.mu.Unlock()
	var latest *call
	for _, c := range one.pending {
		if !c.events {
			continue
		}
		if m.token != "" && c.token == m.token && !m.isRequest() {
			return c.out
		}
		if latest == nil || c.n > latest.n {
			latest = c
		}
	}
	if one.stream == nil && latest != nil {
		return latest.out
	}
	return one.out
}

// open makes a GET the stream of the session, in the place of one before.
func (one *session) open() *stream {
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.stream != nil {
		close(one.stream.replaced)
	}
	one.stream = &stream{replaced: make(chan struct{})}
	one.out.signal()
	return one.stream
}

func (one *session) close(st *stream) {
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.stream == st {
		one.stream = nil
	}
}

// initialize is the first request. It may not take longer than Config.Start.
func (one *session) initialize(ctx context.Context, m message) ([]byte, error) {
	c, err := one.ask(m, false)
	if err != nil {
		return nil, err
	}
	late := time.NewTimer(one.s.c.Start)
	defer late.Stop()
	select {
	case <-c.out.more:
		all := c.out.take()
		return all[len(all)-1].raw, nil
	case <-late.C:
		return nil, fmt.Errorf("it did not answer to initialize within %s", one.s.c.Start)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
