package main

import (
	"slices"
	"strings"
	"time"

	"doorward/internal/access"
)

// rule checks one rule; patterns are its lists of patterns.
func (k *checker) rule(p keyPath, who []string, require RequireConfig, allow bool, patterns ...[]string) {
	if len(who) == 0 && !k.broken(p.add("who")) {
		k.fail(p, "names nobody: add who (everyone, person:NAME, group:NAME, client:ID or an e-mail address)")
	}
	for i, w := range who {
		k.who(p.add("who").add(index(i)), w)
	}
	for _, list := range patterns {
		k.must(!slices.Contains(list, ""), p, "has an empty pattern: remove it, or write *")
	}
	required := p.add("require")
	if !allow {
		k.must(!k.given(required...), required, "is for allow rules: a deny rule counts whatever the sign-in was")
		return
	}
	k.must(!slices.Contains(require.AMR, ""), required.add("amr"), "has an empty method: remove it")
	within := required.add("signed_in_within")
	k.must(!k.given(within...) || k.broken(within) || require.SignedInWithin >= time.Second, within, "must be a second or more")
}

// who checks the form of a who entry and that what it names is there.
func (k *checker) who(p keyPath, who string) {
	if err := access.CheckWho(who); err != nil {
		k.fail(p, "%v", err)
		return
	}
	kind, name, _ := strings.Cut(who, ":")
	provider, _, qualified := strings.Cut(name, "/")
	switch {
	case kind == "issuer", kind == "client" && strings.Contains(name, "#") && strings.HasPrefix(name, "http"):
		issuer, _, _ := strings.Cut(name, "#")
		k.must(k.knowsIssuer(p, name), p, "%q: %s is not among the issuers of this server", who, issuer)
	case kind == "client":
		k.must(k.knowsClient(name) || k.isWorkload(name), p, "%q: there is no client %q in clients.registered, and it is no https URL%s", who, name, didYouMean(name, sortedNames(k.Clients.Registered)))
	case kind == "person" && !qualified:
		_, ok := k.People[name]
		k.must(ok, p, "%q: there is no person %q in people%s", who, name, didYouMean(name, sortedNames(k.People)))
	case (kind == "person" || kind == "group") && qualified:
		_, ok := k.Providers[provider]
		k.must(ok, p, "%q: there is no provider %q in providers%s", who, provider, didYouMean(provider, sortedNames(k.Providers)))
	case kind == "group" && k.sources() > 1:
		k.fail(p, "%q could be a group of %s: write group:PROVIDER/NAME", who, strings.Join(k.sourceNames(), " or "))
	}
}

func didYouMean(word string, known []string) string {
	if near := nearest(word, known); near != "" {
		return ": did you mean " + near + "?"
	}
	return ""
}

// sources counts where people come from.
func (k *checker) sources() int { return len(k.sourceNames()) }

func (k *checker) sourceNames() []string {
	var out []string
	if len(k.People) > 0 {
		out = append(out, "the local people")
	}
	for _, name := range sortedNames(k.Providers) {
		if k.Providers[name].IDJAG != nil || k.Providers[name].SignIn != nil || k.given("providers", name, "sign_in") || k.given("providers", name, "id_jag") {
			out = append(out, name)
		}
	}
	return out
}

// hints are for whoever asks: rules that could never match, as far as the file
// shows. The server does not repeat them at each start.
func (c *Config) hints() []Finding {
	k := &checker{Config: c}
	each := func(p keyPath, who []string) {
		for i, w := range who {
			k.hint(p.add("who").add(index(i)), w)
		}
	}
	for _, name := range sortedNames(c.Servers) {
		for i, r := range c.Servers[name].Allow {
			each(pathOf("servers", name, "allow", index(i)), r.Who)
		}
		for i, r := range c.Servers[name].Deny {
			each(pathOf("servers", name, "deny", index(i)), r.Who)
		}
	}
	for _, name := range sortedNames(c.Audiences) {
		for i, r := range c.Audiences[name].Allow {
			each(pathOf("audiences", name, "allow", index(i)), r.Who)
		}
		for i, r := range c.Audiences[name].Deny {
			each(pathOf("audiences", name, "deny", index(i)), r.Who)
		}
	}
	return k.findings
}

func (k *checker) hint(p keyPath, who string) {
	kind, name, prefixed := strings.Cut(who, ":")
	switch {
	case prefixed && kind == "group":
		k.hintGroup(p, who, name)
	case !prefixed && strings.Contains(who, "@"):
		_, domain, _ := strings.Cut(who, "@")
		for _, person := range k.People {
			if strings.EqualFold(person.Email, who) {
				return
			}
		}
		for _, provider := range k.Providers {
			if slices.ContainsFunc(provider.EmailDomains, func(d string) bool { return strings.EqualFold(d, domain) }) {
				return
			}
		}
		k.warn(p, "%q can never match: no provider lists %s in email_domains, and no local person has this address", who, domain)
	}
}

func (k *checker) hintGroup(p keyPath, who, name string) {
	provider, _, qualified := strings.Cut(name, "/")
	if !qualified {
		sources := k.sourceNames()
		switch {
		case len(sources) == 0:
			k.warn(p, "%q can never match: there are neither people nor providers", who)
			return
		case len(sources) > 1: // check refuses it
			return
		case len(k.People) > 0:
			for _, person := range k.People {
				if slices.Contains(person.Groups, name) {
					return
				}
			}
			k.warn(p, "%q can never match: no local person has this group", who)
			return
		}
		provider = sources[0]
	}
	if from := k.Providers[provider]; from.IDJAG != nil && from.SignIn == nil && from.SCIM == nil {
		k.warn(p, "%q matches only if %s puts the claim %q into its ID-JAGs: an ID-JAG brings groups only if its issuer puts them in (claims: [groups] there)", who, provider, from.Groups.Claim)
	}
}
