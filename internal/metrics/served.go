package metrics

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Served counts the requests of h by path and status, and the time until their
// answers began; a stream goes on after that. owns reports whether there is
// something at a path: other paths are counted as one, since callers make them up.
func (r *Registry) Served(h http.Handler, owns func(path string) bool) http.Handler {
	s := &served{
		next: h, owns: owns, known: map[servedAs]seen{},
		requests: r.Counter("doorward_requests_total", "Requests by path, if there is something at it, and status.", "route", "status"),
		answer: r.Histogram("doorward_answer_seconds", "Time until an answer began; a stream goes on after that.",
			[]float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10}, "route"),
	}
	return s
}

// served is the handler that counts.
type served struct {
	next     http.Handler
	owns     func(path string) bool
	requests *Counter
	answer   *Histogram

	mu    sync.RWMutex
	known map[servedAs]seen // what answers are counted in, so that labels are not written for each
}

type servedAs struct {
	route  string
	status int
}

// seen is the series of a route and status.
type seen struct {
	requests *Series
	answer   *Times
}

// ServeHTTP implements http.Handler.
func (s *served) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &countedAnswer{ResponseWriter: w, begun: time.Now()}
	route := "other"
	if s.owns(r.URL.Path) {
		route = r.URL.Path // of the configuration, since there is something at it
	}
	defer s.count(c, route)
	s.next.ServeHTTP(c, r)
}

func (s *served) count(c *countedAnswer, route string) {
	if c.status == 0 {
		c.WriteHeader(http.StatusOK)
	}
	in := s.series(servedAs{route, c.status})
	in.requests.Inc()
	in.answer.Observe(c.took.Seconds())
}

func (s *served) series(as servedAs) seen {
	s.mu.RLock()
	in, ok := s.known[as]
	s.mu.RUnlock()
	if ok {
		return in
	}
	in = seen{s.requests.With(as.route, strconv.Itoa(as.status)), s.answer.With(as.route)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) < mostSeries {
		as.route = strings.Clone(as.route) // not a piece of the request
		s.known[as] = in
	}
	return in
}

// countedAnswer remembers the status of an answer and when it began.
type countedAnswer struct {
	http.ResponseWriter
	begun  time.Time
	took   time.Duration
	status int
}

// WriteHeader is http.ResponseWriter.
func (c *countedAnswer) WriteHeader(status int) {
	if c.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		c.status, c.took = status, time.Since(c.begun)
	}
	c.ResponseWriter.WriteHeader(status)
}

// Write is http.ResponseWriter.
func (c *countedAnswer) Write(b []byte) (int, error) {
	if c.status == 0 {
		c.status, c.took = http.StatusOK, time.Since(c.begun)
	}
	return c.ResponseWriter.Write(b)
}

// Begun reports whether something of the answer was written.
func (c *countedAnswer) Begun() bool { return c.status != 0 }

// Flush is http.Flusher, which some handlers look for.
func (c *countedAnswer) Flush() { _ = http.NewResponseController(c.ResponseWriter).Flush() }

// Unwrap is for http.ResponseController.
func (c *countedAnswer) Unwrap() http.ResponseWriter { return c.ResponseWriter }
