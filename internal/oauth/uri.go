package oauth

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// maxURI is the longest redirect URI, resource or issuer, in bytes.
const maxURI = 2000

// MatchRedirect reports whether a redirect URI is one of those registered:
// exact string comparison, with the port of a loopback URI
// (http://127.0.0.1, http://[::1], http://localhost) as the only part that may
// differ (OAuth 2.1 section 8.4.2).
func MatchRedirect(registered []string, given string) bool {
	if given == "" {
		return false
	}
	if slices.Contains(registered, given) {
		return true
	}
	host, rest, ok := cutLoopback(given)
	if !ok {
		return false
	}
	return slices.ContainsFunc(registered, func(r string) bool {
		h, t, ok := cutLoopback(r)
		return ok && h == host && t == rest
	})
}

// cutLoopback splits a loopback redirect URI into scheme with host and what
// follows the port. Only three spellings of the host count, letter by letter:
// what else a resolver might take for loopback is another host here.
func cutLoopback(uri string) (host, rest string, ok bool) {
	for _, host = range []string{"http://127.0.0.1", "http://[::1]", "http://localhost"} {
		if rest, ok = strings.CutPrefix(uri, host); ok {
			break
		}
	}
	if !ok || strings.ContainsAny(rest, "\\#") {
		return "", "", false
	}
	if after, hasPort := strings.CutPrefix(rest, ":"); hasPort {
		end := strings.IndexAny(after, "/?")
		if end < 0 {
			end = len(after)
		}
		if !isPort(after[:end]) {
			return "", "", false
		}
		rest = after[end:]
	}
	return host, rest, rest == "" || rest[0] == '/' || rest[0] == '?'
}

// isPort accepts a port that one can connect to, in its one spelling.
func isPort(s string) bool {
	return isDigits(s) && s[0] != '0' && (len(s) < 5 || len(s) == 5 && s <= "65535")
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// CheckRedirectURI says whether a URI may be registered: absolute, without
// fragment and user info, https, or http on a loopback host. Private-use
// schemes are refused unless reverse-domain ones are allowed. The error is
// invalid_redirect_uri.
func CheckRedirectURI(uri string, allowPrivateUse bool) error {
	u, err := parseURI(uri)
	if err != nil {
		return badRedirect(err.Error())
	}
	switch u.Scheme {
	case "javascript", "data", "file", "vbscript", "blob", "about":
		return badRedirect("must not have the scheme " + u.Scheme)
	}
	switch {
	case strings.Contains(uri, "#"):
		return badRedirect("must not have a fragment")
	case u.User != nil:
		return badRedirect("must not have user info")
	case u.Scheme == "https" && u.Hostname() == "":
		return badRedirect("has no host")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && IsLoopbackHost(u.Host):
		return nil
	case u.Scheme == "http":
		return badRedirect("must be https: http is for loopback hosts only")
	case !allowPrivateUse:
		return badRedirect("must be https or loopback: private-use schemes are not allowed here")
	case !isReverseDomain(u.Scheme):
		return badRedirect("must have a reverse-domain scheme, such as com.example.app (RFC 8252 section 7.1)")
	}
	return nil
}

// isReverseDomain wants at least two labels, none of them empty.
func isReverseDomain(scheme string) bool {
	labels := strings.Split(scheme, ".")
	return len(labels) > 1 && !slices.Contains(labels, "")
}

func badRedirect(reason string) error {
	return &Error{Code: InvalidRedirectURI, Description: Printable("redirect URI " + reason)}
}

// IsLoopbackRedirect reports whether the redirect URI goes to this machine.
func IsLoopbackRedirect(uri string) bool {
	u, err := parseURI(uri)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.User == nil && IsLoopbackHost(u.Host)
}

// IsLoopbackHost reports whether a host (with or without port) is localhost,
// a subdomain of it, or a loopback address literal in its usual spelling.
func IsLoopbackHost(host string) bool {
	name := host
	if inside, ok := strings.CutPrefix(host, "["); ok {
		var port string
		name, port, ok = strings.Cut(inside, "]")
		if !ok || !strings.Contains(name, ":") || port != "" && (port[0] != ':' || !isDigits(port[1:])) {
			return false
		}
	} else if n, port, ok := strings.Cut(host, ":"); ok && !strings.Contains(port, ":") {
		if !isDigits(port) {
			return false
		}
		name = n
	}
	if a, err := netip.ParseAddr(name); err == nil {
		return a.IsLoopback() && !a.Is4In6() && a.Zone() == "" && a.String() == name
	}
	name = strings.ToLower(name)
	sub, ok := strings.CutSuffix(name, ".localhost")
	return name == "localhost" || ok && isHostName(sub)
}

func isHostName(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" {
			return false
		}
		for i := range len(label) {
			if !isAlphanumeric(label[i]) && label[i] != '-' && label[i] != '_' {
				return false
			}
		}
	}
	return true
}

// CheckResource says whether a URI may be a resource indicator: absolute,
// with a host, without fragment (RFC 8707 section 2). The error is
// invalid_target.
func CheckResource(resource string) error {
	u, err := parseURI(resource)
	reason := ""
	switch {
	case err != nil:
		reason = err.Error()
	case u.Host == "" || u.Hostname() == "":
		reason = "has no host"
	case u.User != nil:
		reason = "must not have user info"
	case strings.Contains(resource, "#"):
		reason = "must not have a fragment"
	default:
		return nil
	}
	return &Error{Code: InvalidTarget, Description: Printable("resource " + reason)}
}

// MatchResource returns the registered identifier that a resource parameter
// means: equal, or different only in the letter case of scheme and host or in
// one trailing slash. "" if none.
func MatchResource(registered []string, given string) string {
	if given == "" {
		return ""
	}
	if slices.Contains(registered, given) {
		return given
	}
	if CheckResource(given) != nil {
		return ""
	}
	want := foldResource(given)
	for _, r := range registered {
		if CheckResource(r) == nil && foldResource(r) == want {
			return r
		}
	}
	return ""
}

func foldResource(s string) string {
	origin, path := splitOrigin(s)
	if !strings.Contains(path, "?") {
		path = strings.TrimSuffix(path, "/")
	}
	return strings.ToLower(origin) + path
}

// ResourceCovers reports whether a resource identifier that a server publishes
// belongs to the URL that a client calls: same origin, and its path is a prefix
// on segment borders (requirements CONFLICT-3, "compatible").
func ResourceCovers(resource, url string) bool {
	r, err := parseURI(resource)
	if err != nil || CheckResource(resource) != nil {
		return false
	}
	u, err := parseURI(url)
	if err != nil || u.User != nil || origin(r) != origin(u) || u.Host == "" {
		return false
	}
	if r.RawQuery != "" && r.RawQuery != u.RawQuery {
		return false
	}
	// A server may resolve dot segments after the comparison, also encoded ones.
	if hasDotSegment(r.Path) || hasDotSegment(u.Path) {
		return false
	}
	base := strings.TrimSuffix(r.EscapedPath(), "/")
	return strings.HasPrefix(strings.TrimSuffix(u.EscapedPath(), "/")+"/", base+"/")
}

func hasDotSegment(path string) bool {
	for s := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' || r == '\\' }) {
		if s == "." || s == ".." {
			return true
		}
	}
	return false
}

// origin is scheme, host and port, with the default port written out.
func origin(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	case u.Scheme == "http":
		port = "80"
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}

// splitOrigin cuts scheme, "://" and authority from the rest, as written. The
// URI has passed parseURI and has a host.
func splitOrigin(uri string) (origin, rest string) {
	start := strings.Index(uri, "://") + len("://")
	if end := strings.IndexAny(uri[start:], "/?#"); end >= 0 {
		return uri[:start+end], uri[start+end:]
	}
	return uri, ""
}

// parseURI reads an absolute URI as RFC 3986 writes it: no spaces, no
// backslash, ASCII only, since browsers and servers disagree about the rest.
// The error completes a sentence that begins with what the URI is.
func parseURI(s string) (*url.URL, error) {
	switch {
	case s == "":
		return nil, errors.New("is empty")
	case len(s) > maxURI:
		return nil, errors.New("is too long")
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\\\"<>^`{|}", r) }):
		return nil, errors.New("has a character that may not stand in a URI")
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("is not a URI")
	}
	if u.Scheme == "" {
		return nil, errors.New("must be absolute")
	}
	if u.Port() == "" && strings.HasSuffix(u.Host, ":") {
		return nil, errors.New("has an empty port")
	}
	return u, nil
}
