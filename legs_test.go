package doorward_test

import (
	"crypto/rsa"
	"errors"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward"
)

// covers: A06, N24, N05
func TestLegsAlone(t *testing.T) {
	w := newWorld(t)
	now := time.Now().Truncate(time.Second)
	w.exchange = func(url.Values) (int, map[string]any) { return 200, m{"expires_in": 120, "scope": "read"} }
	tr := &doorward.Transport{Flow: w.crossApp(), Now: func() time.Time { return now }}
	jag, err := tr.Exchange(as("alice"), w.as.URL, w.url(), "read", "write")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(jag.AccessToken, "jag-") || jag.TokenType != "N_A" || !jag.Expiry.Equal(now.Add(2*time.Minute)) || jag.Extra("scope") != "read" {
		t.Errorf("ID-JAG %+v, scope %v", jag, jag.Extra("scope"))
	}
	if form := w.forms["idp"][0]; form.Get("scope") != "read write" || form.Get("audience") != w.as.URL || form.Get("resource") != w.url() {
		t.Errorf("exchange %v", form)
	}
	w.token = func(url.Values) (int, map[string]any) { return 200, m{"scope": "less"} }
	token, err := tr.Redeem(as("alice"), w.as.URL, w.url(), jag.AccessToken, "read")
	if err != nil {
		t.Fatal(err)
	}
	if token.TokenType != "Bearer" || !token.Expiry.Equal(now.Add(time.Hour)) || token.Extra("scope") != "less" {
		t.Errorf("token %+v, scope %v", token, token.Extra("scope"))
	}
	if form := w.forms["as"][0]; form.Get("assertion") != jag.AccessToken || form.Get("scope") != "read" || form.Get("resource") != w.url() {
		t.Errorf("redemption %v", form)
	}
	if _, err := tr.Exchange(as("alice"), w.as.URL, ""); err != nil || w.forms["idp"][1].Has("resource") || w.forms["idp"][1].Has("scope") {
		t.Errorf("%v: without resource and scope %v", err, w.forms["idp"][1])
	}
	var e *doorward.Error
	if _, err := tr.Exchange(as("alice"), "ftp://x", ""); !errors.As(err, &e) || e.Step != "configure" {
		t.Errorf("no issuer: %v", err)
	}
	if _, err := (&doorward.Transport{Flow: w.code()}).Redeem(t.Context(), w.as.URL, "", "x"); !errors.As(err, &e) || e.Step != "configure" {
		t.Errorf("other flow: %v", err)
	}
}

// covers: P27
func TestCheck(t *testing.T) {
	w := newWorld(t)
	for _, flow := range []doorward.Flow{w.crossApp(), w.code(), &doorward.ClientCredentials{Client: doorward.Credentials{ID: "a", Secret: "b"}}, &doorward.Workload{Assertion: newPlatform(t).jwt}} {
		if err := (&doorward.Transport{Flow: flow}).Check(); err != nil {
			t.Error(err)
		}
	}
	crossApp := func(change func(f *doorward.CrossApp)) doorward.Flow {
		f := w.crossApp()
		change(f)
		return f
	}
	small := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: big.NewInt(77), E: 65537}}
	for name, flow := range map[string]doorward.Flow{
		"no flow":           nil,
		"no server id":      crossApp(func(f *doorward.CrossApp) { f.Server.ID = "" }),
		"no subject":        crossApp(func(f *doorward.CrossApp) { f.Subject = nil }),
		"no IdP":            crossApp(func(f *doorward.CrossApp) { f.IdP.Issuer = "" }),
		"no id at the IdP":  crossApp(func(f *doorward.CrossApp) { f.IdP.ID = "" }),
		"issuer":            crossApp(func(f *doorward.CrossApp) { f.IdP.Issuer = "http://idp.example" }),
		"server issuer":     crossApp(func(f *doorward.CrossApp) { f.Server.Issuer = "https://as.example/?q" }),
		"endpoint":          crossApp(func(f *doorward.CrossApp) { f.IdPTokenEndpoint = "idp.example/token" }),
		"scopes":            crossApp(func(f *doorward.CrossApp) { f.Scopes = []string{"a\"b"} }),
		"small key":         crossApp(func(f *doorward.CrossApp) { f.Server.Key = small }),
		"nobody to ask":     &doorward.AuthorizationCode{},
		"redirect":          &doorward.AuthorizationCode{Open: visit, RedirectURL: "https://app.example/callback"},
		"document":          &doorward.AuthorizationCode{Open: visit, ClientIDMetadataURL: "https://app.example/"},
		"secret without id": &doorward.AuthorizationCode{Open: visit, Client: doorward.Credentials{Secret: "s"}},
		"no secret":         &doorward.ClientCredentials{Client: doorward.Credentials{ID: "a"}},
		"no workload JWT":   &doorward.Workload{},
		"workload's issuer": &doorward.Workload{Assertion: newPlatform(t).jwt, Client: doorward.Credentials{Issuer: "http://as.example"}},
	} {
		var e *doorward.Error
		if err := (&doorward.Transport{Flow: flow}).Check(); !errors.As(err, &e) || e.Step != "configure" || e.Who != "client's maker" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(w.trace()) > 0 {
		t.Error("Check sent requests")
	}
}

// What token endpoints really answer: numbers in strings, null, pages, and
// members of another type.
//
// covers: N21, N22, N23, P06, S19, O15
func TestTokenAnswersAsTheyCome(t *testing.T) {
	now := time.Now()
	short := jwt(t, "alice", now.Add(10*time.Minute))
	for name, c := range map[string]struct {
		answer  m
		renewed bool // after twenty minutes
	}{
		"number":         {m{"expires_in": 600}, true},
		"string":         {m{"expires_in": "600"}, true},
		"null":           {m{"expires_in": nil, "scope": nil, "refresh_token": nil}, false},
		"nonsense":       {m{"expires_in": "soon"}, false},
		"other types":    {m{"refresh_token": 7, "scope": []string{"x"}, "error_description": 4}, false},
		"exp of the JWT": {m{"expires_in": nil, "access_token": short}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w, at := newWorld(t), now
			w.exchange = func(url.Values) (int, map[string]any) { return 200, m{"expires_in": c.answer["expires_in"]} }
			w.token = func(form url.Values) (int, map[string]any) {
				answer := m{"expires_in": nil}
				for k, v := range c.answer {
					answer[k] = v
				}
				if token, ok := answer["access_token"].(string); ok {
					w.live[token] = form
				}
				return 200, answer
			}
			tr := &doorward.Transport{Flow: w.crossApp(), Now: func() time.Time { return at }}
			must(t, as("alice"), tr, w.url())
			at = at.Add(20 * time.Minute)
			must(t, as("alice"), tr, w.url())
			if got := w.count("as") == 2; got != c.renewed {
				t.Errorf("renewed: %v, want %v", got, c.renewed)
			}
			w.revoke() // without an end it is good until it is refused
			if c.answer["access_token"] == nil {
				must(t, as("alice"), tr, w.url())
			}
		})
	}
	for name, c := range map[string]struct {
		status     int
		kind, body string
		code, says string
	}{
		"page as an error":   {502, "text/html", "<html>Bad gateway</html>", "", "HTTP 502"},
		"page as a success":  {200, "text/html", "<html>Sign in</html>", "", "no JSON object"},
		"text as an error":   {400, "text/plain", "invalid request", "", "no OAuth error"},
		"typed":              {400, "application/json", `{"error":"access_denied","error_description":"rule 7","error_uri":"https://idp.example/why"}`, "access_denied", "rule 7"},
		"half typed":         {400, "application/json", `{"error":"access_denied","error_description":7,"error_uri":"javascript:x"}`, "access_denied", ""},
		"list":               {200, "application/json", `[]`, "", "no JSON object"},
		"empty":              {200, "application/json", ``, "", "no JSON object"},
		"success that fails": {200, "application/json", `{"error":"invalid_target","access_token":"x"}`, "invalid_target", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			idp := w.serve(t, "idp", map[string]http.HandlerFunc{"/token": func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Content-Type", c.kind)
				rw.WriteHeader(c.status)
				_, _ = rw.Write([]byte(c.body))
			}})
			flow := w.crossApp()
			flow.IdPTokenEndpoint = idp.URL + "/token"
			_, err := (&doorward.Transport{Flow: flow}).Token(as("alice"), w.url())
			var e *doorward.Error
			if !errors.As(err, &e) || e.Step != "exchange" || e.Code != c.code || !strings.Contains(err.Error(), c.says) || c.status != 200 && e.Status != c.status {
				t.Fatalf("%v", err)
			}
			if want := map[bool]string{true: "https://idp.example/why"}[name == "typed"]; e.URI != want {
				t.Errorf("error_uri %q, want %q", e.URI, want)
			}
		})
	}
}
