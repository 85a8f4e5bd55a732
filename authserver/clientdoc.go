package authserver

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

// badDocument is the reason of every refusal that is about a client metadata
// document. It stays invalid_client outside (AS-CIMD-14).
const badDocument = "client_document"

// documented is the client that the document at its client_id describes
// (draft-ietf-oauth-client-id-metadata-document-01; AS-CIMD-01). What an
// administrator decided about it lies in the store under the same URL.
func (s *Server) documented(ctx context.Context, st *settings, id string) (ledger.Client, error) {
	if err := oauth.CheckClientURL(id); err != nil {
		return ledger.Client{}, documentError("client_id "+err.Error(), nil)
	}
	c, err := st.documents.get(ctx, id, s.now())
	if err != nil {
		return ledger.Client{}, err
	}
	decided, err := s.ledger.Client(ctx, id)
	if err != nil && !notFound(err) {
		return ledger.Client{}, err
	}
	c.Known = knownDocument(st.cfg.KnownClients, c)
	policy := st.othersPolicy()
	c.Approved = decided.Approved || c.Known != "" || policy == othersAllow
	if !c.Approved && policy == othersRefuse {
		return ledger.Client{}, &oauth.Error{Code: oauth.UnauthorizedClient, Reason: "client_not_known",
			Description: "access_denied by policy: only known clients may be used here; ask an administrator to approve yours"}
	}
	return c, nil
}

func documentError(description string, cause error) error {
	return &oauth.Error{Code: oauth.InvalidClient, Reason: badDocument, Description: oauth.Printable(description), Err: cause}
}

// knownDocument is the name in the catalogue of the client that a document is
// of: by its address, or because its answers can only arrive at a known host.
// The name that it gives itself counts for nothing.
func knownDocument(wanted []string, c ledger.Client) string {
	for _, k := range known {
		if !slices.Contains(wanted, k.Name) {
			continue
		}
		if slices.Contains(k.Documents, c.ID) || slices.ContainsFunc(c.RedirectURIs, claimed) && k.matches(c.RedirectURIs, "") {
			return k.Name
		}
	}
	return ""
}

// parseDocument reads the document that was fetched from id. Members that are
// not looked at here are ignored, as are grants that a client cannot give
// itself: real clients list them for servers that want them (AS-DCR-08).
func parseDocument(id string, body []byte) (ledger.Client, error) {
	c := ledger.Client{ID: id, Source: ledger.FromDocument, AuthMethod: authNone}
	bad := func(format string, args ...any) (ledger.Client, error) {
		return ledger.Client{}, documentError("the client metadata document at "+documentHost(id)+" "+fmt.Sprintf(format, args...), nil)
	}
	doc := document{}
	if err := json.Unmarshal(body, &doc); err != nil || doc == nil {
		return bad("is not a JSON object")
	}
	var ownID, uri string
	var redirects, grants []string
	for _, m := range []struct {
		name string
		into any
	}{
		{"client_id", &ownID}, {"client_name", &c.Name}, {"redirect_uris", &redirects}, {"grant_types", &grants},
		{"client_uri", &uri},
	} {
		if err := doc.read(m.name, m.into); err != nil {
			return bad("%v", err)
		}
	}
	if ownID != id { // AS-CIMD-04: letter by letter
		return bad("does not have its own URL as client_id")
	}
	if c.Name = cleanName(c.Name); c.Name == "" {
		return bad("has no client_name")
	}
	if len(redirects) == 0 || len(redirects) > maxRedirectURIs {
		return bad("must have 1 to %d redirect_uris", maxRedirectURIs)
	}
	for _, r := range redirects {
		if inCatalogue(r) || oauth.CheckRedirectURI(r, false) == nil {
			c.RedirectURIs = append(c.RedirectURIs, r)
		}
	}
	if len(c.RedirectURIs) == 0 {
		return bad("has no redirect URI that is https or loopback")
	}
	if err := doc.checkSecrets(); err != nil {
		return bad("%v", err)
	}
	if err := doc.checkMethod(); err != nil {
		return bad("%v", err)
	}
	if _, given := doc["grant_types"]; !given {
		grants = []string{oauth.AuthorizationCode} // RFC 7591 section 2
	}
	for _, g := range []string{oauth.AuthorizationCode, oauth.RefreshToken} {
		if slices.Contains(grants, g) {
			c.GrantTypes = append(c.GrantTypes, g)
		}
	}
	if strings.HasPrefix(uri, "https://") && oauth.CheckRedirectURI(uri, false) == nil {
		c.URI = uri
	}
	return c, nil
}

// document is a client metadata document, by the exact names of its members.
type document map[string]json.RawMessage

// read puts a member into a variable, which stays as it is if there is none.
func (d document) read(name string, into any) error {
	raw, there := d[name]
	if !there || string(raw) == "null" {
		return nil
	}
	if json.Unmarshal(raw, into) != nil {
		return fmt.Errorf("has a %s of the wrong type", name)
	}
	return nil
}

// checkSecrets refuses a document that publishes what must be secret (AS-CIMD-06).
func (d document) checkSecrets() error {
	for _, name := range []string{"client_secret", "client_secret_expires_at"} {
		if _, there := d[name]; there {
			return fmt.Errorf("has %s: a public document cannot have a secret", name)
		}
	}
	var jwks struct {
		Keys []document `json:"keys"`
	}
	if err := d.read("jwks", &jwks); err != nil {
		return err
	}
	for _, key := range jwks.Keys {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} { // RFC 7518 section 6
			if _, there := key[private]; there {
				return fmt.Errorf("has a private or symmetric key in jwks: it must be replaced, everybody can read it")
			}
		}
	}
	return nil
}

// checkMethod wants a client that may come without credentials: none, or no
// method at all (AS-CIMD-07), or none among several.
func (d document) checkMethod() error {
	var one string
	var several []string
	if err := d.read("token_endpoint_auth_method", &one); err != nil {
		return err
	}
	if err := d.read("token_endpoint_auth_methods_supported", &several); err != nil {
		return err
	}
	switch {
	case one == "client_secret_basic" || one == "client_secret_post" || one == "client_secret_jwt":
		return fmt.Errorf("has the method %s: a public document cannot have a secret", one)
	case slices.Contains(several, authNone):
		return nil
	case len(several) > 0 || one != "" && one != authNone:
		return fmt.Errorf("wants token_endpoint_auth_method %s: clients with a document are public here (none); ask an administrator to register this one with a secret", strings.Join(append(several, one), " "))
	}
	return nil
}

// described is a digest of what a document says that a person consents to; ""
// for a client without one.
func described(c ledger.Client) string {
	if c.Source != ledger.FromDocument {
		return ""
	}
	sum := sha256.Sum256([]byte(strings.Join(append([]string{c.Name, c.URI}, c.RedirectURIs...), "\n")))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// documentHost is the host of a client_id that is a URL; "" of another one.
func documentHost(clientID string) string {
	u, err := url.Parse(clientID)
	if err != nil || !oauth.IsClientURL(clientID) {
		return ""
	}
	return u.Host
}

// shellWord is text as one word of a POSIX shell: an administrator will paste
// what a stranger chose.
func shellWord(s string) string {
	if strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/@%+,=") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
