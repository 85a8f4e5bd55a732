package probe

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/html"

	"doorward/internal/oauth"
)

var pageRules = []Rule{
	{"AS-UI-03.login", "the sign-in page cannot be framed", "OAuth 2.1 section 7.11, SEC-15", "Send Content-Security-Policy: frame-ancestors 'none' and X-Frame-Options: DENY.", framing(loginKind)},
	{"AS-UI-03.consent", "the consent page cannot be framed", "OAuth 2.1 section 7.11, SEC-15", "Send Content-Security-Policy: frame-ancestors 'none' and X-Frame-Options: DENY.", framing(consentKind)},
	{"AS-UI-03.error", "error pages cannot be framed", "OAuth 2.1 section 7.11, SEC-15", "Send Content-Security-Policy: frame-ancestors 'none' and X-Frame-Options: DENY on every page.", (*session).errorFraming},
	{"AS-UI-04.referrer", "the pages send no referrer", "RFC 9700 section 4.2.4, SEC-28", "Send Referrer-Policy: no-referrer.", (*session).referrer},
	{"AS-UI-04.script", "scripts that somebody puts into a page do not run", "OAuth 2.1 section 7.11", "Send a Content-Security-Policy with default-src or script-src, without 'unsafe-inline'.", (*session).scripts},
	{"AS-UI-04.foreign", "the pages load nothing from elsewhere", "RFC 9700 section 4.2.4, SEC-28", "Serve scripts, styles and images of these pages yourself.", (*session).foreign},
	{"AS-UI-01.names", "the consent page names the client and the host of its redirect URI", "MCP authorization, SEC-16", "Show client_name and the host of redirect_uri.", (*session).consentNames},
	{"AS-UI-05.name", "a client's name is shown as text", "OAuth 2.1 section 7.12, SEC-24", "Escape every string of a client.", (*session).nasty},
	{"AS-UI-06.httponly", "no script can read the cookies", "MCP security best practices, SEC-25", "Set HttpOnly on every cookie of the sign-in.", cookieRule(func(c *http.Cookie) bool { return c.HttpOnly }, "HttpOnly")},
	{"AS-UI-06.samesite", "the cookies do not come with other sites' forms", "MCP security best practices, SEC-25", "Set SameSite=Lax or Strict.", cookieRule(func(c *http.Cookie) bool {
		return c.SameSite == http.SameSiteLaxMode || c.SameSite == http.SameSiteStrictMode
	}, "SameSite=Lax")},
	{"AS-UI-06.secure", "the cookies travel over https only, and belong to this host alone", "MCP security best practices", "Set Secure, and begin the cookies' names with __Host-.", (*session).secureCookies},
	{"AS-UI-06.session", "signing in begins a new session", "MCP security best practices, SEC-25", "Make a new session identifier when somebody signs in.", (*session).fixation},
}

// goAllTheWay is a walk of a fresh browser from the first page to the client,
// with all of the pages between.
func (s *session) goAllTheWay() (*visitor, error) {
	if _, err := s.door(); err != nil {
		return nil, err
	}
	if s.c.User == "" && s.c.Open != nil {
		return nil, errNobody
	}
	if s.traveller, _ = s.client(travellerRole); s.traveller == nil {
		c, err := s.main()
		if err != nil {
			return nil, err
		}
		s.traveller = c
	}
	v := newVisitor()
	s.wire.begin()
	l, err := s.askedBy(s.traveller, v, never)
	switch {
	case err != nil:
		return nil, err
	case l.query().Get("code") == "":
		return nil, errors.New("a request that has everything right brought no code")
	}
	s.journey, s.seen["journey"] = l, s.wire.end()
	return v, nil
}

// shownPage is the page of a kind as a fresh browser sees it.
func (s *session) shownPage(kind string) (*page, error) {
	l, err := s.door()
	if err != nil {
		return nil, err
	}
	if p := l.page(kind); p != nil {
		s.show("door")
		return p, nil
	}
	if _, err := s.whole(); err != nil {
		return nil, err
	}
	s.show("journey")
	if p := s.journey.page(kind); p != nil {
		return p, nil
	}
	return nil, notHere("the server showed no " + kind)
}

// shownPages are the sign-in page and the consent page, as far as there are.
func (s *session) shownPages() ([]*page, error) {
	var out []*page
	var last error
	for _, kind := range []string{loginKind, consentKind} {
		p, err := s.shownPage(kind)
		if err != nil {
			last = err
			continue
		}
		out = append(out, p)
	}
	if len(out) == 0 {
		return nil, last
	}
	return out, nil
}

// policy is one directive of the page's content security policies.
func policy(h http.Header, name string) (string, bool) {
	for _, v := range h.Values("Content-Security-Policy") {
		for d := range strings.SplitSeq(v, ";") {
			directive, rest, _ := strings.Cut(strings.TrimSpace(d), " ")
			if strings.EqualFold(directive, name) {
				return rest, true
			}
		}
	}
	return "", false
}

func unframed(a *answer) error {
	if v, _ := policy(a.header, "frame-ancestors"); strings.TrimSpace(v) != "'none'" {
		return brokenf("%s is sent without frame-ancestors 'none'", a.url.Path)
	}
	if !strings.EqualFold(a.header.Get("X-Frame-Options"), "DENY") {
		return brokenf("%s is sent without X-Frame-Options: DENY", a.url.Path)
	}
	return nil
}

func framing(kind string) func(*session) error {
	return func(s *session) error {
		p, err := s.shownPage(kind)
		if err != nil {
			return err
		}
		return unframed(p.answer)
	}
}

func (s *session) errorFraming() error {
	l, _, err := s.asked("", newVisitor(), func(q url.Values) { // nobody to answer to
		q.Del("client_id")
		q.Del("redirect_uri")
	})
	switch {
	case err != nil:
		return err
	case l.to != nil || l.status < 400 || !isType(l.at.header, "text/html"):
		return notHere("a request of no client brought no error page")
	}
	return unframed(l.at)
}

func (s *session) referrer() error {
	pages, err := s.shownPages()
	if err != nil {
		return err
	}
	for _, p := range pages {
		if got := p.header.Get("Referrer-Policy"); !strings.EqualFold(got, "no-referrer") {
			return brokenf("Referrer-Policy of %s is %q", p.url.Path, got)
		}
	}
	return nil
}

func (s *session) scripts() error {
	pages, err := s.shownPages()
	if err != nil {
		return err
	}
	for _, p := range pages {
		sources, ok := policy(p.header, "script-src")
		if !ok {
			sources, ok = policy(p.header, "default-src")
		}
		if !ok || strings.Contains(sources, "'unsafe-inline'") && !strings.Contains(sources, "'nonce-") && !strings.Contains(sources, "'sha256-") {
			return brokenf("the policy of %s lets scripts run that stand in the page", p.url.Path)
		}
	}
	return nil
}

// loading are the attributes by which a page loads something.
var loading = map[string]string{"script": "src", "img": "src", "link": "href", "iframe": "src", "embed": "src", "object": "data"}

func (s *session) foreign() error {
	pages, err := s.shownPages()
	if err != nil {
		return err
	}
	for _, p := range pages {
		doc, err := html.Parse(strings.NewReader(p.body))
		if err != nil {
			return err
		}
		for n := range doc.Descendants() {
			if n.Type != html.ElementNode {
				continue
			}
			for _, a := range n.Attr {
				if a.Key != loading[n.Data] {
					continue
				}
				if u, err := p.url.Parse(a.Val); err == nil && u.Host != "" && u.Host != p.url.Host {
					return brokenf("%s loads from %s", p.url.Path, u.Host)
				}
			}
		}
	}
	return nil
}

func (s *session) consentNames() error {
	if _, err := s.whole(); err != nil {
		return err
	}
	c := s.traveller
	if c.answer == nil {
		return notHere("the name is known of clients that the probe registered only")
	}
	p, err := s.shownPage(consentKind)
	if err != nil {
		return err
	}
	text := textOf(p.body)
	u, err := url.Parse(c.redirect)
	if err != nil {
		return err
	}
	for what, want := range map[string]string{"the client's name": "Doorward probe", "the host of the redirect URI": u.Hostname()} {
		if !strings.Contains(text, want) {
			return brokenf("the consent page does not show %s (%s)", what, want)
		}
	}
	return nil
}

// textOf is what a page shows, spaces folded.
func textOf(body string) string {
	doc, err := html.Parse(strings.NewReader(body))
	if err != nil {
		return ""
	}
	var b strings.Builder
	for n := range doc.Descendants() {
		if n.Type == html.TextNode {
			b.WriteString(n.Data)
		}
	}
	plain := strings.Map(func(r rune) rune {
		if r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f { // marks that isolate a name
			return -1
		}
		return r
	}, b.String())
	return strings.Join(strings.Fields(plain), " ")
}

// nasty looks for a client's name as markup on every page on the way.
func (s *session) nasty() error {
	if _, err := s.whole(); err != nil {
		return err
	}
	if s.traveller.answer == nil {
		return notHere("a client with such a name cannot be registered")
	}
	if len(s.journey.pages) == 0 {
		return notHere("the server showed no page")
	}
	s.show("journey")
	for _, p := range s.journey.pages {
		if strings.Contains(p.body, "<img src=x") {
			return brokenf("%s shows the client's name as markup", p.url.Path)
		}
	}
	return nil
}

// cookies are all that the server set on the way.
func (s *session) cookies() ([]*http.Cookie, error) {
	l := (*landing)(nil)
	if _, err := s.whole(); err == nil {
		l = s.journey
		s.show("journey")
	} else if l, err = s.door(); err != nil {
		return nil, err
	} else {
		s.show("door")
	}
	var out []*http.Cookie
	for _, a := range l.answers {
		for _, c := range (&http.Response{Header: a.header}).Cookies() {
			if c.MaxAge >= 0 && c.Value != "" {
				out = append(out, c)
			}
		}
	}
	if len(out) == 0 {
		return nil, notHere("the server set no cookie")
	}
	return out, nil
}

func cookieRule(good func(*http.Cookie) bool, what string) func(*session) error {
	return func(s *session) error {
		cookies, err := s.cookies()
		if err != nil {
			return err
		}
		for _, c := range cookies {
			if !good(c) {
				return brokenf("the cookie %s is set without %s", c.Name, what)
			}
		}
		return nil
	}
}

func (s *session) secureCookies() error {
	u, err := url.Parse(s.c.Issuer)
	if err != nil {
		return err
	}
	if u.Scheme == "http" && oauth.IsLoopbackHost(u.Host) {
		return notHere("plain http on loopback cannot have such cookies")
	}
	return cookieRule(func(c *http.Cookie) bool { return c.Secure && strings.HasPrefix(c.Name, "__Host-") }, "Secure or the prefix __Host-")(s)
}

// fixation looks whether cookies from before the sign-in are signed in after
// it: then whoever planted them is.
func (s *session) fixation() error {
	if s.c.User == "" {
		return errNobody
	}
	l, err := s.door()
	if err != nil {
		return err
	}
	p := l.page(loginKind)
	if p == nil {
		return notHere("the server showed no sign-in page")
	}
	c, err := s.main()
	if err != nil {
		return err
	}
	q, _ := s.request(c)
	start, err := s.authorizeURL(q)
	if err != nil {
		return err
	}
	v := newVisitor()
	if l, err = s.walk(v, start, atKind(loginKind)); err != nil {
		return err
	}
	if l.page(loginKind) == nil {
		return notHere("a fresh browser was shown no sign-in page")
	}
	planted := s.copyOf(v)
	if l, err = s.walk(v, start, atKind(consentKind)); err != nil || l.stuck != nil {
		return errors.Join(err, l.stuck)
	}
	if l, err = s.walk(planted, start, anyForm); err != nil {
		return err
	}
	if l.page(loginKind) == nil && (l.page(consentKind) != nil || l.query().Get("code") != "") {
		return brokenf("the cookies of before the sign-in are signed in after it")
	}
	return nil
}
