package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"doorward"
	"doorward/authserver"
	"doorward/internal/browse"
	"doorward/store/sqlite"
)

const (
	password = "alice-password-12"
	secret   = "a secret of the gate, over there"
)

// open serves what is put into it, at an address that is known before.
func open(t *testing.T) (url string, put func(http.Handler)) {
	t.Helper()
	var h http.Handler
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, r) }))
	t.Cleanup(srv.Close)
	return srv.URL, func(to http.Handler) { h = to }
}

func memory(t *testing.T) *sqlite.Store {
	t.Helper()
	db, err := sqlite.Open(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// A client that knows our server only calls the provider's API as the person who
// signed in there.
func TestProxy(t *testing.T) {
	ours, putOurs := open(t)
	theirs, putTheirs := open(t)
	provider, err := authserver.New(authserver.Config{
		URL: theirs, Store: memory(t), Audiences: map[string]authserver.Audience{},
		SignIn:  authserver.LocalPeople(map[string]authserver.LocalPerson{"alice": {Password: password}}),
		Clients: map[string]authserver.Client{"gate": {Secret: secret, RedirectURIs: []string{ours + "/callback/separate"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer provider.Close()
	var shown string // to the provider's API
	putTheirs(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/userinfo" {
			shown = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		}
		provider.ServeHTTP(w, r)
	}))
	as, err := build(ours, memory(t), theirs+"/userinfo", authserver.Separate{Issuer: theirs, ClientID: "gate", ClientSecret: secret})
	if err != nil {
		t.Fatal(err)
	}
	defer as.Close()
	var given string // by the client
	putOurs(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/mcp" {
			given = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		}
		as.ServeHTTP(w, r)
	}))

	alice, err := browse.New("alice", password, http.DefaultTransport)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &doorward.Transport{Flow: &doorward.AuthorizationCode{ClientName: "example",
		Open: func(ctx context.Context, at string) error { return alice.Open(ctx, at) }}}}
	res, err := client.Post(ours+"/mcp", "application/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	var who struct{ Sub string }
	if err != nil || res.StatusCode != 200 || json.Unmarshal(body, &who) != nil || who.Sub != "alice" {
		t.Errorf("%s %s, %v", res.Status, body, err)
	}
	if shown == "" || given == "" || shown == given {
		t.Error("the client's token and the provider's are not two")
	}
}
