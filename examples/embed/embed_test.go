package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"doorward/authserver"
	"doorward/authtest"
)

func TestEmbed(t *testing.T) {
	h, err := build("http://127.0.0.1:8080", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	defer srv.Close()
	resp, err := http.Get(srv.URL + "/mcp")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != http.StatusUnauthorized || !strings.Contains(got, "resource_metadata=") {
		t.Errorf("status %d, WWW-Authenticate %q", resp.StatusCode, got)
	}
}

// The identity provider's part of the configuration, and the tests' world, from
// another module.
func TestTypesAreReachable(t *testing.T) {
	_ = authserver.Audience{
		Resources: nil, ClientIDs: map[string]string{}, Subject: "sub", Claims: nil, PublicClients: nil,
		Allow: []authserver.Rule{{Who: []string{"everyone"}, Resources: []string{"*"}}}, Deny: nil,
	}
	w := authtest.New(t, authtest.Config{})
	if w.IDToken("alice") == "" {
		t.Error("no ID token")
	}
}

// Two processes in one: the issuer of authtest, and a guard of this module.
func TestElsewhere(t *testing.T) {
	const resource = "http://127.0.0.1:9999/mcp"
	h, err := elsewhere(resource, "https://auth.example.com", "a secret of the files", http.NotFoundHandler())
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, resource, nil))
	if got := w.Header().Get("WWW-Authenticate"); w.Code != http.StatusUnauthorized || !strings.Contains(got, `scope="files:read"`) {
		t.Errorf("%d %q", w.Code, got)
	}
	if signIns(map[string]authserver.LocalPerson{"alice": {Password: "a password of alice"}}) == nil {
		t.Error("no sign-in")
	}
}
