package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestDoctorFile(t *testing.T) {
	dir := write(t, map[string]string{
		"serve.yaml": "providers: {okta: {issuer: https://a.okta.com, id_jag: {}}}\nservers: {s: {path: /mcp, run: sample, allow: [{who: [\"group:okta/eng\", \"group:eng\", \"x@y.example\"]}]}}\n",
		"idp.yaml":   "audiences: {}\npeople: {a: {groups: [ops], email: a@x.example, password: \"${P}\"}}\n",
		"bad.yaml":   "nope: 1\n",
		"scim.yaml":  "providers: {okta: {issuer: https://a.okta.com, id_jag: {}, scim: {token: a-token-of-some-length}}}\nservers: {s: {path: /mcp, run: sample, allow: [{who: [\"group:okta/eng\"]}]}}\n",
	})
	for name, want := range map[string]string{
		"serve.yaml": "serve.yaml:2:55: warning: servers.s.allow[0].who[0]: \"group:okta/eng\" matches only if okta puts the claim \"groups\" into its ID-JAGs: an ID-JAG brings groups only if its issuer puts them in (claims: [groups] there)\n" +
			"serve.yaml:2:73: warning: servers.s.allow[0].who[1]: \"group:eng\" matches only if okta puts the claim \"groups\" into its ID-JAGs: an ID-JAG brings groups only if its issuer puts them in (claims: [groups] there)\n" +
			"serve.yaml:2:86: warning: servers.s.allow[0].who[2]: \"x@y.example\" can never match: no provider lists y.example in email_domains, and no local person has this address\n" +
			"serve.yaml: good for `doorward serve`: http://127.0.0.1:8080 with 1 server, 3 warnings\n",
		"idp.yaml":  "idp.yaml: good for `doorward idp`: http://127.0.0.1:8090 with 0 audiences, 0 warnings\n",
		"scim.yaml": "scim.yaml: good for `doorward serve`: http://127.0.0.1:8080 with 1 server, 0 warnings\n", // its directory brings the groups
		"bad.yaml": "bad.yaml:1:1: warning: servers: there are none: nobody can get a token for anything ({run: sample, path: /mcp} is the built-in one)\n" +
			"bad.yaml:1:1: unknown key \"nope\": did you mean \"mode\"?\n" +
			"bad.yaml: 1 error and 1 warning\n",
	} {
		findings, cfg, err := checkFile(filepath.Join(dir, name), variables("P", "orchard-tango-27"))
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := writeFindings(&out, name, findings, cfg); err != nil {
			t.Fatal(err)
		}
		if got := strings.ReplaceAll(out.String(), dir+string(filepath.Separator), ""); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
	}
	if _, _, err := checkFile(filepath.Join(dir, "none.yaml"), variables()); err == nil {
		t.Error("a file that is not there was checked")
	}
}
