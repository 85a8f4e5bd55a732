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
