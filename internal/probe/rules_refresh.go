package probe

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"doorward/internal/oauth"
)

var refreshRules = []Rule{
	{"AS-RT-01.client", "a refresh token of another client is refused", "OAuth 2.1 section 4.3, SEC-13", "Bind the refresh token to its client.", (*session).refreshOfAnother},
	{"AS-RT-02.rotate", "a public client's refresh token is replaced with each use", "OAuth 2.1 section 4.3.1, MCP authorization", "Issue a new refresh token with each refresh of a public client.", (*session).rotation},
	{"AS-RT-03.replay", "a replaced refresh token is refused once its successor was used", "OAuth 2.1 section 4.3.1, SEC-13", "Invalidate the predecessor.", (*session).refreshReplay},
	{"AS-RT-03.family", "a replaced refresh token that comes again ends the whole family", "OAuth 2.1 section 4.3.1, SEC-13", "End every token of the grant: one of the two who hold it is a thief.", (*session).refreshFamily},
	{"AS-RT-04.widen", "a refresh does not widen the scope", "OAuth 2.1 section 4.3.1", "Answer invalid_scope for a scope that was not granted.", (*session).widen},
	{"AS-RT-06.auth", "a confidential client's refresh token needs the client's authentication", "OAuth 2.1 section 4.3.1", "Authenticate the client on every refresh.", (*session).refreshUnauthenticated},
	{"AS-RES-03.refresh", "a refresh gives nothing for another resource", "RFC 8707 section 2.2", "Answer invalid_target for a resource that the person did not approve.", (*session).refreshElsewhere},
}

func (s *session) refreshOfAnother() error {
	other, err := s.client(otherRole)
	if err != nil {
		return err
	}
	g, err := s.withRefresh()
	if err != nil {
		return err
	}
	a, err := s.refresh(other, g.refresh)
	return refused(a, err, "the refresh token of another client")
}

// rotated uses a refresh token as it should be used.
func (s *session) rotated(c *registered, token string) (string, error) {
	a, err := s.refresh(c, token)
	if err != nil {
		return "", err
	}
	if a.status != http.StatusOK {
		return "", errors.New("a refresh that has everything right was refused: " + a.text("error"))
	}
	if next := a.text("refresh_token"); next != "" {
		return next, nil
	}
	return token, nil
}

func (s *session) rotation() error {
	g, err := s.withRefresh()
	if err != nil {
		return err
	}
	if !g.client.public() {
		return notHere("the client is not a public one")
	}
	next, err := s.rotated(g.client, g.refresh)
	if err != nil {
		return err
	}
	if next == g.refresh {
		return brokenf("the refresh token stays the same")
	}
	return nil
}

// twice rotates a refresh token two times: a server may answer the first one
// again for a moment, until its successor was used.
func (s *session) twice() (first string, g *grant, newest string, err error) {
	if g, err = s.withRefresh(); err != nil {
		return "", nil, "", err
	}
	second, err := s.rotated(g.client, g.refresh)
	if err != nil {
		return "", nil, "", err
	}
	if second == g.refresh && !g.client.public() {
		return "", nil, "", notHere("a confidential client's refresh token is not replaced, which it may not be")
	}
	newest, err = s.rotated(g.client, second)
	return g.refresh, g, newest, err
}

func (s *session) refreshReplay() error {
	first, g, _, err := s.twice()
	if err != nil {
		return err
	}
	a, err := s.refresh(g.client, first)
	return refused(a, err, "the first refresh token of three")
}

func (s *session) refreshFamily() error {
	first, g, newest, err := s.twice()
	if err != nil {
		return err
	}
	if _, err := s.refresh(g.client, first); err != nil {
		return err
	}
	a, err := s.refresh(g.client, newest)
	return refused(a, err, "the newest refresh token, after the first one came again,")
}

func (s *session) widen() error {
	all := s.scopes()
	if len(all) < 2 {
		return notHere("the metadata lists fewer than two scopes")
	}
	g, err := s.withRefresh()
	if err != nil {
		return err
	}
	granted := strings.Fields(g.answer.text("scope"))
	if len(granted) == 0 {
		granted = strings.Fields(s.scope())
	}
	i := slices.IndexFunc(all, func(v string) bool { return !slices.Contains(granted, v) })
	if i < 0 {
		return notHere("every scope of the metadata was granted")
	}
	a, err := s.refresh(g.client, g.refresh, "scope", strings.Join(append(slices.Clone(granted), all[i]), " "))
	if err != nil {
		return err
	}
	if a.status == http.StatusOK {
		got, stated := a.member("scope").(string)
		if stated && !slices.Contains(strings.Fields(got), all[i]) {
			return brokenf("the wider scope was left out instead of refused with invalid_scope")
		}
		return brokenf("a refresh asked for %q, which was not granted, and got it", all[i])
	}
	return nil
}

func (s *session) refreshUnauthenticated() error {
	c, err := s.confidential(confidentialRole)
	if err != nil {
		return err
	}
	g, err := s.refreshable(c)
	if err != nil {
		return err
	}
	naked := &registered{id: c.id, method: authNone}
	form := url.Values{"grant_type": {oauth.RefreshToken}, "refresh_token": {g.refresh}}
	a, err := s.token(naked, form)
	return refused(a, err, "a confidential client's refresh token without its secret")
}

func (s *session) refreshElsewhere() error {
	g, err := s.withRefresh()
	if err != nil {
		return err
	}
	a, err := s.refresh(g.client, g.refresh, "resource", "https://mcp.doorward-probe.invalid/mcp")
	return refused(a, err, "a refresh for another resource")
}
