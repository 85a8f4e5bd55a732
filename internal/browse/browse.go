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
// came back to the program's redirect_uri.
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
	for range 30 {
		resp, err := p.http.Do(req)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		resp.Body.Close()
		switch {
		case err != nil:
			return err
		case req.URL.Host == back.Host && req.URL.Path == back.Path:
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
			if req, err = p.fill(ctx, req.URL, string(body)); err != nil {
				return err
			}
		}
	}
	return errors.New("thirty pages and no way back")
}

// fill fills the first form of a page and presses its first button.
func (p *Person) fill(ctx context.Context, page *url.URL, body string) (*http.Request, error) {
	doc, err := html.Parse(strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	form := first(doc, "form")
	if form == nil {
		return nil, fmt.Errorf("%s has no form", page.Path)
	}
	values := url.Values{}
	for n := range form.Descendants() {
		if n.Type != html.ElementNode || n.Data != "input" {
			continue
		}
		switch attr(n, "type") {
		case "password":
			values.Set(attr(n, "name"), p.password)
		case "", "text", "email":
			values.Set(attr(n, "name"), p.name)
		default:
			values.Set(attr(n, "name"), attr(n, "value"))
		}
	}
	if b := first(form, "button"); b != nil && attr(b, "name") != "" {
		values.Set(attr(b, "name"), attr(b, "value"))
	}
	action, err := page.Parse(attr(form, "action"))
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, action.String(), strings.NewReader(values.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", page.Scheme+"://"+page.Host)
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
