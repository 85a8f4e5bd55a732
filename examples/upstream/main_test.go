package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"doorward/authserver"
	"doorward/internal/jose"
	"doorward/internal/oauth"
	"doorward/store/sqlite"
)

// The server believes the gateway's statements about who calls, and nothing else.
func TestUpstream(t *testing.T) {
	db, err := sqlite.Open(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var as *authserver.Server
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { as.ServeHTTP(w, r) }))
	defer issuer.Close()
	if as, err = authserver.New(authserver.Config{URL: issuer.URL, Store: db}); err != nil {
		t.Fatal(err)
	}
	defer as.Close()
	const own = "http://127.0.0.1:3001/mcp"
	stranger, err := jose.NewES256()
	if err != nil {
		t.Fatal(err)
	}
	signed := func(audience string) string {
		token, err := as.SignCaller(oauth.CallerClaims{Audience: audience, Subject: "corp/alice", Client: "desktop"})
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + token
	}
	strange := func(iss string) string {
		token, err := stranger.Sign(oauth.TypCallerJWT, oauth.CallerClaims{Issuer: iss, Audience: own, Subject: "corp/alice", Client: "desktop", Expires: time.Now().Add(time.Minute).Unix()})
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + token
	}
	c := &callers{issuer: issuer.URL, audience: own}
	for name, try := range map[string]struct {
		authorization string
		good          bool
	}{
		"a statement":            {signed(own), true},
		"for another server":     {signed("http://127.0.0.1:3002/mcp"), false},
		"of another key":         {strange(issuer.URL), false},
		"of another issuer":      {strange("https://else.example"), false},
		"nothing":                {"", false},
		"no bearer":              {strings.TrimPrefix(signed(own), "Bearer "), false},
		"two in one":             {signed(own) + "." + strange(issuer.URL), false},
		"with another signature": {signed(own)[:40] + "AAAA" + signed(own)[44:], false},
	} {
		r := httptest.NewRequest(http.MethodPost, "/mcp", nil)
		r.Header.Set("Authorization", try.authorization)
		w := httptest.NewRecorder()
		c.handler().ServeHTTP(w, r)
		body, _ := io.ReadAll(w.Body)
		if (w.Code == http.StatusOK) != try.good || try.good != strings.Contains(string(body), "files of corp/alice") {
			t.Errorf("%s: %d %s", name, w.Code, body)
		}
	}
	c = &callers{issuer: issuer.URL, audience: own}
	as.Close()
	issuer.Close()
	if who, err := c.check(t.Context(), signed(own)); err == nil {
		t.Errorf("without keys: %v", who)
	}
}
