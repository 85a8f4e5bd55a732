package doctor_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/internal/doctor"
	"doorward/internal/oauth"
)

// lab is an internet in memory: names with addresses, and behind every address
// one server that answers by host name, over TLS on the ports that are open.
type lab struct {
	names  map[string][]string     // addresses
	open   map[string]bool         // ports with TLS
	plain  map[string]bool         // ports without
	hosts  map[string]http.Handler // by name
	dead   map[string]bool         // addresses where nothing answers
	cert   func(*x509.Certificate) // changes the certificates; nil: they are good
	direct bool                    // certificates are signed by an authority that nobody knows
	tlsMax uint16

	secure, bare net.Listener
}

var authority = sync.OnceValue(func() (a struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}) {
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lab"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &a.key.PublicKey, a.key)
	if err != nil {
		panic(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.pool = x509.NewCertPool()
	a.pool.AddCert(a.cert)
	return a
})

func newLab(t testing.TB) *lab {
	l := &lab{names: map[string][]string{}, open: map[string]bool{"443": true}, plain: map[string]bool{"80": true, "8080": true}, hosts: map[string]http.Handler{}, dead: map[string]bool{}}
	quiet := log.New(io.Discard, "", 0)
	secure := httptest.NewUnstartedServer(l)
	secure.Config.ErrorLog = quiet
	secure.TLS = &tls.Config{GetCertificate: l.certificate, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{GetCertificate: l.certificate, MaxVersion: l.tlsMax, MinVersion: tls.VersionTLS10}, nil
	}}
	secure.StartTLS()
	bare := httptest.NewServer(l)
	bare.Config.ErrorLog = quiet
	l.secure, l.bare = secure.Listener, bare.Listener
	t.Cleanup(func() {
		for _, s := range []*httptest.Server{secure, bare} {
			s.CloseClientConnections()
			s.Close()
		}
	})
	return l
}

func (l *lab) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	a := authority()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{hello.ServerName}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 3, 0)}
	if l.cert != nil {
		l.cert(tmpl)
	}
	signer, parent := a.key, a.cert
	if l.direct {
		signer, parent = key, tmpl
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func (l *lab) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	if h := l.hosts[host]; h != nil {
		h.ServeHTTP(w, r)
		return
	}
	http.NotFound(w, r)
}

func (l *lab) lookup(_ context.Context, _, host string) ([]netip.Addr, error) {
	var all []netip.Addr
	for _, a := range l.names[host] {
		all = append(all, netip.MustParseAddr(a))
	}
	if all == nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return all, nil
}

func (l *lab) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	switch {
	case err != nil:
		return nil, err
	case l.dead[host]:
	case l.open[port]:
		return (&net.Dialer{}).DialContext(ctx, network, l.secure.Addr().String())
	case l.plain[port]:
		return (&net.Dialer{}).DialContext(ctx, network, l.bare.Addr().String())
	}
	return nil, errors.New("connection refused")
}

func (l *lab) config() doctor.Config {
	return doctor.Config{Lookup: l.lookup, Dial: l.dial, Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority().pool}}}
}

// A key that stands in a key set, and cannot sign: nobody has its other half.
const someKey = `{"kty":"EC","crv":"P-256","use":"sig","alg":"ES256","kid":"k1","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`

// site is an MCP server and its authorization server as they should be, until
// a test ruins something.
type site struct {
	*lab
	url      string // what the person types
	status   int    // of a request without a token
	header   http.Header
	resource map[string]any
	server   map[string]any
	keys     string
	answer   map[string]http.HandlerFunc // HOST/path: instead
	gone     map[string]bool             // HOST/path: 404
}

const (
	mcpHost  = "mcp.example.com"
	authHost = "auth.example.com"
	prmAt    = mcpHost + oauth.WellKnownPRM + "/mcp"
	asAt     = authHost + oauth.WellKnownAS
	oidcAt   = authHost + oauth.WellKnownOIDC
)

func newSite(t testing.TB) *site {
	s := &site{lab: newLab(t), url: "https://" + mcpHost + "/mcp", status: http.StatusUnauthorized, keys: `{"keys":[` + someKey + `]}`,
		answer: map[string]http.HandlerFunc{}, gone: map[string]bool{}, header: http.Header{}}
	s.names[mcpHost], s.names[authHost] = []string{"93.184.215.14"}, []string{"93.184.215.15"}
	s.hosts[mcpHost], s.hosts[authHost] = s.part(mcpHost, s.mcp), s.part(authHost, s.auth)
	s.challenge(`Bearer resource_metadata="https://` + prmAt + `", scope="read"`)
	s.resource = map[string]any{"resource": s.url, "authorization_servers": []string{"https://" + authHost}, "scopes_supported": []string{"read", "write"}}
	s.server = serverAt("https://" + authHost)
	return s
}

// serverAt is metadata with nothing missing.
func serverAt(issuer string) map[string]any {
	return map[string]any{
		"issuer": issuer, "authorization_endpoint": issuer + "/authorize", "token_endpoint": issuer + "/token", "jwks_uri": issuer + "/jwks",
		"registration_endpoint": issuer + "/register", "client_id_metadata_document_supported": true,
		"response_types_supported": []string{"code"}, "grant_types_supported": []string{"authorization_code", "refresh_token", oauth.JWTBearer},
		"token_endpoint_auth_methods_supported": []string{"none", "client_secret_basic", "client_secret_post"},
		"code_challenge_methods_supported":      []string{"S256"}, "authorization_response_iss_parameter_supported": true,
		"authorization_grant_profiles_supported": []string{oauth.ProfileIDJAG},
	}
}

func (s *site) challenge(value string) { s.header.Set("WWW-Authenticate", value) }

func (s *site) part(host string, healthy http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch at := host + r.URL.Path; {
		case s.gone[at]:
			http.NotFound(w, r)
		case s.answer[at] != nil:
			s.answer[at](w, r)
		default:
			healthy(w, r)
		}
	})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (s *site) mcp(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case oauth.WellKnownPRM + "/mcp", oauth.WellKnownPRM:
		writeJSON(w, 200, s.resource)
	case "/mcp":
		maps.Copy(w.Header(), s.header)
		writeJSON(w, s.status, map[string]any{})
	default:
		http.NotFound(w, r)
	}
}

func (s *site) auth(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case oauth.WellKnownAS, oauth.WellKnownOIDC:
		writeJSON(w, 200, s.server)
	case "/jwks":
		writeJSON(w, 200, json.RawMessage(s.keys))
	case "/authorize":
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, "<p>This client is not known here.")
	case "/token":
		w.Header().Set("Cache-Control", "no-store")
		writeJSON(w, 401, map[string]string{"error": "invalid_client"})
	case "/register":
		w.Header().Set("Cache-Control", "no-store")
		writeJSON(w, 400, map[string]string{"error": "invalid_client_metadata"})
	default:
		http.NotFound(w, r)
	}
}

// move puts the authorization server at another name or path.
func (s *site) move(issuer string) {
	host := strings.TrimPrefix(issuer, "https://")
	host, path, _ := strings.Cut(host, "/")
	if path != "" {
		path = "/" + path
	}
	s.names[host] = []string{"93.184.215.15"}
	s.hosts[host] = s.part(host, func(w http.ResponseWriter, r *http.Request) {
		at := r.URL.Path
		if inserted, ok := strings.CutSuffix(at, strings.TrimSuffix(path, "/")); ok && strings.HasPrefix(inserted, "/.well-known/") {
			at = inserted
		} else {
			at = strings.TrimPrefix(at, strings.TrimSuffix(path, "/"))
		}
		r.URL.Path = at
		s.auth(w, r)
	})
	s.server = serverAt(strings.TrimSuffix(issuer, "/"))
	s.server["issuer"] = issuer
	s.resource["authorization_servers"] = []string{issuer}
}

func (s *site) walk(t testing.TB, change ...func(*doctor.Config)) doctor.Report {
	c := s.config()
	for _, f := range change {
		f(&c)
	}
	return doctor.Walk(t.Context(), c, s.url)
}

func find(r doctor.Report, id string) doctor.Step {
	if i := slices.IndexFunc(r.Steps, func(s doctor.Step) bool { return s.ID == id }); i >= 0 {
		return r.Steps[i]
	}
	return doctor.Step{}
}

// findings are the steps that are not ok.
func findings(r doctor.Report) (all []doctor.Step) {
	for _, s := range r.Steps {
		if s.Result != doctor.OK {
			all = append(all, s)
		}
	}
	return all
}

// answers writes one answer whatever is asked.
func answers(status int, contentType, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func redirects(status int, to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, status) }
}
