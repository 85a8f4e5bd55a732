package authserver

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"doorward/bench/control"
	"doorward/store/sqlite"
)

// What a request costs in net/http's own server without a kernel beneath: beside
// it a handler that writes as much.
func BenchmarkServed(b *testing.B) {
	w := newWorld(b, func(as, _ *Config) {
		db, err := sqlite.OpenConfig(sqlite.Config{Path: filepath.Join(b.TempDir(), "as.db"), Now: as.Now})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { db.Close() })
		as.Store = db
		as.Registration.Total = 1 << 30
	})
	type request struct{ name, text string }
	get := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: as.example\r\n\r\n" }
	post := func(path, mediaType, body string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: as.example\r\nContent-Type: " + mediaType + "\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
	}
	kib := []byte(strings.Repeat("x", 1024))
	b.Run("1 KiB", func(b *testing.B) {
		serveLoop(b, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Write(kib)
		}), get("/"))
	})
	for _, r := range []request{
		{"metadata", get("/.well-known/oauth-authorization-server")},
		{"jwks", get("/jwks")},
		{"client_credentials", post("/token", "application/x-www-form-urlencoded", "grant_type=client_credentials&client_id=agent&client_secret="+agentSecret)},
		{"register", post("/register", "application/json", `{"client_name":"Bench","redirect_uris":["https://client.example/callback"],
			"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"client_secret_basic"}`)},
	} {
		b.Run(r.name, func(b *testing.B) { serveLoop(b, w.as, r.text) })
	}
}

// serveLoop lets connections send the same request b.N times together.
func serveLoop(b *testing.B, h http.Handler, request string) {
	b.ReportAllocs()
	var left atomic.Int64
	left.Store(int64(b.N))
	conns := make(loopListener, 48)
	var open sync.WaitGroup
	var bad atomic.Pointer[string]
	for range cap(conns) {
		open.Add(1)
		c := &loopConn{request: request, left: &left, bad: &bad, gone: sync.OnceFunc(open.Done), ready: true}
		c.moved.L = &c.mu
		conns <- c
	}
	srv := &http.Server{Handler: h}
	b.ResetTimer()
	before := control.CPU()
	go srv.Serve(conns)
	open.Wait()
	b.StopTimer()
	b.ReportMetric(float64((control.CPU()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
	close(conns)
	if answer := bad.Load(); answer != nil {
		b.Fatal(*answer)
	}
}

type loopListener chan net.Conn

func (l loopListener) Accept() (net.Conn, error) {
	c, ok := <-l
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (loopListener) Close() error   { return nil }
func (loopListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

// loopConn reads as the same request again, as soon as it was answered, until
// none is left.
type loopConn struct {
	request string
	left    *atomic.Int64
	bad     *atomic.Pointer[string]
	gone    func()

	mu    sync.Mutex
	moved sync.Cond
	rest  string
	ready bool // for the next request
	late  bool // a deadline has passed
}

func (c *loopConn) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.rest == "" && !c.ready && !c.late {
		c.moved.Wait()
	}
	switch {
	case c.late:
		return 0, os.ErrDeadlineExceeded
	case c.rest == "" && c.left.Add(-1) < 0:
		return 0, io.EOF
	case c.rest == "":
		c.rest, c.ready = c.request, false
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *loopConn) Write(b []byte) (int, error) {
	if !bytes.HasPrefix(b, []byte("HTTP/1.1 ")) {
		return len(b), nil
	}
	if b[9] != '2' {
		answer := string(b[:min(len(b), 500)])
		c.bad.Store(&answer)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready = true
	c.moved.Broadcast()
	return len(b), nil
}

func (c *loopConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.late = !t.IsZero() && t.Before(time.Now())
	c.moved.Broadcast()
	return nil
}

func (c *loopConn) Close() error                   { c.gone(); return nil }
func (*loopConn) LocalAddr() net.Addr              { return loopListener(nil).Addr() }
func (*loopConn) RemoteAddr() net.Addr             { return loopListener(nil).Addr() }
func (*loopConn) SetDeadline(time.Time) error      { return nil }
func (*loopConn) SetWriteDeadline(time.Time) error { return nil }
