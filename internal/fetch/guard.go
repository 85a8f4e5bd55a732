package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// guard is a transport that looks at the URL before it sends, at all addresses
// of the name before it dials, and at the one address when it dials, that is
// after the name was resolved: a name that resolves to something else the
// second time gains nothing.
type guard struct {
	c         Config
	transport *http.Transport
	dialer    *net.Dialer
	lookup    func(ctx context.Context, network, host string) ([]netip.Addr, error)
}

func newGuard(c Config) *guard {
	t := &http.Transport{ForceAttemptHTTP2: true}
	if c.Transport != nil {
		t = c.Transport.Clone()
	}
	g := &guard{c: c, transport: t, lookup: net.DefaultResolver.LookupNetIP}
	if c.Lookup != nil {
		g.lookup = c.Lookup
	}
	g.dialer = &net.Dialer{Timeout: c.Timeout, ControlContext: g.control}
	t.DialContext = g.dial
	// Whatever else the base had would dial past the check.
	t.Proxy, t.DialTLSContext, t.OnProxyConnectResponse, t.GetProxyConnectHeader = nil, nil, nil, nil
	//lint:ignore SA1019 deprecated, but a base may have them, and they would dial past the check
	t.Dial, t.DialTLS = nil, nil
	t.TLSHandshakeTimeout = c.Timeout
	t.ResponseHeaderTimeout = c.Timeout
	t.MaxResponseHeaderBytes = 32 << 10
	t.MaxIdleConns = 32
	t.IdleConnTimeout = 30 * time.Second
	return g
}

// plain marks the context of a plain http request: it may reach loopback only.
type plain struct{}

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := g.checkURL(req.URL); err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // as an http.RoundTripper must
		}
		return nil, err
	}
	if req.URL.Scheme == "http" {
		req = req.WithContext(context.WithValue(req.Context(), plain{}, true))
	}
	resp, err := g.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = &bounded{body: resp.Body, left: g.c.MaxBytes, max: g.c.MaxBytes}
	return resp, nil
}

func (g *guard) checkURL(u *url.URL) error {
	host := u.Hostname()
	switch {
	case host == "":
		return errors.New("the URL has no host")
	case u.User != nil:
		return errors.New("the URL has a user name in it")
	case u.Scheme == "http" && g.c.AllowLoopback && isLoopback(host):
	case u.Scheme != "https":
		return fmt.Errorf("the URL's scheme is %.32q: only https is fetched", u.Scheme)
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return g.c.CheckAddr(addr)
	}
	return nil
}

// isLoopback reports whether a host is loopback by name or address. What a
// name really is shows when it is dialled.
func isLoopback(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// dial refuses a name of which any address is refused: one that is public
// today and private too is made for an attack. The dialer resolves the name
// once more and chooses among the addresses; control then has the last word.
func (g *guard) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, errors.New("no valid address")
	}
	ctx, cancel := context.WithTimeout(ctx, g.c.Timeout)
	defer cancel()
	addrs, err := g.addresses(ctx, host)
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if err := g.check(ctx, a); err != nil {
			return nil, err
		}
	}
	if g.c.Dial == nil && g.c.Lookup == nil {
		return g.dialer.DialContext(ctx, network, address)
	}
	return g.dialChecked(ctx, network, addrs, port)
}

// addresses are those of a host. The resolver may give IPv4 in its mapped
// form; it is dialled as IPv4.
func (g *guard) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if literal, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{literal}, nil
	}
	found, err := g.lookup(ctx, "ip", host)
	addrs := make([]netip.Addr, len(found))
	for i, a := range found {
		addrs[i] = a.Unmap()
	}
	return addrs, err
}

// dialChecked connects to the first of the addresses that answers. None is
// resolved again.
func (g *guard) dialChecked(ctx context.Context, network string, addrs []netip.Addr, port string) (net.Conn, error) {
	dial := g.c.Dial
	if dial == nil {
		dial = g.dialer.DialContext
	}
	err := errors.New("the name has no address")
	for _, a := range addrs {
		var c net.Conn
		if c, err = dial(ctx, network, net.JoinHostPort(a.String(), port)); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// control is called with the address that is about to be dialled.
func (g *guard) control(ctx context.Context, network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("%.16q is no network to fetch from", network)
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return errors.New("no valid address")
	}
	return g.check(ctx, to.Addr())
}

func (g *guard) check(ctx context.Context, addr netip.Addr) error {
	if ctx.Value(plain{}) != nil && !addr.IsLoopback() {
		return fmt.Errorf("%s is not loopback, and plain http goes nowhere else", addr)
	}
	return g.c.CheckAddr(addr)
}

// bounded is a body that ends with an error where it is longer than allowed.
// It counts what is read, after decompression.
type bounded struct {
	body io.ReadCloser
	left int64
	max  int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.body.Read(p)
	if int64(n) > b.left {
		n = int(b.left)
		err = fmt.Errorf("the answer is longer than the %d bytes that are read", b.max)
	}
	b.left -= int64(n)
	return n, err
}

func (b *bounded) Close() error { return b.body.Close() }
