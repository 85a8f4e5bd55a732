package main

import "testing"

// covers: AS-WIF-04, AS-WIF-05
func TestMistakesOfWorkloads(t *testing.T) {
	with := func(entry string) string {
		return "clients: {registered: {cc: {secret: \"${STRONG}\", grant_types: [client_credentials]}, jag: {secret: \"${STRONG}\", grant_types: [jwt-bearer]}}}\n" +
			"servers: {files: {path: /mcp, run: sample, scopes: {\"files:read\": Read}, allow: [{who: everyone}]}}\nworkloads:\n  w: {" + entry + "}\n"
	}
	const github = "issuer: \"https://token.actions.githubusercontent.com\", servers: [files], claims: "
	const owner = "c.yaml:4:80: workloads.w.claims: https://token.actions.githubusercontent.com makes JWTs for everybody on earth: name the owner in one of repository_owner_id, repository_owner, repository_id, repository, sub, enterprise_id, without a * before the / after it"
	for _, m := range []mistake{
		{"good", with("issuer: https://c.example, claims: {sub: \"system:serviceaccount:prod:*\", x: [a, b]}, servers: [files], scopes: [\"files:read\"], client: jag, max_lifetime: 1h, jwks_uri: \"https://c.example/jwks\", algs: [RS256]"), ""},
		{"a rule names it", "servers: {files: {path: /mcp, run: sample, allow: [{who: [\"client:w\", \"client:named\"]}]}}\nworkloads: {w: {issuer: https://c.example, claims: {sub: a}, servers: [files], scopes: [files]}, x: {issuer: https://c.example, client: named, claims: {sub: b}, servers: [files]}}\n", ""},
		{"nothing", with(""), "c.yaml:4:3: workloads.w.claims: is missing: say which of the issuer's workloads are meant, such as {sub: \"system:serviceaccount:NAMESPACE:NAME\"}\n" +
			"c.yaml:4:3: workloads.w.issuer: is missing: write the provider's issuer identifier, as its metadata spells it\n" +
			"c.yaml:4:3: workloads.w.servers: is missing: name the servers that this workload may have tokens for"},
		{"a key", with("issuer: https://c.example, claim: {sub: a}, claims: {sub: a}, servers: [files]"), `c.yaml:4:34: unknown key "claim": did you mean "claims"?`},
		{"plain keys", with("issuer: https://c.example, claims: {sub: a}, servers: [files], jwks_uri: \"http://c.example/jwks\""), "c.yaml:4:80: workloads.w.jwks_uri: must be an https URL (http on loopback)"},
		{"hours", with("issuer: https://c.example, claims: {sub: a}, servers: [files], max_lifetime: 2h"), "c.yaml:4:84: workloads.w.max_lifetime: must be between a second and an hour"},
		{"everybody", with("issuer: https://c.example, claims: {sub: \"*\"}, servers: [files]"), "c.yaml:4:34: workloads.w.claims: let every workload of the issuer in: name one claim with more than *"},
		{"an empty pattern", with("issuer: https://c.example, claims: {sub: a, ref: [b, \"\"]}, servers: [files]"), "c.yaml:4:51: workloads.w.claims.ref: must be a pattern, or a list of them, and none empty"},
		{"a server", with("issuer: https://c.example, claims: {sub: a}, servers: [file]"), `c.yaml:4:62: workloads.w.servers[0]: there is no server "file": did you mean files?`},
		{"a scope", with("issuer: https://c.example, claims: {sub: a}, servers: [files], scopes: [\"files:raed\"]"), `c.yaml:4:79: workloads.w.scopes[0]: "files:raed" is not among the server's scopes: did you mean "files:read"?`},
		{"a client's name", "clients: {registered: {w: {secret: \"${STRONG}\", grant_types: [jwt-bearer]}}}\nworkloads: {w: {issuer: https://c.example, claims: {sub: a}, servers: [s]}}\nservers: {s: {path: /mcp, run: sample}}\n",
			"c.yaml:2:13: workloads.w: clients.registered has a client of this name: write client: w if it is meant, or give the entry another name"},
		{"a client without the grant", with("issuer: https://c.example, claims: {sub: a}, servers: [files], client: cc"), "c.yaml:4:78: workloads.w.client: clients.registered.cc may not use jwt-bearer: add it to its grant_types"},
		{"a document as client", with("issuer: https://c.example, claims: {sub: a}, servers: [files], client: \"https://c.example/c\""), "c.yaml:4:78: workloads.w.client: a client_id is 1 to 200 visible ASCII characters and no https URL"},
		{"this server", with("issuer: \"http://127.0.0.1:8080\", claims: {sub: a}, servers: [files]"), "c.yaml:4:15: workloads.w.issuer: is this server's own url: it would trust itself"},
		{"two lives", "servers: {s: {path: /mcp, run: sample}}\nworkloads:\n  a: {issuer: https://c.example, claims: {sub: a}, servers: [s]}\n  b: {issuer: https://c.example, claims: {sub: b}, servers: [s], max_lifetime: 5m}\n",
			"c.yaml:4:3: workloads.b: has another jwks_uri, algs or max_lifetime than workloads.a of the same issuer"},
		{"no algorithm", with("issuer: https://c.example, claims: {sub: a}, servers: [files], algs: []"), "c.yaml:4:70: workloads.w.algs: is empty: no JWT could be verified; leave it out for the default"},
		{"everybody on earth", with(github + "{ref: \"refs/heads/main\"}"), owner},
		{"everybody whose owner begins so", with(github + "{repository: \"acme*\"}"), owner},
		{"everybody whose sub begins so", with(github + "{sub: [\"repo:acme/*\", \"repo:acme*\"]}"), owner},
		{"everybody with an owner's pattern", with(github + "{repository_owner: \"acme/*\"}"), owner},
		{"an owner", with(github + "{repository_owner: acme, ref: \"refs/*\"}"), ""},
		{"an owner's repositories", with(github + "{repository: [\"acme/*\", \"acme2/x\"]}"), ""},
	} {
		m.check(t, roleServe)
	}
	(mistake{"not for idp", "workloads: {}\n", "c.yaml:1:1: workloads is a key of `doorward serve`, and this file was given to `doorward idp`"}).check(t, roleIdP)
}
