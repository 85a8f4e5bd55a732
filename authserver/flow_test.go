package authserver

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"doorward/internal/oauth"
)

// redeem sends a code to the token endpoint.
func (b *browser) redeem(client, redirect, code string) (int, map[string]any) {
	b.t.Helper()
	form := url.Values{"grant_type": {oauth.AuthorizationCode}, "client_id": {client}, "redirect_uri": {redirect}, "code": {code},
		"code_verifier": {verifier}, "resource": {files}}
	res, err := b.client.Post(b.site.url+"/token", "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(body, &doc); err != nil {
		b.t.Fatalf("%d %s", res.StatusCode, body)
	}
	return res.StatusCode, doc
}

// logBuffer may be written by background work while it is read.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// covers: SEC-27, X-LOG-01
func TestFromRegistrationToTokenWithoutATraceOfSecrets(t *testing.T) {
	var log logBuffer
	s := newSite(t, func(c *Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	doc := s.mustRegister(`{"client_name":"Tool","redirect_uris":["http://127.0.0.1:3000/callback"],"grant_types":["authorization_code","refresh_token"],"token_endpoint_auth_method":"none","application_type":"native"}`)
	id, cb := doc["client_id"].(string), "http://127.0.0.1:3000/callback"
	b := s.browser()
	p := b.get(s.ask(id, cb))
	b.submit(p, "username", "alice", "password", "not-the-password-canary")
	q := b.submit(b.signIn(p, "alice")).arrived(t, cb)
	status, token := b.redeem(id, cb, q.Get("code"))
	if status != http.StatusOK || token["access_token"] == nil || token["refresh_token"] == nil {
		t.Fatalf("%d %v", status, token)
	}
	if status, again := b.redeem(id, cb, q.Get("code")); status != http.StatusBadRequest || again["error"] != oauth.InvalidGrant {
		t.Errorf("the code again: %d %v", status, again)
	}
	b.get(s.url + "/consent?attempt=damaged")
	canaries := []string{password, "not-the-password-canary", q.Get("code"), token["access_token"].(string), token["refresh_token"].(string)}
	u, _ := url.Parse(s.url)
	for _, c := range b.client.Jar.Cookies(u) {
		canaries = append(canaries, c.Value)
	}
	for _, secret := range canaries {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
		for _, res := range b.seen {
			if strings.Contains(res.Request.URL.String(), secret) && secret != q.Get("code") {
				t.Errorf("a URL has %q", secret)
			}
		}
	}
}

// TestIssuerWithAPath walks the pages of an issuer that does not lie at the root.
func TestIssuerWithAPath(t *testing.T) {
	s := newSite(t, func(c *Config) { c.URL = siteURL + "/tenant" })
	b := s.browser()
	p := b.get(s.ask("desktop", desktopCB))
	p.shows(t, 200, `action="/tenant/login"`)
	q := b.submit(b.signIn(p, "alice")).arrived(t, "https://desktop.example.com/cb")
	if q.Get("iss") != siteURL+"/tenant" || q.Get("code") == "" {
		t.Errorf("answer %v", q)
	}
	b.submit(b.get(s.url+"/logout")).shows(t, 200, "You are signed out")
}

// TestBrowserThatHidesWhereItIs: our pages send no referrer, and such a browser
// then calls their origin null.
func TestBrowserThatHidesWhereItIs(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	p := b.get(s.ask("desktop", desktopCB))
	action, form := p.form(t, "username", "alice", "password", password)
	for origin, ok := range map[string]bool{"null": true, "": true, siteURL: true, "https://evil.example.net": false} {
		r, err := http.NewRequest(http.MethodPost, action, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		if p := b.do(r); (p.status == http.StatusOK) != ok {
			t.Errorf("origin %q: %d", origin, p.status)
		}
	}
}
