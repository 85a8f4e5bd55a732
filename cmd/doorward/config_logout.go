package main

import (
	"slices"
	"strings"
)

// logoutURIs checks where a client is told that somebody signed out (OpenID
// Connect Back-Channel Logout 1.0 section 2.2, Front-Channel Logout 1.0 section 2).
func (k *checker) logoutURIs(at keyPath, cl ClientConfig) {
	for _, key := range []struct{ name, uri string }{
		{"backchannel_logout_uri", cl.BackchannelLogoutURI}, {"frontchannel_logout_uri", cl.FrontchannelLogoutURI},
	} {
		p := at.add(key.name)
		switch {
		case key.uri == "":
		case k.role == roleServe:
			k.fail(p, "is for `doorward idp`: here clients get access tokens, and signing out ends none")
		case !keysURL(key.uri) || strings.Contains(key.uri, "#"):
			k.fail(p, "must be an https URL (http on loopback) without a fragment")
		case key.name == "frontchannel_logout_uri" && !k.broken(at.add("redirect_uris")):
			k.must(slices.ContainsFunc(cl.RedirectURIs, func(r string) bool { return originOf(r) == originOf(key.uri) }), p,
				"must be on the origin of one of redirect_uris: browsers load it")
		}
	}
}

// samlClient checks what makes a client a SAML service provider whose assertions
// can be exchanged.
func (k *checker) samlClient(id string, at keyPath, cl ClientConfig) {
	p := at.add("saml_entity_id")
	switch {
	case cl.SAMLEntityID == "":
		k.must(len(cl.SAMLACS) == 0 || k.broken(p), at.add("saml_acs"), "goes with saml_entity_id")
	case k.role == roleServe:
		k.fail(p, "is for `doorward idp`, where sign-ins are exchanged")
	default:
		k.must(len(cl.SAMLACS) > 0 || k.broken(at.add("saml_acs")), p, "goes with saml_acs: where assertions for this client are sent")
		for i, acs := range cl.SAMLACS {
			k.must(keysURL(acs), at.add("saml_acs").add(index(i)), "must be an https URL (http on loopback)")
		}
		for _, other := range sortedNames(k.Clients.Registered) {
			if other < id && k.Clients.Registered[other].SAMLEntityID == cl.SAMLEntityID {
				k.fail(p, "is that of client %s already: an assertion is for one of them", other)
				break
			}
		}
	}
}
