package main

import (
	"net/netip"
	"time"
)

// role is what a process is: an authorization server with its gateway, or an
// identity provider.
type role string

const (
	roleServe role = "serve"
	roleIdP   role = "idp"
)

// Config is a configuration file. Every key can be left out, but what a named
// entry cannot be without; the comment of each field says what it is then.
// Keys that are known but not built are in the table of config_gaps.go.
type Config struct {
	// Version of this format: 1.
	Version int `yaml:"version"`
	// URL is the public base URL and the issuer (RFC 8414), without a trailing
	// slash; the servers' paths hang under its origin. Default:
	// http://127.0.0.1:8080 (idp: http://127.0.0.1:8090). Plain http is for
	// loopback hosts only.
	URL string `yaml:"url"`
	// Listen is HOST:PORT. Default: host and port of a loopback http URL, else
	// 127.0.0.1:8080 (idp: 127.0.0.1:8090). An https URL may have plain http
	// here, behind an ingress, on any address; a loopback URL may listen on
	// loopback only.
	Listen string `yaml:"listen"`
	// Ops is HOST:PORT of /metrics, /healthz and /readyz, with no secret behind
	// it. Default: 127.0.0.1:8081 (idp: 127.0.0.1:8091). "" switches it off.
	Ops string `yaml:"ops"`
	// State is the directory for database, keys and socket. Default:
	// $STATE_DIRECTORY, else .doorward/ beside the configuration file, else
	// $XDG_STATE_HOME/doorward/HOST-PORT of the URL.
	State filePath `yaml:"state"`
	// Database is sqlite:PATH (absolute once read) or "sqlite::memory:". Default: SQLite in State.
	Database string `yaml:"database"`
	// InsecurePublic is the only way round the refusals for servers that are not
	// on loopback; they are said at every start instead.
	InsecurePublic bool `yaml:"insecure_public"`

	// TLS ends TLS here. Default: plain HTTP, behind an ingress or on loopback.
	TLS TLSConfig `yaml:"tls"`
	// TrustedProxies are ranges of addresses (10.0.0.0/8) whose X-Forwarded-For is
	// believed: the caller, for limits and in the audit, is the last address in it
	// that is not in these ranges. Nothing else that proxies say is read, but for
	// tls.client_cert_header. Default: none.
	TrustedProxies []proxies `yaml:"trusted_proxies"`

	// Providers are identity providers, by the name that accounts get
	// (person:NAME/ACCOUNT, group:NAME/GROUP).
	Providers map[string]ProviderConfig `yaml:"providers"`
	// People are local people, for trying things out, by their account.
	People map[string]PersonConfig `yaml:"people"`
	// Workloads are programs that get tokens by the JWT of the place where they
	// run, by name (serve). Default: none.
	Workloads map[string]WorkloadConfig `yaml:"workloads" role:"serve"`
	// Clients are the programs that may ask for tokens.
	Clients ClientsConfig `yaml:"clients"`
	// Servers are the MCP servers behind the gate, by name (serve).
	Servers map[string]ServerConfig `yaml:"servers" role:"serve"`
	// Audiences are the authorization servers that ID-JAGs may be addressed to,
	// by their issuer (idp).
	Audiences map[string]AudienceConfig `yaml:"audiences" role:"idp"`

	// Mode: direct (the default), people sign in here or at the providers; proxy,
	// they consent here and then sign in at separate, whose tokens are kept sealed
	// while clients get ours; passthrough, its endpoints are relayed, and clients
	// get its tokens, which rules know by who: issuer:URL (serve).
	Mode string `yaml:"mode" enum:"direct proxy passthrough"`
	// Separate is the authorization server that people sign in at (mode: proxy and
	// passthrough).
	Separate SeparateConfig `yaml:"separate"`
	// Tokens are lifetimes and forms of tokens.
	Tokens TokensConfig `yaml:"tokens"`
	// Limits are bounds of requests.
	Limits LimitsConfig `yaml:"limits"`
	// Fetch is how URLs that strangers name are fetched.
	Fetch FetchConfig `yaml:"fetch"`
	// Audit is the record of decisions.
	Audit AuditConfig `yaml:"audit"`
	// Telemetry is what an operator sees.
	Telemetry TelemetryConfig `yaml:"telemetry"`
	// Keys are the signing keys and what seals them at rest.
	Keys KeysConfig `yaml:"keys"`
	// Include are patterns of further files, relative to this one, whose named
	// entries are added: [servers.d/*.yaml]. The same name twice is an error.
	Include []string `yaml:"include"`

	origin
}

// ProviderConfig is one identity provider.
type ProviderConfig struct {
	// Kind: oidc (the default), or oauth: a plain OAuth 2.0 server, without ID
	// tokens, such as GitHub, or saml: a SAML 2.0 identity provider.
	Kind string `yaml:"kind" enum:"oidc oauth saml"`
	// Issuer is its issuer identifier, to the letter. Required (oidc).
	Issuer string `yaml:"issuer"`
	// AuthorizeURL, TokenURL and UserinfoURL are where a plain OAuth server signs
	// people in, redeems codes, and says as a JSON object who an access token
	// stands for. Required (oauth).
	AuthorizeURL string `yaml:"authorize_url"`
	TokenURL     string `yaml:"token_url"`
	UserinfoURL  string `yaml:"userinfo_url"`
	// Metadata is where the metadata of a SAML provider is: an https URL, or a
	// file. What its administrator needs of us is at url + /saml/ + the entry's
	// name, which is our entity id there, too. Required (saml).
	Metadata urlOrFile `yaml:"metadata"`
	// Name is what people see. Default: the entry's name.
	Name string `yaml:"name"`
	// Account is the claim, or the claims, that make a person there one account
	// here, by browser and by ID-JAG alike. Default: sub. Required for oauth: the
	// members of the userinfo object, texts or whole numbers.
	Account oneOrMore `yaml:"account"`
	// Accounts: create (the default), or existing: an assertion or a first
	// sign-in makes no new account.
	Accounts string `yaml:"accounts" enum:"create existing"`
	// EmailDomains are the domains whose addresses this provider is believed
	// about; one of oauth must say email_verified, too. Default: none.
	EmailDomains []string `yaml:"email_domains"`
	// Tenants: an assertion or a sign-in must name one of them (claim tenant,
	// else tid). Default: none, and one that names a tenant is refused.
	Tenants []string `yaml:"tenants"`
	// SignIn signs people in there. On when present.
	SignIn *SignInConfig `yaml:"sign_in"`
	// IDJAG honours ID-JAGs of this issuer. On when present, be it {}.
	IDJAG *IDJAGConfig `yaml:"id_jag" role:"serve"`
	// Groups says where its groups are.
	Groups GroupsConfig `yaml:"groups"`
	// SCIM lets its directory say who is there and who is in which group (SCIM 2.0,
	// RFC 7644), at url + /scim/ + the entry's name. On when present.
	SCIM *SCIMConfig `yaml:"scim"`
}

// SCIMConfig is the SCIM client of a provider: its provisioning.
type SCIMConfig struct {
	// Token is the bearer token that it shows, 16 characters at least off
	// loopback. Required.
	Token secret `yaml:"token"`
	// Attribute holds what the claim in account brings, so that both mean the same
	// person: externalId (the default) or userName. An account that a tenant is
	// part of needs exactly one in tenants.
	Attribute string `yaml:"attribute" enum:"externalId userName"`
}

// SignInConfig is how people sign in at a provider. The redirect URI to
// register there is url + /callback/ + the entry's name, the address for
// back-channel logout url + /backchannel-logout/ + the entry's name.
type SignInConfig struct {
	// ClientID is our client id there. Required, but for saml, which has none.
	ClientID string `yaml:"client_id"`
	// ClientSecret authenticates us there. Default: a public client.
	ClientSecret secret `yaml:"client_secret"`
	// Scopes are asked for there; offline_access for a refresh token, where
	// the provider gives one only then. Default: [openid, email, profile]; for
	// oauth none.
	Scopes []string `yaml:"scopes"`
	// Parameters go along in each authorization request there, name and value:
	// what one maker wants beside the protocol, such as access_type: offline of
	// Google. Those of the protocol are refused, but for prompt: consent.
	// Default: none.
	Parameters map[string]string `yaml:"parameters"`
	// Recheck: at a refresh here the provider is asked again if its last word
	// is older (at an exchange for an ID-JAG: than a minute). Default: 1h; 0s: never.
	Recheck time.Duration `yaml:"recheck"`
}

// IDJAGConfig says which ID-JAGs of an issuer are honoured.
type IDJAGConfig struct {
	// MaxLifetime is the longest exp − iat. Default: 5m.
	MaxLifetime time.Duration `yaml:"max_lifetime"`
	// Algs are signature algorithms. Default: [ES256, RS256, PS256, EdDSA].
	Algs []string `yaml:"algs" enum:"ES256 RS256 PS256 EdDSA"`
	// JWKSURI is the key set. Default: discovered, then fetched in the background.
	JWKSURI string `yaml:"jwks_uri"`
	// Replay: auto (the default), the same bytes again by the same authenticated
	// client for the same resource until exp, a public client once; never; or
	// until-expiry.
	Replay string `yaml:"replay" enum:"auto never until-expiry"`
	// PublicClients are client ids that may redeem without authenticating.
	// Default: none.
	PublicClients []string `yaml:"public_clients"`
	// Scopes are an upper bound. Default: the servers' own.
	Scopes []string `yaml:"scopes"`
	// SAML takes the account from sub_id of format saml-nameid. Default: from
	// account.
	SAML SAMLSubjectsConfig `yaml:"saml"`
	// Encrypted takes ID-JAGs that are encrypted to this server's keys, too, which
	// are then in its key set with use enc. Default: false.
	Encrypted bool `yaml:"encrypted"`
}

// SAMLSubjectsConfig is what sub_id must be, but the NameID, which is the account.
type SAMLSubjectsConfig struct {
	// Issuer is the entity ID of the SAML identity provider. Required.
	Issuer string `yaml:"issuer"`
	// NameIDFormat is nameid_format. Default: none, and none may be there.
	NameIDFormat string `yaml:"nameid_format"`
	// NameQualifier is name_qualifier. Default: none, and none may be there.
	NameQualifier string `yaml:"name_qualifier"`
	// SPNameQualifier is sp_name_qualifier. Default: none, and none may be there.
	SPNameQualifier string `yaml:"sp_name_qualifier"`
}

// GroupsConfig says where a provider's groups are.
type GroupsConfig struct {
	// Claim of the ID token or ID-JAG, or attribute of the SAML assertion.
	// Default: groups; for saml also the other usual names. Where a provider says
	// only that there are groups (Entra, above 200; 150 by SAML), rules for a group
	// of it refuse the person with the reason groups_overage: have it send the groups
	// that are assigned to the application, or app roles (claim: roles).
	Claim string `yaml:"claim"`
}

// PersonConfig is one local person.
type PersonConfig struct {
	Email  string   `yaml:"email"`
	Groups []string `yaml:"groups"`
	// Password is an argon2id hash in PHC form, or plain text, ${NAME} or
	// file:PATH, which are hashed in memory. Plain text in the file, fewer than
	// 12 characters or a common password is a warning on loopback and refused
	// elsewhere. Required.
	Password secret `yaml:"password"`
}

// ClientsConfig says which programs may ask.
type ClientsConfig struct {
	// Known are names of the catalogue of known clients whose registrations need
	// no administrator. Default: all of them.
	Known []string `yaml:"known" enum:"claude claude-code chatgpt vscode cursor"`
	// Others are registered clients that are not known: allow, ask-admin or
	// refuse. Default: ask-admin, for a loopback URL allow.
	Others string `yaml:"others" enum:"allow ask-admin refuse"`
	// Consent says who consents.
	Consent ConsentConfig `yaml:"consent"`
	// Registration is dynamic client registration (RFC 7591).
	Registration RegistrationConfig `yaml:"registration"`
	// Registered are clients of this file, by client_id.
	Registered map[string]ClientConfig `yaml:"registered"`
}

// ConsentConfig says who consents: person, each for themselves (the default), or
// admin, an administrator for all. People are asked all the same by a client that
// cannot prove who it is (public, with a loopback or private-use redirect URI).
type ConsentConfig struct {
	// Known clients: with admin the administrator consents to them by naming them.
	Known string `yaml:"known" enum:"person admin"`
	// Others: with admin they wait for `doorward client approve`; those of the file
	// and of `client add` do not.
	Others string `yaml:"others" enum:"person admin"`
}

// RegistrationConfig is dynamic client registration.
type RegistrationConfig struct {
	// Dynamic: open, limited, token (only with Token) or off. Default: limited,
	// for a loopback URL open; idp: off.
	Dynamic string `yaml:"dynamic" enum:"open limited token off"`
	// Total is how many registrations may exist. Default: 10000.
	Total int `yaml:"total"`
	// Unused: a registration without use ends after. Default: 720h.
	Unused time.Duration `yaml:"unused"`
	// Token is the initial access token (RFC 7591 section 3) that registrations
	// come with if Dynamic is token: 16 characters at least. Clients that had it
	// need no other approval. Default: with dynamic: token one that is made and kept
	// in the state directory (registration-token), else none.
	Token secret `yaml:"token"`
}

// ClientConfig is one client of the file.
type ClientConfig struct {
	// Name is what people see. Default: the client_id.
	Name string `yaml:"name"`
	// Secret authenticates it, 16 characters at least off loopback. Default: a
	// public client.
	Secret secret `yaml:"secret"`
	// JWKS are its public keys, if it authenticates by private_key_jwt: the set
	// itself, {keys: [{kty: EC, …}]}, or file:PATH of its JSON. A change of them
	// ends what the client has, as that of a secret does. Default: none.
	JWKS keySet `yaml:"jwks"`
	// JWKSURI is where it publishes them, to change them as it likes: https, or
	// http on loopback. Default: none.
	JWKSURI string `yaml:"jwks_uri"`
	// RedirectURIs are compared to the letter, but for the port of a loopback one.
	RedirectURIs []string `yaml:"redirect_uris"`
	// GrantTypes it may use, by their short names or the RFCs'. Default: authorization_code,
	// refresh_token and, with a secret or keys, jwt-bearer (idp: token-exchange).
	GrantTypes []string `yaml:"grant_types" enum:"authorization_code refresh_token client_credentials jwt-bearer token-exchange device_code"`
	// Scopes are a bound of its own. Default: none.
	Scopes []string `yaml:"scopes"`
	// PushedOnly: its authorization requests must come by /par (RFC 9126).
	// Default: false.
	PushedOnly bool `yaml:"require_pushed_authorization_requests"`
	// DPoPBound refuses this client tokens that are not bound to a key (RFC 9449,
	// section 5.2). Default: false.
	DPoPBound bool `yaml:"dpop_bound_access_tokens"`
	// TLSSubject authenticates it by a certificate of tls.client_ca with this
	// subject (RFC 8705, tls_client_auth): a distinguished name as RFC 4514 writes
	// it (CN=client,O=Example), or dns:NAME, uri:URI, ip:ADDRESS, email:ADDRESS for
	// an alternative name. A client with jwks may come with a certificate of one of
	// these keys instead, whoever signed it, where certificates are looked at
	// (tls.client_ca or client_cert_header is set). Default: none.
	TLSSubject string `yaml:"tls_subject"`
	// BackchannelLogoutURI is told by a logout token when a session ends by which
	// the client signed somebody in (OpenID Connect Back-Channel Logout 1.0; the
	// token always has sub and sid). idp only. Default: none.
	BackchannelLogoutURI string `yaml:"backchannel_logout_uri"`
	// FrontchannelLogoutURI is loaded in the browser that signs out, with iss and
	// sid (OpenID Connect Front-Channel Logout 1.0): on the origin of a redirect
	// URI. Browsers that keep cookies of other sites back make it useless. idp
	// only. Default: none.
	FrontchannelLogoutURI string `yaml:"frontchannel_logout_uri"`
	// SAMLEntityID is its name as a SAML service provider: assertions of a provider
	// of this file for it, which came to one of SAMLACS (its assertion consumer
	// services), it may exchange for ID-JAGs and a refresh token. idp only; it
	// must be able to authenticate, and no other client has the same. Default: none.
	SAMLEntityID string   `yaml:"saml_entity_id"`
	SAMLACS      []string `yaml:"saml_acs"`
	// CertBound binds its tokens to the certificate that it shows; it gets none
	// without. Default: false.
	CertBound bool `yaml:"tls_client_certificate_bound_access_tokens"`
	// Introspects are names of servers whose access tokens this client may
	// introspect (RFC 7662): it is their resource server elsewhere. It must be
	// able to authenticate, and has no grants but those of grant_types. Default:
	// its own tokens only.
	Introspects []string `yaml:"introspects" role:"serve"`
}

// ServerConfig is one MCP server behind the gate.
type ServerConfig struct {
	// Path is its public path; the resource identifier is the URL's origin and
	// this. Required.
	Path string `yaml:"path"`
	// Upstream is the URL of the MCP server. Either this or Run.
	Upstream string `yaml:"upstream"`
	// Run: sample, the server that is built in; or a command and its arguments,
	// an MCP server that speaks over its standard input and output and gets a
	// process for each session, in the directory of this file.
	Run runs `yaml:"run"`
	// Env are variables that such a command gets besides PATH, HOME and LANG;
	// the values are secrets. Default: none.
	Env map[string]secret `yaml:"env"`
	// Default marks the resource of requests that name none. With one server it
	// is that one.
	Default bool `yaml:"default"`
	// AllowedOrigins are browser origins besides the URL's own. Default: none.
	AllowedOrigins []string `yaml:"allowed_origins"`
	// Credential goes on upstream: none (the default); {header: {NAME: VALUE}};
	// caller-jwt, a statement of who calls, which we sign, as a Bearer token; or
	// vault, the access token that the server under separate issued for the person
	// whose grant it is, likewise (mode: proxy); or {exchange: {…}}, a token that the
	// MCP server's own authorization server gives for the caller (RFC 8693), likewise.
	Credential CredentialConfig `yaml:"credential"`
	// Scopes are its scopes with the words of the consent page. Default: one
	// scope, the server's name.
	Scopes map[string]string `yaml:"scopes"`
	// DefaultScopes stand in the challenge and in the resource metadata.
	// Default: the first scope.
	DefaultScopes []string `yaml:"default_scopes"`
	// ScopeImplies names the narrower scopes that a scope includes.
	ScopeImplies map[string][]string `yaml:"scope_implies"`
	// Tools names the scopes that a tool needs beyond DefaultScopes.
	Tools map[string][]string `yaml:"tools"`
	// Allow and Deny: all allows add up, deny wins, nothing is nobody (a loopback
	// URL without rules: whoever signs in).
	Allow []ServerRule `yaml:"allow"`
	Deny  []ServerRule `yaml:"deny"`
	// Issuers are further issuers whose tokens this server takes, each an issuer
	// identifier or {issuer: URL, introspect: {client_id, client_secret}}. Only
	// rules that name them let their people in: who: issuer:URL, issuer:URL#SUB,
	// client:URL#ID. Default: none.
	Issuers []FurtherIssuer `yaml:"issuers"`
}

// FurtherIssuer is an issuer besides our own.
type FurtherIssuer struct {
	// Issuer is its issuer identifier, to the letter. Required.
	Issuer string `yaml:"issuer"`
	// Introspect asks it about each token (RFC 7662). Default: its keys, found
	// through its metadata, check the tokens.
	Introspect *IntrospectConfig `yaml:"introspect"`
}

// IntrospectConfig is our client at an issuer that is asked.
type IntrospectConfig struct {
	// ClientID and ClientSecret are required.
	ClientID     string `yaml:"client_id"`
	ClientSecret secret `yaml:"client_secret"`
}

// CredentialConfig is what goes on upstream besides the request.
type CredentialConfig struct {
	// Header are headers, by name; the values are secrets.
	Header map[string]secret `yaml:"header"`
	// CallerJWT is caller-jwt with settings.
	CallerJWT *CallerJWTConfig `yaml:"caller-jwt"`
	// Exchange is our client where tokens are exchanged.
	Exchange *ExchangeConfig `yaml:"exchange"`
	// Word is what stands there instead.
	Word string `yaml:"-"`
}

// CallerJWTConfig is what a caller JWT says besides sub (the account), client_id,
// scope, gid and how the person signed in.
type CallerJWTConfig struct {
	// Claims go into it: email, name, groups. Default: none.
	Claims []string `yaml:"claims" enum:"email name groups"`
}

// ExchangeConfig is our client at the authorization server that an MCP server
// takes tokens of. What is exchanged there is a caller JWT; with mode: proxy the
// token that the server under separate issued for the person.
type ExchangeConfig struct {
	// Issuer is its issuer identifier, to the letter: aud of the caller JWT.
	// Required; with mode: proxy it is that of separate, which is the default.
	Issuer string `yaml:"issuer"`
	// TokenURL is its token endpoint. Required.
	TokenURL string `yaml:"token_url"`
	// ClientID and ClientSecret are required; with mode: proxy their default are
	// those of separate.
	ClientID     string `yaml:"client_id"`
	ClientSecret secret `yaml:"client_secret"`
	// AuthMethod is how the secret is sent. Default: client_secret_basic.
	AuthMethod string `yaml:"auth_method" enum:"client_secret_basic client_secret_post"`
	// Audience and Resource name the MCP server as that server knows it, Scopes what
	// is wanted there. Default: not sent.
	Audience string   `yaml:"audience"`
	Resource string   `yaml:"resource"`
	Scopes   []string `yaml:"scopes"`
}

// kind is the word for what goes on upstream.
func (c CredentialConfig) kind() string {
	switch {
	case c.CallerJWT != nil:
		return "caller-jwt"
	case c.Exchange != nil:
		return "exchange"
	case len(c.Header) > 0:
		return "header"
	case c.Word == "":
		return "none"
	}
	return c.Word
}

// ServerRule says who may, or may not. An empty list means all.
type ServerRule struct {
	// Who, one or a list: everyone, person:NAME, person:PROVIDER/ACCOUNT, an
	// e-mail address, group:NAME, group:PROVIDER/NAME, client:ID; of an issuer
	// under issuers issuer:URL, issuer:URL#SUB, client:URL#ID, and in an allow rule
	// nothing else. Required.
	Who oneOrMore `yaml:"who"`
	// Tools and Scopes are patterns with * for any run of characters.
	Tools  []string `yaml:"tools"`
	Scopes []string `yaml:"scopes"`
	// Require is what the sign-in must be (allow rules only).
	Require RequireConfig `yaml:"require"`
}

// RequireConfig is what a sign-in must be for an allow rule to count.
type RequireConfig struct {
	// AMR: all of these methods (RFC 8176) must have been used.
	AMR []string `yaml:"amr"`
	// SignedInWithin is how old the sign-in may be. Default: any age.
	SignedInWithin time.Duration `yaml:"signed_in_within"`
}

// AudienceConfig is an authorization server that ID-JAGs may be addressed to.
type AudienceConfig struct {
	// Resources are resource identifiers there. Required.
	Resources []string `yaml:"resources"`
	// ClientIDs are client ids there, by client id here; a CIMD URL maps to itself.
	ClientIDs map[string]string `yaml:"client_ids"`
	// Subject is what sub is there: sub (the default) or email.
	Subject string `yaml:"subject" enum:"sub email"`
	// Claims go along: email, groups, name. Default: none.
	Claims []string `yaml:"claims" enum:"email groups name"`
	// PublicClients are clients without a secret that may ask all the same.
	PublicClients []string `yaml:"public_clients"`
	// Allow and Deny: as of a server.
	Allow []AudienceRule `yaml:"allow"`
	Deny  []AudienceRule `yaml:"deny"`
}

// AudienceRule says who may get an ID-JAG, or may not. An empty list means all.
type AudienceRule struct {
	Who oneOrMore `yaml:"who"`
	// Resources and Scopes are patterns with * for any run of characters.
	Resources []string      `yaml:"resources"`
	Scopes    []string      `yaml:"scopes"`
	Require   RequireConfig `yaml:"require"`
}

// TokensConfig is about tokens.
type TokensConfig struct {
	Access  AccessConfig  `yaml:"access"`
	Refresh RefreshConfig `yaml:"refresh"`
	// Format of access tokens: jwt (RFC 9068).
	Format string `yaml:"format"`
	// Alg signs tokens: ES256 (the default), EdDSA, RS256 or PS256. A change
	// replaces the signing key.
	Alg string `yaml:"alg" enum:"ES256 EdDSA RS256 PS256"`
	// DPoP says whether tokens are bound to keys of their clients (RFC 9449):
	// optional, those of requests with a proof are; required, no token without
	// one, and the servers take no other; off, proofs are not read. Default:
	// optional.
	DPoP string `yaml:"dpop" enum:"optional required off"`
	// IDToken is the life of ID tokens. Default: 1h (idp).
	IDToken time.Duration `yaml:"id_token" role:"idp"`
	// IDJAG is the life of ID-JAGs that are issued. Default: 5m (idp).
	IDJAG time.Duration `yaml:"id_jag" role:"idp"`
}

// AccessConfig is how long access tokens live.
type AccessConfig struct {
	// Default: by code, refresh and client_credentials. Default: 15m.
	Default time.Duration `yaml:"default"`
	// IDJAG: for an ID-JAG. Default: 1h (serve).
	IDJAG time.Duration `yaml:"id_jag" role:"serve"`
}

// RefreshConfig is how long refresh tokens live.
type RefreshConfig struct {
	Idle time.Duration `yaml:"idle"` // without use. Default: 168h
	Max  time.Duration `yaml:"max"`  // in all. Default: 720h
	// Grace: a lost answer to a refresh is repeated until its successor is first
	// used, at most this long. Default: 1m; 0s: never.
	Grace time.Duration `yaml:"grace"`
}

// LimitsConfig are bounds of requests: RATE/s, RATE/m or RATE/h, or off. Each is
// for one client, or one person at a public client, once they are known, and
// for one address (IPv6: its /64) before. Whoever is over it gets 429 with
// Retry-After.
type LimitsConfig struct {
	// Token is for the endpoints at which clients authenticate; unless it is off
	// wrong secrets are bound, too. Default: 100/s; on loopback off.
	Token rate `yaml:"token"`
	// Authorize is for authorization requests. Default: 20/s; on loopback off.
	Authorize rate `yaml:"authorize"`
	// Register is for registrations. Default: 20/h; on loopback off.
	Register rate `yaml:"register"`
	// Body is the largest request body. Default: 1MiB.
	Body size `yaml:"body"`
}

// FetchConfig is how URLs that strangers name are fetched.
type FetchConfig struct {
	// Roots is a PEM file of certificates that are trusted besides the system's.
	// Default: none.
	Roots rootsFile `yaml:"roots"`
	// Private are private address ranges that such a URL may lead to. Default:
	// none; loopback is open to a server whose own url is on loopback.
	Private []netip.Prefix `yaml:"private"`
}

// AuditConfig is the record of decisions.
type AuditConfig struct {
	// File gets every event as a line of JSON, too; SIGHUP opens it anew.
	// Default: the database alone.
	File filePath `yaml:"file"`
	// Keep: events older than this are deleted. Default: 2160h.
	Keep time.Duration `yaml:"keep"`
}

// TelemetryConfig is what an operator sees.
type TelemetryConfig struct {
	// Log level: debug, info (the default), warn or error.
	Log string `yaml:"log" enum:"debug info warn error"`
}

// KeysConfig are signing keys and what seals them.
type KeysConfig struct {
	// Master is file:PATH of the key (64 hex digits or 32 bytes) that encrypts
	// signing keys and upstream tokens at rest. Default: a file in State.
	Master keyFile `yaml:"master"`
	// Rotate: signing keys are replaced after. Default: 2160h.
	Rotate time.Duration `yaml:"rotate"`
}
