package doctor

import (
	"fmt"
	"slices"
	"strings"

	"doorward"
	"doorward/internal/oauth"
)

func (w *walk) pkce() bool {
	methods := w.server.CodeChallengeMethodsSupported
	p := problem{mend: "Publish code_challenge_methods_supported with S256: clients must refuse a server that does not."}
	switch {
	case slices.Contains(methods, "S256") && slices.Contains(methods, "plain"):
		return w.warn("pkce", problem{saw: "S256 and plain", mend: "Take plain away: it protects nothing (RFC 9700 section 2.1.1)."})
	case slices.Contains(methods, "S256"):
		return w.ok("pkce", "")
	case w.server.AuthorizationEndpoint == "":
		return w.ok("pkce", "not needed: no authorization_endpoint")
	case len(methods) == 0:
		p.saw = "code_challenge_methods_supported is missing"
		if known := providerOf(w.server, w.issuer); known.silentPKCE {
			p.saw += fmt.Sprintf(" (%s does PKCE, and does not say so)", known.name)
			p.mend = "Nobody can make this provider say it. Put an authorization server in front that says it and signs people in there (doorward serve --sign-in), or use clients that can be told to take it on trust (doorward: --assume-pkce " + w.issuer + ")."
			p.who = IdPAdmin
		}
	default:
		p.saw = "code_challenge_methods_supported is " + list(methods)
	}
	if w.Client != nil {
		if f, ok := w.Client.Flow.(*doorward.AuthorizationCode); ok && slices.Contains(f.AssumeS256For, w.issuer) {
			p.saw += ", taken on trust, as you said"
			return w.warn("pkce", p)
		}
	}
	return w.still("pkce", p)
}

// grants is what the code flow needs of the metadata.
func (w *walk) grants() bool {
	m := w.server
	if m.AuthorizationEndpoint == "" {
		return w.ok("grants", "no code flow")
	}
	raw := w.forms[0].raw
	switch {
	case raw["response_types_supported"] == nil:
		return w.warn("grants", problem{saw: "response_types_supported is missing", mend: "Publish response_types_supported with code: it is required, and the TypeScript SDK refuses a document without it."})
	case !slices.Contains(m.ResponseTypesSupported, "code"):
		return w.still("grants", problem{saw: "response_types_supported is " + list(m.ResponseTypesSupported), mend: "Offer the code flow, and list code."})
	case raw["grant_types_supported"] != nil && !slices.Contains(m.GrantTypesSupported, oauth.AuthorizationCode):
		return w.still("grants", problem{saw: "grant_types_supported is " + list(m.GrantTypesSupported), mend: "List authorization_code there, or leave the member out if it is offered."})
	case raw["grant_types_supported"] == nil:
		return w.ok("grants", "grant_types_supported is not stated; its default has the code flow, and no refresh tokens")
	}
	return w.ok("grants", list(shortNames(m.GrantTypesSupported)))
}

// shortNames are grants without the part that all URNs have.
func shortNames(all []string) []string {
	out := make([]string, len(all))
	for i, g := range all {
		out[i] = strings.TrimPrefix(g, "urn:ietf:params:oauth:grant-type:")
	}
	return out
}

func (w *walk) registration() bool {
	var ways []string
	if w.server.ClientIDMetadataDocument {
		ways = append(ways, "metadata documents (CIMD)")
	}
	if w.server.RegistrationEndpoint != "" {
		ways = append(ways, "dynamic registration (DCR)")
	}
	if len(ways) > 0 {
		return w.ok("registration", strings.Join(ways, ", "))
	}
	p := problem{saw: "by hand only: neither client_id_metadata_document_supported nor registration_endpoint",
		mend: "Add each client by hand, with its redirect URIs, and give people its client id; or offer metadata documents (CIMD) or registration (DCR), so that clients come by themselves."}
	if known := providerOf(w.server, w.issuer); known.name != "" {
		p.saw += fmt.Sprintf(" (%s)", known.name)
	}
	return w.warn("registration", p)
}

// clientAuth is whether clients of the ways that are offered can be told apart.
func (w *walk) clientAuth() bool {
	m := w.server
	methods := m.TokenEndpointAuthMethodsSupported
	stated := w.forms[0].raw["token_endpoint_auth_methods_supported"] != nil
	has := func(method string) bool { return slices.Contains(methods, method) }
	switch {
	case stated && len(methods) == 0:
		return w.warn("client_auth", problem{saw: "token_endpoint_auth_methods_supported is empty", mend: "List the methods, or leave the member out (then it means client_secret_basic)."})
	case (has(oauth.AuthPrivateKeyJWT) || has("client_secret_jwt")) && len(m.TokenEndpointAuthSigningAlgsSupported) == 0:
		return w.warn("client_auth", problem{saw: "private_key_jwt without token_endpoint_auth_signing_alg_values_supported", mend: "List the algorithms: RFC 8414 section 2 asks for them, and clients have to guess otherwise."})
	case slices.Contains(m.TokenEndpointAuthSigningAlgsSupported, "none"):
		return w.still("client_auth", problem{saw: "none among the algorithms of client assertions", mend: "Take it away: an assertion without a signature proves nothing."})
	case m.ClientIDMetadataDocument && !has(oauth.AuthNone):
		return w.warn("client_auth", problem{saw: "CIMD, but token_endpoint_auth_methods_supported lacks none", mend: "List none: common clients with a metadata document are public, and Claude uses one only where it is listed."})
	case !stated:
		return w.ok("client_auth", "not stated, which means client_secret_basic")
	}
	return w.ok("client_auth", list(methods))
}

func (w *walk) issParameter() bool {
	if w.server.AuthorizationResponseIss || w.server.AuthorizationEndpoint == "" {
		return w.ok("iss", "")
	}
	return w.warn("iss", problem{saw: "authorization_response_iss_parameter_supported is not true",
		mend: "Send iss with every authorization response and say so: clients of several servers can then tell them apart."})
}

func (w *walk) idJAG() bool {
	m := w.server
	bearer := slices.Contains(m.GrantTypesSupported, oauth.JWTBearer)
	switch {
	case slices.Contains(m.AuthorizationGrantProfiles, oauth.ProfileIDJAG) && !bearer && m.GrantTypesSupported != nil:
		return w.warn("id_jag", problem{saw: "the profile is listed, the jwt-bearer grant is not", mend: "List " + oauth.JWTBearer + " under grant_types_supported, too."})
	case slices.Contains(m.AuthorizationGrantProfiles, oauth.ProfileIDJAG):
		return w.ok("id_jag", oauth.ProfileIDJAG)
	case bearer:
		return w.warn("id_jag", problem{saw: "jwt-bearer is listed, the profile is not", mend: "List " + oauth.ProfileIDJAG + " under authorization_grant_profiles_supported: clients look for it."})
	}
	if cross, ok := w.enterpriseFlow(); ok && cross.Server.Issuer == "" {
		return w.still("id_jag", problem{saw: "no, and the enterprise flow needs it",
			mend: "Switch ID-JAGs on at the authorization server and list " + oauth.ProfileIDJAG + " under authorization_grant_profiles_supported, or put a Doorward in front."})
	}
	return w.ok("id_jag", "no: people sign in by the browser")
}

func (w *walk) enterpriseFlow() (*doorward.CrossApp, bool) {
	if w.Client == nil {
		return nil, false
	}
	f, ok := w.Client.Flow.(*doorward.CrossApp)
	return f, ok
}

func (w *walk) dpop() bool {
	algs := w.server.DPoPSigningAlgsSupported
	switch {
	case slices.ContainsFunc(algs, func(a string) bool { return strings.HasPrefix(a, "HS") || a == "none" }):
		return w.warn("dpop", problem{saw: "dpop_signing_alg_values_supported has " + list(algs), mend: "List asymmetric algorithms only, like ES256: a proof is signed with a key that only the client has."})
	case w.resource.DPoPRequired && len(algs) == 0:
		return w.still("dpop", problem{saw: "the MCP server wants tokens bound by DPoP, and the authorization server does not list DPoP", mend: "Switch DPoP on at the authorization server (dpop_signing_alg_values_supported), or off at the MCP server."})
	case w.resource.DPoPRequired:
		return w.warn("dpop", problem{saw: "dpop_bound_access_tokens_required is true", mend: "Few clients can do DPoP yet: make it optional unless you know that yours can."})
	case len(algs) > 0:
		return w.ok("dpop", list(algs))
	}
	return w.ok("dpop", "not used")
}
