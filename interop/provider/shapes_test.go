package provider_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/internal/oauth"
	"doorward/interop/rig"
)

const shapesConfig = `
version: 1
url: %[1]s
ops: ""
providers: {foreign: {issuer: %[2]s, id_jag: {%[3]s}}}
clients: {registered: {agent: {secret: a-secret-of-the-agent-01, redirect_uris: ["http://127.0.0.1/callback"]}}}
servers: {sample: {path: /mcp, run: sample, scopes: {use: Use it}, allow: [{who: "group:foreign/eng"}]}}
`

// jagFor has the provider issue an ID-JAG for a server, of a certain shape.
func (c *client) jagFor(server, idToken string, shape map[string]string) string {
	c.t.Helper()
	text, err := json.Marshal(shape)
	if err != nil {
		c.t.Fatal(err)
	}
	post(c.t, c.issuer+"/test/shape", string(text))
	status, res := c.token("grant_type", oauth.TokenExchange, "requested_token_type", oauth.TokenTypeIDJAG, "audience", server, "resource", server+"/mcp", "scope", "use",
		"subject_token", idToken, "subject_token_type", oauth.TokenTypeIDToken)
	if status != 200 {
		c.t.Fatalf("exchange: %d %v", status, res)
	}
	return fmt.Sprint(res["access_token"])
}

// redeemAt brings an ID-JAG to a server.
func redeemAt(t *testing.T, server, jag string) (int, map[string]any) {
	t.Helper()
	form := url.Values{"grant_type": {oauth.JWTBearer}, "assertion": {jag}}
	req, err := http.NewRequest(http.MethodPost, server+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("agent", "a-secret-of-the-agent-01")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	out := map[string]any{}
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, out
}

// ID-JAGs of another maker's issuer that look like none of ours: signed by RS256,
// PS256 and EdDSA, with another order of header and claims and with members that
// nobody knows, and encrypted to the server's keys. A server takes the algorithms
// that its policy lists, and no others.
//
// covers: AS-JAG-01, AS-JAG-04, AS-JAG-27
func TestForeignShapes(t *testing.T) {
	t.Parallel()
	c := newClient(t, "", "agent-idp", agentSecret)
	c.issuer = provider(t, c.callback.URL+"/callback")
	c.paths[0] = "/auth"
	all, few := "http://127.0.0.1:"+rig.Port(rig.Free(t)), "http://127.0.0.1:"+rig.Port(rig.Free(t))
	doorward(t, "serve", fmt.Sprintf(shapesConfig, all, c.issuer, "encrypted: true"))
	doorward(t, "serve", fmt.Sprintf(shapesConfig, few, c.issuer, "algs: [EdDSA]"))
	idToken := fmt.Sprint(c.signIn("carol", "scope", "openid email profile", "prompt", "login")["id_token"])

	for _, server := range []string{all, few} {
		for until := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) { // the provider's keys arrive in the background
			if status, res := redeemAt(t, server, c.jagFor(server, idToken, map[string]string{"alg": "EdDSA"})); status == 200 {
				break
			} else if time.Now().After(until) {
				t.Fatalf("EdDSA: %d %v", status, res)
			}
		}
	}
	taken := func(name, server, jag string) {
		t.Helper()
		status, res := redeemAt(t, server, jag)
		if status != 200 {
			t.Errorf("%s: %d %v", name, status, res)
			return
		}
		if got := claims(t, res["access_token"]); got["sub"] != "foreign/carol" || got["client_id"] != "agent" || got["aud"] != server+"/mcp" || got["scope"] != "use" {
			t.Errorf("%s: the token is %v", name, got)
		}
	}
	refused := func(name, server, jag string) {
		t.Helper()
		if status, res := redeemAt(t, server, jag); status != 400 || res["error"] != "invalid_grant" {
			t.Errorf("%s: %d %v", name, status, res)
		}
	}
	for _, alg := range []string{"RS256", "PS256", "EdDSA"} {
		taken(alg, all, c.jagFor(all, idToken, map[string]string{"alg": alg}))
		if alg == "EdDSA" {
			taken("EdDSA where only that is allowed", few, c.jagFor(few, idToken, map[string]string{"alg": alg}))
		} else {
			refused(alg+" where only EdDSA is allowed", few, c.jagFor(few, idToken, map[string]string{"alg": alg}))
		}
	}
	for _, wrap := range []string{"ECDH-ES+A256KW", "RSA-OAEP-256"} {
		for _, enc := range []string{"A256GCM", "A128CBC-HS256"} {
			shape := map[string]string{"alg": "PS256", "encrypt": all + "/jwks", "wrap": wrap, "enc": enc}
			jag := c.jagFor(all, idToken, shape)
			if strings.Count(jag, ".") != 4 || bytes.Contains([]byte(jag), []byte("carol")) {
				t.Fatalf("%s: not encrypted", wrap)
			}
			taken(wrap+" "+enc, all, jag)
			refused(wrap+" at a server that takes none", few, c.jagFor(few, idToken, shape))
		}
	}
}
