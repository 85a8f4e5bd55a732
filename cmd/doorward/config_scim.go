package main

import (
	"slices"
	"unicode/utf8"
)

// scim checks that a provider's provisioning can say whom it means.
func (k *checker) scim(name string, p ProviderConfig) {
	at := pathOf("providers", name, "scim")
	token := at.add("token")
	switch {
	case k.broken(token):
	case p.SCIM.Token == "":
		k.fail(token, "is missing: make one (openssl rand -hex 32) and give it to the provider's provisioning")
	case utf8.RuneCountInString(string(p.SCIM.Token)) < shortestSecret && k.public():
		k.refuse(token, "has fewer than %d characters: who guesses it can end what everybody has, and let people back in (openssl rand -hex 32 makes one)", shortestSecret)
	}
	if p.IDJAG == nil && p.SignIn == nil {
		k.fail(at, "is of no use without sign_in or id_jag: nobody of this provider comes here")
	}
	if p.IDJAG != nil && p.IDJAG.SAML != (SAMLSubjectsConfig{}) {
		k.fail(at, "says nothing of people whom ID-JAGs name by sub_id (id_jag.saml): they would outlive the directory; leave one of the two out")
	}
	tenant := func(claim string) bool { return claim == "tenant" || claim == "tid" }
	others := slices.DeleteFunc(slices.Clone(p.Account), tenant)
	k.must(len(others) == 1, at, "cannot name an account by %q: one attribute holds one claim, besides a tenant", []string(p.Account))
	if len(p.Tenants) > 1 || len(p.Tenants) == 0 && len(others) < len(p.Account) {
		k.fail(at, "cannot say which tenant a person is of: write exactly one under tenants")
	}
}
