package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
)

// Algorithms that this package signs with or verifies.
const (
	ES256 = "ES256"
	EdDSA = "EdDSA"
	RS256 = "RS256"
	PS256 = "PS256"
)

// MaxToken is the size in bytes over which a token is refused unread.
const MaxToken = 16 << 10

// ErrUnknownKey is returned (wrapped) by Verify when the set has no key with
// the token's kid, so that the caller may fetch the set again.
var ErrUnknownKey = errors.New("no key of the key set has this token's kid")

// ErrSignature is returned (wrapped) by Verify when there are keys to check the
// signature with, and none of them fits it.
var ErrSignature = errors.New("the signature does not verify")

// minRSA and maxRSA bound RSA keys in bits: RFC 7518 section 3.3 wants at
// least 2048; very long keys only serve to keep the verifier busy.
const (
	minRSA = 2048
	maxRSA = 8192
)

// suits reports whether a public key is of the type and curve that alg needs
// (RFC 7518 section 3.1, RFC 8037 section 3.1). There is no entry for none or
// for HMAC, so these pass nowhere.
func suits(pub crypto.PublicKey, alg string) bool {
	switch alg {
	case ES256:
		return onCurve(pub, elliptic.P256())
	case "ES384":
		return onCurve(pub, elliptic.P384())
	case "ES512":
		return onCurve(pub, elliptic.P521())
	case EdDSA:
		k, ok := pub.(ed25519.PublicKey)
		return ok && len(k) == ed25519.PublicKeySize
	case RS256, "RS384", "RS512", PS256, "PS384", "PS512":
		k, ok := pub.(*rsa.PublicKey)
		return ok && goodRSA(k)
	}
	return false
}

func onCurve(pub crypto.PublicKey, curve elliptic.Curve) bool {
	k, ok := pub.(*ecdsa.PublicKey)
	return ok && k.Curve == curve
}

func goodRSA(k *rsa.PublicKey) bool {
	bits := k.N.BitLen()
	return bits >= minRSA && bits <= maxRSA && k.E >= 3 && k.E%2 == 1
}

// usable reports whether some algorithm suits the key.
func usable(pub crypto.PublicKey) bool {
	for _, alg := range []string{ES256, EdDSA, RS256, "ES384", "ES512"} {
		if suits(pub, alg) {
			return true
		}
	}
	return false
}
