package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"doorward"
	"doorward/authserver"
	"doorward/internal/browse"
	"doorward/store/sqlite"
)

const (
	password = "alice-password-12"
	secret   = "nightly-secret-of-some-length"
)

// api is an HTTP API that says who calls, and its issuer.
func api(t *testing.T) (url, issuer string) {
	t.Helper()
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	var engine http.Handler
	as := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { engine.ServeHTTP(w, r) }))
	t.Cleanup(as.Close)
	db, err := sqlite.Open(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s, err := authserver.New(authserver.Config{
		URL: as.URL, Store: db, Registration: authserver.Registration{Mode: "open"},
		SignIn:    authserver.LocalPeople(map[string]authserver.LocalPerson{"alice": {Password: password}}),
		Clients:   map[string]authserver.Client{"nightly": {Secret: secret, GrantTypes: []string{"client_credentials"}}},
		Resources: []authserver.Resource{{ID: srv.URL + "/v1", Name: "notes", Allow: []authserver.Rule{{Who: []string{"everyone", "client:nightly"}}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	engine = s
	g, err := doorward.NewGuard(doorward.GuardConfig{Resource: srv.URL + "/v1", Issuers: []string{as.URL}})
	if err != nil {
		t.Fatal(err)
	}
	g.Mount(mux, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, _ := doorward.CallerFrom(r.Context())
		fmt.Fprintf(w, "%s %s for %s", r.Method, r.URL.Path, who.Subject)
	}))
	return srv.URL + "/v1", as.URL
}

// The same http.Client reads several paths of one API with one token: for the
// program itself, and for the person at the browser.
func TestHTTPClient(t *testing.T) {
	url, issuer := api(t)
	alice, err := browse.New("alice", password, http.DefaultTransport)
	if err != nil {
		t.Fatal(err)
	}
	visits := 0
	for who, flow := range map[string]doorward.Flow{
		"client:nightly": &doorward.ClientCredentials{Client: doorward.Credentials{Issuer: issuer, ID: "nightly", Secret: secret}},
		"alice": &doorward.AuthorizationCode{ClientName: "httpclient", Open: func(ctx context.Context, at string) error {
			visits++
			return alice.Open(ctx, at)
		}},
	} {
		client := &http.Client{Transport: &doorward.Transport{Flow: flow}}
		for _, path := range []string{"/notes", "/notes/1", "/notes"} {
			if said, err := get(client, url+path); err != nil || said != "GET /v1"+path+" for "+who {
				t.Errorf("%s: %q, %v", who, said, err)
			}
		}
	}
	if visits != 1 {
		t.Errorf("she was asked %d times", visits)
	}
	if said, err := get(http.DefaultClient, url+"/notes"); err == nil {
		t.Errorf("without a Transport: %s", said)
	}
}
