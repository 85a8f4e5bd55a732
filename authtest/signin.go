package authtest

import (
	"context"
	"crypto/rand"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/oauth2"

	"doorward/internal/browse"
)

// IDToken signs a person in at the identity provider, through its pages, and
// returns the ID token that the client got. The test ends if that fails.
func (w *World) IDToken(person string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conf := oauth2.Config{
		ClientID: IdPClientID, ClientSecret: IdPClientSecret, Scopes: []string{"openid"},
		Endpoint: oauth2.Endpoint{AuthURL: w.IdP + "/authorize", TokenURL: w.IdP + "/token", AuthStyle: oauth2.AuthStyleInHeader},
	}
	verifier := oauth2.GenerateVerifier()
	code := w.callback(func(redirect string) error {
		conf.RedirectURL = redirect
		return w.Browser(person).Open(ctx, conf.AuthCodeURL(rand.Text(), oauth2.S256ChallengeOption(verifier)))
	}).Get("code")
	tok, err := conf.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		w.t.Fatalf("%s did not get an ID token: %v", person, err)
	}
	id, ok := tok.Extra("id_token").(string)
	if !ok {
		w.t.Fatal("the identity provider sent no ID token")
	}
	return id
}

// Browser is the person at a browser of their own: Open goes to an
// authorization URL, signs in, consents and comes back to the redirect_uri.
func (w *World) Browser(person string) Browser {
	w.t.Helper()
	p, err := browse.New(person, w.people[person].Password, http.DefaultTransport)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// Browser opens authorization URLs. Its Open fits doorward.AuthorizationCode.
type Browser interface {
	Open(ctx context.Context, url string) error
}

// callback listens for one authorization response while visit goes there.
func (w *World) callback(visit func(redirect string) error) url.Values {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	got := make(chan url.Values, 1)
	srv := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case got <- r.URL.Query():
		default:
		}
	})}
	go srv.Serve(l)
	defer srv.Close()
	if err := visit("http://" + l.Addr().String() + "/callback"); err != nil {
		w.t.Fatalf("the browser did not come back: %v", err)
	}
	q := <-got
	if q.Get("code") == "" {
		w.t.Fatalf("the browser came back without a code: %s %s", q.Get("error"), q.Get("error_description"))
	}
	return q
}
