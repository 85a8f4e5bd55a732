package gateway

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"
)

// lastWrite is how long an answer that was ended may still take to reach its
// reader: enough for a clean end, and under the second that leaving promises.
const lastWrite = 300 * time.Millisecond

// lifetime is how long an exchange may last: as long as its grant, its token
// and its permission to reach the server.
type lifetime struct {
	mu     sync.Mutex
	cancel context.CancelFunc
	over   bool // the answer is complete
	ended  bool // it was cut short
}

// begin starts the exchange's life. The context ends with it; finish must be
// called when the answer is complete.
func (x *exchange) begin() (ctx context.Context, finish func()) {
	g := x.e.g
	ctx, x.life.cancel = context.WithCancel(x.r.Context())
	g.mu.Lock()
	g.live[x] = struct{}{}
	g.mu.Unlock()
	expiry := time.AfterFunc(x.caller.Expires.Sub(g.c.Now()), x.end)
	asking := x.askAgain()
	forget := func() {}
	if g.c.Ended != nil {
		forget = g.c.Ended.OnEnd(x.caller.Grant, x.end)
	}
	// A reload between decide and here has not seen this exchange.
	if now := g.table.Load(); now.endpoints[x.e.s.Path] != x.e {
		x.recheck(now)
	}
	return ctx, func() {
		expiry.Stop()
		asking()
		forget()
		g.mu.Lock()
		delete(g.live, x)
		g.mu.Unlock()
		x.finish()
	}
}

// askAgain ends the exchange when the token's issuer does not stand by it any
// more, if that is one that is asked. stop ends the asking.
func (x *exchange) askAgain() (stop func()) {
	if _, asked := x.e.s.Introspect[x.caller.Issuer]; !asked {
		return func() {}
	}
	ctx, cancel := context.WithCancel(x.r.Context())
	go func() {
		every := time.NewTicker(x.e.g.c.AskEvery)
		defer every.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-every.C:
			}
			if !x.e.guard.Alive(x.r.WithContext(ctx)) && ctx.Err() == nil {
				x.end()
				return
			}
		}
	}()
	return cancel
}

// end cuts the exchange short.
func (x *exchange) end() {
	x.life.mu.Lock()
	defer x.life.mu.Unlock()
	if x.life.over || x.life.ended {
		return
	}
	x.life.ended = true
	x.life.cancel()
	// A reader that does not read must not hold the stream open. Not every
	// ResponseWriter has deadlines; the server's own has.
	_ = http.NewResponseController(x.w).SetWriteDeadline(time.Now().Add(lastWrite))
}

func (x *exchange) finish() {
	x.life.mu.Lock()
	defer x.life.mu.Unlock()
	x.life.over = true
	x.life.cancel()
	if x.life.ended { // the connection may serve others
		_ = http.NewResponseController(x.w).SetWriteDeadline(time.Time{})
	}
}

// wasEnded reports whether the exchange was cut short.
func (x *exchange) wasEnded() bool {
	x.life.mu.Lock()
	defer x.life.mu.Unlock()
	return x.life.ended
}

// recheck ends the exchanges of people who may no longer reach their server.
func (g *Gateway) recheck(t *table) {
	g.mu.Lock()
	live := make([]*exchange, 0, len(g.live))
	for x := range g.live {
		live = append(live, x)
	}
	g.mu.Unlock()
	for _, x := range live {
		x.recheck(t)
	}
}

func (x *exchange) recheck(t *table) {
	now := t.endpoints[x.e.s.Path]
	if now == nil || !slices.Contains(now.guarding.Issuers, x.caller.Issuer) || !x.may("").Allowed {
		x.end()
	}
}
