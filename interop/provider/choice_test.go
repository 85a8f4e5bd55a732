package provider_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/internal/browse"
	"doorward/interop/rig"
)

const choiceConfig = `
version: 1
url: %[1]s
ops: ""
providers:
  corp: {name: Corp, issuer: %[2]s, email_domains: [corp.example], sign_in: {client_id: doorward, client_secret: "${PROVIDER_SECRET}", recheck: 1s}}
  partner: {name: Partner, issuer: %[3]s, sign_in: {client_id: doorward, client_secret: secret-of-the-doorward-client, scopes: [openid], recheck: 1s}}
clients: {registered: {app: {secret: a-secret-of-the-app-0123, redirect_uris: ["http://127.0.0.1/callback"]}}}
servers: {sample: {path: /mcp, run: sample, allow: [{who: everyone}]}}
`

// chooser presses the button of a provider where there is a choice, and keeps
// the pages with it.
type chooser struct {
	wire  http.RoundTripper
	press string
	pages []string
}

func (c *chooser) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/login") {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, err
		}
		if form.Has("provider") {
			c.pages = append(c.pages, "first "+form.Get("provider"))
			form.Set("provider", c.press)
		}
		r = r.Clone(r.Context())
		text := form.Encode()
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	}
	return c.wire.RoundTrip(r)
}

// Two providers of two makers at one serve: carol of one is not carol of the
// other, what was used last comes first, and each provider ends its own only.
func TestChoice(t *testing.T) {
	t.Parallel()
	p := rig.Port(rig.Free(t))
	issuer := "http://127.0.0.1:" + p
	corp := provider(t, issuer+"/callback/corp")
	const password = "orchard-tango-27-violet"
	g := rig.StartGlewlwyd(t, rig.GlewlwydSettings{
		Clients: []map[string]any{{"client_id": "doorward", "name": "doorward", "confidential": true, "enabled": true, "password": "secret-of-the-doorward-client",
			"authorization_type": []string{"code", "refresh_token"}, "redirect_uri": []string{issuer + "/callback/partner"}, "scope": []string{},
			"token_endpoint_auth_method": []string{"client_secret_basic"}}},
		Users: []map[string]any{{"username": "carol", "name": "Carol", "email": "carol@corp.example", "password": password, "enabled": true, "scope": []string{"openid"}}}})
	doorward(t, "serve", fmt.Sprintf(choiceConfig, issuer, corp, g.Issuer))
	wire, err := g.Wire("carol", password, "doorward", "openid")
	if err != nil {
		t.Fatal(err)
	}
	app := newClient(t, issuer, "app", "a-secret-of-the-app-0123")
	by := map[string]map[string]any{}
	hand := &chooser{wire: wire}
	who, err := browse.New("carol", "whatever", hand)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"partner", "corp", "partner"} {
		hand.press = name
		// Each time another account is wanted, so that there is a choice again.
		by[name] = app.signInAs(who, "prompt", "select_account")
		if sub := fmt.Sprint(claims(t, by[name]["access_token"])["sub"]); !strings.HasPrefix(sub, name+"/") {
			t.Errorf("%s: %s", name, sub)
		}
	}
	if got := strings.Join(hand.pages, ", "); got != "first corp, first partner, first corp" {
		t.Errorf("the pages offer %s", got)
	}

	post(t, corp+"/test/forget", "carol")
	time.Sleep(1100 * time.Millisecond) // recheck is in real time here
	refresh := func(name string) (int, map[string]any) {
		return app.token("grant_type", "refresh_token", "refresh_token", fmt.Sprint(by[name]["refresh_token"]))
	}
	if status, body := refresh("corp"); status != 400 || body["error"] != "invalid_grant" {
		t.Errorf("gone at corp: %d %v", status, body)
	}
	status, body := refresh("partner")
	if status != 200 {
		t.Fatalf("still at partner: %d %v", status, body)
	}
	by["partner"] = body
	if err := g.Admin(http.MethodDelete, "/user/carol", map[string]any{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond)
	if status, body := refresh("partner"); status != 400 || body["error"] != "invalid_grant" {
		t.Errorf("gone at partner: %d %v", status, body)
	}
}
