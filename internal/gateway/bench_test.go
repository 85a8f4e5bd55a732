//go:build unix

package gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"doorward/internal/gateway"
)

// BenchmarkCall is one tool call over loopback, client and upstream included:
// through httputil.ReverseProxy alone, and through the gateway. cpu-ns/op is
// what the whole process used.
func BenchmarkCall(b *testing.B) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"`+strings.Repeat("x", 200)+`"}]}}`)
	}))
	defer up.Close()
	target, err := url.Parse(up.URL)
	if err != nil {
		b.Fatal(err)
	}
	r := newRig(b, map[string]gateway.Server{"files": files(up.URL)})
	_, token := r.grant("alice", "/files/mcp", "files:read")
	alone := httptest.NewServer(&httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) }})
	defer alone.Close()
	body := []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_file","arguments":{"path":"/tmp/a.txt","lines":[1,2,3]},"_meta":{"progressToken":7}}}`)
	for _, way := range []struct{ name, url string }{{"proxy", alone.URL}, {"gateway", r.url}} {
		b.Run(way.name, func(b *testing.B) {
			before := cpu()
			b.ReportAllocs()
			for b.Loop() {
				req, err := http.NewRequest(http.MethodPost, way.url+"/files/mcp", bytes.NewReader(body))
				if err != nil {
					b.Fatal(err)
				}
				req.Header = http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"},
					"Accept": {"application/json, text/event-stream"}, "Mcp-Protocol-Version": {"2025-11-25"}}
				resp, err := http.DefaultTransport.RoundTrip(req)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
					b.Fatal(resp.Status, err)
				}
				_ = resp.Body.Close()
			}
			b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// BenchmarkHandler is the same without any network, to see our own part.
func BenchmarkHandler(b *testing.B) {
	answer := []byte(`{"jsonrpc":"2.0","id":1,"result":{}}`)
	base := roundTrip(func(req *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req, ContentLength: int64(len(answer)),
			Header: http.Header{"Content-Type": {"application/json"}, "Date": {"x"}}, Body: io.NopCloser(bytes.NewReader(answer))}, nil
	})
	r := newRig(b, map[string]gateway.Server{"files": files("http://127.0.0.1:1/mcp")})
	_, token := r.grant("alice", "/files/mcp", "files:read")
	g := r.with(base)
	target := &url.URL{Scheme: "http", Host: "127.0.0.1:1", Path: "/mcp"}
	alone := &httputil.ReverseProxy{FlushInterval: -1, Transport: base, Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) }}
	body := []byte(toolCall("read_file"))
	for _, way := range []struct {
		name string
		h    http.Handler
	}{{"proxy", alone}, {"gateway", g}} {
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				req := httptest.NewRequest(http.MethodPost, r.url+"/files/mcp", bytes.NewReader(body))
				req.Header = http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"},
					"Accept": {"application/json, text/event-stream"}, "Mcp-Protocol-Version": {"2025-11-25"}}
				way.h.ServeHTTP(discard{http.Header{}}, req)
			}
		})
	}
}

type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(status int) {
	if status != 200 {
		panic(fmt.Sprint(status))
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// cpu is what this process has used so far, in nanoseconds.
func cpu() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Nanoseconds()
}
