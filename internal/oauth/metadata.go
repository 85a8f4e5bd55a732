package oauth

import "encoding/json"

// ServerMetadata is an authorization server's document (RFC 8414 section 2,
// OpenID Connect Discovery section 3). Empty members are left out.
type ServerMetadata struct {
	Issuer                                string   `json:"issuer"`
	AuthorizationEndpoint                 string   `json:"authorization_endpoint,omitempty"`
	TokenEndpoint                         string   `json:"token_endpoint,omitempty"`
	JWKSURI                               string   `json:"jwks_uri,omitempty"`
	RegistrationEndpoint                  string   `json:"registration_endpoint,omitempty"`
	RevocationEndpoint                    string   `json:"revocation_endpoint,omitempty"`
	IntrospectionEndpoint                 string   `json:"introspection_endpoint,omitempty"`
	IntrospectionEndpointAuthMethods      []string `json:"introspection_endpoint_auth_methods_supported,omitempty"`
	IntrospectionEndpointAuthSigningAlgs  []string `json:"introspection_endpoint_auth_signing_alg_values_supported,omitempty"`
	IntrospectionSigningAlgsSupported     []string `json:"introspection_signing_alg_values_supported,omitempty"` // RFC 9701 section 7
	PushedAuthorizationRequestEndpoint    string   `json:"pushed_authorization_request_endpoint,omitempty"`      // RFC 9126 section 5
	PushedOnly                            bool     `json:"require_pushed_authorization_requests,omitempty"`      // RFC 9126 section 5
	AuthorizationDetailsTypes             []string `json:"authorization_details_types_supported,omitempty"`      // RFC 9396 section 10
	DeviceAuthorizationEndpoint           string   `json:"device_authorization_endpoint,omitempty"`              // RFC 8628 section 4
	UserinfoEndpoint                      string   `json:"userinfo_endpoint,omitempty"`
	EndSessionEndpoint                    string   `json:"end_session_endpoint,omitempty"`
	BackchannelLogout                     bool     `json:"backchannel_logout_supported,omitempty"`         // OpenID Connect Back-Channel Logout 1.0
	BackchannelLogoutSession              bool     `json:"backchannel_logout_session_supported,omitempty"` // likewise
	FrontchannelLogout                    bool     `json:"frontchannel_logout_supported,omitempty"`        // OpenID Connect Front-Channel Logout 1.0
	FrontchannelLogoutSession             bool     `json:"frontchannel_logout_session_supported,omitempty"`
	ServiceDocumentation                  string   `json:"service_documentation,omitempty"`
	ScopesSupported                       []string `json:"scopes_supported,omitempty"`
	ResponseTypesSupported                []string `json:"response_types_supported,omitempty"`
	ResponseModesSupported                []string `json:"response_modes_supported,omitempty"`
	GrantTypesSupported                   []string `json:"grant_types_supported,omitempty"`
	TokenEndpointAuthMethodsSupported     []string `json:"token_endpoint_auth_methods_supported,omitempty"`
	TokenEndpointAuthSigningAlgsSupported []string `json:"token_endpoint_auth_signing_alg_values_supported,omitempty"`
	RevocationEndpointAuthMethods         []string `json:"revocation_endpoint_auth_methods_supported,omitempty"`
	RevocationEndpointAuthSigningAlgs     []string `json:"revocation_endpoint_auth_signing_alg_values_supported,omitempty"`
	CodeChallengeMethodsSupported         []string `json:"code_challenge_methods_supported,omitempty"`
	AuthorizationResponseIss              bool     `json:"authorization_response_iss_parameter_supported,omitempty"`
	ClientIDMetadataDocument              bool     `json:"client_id_metadata_document_supported,omitempty"`
	AuthorizationGrantProfiles            []string `json:"authorization_grant_profiles_supported,omitempty"`
	IdentityChainingRequestedTokenTypes   []string `json:"identity_chaining_requested_token_types_supported,omitempty"`
	ProtectedResources                    []string `json:"protected_resources,omitempty"`
	SubjectTypesSupported                 []string `json:"subject_types_supported,omitempty"`
	IDTokenSigningAlgsSupported           []string `json:"id_token_signing_alg_values_supported,omitempty"`
	ClaimsSupported                       []string `json:"claims_supported,omitempty"`
	DPoPSigningAlgsSupported              []string `json:"dpop_signing_alg_values_supported,omitempty"`
	TLSBoundTokens                        bool     `json:"tls_client_certificate_bound_access_tokens,omitempty"` // RFC 8705 section 3.3
	MTLSAliases                           *Aliases `json:"mtls_endpoint_aliases,omitempty"`                      // RFC 8705 section 5
}

// Aliases are the endpoints that clients with a certificate use in the place of
// others (RFC 8705 section 5).
type Aliases struct {
	TokenEndpoint                      string `json:"token_endpoint,omitempty"`
	PushedAuthorizationRequestEndpoint string `json:"pushed_authorization_request_endpoint,omitempty"`
	DeviceAuthorizationEndpoint        string `json:"device_authorization_endpoint,omitempty"`
}

// ResourceMetadata is a protected resource's document (RFC 9728 section 2).
type ResourceMetadata struct {
	Resource               string   `json:"resource"`
	AuthorizationServers   []string `json:"authorization_servers,omitempty"`
	ScopesSupported        []string `json:"scopes_supported,omitempty"`
	BearerMethodsSupported []string `json:"bearer_methods_supported,omitempty"`
	ResourceName           string   `json:"resource_name,omitempty"`

	DPoPSigningAlgsSupported []string `json:"dpop_signing_alg_values_supported,omitempty"`
	DPoPRequired             bool     `json:"dpop_bound_access_tokens_required,omitempty"`
}

// ClientMetadata is what a client says of itself (RFC 7591 section 2).
type ClientMetadata struct {
	ClientID                string   `json:"client_id,omitempty"`
	ClientName              string   `json:"client_name,omitempty"`
	ClientURI               string   `json:"client_uri,omitempty"`
	LogoURI                 string   `json:"logo_uri,omitempty"`
	RedirectURIs            []string `json:"redirect_uris,omitempty"`
	GrantTypes              []string `json:"grant_types,omitempty"`
	ResponseTypes           []string `json:"response_types,omitempty"`
	Scope                   string   `json:"scope,omitempty"`
	TokenEndpointAuthMethod string   `json:"token_endpoint_auth_method,omitempty"`
	ApplicationType         string   `json:"application_type,omitempty"`
	Contacts                []string `json:"contacts,omitempty"`
	TosURI                  string   `json:"tos_uri,omitempty"`
	PolicyURI               string   `json:"policy_uri,omitempty"`
	SoftwareID              string   `json:"software_id,omitempty"`
	SoftwareVersion         string   `json:"software_version,omitempty"`
	JWKSURI                 string   `json:"jwks_uri,omitempty"`
	PushedOnly              bool     `json:"require_pushed_authorization_requests,omitempty"` // RFC 9126 section 6
	DPoPBound               bool     `json:"dpop_bound_access_tokens,omitempty"`              // RFC 9449 section 5.2

	// OpenID Connect Back-Channel and Front-Channel Logout 1.0, section 2 of both.
	BackchannelLogoutURI      string `json:"backchannel_logout_uri,omitempty"`
	BackchannelLogoutSession  bool   `json:"backchannel_logout_session_required,omitempty"`
	FrontchannelLogoutURI     string `json:"frontchannel_logout_uri,omitempty"`
	FrontchannelLogoutSession bool   `json:"frontchannel_logout_session_required,omitempty"`

	JWKS                        json.RawMessage `json:"jwks,omitempty"`
	TokenEndpointAuthSigningAlg string          `json:"token_endpoint_auth_signing_alg,omitempty"`
}

// TokenResponse is the answer of a token endpoint (RFC 6749 section 5.1,
// RFC 8693 section 2.2.1).
type TokenResponse struct {
	AccessToken     string  `json:"access_token"`
	IssuedTokenType string  `json:"issued_token_type,omitempty"`
	TokenType       string  `json:"token_type"`
	ExpiresIn       int64   `json:"expires_in,omitempty"`
	RefreshToken    string  `json:"refresh_token,omitempty"`
	Scope           string  `json:"scope,omitempty"`
	IDToken         string  `json:"id_token,omitempty"`
	Details         Details `json:"authorization_details,omitempty"` // RFC 9396 section 7
	Resource        string  `json:"resource,omitempty"`
}
