package main

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// issuerElsewhere is an issuer with a path; the servers that its tokens are for
// are another's, at the same origin.
const issuerElsewhere = `
url: URL/corp
listen: LISTEN
state: STATE
ops: ""
clients:
  registered:
    agent: {secret: "${AGENT}", grant_types: [client_credentials]}
    gate: {secret: "${GATE}", introspects: [one, two]}
servers:
  one: {path: /one/mcp, run: sample, allow: [{who: ["client:agent"]}]}
  two: {path: /two/mcp, run: sample, allow: [{who: ["client:agent"]}]}
  three: {path: /three/mcp, run: sample, allow: [{who: ["client:agent"]}]}
`

// takesTokens has servers that take tokens of that issuer, which it asks.
const takesTokens = `
url: URL
listen: LISTEN
state: STATE
ops: ""
servers:
  one:
    path: /one/mcp
    run: sample
    issuers: [{issuer: URL/corp, introspect: {client_id: gate, client_secret: "${GATE}"}}]
    allow: [{who: "client:URL/corp#agent"}]
  two:
    path: /two/mcp
    run: sample
    issuers: [{issuer: URL/corp, introspect: {client_id: gate, client_secret: "${GATE}"}}]
    allow: [{who: everyone}]
  three:
    path: /three/mcp
    run: sample
    allow: [{who: everyone}]
`

// behindOne starts both behind one origin, as a proxy in front of them does.
func behindOne(t *testing.T, d *desk) (origin string) {
	t.Helper()
	origin = "http://" + free(t)
	dir := t.TempDir()
	to := map[string]*httputil.ReverseProxy{}
	for name, text := range map[string]string{"corp": issuerElsewhere, "main": takesTokens} {
		listen := free(t)
		text = strings.NewReplacer("URL", origin, "LISTEN", listen, "STATE", filepath.Join(dir, name)).Replace(text)
		d.start("serve", "--config", filepath.Join(write(t, map[string]string{"c.yaml": text}), "c.yaml"))
		target, err := url.Parse("http://" + listen)
		if err != nil {
			t.Fatal(err)
		}
		to[name] = &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }}
	}
	front := &http.Server{Addr: strings.TrimPrefix(origin, "http://"), ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/corp/") || strings.HasSuffix(r.URL.Path, "/corp") {
			to["corp"].ServeHTTP(w, r)
			return
		}
		to["main"].ServeHTTP(w, r)
	})}
	go front.ListenAndServe()
	t.Cleanup(func() { front.Close() })
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if resp, err := http.Get(origin + "/corp/jwks"); err == nil {
			resp.Body.Close()
			return origin
		}
		if time.Now().After(deadline) {
			t.Fatal("the proxy does not answer")
		}
	}
}

// A server takes the tokens of another Doorward, which it asks about them: under
// a rule that names the issuer and nobody else, and no longer than half a minute
// after they were revoked there.
//
// covers: RS-TOK-11
func TestTokensOfAnotherDoorward(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "AGENT", agentsSecret, "GATE", "gate-canary-1893-of-some-length")
	origin := behindOne(t, d)
	issuer := origin + "/corp"
	token := func(server string) string {
		t.Helper()
		status, got := ask(t, issuer+"/token", "agent", agentsSecret, "grant_type", "client_credentials", "resource", origin+server)
		token, _ := got["access_token"].(string)
		if status != http.StatusOK || token == "" {
			t.Fatalf("%d %v", status, got)
		}
		return token
	}
	one, unseen := token("/one/mcp"), token("/one/mcp")
	if !opens(t, origin+"/one/mcp", one) {
		t.Error("a token of the other issuer does not open the server")
	}
	if a := post(t, origin+"/two/mcp", "Authorization: Bearer "+token("/two/mcp"), initialize); a.status != http.StatusForbidden {
		t.Errorf("no rule names its issuer: %d %s", a.status, a.body)
	}
	if opens(t, origin+"/three/mcp", token("/three/mcp")) {
		t.Error("a server that does not know the issuer takes its token")
	}
	if opens(t, origin+"/one/mcp", token("/two/mcp")) {
		t.Error("a token for another server opens this one")
	}
	start := time.Now()
	form := url.Values{"token": {one}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, issuer+"/revoke", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("agent", agentsSecret)
	if a := do(t, req); a.status != http.StatusOK {
		t.Fatalf("revoked: %d %s", a.status, a.body)
	}
	if opens(t, origin+"/one/mcp", unseen) {
		t.Error("a token of the revoked grant that was not seen before")
	}
	for opens(t, origin+"/one/mcp", one) {
		if time.Since(start) > 35*time.Second {
			t.Fatal("a revoked token still opens the server")
		}
		time.Sleep(250 * time.Millisecond)
	}
}
