package main

import (
	"os"
	"strings"
	"time"

	"doorward/authserver"
	"doorward/internal/saml"
)

func isWeb(text string) bool {
	return strings.HasPrefix(text, "https://") || strings.HasPrefix(text, "http://")
}

// saml checks what a provider of kind saml must have, and what no other has.
func (k *checker) saml(at keyPath, p ProviderConfig) {
	metadata := at.add("metadata")
	if p.Kind != "saml" {
		k.must(p.Metadata == "" || k.broken(metadata), metadata, "is for kind: saml: an OpenID provider's is found by its issuer")
		return
	}
	switch from := string(p.Metadata); {
	case from == "" && !k.broken(metadata):
		k.fail(metadata, "is missing: write the URL or the file of the provider's metadata")
	case isWeb(from):
		k.must(keysURL(from) && noFragment(from), metadata, "must be an https URL (http on loopback) or a file")
	case from != "":
		doc, err := os.ReadFile(from)
		if err == nil {
			_, err = saml.ParseMetadata(doc, time.Now())
		}
		k.must(err == nil, metadata, "%v", err)
	}
	k.must(p.Issuer == "" || k.broken(at.add("issuer")), at.add("issuer"), "is for kind: oidc: a SAML provider's entity id stands in its metadata")
	k.must(p.IDJAG == nil, at.add("id_jag"), "is for kind: oidc: a SAML provider issues none")
	for _, key := range []string{"client_id", "client_secret", "scopes", "parameters", "recheck"} {
		in := at.add("sign_in").add(key)
		k.must(!k.given(in...), in, "is not for kind: saml")
	}
}

// samlSignIn is how people come in by a SAML provider.
func (c *Config) samlSignIn(name string, p ProviderConfig) authserver.SignIn {
	groups := ""
	if c.given("providers", name, "groups", "claim") {
		groups = p.Groups.Claim
	}
	return authserver.SAML(authserver.SAMLProvider{
		Name: name, Title: p.Name, Metadata: string(p.Metadata), Account: p.Account, ExistingOnly: p.Accounts == "existing",
		Tenants: p.Tenants, EmailDomains: p.EmailDomains, GroupsClaim: groups,
	})
}
