package main

import (
	"cmp"
	"reflect"
	"slices"

	"doorward/authserver"
)

// separateName is the provider that `separate` is: accounts are
// separate/ACCOUNT, groups separate/GROUP.
const separateName = "separate"

// SeparateConfig is the authorization server of somebody else that people sign
// in at. With mode: proxy the redirect URI to register there is url +
// /callback/separate; with passthrough those of the clients.
type SeparateConfig struct {
	// Issuer is its issuer identifier, to the letter; the rest is discovered
	// (OpenID Connect). Required, but with userinfo_url, and with passthrough beside
	// the one issuer of servers.*.issuers.
	Issuer string `yaml:"issuer"`
	// AuthorizeURL, TokenURL, RevokeURL and RegisterURL take the place of what its
	// metadata says (passthrough); with the first two it needs none, but for the
	// keys of its tokens. With proxy the first two are those of a plain OAuth 2.0
	// server, beside userinfo_url. Default: discovered.
	AuthorizeURL string `yaml:"authorize_url"`
	TokenURL     string `yaml:"token_url"`
	RevokeURL    string `yaml:"revoke_url"`
	RegisterURL  string `yaml:"register_url"`
	// UserinfoURL is where a plain OAuth 2.0 server (proxy), without metadata and
	// ID tokens, says as a JSON object whom an access token stands for; account is
	// required then. Default: an OpenID provider.
	UserinfoURL string `yaml:"userinfo_url"`
	// Name is what people see (proxy). Default: separate.
	Name string `yaml:"name"`
	// ClientID is our client id there. Required; with passthrough all clients are
	// this one there, and without it each is its own.
	ClientID string `yaml:"client_id"`
	// ClientSecret authenticates us there. Default: a public client.
	ClientSecret secret `yaml:"client_secret"`
	// AuthMethod is how the secret is sent. Default: what its metadata lists,
	// client_secret_basic first.
	AuthMethod string `yaml:"auth_method" enum:"client_secret_basic client_secret_post"`
	// Scopes are asked for there, for the tokens that go upstream (credential:
	// vault). Default: [openid, email, profile], with userinfo_url none; passthrough: of requests that name
	// none, none.
	Scopes []string `yaml:"scopes"`
	// Parameters are as of sign_in of a provider (proxy). Default: none.
	Parameters map[string]string `yaml:"parameters"`
	// Resource: send the resource parameter (RFC 8707), the identifier of the MCP
	// server, or drop it. Default: drop; passthrough: send.
	Resource string `yaml:"resource" enum:"send drop"`
	// Account, EmailDomains, Tenants and Groups are as of a provider (proxy).
	Account      oneOrMore    `yaml:"account"`
	EmailDomains []string     `yaml:"email_domains"`
	Tenants      []string     `yaml:"tenants"`
	Groups       GroupsConfig `yaml:"groups"`
}

// settleSeparate makes it one of the providers, so that rules can name its
// people.
func (c *Config) settleSeparate() {
	if c.Mode == "passthrough" {
		c.takeSeparateTokens()
	}
	if c.Mode != "proxy" {
		return
	}
	s := &c.Separate
	if s.Name == "" {
		s.Name = separateName
	}
	if s.Scopes == nil && !s.plain() {
		s.Scopes = []string{"openid", "email", "profile"}
	}
	if s.Account == nil && !s.plain() {
		s.Account = oneOrMore{"sub"}
	}
	if s.Groups.Claim == "" {
		s.Groups.Claim = "groups"
	}
	if c.Providers == nil {
		c.Providers = map[string]ProviderConfig{}
	}
	kind := "oidc"
	if s.plain() {
		kind = "oauth"
	}
	c.Providers[separateName] = ProviderConfig{Kind: kind, Issuer: s.Issuer, AuthorizeURL: s.AuthorizeURL, TokenURL: s.TokenURL, UserinfoURL: s.UserinfoURL, Name: s.Name, Account: s.Account, Accounts: "create",
		EmailDomains: s.EmailDomains, Tenants: s.Tenants, Groups: s.Groups, SignIn: &SignInConfig{ClientID: s.ClientID, Scopes: s.Scopes, Parameters: s.Parameters}}
}

// takeSeparateTokens makes the separate server one of the issuers of each
// server: with mode: passthrough the tokens are its own.
func (c *Config) takeSeparateTokens() {
	c.Separate.Issuer = cmp.Or(c.Separate.Issuer, c.onlyIssuer())
	for name, s := range c.Servers {
		if c.Separate.Issuer != "" && !slices.ContainsFunc(s.Issuers, func(f FurtherIssuer) bool { return f.Issuer == c.Separate.Issuer }) {
			s.Issuers = append(s.Issuers, FurtherIssuer{Issuer: c.Separate.Issuer})
			c.Servers[name] = s
		}
	}
}

// onlyIssuer is the one whose tokens all servers take besides ours; "": there
// are none, or several.
func (c *Config) onlyIssuer() string {
	only := ""
	for _, s := range c.Servers {
		for _, f := range s.Issuers {
			if only != "" && f.Issuer != only {
				return ""
			}
			only = f.Issuer
		}
	}
	return only
}

// separateServer is it for the engine.
func (c *Config) separateServer() authserver.Separate {
	if c.Mode != "proxy" && c.Mode != "passthrough" {
		return authserver.Separate{}
	}
	s := c.Separate
	return authserver.Separate{Issuer: s.Issuer, AuthorizeURL: s.AuthorizeURL, TokenURL: s.TokenURL, RevokeURL: s.RevokeURL, RegisterURL: s.RegisterURL, UserinfoURL: s.UserinfoURL,
		Title: s.Name, ClientID: s.ClientID, ClientSecret: string(s.ClientSecret), AuthMethod: s.AuthMethod,
		Scopes: s.Scopes, Parameters: s.Parameters, Resource: s.Resource, Account: s.Account, Tenants: s.Tenants, EmailDomains: s.EmailDomains, GroupsClaim: s.Groups.Claim}
}

// separate checks mode and what belongs to it.
func (k *checker) separate() {
	at := pathOf("separate")
	if k.Mode == "passthrough" {
		k.passthrough(at)
		k.vaults()
		return
	}
	if k.Mode != "proxy" {
		k.must(reflect.ValueOf(k.Separate).IsZero() || k.broken(pathOf("mode")), at, "is for mode: proxy or passthrough; with mode: %s people sign in at the providers of this file", k.Mode)
		k.vaults()
		return
	}
	if k.role == roleIdP {
		k.fail(pathOf("mode"), "proxy is for `doorward serve`: an identity provider issues no tokens for others")
		return
	}
	s := k.Separate
	if s.plain() {
		k.plainSeparate(at)
	} else if s.Issuer == "" && s.AuthorizeURL != "" && s.TokenURL != "" && !k.broken(at.add("issuer")) {
		k.fail(at, "has neither issuer (an OpenID provider, whose URLs are discovered) nor, beside authorize_url and token_url, userinfo_url and account (a plain OAuth 2.0 server): nobody says who signed in")
	} else {
		for _, u := range s.urls() {
			k.must(u[1] == "", at.add(u[0]), "is for mode: passthrough, or a plain OAuth 2.0 server with userinfo_url; that of an OpenID provider is discovered")
		}
		k.issuer(at.add("issuer"), s.Issuer)
		k.must(slices.Contains(s.Scopes, "openid") || k.broken(at.add("scopes")), at.add("scopes"), "must have openid among them: without it nobody says who signed in")
		k.must(len(s.Account) > 0 && !slices.Contains(s.Account, ""), at.add("account"), "names no claim: write sub")
	}
	k.must(s.ClientID != "" || k.broken(at.add("client_id")), at.add("client_id"), "is missing: register %s/callback/separate there and write the client id that it gives", k.URL)
	k.must(s.AuthMethod == "" || s.ClientSecret != "" || k.broken(at.add("client_secret")), at.add("auth_method"), "is for a client with a secret: add client_secret, or leave it out")
	k.scopes(at.add("scopes"), s.Scopes, nil)
	k.parameters(at.add("parameters"), s.Parameters)
	k.domains(at.add("email_domains"), s.EmailDomains)
	k.must(!slices.Contains(s.Tenants, ""), at.add("tenants"), "has an empty tenant: remove it")
	k.must(!k.given("people") || len(k.People) == 0, pathOf("people"), "cannot be beside mode: proxy: everybody signs in at separate")
	k.must(!k.given("providers", separateName), pathOf("providers", separateName), "has the name of the server under separate: its people would be taken for those of it")
	for _, name := range sortedNames(k.Providers) {
		if name == separateName {
			continue
		}
		k.must(!k.given("providers", name, "sign_in"), pathOf("providers", name, "sign_in"), "cannot be beside mode: proxy: everybody signs in at separate (id_jag can)")
		k.must(k.Providers[name].Issuer != s.Issuer || s.Issuer == "", at.add("issuer"), "is also the issuer of providers.%s: a person must be one account", name)
	}
}

// urls are its endpoints by their keys.
func (s SeparateConfig) urls() [][2]string {
	return [][2]string{{"authorize_url", s.AuthorizeURL}, {"token_url", s.TokenURL}, {"revoke_url", s.RevokeURL}, {"register_url", s.RegisterURL}}
}

// plain reports whether it is a plain OAuth 2.0 server.
func (s SeparateConfig) plain() bool { return s.UserinfoURL != "" }

// plainSeparate checks what a plain OAuth 2.0 server needs.
func (k *checker) plainSeparate(at keyPath) {
	s := k.Separate
	for _, u := range [][2]string{{"authorize_url", s.AuthorizeURL}, {"token_url", s.TokenURL}, {"userinfo_url", s.UserinfoURL}} {
		switch key := at.add(u[0]); {
		case k.broken(key):
		case u[1] == "":
			k.fail(key, "is missing beside userinfo_url")
		default:
			k.must(keysURL(u[1]) && noFragment(u[1]), key, "must be an https URL (http on loopback)")
		}
	}
	for _, u := range [][2]string{{"revoke_url", s.RevokeURL}, {"register_url", s.RegisterURL}} {
		k.must(u[1] == "", at.add(u[0]), "is for mode: passthrough")
	}
	k.must(s.Issuer == "" || k.broken(at.add("issuer")), at.add("issuer"), "cannot be beside userinfo_url: a plain OAuth 2.0 server has none")
	k.must(len(s.Tenants) == 0, at.add("tenants"), "cannot be beside userinfo_url: a plain OAuth 2.0 server names none")
	k.must(len(s.Account) > 0 && !slices.Contains(s.Account, "") || k.broken(at.add("account")), at.add("account"), "is missing: write the member of the userinfo answer that names the account for ever, such as id")
	for _, name := range s.Account {
		if slices.Contains(passedOn, name) {
			k.warn(at.add("account"), "%s may pass to somebody else, who would then have this account: write the number or id that never does", name)
		}
	}
}

// passthrough checks what a relay needs.
func (k *checker) passthrough(at keyPath) {
	if k.role == roleIdP {
		k.fail(pathOf("mode"), "passthrough is for `doorward serve`: an identity provider relays nobody")
		return
	}
	s := k.Separate
	if s.Issuer == "" && s.AuthorizeURL != "" && s.TokenURL != "" && !k.broken(at.add("issuer")) {
		k.fail(at.add("issuer"), "is missing beside authorize_url and token_url: write it here, or one under servers.*.issuers: that server's tokens are checked by its keys")
	} else {
		k.issuer(at.add("issuer"), s.Issuer)
	}
	for _, u := range s.urls() {
		k.must(u[1] == "" || keysURL(u[1]), at.add(u[0]), "must be an https URL (http on loopback)")
	}
	k.must((s.AuthorizeURL == "") == (s.TokenURL == ""), at, "needs both of authorize_url and token_url, or neither")
	k.must(s.ClientSecret == "" || s.ClientID != "" || k.broken(at.add("client_id")), at.add("client_id"), "is missing beside client_secret")
	k.must(s.AuthMethod == "" || s.ClientSecret != "" || k.broken(at.add("client_secret")), at.add("auth_method"), "is for a client with a secret: add client_secret, or leave it out")
	k.scopes(at.add("scopes"), s.Scopes, nil)
	for _, f := range []struct {
		key string
		set bool
	}{{"userinfo_url", s.UserinfoURL != ""}, {"name", s.Name != ""}, {"parameters", s.Parameters != nil}, {"account", s.Account != nil}, {"email_domains", s.EmailDomains != nil}, {"tenants", s.Tenants != nil}, {"groups", s.Groups.Claim != ""}} {
		k.must(!f.set, at.add(f.key), "is for mode: proxy: with passthrough nobody signs in here")
	}
	dynamic := k.Clients.Registration.Dynamic
	k.must(dynamic != "off" && dynamic != "token", pathOf("clients", "registration", "dynamic"), "cannot be %s beside mode: passthrough: the separate server alone says who registers", dynamic)
	k.must(k.Clients.Others != "refuse", pathOf("clients", "others"), "cannot be refuse beside mode: passthrough: the separate server alone says which clients come in")
	for _, f := range []struct {
		p   keyPath
		set bool
	}{{pathOf("people"), len(k.People) > 0}, {pathOf("providers"), len(k.Providers) > 0}, {pathOf("workloads"), len(k.Workloads) > 0}, {pathOf("clients", "registered"), len(k.Clients.Registered) > 0}} {
		k.must(!f.set, f.p, "cannot be beside mode: passthrough: the separate server alone says who comes in, and by what")
	}
}

// vaults refuses credential: vault where nothing lies in the vault.
func (k *checker) vaults() {
	for _, name := range sortedNames(k.Servers) {
		k.must(k.Servers[name].Credential.Word != "vault" || k.broken(pathOf("mode")), pathOf("servers", name, "credential"),
			"vault is what the server under separate issued for the person: it needs mode: proxy")
	}
}
