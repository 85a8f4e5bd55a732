package main

import (
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"doorward/internal/oauth"
)

// fromYAML reads an issuer identifier, or a mapping.
func (f *FurtherIssuer) fromYAML(l *loader, n *yaml.Node, p keyPath) {
	if n.Kind == yaml.MappingNode {
		l.structure(n, reflect.ValueOf(f).Elem(), p)
		return
	}
	if text, ok := l.str(n, p); ok {
		f.Issuer = text
	}
}

// furtherIssuers checks servers.NAME.issuers.
func (k *checker) furtherIssuers(at keyPath, s ServerConfig) {
	seen := map[string]bool{}
	for i, f := range s.Issuers {
		p := at.add(index(i))
		err := oauth.CheckIssuer(f.Issuer)
		switch {
		case f.Issuer == "" && (k.broken(p) || k.broken(p.add("issuer"))):
		case f.Issuer == "":
			k.fail(p, "is missing: write the issuer identifier, as its metadata spells it")
		case err != nil:
			k.fail(p, "%v", err)
		case f.Issuer == k.URL:
			k.fail(p, "is this server's own url: its tokens are taken anyway")
		case seen[f.Issuer]:
			k.fail(p, "%s stands there twice", f.Issuer)
		case !k.broken(at[:len(at)-1].add("allow")) && !k.letsIn(s, f.Issuer):
			k.warn(p, "no allow rule names anybody of %s, so none of its tokens lets anybody in: write who: issuer:%s", f.Issuer, f.Issuer)
		}
		seen[f.Issuer] = true
		if as, at := f.Introspect, p.add("introspect"); as != nil {
			k.must(as.ClientID != "" || k.broken(at.add("client_id")), at.add("client_id"), "is missing: introspection needs a client at that issuer")
			k.must(as.ClientSecret != "" || k.broken(at.add("client_secret")), at.add("client_secret"), "is missing: introspection needs a client that can authenticate")
		}
	}
}

// letsIn reports whether an allow rule is about people or clients of an issuer.
func (k *checker) letsIn(s ServerConfig, issuer string) bool {
	home := issuer == k.home()
	return home && len(s.Allow) == 0 || slices.ContainsFunc(s.Allow, func(r ServerRule) bool {
		return namesIssuer(r.Who, issuer) || home && slices.Contains(r.Who, "everyone")
	})
}

// namesIssuer reports whether a rule is about people or clients of an issuer.
func namesIssuer(who []string, issuer string) bool {
	return slices.ContainsFunc(who, func(w string) bool {
		kind, name, _ := strings.Cut(w, ":")
		of, _, one := strings.Cut(name, "#")
		return of == issuer && (kind == "issuer" || kind == "client" && one)
	})
}

// knowsIssuer reports whether the server of the rule at p takes the tokens of
// the issuer that name begins with.
func (k *checker) knowsIssuer(p keyPath, name string) bool {
	issuer, _, _ := strings.Cut(name, "#")
	return len(p) > 1 && p[0] == "servers" &&
		(k.broken(pathOf("servers", p[1], "issuers")) || slices.ContainsFunc(k.Servers[p[1]].Issuers, func(f FurtherIssuer) bool { return f.Issuer == issuer }))
}
