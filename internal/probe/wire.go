package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"doorward/internal/oauth"
)

// Bounds of the probe: it is a guest.
const (
	requestTime = 20 * time.Second
	maxAnswer   = 512 << 10
	maxRequests = 3000
	maxWait     = 30 * time.Second // for one Retry-After
	maxWaits    = 2 * time.Minute  // for all of them
	defaultPace = 20 * time.Millisecond
)

// wire carries requests to the server, at a decent pace, and notes them. It
// goes nowhere but to the issuer's own host: that is what the user has shown
// to be theirs.
type wire struct {
	http   *http.Client
	issuer *url.URL
	pace   time.Duration

	mu     sync.Mutex
	next   time.Time // when the next request may leave
	waited time.Duration
	sent   int
	notes  []Exchange
	hidden map[string]string // secrets of this run, and how they stand in a form
}

func newWire(c Config, issuer *url.URL) *wire {
	transport := c.Transport
	if transport == nil {
		transport = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	}
	if t, ok := transport.(*http.Transport); ok {
		t = t.Clone()
		t.MaxIdleConnsPerHost, transport = atOnce, t
	}
	w := &wire{issuer: issuer, pace: c.Pace, hidden: map[string]string{}, http: &http.Client{
		Transport: transport, Timeout: requestTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if w.pace == 0 {
		w.pace = defaultPace
	}
	return w
}

// answer is a response, read to its end.
type answer struct {
	status int
	header http.Header
	body   string
	url    *url.URL
}

func (a *answer) member(name string) any {
	var m map[string]any
	if json.Unmarshal([]byte(a.body), &m) != nil {
		return nil
	}
	return m[name]
}

func (a *answer) text(name string) string { s, _ := a.member(name).(string); return s }

// mayReach is whether a URL is the server that is probed: the issuer's host,
// or, if that is loopback, loopback.
func (w *wire) mayReach(u *url.URL) bool {
	if u.Scheme != "https" && u.Scheme != "http" {
		return false
	}
	return u.Host == w.issuer.Host && u.Scheme == w.issuer.Scheme || oauth.IsLoopbackHost(w.issuer.Host) && oauth.IsLoopbackHost(u.Host)
}

var (
	errLimited = errors.New("the server answers 429: its rate limit is used up; try again later, or with --only")
	errHungUp  = errors.New("there is no answer")
	errTooMany = fmt.Errorf("the probe ends after %d requests", maxRequests)
)

// do sends a request and waits where the server asks for that.
func (w *wire) do(req *http.Request) (*answer, error) {
	if !w.mayReach(req.URL) {
		return nil, fmt.Errorf("%s://%s is not the issuer's own host, so it is not probed", req.URL.Scheme, req.URL.Host)
	}
	body := ""
	if req.GetBody != nil {
		if r, err := req.GetBody(); err == nil {
			b, _ := io.ReadAll(r)
			body = string(b)
		}
	}
	for {
		a, err := w.once(req)
		if err != nil {
			return nil, err
		}
		w.note(req, body, a)
		switch {
		case a.status >= 500:
			return a, fmt.Errorf("the server failed with %d instead of an answer", a.status)
		case a.status != http.StatusTooManyRequests:
			return a, nil
		case !w.wait(req.Context(), a.header.Get("Retry-After")):
			return a, errLimited
		}
		if req.GetBody != nil {
			if req.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

func (w *wire) once(req *http.Request) (*answer, error) {
	w.mu.Lock()
	w.sent++
	many, pause := w.sent > maxRequests, time.Until(w.next)
	w.next = time.Now().Add(max(pause, 0) + max(w.pace, 0))
	w.mu.Unlock()
	if many {
		return nil, errTooMany
	}
	if !sleep(req.Context(), pause) {
		return nil, req.Context().Err()
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "doorward-probe")
	}
	resp, err := w.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errHungUp, withoutURL(err))
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errHungUp, err)
	}
	return &answer{resp.StatusCode, resp.Header, string(b), req.URL}, nil
}

// withoutURL drops the address from an error of net/http: there may be a code
// in it.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// wait does what Retry-After asks for, within bounds.
func (w *wire) wait(ctx context.Context, after string) bool {
	seconds, err := strconv.Atoi(after)
	if err != nil {
		seconds = 5
	}
	pause := time.Duration(seconds) * time.Second
	w.mu.Lock()
	ok := pause <= maxWait && w.waited+pause <= maxWaits
	if ok {
		w.waited += pause
	}
	w.mu.Unlock()
	return ok && sleep(ctx, pause)
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (w *wire) get(ctx context.Context, address string, headers ...string) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	setAll(req, headers)
	return w.do(req)
}

// post sends a body; headers are pairs.
func (w *wire) post(ctx context.Context, address, contentType, body string, headers ...string) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", contentType)
	setAll(req, headers)
	return w.do(req)
}

func setAll(req *http.Request, headers []string) {
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
			continue
		}
		req.Header.Add(headers[i], headers[i+1])
	}
}

const formType = "application/x-www-form-urlencoded"

func isType(h http.Header, want string) bool {
	got, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && got == want
}

// atOnce is how many requests are sent at a time where that is what is tried.
const atOnce = 10

// warm opens as many connections, so that the requests that follow arrive
// together.
func (s *session) warm() {
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			_, _ = s.wire.fast().get(s.ctx, s.meta.from)
		})
	}
	all.Wait()
}

func (w *wire) fast() *wire {
	return &wire{http: w.http, issuer: w.issuer, pace: -1, hidden: map[string]string{}}
}

// at redeems a code without waiting for the pace.
func (w *wire) at(s *session, k *code) (*answer, error) {
	fast := w.fast()
	endpoint, err := s.endpoint("token_endpoint")
	if err != nil {
		return nil, err
	}
	form, headers := s.authenticated(k.client, k.form())
	a, err := fast.post(s.ctx, endpoint, formType, form.Encode(), headers...)
	if a != nil {
		w.mu.Lock()
		for _, e := range fast.notes {
			w.notes = append(w.notes, Exchange{Request: e.Request, Status: e.Status})
		}
		w.mu.Unlock()
	}
	return a, err
}
