package probe

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"doorward/internal/oauth"
)

var tokenRules = []Rule{
	{"AS-TOKEN-01.get", "the token endpoint takes no GET", "OAuth 2.1 section 3.2", "Answer 405 with Allow: POST.", (*session).tokenByGet},
	{"AS-TOKEN-01.query", "parameters in the query are not taken", "OAuth 2.1 section 3.2", "Read the parameters from the body only: queries end in logs.", (*session).tokenByQuery},
	{"AS-TOKEN-01.json", "a JSON body is not taken", "OAuth 2.1 section 3.2", "Take application/x-www-form-urlencoded only: any site can send another type without asking.", (*session).tokenByJSON},
	{"X-HTTP-03.token", "a parameter that stands twice in a token request is refused", "OAuth 2.1 section 3.2", "Answer invalid_request if a parameter is repeated.", (*session).twiceToken},
	{"X-HTTP-06.body", "a huge token request is refused", "SEC-38", "Bound the body, and answer 413 above the bound.", (*session).hugeToken},
	{"AS-TOKEN-03.grant", "an unknown grant type is unsupported_grant_type", "OAuth 2.1 section 3.2.4", "Answer 400 unsupported_grant_type.", (*session).unknownGrant},
	{"AS-AUTHZ-04.password", "the password grant gives nothing", "OAuth 2.1 section 10, RFC 9700 section 2.4", "Remove the password grant.", (*session).passwordGrant},
	{"X-HTTP-05.charset", "an error holds printable ASCII only, and nothing that was sent", "OAuth 2.1 section 3.2.4", "Do not repeat what was sent; keep error_description to the characters that RFC 6749 allows.", (*session).errorCharset},
	{"X-HTTP-04.token", "a token response is not stored", "OAuth 2.1 section 3.2.3", "Send Cache-Control: no-store.", (*session).tokenNoStore},
	{"AS-TOKEN-05.lifetime", "an access token lives an hour at most, and says how long", "OAuth 2.1 section 3.2.3, MCP authorization", "Send expires_in, of an hour at most.", (*session).lifetime},
	{"AS-RES-02.audience", "the token is for the resource that was asked for, alone", "MCP authorization, RFC 9700 section 2.3, SEC-04", "Put the resource into aud, and nothing else.", (*session).audience},
	{"AS-AT-01.typ", "a JWT access token says what it is", "RFC 9068 section 2.1", "Give access tokens the header typ: at+jwt.", (*session).tokenType},
	{"AS-AT-01.claims", "a JWT access token has the claims that it must have", "RFC 9068 section 2.2", "Put iss, sub, aud, client_id, exp, iat and jti into access tokens.", (*session).tokenClaims},
}

// viaOthers sends a right token request in another way than the right one.
func (s *session) viaOthers(send func(endpoint string, form url.Values, headers []string) (*answer, error), what string) error {
	k, err := s.fresh(nil)
	if err != nil {
		return err
	}
	endpoint, err := s.endpoint("token_endpoint")
	if err != nil {
		return err
	}
	form, headers := s.authenticated(k.client, k.form())
	a, err := send(endpoint, form, headers)
	if a != nil {
		s.keepSecrets(k.client, a)
	}
	return refused(a, err, what)
}

func (s *session) tokenByGet() error {
	return s.viaOthers(func(endpoint string, form url.Values, headers []string) (*answer, error) {
		return s.wire.get(s.ctx, endpoint+"?"+form.Encode(), headers...)
	}, "a GET")
}

func (s *session) tokenByQuery() error {
	return s.viaOthers(func(endpoint string, form url.Values, headers []string) (*answer, error) {
		return s.wire.post(s.ctx, endpoint+"?"+form.Encode(), formType, "", headers...)
	}, "a request with its parameters in the query")
}

func (s *session) tokenByJSON() error {
	return s.viaOthers(func(endpoint string, form url.Values, headers []string) (*answer, error) {
		m := map[string]string{}
		for name := range form {
			m[name] = form.Get(name)
		}
		b, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		return s.wire.post(s.ctx, endpoint, "application/json", string(b), headers...)
	}, "a JSON body")
}

func (s *session) twiceToken() error {
	return s.viaOthers(func(endpoint string, form url.Values, headers []string) (*answer, error) {
		form.Add("code_verifier", form.Get("code_verifier"))
		return s.wire.post(s.ctx, endpoint, formType, form.Encode(), headers...)
	}, "a request with code_verifier twice")
}

func (s *session) hugeToken() error {
	return s.viaOthers(func(endpoint string, form url.Values, headers []string) (*answer, error) {
		form.Set("padding", strings.Repeat("x", 2<<20))
		a, err := s.wire.post(s.ctx, endpoint, formType, form.Encode(), headers...)
		if errors.Is(err, errHungUp) { // while we were sending: that is a refusal, too
			return &answer{status: http.StatusRequestEntityTooLarge}, nil
		}
		return a, err
	}, "a request of 2 MiB")
}

func (s *session) unknownGrant() error {
	b, err := s.baseline()
	if err != nil {
		return err
	}
	a, err := s.token(b.code.client, url.Values{"grant_type": {"urn:doorward-probe:nothing"}})
	if err := refused(a, err, "an unknown grant type"); err != nil {
		return err
	}
	if a.text("error") != oauth.UnsupportedGrantType {
		return brokenf("the answer is %d %q", a.status, a.text("error"))
	}
	return nil
}

func (s *session) passwordGrant() error {
	if s.c.User == "" {
		return errNobody
	}
	b, err := s.baseline()
	if err != nil {
		return err
	}
	a, err := s.token(b.code.client, url.Values{"grant_type": {"password"}, "username": {s.c.User}, "password": {s.c.Password}})
	return refused(a, err, "grant_type=password")
}

func (s *session) errorCharset() error {
	c, err := s.main()
	if err != nil {
		return err
	}
	a, err := s.token(c, url.Values{"grant_type": {"doorward\"probe\\<é>\n"}})
	if err := refused(a, err, "an unreadable grant type"); err != nil {
		return err
	}
	for _, name := range []string{"error", "error_description"} {
		text := a.text(name)
		if strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r > 0x7e || r == '"' || r == '\\' }) {
			return brokenf("%s has characters that RFC 6749 does not allow: %q", name, text)
		}
	}
	if a.text("error") == "" {
		return brokenf("the answer is no OAuth error")
	}
	return nil
}

func (s *session) tokenNoStore() error {
	b, err := s.baseline()
	if err != nil {
		return err
	}
	s.show("basis")
	return noStore(b.answer)
}

func noStore(a *answer) error {
	if !strings.Contains(strings.ToLower(a.header.Get("Cache-Control")), "no-store") {
		return brokenf("Cache-Control is %q", a.header.Get("Cache-Control"))
	}
	return nil
}

func (s *session) lifetime() error {
	b, err := s.baseline()
	if err != nil {
		return err
	}
	s.show("basis")
	switch seconds, ok := b.answer.member("expires_in").(float64); {
	case !ok:
		return brokenf("the token response has no expires_in")
	case seconds > 3600:
		return brokenf("expires_in is %.0f", seconds)
	}
	return nil
}

// accessToken is the header and the claims of the first access token.
func (s *session) accessToken() (header, claims map[string]any, err error) {
	b, err := s.baseline()
	if err != nil {
		return nil, nil, err
	}
	s.show("basis")
	parts := strings.Split(b.answer.text("access_token"), ".")
	if len(parts) != 3 {
		return nil, nil, notHere("the access token is no JWT")
	}
	for i, to := range []*map[string]any{&header, &claims} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(raw, to) != nil {
			return nil, nil, notHere("the access token is no JWT")
		}
	}
	return header, claims, nil
}

func (s *session) audience() error {
	_, claims, err := s.accessToken()
	if err != nil {
		return err
	}
	resource := s.resource()
	if resource == "" {
		return notHere("no resource was asked for: give --resource")
	}
	switch aud := claims["aud"].(type) {
	case string:
		if aud == resource {
			return nil
		}
	case []any:
		if len(aud) == 1 && aud[0] == resource {
			return nil
		}
	}
	return brokenf("aud is %v, not %s", claims["aud"], resource)
}

func (s *session) tokenType() error {
	header, _, err := s.accessToken()
	if err != nil {
		return err
	}
	typ, _ := header["typ"].(string)
	if typ = strings.TrimPrefix(strings.ToLower(typ), "application/"); typ != oauth.TypAccessToken {
		return brokenf("typ is %q", typ)
	}
	return nil
}

func (s *session) tokenClaims() error {
	_, claims, err := s.accessToken()
	if err != nil {
		return err
	}
	for _, name := range []string{"iss", "sub", "aud", "client_id", "exp", "iat", "jti"} {
		if claims[name] == nil {
			return brokenf("the claim %s is missing", name)
		}
	}
	if claims["iss"] != s.c.Issuer {
		return brokenf("iss is %v", claims["iss"])
	}
	return nil
}

var codeRules = []Rule{
	{"AS-PKCE-04.wrong", "a wrong code_verifier is refused", "RFC 7636 section 4.6, SEC-09", "Compare BASE64URL(SHA256(code_verifier)) with the code's code_challenge.", codeRule("another code_verifier", func(f url.Values) { f.Set("code_verifier", newVerifier()) })},
	{"AS-PKCE-04.missing", "a missing code_verifier is refused", "OAuth 2.1 section 4.1.3, SEC-10", "Demand code_verifier for each code that has a code_challenge.", codeRule("no code_verifier", func(f url.Values) { f.Del("code_verifier") })},
	{"AS-PKCE-03.verifier", "a code_verifier of another form than 43 to 128 unreserved characters is refused", "RFC 7636 section 4.1", "Check length and characters of code_verifier.", (*session).shortVerifier},
	{"AS-REDIR-06.differs", "another redirect_uri than that of the authorization request is refused", "OAuth 2.1 section 10.2, SEC-09", "If redirect_uri is sent, demand the one of the authorization request.", codeRule("another redirect_uri", func(f url.Values) { f.Set("redirect_uri", f.Get("redirect_uri")+"/other") })},
	{"AS-CODE-01.client", "a code of another client is refused", "OAuth 2.1 section 4.1.3, SEC-09", "Bind the code to the client that asked for it.", (*session).codeOfAnother},
	{"AS-CODE-02.replay", "a code is redeemed once", "OAuth 2.1 section 4.1.3, SEC-11", "Take the code out of the store with its first use.", (*session).codeReplay},
	{"AS-CODE-02.parallel", "a code is redeemed once, also by ten requests at a time", "OAuth 2.1 section 4.1.3, SEC-11", "Take the code atomically: in one statement or one transaction with what it gives.", (*session).codeParallel},
	{"AS-CODE-03.revoke", "a code that comes twice ends what it gave", "OAuth 2.1 section 7.5.2, SEC-11", "End the tokens of a code that is redeemed a second time with everything right.", (*session).replayEnds},
	{"AS-CODE-03.invalid", "a false second use ends nothing", "OAuth 2.1 section 7.5.2, SEC-11", "End tokens on a second use only if client and code_verifier are right: anybody could sign people out otherwise.", (*session).falseReplay},
	{"AS-RES-03.code", "a code is not redeemed for another resource", "RFC 8707 section 2.2", "Answer invalid_target for a resource that the person did not approve.", codeRule("another resource", func(f url.Values) { f.Set("resource", "https://mcp.doorward-probe.invalid/mcp") })},
}

// codeRule redeems a fresh code with one thing wrong.
func codeRule(what string, change func(url.Values)) func(*session) error {
	return func(s *session) error {
		k, err := s.fresh(nil)
		if err != nil {
			return err
		}
		form := k.form()
		change(form)
		a, err := s.token(k.client, form)
		return refused(a, err, what)
	}
}

func (s *session) shortVerifier() error {
	const short = "probe-42"
	k, err := s.fresh(func(q url.Values) { q.Set("code_challenge", s256(short)) })
	if err != nil {
		return err
	}
	k.verifier = short
	a, err := s.token(k.client, k.form())
	return refused(a, err, "a code_verifier of eight characters")
}

func (s *session) codeOfAnother() error {
	other, err := s.client(otherRole)
	if err != nil {
		return err
	}
	k, err := s.fresh(nil)
	if err != nil {
		return err
	}
	form := k.form()
	form.Del("redirect_uri") // it may differ in the port, and is not what is tried
	if slices.Contains(other.redirects, k.redirect) {
		form.Set("redirect_uri", k.redirect)
	}
	a, err := s.token(other, form)
	return refused(a, err, "the code of another client")
}

func (s *session) codeReplay() error {
	k, err := s.fresh(nil)
	if err != nil {
		return err
	}
	if _, err := s.redeem(k); err != nil {
		return err
	}
	a, err := s.token(k.client, k.form())
	return refused(a, err, "the same code a second time")
}

func (s *session) codeParallel() error {
	for range 3 { // a race is not lost every time
		if err := s.race(); err != nil {
			return err
		}
	}
	return nil
}

// race redeems a fresh code by several requests at a time.
func (s *session) race() error {
	k, err := s.fresh(nil)
	if err != nil {
		return err
	}
	s.warm()
	type outcome struct {
		a   *answer
		err error
	}
	all := make(chan outcome, atOnce)
	for range atOnce {
		go func() {
			a, err := s.wire.at(s, k)
			all <- outcome{a, err}
		}()
	}
	won := 0
	var last error
	for range atOnce {
		o := <-all
		if o.err != nil {
			last = o.err
			continue
		}
		s.keepSecrets(k.client, o.a)
		if o.a.text("access_token") != "" {
			won++
		}
	}
	switch {
	case won > 1:
		return brokenf("%d of %d requests at a time were answered with a token", won, atOnce)
	case last != nil:
		return last
	case won == 0:
		return errors.New("none of ten requests at a time was answered with a token")
	}
	return nil
}

func (s *session) replayEnds() error {
	k, err := s.fresh(nil)
	if err != nil {
		return err
	}
	g, err := s.redeem(k)
	if err != nil {
		return err
	}
	if g.refresh == "" {
		return errNoRefresh
	}
	if _, err := s.token(k.client, k.form()); err != nil {
		return err
	}
	a, err := s.refresh(k.client, g.refresh)
	return refused(a, err, "the refresh token of a code that came twice")
}

func (s *session) falseReplay() error {
	k, err := s.fresh(nil)
	if err != nil {
		return err
	}
	g, err := s.redeem(k)
	if err != nil {
		return err
	}
	if g.refresh == "" {
		return errNoRefresh
	}
	form := k.form()
	form.Set("code_verifier", newVerifier())
	if _, err := s.token(k.client, form); err != nil {
		return err
	}
	a, err := s.refresh(k.client, g.refresh)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return brokenf("a second use of the code with a wrong code_verifier ended the refresh token: %d %s", a.status, a.text("error"))
	}
	return nil
}
