package probe

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"doorward/internal/oauth"
)

var clientRules = []Rule{
	{"AS-CAUTH-01.none", "a confidential client without its secret gets nothing", "OAuth 2.1 section 2.4", "Demand the authentication that the client is registered with.", (*session).unauthenticated},
	{"AS-CAUTH-01.method", "another method than the registered one is refused", "OAuth 2.1 section 2.4", "Take the client's registered method only.", (*session).otherMethod},
	{"AS-CAUTH-01.twice", "a client that authenticates twice is refused", "OAuth 2.1 section 2.4", "Answer invalid_request if a request has more than one authentication.", (*session).authenticatesTwice},
	{"AS-CAUTH-03.challenge", "failed Basic authentication is a 401 with a challenge", "OAuth 2.1 section 3.2.4", "Answer 401 invalid_client with WWW-Authenticate: Basic.", (*session).basicChallenge},
	{"AS-CAUTH-08.secret", "a wrong secret is refused", "OAuth 2.1 section 2.4.1, SEC-31", "Compare the secret with the stored one.", (*session).wrongSecret},
	{"AS-CAUTH-08.same", "an unknown client and a wrong secret get the same answer", "SEC-26", "Answer both with the same status, error and description.", (*session).sameAnswer},
	{"AS-DCR-10.unknown", "an unknown client is invalid_client, 401", "OAuth 2.1 section 3.2.4", "Answer 401 invalid_client: clients register again then.", (*session).unknownAtToken},
	{"AS-CC-01.public", "client_credentials gives a public client nothing", "OAuth 2.1 section 4.2", "Refuse client_credentials to clients that do not authenticate.", (*session).credentialsPublic},
	{"AS-DCR-08.credentials", "a client that registered itself cannot use client_credentials", "SEC-24", "Give grants that need no person to clients of the configuration only.", (*session).credentialsRegistered},
}

// confidential is a confidential client that was shown to authenticate: a code
// of its own was redeemed with its secret. A server that does not take the
// method that it registered is asked with the other one.
func (s *session) confidential(role string) (*registered, error) {
	c, err := s.client(role)
	if err != nil || c.shown {
		return c, err
	}
	if _, err := s.baseline(); err != nil {
		return nil, err
	}
	s.wire.begin()
	for _, method := range []string{c.method, other(c.method)} {
		c.method = method
		k, err := s.getCode(c, nil)
		if err != nil {
			return nil, err
		}
		if a, err := s.token(c, k.form()); err == nil && a.text("access_token") != "" {
			c.shown = true
			s.wire.begin()
			return c, nil
		}
	}
	return nil, notHere("a confidential client is refused, although its secret is right")
}

func other(method string) string {
	if method == authPost {
		return authBasic
	}
	return authPost
}

// noCode is a token request that a client that authenticated is told
// invalid_grant for.
func noCode() url.Values {
	return url.Values{"grant_type": {oauth.AuthorizationCode}, "code": {"doorward-probe-no-code"}, "redirect_uri": {"http://127.0.0.1/callback"}, "code_verifier": {newVerifier()}}
}

// notAuthenticated sends the code of a confidential client with a changed
// authentication.
func (s *session) notAuthenticated(role, what string, send func(c *registered, endpoint string, form url.Values) (*answer, error)) error {
	c, err := s.confidential(role)
	if err != nil {
		return err
	}
	if _, err := s.baseline(); err != nil {
		return err
	}
	k, err := s.getCode(c, nil)
	if err != nil {
		return err
	}
	endpoint, err := s.endpoint("token_endpoint")
	if err != nil {
		return err
	}
	a, err := send(c, endpoint, k.form())
	if a != nil {
		s.keepSecrets(c, a)
	}
	return refused(a, err, what)
}

func (s *session) unauthenticated() error {
	return s.notAuthenticated(confidentialRole, "a confidential client without its secret", func(c *registered, endpoint string, form url.Values) (*answer, error) {
		return s.postAs(&registered{id: c.id, method: authNone}, endpoint, form)
	})
}

func (s *session) otherMethod() error {
	c, err := s.confidential(ownRole)
	if err != nil {
		return err
	}
	if c.method != c.registered {
		return brokenf("a client that is registered with %s has to authenticate with %s", c.registered, c.method)
	}
	return s.notAuthenticated(ownRole, "a client that is registered with "+c.method+" and authenticates with "+other(c.method), func(c *registered, endpoint string, form url.Values) (*answer, error) {
		changed := *c
		changed.method = other(c.method)
		return s.postAs(&changed, endpoint, form)
	})
}

func (s *session) authenticatesTwice() error {
	return s.notAuthenticated(confidentialRole, "a client that authenticates by header and by body", func(c *registered, endpoint string, form url.Values) (*answer, error) {
		form.Set("client_id", c.id)
		form.Set("client_secret", c.secret)
		return s.wire.post(s.ctx, endpoint, formType, form.Encode(), "Authorization", basic(c.id, c.secret))
	})
}

func (s *session) basicChallenge() error {
	c, err := s.confidential(confidentialRole)
	if err != nil {
		return err
	}
	a, err := s.token(&registered{id: c.id, secret: "wrong-" + random(), method: authBasic}, noCode())
	if err != nil {
		return err
	}
	scheme, _, _ := strings.Cut(a.header.Get("WWW-Authenticate"), " ")
	if a.status != http.StatusUnauthorized || !strings.EqualFold(scheme, "Basic") {
		return brokenf("the answer is %d with WWW-Authenticate %q", a.status, a.header.Get("WWW-Authenticate"))
	}
	return nil
}

func (s *session) wrongSecret() error {
	return s.notAuthenticated(confidentialRole, "a wrong secret", func(c *registered, endpoint string, form url.Values) (*answer, error) {
		changed := *c
		changed.secret = "wrong-" + random()
		return s.postAs(&changed, endpoint, form)
	})
}

// reference is what tells two answers to the same question apart.
var reference = regexp.MustCompile(`[A-Z0-9]{8}|[a-z0-9]{8}|[0-9a-f-]{36}`)

func (s *session) sameAnswer() error {
	c, err := s.confidential(confidentialRole)
	if err != nil {
		return err
	}
	var shapes [2]string
	for i, id := range []string{c.id, "doorward-probe-unknown"} {
		a, err := s.token(&registered{id: id, secret: "wrong-" + random(), method: c.method}, noCode())
		if err != nil {
			return err
		}
		var m map[string]any
		_ = json.Unmarshal([]byte(a.body), &m)
		text, _ := m["error_description"].(string)
		shapes[i] = http.StatusText(a.status) + " " + a.text("error") + " " + reference.ReplaceAllString(text, left)
	}
	if shapes[0] != shapes[1] {
		return brokenf("a wrong secret is answered with %q, an unknown client with %q", shapes[0], shapes[1])
	}
	return nil
}

func (s *session) unknownAtToken() error {
	a, err := s.token(&registered{id: "doorward-probe-unknown-" + random(), method: authNone}, noCode())
	if err != nil {
		return err
	}
	if a.status != http.StatusUnauthorized || a.text("error") != oauth.InvalidClient {
		return brokenf("the answer is %d %q", a.status, a.text("error"))
	}
	return nil
}

func (s *session) credentials(c *registered) (*answer, error) {
	form := url.Values{"grant_type": {oauth.ClientCredentials}}
	if r := s.resource(); r != "" {
		form.Set("resource", r)
	}
	return s.token(c, form)
}

func (s *session) credentialsPublic() error {
	c, err := s.client(publicRole)
	if err != nil {
		return err
	}
	a, err := s.credentials(c)
	return refused(a, err, "client_credentials of a public client")
}

func (s *session) credentialsRegistered() error {
	c, err := s.client(privilegedRole)
	if errors.Is(err, errNotRegistered) {
		return s.canRegister() // it is refused for what it asks for
	}
	if err != nil {
		return err
	}
	a, err := s.credentials(c)
	return refused(a, err, "client_credentials of a client that asked for it when it registered itself")
}
