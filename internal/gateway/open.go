package gateway

import (
	"net/http"
	"sync"

	"doorward/internal/access"
)

// openPerCaller is the default of Config.OpenPerCaller. A stream that is idle
// costs less than 40 KiB, so that one caller holds 80 MiB at most.
const openPerCaller = 2048

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
	n  map[who]int
}

// add counts one more, unless there are limit already.
func (o *open) add(w who, limit int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.n[w] >= limit {
		return false
	}
	if o.n == nil {
		o.n = map[who]int{}
	}
	o.n[w]++
	return true
}

func (o *open) remove(w who) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.n[w]--; o.n[w] <= 0 {
		delete(o.n, w)
	}
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
	return &refusal{status: http.StatusTooManyRequests, code: codeRefused, reason: "too_many_open", retry: retryOpen,
		message: "too many streams and calls of yours are open; close some, or wait until one ends"}
}

func (x *exchange) leave() {
	if x.entered {
		x.e.g.open.remove(whoIs(x.subject))
	}
}
