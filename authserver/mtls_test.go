package authserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
	"doorward/internal/peer"
)

// authority signs the certificates of clients.
type authority struct {
	testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	a := &authority{TB: t}
	a.cert, a.key = a.sign(x509.Certificate{Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// sign makes a certificate; of the authority itself if it has none yet.
func (a *authority) sign(c x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.Fatal(err)
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	if c.NotBefore.IsZero() {
		c.NotBefore = time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	}
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Date(2036, 8, 1, 0, 0, 0, 0, time.UTC)
	}
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = &c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, &c, parent, key.Public(), by)
	if err != nil {
		a.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		a.Fatal(err)
	}
	return made, key
}

func (a *authority) client(c x509.Certificate) *x509.Certificate {
	c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	made, _ := a.sign(c)
	return made
}

// showing is a token request over a connection with these certificates.
func showing(s *Server, chain []*x509.Certificate, path, who string, entries ...string) *http.Request {
	r := postRequest(s, path, who, "", form(entries...))
	r.TLS = &tls.ConnectionState{PeerCertificates: chain}
	return r
}

// mtlsWorld has clients with certificates of an authority, and one with its own.
func mtlsWorld(t testing.TB) (w *world, ca *authority, own *x509.Certificate) {
	ca = newAuthority(t)
	self := &authority{TB: t}
	own, ownKey := self.sign(x509.Certificate{Subject: pkix.Name{CommonName: "own"}})
	key, err := jose.NewKey(ownKey, "")
	if err != nil {
		t.Fatal(err)
	}
	jwks, err := json.Marshal(jose.NewSet(key))
	if err != nil {
		t.Fatal(err)
	}
	grants := []string{oauth.ClientCredentials}
	w = newWorld(t, func(as, _ *Config) {
		as.MTLS, as.ClientCAs = true, x509.NewCertPool()
		as.ClientCAs.AddCert(ca.cert)
		as.Resources[0].Allow[0].Who = append(as.Resources[0].Allow[0].Who, "client:dn", "client:own", "client:bound")
		as.Clients["dn"] = Client{TLSSubject: "CN=client,O=Example\\, Inc.,C=DE", GrantTypes: grants}
		as.Clients["dns"] = Client{TLSSubject: "dns:client.example", GrantTypes: grants}
		as.Clients["uri"] = Client{TLSSubject: "uri:spiffe://example/client", GrantTypes: grants}
		as.Clients["ip"] = Client{TLSSubject: "ip:192.0.2.7", GrantTypes: grants}
		as.Clients["email"] = Client{TLSSubject: "email:client@example.com", GrantTypes: grants}
		as.Clients["own"] = Client{JWKS: jwks, GrantTypes: grants}
		as.Clients["bound"] = Client{TLSSubject: "dns:bound.example", CertBound: true, GrantTypes: grants}
		as.Clients["public"] = Client{CertBound: true, RedirectURIs: []string{"https://public.example/callback"}}
		for _, id := range []string{"dns", "uri", "ip", "email"} {
			as.Resources[0].Allow[0].Who = append(as.Resources[0].Allow[0].Who, "client:"+id)
		}
	})
	return w, ca, own
}

// covers: AS-MTLS-01
func TestClientsWithCertificates(t *testing.T) {
	w, ca, own := mtlsWorld(t)
	dn := pkix.Name{CommonName: "client", Organization: []string{"Example, Inc."}, Country: []string{"DE"}}
	good := ca.client(x509.Certificate{Subject: dn})
	stranger := newAuthority(t)
	between, betweenKey := ca.sign(x509.Certificate{Subject: pkix.Name{CommonName: "between"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	below := (&authority{t, between, betweenKey}).client(x509.Certificate{Subject: dn})
	server, _ := ca.sign(x509.Certificate{Subject: dn, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	uri, _ := url.Parse("spiffe://example/client")
	otherSelf, _ := (&authority{TB: t}).sign(x509.Certificate{Subject: pkix.Name{CommonName: "own"}})
	type chain = []*x509.Certificate
	for _, c := range []struct {
		name, client string
		chain        chain
		status       int
	}{
		{"distinguished name", "dn", chain{good}, 200},
		{"by a certificate between", "dn", chain{below, between}, 200},
		{"without that", "dn", chain{below}, 401},
		{"none", "dn", nil, 401},
		{"another name", "dn", chain{ca.client(x509.Certificate{Subject: pkix.Name{CommonName: "client"}})}, 401},
		{"name in another order", "dn", chain{ca.client(x509.Certificate{RawSubject: reversed(t, dn)})}, 401},
		{"of another authority", "dn", chain{stranger.client(x509.Certificate{Subject: dn})}, 401},
		{"expired", "dn", chain{ca.client(x509.Certificate{Subject: dn, NotAfter: w.now().Add(-time.Second)})}, 401},
		{"not valid yet", "dn", chain{ca.client(x509.Certificate{Subject: dn, NotBefore: w.now().Add(time.Second)})}, 401},
		{"of a server", "dn", chain{server}, 401},
		{"DNS name", "dns", chain{ca.client(x509.Certificate{DNSNames: []string{"a.example", "Client.example"}})}, 200},
		{"another DNS name", "dns", chain{ca.client(x509.Certificate{DNSNames: []string{"client.example.evil"}})}, 401},
		{"wildcard", "dns", chain{ca.client(x509.Certificate{DNSNames: []string{"*.example"}})}, 401},
		{"DNS name as common name", "dns", chain{ca.client(x509.Certificate{Subject: pkix.Name{CommonName: "client.example"}})}, 401},
		{"URI", "uri", chain{ca.client(x509.Certificate{URIs: []*url.URL{uri}})}, 200},
		{"no URI", "uri", chain{good}, 401},
		{"IP address", "ip", chain{ca.client(x509.Certificate{IPAddresses: []net.IP{net.ParseIP("192.0.2.7")}})}, 200},
		{"another IP address", "ip", chain{ca.client(x509.Certificate{IPAddresses: []net.IP{net.ParseIP("192.0.2.8")}})}, 401},
		{"e-mail address", "email", chain{ca.client(x509.Certificate{EmailAddresses: []string{"client@example.com"}})}, 200},
		{"another e-mail address", "email", chain{ca.client(x509.Certificate{EmailAddresses: []string{"other@example.com"}})}, 401},
		{"its own key", "own", chain{own}, 200},
		{"another key of the same name", "own", chain{otherSelf}, 401},
		{"a good one of another client", "own", chain{good}, 401},
		{"a client with a secret", "agent", chain{good}, 401},
		{"nobody", "nobody", chain{good}, 401},
	} {
		got := send(w.as, showing(w.as, c.chain, "/token", "", "grant_type=client_credentials", "client_id="+c.client, "scope=files:read"))
		if got.status != c.status || c.status == 401 && got.text("error") != oauth.InvalidClient {
			t.Errorf("%s: %d %s", c.name, got.status, got.body)
		}
	}
	twice := send(w.as, showing(w.as, chain{good}, "/token", "dn some-secret-0123456789", "grant_type=client_credentials", "scope=files:read"))
	if twice.status != 401 {
		t.Errorf("a secret that it does not have: %d", twice.status)
	}
	meta := send(w.as, httptest.NewRequest("GET", asURL+"/.well-known/oauth-authorization-server", nil))
	if bound, _ := meta.field("tls_client_certificate_bound_access_tokens"); bound != true || !strings.Contains(meta.body, `"private_key_jwt","tls_client_auth","self_signed_tls_client_auth"]`) {
		t.Errorf("metadata: %s", meta.body)
	}
}

// reversed is a name with its parts the other way round.
func reversed(t testing.TB, n pkix.Name) []byte {
	seq := n.ToRDNSequence()
	for i, j := 0, len(seq)-1; i < j; i, j = i+1, j-1 {
		seq[i], seq[j] = seq[j], seq[i]
	}
	return rawName(t, seq)
}

// Where certificates are not asked for, none counts.
func TestNoCertificatesWithoutMTLS(t *testing.T) {
	w, ca, _ := mtlsWorld(t)
	chain := []*x509.Certificate{ca.client(x509.Certificate{DNSNames: []string{"client.example"}})}
	for name, change := range map[string]func(*Config){
		"a subject":    func(c *Config) { c.Clients = map[string]Client{"x": {TLSSubject: "dns:x"}} },
		"bound tokens": func(c *Config) { c.Clients = map[string]Client{"x": {CertBound: true}} },
		"no authority": func(c *Config) { c.MTLS = true; c.Clients = map[string]Client{"x": {TLSSubject: "dns:x"}} },
		"no name": func(c *Config) {
			c.MTLS, c.ClientCAs = true, x509.NewCertPool()
			c.Clients = map[string]Client{"x": {TLSSubject: "client"}}
		},
		"an empty name": func(c *Config) {
			c.MTLS, c.ClientCAs = true, x509.NewCertPool()
			c.Clients = map[string]Client{"x": {TLSSubject: "dns:"}}
		},
		"no address": func(c *Config) {
			c.MTLS, c.ClientCAs = true, x509.NewCertPool()
			c.Clients = map[string]Client{"x": {TLSSubject: "ip:x"}}
		},
		"a secret as well": func(c *Config) {
			c.MTLS, c.ClientCAs = true, x509.NewCertPool()
			c.Clients = map[string]Client{"x": {TLSSubject: "dns:x", Secret: desktopSecret}}
		},
	} {
		c := w.asConfig(nil)
		change(&c)
		if err := w.as.Reload(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := w.as.Reload(w.asConfig(nil)); err != nil {
		t.Fatal(err)
	}
	if got := send(w.as, showing(w.as, chain, "/token", "", "grant_type=client_credentials", "client_id=agent", "scope=files:read")); got.status != 401 {
		t.Errorf("%d %s", got.status, got.body)
	}
	meta := send(w.as, httptest.NewRequest("GET", asURL+"/.well-known/oauth-authorization-server", nil))
	if strings.Contains(meta.body, "tls_client") {
		t.Errorf("metadata: %s", meta.body)
	}
}

// A token that is bound to a certificate is good over a connection with it, and
// over no other.
// covers: AS-MTLS-02, RS-MTLS-01, V04
func TestTokensBoundToCertificates(t *testing.T) {
	w, ca, _ := mtlsWorld(t)
	if err := w.as.Protect("/files/mcp", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})); err != nil {
		t.Fatal(err)
	}
	cert := ca.client(x509.Certificate{DNSNames: []string{"bound.example"}})
	renewed := ca.client(x509.Certificate{DNSNames: []string{"bound.example"}})
	got := send(w.as, showing(w.as, []*x509.Certificate{cert, ca.cert}, "/token", "", "grant_type=client_credentials", "client_id=bound", "scope=files:read"))
	token := got.text("access_token")
	if got.status != 200 || got.text("token_type") != "Bearer" {
		t.Fatalf("%d %s", got.status, got.body)
	}
	var said map[string]string
	if err := claimsOf(t, token).Decode("cnf", &said); err != nil || len(said) != 1 || said["x5t#S256"] != peer.Thumbprint(cert) {
		t.Errorf("cnf %v, %v", said, err)
	}
	call := func(chain ...*x509.Certificate) reply {
		r := httptest.NewRequest("POST", filesURL, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("X-Client-Cert", "anything")
		r.TLS = &tls.ConnectionState{PeerCertificates: chain}
		return send(w.as, r)
	}
	for range 2 { // also once the guard has seen it
		if got := call(cert); got.status != 200 {
			t.Errorf("with it: %d %s", got.status, got.body)
		}
		for name, got := range map[string]reply{"another": call(renewed), "none": call(), "second in the chain": call(renewed, cert)} {
			if got.status != 401 || !strings.HasPrefix(got.header.Get("WWW-Authenticate"), `Bearer error="invalid_token"`) {
				t.Errorf("%s: %d %v", name, got.status, got.header)
			}
		}
	}
	code := w.code(t, w.as, filesGrant("public"), "https://public.example/callback")
	entries := []string{"grant_type=authorization_code", "client_id=public", "code_verifier=" + codeVerifier, "code=" + code}
	if got := send(w.as, showing(w.as, nil, "/token", "", entries...)); got.status != 400 || got.text("error") != oauth.InvalidRequest {
		t.Errorf("a public client without one: %d %s", got.status, got.body)
	}
	got = send(w.as, showing(w.as, []*x509.Certificate{cert}, "/token", "", entries...))
	if got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	refresh := []string{"grant_type=refresh_token", "client_id=public", "refresh_token=" + got.text("refresh_token")}
	if got := send(w.as, showing(w.as, []*x509.Certificate{renewed}, "/token", "", refresh...)); got.status != 400 || got.text("error") != oauth.InvalidGrant {
		t.Errorf("its refresh token with another: %d %s", got.status, got.body)
	}
	if got := send(w.as, showing(w.as, []*x509.Certificate{cert}, "/token", "", refresh...)); got.status != 200 {
		t.Errorf("its refresh token: %d %s", got.status, got.body)
	}
}

// A key and a certificate at once: the token needs both.
func TestTokensBoundToBoth(t *testing.T) {
	w, ca, _ := mtlsWorld(t)
	cert, key := ca.client(x509.Certificate{DNSNames: []string{"bound.example"}}), newProofKey(t)
	r, _ := proved(t, w.as, key, "", "grant_type=client_credentials", "client_id=bound", "scope=files:read")
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
	got := send(w.as, r)
	var said map[string]string
	if err := claimsOf(t, got.text("access_token")).Decode("cnf", &said); err != nil || said["jkt"] != key.ID() || said["x5t#S256"] != peer.Thumbprint(cert) {
		t.Errorf("%d cnf %v, %v", got.status, said, err)
	}
}

// What is in cnf and nobody checks makes a token worthless.
func TestReadConfirmation(t *testing.T) {
	for text, want := range map[string]*cnf{
		`{}`:                                     {},
		`{"cnf":{"jkt":"k"}}`:                    {key: "k"},
		`{"cnf":{"x5t#S256":"c"}}`:               {cert: "c"},
		`{"cnf":{"jkt":"k","x5t#S256":"c"}}`:     {"k", "c"},
		`{"cnf":{}}`:                             nil,
		`{"cnf":"x"}`:                            nil,
		`{"cnf":{"jkt":7}}`:                      nil,
		`{"cnf":{"jkt":"k","jwk":{}}}`:           nil,
		`{"cnf":{"jkt":"","x5t#S256":"c"}}`:      nil,
		`{"cnf":{"jwk":{"kty":"EC"}}}`:           nil,
		`{"cnf":{"x5t#S256":"c","kid":"other"}}`: nil,
	} {
		var c jose.Claims
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			t.Fatal(err)
		}
		if got, ok := readConfirmation(c); ok != (want != nil) || ok && got != *want {
			t.Errorf("%s: %+v %t", text, got, ok)
		}
	}
}

func rawName(t testing.TB, seq pkix.RDNSequence) []byte {
	raw, err := asn1.Marshal(seq)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
