package login

import (
	"sync"
	"time"
)

// mostCounted bounds the memory of a throttle.
const mostCounted = 20_000

// throttle counts uses of names. Each name may be used limit times at once and
// gets limit uses back a minute.
type throttle struct {
	mu   sync.Mutex
	used map[string]count
}

type count struct {
	n  float64 // uses that have not been given back
	at time.Time
}

type use struct {
	name  string
	limit float64 // a minute
}

// take uses all names once, or none and says how long to wait.
func (t *throttle) take(now time.Time, uses []use) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	var wait time.Duration
	for _, u := range uses {
		if over := t.count(now, u) + 1 - u.limit; over > 0 {
			wait = max(wait, time.Duration(over/u.limit*float64(time.Minute)))
		}
	}
	if wait > 0 {
		return wait
	}
	for _, u := range uses {
		t.set(now, u, t.count(now, u)+1)
	}
	return 0
}

// giveBack takes one use of each name back.
func (t *throttle) giveBack(now time.Time, uses []use) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, u := range uses {
		t.set(now, u, t.count(now, u)-1)
	}
}

// count is what of the uses still counts.
func (t *throttle) count(now time.Time, u use) float64 {
	c := t.used[u.name]
	return max(0, c.n-max(0, now.Sub(c.at).Minutes())*u.limit)
}

func (t *throttle) set(now time.Time, u use, n float64) {
	if n <= 0 {
		delete(t.used, u.name)
		return
	}
	if t.used == nil {
		t.used = map[string]count{}
	}
	if _, ok := t.used[u.name]; !ok && len(t.used) >= mostCounted {
		t.shrink(now)
	}
	t.used[u.name] = count{n, now}
}

// shrink forgets what a minute has given back anyway, and if nothing is that
// old some others: every limit comes back whole within a minute.
func (t *throttle) shrink(now time.Time) {
	for name, c := range t.used {
		if now.Sub(c.at) >= time.Minute {
			delete(t.used, name)
		}
	}
	for name := range t.used {
		if len(t.used) < mostCounted-mostCounted/10 {
			return
		}
		delete(t.used, name)
	}
}
