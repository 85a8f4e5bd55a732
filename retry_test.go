package doorward_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"doorward"
)

// faulty answers some requests in the place of a crowd.
type faulty struct {
	*crowd
	fault func(r *http.Request, n int) (*http.Response, error) // nil, nil: none

	mu sync.Mutex
	n  int
}

func (f *faulty) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.n++
	n := f.n
	f.mu.Unlock()
	if resp, err := f.fault(r, n); resp != nil || err != nil {
		return resp, err
	}
	return f.crowd.RoundTrip(r)
}

func answers(status int, header ...string) func() (*http.Response, error) {
	return func() (*http.Response, error) {
		rec := httptest.NewRecorder()
		for i := 0; i < len(header); i += 2 {
			rec.Header().Set(header[i], header[i+1])
		}
		rec.WriteHeader(status)
		return rec.Result(), nil
	}
}

func fails(err error) func() (*http.Response, error) {
	return func() (*http.Response, error) { return nil, err }
}

// What fails in passing is tried again where nothing can be lost by it: an
// ID-JAG, which may be good once, only if it has certainly not arrived.
//
// covers: P24
func TestTokenRequestsAreRepeatedWhereSafe(t *testing.T) {
	dial := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for name, c := range map[string]struct {
		at    string // host whose token endpoint fails once
		fault func() (*http.Response, error)
		ok    bool
		least time.Duration
	}{
		"IdP 429":             {"idp.example", answers(429), true, 100 * time.Millisecond},
		"IdP 429 in a while":  {"idp.example", answers(429, "Retry-After", "3"), true, 3 * time.Second},
		"IdP 503":             {"idp.example", answers(503), true, 100 * time.Millisecond},
		"IdP 500":             {"idp.example", answers(500), false, 0},
		"IdP 400":             {"idp.example", answers(400), false, 0},
		"IdP breaks off":      {"idp.example", fails(io.ErrUnexpectedEOF), true, 100 * time.Millisecond},
		"IdP not reached":     {"idp.example", fails(dial), true, 100 * time.Millisecond},
		"IdP 429 much later":  {"idp.example", answers(429, "Retry-After", "60"), false, 0},
		"AS 429":              {"as-0.example", answers(429), true, 100 * time.Millisecond},
		"AS not reached":      {"as-0.example", fails(dial), true, 100 * time.Millisecond},
		"AS 503":              {"as-0.example", answers(503), false, 0},
		"AS breaks off":       {"as-0.example", fails(syscall.ECONNRESET), false, 0},
		"AS 429 by HTTP date": {"as-0.example", answers(429, "Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT"), true, 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sent := 0
				f := &faulty{crowd: &crowd{life: 3600, fail: t.Errorf}}
				f.fault = func(r *http.Request, _ int) (*http.Response, error) {
					if r.URL.Host != c.at || r.URL.Path != "/token" {
						return nil, nil
					}
					if sent++; sent > 1 {
						return nil, nil
					}
					return c.fault()
				}
				tr := f.transport()
				tr.Base = f
				begun := time.Now()
				err := f.do(as("alice"), tr, "alice", 0)
				if took := time.Since(begun); took < c.least || took > c.least+time.Second {
					t.Errorf("it took %v, want %v and a little", took, c.least)
				}
				if c.ok {
					if err != nil || sent != 2 {
						t.Errorf("%v after %d requests", err, sent)
					}
					return
				}
				var e *doorward.Error
				if !errors.As(err, &e) || sent != 1 || e.Retry != !strings.HasSuffix(name, "400") {
					t.Errorf("%v (retry %v) after %d requests", err, e != nil && e.Retry, sent)
				}
			})
		})
	}
}

// A server that stays busy is not asked for ever, and one that names a time is
// left alone until then.
//
// covers: P24
func TestBusyServerIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent, after := 0, ""
		f := &faulty{crowd: &crowd{life: 3600, fail: t.Errorf}}
		f.fault = func(r *http.Request, _ int) (*http.Response, error) {
			if r.URL.Host != "idp.example" || r.URL.Path != "/token" {
				return nil, nil
			}
			sent++
			return answers(429, "Retry-After", after)()
		}
		tr := f.transport()
		tr.Base = f
		var e *doorward.Error
		if err := f.do(as("alice"), tr, "alice", 0); !errors.As(err, &e) || sent != 3 || !e.Retry || e.RetryAfter != 0 {
			t.Errorf("%v after %d requests", err, sent)
		}
		sent, after = 0, "60"
		for range 5 {
			if err := f.do(as("alice"), tr, "alice", 0); !errors.As(err, &e) || e.RetryAfter != time.Minute || e.Status != 429 {
				t.Errorf("%v", err)
			}
		}
		if sent != 1 {
			t.Errorf("%d requests before the time that was asked for", sent)
		}
		time.Sleep(61 * time.Second)
		f.fault = func(*http.Request, int) (*http.Response, error) { return nil, nil }
		if err := f.do(as("alice"), tr, "alice", 0); err != nil {
			t.Error(err)
		}
	})
}

// Without a word about time-outs none of the requests hangs (d1.9).
//
// covers: P20, P21, X-HTTP-06
func TestNothingHangs(t *testing.T) {
	for name, c := range map[string]struct {
		host, path string
		step       string
		within     time.Duration
	}{
		"resource metadata": {"mcp-0.example", "/.well-known/oauth-protected-resource/mcp", "discover", 10 * time.Second},
		"AS metadata":       {"as-0.example", "/.well-known/oauth-authorization-server", "discover", 10 * time.Second},
		"IdP metadata":      {"idp.example", "/.well-known/openid-configuration", "discover", 10 * time.Second},
		"exchange":          {"idp.example", "/token", "exchange", 30 * time.Second},
		"redemption":        {"as-0.example", "/token", "redeem", 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &faulty{crowd: &crowd{life: 3600, fail: t.Errorf}}
				f.fault = func(r *http.Request, _ int) (*http.Response, error) {
					if r.URL.Host != c.host || r.URL.Path != c.path {
						return nil, nil
					}
					<-r.Context().Done()
					return nil, r.Context().Err()
				}
				tr := f.transport()
				tr.Base = f
				begun := time.Now()
				err := f.do(as("alice"), tr, "alice", 0)
				var e *doorward.Error
				if !errors.As(err, &e) || e.Step != c.step || !e.Retry || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v", err)
				}
				if took := time.Since(begun); took != c.within {
					t.Errorf("it took %v, want %v", took, c.within)
				}
			})
		})
	}
}

// The answer to a request that spent a refresh token is read and kept, also if
// nobody waits for it any more.
//
// covers: T05
func TestRotatedTokenIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow atomic.Bool
		f := &faulty{crowd: &crowd{life: 60, fail: t.Errorf}}
		f.fault = func(r *http.Request, _ int) (*http.Response, error) {
			if slow.Load() && r.URL.Path == "/token" {
				select {
				case <-time.After(5 * time.Second):
				case <-r.Context().Done():
					return nil, r.Context().Err()
				}
			}
			return nil, nil
		}
		tr := f.transport()
		tr.Base = f
		if err := f.do(as("alice"), tr, "alice", 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		slow.Store(true)
		ctx, cancel := context.WithTimeout(as("alice"), time.Second)
		defer cancel()
		if err := f.do(ctx, tr, "alice", 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		time.Sleep(10 * time.Second)
		slow.Store(false)
		if err := f.do(as("alice"), tr, "alice", 0); err != nil || f.refreshes.Load() != 1 || f.exchanges.Load() != 1 {
			t.Errorf("%v, %d refreshes, %d exchanges", err, f.refreshes.Load(), f.exchanges.Load())
		}
	})
}

// Some authorization servers take no resource with a refresh token (d4.10).
//
// covers: T08
func TestRefreshWithoutResource(t *testing.T) {
	for name, flow := range map[string]func(w *world) doorward.Flow{
		"cross-app": func(w *world) doorward.Flow { return w.crossApp() },
		"code":      func(w *world) doorward.Flow { return w.code() },
	} {
		w := newWorld(t)
		now := time.Now()
		code := "invalid_target"
		w.token = func(form url.Values) (int, map[string]any) {
			if form.Get("grant_type") == "refresh_token" && form.Has("resource") {
				return 400, m{"error": code, "error_description": "AADSTS9010010"}
			}
			return 200, m{"refresh_token": "refresh-1"}
		}
		tr := &doorward.Transport{Flow: flow(w), Now: func() time.Time { return now }}
		must(t, as("alice"), tr, w.url())
		now = now.Add(2 * time.Hour)
		must(t, as("alice"), tr, w.url())
		forms := w.forms["as"]
		if len(forms) != 3 || forms[1].Get("resource") != w.url() || forms[2].Has("resource") || forms[2].Get("refresh_token") != "refresh-1" {
			t.Errorf("%s: forms %v", name, forms)
		}
		want := 3
		for _, code = range []string{"invalid_grant", "insufficient_user_authentication"} { // the token is refused, not the request
			now = now.Add(2 * time.Hour)
			must(t, as("alice"), tr, w.url())
			want += 2
			if n := len(w.forms["as"]); n != want || w.forms["as"][n-1].Get("grant_type") == "refresh_token" {
				t.Errorf("%s: after %s %d requests", name, code, n)
			}
		}
	}
}

// A trace in the context of a call sees the requests that the call caused, Base
// gets its values, and the log has each with its time.
//
// covers: P28, P29, P20
func TestTraceAndLog(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	var seen []string
	var log strings.Builder
	base := func(r *http.Request) (*http.Response, error) {
		if span, _ := r.Context().Value(spanKey{}).(string); span != "call" {
			t.Errorf("%s without the caller's span", r.URL.Path)
		}
		return http.DefaultTransport.RoundTrip(r)
	}
	ctx := httptrace.WithClientTrace(context.WithValue(as("alice"), spanKey{}, "call"), &httptrace.ClientTrace{
		GetConn: func(hostPort string) { mu.Lock(); defer mu.Unlock(); seen = append(seen, hostPort) },
	})
	tr := &doorward.Transport{Flow: w.crossApp(), Base: trip(base),
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	must(t, ctx, tr, w.url())
	mu.Lock()
	defer mu.Unlock()
	for _, s := range []*httptest.Server{w.mcp, w.as, w.idp} {
		if !strings.Contains(strings.Join(seen, " "), s.Listener.Addr().String()) {
			t.Errorf("the trace saw no request to %s", s.URL)
		}
	}
	for _, want := range []string{"step=exchange", "step=redeem", "duration=", "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %s:\n%s", want, log.String())
		}
	}
	for _, secret := range []string{"idp-secret", "as-secret", "id-token-of", "jag-1", "token-2"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log tells %q", secret)
		}
	}
}

type spanKey struct{}

type trip func(*http.Request) (*http.Response, error)

func (f trip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
