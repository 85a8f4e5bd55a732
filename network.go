package doorward

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"doorward/internal/fetch"
	"doorward/internal/oauth"
)

const (
	maxAnswer   = 1 << 20          // bytes of a document or a token answer
	getTimeout  = 10 * time.Second // per metadata request
	postTimeout = 30 * time.Second // per token or registration request
)

// reach says which special addresses the URLs that a server names may have:
// those that its own address has.
type reach struct{ private, loopback bool }

// trust says who named a URL: the user, or an MCP server at origin.
type trust struct {
	typed       bool
	origin      origin
	reach       reach
	certificate bool // the request authenticates the client by its certificate
}

// guardedKey tells the carriers to strangers apart.
type guardedKey struct {
	reach       reach
	certificate bool
}

// byUser is the trust in what the user or operator typed.
var byUser = trust{typed: true}

// typed carries requests to what the user named.
func (t *Transport) typed() http.RoundTripper {
	if t.Base != nil {
		return t.Base
	}
	return http.DefaultTransport
}

// carrier carries a request to u (C-DISC-09). What lies at the server's own
// origin is where the user's request went anyway.
func (t *Transport) carrier(u *url.URL, by trust) http.RoundTripper {
	base, cloneable := t.typed().(*http.Transport)
	if by.typed || by.origin == originOf(u) || t.Base != nil && !cloneable {
		return t.typed()
	}
	if t.AllowPrivate {
		by.reach = reach{true, true}
	}
	key := guardedKey{by.reach, by.certificate}
	t.state.mu.Lock()
	defer t.state.mu.Unlock()
	rt, ok := t.state.guarded[key]
	if !ok {
		if !by.certificate {
			base = withoutCertificate(base)
		}
		rt = fetch.New(fetch.Config{AllowPrivate: by.reach.private, AllowLoopback: by.reach.loopback,
			MaxBytes: maxAnswer, Timeout: postTimeout, Transport: base}).RoundTripper()
		if t.state.guarded == nil {
			t.state.guarded = map[guardedKey]http.RoundTripper{}
		}
		t.state.guarded[key] = rt
	}
	return rt
}

// withoutCertificate is a transport that shows strangers no client certificate,
// which says who the client is to whoever asks for one.
func withoutCertificate(base *http.Transport) *http.Transport {
	base = base.Clone()
	if c := base.TLSClientConfig; c != nil {
		c.Certificates, c.GetClientCertificate = nil, nil
	}
	return base
}

// observe returns a ctx under which the address that a request to u reaches is
// remembered. Behind a proxy there is nothing to see.
func (t *Transport) observe(ctx context.Context, u *url.URL) context.Context {
	rt, ok := t.typed().(*http.Transport)
	if !ok {
		return ctx
	}
	at := originOf(u)
	if _, known := t.state.addresses.get(t.now(), at); known {
		return ctx
	}
	if rt.Proxy != nil {
		if via, err := rt.Proxy(&http.Request{URL: u, Header: http.Header{}}); err != nil || via != nil {
			return ctx
		}
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
		if a, ok := c.Conn.RemoteAddr().(*net.TCPAddr); ok {
			t.state.addresses.put(t.now(), at, reachOf(a.AddrPort().Addr().Unmap()), t.now().Add(10*time.Minute))
		}
	}})
}

// reachOf classifies an address by the table that also guards the dial.
func reachOf(a netip.Addr) reach {
	closed := fetch.Config{}.CheckAddr(a) != nil
	return reach{
		private:  closed && fetch.Config{AllowPrivate: true}.CheckAddr(a) == nil,
		loopback: closed && fetch.Config{AllowLoopback: true}.CheckAddr(a) == nil,
	}
}

// named is the trust in what the server at u names.
func (t *Transport) named(u *url.URL) trust {
	by := trust{origin: originOf(u)}
	if r, ok := t.state.addresses.get(t.now(), by.origin); ok {
		by.reach = r
	} else {
		by.reach = literalReach(u.Hostname())
	}
	if t.AllowPrivate {
		by.reach = reach{true, true}
	}
	return by
}

func literalReach(host string) reach {
	if a, err := netip.ParseAddr(host); err == nil {
		return reachOf(a)
	}
	return reach{loopback: oauth.IsLoopbackHost(host)}
}

// document is what a GET of metadata brought.
type document struct {
	status int
	after  time.Duration // Retry-After
	json   bool          // the content type says so
	body   []byte
}

// get fetches a document, three times at most if the network or the server is
// busy; a GET of metadata changes nothing.
func (t *Transport) get(ctx context.Context, address string, by trust, header http.Header) (document, error) {
	u, err := checkEndpoint(address)
	if err != nil {
		return document{}, err
	}
	for wait := firstWait / 2; ; wait *= 3 {
		d, err := t.getOnce(ctx, u, by, header)
		busy := err != nil && transient(err) || err == nil && (d.status == http.StatusTooManyRequests || d.status == http.StatusServiceUnavailable)
		if !busy || wait > 300*time.Millisecond || d.after > mostWait {
			return d, err
		}
		if err := sleep(ctx, max(jittered(wait), d.after)); err != nil {
			return document{}, err
		}
	}
}

func (t *Transport) getOnce(ctx context.Context, u *url.URL, by trust, header http.Header) (document, error) {
	ctx, cancel := context.WithTimeout(ctx, getTimeout)
	defer cancel()
	if by.origin == originOf(u) {
		ctx = t.observe(ctx, u)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return document{}, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("Accept", "application/json")
	resp, body, err := t.exchange(req, by)
	if err != nil {
		return document{}, err
	}
	return document{resp.StatusCode, retryAfter(resp.Header, t.now()), strings.Contains(resp.Header.Get("Content-Type"), "json"), body}, nil
}

// post sends a form or a JSON body with credentials in it. It goes to that URL
// and to no other: a redirect is an error (C-CB-05).
func (t *Transport) post(ctx context.Context, endpoint string, by trust, header http.Header, body []byte) (int, []byte, error) {
	status, _, answer, err := t.postFor(ctx, endpoint, by, header, body)
	return status, answer, err
}

// postFor is post with the header of the answer.
func (t *Transport) postFor(ctx context.Context, endpoint string, by trust, header http.Header, body []byte) (int, http.Header, []byte, error) {
	u, err := checkEndpoint(endpoint)
	if err != nil {
		return 0, nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	req.Header = header
	req.Header.Set("Accept", "application/json")
	resp, answer, err := t.exchange(req, by)
	if err != nil {
		return 0, nil, nil, err
	}
	if resp.StatusCode/100 == 3 {
		return resp.StatusCode, nil, nil, errors.New("it answered with a redirect, which is not followed: credentials go to the published endpoint only")
	}
	return resp.StatusCode, resp.Header, answer, nil
}

// exchange is one request and its whole answer, never a redirect's target. An
// error has no URL in it: its query may hold what is nobody's business.
func (t *Transport) exchange(req *http.Request, by trust) (*http.Response, []byte, error) {
	c := http.Client{
		Transport:     t.carrier(req.URL, by),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := c.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, nil, err
	}
	defer resp.Body.Close()
	if req.Header.Get("DPoP") != "" {
		t.learn(nonceAt{origin: originOf(req.URL)}, resp.Header)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, nil, err
	}
	if len(body) > maxAnswer {
		return nil, nil, fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	return resp, body, nil
}

// checkEndpoint allows https, and http on loopback (X-HTTP-01). Whether
// loopback may be reached at all is the carrier's question.
func checkEndpoint(endpoint string) (*url.URL, error) {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		return nil, errors.New("the endpoint is no absolute URL")
	case u.User != nil || u.Fragment != "":
		return nil, errors.New("the endpoint has user info or a fragment")
	case u.Scheme == "https", u.Scheme == "http" && oauth.IsLoopbackHost(u.Host):
		return u, nil
	}
	return nil, errors.New("the endpoint must be https: http is for loopback hosts only")
}

// transient reports whether the network failed in a way that passes.
func transient(err error) bool {
	var timeout net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) ||
		errors.As(err, &timeout) && timeout.Timeout() && !errors.Is(err, context.DeadlineExceeded)
}

// origin is scheme, host and port in one spelling, so that equal ones compare
// equal.
type origin struct{ scheme, host, port string }

func originOf(u *url.URL) origin {
	o := origin{strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()}
	switch {
	case o.port != "":
	case o.scheme == "https":
		o.port = "443"
	case o.scheme == "http":
		o.port = "80"
	}
	return o
}

// seconds reads a number of seconds, which some servers send as a string.
func seconds(raw json.RawMessage) time.Duration {
	n, err := strconv.ParseFloat(strings.Trim(string(raw), `"`), 64)
	if err != nil || !(n > 0 && n < 10*365*24*3600) {
		return 0
	}
	return time.Duration(n) * time.Second
}
