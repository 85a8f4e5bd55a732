package probe

import (
	"encoding/json"
	"net/http"
	"net/url"
)

var revokeRules = []Rule{
	{"AS-REV-01.other", "a client cannot revoke another client's token", "RFC 7009 section 2.1", "Check that the token belongs to the caller, and do nothing if not.", (*session).revokeOther},
	{"AS-REV-01.auth", "a confidential client's token is not revoked without the client's authentication", "RFC 7009 section 2.1", "Authenticate confidential clients at the revocation endpoint.", (*session).revokeUnauthenticated},
	{"AS-REV-02.unknown", "an unknown token is answered like a known one", "RFC 7009 section 2.2", "Answer 200 to unknown and invalid tokens.", (*session).revokeUnknown},
	{"AS-REV-03.refresh", "a revoked refresh token is dead", "RFC 7009 section 2.1", "End the grant of a revoked refresh token.", (*session).revoked},
	{"AS-INT-01.auth", "introspection tells strangers nothing", "RFC 7662 section 2.1", "Authenticate callers of the introspection endpoint: 401 otherwise.", (*session).introspectStranger},
	{"AS-INT-02.foreign", "introspection tells a client nothing about another client's token", "RFC 7662 section 2.2", `Answer {"active": false} for tokens that are not meant for the caller.`, (*session).introspectForeign},
}

func (s *session) revoke(c *registered, token string) (*answer, error) {
	endpoint := s.meta.text("revocation_endpoint")
	if endpoint == "" {
		return nil, notHere("the metadata has no revocation_endpoint")
	}
	return s.postAs(c, endpoint, url.Values{"token": {token}})
}

// stillLives uses a refresh token that must not have been revoked.
func (s *session) stillLives(g *grant, what string) error {
	a, err := s.refresh(g.client, g.refresh)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return brokenf("the refresh token was ended by %s", what)
	}
	return nil
}

func (s *session) revokeOther() error {
	other, err := s.client(otherRole)
	if err != nil {
		return err
	}
	g, err := s.withRefresh()
	if err != nil {
		return err
	}
	if _, err := s.revoke(other, g.refresh); err != nil {
		return err
	}
	return s.stillLives(g, "another client")
}

func (s *session) revokeUnauthenticated() error {
	c, err := s.confidential(confidentialRole)
	if err != nil {
		return err
	}
	if s.meta.text("revocation_endpoint") == "" {
		return notHere("the metadata has no revocation_endpoint")
	}
	g, err := s.refreshable(c)
	if err != nil {
		return err
	}
	if _, err := s.revoke(&registered{id: c.id, method: authNone}, g.refresh); err != nil {
		return err
	}
	return s.stillLives(g, "somebody who knows the client's name only")
}

func (s *session) revokeUnknown() error {
	c, err := s.main()
	if err != nil {
		return err
	}
	a, err := s.revoke(c, "doorward-probe-no-token")
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return brokenf("an unknown token is answered with %d %s", a.status, a.text("error"))
	}
	return nil
}

func (s *session) revoked() error {
	if s.meta.text("revocation_endpoint") == "" {
		return notHere("the metadata has no revocation_endpoint")
	}
	g, err := s.withRefresh()
	if err != nil {
		return err
	}
	if a, err := s.revoke(g.client, g.refresh); err != nil || a.status != http.StatusOK {
		return notHere("the client's own token is not taken at the revocation endpoint")
	}
	a, err := s.refresh(g.client, g.refresh)
	return refused(a, err, "a refresh token after its revocation")
}

// introspected asks about the first access token; "active" in the answer.
func (s *session) introspected(c *registered) (*answer, bool, error) {
	endpoint := s.meta.text("introspection_endpoint")
	if endpoint == "" {
		return nil, false, notHere("the metadata has no introspection_endpoint")
	}
	g, err := s.withTokens()
	if err != nil {
		return nil, false, err
	}
	form := url.Values{"token": {g.access}}
	var a *answer
	if c == nil {
		a, err = s.wire.post(s.ctx, endpoint, formType, form.Encode())
	} else {
		a, err = s.postAs(c, endpoint, form)
	}
	if err != nil {
		return nil, false, err
	}
	var m struct {
		Active bool `json:"active"`
	}
	_ = json.Unmarshal([]byte(a.body), &m)
	return a, m.Active, nil
}

// withTokens is a fresh grant of the main client.
func (s *session) withTokens() (*grant, error) {
	b, err := s.baseline()
	if err != nil {
		return nil, err
	}
	return s.granted(b.code.client)
}

func (s *session) introspectStranger() error {
	a, _, err := s.introspected(nil)
	if err != nil {
		return err
	}
	if a.status < 400 {
		return brokenf("a caller without authentication is answered with %d", a.status)
	}
	return nil
}

func (s *session) introspectForeign() error {
	c, err := s.confidential(ownRole)
	if err != nil {
		return err
	}
	a, active, err := s.introspected(c)
	if err != nil {
		return err
	}
	if active {
		return brokenf("a client that registered itself is told (%d) that another client's token is active", a.status)
	}
	return nil
}
