package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// giver is an authorization server that gives tokens of its own for statements of
// an issuer whose keys it fetches.
type giver struct {
	*httptest.Server
	mu     sync.Mutex
	issuer string
	given  []string // for whom
}

func newGiver(t *testing.T) *giver {
	g := &giver{}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		defer g.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		sub, err := g.subject(r)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant", "error_description": err.Error()})
			return
		}
		g.given = append(g.given, sub)
		fmt.Fprintf(w, `{"access_token":"for-%s-%d","issued_token_type":%q,"token_type":"Bearer","expires_in":300}`, url.PathEscape(sub), len(g.given), oauth.TokenTypeAccessToken)
	}))
	t.Cleanup(g.Close)
	return g
}

// subject is who the request's subject token stands for; bob is nobody there.
func (g *giver) subject(r *http.Request) (string, error) {
	if id, secret, _ := r.BasicAuth(); id != "gate" || secret != agentsSecret || r.PostFormValue("grant_type") != oauth.TokenExchange || r.PostFormValue("audience") != "files" {
		return "", fmt.Errorf("a wrong request: %q", id)
	}
	res, err := http.Get(g.issuer + "/jwks")
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	keys, err := jose.ParseSet(body)
	if err != nil {
		return "", err
	}
	v, err := jose.Verify(r.PostFormValue("subject_token"), keys, []string{jose.ES256}, []string{oauth.TypCallerJWT})
	if err != nil {
		return "", err
	}
	iss, _ := v.Claims().Text("iss")
	aud, _ := v.Claims().Text("aud")
	sub, _ := v.Claims().Text("sub")
	if iss != g.issuer || aud != g.URL || sub == "bob" {
		return "", fmt.Errorf("not for %q of %q to %q", sub, iss, aud)
	}
	return sub, nil
}

const exchangesTokens = `
url: URL
listen: LISTEN
ops: ""
people:
  alice: {password: "${PASSWORD}"}
  bob: {password: "${PASSWORD}"}
servers:
  files:
    path: /mcp
    upstream: UPSTREAM/mcp
    credential: {exchange: {issuer: "GIVER", token_url: "GIVER/token", client_id: gate, client_secret: "${AGENT}", audience: files}}
    allow: [{who: everyone}]
`

// credential: exchange end to end: the MCP server gets a token of its own
// authorization server for the person, who is refused where that one refuses them,
// and for whom there is none after they left.
//
// covers: RS-TOK-10, SEC-03
func TestExchangedTokens(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "PASSWORD", "password-of-some-length-1893", "AGENT", agentsSecret)
	u, g, listen := newUpstream(t), newGiver(t), free(t)
	g.issuer = "http://" + listen
	fill := strings.NewReplacer("UPSTREAM", u.URL, "GIVER", g.URL, "URL", g.issuer, "LISTEN", listen)
	file := filepath.Join(write(t, map[string]string{"c.yaml": fill.Replace(exchangesTokens)}), "c.yaml")
	p := d.start("serve", "--config", file)
	token := d.token(p.url+"/mcp", "alice", d.vars["PASSWORD"])
	for range 3 {
		if !opens(t, p.url+"/mcp", token) {
			t.Fatal("the token does not open the server")
		}
		u.mu.Lock()
		if got := u.seen["Authorization"]; len(got) != 1 || got[0] != "Bearer for-alice-1" {
			t.Errorf("the MCP server got %q", got)
		}
		u.mu.Unlock()
	}
	if opens(t, p.url+"/mcp", "for-alice-1") {
		t.Error("the other server's token opens ours")
	}
	bob := post(t, p.url+"/mcp", "Authorization: Bearer "+d.token(p.url+"/mcp", "bob", d.vars["PASSWORD"]), initialize)
	var refused struct {
		Error struct {
			Data struct{ Reason, Ref string }
		}
	}
	if err := json.Unmarshal([]byte(bob.body), &refused); err != nil || bob.status != http.StatusForbidden || refused.Error.Data.Reason != "exchange_refused" {
		t.Fatalf("bob: %d %s", bob.status, bob.body)
	}
	if why := d.must("why", refused.Error.Data.Ref, "--config", file); !strings.Contains(why, "invalid_grant") || !strings.Contains(why, "credential: exchange") {
		t.Errorf("why: %s", why)
	}
	d.must("leave", "alice", "--config", file)
	u.mu.Lock()
	u.seen = nil
	u.mu.Unlock()
	opened := opens(t, p.url+"/mcp", token)
	u.mu.Lock()
	defer u.mu.Unlock()
	if opened || u.seen != nil {
		t.Error("something goes upstream for somebody who left")
	}
}

// With mode: proxy the exchange is at the separate server, with its client.
func TestExchangeOfSeparate(t *testing.T) {
	text := strings.NewReplacer("IDP", "https://idp.example", "URL", "http://127.0.0.1:8080", "LISTEN", "127.0.0.1:8080", "UPSTREAM", "http://127.0.0.1:1",
		"credential: vault", `credential: {exchange: {token_url: "https://idp.example/token", audience: files}}`).Replace(proxied)
	names := variables("GATE", agentsSecret, "AGENT", agentsSecret)
	cfg, said := inDir(write(t, map[string]string{"c.yaml": text}), roleServe, names)
	if len(said) > 0 {
		t.Fatal(said)
	}
	got := cfg.gatewayServers(nil)["files"].Exchange
	if got == nil || !got.Vault || got.Issuer != "https://idp.example" || got.ClientID != "gate" || got.ClientSecret != agentsSecret || got.AuthMethod != "client_secret_post" {
		t.Errorf("%+v", got)
	}
	elsewhere := strings.Replace(text, "{token_url", `{issuer: "https://else.example", token_url`, 1)
	if _, said := inDir(write(t, map[string]string{"c.yaml": elsewhere}), roleServe, names); len(said) != 1 || !strings.Contains(said[0], "which no other server may see") {
		t.Errorf("%q", said)
	}
}
