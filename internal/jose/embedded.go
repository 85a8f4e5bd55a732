package jose

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	gojose "github.com/go-jose/go-jose/v4"
)

// VerifyEmbedded checks a token with the key that it brings in its header
// member jwk, by the rules of Verify, and returns the key's RFC 7638
// thumbprint. It is for DPoP proofs only (RFC 9449 section 4.2): whoever made
// the token chose the key in it, so that it proves possession of that key and
// nothing else. A jwk with private parts is an error.
func VerifyEmbedded(token string, algs, types []string) (Verified, string, error) {
	p, err := parse(token)
	if err != nil {
		return Verified{}, "", err
	}
	if !slices.Contains(algs, p.header.Alg) {
		return Verified{}, "", fmt.Errorf("token: alg %.64q is not allowed here", p.header.Alg)
	}
	if !slices.ContainsFunc(types, func(t string) bool { return mediaType(t) == p.header.Typ }) {
		return Verified{}, "", fmt.Errorf("token: typ %.64q is not allowed here", p.header.Typ)
	}
	raw, there := p.members["jwk"]
	if !there {
		return Verified{}, "", errors.New("token header: jwk is missing")
	}
	k, err := parsePublic(raw)
	switch {
	case err != nil:
		return Verified{}, "", fmt.Errorf("token header: jwk: %w", err)
	case !k.fits(p.header.Alg):
		return Verified{}, "", fmt.Errorf("token header: jwk does not fit alg %.64q", p.header.Alg)
	case !verifies(k, p, token):
		return Verified{}, "", errors.New("token: the signature does not verify")
	}
	jkt, err := thumbprint(k.pub)
	return Verified{p.header, p.claims}, jkt, err
}

// SignEmbedded is Sign with the public key itself in the header, as jwk, in the
// place of its kid: for DPoP proofs (RFC 9449 section 4.2).
func (k *Key) SignEmbedded(typ string, claims any) (string, error) {
	cached := "jwk " + typ
	h, ok := k.headers.Load(cached)
	if !ok {
		raw, err := json.Marshal(struct {
			Typ string            `json:"typ"`
			Alg string            `json:"alg"`
			JWK gojose.JSONWebKey `json:"jwk"`
		}{typ, k.alg, gojose.JSONWebKey{Key: k.pub}})
		if err != nil {
			return "", fmt.Errorf("header: %w", err)
		}
		h = base64.RawURLEncoding.EncodeToString(raw) + "."
		k.headers.Store(cached, h)
	}
	return k.compact(h.(string), claims)
}

// Thumbprint is the RFC 7638 thumbprint of the key's public half, whatever its
// kid.
func (k *Key) Thumbprint() (string, error) { return thumbprint(k.pub) }
