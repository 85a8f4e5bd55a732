package authserver

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

// Client authentication methods (RFC 7591 section 2).
const (
	authNone       = oauth.AuthNone
	authBasic      = oauth.AuthBasic
	authPost       = oauth.AuthPost
	authPrivateKey = oauth.AuthPrivateKeyJWT
)

// authMethods are those that exist here, as the metadata lists them.
var authMethods = []string{authNone, authBasic, authPost, authPrivateKey}

// authenticated is a client that showed what it is registered with: a secret,
// an assertion that its key signed, or, if it is public, nothing but its name.
// Only prove makes one.
type authenticated struct {
	client *ledger.Client // not to be written to
	proven bool           // it showed a secret, signed with its key, or had its certificate
}

// credentials are what a request says about its client.
type credentials struct {
	id, secret string
	method     string
	assertion  string // of private_key_jwt
}

// prove finds out which client asks (RFC 6749 section 2.3). A wrong secret and
// an unknown client take the same path and get the same answer. Endpoints call
// authenticate (limits.go).
func (s *Server) prove(ctx context.Context, st *settings, h http.Header, req *oauth.TokenRequest) (authenticated, error) {
	cred, err := readCredentials(h, req)
	if err != nil {
		return authenticated{}, err
	}
	c, err := s.client(ctx, st, cred.id)
	unknown := isUnknownClient(err)
	if err != nil && !unknown {
		return authenticated{}, err
	}
	if unknown {
		c = &ledger.Client{}
	}
	if cred.method == authNone {
		cred.method = certMethod(ctx, c)
	}
	equal := sameSecret(c.SecretHash, cred.secret)
	refused := func(reason string, cause error) error { // which stay here
		e := unknownClient()
		e.Basic, e.Reason, e.Err = cred.method == authBasic, reason, cause
		return e
	}
	switch {
	case unknown:
		return authenticated{}, refused("client_unknown", nil)
	case !c.Takes(cred.method):
		return authenticated{}, refused("client_authentication", nil)
	case cred.method == authNone: // AS-CAUTH-09: its name selects a record and proves nothing
	case cred.method == authPrivateKey:
		if err := s.checkClientAssertion(ctx, st, *c, cred.assertion); err != nil {
			return authenticated{}, err
		}
	case cred.method == authTLS || cred.method == authSelfSigned:
		if err := s.checkCertificate(ctx, st, *c, cred.method); err != nil {
			return authenticated{}, refused("client_certificate", err)
		}
	case !equal:
		return authenticated{}, refused("client_authentication", nil)
	case !c.SecretExpires.IsZero() && !s.now().Before(c.SecretExpires):
		return authenticated{}, refused("client_secret_expired", nil)
	}
	if !c.Approved {
		return authenticated{}, &oauth.Error{Code: oauth.UnauthorizedClient, Reason: "client_not_approved",
			Description: "an administrator has not approved this client yet"}
	}
	return authenticated{client: c, proven: cred.method != authNone}, nil
}

// sameSecret compares in constant time over hashes, also when there is nothing
// to compare with (AS-CAUTH-08).
func sameSecret(stored []byte, secret string) bool {
	given := sha256.Sum256([]byte(secret))
	if len(stored) == 0 {
		stored = make([]byte, sha256.Size)
	}
	return subtle.ConstantTimeCompare(given[:], stored) == 1
}

// readCredentials takes the one authentication of a request (AS-CAUTH-01, 02).
func readCredentials(h http.Header, req *oauth.TokenRequest) (credentials, error) {
	headers := h["Authorization"]
	methods := len(headers)
	if req.ClientSecret != "" {
		methods++
	}
	if req.ClientAssertion != "" || req.ClientAssertionType != "" {
		methods++
	}
	switch {
	case methods > 1:
		return credentials{}, &oauth.Error{Code: oauth.InvalidRequest, Description: "the client authenticates in more than one way"}
	case len(headers) == 1:
		return readBasic(headers[0], req.ClientID)
	case req.ClientAssertion != "" || req.ClientAssertionType != "":
		return readAssertion(req)
	case req.ClientID == "":
		return credentials{}, &oauth.Error{Code: oauth.InvalidClient, Description: "no client named"}
	case req.ClientSecret != "":
		return credentials{id: req.ClientID, secret: req.ClientSecret, method: authPost}, nil
	}
	return credentials{id: req.ClientID, method: authNone}, nil
}

// readBasic reads client_secret_basic, both parts form-urlencoded
// (RFC 6749 section 2.3.1).
func readBasic(header, bodyID string) (credentials, error) {
	scheme, rest, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return credentials{}, badBasic()
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(rest))
	if err != nil {
		return credentials{}, badBasic()
	}
	user, pass, found := strings.Cut(string(raw), ":")
	id, err1 := oauth.UnescapeBasic(user)
	secret, err2 := oauth.UnescapeBasic(pass)
	if !found || err1 != nil || err2 != nil || id == "" || secret == "" {
		return credentials{}, badBasic()
	}
	if bodyID != "" && bodyID != id {
		return credentials{}, &oauth.Error{Code: oauth.InvalidRequest, Description: "client_id is not the client that authenticates"}
	}
	return credentials{id: id, secret: secret, method: authBasic}, nil
}

func badBasic() error {
	return &oauth.Error{Code: oauth.InvalidClient, Basic: true, Description: "the Authorization header is not HTTP Basic with a client id and a secret"}
}

// unknownClient is the answer to an unknown client and to a wrong secret;
// clients take it as the sign to register again (AS-DCR-10).
func unknownClient() *oauth.Error {
	return &oauth.Error{Code: oauth.InvalidClient, Description: "unknown client, or its authentication failed"}
}

func isUnknownClient(err error) bool {
	e, ok := err.(*oauth.Error)
	return ok && e.Code == oauth.InvalidClient && e.Reason != badDocument
}

// mayUse says whether the client may use a grant: by its registration, or, for
// a public client and one that describes itself, because the configuration
// names it for assertions.
func (st *settings) mayUse(c *ledger.Client, grantType string) bool {
	return slices.Contains(c.GrantTypes, grantType) ||
		grantType == st.assertionGrant() && (c.Public() || c.Source == ledger.FromDocument) && st.assertionPublic(c)
}

// registeredFor says whether the client showed who it is and has the grant by
// its registration, so that no list needs to name it.
func (a authenticated) registeredFor(grantType string) bool {
	return a.proven && slices.Contains(a.client.GrantTypes, grantType)
}

// assertionPublic says whether some issuer or audience lists this public client.
func (st *settings) assertionPublic(c *ledger.Client) bool {
	for _, i := range st.issuers {
		if listed(i.PublicClients, c) {
			return true
		}
	}
	for _, a := range st.audiences {
		if listed(a.PublicClients, c) {
			return true
		}
	}
	return false
}

// listed says whether a list of client ids and names of known clients has it.
// Whoever names a known client's redirect URIs in a document of their own is
// let in to send people there, but not to redeem assertions without them.
func listed(list []string, c *ledger.Client) bool {
	if k, ok := knownClient(c.Known); ok && c.Source == ledger.FromDocument && !slices.Contains(k.Documents, c.ID) {
		return slices.Contains(list, c.ID)
	}
	return slices.Contains(list, c.ID) || c.Known != "" && slices.Contains(list, c.Known)
}
