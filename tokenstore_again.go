package doorward

import (
	"context"
	"time"
)

// A token that could not be saved is used from memory, and saved again when it
// is next used: after saveAgain, then twice that and so on, mostSaves times.
const (
	saveAgain = 5 * time.Second
	mostSaves = 8
)

// notSaved counts a failure.
func (g *grant) notSaved(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.saveAt = now.Add(saveAgain << min(g.unsaved, mostSaves))
	g.unsaved++
}

// saves reports whether what is held should be saved again now; true for one
// caller.
func (g *grant) saves(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.unsaved == 0 || g.unsaved > mostSaves || now.Before(g.saveAt) || g.gone {
		return false
	}
	g.saveAt = now.Add(saveAgain)
	return true
}

// saveLater saves what is held, which no request waits for; not while it is
// renewed, which saves it, too.
func (t *Transport) saveLater(ctx context.Context, g *grant, person string) {
	select {
	case g.turn <- struct{}{}:
	default:
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	go func() {
		defer func() { <-g.turn }()
		defer cancel()
		if err := t.saveNow(ctx, g, person); err != nil {
			t.log().WarnContext(ctx, "token not saved", "resource", g.covers, "issuer", g.issuer, "error", err)
		}
	}()
}

// saveNow saves what is held, unless another process has saved something newer.
func (t *Transport) saveNow(ctx context.Context, g *grant, person string) error {
	before := g.now().stamp()
	unlock, err := t.alone(ctx, g, g.at(), person)
	if err != nil {
		g.notSaved(t.now())
		return err
	}
	defer unlock()
	if g.now().stamp() == before {
		return t.save(ctx, g, person)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unsaved = 0
	return nil
}
