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
	decided, err := s.ledger.KnownClient(ctx, id)
	if err != nil && !notFound(err) {
		return ledger.Client{}, err
	}
	c.Known = knownDocument(st.cfg.KnownClients, c)
	policy := st.othersPolicy()
	c.Consented = decided.Consented
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
	c := ledger.Client{ID: id, Source: ledger.FromDocument}
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
		{"client_uri", &uri}, {"dpop_bound_access_tokens", &c.DPoPBound},
		{"require_pushed_authorization_requests", &c.PushedOnly},
		{"backchannel_logout_uri", &c.Logout.Backchannel}, {"backchannel_logout_session_required", &c.Logout.BackchannelSession},
		{"frontchannel_logout_uri", &c.Logout.Frontchannel}, {"frontchannel_logout_session_required", &c.Logout.FrontchannelSession},
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
	if checkLogout(c.Logout, c.RedirectURIs) != nil { // it may be meant for others, as redirect URIs may
		c.Logout = ledger.Logout{}
	}
	if err := doc.checkSecrets(); err != nil {
		return bad("%v", err)
	}
	if err := doc.readMethods(&c); err != nil {
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
	if raw, there := d["jwks"]; there && string(raw) != "null" {
		if err := privateKeys(raw); err != nil {
			return fmt.Errorf("is refused: %w", err)
		}
	}
	return nil
}

// readMethods reads how the client may authenticate: by the one method that it
// names, none if it names nothing (AS-CIMD-07), or by those of several that
// exist here (AS-CIMD-08); and the keys that it needs for that.
func (d document) readMethods(c *ledger.Client) error {
	var one string
	var several []string
	for name, into := range map[string]any{"token_endpoint_auth_method": &one, "token_endpoint_auth_methods_supported": &several,
		"token_endpoint_auth_signing_alg": &c.AuthAlg, "jwks_uri": &c.JWKSURI} {
		if err := d.read(name, into); err != nil {
			return err
		}
	}
	if one == authBasic || one == authPost || one == "client_secret_jwt" {
		return fmt.Errorf("has the method %s: a public document cannot have a secret", one)
	}
	wanted := several
	if len(wanted) == 0 && one != "" {
		wanted = []string{one}
	}
	for _, m := range []string{authNone, authPrivateKey} {
		if slices.Contains(wanted, m) || m == authNone && len(wanted) == 0 {
			c.AuthMethods = append(c.AuthMethods, m)
		}
	}
	if len(c.AuthMethods) == 0 {
		return fmt.Errorf("wants to authenticate by %s: clients with a document take none or private_key_jwt here", strings.Join(wanted, ", "))
	}
	c.AuthMethod = c.AuthMethods[len(c.AuthMethods)-1]
	if c.AuthMethod == authNone {
		c.AuthAlg, c.JWKSURI = "", "" // of no use, and never fetched
		return nil
	}
	jwks, err := checkClientKeys(d["jwks"], c.JWKSURI)
	if err == nil {
		err = checkAuthAlg(c.AuthAlg)
	}
	switch {
	case err != nil && c.Takes(authNone): // it can still come without keys
		c.AuthMethod, c.AuthMethods, c.AuthAlg, c.JWKSURI = authNone, []string{authNone}, "", ""
		return nil
	case err != nil:
		return fmt.Errorf("is refused: %w", err)
	}
	c.JWKS = jwks
	return nil
}

// described is a digest of what a client says of itself that a person consents
// to, with the keys that prove who says it; "" for a client that an
// administrator describes.
func described(c ledger.Client) string {
	if c.Source != ledger.FromDocument && c.Source != ledger.FromDynamic {
		return ""
	}
	parts := append([]string{c.Name, c.URI}, c.RedirectURIs...)
	if c.AuthMethod == authPrivateKey {
		parts = append(parts, strings.Join(c.AuthMethods, " "), c.AuthAlg, c.JWKSURI, string(c.JWKS))
	}
	if slices.Contains(c.GrantTypes, oauth.RefreshToken) { // the page says how long the access lasts
		parts = append(parts, oauth.RefreshToken)
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\n")))
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
