package doorward_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward"
	"doorward/internal/jose"
)

const authMethods = "token_endpoint_auth_methods_supported"

// shown is how a client authenticated: the method, the id and what proved it.
func shown(form url.Values, head http.Header) string {
	id, secret, basic := (&http.Request{Header: head}).BasicAuth()
	switch {
	case basic && !form.Has("client_secret") && !form.Has("client_id") && !form.Has("client_assertion"):
		return "client_secret_basic " + id + " " + secret
	case head.Get("Authorization") != "" || form.Has("client_secret") && form.Has("client_assertion"):
		return "two methods"
	case form.Has("client_secret"):
		return "client_secret_post " + form.Get("client_id") + " " + form.Get("client_secret")
	case form.Has("client_assertion"):
		return "private_key_jwt " + form.Get("client_id")
	}
	return "none " + form.Get("client_id")
}

// Both ends of cross-app access get the client as their metadata wants it, each
// its own, at the first attempt.
//
// covers: N10, N12, N13, O05, O06, O07, O08, O09, O10, N14
func TestClientAuthenticationAtBothEnds(t *testing.T) {
	key := p256(t)
	const doc = "https://agent.example/client.json"
	for _, c := range []struct {
		name   string
		client doorward.Credentials
		listed []string
		want   string
	}{
		{"basic", doorward.Credentials{ID: "a", Secret: "s"}, []string{"client_secret_post", "client_secret_basic"}, "client_secret_basic a s"},
		{"basic by default", doorward.Credentials{ID: "a", Secret: "s"}, nil, "client_secret_basic a s"},
		{"basic, of odd letters", doorward.Credentials{ID: "ключ:1", Secret: "a+b c/%"}, nil, "client_secret_basic " + url.QueryEscape("ключ:1") + " " + url.QueryEscape("a+b c/%")},
		{"post", doorward.Credentials{ID: "a", Secret: "s"}, []string{"client_secret_post"}, "client_secret_post a s"},
		{"none", doorward.Credentials{ID: "a"}, []string{"client_secret_basic", "none"}, "none a"},
		{"a secret that nobody wants", doorward.Credentials{ID: "a", Secret: "s"}, []string{"none"}, "none a"},
		{"key", doorward.Credentials{ID: "a", Key: key}, []string{"client_secret_basic", "private_key_jwt"}, "private_key_jwt a"},
		{"key before secret", doorward.Credentials{ID: "a", Key: key, Secret: "s"}, []string{"client_secret_basic", "private_key_jwt"}, "private_key_jwt a"},
		{"secret where no key is taken", doorward.Credentials{ID: "a", Key: key, Secret: "s"}, []string{"client_secret_basic"}, "client_secret_basic a s"},
		{"metadata document", doorward.Credentials{ID: doc}, []string{"none"}, "none " + doc},
		{"metadata document with a key", doorward.Credentials{ID: doc, Key: key}, []string{"none", "private_key_jwt"}, "private_key_jwt " + doc},
	} {
		w := newWorld(t)
		w.asMetadata[authMethods], w.idpMetadata[authMethods] = c.listed, c.listed
		w.asMetadata["client_id_metadata_document_supported"] = c.client.ID == doc
		if c.listed == nil {
			delete(w.asMetadata, authMethods)
			delete(w.idpMetadata, authMethods)
		}
		flow := w.crossApp()
		flow.IdP, flow.Server = c.client, c.client
		flow.IdP.Issuer = w.idp.URL
		must(t, as("alice"), &doorward.Transport{Flow: flow}, w.url())
		for who, issuer := range map[string]string{"idp": w.idp.URL, "as": w.as.URL} {
			form, head := w.forms[who][0], w.heads[who][0]
			if got := shown(form, head); got != c.want || w.count(who) != 1 {
				t.Errorf("%s, %s: %q after %d requests, want %q", c.name, who, got, w.count(who), c.want)
			}
			if form.Has("client_assertion") {
				checkSigned(t, key, form, issuer, c.client.ID)
			}
			if got := head.Get("Accept"); got != "application/json" {
				t.Errorf("%s, %s: Accept: %s", c.name, who, got)
			}
		}
	}
}

// checkSigned checks a client assertion (RFC 7523 section 3, 7523bis).
func checkSigned(t *testing.T, key *ecdsa.PrivateKey, form url.Values, issuer, id string) {
	t.Helper()
	k, err := jose.NewKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jose.Verify(form.Get("client_assertion"), jose.NewSet(k), []string{jose.ES256}, []string{"client-authentication+jwt"}); err != nil {
		t.Error(err)
	}
	c := bodyOf(t, form.Get("client_assertion"))
	if c["iss"] != id || c["sub"] != id || c["aud"] != issuer {
		t.Errorf("assertion %v", c)
	}
}

// The identifiers of assertions cannot be guessed, and none comes twice.
//
// covers: R04, N12
func TestAssertionsHaveIDsOfTheirOwn(t *testing.T) {
	w := newWorld(t)
	w.asMetadata[authMethods] = []string{"private_key_jwt"}
	now := time.Unix(1_790_000_000, 0) // of a clock that stands still
	seen := map[any]bool{}
	for range 20 {
		tr := &doorward.Transport{Now: func() time.Time { return now }, Flow: &doorward.ClientCredentials{Client: doorward.Credentials{ID: "a", Key: p256(t)}}}
		must(t, context.Background(), tr, w.url())
		forms := w.forms["as"]
		id, _ := bodyOf(t, forms[len(forms)-1].Get("client_assertion"))["jti"].(string)
		if len(id) < 22 || seen[id] {
			t.Errorf("jti %q", id)
		}
		seen[id] = true
	}
}

// The key signs with an algorithm that the issuer takes, or says that it cannot.
//
// covers: C-CC-01
func TestAlgorithmOfTheAssertion(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		client doorward.Credentials
		algs   []string
		want   string // alg; empty: there is an error
	}{
		{"RSA by default", doorward.Credentials{Key: rsaKey}, nil, "RS256"},
		{"RSA-PSS", doorward.Credentials{Key: rsaKey}, []string{"ES256", "PS256"}, "PS256"},
		{"Ed25519", doorward.Credentials{Key: edwards}, []string{"RS256", "EdDSA"}, "EdDSA"},
		{"another", doorward.Credentials{Key: edwards}, []string{"RS256", "ES256"}, ""},
	} {
		w := newWorld(t)
		w.asMetadata[authMethods] = []string{"private_key_jwt"}
		w.asMetadata["token_endpoint_auth_signing_alg_values_supported"] = c.algs
		c.client.ID = "a"
		_, err := (&doorward.Transport{Flow: &doorward.ClientCredentials{Client: c.client}}).Token(context.Background(), w.url())
		var e *doorward.Error
		if c.want == "" {
			if !errors.As(err, &e) || e.Step != "configure" || !strings.Contains(err.Error(), "RS256, ES256") || w.count("as") != 0 {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if header, _, err := jose.Peek(w.forms["as"][0].Get("client_assertion")); err != nil || header.Alg != c.want {
			t.Errorf("%s: signed with %s %v", c.name, header.Alg, err)
		}
	}
}

// An assertion that is made elsewhere is asked for with its audience, for each
// request, and like a secret it is used with one issuer.
//
// covers: R03
func TestAssertionMadeElsewhere(t *testing.T) {
	w, next := newWorld(t), newWorld(t)
	w.asMetadata[authMethods] = []string{"private_key_jwt", "none"}
	n := 0
	flow := &doorward.ClientCredentials{Client: doorward.Credentials{ID: "a", Assertion: func(_ context.Context, issuer string) (string, error) {
		n++
		return fmt.Sprintf("made-%d-for-%s", n, issuer), nil
	}}}
	tr := &doorward.Transport{Flow: flow}
	must(t, context.Background(), tr, w.url())
	w.revoke()
	must(t, context.Background(), tr, w.url())
	for i, form := range w.forms["as"] {
		if form.Get("client_assertion") != fmt.Sprintf("made-%d-for-%s", i+1, w.as.URL) || shown(form, w.heads["as"][i]) != "private_key_jwt a" ||
			form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
			t.Errorf("request %d: %v", i, form)
		}
	}
	if _, err := post(context.Background(), tr, next.url()); err == nil || next.count("as") != 0 {
		t.Errorf("at another issuer: %v", err)
	}
	for name, bad := range map[string]func() (string, error){
		"an error": func() (string, error) { return "", errors.New("the vault is closed") },
		"nothing":  func() (string, error) { return "", nil },
		"no token": func() (string, error) { return "a b", nil },
	} {
		w := newWorld(t)
		flow := &doorward.ClientCredentials{Client: doorward.Credentials{ID: "a", Assertion: func(context.Context, string) (string, error) { return bad() }}}
		_, err := post(context.Background(), &doorward.Transport{Flow: flow}, w.url())
		var e *doorward.Error
		if !errors.As(err, &e) || e.Step != "configure" || w.count("as") != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A method that the client has nothing for is an error before anything is sent,
// Basic without a secret too.
//
// covers: S18, C-REG-06
func TestMethodWithoutMeans(t *testing.T) {
	for _, c := range []struct {
		name, registered, secret string
		listed                   []string
		want                     string // method that was used; empty: there is an error
	}{
		{"none is registered", "none", "", []string{"client_secret_basic"}, "none dynamic"},
		{"post is registered", "client_secret_post", "s", []string{"client_secret_basic", "client_secret_post"}, "client_secret_post dynamic s"},
		{"basic is registered", "client_secret_basic", "s", []string{"client_secret_post"}, "client_secret_basic dynamic s"},
		{"none is registered, and there is a secret", "none", "s", nil, "none dynamic"},
		{"nothing is said", "", "s", []string{"client_secret_post"}, "client_secret_post dynamic s"},
		{"nothing is said anywhere", "", "s", nil, "client_secret_basic dynamic s"},
		{"basic without a secret", "client_secret_basic", "", nil, ""},
		{"post without a secret", "client_secret_post", "", nil, ""},
		{"a key that it does not have", "private_key_jwt", "s", nil, ""},
		{"a certificate that it does not have", "tls_client_auth", "s", nil, ""},
		{"unknown", "magic", "s", nil, ""},
	} {
		w := newWorld(t)
		w.asMetadata[authMethods] = c.listed
		if c.listed == nil {
			delete(w.asMetadata, authMethods)
		}
		answer := m{"client_id": "dynamic"}
		if c.registered != "" {
			answer["token_endpoint_auth_method"] = c.registered
		}
		if c.secret != "" {
			answer["client_secret"] = c.secret
		}
		server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { reply(rw, 201, answer) }))
		defer server.Close()
		w.asMetadata["registration_endpoint"] = server.URL
		_, err := post(context.Background(), &doorward.Transport{Flow: w.code()}, w.url())
		var e *doorward.Error
		switch {
		case c.want != "" && (err != nil || shown(w.forms["as"][0], w.heads["as"][0]) != c.want):
			t.Errorf("%s: %v %v", c.name, err, w.forms["as"])
		case c.want == "" && (!errors.As(err, &e) || e.Step != "configure" && e.Step != "register" || !strings.Contains(err.Error(), c.registered) || w.count("as") != 0):
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// selfSigned is a certificate that vouches for itself.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key := p256(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "agent"}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// With a certificate in the transport's TLS configuration, both ends of
// cross-app access get that, at the endpoints that they publish for it, and the
// call to the MCP server as well.
//
// covers: R10
func TestClientCertificates(t *testing.T) {
	cert := selfSigned(t)
	for _, method := range []string{"tls_client_auth", "self_signed_tls_client_auth"} {
		w := newWorld(t)
		pool := x509.NewCertPool()
		came := map[string]int{}
		behindTLS := func(name string, inner http.Handler) *httptest.Server {
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if len(r.TLS.PeerCertificates) == 1 && slices.Equal(r.TLS.PeerCertificates[0].Raw, cert.Certificate[0]) {
					w.mu.Lock()
					came[name]++
					w.mu.Unlock()
				}
				inner.ServeHTTP(rw, r)
			}))
			s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
			s.StartTLS()
			t.Cleanup(s.Close)
			pool.AddCert(s.Certificate())
			return s
		}
		for name, c := range map[string]struct {
			metadata map[string]any
			plain    *httptest.Server
		}{"as": {w.asMetadata, w.as}, "idp": {w.idpMetadata, w.idp}} {
			alias := behindTLS(name, c.plain.Config.Handler)
			c.metadata[authMethods] = []string{"client_secret_basic", method}
			c.metadata["token_endpoint"] = c.plain.URL + "/not-for-certificates"
			c.metadata["mtls_endpoint_aliases"] = m{"token_endpoint": alias.URL + "/token", "unknown_endpoint": m{}}
		}
		base := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}}
		defer base.CloseIdleConnections()
		flow := w.crossApp()
		flow.IdP.Secret, flow.Server.Secret = "", ""
		must(t, as("alice"), &doorward.Transport{Flow: flow, Base: base}, w.url())
		if came["as"] != 1 || came["idp"] != 1 {
			t.Errorf("%s: requests with the certificate: %v", method, came)
		}
		for who, id := range map[string]string{"as": "agent", "idp": "app"} {
			if got := shown(w.forms[who][0], w.heads[who][0]); got != "none "+id { // nothing but the client_id
				t.Errorf("%s, %s: %s", method, who, got)
			}
		}
		// Without a certificate the error says where it belongs.
		plain := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
		defer plain.CloseIdleConnections()
		machine := &doorward.ClientCredentials{Client: doorward.Credentials{ID: "agent", Secret: "s"}}
		w.asMetadata[authMethods] = []string{method}
		_, err := post(context.Background(), &doorward.Transport{Flow: machine, Base: plain}, w.url())
		if err == nil || !strings.Contains(err.Error(), "TLSClientConfig of Transport.Base") || !strings.Contains(err.Error(), method) {
			t.Errorf("without a certificate: %v", err)
		}
		if got := w.count("as"); got != 1 {
			t.Errorf("without a certificate: %d token requests", got-1)
		}
	}
}

// A certificate goes to what the program named, and to strangers only where the
// client authenticates by it, at one issuer.
//
// covers: C-REG-02
func TestCertificateIsNotShownToStrangers(t *testing.T) {
	cert := selfSigned(t)
	pool := x509.NewCertPool()
	var mu sync.Mutex
	came := map[string]int{} // requests with a certificate, by who got them and what for
	var servers []*world
	for i := range 2 {
		w := newWorld(t)
		behind := func(name string, inner http.Handler) *httptest.Server {
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if len(r.TLS.PeerCertificates) > 0 {
					mu.Lock()
					came[fmt.Sprint(name, i, " ", r.URL.Path)]++
					mu.Unlock()
				}
				inner.ServeHTTP(rw, r)
			}))
			s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
			s.StartTLS()
			t.Cleanup(s.Close)
			pool.AddCert(s.Certificate())
			return s
		}
		w.mcp, w.as = behind("mcp", w.mcp.Config.Handler), behind("as", w.as.Config.Handler)
		w.prm["resource"], w.prm["authorization_servers"] = w.url(), []string{w.as.URL}
		w.asMetadata["issuer"], w.asMetadata["token_endpoint"] = w.as.URL, w.as.URL+"/token"
		servers = append(servers, w)
	}
	base := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}}
	defer base.CloseIdleConnections()
	machine := func(c doorward.Credentials) *doorward.Transport {
		return &doorward.Transport{Flow: &doorward.ClientCredentials{Client: c}, Base: base}
	}
	went := func(want ...string) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if got := slices.Sorted(maps.Keys(came)); !slices.Equal(got, want) {
			t.Errorf("the certificate went to %q, want %q", got, want)
		}
		clear(came)
	}
	a, b := servers[0], servers[1]
	const prm, asmd = "/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-authorization-server"

	must(t, context.Background(), machine(doorward.Credentials{ID: "agent", Secret: "s"}), a.url())
	went("mcp0 "+prm, "mcp0 /mcp")
	must(t, context.Background(), machine(doorward.Credentials{Issuer: a.as.URL, ID: "agent", Secret: "s"}), a.url())
	went("as0 "+asmd, "as0 /token", "mcp0 "+prm, "mcp0 /mcp") // both are named by the program

	// What is for certificates is for requests that come with one.
	a.asMetadata["mtls_endpoint_aliases"] = m{"token_endpoint": a.as.URL + "/alias"}
	must(t, context.Background(), machine(doorward.Credentials{ID: "agent", Secret: "s"}), a.url())
	went("mcp0 "+prm, "mcp0 /mcp")
	delete(a.asMetadata, "mtls_endpoint_aliases")

	for _, w := range servers {
		w.asMetadata[authMethods] = []string{"tls_client_auth"}
	}
	found := machine(doorward.Credentials{ID: "agent"})
	must(t, context.Background(), found, a.url())
	went("as0 /token", "mcp0 "+prm, "mcp0 /mcp")
	if _, err := post(context.Background(), found, b.url()); err == nil || !strings.Contains(err.Error(), "the client's certificate is in use with "+a.as.URL) {
		t.Errorf("a second issuer: %v", err)
	}
	went("mcp1 "+prm, "mcp1 /mcp")
}

// A client for itself needs nothing but its certificate.
//
// covers: R10
func TestClientCredentialsWithACertificate(t *testing.T) {
	w := newWorld(t)
	w.asMetadata[authMethods] = []string{"tls_client_auth"}
	base := &http.Transport{TLSClientConfig: &tls.Config{GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }}}
	machine := &doorward.ClientCredentials{Client: doorward.Credentials{ID: "agent"}}
	must(t, context.Background(), &doorward.Transport{Flow: machine, Base: base}, w.url())
	if got := shown(w.forms["as"][0], w.heads["as"][0]); got != "none agent" {
		t.Error(got)
	}
	if _, err := post(context.Background(), &doorward.Transport{Flow: machine}, newWorld(t).url()); err == nil || !strings.Contains(err.Error(), "ClientCredentials needs") {
		t.Errorf("without anything: %v", err)
	}
}

// No token, no type that is known, no https, no OAuth error: each has its error,
// and nothing is kept.
//
// covers: O12, O13, S20, N15, O15, S19
func TestAnswersThatAreNoToken(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer map[string]any
		status int
		want   string
	}{
		{"no token", m{"access_token": ""}, 200, "no usable access_token"},
		{"a token that is no text", m{"access_token": 7}, 200, "no JSON object"},
		{"a token with a line break", m{"access_token": "a\r\nb"}, 200, "no usable access_token"},
		{"no type", m{"token_type": ""}, 200, "token_type"},
		{"a type of another flow", m{"token_type": "N_A"}, 200, "token_type is 'N_A'"},
		{"a type that nobody knows", m{"token_type": "mac"}, 200, `token_type`},
		{"an error with the status of a success", m{"error": "invalid_scope", "access_token": "t"}, 200, "invalid_scope"},
		{"no reason", m{}, 500, "no OAuth error"},
	} {
		for name, flow := range map[string]func(w *world) doorward.Flow{
			"cross-app": func(w *world) doorward.Flow { return w.crossApp() },
			"code":      func(w *world) doorward.Flow { return w.code() },
		} {
			w := newWorld(t)
			w.token = func(url.Values) (int, map[string]any) {
				answer := m{}
				for k, v := range c.answer {
					answer[k] = v
				}
				return c.status, answer
			}
			tr := &doorward.Transport{Flow: flow(w)}
			tok, err := tr.Token(as("alice"), w.url())
			var e *doorward.Error
			if !errors.As(err, &e) || e.Step != "redeem" || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, %s: %v %v", name, c.name, tok, err)
			}
		}
	}
	w := newWorld(t)
	for name, metadata := range map[string]map[string]any{"as": w.asMetadata, "idp": w.idpMetadata} {
		before := metadata["token_endpoint"]
		metadata["token_endpoint"] = "http://login.example/token"
		_, err := (&doorward.Transport{Flow: w.crossApp()}).Token(as("alice"), w.url())
		if err == nil || !strings.Contains(err.Error(), "must be https") {
			t.Errorf("%s over http: %v", name, err)
		}
		metadata["token_endpoint"] = before
	}
}
