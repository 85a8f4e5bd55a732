package probe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"time"

	"doorward/internal/browse"
)

// visitor is a browser without JavaScript that keeps its cookies.
type visitor struct {
	jar *cookiejar.Jar
}

func newVisitor() *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic("probe: cookie jar: " + err.Error()) // without options it never fails
	}
	return &visitor{jar}
}

// The kinds of pages on the way.
const (
	loginKind   = "sign-in page"
	consentKind = "consent page"
	otherKind   = "page"
)

// page is one that was shown on the way, and how its form was answered.
type page struct {
	*answer
	kind   string
	form   *browse.Form
	before []*http.Cookie // the browser's cookies when it came
	after  *answer        // to the form; nil: it was not sent
}

// landing is where a walk ended: away from the server (to), or at a page of
// its own.
type landing struct {
	to      *url.URL // where the browser was sent; nil: nowhere
	status  int
	pages   []page
	answers []*answer // all of them
	at      *answer   // the last one
	stuck   error     // why the walk could not go on; nil: it was over
}

// query is what the redirect says, fragment and all.
func (l *landing) query() url.Values {
	if l.to == nil {
		return nil
	}
	q := l.to.Query()
	if f, err := url.ParseQuery(l.to.EscapedFragment()); err == nil {
		maps.Copy(q, f)
	}
	return q
}

func (l *landing) page(kind string) *page {
	i := slices.IndexFunc(l.pages, func(p page) bool { return p.kind == kind })
	if i < 0 {
		return nil
	}
	return &l.pages[i]
}

// errNotAccepted is why a walk ends at a sign-in page after somebody signed in.
var errNotAccepted = errors.New("the sign-in page came back: --user and --password were not accepted")

// errNobody is why a walk ends at a sign-in page.
var errNobody = errors.New("this needs somebody who signs in: give --user and --password (with the system's browser the pages on the way cannot be seen)")

// How far a walk goes: up to a page of a kind, or to its end.
type stop func(p *page) bool

func never(*page) bool               { return false }
func anyForm(p *page) bool           { return p.form != nil }
func atKind(kind string) stop        { return func(p *page) bool { return p.kind == kind } }
func (w *wire) away(u *url.URL) bool { return u.Scheme != w.issuer.Scheme || u.Host != w.issuer.Host }

// walk goes where an authorization URL leads: it follows redirects within the
// server, signs in, presses the first button of each form, and ends where the
// server sends the browser away or has nothing more to press.
func (s *session) walk(v *visitor, start string, until stop) (*landing, error) {
	l := &landing{}
	req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, start, nil)
	if err != nil {
		return nil, err
	}
	signedIn := 0
	for range 25 {
		a, err := s.send(v, req)
		if err != nil {
			return nil, err
		}
		l.at, l.status, l.answers = a, a.status, append(l.answers, a)
		if n := len(l.pages); n > 0 && l.pages[n-1].after == nil {
			l.pages[n-1].after = a
		}
		if a.status/100 == 3 {
			to, err := a.url.Parse(a.header.Get("Location"))
			if err != nil {
				return nil, fmt.Errorf("the Location of %s cannot be read", a.url.Path)
			}
			if s.wire.away(to) {
				l.to = to
				s.wire.secret(to.Query().Get("code"))
				return l, nil
			}
			if req, err = http.NewRequestWithContext(s.ctx, http.MethodGet, to.String(), nil); err != nil {
				return nil, err
			}
			continue
		}
		p := s.pageOf(v, a)
		l.pages = append(l.pages, p)
		switch {
		case signedIn > 0 && a.status/100 == 4 && asksAgain(a):
			return nil, errNotAccepted
		case a.status != http.StatusOK || p.form == nil || until(&p):
			l.pages[len(l.pages)-1].after = &answer{}
			return l, nil
		case p.kind == loginKind && s.c.User == "":
			l.stuck = errNobody
			return l, nil
		case p.kind == loginKind && signedIn == 3:
			return nil, errNotAccepted
		case p.kind == loginKind:
			signedIn++
			p.form.Fill(s.c.User, s.c.Password)
		}
		if req, err = p.form.Request(s.ctx); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("twenty-five pages and no end")
}

// send is one request of a browser.
func (s *session) send(v *visitor, req *http.Request) (*answer, error) {
	for _, c := range v.jar.Cookies(req.URL) {
		req.AddCookie(c)
		s.wire.secret(c.Value)
	}
	req.Header.Set("Accept", "text/html")
	a, err := s.wire.do(req)
	if a != nil {
		cookies := (&http.Response{Header: a.header}).Cookies()
		v.jar.SetCookies(a.url, cookies)
	}
	return a, err
}

func (s *session) pageOf(v *visitor, a *answer) page {
	p := page{answer: a, kind: otherKind, before: v.jar.Cookies(a.url)}
	if !isType(a.header, "text/html") && !isType(a.header, "application/xhtml+xml") {
		return p
	}
	form, err := browse.ReadForm(a.url, a.body)
	if err != nil || a.status != http.StatusOK {
		return p
	}
	p.form, p.kind = form, consentKind
	if form.SignsIn() {
		p.kind = loginKind
	}
	return p
}

// asksAgain reports whether a refusal is a page to sign in at.
func asksAgain(a *answer) bool {
	form, err := browse.ReadForm(a.url, a.body)
	return err == nil && form.SignsIn()
}

// copyOf is a browser with the same cookies for the server.
func (s *session) copyOf(v *visitor) *visitor {
	c := newVisitor()
	root, err := url.Parse(s.meta.text("authorization_endpoint"))
	if err == nil {
		c.jar.SetCookies(root, v.jar.Cookies(root))
	}
	return c
}

// catch waits for the one answer that the system's browser brings to the
// probe's own redirect URI.
func (s *session) catch(state string) (url.Values, error) {
	patience := s.c.Patience
	if patience == 0 {
		patience = 3 * time.Minute
	}
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	for {
		select {
		case q := <-s.callback.got:
			if q.Get("state") == state {
				s.wire.secret(q.Get("code"))
				return q, nil
			}
		case <-ctx.Done():
			s.c.Open = nil // who is not there is not asked again
			return nil, errors.New("nobody came back from the browser in time")
		}
	}
}

// ours reports whether a redirect leads to the redirect URI that was asked for.
func ours(to *url.URL, redirect string) bool {
	return to != nil && (to.String() == redirect || strings.HasPrefix(to.String(), redirect+"?") || strings.HasPrefix(to.String(), redirect+"&") || strings.HasPrefix(to.String(), redirect+"#"))
}
