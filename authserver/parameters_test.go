package authserver

import (
	"strings"
	"testing"
)

// What one maker wants beside the protocol goes along, whatever the client
// wishes; a consent that is to be asked there stands beside the wishes.
func TestProviderParameters(t *testing.T) {
	more := map[string]string{"access_type": "offline", "hd": "corp.example", "prompt": "consent"}
	s, f := newProvidedSite(t, func(_ *Config, p *OIDCProvider) { p.Parameters = more })
	for wished, prompt := range map[string]string{"": "consent", "login": "login consent", "select_account": "select_account consent"} {
		f.tokens(s, s.browser(), "prompt", wished)
		if q := f.asked; q.Get("access_type") != "offline" || q.Get("hd") != "corp.example" || q.Get("prompt") != prompt || q.Get("client_id") != loginClient || len(q["prompt"]) != 1 {
			t.Errorf("%q: %v", wished, q)
		}
	}
	s, f = newProxiedSite(t, func(c *Config) { c.Separate.Parameters = more })
	f.proxiedTokens(s, s.browser())
	if q := f.asked; q.Get("access_type") != "offline" || q.Get("prompt") != "consent" {
		t.Errorf("proxy: %v", q)
	}
	_, h := newHubSite(t, nil)
	hub := OAuthProvider{Name: "hub", AuthorizeURL: hubURL + "/authorize", TokenURL: hubURL + "/token", UserinfoURL: hubURL + "/user", ClientID: "hub-client", ClientSecret: hubSecret,
		Account: []string{"id"}, Parameters: map[string]string{"allow_signup": "false"}}
	s = newSite(t, func(c *Config) { c.HTTP, c.SignIn = h, OAuth(hub) })
	if q := s.browser().get(s.ask("desktop", desktopBack)).arrived(t, hubURL+"/authorize"); q.Get("allow_signup") != "false" {
		t.Errorf("plain OAuth: %v", q)
	}
}

// A parameter of the protocol is not fixed, at whichever kind of server.
func TestProviderParametersRefused(t *testing.T) {
	own := map[string]string{"state": "s"}
	for name, change := range map[string]func(*Config){
		"OIDC": func(c *Config) {
			c.SignIn = OIDC(OIDCProvider{Name: "login", Issuer: loginURL, ClientID: loginClient, Parameters: own})
		},
		"OAuth": func(c *Config) {
			c.SignIn = OAuth(OAuthProvider{Name: "hub", AuthorizeURL: hubURL + "/a", TokenURL: hubURL + "/t", UserinfoURL: hubURL + "/u", ClientID: "c", Account: []string{"id"}, Parameters: own})
		},
		"proxy": func(c *Config) {
			c.Mode, c.Separate = "proxy", Separate{Issuer: loginURL, ClientID: loginClient, Parameters: own}
		},
		"plain proxy": func(c *Config) {
			c.Mode, c.Separate = "proxy", Separate{AuthorizeURL: hubURL + "/a", TokenURL: hubURL + "/t", UserinfoURL: hubURL + "/u", ClientID: "c", Account: []string{"id"}, Parameters: own}
		},
		"passthrough": func(c *Config) {
			c.Mode, c.Separate = "passthrough", Separate{Issuer: loginURL, Parameters: map[string]string{"hd": "corp.example"}}
		},
	} {
		c := Config{URL: siteURL, Store: openStore(t, nil)}
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), "arameters") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
