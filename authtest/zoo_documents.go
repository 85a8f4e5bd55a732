package authtest

import (
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"doorward/internal/jose"
)

// zooKeys is where the keys of the client that has some lie.
const zooKeys = "/oauth/jwks.json"

// Documents is a server on loopback, with https, that has the client metadata
// documents of the zoo, for tests without the internet: each lies at the path
// that it has in reality, and names its address here as its id.
type Documents struct{ srv *httptest.Server }

// NewDocuments starts it; it ends with the test. The authorization server that
// is tested must trust Roots, and may fetch from loopback.
func NewDocuments(t testing.TB) *Documents {
	t.Helper()
	mux := http.NewServeMux()
	d := &Documents{}
	seen := map[string]bool{}
	for _, c := range zoo {
		if c.habits.document == "" || seen[c.habits.document] {
			continue
		}
		seen[c.habits.document] = true
		u, err := url.Parse(c.habits.document)
		if err != nil {
			t.Fatal(err)
		}
		mux.HandleFunc("GET "+u.Path, func(w http.ResponseWriter, r *http.Request) {
			members := c.habits.metadata("")
			members["client_id"] = d.srv.URL + r.URL.Path
			if c.habits.auth == authKey {
				members["jwks_uri"] = d.srv.URL + zooKeys
			}
			writeJSON(w, http.StatusOK, members)
		})
	}
	mux.HandleFunc("GET "+zooKeys, func(w http.ResponseWriter, _ *http.Request) {
		key, err := zooKey()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		writeJSON(w, http.StatusOK, jose.NewSet(key))
	})
	d.srv = httptest.NewTLSServer(mux)
	t.Cleanup(func() {
		d.srv.CloseClientConnections()
		d.srv.Close()
	})
	return d
}

// At is where the document with that real address lies; it fits Site.Documents.
func (d *Documents) At(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return d.srv.URL + u.Path
}

// Roots is the certificate of the server.
func (d *Documents) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(d.srv.Certificate())
	return pool
}

// PEM is the same certificate, for a file.
func (d *Documents) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.srv.Certificate().Raw})
}
