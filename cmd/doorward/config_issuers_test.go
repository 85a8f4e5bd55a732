package main

import (
	"reflect"
	"strings"
	"testing"

	"doorward"
)

func TestFurtherIssuers(t *testing.T) {
	file := func(issuers, who string) string {
		return "servers: {s: {path: /mcp, run: sample, issuers: " + issuers + ", allow: [{who: " + who + "}]}}\n"
	}
	const iss = "https://i.example/a"
	for _, m := range []mistake{
		{"by keys", file("["+iss+"]", "issuer:"+iss), ""},
		{"by asking", file("[{issuer: "+iss+", introspect: {client_id: c, client_secret: \"${SET}\"}}]", "\"issuer:"+iss+"#bob\""), ""},
		{"a client", file("["+iss+"]", "[everyone, \"client:"+iss+"#agent\"]"), ""},
		{"nobody of it", file("["+iss+"]", "everyone"), "c.yaml:1:50: warning: servers.s.issuers[0]: no allow rule names anybody of " + iss + ", so none of its tokens lets anybody in: write who: issuer:" + iss},
		{"a rule for one that is not there", file("["+iss+"]", "[issuer:"+iss+", \"issuer:https://j.example#x\"]"), "c.yaml:1:115: servers.s.allow[0].who[1]: \"issuer:https://j.example#x\": https://j.example is not among the issuers of this server"},
		{"a client of one that is not there", file("[]", "[everyone, \"client:https://j.example#x\"]"), "c.yaml:1:78: servers.s.allow[0].who[1]: \"client:https://j.example#x\": https://j.example is not among the issuers of this server"},
		{"no issuer", file("[{}]", "everyone"), "c.yaml:1:50: servers.s.issuers[0]: is missing: write the issuer identifier, as its metadata spells it"},
		{"no URL", file("[okta]", "everyone"), "c.yaml:1:50: servers.s.issuers[0]: issuer \"okta\" must be absolute"},
		{"ourselves", file("[\"http://127.0.0.1:8080\"]", "everyone"), "c.yaml:1:50: servers.s.issuers[0]: is this server's own url: its tokens are taken anyway"},
		{"twice", file("["+iss+", {issuer: "+iss+"}]", "issuer:"+iss), "c.yaml:1:71: servers.s.issuers[1]: " + iss + " stands there twice"},
		{"half a client", file("[{issuer: "+iss+", introspect: {client_id: c}}]", "issuer:"+iss), "c.yaml:1:80: servers.s.issuers[0].introspect.client_secret: is missing: introspection needs a client that can authenticate"},
		{"everybody on earth", "url: https://mcp.example\n" + file("[\"https://accounts.google.com\"]", "issuer:https://accounts.google.com"),
			"c.yaml:2:96: servers.s.allow[0].who[0]: issuer:https://accounts.google.com is everybody on earth: anybody can have an account there; name people (issuer:URL#SUB)"},
		{"unknown key", file("[{isuer: "+iss+"}]", "everyone"), "c.yaml:1:50: servers.s.issuers[0]: is missing: write the issuer identifier, as its metadata spells it\nc.yaml:1:51: unknown key \"isuer\": did you mean \"issuer\"?"},
	} {
		m.check(t, roleServe)
	}
	cfg := load(t, roleServe, strings.ReplaceAll(file("[https://i.example, {issuer: https://j.example, introspect: {client_id: c, client_secret: \"${SET}\"}}]", "[issuer:https://i.example, issuer:https://j.example]"), "SET", "PASSWORD"))
	s := cfg.gatewayServers(nil)["s"]
	if !reflect.DeepEqual(s.Issuers, []string{"https://i.example", "https://j.example"}) ||
		!reflect.DeepEqual(s.Introspect, map[string]doorward.Credentials{"https://j.example": {ID: "c", Secret: "orchard-tango-27"}}) {
		t.Errorf("%+v", s)
	}
}
