package stdio

import "sync"

// Bounds of what waits for somebody who does not read.
const (
	maxWaiting      = 256
	maxWaitingBytes = 16 << 20
)

// item is one of the messages that wait; last ends what the reader waits for.
type item struct {
	raw  []byte
	last bool
}

// outbox are messages that wait for the one who takes them.
type outbox struct {
	more chan struct{} // has an element when there is something to take

	mu      sync.Mutex
	waiting []item
	bytes   int
}

func newOutbox() *outbox { return &outbox{more: make(chan struct{}, 1)} }

// put adds a message, unless too much waits already.
func (o *outbox) put(m []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting) >= maxWaiting || o.bytes+len(m) > maxWaitingBytes && len(o.waiting) > 0 {
		return false
	}
	o.add(item{raw: m})
	return true
}

// putLast adds the message that ends it all, whatever waits.
func (o *outbox) putLast(m []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.add(item{m, true})
}

func (o *outbox) add(m item) {
	o.waiting = append(o.waiting, m)
	o.bytes += len(m.raw)
	o.signal()
}

func (o *outbox) signal() {
	select {
	case o.more <- struct{}{}:
	default:
	}
}

// take returns all that waits.
func (o *outbox) take() []item {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := o.waiting
	o.waiting, o.bytes = nil, 0
	return all
}
