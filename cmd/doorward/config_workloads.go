package main

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"doorward/authserver"
	"doorward/internal/oauth"
)

// WorkloadConfig says which programs get tokens by the JWT that the place where
// they run gave them (Kubernetes, GitHub Actions, SPIFFE, …): with grant_type
// jwt-bearer, the JWT as assertion, and neither client_id nor secret. Several
// entries may have one issuer. A JWT that several fit gets what they give
// together, if they make it the same client, and nothing otherwise.
type WorkloadConfig struct {
	// Issuer is the issuer identifier of the JWTs, to the letter. It is trusted
	// for workloads only. Required.
	Issuer string `yaml:"issuer"`
	// JWKSURI is its key set: https, or http on loopback. Default: discovered.
	// Entries of one issuer say the same, and so for Algs and MaxLifetime.
	JWKSURI string `yaml:"jwks_uri"`
	// Algs are signature algorithms. Default: [ES256, RS256, PS256, EdDSA].
	Algs []string `yaml:"algs" enum:"ES256 RS256 PS256 EdDSA"`
	// MaxLifetime is the longest exp − iat, an hour at most. Default: 10m.
	MaxLifetime time.Duration `yaml:"max_lifetime"`
	// Claims must all be in the JWT, as strings that the pattern, or one of the
	// patterns, matches as a whole: * is any run of characters. Required.
	Claims map[string]oneOrMore `yaml:"claims"`
	// Client is the client_id of its tokens, which rules name (client:ID): a name
	// of its own, or a client of clients.registered that may use jwt-bearer, whose
	// bounds then hold, too. Default: the entry's name.
	Client string `yaml:"client"`
	// Servers are the names of the servers that it may have tokens for; their
	// rules must let the client in, besides. Required.
	Servers []string `yaml:"servers"`
	// Scopes are an upper bound. Default: the servers' own.
	Scopes []string `yaml:"scopes"`
}

func (w *WorkloadConfig) setDefaults() {
	*w = WorkloadConfig{MaxLifetime: 10 * time.Minute, Algs: []string{"ES256", "RS256", "PS256", "EdDSA"}}
}

// clientOf is the client that an entry makes.
func (c *Config) clientOf(name string) string {
	if id := c.Workloads[name].Client; id != "" {
		return id
	}
	return name
}

// isWorkload reports whether some entry makes a workload this client.
func (c *Config) isWorkload(id string) bool {
	for name := range c.Workloads {
		if c.clientOf(name) == id {
			return true
		}
	}
	return false
}

// workloadClients are the clients that only workloads are.
func (c *Config) workloadClients() []string {
	only := map[string]bool{}
	for name := range c.Workloads {
		id := c.clientOf(name)
		if _, registered := c.Clients.Registered[id]; !registered {
			only[id] = true
		}
	}
	return sortedNames(only)
}

// hasClient reports whether the file has the client, registered or a workload.
func (c *Config) hasClient(id string) bool {
	_, registered := c.Clients.Registered[id]
	return registered || c.isWorkload(id)
}

func (c *Config) workloadsOf() map[string]authserver.Workload {
	if len(c.Workloads) == 0 {
		return nil
	}
	out := map[string]authserver.Workload{}
	for name, w := range c.Workloads {
		to := authserver.Workload{Issuer: w.Issuer, JWKSURI: w.JWKSURI, Algs: w.Algs, MaxLifetime: w.MaxLifetime,
			Claims: map[string][]string{}, Client: w.Client, Scopes: w.Scopes}
		for claim, patterns := range w.Claims {
			to.Claims[claim] = patterns
		}
		for _, server := range w.Servers {
			to.Resources = append(to.Resources, c.resourceID(c.Servers[server]))
		}
		out[name] = to
	}
	return out
}

// workloadPrints are fingerprints of what makes each client that workloads are.
func (c *Config) workloadPrints(key []byte) map[string]string {
	parts := map[string][]any{}
	for _, name := range sortedNames(c.Workloads) {
		w, id := c.Workloads[name], c.clientOf(name)
		parts[id] = append(parts[id], w.Issuer, w.Servers, w.Scopes)
		for _, claim := range sortedNames(w.Claims) {
			parts[id] = append(parts[id], claim, []string(w.Claims[claim]))
		}
	}
	out := map[string]string{}
	for id, p := range parts {
		out[id] = fingerprint(key, p...)
	}
	return out
}

// workloads checks the entries.
func (k *checker) workloads() {
	first := map[string]string{}
	for _, name := range sortedNames(k.Workloads) {
		w, at := k.Workloads[name], pathOf("workloads", name)
		k.named(at)
		k.issuer(at.add("issuer"), w.Issuer)
		if w.JWKSURI != "" {
			k.must(keysURL(w.JWKSURI), at.add("jwks_uri"), "must be an https URL (http on loopback)")
		}
		k.must(len(w.Algs) > 0, at.add("algs"), "is empty: no JWT could be verified; leave it out for the default")
		k.must(w.MaxLifetime >= time.Second && w.MaxLifetime <= time.Hour, at.add("max_lifetime"), "must be between a second and an hour")
		if other, ok := first[w.Issuer]; ok {
			o := k.Workloads[other]
			k.must(o.JWKSURI == w.JWKSURI && slices.Equal(o.Algs, w.Algs) && o.MaxLifetime == w.MaxLifetime, at,
				"has another jwks_uri, algs or max_lifetime than workloads.%s of the same issuer", other)
		} else {
			first[w.Issuer] = name
		}
		k.workloadClaims(at.add("claims"), w)
		k.workloadClient(at.add("client"), name, w)
		k.workloadServers(at, w)
	}
}

func (k *checker) workloadClient(p keyPath, name string, w WorkloadConfig) {
	cl, registered := k.Clients.Registered[k.clientOf(name)]
	usable := len(cl.GrantTypes) == 0 || slices.Contains(cl.GrantTypes, "jwt-bearer")
	public := cl.Secret == "" && len(cl.JWKS) == 0 && cl.JWKSURI == "" && cl.TLSSubject == ""
	switch {
	case w.Client == "" && registered:
		k.fail(p[:2], "clients.registered has a client of this name: write client: %s if it is meant, or give the entry another name", name)
	case w.Client != "" && (!clientID.MatchString(w.Client) || strings.HasPrefix(w.Client, "https:")):
		k.fail(p, "a client_id is 1 to 200 visible ASCII characters and no https URL")
	case registered && (!usable || public && len(cl.GrantTypes) == 0):
		k.fail(p, "clients.registered.%s may not use jwt-bearer: add it to its grant_types", w.Client)
	}
}

func (k *checker) workloadServers(at keyPath, w WorkloadConfig) {
	k.must(len(w.Servers) > 0 || k.broken(at.add("servers")), at.add("servers"), "is missing: name the servers that this workload may have tokens for")
	known := map[string]string{}
	for i, name := range w.Servers {
		s, there := k.Servers[name]
		k.must(there || k.broken(pathOf("servers", name)), at.add("servers").add(index(i)), "there is no server %q%s", name, didYouMean(name, sortedNames(k.Servers)))
		for scope, words := range s.Scopes {
			known[scope] = words
		}
		if there && len(s.Scopes) == 0 {
			known[name] = name
		}
	}
	k.scopes(at.add("scopes"), w.Scopes, known)
}

// workloadClaims refuses an entry that lets in whoever the issuer makes JWTs for.
func (k *checker) workloadClaims(p keyPath, w WorkloadConfig) {
	if k.broken(p) || len(w.Claims) == 0 {
		k.must(k.broken(p), p, "is missing: say which of the issuer's workloads are meant, such as {sub: \"system:serviceaccount:NAMESPACE:NAME\"}")
		return
	}
	bounded := false
	for _, claim := range sortedNames(w.Claims) {
		patterns := w.Claims[claim]
		k.must(claim != "" && len(patterns) > 0 && !slices.Contains(patterns, ""), p.add(claim), "must be a pattern, or a list of them, and none empty")
		bounded = bounded || len(patterns) > 0 && !slices.ContainsFunc(patterns, func(s string) bool { return strings.Trim(s, "*") == "" })
	}
	k.must(bounded, p, "let every workload of the issuer in: name one claim with more than *")
	owners, shared := sharedIssuers[issuerHost(w.Issuer)]
	if !shared || !bounded {
		return
	}
	for _, claim := range owners {
		patterns := w.Claims[claim]
		if len(patterns) > 0 && !slices.ContainsFunc(patterns, func(s string) bool { return !ownerNamed(claim, s) }) {
			return
		}
	}
	k.fail(p, "%s makes JWTs for everybody on earth: name the owner in one of %s, without a * before the / after it", w.Issuer, strings.Join(owners, ", "))
}

// sharedIssuers make JWTs for workloads of everybody; the claims say whose
// they are.
var sharedIssuers = map[string][]string{
	"token.actions.githubusercontent.com": {"repository_owner_id", "repository_owner", "repository_id", "repository", "sub", "enterprise_id"},
	"gitlab.com":                          {"namespace_id", "namespace_path", "project_id", "project_path", "sub"},
	"accounts.google.com":                 {"sub", "email"},
	"app.terraform.io":                    {"terraform_organization_id", "terraform_organization_name", "sub"},
	"agent.buildkite.com":                 {"organization_id", "organization_slug", "sub"},
}

// ownerNamed reports whether a pattern names the owner in full: a * may stand
// only after the / that ends the owner's name.
func ownerNamed(claim, pattern string) bool {
	before, _, open := strings.Cut(pattern, "*")
	if !open {
		return true
	}
	return slices.Contains([]string{"sub", "repository", "project_path", "namespace_path"}, claim) && strings.Contains(before, "/")
}

func issuerHost(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil || oauth.CheckIssuer(issuer) != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}
