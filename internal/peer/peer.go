// Package peer says whom a request is from where proxies stand in front: the
// only reader of X-Forwarded-For, and only of what proxies wrote that the
// operator named. Nothing else of X-Forwarded-* or Forwarded is read anywhere:
// the issuer's URL is configured, not guessed.
package peer

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Trusted are the addresses of proxies whose X-Forwarded-For is believed.
type Trusted []netip.Prefix

// maxHops bounds how far back X-Forwarded-For is followed.
const maxHops = 32

// Has reports whether an address is one of a trusted proxy.
func (t Trusted) Has(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(t, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Client is the address that a request is from: that of the connection, or, if
// that is a trusted proxy, the last one in X-Forwarded-For that is none. What
// stands before it may be anybody's invention. via reports whether the
// connection is a trusted proxy's. An address that cannot be read ends the
// search at the proxy that wrote it.
func (t Trusted) Client(r *http.Request) (client netip.Addr, via bool) {
	client, ok := parse(r.RemoteAddr)
	if !ok || !t.Has(client) {
		return client, false
	}
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for i := len(hops) - 1; i >= max(0, len(hops)-maxHops); i-- {
		hop, ok := parse(strings.TrimSpace(hops[i]))
		if !ok {
			break
		}
		if client = hop; !t.Has(hop) {
			break
		}
	}
	return client, true
}

// parse reads an address with or without a port.
func parse(s string) (netip.Addr, bool) {
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	return a.Unmap(), err == nil
}

type viaKey struct{}

// Via reports whether a request came through a trusted proxy. Only then may
// what such a proxy says about the connection (a client certificate) be read.
func Via(ctx context.Context) bool {
	via, _ := ctx.Value(viaKey{}).(bool)
	return via
}

// Handler gives requests through trusted proxies the RemoteAddr of their
// client. trusted is asked for each request.
func Handler(trusted func() Trusted, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if t := trusted(); len(t) > 0 {
			if client, via := t.Client(r); via {
				r = r.WithContext(context.WithValue(r.Context(), viaKey{}, true)) // a copy
				r.RemoteAddr = netip.AddrPortFrom(client, 0).String()
			}
		}
		h.ServeHTTP(w, r)
	})
}
