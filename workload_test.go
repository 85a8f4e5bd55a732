package doorward_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward"
	"doorward/internal/jose"
)

// platform gives a workload its JWTs, each another one.
type platform struct {
	key *jose.Key
	n   int
	aud any
	raw string // in the place of a JWT
	err error
}

func newPlatform(t *testing.T) *platform {
	key, err := jose.NewES256()
	if err != nil {
		t.Fatal(err)
	}
	return &platform{key: key}
}

func (p *platform) jwt(_ context.Context, issuer string) (string, error) {
	p.n++
	aud := p.aud
	if aud == nil {
		aud = issuer
	}
	if p.raw != "" || p.err != nil {
		return p.raw, p.err
	}
	return p.key.Sign("JWT", m{"iss": "https://cluster.example", "sub": "system:serviceaccount:jobs:nightly", "aud": aud, "jti": fmt.Sprint(p.n)})
}

// A program with a JWT of its platform gets tokens without any secret, with a
// JWT of the moment for each.
//
// covers: C-WIF-01, V03, R05
func TestWorkload(t *testing.T) {
	w, p := newWorld(t), newPlatform(t)
	w.scope = "read"
	w.asMetadata["grant_types_supported"] = []string{"urn:ietf:params:oauth:grant-type:jwt-bearer"}
	w.asMetadata["token_endpoint_auth_methods_supported"] = []string{"none"}
	now := time.Now()
	tr := &doorward.Transport{Flow: &doorward.Workload{Assertion: p.jwt, Scopes: []string{"more"}}, Now: func() time.Time { return now }}
	must(t, context.Background(), tr, w.url())
	must(t, context.Background(), tr, w.url())
	form := w.forms["as"][0]
	if got := form.Encode(); len(form) != 4 || form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" ||
		form.Get("scope") != "read more" || form.Get("resource") != w.url() || w.heads["as"][0].Get("Authorization") != "" {
		t.Errorf("the request: %s", got)
	}
	if c := bodyOf(t, form.Get("assertion")); c["aud"] != w.as.URL || c["jti"] != "1" {
		t.Errorf("the assertion: %v", c)
	}
	now = now.Add(2 * time.Hour) // the token is over, and so is the first JWT
	must(t, context.Background(), tr, w.url())
	if n := w.count("as"); n != 2 || bodyOf(t, w.forms["as"][1].Get("assertion"))["jti"] != "2" {
		t.Errorf("%d token requests", n)
	}
}

// A refusal is told as it is, with who can mend it; nothing is tried again and
// nothing else is tried, until there is another JWT or a minute has passed.
//
// covers: C-WIF-01, O14
func TestWorkloadIsRefused(t *testing.T) {
	for _, code := range []string{"invalid_grant", "invalid_scope", "unauthorized_client", "invalid_client", "unsupported_grant_type"} {
		w, p := newWorld(t), newPlatform(t)
		w.token = func(url.Values) (int, map[string]any) {
			return 400, m{"error": code, "error_description": "not this one"}
		}
		once, err := p.jwt(context.Background(), w.as.URL)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		tr := &doorward.Transport{Now: func() time.Time { return now }, Flow: &doorward.Workload{
			Assertion: func(context.Context, string) (string, error) { return once, nil }}}
		for range 3 {
			_, err := post(context.Background(), tr, w.url())
			var e *doorward.Error
			if !errors.As(err, &e) || e.Code != code || e.Step != "redeem" || e.Status != 400 || e.Retry || e.Description != "not this one" || e.Who == "" || e.Who == "person" {
				t.Errorf("%s: %#v", code, e)
			}
		}
		if n := w.count("as"); n != 1 {
			t.Errorf("%s: %d token requests with one JWT, want 1", code, n)
		}
		for _, line := range w.trace() {
			if strings.Contains(line, "/authorize") || strings.Contains(line, "/register") {
				t.Errorf("%s: another way was tried: %s", code, line)
			}
		}
		now = now.Add(61 * time.Second)
		if _, err := post(context.Background(), tr, w.url()); err == nil || w.count("as") != 2 {
			t.Errorf("%s: after a minute: %v, %d requests", code, err, w.count("as"))
		}
		w.token = nil
		tr.Flow.(*doorward.Workload).Assertion = p.jwt
		must(t, context.Background(), tr, w.url())
	}
}

// What passes by itself is tried again by the next call.
//
// covers: C-WIF-01
func TestWorkloadAndABusyServer(t *testing.T) {
	w, p := newWorld(t), newPlatform(t)
	busy := true
	w.token = func(url.Values) (int, map[string]any) {
		if busy {
			return 400, m{"error": "temporarily_unavailable"}
		}
		return 200, m{}
	}
	once, err := p.jwt(context.Background(), w.as.URL)
	if err != nil {
		t.Fatal(err)
	}
	tr := &doorward.Transport{Flow: &doorward.Workload{Assertion: func(context.Context, string) (string, error) { return once, nil }}}
	if _, err := post(context.Background(), tr, w.url()); err == nil {
		t.Fatal("no error")
	}
	busy = false
	must(t, context.Background(), tr, w.url())
}

// The JWT goes to whom it is addressed to, whatever an MCP server says about
// who that is, and what is no JWT goes nowhere.
//
// covers: C-WIF-01
func TestWorkloadJWTIsSentToItsAudience(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(w *world, p *platform, f *doorward.Workload)
		want   string // in the error; empty: the token request is made
	}{
		{"the token endpoint", func(w *world, p *platform, f *doorward.Workload) { p.aud = []string{"x", w.as.URL + "/token"} }, ""},
		{"another authorization server", func(w *world, p *platform, f *doorward.Workload) { p.aud = "https://good.example" }, "addressed to another"},
		{"nobody", func(w *world, p *platform, f *doorward.Workload) { p.aud = []string{} }, "addressed to another"},
		{"a name that the program vouches for", func(w *world, p *platform, f *doorward.Workload) {
			p.aud, f.Client.Issuer = "api://tokens", w.as.URL
		}, ""},
		{"the server names another than the program", func(w *world, p *platform, f *doorward.Workload) {
			f.Client.Issuer = "https://good.example"
		}, "is registered with https://good.example"},
		{"no JWT", func(w *world, p *platform, f *doorward.Workload) { p.raw = "secret-text" }, "is no JWT"},
		{"no file", func(w *world, p *platform, f *doorward.Workload) { p.err = errors.New("no such file") }, "no such file"},
		{"a server without the grant", func(w *world, p *platform, f *doorward.Workload) {
			w.asMetadata["grant_types_supported"] = []string{"authorization_code"}
		}, "does not say that it takes assertions"},
		{"no function", func(w *world, p *platform, f *doorward.Workload) { f.Assertion = nil }, "Workload needs Assertion"},
	} {
		w, p := newWorld(t), newPlatform(t)
		f := &doorward.Workload{Assertion: p.jwt}
		c.change(w, p, f)
		_, err := (&doorward.Transport{Flow: f}).Token(context.Background(), w.url())
		switch {
		case c.want == "" && (err != nil || w.count("as") != 1):
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret-text") || w.count("as") != 0):
			t.Errorf("%s: %v; %d token requests", c.name, err, w.count("as"))
		}
	}
}

// A client that authenticates besides, and whose tokens are bound to a key.
//
// covers: C-WIF-01, V03
func TestWorkloadWithAClientAndAKey(t *testing.T) {
	w, p := newWorld(t), newPlatform(t)
	w.token = func(url.Values) (int, map[string]any) { return 200, m{"token_type": "DPoP"} }
	tr := &doorward.Transport{DPoP: p256(t), Flow: &doorward.Workload{Assertion: p.jwt, Client: doorward.Credentials{ID: "nightly", Secret: "s"}}}
	tok, err := tr.Token(context.Background(), w.url())
	if err != nil || tok.TokenType != "DPoP" {
		t.Fatal(tok, err)
	}
	if id, secret, ok := (&http.Request{Header: w.heads["as"][0]}).BasicAuth(); !ok || id != "nightly" || secret != "s" {
		t.Error("the client did not authenticate")
	}
}
