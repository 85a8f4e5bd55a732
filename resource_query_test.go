package doorward_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"doorward"
)

// tenants makes the world's server one of several at one path, which their
// query tells apart; its documents lie where RFC 9728 section 3.1 has them.
func tenants(t *testing.T, w *world) (address string) {
	t.Helper()
	w.noHeader = true
	inner := w.mcp.Config.Handler
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if q := r.URL.RawQuery; strings.HasPrefix(r.URL.Path, "/.well-known/") && strings.HasPrefix(q, "tenant=") {
			if !strings.HasSuffix(r.URL.Path, "/mcp") {
				rw.WriteHeader(404)
				return
			}
			reply(rw, 200, m{"resource": "http://" + r.Host + "/mcp?" + q, "authorization_servers": []string{w.as.URL}})
			return
		}
		inner.ServeHTTP(rw, r)
	}))
	t.Cleanup(srv.Close)
	w.prm["resource"] = srv.URL + "/mcp"
	return srv.URL + "/mcp"
}

// Servers that only their query tells apart are told apart: each has metadata
// and a token of its own, in memory and in the store. Where the metadata names
// no query, one token is for all of them.
//
// covers: C-DISC-02, C-DISC-03, C-TOK-02
func TestQueryNamesAServer(t *testing.T) {
	w := newWorld(t)
	mcp := tenants(t, w)
	store := newDrawer()
	tr := &doorward.Transport{Flow: w.crossApp(), Store: store}
	resources := func() (all []string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, f := range w.forms["as"] {
			all = append(all, f.Get("resource"))
		}
		return all
	}
	token := func(tr *doorward.Transport, address string) string {
		t.Helper()
		tok, err := tr.Token(as("alice"), address)
		if err != nil {
			t.Fatal(err)
		}
		return tok.AccessToken
	}
	must(t, as("alice"), tr, mcp+"?tenant=1")
	must(t, as("alice"), tr, mcp+"?tenant=1")
	must(t, as("alice"), tr, mcp+"?tenant=2")
	one, two := token(tr, mcp+"?tenant=1"), token(tr, mcp+"?tenant=2")
	if got := resources(); one == two || !slices.Equal(got, []string{mcp + "?tenant=1", mcp + "?tenant=2"}) {
		t.Errorf("tokens %s and %s for %q", one, two, got)
	}
	// Each is found again in the store, and each is forgotten alone.
	again := &doorward.Transport{Flow: w.crossApp(), Store: store}
	if a, b := token(again, mcp+"?tenant=1"), token(again, mcp+"?tenant=2"); a != one || b != two {
		t.Errorf("from the store: %s and %s, not %s and %s", a, b, one, two)
	}
	if err := again.Forget(as("alice"), doorward.Subject{Person: "alice"}, mcp+"?tenant=1"); err != nil {
		t.Fatal(err)
	}
	third := &doorward.Transport{Flow: w.crossApp(), Store: store}
	if a, b := token(third, mcp+"?tenant=1"), token(third, mcp+"?tenant=2"); a == one || b != two {
		t.Errorf("after Forget of the first: %s (was %s) and %s (was %s)", a, one, b, two)
	}
	// The server without a query is a third one, whose token serves all queries
	// that have no metadata of their own.
	before := w.count("as")
	plain := &doorward.Transport{Flow: w.crossApp()}
	for _, query := range []string{"", "?page=1", "?page=2"} {
		must(t, as("alice"), plain, mcp+query)
	}
	if n := w.count("as") - before; n != 1 {
		t.Errorf("%d tokens for one server", n)
	}
}

// An error names a server without its query.
func TestErrorsShowNoQuery(t *testing.T) {
	w := newWorld(t)
	mcp := tenants(t, w)
	w.as.Close()
	bare := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.WriteHeader(map[bool]int{true: 500, false: 401}[strings.HasPrefix(r.URL.Path, "/.well-known/")])
	}))
	defer bare.Close()
	for _, address := range []string{mcp, bare.URL + "/mcp"} {
		_, err := post(as("alice"), &doorward.Transport{Flow: w.crossApp()}, address+"?tenant=k3y")
		if err == nil {
			t.Fatal("no error")
		}
		// The http.Client of the caller puts the address in front.
		_, ours, _ := strings.Cut(err.Error(), `": `)
		if ours == "" || strings.Contains(ours, "k3y") {
			t.Errorf("%v", err)
		}
	}
}
