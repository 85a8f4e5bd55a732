package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	gojose "github.com/go-jose/go-jose/v4"
)

// A larger key set document is refused (bytes, keys).
const (
	maxSet  = 256 << 10
	maxKeys = 100
)

// Set is a set of public keys (RFC 7517). The zero Set is empty. A Set is not
// changed after it was made, so that many goroutines may use it.
type Set struct {
	keys []publicKey
}

type publicKey struct {
	id  string // kid, or the thumbprint; "" answers to every kid (VerifyEmbedded)
	alg string // the only algorithm it may be used with; "" any that suits it
	pub crypto.PublicKey
}

// fits reports whether the key may verify alg (RFC 8725 section 3.1).
func (k publicKey) fits(alg string) bool {
	return (k.alg == "" || k.alg == alg) && suits(k.pub, alg)
}

// NewSet is the set of the public halves of these keys.
func NewSet(keys ...*Key) *Set {
	s := &Set{}
	for _, k := range keys {
		s.keys = append(s.keys, publicKey{k.id, k.alg, k.pub})
	}
	return s
}

// Merge is the set of the keys of both. Either may be nil.
func (s *Set) Merge(other *Set) *Set {
	return &Set{keys: slices.Concat(s.list(), other.list())}
}

func (s *Set) list() []publicKey {
	if s == nil {
		return nil
	}
	return s.keys
}

// ParseSet reads a JWK Set. Keys that cannot be used to verify (unknown type,
// use other than sig, key_ops without verify, symmetric, too short, private)
// are passed over; a set without any usable key is not an error. A document
// over 256 KiB or with more than 100 keys is one.
func ParseSet(data []byte) (*Set, error) {
	if len(data) > maxSet {
		return nil, fmt.Errorf("key set: %d bytes are over the limit of %d", len(data), maxSet)
	}
	doc, err := object(data)
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(doc["keys"], &raw); err != nil || raw == nil {
		return nil, errors.New("key set: no array keys in it (RFC 7517 section 5.1)")
	}
	if len(raw) > maxKeys {
		return nil, fmt.Errorf("key set: %d keys are over the limit of %d", len(raw), maxKeys)
	}
	s := &Set{}
	for _, r := range raw {
		if k, err := parsePublic(r); err == nil {
			s.keys = append(s.keys, k)
		}
	}
	return s, nil
}

// parsePublic reads one JWK that may be used to verify signatures.
func parsePublic(raw []byte) (publicKey, error) {
	m, err := object(raw)
	if err != nil {
		return publicKey{}, err
	}
	// A private key that lies in a public place is anybody's key.
	for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"} {
		if _, there := m[private]; there {
			return publicKey{}, errors.New("the JWK holds private or symmetric key material")
		}
	}
	if err := forVerifying(m); err != nil {
		return publicKey{}, err
	}
	// Only what makes up the public key is handed on: certificates and URLs
	// in a JWK decide nothing here.
	bare := make(map[string]json.RawMessage, 4)
	for _, name := range []string{"kty", "crv", "x", "y", "n", "e"} {
		if v, there := m[name]; there {
			bare[name] = v
		}
	}
	doc, err := json.Marshal(bare)
	if err != nil {
		return publicKey{}, err
	}
	var parsed gojose.JSONWebKey
	if err := parsed.UnmarshalJSON(doc); err != nil {
		return publicKey{}, err
	}
	k := publicKey{pub: parsed.Key}
	if k.id, err = member(m, "kid"); err != nil {
		return publicKey{}, err
	}
	if k.alg, err = member(m, "alg"); err != nil {
		return publicKey{}, err
	}
	if !usable(k.pub) || k.alg != "" && !suits(k.pub, k.alg) {
		return publicKey{}, errors.New("no algorithm of ours fits the JWK")
	}
	if k.id == "" {
		k.id, err = thumbprint(k.pub)
	}
	return k, err
}

// forVerifying checks use and key_ops (RFC 7517 sections 4.2 and 4.3).
func forVerifying(m map[string]json.RawMessage) error {
	if _, there := m["use"]; there {
		if use, err := member(m, "use"); err != nil || use != "sig" {
			return errors.New("the JWK's use is not sig")
		}
	}
	if raw, there := m["key_ops"]; there {
		var ops []string
		if err := json.Unmarshal(raw, &ops); err != nil || !slices.Contains(ops, "verify") {
			return errors.New("the JWK's key_ops are without verify")
		}
	}
	return nil
}

// MarshalJSON writes the set, public parts only, each with kid, alg and use. A
// parsed RSA key that did not say its alg is written without.
func (s *Set) MarshalJSON() ([]byte, error) { return json.Marshal(s.public()) }

func (s *Set) public() gojose.JSONWebKeySet {
	out := gojose.JSONWebKeySet{Keys: []gojose.JSONWebKey{}}
	for _, k := range s.list() {
		alg := k.alg
		if alg == "" {
			alg = onlyAlg(k.pub)
		}
		out.Keys = append(out.Keys, gojose.JSONWebKey{Key: k.pub, KeyID: k.id, Algorithm: alg, Use: "sig"})
	}
	return out
}

// onlyAlg is the algorithm of a key that has only one.
func onlyAlg(pub crypto.PublicKey) string {
	switch pub.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
		for _, alg := range []string{ES256, EdDSA, "ES384", "ES512"} {
			if suits(pub, alg) {
				return alg
			}
		}
	}
	return ""
}

// Holds reports whether a public key is one of the set.
func (s *Set) Holds(pub crypto.PublicKey) bool {
	key, ok := pub.(interface{ Equal(crypto.PublicKey) bool })
	return ok && slices.ContainsFunc(s.list(), func(k publicKey) bool { return key.Equal(k.pub) })
}

// IDs are the kids of the set.
func (s *Set) IDs() []string {
	ids := make([]string, 0, len(s.list()))
	for _, k := range s.list() {
		ids = append(ids, k.id)
	}
	return ids
}
