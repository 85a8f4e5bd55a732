package authserver

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// grantDevice redeems a device code (RFC 8628 section 3.4), once a person said
// yes. Like a code it is taken in the commit that makes the grant's handles.
func (s *Server) grantDevice(ctx context.Context, a *asked) (*granted, error) {
	a.Scope = nil // no parameter of this request
	if a.DeviceCode == "" {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "device_code is missing"}
	}
	key := codeKey(a.DeviceCode)
	r, err := s.ledger.Store.Get(ctx, ledger.KindDevice, key)
	if notFound(err) {
		return nil, a.invalid("device_code_unknown", nil)
	}
	if err != nil {
		return nil, err
	}
	var d deviceRecord
	if err := json.Unmarshal(r.Value, &d); err != nil {
		return nil, fmt.Errorf("authserver: device record cannot be read: %w", err)
	}
	if err := s.checkDevice(a, key, d, !r.Taken.IsZero()); err != nil {
		return nil, err
	}
	g, err := s.ledger.Grant(ctx, d.Grant)
	if notFound(err) {
		return nil, a.invalid("grant_unknown", nil)
	}
	if err != nil {
		return nil, err
	}
	a.seen.Grant, a.seen.Person, a.seen.Resource = g.ID, g.Subject.ID, g.Resource
	res := a.st.byID(g.Resource)
	if !g.Active(s.now()) || res == nil {
		return nil, a.invalid("grant_over", nil)
	}
	if err := a.sameResource(g.Resource); err != nil {
		return nil, err
	}
	if g.Scopes, err = a.boundBy(res, g.Scopes); err != nil {
		return nil, err
	}
	g.Key = a.bindTo(g.Key)
	out := &granted{grant: g.Grant, stored: &g, rules: res.rules, life: a.st.tokens.Access, write: true,
		ops: []store.Op{store.Take(ledger.KindDevice, key)}}
	if a.st.mayUse(a.client.client, oauth.RefreshToken) {
		out.refresh, err = s.firstRefresh(&g, a.st.tokens)
	}
	return out, err
}

// checkDevice is nil if a person said yes, and else what the device is told
// (RFC 8628 section 3.5).
func (s *Server) checkDevice(a *asked, key string, d deviceRecord, taken bool) error {
	now := s.now()
	switch {
	case d.Client != a.client.client.ID:
		return a.invalid("device_code_of_another_client", nil)
	case taken:
		return a.invalid("device_code_used", nil)
	case d.Refused:
		return &oauth.Error{Code: oauth.AccessDenied, Reason: "person_refused", Description: "the person refused"}
	case !now.Before(d.Until):
		return &oauth.Error{Code: oauth.ExpiredToken, Description: "the device code is over: begin again"}
	case d.Grant != "":
		return nil
	case s.polls.tooSoon(now, key):
		return &oauth.Error{Code: oauth.SlowDown, Description: "add 5 seconds to the interval"}
	}
	return &oauth.Error{Code: oauth.AuthorizationPending, Description: "nobody has answered yet"}
}

// polls remembers when devices asked last. Each process counts for itself: a
// device that several of them hear asks at most as often as there are.
type polls struct {
	mu   sync.Mutex
	last map[string]poll
}

type poll struct {
	at       time.Time
	interval time.Duration
}

// mostPolls bounds the memory.
const mostPolls = 20_000

// pollSlack is how much earlier than it should a poll may arrive: the network
// is not a clock.
const pollSlack = time.Second

// tooSoon notes a poll and says whether it came before its time. Then the time
// grows by 5 seconds, as it does at the client (RFC 8628 section 3.5).
func (p *polls) tooSoon(now time.Time, key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil || len(p.last) >= mostPolls {
		if p.last = p.living(now); len(p.last) >= mostPolls {
			p.last = map[string]poll{}
		}
	}
	l, known := p.last[key]
	if !known {
		l.interval = deviceInterval
	}
	soon := known && now.Sub(l.at) < l.interval-pollSlack
	if soon {
		l.interval += deviceInterval
	}
	l.at = now
	p.last[key] = l
	return soon
}

// sweep forgets the devices whose codes are over.
func (p *polls) sweep(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = p.living(now)
}

// living is a new map: an old one keeps the room for all that were ever in it
// at once.
func (p *polls) living(now time.Time) map[string]poll {
	live := map[string]poll{}
	for key, l := range p.last {
		if now.Sub(l.at) < deviceLife {
			live[key] = l
		}
	}
	return live
}
