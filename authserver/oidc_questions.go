package authserver

import (
	"context"
	"sync"
)

// heard waits for the answer to a question about the session, if this process
// asks it just now, and says what holds then: of several requests at once none
// gets by with the word of before.
func (s *Server) heard(ctx context.Context, p *provider, session string) error {
	if err := s.questions.wait(ctx, session); err != nil {
		return err
	}
	return s.newest(ctx, p, session)
}

// newest is what holds by what is kept at this moment.
func (s *Server) newest(ctx context.Context, p *provider, session string) error {
	w, err := s.wordOf(ctx, session)
	switch {
	case notFound(err) || err == nil && w.Over:
		return errGone
	case err != nil:
		return err
	}
	return w.standing(p, s.now())
}

// questions are the sessions that this process asks a provider about just now.
type questions struct {
	mu      sync.Mutex
	pending map[string]chan struct{}
}

// begin reports whether nobody else asks; then done must be called.
func (q *questions) begin(session string) (done func(), first bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.pending[session] != nil {
		return nil, false
	}
	if q.pending == nil {
		q.pending = map[string]chan struct{}{}
	}
	answered := make(chan struct{})
	q.pending[session] = answered
	return func() {
		q.mu.Lock()
		delete(q.pending, session)
		q.mu.Unlock()
		close(answered)
	}, true
}

func (q *questions) wait(ctx context.Context, session string) error {
	q.mu.Lock()
	answered := q.pending[session]
	q.mu.Unlock()
	if answered == nil {
		return nil
	}
	select {
	case <-answered:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
