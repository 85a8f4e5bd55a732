package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"doorward/internal/access"
	"doorward/internal/gateway"
	"doorward/internal/ledger"
)

// What the vault says decides, and only what it has for this grant goes
// upstream: never the caller's own token, wherever they put it.
//
// covers: RS-TOK-10, AS-PROXY-03
func TestVault(t *testing.T) {
	var sent atomic.Value
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent.Store(fmt.Sprint(r.Header))
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"jsonrpc":"2.0","id":1,"result":{}}`)
	}))
	t.Cleanup(up.Close)
	for _, c := range []struct {
		err    error
		status int
		says   string
	}{
		{nil, 200, `"result"`},
		{ledger.ErrUpstreamOver, 401, "not valid here"},
		{errors.Join(ledger.ErrUpstreamOver, errors.New("secret detail")), 401, "not valid here"},
		{ledger.ErrNoUpstream, 403, "not_vaulted"},
		{ledger.ErrUpstreamDown, 503, "provider_down"},
		{errors.New("secret detail"), 503, "store_unavailable"},
	} {
		sent.Store("")
		r := newRig(t, nil)
		r.config.Servers = map[string]gateway.Server{"files": {Path: "/files/mcp", Upstream: up.URL, Vault: true, Rules: access.Rules{Name: "servers.files", Open: true}}}
		r.config.Vault = func(_ context.Context, grant string) (string, error) { return "vaulted-" + grant, c.err }
		r.gw = r.with(nil)
		_, token := r.grant("alice", "/files/mcp")
		resp, body := r.do(http.MethodPost, "/files/mcp", token, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, "X-Token", token)
		got := sent.Load().(string)
		if resp.StatusCode != c.status || !strings.Contains(body, c.says) || strings.Contains(body, "secret detail") {
			t.Errorf("%v: %d %s", c.err, resp.StatusCode, body)
		}
		if strings.Contains(got, token) || (c.err == nil) != strings.Contains(got, "Bearer vaulted-") {
			t.Errorf("%v: upstream got %s", c.err, got)
		}
	}
}
