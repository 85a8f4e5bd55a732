package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

const tellsWho = `
url: URL
listen: LISTEN
ops: ""
people: {alice: {email: alice@example.com, groups: [eng], password: "${PASSWORD}"}}
clients: {registered: {agent: {secret: "${AGENT}", grant_types: [client_credentials, jwt-bearer], introspects: [files]}}}
servers:
  files: {path: /files/mcp, default: true, upstream: UPSTREAM/mcp, credential: {caller-jwt: {claims: [email, groups]}}, allow: [{who: [everyone, "client:agent"]}]}
  plain: {path: /plain/mcp, upstream: UPSTREAM/mcp, credential: caller-jwt, allow: [{who: everyone}]}
`

// credential: caller-jwt end to end: the MCP server learns who calls from a JWT
// for itself, whose keys it finds at the issuer; it is good for nothing else, and
// there is none for somebody who left.
//
// covers: RS-TOK-10, SEC-03, SEC-20
func TestCallerJWT(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "PASSWORD", "password-of-some-length-1893", "AGENT", agentsSecret)
	u, listen := newUpstream(t), free(t)
	fill := strings.NewReplacer("UPSTREAM", u.URL, "URL", "http://"+listen, "LISTEN", listen)
	file := filepath.Join(write(t, map[string]string{"c.yaml": fill.Replace(tellsWho)}), "c.yaml")
	p := d.start("serve", "--config", file)
	sent := func() (string, jose.Claims) {
		t.Helper()
		u.mu.Lock()
		token := strings.TrimPrefix(u.seen.Get("Authorization"), "Bearer ")
		u.mu.Unlock()
		keys, err := jose.ParseSet([]byte(get(t, p.url+"/jwks").body))
		if err != nil {
			t.Fatal(err)
		}
		v, err := jose.Verify(token, keys, []string{jose.ES256}, []string{oauth.TypCallerJWT})
		if err != nil {
			t.Fatalf("%q: %v", token, err)
		}
		if err := jose.CheckTimes(v.Claims(), time.Now(), 0); err != nil {
			t.Error(err)
		}
		return token, v.Claims()
	}
	says := func(c jose.Claims, name, want string) {
		t.Helper()
		if got := string(c[name]); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	token := d.token(p.url+"/files/mcp", "alice", d.vars["PASSWORD"])
	if !opens(t, p.url+"/files/mcp", token) {
		t.Fatal("the token does not open the server")
	}
	statement, c := sent()
	for name, want := range map[string]string{"iss": `"` + p.url + `"`, "aud": `"` + u.URL + `/mcp"`, "sub": `"alice"`, "scope": `"files"`,
		"email": `"alice@example.com"`, "groups": `["eng"]`, "name": ""} {
		says(c, name, want)
	}
	if !opens(t, p.url+"/plain/mcp", d.token(p.url+"/plain/mcp", "alice", d.vars["PASSWORD"])) {
		t.Error("the other server")
	}
	_, c = sent()
	says(c, "sub", `"alice"`)
	says(c, "email", "")
	says(c, "groups", "")
	for _, path := range []string{"/files/mcp", "/plain/mcp"} {
		if opens(t, p.url+path, statement) {
			t.Errorf("the statement opens %s", path)
		}
	}
	told := func(endpoint string, want int, says string, pairs ...string) {
		t.Helper()
		if status, got := ask(t, p.url+endpoint, "agent", agentsSecret, pairs...); status != want || !strings.Contains(fmt.Sprint(got), says) {
			t.Errorf("%s %.60q: %d %v", endpoint, pairs, status, got)
		}
	}
	told("/introspect", http.StatusOK, "map[active:false]", "token", statement)
	told("/introspect", http.StatusOK, "active:true", "token", token)
	told("/token", http.StatusBadRequest, "invalid_grant", "grant_type", oauth.JWTBearer, "assertion", statement)
	told("/token", http.StatusBadRequest, "error", "grant_type", oauth.TokenExchange, "requested_token_type", oauth.TokenTypeIDJAG, "audience", p.url,
		"subject_token", statement, "subject_token_type", oauth.TokenTypeIDToken)
	d.must("leave", "alice", "--config", file)
	u.mu.Lock()
	u.seen = nil
	u.mu.Unlock()
	opened := opens(t, p.url+"/files/mcp", token)
	u.mu.Lock()
	defer u.mu.Unlock()
	if opened || u.seen != nil {
		t.Error("there is a statement about somebody who left")
	}
}
