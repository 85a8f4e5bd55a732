package probe

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"doorward/internal/oauth"
)

var dpopRules = []Rule{
	{"AS-META-09.dpop", "the metadata lists asymmetric algorithms for DPoP only", "RFC 9449 section 5.1", "Take none and HS* out of dpop_signing_alg_values_supported.", (*session).metaDPoP},
	wrongProof("AS-DPOP-01.typ", "a proof of another typ is refused", "Demand typ dpop+jwt.", func(_ *session, j *jag) { j.header["typ"] = "JWT" }),
	wrongProof("AS-DPOP-01.signature", "a proof with a wrong signature is refused", "Verify the signature with the proof's jwk.", func(_ *session, j *jag) { j.key = newProving().key }),
	wrongProof("AS-DPOP-01.none", "a proof without a signature is refused", "Take asymmetric algorithms only.", func(_ *session, j *jag) {
		j.header["alg"] = "none"
		j.sign = func(string) []byte { return nil }
	}),
	wrongProof("AS-DPOP-01.hmac", "a proof that is signed with a shared secret is refused", "Take asymmetric algorithms only.", func(_ *session, j *jag) { selfMade(j) }),
	wrongProof("AS-DPOP-01.private", "a proof that gives its private key away is refused", "Refuse a jwk with private members: others could have it.", func(_ *session, j *jag) {
		d, err := j.key.Bytes()
		if jwk, ok := j.header["jwk"].(map[string]any); ok && err == nil {
			jwk["d"] = base64.RawURLEncoding.EncodeToString(d)
		}
	}),
	wrongProof("AS-DPOP-01.htm", "a proof for another method is refused", "Compare htm with the method of the request.", func(_ *session, j *jag) { j.claims["htm"] = http.MethodGet }),
	wrongProof("AS-DPOP-01.htu", "a proof for another URL is refused", "Compare htu with the token endpoint.", func(_ *session, j *jag) { j.claims["htu"] = "https://as.doorward-probe.invalid/token" }),
	wrongProof("AS-DPOP-01.iat", "an old proof is refused", "Demand a fresh iat.", func(_ *session, j *jag) { j.claims["iat"] = time.Now().Unix() - 86400 }),
	wrongProof("AS-DPOP-01.jti", "a proof without jti is refused", "Demand jti, htm, htu and iat.", func(_ *session, j *jag) { delete(j.claims, "jti") }),
	{"AS-DPOP-01.twice", "two DPoP headers are refused", "RFC 9449 section 4.3", "Refuse requests with more than one DPoP header.", (*session).twoProofs},
	{"AS-DPOP-02.error", "a bad proof is invalid_dpop_proof, 400", "RFC 9449 section 5", "Answer 400 invalid_dpop_proof.", (*session).proofError},
	{"AS-DPOP-03.bound", "a token that came by a proof is bound to its key", "RFC 9449 sections 5 and 6", "Send token_type DPoP, and cnf.jkt in the token.", (*session).boundToken},
	{"AS-DPOP-04.key", "a public client's refresh token needs the same key again", "RFC 9449 section 5", "Bind refresh tokens of public clients to the key of the proof.", (*session).refreshOtherKey},
	{"AS-DPOP-04.none", "a bound refresh token needs a proof", "RFC 9449 section 5", "Refuse a bound refresh token without a proof.", (*session).refreshNoProof},
	{"AS-DPOP-06.jkt", "a code that names a key is redeemed with that key only", "RFC 9449 section 10", "Compare dpop_jkt of the authorization request with the proof's key.", (*session).codeOtherKey},
	{"AS-DPOP-07.replay", "a proof is taken once", "RFC 9449 section 11.1, SEC-14", "Remember jti for as long as a proof is fresh.", (*session).proofReplay},
}

func (s *session) metaDPoP() error {
	s.show("metadata")
	algs := s.meta.list("dpop_signing_alg_values_supported")
	if len(algs) == 0 {
		return notHere("the metadata has no dpop_signing_alg_values_supported")
	}
	for _, alg := range algs {
		if strings.EqualFold(alg, "none") || strings.HasPrefix(strings.ToUpper(alg), "HS") {
			return brokenf("dpop_signing_alg_values_supported lists %q", alg)
		}
	}
	return nil
}

// wrongProof redeems a fresh code with a proof that has one thing wrong.
func wrongProof(id, title, mend string, spoil func(*session, *jag)) Rule {
	return Rule{id, title, "RFC 9449 section 4.3, SEC-37", mend, func(s *session) error {
		k, err := s.provable(nil)
		if err != nil {
			return err
		}
		p := newProving()
		a, err := s.proven(k.client, k.form(), func() []*jag {
			j := p.proof(s)
			spoil(s, j)
			return []*jag{j}
		})
		return refused(a, err, "such a proof")
	}}
}

// provable is a fresh code, once the control has worked.
func (s *session) provable(change func(url.Values)) (*code, error) {
	if err := s.proofs(); err != nil {
		return nil, err
	}
	s.wire.begin()
	return s.fresh(change)
}

func (s *session) twoProofs() error {
	k, err := s.provable(nil)
	if err != nil {
		return err
	}
	p := newProving()
	a, err := s.proven(k.client, k.form(), func() []*jag { return []*jag{p.proof(s), p.proof(s)} })
	return refused(a, err, "a request with two proofs")
}

func (s *session) proofError() error {
	k, err := s.provable(nil)
	if err != nil {
		return err
	}
	a, err := s.token(k.client, k.form(), "Dpop", "doorward.probe.nothing")
	if err := refused(a, err, "something that is no proof"); err != nil {
		return err
	}
	if a.status != http.StatusBadRequest || a.text("error") != "invalid_dpop_proof" {
		return brokenf("the answer is %d %q", a.status, a.text("error"))
	}
	return nil
}

func (s *session) boundToken() error {
	if err := s.proofs(); err != nil {
		return err
	}
	s.show("bound")
	a := s.boundAnswer
	if !strings.EqualFold(a.text("token_type"), "DPoP") {
		return brokenf("token_type is %q", a.text("token_type"))
	}
	parts := strings.Split(a.text("access_token"), ".")
	if len(parts) != 3 {
		return nil // an opaque token keeps it to itself
	}
	var claims struct {
		Confirmation struct {
			Thumbprint string `json:"jkt"`
		} `json:"cnf"`
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(raw, &claims) != nil {
		return nil
	}
	if claims.Confirmation.Thumbprint == "" {
		return brokenf("the access token has no cnf.jkt")
	}
	return nil
}

// boundRefresh is a public client's refresh token that is bound to a key.
func (s *session) boundRefresh() (*grant, error) {
	k, err := s.provable(nil)
	if err != nil {
		return nil, err
	}
	if !k.client.public() {
		return nil, notHere("the client is not a public one")
	}
	a, err := s.proven(k.client, k.form(), one(newProving(), s))
	if err != nil {
		return nil, err
	}
	g := &grant{k.client, a.text("access_token"), a.text("refresh_token"), a}
	if g.refresh == "" {
		return nil, errNoRefresh
	}
	return g, nil
}

func (s *session) refreshOtherKey() error {
	g, err := s.boundRefresh()
	if err != nil {
		return err
	}
	form := url.Values{"grant_type": {oauth.RefreshToken}, "refresh_token": {g.refresh}}
	a, err := s.proven(g.client, form, one(newProving(), s))
	return refused(a, err, "a bound refresh token with another key")
}

func (s *session) refreshNoProof() error {
	g, err := s.boundRefresh()
	if err != nil {
		return err
	}
	a, err := s.refresh(g.client, g.refresh)
	return refused(a, err, "a bound refresh token without a proof")
}

func (s *session) codeOtherKey() error {
	k, err := s.provable(func(q url.Values) { q.Set("dpop_jkt", newProving().thumbprint()) })
	if err != nil {
		return err
	}
	a, err := s.proven(k.client, k.form(), one(newProving(), s))
	return refused(a, err, "the code of another key")
}

func (s *session) proofReplay() error {
	first, err := s.provable(nil)
	if err != nil {
		return err
	}
	second, err := s.fresh(nil)
	if err != nil {
		return err
	}
	var j *jag
	p := newProving()
	a, err := s.proven(first.client, first.form(), func() []*jag { j = p.proof(s); return []*jag{j} })
	if err != nil {
		return err
	}
	if a.text("access_token") == "" {
		return notHere("a proof that has everything right was refused: " + a.text("error"))
	}
	a, err = s.token(second.client, second.form(), "Dpop", j.last)
	return refused(a, err, "a proof that was used before")
}
