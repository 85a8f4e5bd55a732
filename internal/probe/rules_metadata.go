package probe

import (
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"doorward/internal/oauth"
)

var metadataRules = []Rule{
	{"AS-META-02.issuer", "the metadata's issuer is the issuer, character by character", "RFC 8414 section 3.3",
		"Publish the issuer exactly as the URL that the well-known URL is built from: no slash more or less.", (*session).metaIssuer},
	{"AS-META-02.type", "the metadata is application/json", "RFC 8414 section 3.2", "Send Content-Type: application/json.", (*session).metaType},
	{"AS-META-03.members", "the metadata names endpoints and response types", "RFC 8414 section 2",
		"Publish authorization_endpoint, token_endpoint and response_types_supported with code.", (*session).metaMembers},
	{"AS-META-03.pkce", "the metadata lists S256", "OAuth 2.1 section 7.5.2, MCP authorization",
		"Publish code_challenge_methods_supported with S256: MCP clients refuse to go on without it.", (*session).metaPKCE},
	{"AS-PKCE-02.metadata", "the metadata does not list plain", "RFC 9700 section 2.1.1", "Take plain out of code_challenge_methods_supported, and refuse it.", (*session).metaPlain},
	{"AS-AUTHZ-04.metadata", "the metadata offers neither the implicit nor the password grant", "OAuth 2.1 section 10, RFC 9700 sections 2.1.2 and 2.4",
		"Offer the authorization code only: drop token from response_types_supported, implicit and password from grant_types_supported.", (*session).metaOldGrants},
	{"AS-META-04.explicit", "grant types and authentication methods are stated", "RFC 8414 section 2",
		"Publish grant_types_supported and token_endpoint_auth_methods_supported: left out they mean implicit and client_secret_basic.", (*session).metaExplicit},
	{"AS-META-04.empty", "the metadata has no empty lists", "RFC 8414 section 3.2", "Leave out members that would be empty.", (*session).metaEmpty},
	{"AS-META-05.algs", "private_key_jwt comes with its algorithms, and none is not one", "RFC 8414 section 2",
		"Publish token_endpoint_auth_signing_alg_values_supported without none.", (*session).metaAlgs},
	{"AS-META-08.profile", "the ID-JAG profile comes with the jwt-bearer grant", "ID-JAG section 7.2", "List urn:ietf:params:oauth:grant-type:jwt-bearer in grant_types_supported.", (*session).metaProfile},
	{"AS-META-12.public", "the key set has public keys only", "RFC 7517 section 9.2", "Take private and symmetric keys out of the key set, and replace them: they are known now.", (*session).metaKeysPublic},
	{"AS-META-12.kid", "each key of the key set has a kid of its own", "RFC 7517 section 4.5", "Give each key its own kid.", (*session).metaKeysNamed},
	{"AS-META-13.forwarded", "X-Forwarded-Host does not change the metadata", "RFC 9700 section 4.13", "Take the issuer and the endpoints from the configuration, or forwarded headers from known proxies only.", (*session).metaForwarded},
	{"AS-META-13.host", "Host does not change the metadata", "RFC 8414 section 3.3", "Take the issuer and the endpoints from the configuration.", (*session).metaHost},
	{"X-HTTP-01.https", "every endpoint is https, or on loopback", "OAuth 2.1 section 1.5", "Serve every endpoint over https.", (*session).metaHTTPS},
	{"REV-07.same", "both metadata documents say the same", "RFC 8414 section 5", "Build openid-configuration and oauth-authorization-server from the same values.", (*session).metaSame},
}

func (s *session) metaIssuer() error {
	s.show("metadata")
	if got := s.meta.text("issuer"); got != s.c.Issuer {
		return brokenf("issuer is %q, not %q", got, s.c.Issuer)
	}
	return nil
}

func (s *session) metaType() error {
	s.show("metadata")
	if !isType(s.meta.answer.header, "application/json") {
		return brokenf("Content-Type is %q", s.meta.answer.header.Get("Content-Type"))
	}
	return nil
}

func (s *session) metaMembers() error {
	s.show("metadata")
	for _, name := range []string{"authorization_endpoint", "token_endpoint"} {
		if s.meta.text(name) == "" {
			return brokenf("%s is missing", name)
		}
	}
	if !slices.Contains(s.meta.list("response_types_supported"), "code") {
		return brokenf("response_types_supported is %q, without code", s.meta.list("response_types_supported"))
	}
	return nil
}

func (s *session) metaPKCE() error {
	s.show("metadata")
	if got := s.meta.list("code_challenge_methods_supported"); !slices.Contains(got, "S256") {
		return brokenf("code_challenge_methods_supported is %q, without S256", got)
	}
	return nil
}

func (s *session) metaPlain() error {
	s.show("metadata")
	if slices.Contains(s.meta.list("code_challenge_methods_supported"), "plain") {
		return brokenf("code_challenge_methods_supported lists plain")
	}
	return nil
}

func (s *session) metaOldGrants() error {
	s.show("metadata")
	for _, t := range s.meta.list("response_types_supported") {
		if slices.Contains(strings.Fields(t), "token") {
			return brokenf("response_types_supported lists %q", t)
		}
	}
	for _, g := range []string{"implicit", "password"} {
		if slices.Contains(s.meta.list("grant_types_supported"), g) {
			return brokenf("grant_types_supported lists %s", g)
		}
	}
	return nil
}

func (s *session) metaExplicit() error {
	s.show("metadata")
	for _, name := range []string{"grant_types_supported", "token_endpoint_auth_methods_supported"} {
		if _, ok := s.meta.members[name]; !ok {
			return brokenf("%s is missing", name)
		}
	}
	return nil
}

func (s *session) metaEmpty() error {
	s.show("metadata")
	for name, v := range s.meta.members {
		if list, ok := v.([]any); ok && len(list) == 0 {
			return brokenf("%s is an empty list", name)
		}
	}
	return nil
}

func (s *session) metaAlgs() error {
	s.show("metadata")
	methods := s.meta.list("token_endpoint_auth_methods_supported")
	if !slices.Contains(methods, "private_key_jwt") && !slices.Contains(methods, "client_secret_jwt") {
		return notHere("private_key_jwt is not offered")
	}
	algs := s.meta.list("token_endpoint_auth_signing_alg_values_supported")
	if len(algs) == 0 {
		return brokenf("token_endpoint_auth_signing_alg_values_supported is missing")
	}
	for _, alg := range algs {
		if strings.EqualFold(alg, "none") {
			return brokenf("token_endpoint_auth_signing_alg_values_supported lists %q", alg)
		}
	}
	return nil
}

func (s *session) metaProfile() error {
	s.show("metadata")
	if !slices.Contains(s.meta.list("authorization_grant_profiles_supported"), oauth.ProfileIDJAG) {
		return notHere("ID-JAGs are not offered")
	}
	if !slices.Contains(s.meta.list("grant_types_supported"), oauth.JWTBearer) {
		return brokenf("authorization_grant_profiles_supported lists the ID-JAG profile, grant_types_supported does not list the grant")
	}
	return nil
}

// notHere is why a rule about something that the server does not offer cannot
// be tried.
type notHere string

func (n notHere) Error() string { return string(n) }

// keys is the key set, as it lies at jwks_uri.
func (s *session) keys() ([]map[string]any, error) {
	uri := s.meta.text("jwks_uri")
	if uri == "" {
		return nil, notHere("the metadata has no jwks_uri")
	}
	a, err := s.wire.get(s.ctx, uri)
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal([]byte(a.body), &set); a.status != http.StatusOK || err != nil {
		return nil, notHere("there is no key set at jwks_uri")
	}
	return set.Keys, nil
}

func (s *session) metaKeysPublic() error {
	keys, err := s.keys()
	if err != nil {
		return err
	}
	for _, k := range keys {
		for _, member := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if v, ok := k[member].(string); ok && v != "" {
				return brokenf("a key of the set (%v, kid %q) has the private member %q", k["kty"], k["kid"], member)
			}
		}
	}
	return nil
}

func (s *session) metaKeysNamed() error {
	keys, err := s.keys()
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, k := range keys {
		kid, _ := k["kid"].(string)
		if kid == "" {
			return brokenf("a key of the set has no kid")
		}
		if seen[kid] {
			return brokenf("two keys of the set have the kid %q", kid)
		}
		seen[kid] = true
	}
	return nil
}

func (s *session) metaForwarded() error {
	const evil = "evil.doorward-probe.invalid"
	return s.metaWith(evil, "X-Forwarded-Host", evil, "X-Forwarded-Proto", "https", "Forwarded", "host="+evil+";proto=https")
}

func (s *session) metaHost() error {
	const evil = "evil.doorward-probe.invalid"
	return s.metaWith(evil, "Host", evil)
}

// metaWith fetches the metadata with headers that name another host. A server
// may well refuse such a request.
func (s *session) metaWith(evil string, headers ...string) error {
	a, err := s.wire.get(s.ctx, s.meta.from, headers...)
	if _, refused := err.(x509.HostnameError); err != nil && !refused {
		return err
	}
	if a != nil && a.status == http.StatusOK && strings.Contains(a.body, evil) {
		return brokenf("the metadata names %s, which stood in the request", evil)
	}
	return nil
}

func (s *session) metaHTTPS() error {
	s.show("metadata")
	for name, v := range s.meta.members {
		text, _ := v.(string)
		if !strings.HasSuffix(name, "_endpoint") && name != "jwks_uri" && name != "issuer" {
			continue
		}
		u, err := url.Parse(text)
		if err != nil || u.Host == "" {
			return brokenf("%s is no URL: %q", name, text)
		}
		if u.Scheme != "https" && !oauth.IsLoopbackHost(u.Host) {
			return brokenf("%s is %s", name, text)
		}
	}
	return nil
}

func (s *session) metaSame() error {
	places, err := oauth.MetadataURLs(s.c.Issuer)
	if err != nil {
		return err
	}
	found := 0
	for _, place := range places {
		a, err := s.wire.get(s.ctx, place)
		if err != nil {
			return err
		}
		var m map[string]any
		if a.status != http.StatusOK || json.Unmarshal([]byte(a.body), &m) != nil {
			continue
		}
		found++
		for _, name := range []string{"issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "registration_endpoint", "revocation_endpoint"} {
			if got, _ := m[name].(string); got != "" && s.meta.text(name) != "" && got != s.meta.text(name) {
				return brokenf("%s is %q in %s and %q in %s", name, got, place, s.meta.text(name), s.meta.from)
			}
		}
	}
	if found < 2 {
		return notHere("there is one document only")
	}
	return nil
}
