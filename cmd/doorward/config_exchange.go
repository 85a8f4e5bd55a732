package main

import (
	"cmp"

	"doorward/internal/oauth"
)

// settleExchanges gives the exchanges what the separate server of mode: proxy
// says, whose tokens they give away.
func (c *Config) settleExchanges() {
	if c.Mode != "proxy" {
		return
	}
	for _, s := range c.Servers {
		if e := s.Credential.Exchange; e != nil {
			if e.ClientID == "" && e.ClientSecret == "" {
				e.ClientID, e.ClientSecret, e.AuthMethod = c.Separate.ClientID, c.Separate.ClientSecret, cmp.Or(e.AuthMethod, c.Separate.AuthMethod)
			}
			e.Issuer = cmp.Or(e.Issuer, c.Separate.Issuer)
		}
	}
}

// exchange checks our client where tokens are exchanged.
func (k *checker) exchange(at keyPath, e ExchangeConfig) {
	for _, f := range []struct{ key, value, what string }{
		{"token_url", e.TokenURL, "write the token endpoint of the MCP server's authorization server"},
		{"client_id", e.ClientID, "write the id of our client there"},
		{"client_secret", string(e.ClientSecret), "a public client cannot exchange tokens"},
	} {
		k.must(f.value != "" || k.broken(at.add(f.key)), at.add(f.key), "is missing: %s", f.what)
	}
	k.must(e.TokenURL == "" || keysURL(e.TokenURL), at.add("token_url"), "must be an https URL (http on loopback)")
	switch {
	case k.broken(at.add("issuer")):
	case e.Issuer == "" && k.Separate.UserinfoURL != "": // a plain server, which has none
	case oauth.CheckIssuer(e.Issuer) != nil:
		k.fail(at.add("issuer"), "must be the issuer identifier of that authorization server")
	case k.Mode == "proxy" && e.Issuer != k.Separate.Issuer:
		k.fail(at.add("issuer"), "must be that of separate: with mode: proxy what is exchanged is its token, which no other server may see")
	case e.Issuer == k.URL:
		k.fail(at.add("issuer"), "is this server itself: its tokens are for the gateway")
	}
	if e.Resource != "" {
		k.must(oauth.CheckResource(e.Resource) == nil, at.add("resource"), "must be an absolute URI without a fragment (RFC 8707)")
	}
	k.scopes(at.add("scopes"), e.Scopes, nil)
}
