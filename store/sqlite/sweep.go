package sqlite

import (
	"context"
	"database/sql/driver"

	"doorward/store"
)

// sweepStep is how many records one transaction sweeps at most.
const sweepStep = 200

// Sweep implements store.Store. It removes in small steps, so that commits
// need not wait long. What Once remembers it looks through a part at a time.
func (s *Store) Sweep(ctx context.Context, limit int) (int, error) {
	total := 0
	for {
		step, gone := max(0, min(limit-total, sweepStep)), 0
		err := s.submit(ctx, &request{more: func(t *transaction) (err error) {
			gone, err = t.sweep(step, millis(s.now()))
			return err
		}})
		if err != nil {
			return total, err
		}
		if total += gone; gone < step || step < sweepStep {
			break
		}
	}
	n, err := s.sweepSeen(ctx, limit-total)
	return total + n, err
}

// sweepSeen goes on with the walk over what Once remembers, once round at most.
func (s *Store) sweepSeen(ctx context.Context, limit int) (int, error) {
	total, ends := 0, 0
	for left, goOn := walkLeast, true; goOn && ends < 2 && total < limit; {
		step, gone := min(limit-total, walkStep), 0
		err := s.submit(ctx, &request{more: func(t *transaction) (err error) {
			var end bool
			if gone, end, err = t.sweepSeen(&s.walk, step, millis(s.now())); end {
				ends++
			}
			left -= step
			goOn = left > 0 || s.walk.owed > 0 || gone*walkPerName >= step
			if ends == 2 { // nothing more can be found
				s.walk.owed = 0
			}
			return err
		}})
		if err != nil {
			return total, err
		}
		total += gone
	}
	return total, nil
}

// sweep removes up to limit expired records, those of journals last. It comes after flush, so that
// the database and not the entries say what has expired.
func (t *transaction) sweep(limit int, now int64) (int, error) {
	var gone []*entry
	err := t.c.query(expired, func(row []driver.Value) bool {
		gone = append(gone, &entry{
			id:          id{store.Kind(row[0].(string)), string(blob(row[1]))},
			storedNames: unpack(blob(row[2])),
			row:         row[3].(int64),
		})
		return true
	}, now, int64(limit))
	for _, e := range gone {
		t.swept = append(t.swept, e.id)
		if err == nil {
			err = t.writeRow(e)
		}
		if err == nil {
			err = t.removeNames(e)
		}
	}
	logs := 0
	if err == nil {
		logs, err = t.sweepJournals(limit-len(gone), now)
	}
	t.wrote = t.wrote || len(gone)+logs > 0
	return len(gone) + logs, err
}
