package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"doorward/authserver"
	"doorward/internal/jose"
	"doorward/store/sqlite"
)

// What goes along to a provider beside the protocol is checked with its place.
func TestProviderParametersAreChecked(t *testing.T) {
	const own = "is a parameter of the protocol, which the request has anyway or must not have"
	provider := func(more string) string {
		return "providers:\n  g: {issuer: \"https://g.example\", sign_in: {client_id: a,\n    parameters: {" + more + "}}}\n"
	}
	for _, m := range []mistake{
		{"as it should be", provider("access_type: offline, prompt: consent"), ""},
		{"of the protocol", provider("state: s, nonce: n"), "c.yaml:3:25: providers.g.sign_in.parameters.state: " + own + "\nc.yaml:3:35: providers.g.sign_in.parameters.nonce: " + own},
		{"no text", provider("max: 7"), "c.yaml:3:23: providers.g.sign_in.parameters.max must be text: put it in quotes"},
		{"by SAML", "providers:\n  g: {kind: saml, metadata: \"https://g.example/m\", sign_in: {parameters: {a: b}}}\n", "c.yaml:2:62: providers.g.sign_in.parameters: is not for kind: saml"},
		{"of the separate server", "mode: proxy\nseparate: {issuer: \"https://g.example\", client_id: a, parameters: {hd: acme.example, scope: s, prompt: login}}\n",
			"c.yaml:2:93: separate.parameters.scope: " + own + "\nc.yaml:2:104: separate.parameters.prompt: can only be consent: what else is wished of a sign-in depends on the request"},
		{"of a relay", "mode: passthrough\nseparate: {issuer: \"https://g.example\", parameters: {hd: acme.example}}\nservers: {s: {path: /mcp, run: sample, allow: [{who: \"issuer:https://g.example\"}]}}\n",
			"c.yaml:2:41: separate.parameters: is for mode: proxy: with passthrough nobody signs in here"},
	} {
		m.check(t, roleServe)
	}
}

// They reach the provider, of whichever kind.
func TestProviderParametersOfTheFile(t *testing.T) {
	key, err := jose.NewES256()
	if err != nil {
		t.Fatal(err)
	}
	var at string
	p := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := any(jose.NewSet(key))
		if r.URL.Path != "/jwks" {
			v = map[string]any{"issuer": at, "authorization_endpoint": at + "/authorize", "token_endpoint": at + "/token", "jwks_uri": at + "/jwks"}
		}
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(p.Close)
	at = p.URL
	const more = `client_id: c-1, parameters: {access_type: offline}`
	for name, text := range map[string]string{
		"oidc":  `providers: {p: {issuer: "AT", sign_in: {` + more + `}}}`,
		"oauth": `providers: {p: {kind: oauth, authorize_url: "AT/authorize", token_url: "AT/token", userinfo_url: "AT/user", account: id, sign_in: {` + more + `}}}`,
	} {
		text = strings.ReplaceAll(text, "AT", at) + "\n"
		cfg := load(t, roleServe, text+"servers: {s: {path: /mcp, run: sample}}\nclients: {registered: {d: {redirect_uris: [\"http://127.0.0.1/cb\"]}}}\n")
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
		to := walk(t, s, cfg.URL+"/authorize?response_type=code&client_id=d&redirect_uri=http%3A%2F%2F127.0.0.1%2Fcb&code_challenge_method=S256&code_challenge="+strings.Repeat("A", 43))
		if q := to.Query(); !strings.HasPrefix(to.String(), at) || q.Get("access_type") != "offline" || q.Get("client_id") != "c-1" {
			t.Errorf("%s: sent to %s", name, to)
		}
	}
	proxy := load(t, roleServe, "mode: proxy\nseparate: {issuer: \""+at+"\", "+more+"}\nservers: {s: {path: /mcp, run: sample}}\n").authserverConfig().Separate
	if proxy.Parameters["access_type"] != "offline" {
		t.Errorf("proxy: %+v", proxy)
	}
}
