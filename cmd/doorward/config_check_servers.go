package main

import (
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"doorward/internal/access"
	"doorward/internal/login"
	"doorward/internal/oauth"
)

func (k *checker) people() {
	for _, name := range sortedNames(k.People) {
		p, at := k.People[name], pathOf("people", name)
		k.named(at)
		k.must(p.Email == "" || isAddress(p.Email), at.add("email"), "%q is not an e-mail address", p.Email)
		k.must(!slices.Contains(p.Groups, ""), at.add("groups"), "has an empty name: remove it")
		switch pw := string(p.Password); {
		case k.broken(at.add("password")) || len(k.files) == 0:
		case pw == "":
			k.fail(at.add("password"), "is missing: write an argon2id hash, ${NAME} or file:PATH")
		case login.IsHash(pw):
			if err := login.CheckHash(pw); err != nil {
				k.fail(at.add("password"), "%v", err)
			}
		case otherHash.MatchString(pw):
			k.fail(at.add("password"), "is a hash of another kind: argon2id is read ($argon2id$…), or plain text")
		}
	}
}

var otherHash = regexp.MustCompile(`^\$[a-z0-9-]{1,16}\$.*\$`)

func isAddress(s string) bool {
	local, domain, ok := strings.Cut(s, "@")
	return ok && !strings.Contains(s, ":") && local != "" && domain != "" && access.CheckWho(s) == nil
}

func (k *checker) servers() {
	marked, byPath := "", map[string]string{}
	for _, name := range sortedNames(k.Servers) {
		s, at := k.Servers[name], pathOf("servers", name)
		k.named(at)
		if s.Path != "" || !k.broken(at.add("path")) {
			k.serverPath(at.add("path"), s.Path)
			if other := byPath[s.Path]; other != "" {
				k.fail(at.add("path"), "%s is also the path of servers.%s", s.Path, other)
			}
			byPath[s.Path] = name
		}
		k.upstream(at, s)
		if s.Default && marked != "" {
			k.fail(at.add("default"), "servers.%s is the default already: there can be one", marked)
		} else if s.Default {
			marked = name
		}
		k.origins(at.add("allowed_origins"), s.AllowedOrigins)
		k.credential(at.add("credential"), s.Credential)
		k.serverScopes(at, s)
		k.furtherIssuers(at.add("issuers"), s)
		for i, r := range s.Allow {
			k.rule(at.add("allow").add(index(i)), r.Who, r.Require, true, r.Tools, r.Scopes)
		}
		for i, r := range s.Deny {
			k.rule(at.add("deny").add(index(i)), r.Who, r.Require, false, r.Tools, r.Scopes)
		}
	}
	if k.role == roleServe && len(k.Servers) == 0 && !k.broken(pathOf("servers")) {
		k.warn(pathOf("servers"), "there are none: nobody can get a token for anything ({run: sample, path: /mcp} is the built-in one)")
	}
}

// endpoints are the paths of an issuer, below the path of its url.
var endpoints = []string{"/.well-known", "/jwks", "/authorize", "/token", "/register", "/revoke", "/introspect", "/par",
	"/device", "/device_authorization", "/login", "/consent", "/callback", "/scim", "/backchannel-logout", "/account",
	"/logout", "/userinfo", "/console"}

var plainPath = regexp.MustCompile(`^/[A-Za-z0-9._~!$&'()+,;=:@/-]+$`)

func (k *checker) serverPath(p keyPath, s string) {
	switch {
	case s == "":
		k.fail(p, "is missing: write the public path, such as /mcp")
		return
	case !strings.HasPrefix(s, "/"):
		k.fail(p, "%q must begin with /", s)
		return
	case !plainPath.MatchString(s) || path.Clean(s) != s:
		k.fail(p, "%q must be a plain path such as /files/mcp: no slash at the end, no //, no dots as a segment, no escapes", s)
		return
	}
	base := ""
	if u, err := url.Parse(k.URL); err == nil {
		base = strings.TrimSuffix(u.Path, "/")
	}
	for _, e := range append([]string{"/.well-known"}, prefixed(base, endpoints)...) {
		if s == e || strings.HasPrefix(s, e+"/") {
			k.fail(p, "%s belongs to the authorization server: choose another path", e)
			return
		}
	}
}

func prefixed(base string, paths []string) []string {
	out := make([]string, 0, len(paths))
	for _, p := range paths {
		out = append(out, base+p)
	}
	return out
}

func (k *checker) upstream(at keyPath, s ServerConfig) {
	p := at.add("upstream")
	switch {
	case s.Upstream == "" && !s.Run.isSet():
		k.must(k.broken(p) || k.broken(at.add("run")), at, "needs an upstream, the URL of the MCP server, or run, its command (run: sample is the built-in one)")
		return
	case s.Upstream == "":
		k.must(s.Credential.kind() == "none" || k.broken(at.add("credential")), at.add("credential"), "is for an upstream: %s", runsNoCredential[s.Run.sample])
		k.command(at, s)
		return
	case s.Run.isSet():
		k.fail(k.firstPlace(p, at.add("run")), "upstream and run exclude each other: keep one")
	}
	k.must(len(s.Env) == 0, at.add("env"), "is for a command (run): an upstream has its own environment")
	u, err := url.Parse(s.Upstream)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		k.fail(p, "must be an http or https URL")
	case u.User != nil:
		k.fail(p, "must not have user info: what goes on upstream stands in credential")
	case u.Fragment != "" || strings.Contains(s.Upstream, "#"):
		k.fail(p, "must not have a fragment")
	case oauth.ResourceCovers(originOf(k.URL), s.Upstream):
		k.fail(p, "is at this server's own url: it would call itself")
	}
}

var runsNoCredential = map[bool]string{true: "the built-in server takes none", false: "a command gets its secrets by env"}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (k *checker) command(at keyPath, s ServerConfig) {
	run := at.add("run")
	if s.Run.command != nil {
		k.must(len(s.Run.command) > 0 && s.Run.command[0] != "" || k.broken(run), run, "is empty: write a command and its arguments, or the word sample")
		for i, arg := range s.Run.command {
			k.must(!strings.Contains(arg, "\x00"), run.add(index(i)), "has a zero byte in it")
		}
	}
	k.must(len(s.Env) == 0 || !s.Run.sample, at.add("env"), "is for a command: the built-in server takes none")
	for _, name := range sortedNames(s.Env) {
		k.must(envName.MatchString(name), at.add("env").add(name), "is not the name of a variable")
		k.must(!strings.Contains(string(s.Env[name]), "\x00"), at.add("env").add(name), "has a zero byte in it")
	}
}

func (k *checker) serverScopes(at keyPath, s ServerConfig) {
	for _, scope := range sortedNames(s.Scopes) {
		k.must(isScope(scope), at.add("scopes").add(scope), "is not one scope (RFC 6749 section 3.3)")
	}
	if k.broken(at.add("scopes")) {
		return
	}
	k.scopes(at.add("default_scopes"), s.DefaultScopes, s.Scopes)
	for _, scope := range sortedNames(s.ScopeImplies) {
		p := at.add("scope_implies").add(scope)
		_, ok := s.Scopes[scope]
		k.must(ok, p, "is not among the server's scopes")
		k.scopes(p, s.ScopeImplies[scope], s.Scopes)
	}
	for _, tool := range sortedNames(s.Tools) {
		p := at.add("tools").add(tool)
		k.must(tool != "" && !strings.Contains(tool, "*"), p, "names one tool each: patterns are for the rules")
		k.scopes(p, s.Tools[tool], s.Scopes)
	}
}

func (k *checker) audiences() {
	for _, issuer := range sortedNames(k.Audiences) {
		a, at := k.Audiences[issuer], pathOf("audiences", issuer)
		if err := oauth.CheckIssuer(issuer); err != nil {
			k.fail(at, "%v", err)
		}
		k.must(issuer != k.URL, at, "is this server's own url: an ID-JAG is for another authorization server")
		k.must(len(a.Resources) > 0 || k.broken(at.add("resources")), at.add("resources"), "is missing: write the resource identifiers of the servers there")
		for i, r := range a.Resources {
			if err := oauth.CheckResource(r); err != nil {
				k.fail(at.add("resources").add(index(i)), "%q: %s", r, words(err))
			}
		}
		for _, here := range sortedNames(a.ClientIDs) {
			p, there := at.add("client_ids").add(here), a.ClientIDs[here]
			k.must(k.knowsClient(here), p, "is no client of this file (clients.registered) and no https URL")
			k.must(clientID.MatchString(there), p, "needs the client_id that the client has there")
			k.must(!strings.HasPrefix(here, "https://") || here == there, p, "a client metadata document is the same client everywhere: map it to itself")
		}
		for i, id := range a.PublicClients {
			k.must(k.knowsClient(id), at.add("public_clients").add(index(i)), "%q is no client of this file (clients.registered) and no https URL", id)
		}
		for i, r := range a.Allow {
			k.rule(at.add("allow").add(index(i)), r.Who, r.Require, true, r.Resources, r.Scopes)
		}
		for i, r := range a.Deny {
			k.rule(at.add("deny").add(index(i)), r.Who, r.Require, false, r.Resources, r.Scopes)
		}
		if len(a.Allow) == 0 && !k.broken(at.add("allow")) {
			k.warn(at, "has no allow rule: nobody gets an ID-JAG for it")
		}
	}
}
