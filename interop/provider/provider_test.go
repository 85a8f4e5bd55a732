// Package provider_test signs people in at npm's oidc-provider, through the
// doorward binary in both of its roles.
package provider_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/internal/browse"
	"doorward/internal/oauth"
	"doorward/interop/rig"
)

const (
	verifier       = "a-verifier-of-forty-three-characters-0123456"
	providerSecret = "a secret: of 100% the provider"
)

func TestMain(m *testing.M) { rig.Main(m) }

// run starts a program and waits until it says ready.
func run(t *testing.T, ready string, env []string, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	is := make(chan bool, 1)
	var said bytes.Buffer
	var mu sync.Mutex
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			mu.Lock()
			fmt.Fprintln(&said, lines.Text())
			mu.Unlock()
			if strings.Contains(lines.Text(), ready) {
				select {
				case is <- true:
				default:
				}
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		in.Close()
		if t.Failed() {
			mu.Lock()
			defer mu.Unlock()
			t.Logf("%s said:\n%s", filepath.Base(name), said.String())
		}
	})
	select {
	case <-is:
	case <-time.After(30 * time.Second):
		mu.Lock()
		defer mu.Unlock()
		t.Fatalf("%s is not ready:\n%s", name, said.String())
	}
}

func provider(t *testing.T, redirects ...string) string {
	t.Helper()
	rig.Node(t, "oidc-provider")
	p := rig.Port(rig.Free(t))
	run(t, "ready at", nil, "node", append([]string{"idp.mjs", p}, redirects...)...)
	return "http://127.0.0.1:" + p
}

// doorward starts the binary with a configuration file.
func doorward(t *testing.T, role, config string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), role+".yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "is ready", []string{"PROVIDER_SECRET=" + providerSecret}, rig.Doorward(t), role, "--config", file)
}

// client is a program with a callback of its own.
type client struct {
	t        *testing.T
	issuer   string
	id       string
	secret   string
	paths    [2]string // of the authorization and the token endpoint
	callback *httptest.Server
	got      chan url.Values
}

func newClient(t *testing.T, issuer, id, secret string) *client {
	c := &client{t: t, issuer: issuer, id: id, secret: secret, paths: [2]string{"/authorize", "/token"}, got: make(chan url.Values, 1)}
	c.callback = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/callback" {
			c.got <- r.URL.Query()
		}
	}))
	t.Cleanup(c.callback.Close)
	return c
}

// signIn sends a person through the authorization endpoint and redeems the code.
func (c *client) signIn(person string, more ...string) map[string]any {
	c.t.Helper()
	p, err := browse.New(person, "whatever", http.DefaultTransport)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.signInAs(p, more...)
}

// signInAs is signIn for somebody at their browser.
func (c *client) signInAs(p *browse.Person, more ...string) map[string]any {
	c.t.Helper()
	q := url.Values{"response_type": {"code"}, "client_id": {c.id}, "redirect_uri": {c.callback.URL + "/callback"}, "state": {"s"},
		"code_challenge": {oauth.S256(verifier)}, "code_challenge_method": {"S256"}}
	for i := 0; i < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	if err := p.Open(context.Background(), c.issuer+c.paths[0]+"?"+q.Encode()); err != nil {
		c.t.Fatal(err)
	}
	answer := <-c.got
	if answer.Get("code") == "" {
		c.t.Fatalf("no code: %v", answer)
	}
	status, res := c.token("grant_type", "authorization_code", "code", answer.Get("code"), "code_verifier", verifier)
	if status != 200 {
		c.t.Fatalf("token: %d %v", status, res)
	}
	return res
}

func (c *client) token(pairs ...string) (int, map[string]any) {
	c.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	req, _ := http.NewRequest(http.MethodPost, c.issuer+c.paths[1], strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(c.id), url.QueryEscape(c.secret)) // RFC 6749 section 2.3.1
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	out := map[string]any{}
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		c.t.Fatal(err)
	}
	return res.StatusCode, out
}

// claims are those of a token, unchecked.
func claims(t *testing.T, token any) map[string]any {
	t.Helper()
	parts := strings.Split(fmt.Sprint(token), ".")
	out := map[string]any{}
	if len(parts) != 3 {
		t.Fatalf("%v is no token", token)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// carried checks that what the provider said of the sign-in is in the token.
func carried(t *testing.T, c map[string]any, sub string, begun time.Time) {
	t.Helper()
	var amr []string
	for _, m := range c["amr"].([]any) {
		amr = append(amr, m.(string))
	}
	at, _ := c["auth_time"].(float64)
	if c["sub"] != sub || c["acr"] != "urn:gold" || !slices.Equal(amr, []string{"pwd", "otp"}) || at < float64(begun.Unix()-1) || at > float64(time.Now().Unix()) {
		t.Errorf("claims %v", c)
	}
}

func post(t *testing.T, at, body string) {
	t.Helper()
	res, err := http.Post(at, "text/plain", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
}

const serveConfig = `
version: 1
url: %[1]s
ops: ""
providers:
  corp:
    issuer: %[2]s
    email_domains: [corp.example]
    sign_in: {client_id: doorward, client_secret: "${PROVIDER_SECRET}", recheck: 1s}
clients: {registered: {app: {secret: a-secret-of-the-app-0123, redirect_uris: ["http://127.0.0.1/callback"]}}}
servers: {sample: {path: /mcp, run: sample, allow: [{who: "group:corp/eng"}, {who: carol@corp.example}]}}
`

// A person of oidc-provider comes in at serve, and is asked about again.
func TestServe(t *testing.T) {
	t.Parallel()
	p := rig.Port(rig.Free(t))
	issuer := "http://127.0.0.1:" + p
	idp := provider(t, issuer+"/callback/corp")
	doorward(t, "serve", fmt.Sprintf(serveConfig, issuer, idp))
	app := newClient(t, issuer, "app", "a-secret-of-the-app-0123")
	begun := time.Now()
	res := app.signIn("carol", "prompt", "login", "acr_values", "urn:gold", "max_age", "100")
	carried(t, claims(t, res["access_token"]), "corp/carol", begun)

	// The provider rotates its refresh tokens; ours go on with them.
	for range 2 {
		time.Sleep(1100 * time.Millisecond) // recheck is in real time here
		var status int
		if status, res = app.token("grant_type", "refresh_token", "refresh_token", fmt.Sprint(res["refresh_token"])); status != 200 {
			t.Fatalf("refresh: %d %v", status, res)
		}
	}

	// Gone there is gone here.
	post(t, idp+"/test/forget", "carol")
	time.Sleep(1100 * time.Millisecond)
	if status, body := app.token("grant_type", "refresh_token", "refresh_token", fmt.Sprint(res["refresh_token"])); status != 400 || body["error"] != "invalid_grant" {
		t.Errorf("refresh of somebody who is gone: %d %v", status, body)
	}

	// New keys at the provider, with everything that it remembered lost.
	post(t, idp+"/test/turn-keys", "")
	time.Sleep(5 * time.Second) // an unknown key is looked for once in that time
	app.signIn("dave")
}

const idpConfig = `
version: 1
url: %[1]s
ops: ""
providers:
  corp: {issuer: %[2]s, email_domains: [corp.example], sign_in: {client_id: doorward, client_secret: "${PROVIDER_SECRET}"}}
clients: {registered: {app-idp: {secret: a-secret-of-the-app-4567, redirect_uris: ["http://127.0.0.1/callback"]}}}
audiences:
  %[3]s:
    resources: ["%[3]s/mcp"]
    client_ids: {app-idp: app}
    claims: [email, groups]
    allow: [{who: "group:corp/eng"}]
`

const behindConfig = `
version: 1
url: %[1]s
ops: ""
providers: {bridge: {issuer: %[2]s, email_domains: [corp.example], id_jag: {}}}
clients: {registered: {app: {secret: a-secret-of-the-app-0123, redirect_uris: ["http://127.0.0.1/callback"]}}}
servers: {sample: {path: /mcp, run: sample, allow: [{who: "group:bridge/eng", require: {amr: [otp], signed_in_within: 1h}}]}}
`

// The bridge: oidc-provider signs in, doorward idp issues ID-JAGs, doorward
// serve takes them, and what was said of the sign-in arrives unchanged.
//
// covers: IDP-SSO-01, IDP-JAG-09
func TestBridge(t *testing.T) {
	t.Parallel()
	idpPort, servePort := rig.Port(rig.Free(t)), rig.Port(rig.Free(t))
	bridge, server := "http://127.0.0.1:"+idpPort, "http://127.0.0.1:"+servePort
	upstream := provider(t, bridge+"/callback/corp")
	doorward(t, "idp", fmt.Sprintf(idpConfig, bridge, upstream, server))
	doorward(t, "serve", fmt.Sprintf(behindConfig, server, bridge))
	begun := time.Now()
	signedIn := newClient(t, bridge, "app-idp", "a-secret-of-the-app-4567")
	res := signedIn.signIn("carol", "scope", "openid profile email", "nonce", "n-1")
	carried(t, claims(t, res["id_token"]), "corp/carol", begun)
	status, jag := signedIn.token("grant_type", oauth.TokenExchange, "requested_token_type", oauth.TokenTypeIDJAG, "audience", server,
		"resource", server+"/mcp", "subject_token", fmt.Sprint(res["id_token"]), "subject_token_type", oauth.TokenTypeIDToken)
	if status != 200 {
		t.Fatalf("exchange: %d %v", status, jag)
	}
	carried(t, claims(t, jag["access_token"]), "corp/carol", begun)
	app := newClient(t, server, "app", "a-secret-of-the-app-0123")
	var at map[string]any
	for range 50 { // the bridge's keys arrive in the background
		if status, at = app.token("grant_type", oauth.JWTBearer, "assertion", fmt.Sprint(jag["access_token"])); status == 200 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if status != 200 {
		t.Fatalf("redemption: %d %v", status, at)
	}
	carried(t, claims(t, at["access_token"]), "bridge/corp/carol", begun)
	req, _ := http.NewRequest(http.MethodPost, server+"/mcp", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`))
	req.Header.Set("Authorization", "Bearer "+fmt.Sprint(at["access_token"]))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	got, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if got.StatusCode != 200 {
		body, _ := io.ReadAll(got.Body)
		t.Errorf("the guarded server answered %s %s", got.Status, body)
	}
}
