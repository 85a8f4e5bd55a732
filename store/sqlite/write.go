package sqlite

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"doorward/store"
)

const (
	groupCommits = 256              // commits that share a transaction
	groupBytes   = 8 << 20          // bytes of values in them
	logFrames    = 2000             // pages in the log that are moved into the file
	lockTime     = 30 * time.Second // how long another process may hold the lock

	lingerAfter  = 8                // commits that shared the last transaction, for the next one to wait for others
	lingerEnough = 64               // commits that need not wait for more
	lingerTime   = time.Millisecond // how long it waits
)

// request is a commit, or a step of a sweep, that waits for the writer.
type request struct {
	ops   []store.Op
	bytes int                      // of the values
	more  func(*transaction) error // what is done after all commits of the transaction

	// claimed decides between the writer that starts it and the caller whose
	// context ends: exactly one of them gets it.
	claimed atomic.Bool
	done    chan error // buffered, 1
}

// Commit implements store.Store. If ctx ends before the commit had its turn,
// its error is returned and nothing is written; once it is being written
// Commit waits for the outcome.
func (s *Store) Commit(ctx context.Context, ops ...store.Op) error {
	r, uses := &request{ops: ops}, false
	for i := range ops {
		if err := ops[i].Check(); err != nil {
			return err
		}
		r.bytes += len(ops[i].Record.Value)
		uses = uses || ops[i].Do == store.DoOnce
	}
	if uses && !s.used.loaded.Load() {
		if err := s.loadUsed(ctx); err != nil {
			return err
		}
	}
	return s.submit(ctx, r)
}

// submit hands a request to the writer and waits until it is durable.
func (s *Store) submit(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.done = make(chan error, 1)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return store.ErrClosed
	}
	s.queue = append(s.queue, r)
	s.mu.Unlock()
	s.wakeWriter()

	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		if r.claimed.CompareAndSwap(false, true) {
			return ctx.Err()
		}
		return <-r.done
	}
}

func (s *Store) wakeWriter() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// write is the writer: it takes what waits, writes it as one transaction, and
// answers, until the store is closed and nothing waits.
func (s *Store) write() {
	defer close(s.written)
	for range s.wake {
		for {
			waiting, closed := s.waiting()
			if waiting {
				s.transact()
			} else if closed {
				return
			} else {
				break
			}
		}
	}
}

// waiting drops requests whose callers gave up and reports whether one is left.
func (s *Store) waiting() (waiting, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n < len(s.queue) && s.queue[n].claimed.Load() {
		n++
	}
	s.queue = s.queue[n:]
	return len(s.queue) > 0, s.closed
}

// linger lets a moment go by before a transaction when the last one was shared by
// many: others come along, and each costs less. The lock is not held
// meanwhile. Who is alone, or one of few, does not wait.
func (s *Store) linger() {
	if s.together < lingerAfter {
		return
	}
	s.mu.Lock()
	enough := len(s.queue) >= lingerEnough
	s.mu.Unlock()
	if !enough {
		time.Sleep(lingerTime)
	}
}

// gather lets whoever is about to commit come along, as long as somebody does:
// fewer, larger transactions. A commit that was alone the last time does not
// wait for others: where much else runs, a turn of everybody takes long.
func (s *Store) gather() {
	if s.together < 2 {
		return
	}
	for before, now := -1, 0; before < now && now < groupCommits; {
		runtime.Gosched()
		s.mu.Lock()
		before, now = now, len(s.queue)
		s.mu.Unlock()
	}
}

// claim takes the requests of the next transaction from the queue.
func (s *Store) claim() []*request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var group []*request
	n, bytes := 0, 0
	for ; n < len(s.queue) && len(group) < groupCommits && bytes < groupBytes; n++ {
		if r := s.queue[n]; r.claimed.CompareAndSwap(false, true) {
			group = append(group, r)
			bytes += r.bytes
		}
	}
	clear(s.queue[:n])
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue = nil
	}
	return group
}

// transact writes one transaction. The requests are claimed after the lock is
// held: nobody who waits for another process's lock is bound to it.
func (s *Store) transact() {
	s.linger()
	c := <-s.writer
	held, err := s.begin(c, func() bool { waiting, _ := s.waiting(); return !waiting })
	if !held && err == nil {
		s.writer <- c
		return
	}
	s.gather()
	group := s.claim()
	s.together = len(group)
	var t *transaction
	var results []error
	if err == nil {
		t, results, err = s.try(c, group, false)
	}
	if errors.Is(err, errThere) {
		if _, err = s.begin(c, func() bool { return false }); err == nil {
			t, results, err = s.try(c, group, true)
		}
	}
	s.writer <- c
	wrote := err == nil && t.wrote
	if err == nil {
		s.watch.tell(t.puts)
	}
	s.work.clear()
	answer(group, results, explain(s.path, err))
	if wrote {
		s.checkpoint()
	}
}

// checkpoint moves the log into the file when it has become long. SQLite would do
// it as a part of a commit, whose callers would wait for it, and readers could not
// tell meanwhile whether what is remembered is what lies there.
func (s *Store) checkpoint() {
	if now, ok := s.cache.now(); !ok || now.frames < logFrames {
		return
	}
	c := <-s.writer
	_ = c.script("PRAGMA wal_checkpoint(PASSIVE)") // as SQLite's own: what fails is tried again after the next commit
	s.writer <- c
}

// try does the group's work under the lock, and ends it. If it is not to look
// first whether records that are to be new are there, and one is, the error is
// errThere and nothing was done.
func (s *Store) try(c *conn, group []*request, look bool) (*transaction, []error, error) {
	before := s.cache.hold()
	t := s.work.begin(c, s, look)
	results := make([]error, len(group))
	for i, r := range group {
		results[i] = t.apply(r.ops, s.now())
	}
	err := s.finish(t, group)
	if err == nil && t.wrote {
		after, known := s.cache.release(true, t.changed())
		s.used.learn(t.uses, millis(s.now()), before, after, known && !t.empties)
		s.walk.owed += walkPerName * len(t.uses)
	} else {
		s.cache.release(false, nil)
	}
	return t, results, err
}

// begin takes the lock of the file, in turn with other processes, until giveUp
// says that nobody waits for it any more.
func (s *Store) begin(c *conn, giveUp func() bool) (held bool, err error) {
	for end := time.Now().Add(lockTime); ; {
		err := c.exec(begin)
		if err == nil || !isBusy(err) {
			return err == nil, err
		}
		if time.Now().After(end) {
			return false, fmt.Errorf("for more than %v: %w", lockTime, err)
		}
		if giveUp() {
			return false, nil
		}
	}
}

// finish writes what the commits came to, sweeps, and makes it durable; or
// leaves nothing.
func (s *Store) finish(t *transaction, group []*request) error {
	err := t.failed
	if err == nil {
		err = t.flush()
	}
	if err == nil && len(t.puts) > 0 && !s.inMemory() {
		err = s.logChange(t)
	}
	for _, r := range group {
		if err == nil && r.more != nil {
			err = r.more(t)
		}
	}
	if err == nil && !t.wrote {
		return t.c.exec(rollback)
	}
	if err == nil {
		if err = t.c.exec(commit); err == nil {
			return nil
		}
	}
	// SQLite may have rolled back itself, then this one fails; either way
	// nothing is left.
	_ = t.c.exec(rollback)
	return err
}

// answer tells every caller of the group. If the transaction failed all of it
// failed, also the answers that were drawn from what it would have written.
func answer(group []*request, results []error, failed error) {
	for i, r := range group {
		if failed != nil {
			r.done <- failed
		} else {
			r.done <- results[i]
		}
	}
}
