package probe

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"doorward/internal/oauth"
)

var registerRules = []Rule{
	{"AS-DCR-02.type", "a registration that is not application/json is refused", "RFC 7591 section 3.1", "Take application/json only: any site can send another type without asking.", (*session).registerType},
	{"AS-DCR-02.json", "a broken registration is an OAuth error", "RFC 7591 section 3.2.2", "Answer 400 with error invalid_client_metadata as JSON.", (*session).registerBroken},
	{"AS-DCR-09.body", "a huge registration is refused", "SEC-24", "Bound the document: 64 KiB are plenty.", (*session).registerHuge},
	{"AS-DCR-05.empty", "a registration without redirect URIs is refused", "RFC 7591 section 3.2.2", "Answer invalid_redirect_uri: the code grant needs one.", registration(nil)},
	{"AS-DCR-05.relative", "a relative redirect URI is not registered", "RFC 7591 section 3.2.2", "Answer invalid_redirect_uri.", registration("/callback")},
	{"AS-DCR-05.fragment", "a redirect URI with a fragment is not registered", "OAuth 2.1 section 2.3.1", "Answer invalid_redirect_uri.", registration(strangerURI + "#x")},
	{"AS-DCR-05.http", "plain http on the web is not registered", "MCP authorization, OAuth 2.1 section 1.5", "Answer invalid_redirect_uri for http that is not loopback.", registration("http://app.doorward-probe.invalid/callback")},
	{"AS-DCR-05.script", "a redirect URI that is a script or a file is not registered", "OAuth 2.1 section 2.3.1, SEC-24", "Take https and loopback; refuse javascript, data, file, vbscript, blob and about.", registration("javascript:alert(1)", "data:text/html,x", "file:///etc/passwd")},
	{"AS-REDIR-04.private", "a private scheme without a domain is not registered", "OAuth 2.1 section 8.4.3", "Refuse schemes that anybody could take, such as myapp:.", registration("doorwardprobe:/callback")},
	{"AS-DCR-06.jwks", "jwks and jwks_uri exclude each other", "RFC 7591 section 2", "Answer invalid_client_metadata if both are there.", (*session).registerKeys},
	{"AS-DCR-04.contradiction", "response_types that contradict grant_types are refused", "RFC 7591 section 2.1", "Answer invalid_client_metadata.", (*session).registerContradiction},
	{"AS-DCR-08.grants", "privileged grants are not given to who registers", "SEC-24", "Leave client_credentials, jwt-bearer and token-exchange out of what you register, and say so in the answer.", (*session).registerPrivileged},
	{"AS-DCR-03.none", "a public client gets no secret", "RFC 7591 section 3.2.1", "Issue no client_secret for token_endpoint_auth_method none.", (*session).registerPublic},
	{"AS-DCR-03.expires", "a secret comes with its end", "RFC 7591 section 3.2.1", "Send client_secret_expires_at with each client_secret; 0 means never.", (*session).registerExpires},
	{"X-HTTP-04.register", "a registration's answer is not stored", "RFC 7591 section 3.2.1", "Send Cache-Control: no-store.", (*session).registerNoStore},
}

// wish is a registration that has everything right.
func (s *session) wish(change func(map[string]any)) map[string]any {
	m := map[string]any{"client_name": "Doorward probe", "redirect_uris": []string{s.redirect()}, "token_endpoint_auth_method": authNone,
		"grant_types": []string{oauth.AuthorizationCode}, "response_types": []string{"code"}}
	if change != nil {
		change(m)
	}
	return m
}

// canRegister is the control: a registration that has everything right works.
func (s *session) canRegister() error {
	_, err := s.client(publicRole)
	if err != nil || s.clients[publicRole].answer != nil {
		return err
	}
	_, err = s.client(otherRole) // the public one is the user's own
	return err
}

func (s *session) notRegistered(a *answer, err error, what string) error {
	if err != nil {
		return err
	}
	if a.status < 400 {
		return brokenf("%s was registered (%d)", what, a.status)
	}
	return nil
}

// registration tries redirect URIs, one after the other; none at all if the
// only one is nil.
func registration(uris ...any) func(*session) error {
	return func(s *session) error {
		if err := s.canRegister(); err != nil {
			return err
		}
		if len(uris) == 0 {
			uris = []any{nil}
		}
		for _, uri := range uris {
			a, err := s.tryRegister(s.wish(func(m map[string]any) {
				if delete(m, "redirect_uris"); uri != nil {
					m["redirect_uris"] = []any{uri}
				}
			}))
			what := "a client without redirect URIs"
			if text, ok := uri.(string); ok {
				what = text
			}
			if err := s.notRegistered(a, err, what); err != nil {
				return err
			}
		}
		return nil
	}
}

func (s *session) registerType() error {
	if err := s.canRegister(); err != nil {
		return err
	}
	a, err := s.registerRaw("text/plain", `{"client_name":"Doorward probe","redirect_uris":["`+s.redirect()+`"],"token_endpoint_auth_method":"none"}`)
	return s.notRegistered(a, err, "a document of type text/plain")
}

func (s *session) registerBroken() error {
	if err := s.canRegister(); err != nil {
		return err
	}
	a, err := s.registerRaw("application/json", `{"client_name": "Doorward probe", "redirect_uris": [`)
	switch {
	case err != nil:
		return err
	case a.status != http.StatusBadRequest || a.text("error") == "":
		return brokenf("broken JSON is answered with %d, Content-Type %q and error %q", a.status, a.header.Get("Content-Type"), a.text("error"))
	}
	return nil
}

func (s *session) registerHuge() error {
	if err := s.canRegister(); err != nil {
		return err
	}
	a, err := s.tryRegister(s.wish(func(m map[string]any) { m["software_id"] = strings.Repeat("x", 1<<20) }))
	if errors.Is(err, errHungUp) {
		return nil // while we were sending: that is a refusal, too
	}
	return s.notRegistered(a, err, "a document of 1 MiB")
}

func (s *session) registerKeys() error {
	if err := s.canRegister(); err != nil {
		return err
	}
	a, err := s.tryRegister(s.wish(func(m map[string]any) {
		m["jwks"] = map[string]any{"keys": []any{}}
		m["jwks_uri"] = "https://app.doorward-probe.invalid/jwks"
	}))
	return s.notRegistered(a, err, "a client with jwks and jwks_uri")
}

func (s *session) registerContradiction() error {
	if err := s.canRegister(); err != nil {
		return err
	}
	a, err := s.tryRegister(s.wish(func(m map[string]any) { m["response_types"] = []string{"token"} }))
	return s.notRegistered(a, err, "the authorization code with response_types token")
}

func (s *session) registerPrivileged() error {
	c, err := s.registration(privilegedRole)
	if errors.Is(err, errNotRegistered) {
		return s.canRegister() // it is refused for what it asks for
	}
	if err != nil {
		return err
	}
	grants, _ := c.answer.member("grant_types").([]any)
	for _, g := range grants {
		if text, ok := g.(string); ok && slices.Contains(privileged, text) {
			return brokenf("the grant %s was registered for anybody who asks", text)
		}
	}
	return nil
}

// registration is a client of a role with the answer to its registration.
func (s *session) registration(role string) (*registered, error) {
	c, err := s.client(role)
	if err == nil {
		s.show("client " + role)
	}
	return c, err
}

func (s *session) registerPublic() error {
	c, err := s.registration(otherRole)
	if err != nil {
		return err
	}
	if c.answer.text("client_secret") != "" {
		return brokenf("a public client got a client_secret")
	}
	return nil
}

// withSecret is the answer to the registration of a confidential client.
func (s *session) withSecret() (*answer, error) {
	c, err := s.registration(ownRole)
	switch {
	case err != nil:
		return nil, err
	case c.secret == "":
		return nil, notHere("the server gave no client_secret")
	}
	return c.answer, nil
}

func (s *session) registerExpires() error {
	a, err := s.withSecret()
	if err != nil {
		return err
	}
	if _, ok := a.member("client_secret_expires_at").(float64); !ok {
		return brokenf("client_secret_expires_at is missing")
	}
	return nil
}

func (s *session) registerNoStore() error {
	a, err := s.withSecret()
	if err != nil {
		return err
	}
	return noStore(a)
}
