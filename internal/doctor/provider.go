package doctor

import (
	"net/url"
	"strings"

	"doorward/internal/oauth"
)

// known is what is known of a provider besides what it says. Each fact is from
// public threads and pages, named in docs/doctor.md.
type known struct {
	name       string
	silentPKCE bool   // does PKCE and does not list it
	gated      string // why registration is refused, and what to do
	cors       string // likewise, why no page can use it
	trap       string // what goes wrong later on, where nothing shows it from outside
	mend       string
}

var providers = []struct {
	is func(host, path string) bool
	known
}{
	{hosts("login.microsoftonline.com", "sts.windows.net", ".ciamlogin.com"), known{name: "Microsoft Entra ID", silentPKCE: true,
		trap: "it refuses a resource parameter that is not the application id URI of the scopes (AADSTS9010010), which MCP clients must send, and a refresh without scope (AADSTS90009)",
		mend: "Make the address of the MCP server the Application ID URI, and publish scopes that begin with it; or put an authorization server in front that signs people in there (doorward serve --sign-in)."}},
	{hosts(".okta.com", ".oktapreview.com", ".okta-emea.com"), known{name: "Okta",
		gated: "Okta takes registrations with an administrator's token only. Add each client by hand, and take registration_endpoint out of what clients see; or put an authorization server in front (doorward serve --sign-in).",
		trap:  "the authorization server of the whole organization gives tokens that only Okta itself can check",
		mend:  "Use a custom authorization server (its issuer has the path /oauth2/NAME), with the address of the MCP server as its audience."}},
	{func(host, _ string) bool {
		return strings.HasPrefix(host, "cognito-idp.") && strings.HasSuffix(host, ".amazonaws.com") || strings.HasSuffix(host, ".amazoncognito.com")
	}, known{name: "Amazon Cognito", silentPKCE: true,
		trap: "its access tokens name no audience unless resource binding is switched on, and nobody can register",
		mend: "Switch resource binding on for the app client, or put an authorization server in front that signs people in there (doorward serve --sign-in)."}},
	{hosts("accounts.google.com"), known{name: "Google",
		trap: "its access tokens are for Google's own services, and a client has to be made by hand in its console",
		mend: "Put an authorization server in front that signs people in at Google and gives tokens of its own (doorward serve --sign-in https://accounts.google.com)."}},
	{hosts(".auth0.com"), known{name: "Auth0",
		trap: "without audience it gives a token that only Auth0 itself can check, and it takes resource for audience only where that is switched on",
		mend: "Switch on the Resource Parameter Compatibility Profile (settings of the tenant, advanced) and make an API whose identifier is the address of the MCP server; or set a default audience."}},
	{func(_, path string) bool { return strings.Contains(path, "/realms/") }, known{name: "Keycloak",
		gated: "The policy Trusted Hosts refuses registrations without a token from hosts that it does not list. List the hosts of the clients and of their redirect URIs there (client registration policies), or add clients by hand.",
		cors:  "Use Keycloak 26.5 or newer, whose registration endpoint can be called by pages, and list the origins in its client registration policies.",
		trap:  "it does not put the resource parameter into aud by itself, and the policy Trusted Hosts refuses registrations from hosts that it does not list",
		mend:  "Add a client scope with an audience mapper for the address of the MCP server, and make it a default scope; list the hosts of the clients in the registration policies."}},
	{hosts(".oryapis.com"), known{name: "Ory",
		trap: "it ignores the resource parameter, so that tokens have no audience",
		mend: "Put the address of the MCP server into the audience of each client."}},
	{hosts("github.com"), known{name: "GitHub",
		trap: "its tokens are for GitHub's own interfaces, and it has no metadata for MCP clients",
		mend: "Put an authorization server in front that signs people in at GitHub and gives tokens of its own."}},
}

// hosts are a provider's: a name that begins with a dot means all below it.
func hosts(names ...string) func(host, path string) bool {
	return func(host, _ string) bool {
		for _, n := range names {
			if host == n || strings.HasPrefix(n, ".") && strings.HasSuffix(host, n) {
				return true
			}
		}
		return false
	}
}

// providerOf finds the provider by its issuer, or by the endpoints that a
// server hands on.
func providerOf(m oauth.ServerMetadata, issuer string) known {
	for _, at := range []string{issuer, m.AuthorizationEndpoint, m.TokenEndpoint} {
		u, err := url.Parse(at)
		if err != nil {
			continue
		}
		for _, p := range providers {
			if p.is(strings.ToLower(u.Hostname()), u.Path) {
				return p.known
			}
		}
	}
	return known{}
}

// provider says what cannot be seen from outside and goes wrong all the same.
func (w *walk) provider() bool {
	k := providerOf(w.server, w.issuer)
	if u, err := url.Parse(w.issuer); k.name == "Okta" && err == nil && strings.HasPrefix(u.Path, "/oauth2/") {
		return w.ok("provider", "Okta, a custom authorization server")
	}
	if k.trap == "" {
		return w.ok("provider", "")
	}
	return w.warn("provider", problem{saw: k.name + ": " + k.trap, mend: k.mend})
}
