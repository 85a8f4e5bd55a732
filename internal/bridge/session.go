package bridge

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"time"
)

// goodbyePatience bounds the end of a session, which nobody waits for gladly.
const goodbyePatience = 1500 * time.Millisecond

// began notes the session of an initialize.
func (b *bridge) began(m message, session string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.initialize, b.session = m, session
}

// renew makes a new session in the place of one that the server has forgotten
// (MCP, session management: 404), as the program's first one was made.
func (b *bridge) renew(ctx context.Context, over string) error {
	b.renewing.Lock()
	defer b.renewing.Unlock()
	b.mu.Lock()
	now, first, second, version := b.session, b.initialize, b.initialized, b.version
	b.mu.Unlock()
	if now != over {
		return nil // another call was first
	}
	id, err := json.Marshal("doorward-" + rand.Text())
	if err != nil {
		return err
	}
	again, err := first.with(id)
	if err != nil {
		return err
	}
	var answer message
	resp, _, err := b.post(ctx, again)
	if err != nil {
		return err
	}
	err = b.receive(ctx, resp, again, func(m, call message) {
		if m.answers(call) {
			answer = m
		} else {
			b.deliver(m, call)
		}
	})
	// What is kept for the next time is the program's own message.
	b.mu.Lock()
	b.initialize = first
	b.mu.Unlock()
	if err != nil {
		return err
	}
	var result struct {
		Version string `json:"protocolVersion"`
	}
	if len(answer.Error) > 0 || json.Unmarshal(answer.Result, &result) != nil || result.Version != version {
		return wrong("the server has forgotten the session and makes no other like it: start this connection again")
	}
	if len(second.raw) > 0 {
		b.notify(second)
	}
	return nil
}

// goodbye ends the session at the server.
func (b *bridge) goodbye() {
	b.mu.Lock()
	session := b.session
	b.mu.Unlock()
	if session == "" {
		return
	}
	ctx, cancel := context.WithTimeout(alone(context.WithoutCancel(b.ctx)), goodbyePatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, b.c.URL, nil)
	if err != nil {
		return
	}
	b.wire(req, message{})
	resp, err := b.c.HTTP.Do(req)
	if err != nil {
		b.c.Logger.Info("the session was not ended at the server", "error", err)
		return
	}
	drain(resp)
}
