package bridge

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"regexp"
	"sync"
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

// sessionState is what a program has told a session and what therefore has to
// be told again when there is another.
type sessionState struct {
	level     message            // logging/setLevel
	resources map[string]message // resources/subscribe, by URI
}

// maxSubscriptions bounds those that are told again.
const maxSubscriptions = 1000

func (s *sessionState) note(m message) {
	uri := m.meta().URI
	switch m.Method {
	case "logging/setLevel":
		s.level = m
	case "resources/subscribe":
		if s.resources == nil {
			s.resources = map[string]message{}
		}
		if len(s.resources) < maxSubscriptions {
			s.resources[uri] = m
		}
	case "resources/unsubscribe":
		delete(s.resources, uri)
	}
}

func (s *sessionState) all() []message {
	var all []message
	if len(s.level.raw) > 0 {
		all = append(all, s.level)
	}
	for _, m := range s.resources {
		all = append(all, m)
	}
	return all
}

// aboutSession is how servers say that they do not know a session, if not by 404:
// those made after the TypeScript SDK's example answer 400.
var aboutSession = regexp.MustCompile(`(?i)\bsession\b`)

// lost reports whether the server has forgotten the session that a request
// was sent in.
func lost(resp *http.Response, session string) (bool, error) {
	switch {
	case session == "":
		return false, nil
	case resp.StatusCode == http.StatusNotFound:
		return true, nil
	case resp.StatusCode != http.StatusBadRequest:
		return false, nil
	}
	var e rpcError
	m, err := parse(peek(resp))
	if err != nil || json.Unmarshal(m.Error, &e) != nil {
		return false, nil
	}
	return e.Code == codeServer && aboutSession.MatchString(e.Message), nil
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
	answer, err := b.answerTo(ctx, again)
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
		if err := b.greet(ctx, second); err != nil {
			return err
		}
	}
	b.restore()
	return nil
}

// greet says initialized to a new session, and listens to it.
func (b *bridge) greet(ctx context.Context, m message) error {
	resp, _, err := b.post(ctx, m)
	if err != nil {
		return err
	}
	drain(resp)
	if resp.StatusCode >= 300 {
		return &statusError{status: resp.StatusCode, server: b.c.URL}
	}
	b.startListening()
	return nil
}

// restorePatience bounds what is told again to a new session.
const restorePatience = 10 * time.Second

// restore tells a new session what the program has told the one before.
func (b *bridge) restore() {
	b.mu.Lock()
	all := b.state.all()
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(alone(b.ctx), restorePatience)
	defer cancel()
	for _, m := range all {
		var params json.RawMessage = m.Params
		if answer, err := b.ask(ctx, m.Method, params); err != nil || len(answer.Error) > 0 {
			b.c.Logger.Warn("the new session was not told again", "method", m.Method)
		}
	}
}

// goodbye tells the server of the calls that are given up and ends the session.
func (b *bridge) goodbye() {
	b.mu.Lock()
	session, cut := b.session, b.cut
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(alone(context.WithoutCancel(b.ctx)), goodbyePatience)
	defer cancel()
	b.giveUp(ctx, cut)
	if session == "" {
		return
	}
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

// giveUp cancels calls at the server. There the end of a request is no sign: a
// server with sessions works on.
func (b *bridge) giveUp(ctx context.Context, calls []json.RawMessage) {
	ctx, cancel := context.WithTimeout(ctx, goodbyePatience/2)
	defer cancel()
	var all sync.WaitGroup
	turns := make(chan struct{}, 16)
	for _, id := range calls {
		params, err := json.Marshal(map[string]any{"requestId": id, "reason": "the client has gone"})
		if err != nil {
			continue
		}
		m, err := parse([]byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":` + string(params) + `}`))
		if err != nil {
			continue
		}
		all.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			if resp, _, err := b.post(ctx, m); err == nil {
				drain(resp)
			}
		})
	}
	all.Wait()
}
