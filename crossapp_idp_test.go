package doorward_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"doorward"
)

// The official scenario auth/enterprise-managed-authorization as its servers
// behave: an IdP that says nothing of PKCE and is found by OpenID Connect
// Discovery alone, an authorization server that takes client_secret_basic only,
// offers registration as a trap, and counts every failed attempt (d1.3). The
// suite itself is run by .ci/conformance.
//
// covers: P26, A03, N14
func TestOfficialEnterpriseScenario(t *testing.T) {
	w := newWorld(t)
	w.idpMetadata = m{"issuer": w.idp.URL, "authorization_endpoint": w.idp.URL + "/authorize", "token_endpoint": w.idp.URL + "/token",
		"jwks_uri": w.idp.URL + "/jwks", "grant_types_supported": []string{"urn:ietf:params:oauth:grant-type:token-exchange"}}
	w.asMetadata = m{"issuer": w.as.URL, "authorization_endpoint": w.as.URL + "/authorize", "token_endpoint": w.as.URL + "/token",
		"registration_endpoint": w.as.URL + "/register", "grant_types_supported": []string{"urn:ietf:params:oauth:grant-type:jwt-bearer"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic"}}
	must(t, as("alice"), &doorward.Transport{Flow: w.crossApp()}, w.url())
	for _, who := range []string{"idp", "as"} {
		if w.count(who) != 1 || w.heads[who][0].Get("Accept") != "application/json" {
			t.Errorf("%s: %d token requests, Accept %q", who, w.count(who), w.heads[who][0].Get("Accept"))
		}
	}
	for _, c := range []struct {
		who  string
		want url.Values
	}{
		{"idp", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "requested_token_type": {"urn:ietf:params:oauth:token-type:id-jag"},
			"audience": {w.as.URL}, "resource": {w.url()}, "subject_token": {"id-token-of-alice"}, "subject_token_type": {"urn:ietf:params:oauth:token-type:id_token"}}},
		{"as", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {"jag-1-id-token-of-alice"}}},
	} {
		for name := range c.want {
			if got := w.forms[c.who][0].Get(name); got != c.want.Get(name) {
				t.Errorf("%s: %s is %q, want %q", c.who, name, got, c.want.Get(name))
			}
		}
	}
	r := http.Request{Header: w.heads["as"][0]}
	if id, secret, _ := r.BasicAuth(); id != "agent" || secret != "as-secret" || w.forms["as"][0].Has("client_secret") {
		t.Errorf("authenticated as %q %q, form %v", id, secret, w.forms["as"][0])
	}
	for _, line := range w.trace() {
		if strings.Contains(line, "/register") || strings.Contains(line, "/authorize") || strings.Contains(line, "404") && !strings.Contains(line, "idp GET") {
			t.Errorf("%q", line)
		}
	}
}

// The metadata of an IdP is looked for in all of its forms, and believed only
// in its own name (d4.3).
//
// covers: N26, M06, M07
func TestIdPDiscoveryForms(t *testing.T) {
	idp := func(t *testing.T, place string, change func(issuer string, md m)) (*world, *doorward.CrossApp) {
		w := newWorld(t)
		var issuer string
		s := w.serve(t, "tenant", map[string]http.HandlerFunc{
			place: func(rw http.ResponseWriter, r *http.Request) {
				md := m{"issuer": issuer, "token_endpoint": w.idp.URL + "/token"}
				change(issuer, md)
				reply(rw, 200, md)
			},
		})
		issuer = s.URL + "/tenant"
		flow := w.crossApp()
		flow.IdP.Issuer = issuer
		return w, flow
	}
	same := func(string, m) {}
	for _, place := range []string{"/tenant/.well-known/openid-configuration", "/.well-known/openid-configuration/tenant", "/.well-known/oauth-authorization-server/tenant"} {
		w, flow := idp(t, place, same)
		if status, err := post(as("alice"), &doorward.Transport{Flow: flow}, w.url()); err != nil || status != 200 {
			t.Errorf("%s: %v", place, err)
		}
	}
	for name, change := range map[string]func(string, m){
		"another issuer":         func(issuer string, md m) { md["issuer"] = "https://idp.example" },
		"issuer with a slash":    func(issuer string, md m) { md["issuer"] = issuer + "/" },
		"no issuer":              func(issuer string, md m) { delete(md, "issuer") },
		"no token endpoint":      func(issuer string, md m) { delete(md, "token_endpoint") },
		"token endpoint by http": func(issuer string, md m) { md["token_endpoint"] = "http://idp.example/token" },
	} {
		w, flow := idp(t, "/tenant/.well-known/openid-configuration", change)
		_, err := post(as("alice"), &doorward.Transport{Flow: flow}, w.url())
		var e *doorward.Error
		if !errors.As(err, &e) || w.count("idp") != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Who gives up while the metadata is on its way learns just that.
	w, flow := idp(t, "/tenant/.well-known/openid-configuration", same)
	ctx, cancel := context.WithCancel(as("alice"))
	tr := &doorward.Transport{Flow: flow, Base: trip(func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "openid-configuration") {
			cancel()
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		return http.DefaultTransport.RoundTrip(r)
	})}
	if _, err := post(ctx, tr, w.url()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// Providers send N_A, n_a or Bearer for an ID-JAG: issued_token_type says what
// it is (d4.5).
//
// covers: N19
func TestTokenTypeOfAnIDJAG(t *testing.T) {
	for _, kind := range []any{"N_A", "n_a", "Bearer", nil} {
		w := newWorld(t)
		w.exchange = func(url.Values) (int, map[string]any) { return 200, m{"token_type": kind} }
		if status, err := post(as("alice"), &doorward.Transport{Flow: w.crossApp()}, w.url()); err != nil || status != 200 {
			t.Errorf("token_type %v: %v", kind, err)
		}
	}
}

// A key authenticates the client at both ends, and its client id may be the URL
// of its metadata document (d1.10).
//
// covers: N12, O07, O08, C-EMA-04
func TestCrossAppWithKeys(t *testing.T) {
	var keys [2]*ecdsa.PrivateKey
	for i := range keys {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = key
	}
	w := newWorld(t)
	w.idpMetadata["token_endpoint_auth_methods_supported"] = []string{"client_secret_post", "private_key_jwt"}
	w.asMetadata["token_endpoint_auth_methods_supported"] = []string{"private_key_jwt"}
	flow := w.crossApp()
	flow.IdP = doorward.Credentials{Issuer: w.idp.URL, ID: "svc", Key: keys[0]}
	flow.Server = doorward.Credentials{ID: "svc", Key: keys[1]}
	must(t, as("alice"), &doorward.Transport{Flow: flow}, w.url())
	checkAssertion(t, keys[0], w.forms["idp"][0], w.idp.URL)
	checkAssertion(t, keys[1], w.forms["as"][0], w.as.URL)

	const document = "https://agent.example/client.json"
	flow.Server.ID = document
	_, err := post(as("alice"), &doorward.Transport{Flow: flow}, w.url())
	if e := failed(t, err, "discover"); e.Who != "operator" || !strings.Contains(e.Error(), "client_id_metadata_document_supported") || w.count("idp") != 1 {
		t.Errorf("where metadata documents are not taken, after %d exchanges: %v", w.count("idp")-1, err)
	}
	configured := *flow
	configured.Server.Issuer = w.as.URL
	must(t, as("alice"), &doorward.Transport{Flow: &configured}, w.url())
	w.asMetadata["client_id_metadata_document_supported"] = true
	must(t, as("alice"), &doorward.Transport{Flow: flow}, w.url())
	if form := w.forms["as"][2]; form.Get("client_id") != document || form.Get("client_assertion") == "" {
		t.Errorf("form %v", form)
	}
}

// Cross-app access costs its user four types.
//
// covers: A07
func TestTypesOfCrossAppAccess(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "examples/crossapp/main.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var used []string
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "doorward" && !slices.Contains(used, s.Sel.Name) {
				used = append(used, s.Sel.Name)
			}
		}
		return true
	})
	if slices.Sort(used); !slices.Equal(used, []string{"Credentials", "CrossApp", "Subject", "Transport"}) {
		t.Errorf("examples/crossapp uses %q", used)
	}
	golden, err := os.ReadFile("testdata/exported.txt")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count("\n"+string(golden), "\n. type "); n > 14 {
		t.Errorf("the package exports %d types", n)
	}
}
