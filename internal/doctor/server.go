package doctor

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"doorward/internal/oauth"
)

// serverMetadata looks at all places where clients look.
func (w *walk) serverMetadata() bool {
	places, err := oauth.MetadataURLs(w.issuer)
	if err != nil {
		return w.fail("as_metadata", problem{saw: err.Error(), mend: "Name an issuer that can be one."})
	}
	var wrong []string
	for _, place := range places {
		var m oauth.ServerMetadata
		d := w.get(place, &m)
		if d.wrong != "" {
			wrong = append(wrong, d.wrong)
		}
		if d.there() && d.wrong == "" && len(w.forms) == 0 {
			w.server = m
		}
		if d.there() {
			w.forms = append(w.forms, d)
		}
		if len(w.forms) == 0 && (d.err != nil || d.answer.status >= 500) {
			return w.fail("as_metadata", problem{saw: d.wrong, mend: "Mend what answers there, or let it say 404: some clients look no further after such an answer."})
		}
	}
	if len(w.forms) == 0 {
		return w.noServerMetadata(wrong)
	}
	first := w.forms[0]
	switch {
	case first.wrong != "":
		return w.fail("as_metadata", problem{saw: first.wrong, mend: "Publish the members in the types that RFC 8414 section 2 gives them."})
	case !strings.HasPrefix(first.answer.header.Get("Content-Type"), "application/json"):
		return w.warn("as_metadata", problem{saw: fmt.Sprintf("%s is of type %q", first.place, first.answer.header.Get("Content-Type")), mend: "Send it as application/json (RFC 8414 section 3.2): some clients read nothing else."})
	}
	return w.ok("as_metadata", first.place)
}

// noServerMetadata tells the common cause: the document of an issuer with a
// path stands where one without a path has it.
func (w *walk) noServerMetadata(wrong []string) bool {
	p := problem{saw: "none: " + list(wrong), mend: "Serve the metadata at the first of these places, or correct authorization_servers."}
	if u, err := url.Parse(w.issuer); err == nil && len(u.Path) > 1 {
		var m oauth.ServerMetadata
		if d := w.get(u.Scheme+"://"+u.Host+oauth.WellKnownAS, &m); d.there() {
			p.saw = fmt.Sprintf("it is at %s, where that of %q would be, and not at the places of %q", d.place, m.Issuer, w.issuer)
			p.mend = "Serve it at the first place of the issuer with its path, or name in authorization_servers the issuer that the document is for."
		}
	}
	return w.fail("as_metadata", p)
}

func (w *walk) sameIssuer() bool {
	named, own := w.issuer, w.server.Issuer
	p := problem{saw: fmt.Sprintf("named was %q, the metadata is of %q", named, own), mend: "Write both letter by letter the same."}
	switch {
	case own == named:
		return w.ok("issuer", named)
	case own == "":
		p.saw, p.mend = "issuer is missing", "Publish issuer: "+named
	case strings.TrimSuffix(own, "/") == strings.TrimSuffix(named, "/"):
		p.mend = "Write both letter by letter the same: only the slash at the end differs, and it counts. Change authorization_servers to what the provider calls itself."
	case strings.Contains(own, "{"):
		p.mend = "The provider's document for many tenants has a placeholder: name the issuer of one tenant in authorization_servers."
		p.who = IdPAdmin
	default:
		p.mend = "Put into authorization_servers the issuer as the provider calls itself. Where the server hands on another provider's document, it has to make that its own: issuer, endpoints and what tokens say."
	}
	return w.fail("issuer", p)
}

// sameForms compares what must not depend on where a client looks.
func (w *walk) sameForms() bool {
	first := w.forms[0]
	for _, d := range w.forms[1:] {
		if d.wrong != "" {
			return w.warn("as_forms", problem{saw: d.wrong, mend: "Serve the same document at both places: clients differ in which they read."})
		}
		for _, name := range []string{"issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "registration_endpoint", "code_challenge_methods_supported"} {
			if string(d.raw[name]) != string(first.raw[name]) {
				return w.warn("as_forms", problem{saw: fmt.Sprintf("%s is %s at %s and %s at %s", name, orNothing(first.raw[name]), first.place, orNothing(d.raw[name]), d.place),
					mend: "Serve the same at both places: clients differ in which they read."})
			}
		}
	}
	if !strings.Contains(first.place, oauth.WellKnownAS) {
		return w.ok("as_forms", "only "+first.place+": clients of 2025-06-18 and older look at the place of RFC 8414 alone")
	}
	return w.ok("as_forms", "")
}

func orNothing(raw json.RawMessage) string {
	if raw == nil {
		return "missing"
	}
	return string(raw)
}

// endpoints are all URLs of the metadata that a client uses.
func (w *walk) endpoints() bool {
	m := w.server
	required := map[string]string{"token_endpoint": m.TokenEndpoint, "authorization_endpoint": m.AuthorizationEndpoint}
	for _, e := range []struct{ name, at string }{
		{"token_endpoint", m.TokenEndpoint}, {"authorization_endpoint", m.AuthorizationEndpoint},
		{"registration_endpoint", m.RegistrationEndpoint}, {"jwks_uri", m.JWKSURI}, {"revocation_endpoint", m.RevocationEndpoint},
	} {
		if e.at == "" {
			if _, must := required[e.name]; must && e.name == "token_endpoint" {
				return w.fail("endpoints", problem{saw: "token_endpoint is missing", mend: "Publish an https token_endpoint."})
			}
			continue
		}
		if p := w.unusable(e.name, e.at); p.saw != "" {
			return w.fail("endpoints", p)
		}
	}
	if m.AuthorizationEndpoint == "" {
		return w.warn("endpoints", problem{saw: "no authorization_endpoint", mend: "Without one nobody signs in by the browser; programs and ID-JAGs only."})
	}
	return w.ok("endpoints", m.AuthorizationEndpoint+", "+m.TokenEndpoint)
}

// unusable says what is wrong with an endpoint; the zero problem: nothing.
func (w *walk) unusable(name, at string) problem {
	u, err := url.Parse(at)
	saw := fmt.Sprintf("%s is %q", name, at)
	switch {
	case err != nil || u.Hostname() == "":
		return problem{saw + ": no whole URL", "Publish the whole URL, with https and the public host.", ""}
	case u.Scheme != "https" && !(u.Scheme == "http" && oauth.IsLoopbackHost(u.Host)):
		return problem{saw + ": not https", "Publish it as https: clients refuse anything else. Behind a proxy that ends TLS the server has to be told its public address.", ""}
	case u.User != nil || u.Fragment != "":
		return problem{saw + ": user info or a fragment", "Publish it without.", ""}
	case strings.HasPrefix(u.Path, "//"):
		return problem{saw + ": two slashes before the path", "Put it together without the second slash (the issuer ends in one).", ""}
	}
	addrs, err := w.lookup(u.Hostname())
	if err != nil {
		return problem{saw + ": " + explain(err), "Publish the public address: clients cannot find this one.", ""}
	}
	for _, a := range addrs {
		if !public(a) && public(w.addrs[0]) {
			return problem{fmt.Sprintf("%s: at %s, which is not public, and the MCP server is", saw, a), "Publish the public address: behind a proxy the server has to be told it.", ""}
		}
	}
	return problem{}
}

// keys reads the key set.
func (w *walk) keys() bool {
	if w.server.JWKSURI == "" {
		return w.warn("jwks", problem{saw: "no jwks_uri: resource servers must introspect", mend: "Publish jwks_uri if access tokens are JWTs."})
	}
	var set struct {
		Keys []map[string]json.RawMessage `json:"keys"`
	}
	d := w.get(w.server.JWKSURI, &set)
	w.keySet = nil
	p := problem{saw: d.wrong, mend: "Publish there a JWK Set with at least one key."}
	switch {
	case d.err != nil || d.answer.status != http.StatusOK || d.wrong != "":
		return w.still("jwks", p)
	case len(set.Keys) == 0:
		p.saw = "no keys in " + w.server.JWKSURI
		return w.still("jwks", p)
	}
	w.keySet = d.answer.body
	return w.readKeys(set.Keys)
}

// readKeys looks at each key of the set.
func (w *walk) readKeys(all []map[string]json.RawMessage) bool {
	text := func(k map[string]json.RawMessage, name string) (s string) {
		_ = json.Unmarshal(k[name], &s) // what is no string is as good as missing
		return s
	}
	var usable, types []string
	kids := map[string]bool{}
	var p problem
	for _, k := range all {
		kty, kid, alg := text(k, "kty"), text(k, "kid"), text(k, "alg")
		types = append(types, kty)
		switch {
		case k["d"] != nil || k["p"] != nil:
			return w.still("jwks", problem{saw: fmt.Sprintf("key %q is a private key, for everybody to read", kid),
				mend: "Take it away, make new keys, and end all tokens: whoever has read it can make tokens of this server."})
		case kty == "oct" || k["k"] != nil || strings.HasPrefix(alg, "HS"):
			return w.still("jwks", problem{saw: fmt.Sprintf("key %q is a shared secret, for everybody to read", kid), mend: "Sign with an asymmetric key (ES256, RS256), and publish its public half."})
		case text(k, "use") == "enc":
			continue
		case slices.Contains([]string{"RSA", "EC", "OKP"}, kty):
			usable = append(usable, kid)
		}
		if kid == "" && len(all) > 1 {
			p = problem{"a key without kid among several", "Give each key a kid, and put it into the header of tokens.", ""}
		} else if kid != "" && kids[kid] {
			p = problem{fmt.Sprintf("two keys have the kid %q", kid), "Give each key a kid of its own.", ""}
		}
		kids[kid] = true
	}
	switch {
	case len(usable) == 0:
		return w.still("jwks", problem{saw: "no key that can check a signature; key types: " + list(types), mend: "Publish the public half of the signing key (RSA, EC or OKP, use sig)."})
	case p.saw != "":
		return w.warn("jwks", p)
	}
	return w.ok("jwks", fmt.Sprintf("%d at %s", len(usable), w.server.JWKSURI))
}
