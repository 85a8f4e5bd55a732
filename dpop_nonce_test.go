package doorward_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"doorward"
)

// nonces makes an endpoint of a stand-in server want a nonce in each proof, a
// new one after every good request.
type nonces struct {
	name string
	path string
	bad  func(h http.Header) // changes the header of an answer that asks for a nonce

	mu     sync.Mutex
	n      int
	claims []map[string]any // of the proofs that came
	asked  int
}

func (n *nonces) current() string { return fmt.Sprintf("%s-%d", n.name, n.n) }

// guard stands before the handler of a server that has not been used yet.
func (n *nonces) guard(t *testing.T, s *httptest.Server) {
	inner := s.Config.Handler
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, bound := strings.CutPrefix(r.Header.Get("Authorization"), "DPoP ")
		if r.URL.Path != n.path || r.Header.Get("DPoP") == "" {
			inner.ServeHTTP(w, r)
			return
		}
		c, _ := claimsOf(t, r.Header.Get("DPoP"))
		n.mu.Lock()
		n.claims = append(n.claims, c)
		good := c["nonce"] == n.current()
		if good {
			n.n++
		} else {
			n.asked++
		}
		w.Header().Set("DPoP-Nonce", n.current())
		n.mu.Unlock()
		switch {
		case good && bound:
			r.Header.Set("Authorization", "Bearer "+token)
			fallthrough
		case good:
			inner.ServeHTTP(w, r)
			return
		case n.bad != nil:
			n.bad(w.Header())
		}
		if bound {
			w.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce", error_description="a nonce"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		reply(w, http.StatusBadRequest, m{"error": "use_dpop_nonce"})
	})
}

// used is how often a proof came, how often a nonce had to be asked for, and
// whether every proof was new.
func (n *nonces) used() (proofs, asked int, fresh bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	seen := map[any]bool{}
	for _, c := range n.claims {
		seen[c["jti"]] = true
	}
	return len(n.claims), n.asked, len(seen) == len(n.claims)
}

// A request is sent once more with the nonce of the answer, and the nonces of
// good answers are used at once, so that one question per endpoint is enough.
// What the request is for, code or assertion, goes again; the proof and the
// client's own assertion are new.
//
// covers: C-DPOP-02
func TestNonces(t *testing.T) {
	for name, flow := range map[string]func(w *world) doorward.Flow{
		"code":      func(w *world) doorward.Flow { return w.code() },
		"cross-app": func(w *world) doorward.Flow { return w.crossApp() },
		"client": func(w *world) doorward.Flow {
			w.asMetadata["token_endpoint_auth_methods_supported"] = []string{"private_key_jwt"}
			return &doorward.ClientCredentials{Client: doorward.Credentials{ID: "agent", Key: p256(t)}}
		},
	} {
		w := newWorld(t)
		w.token = func(url.Values) (int, map[string]any) { return 200, m{"token_type": "DPoP"} }
		as1, rs := &nonces{name: "as", path: "/token"}, &nonces{name: "rs", path: "/mcp"}
		as1.guard(t, w.as)
		rs.guard(t, w.mcp)
		tr := &doorward.Transport{Flow: flow(w), DPoP: p256(t)}
		for range 3 {
			must(t, as("alice"), tr, w.url())
		}
		w.revoke()
		must(t, as("alice"), tr, w.url())
		if proofs, asked, fresh := as1.used(); proofs != 3 || asked != 1 || !fresh {
			t.Errorf("%s: the authorization server got %d proofs and asked %d times for a nonce; all new: %v", name, proofs, asked, fresh)
		}
		if proofs, asked, fresh := rs.used(); proofs != 6 || asked != 1 || !fresh {
			t.Errorf("%s: the MCP server got %d proofs and asked %d times for a nonce; all new: %v", name, proofs, asked, fresh)
		}
		if n := w.count("as"); n != 2 {
			t.Errorf("%s: %d token requests with a good nonce, want 2", name, n)
		}
	}
}

// A server that is never content gets each request twice and no more, and what
// is no nonce is not repeated to it.
//
// covers: C-DPOP-02
func TestNonceWithoutEnd(t *testing.T) {
	long := strings.Repeat("x", 2000)
	for name, bad := range map[string]func(http.Header){
		"always another": func(h http.Header) { h.Set("DPoP-Nonce", fmt.Sprintf("other-%p", h)) },
		"none":           func(h http.Header) { h.Del("DPoP-Nonce") },
		"empty":          func(h http.Header) { h.Set("DPoP-Nonce", "") },
		"two":            func(h http.Header) { h.Add("DPoP-Nonce", "second") },
		"with blanks":    func(h http.Header) { h.Set("DPoP-Nonce", "a b") },
		"much too long":  func(h http.Header) { h.Set("DPoP-Nonce", long) },
	} {
		most := 1
		if name == "always another" {
			most = 2
		}
		w := newWorld(t)
		server := &nonces{name: "as", path: "/token", bad: bad}
		server.guard(t, w.as)
		tr := &doorward.Transport{Flow: w.crossApp(), DPoP: p256(t)}
		if _, err := tr.Token(as("alice"), w.url()); err == nil || !strings.Contains(err.Error(), "use_dpop_nonce") {
			t.Errorf("%s: %v", name, err)
		}
		if proofs, _, _ := server.used(); proofs != most {
			t.Errorf("%s: %d token requests, want %d", name, proofs, most)
		}
		for _, c := range server.claims {
			if n, there := c["nonce"]; there && name != "always another" {
				t.Errorf("%s: a proof with the nonce %.40v", name, n)
			}
		}

		w = newWorld(t)
		w.token = func(url.Values) (int, map[string]any) { return 200, m{"token_type": "DPoP"} }
		server = &nonces{name: "rs", path: "/mcp", bad: bad}
		server.guard(t, w.mcp)
		tr = &doorward.Transport{Flow: w.crossApp(), DPoP: p256(t)}
		if status, err := post(as("alice"), tr, w.url()); err != nil || status != http.StatusUnauthorized {
			t.Errorf("%s: %d %v, want the 401 back", name, status, err)
		}
		if proofs, _, _ := server.used(); proofs != most {
			t.Errorf("%s: %d calls with a proof", name, proofs)
		}
	}
}

// A body that can be read once only is not sent again; the nonce of that answer
// serves the next request.
//
// covers: C-DPOP-02
func TestNonceAndABodyThatGoesOnce(t *testing.T) {
	w := newWorld(t)
	w.token = func(url.Values) (int, map[string]any) { return 200, m{"token_type": "DPoP"} }
	rs := &nonces{name: "rs", path: "/mcp"}
	tr := &doorward.Transport{Flow: w.crossApp(), DPoP: p256(t)}
	rs.guard(t, w.mcp)
	if _, err := tr.Token(as("alice"), w.url()); err != nil {
		t.Fatal(err)
	}
	send := func() int {
		req, err := http.NewRequestWithContext(as("alice"), http.MethodPost, w.url(), io.LimitReader(zeros{}, 5<<20))
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = 5 << 20
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if first, second := send(), send(); first != http.StatusUnauthorized || second != http.StatusOK {
		t.Errorf("statuses %d and %d", first, second)
	}
	if proofs, asked, _ := rs.used(); proofs != 2 || asked != 1 {
		t.Errorf("%d proofs, %d without a nonce", proofs, asked)
	}
	must(t, as("alice"), tr, w.url())
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
