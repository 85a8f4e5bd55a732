package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"doorward"
	"doorward/authserver"
	"doorward/internal/browse"
	"doorward/store/sqlite"
)

const password = "alice-password-12"

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

// A client registers at the company's server, signs the person in there and gets
// its token, all by our address.
func TestPassthrough(t *testing.T) {
	ours, putOurs := open(t)
	theirs, putTheirs := open(t)
	company, err := authserver.New(authserver.Config{
		URL: theirs, Store: memory(t), Registration: authserver.Registration{Mode: "open"},
		SignIn:    authserver.LocalPeople(map[string]authserver.LocalPerson{"alice": {Password: password}}),
		Resources: []authserver.Resource{{ID: ours + "/mcp", Name: "notes", Allow: []authserver.Rule{{Who: []string{"everyone"}}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer company.Close()
	putTheirs(company)
	as, err := build(ours, memory(t), authserver.Separate{Issuer: theirs})
	if err != nil {
		t.Fatal(err)
	}
	defer as.Close()
	putOurs(as)

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
	if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 || string(body) != "alice of "+theirs {
		t.Errorf("%s %s, %v", res.Status, body, err)
	}
}
