package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	gojose "github.com/go-jose/go-jose/v4"
)

// Algorithms that a Decrypter is published with (RFC 7518 section 4.1).
const (
	ECDHES     = "ECDH-ES+A256KW"
	RSAOAEP256 = "RSA-OAEP-256"
)

// MaxEncrypted is the size in bytes over which an encrypted token is refused
// unread: a token of MaxToken, base64url once more, with a header and a key.
const MaxEncrypted = MaxToken*4/3 + 4<<10

// contents are the content encryptions that are taken; each authenticates.
var contents = []gojose.ContentEncryption{gojose.A256GCM, gojose.A128GCM, gojose.A128CBC_HS256, gojose.A256CBC_HS512}

// Decrypter is a private key that others encrypt tokens to. It may be used by
// many goroutines.
type Decrypter struct {
	private crypto.PrivateKey
	public  crypto.PublicKey
	alg, id string
}

// EncryptionAlgs are the algorithms that NewDecrypter makes keys for.
func EncryptionAlgs() []string { return []string{ECDHES, RSAOAEP256} }

// NewDecrypter makes a key for alg, one of EncryptionAlgs.
func NewDecrypter(alg string) (*Decrypter, error) {
	var private crypto.PrivateKey
	var err error
	switch alg {
	case ECDHES:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RSAOAEP256:
		private, err = rsa.GenerateKey(rand.Reader, rsaBits)
	default:
		return nil, fmt.Errorf("no keys are made for %.64q", alg)
	}
	if err != nil {
		return nil, fmt.Errorf("make a key for %s: %w", alg, err)
	}
	return decrypterOf(private)
}

// ParseDecrypter reads what Marshal wrote (PKCS #8).
func ParseDecrypter(der []byte) (*Decrypter, error) {
	private, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("the decryption key is no PKCS #8 private key")
	}
	return decrypterOf(private)
}

func decrypterOf(private crypto.PrivateKey) (*Decrypter, error) {
	d := &Decrypter{private: private}
	switch k := private.(type) {
	case *ecdsa.PrivateKey:
		d.alg, d.public = ECDHES, k.Public()
	case *rsa.PrivateKey:
		d.alg, d.public = RSAOAEP256, k.Public()
	default:
		return nil, fmt.Errorf("a %T does not decrypt here", private)
	}
	var err error
	d.id, err = thumbprint(d.public)
	return d, err
}

// Marshal returns the private key as PKCS #8, to be sealed before it is stored.
func (d *Decrypter) Marshal() ([]byte, error) { return x509.MarshalPKCS8PrivateKey(d.private) }

// algs are the algorithms that the key is good for. A P-256 key agrees on the
// content key itself, too.
func (d *Decrypter) algs() []gojose.KeyAlgorithm {
	if d.alg == ECDHES {
		return []gojose.KeyAlgorithm{gojose.ECDH_ES_A256KW, gojose.ECDH_ES}
	}
	return []gojose.KeyAlgorithm{gojose.RSA_OAEP_256}
}

// Document is the JWK Set of a set and of keys that others encrypt to, public
// parts only, these with use enc.
func Document(s *Set, keys []*Decrypter) ([]byte, error) {
	out := s.public()
	for _, d := range keys {
		out.Keys = append(out.Keys, gojose.JSONWebKey{Key: d.public, KeyID: d.id, Algorithm: d.alg, Use: "enc"})
	}
	return json.Marshal(out)
}

// IsEncrypted reports whether a token has the five segments of a compact JWE
// (RFC 7516 section 3.1).
func IsEncrypted(token string) bool { return strings.Count(token, ".") == 4 }

// Decrypt returns what a compact JWE holds, decrypted with the one of keys that
// it names by kid, or without kid by its alg. No crit and no zip (RFC 8725
// section 3.6), no algorithm but those of keys, no content encryption that does
// not authenticate. Everybody has the public key: that something was encrypted
// to it says nothing about who did it.
func Decrypt(token string, keys []*Decrypter) (string, error) {
	if len(token) > MaxEncrypted {
		return "", fmt.Errorf("encrypted token: %d bytes are over the limit of %d", len(token), MaxEncrypted)
	}
	head, err := encryptedHeader(token)
	if err != nil {
		return "", fmt.Errorf("encrypted token: %w", err)
	}
	for _, d := range keys {
		algs := d.algs()
		if head.Kid != "" && head.Kid != d.id || !slices.Contains(algs, gojose.KeyAlgorithm(head.Alg)) {
			continue
		}
		jwe, err := gojose.ParseEncryptedCompact(token, algs, contents)
		if err != nil {
			return "", errors.New("encrypted token: the header or an encoding is wrong, or enc is not allowed here")
		}
		plain, err := jwe.Decrypt(d.private)
		if err != nil {
			return "", errors.New("encrypted token: it does not decrypt")
		}
		return string(plain), nil
	}
	return "", fmt.Errorf("encrypted token: no key for kid %.64q and alg %.64q", head.Kid, head.Alg)
}

// encryptedHeader reads the protected header. All five segments are strict
// base64url, so that one token has one spelling.
func encryptedHeader(token string) (Header, error) {
	segments := strings.Split(token, ".")
	if len(segments) != 5 {
		return Header{}, errors.New("not five segments")
	}
	var header []byte
	for i, s := range segments {
		b, err := segment(s)
		if err != nil {
			return Header{}, err
		}
		if i == 0 {
			header = b
		}
	}
	members, err := object(header)
	if err != nil {
		return Header{}, err
	}
	if _, there := members["zip"]; there { // a small token could hold a huge one
		return Header{}, errors.New("zip is not supported")
	}
	return readHeader(members)
}
