package doorward_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"testing"
	"time"

	"doorward"
	"doorward/internal/jose"
	"doorward/internal/oauth"
	"doorward/internal/peer"
)

// A token that is bound to a certificate needs it, whatever is asked for
// besides; what a header says of certificates counts for nothing here.
// covers: RS-MTLS-01
func TestGuardDemandsTheCertificate(t *testing.T) {
	issuer, key := guardKey(t), guardKey(t)
	now := time.Now()
	ours, other := &x509.Certificate{Raw: []byte("ours")}, &x509.Certificate{Raw: []byte("other")}
	sign := func(cnf map[string]string) string {
		return guardSign(t, issuer, oauth.TypAccessToken, guardClaims(now, map[string]any{"cnf": cnf}))
	}
	cert := sign(map[string]string{"x5t#S256": peer.Thumbprint(ours)})
	both := sign(map[string]string{"x5t#S256": peer.Thumbprint(ours), "jkt": key.ID()})
	over := func(c *x509.Certificate, change func(*http.Request)) func(*http.Request) {
		return func(r *http.Request) {
			change(r)
			r.Header.Set("Client-Cert", "anything")
			if r.TLS = nil; c != nil {
				r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}}
			}
		}
	}
	for _, c := range []struct {
		mode, name string
		change     func(*http.Request)
		status     int
	}{
		{"", "with it", over(ours, withToken(cert)), 200},
		{"", "with another", over(other, withToken(cert)), 401},
		{"", "without", over(nil, withToken(cert)), 401},
		{"", "with a proof besides", over(ours, prove(t, key, cert, now, nil)), 401},
		{"", "both", over(ours, prove(t, key, both, now, nil)), 200},
		{"", "both, without the proof", over(ours, withToken(both)), 401},
		{"", "both, without the certificate", over(nil, prove(t, key, both, now, nil)), 401},
		{"off", "with it", over(ours, withToken(cert)), 200},
		{"off", "without", over(nil, withToken(cert)), 401},
		{"off", "both", over(ours, withToken(both)), 401},
		{"required", "the certificate alone", over(ours, withToken(cert)), 401},
		{"required", "both", over(ours, prove(t, key, both, now, nil)), 200},
		{"", "something else besides", over(ours, withToken(sign(map[string]string{"x5t#S256": peer.Thumbprint(ours), "kid": "x"}))), 401},
		{"", "nothing named", over(ours, withToken(sign(map[string]string{}))), 401},
	} {
		_, h := newGuard(t, doorward.GuardConfig{DPoP: c.mode, Keys: guardKeySets(t, map[string][]*jose.Key{guardIssuer: {issuer}})})
		for _, sight := range []string{"first", "second"} {
			if w := guardAsk(h, c.change); w.Code != c.status {
				t.Errorf("%q %s, %s sight: %d %s", c.mode, c.name, sight, w.Code, w.Body)
			}
		}
	}
}
