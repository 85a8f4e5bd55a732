package probe

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// proving is a key whose possession is shown to the server (RFC 9449).
type proving struct{ key *ecdsa.PrivateKey }

func newProving() proving {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic("probe: a P-256 key: " + err.Error())
	}
	return proving{key}
}

// thumbprint is the key's name (RFC 7638).
func (p proving) thumbprint() string {
	jwk := publicJWK(p.key, "")
	return s256(fmt.Sprintf(`{"crv":"P-256","kty":"EC","x":%q,"y":%q}`, jwk["x"], jwk["y"]))
}

// proof is a proof for the token endpoint that has everything right.
func (p proving) proof(s *session) *jag {
	jwk := publicJWK(p.key, "")
	j := &jag{key: p.key, header: map[string]any{"typ": "dpop+jwt", "alg": "ES256", "jwk": map[string]any{"kty": jwk["kty"], "crv": jwk["crv"], "x": jwk["x"], "y": jwk["y"]}},
		claims: map[string]any{"jti": random(), "htm": http.MethodPost, "htu": s.meta.text("token_endpoint"), "iat": time.Now().Unix()}}
	if s.nonce != "" {
		j.claims["nonce"] = s.nonce
	}
	return j
}

// proven sends a token request with proofs, and makes them anew if the server
// wants its own nonce in them.
func (s *session) proven(c *registered, form url.Values, proofs func() []*jag) (*answer, error) {
	for again := false; ; again = true {
		var headers []string
		for _, j := range proofs() {
			text := j.String()
			s.wire.secret(text)
			headers = append(headers, "Dpop", text)
		}
		a, err := s.token(c, form, headers...)
		if a != nil {
			if nonce := a.header.Get("Dpop-Nonce"); nonce != "" {
				s.nonce = nonce
			}
		}
		if err != nil || again || a.text("error") != "use_dpop_nonce" {
			return a, err
		}
	}
}

func one(p proving, s *session) func() []*jag {
	return func() []*jag { return []*jag{p.proof(s)} }
}

// canProve is the control: a code is redeemed with a proof that has everything
// right.
func (s *session) canProve() error {
	if len(s.meta.list("dpop_signing_alg_values_supported")) == 0 {
		return notHere("the metadata has no dpop_signing_alg_values_supported")
	}
	k, err := s.fresh(nil)
	if err != nil {
		return err
	}
	a, err := s.proven(k.client, k.form(), one(newProving(), s))
	if err != nil {
		return err
	}
	if a.text("access_token") == "" {
		return fmt.Errorf("a code with a proof that has everything right was refused: %d %s", a.status, a.text("error"))
	}
	s.boundAnswer, s.seen["bound"] = a, s.wire.lastNote()
	return nil
}

// selfMade signs with a secret that stands in the proof itself.
func selfMade(j *jag) {
	secret := []byte(random())
	j.header["alg"], j.header["jwk"] = "HS256", map[string]any{"kty": "oct", "k": base64.RawURLEncoding.EncodeToString(secret)}
	j.sign = func(input string) []byte {
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(input))
		return m.Sum(nil)
	}
}
