//go:build unix

package modes_test

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"doorward/internal/browse"
	"doorward/interop/rig"
)

const proxyConfig = `
version: 1
url: %[1]s
listen: %[2]s
ops: ""
mode: proxy
separate: {issuer: %[3]s, client_id: doorward, client_secret: "%[4]s", name: Elsewhere, scopes: [%[5]s]}
clients: {registered: {app: {secret: ` + appSecret + `, redirect_uris: ["http://127.0.0.1/callback"]}}}
servers: {files: {path: /mcp, upstream: %[6]s, credential: vault, allow: [{who: everyone}]}}
`

// proxied is serve in front of a separate server, as the test walks through it.
type proxied struct {
	t      *testing.T
	at     string
	behind *upstream
	app    *app
}

// whole walks through the life of one grant, which leave ends at the separate
// server.
func (p proxied) whole(who *browse.Person, leave func()) {
	t := p.t
	first := p.app.signIn(who)
	sub, is := strings.CutPrefix(subject(t, first.AccessToken), "separate/")
	if !is || sub == "" {
		t.Fatalf("our token is for %q", sub)
	}
	call := func(want int) {
		t.Helper()
		status, name := call(t, p.at+"/mcp", first.AccessToken)
		if status != want || want == 200 && name != sub {
			t.Fatalf("a call: %d as %q, want %d as %q", status, name, want, sub)
		}
	}
	call(200)
	sent := p.behind.seen()
	if len(sent) != 1 || sent[0] == "" || sent[0] == first.AccessToken || strings.Contains(first.AccessToken, sent[0]) {
		t.Fatalf("sent upstream: %q", sent)
	}
	// The separate server's token is nearly over: all who call get one new one.
	time.Sleep(life*3/4 + 100*time.Millisecond)
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() { call(200) })
	}
	callers.Wait()
	time.Sleep(life*3/4 + 100*time.Millisecond)
	again, err := p.app.refresh(first)
	if err != nil {
		t.Fatal(err)
	}
	first = again
	call(200)
	if sent = p.behind.seen(); len(sent) > 4 || len(sent) < 3 { // a call may still go with the one that is being renewed
		t.Errorf("%d tokens were sent upstream", len(sent))
	}
	leave()
	time.Sleep(life)
	call(401)
	_, err = p.app.refresh(first)
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) || refused.ErrorCode != "invalid_grant" {
		t.Errorf("refreshed after the end: %v", err)
	}
}

// npm's oidc-provider: opaque access tokens, refresh tokens that rotate.
//
// covers: AS-PROXY-03, AS-PROXY-04
func TestProxyOIDCProvider(t *testing.T) {
	t.Parallel()
	needs(t, "provider/node_modules/oidc-provider")
	host := rig.Free(t)
	at, idp := "http://"+host, rig.Free(t)
	rig.Start(t, []string{"ACCESS_TOKEN_LIFE=" + strconv.Itoa(int(life/time.Second))}, "node", "../provider/idp.mjs", rig.Port(idp), at+"/callback/separate").Wait(t, patience, "ready at", 1)
	behind := newUpstream(t, "http://"+idp+"/me")
	serve(t, proxyConfig, at, host, "http://"+idp, "a secret: of 100% the provider", "openid", behind.url)
	p := proxied{t, at, behind, newApp(t, at, "app", appSecret)}
	p.whole(person(t, "carol", nil), func() {
		res, err := http.Post("http://"+idp+"/test/forget", "text/plain", bytes.NewReader([]byte("carol")))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	})
}

// Glewlwyd: access tokens that are JWTs, metadata below its issuer only.
//
// covers: AS-PROXY-03, AS-PROXY-04
func TestProxyGlewlwyd(t *testing.T) {
	t.Parallel()
	const secret, password = "secret-of-the-doorward-client", "orchard-tango-27-violet"
	host := rig.Free(t)
	at := "http://" + host
	g := rig.StartGlewlwyd(t, rig.GlewlwydSettings{
		Clients: []map[string]any{{"client_id": "doorward", "name": "doorward", "confidential": true, "enabled": true, "password": secret,
			"authorization_type": []string{"code", "refresh_token"}, "redirect_uri": []string{at + "/callback/separate"}, "scope": []string{},
			"token_endpoint_auth_method": []string{"client_secret_basic"}}},
		Users:  []map[string]any{{"username": "carol", "name": "Carol", "email": "carol@example.com", "password": password, "enabled": true, "scope": []string{"openid"}}},
		Plugin: map[string]any{"access-token-duration": int(life / time.Second)}})
	behind := newUpstream(t, g.Issuer+"/userinfo")
	serve(t, proxyConfig, at, host, g.Issuer, secret, "openid", behind.url)
	wire, err := g.Wire("carol", password, "doorward", "openid")
	if err != nil {
		t.Fatal(err)
	}
	carol := person(t, "carol", wire)
	p := proxied{t, at, behind, newApp(t, at, "app", appSecret)}
	p.whole(carol, func() {
		if err := g.Admin(http.MethodDelete, "/user/carol", map[string]any{}); err != nil {
			t.Fatal(err)
		}
	})
}
