package rig

import (
	"net/http"
	"net/http/httptest"
	"net/url"
)

// Wire is the network of a browser whose person is signed in at Glewlwyd, and
// gave a client scopes there: its own pages need JavaScript.
func (g *Glewlwyd) Wire(name, password, client, scope string) (http.RoundTripper, error) {
	cookies, err := g.Cookies(name, password, client, scope)
	if err != nil {
		return nil, err
	}
	at, err := url.Parse(g.base)
	return signedIn{at.Host, cookies}, err
}

type signedIn struct {
	host    string
	cookies []*http.Cookie
}

// RoundTrip goes on from its page as its script does for somebody who is signed
// in: back, with g_continue.
func (s signedIn) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != s.host {
		return http.DefaultTransport.RoundTrip(r)
	}
	if r.URL.Path == "/login.html" {
		answer := httptest.NewRecorder()
		answer.Header().Set("Location", r.URL.Query().Get("callback_url")+"&g_continue")
		answer.WriteHeader(http.StatusFound)
		res := answer.Result()
		res.Request = r
		return res, nil
	}
	r = r.Clone(r.Context())
	for _, c := range s.cookies {
		r.AddCookie(c)
	}
	return http.DefaultTransport.RoundTrip(r)
}
