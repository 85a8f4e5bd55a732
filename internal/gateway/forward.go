package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"sync"
)

// forward hands the request on and brings the answer back.
func (x *exchange) forward() {
	ctx, finish := x.begin()
	defer finish()
	a := &answer{x: x}
	if x.e.upstream == nil {
		w := &hereWriter{a: a, header: http.Header{}}
		x.e.s.Handler.ServeHTTP(w, x.requestHere(ctx))
		if err := ctx.Err(); err != nil && a.mode == pending { // cut short before it said anything
			x.unreachable(err)
			return
		}
		a.end(nil)
		return
	}
	by := x.e.g.base
	if x.r.Method == http.MethodGet || x.call.method == listen {
		by = x.e.streams
	}
	resp, err := by.RoundTrip(x.request(ctx))
	if err != nil {
		x.unreachable(err)
		return
	}
	defer resp.Body.Close()
	a.begin(resp.StatusCode, resp.Header, resp.ContentLength)
	a.end(a.copy(resp.Body, resp.ContentLength))
}

// request is what the upstream gets. The caller's path and query stay here.
func (x *exchange) request(ctx context.Context) *http.Request {
	h := outgoing(x.r.Header)
	x.names(h)
	maps.Copy(h, x.e.s.Header)
	if x.credential != "" {
		h.Set("Authorization", x.credential)
	}
	if h["User-Agent"] == nil {
		h["User-Agent"] = []string{""} // else net/http adds its own
	}
	out := (&http.Request{
		Method: x.r.Method, URL: x.e.upstream, Header: h,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	if body := x.call.body; body != nil {
		out.ContentLength = int64(len(body))
		out.Body = io.NopCloser(bytes.NewReader(body))
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	return out
}

// names puts the upstream's own names of session and event into a header.
func (x *exchange) names(h http.Header) {
	if x.session != "" {
		h.Set(sessionHeader, x.session)
	}
	if x.lastEvent != "" {
		h.Set(eventHeader, x.lastEvent)
	}
}

// requestHere is what a handler in this process gets: the same, and who calls.
func (x *exchange) requestHere(ctx context.Context) *http.Request {
	out := &http.Request{
		Method: x.r.Method, URL: &url.URL{Path: x.e.s.Path}, RequestURI: x.e.s.Path, Host: x.r.Host, RemoteAddr: x.r.RemoteAddr,
		Proto: x.r.Proto, ProtoMajor: x.r.ProtoMajor, ProtoMinor: x.r.ProtoMinor,
		Header: outgoing(x.r.Header), Body: http.NoBody,
	}
	if body := x.call.body; body != nil {
		out.ContentLength = int64(len(body))
		out.Body = io.NopCloser(bytes.NewReader(body))
	}
	h := out.Header
	x.names(h)
	h.Set("Doorward-Subject", x.subject.Person)
	h.Set("Doorward-Client", x.subject.Client)
	h.Set("Doorward-Scope", x.scopes().String())
	maps.Copy(h, x.e.s.Header)
	if x.credential != "" {
		h.Set("Authorization", x.credential)
	}
	return out.WithContext(ctx)
}

// unreachable answers a request to an upstream that did not.
func (x *exchange) unreachable(err error) {
	switch {
	case x.wasEnded():
		x.refuse(x.afterEnd())
	case x.r.Context().Err() != nil: // the caller went away
	default:
		x.e.g.c.Logger.Warn("an MCP server cannot be reached", "server", x.e.key, "error", err)
		x.refuse(x.badUpstream("upstream_unreachable", "the MCP server behind "+x.e.label()+" cannot be reached"))
	}
}

// afterEnd refuses what was cut short before anything was answered.
func (x *exchange) afterEnd() *refusal {
	if a := x.may(""); !a.Allowed {
		return x.byRule(a, http.StatusForbidden, "reach")
	}
	return x.invalidToken("it ended while the server worked")
}

func (x *exchange) badUpstream(reason, message string) *refusal {
	return &refusal{status: http.StatusBadGateway, code: codeInternal, reason: reason, message: message}
}

// label is what people call the server.
func (e *endpoint) label() string {
	if e.s.Name != "" {
		return e.s.Name
	}
	return e.key
}

var copyBuffers = sync.Pool{New: func() any { return new([16 << 10]byte) }}

// maxDrained is how much is read of a body that nobody wants, in bytes.
const maxDrained = 4 << 10

// copy brings the body over; length is -1 if it is not known. A stream has a
// small buffer of its own, since it keeps it for as long as it is idle.
func (a *answer) copy(body io.Reader, length int64) error {
	var buf []byte
	switch a.mode {
	case refused, dropping:
		// A little is read, so that the connection can serve again; a body without an
		// end would hold back what the caller gets instead.
		if length >= 0 && length <= maxDrained {
			_, _ = io.CopyN(io.Discard, body, length)
		}
		return nil
	case streaming:
		buf = make([]byte, 1<<10)
	default:
		pooled := copyBuffers.Get().(*[16 << 10]byte)
		defer copyBuffers.Put(pooled)
		buf = pooled[:]
	}
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if err := a.write(buf[:n]); err != nil {
				return err
			}
			if a.mode == refused { // by what came
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// hereWriter is the ResponseWriter of a handler in this process.
type hereWriter struct {
	a      *answer
	header http.Header
}

func (w *hereWriter) Header() http.Header { return w.header }

func (w *hereWriter) WriteHeader(status int) {
	length, err := strconv.ParseInt(w.header.Get("Content-Length"), 10, 64)
	if err != nil {
		length = -1
	}
	w.a.begin(status, w.header, length)
}

func (w *hereWriter) Write(p []byte) (int, error) {
	if w.a.mode == pending {
		w.WriteHeader(http.StatusOK)
	}
	if err := w.a.write(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush is http.Flusher.
func (w *hereWriter) Flush() {
	if w.a.mode == pending {
		w.WriteHeader(http.StatusOK)
	}
	if w.a.mode == passing {
		w.a.flush()
	}
}
