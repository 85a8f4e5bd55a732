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
	maxPause   = 30 * time.Second // of our own
	maxAsked   = 10 * time.Minute // that a server may ask for
	maxResumes = 5                // of one call's stream, without an event between
)

// follow reads the stream that answers a call. A stream that ends early is
// taken up again where the server gave its events ids.
func (b *bridge) follow(ctx context.Context, resp *http.Response, m message, sink func(m, of message)) error {
	r := resume{pause: b.c.Backoff}
	quiet := quietPauses * b.c.Backoff
	for tries := 0; ; tries++ {
		before := r.last
		var watch *watched
		if r.again {
			watch = watchBody(resp, quiet)
		}
		answered, err := b.events(resp, &r, m, sink)
		resp.Body.Close()
		if watch.stop() { // it is asked whether there is more
			tries, quiet = 0, min(2*quiet, maxPause)
		}
		switch {
		case answered || ctx.Err() != nil:
			return ctx.Err()
		case isTooLarge(err):
			return err
		case r.last == "" || m.meta().Meta.Version >= stateless: // which has no resumption
			return errCutOff
		case r.last != before:
			tries = 0
		case tries >= maxResumes:
			return wrong("the server's stream ended again and again without the answer")
		}
		if resp, err = b.reopen(ctx, &r); err != nil {
			return err
		}
		if !isStream(resp) {
			return b.notResumed(resp, m, sink)
		}
	}
}

// notResumed is the end of a call whose stream the server does not take up.
func (b *bridge) notResumed(resp *http.Response, m message, sink func(m, of message)) error {
	defer drain(resp)
	if over, _ := lost(resp, b.sessionNow()); over {
		return wrong("the server has forgotten the session in which it worked on this call: nobody knows whether it was done")
	}
	return b.failed(resp, m, sink)
}

// events passes the messages of a stream on until it ends or has answered m.
func (b *bridge) events(resp *http.Response, r *resume, m message, sink func(m, of message)) (answered bool, err error) {
	warned := false
	err = readEvents(resp.Body, b.c.MaxMessage, func(e event) bool {
		r.saw(e)
		if len(e.data) == 0 || string(e.data) == "{}" || e.name != "" && e.name != "message" {
			return true
		}
		if b.replayed.note(e) && r.again {
			return true
		}
		messages, _, err := parseLine(e.data)
		if err != nil {
			if !warned {
				warned = true
				b.c.Logger.Warn("an event of the server is no MCP", "error", err)
			}
			return true
		}
		for _, got := range messages {
			if got.answers(m) {
				answered = true
				if len(got.Error) > 0 {
					got = b.mismatched(m, http.StatusOK, got)
				}
			}
			sink(got, m)
		}
		return !answered
	})
	return answered, err
}

// resume is where a stream is to be taken up again, and when.
type resume struct {
	last  string // id of the last event
	pause time.Duration
	asked time.Duration // pause that the server asked for
	again bool          // it was taken up
}

func (r *resume) saw(e event) {
	if e.id != "" && len(e.id) <= 4096 {
		r.last = e.id
	}
	if e.retry > 0 {
		r.asked = min(e.retry, maxAsked)
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
		r.again = true
		if resp, err = b.get(ctx, r.last); err == nil {
			if resp.StatusCode != http.StatusConflict { // the server still holds the one before
				return resp, nil
			}
			drain(resp)
			err = &statusError{status: resp.StatusCode, server: b.c.URL}
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

func isStream(resp *http.Response) bool {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return resp.StatusCode == http.StatusOK && kind == "text/event-stream"
}

// final is an error that the next attempt would meet, too: no token is to be had.
func final(err error) bool {
	var auth *doorward.Error
	return errors.As(err, &auth) && !auth.Retry
}
