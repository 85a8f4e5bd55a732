package main

import (
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"doorward/authserver"
	"doorward/store/sqlite"
)

// What the file says of a plain OAuth server is what people are sent to.
func TestPlainOAuthOfTheFile(t *testing.T) {
	dir := write(t, map[string]string{"c.yaml": `
providers:
  hub:
    kind: oauth
    authorize_url: https://hub.example/authorize
    token_url: https://hub.example/token
    userinfo_url: https://hub.example/user
    account: id
    sign_in: {client_id: c-1, client_secret: "${STRONG}"}
servers: {s: {path: /mcp, run: sample}}
clients: {registered: {d: {redirect_uris: ["http://127.0.0.1/cb"]}}}
`})
	cfg, got := inDir(dir, roleServe, variables("STRONG", longSecret))
	if len(got) > 0 {
		t.Fatal(got)
	}
	db, err := sqlite.Open(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	c := cfg.authserverConfig()
	c.Store, c.SignIn = db, cfg.signIn()
	s, err := authserver.New(c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	to := walk(t, s, cfg.URL+"/authorize?response_type=code&client_id=d&redirect_uri=http%3A%2F%2F127.0.0.1%2Fcb&code_challenge_method=S256&code_challenge="+
		strings.Repeat("A", 43))
	q := to.Query()
	if to.Host != "hub.example" || to.Path != "/authorize" || q.Get("client_id") != "c-1" || q.Has("scope") || q.Get("redirect_uri") != cfg.URL+"/callback/hub" {
		t.Errorf("sent to %s", to)
	}
}

// walk follows a browser through an issuer to where it leaves it.
func walk(t *testing.T, h http.Handler, at string) *url.URL {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	for home := u.Host; u.Host == home; {
		r := httptest.NewRequest(http.MethodGet, u.String(), nil)
		for _, c := range jar.Cookies(u) {
			r.AddCookie(c)
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		res := rec.Result()
		jar.SetCookies(u, res.Cookies())
		if u, err = u.Parse(res.Header.Get("Location")); err != nil || res.StatusCode != http.StatusSeeOther {
			t.Fatalf("%s answers %d: %s", r.URL, res.StatusCode, rec.Body)
		}
	}
	return u
}
