package doorward

import (
	"cmp"
	"context"
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// Credentials are a client's identity at one issuer. How the client shows it is
// chosen from what the issuer publishes: with a Key or an Assertion as
// private_key_jwt, with a Secret as client_secret_basic or client_secret_post,
// with a certificate in the TLSClientConfig of Transport.Base as tls_client_auth
// or self_signed_tls_client_auth (RFC 8705), and else as a public client.
type Credentials struct {
	// Issuer they are for (RFC 8414, section 2), exactly as it calls itself. At an
	// authorization server it may be empty: then it is found from the MCP
	// server, and a Secret or an Assertion is used with the first issuer that is
	// found and with no other.
	Issuer string
	// ID is the client_id, which may be the URL of a client ID metadata document.
	ID string
	// Secret is the client_secret; empty for a client with a Key or a public one.
	Secret string
	// Key signs client assertions (private_key_jwt, RFC 7523 section 2.2): ECDSA
	// P-256, Ed25519, or RSA of at least 2048 bits. nil: none.
	Key crypto.Signer
	// KeyID is the kid of Key in the client's key set; empty: its RFC 7638 thumbprint.
	KeyID string
	// Assertion returns a client assertion that is made elsewhere (RFC 7523
	// section 2.2) and addressed to issuer; it takes the place of Key. It is
	// called for each request, since most servers take an assertion once. nil: none.
	Assertion func(ctx context.Context, issuer string) (string, error)
}

// proven reports whether there is something to authenticate with but a
// certificate.
func (as Credentials) proven() bool { return as.Secret != "" || as.Key != nil || as.Assertion != nil }

// identify adds the client's identity by a method; empty: chosen from the
// metadata. It returns the trust that the request is then sent with: by, and
// with the client's certificate if that is the method.
func (t *Transport) identify(ctx context.Context, form url.Values, header http.Header, md *oauth.ServerMetadata, by trust, as Credentials, method string) (trust, error) {
	if method == "" {
		method = chooseMethod(as, md.TokenEndpointAuthMethodsSupported, t.certificate())
	}
	err := t.authenticate(ctx, form, header, md.Issuer, md.TokenEndpointAuthSigningAlgsSupported, as, method)
	if method == oauth.AuthTLS || method == oauth.AuthSelfSignedTLS {
		by.certificate = true
		if err == nil && as.Issuer == "" && !by.typed {
			err = t.pin(md.Issuer, "certificate")
		}
	}
	return by, err
}

// authenticate adds the client's identity in the form of one method (RFC 6749
// section 2.3, RFC 7523 section 2.2, RFC 8705 section 2). algs are those of the
// assertions that the issuer takes; none: not said.
func (t *Transport) authenticate(ctx context.Context, form url.Values, header http.Header, issuer string, algs []string, as Credentials, method string) error {
	lacks := func(what string) error {
		return &Error{Step: stepConfigure, Server: issuer, Who: whoMaker,
			Description: oauth.Printable("this issuer wants the client authentication method " + method + ", " + what)}
	}
	switch method {
	case oauth.AuthBasic, oauth.AuthPost:
		if as.Secret == "" {
			return lacks("and the client has no secret")
		}
		if method == oauth.AuthPost {
			form.Set("client_id", as.ID)
			form.Set("client_secret", as.Secret)
			return nil
		}
		pair := oauth.EscapeBasic(as.ID) + ":" + oauth.EscapeBasic(as.Secret)
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	case oauth.AuthNone:
		if as.ID != "" {
			form.Set("client_id", as.ID)
		}
	case oauth.AuthTLS, oauth.AuthSelfSignedTLS:
		if t.certificate() == absent {
			return lacks("and there is no certificate in the TLSClientConfig of Transport.Base")
		}
		form.Set("client_id", as.ID)
	case oauth.AuthPrivateKeyJWT:
		if as.Key == nil && as.Assertion == nil {
			return lacks("and the client has no key")
		}
		assertion, err := t.assertion(ctx, issuer, algs, as)
		if err != nil {
			return err
		}
		if as.ID != "" {
			form.Set("client_id", as.ID)
		}
		form.Set("client_assertion_type", oauth.ClientAssertionJWT)
		form.Set("client_assertion", assertion)
	default:
		return lacks("for which the client has no credentials")
	}
	return nil
}

// assertion is a client assertion for one request: the program's, or one that
// the client's key signs.
func (t *Transport) assertion(ctx context.Context, issuer string, algs []string, as Credentials) (string, error) {
	if as.Assertion != nil {
		text, err := as.Assertion(ctx, issuer)
		if err != nil || !visible(text) {
			return "", &Error{Step: stepConfigure, Server: issuer, Who: whoMaker, Description: "Credentials.Assertion brought no client assertion", Err: err}
		}
		return text, nil
	}
	key, err := assertionKey(as, algs)
	if err != nil {
		return "", &Error{Step: stepConfigure, Server: issuer, Who: whoMaker, Description: "the client's key cannot sign assertions", Err: err}
	}
	now := t.now()
	text, err := key.Sign(oauth.TypClientAssertion, map[string]any{
		"iss": as.ID, "sub": as.ID, "aud": issuer, // the issuer alone: 7523bis
		"jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	})
	if err != nil {
		return "", &Error{Step: stepConfigure, Server: issuer, Who: whoMaker, Description: "signing the client assertion failed", Err: err}
	}
	return text, nil
}

// assertionKey is the client's key, for an algorithm that the issuer takes: an
// RSA key has two.
func assertionKey(as Credentials, algs []string) (*jose.Key, error) {
	key, err := jose.NewKey(as.Key, as.KeyID)
	if err != nil || len(algs) == 0 || slices.Contains(algs, key.Alg()) {
		return key, err
	}
	for _, alg := range algs {
		if other, err := jose.NewKeyFor(as.Key, as.KeyID, alg); err == nil {
			return other, nil
		}
	}
	return nil, &Error{Step: stepConfigure, Who: whoMaker, Description: oauth.Printable(
		"it signs with " + key.Alg() + ", and this issuer takes " + strings.Join(algs, ", "))}
}

// chooseMethod picks a client authentication method: what the client has, of
// what the server lists; client_secret_basic if it lists nothing (RFC 8414
// section 2).
func chooseMethod(as Credentials, listed []string, cert certificate) string {
	takes := func(method string) bool { return len(listed) == 0 || slices.Contains(listed, method) }
	tls := slices.IndexFunc(listed, func(m string) bool { return m == oauth.AuthTLS || m == oauth.AuthSelfSignedTLS })
	switch {
	case (as.Key != nil || as.Assertion != nil) && (takes(oauth.AuthPrivateKeyJWT) || as.Secret == "" && (cert != present || tls < 0)):
		return oauth.AuthPrivateKeyJWT
	case as.Secret != "" && takes(oauth.AuthBasic):
		return oauth.AuthBasic
	case as.Secret != "" && takes(oauth.AuthPost):
		return oauth.AuthPost
	case tls >= 0 && (cert == present || cert == unknown && !takes(oauth.AuthNone)):
		return listed[tls]
	case as.Secret == "" || takes(oauth.AuthNone):
		return oauth.AuthNone
	}
	return listed[0]
}

// certificate says whether requests come with a client certificate.
type certificate int

const (
	absent  certificate = iota
	present             // in Transport.Base
	unknown             // Transport.Base is no *http.Transport
)

func (t *Transport) certificate() certificate {
	switch base := t.Base.(type) {
	case nil:
		return absent
	case *http.Transport:
		if c := base.TLSClientConfig; c != nil && (len(c.Certificates) > 0 || c.GetClientCertificate != nil) {
			return present
		}
		return absent
	}
	return unknown
}

// useAliases puts the endpoints for clients with a certificate in the place of
// the others (RFC 8705 section 5), where one is shown.
func (t *Transport) useAliases(md *oauth.ServerMetadata, by trust) {
	if t.certificate() != present || md.MTLSAliases == nil || !by.typed && !t.byCertificate(md) {
		return
	}
	md.TokenEndpoint = cmp.Or(md.MTLSAliases.TokenEndpoint, md.TokenEndpoint)
	md.PushedAuthorizationRequestEndpoint = cmp.Or(md.MTLSAliases.PushedAuthorizationRequestEndpoint, md.PushedAuthorizationRequestEndpoint)
	md.DeviceAuthorizationEndpoint = cmp.Or(md.MTLSAliases.DeviceAuthorizationEndpoint, md.DeviceAuthorizationEndpoint)
}

// byCertificate reports whether the client authenticates by its certificate.
func (t *Transport) byCertificate(md *oauth.ServerMetadata) bool {
	as := t.Flow.server()
	method := chooseMethod(as, md.TokenEndpointAuthMethodsSupported, present)
	return as.ID != "" && (method == oauth.AuthTLS || method == oauth.AuthSelfSignedTLS)
}

// bound says whether credentials may be used with an issuer (C-REG-02). A
// secret without an issuer belongs to the first one that it is used with:
// otherwise any server could name an issuer of its own and be sent the secret.
func (t *Transport) bound(as Credentials, issuer string) error {
	if as.Issuer != "" && as.Issuer != issuer {
		return &Error{Step: stepDiscover, Server: issuer, Who: whoMaker,
			Description: "the client is registered with " + as.Issuer + ", and its credentials are for no other issuer"}
	}
	if as.Issuer != "" || as.Secret == "" && as.Assertion == nil {
		return nil
	}
	return t.pin(issuer, "secret")
}

// pin says whether issuer is the first that the client's secret, or its
// certificate, is used with.
func (t *Transport) pin(issuer, what string) error {
	t.state.mu.Lock()
	defer t.state.mu.Unlock()
	if t.state.pinned == "" {
		t.state.pinned = issuer
	}
	if t.state.pinned != issuer {
		return &Error{Step: stepDiscover, Server: issuer, Who: whoMaker,
			Description: "the client's " + what + " is in use with " + t.state.pinned + " and is sent to no other issuer; set Issuer of the Credentials, and use one Transport per issuer"}
	}
	return nil
}
