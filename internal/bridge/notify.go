package bridge

import (
	"context"
	"net/http"
	"time"
)

// notifyPatience bounds what the program's next message waits for.
const notifyPatience = 30 * time.Second

// sentPatience is how long a cancellation waits for what it cancels to be sent.
const sentPatience = time.Second

// notify sends what has no answer, and waits until the server has it.
func (b *bridge) notify(m message) {
	ctx, cancel := context.WithTimeout(b.ctx, notifyPatience)
	defer cancel()
	if m.Method == "notifications/initialized" {
		b.mu.Lock()
		b.initialized = m
		b.mu.Unlock()
	}
	status, err := b.tell(ctx, m)
	switch {
	case err != nil:
		b.c.Logger.Warn("not sent", "method", m.Method, "error", err)
		return
	case status >= 300:
		b.c.Logger.Warn("refused", "method", m.Method, "status", status)
		return
	}
	if m.Method == "notifications/initialized" {
		b.startListening()
	}
}

// tell sends what has no answer. A session that is lost is made anew for what
// is news in any session; an answer would mean nothing there.
func (b *bridge) tell(ctx context.Context, m message) (status int, err error) {
	resp, session, err := b.post(ctx, m)
	if err != nil {
		return 0, err
	}
	over, err := lost(resp, session)
	drain(resp)
	if err != nil || !over || m.Method == "" || m.Method == "notifications/cancelled" || m.Method == "notifications/progress" {
		return resp.StatusCode, err
	}
	if err := b.renew(ctx, session); err != nil {
		return 0, err
	}
	if m.Method == "notifications/initialized" { // renew has sent it
		return http.StatusAccepted, nil
	}
	if resp, _, err = b.post(ctx, m); err != nil {
		return 0, err
	}
	drain(resp)
	return resp.StatusCode, nil
}

// cancelled gives a call up. With sessions the server is told; without, the
// end of the request is what tells (MCP 2026-07-28, streamable HTTP).
func (b *bridge) cancelled(m message) {
	p := m.meta()
	b.mu.Lock()
	c, version := b.open[string(p.RequestID)], b.version
	b.mu.Unlock()
	if c != nil {
		c.givenUp.Store(true)
	}
	switch {
	case c == nil && (p.Meta.Version >= stateless || version >= stateless):
		// Answered already, and nothing would be told of it.
	case c == nil:
		b.notify(m)
	case c.wire >= stateless || c.wire == "" || !c.started.Load() || !b.wasSent(c):
		c.cancel()
	default:
		b.notify(m)
		c.cancel()
	}
}

// wasSent waits a little for a call that is just being sent. One that waits for
// a sign-in has not been.
func (b *bridge) wasSent(c *call) bool {
	late := time.NewTimer(sentPatience)
	defer late.Stop()
	select {
	case <-c.sent:
		return true
	case <-late.C:
	case <-c.ctx.Done():
	}
	return false
}
