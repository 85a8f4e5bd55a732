package authtest

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"doorward/internal/browse"
)

// Visit is a person at a browser: it goes to an authorization URL, signs in,
// says yes, and returns where the browser was sent at last: the redirect URI
// with its answer. Nobody listens there (it may be https://claude.ai/… or
// cursor://…), so the browser has to be stopped on the way.
type Visit func(ctx context.Context, authorize string) (*url.URL, error)

// PersonAt is somebody at a browser without JavaScript, who types their name
// and password where a page asks for them and presses the first button of the
// first form. wire carries the browser's requests; nil: http.DefaultTransport.
func PersonAt(name, password string, wire http.RoundTripper) (Visit, error) {
	if wire == nil {
		wire = http.DefaultTransport
	}
	p, err := browse.New(name, password, catcher{wire})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, authorize string) (*url.URL, error) {
		at, err := url.Parse(authorize)
		if err != nil {
			return nil, err
		}
		c := &caught{}
		if c.back, err = url.Parse(at.Query().Get("redirect_uri")); err != nil {
			return nil, err
		}
		if err := p.Open(context.WithValue(ctx, caughtKey{}, c), authorize); err != nil {
			return nil, err
		}
		if c.got == nil {
			return nil, errors.New("the browser never came back")
		}
		return c.got, nil
	}, nil
}

// Visit is a person of the world at their browser.
func (w *World) Visit(person string) Visit {
	w.t.Helper()
	v, err := PersonAt(person, w.people[person].Password, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// caught is the way back of one visit.
type caught struct{ back, got *url.URL }

type caughtKey struct{}

// catcher stops the browser at the redirect URI of the visit.
type catcher struct{ wire http.RoundTripper }

func (c catcher) RoundTrip(r *http.Request) (*http.Response, error) {
	if v, ok := r.Context().Value(caughtKey{}).(*caught); ok && r.URL.Scheme == v.back.Scheme && r.URL.Host == v.back.Host && r.URL.Path == v.back.Path {
		v.got = r.URL
		return &http.Response{Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
	}
	return c.wire.RoundTrip(r)
}
