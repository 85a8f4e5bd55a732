// Package fetch GETs what strangers' URLs name: addresses checked at dial
// time, no redirects, bounded size and time, no proxy of the environment.
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
	"time"
)

// Config bounds a fetch.
type Config struct {
	AllowPrivate  bool            // private (RFC 1918, ULA, CGNAT) addresses
	AllowLoopback bool            // loopback addresses, and plain http to them
	Private       []netip.Prefix  // private prefixes that are allowed although AllowPrivate is off
	MaxBytes      int64           // 0: 64 KiB
	Timeout       time.Duration   // 0: 10 s, in all
	Transport     *http.Transport // base to clone for TLS roots; nil: the default

	// Lookup resolves names, and Dial connects to one of the addresses that were
	// found good. nil: the system does.
	Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
}

// Fetcher fetches. It may be used by many goroutines.
type Fetcher struct {
	c      Config
	guard  *guard
	client *http.Client
}

// New makes a fetcher.
func New(c Config) *Fetcher {
	if c.MaxBytes <= 0 {
		c.MaxBytes = 64 << 10
	}
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Second
	}
	g := newGuard(c)
	return &Fetcher{c: c, guard: g, client: &http.Client{
		Transport:     g,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Result is what came back.
type Result struct {
	Status int
	Header http.Header
	Body   []byte
}

// Get fetches url. A redirect is returned as it is, not followed. Anything but
// https (or http to loopback, where that is allowed), a URL with userinfo, a
// refused address and a body over MaxBytes are errors.
func (f *Fetcher) Get(ctx context.Context, url string) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, f.c.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return Result{}, errors.New("fetch: no valid URL")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "doorward")
	resp, err := f.client.Do(req)
	if err != nil {
		return Result{}, fmt.Errorf("fetch from %s: %w", req.URL.Host, cause(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return Result{}, fmt.Errorf("fetch from %s: %w", req.URL.Host, err)
	}
	return Result{resp.StatusCode, resp.Header, body}, nil
}

// cause takes the URL out of an error of net/http: its query may hold what is
// nobody's business.
func cause(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// CloseIdle closes the connections that nobody uses, for a Fetcher that is done.
func (f *Fetcher) CloseIdle() { f.guard.transport.CloseIdleConnections() }

// RoundTripper returns a transport that refuses the same addresses and URLs
// and bounds bodies alike, for POSTs to endpoints that strangers named. It does
// not follow redirects either; an http.Client around it needs a CheckRedirect
// that returns http.ErrUseLastResponse, and a deadline.
func (f *Fetcher) RoundTripper() http.RoundTripper { return f.guard }
