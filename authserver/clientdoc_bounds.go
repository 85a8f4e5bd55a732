package authserver

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"doorward/internal/limit"
	"doorward/internal/oauth"
)

// errNotSoSoon: the host had its failures, or the requester its fetches.
var errNotSoSoon = errors.New("not fetched again so soon")

// place is what one fetch under way takes of the bounds.
type place struct {
	stranger  bool
	requester string
}

// enter bounds fetches at once, those of one requester, and those that a host
// has answered with nothing of use (AS-CIMD-13). A host that never answers holds
// a place for documentTimeout, so nobody may hold many of them, and known
// clients, who are few, need none. The caller holds mu and calls leave at the end.
func (d *documents) enter(ctx context.Context, uri string, ofKnown bool, now time.Time) (place, error) {
	p := place{stranger: !ofKnown, requester: requesterOf(ctx)}
	f := d.failed[failingAt(uri)]
	switch {
	case f != nil && f.n >= maxFailures && now.Sub(f.since) < failureWindow:
		return p, errNotSoSoon
	case p.stranger && p.requester != "" && d.held[p.requester] >= maxHeld:
		return p, tooMany(documentTimeout)
	case p.stranger && d.strangers >= maxFetches:
		return p, &oauth.Error{Code: oauth.TemporarilyUnavailable, RetryAfter: int(documentTimeout / time.Second),
			Description: "too many documents of clients are being fetched at once"}
	case p.requester != "" && d.requesters.Take(now, p.requester) > 0:
		return p, errNotSoSoon
	}
	if p.stranger {
		d.strangers++
		if p.requester != "" {
			d.held[p.requester]++
		}
	}
	return p, nil
}

// leave gives the place of a fetch back. The caller holds mu.
func (d *documents) leave(p place) {
	if !p.stranger {
		return
	}
	d.strangers--
	if p.requester == "" {
		return
	}
	if d.held[p.requester]--; d.held[p.requester] == 0 {
		delete(d.held, p.requester)
	}
}

// inKnown reports whether the URL is that of a document of a known client.
func inKnown(uri string) bool {
	return slices.ContainsFunc(known, func(k knownEntry) bool { return slices.Contains(k.Documents, uri) })
}

// failingAt is what failures are counted of: the host, but for the documents of
// known clients, which count for themselves, so that a stranger who asks for
// others there does not keep these out.
func failingAt(uri string) string {
	if inKnown(uri) {
		return uri
	}
	return askedHost(uri)
}

// requesterKey is for the address of who asks.
type requesterKey struct{}

// requesterOf is the network of who asks; "" where nobody needs to know it.
func requesterOf(ctx context.Context) string {
	if c := callerOf(ctx); c != nil {
		return c.network
	}
	address, _ := ctx.Value(requesterKey{}).(string)
	return limit.Network(address)
}

// askedHost is the host that failures are counted of: however its name is
// written, and at whichever port, it is one.
func askedHost(id string) string {
	u, err := url.Parse(id)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
}

// countFailure notes a failure of a host. The caller holds mu.
func (d *documents) countFailure(host string, now time.Time) {
	f := d.failed[host]
	if f == nil || now.Sub(f.since) >= failureWindow {
		if len(d.failed) >= maxFailingHosts {
			clear(d.failed) // names are cheap to have; whoever has so many gains a minute's worth
		}
		f = &failures{since: now}
		d.failed[host] = f
	}
	f.n++
}
