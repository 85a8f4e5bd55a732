package probe

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"doorward/internal/oauth"
)

var assertionRules = []Rule{
	{"AS-JAG-01.missing", "a jwt-bearer request without an assertion is refused", "RFC 7523 section 2.1", "Answer invalid_request.", (*session).noAssertion},
	{"AS-JAG-02.auth", "an ID-JAG of a confidential client needs the client's authentication", "ID-JAG section 4.4", "Authenticate the client before anything else.", (*session).jagUnauthenticated},
	{"AS-JAG-02.public", "a public client that registered itself cannot redeem an ID-JAG", "ID-JAG section 9", "Let confidential clients redeem ID-JAGs, and of public ones only those that the configuration names.", (*session).jagPublic},
	wrongJAG("AS-JAG-03.typ", "an assertion of another typ is refused", "ID-JAG section 3.1, SEC-20", "Demand typ oauth-id-jag+jwt: an ID token is no ID-JAG.", func(_ *session, j *jag) { j.header["typ"] = "JWT" }),
	wrongJAG("AS-JAG-04.issuer", "an ID-JAG of an issuer that is not trusted is refused", "ID-JAG section 4.4.1", "Look iss up in a list of trusted issuers.", func(s *session, j *jag) { j.claims["iss"] = s.idp.issuer + otherPath }),
	wrongJAG("AS-JAG-04.signature", "an ID-JAG with a wrong signature is refused", "RFC 7515 section 5.2", "Verify the signature.", func(_ *session, j *jag) {
		j.sign = func(string) []byte { return make([]byte, 64) }
	}),
	wrongJAG("X-JWT-01.none", "an ID-JAG without a signature is refused", "RFC 8725 section 3.1, SEC-18", "Take algorithms from a list of your own, without none.", func(_ *session, j *jag) {
		j.header["alg"] = "none"
		j.sign = func(string) []byte { return nil }
	}),
	wrongJAG("X-JWT-02.hmac", "a public key is no HMAC secret", "RFC 8725 section 3.1, SEC-18", "Tie each key to its algorithm: an asymmetric key verifies no HS256.", func(s *session, j *jag) {
		j.header["alg"] = "HS256"
		j.sign = hmacWith(s.idp.key)
	}),
	wrongJAG("X-JWT-03.jwk", "a key that the assertion brings itself is not used", "RFC 8725 section 3.10, SEC-19", "Ignore the header jwk.", func(s *session, j *jag) {
		j.key, j.header["jwk"], j.header["kid"] = s.idp.thief, publicJWK(s.idp.thief, thiefKid), thiefKid
	}),
	wrongJAG("X-JWT-03.jku", "a key set that the assertion names itself is not fetched", "RFC 8725 section 3.10, SEC-19", "Ignore the headers jku and x5u.", func(s *session, j *jag) {
		j.key, j.header["jku"], j.header["kid"] = s.idp.thief, s.idp.issuer+"/thief", thiefKid
	}),
	wrongJAG("X-JWT-03.kid", "an unknown kid is refused", "RFC 7515 section 4.1.4, SEC-19", "Refuse a kid that the issuer's key set does not have.", func(s *session, j *jag) {
		j.header["kid"] = "../../../dev/null"
	}),
	wrongJAG("X-JWT-06.crit", "an extension that is critical and unknown is refused", "RFC 7515 section 4.1.11", "Refuse crit with names that you do not implement.", func(_ *session, j *jag) {
		j.header["crit"], j.header["doorward-probe"] = []string{"doorward-probe"}, true
	}),
	{"AS-JAG-05.claims", "an ID-JAG without sub, jti, iat or exp is refused", "ID-JAG section 3.1", "Demand every required claim.", (*session).jagClaims},
	wrongJAG("X-JWT-05.type", "a time that is a string is refused", "RFC 7519 section 4.1.4", "Demand numbers.", func(_ *session, j *jag) { j.claims["iat"] = time.Now().UTC().Format(time.RFC3339) }),
	wrongJAG("AS-JAG-06.other", "an ID-JAG for another authorization server is refused", "ID-JAG section 4.4.1, SEC-21", "Demand that aud is your issuer.", func(_ *session, j *jag) { j.claims["aud"] = "https://as.doorward-probe.invalid" }),
	wrongJAG("AS-JAG-06.array", "an ID-JAG for two audiences is refused", "ID-JAG section 4.4.1, SEC-21", "Take one audience: a string, or an array of one.", func(s *session, j *jag) { j.claims["aud"] = []string{s.c.Issuer, "https://as.doorward-probe.invalid"} }),
	wrongJAG("AS-JAG-06.slash", "the audience is compared character by character", "RFC 3986 section 6.2.1, SEC-21", "Compare aud with the issuer as strings.", func(s *session, j *jag) { j.claims["aud"] = slashed(s.c.Issuer) }),
	wrongJAG("AS-JAG-07.client", "an ID-JAG for another client is refused", "ID-JAG section 4.4.1", "Demand that client_id is the client that authenticated.", func(_ *session, j *jag) { j.claims["client_id"] = "doorward-probe-other" }),
	wrongJAG("AS-JAG-08.expired", "an expired ID-JAG is refused", "RFC 7523 section 3", "Check exp.", func(_ *session, j *jag) {
		j.claims["iat"], j.claims["exp"] = time.Now().Unix()-1000, time.Now().Unix()-900
	}),
	wrongJAG("AS-JAG-08.future", "an ID-JAG of the future is refused", "RFC 7523 section 3", "Refuse an iat that lies ahead by more than the clocks differ.", func(_ *session, j *jag) {
		j.claims["iat"], j.claims["exp"] = time.Now().Unix()+900, time.Now().Unix()+1000
	}),
	wrongJAG("AS-JAG-08.long", "an ID-JAG that lives for a day is refused", "RFC 7523 section 3", "Bound the time between iat and exp: five minutes are usual.", func(_ *session, j *jag) { j.claims["exp"] = time.Now().Unix() + 86400 }),
	wrongJAG("AS-JAG-10.resource", "an ID-JAG for a resource that is not served here is refused", "ID-JAG section 4.4.1, SEC-21", "Look the resource claim up among the resources of this server.", func(_ *session, j *jag) { j.claims["resource"] = "https://mcp.doorward-probe.invalid/mcp" }),
	{"AS-JAG-13.scope", "a request cannot widen an ID-JAG's scope", "ID-JAG section 4.4.1", "Grant the intersection of what the ID-JAG has and what is asked for.", (*session).jagScope},
	{"AS-JAG-17.refresh", "an ID-JAG brings no refresh token", "ID-JAG section 4.4.3", "Issue none: the client gets a new ID-JAG, if the provider still lets it.", (*session).jagRefresh},
	wrongJAG("AS-JAG-23.cnf", "an ID-JAG that is bound to a key needs the key", "ID-JAG section 9", "Demand a DPoP proof of that key, or refuse.", func(s *session, j *jag) {
		j.claims["cnf"] = map[string]any{"jkt": s256("doorward-probe")}
	}),
	wrongJAG("AS-JAG-25.own", "an ID-JAG of the server's own issuer is refused", "ID-JAG section 9", "Refuse an iss that is your own.", func(s *session, j *jag) { j.claims["iss"] = s.c.Issuer }),
}

func slashed(issuer string) string {
	if rest, ok := strings.CutSuffix(issuer, "/"); ok {
		return rest
	}
	return issuer + "/"
}

// wrongJAG presents an ID-JAG with one thing wrong.
func wrongJAG(id, title, source, mend string, spoil func(*session, *jag)) Rule {
	return Rule{id, title, source, mend, func(s *session) error {
		c, err := s.jagClient()
		if err != nil {
			return err
		}
		j := s.idp.right(s, c)
		spoil(s, j)
		a, err := s.present(c, j)
		return refused(a, err, "such an assertion")
	}}
}

// jagClient is the client that redeems ID-JAGs, once a right one was redeemed.
func (s *session) jagClient() (*registered, error) {
	if err := s.trusted(); err != nil {
		return nil, err
	}
	s.wire.begin()
	return s.client(confidentialRole)
}

func (s *session) noAssertion() error {
	c, err := s.jagClient()
	if err != nil {
		return err
	}
	a, err := s.token(c, url.Values{"grant_type": {oauth.JWTBearer}})
	if err := refused(a, err, "no assertion"); err != nil {
		return err
	}
	if a.text("error") != oauth.InvalidRequest {
		return brokenf("the error is %q, not invalid_request", a.text("error"))
	}
	return nil
}

func (s *session) jagUnauthenticated() error {
	c, err := s.jagClient()
	if err != nil {
		return err
	}
	a, err := s.present(&registered{id: c.id, method: authNone}, s.idp.right(s, c))
	return refused(a, err, "an ID-JAG without the client's secret")
}

func (s *session) jagPublic() error {
	if _, err := s.jagClient(); err != nil {
		return err
	}
	c, err := s.client(publicRole)
	if err != nil {
		return err
	}
	a, err := s.present(c, s.idp.right(s, c))
	return refused(a, err, "an ID-JAG of a public client")
}

func (s *session) jagClaims() error {
	c, err := s.jagClient()
	if err != nil {
		return err
	}
	for _, name := range []string{"sub", "jti", "iat", "exp"} {
		j := s.idp.right(s, c)
		delete(j.claims, name)
		a, err := s.present(c, j)
		if err := refused(a, err, "an ID-JAG without "+name); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) jagScope() error {
	all := s.scopes()
	if len(all) < 2 {
		return notHere("the metadata lists fewer than two scopes")
	}
	c, err := s.jagClient()
	if err != nil {
		return err
	}
	a, err := s.present(c, s.idp.right(s, c), "scope", all[0]+" "+all[1])
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return nil
	}
	scope, stated := a.member("scope").(string)
	if !stated || slices.Contains(strings.Fields(scope), all[1]) {
		return brokenf("an ID-JAG for %q was redeemed for %q", all[0], scope)
	}
	return nil
}

func (s *session) jagRefresh() error {
	c, err := s.jagClient()
	if err != nil {
		return err
	}
	a, err := s.present(c, s.idp.right(s, c))
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return errors.New("an ID-JAG that has everything right was refused: " + a.text("error"))
	}
	if a.text("refresh_token") != "" {
		return brokenf("a refresh token came with it")
	}
	return nil
}
