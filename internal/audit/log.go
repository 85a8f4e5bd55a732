package audit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	maxWaiting = 10_000                 // events of one sink, over which Add blocks
	batchSize  = 1_000                  // events of one Write
	collect    = 50 * time.Millisecond  // how long the first event of a batch waits for others
	pause      = 250 * time.Millisecond // after a failed Write; doubled up to maxPause
	maxPause   = 5 * time.Second
	writeTime  = 30 * time.Second // the deadline of one Write
	lastTries  = 3                // Writes that Close tries of a sink that fails
)

// Log queues events and writes them to its sinks together.
type Log struct {
	lanes []*lane
	close sync.Once
	err   error
}

// New starts a log. Close it to write what is queued. At most 10,000 events
// wait for each sink; when a sink is slower than that, Add blocks (nothing is
// dropped). A batch that a sink refuses is told to onError (nil: nobody) and
// tried again; the other sinks do not wait for it.
func New(onError func(error), sinks ...Sink) *Log {
	if onError == nil {
		onError = func(error) {}
	}
	l := &Log{}
	for _, s := range sinks {
		ln := &lane{
			sink: s, onError: onError,
			first: make(chan struct{}, 1), many: make(chan struct{}, 1),
			flush: make(chan chan error), closing: make(chan struct{}), done: make(chan struct{}),
		}
		ln.room.L = &ln.mu
		l.lanes = append(l.lanes, ln)
		go ln.run()
	}
	return l
}

// Add queues an event, its texts cut to what every sink takes. After Close there
// is nobody to write it: it is told to onError.
func (l *Log) Add(e Event) {
	e.bound(maxWritten)
	for _, ln := range l.lanes {
		ln.add(e)
	}
}

// Flush writes what is queued and returns when it is written, or with the
// error of the first sink's failed Write (the events stay queued).
func (l *Log) Flush(ctx context.Context) error {
	replies := make(chan error, len(l.lanes))
	for _, ln := range l.lanes {
		go func() { replies <- ln.flushed(ctx) }()
	}
	var errs []error
	for range l.lanes {
		errs = append(errs, <-replies)
	}
	return errors.Join(errs...)
}

// Close flushes and stops the log. A sink that keeps failing is tried three
// times; what it did not take is counted in the error.
func (l *Log) Close() error {
	l.close.Do(func() {
		var errs []error
		for _, ln := range l.lanes {
			close(ln.closing)
		}
		for _, ln := range l.lanes {
			<-ln.done
			errs = append(errs, ln.err)
		}
		l.err = errors.Join(errs...)
	})
	return l.err
}

// Waiting is how many events are queued.
func (l *Log) Waiting() int {
	n := 0
	for _, ln := range l.lanes {
		ln.mu.Lock()
		n += len(ln.queue)
		ln.mu.Unlock()
	}
	return n
}

// lane is the queue in front of one sink and the goroutine that empties it.
type lane struct {
	sink    Sink
	onError func(error)

	first   chan struct{} // the queue is no longer empty
	many    chan struct{} // a whole batch waits
	flush   chan chan error
	closing chan struct{}
	done    chan struct{}
	err     error // of the end, readable after done

	mu      sync.Mutex
	room    sync.Cond
	queue   []Event
	stopped bool
}

// add queues the event and then waits while too many are queued, so that even
// the event of a blocked caller is never lost.
func (ln *lane) add(e Event) {
	ln.mu.Lock()
	if ln.stopped {
		ln.mu.Unlock()
		ln.onError(fmt.Errorf("audit: event %s came after the log was closed", e.Action))
		return
	}
	ln.queue = append(ln.queue, e)
	switch len(ln.queue) {
	case 1:
		signal(ln.first)
	case batchSize:
		signal(ln.many)
	}
	for len(ln.queue) > maxWaiting && !ln.stopped {
		ln.room.Wait()
	}
	ln.mu.Unlock()
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (ln *lane) run() {
	defer close(ln.done)
	var due <-chan time.Time
	wait := pause
	for {
		var reply chan error
		select {
		case <-ln.first:
			due = time.After(collect)
			continue
		case <-due:
		case <-ln.many:
		case reply = <-ln.flush:
		case <-ln.closing:
			ln.end()
			return
		}
		err := ln.write()
		if err != nil {
			ln.onError(err)
			due, wait = time.After(wait), min(2*wait, maxPause)
		} else {
			due, wait = ln.rest(), pause
		}
		if reply != nil {
			reply <- err
		}
	}
}

// rest is when to write what was queued during a write, if anything was.
func (ln *lane) rest() <-chan time.Time {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if len(ln.queue) >= batchSize {
		signal(ln.many)
	}
	if len(ln.queue) > 0 {
		return time.After(collect)
	}
	return nil
}

// write writes what is queued now, in batches. Only it takes from the queue.
func (ln *lane) write() error {
	ln.mu.Lock()
	left := len(ln.queue)
	ln.mu.Unlock()
	for left > 0 {
		ln.mu.Lock()
		n := min(left, batchSize)
		batch := ln.queue[:n:n]
		ln.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), writeTime)
		err := ln.sink.Write(ctx, batch)
		cancel()
		if err != nil {
			return fmt.Errorf("audit: %d events wait, the sink does not take them: %w", left, err)
		}
		left -= n
		ln.mu.Lock()
		ln.drop(n)
		ln.room.Broadcast()
		ln.mu.Unlock()
	}
	return nil
}

// drop takes the first n events from the queue. Its memory is used again, unless
// it is more than usual, or so many wait that it would take long to move them.
func (ln *lane) drop(n int) {
	left := len(ln.queue) - n
	switch {
	case left > batchSize:
		ln.queue = ln.queue[n:]
	case left == 0 && cap(ln.queue) > 2*batchSize:
		ln.queue = nil
	default:
		copy(ln.queue, ln.queue[n:])
		clear(ln.queue[left:])
		ln.queue = ln.queue[:left]
	}
}

// flushed asks the goroutine to write and waits for its answer.
func (ln *lane) flushed(ctx context.Context) error {
	reply := make(chan error, 1)
	select {
	case ln.flush <- reply:
	case <-ln.done:
		return ln.err
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-reply:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end takes no more, lets blocked callers of Add go (their events are queued)
// and writes what is left.
func (ln *lane) end() {
	ln.mu.Lock()
	ln.stopped = true
	ln.room.Broadcast()
	ln.mu.Unlock()
	for try := 1; ; try++ {
		err := ln.write()
		if err == nil {
			return
		}
		ln.onError(err)
		if try == lastTries {
			ln.err = fmt.Errorf("audit: %d events were not written: %w", len(ln.queue), err)
			return
		}
		time.Sleep(pause)
	}
}
