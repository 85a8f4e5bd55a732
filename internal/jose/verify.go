package jose

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"fmt"
	"slices"

	gojose "github.com/go-jose/go-jose/v4"
)

// Verified is a token whose signature was checked. Only Verify makes one.
type Verified struct {
	header Header
	claims Claims
}

// Header is the checked token's header.
func (v Verified) Header() Header { return v.header }

// Claims are the checked token's claims. Their meaning (iss, aud, exp, …) has
// not been checked yet.
func (v Verified) Claims() Claims { return v.claims }

// Verify checks a compact JWS: strict unpadded base64url, a single JSON object
// as payload without repeated members, no crit, an alg of algs (none in any
// spelling never passes), a typ of types (compared without case and without
// "application/"; types nil: any; an entry "" allows an absent typ), a key of
// the set that fits the algorithm (kty, crv, alg, use), named by kid; a token
// without kid passes if exactly one key, or any one of those that fit,
// verifies it. RFC 7515 section 5.2, RFC 8725 section 3.
func Verify(token string, keys *Set, algs, types []string) (Verified, error) {
	u, err := Read(token)
	if err != nil {
		return Verified{}, err
	}
	return u.Verify(keys, algs, types)
}

// Verify is the function Verify for a token that was read already.
func (u Unverified) Verify(keys *Set, algs, types []string) (Verified, error) {
	p := u.parsed
	if !slices.Contains(algs, p.header.Alg) {
		return Verified{}, fmt.Errorf("token: alg %.64q is not allowed here", p.header.Alg)
	}
	if types != nil && !slices.ContainsFunc(types, func(t string) bool { return t == p.header.Typ || mediaType(t) == p.header.Typ }) {
		return Verified{}, fmt.Errorf("token: typ %.64q is not allowed here", p.header.Typ)
	}
	tries, err := candidates(keys, p.header)
	if err != nil {
		return Verified{}, err
	}
	for _, k := range tries {
		if verifies(k, p, u.token) {
			return Verified{p.header, p.claims}, nil
		}
	}
	return Verified{}, fmt.Errorf("token: %w", ErrSignature)
}

// maxTries bounds the signature checks that one token may cause.
const maxTries = 16

// candidates are the keys to try: of those that the token names, the ones that
// fit its algorithm. Two keys may have one kid (RFC 7517 section 4.5).
func candidates(keys *Set, h Header) ([]publicKey, error) {
	var fit []publicKey
	named := false
	for _, k := range keys.list() {
		if h.Kid != "" && k.id != "" && k.id != h.Kid {
			continue
		}
		fits := k.fits(h.Alg)
		named = named || h.Kid != "" || fits
		if fits && len(fit) < maxTries {
			fit = append(fit, k)
		}
	}
	switch {
	case !named:
		return nil, fmt.Errorf("token: kid %.64q: %w", h.Kid, ErrUnknownKey)
	case len(fit) == 0:
		return nil, fmt.Errorf("token: the key %.64q does not fit alg %.64q", h.Kid, h.Alg)
	}
	return fit, nil
}

// verifies checks the signature with one key that fits the algorithm.
func verifies(k publicKey, p parsed, token string) bool {
	if p.header.Alg == ES256 || p.header.Alg == EdDSA {
		s := buffers.Get().(*scratch)
		defer buffers.Put(s)
		s.token = append(s.token[:0], p.input...)
		if p.header.Alg == ES256 {
			return verifyES256(k.pub.(*ecdsa.PublicKey), s.token, p.signature)
		}
		return ed25519.Verify(k.pub.(ed25519.PublicKey), s.token, p.signature)
	}
	jws, err := gojose.ParseSignedCompact(token, []gojose.SignatureAlgorithm{gojose.SignatureAlgorithm(p.header.Alg)})
	if err != nil {
		return false
	}
	_, err = jws.Verify(k.pub)
	return err == nil
}
