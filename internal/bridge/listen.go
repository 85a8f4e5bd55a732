package bridge

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"time"
)

// startListening opens the stream of the server's own messages. Without
// sessions there is none: a call asks for them.
func (b *bridge) startListening() {
	b.stopListening()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.version >= stateless || b.ending {
		return
	}
	ctx, stop := context.WithCancel(alone(b.ctx))
	b.stopStream = stop
	b.calls.Go(func() { b.listen(ctx) })
}

func (b *bridge) stopListening() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopStream()
}

func (b *bridge) sessionNow() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.session
}

// listen holds that stream open for as long as the server has one.
func (b *bridge) listen(ctx context.Context) {
	r := resume{pause: b.c.Backoff}
	session, opened := b.sessionNow(), false
	for ctx.Err() == nil {
		resp, err := b.get(ctx, r.last)
		switch {
		case err != nil && final(err):
			b.c.Logger.Warn("the server's own messages are not heard any more", "error", err)
			return
		case err == nil && isStream(resp):
			opened = true
			b.hear(resp, &r)
			r.again = true
		case err == nil:
			over, _ := lost(resp, session)
			drain(resp)
			if over && opened {
				b.renewUnattended(session)
				return
			}
			if resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests {
				return // 405: it has none
			}
		}
		if r.wait(ctx) != nil {
			return
		}
	}
}

// hear passes on what comes on an open stream.
func (b *bridge) hear(resp *http.Response, r *resume) {
	before, began := r.last, time.Now()
	_, err := b.events(resp, r, message{}, func(m, _ message) { b.pass(m) })
	resp.Body.Close()
	if r.last != before || time.Since(began) > maxPause {
		r.pause = b.c.Backoff
	}
	if isTooLarge(err) {
		b.c.Logger.Warn("a message of the server was dropped", "error", err)
	}
}

// renewUnattended makes a new session in the place of one of which the server's
// own messages came, so that they go on.
func (b *bridge) renewUnattended(session string) {
	ctx, cancel := context.WithTimeout(alone(b.ctx), notifyPatience)
	defer cancel()
	if err := b.renew(ctx, session); err != nil {
		b.c.Logger.Warn("the session is lost; the next call asks for another", "error", err)
	}
}

// subscribe carries subscriptions/listen (MCP 2026-07-28, subscriptions). The
// server keeps nothing of it, so where its stream breaks off it is asked again.
func (b *bridge) subscribe(ctx context.Context, m message, sink func(m, of message)) error {
	r := resume{pause: b.c.Backoff}
	var agreed []byte // the acknowledgement that the program has
	for {
		began, heard := time.Now(), false
		err := b.exchange(ctx, m, func(got, of message) {
			if got.Method != "notifications/subscriptions/acknowledged" {
				heard = true
			} else if bytes.Equal(got.raw, agreed) {
				return
			} else {
				agreed = bytes.Clone(got.raw)
			}
			sink(got, of)
		})
		switch {
		case err == nil || ctx.Err() != nil || agreed == nil || final(err) || !isBroken(err):
			return err
		case heard || time.Since(began) > maxPause:
			r.pause = b.c.Backoff
		}
		if !Unattended(ctx) {
			ctx = alone(ctx)
		}
		if err := r.wait(ctx); err != nil {
			return err
		}
	}
}

// isBroken reports that a stream or the connection under it has ended, in
// contrast to an answer that nobody can use.
func isBroken(err error) bool {
	var status *statusError
	if errors.As(err, &status) {
		return status.status >= 500 || status.status == http.StatusTooManyRequests
	}
	return errors.Is(err, errCutOff) || !errors.As(err, new(*wireError))
}
