package authserver

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Whatever comes to the endpoints that other programs or a browser ask: no fault
// of ours, no cache, no frame, and no answer for scripts of another site where
// none has to ask.
//
// covers: SEC-38
func TestAnythingAtTheEndpoints(t *testing.T) {
	s := newSite(t, nil)
	_, _, uri, token := registeredWith(s.mustRegister(`{"redirect_uris":["` + webCB + `"]}`))
	managed := strings.TrimPrefix(uri, s.url)
	bodies := []string{"", "\xff\xfe", "a=%ff", "client_id=%ff&token=%ff", "client_id=tv&scope=%ff",
		"client_id=tv&authorization_details=%5b%7b%7d%5d", "{\"redirect_uris\":[\"\xff\"]}", strings.Repeat("a=1&", 200_000),
		"client_id=desktop&request_uri=x&request=y", "[]", "null"}
	types := []string{"application/x-www-form-urlencoded", "application/json", "multipart/form-data; boundary=x", "", "text/plain; charset=utf-16"}
	for _, path := range []string{"/par", "/device_authorization", "/device", "/introspect", "/register", managed, "/register/%ff", "/register/a%2fb",
		"/register/..", "/device?user_code=%ff%fe", "/device?attempt=%00", "/authorize?client_id=desktop&request_uri=urn:ietf:params:oauth:request_uri:%ff"} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND"} {
			if method == "DELETE" && path == managed {
				continue // it would be gone
			}
			for i := range len(bodies) * len(types) {
				r := httptest.NewRequest(method, s.url+path, strings.NewReader(bodies[i%len(bodies)]))
				r.Header = http.Header{"Content-Type": {types[i/len(bodies)]}, "Authorization": {"Bearer " + token}, "Origin": {"https://evil.example"}}
				decent(t, method, path, send(s.Server, r))
			}
		}
	}
}

func decent(t *testing.T, method, path string, got reply) {
	t.Helper()
	if got.status >= 500 {
		t.Errorf("%s %s: %d %s", method, path, got.status, got.body)
	}
	if got.status == http.StatusNotFound {
		return
	}
	h := got.header
	if h.Get("X-Frame-Options") != "DENY" || h.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
		t.Errorf("%s %s: headers %v", method, path, h)
	}
	if got.status != http.StatusNoContent && h.Get("Cache-Control") != "no-store" {
		t.Errorf("%s %s: %d, Cache-Control %q", method, path, got.status, h.Get("Cache-Control"))
	}
	if open := strings.HasPrefix(path, "/register"); !open && h.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%s %s: %v", method, path, h)
	}
}
