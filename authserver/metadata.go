package authserver

import (
	"encoding/json"
	"maps"
	"slices"

	"doorward/internal/dpop"
	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// issuerDocuments are the metadata documents, serialised once.
type issuerDocuments struct{ as, oidc []byte }

// publish serialises the documents, also those of the time in which a key of
// another algorithm still signs. grantTypes are those of the table that the
// token endpoint uses, so that nothing else can be listed.
func (st *settings) publish(grantTypes []string) {
	st.issuer = map[string]issuerDocuments{}
	for _, signs := range jose.Algs() {
		algs := []string{st.tokens.Alg}
		if signs != st.tokens.Alg {
			algs = append(algs, signs)
		}
		st.issuer[signs] = st.describe(grantTypes, algs)
	}
}

// describe makes the documents of an issuer that signs with these algorithms.
func (st *settings) describe(grantTypes, algs []string) issuerDocuments {
	m := st.metadata(grantTypes)
	m.IntrospectionSigningAlgsSupported = algs
	as := encodeDocument(m)
	// OpenID Connect Discovery section 3: what schema-checking clients demand of
	// this document, also of an issuer that signs no ID tokens (AS-META-10).
	m.SubjectTypesSupported = []string{"public"}
	m.IDTokenSigningAlgsSupported = algs
	if st.idp {
		m.ClaimsSupported = []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "name", "email", "groups"}
	}
	return issuerDocuments{as, encodeDocument(m)}
}

// metadata is this issuer as RFC 8414 section 2 describes it. Every URL comes
// from the configuration, none from a request (AS-META-13).
func (st *settings) metadata(grantTypes []string) oauth.ServerMetadata {
	u, methods := st.cfg.URL, st.methods()
	m := oauth.ServerMetadata{
		Issuer: u, AuthorizationEndpoint: u + "/authorize", TokenEndpoint: u + "/token", JWKSURI: u + "/jwks",
		RevocationEndpoint: u + "/revoke", RevocationEndpointAuthMethods: methods,
		ScopesSupported:                   st.scopesSupported(),
		ResponseTypesSupported:            []string{"code"},
		ResponseModesSupported:            []string{"query"},
		GrantTypesSupported:               grantTypes,
		TokenEndpointAuthMethodsSupported: methods,
		CodeChallengeMethodsSupported:     []string{"S256"},
		AuthorizationResponseIss:          true,
		ClientIDMetadataDocument:          true,
	}
	m.TokenEndpointAuthSigningAlgsSupported = assertionAlgs // AS-META-05
	m.IntrospectionEndpoint = u + "/introspect"
	m.IntrospectionEndpointAuthMethods = slices.DeleteFunc(slices.Clone(methods), func(m string) bool { return m == authNone })
	m.RevocationEndpointAuthSigningAlgs, m.IntrospectionEndpointAuthSigningAlgs = assertionAlgs, assertionAlgs
	m.TLSBoundTokens = st.cfg.MTLS
	if st.dpopMode() != dpopOff {
		m.DPoPSigningAlgsSupported = dpop.Algs()
	}
	m.ServiceDocumentation = st.cfg.ServiceDocumentation
	m.AuthorizationDetailsTypes = slices.Sorted(maps.Keys(st.cfg.AuthorizationDetails))
	m.PushedAuthorizationRequestEndpoint = u + "/par"
	m.DeviceAuthorizationEndpoint = u + "/device_authorization"
	if mode := st.cfg.Registration.Mode; mode != "" && mode != "off" {
		m.RegistrationEndpoint = u + "/register"
	}
	if st.idp {
		m.UserinfoEndpoint = u + "/userinfo"
		m.EndSessionEndpoint = u + "/logout"
		m.BackchannelLogout, m.BackchannelLogoutSession = true, true
		m.FrontchannelLogout, m.FrontchannelLogoutSession = true, true
		m.IdentityChainingRequestedTokenTypes = []string{oauth.TokenTypeIDJAG}
		return m
	}
	m.ProtectedResources = st.resourceIDs
	// That ID-JAGs are honoured is no secret; whose is (AS-META-08).
	m.AuthorizationGrantProfiles = []string{oauth.ProfileIDJAG}
	return m
}

// scopesSupported is every scope of every resource. offline_access is among
// them: clients that know it ask for it to get a refresh token (AS-META-11).
func (st *settings) scopesSupported() []string {
	all := map[string]bool{"offline_access": true}
	for _, res := range st.resources {
		for _, scope := range res.scopes {
			all[scope] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// grantTypes are those that the token endpoint knows.
func (s *Server) grantTypes() []string { return slices.Sorted(maps.Keys(s.grants)) }

func encodeDocument(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("authserver: metadata cannot be encoded: " + err.Error()) // strings and lists of ours only
	}
	return b
}
