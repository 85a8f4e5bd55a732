// Package browse is somebody at a browser without JavaScript: they type their
// name and password where a page asks for them and press the first button of
// the first form. It is what the demo's people and the tests' people sign in
// with. Read [Person.Open] first.
package browse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"

	"golang.org/x/net/html"
)

// Person is somebody at a browser, with their cookies.
type Person struct {
	name, password string
	http           *http.Client
}

// New seats a person at a browser whose requests wire carries.
func New(name, password string, wire http.RoundTripper) (*Person, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &Person{name, password, &http.Client{Transport: wire, Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
}

// Open goes where a program sends the browser (an authorization URL), until it
// came back to the program: to its redirect_uri or, where that was pushed
// (RFC 9126), to another host with an answer. Where it was sent to no program
// (RFC 8628), the end is a page that asks nothing more.
func (p *Person) Open(ctx context.Context, start string) error {
	at, err := url.Parse(start)
	if err != nil {
		return err
	}
	back, err := url.Parse(at.Query().Get("redirect_uri"))
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, start, nil)
	if err != nil {
		return err
	}
	sent := false // a form
	for range 30 {
		sent = sent || req.Method == http.MethodPost
		resp, err := p.http.Do(req)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		resp.Body.Close()
		switch {
		case err != nil:
			return err
		case req.URL.Host == back.Host && req.URL.Path == back.Path,
			back.Host == "" && req.URL.Host != at.Host && answers(req.URL.Query()):
			return nil
		case resp.StatusCode >= 300 && resp.StatusCode < 400:
			next, err := resp.Location()
			if err != nil {
				return err
			}
			if req, err = http.NewRequestWithContext(ctx, http.MethodGet, next.String(), nil); err != nil {
				return err
			}
		case resp.StatusCode != http.StatusOK:
			return fmt.Errorf("%s answered %s", req.URL.Path, resp.Status)
		default:
			if req, err = p.fill(ctx, req.URL, string(body)); errors.Is(err, errNoForm) && sent && back.Host == "" {
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
	return errors.New("thirty pages and no way back")
}

// answers reports whether this is an authorization response.
func answers(q url.Values) bool { return q.Has("state") && (q.Has("code") || q.Has("error")) }

// fill fills the first form of a page and presses its first button.
func (p *Person) fill(ctx context.Context, page *url.URL, body string) (*http.Request, error) {
	form, err := ReadForm(page, body)
	if err != nil {
		return nil, err
	}
	form.Fill(p.name, p.password)
	return form.Request(ctx)
}

// Form is the first form of a page, as it will be sent with its first button.
type Form struct {
	Action *url.URL
	Values url.Values

	page             *url.URL
	names, passwords []string // fields that somebody types into
}

var errNoForm = errors.New("no form")

// ReadForm finds the first form of a page.
func ReadForm(page *url.URL, body string) (*Form, error) {
	doc, err := html.Parse(strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	form := first(doc, "form")
	if form == nil {
		return nil, fmt.Errorf("%s has %w", page.Path, errNoForm)
	}
	f := &Form{Values: url.Values{}, page: page}
	for n := range form.Descendants() {
		if n.Type != html.ElementNode || n.Data != "input" {
			continue
		}
		name := attr(n, "name")
		switch attr(n, "type") {
		case "password":
			f.passwords = append(f.passwords, name)
		case "", "text", "email":
			if value := attr(n, "value"); value != "" { // the page knows it already
				f.Values.Set(name, value)
				continue
			}
			f.names = append(f.names, name)
		default:
			f.Values.Set(name, attr(n, "value"))
		}
	}
	if b := first(form, "button"); b != nil && attr(b, "name") != "" {
		f.Values.Set(attr(b, "name"), attr(b, "value"))
	}
	f.Action, err = page.Parse(attr(form, "action"))
	return f, err
}

// SignsIn reports whether the form asks for a name or a password.
func (f *Form) SignsIn() bool { return len(f.names)+len(f.passwords) > 0 }

// Fill types a name and a password where the form asks for them.
func (f *Form) Fill(name, password string) {
	for _, field := range f.names {
		f.Values.Set(field, name)
	}
	for _, field := range f.passwords {
		f.Values.Set(field, password)
	}
}

// Request is the form on its way, as a page of the same site sends it.
func (f *Form) Request(ctx context.Context) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.Action.String(), strings.NewReader(f.Values.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", f.page.Scheme+"://"+f.page.Host)
	return req, nil
}

func first(n *html.Node, element string) *html.Node {
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && d.Data == element {
			return d
		}
	}
	return nil
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}
