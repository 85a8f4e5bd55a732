package provider_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	lib "doorward"
	"doorward/internal/oauth"
	"doorward/interop/rig"
)

const agentSecret = "another secret: 100% the agent"

const foreignConfig = `
version: 1
url: %[1]s
ops: ""
providers: {foreign: {issuer: %[2]s, email_domains: [corp.example], id_jag: {}}}
clients: {registered: {agent: {secret: a-secret-of-the-agent-01, redirect_uris: ["http://127.0.0.1/callback"]}}}
servers: {sample: {path: /mcp, run: sample, allow: [{who: "group:foreign/eng"}]}}
`

// someone is the Subject in the context.
type someone struct{}

// initialize is a first call to the guarded server, by the client library.
func initialize(tr *lib.Transport, who lib.Subject, server string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), someone{}, who), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != 200 {
		err = fmt.Errorf("%s %s", resp.Status, body)
	}
	return string(body), err
}

// Enterprise-managed authorization with an IdP of another maker: oidc-provider
// issues the ID-JAG, our client brings it, our server takes it, for an ID token
// and for a refresh token; its refusal is the end, and nobody is sent to consent.
//
// covers: N01, N08, P25, C-EMA-08
func TestForeignIdP(t *testing.T) {
	t.Parallel()
	c := newClient(t, "", "agent-idp", agentSecret)
	c.issuer = provider(t, c.callback.URL+"/callback")
	server := "http://127.0.0.1:" + rig.Port(rig.Free(t))
	doorward(t, "serve", fmt.Sprintf(foreignConfig, server, c.issuer))
	tr := &lib.Transport{Flow: &lib.CrossApp{
		IdP:    lib.Credentials{Issuer: c.issuer, ID: "agent-idp", Secret: agentSecret},
		Server: lib.Credentials{ID: "agent", Secret: "a-secret-of-the-agent-01"},
		Subject: func(ctx context.Context) (lib.Subject, error) {
			return ctx.Value(someone{}).(lib.Subject), nil
		},
	}}
	c.paths[0] = "/auth"
	signedIn := func(name string) map[string]any {
		return c.signIn(name, "scope", "openid email profile", "prompt", "login")
	}
	carol := signedIn("carol")
	body, err := "", error(nil)
	for range 50 { // the provider's keys arrive in the background
		body, err = initialize(tr, lib.Subject{Person: "carol", Token: fmt.Sprint(carol["id_token"])}, server+"/mcp")
		var e *lib.Error
		if err == nil || !errors.As(err, &e) || e.Step != "redeem" {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil || !strings.Contains(body, "serverInfo") {
		t.Fatalf("with the ID token: %v %s", err, body)
	}
	dave := signedIn("dave")
	who := lib.Subject{Person: "dave", Token: fmt.Sprint(dave["refresh_token"]), Type: oauth.TokenTypeRefreshToken}
	if body, err := initialize(tr, who, server+"/mcp"); err != nil || !strings.Contains(body, "serverInfo") {
		t.Errorf("with the refresh token: %v %s", err, body)
	}

	// The tokens are theirs: the server knows each by the provider's name.
	for name, who := range map[string]lib.Subject{"carol": {Person: "carol"}, "dave": {Person: "dave"}} {
		token, err := tr.Token(context.WithValue(context.Background(), someone{}, who), server+"/mcp")
		if err != nil {
			t.Fatal(err)
		}
		if got := claims(t, token.AccessToken); got["sub"] != "foreign/"+name || got["client_id"] != "agent" || got["aud"] != server+"/mcp" {
			t.Errorf("%s has the token %v", name, got)
		}
	}

	mallory := signedIn("mallory")
	_, err = initialize(tr, lib.Subject{Person: "mallory", Token: fmt.Sprint(mallory["id_token"])}, server+"/mcp")
	var e *lib.Error
	if !errors.As(err, &e) || e.Step != "exchange" || e.Code != "access_denied" || e.Who != "IdP's administrator" || e.Retry {
		t.Errorf("mallory: %v", err)
	}
	_, err = initialize(tr, lib.Subject{Person: "eve", Token: fmt.Sprint(carol["id_token"]) + "x"}, server+"/mcp")
	if !errors.As(err, &e) || e.Step != "exchange" || e.Code != "invalid_grant" || e.Who != "person" {
		t.Errorf("a forged ID token: %v", err)
	}
}
