package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"doorward/internal/access"
	"doorward/internal/gateway"
	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

// signer makes caller JWTs with the rig's key and counts them.
type signer struct {
	made   atomic.Int32
	broken atomic.Bool
}

func (s *signer) sign(key *jose.Key) func(oauth.CallerClaims) (string, error) {
	return func(c oauth.CallerClaims) (string, error) {
		if s.broken.Load() {
			return "", errors.New("secret detail")
		}
		now := time.Now()
		c.Issuer, c.IssuedAt, c.ID = corpIssuer, now.Unix(), fmt.Sprint(s.made.Add(1))
		c.Expires = min(c.Expires, now.Add(oauth.CallerJWTLife).Unix())
		return key.Sign(oauth.TypCallerJWT, &c)
	}
}

// tells is a rig whose servers are told who calls.
func tells(t *testing.T, s *signer, servers map[string]gateway.Server) *rig {
	r := newRig(t, nil)
	r.config.Servers, r.config.SignCaller = servers, s.sign(r.key)
	r.gw = r.with(nil)
	return r
}

// statement is the caller JWT that an upstream got last, checked as it would.
func (r *rig) statement(u *upstream) (token string, c oauth.CallerClaims) {
	r.Helper()
	req, _ := u.last()
	if got := req.Header["Authorization"]; len(got) != 1 {
		r.Fatalf("Authorization: %q", got)
	}
	token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	v, err := jose.Verify(token, jose.NewSet(r.key), []string{jose.ES256}, []string{oauth.TypCallerJWT})
	if !ok || err != nil {
		r.Fatalf("%q: %v", token, err)
	}
	raw, err := json.Marshal(v.Claims())
	if err != nil {
		r.Fatal(err)
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		r.Fatal(err)
	}
	return token, c
}

// An upstream that takes it learns who calls from a statement for it alone, and
// from nothing that the caller says; the caller's token stays here, and the
// statement opens nothing.
//
// covers: RS-TOK-10, SEC-03
func TestCallerJWT(t *testing.T) {
	u, s := newUpstream(t), &signer{}
	plain := files(u.URL + "/mcp?key=1")
	plain.CallerJWT = true
	full := plain
	full.Path, full.CallerClaims = "/full/mcp", []string{"email", "name", "groups"}
	r := tells(t, s, map[string]gateway.Server{"files": plain, "full": full})
	alice := oauth.Subject{ID: "corp/alice", Provider: "corp", Email: "alice@corp.example", Name: "Alice", Groups: []string{"alices", "eng"}, ACR: "2"}
	signedIn := time.Now().Add(-time.Hour).Unix()
	how := map[string]any{"auth_time": signedIn, "amr": []string{"mfa"}, "acr": "2"}
	for path, want := range map[string]oauth.CallerClaims{
		"/files/mcp": {},
		"/full/mcp":  {Email: "alice@corp.example", Name: "Alice", Groups: []string{"alices", "eng"}},
	} {
		grant, token := r.grantOf(alice, path, how, "files:write")
		resp, body := r.do(http.MethodPost, path, token, toolCall("read_file"), "Doorward-Subject", "corp/bob", "X-Forwarded-User", "bob", "X-Copy", token, "Remote-User", "bob")
		if resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status, body)
		}
		sent, c := r.statement(u)
		if life := c.Expires - c.IssuedAt; life <= 0 || life > 60 || c.ID == "" {
			t.Errorf("%s: life %d, jti %q", path, life, c.ID)
		}
		want.Issuer, want.Audience, want.Subject, want.Client, want.Scope, want.Grant = corpIssuer, u.URL+"/mcp", "corp/alice", "desktop", "files:write files:read", grant
		want.AuthTime, want.ACR, want.AMR, want.Expires, want.IssuedAt, want.ID = signedIn, "2", []string{"mfa"}, c.Expires, c.IssuedAt, c.ID
		if fmt.Sprint(c) != fmt.Sprint(want) {
			t.Errorf("%s: got %+v, want %+v", path, c, want)
		}
		req, _ := u.last()
		if all := fmt.Sprint(req.Header); strings.Contains(all, token) || strings.Contains(all, "bob") {
			t.Errorf("%s: upstream got %s", path, all)
		}
		if resp, body := r.do(http.MethodPost, path, sent, toolCall("read_file")); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("the statement opens %s: %d %s", path, resp.StatusCode, body)
		}
	}
}

// It is signed once for many requests of a token, and again for another token,
// for other groups, and after two thirds of its life.
func TestCallerJWTIsKept(t *testing.T) {
	u, s := newUpstream(t), &signer{}
	server := files(u.URL)
	server.CallerJWT, server.CallerClaims, server.Rules = true, []string{"groups"}, access.Rules{Name: "servers.files", Open: true}
	r := tells(t, s, map[string]gateway.Server{"files": server})
	var ahead atomic.Int64
	var groups atomic.Pointer[[]string]
	groups.Store(&[]string{"eng"})
	r.config.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	r.config.Groups = func(context.Context, oauth.Subject) ([]string, error) { return *groups.Load(), nil }
	r.gw = r.with(nil)
	_, alice := r.grant("alice", "/files/mcp", "files:read")
	_, bob := r.grant("bob", "/files/mcp", "files:read")
	call := func(token, sub string, made int32) oauth.CallerClaims {
		t.Helper()
		if resp, body := r.do(http.MethodPost, "/files/mcp", token, toolCall("read_file")); resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status, body)
		}
		_, c := r.statement(u)
		if c.Subject != sub || s.made.Load() != made {
			t.Errorf("%s: got %s; made %d, want %d", sub, c.Subject, s.made.Load(), made)
		}
		return c
	}
	for range 3 {
		call(alice, "corp/alice", 1)
	}
	call(bob, "corp/bob", 2)
	call(alice, "corp/alice", 2)
	groups.Store(&[]string{"sales"})
	if c := call(alice, "corp/alice", 3); !slices.Equal(c.Groups, []string{"sales"}) {
		t.Errorf("groups of before: %q", c.Groups)
	}
	ahead.Store(int64(39 * time.Second))
	call(alice, "corp/alice", 3)
	ahead.Store(int64(41 * time.Second))
	call(alice, "corp/alice", 4)
	many := make([]string, 300)
	for i := range many {
		many[i] = fmt.Sprintf("group-%06d", i)
	}
	groups.Store(&many)
	if c := call(alice, "corp/alice", 5); c.Groups != nil || !c.HasGroups {
		t.Errorf("more groups than a header carries: %d, %v", len(c.Groups), c.HasGroups)
	}
}

// It is never good for longer than the token, and there is none when the grant
// has ended or it cannot be signed.
func TestCallerJWTEnds(t *testing.T) {
	u, s := newUpstream(t), &signer{}
	server := files(u.URL)
	server.CallerJWT = true
	r := tells(t, s, map[string]gateway.Server{"files": server})
	end := time.Now().Add(20 * time.Second).Unix()
	grant, token := r.grantOf(oauth.Subject{ID: "corp/alice", Provider: "corp", Groups: []string{"alices"}}, "/files/mcp", map[string]any{"exp": end}, "files:read")
	call := func() (int, string) {
		resp, body := r.do(http.MethodPost, "/files/mcp", token, toolCall("read_file"))
		return resp.StatusCode, body
	}
	if status, body := call(); status != http.StatusOK {
		t.Fatal(status, body)
	}
	if _, c := r.statement(u); c.Expires != end {
		t.Errorf("it ends at %d, the token at %d", c.Expires, end)
	}
	before := u.requests()
	if _, err := r.ledger.End(t.Context(), ledger.Which{Grant: grant}, "test"); err != nil {
		t.Fatal(err)
	}
	if status, body := call(); status != http.StatusUnauthorized || u.requests() != before {
		t.Errorf("the grant has ended: %d %s", status, body)
	}
	s.broken.Store(true)
	_, token = r.grant("alice", "/files/mcp", "files:read")
	status, body := call()
	if got := reply(t, body); status != http.StatusServiceUnavailable || got.Error.Data["reason"] != "server_error" || got.Error.Data["ref"] == "" || strings.Contains(body, "secret detail") || u.requests() != before {
		t.Errorf("it cannot be signed: %d %s", status, body)
	}
}

// Whom another issuer vouches for, and a client that acts for itself, are told
// by the names that the rules have for them; nobody is told of what the rules do
// not ask about such people.
//
// covers: SEC-04
func TestCallerJWTOfOthers(t *testing.T) {
	u, there, s := newUpstream(t), newElsewhere(t), &signer{}
	server := files(u.URL)
	server.CallerJWT, server.CallerClaims, server.Issuers = true, []string{"email", "name", "groups"}, []string{there.URL}
	server.Rules = access.Rules{Name: "servers.files", Allow: []access.Rule{{Who: []string{"issuer:" + there.URL, "client:" + there.URL + "#desktop", "client:desktop"}}}}
	r := tells(t, s, map[string]gateway.Server{"files": server})
	claims := map[string]any{"email": "alice@corp.example", "groups": []string{"alices"}, "name": "Alice", "gid": "grant-1"}
	_, own := r.grantOf(oauth.Subject{ID: "client:desktop", Name: "Desktop"}, "/files/mcp", nil, "files:read")
	for name, c := range map[string]struct{ token, sub, client string }{
		"a person elsewhere": {there.token(t, r.url+"/files/mcp", "corp/alice", "desktop", claims), there.URL + "#corp/alice", there.URL + "#desktop"},
		"a client elsewhere": {there.token(t, r.url+"/files/mcp", "desktop", "desktop", claims), "client:" + there.URL + "#desktop", there.URL + "#desktop"},
		"a client of ours":   {own, "client:desktop", "desktop"},
	} {
		resp, body := r.do(http.MethodPost, "/files/mcp", c.token, toolCall("read_file"))
		if resp.StatusCode != http.StatusOK || strings.Contains(body, "error") {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
			continue
		}
		_, got := r.statement(u)
		if got.Subject != c.sub || got.Client != c.client || got.Email != "" || got.Name != "" || got.Groups != nil || name != "a client of ours" && got.Grant != "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// A gateway that cannot do it does not start.
func TestCallerJWTNeeds(t *testing.T) {
	r := newRig(t, nil)
	sign := (&signer{}).sign(r.key)
	vault := func(context.Context, string) (string, error) { return "", nil }
	for want, c := range map[string]struct {
		sign func(oauth.CallerClaims) (string, error)
		s    gateway.Server
	}{
		"nothing signs it":             {nil, gateway.Server{Path: "/a", Upstream: "http://127.0.0.1:1", CallerJWT: true}},
		"needs an upstream":            {sign, gateway.Server{Path: "/a", Handler: http.NotFoundHandler(), CallerJWT: true}},
		"either a caller JWT, what is": {sign, gateway.Server{Path: "/a", Upstream: "http://127.0.0.1:1", CallerJWT: true, Vault: true}},
	} {
		conf := r.config
		conf.SignCaller, conf.Vault, conf.Servers = c.sign, vault, map[string]gateway.Server{"a": c.s}
		if _, err := gateway.New(conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
