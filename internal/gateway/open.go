package gateway

import (
	"errors"
	"io"
	"net/http"
	"sync"

	"doorward/internal/access"
)

// openPerCaller is the default of Config.OpenPerCaller. A stream that is idle
// costs less than 40 KiB beside its message, so that one caller holds 80 MiB at
// most, and bodiesPerCaller.
const openPerCaller = 2048

// bodiesPerCaller bounds the messages of one caller's open exchanges together, in
// bytes. They are kept until the exchange ends, since http.Transport keeps the
// request for as long as its answer is read.
const bodiesPerCaller = 64 << 20

// retryOpen is the Retry-After of who has too much open, in seconds: as soon as
// an answer of theirs ends the next is taken.
const retryOpen = "5"

// who is whose exchanges are counted together: a person with whatever clients,
// or a client that acts for itself. A client that many people use is not bounded,
// since one of them would keep out the others.
type who struct{ person, client string }

func whoIs(s access.Subject) who {
	if s.Person != "" {
		return who{person: s.Person}
	}
	return who{client: s.Client}
}

// open counts the exchanges that are open. The zero value has none.
type open struct {
	mu sync.Mutex
	of map[who]share
}

// share is what one caller has open.
type share struct {
	n     int
	bytes int64 // of the messages
}

// add counts one more, unless there are limit already.
func (o *open) add(w who, limit int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.of[w]
	if s.n >= limit {
		return false
	}
	if o.of == nil {
		o.of = map[who]share{}
	}
	s.n++
	o.of[w] = s
	return true
}

// hold counts bytes of a message of one that was added, unless there were more
// than limit then.
func (o *open) hold(w who, bytes, limit int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.of[w]
	if s.bytes+bytes > limit {
		return false
	}
	s.bytes += bytes
	o.of[w] = s
	return true
}

// remove takes one away that was added, with all that it held.
func (o *open) remove(w who, bytes int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.of[w]
	s.n--
	s.bytes -= bytes
	if s.n <= 0 {
		delete(o.of, w)
		return
	}
	o.of[w] = s
}

// enter counts the exchange from before its body is read, so that bodies that
// never end count, too.
func (x *exchange) enter() *refusal {
	limit := x.e.g.c.OpenPerCaller
	if limit < 0 {
		return nil
	}
	if x.entered = x.e.g.open.add(whoIs(x.subject), limit); x.entered {
		return nil
	}
	return tooManyOpen("too many streams and calls of yours are open; close some, or wait until one ends")
}

func tooManyOpen(message string) *refusal {
	return &refusal{status: http.StatusTooManyRequests, code: codeRefused, reason: "too_many_open", retry: retryOpen, message: message}
}

// errHoldsTooMuch is what the body of a caller reads as whose messages have no
// room any more.
var errHoldsTooMuch = errors.New("the messages of your open streams and calls are too large together; close some, or wait until one ends")

// hold counts bytes of the body, before there is memory for them. One body
// always fits.
func (x *exchange) hold(bytes int64) error {
	if !x.entered {
		return nil
	}
	if !x.e.g.open.hold(whoIs(x.subject), bytes, max(bodiesPerCaller, x.e.g.c.BodyLimit)) {
		return errHoldsTooMuch
	}
	x.held += bytes
	return nil
}

func (x *exchange) leave() {
	if x.entered {
		x.e.g.open.remove(whoIs(x.subject), x.held)
	}
}

// heldBody is a body of unknown length, which is counted as it comes.
type heldBody struct {
	io.ReadCloser
	x *exchange
}

func (b heldBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if full := b.x.hold(int64(n)); full != nil {
		return 0, full
	}
	return n, err
}
