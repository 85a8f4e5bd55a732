package doorward_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"doorward"
)

// A server that answers 5xx for a path it does not have keeps no other place
// from being looked at; what is broken everywhere is worth another try.
//
// covers: M03, M10
func TestDiscoveryGoesOnAfterA5xx(t *testing.T) {
	const (
		root = `{"resource":"{}","authorization_servers":["{}"]}`
		own  = `{"resource":"{}/mcp","authorization_servers":["{}"]}`
		md   = `{"issuer":"{}","token_endpoint":"{}/token"}`
	)
	for name, c := range map[string]struct {
		documents map[string]string
		ok        bool
	}{
		"resource metadata, then the root's": {map[string]string{prm + "/mcp": "503", prm: root, asDoc: md}, true},
		"RFC 8414, then OpenID Connect":      {map[string]string{prm + "/mcp": own, asDoc: "503", oidc: md}, true},
		"both places of the resource":        {map[string]string{prm + "/mcp": "503", prm: "503"}, false},
		"the first, and nothing after it":    {map[string]string{prm + "/mcp": own, asDoc: "503"}, false},
	} {
		documents := map[string]string{"challenge": "Bearer", "/token": `{"access_token":"t","token_type":"bearer"}`}
		for k, v := range c.documents {
			documents[k] = v
		}
		s := newSite(t, documents)
		_, err := post(context.Background(), &doorward.Transport{Flow: machine()}, s.URL+"/mcp")
		var e *doorward.Error
		if c.ok && err != nil || !c.ok && (!errors.As(err, &e) || !e.Retry || e.Status != 503) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func machine() *doorward.ClientCredentials {
	return &doorward.ClientCredentials{Client: doorward.Credentials{ID: "c", Secret: "s"}}
}

// There is no switch that lets metadata of another issuer pass.
//
// covers: M08
func TestNoSwitchForTheIssuerCheck(t *testing.T) {
	w := newWorld(t)
	w.asMetadata["issuer"] = w.as.URL + "/other"
	tr := &doorward.Transport{Flow: w.code()}
	for _, v := range []reflect.Value{reflect.ValueOf(tr).Elem(), reflect.ValueOf(tr.Flow).Elem()} {
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() && f.Kind() == reflect.Bool {
				f.SetBool(true)
			}
		}
	}
	if !tr.AllowPrivate || !tr.Legacy {
		t.Fatal("the switches were not found")
	}
	if _, err := post(context.Background(), tr, w.url()); err == nil || !strings.Contains(err.Error(), "is that of the issuer") || len(w.made)+len(w.sent) > 0 {
		t.Errorf("with every switch on: %v", err)
	}
}

// https://h/ is an issuer of its own, and its documents lie where those of
// https://h lie.
//
// covers: M09
func TestIssuerWithASlashAtTheRoot(t *testing.T) {
	documents := map[string]string{"challenge": "Bearer", "/token": `{"access_token":"t","token_type":"bearer"}`,
		prm + "/mcp": `{"resource":"{}/mcp","authorization_servers":["{}/"]}`, oidc: `{"issuer":"{}/","token_endpoint":"{}/token"}`}
	s := newSite(t, documents)
	if _, err := post(context.Background(), &doorward.Transport{Flow: machine()}, s.URL+"/mcp"); err != nil {
		t.Error(err)
	}
	if got, want := s.metadata(), []string{prm + "/mcp", asDoc, oidc}; !slices.Equal(got, want) {
		t.Errorf("asked for %q, want %q", got, want)
	}
	documents[oidc] = `{"issuer":"{}","token_endpoint":"{}/token"}`
	if _, err := post(context.Background(), &doorward.Transport{Flow: machine()}, newSite(t, documents).URL+"/mcp"); err == nil {
		t.Error("another spelling of the issuer passes")
	}
}

// Whatever endpoint a document names, nothing is sent there unless it is https
// or loopback.
//
// covers: M11, M12
func TestEndpointsOfMetadata(t *testing.T) {
	for _, address := range []string{"http://as.example/x", "javascript:alert(1)", "JavaScript:alert(1)", "data:application/json,{}", "vbscript:x", "file:///etc/passwd", "ftp://as.example/x", "//as.example/x", "x", "https://user:pass@as.example/x"} {
		for endpoint, step := range map[string]string{"token_endpoint": "redeem", "registration_endpoint": "register",
			"authorization_endpoint": "authorize", "pushed_authorization_request_endpoint": "authorize"} {
			w := newWorld(t)
			var reached []string
			base := roundTripper(func(req *http.Request) (*http.Response, error) {
				if req.URL.Host != w.mcp.Listener.Addr().String() && req.URL.Host != w.as.Listener.Addr().String() {
					reached = append(reached, req.URL.String())
				}
				return http.DefaultTransport.RoundTrip(req)
			})
			w.asMetadata[endpoint] = address
			w.asMetadata["require_pushed_authorization_requests"] = endpoint == "pushed_authorization_request_endpoint"
			opened := 0
			flow := w.code()
			flow.Open = func(ctx context.Context, address string) error { opened++; return visit(ctx, address) }
			_, err := post(context.Background(), &doorward.Transport{Flow: flow, Base: base}, w.url())
			var e *doorward.Error
			if !errors.As(err, &e) || e.Step != step || len(reached) > 0 || opened > 0 && endpoint != "token_endpoint" {
				t.Errorf("%s %s: error %v, reached %q", endpoint, address, err, reached)
			}
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// A document needs what the flow uses, and nothing else: not an authorization
// endpoint where tokens are exchanged, not what OpenID Connect demands besides.
//
// covers: M13, M14
func TestLeanMetadata(t *testing.T) {
	w := newWorld(t)
	w.asMetadata = m{"issuer": w.as.URL, "token_endpoint": w.as.URL + "/token", "authorization_grant_profiles_supported": []string{"urn:ietf:params:oauth:grant-profile:id-jag"}}
	must(t, as("alice"), &doorward.Transport{Flow: w.crossApp()}, w.url())
	var e *doorward.Error
	if _, err := post(context.Background(), &doorward.Transport{Flow: w.code()}, w.url()); !errors.As(err, &e) || e.Step != "discover" || !strings.Contains(e.Description, "authorization_endpoint") {
		t.Errorf("a code flow without an authorization_endpoint: %v", err)
	}
	delete(w.asMetadata, "token_endpoint")
	if _, err := post(context.Background(), &doorward.Transport{Flow: machine()}, w.url()); !errors.As(err, &e) || !strings.Contains(e.Description, "token_endpoint") {
		t.Errorf("no token_endpoint: %v", err)
	}
}

// The type that a server gives a document counts where it cannot be read.
//
// covers: M17
func TestTypeOfADocument(t *testing.T) {
	for name, c := range map[string]struct {
		kind, body string
		fails      string
	}{
		"application/json":          {"application/json; charset=utf-8", "", ""},
		"application/…+json":        {"application/oauth+json", "", ""},
		"text/plain":                {"text/plain", "", ""},
		"none":                      {"", "", ""},
		"a page":                    {"text/html", "<html>", "publishes no resource metadata"},
		"a page that says it is":    {"application/json", "<html>", "JSON object"},
		"JSON, but no object":       {"application/json", `["a"]`, "JSON object"},
		"JSON text in a text":       {"text/plain", `"a"`, "publishes no resource metadata"},
		"an object and more":        {"application/json", `{} {}`, "JSON object"},
		"nothing":                   {"application/json", " ", "JSON object"},
		"null":                      {"application/json", "null", "not the server that was called"},
		"members of the wrong type": {"application/json", `{"resource":["a"]}`, "JSON object"},
	} {
		var s *httptest.Server
		s = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/token":
				reply(rw, 200, m{"access_token": "t", "token_type": "Bearer"})
			case strings.HasPrefix(r.URL.Path, asDoc):
				reply(rw, 200, m{"issuer": s.URL, "token_endpoint": s.URL + "/token"})
			case strings.HasPrefix(r.URL.Path, prm):
				body := c.body
				if body == "" {
					body = `{"resource":"` + s.URL + `/mcp","authorization_servers":["` + s.URL + `"]}`
				}
				rw.Header()["Content-Type"] = []string{c.kind}
				_, _ = rw.Write([]byte(body))
			case r.Header.Get("Authorization") == "":
				rw.WriteHeader(401)
			}
		}))
		_, err := post(context.Background(), &doorward.Transport{Flow: machine()}, s.URL+"/mcp")
		if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
			t.Errorf("%s: %v", name, err)
		}
		s.Close()
	}
}

// covers: M20
func TestOneOfSeveralAuthorizationServers(t *testing.T) {
	first, second := newWorld(t), newWorld(t)
	token := func(w *world) func() bool { return func() bool { return w.count("as") > 0 } }
	for name, c := range map[string]struct {
		listed []string
		issuer string // configured
		choose func(server string, issuers []string) string
		used   func() bool
		fails  string
	}{
		"the first":                  {[]string{first.as.URL, second.as.URL}, "", nil, token(first), ""},
		"the first that can be one":  {[]string{"http://as.example", "", first.as.URL, second.as.URL}, "", nil, token(first), ""},
		"the configured one":         {[]string{first.as.URL, second.as.URL}, second.as.URL, nil, token(second), ""},
		"the chosen one":             {[]string{first.as.URL, second.as.URL}, "", func(_ string, all []string) string { return all[1] }, token(second), ""},
		"the configured one is gone": {[]string{first.as.URL}, second.as.URL, nil, nil, "registered with"},
		"chosen, but not listed":     {[]string{first.as.URL}, "", func(string, []string) string { return second.as.URL }, nil, "ChooseIssuer"},
		"none that can be one":       {[]string{"http://as.example", "ftp://as.example"}, "", nil, nil, "cannot be one"},
	} {
		first.forms, second.forms = map[string][]url.Values{}, map[string][]url.Values{}
		first.prm["authorization_servers"] = c.listed
		flow := machine()
		flow.Client.Issuer = c.issuer
		_, err := post(context.Background(), &doorward.Transport{Flow: flow, ChooseIssuer: c.choose}, first.url())
		if c.fails == "" && (err != nil || !c.used()) || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
			t.Errorf("%s: %v", name, err)
		}
		if n := first.count("as") + second.count("as"); n > 1 || c.fails != "" && n > 0 {
			t.Errorf("%s: %d token requests", name, n)
		}
	}
}
