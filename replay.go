package doorward

import (
	"bytes"
	"io"
	"net/http"
)

// maxReplay is how much of a body is buffered so that it can be sent again.
const maxReplay = 4 << 20

// replay gives a request's body as often as it can.
type replay struct {
	length int64
	get    func() (io.ReadCloser, error) // nil: it can be sent once only
	once   io.ReadCloser
}

// newReplay takes over the body of a request: the caller's GetBody, else a
// buffer, else the body itself, once.
func newReplay(req *http.Request) (*replay, error) {
	body := req.Body
	r := &replay{length: req.ContentLength}
	switch {
	case body == nil || body == http.NoBody:
		r.get = func() (io.ReadCloser, error) { return body, nil }
		return r, nil
	case req.GetBody != nil:
		r.get = req.GetBody
		return r, body.Close()
	case req.ContentLength > maxReplay:
		r.once = body
		return r, nil
	}
	buffer, err := io.ReadAll(io.LimitReader(body, maxReplay+1))
	if err != nil {
		body.Close()
		return nil, err
	}
	if len(buffer) > maxReplay {
		r.once = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(buffer), body), body}
		return r, nil
	}
	r.length = int64(len(buffer))
	r.get = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buffer)), nil }
	return r, body.Close()
}

// again reports whether the body can be sent once more.
func (r *replay) again() bool { return r.get != nil }

// next is the body of the next request, which closes it.
func (r *replay) next() (io.ReadCloser, error) {
	if r.get != nil {
		return r.get()
	}
	body := r.once
	r.once = nil
	return body, nil
}

// close closes a body that was never sent.
func (r *replay) close() {
	if r.once != nil {
		r.once.Close()
	}
}

// drain makes the connection reusable if that costs little, and closes it
// otherwise: a refusal may come with a body without end.
func drain(resp *http.Response) {
	if resp.ContentLength > 0 && resp.ContentLength <= 64<<10 {
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	resp.Body.Close()
}
