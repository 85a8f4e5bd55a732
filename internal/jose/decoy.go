package jose

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"sync"
)

// Decoy is a set that answers to every kid, of keys that nobody can sign with.
// Checking a token with it takes as long as with somebody's keys, so that the
// time of a refusal does not tell whose keys there are. Its outcome means
// nothing.
func Decoy() *Set { return decoy() }

var decoy = sync.OnceValue(func() *Set {
	s := &Set{}
	if k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err == nil {
		s.keys = append(s.keys, publicKey{alg: ES256, pub: k.Public()})
	}
	if pub, _, err := ed25519.GenerateKey(rand.Reader); err == nil {
		s.keys = append(s.keys, publicKey{alg: EdDSA, pub: pub})
	}
	// A modulus of that length, odd, is all that a check of a signature needs.
	n := make([]byte, minRSA/8)
	rand.Read(n)
	n[0] |= 0x80
	n[len(n)-1] |= 1
	s.keys = append(s.keys, publicKey{pub: &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537}})
	return s
})
