package main

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"doorward/internal/oauth"
)

// answerTo is the authorization request that an answer belongs to.
type answerTo struct {
	issuer, state string
	iss           bool // the issuer says that it sends iss
}

// check reads the authorization response: iss before anything else (RFC 9207
// section 2.4), each parameter once. mine: it has the state of this request;
// another one ends nothing.
func (a answerTo) check(q url.Values) (code string, mine bool, err error) {
	for _, state := range q["state"] {
		mine = mine || subtle.ConstantTimeCompare([]byte(state), []byte(a.state)) == 1
	}
	if !mine {
		return "", false, errors.New("the answer belongs to another sign-in (state)")
	}
	for _, name := range []string{"code", "state", "iss", "error"} {
		if len(q[name]) > 1 {
			return "", true, fmt.Errorf("the answer of %s repeats %s", a.issuer, name)
		}
	}
	switch {
	case q.Get("iss") != a.issuer && (q.Has("iss") || a.iss):
		return "", true, fmt.Errorf("the answer is not of %s (iss)", a.issuer)
	case q.Get("error") != "":
		return "", true, &oauth.Error{Code: oauth.Printable(q.Get("error")), Description: oauth.Printable(q.Get("error_description"))}
	case q.Get("code") == "":
		return "", true, fmt.Errorf("the answer of %s has no code", a.issuer)
	}
	return q.Get("code"), true, nil
}

// callback is a listener on loopback for one authorization response.
type callback struct {
	uri    string
	answer answerTo
	over   atomic.Bool
	got    chan received
	good   chan bool // whether the code brought a sign-in
	srv    *http.Server
}

type received struct {
	code string
	err  error
}

func listenCallback(redirect string, a answerTo) (*callback, error) {
	u, err := url.Parse(redirect)
	if err != nil {
		return nil, err
	}
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = "0"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("cannot listen for the browser's return: %w", err)
	}
	u.Host = net.JoinHostPort(host, fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
	c := &callback{uri: u.String(), answer: a, got: make(chan received, 1), good: make(chan bool, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+u.Path, c.serve)
	c.srv = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go c.srv.Serve(l)
	return c, nil
}

// serve shows how the sign-in ended, once that is known.
func (c *callback) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	page := func(status int, title, text string) {
		w.WriteHeader(status)
		io.WriteString(w, "<!doctype html><meta charset=utf-8><title>"+title+"</title><h1>"+title+"</h1><p>"+text+"</p>")
	}
	code, mine, err := c.answer.check(r.URL.Query())
	if !mine || c.over.Swap(true) {
		page(http.StatusBadRequest, "Not open here", "This answer belongs to no sign-in that is open here. Nothing was done with it.")
		return
	}
	c.got <- received{code, err}
	if err == nil && <-c.good {
		page(http.StatusOK, "Signed in", "You can close this window and go back to the program.")
		return
	}
	page(http.StatusBadRequest, "Not signed in", "The program that sent you here says why. Close this window and go back there.")
}

// settle says what became of the code; the first word counts.
func (c *callback) settle(good bool) {
	select {
	case c.good <- good:
	default:
	}
}

// wait returns the code of the answer, or why there is none.
func (c *callback) wait(ctx context.Context, opened <-chan error) (string, error) {
	for {
		select {
		case r := <-c.got:
			return r.code, r.err
		case err := <-opened:
			if opened = nil; err == nil {
				continue
			}
			select { // the answer may have come before the browser failed
			case r := <-c.got:
				return r.code, r.err
			default:
				return "", fmt.Errorf("the browser did not come back from %s: %w", c.answer.issuer, err)
			}
		case <-ctx.Done():
			return "", fmt.Errorf("nobody signed in: %w", ctx.Err())
		}
	}
}

func (c *callback) close() {
	c.settle(false)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c.srv.Shutdown(ctx)
}
