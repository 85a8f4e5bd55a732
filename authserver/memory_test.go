package authserver

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
)

// What is remembered of a stranger's request (a refusal, a count, that a client
// is not there) is no piece of the request: a body of a megabyte behind each
// would fill the memory long before any bound on their number.
//
// covers: SEC-31, SEC-38
func TestNothingHoldsOnToARequest(t *testing.T) {
	const requests, size = 24, 1000 << 10
	s := newSite(t, func(c *Config) { c.Limits = Limits{} })
	b := s.browser()
	action, typed := b.get(s.url+"/login").form(t, "password", "x")
	login := strings.TrimPrefix(action, s.url)
	padding := strings.Repeat("x", size)
	for name, body := range map[string]func(i int) (path, body string){
		"grant type": func(i int) (string, string) { return "/token", fmt.Sprintf("grant_type=g%d&client_id=c%d&pad=", i, i) },
		"unknown client": func(i int) (string, string) {
			return "/token", fmt.Sprintf("grant_type=refresh_token&client_id=c%d&pad=", i)
		},
		"pushed request": func(i int) (string, string) { return "/par", fmt.Sprintf("client_id=p%d&pad=", i) },
		"host of a document": func(i int) (string, string) {
			return "/token", fmt.Sprintf("grant_type=refresh_token&client_id=https://h%d.localhost/c&pad=", i)
		},
		"name": func(i int) (string, string) { return login, typed.Encode() + fmt.Sprintf("&username=n%d", i) },
	} {
		before := heap()
		for i := range requests {
			path, text := body(i)
			r := httptest.NewRequest(http.MethodPost, s.url+path, strings.NewReader(text+padding))
			r.RemoteAddr = fmt.Sprintf("192.0.2.%d:1", i)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Sec-Fetch-Site", "same-origin")
			for _, c := range b.client.Jar.Cookies(r.URL) {
				r.AddCookie(c)
			}
			if got := send(s.Server, r); got.status < 400 || got.status == http.StatusRequestEntityTooLarge || got.status >= 500 {
				t.Fatalf("%s: %d %s", name, got.status, got.body)
			}
		}
		if grown := heap() - before; grown > requests*size/4 {
			t.Errorf("%s: %d KiB are held after %d requests", name, grown>>10, requests)
		}
	}
	runtime.KeepAlive(s)
}

// heap is how many bytes are in use.
func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
