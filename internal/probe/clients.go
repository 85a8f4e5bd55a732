package probe

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"doorward/internal/oauth"
)

// registered is a client that the server knows.
type registered struct {
	id, secret string
	method     string // how it authenticates
	registered string // how it is registered to
	shown      bool   // that it authenticates
	redirects  []string
	redirect   string // the one that is asked with
	answer     *answer

	manage, manageToken string // RFC 7592; "": there is none
}

// public reports whether the client has nothing to authenticate with.
func (c *registered) public() bool { return c.secret == "" || c.method == authNone }

const (
	authNone  = "none"
	authBasic = "client_secret_basic"
	authPost  = "client_secret_post"
)

// Hosts that belong to nobody (RFC 2606).
const (
	strangerURI = "https://app.doorward-probe.invalid/callback"
	evilURI     = "https://evil.doorward-probe.invalid/callback"
)

// The roles that rules need clients in.
const (
	publicRole       = "public"
	otherRole        = "other"        // a second public one
	confidentialRole = "confidential" // authenticates with a secret
	strangerRole     = "stranger"     // public, with a redirect URI on the web
	twoRole          = "two"          // public, with two redirect URIs
	travellerRole    = "traveller"    // public, with a name that is an attack on a page, and for one walk only
	ownRole          = "own"          // authenticates with a secret that the probe registered for
	privilegedRole   = "privileged"   // asked for grants that need no person
)

const nastyName = `Doorward probe <img src=x onerror=alert(1)>`

// client is the one of a role: the user's, or one that registers now.
func (s *session) client(role string) (*registered, error) {
	if c := s.clients[role]; c != nil {
		return c, nil
	}
	if c := s.given(role); c != nil {
		s.clients[role] = c
		return c, nil
	}
	if role == confidentialRole { // none was given
		return s.client(ownRole)
	}
	name := "Doorward probe, " + role
	doc := map[string]any{"client_name": name, "redirect_uris": []string{s.redirect()}, "token_endpoint_auth_method": authNone,
		"grant_types": []string{oauth.AuthorizationCode, oauth.RefreshToken}, "response_types": []string{"code"}, "application_type": "native"}
	switch role {
	case confidentialRole, ownRole:
		doc["token_endpoint_auth_method"] = authBasic
	case strangerRole:
		doc["redirect_uris"], doc["application_type"] = []string{strangerURI}, "web"
	case twoRole:
		doc["redirect_uris"] = []string{s.redirect(), strings.Replace(s.redirect(), "/callback", "/second", 1)}
	case travellerRole:
		doc["client_name"] = nastyName
	case privilegedRole:
		doc["token_endpoint_auth_method"] = authBasic
		doc["grant_types"] = append([]string{oauth.AuthorizationCode}, privileged...)
	}
	c, err := s.register(doc)
	if err != nil {
		return nil, fmt.Errorf("this needs a client (%s): %w", role, err)
	}
	s.clients[role] = c
	s.seen["client "+role] = s.wire.lastNote()
	return c, nil
}

// privileged are grants that nobody gives themselves.
var privileged = []string{oauth.ClientCredentials, oauth.JWTBearer, oauth.TokenExchange}

// given is the user's own client, if it fits the role.
func (s *session) given(role string) *registered {
	kind := publicRole
	if s.c.ClientSecret != "" {
		kind = confidentialRole
	}
	if s.c.ClientID == "" || role != kind {
		return nil
	}
	c := &registered{id: s.c.ClientID, secret: s.c.ClientSecret, method: authNone, redirect: s.c.RedirectURI}
	if c.secret != "" {
		c.method = authBasic
	}
	if c.redirect == "" {
		c.redirect = s.redirect()
	}
	c.redirects = []string{c.redirect}
	return c
}

// main is the client of the rules that any client will do for.
func (s *session) main() (*registered, error) {
	c, err := s.client(publicRole)
	if err != nil && s.c.ClientSecret != "" {
		return s.client(confidentialRole)
	}
	return c, err
}

var errNotRegistered = errors.New("the registration was answered")

var errNoRegistration = errors.New("the server does not offer dynamic registration (registration_endpoint): give --client-id")

// register registers a client, which is removed again at the end if the server
// can do that (RFC 7592).
func (s *session) register(doc any) (*registered, error) {
	a, err := s.tryRegister(doc)
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusCreated && a.status != http.StatusOK || a.text("client_id") == "" {
		return nil, fmt.Errorf("%w with %d %s %s", errNotRegistered, a.status, a.text("error"), a.text("error_description"))
	}
	return s.made[len(s.made)-1], nil
}

// tryRegister sends a registration; what the server accepts is noted.
func (s *session) tryRegister(doc any) (*answer, error) {
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	return s.registerRaw("application/json", string(b))
}

func (s *session) registerRaw(contentType, body string) (*answer, error) {
	endpoint := s.meta.text("registration_endpoint")
	if endpoint == "" {
		return nil, errNoRegistration
	}
	a, err := s.wire.post(s.ctx, endpoint, contentType, body, "Accept", "application/json")
	if err != nil {
		return a, err
	}
	if id := a.text("client_id"); id != "" && a.status/100 == 2 {
		c := &registered{id: id, secret: a.text("client_secret"), method: a.text("token_endpoint_auth_method"), answer: a,
			manage: a.text("registration_client_uri"), manageToken: a.text("registration_access_token")}
		var doc struct {
			RedirectURIs []string `json:"redirect_uris"`
			Method       string   `json:"token_endpoint_auth_method"`
		}
		if json.Unmarshal([]byte(body), &doc) == nil && len(doc.RedirectURIs) > 0 {
			c.redirects, c.redirect = doc.RedirectURIs, doc.RedirectURIs[0]
		}
		if c.method == "" {
			c.method = doc.Method
		}
		c.registered = c.method
		if m, err := url.Parse(c.manage); c.manage != "" && (err != nil || !s.wire.mayReach(m)) {
			c.manage = ""
		}
		s.wire.secret(c.secret, c.manageToken)
		s.made = append(s.made, c)
	}
	return a, nil
}

// postAs sends a form as a client, by its own method.
func (s *session) postAs(c *registered, endpoint string, form url.Values, headers ...string) (*answer, error) {
	form, more := s.authenticated(c, form)
	return s.wire.post(s.ctx, endpoint, formType, form.Encode(), append(more, headers...)...)
}

func (s *session) authenticated(c *registered, form url.Values) (url.Values, []string) {
	out := url.Values{}
	for name, values := range form {
		out[name] = values
	}
	switch {
	case c.public():
		out.Set("client_id", c.id)
	case c.method == authPost:
		out.Set("client_id", c.id)
		out.Set("client_secret", c.secret)
	default:
		return out, []string{"Authorization", basic(c.id, c.secret)}
	}
	return out, nil
}

func basic(id, secret string) string {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(oauth.EscapeBasic(id), oauth.EscapeBasic(secret))
	return r.Header.Get("Authorization")
}
