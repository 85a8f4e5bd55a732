package peer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"
)

func newCertificate(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A certificate comes from the connection, or from the header of a proxy that is
// trusted; whoever else writes the header writes nothing.
// covers: AS-MTLS-02, SEC-33
func TestCertificates(t *testing.T) {
	ours, other := newCertificate(t, "ours"), newCertificate(t, "other")
	text := base64.StdEncoding.EncodeToString(ours.Raw)
	escaped := url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ours.Raw})))
	key := url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: ours.Raw})))
	for _, tt := range []struct {
		name   string
		via    bool
		tls    *x509.Certificate
		header []string
		want   *x509.Certificate
	}{
		{"none", false, nil, nil, nil},
		{"the connection's", false, ours, nil, ours},
		{"the connection's, and a stranger's header", false, other, []string{text}, other},
		{"a stranger's header", false, nil, []string{text}, nil},
		{"the proxy's own", true, other, nil, nil},
		{"a proxy's word, base64", true, other, []string{text}, ours},
		{"RFC 9440", true, nil, []string{":" + text + ":"}, ours},
		{"PEM, escaped", true, nil, []string{escaped}, ours},
		{"base64, escaped", true, nil, []string{url.QueryEscape(text)}, ours},
		{"twice", true, nil, []string{text, text}, nil},
		{"empty", true, nil, []string{""}, nil},
		{"rubbish", true, nil, []string{"rubbish"}, nil},
		{"bad escapes", true, nil, []string{"%zz"}, nil},
		{"no certificate in it", true, nil, []string{key}, nil},
	} {
		r := httptest.NewRequest(http.MethodGet, "https://as.example/", nil)
		r.Header["X-Cert"] = tt.header
		if tt.header == nil {
			delete(r.Header, "X-Cert")
		}
		if r.TLS = nil; tt.tls != nil {
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{tt.tls}}
		}
		r = r.WithContext(context.WithValue(r.Context(), viaKey{}, tt.via))
		var got []*x509.Certificate
		CertHeader("x-cert", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			got = Certificates(r)
			if _, there := r.Header["X-Cert"]; there {
				t.Errorf("%s: the header goes on", tt.name)
			}
		})).ServeHTTP(nil, r)
		if len(got) > 1 || len(got) == 1 && !got[0].Equal(tt.want) || (len(got) == 1) != (tt.want != nil) {
			t.Errorf("%s: %d certificates", tt.name, len(got))
		}
		if _, there := r.Header["X-Cert"]; there != (tt.header != nil) {
			t.Errorf("%s: the caller's request was changed", tt.name)
		}
	}
}

// Without a name no header is read.
func TestNoCertHeader(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("X-Cert", base64.StdEncoding.EncodeToString(newCertificate(t, "x").Raw))
	r = r.WithContext(context.WithValue(r.Context(), viaKey{}, true))
	CertHeader("", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if Certificates(r) != nil {
			t.Error("a certificate out of nothing")
		}
	})).ServeHTTP(nil, r)
}

func FuzzParseCertificates(f *testing.F) {
	c := newCertificate(f, "x")
	f.Add(base64.StdEncoding.EncodeToString(c.Raw))
	f.Add(url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))))
	f.Add(":AAAA:")
	f.Fuzz(func(t *testing.T, value string) {
		for _, c := range parseCertificates(value) {
			if c == nil || len(c.Raw) == 0 {
				t.Fatal("a certificate that is none")
			}
		}
	})
}
