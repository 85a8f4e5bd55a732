package doctor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"doorward/internal/doctor"
)

// steering finds what may not come onto a terminal.
func steering(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && (r < ' ' || r > '~') })
}

// What servers say steers no terminal.
func TestNothingSteersTheTerminal(t *testing.T) {
	const evil = "\x1b]0;owned\x07\x1b[2J\u009b31m\u202e\r\n"
	for name, ruin := range map[string]func(*site){
		"issuer":    func(s *site) { s.server["issuer"] = evil },
		"resource":  func(s *site) { s.resource["resource"] = "https://mcp.example.com/" + evil },
		"scope":     func(s *site) { s.resource["scopes_supported"] = []string{evil, "a b"} },
		"servers":   func(s *site) { s.resource["authorization_servers"] = []string{evil} },
		"endpoint":  func(s *site) { s.server["token_endpoint"] = "https://" + evil },
		"methods":   func(s *site) { s.server["code_challenge_methods_supported"] = []string{evil} },
		"kid":       func(s *site) { k, _ := json.Marshal(evil); s.keys = `{"keys":[{"kty":"oct","kid":` + string(k) + `}]}` },
		"location":  func(s *site) { s.answer[mcpHost+"/mcp"] = answers(302, "text/plain", "", "Location", "/\x1b[2J") },
		"type":      func(s *site) { s.answer[prmAt] = answers(200, "text/\x1b[2J", `{"a":1}`) },
		"error":     func(s *site) { s.answer[authHost+"/token"] = answers(400, "application/json", `{"error":"\u001b[2J"}`) },
		"challenge": func(s *site) { s.challenge("Basic \x1b[2J\u009b") },
	} {
		s := newSite(t)
		ruin(s)
		r := s.walk(t)
		if text := r.Text(nil); steering(text) || len(findings(r)) == 0 {
			t.Errorf("%s: %q", name, text)
		}
		for _, step := range r.Steps {
			if steering(step.Saw + step.Mend) {
				t.Errorf("%s: %+v", name, step)
			}
		}
	}
}

// A walk ends in time, whatever hangs and however much is sent.
func TestDeadline(t *testing.T) {
	slow := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else the end of the connection is not seen
		<-r.Context().Done()
	}
	endless := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for {
			if _, err := fmt.Fprint(w, strings.Repeat(" ", 4096)); err != nil {
				return
			}
		}
	}
	trickle := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		for r.Context().Err() == nil {
			fmt.Fprint(w, " ")
			w.(http.Flusher).Flush()
			time.Sleep(20 * time.Millisecond)
		}
	}
	never := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for name, change := range map[string]func(*site, *doctor.Config){
		"slow server":      func(s *site, _ *doctor.Config) { s.answer[mcpHost+"/mcp"] = slow },
		"slow metadata":    func(s *site, _ *doctor.Config) { s.answer[prmAt] = slow },
		"slow keys":        func(s *site, _ *doctor.Config) { s.answer[authHost+"/jwks"] = slow },
		"slow tokens":      func(s *site, _ *doctor.Config) { s.answer[authHost+"/token"] = slow },
		"endless metadata": func(s *site, _ *doctor.Config) { s.answer[asAt] = endless },
		"endless refusal":  func(s *site, _ *doctor.Config) { s.answer[mcpHost+"/mcp"] = endless },
		"trickling keys":   func(s *site, _ *doctor.Config) { s.answer[authHost+"/jwks"] = trickle },
		"a deaf resolver": func(_ *site, c *doctor.Config) {
			c.Lookup = func(ctx context.Context, _, _ string) ([]netip.Addr, error) { return nil, never(ctx) }
		},
		"a deaf port": func(_ *site, c *doctor.Config) {
			c.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return nil, never(ctx) }
		},
		"a port that says nothing": func(_ *site, c *doctor.Config) {
			c.Dial = func(context.Context, string, string) (net.Conn, error) {
				here, there := net.Pipe()
				t.Cleanup(func() { there.Close() })
				return here, nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			start := time.Now()
			r := s.walk(t, func(c *doctor.Config) {
				c.Timeout = 400 * time.Millisecond
				change(s, c)
			})
			if took := time.Since(start); took > 3*time.Second || r.OK {
				t.Errorf("after %s: ok is %t", took, r.OK)
			}
		})
	}
}

// What a public server names in private space is not connected to, and a name
// that resolves to something else the second time gains nothing.
//
// covers: C-DISC-09, SEC-05
func TestNothingPrivateIsReached(t *testing.T) {
	s := newSite(t)
	s.names["rebind.example.com"] = []string{"93.184.215.15"}
	s.server["jwks_uri"] = "https://rebind.example.com/jwks"
	var inside atomic.Int32
	var asked atomic.Int32
	s.walk(t, func(c *doctor.Config) {
		lookup, dial := c.Lookup, c.Dial
		c.Lookup = func(ctx context.Context, network, host string) ([]netip.Addr, error) {
			if host == "rebind.example.com" && asked.Add(1) > 1 {
				return []netip.Addr{netip.MustParseAddr("10.0.0.1")}, nil
			}
			return lookup(ctx, network, host)
		}
		c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, "10.") {
				inside.Add(1)
			}
			return dial(ctx, network, address)
		}
	})
	if inside.Load() != 0 || asked.Load() < 2 {
		t.Errorf("%d connections inside, %d look-ups", inside.Load(), asked.Load())
	}
}

// A walk leaves no connection behind.
func TestNoConnectionStays(t *testing.T) {
	s := newSite(t)
	var open atomic.Int32
	s.walk(t, func(c *doctor.Config) {
		dial := c.Dial
		c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			open.Add(1)
			return &counted{Conn: conn, open: &open}, nil
		}
	})
	for range 100 { // the last ones are closed by the transport's own goroutines
		if open.Load() == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%d connections are open", open.Load())
}

type counted struct {
	net.Conn
	open *atomic.Int32
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

// FuzzWalk: whatever a server answers, the walk ends, and what it says can be
// shown.
func FuzzWalk(f *testing.F) {
	good := newSite(f)
	prm, _ := json.Marshal(good.resource)
	as, _ := json.Marshal(good.server)
	f.Add(401, "application/json", good.header.Get("WWW-Authenticate"), prm, as, []byte(good.keys))
	f.Add(200, "text/html", "Bearer", []byte("<html>"), []byte("{}"), []byte("[]"))
	f.Add(302, "", "Bearer resource_metadata=\"//x\"", []byte("null"), []byte(`{"issuer":1}`), []byte(`{"keys":[null,{"kty":1}]}`))
	f.Add(401, "application/json", `Bearer resource_metadata="https://10.0.0.1/"`, []byte(`{"authorization_servers":["http://[::1"]}`), []byte(`{"token_endpoint":"//"}`), []byte(`{"keys":{}}`))
	s := newSite(f)
	f.Fuzz(func(t *testing.T, status int, kind, challenge string, prm, as, keys []byte) {
		if status < 200 || status > 599 {
			return
		}
		body := func(b []byte) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Content-Type"] = []string{kind}
				_, _ = w.Write(b)
			}
		}
		s.status = status
		s.challenge(challenge)
		s.answer[prmAt], s.answer[asAt], s.answer[authHost+"/jwks"] = body(prm), body(as), body(keys)
		r := s.walk(t, func(c *doctor.Config) { c.Timeout = 5 * time.Second })
		if steering(r.Text(nil)) {
			t.Errorf("%q", r.Text(nil))
		}
		for _, step := range findings(r) {
			if step.Mend == "" || step.Who == "" || step.Title == "" {
				t.Errorf("%+v", step)
			}
		}
	})
}
