package bridge

import (
	"context"
	"errors"
	"math/rand/v2"
	"mime"
	"net/http"
	"time"

	"doorward"
)

const (
	maxPause   = 30 * time.Second
	maxResumes = 5 // of one call's stream, without an event between
)

// follow reads the stream that answers a call. A stream that ends early is
// taken up again where the server gave its events ids.
func (b *bridge) follow(ctx context.Context, resp *http.Response, m message, sink func(m, call message)) error {
	r := resume{pause: b.c.Backoff}
	for tries := 0; ; tries++ {
		before := r.last
		answered, err := b.events(resp, &r, m, sink)
		resp.Body.Close()
		switch {
		case answered || ctx.Err() != nil:
			return ctx.Err()
		case isTooLarge(err):
			return err
		case r.last == "":
			return wrong("the server's stream ended without the answer")
		case r.last != before:
			tries = 0
		case tries >= maxResumes:
			return wrong("the server's stream ended again and again without the answer")
		}
		if resp, err = b.reopen(ctx, &r); err != nil {
			return err
		}
		if !isStream(resp) {
			defer drain(resp)
			return b.failed(resp, m, sink)
		}
	}
}

// events passes the messages of a stream on until it ends or has answered m.
func (b *bridge) events(resp *http.Response, r *resume, m message, sink func(m, call message)) (answered bool, err error) {
	err = readEvents(resp.Body, b.c.MaxMessage, func(e event) bool {
		r.saw(e)
		if len(e.data) == 0 || e.name != "" && e.name != "message" {
			return true
		}
		got, err := parse(e.data)
		if err != nil {
			b.c.Logger.Warn("an event of the server is no MCP", "error", err)
			return true
		}
		sink(got, m)
		answered = got.answers(m)
		return !answered
	})
	return answered, err
}

// resume is where a stream is to be taken up again, and when.
type resume struct {
	last  string // id of the last event
	pause time.Duration
	asked time.Duration // pause that the server asked for
}

func (r *resume) saw(e event) {
	if e.id != "" && len(e.id) <= 4096 {
		r.last = e.id
	}
	if e.retry > 0 {
		r.asked = min(e.retry, maxPause)
	}
}

// wait pauses: as long as the server asked for, else longer each time.
func (r *resume) wait(ctx context.Context) error {
	pause := r.asked
	if pause == 0 {
		pause = r.pause + rand.N(r.pause/2+1)
		r.pause = min(2*r.pause, maxPause)
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reopen takes a call's stream up again.
func (b *bridge) reopen(ctx context.Context, r *resume) (resp *http.Response, err error) {
	for range maxResumes {
		if err := r.wait(ctx); err != nil {
			return nil, err
		}
		if resp, err = b.get(ctx, r.last); err == nil {
			return resp, nil
		}
		if final(err) {
			break
		}
	}
	return nil, err
}

// get opens a stream of the session.
func (b *bridge) get(ctx context.Context, last string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.c.URL, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	b.wire(req, message{})
	return b.c.HTTP.Do(req)
}

// startListening opens the stream of the server's own messages. Without
// sessions there is none: a call asks for them.
func (b *bridge) startListening() {
	b.stopListening()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.version >= stateless {
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

// listen holds that stream open for as long as the server has one.
func (b *bridge) listen(ctx context.Context) {
	r := resume{pause: b.c.Backoff}
	for ctx.Err() == nil {
		resp, err := b.get(ctx, r.last)
		switch {
		case err != nil && final(err):
			b.c.Logger.Warn("the server's own messages are not heard any more", "error", err)
			return
		case err == nil && isStream(resp):
			before := r.last
			began := time.Now()
			_, err = b.events(resp, &r, message{}, b.deliver)
			resp.Body.Close()
			if r.last != before || time.Since(began) > maxPause {
				r.pause = b.c.Backoff
			}
			if isTooLarge(err) {
				b.c.Logger.Warn("a message of the server was dropped", "error", err)
			}
		case err == nil:
			drain(resp)
			if resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests {
				// 405: it has none; 404: the session is over, and the next call makes another.
				return
			}
		}
		if r.wait(ctx) != nil {
			return
		}
	}
}

func isStream(resp *http.Response) bool {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return resp.StatusCode == http.StatusOK && kind == "text/event-stream"
}

// final is an error that the next attempt would meet, too: no token is to be had.
func final(err error) bool {
	var auth *doorward.Error
	return errors.As(err, &auth) && !auth.Retry
}
