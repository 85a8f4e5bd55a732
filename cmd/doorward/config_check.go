package main

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"doorward/internal/oauth"
)

// checker looks at what fits together, once everything is read.
type checker struct {
	*Config
	findings []Finding
}

// check finds what single values cannot show: names that are not there,
// combinations that cannot work, and what must not be public.
func (c *Config) check() []Finding {
	k := &checker{Config: c}
	k.basics()
	k.addresses()
	k.checkTLS()
	k.checkClientCerts()
	k.providers()
	k.separate()
	k.people()
	k.clients()
	k.servers()
	k.workloads()
	k.audiences()
	k.exposure()
	return k.findings
}

func (k *checker) fail(p keyPath, format string, args ...any) {
	f := k.at(p...)
	f.Text = p.String() + ": " + fmt.Sprintf(format, args...)
	k.findings = append(k.findings, f)
}

func (k *checker) warn(p keyPath, format string, args ...any) {
	k.fail(p, format, args...)
	k.findings[len(k.findings)-1].Warning = true
}

// must fails unless ok.
func (k *checker) must(ok bool, p keyPath, format string, args ...any) {
	if !ok {
		k.fail(p, format, args...)
	}
}

func pathOf(names ...string) keyPath { return names }

// sortedNames makes findings come in the same order each time.
func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func (k *checker) basics() {
	k.must(k.Version == 1, pathOf("version"), "the file is written for another version (%d): this program reads version 1", k.Version)
	for _, d := range []struct {
		p     keyPath
		value time.Duration
	}{
		{pathOf("tokens", "access", "default"), k.Tokens.Access.Default},
		{pathOf("tokens", "access", "id_jag"), k.Tokens.Access.IDJAG},
		{pathOf("tokens", "refresh", "idle"), k.Tokens.Refresh.Idle},
		{pathOf("tokens", "refresh", "max"), k.Tokens.Refresh.Max},
		{pathOf("tokens", "id_token"), k.Tokens.IDToken},
		{pathOf("tokens", "id_jag"), k.Tokens.IDJAG},
		{pathOf("clients", "registration", "unused"), k.Clients.Registration.Unused},
		{pathOf("audit", "keep"), k.Audit.Keep},
		{pathOf("keys", "rotate"), k.Keys.Rotate},
	} {
		k.must(d.value >= time.Second, d.p, "must be a second or more")
	}
	k.must(k.Tokens.Refresh.Idle <= k.Tokens.Refresh.Max, pathOf("tokens", "refresh", "idle"),
		"%s without use is longer than max, %s in all: it could never be reached", k.Tokens.Refresh.Idle, k.Tokens.Refresh.Max)
	k.must(k.Clients.Registration.Total > 0, pathOf("clients", "registration", "total"), "must be 1 or more (dynamic: off registers none)")
	k.must(k.Limits.Body >= 1<<10, pathOf("limits", "body"), "must be 1KiB or more")
}

func (k *checker) addresses() {
	u := k.URL
	if rest, plain := strings.CutPrefix(u, "http://"); plain && !isLoopbackURL(u) {
		u = "https://" + rest // http there is a matter of exposure
	}
	switch err := oauth.CheckIssuer(u); {
	case err != nil:
		k.fail(pathOf("url"), "%v", err)
	case strings.HasSuffix(u, "/"):
		k.fail(pathOf("url"), "%q must not end in a slash: it is compared letter by letter", k.URL)
	}
	k.listener("listen", k.Listen, "such as 127.0.0.1:8080")
	if k.Ops != "" {
		k.listener("ops", k.Ops, `such as 127.0.0.1:8081, or "" to switch it off`)
		_, port, _ := net.SplitHostPort(k.Ops)
		k.must(k.Ops != k.Listen || port == "0", pathOf("ops"), "%s is also listen: give it another port, or \"\" to switch it off", k.Ops)
	}
}

func (k *checker) listener(key, address, better string) {
	host, port, err := net.SplitHostPort(address)
	n, numErr := strconv.ParseUint(port, 10, 16)
	_, ipErr := netip.ParseAddr(host)
	known := host == "" || ipErr == nil || hostName.MatchString(host)
	k.must(err == nil && numErr == nil && strconv.FormatUint(n, 10) == port && known, pathOf(key), "%q must be HOST:PORT, %s", address, better)
}

var (
	entryName  = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	hostName   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)
	headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")
	controls   = regexp.MustCompile(`[\x00-\x08\x0a-\x1f\x7f]`)
	clientID   = regexp.MustCompile(`^[\x21\x23-\x5b\x5d-\x7e]{1,200}$`)
)

// named checks the name of an entry.
func (k *checker) named(p keyPath) {
	k.must(entryName.MatchString(p[len(p)-1]), p, "the name must be 1 to 63 of a-z, 0-9, dot, dash and underscore, the first a letter or digit")
}

func isLoopbackURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && oauth.IsLoopbackHost(u.Host)
}

func (k *checker) providers() {
	byIssuer := map[string]string{}
	for _, name := range sortedNames(k.Providers) {
		if name == separateName && k.Mode == "proxy" {
			continue
		}
		p, at := k.Providers[name], pathOf("providers", name)
		k.named(at)
		if p.Kind == "oidc" && !k.broken(at.add("kind")) {
			k.issuer(at.add("issuer"), p.Issuer)
			if other := byIssuer[p.Issuer]; other != "" && p.Issuer != "" {
				k.fail(at.add("issuer"), "is also the issuer of providers.%s: a person must be one account", other)
			}
			byIssuer[p.Issuer] = name
		}
		k.plainOAuth(at, p)
		k.saml(at, p)
		k.must(len(p.Account) > 0 && !slices.Contains(p.Account, ""), at.add("account"), "names no claim: write sub")
		k.domains(at.add("email_domains"), p.EmailDomains)
		k.must(!slices.Contains(p.Tenants, ""), at.add("tenants"), "has an empty tenant: remove it")
		k.must(p.Groups.Claim != "", at.add("groups").add("claim"), "names no claim: write groups")
		if p.SignIn != nil && p.Kind != "saml" {
			k.signIn(at.add("sign_in"), *p.SignIn)
			k.must(p.Kind != "oidc" || slices.Contains(p.SignIn.Scopes, "openid") || k.broken(at.add("sign_in").add("scopes")), at.add("sign_in").add("scopes"),
				"must have openid among them: without it the provider does not say who signed in")
		}
		if p.IDJAG != nil {
			k.idJAG(at.add("id_jag"), *p.IDJAG)
		} else if p.SignIn == nil && !k.given("providers", name, "sign_in") && !k.broken(at) {
			k.warn(at, "has neither sign_in nor id_jag: it does nothing")
		}
		if p.SCIM != nil {
			k.scim(name, p)
		}
	}
}

func (k *checker) domains(p keyPath, domains []string) {
	for i, d := range domains {
		k.must(hostName.MatchString(d) && strings.Contains(d, "."), p.add(index(i)), "%q must be a domain, such as example.com", d)
	}
}

func (k *checker) issuer(p keyPath, issuer string) {
	switch err := oauth.CheckIssuer(issuer); {
	case issuer == "" && k.broken(p):
	case issuer == "":
		k.fail(p, "is missing: write the provider's issuer identifier, as its metadata spells it")
	case err != nil:
		k.fail(p, "%v", err)
	case issuer == k.URL:
		k.fail(p, "is this server's own url: it would trust itself")
	}
}

// broken reports whether a key was given and could not be read, which was said
// already.
func (k *checker) broken(p keyPath) bool { return k.unread[p.key()] }

func (k *checker) signIn(p keyPath, s SignInConfig) {
	k.must(s.ClientID != "" || k.broken(p.add("client_id")), p.add("client_id"), "is missing: register %s/callback/%s at the provider and write the client id that it gives", k.URL, p[1])
	k.scopes(p.add("scopes"), s.Scopes, nil)
	k.parameters(p.add("parameters"), s.Parameters)
	k.must(s.Recheck == 0 || s.Recheck >= time.Second, p.add("recheck"), "must be a second or more, or 0s for never")
}

func (k *checker) idJAG(p keyPath, j IDJAGConfig) {
	k.must(j.MaxLifetime >= time.Second, p.add("max_lifetime"), "must be a second or more")
	k.must(len(j.Algs) > 0, p.add("algs"), "is empty: no assertion could be verified; leave it out for the default")
	if j.JWKSURI != "" {
		k.must(keysURL(j.JWKSURI), p.add("jwks_uri"), "must be an https URL (http on loopback)")
	}
	for i, id := range j.PublicClients {
		k.must(k.knowsClient(id) || slices.Contains(k.Clients.Known, id), p.add("public_clients").add(index(i)),
			"%q is no client of this file, no known client and no https URL", id)
	}
	k.scopes(p.add("scopes"), j.Scopes, nil)
	k.must(j.SAML.Issuer != "" || j.SAML == (SAMLSubjectsConfig{}), p.add("saml").add("issuer"), "is missing: write the entity ID of the SAML identity provider")
}

// knowsClient reports whether an id is a client of the file or a URL of a
// client metadata document.
func (k *checker) knowsClient(id string) bool {
	_, ok := k.Clients.Registered[id]
	return ok || strings.HasPrefix(id, "https://")
}

// scopes checks the form of scopes, and that they are known if known is not nil.
func (k *checker) scopes(p keyPath, scopes []string, known map[string]string) {
	for i, s := range scopes {
		at := p.add(index(i))
		if !isScope(s) {
			k.fail(at, "%q is not one scope (RFC 6749 section 3.3)", s)
			continue
		}
		if _, ok := known[s]; known != nil && !ok {
			near := nearest(s, sortedNames(known))
			if near != "" {
				near = fmt.Sprintf(": did you mean %q?", near)
			}
			k.fail(at, "%q is not among the server's scopes%s", s, near)
		}
	}
}

func isScope(s string) bool {
	set, err := oauth.ParseScope(s)
	return err == nil && len(set) == 1 && set[0] == s
}

// catalogueSchemes are redirect URIs of known clients that no other client may
// have a scheme like.
var catalogueSchemes = []string{"cursor://anysphere.cursor-mcp/oauth/callback"}

func (k *checker) clients() {
	k.registration()
	for _, id := range sortedNames(k.Clients.Registered) {
		cl, at := k.Clients.Registered[id], pathOf("clients", "registered", id)
		k.must(clientID.MatchString(id) && !strings.HasPrefix(id, "https:"), at, "a client_id is 1 to 200 visible ASCII characters and no https URL (that would be a client metadata document)")
		for i, uri := range cl.RedirectURIs {
			if err := oauth.CheckRedirectURI(uri, true); err != nil && !slices.Contains(catalogueSchemes, uri) {
				k.fail(at.add("redirect_uris").add(index(i)), "%q: %s", uri, words(err))
			}
		}
		k.scopes(at.add("scopes"), cl.Scopes, nil)
		k.clientKeys(at, cl)
		k.logoutURIs(at, cl)
		k.samlClient(id, at, cl)
		k.clientCert(at, cl)
		k.grantTypes(at, cl)
	}
}

// registration checks the initial access token.
func (k *checker) registration() {
	r, at := k.Clients.Registration, pathOf("clients", "registration", "token")
	switch {
	case r.Dynamic == "token" && r.Token != "" && utf8.RuneCountInString(string(r.Token)) < shortestSecret:
		k.fail(at, "has fewer than %d characters: it could be guessed (openssl rand -hex 32 makes one)", shortestSecret)
	case r.Dynamic != "token" && r.Token != "":
		k.fail(at, "is for dynamic: token; with %s nobody is asked for it", r.Dynamic)
	}
}

func (k *checker) clientKeys(at keyPath, cl ClientConfig) {
	keys := len(cl.JWKS) > 0 || k.broken(at.add("jwks"))
	k.must(!keys || cl.JWKSURI == "", at.add("jwks_uri"), "and jwks exclude each other (RFC 7591 section 2): keep one")
	k.must(cl.Secret == "" || !keys && cl.JWKSURI == "", at.add("secret"), "and keys exclude each other: the client authenticates in one way")
	if cl.JWKSURI != "" {
		k.must(keysURL(cl.JWKSURI), at.add("jwks_uri"), "must be an https URL (http on loopback)")
	}
}

func keysURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Host != "" && u.User == nil && (u.Scheme == "https" || u.Scheme == "http" && oauth.IsLoopbackHost(u.Host))
}

// words drops the error code that goes out on the wire.
func words(err error) string {
	if e, ok := err.(*oauth.Error); ok {
		return e.Description
	}
	return err.Error()
}

func (k *checker) grantTypes(at keyPath, cl ClientConfig) {
	secret := cl.Secret != "" || k.broken(at.add("secret"))
	elsewhere := len(cl.JWKS) > 0 || k.broken(at.add("jwks")) || cl.JWKSURI != "" || cl.TLSSubject != ""
	public := !secret && !elsewhere
	for i, name := range cl.Introspects {
		p := at.add("introspects").add(index(i))
		_, there := k.Servers[name]
		k.must(there || k.broken(pathOf("servers", name)), p, "there is no server %q%s", name, didYouMean(name, sortedNames(k.Servers)))
		k.must(!public, p, "introspection needs a client that can authenticate: give it a secret")
	}
	for i, g := range cl.GrantTypes {
		p := at.add("grant_types").add(index(i))
		switch {
		case g == "client_credentials" && public:
			k.fail(p, "client_credentials needs a client that can authenticate: give it a secret")
		case g == "token-exchange" && k.role == roleServe:
			k.fail(p, "token-exchange is for `doorward idp`: here an ID-JAG is redeemed with jwt-bearer")
		case g == "jwt-bearer" && k.role == roleIdP:
			k.fail(p, "jwt-bearer is for `doorward serve`: here an ID-JAG is asked for with token-exchange")
		}
	}
	if len(cl.RedirectURIs) > 0 || k.broken(at.add("redirect_uris")) {
		return
	}
	if slices.Contains(cl.GrantTypes, "authorization_code") || len(cl.GrantTypes) == 0 && public {
		k.fail(at.add("redirect_uris"), "is missing: sign-in could not come back to this client")
	}
}

// notForUs are headers of one connection or of the caller, which a credential
// must not set.
var notForUs = []string{"Connection", "Content-Length", "Cookie", "Host", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

func (k *checker) credential(at keyPath, c CredentialConfig) {
	given := 0
	for _, is := range []bool{len(c.Header) > 0, c.CallerJWT != nil, c.Exchange != nil} {
		if is {
			given++
		}
	}
	k.must(given < 2, at, "header, caller-jwt and exchange exclude each other: keep one")
	if c.Exchange != nil {
		k.exchange(at.add("exchange"), *c.Exchange)
	}
	p := at.add("header")
	for _, name := range sortedNames(c.Header) {
		at, value := p.add(name), c.Header[name]
		k.must(headerName.MatchString(name), at, "is not the name of a header")
		k.must(!slices.Contains(notForUs, http.CanonicalHeaderKey(name)), at, "must not be set: it belongs to the connection")
		k.must(value != "" || k.broken(at), at, "has no value")
		k.must(!controls.MatchString(string(value)), at, "has a character that may not stand in a header")
	}
}

func (k *checker) origins(p keyPath, origins []string) {
	for i, o := range origins {
		u, err := url.Parse(o)
		ok := err == nil && u.Scheme != "" && u.Host != "" && o == u.Scheme+"://"+strings.ToLower(u.Host)
		ok = ok && !strings.HasSuffix(o, ":") && !(u.Scheme == "https" && u.Port() == "443" || u.Scheme == "http" && u.Port() == "80") // browsers leave these out
		k.must(ok && !strings.Contains(o, "*"), p.add(index(i)), "%q must be an origin: scheme, host and port (none if it is the usual one), without a path (https://app.example.com)", o)
	}
}

// firstPlace returns the path that stands first in the file.
func (k *checker) firstPlace(paths ...keyPath) keyPath {
	return slices.MinFunc(paths, func(a, b keyPath) int {
		x, y := k.at(a...), k.at(b...)
		return cmp.Or(cmp.Compare(x.Line, y.Line), cmp.Compare(x.Col, y.Col))
	})
}
