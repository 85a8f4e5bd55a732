package main

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"

	"doorward"
	"doorward/authserver"
	"doorward/internal/access"
	"doorward/internal/gateway"
	"doorward/internal/oauth"
	"doorward/internal/peer"
)

// authserverConfig is the issuer that the configuration describes, without its
// store, master key, sign-in, logger and clock.
func (c *Config) authserverConfig() authserver.Config {
	return authserver.Config{
		URL:     c.URL,
		Clients: c.clientsOf(),
		Registration: authserver.Registration{
			Mode: c.Clients.Registration.Dynamic, Total: c.Clients.Registration.Total, Unused: c.Clients.Registration.Unused,
			Token: string(c.Clients.Registration.Token),
		},
		KnownClients:   c.Clients.Known,
		OtherClients:   c.Clients.Others,
		Consent:        authserver.Consent{Known: c.Clients.Consent.Known, Others: c.Clients.Consent.Others},
		Resources:      c.resources(),
		Issuers:        c.issuers(),
		Workloads:      c.workloadsOf(),
		Directories:    c.directories(),
		Audiences:      c.audiencesOf(),
		Tokens:         c.tokens(),
		DPoP:           c.Tokens.DPoP,
		MTLS:           c.mtls(),
		ClientCAs:      c.TLS.ClientCA.pool,
		KeyRotation:    c.Keys.Rotate,
		Limits:         authserver.Limits{Token: c.Limits.Token.bound(), Authorize: c.Limits.Authorize.bound(), Register: c.Limits.Register.bound()},
		BodyLimit:      int64(c.Limits.Body),
		InsecurePublic: c.InsecurePublic,
		AuditKeep:      c.Audit.Keep,
		Mode:           c.Mode,
		Separate:       c.separateServer(),
		Fetch:          authserver.Fetch{Roots: c.Fetch.Roots.pool, Private: c.Fetch.Private},
	}
}

func (c *Config) trustedProxies() *peer.Trusted {
	t := peer.Trusted{}
	for _, p := range c.TrustedProxies {
		t = append(t, netip.Prefix(p))
	}
	return &t
}

func (c *Config) tokens() authserver.Tokens {
	t := authserver.Tokens{
		Access: c.Tokens.Access.Default, AccessIDJAG: c.Tokens.Access.IDJAG,
		RefreshIdle: c.Tokens.Refresh.Idle, RefreshMax: c.Tokens.Refresh.Max, RefreshGrace: c.Tokens.Refresh.Grace,
		IDToken: c.Tokens.IDToken, IDJAG: c.Tokens.IDJAG, Alg: c.Tokens.Alg,
	}
	if t.RefreshGrace == 0 {
		t.RefreshGrace = -1 // zero would mean the engine's default
	}
	return t
}

// grantTypes are the short names of the file.
var grantTypes = map[string]string{
	"authorization_code": oauth.AuthorizationCode,
	"refresh_token":      oauth.RefreshToken,
	"client_credentials": oauth.ClientCredentials,
	"jwt-bearer":         oauth.JWTBearer,
	"token-exchange":     oauth.TokenExchange,
	"device_code":        oauth.DeviceCode,
}

// shortGrants are those of the grant types that RFCs call by a URN, which the
// file and `client add` take, too.
var shortGrants = map[string]string{
	oauth.JWTBearer:     "jwt-bearer",
	oauth.TokenExchange: "token-exchange",
	oauth.DeviceCode:    "device_code",
}

func (c *Config) clientsOf() map[string]authserver.Client {
	out := map[string]authserver.Client{}
	for id, cl := range c.Clients.Registered {
		var grants []string
		for _, g := range cl.GrantTypes {
			grants = append(grants, grantTypes[g])
		}
		var introspects []string
		for _, name := range cl.Introspects {
			introspects = append(introspects, c.resourceID(c.Servers[name]))
		}
		out[id] = authserver.Client{Name: cl.Name, Secret: string(cl.Secret), JWKS: cl.JWKS, JWKSURI: cl.JWKSURI, RedirectURIs: cl.RedirectURIs,
			GrantTypes: grants, Scopes: cl.Scopes, Introspects: introspects, PushedOnly: cl.PushedOnly, DPoPBound: cl.DPoPBound,
			TLSSubject: cl.TLSSubject, CertBound: cl.CertBound,
			BackchannelLogoutURI: cl.BackchannelLogoutURI, FrontchannelLogoutURI: cl.FrontchannelLogoutURI,
			SAMLEntityID: cl.SAMLEntityID, SAMLACS: cl.SAMLACS}
	}
	return out
}

// resources are the servers in the order of their names.
func (c *Config) resources() []authserver.Resource {
	var out []authserver.Resource
	for _, name := range sortedNames(c.Servers) {
		s, rules := c.Servers[name], c.serverRules(name)
		out = append(out, authserver.Resource{
			ID: c.resourceID(s), Name: name, Scopes: s.Scopes, DefaultScopes: s.DefaultScopes, Implies: s.ScopeImplies,
			Default: s.Default, RuleName: rules.Name, Allow: rules.Allow, Deny: rules.Deny, Open: rules.Open,
		})
	}
	return out
}

// resourceID is the URL's origin and the server's path.
func (c *Config) resourceID(s ServerConfig) string { return originOf(c.URL) + s.Path }

// originOf is scheme, host and port of a URL, as written.
func originOf(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return s
	}
	return u.Scheme + "://" + u.Host
}

// serverRules are the rules of a server. Without an allow rule it is open to
// whoever signs in, if nobody elsewhere can reach it.
func (c *Config) serverRules(name string) access.Rules {
	s := c.Servers[name]
	rules := access.Rules{Name: "servers." + name, Open: len(s.Allow) == 0 && !c.public(), Home: c.home()}
	for _, r := range s.Allow {
		rules.Allow = append(rules.Allow, access.Rule{Who: r.Who, Tools: r.Tools, Scopes: r.Scopes, Require: access.Require(r.Require)})
	}
	for _, r := range s.Deny {
		rules.Deny = append(rules.Deny, access.Rule{Who: r.Who, Tools: r.Tools, Scopes: r.Scopes})
	}
	return rules
}

// home is the issuer of another at which everybody signs in; "": they do here,
// or at providers.
func (c *Config) home() string {
	if c.Mode != "passthrough" {
		return ""
	}
	return c.Separate.Issuer
}

func (c *Config) issuers() map[string]authserver.TrustedIssuer {
	out := map[string]authserver.TrustedIssuer{}
	for name, p := range c.Providers {
		if p.IDJAG == nil {
			continue
		}
		out[name] = authserver.TrustedIssuer{
			Issuer: p.Issuer, JWKSURI: p.IDJAG.JWKSURI, Algs: p.IDJAG.Algs, MaxLifetime: p.IDJAG.MaxLifetime,
			Replay: p.IDJAG.Replay, PublicClients: p.IDJAG.PublicClients, Scopes: p.IDJAG.Scopes,
			Account: p.Account, ExistingOnly: p.Accounts == "existing", Tenants: p.Tenants,
			EmailDomains: p.EmailDomains, GroupsClaim: p.Groups.Claim, SAML: authserver.SAMLSubjects(p.IDJAG.SAML),
			Encrypted: p.IDJAG.Encrypted,
		}
	}
	return out
}

// directories are the providers whose provisioning says who is there.
func (c *Config) directories() map[string]authserver.Directory {
	out := map[string]authserver.Directory{}
	for name, p := range c.Providers {
		if p.SCIM != nil {
			out[name] = authserver.Directory{Token: string(p.SCIM.Token), Attribute: p.SCIM.Attribute}
		}
	}
	return out
}

// audiencesOf is nil for an authorization server and never for an identity
// provider: that is how the engine tells them apart.
func (c *Config) audiencesOf() map[string]authserver.Audience {
	if c.role != roleIdP {
		return nil
	}
	out := map[string]authserver.Audience{}
	for issuer, a := range c.Audiences {
		to := authserver.Audience{Resources: a.Resources, ClientIDs: a.ClientIDs, Subject: a.Subject, Claims: a.Claims, PublicClients: a.PublicClients}
		for _, r := range a.Allow {
			to.Allow = append(to.Allow, access.Rule{Who: r.Who, Resources: r.Resources, Scopes: r.Scopes, Require: access.Require(r.Require)})
		}
		for _, r := range a.Deny {
			to.Deny = append(to.Deny, access.Rule{Who: r.Who, Resources: r.Resources, Scopes: r.Scopes})
		}
		out[issuer] = to
	}
	return out
}

// localPeople are the people of the file, by account.
func (c *Config) localPeople() map[string]authserver.LocalPerson {
	out := map[string]authserver.LocalPerson{}
	for name, p := range c.People {
		out[name] = authserver.LocalPerson{Email: p.Email, Groups: slices.Clone(p.Groups), Password: string(p.Password)}
	}
	return out
}

// signIn is how people come in: by the passwords of the file, unless it has
// providers and nobody of its own, and at each provider in the order of names.
func (c *Config) signIn() authserver.SignIn {
	if c.Mode != "direct" {
		return nil
	}
	var ways []authserver.SignIn
	for _, name := range sortedNames(c.Providers) {
		p := c.Providers[name]
		switch {
		case p.SignIn == nil:
			continue
		case p.Kind == "saml":
			ways = append(ways, c.samlSignIn(name, p))
			continue
		case p.Kind == "oauth":
			ways = append(ways, plainSignIn(name, p))
			continue
		}
		ways = append(ways, authserver.OIDC(authserver.OIDCProvider{
			Name: name, Title: p.Name, Issuer: p.Issuer, ClientID: p.SignIn.ClientID, ClientSecret: string(p.SignIn.ClientSecret),
			Scopes: p.SignIn.Scopes, Parameters: p.SignIn.Parameters, Recheck: p.SignIn.recheck(), Account: p.Account, ExistingOnly: p.Accounts == "existing", Tenants: p.Tenants,
			EmailDomains: p.EmailDomains, GroupsClaim: p.Groups.Claim,
		}))
	}
	if len(c.People) > 0 || len(ways) == 0 {
		ways = append(ways, authserver.LocalPeople(c.localPeople()))
	}
	return authserver.AnyOf(ways...)
}

// extensions are those of MCP that a server behind the gate has by it.
func (c *Config) extensions(server string) []string {
	ids := []string{"io.modelcontextprotocol/oauth-client-credentials"}
	if c.Tokens.DPoP != "off" {
		ids = append(ids, "io.modelcontextprotocol/auth/dpop")
	}
	for _, p := range c.Providers {
		if p.IDJAG != nil {
			ids = append(ids, "io.modelcontextprotocol/enterprise-managed-authorization")
			break
		}
	}
	for _, w := range c.Workloads {
		if slices.Contains(w.Servers, server) {
			return append(ids, "io.modelcontextprotocol/auth/wif")
		}
	}
	return ids
}

// gatewayServers are the servers behind the gate, by name; sample is the
// built-in one.
func (c *Config) gatewayServers(sample http.Handler) map[string]gateway.Server {
	out := map[string]gateway.Server{}
	for name, s := range c.Servers {
		g := gateway.Server{
			Path: s.Path, Name: name, Upstream: s.Upstream, Scopes: s.Scopes, DefaultScopes: s.DefaultScopes,
			Implies: s.ScopeImplies, Tools: s.Tools, Rules: c.serverRules(name), AllowedOrigins: s.AllowedOrigins, Extensions: c.extensions(name),
			DPoP: c.Tokens.DPoP, Vault: s.Credential.Word == "vault",
		}
		for _, further := range s.Issuers {
			g.Issuers = append(g.Issuers, further.Issuer)
			if as := further.Introspect; as != nil {
				if g.Introspect == nil {
					g.Introspect = map[string]doorward.Credentials{}
				}
				g.Introspect[further.Issuer] = doorward.Credentials{ID: as.ClientID, Secret: string(as.ClientSecret)}
			}
		}
		if s.Run.sample {
			g.Handler = sample
		}
		if to := s.Credential.Exchange; to != nil {
			g.Exchange = &gateway.Exchange{Issuer: to.Issuer, TokenURL: to.TokenURL, ClientID: to.ClientID, ClientSecret: string(to.ClientSecret), AuthMethod: to.AuthMethod,
				Audience: to.Audience, Resource: to.Resource, Scopes: to.Scopes, Vault: c.Mode == "proxy"}
		}
		if to := s.Credential.CallerJWT; to != nil {
			g.CallerJWT, g.CallerClaims = true, to.Claims
		}
		for header, value := range s.Credential.Header {
			if g.Header == nil {
				g.Header = http.Header{}
			}
			g.Header.Set(header, string(value))
		}
		out[name] = g
	}
	return out
}
