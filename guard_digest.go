package doorward

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"

	"doorward/internal/dpop"
	"doorward/internal/oauth"
)

// digestedBodies counts the bytes of bodies that are in memory because a proof
// names their digest. The zero value has none.
type digestedBodies struct {
	mu sync.Mutex
	of map[digestedFor]int64
}

// digestedFor is whose bodies are counted together.
type digestedFor struct{ issuer, subject string }

// hold counts n more bytes, unless they are too many.
func (b *digestedBodies) hold(who digestedFor, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of[who]+n > maxDigestedOfCaller {
		return false
	}
	if b.of == nil {
		b.of = map[digestedFor]int64{}
	}
	b.of[who] += n
	return true
}

func (b *digestedBodies) release(who digestedFor, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if left := b.of[who] - n; left > 0 {
		b.of[who] = left
	} else {
		delete(b.of, who)
	}
}

// countedBody is a body whose bytes are counted as they come.
type countedBody struct {
	io.Reader
	bodies *digestedBodies
	who    digestedFor
	n      int64
}

var errDigestedTooMuch = errors.New("the bodies of this caller's open requests are too large together")

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if n > 0 && !b.bodies.hold(b.who, int64(n)) {
		return 0, errDigestedTooMuch
	}
	b.n += int64(n)
	return n, err
}

func (b *countedBody) over() { b.bodies.release(b.who, b.n) }

// checkDigest compares the body with what the proof says of it, and puts it
// back. Whoever serves the Guard may bound the body by less (http.MaxBytesReader).
// The body stays in memory until over is called.
func (g *Guard) checkDigest(p dpop.Proof, r *http.Request, c *Caller) (over func(), refusal *oauth.Error) {
	if !p.HasDigest() {
		return nil, nil
	}
	if r.Body == nil {
		return nil, p.CheckBody(nil)
	}
	counted := &countedBody{Reader: io.LimitReader(r.Body, maxDigested+1), bodies: &g.proofs.bodies, who: digestedFor{c.Issuer, c.Subject}}
	var body []byte
	var err error
	if r.ContentLength <= maxDigested {
		body, err = io.ReadAll(counted)
	}
	var bounded *http.MaxBytesError
	switch {
	case errors.As(err, &bounded):
		return counted.over, &oauth.Error{Code: oauth.InvalidRequest, Status: http.StatusRequestEntityTooLarge, Reason: "body_too_large",
			Description: "the request body is larger than this server takes", Err: err}
	case errors.Is(err, errDigestedTooMuch):
		return counted.over, &oauth.Error{Code: oauth.TooManyRequests, Status: http.StatusTooManyRequests, Reason: "too_many_open",
			Description: "the bodies of your open requests are too large together; wait until one ends", Err: err}
	case err != nil || max(r.ContentLength, int64(len(body))) > maxDigested:
		return counted.over, dpop.Refuse(dpop.ReasonBody, "the body cannot be read, or is too large to be compared with content_digest", err)
	}
	rest := r.Body
	r.Body = struct {
		io.Reader
		io.Closer
	}{bytes.NewReader(body), rest}
	return counted.over, p.CheckBody(body)
}
