package peer

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/url"
	"strings"
)

type certKey struct{}

// Certificates are the chain that the client of a request showed, its own
// certificate first; nil: none. It comes from the connection, or, through a
// trusted proxy, from the header that CertHeader reads, and from nowhere else
// (RFC 8705 section 6.4): the connection of a proxy is the proxy's own. That the
// client has the private key was checked by whoever ended TLS; whom the
// certificate is from was not.
func Certificates(r *http.Request) []*x509.Certificate {
	if Via(r.Context()) {
		said, _ := r.Context().Value(certKey{}).([]*x509.Certificate)
		return said
	}
	if r.TLS == nil {
		return nil
	}
	return r.TLS.PeerCertificates
}

// Thumbprint is the x5t#S256 of a certificate (RFC 8705 section 3.1).
func Thumbprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// CertHeader reads the header in which trusted proxies say what certificate a
// client showed them, and takes it away from every request. "": there is none.
// It stands inside of Handler. The proxy must set the header on every request,
// or remove what the client sent.
func CertHeader(name string, h http.Handler) http.Handler {
	if name == "" {
		return h
	}
	name = http.CanonicalHeaderKey(name)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if values, there := r.Header[name]; there {
			ctx := r.Context()
			if Via(ctx) && len(values) == 1 {
				ctx = context.WithValue(ctx, certKey{}, parseCertificates(values[0]))
			}
			r = r.WithContext(ctx) // a copy
			r.Header = r.Header.Clone()
			delete(r.Header, name)
		}
		h.ServeHTTP(w, r)
	})
}

// parseCertificates reads what proxies write: ":BASE64:" (RFC 9440), PEM with
// its characters escaped (nginx), or base64 of DER. What cannot be read is no
// certificate.
func parseCertificates(value string) []*x509.Certificate {
	if strings.Contains(value, "%") {
		plain, err := url.PathUnescape(value)
		if err != nil {
			return nil
		}
		value = plain
	}
	var chain []*x509.Certificate
	if strings.Contains(value, "-----BEGIN") {
		for rest := []byte(value); ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				return chain
			}
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil || block.Type != "CERTIFICATE" {
				return nil
			}
			chain = append(chain, c)
		}
	}
	if inner, ok := strings.CutPrefix(value, ":"); ok {
		value, _ = strings.CutSuffix(inner, ":")
	}
	der, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return nil
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil
	}
	return []*x509.Certificate{c}
}
