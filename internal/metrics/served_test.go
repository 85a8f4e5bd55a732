package metrics

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

func scrape(t *testing.T, r *Registry) string {
	t.Helper()
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// covers: SEC-27
func TestServed(t *testing.T) {
	var r Registry
	h := r.Served(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/silent":
		case "/refused":
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusForbidden)
		case "/gone":
			panic(http.ErrAbortHandler)
		default:
			io.WriteString(w, "x")
		}
	}), func(path string) bool { return !strings.HasPrefix(path, "/canary") })
	ask := func(path string) {
		defer func() { _ = recover() }()
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
	}
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			for i, path := range []string{"/a", "/silent", "/refused", "/gone", "/canary"} {
				ask(fmt.Sprint(path, strings.Repeat("y", i/4)))
			}
		})
	}
	all.Wait()
	got := scrape(t, &r)
	for _, want := range []string{`{route="/a",status="200"} 10`, `{route="/silent",status="200"} 10`, `{route="/refused",status="403"} 10`, `{route="/gone",status="200"} 10`, `{route="other",status="200"} 10`} {
		if !strings.Contains(got, "doorward_requests_total"+want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	if !strings.Contains(got, `doorward_answer_seconds_count{route="/a"} 10`+"\n") || strings.Contains(got, "canary") {
		t.Error("wrong times, or what a caller sent")
	}
	if t.Failed() {
		t.Log(got)
	}
}

// Whatever is owned, what is kept is bounded.
//
// covers: SEC-38
func TestServedIsBounded(t *testing.T) {
	var r Registry
	h := r.Served(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), func(string) bool { return true })
	for i := range 2 * mostSeries {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, fmt.Sprint("/", i), nil))
	}
	if n := len(h.(*served).known); n != mostSeries {
		t.Errorf("%d are kept", n)
	}
	if n := strings.Count(scrape(t, &r), "\ndoorward_requests_total{"); n != mostSeries {
		t.Errorf("%d series", n)
	}
}

// To be counted costs one allocation.
func TestServedAllocations(t *testing.T) {
	var r Registry
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	h := r.Served(next, func(string) bool { return true })
	w, req := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/a", nil)
	if n := testing.AllocsPerRun(100, func() { h.ServeHTTP(w, req) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}
