package probe

import (
	"net/url"
	"strings"
)

var redirectRules = []Rule{
	mismatch("prefix", "a redirect URI that only begins like a registered one", func(u string) string { return u + ".evil" }),
	mismatch("host", "the same path at another host", func(u string) string { return strings.Replace(u, "app.doorward-probe", "evil.doorward-probe-2", 1) }),
	mismatch("subdomain", "a host below the registered one", func(u string) string { return strings.Replace(u, "https://", "https://evil.", 1) }),
	mismatch("suffix", "a host that only begins like the registered one", func(u string) string { return strings.Replace(u, ".invalid/", ".invalid.evil.invalid/", 1) }),
	mismatch("userinfo", "the registered host with user info", func(u string) string { return strings.Replace(u, "https://", "https://user@", 1) }),
	mismatch("scheme", "http instead of https", func(u string) string { return strings.Replace(u, "https://", "http://", 1) }),
	mismatch("port", "another port on a host of the web", func(u string) string { return strings.Replace(u, ".invalid/", ".invalid:8443/", 1) }),
	mismatch("case", "a path in other letter case", func(u string) string { return strings.Replace(u, "/callback", "/Callback", 1) }),
	mismatch("slash", "a slash at the end", func(u string) string { return u + "/" }),
	mismatch("query", "a query that is not registered", func(u string) string { return u + "?next=evil" }),
	mismatch("dots", "a path with dot segments", func(u string) string { return strings.Replace(u, "/callback", "/x/../callback", 1) }),
	mismatch("encoding", "a path with percent-encoded letters", func(u string) string { return strings.Replace(u, "/callback", "/c%61llback", 1) }),
	mismatch("fragment", "a fragment", func(u string) string { return u + "#evil" }),
	{"AS-REDIR-01.loopback-path", "on loopback only the port may differ", "OAuth 2.1 section 8.4.2, SEC-17", "Compare scheme, host, path and query exactly on loopback, too.", (*session).loopbackPath},
	{"AS-REDIR-03.loopback", "localhost, 127.0.0.1 and [::1] are three hosts", "OAuth 2.1 section 8.4.2", "Compare loopback hosts as they are written.", (*session).loopbackHost},
	{"AS-REDIR-05.missing", "redirect_uri may not be left out if several are registered", "OAuth 2.1 section 2.3.2", "Show an error page if redirect_uri is missing and the client has not exactly one.", (*session).missingRedirect},
}

// mismatch is a redirect URI that resembles the registered one of a client of
// the web.
func mismatch(word, what string, change func(string) string) Rule {
	return Rule{"AS-REDIR-01." + word, what + " is no registered redirect URI", "OAuth 2.1 section 2.3.1, RFC 9700 section 4.1.3, SEC-17",
		"Compare redirect_uri with the registered values as strings, character by character.",
		func(s *session) error {
			c, err := s.client(strangerRole)
			if err != nil {
				return err
			}
			bad := change(c.redirect)
			l, _, err := s.asked(strangerRole, s.browser, func(q url.Values) { q.Set("redirect_uri", bad) })
			if toldTheClient(l, err, c) && !strings.HasPrefix(l.to.String(), bad) {
				return nil
			}
			return sentNowhere(l, err, bad)
		}}
}

func (s *session) loopbackPath() error {
	c, err := s.client(publicRole)
	if err != nil {
		return err
	}
	bad := strings.Replace(c.redirect, "/callback", "/evil", 1)
	l, _, err := s.asked(publicRole, s.browser, func(q url.Values) { q.Set("redirect_uri", bad) })
	return sentNowhere(l, err, bad)
}

func (s *session) loopbackHost() error {
	c, err := s.client(publicRole)
	if err != nil {
		return err
	}
	bad := strings.Replace(c.redirect, "127.0.0.1", "localhost", 1)
	if bad == c.redirect {
		return notHere("the client's redirect URI is not at 127.0.0.1")
	}
	l, _, err := s.asked(publicRole, s.browser, func(q url.Values) { q.Set("redirect_uri", bad) })
	return sentNowhere(l, err, bad)
}

func (s *session) missingRedirect() error {
	c, err := s.client(twoRole)
	if err != nil {
		return err
	}
	l, _, err := s.asked(twoRole, s.browser, func(q url.Values) { q.Del("redirect_uri") })
	return sentNowhere(l, err, c.redirects...)
}
