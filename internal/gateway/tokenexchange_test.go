package gateway_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"doorward/internal/access"
	"doorward/internal/gateway"
	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

const exchangeSecret = "s3cret of+the gate"

// exchanger is an authorization server that gives tokens for others.
type exchanger struct {
	*httptest.Server
	asked  atomic.Int32
	mu     sync.Mutex
	form   url.Values
	answer func(w http.ResponseWriter, n int32)
}

func newExchanger(t *testing.T) *exchanger {
	e := &exchanger{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := e.asked.Add(1)
		id, secret, _ := r.BasicAuth()
		if id, _ = url.QueryUnescape(id); id == "" {
			id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
		} else {
			secret, _ = url.QueryUnescape(secret)
		}
		w.Header().Set("Content-Type", "application/json")
		if id != "gate" || secret != exchangeSecret || r.Method != http.MethodPost || r.URL.RawQuery != "" {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":"invalid_client"}`)
			return
		}
		_ = r.ParseForm()
		e.mu.Lock()
		e.form = r.PostForm
		answer := e.answer
		e.mu.Unlock()
		if answer != nil {
			answer(w, n)
			return
		}
		fmt.Fprintf(w, `{"access_token":"exchanged-%d","issued_token_type":%q,"token_type":"bearer","expires_in":120}`, n, oauth.TokenTypeAccessToken)
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *exchanger) answers(f func(w http.ResponseWriter, n int32)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = f
}

// exchanging is a rig whose server takes tokens of that server.
func exchanging(t *testing.T, u *upstream, e *exchanger, change func(*gateway.Exchange)) (*rig, *atomic.Int64) {
	s := files(u.URL + "/mcp")
	s.Rules = access.Rules{Name: "servers.files", Open: true}
	s.Exchange = &gateway.Exchange{Issuer: e.URL, TokenURL: e.URL + "/token", ClientID: "gate", ClientSecret: exchangeSecret, Audience: "files", Scopes: []string{"a", "b"}}
	if change != nil {
		change(s.Exchange)
	}
	r := newRig(t, nil)
	var ahead atomic.Int64
	r.config.Servers, r.config.SignCaller = map[string]gateway.Server{"files": s}, (&signer{}).sign(r.key)
	r.config.Vault = func(_ context.Context, grant string) (string, error) {
		if grant != "grant-1" {
			return "", ledger.ErrNoUpstream
		}
		return "vaulted-" + grant, nil
	}
	r.config.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	r.gw = r.with(nil)
	return r, &ahead
}

// What goes upstream is what the upstream's own authorization server gave for
// this caller, in return for a statement that is for that server alone; the
// caller's token goes to neither.
//
// covers: RS-TOK-10, SEC-03
func TestExchange(t *testing.T) {
	for _, method := range []string{"", oauth.AuthPost} {
		u, e := newUpstream(t), newExchanger(t)
		r, _ := exchanging(t, u, e, func(c *gateway.Exchange) { c.AuthMethod, c.Resource = method, "https://files.example/mcp" })
		grant, token := r.grant("alice", "/files/mcp", "files:read")
		if resp, body := r.do(http.MethodPost, "/files/mcp", token, toolCall("read_file"), "X-Copy", token); resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status, body)
		}
		req, _ := u.last()
		if got := req.Header["Authorization"]; len(got) != 1 || got[0] != "Bearer exchanged-1" || strings.Contains(fmt.Sprint(req.Header), token) {
			t.Errorf("upstream got %s", req.Header)
		}
		want := map[string]string{"grant_type": oauth.TokenExchange, "subject_token_type": oauth.TokenTypeJWT, "requested_token_type": oauth.TokenTypeAccessToken,
			"audience": "files", "resource": "https://files.example/mcp", "scope": "a b"}
		for name, value := range want {
			if e.form.Get(name) != value {
				t.Errorf("%s is %q, want %q", name, e.form.Get(name), value)
			}
		}
		if strings.Contains(e.form.Encode(), token) {
			t.Error("the caller's token was given away")
		}
		v, err := jose.Verify(e.form.Get("subject_token"), jose.NewSet(r.key), []string{jose.ES256}, []string{oauth.TypCallerJWT})
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"aud": e.URL, "sub": "corp/alice", "client_id": "desktop", "gid": grant} {
			if got, _ := v.Claims().Text(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
	}
}

// With the vault it is the separate server's token of the same grant; who has
// none gets nowhere.
func TestExchangeOfVaulted(t *testing.T) {
	u, e := newUpstream(t), newExchanger(t)
	r, _ := exchanging(t, u, e, func(c *gateway.Exchange) { c.Vault = true })
	_, alice := r.grant("alice", "/files/mcp", "files:read")
	_, bob := r.grant("bob", "/files/mcp", "files:read")
	if resp, body := r.do(http.MethodPost, "/files/mcp", alice, toolCall("read_file")); resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, body)
	}
	if got := e.form; got.Get("subject_token") != "vaulted-grant-1" || got.Get("subject_token_type") != oauth.TokenTypeAccessToken {
		t.Errorf("%v", got)
	}
	if resp, body := r.do(http.MethodPost, "/files/mcp", bob, toolCall("read_file")); resp.StatusCode != http.StatusForbidden || !strings.Contains(body, "not_vaulted") || e.asked.Load() != 1 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// One exchange serves all requests of a token, and another one comes before its
// end, or after the upstream refused what it brought; each caller has their own.
func TestExchangeOnce(t *testing.T) {
	u, e := newUpstream(t), newExchanger(t)
	r, ahead := exchanging(t, u, e, nil)
	grant, alice := r.grant("alice", "/files/mcp", "files:read")
	_, bob := r.grant("bob", "/files/mcp", "files:read")
	call := func(token string, status int, asked int32) {
		t.Helper()
		resp, body := r.do(http.MethodPost, "/files/mcp", token, toolCall("read_file"))
		if resp.StatusCode != status || e.asked.Load() != asked {
			t.Errorf("%d %s; asked %d times, want %d", resp.StatusCode, body, e.asked.Load(), asked)
		}
	}
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			if resp, body := r.do(http.MethodPost, "/files/mcp", alice, toolCall("read_file")); resp.StatusCode != http.StatusOK {
				t.Error(resp.Status, body)
			}
		})
	}
	all.Wait()
	call(alice, 200, 1)
	call(bob, 200, 2)
	if req, _ := u.last(); req.Header.Get("Authorization") != "Bearer exchanged-2" {
		t.Errorf("bob's is %q", req.Header.Get("Authorization"))
	}
	ahead.Store(int64(89 * time.Second))
	call(alice, 200, 2)
	ahead.Store(int64(91 * time.Second))
	call(alice, 200, 3)
	u.respond(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	call(alice, 502, 3)
	call(alice, 502, 3)
	u.respond(nil)
	ahead.Add(int64(6 * time.Second))
	call(alice, 200, 4)
	if _, err := r.ledger.End(t.Context(), ledger.Which{Grant: grant}, "test"); err != nil {
		t.Fatal(err)
	}
	call(alice, 401, 4)
}

// Whatever that server says instead, the caller learns what they can do, the
// operator finds why, nobody sees a secret, and it is not asked for each request.
func TestExchangeFails(t *testing.T) {
	ok := func(body string) func(http.ResponseWriter, int32) {
		return func(w http.ResponseWriter, _ int32) { fmt.Fprint(w, body) }
	}
	says := func(status int, body string) func(http.ResponseWriter, int32) {
		return func(w http.ResponseWriter, _ int32) { w.WriteHeader(status); fmt.Fprint(w, body) }
	}
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter, int32)
		status int
		reason string
		detail string
	}{
		"refuses":            {says(400, `{"error":"invalid_grant","error_description":"not `+exchangeSecret+`"}`), 403, "exchange_refused", "invalid_grant not [hidden]"},
		"knows no target":    {says(400, `{"error":"invalid_target"}`), 403, "exchange_refused", "invalid_target"},
		"denies":             {says(403, `{"error":"access_denied"}`), 403, "exchange_refused", "access_denied"},
		"does not do it":     {says(400, `{"error":"unsupported_grant_type"}`), 502, "exchange_failed", "unsupported_grant_type"},
		"knows no client":    {says(401, `{"error":"invalid_client"}`), 502, "exchange_failed", "invalid_client"},
		"an error with 200":  {ok(`{"error":"access_denied"}`), 403, "exchange_refused", "access_denied"},
		"fails":              {says(500, "x"), 503, "exchange_down", "500"},
		"has enough":         {says(429, `{"error":"slow_down"}`), 503, "exchange_down", "429"},
		"a redirect":         {says(302, ""), 502, "exchange_failed", "302"},
		"a page":             {ok("<html>"), 502, "exchange_failed", "no JSON"},
		"too much":           {ok(`{"access_token":"` + strings.Repeat("x", 70<<10) + `"}`), 502, "exchange_failed", "too large"},
		"nothing":            {ok(`{}`), 502, "exchange_failed", "no access_token"},
		"two headers":        {ok(`{"access_token":"a\r\nX: y","token_type":"Bearer"}`), 502, "exchange_failed", "no access_token"},
		"a DPoP token":       {ok(`{"access_token":"a","token_type":"DPoP"}`), 502, "exchange_failed", "DPoP"},
		"no token of access": {ok(`{"access_token":"a","token_type":"N_A","issued_token_type":"` + oauth.TokenTypeIDJAG + `"}`), 502, "exchange_failed", "N_A"},
		"a refresh token":    {ok(`{"access_token":"a","token_type":"Bearer","issued_token_type":"` + oauth.TokenTypeRefreshToken + `"}`), 502, "exchange_failed", "refresh_token"},
	} {
		u, e := newUpstream(t), newExchanger(t)
		e.answers(c.answer)
		r, ahead := exchanging(t, u, e, nil)
		_, token := r.grant("alice", "/files/mcp", "files:read")
		refs := map[string]bool{}
		for range 2 {
			resp, body := r.do(http.MethodPost, "/files/mcp", token, toolCall("read_file"))
			got := reply(t, body)
			refs[got.Error.Data["ref"]] = true
			if resp.StatusCode != c.status || got.Error.Data["reason"] != c.reason || strings.Contains(body, exchangeSecret) || u.requests() != 0 || e.asked.Load() != 1 {
				t.Errorf("%s: %d %s (asked %d times)", name, resp.StatusCode, body, e.asked.Load())
			}
			if (resp.Header.Get("Retry-After") != "") != (c.status == 503) {
				t.Errorf("%s: Retry-After %q", name, resp.Header.Get("Retry-After"))
			}
		}
		if len(refs) != 2 || refs[""] {
			t.Errorf("%s: references %v", name, refs)
		}
		for _, ev := range r.events.all(t) {
			if ev.Outcome != "ok" && (ev.Reason != c.reason || !strings.Contains(ev.Detail, c.detail) || strings.Contains(ev.Detail, exchangeSecret)) {
				t.Errorf("%s: the audit has %q %q", name, ev.Reason, ev.Detail)
			}
		}
		e.answers(nil)
		ahead.Store(int64(6 * time.Second))
		if resp, body := r.do(http.MethodPost, "/files/mcp", token, toolCall("read_file")); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: and does it again: %d %s", name, resp.StatusCode, body)
		}
	}
	u, e := newUpstream(t), newExchanger(t)
	r, _ := exchanging(t, u, e, nil)
	e.Close()
	_, token := r.grant("alice", "/files/mcp", "files:read")
	if resp, body := r.do(http.MethodPost, "/files/mcp", token, toolCall("read_file")); resp.StatusCode != 503 || !strings.Contains(body, "exchange_down") {
		t.Errorf("away: %d %s", resp.StatusCode, body)
	}
}
