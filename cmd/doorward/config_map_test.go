package main

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/authserver"
	"doorward/internal/access"
	"doorward/internal/oauth"
)

func load(t *testing.T, r role, text string) *Config {
	t.Helper()
	dir := write(t, map[string]string{"c.yaml": text})
	cfg, got := inDir(dir, r, variables("PASSWORD", "orchard-tango-27"))
	if len(got) > 0 {
		t.Fatalf("findings: %q", got)
	}
	return cfg
}

func TestDefaults(t *testing.T) {
	c := load(t, roleServe, "providers: {p: {issuer: https://p.example, id_jag: {}}}\nservers: {s: {path: /mcp, run: sample}}\n")
	if c.Listen != "127.0.0.1:8080" || c.Ops != "127.0.0.1:8081" || c.Clients.Others != "allow" || c.Clients.Registration.Dynamic != "open" || c.public() {
		t.Errorf("loopback: %s %s %s %s", c.Listen, c.Ops, c.Clients.Others, c.Clients.Registration.Dynamic)
	}
	want := ProviderConfig{Kind: "oidc", Issuer: "https://p.example", Name: "p", Account: oneOrMore{"sub"}, Accounts: "create",
		IDJAG:  &IDJAGConfig{MaxLifetime: 5 * time.Minute, Algs: []string{"ES256", "RS256", "PS256", "EdDSA"}, Replay: "auto"},
		Groups: GroupsConfig{Claim: "groups"}}
	if !reflect.DeepEqual(c.Providers["p"], want) {
		t.Errorf("provider: %+v", c.Providers["p"])
	}
	if c := load(t, roleServe, "url: http://localhost:9000\nops: \"\"\n"+oneServer); c.Listen != "127.0.0.1:9000" || c.Ops != "" {
		t.Errorf("listen %s, ops %q", c.Listen, c.Ops)
	}
	c = load(t, roleServe, "url: https://a.example\nservers: {s: {path: /mcp, run: sample, allow: [{who: everyone}]}}\n")
	if c.Listen != "127.0.0.1:8080" || c.Clients.Others != "ask-admin" || c.Clients.Registration.Dynamic != "limited" || !c.public() {
		t.Errorf("elsewhere: %s %s %s", c.Listen, c.Clients.Others, c.Clients.Registration.Dynamic)
	}
	if c := load(t, roleIdP, ""); c.URL != "http://127.0.0.1:8090" || c.Listen != "127.0.0.1:8090" || c.Ops != "127.0.0.1:8091" || c.Clients.Registration.Dynamic != "off" {
		t.Errorf("idp: %s %s %s %s", c.URL, c.Listen, c.Ops, c.Clients.Registration.Dynamic)
	}
}

func TestWithoutFile(t *testing.T) {
	for _, r := range []role{roleServe, roleIdP} {
		c := defaultConfig(r)
		if found := c.checkStart(); len(found) > 0 {
			t.Errorf("%s: %v", r, found)
		}
		if len(c.Providers) != 0 || len(c.People) != 1 {
			t.Errorf("%s trusts %d providers and %d people", r, len(c.Providers), len(c.People))
		}
	}
	c := defaultConfig(roleServe)
	s := c.gatewayServers(http.NotFoundHandler())["sample"]
	if s.Path != "/mcp" || s.Handler == nil || !s.Rules.Open || !reflect.DeepEqual(s.DefaultScopes, []string{"sample:read"}) || !reflect.DeepEqual(s.Tools["note"], []string{"sample:write"}) {
		t.Errorf("sample: %+v", s)
	}
	c.Listen = "0.0.0.0:8080" // a flag
	found := c.checkStart()
	if !slices.ContainsFunc(found, func(f Finding) bool { return strings.HasPrefix(f.Text, "listen: ") && !f.Warning }) {
		t.Errorf("a public listen beside a loopback url: %v", found)
	}
	if c.gatewayServers(nil)["sample"].Rules.Open {
		t.Error("open to whoever signs in, and reachable from elsewhere")
	}
}

// The first scope is the first of the file, not of the alphabet.
func TestScopesOfServers(t *testing.T) {
	c := load(t, roleServe, "servers:\n  a: {path: /a, run: sample, scopes: {z: Last, b: Second}}\n  c: {path: /c, run: sample}\n")
	if got := c.Servers["a"].DefaultScopes; !reflect.DeepEqual(got, []string{"z"}) {
		t.Errorf("default scopes %q", got)
	}
	if got := c.Servers["c"]; !reflect.DeepEqual(got.DefaultScopes, []string{"c"}) || got.Scopes["c"] == "" {
		t.Errorf("a server without scopes: %+v", got)
	}
}

func TestAuthserverConfig(t *testing.T) {
	c := load(t, roleServe, `
url: http://127.0.0.1:8080/auth
providers:
  okta: {issuer: https://acme.okta.com, account: [tid, oid], accounts: existing, tenants: [t], email_domains: [a.example], id_jag: {replay: never, scopes: [r], algs: [ES256], encrypted: true}, groups: {claim: roles}, scim: {token: a token of some length, attribute: userName}}
workloads:
  ci: {issuer: https://ci.example, jwks_uri: https://ci.example/jwks, claims: {repo: acme/app, ref: [a, "b*"]}, client: w, servers: [s], scopes: [r]}
clients:
  known: [claude]
  consent: {others: admin}
  registered:
    d: {name: Desktop, secret: "a secret of some length", redirect_uris: ["http://127.0.0.1/cb"], grant_types: [authorization_code, jwt-bearer], scopes: [r]}
    rs: {secret: "a secret of some length", introspects: [s], dpop_bound_access_tokens: true}
    tv: {grant_types: [device_code], require_pushed_authorization_requests: true}
servers:
  s:
    path: /s/mcp
    upstream: http://127.0.0.1:3001/mcp
    credential: {header: {x-key: abc}}
    scopes: {r: Read, w: Write}
    scope_implies: {w: [r]}
    tools: {put: [w]}
    allow: [{who: "group:okta/eng", tools: ["get_*"], require: {amr: [mfa], signed_in_within: 8h}}]
    deny: [{who: [everyone, "client:d"], scopes: [w]}]
tokens: {refresh: {grace: 0s}, dpop: required}
limits: {token: 7/m, authorize: 9/h, body: 512KiB}
`)
	got := c.authserverConfig()
	allow := []access.Rule{{Who: []string{"group:okta/eng"}, Tools: []string{"get_*"}, Require: access.Require{AMR: []string{"mfa"}, SignedInWithin: 8 * time.Hour}}}
	deny := []access.Rule{{Who: []string{"everyone", "client:d"}, Scopes: []string{"w"}}}
	want := authserver.Config{
		URL: "http://127.0.0.1:8080/auth",
		Clients: map[string]authserver.Client{"d": {Name: "Desktop", Secret: "a secret of some length", RedirectURIs: []string{"http://127.0.0.1/cb"},
			GrantTypes: []string{oauth.AuthorizationCode, oauth.JWTBearer}, Scopes: []string{"r"}},
			"rs": {Secret: "a secret of some length", Introspects: []string{"http://127.0.0.1:8080/s/mcp"}, DPoPBound: true},
			"tv": {GrantTypes: []string{oauth.DeviceCode}, PushedOnly: true}},
		Registration: authserver.Registration{Mode: "open", Total: 10000, Unused: 720 * time.Hour},
		KnownClients: []string{"claude"},
		OtherClients: "allow",
		Consent:      authserver.Consent{Known: "person", Others: "admin"},
		Resources: []authserver.Resource{{ID: "http://127.0.0.1:8080/s/mcp", Name: "s", Scopes: map[string]string{"r": "Read", "w": "Write"},
			DefaultScopes: []string{"r"}, Implies: map[string][]string{"w": {"r"}}, RuleName: "servers.s", Allow: allow, Deny: deny}},
		Issuers: map[string]authserver.TrustedIssuer{"okta": {Issuer: "https://acme.okta.com", Algs: []string{"ES256"}, MaxLifetime: 5 * time.Minute,
			Replay: "never", Scopes: []string{"r"}, Account: []string{"tid", "oid"}, ExistingOnly: true, Tenants: []string{"t"},
			EmailDomains: []string{"a.example"}, GroupsClaim: "roles", Encrypted: true}},
		Directories: map[string]authserver.Directory{"okta": {Token: "a token of some length", Attribute: "userName"}},
		Workloads: map[string]authserver.Workload{"ci": {Issuer: "https://ci.example", JWKSURI: "https://ci.example/jwks", MaxLifetime: 10 * time.Minute,
			Algs: []string{"ES256", "RS256", "PS256", "EdDSA"}, Claims: map[string][]string{"repo": {"acme/app"}, "ref": {"a", "b*"}}, Client: "w",
			Resources: []string{"http://127.0.0.1:8080/s/mcp"}, Scopes: []string{"r"}}},
		DPoP: "required", Tokens: authserver.Tokens{Access: 15 * time.Minute, AccessIDJAG: time.Hour, RefreshIdle: 168 * time.Hour, RefreshMax: 720 * time.Hour,
			RefreshGrace: -1, IDToken: time.Hour, IDJAG: 5 * time.Minute, Alg: "ES256"},
		Mode: "direct", KeyRotation: 2160 * time.Hour, BodyLimit: 512 << 10, AuditKeep: 2160 * time.Hour,
		Limits: authserver.Limits{Token: authserver.Rate{Requests: 7, Per: time.Minute}, Authorize: authserver.Rate{Requests: 9, Per: time.Hour},
			Register: authserver.Rate{Requests: -1}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	s := c.gatewayServers(nil)["s"]
	if s.Upstream != "http://127.0.0.1:3001/mcp" || s.Header.Get("X-Key") != "abc" || s.Handler != nil || s.Rules.Open || s.Rules.Name != "servers.s" ||
		!reflect.DeepEqual(s.Rules.Allow, allow) || !reflect.DeepEqual(s.Rules.Deny, deny) || !reflect.DeepEqual(s.Tools, map[string][]string{"put": {"w"}}) {
		t.Errorf("gateway: %+v", s)
	}
}

func TestAudiences(t *testing.T) {
	c := load(t, roleIdP, `
people: {al: {email: al@x.example, groups: [eng], password: "${PASSWORD}"}}
clients: {registered: {d: {secret: "${PASSWORD}"}}}
audiences:
  https://as.example:
    resources: [https://as.example/mcp]
    client_ids: {d: there}
    claims: [email]
    allow: [{who: "group:eng", resources: ["*"], scopes: [r]}]
    deny: [{who: "person:al", resources: [x]}]
`)
	want := map[string]authserver.Audience{"https://as.example": {Resources: []string{"https://as.example/mcp"}, ClientIDs: map[string]string{"d": "there"},
		Subject: "sub", Claims: []string{"email"},
		Allow: []access.Rule{{Who: []string{"group:eng"}, Resources: []string{"*"}, Scopes: []string{"r"}}},
		Deny:  []access.Rule{{Who: []string{"person:al"}, Resources: []string{"x"}}}}}
	if got := c.authserverConfig().Audiences; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	if got := c.localPeople()["al"]; got.Password != "orchard-tango-27" || got.Email != "al@x.example" || !reflect.DeepEqual(got.Groups, []string{"eng"}) {
		t.Errorf("person: %s %q", got.Email, got.Groups)
	}
	if load(t, roleIdP, "").authserverConfig().Audiences == nil {
		t.Error("an identity provider without audiences became an authorization server")
	}
	if load(t, roleServe, oneServer).authserverConfig().Audiences != nil {
		t.Error("an authorization server became an identity provider")
	}
}

// covers: REV-14
func TestExtensions(t *testing.T) {
	const server, cc, dpop, ema = "servers: {s: {path: /mcp, run: sample}}\n", "io.modelcontextprotocol/oauth-client-credentials",
		"io.modelcontextprotocol/auth/dpop", "io.modelcontextprotocol/enterprise-managed-authorization"
	for text, want := range map[string][]string{
		server:                           {cc, dpop},
		"tokens: {dpop: off}\n" + server: {cc},
		"providers: {p: {issuer: https://p.example, id_jag: {}}}\n" + server: {cc, dpop, ema},
	} {
		if got := load(t, roleServe, text).gatewayServers(nil)["s"].Extensions; !slices.Equal(got, want) {
			t.Errorf("%s: %q", text, got)
		}
	}
}
