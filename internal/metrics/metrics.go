// Package metrics counts what a program does and writes the counts in the text
// format of Prometheus (version 0.0.4).
//
// It is small because the usual client library costs 2.4 MiB of resident memory
// that a goal of 64 MiB does not have. Label values are words of the program,
// never what a caller sent; each metric keeps at most 1,000 of their
// combinations.
package metrics

import (
	"bufio"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// mostSeries bounds what one metric keeps.
const mostSeries = 1000

// Registry is the metrics of a program, in the order in which they were made.
// It is safe for use by any number of goroutines.
type Registry struct {
	mu       sync.Mutex
	families []family
}

// family is one metric with all its series.
type family struct {
	name, help, kind string
	write            func(*bufio.Writer)
}

func (r *Registry) add(f family) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.families = append(r.families, f)
}

// Counter only grows. Its name ends in _total.
type Counter struct {
	mu     sync.Mutex
	labels []string
	series map[string]*Series // by the label values, written out
}

// Series is one of a counter: one set of label values. nil counts nothing.
type Series struct{ n atomic.Uint64 }

// Inc adds one.
func (s *Series) Inc() {
	if s != nil {
		s.n.Add(1)
	}
}

// Counter makes a counter with labels.
func (r *Registry) Counter(name, help string, labels ...string) *Counter {
	c := &Counter{labels: labels, series: map[string]*Series{}}
	r.add(family{name, help, "counter", func(w *bufio.Writer) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, s := range slices.Sorted(maps.Keys(c.series)) {
			sample(w, name, s, strconv.FormatUint(c.series[s].n.Load(), 10))
		}
	}})
	return c
}

// Inc adds one to the series with these label values.
func (c *Counter) Inc(values ...string) { c.With(values...).Inc() }

// With is the series with these label values; nil if there are too many.
func (c *Counter) With(values ...string) *Series {
	s := written(c.labels, values)
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.series[s]
	if n == nil && len(c.series) < mostSeries {
		n = new(Series)
		c.series[s] = n
	}
	return n
}

// Count makes a counter that is kept elsewhere.
func (r *Registry) Count(name, help string, read func() uint64) {
	r.add(family{name, help, "counter", func(w *bufio.Writer) { sample(w, name, "", strconv.FormatUint(read(), 10)) }})
}

// Counts makes a counter that is kept elsewhere, by the value of its one label.
func (r *Registry) Counts(name, help, label string, read func() map[string]uint64) {
	r.add(family{name, help, "counter", func(w *bufio.Writer) {
		now := read()
		for _, v := range slices.Sorted(maps.Keys(now)) {
			sample(w, name, written([]string{label}, []string{v}), strconv.FormatUint(now[v], 10))
		}
	}})
}

// Gauge makes a value that is read when it is asked for. labels are constant,
// names and values in turn.
func (r *Registry) Gauge(name, help string, read func() float64, labels ...string) {
	var names, values []string
	for i := 0; i+1 < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	r.add(family{name, help, "gauge", func(w *bufio.Writer) { sample(w, name, written(names, values), number(read())) }})
}

// Histogram counts durations in seconds, up to bounds.
type Histogram struct {
	mu     sync.Mutex
	bounds []float64
	labels []string
	series map[string]*Times
}

// Times is one series of a histogram: one set of label values. nil counts nothing.
type Times struct {
	of     *Histogram
	counts []uint64 // the last: over all bounds
	sum    float64
}

// Observe counts a value.
func (t *Times) Observe(v float64) {
	if t == nil {
		return
	}
	i, _ := slices.BinarySearch(t.of.bounds, v)
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	t.counts[i]++
	t.sum += v
}

// Histogram makes a histogram with labels. Its name ends in _seconds.
func (r *Registry) Histogram(name, help string, bounds []float64, labels ...string) *Histogram {
	h := &Histogram{bounds: bounds, labels: labels, series: map[string]*Times{}}
	r.add(family{name, help, "histogram", func(w *bufio.Writer) { h.write(w, name) }})
	return h
}

// Observe counts a value in the series with these label values.
func (h *Histogram) Observe(v float64, values ...string) { h.With(values...).Observe(v) }

// With is the series with these label values; nil if there are too many.
func (h *Histogram) With(values ...string) *Times {
	s := written(h.labels, values)
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.series[s]
	if t == nil && len(h.series) < mostSeries {
		t = &Times{of: h, counts: make([]uint64, len(h.bounds)+1)}
		h.series[s] = t
	}
	return t
}

func (h *Histogram) write(w *bufio.Writer, name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range slices.Sorted(maps.Keys(h.series)) {
		b, n := h.series[s], uint64(0)
		for i, c := range b.counts {
			n += c
			le := math.Inf(1)
			if i < len(h.bounds) {
				le = h.bounds[i]
			}
			sample(w, name+"_bucket", join(s, `le="`+number(le)+`"`), strconv.FormatUint(n, 10))
		}
		sample(w, name+"_sum", s, number(b.sum))
		sample(w, name+"_count", s, strconv.FormatUint(n, 10))
	}
}

// Write writes every metric.
func (r *Registry) Write(to io.Writer) error {
	r.mu.Lock()
	families := slices.Clone(r.families)
	r.mu.Unlock()
	w := bufio.NewWriter(to)
	for _, f := range families {
		w.WriteString("# HELP " + f.name + " " + escapeHelp.Replace(f.help) + "\n# TYPE " + f.name + " " + f.kind + "\n")
		f.write(w)
	}
	return w.Flush()
}

// ServeHTTP answers a scrape.
func (r *Registry) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_ = r.Write(w) // who went away needs no answer
}

var (
	escapeHelp  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	escapeValue = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

// written is label names and values as the format has them. A program that
// gives another number of values than there are labels has a fault.
func written(labels, values []string) string {
	if len(labels) != len(values) {
		panic("metrics: " + strconv.Itoa(len(values)) + " values for labels " + strings.Join(labels, ", "))
	}
	var b strings.Builder
	for i, l := range labels {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(l + `="` + escapeValue.Replace(strings.ToValidUTF8(values[i], "\uFFFD")) + `"`)
	}
	return b.String()
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "," + b
}

func sample(w *bufio.Writer, name, labels, value string) {
	w.WriteString(name)
	if labels != "" {
		w.WriteString("{" + labels + "}")
	}
	w.WriteString(" " + value + "\n")
}

func number(v float64) string {
	if math.IsInf(v, 1) {
		return "+Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
