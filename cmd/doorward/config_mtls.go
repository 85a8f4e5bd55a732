package main

import (
	"crypto/x509"
	"net/textproto"

	"doorward/internal/peer"
)

// mtls reports whether certificates of clients are looked at: where authorities
// or a header are named, or a client wants its tokens bound to one.
func (c *Config) mtls() bool {
	if c.TLS.ClientCA.pool != nil || c.TLS.ClientCertHeader != "" {
		return true
	}
	for _, cl := range c.Clients.Registered {
		if cl.CertBound {
			return true
		}
	}
	return false
}

// authoritiesAsked is whom the certificates that are asked for should be from.
// nil: anybody, since a client may come with a key of its own.
func (c *Config) authoritiesAsked() *x509.CertPool {
	for _, cl := range c.Clients.Registered {
		if len(cl.JWKS) > 0 || cl.JWKSURI != "" || cl.CertBound && cl.TLSSubject == "" {
			return nil
		}
	}
	return c.TLS.ClientCA.pool
}

// checkClientCerts finds certificates of clients that could never come.
func (k *checker) checkClientCerts() {
	at := pathOf("tls", "client_cert_header")
	if h := k.TLS.ClientCertHeader; h != "" {
		k.must(headerName.MatchString(h) && textproto.CanonicalMIMEHeaderKey(h) != "Authorization", at, "%q is no name of a header for certificates", h)
		k.must(len(k.TrustedProxies) > 0 || k.broken(pathOf("trusted_proxies")), at, "is read from trusted_proxies only, and none are named: anybody could send it")
		return
	}
	comes := k.TLS.isSet() || k.broken(pathOf("tls", "cert"))
	k.must(comes || k.TLS.ClientCA.pool == nil, pathOf("tls", "client_ca"), "certificates of clients come where TLS ends: with tls.cert, or in tls.client_cert_header of a proxy")
	for _, id := range sortedNames(k.Clients.Registered) {
		k.must(comes || !k.Clients.Registered[id].CertBound, pathOf("clients", "registered", id, "tls_client_certificate_bound_access_tokens"),
			"certificates of clients come where TLS ends: with tls.cert, or in tls.client_cert_header of a proxy")
	}
}

// clientCert checks how a client authenticates with its certificate.
func (k *checker) clientCert(at keyPath, cl ClientConfig) {
	at = at.add("tls_subject")
	if cl.TLSSubject == "" {
		return
	}
	if err := peer.CheckSubject(cl.TLSSubject); err != nil {
		k.fail(at, "%v", err)
	}
	k.must(cl.Secret == "" && len(cl.JWKS) == 0 && cl.JWKSURI == "", at, "and secret or keys exclude each other: the client authenticates in one way")
	k.must(k.TLS.ClientCA.pool != nil || k.broken(pathOf("tls", "client_ca")), at, "needs tls.client_ca, the authorities that the certificate may be from")
}
