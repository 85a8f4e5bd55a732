package authserver

import (
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"doorward/internal/access"
	"doorward/store"
)

// Config describes an issuer. URL and Store are required; every other field
// says what its zero value means.
type Config struct {
	// URL is the issuer identifier and the base of its endpoints, without a
	// trailing slash (RFC 8414 section 2): https, or http on a loopback host.
	URL string
	// Store keeps clients, grants and keys. It must not belong to another issuer.
	Store store.Store
	// MasterKey (32 bytes) seals signing keys at rest. nil: a random one that
	// lies in the same store, which protects against nothing but a leak of
	// single records.
	MasterKey []byte
	// SignIn brings back people: LocalPeople, OIDC, AnyOf of them, or a way of
	// your own. nil: nobody signs in here (ID-JAGs and
	// client_credentials still work).
	SignIn SignIn
	// Mode is "direct" (also ""), people sign in by SignIn; or "proxy": they sign
	// in at Separate, after they consented here, and tokens are ours still.
	// UpstreamToken has what Separate issued; or "passthrough": the endpoints are
	// Separate's, relayed, and so are the tokens, which guards find by its issuer
	// identifier. It cannot change while the server runs.
	Mode     string
	Separate Separate
	// ServiceDocumentation is a URL for developers of clients, in the metadata
	// (RFC 8414 section 2). "": none.
	ServiceDocumentation string
	// Name is what pages call this issuer. "": the URL's host.
	Name string

	// Clients are those of the configuration, by client_id.
	Clients map[string]Client
	// Registration is dynamic registration (RFC 7591). The zero value: off.
	Registration Registration
	// KnownClients are names in the catalogue of known clients whose
	// registrations need no administrator.
	KnownClients []string
	// OtherClients says what happens to registered clients that are not known:
	// "allow", "ask-admin" or "refuse". "": "ask-admin", on a loopback URL "allow".
	OtherClients string
	// Consent says who consents to clients. The zero value: each person.
	Consent Consent

	// Resources are the MCP servers that tokens are issued for. Protect adds more.
	Resources []Resource
	// AuthorizationDetails are the types of authorization_details (RFC 9396) that
	// clients may ask people for, by name. nil: none.
	AuthorizationDetails map[string]DetailType
	// Issuers are the identity providers whose ID-JAGs are honoured, by the name
	// that accounts get (NAME/ACCOUNT).
	Issuers map[string]TrustedIssuer
	// Workloads are the programs that get tokens by the JWT of the place where
	// they run, by name. nil: none.
	Workloads map[string]Workload
	// Directories are the SCIM clients (RFC 7644) of providers, by the name of one
	// in Issuers or SignIn. Each writes at URL + /scim/NAME. nil: none.
	Directories map[string]Directory
	// Audiences makes this issuer an identity provider: the authorization
	// servers (issuer identifiers) that its ID-JAGs may be addressed to. nil: it
	// is an authorization server.
	Audiences map[string]Audience

	// InsecurePublic lets URL be plain http on a host that is not loopback, and
	// Clients have short secrets there. Whoever is on the way can then read
	// passwords and tokens: for closed test networks only.
	InsecurePublic bool
	Tokens         Tokens
	// DPoP says whether tokens are bound to keys (RFC 9449): "optional" (also
	// ""), those of requests with a proof are; "required", a token request
	// without one is refused; "off", proofs are not read. Guards of Protect keep
	// the value that they began with.
	DPoP string
	// MTLS says that the certificates of clients reach this server: its TLS server
	// asks for them (tls.RequestClientCert is enough), or a proxy passes them on by
	// the command's means. false: none is looked at.
	MTLS bool
	// ClientCAs are whom the certificates of clients with a TLSSubject are from.
	// nil: no such client authenticates.
	ClientCAs *x509.CertPool
	// KeyRotation is the age at which the signing key is replaced. 0: 90 days.
	KeyRotation time.Duration
	// Limits bound how often one caller may ask. The zero value: see there.
	Limits Limits
	// BodyLimit caps request bodies in bytes. 0: 1 MiB.
	BodyLimit int64
	// HTTP fetches the key sets of Issuers. nil: http.DefaultTransport.
	HTTP http.RoundTripper
	// Fetch is how client metadata documents are fetched, whose URLs strangers
	// name. The zero value: public addresses only, or loopback ones too if URL is.
	Fetch Fetch
	// AuditKeep is how long audit events are kept. 0: 90 days.
	AuditKeep time.Duration
	// Now is the clock. nil: time.Now.
	Now func() time.Time
	// Logger gets what an operator should see. nil: nothing is logged.
	Logger *slog.Logger
}

// Tokens are lifetimes. Each zero takes the value named.
type Tokens struct {
	Access       time.Duration // access tokens by code, refresh and client_credentials: 15 minutes
	AccessIDJAG  time.Duration // access tokens for an ID-JAG: 1 hour
	RefreshIdle  time.Duration // refresh token without use: 7 days
	RefreshMax   time.Duration // refresh token in all: 30 days
	RefreshGrace time.Duration // a lost answer is repeated within: 1 minute; negative: never
	IDToken      time.Duration // ID tokens (identity provider): 1 hour
	IDJAG        time.Duration // ID-JAGs that are issued (identity provider): 5 minutes

	// Alg signs tokens: ES256 (also ""), EdDSA, RS256 or PS256. Another one than
	// before makes a new signing key, as RotateKey does.
	Alg string
}

// Client is a client of the configuration.
type Client struct {
	Name string // shown to people; "": the client_id
	// Secret authenticates it by HTTP Basic or in the body. At least 16
	// characters for an issuer that is not on loopback. "", and no keys: a
	// public client.
	Secret string
	// JWKS (RFC 7517) or JWKSURI are its public keys, if it authenticates by
	// private_key_jwt instead of a secret. JWKSURI is https, or http on loopback.
	JWKS         []byte
	JWKSURI      string
	RedirectURIs []string
	// GrantTypes it may use. nil: authorization_code, refresh_token and, if it
	// can authenticate, jwt-bearer (identity provider: token-exchange).
	GrantTypes []string
	Scopes     []string // bound of its own; nil: none
	// Introspects are identifiers of the resources that this client serves: it may
	// introspect access tokens for them (RFC 7662). nil: its own
	// tokens only. With it and without GrantTypes the client has no grants.
	Introspects []string
	PushedOnly  bool // its authorization requests must be pushed (require_pushed_authorization_requests, RFC 9126)
	DPoPBound   bool // its tokens must be bound to a key (dpop_bound_access_tokens)
	// TLSSubject authenticates it by a certificate of ClientCAs that has this
	// subject (RFC 8705 section 2.1): a distinguished name in the form of RFC 4514,
	// or dns:NAME, uri:URI, ip:ADDRESS, email:ADDRESS for an alternative name. A
	// client with JWKS or JWKSURI may come with a certificate of one of these keys
	// instead, whoever signed it (section 2.2). "": no such certificate.
	TLSSubject string
	// BackchannelLogoutURI is told by a logout token when a session ends by which
	// the client signed somebody in (OpenID Connect Back-Channel Logout 1.0), and
	// FrontchannelLogoutURI is loaded in the browser that signs out (Front-Channel
	// Logout 1.0): on the origin of a redirect URI. Both are https, or http on
	// loopback, and of identity providers only. "": neither.
	BackchannelLogoutURI  string
	FrontchannelLogoutURI string
	// SAMLEntityID is its name as a SAML service provider: assertions for it that
	// came to one of SAMLACS (its assertion consumer services) it may exchange at
	// an identity provider (ID-JAG section 4.5). No other client has the same. "": it
	// exchanges none.
	SAMLEntityID string
	SAMLACS      []string
	// CertBound binds its tokens to the certificate that it shows
	// (tls_client_certificate_bound_access_tokens); without one it gets none.
	CertBound bool
}

// Registration is dynamic client registration.
type Registration struct {
	Mode   string        // "off" (also ""), "limited", "open", or "token": with the initial access token
	Token  string        // initial access token (RFC 7591 section 3), at least 16 characters; with Mode "token" only
	Total  int           // registrations that may exist; 0: 10,000
	Unused time.Duration // a registration without use ends; 0: 30 days
	// SecretLife is how long a secret that registration makes is good; 0: as long
	// as the registration. A client renews it by RFC 7592.
	SecretLife time.Duration
}

// Fetch bounds how URLs that strangers name are fetched: by https, no
// redirects, no proxy, and to special-use addresses (RFC 6890) only where it
// says so.
type Fetch struct {
	Roots    *x509.CertPool // whom the servers' certificates are from; nil: the system's
	Private  []netip.Prefix // private addresses that they may have
	MaxBytes int64          // of one document; 0: 5 KiB
}

// Resource is an MCP server that tokens are issued for.
type Resource struct {
	ID            string            // resource identifier (RFC 8707), exactly as its metadata publishes it
	Name          string            // shown to people
	Scopes        map[string]string // scope to its words on the consent page
	DefaultScopes []string          // of a request that names none
	Implies       map[string][]string
	Default       bool // the resource of requests that name none; a single resource needs no mark
	RuleName      string
	Allow, Deny   []Rule
	// Open lets whoever signs in reach it when Allow is empty; otherwise nobody.
	Open bool
}

// Rule says who may, and for what. See access rules in the manual.
type Rule = access.Rule

// Require is what a sign-in must be for an allow rule to count.
type Require = access.Require

// TrustedIssuer is an identity provider whose ID-JAGs are honoured.
type TrustedIssuer struct {
	Issuer        string        // its issuer identifier
	JWKSURI       string        // "": from its metadata
	Algs          []string      // nil: ES256, RS256, PS256, EdDSA
	MaxLifetime   time.Duration // longest exp − iat; 0: 5 minutes
	Replay        string        // "auto" (also ""), "never" or "until-expiry"
	PublicClients []string      // client ids that may redeem without authenticating
	Scopes        []string      // upper bound; nil: the resources' own
	Account       []string      // claims that name the account; nil: sub
	ExistingOnly  bool          // no new accounts by assertion
	Tenants       []string      // an assertion must name one of them; nil: one that names a tenant is refused
	EmailDomains  []string      // domains whose addresses it is believed about
	GroupsClaim   string        // "": groups
	SAML          SAMLSubjects  // the zero one: who it is, sub says
	Encrypted     bool          // ID-JAGs that are encrypted to this issuer's keys are taken, too; the keys are published with use enc
}

// SAMLSubjects is how an issuer names people that it has from a SAML identity
// provider: the claim sub_id of format saml-nameid. With it the NameID is the
// account, and an assertion whose sub_id differs in any other member is refused.
type SAMLSubjects struct {
	Issuer          string // entity ID of the SAML identity provider
	NameIDFormat    string // nameid_format; "": the assertion must not have one
	NameQualifier   string // name_qualifier; "": likewise
	SPNameQualifier string // sp_name_qualifier; "": likewise
}

// Directory is the SCIM 2.0 client of a provider, which says who is there: what
// somebody has ends when it says that they are not active, or deletes them.
type Directory struct {
	// Token is the bearer token that it shows (RFC 6750). Required; at least 16
	// characters for an issuer that is not on loopback.
	Token string
	// Attribute of a user holds what the claim in Account brings, which makes
	// them the same person: "externalId" (also "") or "userName".
	Attribute string
}

// Audience is an authorization server that an identity provider's ID-JAGs may
// be addressed to.
type Audience struct {
	Resources     []string          // resource identifiers there
	ClientIDs     map[string]string // client id here to client id there; an https URL maps to itself
	Subject       string            // claim that sub is there: "sub" (also "") or "email"
	Claims        []string          // further claims: email, groups, name
	PublicClients []string          // clients without a secret that may ask all the same
	Allow, Deny   []Rule
}
