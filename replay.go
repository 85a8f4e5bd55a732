package doorward

import (
	"bytes"
	"io"
	"net/http"
	"time"
)

// maxReplay is how much of a body is buffered so that it can be sent again.
const maxReplay = 4 << 20

// replay gives a request's body as often as it can.
type replay struct {
	length int64
	body   io.ReadCloser                 // what is sent next, unless it was
	get    func() (io.ReadCloser, error) // what is sent after it; nil: nothing
	empty  bool                          // there is no body, so it can be sent for ever
}

// newReplay takes over the body of a request. It is sent as it is the first
// time; after that the caller's GetBody has it, or a buffer.
func newReplay(req *http.Request) (replay, error) {
	r := replay{length: req.ContentLength, body: req.Body, get: req.GetBody}
	switch {
	case r.body == nil || r.body == http.NoBody:
		r.empty = true
		return r, nil
	case r.get != nil || r.length > maxReplay:
		return r, nil
	}
	return r, r.buffer()
}

// buffer reads the body, so that there is a copy, unless it is too long.
func (r *replay) buffer() error {
	source := r.body
	data, err := io.ReadAll(io.LimitReader(source, maxReplay+1))
	if err != nil {
		source.Close()
		return err
	}
	if len(data) > maxReplay {
		r.body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(data), source), source}
		return nil
	}
	r.length = int64(len(data))
	r.get = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
	r.body, _ = r.get()
	return source.Close()
}

// again reports whether the body can be sent once more.
func (r *replay) again() bool { return r.empty || r.get != nil }

// next is the body of the next request, which closes it.
func (r *replay) next() (io.ReadCloser, error) {
	if r.empty {
		return r.body, nil
	}
	if body := r.body; body != nil || r.get == nil {
		r.body = nil
		return body, nil
	}
	return r.get()
}

// close closes a body that was never sent.
func (r *replay) close() {
	if r.body != nil {
		r.body.Close()
	}
}

// drain makes the connection reusable if that costs little, and closes it
// otherwise: a refusal may come with a body without end, or one that never comes.
func drain(resp *http.Response) {
	if resp.ContentLength > 0 && resp.ContentLength <= 64<<10 {
		late := time.AfterFunc(time.Second, func() { resp.Body.Close() })
		_, _ = io.Copy(io.Discard, resp.Body)
		late.Stop()
	}
	resp.Body.Close()
}
