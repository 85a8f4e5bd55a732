package gateway

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
)

// lone sends a request over a connection of its own, which ends with the
// answer: for streams, which keep their connection anyway. In http.Transport an
// idle one costs two goroutines and four buffers more.
type lone struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// maxHeader bounds an answer's header, in bytes.
const maxHeader = 64 << 10

// fits reports whether requests to the upstream can go this way: plain http,
// and no proxy between.
func (l *lone) fits(upstream *url.URL) bool {
	if l == nil || upstream == nil || upstream.Scheme != "http" {
		return false
	}
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: upstream})
	return err == nil && proxy == nil
}

// RoundTrip is http.RoundTripper.
func (l *lone) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	address := req.URL.Host
	if req.URL.Port() == "" {
		address = net.JoinHostPort(req.URL.Hostname(), "80")
	}
	conn, err := l.dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	body := &loneBody{conn: conn, forget: context.AfterFunc(ctx, func() { _ = conn.Close() })}
	resp, err := l.exchange(req, conn)
	if err != nil {
		_ = body.Close()
		return nil, err
	}
	body.Reader = resp.Body
	resp.Body = body
	return resp, nil
}

func (l *lone) exchange(req *http.Request, conn net.Conn) (*http.Response, error) {
	req.Close = true
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	limited := &io.LimitedReader{R: conn, N: maxHeader}
	in := bufio.NewReaderSize(limited, 1<<10)
	for {
		resp, err := http.ReadResponse(in, req)
		switch {
		case err != nil:
			return nil, err
		case resp.StatusCode == http.StatusSwitchingProtocols:
			return nil, errors.New("the server switches protocols unasked")
		case resp.StatusCode >= 200:
			limited.N = math.MaxInt64
			return resp, nil
		}
	}
}

// loneBody is the answer's body; the connection goes with it.
type loneBody struct {
	io.Reader
	conn   net.Conn
	forget func() bool
}

func (b *loneBody) Close() error {
	b.forget()
	return b.conn.Close()
}
