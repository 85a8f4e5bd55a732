package main

import (
	"fmt"
	"strings"
	"testing"
)

// mistake is a file and what is said about it. The text of the file ends in a
// good server unless it has servers of its own.
type mistake struct {
	name, file, want string
}

func (m mistake) check(t *testing.T, r role) {
	t.Helper()
	text := m.file
	if r == roleServe && !strings.Contains(text, "servers:") {
		text += oneServer
	}
	dir := write(t, map[string]string{"c.yaml": text})
	_, got := inDir(dir, r, variables("SET", "s3t", "EMPTY", "", "NUMBER", "7", "TRUE", "true", "WEAK", "password", "STRONG", "orchard-tango-27", "NESTED", "${SET}"))
	if strings.Join(got, "\n") != m.want {
		t.Errorf("%s: got\n%s\nwant\n%s", m.name, strings.Join(got, "\n"), m.want)
	}
}

func TestMistakesOfForm(t *testing.T) {
	for _, m := range []mistake{
		{"unknown key", "clents: {}\n", `c.yaml:1:1: unknown key "clents": did you mean "clients"?`},
		{"unknown key inside", "tokens: {refresh: {idel: 1h}}\n", `c.yaml:1:20: unknown key "idel": did you mean "idle"?`},
		{"unknown key like nothing", "tokens: {access: {zzzzzz: 1}}\n", `c.yaml:1:19: unknown key "zzzzzz": tokens.access has default, id_jag`},
		{"unknown key beside keys to come", "fetch: {rots: a}\n", `c.yaml:1:9: unknown key "rots": did you mean "roots"?`},
		{"twice", "url: http://127.0.0.1:1\nops: \"\"\nurl: http://127.0.0.1:2\n", "c.yaml:3:1: url is given twice: first at line 1"},
		{"not a mapping", "- servers:\n", "c.yaml:1:1: the file must be a mapping (key: value)"},
		{"not a list", "include: a.yaml\n", "c.yaml:1:10: include must be a list ([a, b])"},
		{"not a mapping inside", "tokens: 15m\n", "c.yaml:1:9: tokens must be a mapping (key: value)"},
		{"not a text", "url: {a: b}\n", "c.yaml:1:6: url must be a single value"},
		{"number for text", "people:\n  a: {password: 123456789012}\n", "c.yaml:2:17: people.a.password must be text: put it in quotes"},
		{"date for text", "url: 2020-01-01\n", "c.yaml:1:6: url must be text: put it in quotes"},
		{"text for number", "clients: {registration: {total: \"5\"}}\n", `c.yaml:1:33: clients.registration.total: "5" must be a whole number`},
		{"octal", "clients: {registration: {total: 010}}\n", `c.yaml:1:33: clients.registration.total: "010" must be a whole number`},
		{"yes", "insecure_public: yes\n", `c.yaml:1:18: insecure_public: "yes" must be true or false`},
		{"enumeration", "clients: {others: ask}\n", `c.yaml:1:19: clients.others: "ask" is not one of allow, ask-admin, refuse`},
		{"enumeration, near", "clients: {known: [claud]}\n", `c.yaml:1:19: clients.known[0]: "claud" is not one of claude, claude-code, chatgpt, vscode, cursor: did you mean "claude"?`},
		{"duration without unit", "tokens: {id_token: 15}\n", "c.yaml:1:10: tokens.id_token is a key of `doorward idp`, and this file was given to `doorward serve`"},
		{"bare duration", "audit: {keep: 15}\n", `c.yaml:1:15: audit.keep: "15" is no duration: write 30s, 15m, 168h or 1h30m`},
		{"days", "audit: {keep: 30d}\n", `c.yaml:1:15: audit.keep: "30d" is no duration: days are written in hours, 720h`},
		{"negative", "audit: {keep: -1h}\n", `c.yaml:1:15: audit.keep: "-1h" is negative: write 0s or more`},
		{"rate", "limits: {token: 100/x}\n", `c.yaml:1:17: limits.token: "100/x" is no rate: write 100/s, 20/m, 20/h or "off"`},
		{"proxies", "trusted_proxies: [10.0.0.0/8, 192.0.2.7/32, \"2001:db8::/32\"]\n", ""},
		{"a proxy without a length", "trusted_proxies: [10.0.0.1]\n", `c.yaml:1:19: trusted_proxies[0]: "10.0.0.1" is no range of addresses: write 10.1.0.0/16, or 192.0.2.7/32 for one`},
		{"proxies with bits too many", "trusted_proxies: [10.0.0.1/8]\n", `c.yaml:1:19: trusted_proxies[0]: "10.0.0.1/8" has bits behind its length: write 10.0.0.0/8`},
		{"everybody as a proxy", "trusted_proxies: [0.0.0.0/0]\n", `c.yaml:1:19: trusted_proxies[0]: "0.0.0.0/0" is everybody: any caller could say that they are somebody else`},
		{"an algorithm of secrets", "tokens: {alg: HS256}\n", `c.yaml:1:15: tokens.alg: "HS256" is not one of ES256, EdDSA, RS256, PS256: did you mean "ES256"?`},
		{"rates", "limits: {token: 100/s, authorize: 5/m, register: off}\n", ""},
		{"no rate at all", "limits: {register: 0/h}\n", `c.yaml:1:20: limits.register: "0/h" is no rate: write 100/s, 20/m, 20/h or "off"`},
		{"size", "limits: {body: 1MB}\n", `c.yaml:1:16: limits.body: "1MB" is no size: write 512KiB, 1MiB or a number of bytes`},
		{"size too large", "limits: {body: 999999999999GiB}\n", `c.yaml:1:16: limits.body: "999999999999GiB" is too large`},
		{"unset name", "url: ${NOT_SET}\n", "c.yaml:1:6: url: the environment variable NOT_SET is not set"},
		{"bad name", "url: ${9}\n", "c.yaml:1:6: url: a ${ must be ${NAME}, or $${ for the characters themselves"},
		{"open name", "url: ${SET\n", "c.yaml:1:6: url: a ${ must be ${NAME}, or $${ for the characters themselves"},
		{"no name in keys", "\"${SET}\": 1\n", `c.yaml:1:1: unknown key "${SET}": the file has admins, audit, clients, database, fetch, include, insecure_public, keys, limits, listen, mode, ops, people, providers, redis, separate, servers, state, telemetry, tls, tokens, trusted_proxies, url, version, workloads`},
		{"values are text", "clients: {registration: {total: \"${NUMBER}\"}}\ninsecure_public: ${TRUE}\n", ""},
		{"once only", "clients: {others: \"${NESTED}\"}\n", `c.yaml:1:19: clients.others: "${NESTED}" is not one of allow, ask-admin, refuse`},
		{"merge", "tokens: {<<: {alg: ES256}}\n", "c.yaml:1:10: merge keys (<<) are not read: write the keys out"},
		{"alias", "tokens: {access: {default: &d 5m, id_jag: *d}}\n", ""},
		{"refused behind an alias", "telemetry: {log: &m info}\nredis: &p x\nclients: {consent: {known: *m}}\n", "c.yaml:1:18: clients.consent.known: \"info\" is not one of person, admin\nc.yaml:2:1: redis: not in this version"},
		{"tag", "mode: !!binary ZGlyZWN0\n", "c.yaml:1:7: mode: tags such as !!binary are not read: write the value without it"},
		{"number as key", "people: {1: {}}\n", "c.yaml:1:10: people: a key must be text: put it in quotes"},
		{"two documents", "version: 1\n---\nversion: 1\n", "c.yaml:2:1: a second document begins here: write everything into one"},
		{"not YAML", "url: \"x\n", "c.yaml:4:1: not YAML: found unexpected end of stream"},
		{"unquoted name", "version: 1\nclients: {registered: {x: {secret: ${SET}}}}\n", `c.yaml:2:1: not YAML: did not find expected ',' or '}' (inside { } and [ ] a ${NAME} needs quotes: "${NAME}")`},
		{"empty element", "include: [~]\n", "c.yaml:1:11: include[0] is empty: write a value or remove it"},
		{"switch without a value", "providers:\n  p:\n    issuer: https://p.example\n    id_jag:\n", "c.yaml:4:5: providers.p.id_jag is empty: write {} to switch it on, or remove the key"},
		{"all of them", "url: 5\nmode: x\n", "c.yaml:1:6: url must be text: put it in quotes\n" + `c.yaml:2:7: mode: "x" is not one of direct, proxy, passthrough`},
	} {
		m.check(t, roleServe)
	}
}

func TestNotInThisVersion(t *testing.T) {
	for _, m := range []mistake{
		{"empty ones pass", "redis: \"\"\ntls: {}\ntrusted_proxies: []\nseparate:\nfetch: {proxy: \"\", roots: \"\", private: []}\naudit: {file: \"\"}\ntelemetry: {otlp: \"\"}\nadmins: []\nworkloads: {}\n", ""},
		{"what is so anyway passes", "mode: direct\ntokens: {format: jwt, alg: ES256}\nlimits: {token: off, authorize: \"off\", register: off, body: 1MiB}\nclients: {consent: {known: person, others: person}}\nservers: {s: {path: /mcp, run: sample, env: {}, issuers: [], credential: none}}\n", ""},
		{"postgres", "database: postgres://u:p@db/x\n", "c.yaml:1:1: database: not in this version"},
		{"another database", "database: mysql://x\n", `c.yaml:1:11: database must be sqlite:PATH or "sqlite::memory:"`},
		{"tls", "tls:\n  cert: x\n", "c.yaml:2:9: tls.cert: goes with tls.key, the private key of that certificate"},
		{"forms of tokens", "tokens: {alg: EdDSA, format: opaque}\n", "c.yaml:1:22: tokens.format: not in this version"},
		{"from the environment", "mode: direct\nredis: ${SET}\ntokens: {format: \"${EMPTY}\"}\n", "c.yaml:2:1: redis: not in this version"},
		{"strangers' URLs", "fetch: {proxy: \"http://p\", private: [10.0.0.0/8]}\n", "c.yaml:1:9: fetch.proxy: not in this version"},
	} {
		m.check(t, roleServe)
	}
}

func TestMistakesOfSense(t *testing.T) {
	const okta = "providers: {okta: {issuer: https://acme.okta.com, id_jag: {}}}\n"
	rule := func(who string) string {
		return okta + "people: {al: {groups: [eng], password: \"${STRONG}\"}}\nservers: {s: {path: /mcp, run: sample, allow: [{who: " + who + "}]}}\n"
	}
	for _, m := range []mistake{
		{"version", "version: 2\n", "c.yaml:1:10: version: the file is written for another version (2): this program reads version 1"},
		{"slash", "url: http://127.0.0.1:8080/\n", `c.yaml:1:6: url: "http://127.0.0.1:8080/" must not end in a slash: it is compared letter by letter`},
		{"listen", "listen: 127.0.0.1\n", "c.yaml:1:1: url: http: anybody on the way could read passwords and tokens; use https\n" + `c.yaml:1:9: listen: "127.0.0.1" must be HOST:PORT, such as 127.0.0.1:8080` +
			"\nc.yaml:1:9: listen: 127.0.0.1 can be reached from elsewhere, and url is a loopback one: listen on 127.0.0.1, or give the public https url" +
			"\nc.yaml:3:3: warning: servers.s: has no allow rule: nobody gets in"},
		{"ops", "url: https://mcp.example.com\nops: off\n", `c.yaml:2:6: ops: "off" must be HOST:PORT, such as 127.0.0.1:8081, or "" to switch it off` +
			"\nc.yaml:4:3: warning: servers.s: has no allow rule: nobody gets in"},
		{"same port", "ops: 127.0.0.1:8080\n", `c.yaml:1:6: ops: 127.0.0.1:8080 is also listen: give it another port, or "" to switch it off`},
		{"lifetimes", "tokens: {refresh: {idle: 2h, max: 1h}, access: {default: 0s}}\n", "c.yaml:1:26: tokens.refresh.idle: 2h0m0s without use is longer than max, 1h0m0s in all: it could never be reached\nc.yaml:1:58: tokens.access.default: must be a second or more"},
		{"total", "clients: {registration: {total: 0}}\n", "c.yaml:1:33: clients.registration.total: must be 1 or more (dynamic: off registers none)"},
		{"names", "people: {\"a b\": {password: \"${STRONG}\"}}\n", "c.yaml:1:10: people.a b: the name must be 1 to 63 of a-z, 0-9, dot, dash and underscore, the first a letter or digit"},
		{"own issuer", "providers: {p: {issuer: \"http://127.0.0.1:8080\", id_jag: {}}}\n", "c.yaml:1:25: providers.p.issuer: is this server's own url: it would trust itself"},
		{"no issuer", "providers: {p: {id_jag: {}}}\n", "c.yaml:1:13: providers.p.issuer: is missing: write the provider's issuer identifier, as its metadata spells it"},
		{"issuer twice", "providers:\n  a: {issuer: https://i.example, id_jag: {}}\n  b: {issuer: https://i.example, id_jag: {}}\n", "c.yaml:3:15: providers.b.issuer: is also the issuer of providers.a: a person must be one account"},
		{"sign_in", "providers: {p: {issuer: https://p.example, sign_in: {}}}\n", "c.yaml:1:44: providers.p.sign_in.client_id: is missing: register http://127.0.0.1:8080/callback/p at the provider and write the client id that it gives"},
		{"sign_in is there", "providers: {p: {issuer: https://p.example, sign_in: {client_id: c, client_secret: \"${STRONG}\", recheck: 0s}}}\n", ""},
		{"sign_in without openid", "providers:\n  p:\n    issuer: https://p.example\n    sign_in: {client_id: c, scopes: [email], recheck: 5ms}\n",
			"c.yaml:4:29: providers.p.sign_in.scopes: must have openid among them: without it the provider does not say who signed in\nc.yaml:4:55: providers.p.sign_in.recheck: must be a second or more, or 0s for never"},
		{"sign_in mistyped", "providers: {p: {issuer: https://p.example, sign_in: {client_ids: c, client_id: d}}}\n", `c.yaml:1:54: unknown key "client_ids": did you mean "client_id"?`},
		{"sign_in makes a second source", "providers: {p: {issuer: https://p.example, sign_in: {client_id: c}}}\npeople: {al: {groups: [eng], password: \"${STRONG}\"}}\nservers: {s: {path: /mcp, run: sample, allow: [{who: \"group:eng\"}]}}\n",
			`c.yaml:3:54: servers.s.allow[0].who[0]: "group:eng" could be a group of the local people or p: write group:PROVIDER/NAME`},
		{"plain oauth", "providers:\n  hub:\n    {kind: oauth, authorize_url: \"https://hub.example/a\", token_url: \"https://hub.example/t\", userinfo_url: \"https://hub.example/u\", account: id, sign_in: {client_id: c}}\n", ""},
		{"plain oauth without addresses", "providers:\n  a:\n    kind: oauth\n    authorize_url: http://hub.example/a\n    token_url: \"https://hub.example/t#f\"\n    account: [tid, login]\n    issuer: https://hub.example\n    tenants: [t]\n    id_jag: {}\n",
			"c.yaml:2:3: providers.a.userinfo_url: is missing: kind: oauth needs authorize_url, token_url and userinfo_url\n" +
				"c.yaml:4:20: providers.a.authorize_url: must be an https URL (http on loopback)\n" +
				"c.yaml:5:16: providers.a.token_url: must be an https URL (http on loopback)\n" +
				"c.yaml:6:20: warning: providers.a.account[1]: login may pass to somebody else, who would then have this account: write the number or id that never does\n" +
				"c.yaml:7:13: providers.a.issuer: is for kind: oidc: a plain OAuth server has none\n" +
				"c.yaml:8:5: providers.a.tenants: is for kind: oidc: a plain OAuth server names none\n" +
				"c.yaml:9:5: providers.a.id_jag: is for kind: oidc: a plain OAuth server issues none"},
		{"plain oauth without account", "providers: {a: {kind: oauth, authorize_url: \"https://h.example/a\", token_url: \"https://h.example/t\", userinfo_url: \"https://h.example/u\", sign_in: {client_id: c}}}\n",
			"c.yaml:1:13: providers.a.account: is missing: write the member of the userinfo answer that names the account for ever, such as id"},
		{"addresses of oidc", "providers: {a: {issuer: https://a.example, token_url: https://a.example/t, sign_in: {client_id: c}}}\n",
			"c.yaml:1:55: providers.a.token_url: is for kind: oauth: an OpenID provider says itself where it is"},
		{"scim", "providers: {p: {issuer: https://p.example, id_jag: {}, scim: {token: \"${STRONG}\", attribute: userName}}}\n", ""},
		{"scim with a tenant", "providers: {p: {issuer: https://p.example, id_jag: {}, account: [tid, oid], tenants: [t], scim: {token: \"${STRONG}\"}}}\n", ""},
		{"scim without a token", "providers: {p: {issuer: https://p.example, id_jag: {}, scim: {}}}\n", "c.yaml:1:56: providers.p.scim.token: is missing: make one (openssl rand -hex 32) and give it to the provider's provisioning"},
		{"scim of nobody", "providers: {p: {issuer: https://p.example, scim: {token: \"${STRONG}\"}}}\n", "c.yaml:1:13: warning: providers.p: has neither sign_in nor id_jag: it does nothing\nc.yaml:1:44: providers.p.scim: is of no use without sign_in or id_jag: nobody of this provider comes here"},
		{"scim of several claims", "providers: {p: {issuer: https://p.example, id_jag: {}, account: [a, b], scim: {token: \"${STRONG}\"}}}\n", `c.yaml:1:73: providers.p.scim: cannot name an account by ["a" "b"]: one attribute holds one claim, besides a tenant`},
		{"scim of several tenants", "providers: {p: {issuer: https://p.example, id_jag: {}, tenants: [t, u], scim: {token: \"${STRONG}\"}}}\n", "c.yaml:1:73: providers.p.scim: cannot say which tenant a person is of: write exactly one under tenants"},
		{"scim of people by sub_id", "providers: {p: {issuer: https://p.example, id_jag: {saml: {issuer: https://s.example}}, scim: {token: \"${STRONG}\"}}}\n", "c.yaml:1:89: providers.p.scim: says nothing of people whom ID-JAGs name by sub_id (id_jag.saml): they would outlive the directory; leave one of the two out"},
		{"scim easily guessed", "url: https://as.example\nlisten: 0.0.0.0:1\nproviders: {p: {issuer: https://p.example, id_jag: {}, scim: {token: short}}}\n", "c.yaml:3:70: providers.p.scim.token: has fewer than 16 characters: who guesses it can end what everybody has, and let people back in (openssl rand -hex 32 makes one)\nc.yaml:5:3: warning: servers.s: has no allow rule: nobody gets in"},
		{"scim attribute", "providers: {p: {issuer: https://p.example, id_jag: {}, scim: {token: \"${STRONG}\", attribute: mail}}}\n", `c.yaml:1:94: providers.p.scim.attribute: "mail" is not one of externalId, userName`},
		{"saml", "providers: {a: {kind: saml, metadata: \"https://a.example/m\", sign_in: {}}}\n", ""},
		{"saml without metadata", "providers: {a: {kind: saml, sign_in: {}}}\n", "c.yaml:1:13: providers.a.metadata: is missing: write the URL or the file of the provider's metadata"},
		{"saml over http", "providers: {a: {kind: saml, metadata: \"http://a.example/m\", sign_in: {}}}\n", "c.yaml:1:39: providers.a.metadata: must be an https URL (http on loopback) or a file"},
		{"saml with a client", "providers: {a: {kind: saml, metadata: \"https://a.example/m\", sign_in: {client_id: c}}}\n", "c.yaml:1:83: providers.a.sign_in.client_id: is not for kind: saml"},
		{"metadata of oidc", "providers: {a: {issuer: https://a.example, metadata: \"https://a.example/m\", sign_in: {client_id: c}}}\n", "c.yaml:1:54: providers.a.metadata: is for kind: saml: an OpenID provider's is found by its issuer"},
		{"idle provider", "providers: {p: {issuer: https://i.example}}\n", "c.yaml:1:13: warning: providers.p: has neither sign_in nor id_jag: it does nothing"},
		{"public clients", "providers: {p: {issuer: https://i.example, id_jag: {public_clients: [claude, \"https://c.example/m\", who]}}}\n", `c.yaml:1:101: providers.p.id_jag.public_clients[2]: "who" is no client of this file, no known client and no https URL`},
		{"passwords", "people:\n  a: {}\n  b: {password: \"$2b$10$abcdefghijklmnopqrstuv\"}\n  c: {password: \"$argon2id$v=18$m=1,t=1,p=1$AA$AA\"}\n  d: {password: \"${WEAK}\"}\n",
			"c.yaml:2:3: people.a.password: is missing: write an argon2id hash, ${NAME} or file:PATH\n" +
				"c.yaml:3:17: people.b.password: is a hash of another kind: argon2id is read ($argon2id$…), or plain text\n" +
				"c.yaml:3:17: warning: people.b.password: is plain text in the file: write ${NAME}, file:PATH or an argon2id hash: fine for trying things out, refused on a server that is not on loopback\n" +
				"c.yaml:4:17: people.c.password: argon2id version must be v=19\n" +
				"c.yaml:5:17: warning: people.d.password: is weak: it has fewer than 12 characters: fine for trying things out, refused on a server that is not on loopback"},
		{"redirects", "clients: {registered: {x: {redirect_uris: [\"http://a.example/\", \"com.example.app:/cb\", \"cursor://anysphere.cursor-mcp/oauth/callback\"]}}}\n", `c.yaml:1:44: clients.registered.x.redirect_uris[0]: "http://a.example/": redirect URI must be https: http is for loopback hosts only`},
		{"no redirect", "clients: {registered: {x: {}, y: {secret: \"${STRONG}\"}}}\n", "c.yaml:1:24: clients.registered.x.redirect_uris: is missing: sign-in could not come back to this client"},
		{"grants", "clients: {registered: {x: {grant_types: [client_credentials, token-exchange]}}}\n", "c.yaml:1:42: clients.registered.x.grant_types[0]: client_credentials needs a client that can authenticate: give it a secret\nc.yaml:1:62: clients.registered.x.grant_types[1]: token-exchange is for `doorward idp`: here an ID-JAG is redeemed with jwt-bearer"},
		{"grants by the RFCs' names", "clients: {registered: {x: {secret: \"${STRONG}\", grant_types: [\"urn:ietf:params:oauth:grant-type:token-exchange\", \"urn:ietf:params:oauth:grant-type:jwt-bearer\"]}}}\n", "c.yaml:1:63: clients.registered.x.grant_types[0]: token-exchange is for `doorward idp`: here an ID-JAG is redeemed with jwt-bearer"},
		{"local person", rule("\"person:bob\""), `c.yaml:3:54: servers.s.allow[0].who[0]: "person:bob": there is no person "bob" in people`},
		{"introspects", "clients: {registered: {x: {secret: \"${STRONG}\", introspects: [files]}, y: {introspects: [file], redirect_uris: [\"http://127.0.0.1/\"]}}}\nservers: {files: {path: /mcp, run: sample}}\n",
			"c.yaml:1:90: clients.registered.y.introspects[0]: introspection needs a client that can authenticate: give it a secret\n" +
				"c.yaml:1:90: clients.registered.y.introspects[0]: there is no server \"file\": did you mean files?"},
		{"provider", rule("[\"person:al\", \"person:ockta/1\"]"), `c.yaml:3:68: servers.s.allow[0].who[1]: "person:ockta/1": there is no provider "ockta" in providers: did you mean okta?`},
		{"client", rule("\"client:x\""), `c.yaml:3:54: servers.s.allow[0].who[0]: "client:x": there is no client "x" in clients.registered, and it is no https URL`},
		{"group of two", rule("\"group:eng\""), `c.yaml:3:54: servers.s.allow[0].who[0]: "group:eng" could be a group of the local people or okta: write group:PROVIDER/NAME`},
		{"group of one", rule("\"group:okta/eng\""), ""},
		{"form of who", rule("al"), `c.yaml:3:54: servers.s.allow[0].who[0]: who "al" is not known: write everyone, person:NAME, person:PROVIDER/ACCOUNT, group:NAME, group:PROVIDER/NAME, client:ID or an e-mail address`},
		{"nobody", "servers: {s: {path: /mcp, run: sample, allow: [{tools: [a]}]}}\n", "c.yaml:1:48: servers.s.allow[0]: names nobody: add who (everyone, person:NAME, group:NAME, client:ID or an e-mail address)"},
		{"deny with require", "servers: {s: {path: /mcp, run: sample, deny: [{who: everyone, require: {amr: [mfa]}}]}}\n", "c.yaml:1:63: servers.s.deny[0].require: is for allow rules: a deny rule counts whatever the sign-in was"},
		{"paths", "servers:\n  a: {run: sample}\n  b: {run: sample, path: mcp}\n  c: {run: sample, path: /token}\n  d: {run: sample, path: /.well-known/x}\n  e: {run: sample, path: /a/../b}\n  f: {run: sample, path: /f}\n  g: {run: sample, path: /f}\n  h: {run: sample, path: /}\n  i: {run: sample, path: \"/x/{id}\"}\n",
			"c.yaml:2:3: servers.a.path: is missing: write the public path, such as /mcp\n" +
				"c.yaml:3:26: servers.b.path: \"mcp\" must begin with /\n" +
				"c.yaml:4:26: servers.c.path: /token belongs to the authorization server: choose another path\n" +
				"c.yaml:5:26: servers.d.path: /.well-known belongs to the authorization server: choose another path\n" +
				"c.yaml:6:26: servers.e.path: \"/a/../b\" must be a plain path such as /files/mcp: no slash at the end, no //, no dots as a segment, no escapes\n" +
				"c.yaml:8:26: servers.g.path: /f is also the path of servers.f\n" +
				"c.yaml:9:26: servers.h.path: \"/\" must be a plain path such as /files/mcp: no slash at the end, no //, no dots as a segment, no escapes\n" +
				"c.yaml:10:26: servers.i.path: \"/x/{id}\" must be a plain path such as /files/mcp: no slash at the end, no //, no dots as a segment, no escapes"},
		{"upstreams", "servers:\n  a: {path: /a}\n  b: {path: /b, upstream: ftp://x}\n  c: {path: /c, upstream: \"http://u:p@x/\"}\n  d: {path: /d, run: sample, upstream: \"http://x/\"}\n  e: {path: /e, upstream: \"http://127.0.0.1:8080/e\"}\n  f: {path: /f, run: sample, credential: {header: {X: y}}}\n",
			"c.yaml:2:3: servers.a: needs an upstream, the URL of the MCP server, or run, its command (run: sample is the built-in one)\n" +
				"c.yaml:3:27: servers.b.upstream: must be an http or https URL\n" +
				"c.yaml:4:27: servers.c.upstream: must not have user info: what goes on upstream stands in credential\n" +
				"c.yaml:5:22: servers.d.run: upstream and run exclude each other: keep one\n" +
				"c.yaml:6:27: servers.e.upstream: is at this server's own url: it would call itself\n" +
				"c.yaml:7:30: servers.f.credential: is for an upstream: the built-in server takes none"},
		{"commands", "servers:\n  a: {path: /a, run: npx}\n  b: {path: /b, run: []}\n  c: {path: /c, run: [\"\"]}\n  d: {path: /d, run: {npx: x}}\n  e: {path: /e, run: [npx, 5]}\n" +
			"  f: {path: /f, run: [npx], env: {A-B: c, D: \"\", E: 5}}\n  g: {path: /g, run: sample, env: {A: b}}\n  h: {path: /h, upstream: \"http://x/\", env: {A: b}}\n" +
			"  i: {path: /i, run: [npx], credential: {header: {X: y}}}\n  j: {path: /j, run: [npx], upstream: \"http://x/\"}\n  k: {path: /k, run: [npx, \"${SET}\"], env: {A: \"${SET}\"}}\n",
			"c.yaml:2:22: servers.a.run must be a list, a command and its arguments ([npx, -y, …]), or the word sample\n" +
				"c.yaml:3:17: servers.b.run: is empty: write a command and its arguments, or the word sample\n" +
				"c.yaml:4:17: servers.c.run: is empty: write a command and its arguments, or the word sample\n" +
				"c.yaml:5:22: servers.d.run must be a list, a command and its arguments ([npx, -y, …]), or the word sample\n" +
				"c.yaml:6:28: servers.e.run[1] must be text: put it in quotes\n" +
				"c.yaml:7:40: servers.f.env.A-B: is not the name of a variable\n" +
				"c.yaml:7:53: servers.f.env.E must be text: put it in quotes\n" +
				"c.yaml:8:30: servers.g.env: is for a command: the built-in server takes none\n" +
				"c.yaml:9:40: servers.h.env: is for a command (run): an upstream has its own environment\n" +
				"c.yaml:10:29: servers.i.credential: is for an upstream: a command gets its secrets by env\n" +
				"c.yaml:11:17: servers.j.run: upstream and run exclude each other: keep one"},
		{"two defaults", "servers:\n  a: {path: /a, run: sample, default: true}\n  b: {path: /b, run: sample, default: true}\n", "c.yaml:3:39: servers.b.default: servers.a is the default already: there can be one"},
		{"scopes", "servers:\n  a:\n    path: /a\n    run: sample\n    scopes: {r: Read, w: Write, \"x y\": z}\n    default_scopes: [rr]\n    scope_implies: {w: [r, q], v: [r]}\n    tools: {t: [w, p], \"d*\": [w]}\n",
			"c.yaml:5:40: servers.a.scopes.x y: is not one scope (RFC 6749 section 3.3)\n" +
				"c.yaml:6:22: servers.a.default_scopes[0]: \"rr\" is not among the server's scopes\n" +
				"c.yaml:7:28: servers.a.scope_implies.w[1]: \"q\" is not among the server's scopes\n" +
				"c.yaml:7:32: servers.a.scope_implies.v: is not among the server's scopes\n" +
				"c.yaml:8:20: servers.a.tools.t[1]: \"p\" is not among the server's scopes\n" +
				"c.yaml:8:24: servers.a.tools.d*: names one tool each: patterns are for the rules"},
		{"origins", "servers: {a: {path: /a, run: sample, allowed_origins: [\"https://x.example\", \"https://x.example/\", \"*\", \"https://x.example:443\", \"https://x.example:\"]}}\n",
			"c.yaml:1:77: servers.a.allowed_origins[1]: \"https://x.example/\" must be an origin: scheme, host and port (none if it is the usual one), without a path (https://app.example.com)\n" +
				"c.yaml:1:99: servers.a.allowed_origins[2]: \"*\" must be an origin: scheme, host and port (none if it is the usual one), without a path (https://app.example.com)\n" +
				"c.yaml:1:104: servers.a.allowed_origins[3]: \"https://x.example:443\" must be an origin: scheme, host and port (none if it is the usual one), without a path (https://app.example.com)\n" +
				"c.yaml:1:129: servers.a.allowed_origins[4]: \"https://x.example:\" must be an origin: scheme, host and port (none if it is the usual one), without a path (https://app.example.com)"},
		{"headers", "servers: {a: {path: /a, upstream: \"http://x/\", credential: {header: {Host: a, \"b c\": d, X-Key: \"${EMPTY}\"}}}}\n",
			"c.yaml:1:76: servers.a.credential.header.Host: must not be set: it belongs to the connection\n" +
				"c.yaml:1:86: servers.a.credential.header.b c: is not the name of a header\n" +
				"c.yaml:1:96: servers.a.credential.header.X-Key: has no value"},
		{"callers", "servers: {a: {path: /a, upstream: \"http://x/\", credential: caller-jwt}, b: {path: /b, upstream: \"http://x/\", credential: {caller-jwt: {}}}, c: {path: /c, upstream: \"http://x/\", credential: {caller-jwt: {claims: [email, name, groups]}}}}\n", ""},
		{"callers", "servers:\n  a: {path: /a, upstream: \"http://x/\", credential: {caller-jwt: {claims: [phone]}}}\n  b: {path: /b, upstream: \"http://x/\", credential: {caller-jwt: }}\n" +
			"  c: {path: /c, upstream: \"http://x/\", credential: {caller-jwt: {}, header: {X-Key: a}}}\n  d: {path: /d, run: sample, credential: caller-jwt}\n  e: {path: /e, run: [x], credential: {caller-jwt: {}}}\n  f: {path: /f, upstream: \"http://x/\", credential: callerjwt}\n",
			"c.yaml:2:75: servers.a.credential.caller-jwt.claims[0]: \"phone\" is not one of email, name, groups\n" +
				"c.yaml:3:53: servers.b.credential.caller-jwt is empty: write {} to switch it on, or remove the key\n" +
				"c.yaml:4:40: servers.c.credential: header, caller-jwt and exchange exclude each other: keep one\n" +
				"c.yaml:5:42: servers.d.credential: is for an upstream: the built-in server takes none\n" +
				"c.yaml:6:27: servers.e.credential: is for an upstream: a command gets its secrets by env\n" +
				"c.yaml:7:52: servers.f.credential: \"callerjwt\" is not one of none, {header: {NAME: VALUE}}, caller-jwt, vault, {exchange: {…}}"},
		{"exchanges", "servers: {a: {path: /a, upstream: \"http://x/\", credential: {exchange: {issuer: \"https://as.example\", token_url: \"https://as.example/token\", client_id: gate, client_secret: \"${STRONG}\", auth_method: client_secret_post, audience: files, resource: \"https://files.example/mcp\", scopes: [a]}}}}\n", ""},
		{"exchanges", "servers:\n  a: {path: /a, upstream: \"http://x/\", credential: exchange}\n  b: {path: /b, upstream: \"http://x/\", credential: {exchange: {}}}\n" +
			"  c: {path: /c, upstream: \"http://x/\", credential: {exchange: {issuer: \"http://127.0.0.1:8080\", token_url: \"http://as.example/t\", client_id: g, client_secret: \"${STRONG}\", resource: x, scopes: [\"a b\"]}, caller-jwt: {}}}\n" +
			"  d: {path: /d, run: sample, credential: {exchange: {issuer: \"https://as.example\", token_url: \"https://as.example/token\", client_id: gate, client_secret: \"${STRONG}\"}}}\n  e: {path: /e, upstream: \"http://x/\", credential: {exchange: }}\n",
			"c.yaml:2:52: servers.a.credential: exchange needs settings: write {exchange: {issuer: …, token_url: …, client_id: …, client_secret: …, audience: …}}\n" +
				"c.yaml:3:53: servers.b.credential.exchange.client_id: is missing: write the id of our client there\n" +
				"c.yaml:3:53: servers.b.credential.exchange.client_secret: is missing: a public client cannot exchange tokens\n" +
				"c.yaml:3:53: servers.b.credential.exchange.issuer: must be the issuer identifier of that authorization server\n" +
				"c.yaml:3:53: servers.b.credential.exchange.token_url: is missing: write the token endpoint of the MCP server's authorization server\n" +
				"c.yaml:4:40: servers.c.credential: header, caller-jwt and exchange exclude each other: keep one\n" +
				"c.yaml:4:72: servers.c.credential.exchange.issuer: is this server itself: its tokens are for the gateway\n" +
				"c.yaml:4:108: servers.c.credential.exchange.token_url: must be an https URL (http on loopback)\n" +
				"c.yaml:4:183: servers.c.credential.exchange.resource: must be an absolute URI without a fragment (RFC 8707)\n" +
				"c.yaml:4:195: servers.c.credential.exchange.scopes[0]: \"a b\" is not one scope (RFC 6749 section 3.3)\n" +
				"c.yaml:5:30: servers.d.credential: is for an upstream: the built-in server takes none\n" +
				"c.yaml:6:53: servers.e.credential.exchange is empty: write {} to switch it on, or remove the key"},
		{"no servers", "servers: {}\n", "c.yaml:1:1: warning: servers: there are none: nobody can get a token for anything ({run: sample, path: /mcp} is the built-in one)"},
		{"the other role", "servers: {a: {path: /a, run: sample}}\naudiences: {}\n", "c.yaml:2:1: audiences is a key of `doorward idp`, and this file was given to `doorward serve`"},
	} {
		m.check(t, roleServe)
	}
}

func TestMistakesOfIdP(t *testing.T) {
	const client = "clients: {registered: {d: {secret: \"${STRONG}\"}}}\n"
	for _, m := range []mistake{
		{"the other role", "servers: {}\n", "c.yaml:1:1: servers is a key of `doorward serve`, and this file was given to `doorward idp`"},
		{"id_jag of a provider", "providers: {p: {issuer: https://p.example, id_jag: {}}}\n", "c.yaml:1:44: providers.p.id_jag is a key of `doorward serve`, and this file was given to `doorward idp`"},
		{"audiences", client + "audiences:\n  nowhere: {}\n  http://127.0.0.1:8090: {resources: [x], client_ids: {e: d, d: \"\", \"https://c.example/m\": d}, public_clients: [z], allow: [{who: everyone}]}\n",
			"c.yaml:3:3: audiences.nowhere.resources: is missing: write the resource identifiers of the servers there\n" +
				"c.yaml:3:3: warning: audiences.nowhere: has no allow rule: nobody gets an ID-JAG for it\n" +
				"c.yaml:3:3: audiences.nowhere: issuer \"nowhere\" must be absolute\n" +
				"c.yaml:4:3: audiences.http://127.0.0.1:8090: is this server's own url: an ID-JAG is for another authorization server\n" +
				"c.yaml:4:39: audiences.http://127.0.0.1:8090.resources[0]: \"x\": resource must be absolute\n" +
				"c.yaml:4:59: audiences.http://127.0.0.1:8090.client_ids.e: is no client of this file (clients.registered) and no https URL\n" +
				"c.yaml:4:65: audiences.http://127.0.0.1:8090.client_ids.d: needs the client_id that the client has there\n" +
				"c.yaml:4:92: audiences.http://127.0.0.1:8090.client_ids.https://c.example/m: a client metadata document is the same client everywhere: map it to itself\n" +
				"c.yaml:4:113: audiences.http://127.0.0.1:8090.public_clients[0]: \"z\" is no client of this file (clients.registered) and no https URL"},
		{"good", client + "audiences: {\"https://a.example\": {resources: [\"https://a.example/mcp\"], client_ids: {d: x}, allow: [{who: everyone}]}}\n", ""},
		{"claims", client + "audiences: {\"https://a.example\": {resources: [\"https://a.example/mcp\"], claims: [phone], allow: [{who: everyone}]}}\n", `c.yaml:2:82: audiences.https://a.example.claims[0]: "phone" is not one of email, groups, name`},
	} {
		m.check(t, roleIdP)
	}
}

func TestExposure(t *testing.T) {
	const public = "url: https://mcp.example.com\nlisten: 0.0.0.0:8080\n"
	const guarded = "servers: {s: {path: /mcp, run: sample, allow: [{who: everyone}]}}\n"
	for _, m := range []mistake{
		{"fine", public + guarded, ""},
		{"http", "url: http://mcp.example.com\n" + guarded, "c.yaml:1:6: url: http: anybody on the way could read passwords and tokens; use https"},
		{"listen", "listen: 0.0.0.0:8080\n" + guarded, "c.yaml:1:1: url: http: anybody on the way could read passwords and tokens; use https\nc.yaml:1:9: listen: 0.0.0.0:8080 can be reached from elsewhere, and url is a loopback one: listen on 127.0.0.1, or give the public https url"},
		{"memory", public + "database: \"sqlite::memory:\"\n" + guarded, "c.yaml:3:11: database: sqlite::memory: loses every grant and key at the end of the process"},
		{"others", public + "clients: {others: allow, registration: {dynamic: open}}\n" + guarded,
			"c.yaml:3:19: clients.others: allow: any program that somebody registers could ask your people for consent; write ask-admin or refuse\n" +
				"c.yaml:3:50: clients.registration.dynamic: open: strangers could register clients without limit; write limited or off"},
		{"passwords", public + "people:\n  a: {password: orchard-tango-27}\n  b: {password: \"${WEAK}\"}\n  c: {password: \"${STRONG}\"}\n" + guarded,
			"c.yaml:4:17: people.a.password: is plain text in the file: write ${NAME}, file:PATH or an argon2id hash\n" +
				"c.yaml:5:17: people.b.password: is weak: it has fewer than 12 characters"},
		{"secret", public + "clients: {registered: {x: {secret: short}}}\n" + guarded, "c.yaml:3:36: clients.registered.x.secret: has fewer than 16 characters: it could be guessed (openssl rand -hex 32 makes one)"},
		{"no rule", public + "servers: {s: {path: /mcp, run: sample}}\n", "c.yaml:3:11: warning: servers.s: has no allow rule: nobody gets in"},
		{"everybody", public + "providers: {g: {issuer: https://accounts.google.com, id_jag: {}}, m: {issuer: https://login.microsoftonline.com/common/v2.0, tenants: [t1], id_jag: {}}}\n" + guarded,
			"c.yaml:4:54: servers.s.allow[0].who[0]: everyone is everybody on earth: anybody can have an account at providers.g; name groups or people, or its tenants"},
		{"everybody at GitHub", public + "providers: {gh: {kind: oauth, authorize_url: \"https://github.com/login/oauth/authorize\", token_url: \"https://github.com/login/oauth/access_token\", userinfo_url: \"https://api.github.com/user\", account: id, sign_in: {client_id: c}}}\n" + guarded,
			"c.yaml:4:54: servers.s.allow[0].who[0]: everyone is everybody on earth: anybody can have an account at providers.gh; name groups or people, or its tenants"},
		{"insecure", "url: http://mcp.example.com\ninsecure_public: true\n" + guarded, "c.yaml:1:6: warning: url: http: anybody on the way could read passwords and tokens; use https (insecure_public lets it pass)"},
	} {
		m.check(t, roleServe)
	}
}

// Neither messages nor formatted values show a secret.
func TestSecretsAreNotSaid(t *testing.T) {
	const hidden = "hunter2-hunter2"
	for _, file := range []string{
		"people: {a: {password: " + hidden + "}}\n",
		"people: {a: {password: \"$2b$" + hidden + "$\"}}\n",
		"people: {a: {password: \"$argon2id$" + hidden + "$\"}}\n",
		"clients: {registered: {x: {secret: " + hidden + "}}}\nurl: https://x.example\n",
		"servers: {s: {path: /mcp, upstream: \"http://u:" + hidden + "@x/\", credential: {header: {Host: " + hidden + "}}}}\n",
		"database: postgres://u:" + hidden + "@x/\n",
		"clients: {others: \"${HIDDEN}\"}\naudit: {keep: \"${HIDDEN}\"}\nlimits: {token: \"${HIDDEN}\"}\nmode: \"${HIDDEN}\"\n",
	} {
		dir := write(t, map[string]string{"c.yaml": file})
		_, got := inDir(dir, roleServe, variables("HIDDEN", hidden))
		said := strings.Join(got, "\n")
		if said == "" || strings.Contains(said, hidden) {
			t.Errorf("%s: said %q", file, said)
		}
	}
	if shown := fmt.Sprintf("%v %+v %#v %s", secret(hidden), PersonConfig{Password: hidden}, PersonConfig{Password: hidden}, secret(hidden)); strings.Contains(shown, hidden) {
		t.Errorf("formatted: %s", shown)
	}
}
