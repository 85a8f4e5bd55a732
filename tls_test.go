package doorward_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"doorward"
	"doorward/internal/oauth"
)

// Whose certificate is not trusted, or is another host's, learns nothing: no
// request of a guard or a client reaches it, not to speak of a secret. No
// program here has a switch against that.
//
// covers: X-HTTP-02
func TestCertificatesAreChecked(t *testing.T) {
	var reached atomic.Int32
	as := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		u := "https://" + r.Host
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": u, "jwks_uri": u + "/jwks", "introspection_endpoint": u + "/introspect", "keys": []any{},
			"token_endpoint": u + "/token", "grant_types_supported": []string{oauth.ClientCredentials}, "token_endpoint_auth_methods_supported": []string{oauth.AuthBasic}})
	}))
	as.Config.ErrorLog = log.New(io.Discard, "", 0)
	as.StartTLS()
	defer as.Close()
	roots := x509.NewCertPool()
	roots.AddCert(as.Certificate())
	trusting := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer trusting.CloseIdleConnections()
	elsewhere := strings.Replace(as.URL, "127.0.0.1", "localhost", 1) // not a name of its certificate

	ways := map[string]func(issuer string, base http.RoundTripper){
		"keys": func(issuer string, base http.RoundTripper) {
			_, h := newGuard(t, doorward.GuardConfig{Issuers: []string{issuer}, Base: base})
			guardAsk(h, withToken("a.b.c"))
		},
		"introspection": func(issuer string, base http.RoundTripper) {
			_, h := newGuard(t, doorward.GuardConfig{Issuers: []string{issuer}, Base: base, Introspect: map[string]doorward.Credentials{issuer: {ID: askingID, Secret: askingSecret}}})
			guardAsk(h, withToken("opaque"))
		},
		"client": func(issuer string, base http.RoundTripper) {
			var mcp *httptest.Server
			mcp = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, oauth.WellKnownPRM) {
					_ = json.NewEncoder(w).Encode(map[string]any{"resource": mcp.URL + "/mcp", "authorization_servers": []string{issuer}})
					return
				}
				w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+mcp.URL+oauth.WellKnownPRM+`/mcp"`)
				w.WriteHeader(http.StatusUnauthorized)
			}))
			defer mcp.Close()
			c := &http.Client{Transport: &doorward.Transport{Base: base, Flow: &doorward.ClientCredentials{
				Client: doorward.Credentials{Issuer: issuer, ID: askingID, Secret: askingSecret}}}}
			if resp, err := c.Get(mcp.URL + "/mcp"); err == nil {
				resp.Body.Close()
			}
		},
	}
	for name, way := range ways {
		for _, c := range []struct {
			why, issuer string
			base        http.RoundTripper
			reaches     bool
		}{
			{"nobody vouches for it", as.URL, http.DefaultTransport, false},
			{"another host's", elsewhere, trusting, false},
			{"good", as.URL, trusting, true}, // so that it is the certificate that mattered
		} {
			reached.Store(0)
			if way(c.issuer, c.base); (reached.Load() > 0) != c.reaches {
				t.Errorf("%s, certificate: %s: %d requests arrived", name, c.why, reached.Load())
			}
		}
	}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte("InsecureSkipVerify")) {
			t.Errorf("%s skips the check of certificates", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
