package main

import (
	"strings"
	"testing"
)

// Where a client is told of logouts: on a server of the web, or on loopback, and
// only by who has sessions to tell of.
func TestLogoutKeys(t *testing.T) {
	wiki := func(key, value string) string {
		return "clients: {registered: {wiki: {secret: \"${STRONG}\", redirect_uris: [\"https://wiki.example/cb\", \"http://127.0.0.1:1/cb\"],\n  " + key + ": \"" + value + "\"}}}\n"
	}
	const back, front = "backchannel_logout_uri", "frontchannel_logout_uri"
	for _, m := range []mistake{
		{"anywhere on the web", wiki(back, "https://out.example/x?y=z"), ""},
		{"loopback", wiki(back, "http://127.0.0.1:9/x"), ""},
		{"frames", wiki(front, "https://wiki.example/out"), ""},
		{"frames on loopback", wiki(front, "http://127.0.0.1:1/out"), ""},
		{"plain http", wiki(back, "http://out.example/x"), "c.yaml:2:27: clients.registered.wiki.backchannel_logout_uri: must be an https URL (http on loopback) without a fragment"},
		{"fragment", wiki(back, "https://out.example/x#y"), "c.yaml:2:27: clients.registered.wiki.backchannel_logout_uri: must be an https URL (http on loopback) without a fragment"},
		{"frames from elsewhere", wiki(front, "https://out.example/x"), "c.yaml:2:28: clients.registered.wiki.frontchannel_logout_uri: must be on the origin of one of redirect_uris: browsers load it"},
	} {
		m.check(t, roleIdP)
	}
	(mistake{"nobody to tell", wiki(back, "https://out.example/x"), "c.yaml:2:27: clients.registered.wiki.backchannel_logout_uri: is for `doorward idp`: here clients get access tokens, and signing out ends none"}).check(t, roleServe)
	fill := func(text string) string { return strings.ReplaceAll(text, "STRONG", "PASSWORD") }
	c := load(t, roleIdP, fill(wiki(back, "https://out.example/x"))).authserverConfig().Clients["wiki"]
	if c.BackchannelLogoutURI != "https://out.example/x" || c.FrontchannelLogoutURI != "" {
		t.Errorf("%+v", c)
	}
	if c = load(t, roleIdP, fill(wiki(front, "https://wiki.example/out"))).authserverConfig().Clients["wiki"]; c.FrontchannelLogoutURI != "https://wiki.example/out" {
		t.Errorf("%+v", c)
	}
}

// A client that is a SAML service provider has a name and an address.
func TestSAMLClientKeys(t *testing.T) {
	wiki := func(keys string) string {
		return "clients: {registered: {wiki: {secret: \"${STRONG}\", redirect_uris: [\"https://wiki.example/cb\"],\n  " + keys + "}}}\n"
	}
	const entity, acs = `saml_entity_id: "https://wiki.example/saml"`, `saml_acs: ["https://wiki.example/acs"]`
	for _, m := range []mistake{
		{"both", wiki(entity + ", " + acs), ""},
		{"no address", wiki(entity), "c.yaml:2:19: clients.registered.wiki.saml_entity_id: goes with saml_acs: where assertions for this client are sent"},
		{"an empty address", wiki(entity + `, saml_acs: [""]`), "c.yaml:2:59: clients.registered.wiki.saml_acs[0]: must be an https URL (http on loopback)"},
		{"no name", wiki(acs), "c.yaml:2:3: clients.registered.wiki.saml_acs: goes with saml_entity_id"},
	} {
		m.check(t, roleIdP)
	}
	again := wiki(entity+", "+acs) + `    other: {secret: "${STRONG}", redirect_uris: ["https://other.example/cb"], saml_entity_id: "https://wiki.example/saml", saml_acs: ["https://other.example/acs"]}`
	again = strings.Replace(strings.Replace(again, "{registered: {wiki:", "\n  registered:\n    wiki:", 1), "}}}", "}", 1)
	(mistake{"two of one name", again, "c.yaml:4:19: clients.registered.wiki.saml_entity_id: is that of client other already: an assertion is for one of them"}).check(t, roleIdP)
	(mistake{"two names", strings.Replace(again, "wiki.example/saml", "wiki.example/SAML", 1), ""}).check(t, roleIdP)
	(mistake{"at serve", wiki(entity + ", " + acs), "c.yaml:2:19: clients.registered.wiki.saml_entity_id: is for `doorward idp`, where sign-ins are exchanged"}).check(t, roleServe)
	c := load(t, roleIdP, strings.ReplaceAll(wiki(entity+", "+acs), "STRONG", "PASSWORD")).authserverConfig().Clients["wiki"]
	if c.SAMLEntityID != "https://wiki.example/saml" || len(c.SAMLACS) != 1 || c.SAMLACS[0] != "https://wiki.example/acs" {
		t.Errorf("%+v", c)
	}
}
