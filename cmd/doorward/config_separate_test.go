package main

import "testing"

// What stands under separate is checked with its place.
func TestSeparateIsChecked(t *testing.T) {
	const server = "servers: {s: {path: /mcp, run: sample}}\n"
	for _, c := range []mistake{
		{"as it should be", "mode: proxy\nseparate: {issuer: \"https://login.example\", client_id: a, client_secret: b, auth_method: client_secret_post, resource: send}\n" +
			"servers: {s: {path: /mcp, upstream: \"http://127.0.0.1:1\", credential: vault, allow: [{who: \"group:eng\"}, {who: \"person:separate/u-1\"}]}}\n", ""},
		{"nothing", "mode: proxy\n" + server, "c.yaml:1:1: separate.client_id: is missing: register http://127.0.0.1:8080/callback/separate there and write the client id that it gives\n" +
			"c.yaml:1:1: separate.issuer: is missing: write the provider's issuer identifier, as its metadata spells it"},
		{"another mode", "separate: {issuer: \"https://login.example\"}\n" + server, "c.yaml:1:1: separate: is for mode: proxy or passthrough; with mode: direct people sign in at the providers of this file"},
		{"vault without", "servers: {s: {path: /mcp, upstream: \"http://127.0.0.1:1\", credential: vault}}\n",
			"c.yaml:1:71: servers.s.credential: vault is what the server under separate issued for the person: it needs mode: proxy"},
		{"vault for a command", "mode: proxy\nseparate: {issuer: \"https://login.example\", client_id: a}\nservers: {s: {path: /mcp, run: sample, credential: vault}}\n",
			"c.yaml:3:52: servers.s.credential: is for an upstream: the built-in server takes none"},
		{"itself", "mode: proxy\nseparate: {issuer: \"http://127.0.0.1:8080\", client_id: a}\n" + server, "c.yaml:2:20: separate.issuer: is this server's own url: it would trust itself"},
		{"values", "mode: proxy\nseparate: {issuer: \"https://login.example\", client_id: a, resource: keep, auth_method: client_secret_post}\n" + server,
			"c.yaml:2:69: separate.resource: \"keep\" is not one of send, drop\nc.yaml:2:88: separate.auth_method: is for a client with a secret: add client_secret, or leave it out"},
		{"without openid", "mode: proxy\nseparate: {issuer: \"https://login.example\", client_id: a, scopes: [email]}\n" + server,
			"c.yaml:2:59: separate.scopes: must have openid among them: without it nobody says who signed in"},
		{"people", "mode: proxy\nseparate: {issuer: \"https://login.example\", client_id: a}\npeople: {p: {password: \"$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$c2FsdHNhbHRzYWx0c2FsdHNhbHRzYWx0c2FsdHM\"}}\n" + server,
			"c.yaml:3:1: people: cannot be beside mode: proxy: everybody signs in at separate"},
		{"providers", "mode: proxy\nseparate: {issuer: \"https://login.example\", client_id: a}\nproviders:\n  other: {issuer: \"https://login.example\", sign_in: {client_id: b}}\n  separate: {issuer: \"https://x.example\", id_jag: {}}\n" + server,
			"c.yaml:2:20: separate.issuer: is also the issuer of providers.other: a person must be one account\n" +
				"c.yaml:4:44: providers.other.sign_in: cannot be beside mode: proxy: everybody signs in at separate (id_jag can)\n" +
				"c.yaml:5:3: providers.separate: has the name of the server under separate: its people would be taken for those of it"},
		{"plain OAuth", "mode: proxy\nseparate: {authorize_url: \"https://hub.example/a\", token_url: \"https://hub.example/t\", userinfo_url: \"https://hub.example/u\", client_id: a, client_secret: b, account: id}\n" +
			"servers: {s: {path: /mcp, upstream: \"http://127.0.0.1:1\", credential: vault, allow: [{who: \"person:separate/1\"}]}}\n", ""},
		{"half plain OAuth", "mode: proxy\nseparate: {token_url: \"http://hub.example/t\", userinfo_url: \"https://hub.example/u\", client_id: a, issuer: \"https://hub.example\", tenants: [t], register_url: \"https://hub.example/r\"}\n" + server,
			"c.yaml:2:1: separate.account: is missing: write the member of the userinfo answer that names the account for ever, such as id\n" +
				"c.yaml:2:1: separate.authorize_url: is missing beside userinfo_url\n" +
				"c.yaml:2:23: separate.token_url: must be an https URL (http on loopback)\n" +
				"c.yaml:2:108: separate.issuer: cannot be beside userinfo_url: a plain OAuth 2.0 server has none\n" +
				"c.yaml:2:131: separate.tenants: cannot be beside userinfo_url: a plain OAuth 2.0 server names none\n" +
				"c.yaml:2:159: separate.register_url: is for mode: passthrough"},
		{"names that change hands", "mode: proxy\nseparate: {authorize_url: \"https://hub.example/a\", token_url: \"https://hub.example/t\", userinfo_url: \"https://hub.example/u\", client_id: a, account: login}\n" + server,
			"c.yaml:2:150: warning: separate.account: login may pass to somebody else, who would then have this account: write the number or id that never does"},
		{"a relay of plain OAuth", "mode: passthrough\nseparate: {issuer: \"https://login.example\", userinfo_url: \"https://hub.example/u\"}\nservers: {s: {path: /mcp, run: sample, allow: [{who: \"issuer:https://login.example\"}]}}\n",
			"c.yaml:2:59: separate.userinfo_url: is for mode: proxy: with passthrough nobody signs in here"},
		{"a relay", "mode: passthrough\nseparate: {issuer: \"https://login.example\", client_id: a}\nservers: {s: {path: /mcp, run: sample, allow: [{who: \"issuer:https://login.example\"}]}}\n", ""},
		{"a relay that refuses by itself", "mode: passthrough\nseparate: {issuer: \"https://login.example\"}\nclients: {others: refuse, registration: {dynamic: \"off\"}}\nservers: {s: {path: /mcp, run: sample, allow: [{who: \"issuer:https://login.example\"}]}}\n",
			"c.yaml:3:19: clients.others: cannot be refuse beside mode: passthrough: the separate server alone says which clients come in\n" +
				"c.yaml:3:51: clients.registration.dynamic: cannot be off beside mode: passthrough: the separate server alone says who registers"},
		{"a relay for everyone", "mode: passthrough\nseparate: {issuer: \"https://login.example\"}\nservers: {s: {path: /mcp, run: sample, allow: [{who: everyone}]}}\n", ""},
		{"a relay on loopback without rules", "mode: passthrough\nseparate: {issuer: \"https://login.example\"}\nservers: {s: {path: /mcp, run: sample}}\n", ""},
		{"a relay for nobody", "mode: passthrough\nseparate: {issuer: \"https://login.example\"}\nservers: {s: {path: /mcp, run: sample, issuers: [\"https://login.example\"], allow: [{who: \"client:https://app.example/c\"}]}}\n",
			"c.yaml:3:50: warning: servers.s.issuers[0]: no allow rule names anybody of https://login.example, so none of its tokens lets anybody in: write who: issuer:https://login.example"},
		{"a relay by its addresses", "mode: passthrough\nseparate: {authorize_url: \"https://login.example/a\", token_url: \"https://login.example/t\"}\nservers: {s: {path: /mcp, run: sample, issuers: [\"https://login.example\"], allow: [{who: everyone}]}}\n", ""},
		{"a relay by its addresses alone", "mode: passthrough\nseparate: {authorize_url: \"https://login.example/a\", token_url: \"https://login.example/t\"}\nservers: {s: {path: /mcp, run: sample}}\n",
			"c.yaml:2:1: separate.issuer: is missing beside authorize_url and token_url: write it here, or one under servers.*.issuers: that server's tokens are checked by its keys"},
		{"proxy by its addresses alone", "mode: proxy\nseparate: {authorize_url: \"https://hub.example/a\", token_url: \"https://hub.example/t\", client_id: a}\n" + server,
			"c.yaml:2:1: separate: has neither issuer (an OpenID provider, whose URLs are discovered) nor, beside authorize_url and token_url, userinfo_url and account (a plain OAuth 2.0 server): nobody says who signed in"},
		{"everybody on earth, by a relay", "url: https://mcp.example.com\nmode: passthrough\nseparate: {issuer: \"https://accounts.google.com\"}\nservers: {s: {path: /mcp, run: sample, allow: [{who: everyone}]}}\n",
			"c.yaml:4:54: servers.s.allow[0].who[0]: everyone is everybody on earth: anybody can have an account at separate; name groups or people, or its tenants"},
		{"half a relay", "mode: passthrough\nseparate: {authorize_url: ftp://x, client_secret: s, name: n}\nservers: {}\nproviders: {p: {issuer: \"https://p.example\", id_jag: {}}}\n",
			"c.yaml:2:1: separate.client_id: is missing beside client_secret\nc.yaml:2:1: separate.issuer: is missing: write the provider's issuer identifier, as its metadata spells it\n" +
				"c.yaml:2:1: separate: needs both of authorize_url and token_url, or neither\nc.yaml:2:27: separate.authorize_url: must be an https URL (http on loopback)\n" +
				"c.yaml:2:60: separate.name: is for mode: proxy: with passthrough nobody signs in here\n" +
				"c.yaml:3:1: warning: servers: there are none: nobody can get a token for anything ({run: sample, path: /mcp} is the built-in one)\n" +
				"c.yaml:4:1: providers: cannot be beside mode: passthrough: the separate server alone says who comes in, and by what"},
		{"everybody on earth", "url: https://mcp.example.com\nmode: proxy\nseparate: {issuer: \"https://accounts.google.com\", client_id: a}\nservers: {s: {path: /mcp, run: sample, allow: [{who: everyone}]}}\n",
			"c.yaml:4:54: servers.s.allow[0].who[0]: everyone is everybody on earth: anybody can have an account at providers.separate; name groups or people, or its tenants"},
	} {
		c.check(t, roleServe)
	}
}
