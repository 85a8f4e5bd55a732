package authserver

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
)

// Who has a document already gets none again, until it changes.
//
// covers: B19
func TestConditionalRequests(t *testing.T) {
	w := newWorld(t)
	get := func(method, path, header, value string) reply {
		r := httptest.NewRequest(method, asURL+path, nil)
		r.Header.Set(header, value)
		return send(w.as, r)
	}
	for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration", "/jwks"} {
		first := get(http.MethodGet, path, "Accept", "*/*")
		tag := first.header.Get("ETag")
		if len(tag) < 10 || first.status != http.StatusOK || first.header.Get("Content-Type") != "application/json" {
			t.Fatalf("%s: %d %v", path, first.status, first.header)
		}
		for _, known := range []string{tag, "W/" + tag, `"other", ` + tag, "*"} {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				r := get(method, path, "If-None-Match", known)
				if r.status != http.StatusNotModified || r.body != "" || r.header.Get("ETag") != tag || r.header.Get("Cache-Control") != "public, max-age=300" {
					t.Errorf("%s %s of who has %s: %d %v %s", method, path, known, r.status, r.header, r.body)
				}
			}
		}
		if r := get(http.MethodGet, path, "If-None-Match", `"other"`); r.status != http.StatusOK || r.body != first.body {
			t.Errorf("%s of who has another: %d %s", path, r.status, r.body)
		}
	}
	before := get(http.MethodGet, "/jwks", "Accept", "*/*").header.Get("ETag")
	if _, _, err := w.as.RotateKey(context.Background()); err != nil {
		t.Fatal(err)
	}
	if r := get(http.MethodGet, "/jwks", "If-None-Match", before); r.status != http.StatusOK || r.header.Get("ETag") == before {
		t.Errorf("after a new key: %d %v", r.status, r.header)
	}
}

// A document is answered from what was made once, in as many headers as a small
// map has room for.
func TestDocumentsAllocateNothing(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration", "/jwks"} {
		r := httptest.NewRequest(http.MethodGet, asURL+path, nil)
		out := &discard{header: http.Header{}}
		w.as.ServeHTTP(out, r)
		most := 8
		if out.written > oneBuffer {
			most++ // net/http does not see its length before it is sent
		}
		if out.written < 100 || len(out.header) > most {
			t.Errorf("%s: %d bytes with %d headers: %v", path, out.written, len(out.header), out.header)
		}
		if n := testing.AllocsPerRun(100, func() { w.as.ServeHTTP(out, r) }); n > 0 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
}

// discard is a ResponseWriter that keeps its header.
type discard struct {
	header  http.Header
	written int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { d.written += len(b); return len(b), nil }
func (d *discard) WriteHeader(int)             {}

// Length and type are the same with and without the body, and a script of
// another origin may read it.
func TestHeadOfDocuments(t *testing.T) {
	w := newWorld(t)
	srv := httptest.NewServer(w.as)
	t.Cleanup(srv.Close)
	for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration", "/jwks"} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			r, err := http.NewRequest(method, srv.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := srv.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if h := resp.Header; resp.ContentLength < 100 || h.Get("Content-Type") != "application/json" || h.Get("Access-Control-Allow-Origin") != "*" || h.Get("X-Frame-Options") != "DENY" {
				t.Errorf("%s %s: %d bytes, %v", method, path, resp.ContentLength, h)
			}
		}
	}
}
