package authserver

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"doorward"
)

// hosts sends each request to the server of its host.
type hosts map[string]http.RoundTripper

func (h hosts) RoundTrip(r *http.Request) (*http.Response, error) {
	if to := h[r.URL.Host]; to != nil {
		return to.RoundTrip(r)
	}
	return nil, errors.New("connection refused")
}

// A client that knows the relay only gets the separate server's code and token
// through it, and the MCP server behind it takes that token and no other
// resource's.
//
// covers: I01, I03, I04, I05, I10
func TestRelayedWhole(t *testing.T) {
	const gateURL = "https://gate.example.com"
	their := newSite(t, func(c *Config) {
		res := c.Resources[0]
		other := res
		res.ID, other.ID = gateURL+"/mcp", "https://other.example.com/mcp"
		res.RuleName, other.RuleName = "gate", "other"
		c.Resources = []Resource{res, other}
	})
	ours := newSite(t, func(c *Config) {
		c.URL, c.SignIn, c.Mode, c.Separate, c.HTTP = gateURL, nil, "passthrough", Separate{Issuer: siteURL}, hosts{"auth.example.com": their}
		c.Clients, c.Resources = nil, nil
	})
	err := ours.Protect("/mcp", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, _ := doorward.CallerFrom(r.Context())
		w.Write([]byte(who.Issuer + " " + who.Subject))
	}))
	if err != nil {
		t.Fatal(err)
	}
	call := func(token string) reply {
		r := httptest.NewRequest(http.MethodPost, gateURL+"/mcp", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		return send(ours.Server, r)
	}
	tokens := func(resource string) reply {
		t.Helper()
		p := ours.browser().get(ours.ask("desktop", desktopBack, "resource", resource))
		if !p.left || p.url.Host != "auth.example.com" {
			t.Fatalf("at %s", p.url)
		}
		b := their.browser()
		p = b.submit(b.signIn(b.get(p.url.String()), "alice"))
		code := p.arrived(t, "https://desktop.example.com/cb").Get("code")
		r := post(ours.Server, "/token", "desktop a secret of the desktop", form("grant_type=authorization_code", "code="+code, "code_verifier="+verifier, "redirect_uri="+desktopBack))
		if r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		return r
	}
	got := tokens(gateURL + "/mcp")
	if r := call(got.text("access_token")); r.status != 200 || r.body != siteURL+" alice" {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := call(tokens("https://other.example.com/mcp").text("access_token")); r.status != 401 {
		t.Errorf("a token for another resource: %d %s", r.status, r.body)
	}
	refresh := form("grant_type=refresh_token", "refresh_token="+got.text("refresh_token"))
	again := post(ours.Server, "/token", "desktop a secret of the desktop", refresh)
	if again.status != 200 || again.text("refresh_token") == "" {
		t.Fatalf("%d %s", again.status, again.body)
	}
	if r := post(ours.Server, "/revoke", "desktop a secret of the desktop", form("token="+again.text("refresh_token"))); r.status != 200 {
		t.Errorf("revoked: %d %s", r.status, r.body)
	}
	over := post(ours.Server, "/token", "desktop a secret of the desktop", form("grant_type=refresh_token", "refresh_token="+again.text("refresh_token")))
	if over.status != 400 || over.text("error") != "invalid_grant" {
		t.Errorf("after the revocation: %d %s", over.status, over.body)
	}
}
