package sqlite

import "context"

// sweepStep is how many records one transaction sweeps at most.
const sweepStep = 200

// sweeper removes up to limit things that expired before now, and says whether
// there may be more.
type sweeper interface {
	step(t *transaction, limit int, now int64) (gone int, more bool, err error)
}

// Sweep implements store.Store. It removes in small steps, so that commits
// need not wait long. Of what Once remembers it looks at a part at a time.
func (s *Store) Sweep(ctx context.Context, limit int) (int, error) {
	if limit <= 0 {
		return 0, s.canRead(ctx)
	}
	defer func() { s.used.tidy(millis(s.now())) }()
	total := 0
	for _, part := range []sweeper{&dueSweep{last: duePlace{at: -1}}, journalSweep{new(int64)}, journalSweep{&s.logged}, &usedSweep{walk: &s.walk, left: walkLeast}} {
		for more := true; more && total < limit; {
			gone := 0
			err := s.submit(ctx, &request{more: func(t *transaction) (err error) {
				gone, more, err = part.step(t, min(limit-total, sweepStep), millis(s.now()))
				return err
			}})
			if err != nil {
				return total, err
			}
			total += gone
		}
	}
	return total, nil
}
