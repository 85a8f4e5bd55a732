package probe

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"doorward/internal/oauth"
)

// code is an authorization code with what belongs to it.
type code struct {
	client   *registered
	value    string
	verifier string
	redirect string
	answer   url.Values // the authorization response
	landing  *landing   // nil: it came by the system's browser
}

// request is an authorization request of a client that has everything right.
func (s *session) request(c *registered) (url.Values, string) {
	verifier := newVerifier()
	s.wire.secret(verifier)
	q := url.Values{"response_type": {"code"}, "client_id": {c.id}, "redirect_uri": {c.redirect}, "state": {random()},
		"code_challenge": {s256(verifier)}, "code_challenge_method": {"S256"}}
	if scope := s.scope(); scope != "" {
		q.Set("scope", scope)
	}
	if r := s.resource(); r != "" {
		q.Set("resource", r)
	}
	return q, verifier
}

// authorizeURL is the authorization endpoint with a query.
func (s *session) authorizeURL(q url.Values) (string, error) {
	endpoint, err := s.endpoint("authorization_endpoint")
	if err != nil {
		return "", err
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", err
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += q.Encode()
	return u.String(), nil
}

// getCode gets a code for a client, through the pages or by the person's
// browser. change changes the request; nil: it stays as it is.
func (s *session) getCode(c *registered, change func(url.Values)) (*code, error) {
	q, verifier := s.request(c)
	if change != nil {
		change(q)
	}
	return s.codeFor(c, q, verifier)
}

func (s *session) codeFor(c *registered, q url.Values, verifier string) (*code, error) {
	start, err := s.authorizeURL(q)
	if err != nil {
		return nil, err
	}
	out := &code{client: c, verifier: verifier, redirect: q.Get("redirect_uri")}
	if s.c.User == "" && s.c.Open != nil && c.redirect == s.redirect() {
		if err := s.c.Open(s.ctx, start); err != nil {
			return nil, err
		}
		if out.answer, err = s.catch(q.Get("state")); err != nil {
			return nil, err
		}
	} else {
		l, err := s.walk(s.browser, start, never)
		switch {
		case err != nil:
			return nil, err
		case l.stuck != nil:
			return nil, l.stuck
		case !ours(l.to, out.redirect):
			return nil, fmt.Errorf("a request that has everything right ended with %d at %s instead of the redirect URI", l.status, l.at.url.Path)
		}
		out.answer, out.landing = l.query(), l
	}
	if out.value = out.answer.Get("code"); out.value == "" {
		return nil, fmt.Errorf("a request that has everything right was refused: %s %s", out.answer.Get("error"), out.answer.Get("error_description"))
	}
	s.wire.secret(out.value)
	return out, nil
}

// tokenForm is the token request for a code that has everything right.
func (k *code) form() url.Values {
	return url.Values{"grant_type": {oauth.AuthorizationCode}, "code": {k.value}, "redirect_uri": {k.redirect}, "code_verifier": {k.verifier}}
}

// token sends a token request as a client. What it gives is noted as secret.
func (s *session) token(c *registered, form url.Values, headers ...string) (*answer, error) {
	endpoint, err := s.endpoint("token_endpoint")
	if err != nil {
		return nil, err
	}
	a, err := s.postAs(c, endpoint, form, headers...)
	if a != nil {
		s.keepSecrets(c, a)
	}
	return a, err
}

// keepSecrets notes the tokens of an answer.
func (s *session) keepSecrets(c *registered, a *answer) {
	s.wire.secret(a.text("access_token"), a.text("refresh_token"), a.text("id_token"))
	if t := a.text("refresh_token"); t != "" {
		s.tokens = append(s.tokens, held{c, t})
	}
}

// basis is the control: a request that has everything right and works. Without
// it a refusal shows nothing.
type basis struct {
	code   *code
	answer *answer // of the token endpoint
}

func (s *session) makeBasis() (*basis, error) {
	c, err := s.main()
	if err != nil {
		return nil, err
	}
	if s.c.User == "" && s.c.Open == nil {
		// Some servers for development let everybody in.
		if q, _ := s.request(c); q != nil {
			start, err := s.authorizeURL(q)
			if err != nil {
				return nil, err
			}
			if l, err := s.walk(newVisitor(), start, never); err == nil && l.stuck != nil {
				return nil, errNoWay
			}
		}
	}
	s.wire.begin()
	k, err := s.getCode(c, nil)
	if err != nil {
		return nil, err
	}
	a, err := s.token(c, k.form())
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK || a.text("access_token") == "" {
		return nil, fmt.Errorf("a code that has everything right was not redeemed: %d %s %s", a.status, a.text("error"), a.text("error_description"))
	}
	s.seen["basis"] = s.wire.end()
	return &basis{k, a}, nil
}

// fresh is a code of the main client, once the control has worked.
func (s *session) fresh(change func(url.Values)) (*code, error) {
	b, err := s.baseline()
	if err != nil {
		return nil, err
	}
	return s.getCode(b.code.client, change)
}

// grant is a redeemed code.
type grant struct {
	client          *registered
	access, refresh string
	answer          *answer
}

var errNoRefresh = errors.New("the server gave no refresh token")

// granted redeems a fresh code of a client.
func (s *session) granted(c *registered) (*grant, error) {
	if _, err := s.baseline(); err != nil {
		return nil, err
	}
	k, err := s.getCode(c, nil)
	if err != nil {
		return nil, err
	}
	return s.redeem(k)
}

func (s *session) redeem(k *code) (*grant, error) {
	a, err := s.token(k.client, k.form())
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		return nil, fmt.Errorf("a code that has everything right was not redeemed: %d %s", a.status, a.text("error"))
	}
	return &grant{k.client, a.text("access_token"), a.text("refresh_token"), a}, nil
}

// withRefresh is a grant of the main client that has a refresh token.
func (s *session) withRefresh() (*grant, error) {
	b, err := s.baseline()
	if err != nil {
		return nil, err
	}
	return s.refreshable(b.code.client)
}

func (s *session) refreshable(c *registered) (*grant, error) {
	g, err := s.granted(c)
	if err != nil {
		return nil, err
	}
	if g.refresh == "" {
		return nil, errNoRefresh
	}
	return g, nil
}

// refresh uses a refresh token; pairs are more parameters.
func (s *session) refresh(c *registered, token string, pairs ...string) (*answer, error) {
	form := url.Values{"grant_type": {oauth.RefreshToken}, "refresh_token": {token}}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return s.token(c, form)
}

// refused is whether a token request was refused, as it must be.
func refused(a *answer, err error, what string) error {
	switch {
	case err != nil:
		return err
	case a.text("access_token") != "":
		return brokenf("%s was answered with %d and an access token", what, a.status)
	case a.status < 400:
		return brokenf("%s was answered with %d instead of an error", what, a.status)
	}
	return nil
}
