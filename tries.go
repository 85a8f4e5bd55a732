package doorward

import "time"

// stepUps is how often scopes are asked for again, maxTries how many kinds of
// refusal are counted for one grant.
const (
	stepUps  = 2
	maxTries = 32
)

// tries counts attempts that did not help.
type tries struct {
	n     int
	since time.Time
}

// refused counts a refusal of a new token, and forgets the token.
func (t *Transport) refused(n need, person string) {
	if n.rejected == "" || n.wider {
		return
	}
	for _, g := range t.grants(n.server, person) {
		if g.now().access == n.rejected {
			g.tried(t.now(), n)
			g.drop(n.rejected)
		}
	}
}

// accepted ends the count of refused tokens.
func (t *Transport) accepted(server address, person, token string) {
	if token == "" {
		return
	}
	if g, _ := t.find(server, person); g != nil {
		g.mu.Lock()
		delete(g.tries, "")
		g.mu.Unlock()
	}
}

// tried and patient bound how often the same refusal brings a new attempt
// (C-SCOPE-03): three attempts per resource, person and scopes, and a pause
// where new tokens are refused again and again.
func (g *grant) tried(now time.Time, n need) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.tries == nil {
		g.tries = map[string]tries{}
	}
	c := g.tries[n.kind()]
	if c.n == 0 || c.over(now, n.kind()) {
		c = tries{since: now}
	}
	c.n++
	g.tries[n.kind()] = c
}

func (g *grant) patient(now time.Time, n need) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for kind, c := range g.tries {
		if c.over(now, kind) {
			delete(g.tries, kind)
		}
	}
	c, known := g.tries[n.kind()]
	return c.n < stepUps && (known || len(g.tries) < maxTries)
}

// kind is what is counted: refused tokens, or refusals for want of some scopes.
func (n need) kind() string {
	if !n.wider {
		return ""
	}
	return "scope " + n.scope
}

// over reports whether an attempt counts no more: an administrator may have
// changed something in the meantime.
func (c tries) over(now time.Time, kind string) bool {
	window := 10 * time.Minute
	if kind == "" {
		window = time.Minute
	}
	return now.Sub(c.since) > window || now.Before(c.since) // the clock was set back
}
