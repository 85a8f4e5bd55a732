package authserver

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

// Bounds of a registration.
const (
	maxRegistration = 64 << 10
	maxRedirectURIs = 20
	maxName         = 100 // runes
	defaultTotal    = 10_000
	defaultUnused   = 30 * 24 * time.Hour
)

// What becomes of clients that are not known (Config.OtherClients).
const (
	othersAllow    = "allow"
	othersAskAdmin = "ask-admin"
	othersRefuse   = "refuse"
)

// othersPolicy is Config.OtherClients with its default.
func (st *settings) othersPolicy() string {
	switch {
	case st.cfg.OtherClients != "":
		return st.cfg.OtherClients
	case st.loopback:
		return othersAllow
	}
	return othersAskAdmin
}

// registered is the answer (RFC 7591 section 3.2.1): what holds, which may be
// less than what was wished.
type registered struct {
	oauth.ClientMetadata
	IssuedAt        int64  `json:"client_id_issued_at"`
	Secret          string `json:"client_secret,omitempty"`            // only one that was just made
	SecretExpiresAt *int64 `json:"client_secret_expires_at,omitempty"` // 0: never; only with a secret
	// Where the registration is managed, and by whom (RFC 7592 section 3).
	ManagedAt string `json:"registration_client_uri,omitempty"`
	Token     string `json:"registration_access_token,omitempty"`
}

// register is the registration endpoint (RFC 7591 section 3.1).
func (s *Server) register(ctx context.Context, st *settings, r *http.Request, body []byte) (any, error) {
	if err := st.mayRegister(r.Header); err != nil {
		return nil, err
	}
	w, err := parseWish(body)
	if err != nil {
		return nil, err
	}
	c, err := st.wished(&w)
	if err != nil {
		return nil, err
	}
	// Whoever has the initial access token had it from an administrator.
	c.Approved = c.Approved || st.cfg.Registration.Mode == registrationToken
	c.Created, c.Expires = s.now(), s.now().Add(st.unused())
	if c.AuthMethod == authNone && (c.Known != "" || onlyLoopback(c.RedirectURIs)) {
		// Whoever registers the same has the same client: nobody owns it.
		if k, ok := knownClient(c.Known); ok && slices.ContainsFunc(c.RedirectURIs, claimed) {
			c.Name = k.Title // its redirect URI shows which it is: under other names it would be other clients
		}
		c.ID = sameID(c)
		if c, err = s.keepClient(ctx, st, c); err != nil {
			return nil, err
		}
		return answerFor(c, w.redirectURIs()), nil
	}
	c.ID = "dyn-" + orderedText(c.Created, idSize)
	secret := s.newSecret(st, &c)
	token := randomText(32)
	c.RegistrationHash = hashText(token)
	if c, err = s.addClient(ctx, st, c); err != nil {
		return nil, err
	}
	out := answerFor(c, c.RedirectURIs)
	out.Secret = secret
	return out.managed(st, token), nil
}

// mayRegister refuses whoever may not register a client: everybody, or those
// without the initial access token (RFC 7591 section 3).
func (st *settings) mayRegister(h http.Header) error {
	switch st.cfg.Registration.Mode {
	case "", "off":
		return &oauth.Error{Code: oauth.InvalidRequest, Status: http.StatusNotFound, Reason: "registration_off",
			Description: "clients cannot register themselves here: ask an administrator to add yours"}
	case registrationToken:
		token, err := bearerToken(h)
		if err != nil {
			return err
		}
		if !sameSecret(hashText(st.cfg.Registration.Token), token) {
			return &oauth.Error{Code: oauth.InvalidToken, Reason: "registration_token", Description: "the initial access token is not valid"}
		}
	}
	return nil
}

// wished is the client that a registration comes to, with what policy says of
// it.
func (st *settings) wished(w *wish) (ledger.Client, error) {
	c, err := w.check()
	if err != nil {
		return c, err
	}
	if c.Logout, err = st.logoutOf(c.Logout, c.RedirectURIs); err != nil {
		return c, badMetadata(err.Error())
	}
	if c.DPoPBound && st.dpopMode() == dpopOff {
		return c, badMetadata("dpop_bound_access_tokens: DPoP is off here")
	}
	c.Known = matchKnown(st.cfg.KnownClients, c.RedirectURIs, c.Name)
	policy := st.othersPolicy()
	if c.Known == "" && policy == othersRefuse {
		return c, &oauth.Error{Code: oauth.InvalidClientMetadata, Reason: "client_not_known",
			Description: "access_denied by policy: only known clients may register here; ask an administrator to add yours"}
	}
	c.Approved = c.Known != "" || policy == othersAllow
	return c, nil
}

// newSecret makes a secret for a client that has its use, and returns it.
func (s *Server) newSecret(st *settings, c *ledger.Client) string {
	if c.AuthMethod != authBasic && c.AuthMethod != authPost {
		return ""
	}
	secret := randomText(32)
	c.SecretHash, c.SecretExpires = hashText(secret), time.Time{}
	if life := st.cfg.Registration.SecretLife; life > 0 {
		c.SecretExpires = s.now().Add(life)
	}
	return secret
}

func badMetadata(description string) error {
	return &oauth.Error{Code: oauth.InvalidClientMetadata, Description: oauth.Printable(description)}
}

// check applies the defaults and the rules, and returns the client that the
// wish comes to.
func (w *wish) check() (ledger.Client, error) {
	c := ledger.Client{Source: ledger.FromDynamic, Name: cleanName(w.Name), AuthMethod: w.AuthMethod, Application: w.Application,
		DPoPBound: w.DPoPBound, PushedOnly: w.PushedOnly, Logout: w.Logout}
	if err := w.checkStatement(); err != nil {
		return c, err
	}
	if c.AuthMethod == "" {
		c.AuthMethod = authBasic
	}
	if !slices.Contains(authMethods, c.AuthMethod) {
		return c, badMetadata("token_endpoint_auth_method must be one of " + strings.Join(authMethods, ", "))
	}
	if err := w.readKeys(&c); err != nil {
		return c, badMetadata(err.Error())
	}
	if err := w.checkGrants(&c); err != nil {
		return c, err
	}
	if strings.HasPrefix(w.URI, "https://") && oauth.CheckRedirectURI(w.URI, false) == nil {
		c.URI = w.URI
	}
	return c, w.checkRedirects(&c)
}

// checkStatement refuses software statements (RFC 7591 section 2.3): nobody's
// are approved here, and one that is passed over in silence would look as if
// what it says had been checked.
func (w *wish) checkStatement() error {
	if len(w.Statement) == 0 || string(w.Statement) == "null" {
		return nil
	}
	var text string
	if json.Unmarshal(w.Statement, &text) == nil {
		if _, _, err := jose.Peek(text); err == nil {
			return &oauth.Error{Code: oauth.UnapprovedSoftwareStatement, Description: "no issuer's software statements are approved here: leave it out"}
		}
	}
	return &oauth.Error{Code: oauth.InvalidSoftwareStatement, Description: "software_statement is no signed JWT; none is approved here either: leave it out"}
}

// readKeys keeps the keys of a client that signs; those of another one are of
// no use here, but a set that publishes a private key is refused in any case.
func (w *wish) readKeys(c *ledger.Client) (err error) {
	keys := w.JWKS
	if string(keys) == "null" {
		keys = nil
	}
	if len(keys) > 0 && w.JWKSURI != "" { // RFC 7591 section 2
		return errors.New("jwks and jwks_uri exclude each other")
	}
	if c.AuthMethod != authPrivateKey {
		if len(keys) == 0 {
			return nil
		}
		return privateKeys(keys)
	}
	if err := checkAuthAlg(w.AuthAlg); err != nil {
		return err
	}
	c.AuthAlg, c.JWKSURI = w.AuthAlg, w.JWKSURI
	c.JWKS, err = checkClientKeys(keys, w.JWKSURI)
	return err
}

// checkGrants keeps what a client may give itself: the code and its refresh
// token. Others are ignored, since real clients list them for servers that
// want them (AS-DCR-08).
func (w *wish) checkGrants(c *ledger.Client) error {
	asked := w.GrantTypes
	if asked == nil {
		asked = []string{oauth.AuthorizationCode}
	}
	c.GrantTypes = make([]string, 0, 2)
	for _, g := range []string{oauth.AuthorizationCode, oauth.RefreshToken} {
		if slices.Contains(asked, g) {
			c.GrantTypes = append(c.GrantTypes, g)
		}
	}
	switch {
	case !slices.Contains(c.GrantTypes, oauth.AuthorizationCode):
		return badMetadata("grant_types must have authorization_code: an administrator gives the others")
	case w.ResponseTypes != nil && !slices.Contains(w.ResponseTypes, "code"):
		return badMetadata("response_types must have code, to go with authorization_code")
	case slices.ContainsFunc(w.ResponseTypes, func(t string) bool { return t != "code" }):
		return badMetadata("response_types other than code do not exist here")
	}
	return nil
}

func (w *wish) redirectURIs() []string {
	out := make([]string, 0, len(w.RedirectURIs))
	for _, uri := range w.RedirectURIs {
		if !slices.Contains(out, uri) {
			out = append(out, uri)
		}
	}
	return out
}

// checkRedirects applies AS-DCR-05 and, if application_type is there, its rules
// (OpenID Connect Registration section 2).
func (w *wish) checkRedirects(c *ledger.Client) error {
	bad := func(reason string) error { return &oauth.Error{Code: oauth.InvalidRedirectURI, Description: reason} }
	switch w.Application {
	case "", "native", "web":
	default:
		return badMetadata("application_type must be native or web")
	}
	c.RedirectURIs = w.redirectURIs()
	switch {
	case len(c.RedirectURIs) == 0:
		return bad("redirect_uris is missing")
	case len(c.RedirectURIs) > maxRedirectURIs:
		return bad(fmt.Sprintf("more than %d redirect_uris", maxRedirectURIs))
	}
	for _, uri := range c.RedirectURIs {
		if !inCatalogue(uri) {
			if err := oauth.CheckRedirectURI(uri, false); err != nil {
				return err
			}
		}
		if w.Application == "web" && !claimed(uri) {
			return bad("application_type web wants https redirect URIs on a host of the web")
		}
	}
	return nil
}

// cleanName makes a client's name fit to be shown: no control and formatting
// characters (they could reorder the text around it), one space at a time, at
// most 100 characters.
func cleanName(name string) string { return cleanText(name, maxName) }

func cleanText(name string, most int) string {
	if isClean(name, most) {
		return name
	}
	name = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.In(r, unicode.C, unicode.Zl, unicode.Zp) || r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, name)
	runes := []rune(strings.Join(strings.Fields(name), " "))
	if len(runes) > most {
		runes = append(runes[:most-1], '…')
	}
	return string(runes)
}

// isClean reports whether a text has nothing to be cleaned of: ASCII, and one
// space between its words.
func isClean(text string, most int) bool {
	last := byte(' ')
	for i := range len(text) {
		c := text[i]
		if c < ' ' || c > '~' || c == ' ' && last == ' ' {
			return false
		}
		last = c
	}
	return len(text) <= most && (text == "" || last != ' ')
}

func onlyLoopback(uris []string) bool {
	return !slices.ContainsFunc(uris, func(u string) bool { return !oauth.IsLoopbackRedirect(u) })
}

// sameID is the client id of a public client that registers again and again:
// the same name and redirect URIs (but for the ports of loopback ones) are the
// same client, for nothing could tell two of them apart.
func sameID(c ledger.Client) string {
	uris := make([]string, len(c.RedirectURIs))
	for i, uri := range c.RedirectURIs {
		uris[i] = withoutLoopbackPort(uri)
	}
	slices.Sort(uris)
	parts := []any{c.Name, slices.Compact(uris), c.GrantTypes, c.Application}
	if c.Logout != (ledger.Logout{}) {
		parts = append(parts, c.Logout)
	}
	if c.DPoPBound {
		parts = append(parts, "DPoP")
	}
	if c.PushedOnly {
		parts = append(parts, "PAR")
	}
	b, err := json.Marshal(parts)
	if err != nil {
		panic("authserver: client id: " + err.Error()) // strings only
	}
	sum := sha256.Sum256(b)
	return "dyn-" + base64.RawURLEncoding.EncodeToString(sum[:idSize])
}

func withoutLoopbackPort(uri string) string {
	for _, host := range []string{"http://127.0.0.1", "http://[::1]", "http://localhost"} {
		if rest, ok := strings.CutPrefix(uri, host+":"); ok {
			return host + strings.TrimLeft(rest, "0123456789")
		}
	}
	return uri
}

// answerFor says what was registered, with the redirect URIs as they were sent
// (a loopback port may be another than that of the first time).
func answerFor(c ledger.Client, redirectURIs []string) registered {
	out := registered{ClientMetadata: oauth.ClientMetadata{
		ClientID: c.ID, ClientName: c.Name, ClientURI: c.URI, RedirectURIs: redirectURIs, GrantTypes: c.GrantTypes,
		ResponseTypes: []string{"code"}, TokenEndpointAuthMethod: c.AuthMethod, ApplicationType: c.Application,
		JWKS: c.JWKS, JWKSURI: c.JWKSURI, TokenEndpointAuthSigningAlg: c.AuthAlg, DPoPBound: c.DPoPBound, PushedOnly: c.PushedOnly,
		BackchannelLogoutURI: c.Logout.Backchannel, BackchannelLogoutSession: c.Logout.BackchannelSession,
		FrontchannelLogoutURI: c.Logout.Frontchannel, FrontchannelLogoutSession: c.Logout.FrontchannelSession,
	}, IssuedAt: c.Created.Unix()}
	if len(c.SecretHash) > 0 {
		out.SecretExpiresAt = new(int64)
		if !c.SecretExpires.IsZero() {
			*out.SecretExpiresAt = c.SecretExpires.Unix()
		}
	}
	return out
}
