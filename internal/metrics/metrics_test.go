package metrics

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

func TestFormat(t *testing.T) {
	var r Registry
	c := r.Counter("a_total", `Back\slash
and line.`, "route", "status")
	c.Inc("token", "200")
	c.Inc("token", "200")
	c.Inc(`quo"te\`, "\n\xff")
	r.Counts("b_total", "Kept elsewhere.", "kind", func() map[string]uint64 { return map[string]uint64{"y": 2, "x": 1} })
	r.Count("bb_total", "Kept elsewhere, too.", func() uint64 { return 3 })
	r.Gauge("c", "A value.", func() float64 { return 1.5 })
	r.Gauge("d", "Constant.", func() float64 { return 1 }, "version", "1.0")
	h := r.Histogram("e_seconds", "Times.", []float64{0.1, 1}, "route")
	for _, v := range []float64{0.05, 0.1, 0.5, 7} {
		h.Observe(v, "token")
	}
	r.Histogram("f_seconds", "Nothing yet.", []float64{1})
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	want := `# HELP a_total Back\\slash\nand line.
# TYPE a_total counter
a_total{route="quo\"te\\",status="\n` + "\uFFFD" + `"} 1
a_total{route="token",status="200"} 2
# HELP b_total Kept elsewhere.
# TYPE b_total counter
b_total{kind="x"} 1
b_total{kind="y"} 2
# HELP bb_total Kept elsewhere, too.
# TYPE bb_total counter
bb_total 3
# HELP c A value.
# TYPE c gauge
c 1.5
# HELP d Constant.
# TYPE d gauge
d{version="1.0"} 1
# HELP e_seconds Times.
# TYPE e_seconds histogram
e_seconds_bucket{route="token",le="0.1"} 2
e_seconds_bucket{route="token",le="1"} 3
e_seconds_bucket{route="token",le="+Inf"} 4
e_seconds_sum{route="token"} 7.65
e_seconds_count{route="token"} 4
# HELP f_seconds Nothing yet.
# TYPE f_seconds histogram
`
	if got := w.Body.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if ct := w.Header().Get("Content-Type"); ct != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("Content-Type %q", ct)
	}
}

// covers: SEC-38
func TestSeriesAreBounded(t *testing.T) {
	var r Registry
	c, h := r.Counter("a_total", "A.", "x"), r.Histogram("b_seconds", "B.", []float64{1}, "x")
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 2000 {
				c.Inc(fmt.Sprint(g, i))
				h.Observe(1, fmt.Sprint(g, i))
			}
		})
	}
	all.Wait()
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "\na_total{"); n != mostSeries {
		t.Errorf("%d series", n)
	}
	if n := strings.Count(b.String(), "\nb_seconds_count{"); n != mostSeries {
		t.Errorf("%d histograms", n)
	}
}
