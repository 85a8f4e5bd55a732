package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

func newKey(t *testing.T, id string) jose.JSONWebKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: k, KeyID: id, Algorithm: "ES256", Use: "sig"}
}

// signed is an Authorization header with a JWT.
func signed(t *testing.T, key jose.JSONWebKey, typ string, claims map[string]any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(s).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return "Bearer " + token
}

// The server believes the gateway's statements about who calls, and nothing else.
func TestUpstream(t *testing.T) {
	key, stranger, next := newKey(t, "k1"), newKey(t, "k1"), newKey(t, "k2")
	set, fetched := []jose.JSONWebKey{key.Public()}, 0
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/jwks" {
			http.NotFound(w, r)
			return
		}
		fetched++
		json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: set})
	}))
	defer issuer.Close()
	const own = "http://127.0.0.1:3001/mcp"
	now := time.Now()
	with := func(name string, value any) map[string]any {
		claims := map[string]any{"iss": issuer.URL, "aud": own, "sub": "corp/alice", "client_id": "desktop", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "jti": "1"}
		claims[name] = value
		if value == nil {
			delete(claims, name)
		}
		return claims
	}
	good := signed(t, key, "caller+jwt", with("jti", "2"))
	c := &callers{issuer: issuer.URL, audience: own}
	try := func(name, authorization string, want bool) {
		t.Helper()
		r := httptest.NewRequest(http.MethodPost, "/mcp", nil)
		r.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		c.handler().ServeHTTP(w, r)
		if (w.Code == http.StatusOK) != want || want != strings.Contains(w.Body.String(), "files of corp/alice") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	try("a statement", good, true)
	try("an access token", signed(t, key, "at+jwt", with("jti", "3")), false)
	try("for another server", signed(t, key, "caller+jwt", with("aud", "http://127.0.0.1:3002/mcp")), false)
	try("of another issuer", signed(t, key, "caller+jwt", with("iss", "https://else.example")), false)
	try("of another key", signed(t, stranger, "caller+jwt", with("jti", "4")), false)
	try("over", signed(t, key, "caller+jwt", with("exp", now.Add(-time.Minute).Unix())), false)
	try("without an end", signed(t, key, "caller+jwt", with("exp", nil)), false)
	try("about nobody", signed(t, key, "caller+jwt", with("sub", nil)), false)
	try("nothing", "", false)
	try("no bearer", strings.TrimPrefix(good, "Bearer "), false)
	set = append(set, next.Public())
	late := signed(t, next, "caller+jwt", with("jti", "5"))
	try("a new key, within the minute", late, false)
	c.fetched = c.fetched.Add(-time.Minute)
	try("a new key", late, true)
	if fetched != 2 {
		t.Errorf("the keys were fetched %d times", fetched)
	}
}
