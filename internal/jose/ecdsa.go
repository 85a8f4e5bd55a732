package jose

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
)

// A JWS carries R||S of 32 bytes each (RFC 7518 section 3.4); crypto/ecdsa
// speaks SEQUENCE { INTEGER r, INTEGER s }. For P-256 all lengths fit one byte,
// so both ways are a few copies without big integers.

const (
	half = 32
	full = 2 * half
)

var errSignature = errors.New("the signer gave no P-256 signature in ASN.1")

// rawSignature turns the ASN.1 form into R||S.
func rawSignature(der []byte) ([]byte, error) {
	if len(der) < 2 || der[0] != 0x30 || int(der[1]) != len(der)-2 {
		return nil, errSignature
	}
	raw, rest := make([]byte, full), der[2:]
	for at := 0; at < full; at += half {
		if len(rest) < 2 || rest[0] != 0x02 || int(rest[1]) > len(rest)-2 {
			return nil, errSignature
		}
		n := rest[2 : 2+int(rest[1])]
		rest = rest[2+len(n):]
		for len(n) > 0 && n[0] == 0 {
			n = n[1:]
		}
		if len(n) == 0 || len(n) > half {
			return nil, errSignature
		}
		copy(raw[at+half-len(n):], n)
	}
	if len(rest) != 0 {
		return nil, errSignature
	}
	return raw, nil
}

// verifyES256 checks R||S over the signing input. A signature of another
// length, and a zero r or s, is refused.
func verifyES256(pub *ecdsa.PublicKey, input, signature []byte) bool {
	if len(signature) != full {
		return false
	}
	var der [2 + 2*(2+1+half)]byte
	out := append(der[:0], 0x30, 0)
	for at := 0; at < full; at += half {
		n := signature[at : at+half]
		for len(n) > 0 && n[0] == 0 {
			n = n[1:]
		}
		if len(n) == 0 {
			return false
		}
		if n[0] >= 0x80 {
			out = append(out, 0x02, byte(len(n)+1), 0)
		} else {
			out = append(out, 0x02, byte(len(n)))
		}
		out = append(out, n...)
	}
	out[1] = byte(len(out) - 2)
	digest := sha256.Sum256(input)
	return ecdsa.VerifyASN1(pub, digest[:], out)
}
