package main

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

const separateIdP = `
url: IDP
listen: IDPLISTEN
ops: ""
people: {alice: {email: alice@example.com, groups: [eng], password: "${PASSWORD}"}}
clients: {registered: {gate: {name: The gate, secret: "${GATE}", redirect_uris: ["URL/callback/separate"]}}}
`

const proxied = `
url: URL
listen: LISTEN
ops: ""
telemetry: {log: debug}
mode: proxy
separate: {issuer: IDP, name: Corp, client_id: gate, client_secret: "${GATE}", auth_method: client_secret_post, scopes: [openid, email, profile, offline_access], email_domains: [example.com]}
servers:
  files: {path: /mcp, upstream: UPSTREAM/mcp, credential: vault, allow: [{who: ["group:separate/eng", "client:agent"]}]}
  plain: {path: /plain, upstream: UPSTREAM/mcp, allow: [{who: "person:separate/alice"}]}
clients: {registered: {agent: {secret: "${AGENT}", grant_types: [client_credentials]}}}
`

// mode: proxy end to end: the client's token is ours, the MCP server gets what
// the separate server issued, a client without a person gets nothing there, and
// when the person leaves both are over. No secret of theirs is in a log or a file.
//
// covers: AS-PROXY-03, SEC-03, SEC-27, I13, I14
func TestProxyMode(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "PASSWORD", "password-of-some-length-1893", "GATE", "gate-canary-1893-of-some-length", "AGENT", agentsSecret)
	u, idpListen, listen := newUpstream(t), free(t), free(t)
	fill := strings.NewReplacer("IDPLISTEN", idpListen, "IDP", "http://"+idpListen, "URL", "http://"+listen, "UPSTREAM", u.URL, "LISTEN", listen)
	// The replacer takes the first that fits, so UPSTREAM must not be read as URL.
	dir := write(t, map[string]string{"idp.yaml": fill.Replace(separateIdP), "serve.yaml": fill.Replace(proxied)})
	d.start("idp", "--config", filepath.Join(dir, "idp.yaml"), "--state", filepath.Join(dir, "idp"))
	p := d.start("serve", "--config", filepath.Join(dir, "serve.yaml"), "--state", filepath.Join(dir, "serve"))
	token := d.token(p.url+"/mcp", "alice", d.vars["PASSWORD"])
	if !opens(t, p.url+"/mcp", token) {
		t.Fatal("the token does not open the server")
	}
	u.mu.Lock()
	sent, upstream := strings.CutPrefix(u.seen.Get("Authorization"), "Bearer ")
	u.mu.Unlock()
	if !upstream || sent == token || strings.Count(sent, ".") != 2 {
		t.Errorf("the MCP server got %q", sent)
	}
	if opens(t, p.url+"/mcp", sent) {
		t.Error("the separate server's token opens ours")
	}
	if plain := d.token(p.url+"/plain", "alice", d.vars["PASSWORD"]); !opens(t, p.url+"/plain", plain) {
		t.Error("the other server")
	}
	u.mu.Lock()
	if got := u.seen.Get("Authorization"); got != "" {
		t.Errorf("a server without credential: vault got %q", got)
	}
	u.mu.Unlock()
	_, got := ask(t, p.url+"/token", "agent", agentsSecret, "grant_type", "client_credentials", "resource", p.url+"/mcp")
	own, _ := got["access_token"].(string)
	if a := post(t, p.url+"/mcp", "Authorization: Bearer "+own, initialize); a.status != http.StatusForbidden || !strings.Contains(a.body, "not_vaulted") {
		t.Errorf("a client for itself: %d %s", a.status, a.body)
	}
	seen := &wire{t: t, secrets: map[string]string{token: "token", own: "token of a client", sent: "token of the separate server",
		d.vars["PASSWORD"]: "password", d.vars["GATE"]: "secret at the separate server", agentsSecret: "secret of a client"}}
	seen.files("serve", filepath.Join(dir, "serve"))
	d.must("leave", "separate/alice", "--state", filepath.Join(dir, "serve"))
	if opens(t, p.url+"/mcp", token) {
		t.Error("the token outlives the person's leaving")
	}
	seen.absent("audit", d.must("audit", "export", "--state", filepath.Join(dir, "serve")))
	p.stop()
	seen.absent("stdout", p.out.String())
	seen.absent("stderr", p.errs.String())
	seen.files("serve, afterwards", filepath.Join(dir, "serve"))
}
