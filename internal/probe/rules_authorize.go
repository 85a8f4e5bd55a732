package probe

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

var authorizeRules = []Rule{
	{"AS-AUTHZ-01.cors", "the authorization endpoint has no CORS headers", "OAuth 2.1 section 3.1", "Take Access-Control-Allow-Origin off the authorization endpoint.", (*session).authorizeCORS},
	{"AS-AUTHZ-02.client", "an unknown client is not sent anywhere", "OAuth 2.1 section 4.1.2.1", "Show an error page if client_id is unknown: nobody knows whose the redirect URI is.", (*session).unknownClient},
	{"AS-AUTHZ-02.no-client", "without client_id nobody is sent anywhere", "OAuth 2.1 section 4.1.2.1", "Show an error page if client_id is missing.", (*session).noClient},
	{"AS-AUTHZ-02.redirect", "a redirect URI that is not registered is not used", "OAuth 2.1 section 4.1.2.1, SEC-07", "Compare redirect_uri with the registered ones first, and show an error page if it is none of them.", (*session).unknownRedirect},
	{"AS-AUTHZ-04.token", "response_type=token gives no token", "OAuth 2.1 section 10.1, RFC 9700 section 2.1.2", "Take response_type code only.", (*session).implicit},
	{"AS-AUTHZ-04.code", "another response_type is unsupported_response_type", "OAuth 2.1 section 4.1.2.1", "Send error=unsupported_response_type to the redirect URI.", (*session).implicitCode},
	{"AS-AUTHZ-05.stranger", "no error is sent to a client of the web before somebody has signed in", "OAuth 2.1 section 7.13.2, SEC-07",
		"Authenticate the person before an error redirect to a client that nobody vouches for, or show a page: your host is an open redirector otherwise.", (*session).openRedirector},
	{"AS-AUTHZ-12.scope", "an unknown scope is refused or left out", "OAuth 2.1 section 4.1.2.1", "Answer invalid_scope, or grant the known scopes only and say so in the token response.", (*session).unknownScope},
	{"AS-PKCE-01.missing", "a request without code_challenge is refused", "OAuth 2.1 section 4.1.2.1", "Answer invalid_request if a client sends no code_challenge.", (*session).noChallenge},
	{"AS-PKCE-02.plain", "code_challenge_method=plain is refused", "RFC 9700 section 2.1.1, SEC-10", "Take S256 only.", challenge("plain", newVerifier)},
	{"AS-PKCE-02.absent", "an absent code_challenge_method, which means plain, is refused", "RFC 7636 section 4.3", "Refuse requests without code_challenge_method=S256.", challenge("", newVerifier)},
	{"AS-PKCE-02.unknown", "an unknown code_challenge_method is refused", "RFC 7636 section 4.4.1", "Answer invalid_request to methods other than S256.", challenge("S512", newVerifier)},
	{"AS-PKCE-03.challenge", "a code_challenge of another form than 43 to 128 unreserved characters is refused", "RFC 7636 section 4.2", "Check length and characters of code_challenge.", challenge("S256", func() string { return "abc" })},
	{"X-HTTP-03.authorize", "a parameter that stands twice in an authorization request is refused", "OAuth 2.1 section 3.1", "Answer invalid_request if a parameter is repeated.", (*session).twiceAuthorize},
	{"X-HTTP-03.redirect", "redirect_uri twice is not sent anywhere", "OAuth 2.1 sections 3.1 and 4.1.2.1", "Show an error page if redirect_uri is repeated.", (*session).twiceRedirect},
	{"AS-RES-01.unknown", "a resource that is not served here is refused", "RFC 8707 section 2", "Answer invalid_target for a resource that the server does not serve.", resourceRule("https://mcp.doorward-probe.invalid/mcp")},
	{"AS-RES-01.fragment", "a resource with a fragment is refused", "RFC 8707 section 2", "Answer invalid_target for a resource with a fragment.", resourceRule("#fragment")},
	{"AS-RES-01.relative", "a relative resource is refused", "RFC 8707 section 2", "Answer invalid_target for a resource that is no absolute URI.", resourceRule("/mcp")},
}

// openDoor walks with a request that has everything right up to the first page
// that asks somebody something: what a refusal is compared with.
func (s *session) openDoor() (*landing, error) {
	c, err := s.main()
	if err != nil {
		return nil, err
	}
	s.wire.begin()
	q, _ := s.request(c)
	start, err := s.authorizeURL(q)
	if err != nil {
		return nil, err
	}
	l, err := s.walk(newVisitor(), start, anyForm)
	switch {
	case err != nil:
		return nil, err
	case ours(l.to, c.redirect) && l.query().Get("code") == "":
		return nil, fmt.Errorf("a request that has everything right was refused: %s %s", l.query().Get("error"), l.query().Get("error_description"))
	case l.to != nil && !ours(l.to, c.redirect):
		return nil, elsewhere(l.to)
	case l.to == nil && (len(l.pages) == 0 || l.status != http.StatusOK):
		return nil, fmt.Errorf("a request that has everything right ended with %d", l.status)
	}
	s.seen["door"] = s.wire.end()
	return l, nil
}

func elsewhere(to *url.URL) error {
	return fmt.Errorf("the server sends people to %s, which the probe does not follow", to.Host)
}

// asked is where a request ends that differs from the right one in one thing.
func (s *session) asked(role string, v *visitor, change func(q url.Values)) (*landing, *registered, error) {
	return s.askedUntil(role, v, never, change)
}

func (s *session) askedUntil(role string, v *visitor, until stop, change func(q url.Values)) (*landing, *registered, error) {
	if _, err := s.door(); err != nil {
		return nil, nil, err
	}
	var c *registered
	var err error
	if role == "" {
		c, err = s.main()
	} else {
		c, err = s.client(role)
	}
	if err != nil {
		return nil, nil, err
	}
	q, _ := s.request(c)
	change(q)
	start, err := s.authorizeURL(q)
	if err != nil {
		return nil, nil, err
	}
	s.wire.begin()
	l, err := s.walk(v, start, until)
	return l, c, err
}

// sentNowhere is whether the browser stayed at the server.
func sentNowhere(l *landing, err error, bad ...string) error {
	switch {
	case err != nil:
		return err
	case l.to != nil && l.query().Get("code") != "":
		return brokenf("the browser was sent to %s, with a code", showURL(l.to))
	case l.to != nil:
		for _, uri := range bad {
			if u, err := url.Parse(uri); strings.HasPrefix(l.to.String(), uri) || err == nil && u.Host == l.to.Host {
				return brokenf("the browser was sent to %s", showURL(l.to))
			}
		}
		return elsewhere(l.to)
	case l.stuck != nil:
		return l.stuck
	}
	return nil
}

// toldTheClient is whether the browser brought an error to the redirect URI
// that is registered: odd where the request named another one, and harmless.
func toldTheClient(l *landing, err error, c *registered) bool {
	return err == nil && ours(l.to, c.redirect) && l.query().Get("error") != ""
}

// turnedDown is whether a request brought an error, at the redirect URI or on
// a page, and nothing else.
func turnedDown(l *landing, err error, c *registered, what string) error {
	switch {
	case err != nil:
		return err
	case ours(l.to, c.redirect):
		q := l.query()
		if q.Get("code") != "" || q.Get("access_token") != "" {
			return brokenf("%s brought a code or a token", what)
		}
		if q.Get("error") == "" {
			return brokenf("%s went back to the client without an error", what)
		}
		return nil
	case l.to != nil:
		return elsewhere(l.to)
	case l.stuck != nil:
		return l.stuck
	case l.status < 400:
		return errors.New("the walk ended at a page that neither refuses nor asks")
	}
	return nil
}

func (s *session) authorizeCORS() error {
	c, err := s.main()
	if err != nil {
		return err
	}
	q, _ := s.request(c)
	start, err := s.authorizeURL(q)
	if err != nil {
		return err
	}
	a, err := s.wire.get(s.ctx, start, "Origin", "https://evil.doorward-probe.invalid")
	if err != nil {
		return err
	}
	if got := a.header.Get("Access-Control-Allow-Origin"); got != "" {
		return brokenf("Access-Control-Allow-Origin: %s", got)
	}
	return nil
}

func (s *session) unknownClient() error {
	l, _, err := s.asked("", s.browser, func(q url.Values) {
		q.Set("client_id", "doorward-probe-unknown-"+random())
		q.Set("redirect_uri", evilURI)
	})
	return sentNowhere(l, err, evilURI)
}

func (s *session) noClient() error {
	l, _, err := s.asked("", s.browser, func(q url.Values) {
		q.Del("client_id")
		q.Set("redirect_uri", evilURI)
	})
	return sentNowhere(l, err, evilURI)
}

func (s *session) unknownRedirect() error {
	l, c, err := s.asked("", s.browser, func(q url.Values) { q.Set("redirect_uri", evilURI) })
	if toldTheClient(l, err, c) {
		return nil
	}
	return sentNowhere(l, err, evilURI)
}

func (s *session) implicit() error {
	l, c, err := s.asked("", s.browser, func(q url.Values) { q.Set("response_type", "token") })
	return turnedDown(l, err, c, "response_type=token")
}

func (s *session) implicitCode() error {
	l, c, err := s.asked("", newVisitor(), func(q url.Values) { q.Set("response_type", "doorward-probe") })
	switch {
	case err != nil:
		return err
	case l.to == nil || !ours(l.to, c.redirect):
		return errors.New("the error was not sent to the redirect URI")
	case l.query().Get("error") != "unsupported_response_type":
		return brokenf("the error is %q", l.query().Get("error"))
	}
	return nil
}

// openRedirector asks for errors that servers like to send back at once.
func (s *session) openRedirector() error {
	for _, wrong := range [][2]string{{"prompt", "none"}, {"scope", "doorward-probe-unknown"}, {"response_type", "doorward-probe"}, {"code_challenge", ""}} {
		l, c, err := s.askedUntil(strangerRole, newVisitor(), anyForm, func(q url.Values) { q.Set(wrong[0], wrong[1]) })
		if err != nil {
			return err
		}
		if ours(l.to, c.redirect) {
			return brokenf("%s=%s of a client that just registered itself: the browser of somebody who never signed in was sent to %s", wrong[0], wrong[1], showURL(l.to))
		}
	}
	return nil
}

func (s *session) unknownScope() error {
	const wish = "doorward-probe:everything"
	l, c, err := s.asked("", s.browser, func(q url.Values) { q.Set("scope", strings.TrimSpace(q.Get("scope")+" "+wish)) })
	if err != nil {
		return err
	}
	switch {
	case ours(l.to, c.redirect) && l.query().Get("error") != "":
		return nil
	case l.to != nil && !ours(l.to, c.redirect):
		return elsewhere(l.to)
	case l.to == nil && l.stuck == nil && l.status >= 400:
		return nil
	}
	k, err := s.fresh(func(q url.Values) { q.Set("scope", strings.TrimSpace(q.Get("scope")+" "+wish)) })
	if err != nil {
		return err
	}
	g, err := s.redeem(k)
	if err != nil {
		return err
	}
	scope, stated := g.answer.member("scope").(string)
	switch {
	case !stated:
		return brokenf("a scope that does not exist was asked for, and the token response does not say that it was left out")
	case slices.Contains(strings.Fields(scope), wish):
		return brokenf("the scope %q was granted", wish)
	}
	return nil
}

func (s *session) noChallenge() error {
	l, c, err := s.asked("", s.browser, func(q url.Values) {
		q.Del("code_challenge")
		q.Del("code_challenge_method")
	})
	return turnedDown(l, err, c, "a request without code_challenge")
}

func challenge(method string, value func() string) func(*session) error {
	return func(s *session) error {
		l, c, err := s.asked("", s.browser, func(q url.Values) {
			q.Set("code_challenge", value())
			q.Del("code_challenge_method")
			if method != "" {
				q.Set("code_challenge_method", method)
			}
		})
		return turnedDown(l, err, c, "such a challenge")
	}
}

func (s *session) twiceAuthorize() error {
	l, c, err := s.asked("", s.browser, func(q url.Values) { q.Add("response_type", "code") })
	return turnedDown(l, err, c, "a repeated response_type")
}

func (s *session) twiceRedirect() error {
	l, c, err := s.asked("", s.browser, func(q url.Values) { q.Add("redirect_uri", evilURI) })
	if toldTheClient(l, err, c) {
		return nil
	}
	return sentNowhere(l, err, evilURI)
}

// resourceRule tries a resource; one that begins with # is put behind the
// right one.
func resourceRule(resource string) func(*session) error {
	return func(s *session) error {
		right := s.resource()
		l, c, err := s.asked("", s.browser, func(q url.Values) {
			if strings.HasPrefix(resource, "#") {
				if right == "" {
					right = "https://mcp.doorward-probe.invalid/mcp"
				}
				q.Set("resource", right+resource)
				return
			}
			q.Set("resource", resource)
		})
		return turnedDown(l, err, c, "such a resource")
	}
}

var answerRules = []Rule{
	{"AS-AUTHZ-08.iss", "a success names the issuer", "RFC 9207 section 2", "Put iss, the issuer as published, into every authorization response.", (*session).issOnSuccess},
	{"AS-AUTHZ-08.error", "an error names the issuer", "RFC 9207 section 2", "Put iss into error responses as well.", (*session).issOnError},
	{"AS-META-06.flag", "the metadata says that iss is sent", "RFC 9207 section 3", "Publish authorization_response_iss_parameter_supported: true.", (*session).issFlag},
	{"AS-AUTHZ-09.state", "a success brings state back unchanged", "OAuth 2.1 section 4.1.2", "Send state back as it came.", (*session).stateOnSuccess},
	{"AS-AUTHZ-03.state", "an error brings state back unchanged", "OAuth 2.1 section 4.1.2.1", "Send state back with every error, also of a request that could not be understood.", (*session).stateOnError},
	{"AS-AUTHZ-09.none", "no state is sent if none came", "OAuth 2.1 section 4.1.2", "Leave state out if the request had none.", (*session).noState},
	{"AS-AUTHZ-09.once", "nothing stands twice in an authorization response", "OAuth 2.1 section 4.1.2", "Send each parameter once.", (*session).onceOnSuccess},
}

// anError is an authorization response with an error, which needs nobody to
// sign in at most servers.
func (s *session) anError(change func(url.Values)) (url.Values, url.Values, error) {
	var sent url.Values
	l, c, err := s.asked("", newVisitor(), func(q url.Values) {
		q.Set("response_type", "doorward-probe")
		if change != nil {
			change(q)
		}
		sent = q
	})
	switch {
	case err != nil:
		return nil, nil, err
	case l.to == nil || !ours(l.to, c.redirect):
		return nil, nil, errors.New("an unknown response_type was not answered at the redirect URI")
	}
	return sent, l.query(), nil
}

func (s *session) issOnSuccess() error {
	b, err := s.baseline()
	if err != nil {
		return err
	}
	s.show("basis")
	if got := b.code.answer["iss"]; !slices.Equal(got, []string{s.c.Issuer}) {
		return brokenf("iss is %q, not %q", got, s.c.Issuer)
	}
	return nil
}

func (s *session) issOnError() error {
	_, got, err := s.anError(nil)
	if err != nil {
		return err
	}
	if iss := got["iss"]; !slices.Equal(iss, []string{s.c.Issuer}) {
		return brokenf("iss is %q, not %q", iss, s.c.Issuer)
	}
	return nil
}

func (s *session) issFlag() error {
	s.show("metadata")
	if flag, _ := s.meta.members["authorization_response_iss_parameter_supported"].(bool); !flag {
		return brokenf("authorization_response_iss_parameter_supported is not true")
	}
	return nil
}

func (s *session) stateOnSuccess() error {
	const state = "a b+c/~%41=&é"
	k, err := s.fresh(func(q url.Values) { q.Set("state", strings.TrimSuffix(state, "é")+random()) })
	if err != nil {
		return err
	}
	if got := k.answer["state"]; len(got) != 1 || !strings.HasPrefix(got[0], strings.TrimSuffix(state, "é")) {
		return brokenf("state came back as %q", got)
	}
	return nil
}

func (s *session) stateOnError() error {
	sent, got, err := s.anError(nil)
	if err != nil {
		return err
	}
	if !slices.Equal(sent["state"], got["state"]) {
		return brokenf("state was %q and came back as %q", sent["state"], got["state"])
	}
	return nil
}

func (s *session) noState() error {
	_, got, err := s.anError(func(q url.Values) { q.Del("state") })
	if err != nil {
		return err
	}
	if got.Has("state") {
		return brokenf("state came back as %q", got["state"])
	}
	return nil
}

func (s *session) onceOnSuccess() error {
	b, err := s.baseline()
	if err != nil {
		return err
	}
	s.show("basis")
	for _, name := range []string{"code", "state", "iss", "error"} {
		if n := len(b.code.answer[name]); n > 1 {
			return brokenf("%s stands %d times in the answer", name, n)
		}
	}
	return nil
}
