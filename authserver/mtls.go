package authserver

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"slices"

	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/internal/peer"
)

// Client authentication methods of RFC 8705 section 2.
const (
	authTLS        = oauth.AuthTLS
	authSelfSigned = oauth.AuthSelfSignedTLS
)

// methods are the ways to authenticate that exist here.
func (st *settings) methods() []string {
	all := slices.Clone(authMethods)
	if st.cfg.MTLS && st.cfg.ClientCAs != nil {
		all = append(all, authTLS)
	}
	if st.cfg.MTLS {
		all = append(all, authSelfSigned)
	}
	return all
}

type chainKey struct{}

// withCertificates notes the client's certificates in the request's context,
// where they are believed.
func (st *settings) withCertificates(r *http.Request) *http.Request {
	if !st.cfg.MTLS {
		return r
	}
	chain := peer.Certificates(r)
	if len(chain) == 0 {
		return r
	}
	return r.WithContext(context.WithValue(r.Context(), chainKey{}, chain))
}

func certificates(ctx context.Context) []*x509.Certificate {
	chain, _ := ctx.Value(chainKey{}).([]*x509.Certificate)
	return chain
}

// certMethod is how a client authenticates that sent nothing but its client_id:
// with the certificate of its connection if that is its method.
func certMethod(ctx context.Context, c *ledger.Client) string {
	if len(certificates(ctx)) > 0 {
		for _, method := range []string{authTLS, authSelfSigned} {
			if c.Takes(method) {
				return method
			}
		}
	}
	return authNone
}

// checkCertificate checks the certificate of a client: for tls_client_auth who
// it is from and whose it is, for self_signed_tls_client_auth that its key is one
// that is registered (RFC 8705 sections 2.1, 2.2).
func (s *Server) checkCertificate(ctx context.Context, st *settings, c ledger.Client, method string) error {
	chain := certificates(ctx)
	if method == authSelfSigned {
		set, err := st.clientKeys.set(ctx, c, s.now)
		if err == nil && !set.Holds(chain[0].PublicKey) {
			err = errors.New("its key is none that is registered")
		}
		return err
	}
	if st.cfg.ClientCAs == nil {
		return errors.New("no certificate authority of clients is configured")
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: st.cfg.ClientCAs, Intermediates: between, CurrentTime: s.now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return err
	}
	return peer.HasSubject(chain[0], c.TLSSubject)
}

// checkCertClient says why a client could never come with a certificate.
func (st *settings) checkCertClient(c Client) error {
	switch {
	case c.CertBound && !st.cfg.MTLS:
		return errors.New("CertBound needs MTLS")
	case c.TLSSubject == "":
		return nil
	case !st.cfg.MTLS || st.cfg.ClientCAs == nil:
		return errors.New("TLSSubject needs MTLS and ClientCAs")
	case c.Secret != "" || len(c.JWKS) > 0 || c.JWKSURI != "":
		return errors.New("TLSSubject does not go with Secret, JWKS or JWKSURI")
	}
	return peer.CheckSubject(c.TLSSubject)
}

// boundCertificate is the thumbprint of the certificate that the client's
// tokens are bound to, because it is registered for that (RFC 8705 section 3.4);
// "" if it is not.
func (a *asked) boundCertificate(ctx context.Context) (string, error) {
	if !a.client.client.CertBound {
		return "", nil
	}
	chain := certificates(ctx)
	if len(chain) == 0 {
		return "", &oauth.Error{Code: oauth.InvalidRequest, Reason: "certificate_missing",
			Description: "a client certificate is needed: the tokens of this client are bound to it"}
	}
	return peer.Thumbprint(chain[0]), nil
}

// certPrefix tells a certificate that a grant is bound to from a DPoP key.
const certPrefix = "x5t#S256:"

// cnf is a claim cnf that was read: what a token is bound to.
type cnf struct{ key, cert string }

// readConfirmation reads the claim cnf of a token of ours; false if there is
// something in it that nobody here checks.
func readConfirmation(c jose.Claims) (cnf, bool) {
	var out cnf
	if !c.Has("cnf") {
		return out, true
	}
	var members jose.Claims
	if c.Decode("cnf", &members) != nil {
		return out, false
	}
	var err1, err2 error
	out.key, err1 = members.Text("jkt")
	out.cert, err2 = members.Text("x5t#S256")
	known := 0
	for _, v := range []string{out.key, out.cert} {
		if v != "" {
			known++
		}
	}
	return out, err1 == nil && err2 == nil && known > 0 && known == len(members)
}
