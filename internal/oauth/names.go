package oauth

// Grant types (grant_type values).
const (
	AuthorizationCode = "authorization_code"
	RefreshToken      = "refresh_token"
	ClientCredentials = "client_credentials"
	JWTBearer         = "urn:ietf:params:oauth:grant-type:jwt-bearer"     // RFC 7523
	JWTDPoP           = "urn:ietf:params:oauth:grant-type:jwt-dpop"       // draft-parecki-oauth-jwt-dpop-grant
	TokenExchange     = "urn:ietf:params:oauth:grant-type:token-exchange" // RFC 8693
	DeviceCode        = "urn:ietf:params:oauth:grant-type:device_code"    // RFC 8628
)

// Token types and profiles of RFC 8693 and of the ID-JAG draft.
const (
	ProfileIDJAG          = "urn:ietf:params:oauth:grant-profile:id-jag"
	TokenTypeIDJAG        = "urn:ietf:params:oauth:token-type:id-jag"
	TokenTypeIDToken      = "urn:ietf:params:oauth:token-type:id_token"
	TokenTypeAccessToken  = "urn:ietf:params:oauth:token-type:access_token"
	TokenTypeRefreshToken = "urn:ietf:params:oauth:token-type:refresh_token"
	TokenTypeSAML2        = "urn:ietf:params:oauth:token-type:saml2"
	TokenTypeJWT          = "urn:ietf:params:oauth:token-type:jwt"
	ClientAssertionJWT    = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// JOSE typ values: each class of JWT has its own (RFC 8725 section 3.11).
const (
	TypIDJAG           = "oauth-id-jag+jwt"
	TypAccessToken     = "at+jwt"
	TypClientAssertion = "client-authentication+jwt"
	TypIDToken         = "JWT"
	TypDPoP            = "dpop+jwt"
	TypCallerJWT       = "caller+jwt" // ours: CallerClaims
)

// Client authentication methods.
const (
	AuthNone          = "none"
	AuthBasic         = "client_secret_basic"
	AuthPost          = "client_secret_post"
	AuthPrivateKeyJWT = "private_key_jwt"
	AuthTLS           = "tls_client_auth"             // RFC 8705 section 2.1
	AuthSelfSignedTLS = "self_signed_tls_client_auth" // RFC 8705 section 2.2
)

// Error codes.
const (
	InvalidRequest          = "invalid_request"
	InvalidClient           = "invalid_client"
	InvalidGrant            = "invalid_grant"
	UnauthorizedClient      = "unauthorized_client"
	UnsupportedGrantType    = "unsupported_grant_type"
	UnsupportedResponseType = "unsupported_response_type"
	InvalidScope            = "invalid_scope"
	InvalidTarget           = "invalid_target"
	AccessDenied            = "access_denied"
	ServerError             = "server_error"
	TemporarilyUnavailable  = "temporarily_unavailable"
	InvalidToken            = "invalid_token"
	InsufficientScope       = "insufficient_scope"
	InsufficientUserAuth    = "insufficient_user_authentication" // RFC 9470
	InvalidRedirectURI      = "invalid_redirect_uri"
	InvalidClientMetadata   = "invalid_client_metadata"
	InvalidAuthzDetails     = "invalid_authorization_details"
	UnsupportedTokenType    = "unsupported_token_type"
	InvalidDPoPProof        = "invalid_dpop_proof"        // RFC 9449 section 5
	UseDPoPNonce            = "use_dpop_nonce"            // RFC 9449 section 8
	AuthorizationPending    = "authorization_pending"     // RFC 8628 section 3.5
	SlowDown                = "slow_down"                 // RFC 8628 section 3.5
	ExpiredToken            = "expired_token"             // RFC 8628 section 3.5
	LoginRequired           = "login_required"            // OpenID Connect Core section 3.1.2.6
	ConsentRequired         = "consent_required"          // OpenID Connect Core section 3.1.2.6
	RequestNotSupported     = "request_not_supported"     // OpenID Connect Core section 3.1.2.6
	RequestURINotSupported  = "request_uri_not_supported" // OpenID Connect Core section 3.1.2.6
	TooManyRequests         = "too_many_requests"         // no RFC names one; that of the MCP SDKs, with status 429
)

// Error codes of software statements (RFC 7591 section 3.2.2).
const (
	InvalidSoftwareStatement    = "invalid_software_statement"
	UnapprovedSoftwareStatement = "unapproved_software_statement"
)

// Well-known path components (RFC 8414, RFC 9728, OpenID Connect Discovery).
const (
	WellKnownAS   = "/.well-known/oauth-authorization-server"
	WellKnownOIDC = "/.well-known/openid-configuration"
	WellKnownPRM  = "/.well-known/oauth-protected-resource"
)
