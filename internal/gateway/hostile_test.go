package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"doorward/internal/gateway"
)

const ping = `{"jsonrpc":"2.0","id":1,"method":"ping"}`

// deadlines is a ResponseWriter that remembers every read deadline.
type deadlines struct {
	*httptest.ResponseRecorder
	read []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.read = append(d.read, t)
	return nil
}

// Whoever announces a body and never sends it must not hold a connection; what
// was read must not be cut off by that.
//
// covers: X-HTTP-06, SEC-38
func TestBodiesHaveATime(t *testing.T) {
	u := newUpstream(t)
	r := newRig(t, map[string]gateway.Server{"files": files(u.URL)})
	_, token := r.grant("alice", "/files/mcp", "files:read")
	for _, c := range []struct {
		name, method, token, body string
		lifted                    bool
	}{
		{"no token", http.MethodPost, "", ping, false},
		{"bad token", http.MethodPost, "x.y.z", ping, false},
		{"no JSON", http.MethodPost, token, "{", false},
		{"a call", http.MethodPost, token, ping, true},
		{"a stream", http.MethodGet, token, "", true},
		{"a stream with a body", http.MethodGet, token, "x", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := httptest.NewRequest(c.method, r.url+"/files/mcp", strings.NewReader(c.body))
			req.Header.Set("Content-Type", "application/json")
			if c.token != "" {
				req.Header.Set("Authorization", "Bearer "+c.token)
			}
			rec := &deadlines{ResponseRecorder: httptest.NewRecorder()}
			r.gw.ServeHTTP(rec, req)
			if len(rec.read) == 0 || time.Until(rec.read[0]) <= 0 || time.Until(rec.read[0]) > time.Minute {
				t.Fatalf("the body may take until %v", rec.read)
			}
			if got := rec.read[len(rec.read)-1].IsZero(); got != c.lifted {
				t.Errorf("status %d: limit lifted %v, want %v", rec.Code, got, c.lifted)
			}
		})
	}
}

// covers: RS-TOK-10, SEC-03
func TestTokenGoesUpInNoHeader(t *testing.T) {
	u := newUpstream(t)
	r := newRig(t, map[string]gateway.Server{"files": files(u.URL)})
	_, token := r.grant("alice", "/files/mcp", "files:read")
	resp, text := r.do(http.MethodPost, "/files/mcp", token, ping, "X-Authorization", "Bearer "+token, "X-Api-Key", token,
		"User-Agent", "a "+token, "X-Other", "kept")
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, text)
	}
	got, _ := u.last()
	for name, values := range got.Header {
		if strings.Contains(strings.Join(values, " "), token) {
			t.Errorf("the token went up in %s", name)
		}
	}
	if got.Header.Get("X-Other") != "kept" {
		t.Error("another header did not go up")
	}
}

// No cache between may keep what one person got for another, whatever the
// server behind says.
func TestAnswersAreNotForSharedCaches(t *testing.T) {
	u := newUpstream(t)
	r := newRig(t, map[string]gateway.Server{"files": files(u.URL)})
	_, token := r.grant("alice", "/files/mcp", "files:read")
	for said, want := range map[string]string{
		"": "no-store", "no-store": "no-store", "no-cache, no-transform": "no-cache, no-transform", "private, max-age=60": "private, max-age=60",
		"public, max-age=60": "no-store", "max-age=60": "no-store", "no-cache, PUBLIC": "no-store", "private, s-maxage=9": "no-store", "must-revalidate": "no-store",
	} {
		u.respond(func(w http.ResponseWriter, _ *http.Request) {
			if said != "" {
				w.Header().Set("Cache-Control", said)
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"jsonrpc":"2.0","id":1,"result":{}}`))
		})
		resp, _ := r.do(http.MethodPost, "/files/mcp", token, ping)
		if got := strings.Join(resp.Header["Cache-Control"], "; "); resp.StatusCode != 200 || got != want {
			t.Errorf("%q: %d %q", said, resp.StatusCode, got)
		}
	}
}
