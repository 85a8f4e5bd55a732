package authtest

import (
	"net/http"
	"slices"
	"strings"

	"doorward/internal/oauth"
)

func weakScopes() []string { return []string{"mcp:read", "mcp:write"} }

// within reports whether every scope of a list is one of another.
func within(scope string, all []string) bool {
	for _, s := range strings.Fields(scope) {
		if !slices.Contains(all, s) {
			return false
		}
	}
	return true
}

func metadataOf(w *Weak, base string) map[string]any {
	responses, challenges, methods := []string{"code"}, []string{"S256"}, []string{"none", "client_secret_basic", "client_secret_post"}
	if w.has("AS-META-03.members") {
		responses = []string{"id_token"}
	}
	if w.has("AS-AUTHZ-04.metadata") {
		responses = append(responses, "token")
	}
	if w.has("AS-META-03.pkce") {
		challenges = nil
	}
	if w.has("AS-PKCE-02.metadata") {
		challenges = append(challenges, "plain")
	}
	if w.has("AS-META-05.algs") {
		methods = append(methods, "private_key_jwt")
	}
	m := map[string]any{
		"issuer": w.Issuer, "authorization_endpoint": base + "/authorize", "token_endpoint": base + "/token", "jwks_uri": base + "/jwks",
		"registration_endpoint": base + "/register", "revocation_endpoint": base + "/revoke", "introspection_endpoint": base + "/introspect",
		"response_types_supported": responses, "scopes_supported": weakScopes(),
		"grant_types_supported":                          []string{oauth.AuthorizationCode, oauth.RefreshToken, oauth.ClientCredentials, oauth.JWTBearer},
		"token_endpoint_auth_methods_supported":          methods,
		"authorization_response_iss_parameter_supported": true,
		"authorization_grant_profiles_supported":         []string{oauth.ProfileIDJAG},
		"protected_resources":                            []string{w.Resource},
		"dpop_signing_alg_values_supported":              []string{"ES256"},
	}
	if len(challenges) > 0 {
		m["code_challenge_methods_supported"] = challenges
	}
	if w.has("AS-META-08.profile") {
		m["grant_types_supported"] = []string{oauth.AuthorizationCode, oauth.RefreshToken, oauth.ClientCredentials}
	}
	for fault, change := range map[string]func(){
		"AS-META-02.issuer":   func() { m["issuer"] = w.Issuer + "/" },
		"AS-META-04.explicit": func() { delete(m, "grant_types_supported") },
		"AS-META-04.empty":    func() { m["ui_locales_supported"] = []string{} },
		"AS-META-06.flag":     func() { delete(m, "authorization_response_iss_parameter_supported") },
		"AS-META-09.dpop":     func() { m["dpop_signing_alg_values_supported"] = []string{"ES256", "HS256"} },
		"X-HTTP-01.https":     func() { m["userinfo_endpoint"] = "http://as.example.com/userinfo" },
	} {
		if w.has(fault) {
			change()
		}
	}
	return m
}

func (w *Weak) asMetadata(rw http.ResponseWriter, r *http.Request) {
	base := w.Issuer
	if w.has("AS-META-13.host") {
		base = "https://" + r.Host
	}
	if host := r.Header.Get("X-Forwarded-Host"); host != "" && w.has("AS-META-13.forwarded") {
		base = "https://" + host
	}
	m := metadataOf(w, base)
	if w.has("AS-META-02.type") {
		writeAs(rw, "text/plain", http.StatusOK, m)
		return
	}
	writeJSON(rw, http.StatusOK, m)
}

func (w *Weak) oidcMetadata(rw http.ResponseWriter, _ *http.Request) {
	m := metadataOf(w, w.Issuer)
	if w.has("REV-07.same") {
		m["token_endpoint"] = w.Issuer + "/old/token"
	}
	writeJSON(rw, http.StatusOK, m)
}

func (w *Weak) jwks(rw http.ResponseWriter, _ *http.Request) {
	public := weakJWK(&w.signer.PublicKey, weakKid)
	keys := []map[string]any{public}
	if w.has("AS-META-12.public") {
		d, err := w.signer.Bytes()
		if err != nil {
			panic(err)
		}
		public["d"] = b64(d)
	}
	if w.has("AS-META-12.kid") {
		keys = append(keys, weakJWK(&w.signer.PublicKey, weakKid))
	}
	writeJSON(rw, http.StatusOK, map[string]any{"keys": keys})
}
