package probe

import (
	"errors"
	"net/http"
	"net/url"
)

var formRules = []Rule{
	{"AS-AUTHZ-07.login", "the redirect after the sign-in form does not repeat the form", "OAuth 2.1 section 7.5.3, SEC-29", "Answer 303: a browser repeats a form, with its password, after 307 and 308.", after(loginKind)},
	{"AS-AUTHZ-07.consent", "the redirect after the consent form does not repeat the form", "OAuth 2.1 section 7.5.3, SEC-29", "Answer 303, not 307 or 308.", after(consentKind)},
	{"AS-UI-02.login", "another site's form signs nobody in", "MCP security best practices, SEC-25", "Put a token that is bound to this browser into the sign-in form, and check it.", (*session).foreignLogin},
	{"AS-UI-02.consent", "another session's consent form gives no consent", "MCP security best practices, SEC-25", "Put a token that is bound to this session and this request into the consent form, and check it.", (*session).foreignConsent},
	{"AS-UI-07.again", "a client that proves nothing is asked for again", "RFC 8252 section 8.6, SEC-16", "Show the consent page every time to public clients on loopback: any program on the machine can be them.", (*session).consentAgain},
}

func after(kind string) func(*session) error {
	return func(s *session) error {
		if _, err := s.whole(); err != nil {
			return err
		}
		s.show("journey")
		p := s.journey.page(kind)
		if p == nil || p.after == nil || p.after.status == 0 {
			return notHere("the server showed no " + kind)
		}
		if p.after.status == http.StatusTemporaryRedirect || p.after.status == http.StatusPermanentRedirect {
			return brokenf("the form of the %s is answered with %d", kind, p.after.status)
		}
		return nil
	}
}

// foreignLogin sends the sign-in form of one browser from another one that has
// no cookies, as a form on a foreign site would.
func (s *session) foreignLogin() error {
	if s.c.User == "" {
		return errNobody
	}
	if _, err := s.whole(); err != nil {
		return err
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
	l, err := s.walk(newVisitor(), start, atKind(loginKind))
	if err != nil {
		return err
	}
	p := l.page(loginKind)
	if p == nil {
		return notHere("the server showed no sign-in page")
	}
	p.form.Fill(s.c.User, s.c.Password)
	victim := newVisitor()
	if _, err := s.sendForeign(victim, p); err != nil {
		return err
	}
	if l, err = s.walk(victim, start, anyForm); err != nil {
		return err
	}
	if l.page(loginKind) == nil && (l.page(consentKind) != nil || l.query().Get("code") != "") {
		return brokenf("a browser that never saw the sign-in page is signed in by a form of another site")
	}
	return nil
}

// sendForeign sends a page's form as a page of another site would, with the
// cookies of that browser.
func (s *session) sendForeign(v *visitor, p *page) (*answer, error) {
	req, err := p.form.Request(s.ctx)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Origin", "https://evil.doorward-probe.invalid")
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	return s.send(v, req)
}

// foreignConsent sends the consent form of one session with the cookies of
// another: whoever made a page that does that would have consented for them.
func (s *session) foreignConsent() error {
	victim, err := s.whole()
	if err != nil {
		return err
	}
	if s.journey.page(consentKind) == nil {
		return notHere("the server showed no consent page")
	}
	c, err := s.client(otherRole) // which nobody has consented to
	if err != nil {
		c = s.traveller
	}
	l, err := s.askedBy(c, newVisitor(), atKind(consentKind))
	if err != nil {
		return err
	}
	p := l.page(consentKind)
	if p == nil {
		return errors.New("the consent page did not come a second time")
	}
	a, err := s.sendForeign(s.copyOf(victim), p)
	if err != nil {
		return err
	}
	to, err := a.url.Parse(a.header.Get("Location"))
	if err == nil && a.status/100 == 3 && ours(to, c.redirect) && to.Query().Get("code") != "" {
		s.wire.secret(to.Query().Get("code"))
		return brokenf("a form of another site, made in another session, brought a code")
	}
	return nil
}

// askedBy walks with a request that has everything right.
func (s *session) askedBy(c *registered, v *visitor, until stop) (*landing, error) {
	q, _ := s.request(c)
	start, err := s.authorizeURL(q)
	if err != nil {
		return nil, err
	}
	l, err := s.walk(v, start, until)
	if err == nil && l.stuck != nil {
		err = l.stuck
	}
	return l, err
}

func (s *session) consentAgain() error {
	v, err := s.whole()
	if err != nil {
		return err
	}
	c := s.traveller
	u, err := url.Parse(c.redirect)
	if err != nil || !c.public() || u.Scheme != "http" {
		return notHere("the client is not a public one on loopback")
	}
	s.show("journey")
	if s.journey.page(consentKind) == nil {
		return brokenf("a client that just registered itself got a code without anybody's consent")
	}
	l, err := s.askedBy(c, s.copyOf(v), atKind(consentKind))
	if err != nil {
		return err
	}
	if l.page(consentKind) == nil && l.query().Get("code") != "" {
		return brokenf("the second time the client got a code without a question")
	}
	return nil
}
