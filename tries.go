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

// efforts are what was done for one request.
type efforts struct {
	renewed bool
	steps   int
	signIn  string // kind of the need that a person signed in for; empty: none
}

// take reports whether something may be done for the need, and counts it.
func (e *efforts) take(n need) bool {
	switch {
	case n.demand.login:
		if e.signIn != "" {
			return false
		}
		e.signIn = n.kind()
	case n.wider:
		e.steps++
		return e.steps <= stepUps
	default:
		if e.renewed {
			return false
		}
		e.renewed = true
	}
	return true
}

// refused counts a refusal of a new token, and forgets the token.
func (t *Transport) refused(n need, person string) {
	if n.rejected == "" || n.wider || n.demand.login {
		return
	}
	for _, g := range t.grants(n.server, person) {
		if g.now().access == n.rejected {
			g.tried(t.now(), n)
			g.drop(n.rejected)
		}
	}
}

// accepted ends the count of refused tokens, and that of a sign-in which helped.
func (t *Transport) accepted(server address, person, token string, done efforts) {
	if token == "" {
		return
	}
	if g, _ := t.find(server, person); g != nil {
		g.mu.Lock()
		delete(g.tries, "")
		delete(g.tries, done.signIn)
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

// kind is what is counted: refused tokens, or refusals for want of some scopes
// or of a sign-in.
func (n need) kind() string {
	switch {
	case n.demand.login:
		return "sign-in" // whatever is demanded: a server could demand another thing each time
	case n.wider:
		return "scope " + n.scope
	}
	return ""
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
