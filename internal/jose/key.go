package jose

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	gojose "github.com/go-jose/go-jose/v4"

	"doorward/internal/jsonobj"
)

// Key is a private signing key with its id. It may be used by many goroutines.
type Key struct {
	signer  crypto.Signer
	pub     crypto.PublicKey
	alg     string
	id      string
	headers sync.Map // typ, or "jwk " and typ → the encoded protected header and its dot
}

// NewES256 makes a P-256 key. Its id is its RFC 7638 thumbprint.
func NewES256() (*Key, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a P-256 key: %w", err)
	}
	return NewKey(k, "")
}

// Algs are the algorithms that Generate makes keys for.
func Algs() []string { return []string{ES256, EdDSA, RS256, PS256} }

// rsaBits is the size of RSA keys that are made: their tokens live for hours.
const rsaBits = 2048

// Generate makes a key that signs with alg, one of Algs. Its id is its RFC 7638
// thumbprint.
func Generate(alg string) (*Key, error) {
	var signer crypto.Signer
	var err error
	switch alg {
	case ES256:
		return NewES256()
	case EdDSA:
		_, signer, err = ed25519.GenerateKey(rand.Reader)
	case RS256, PS256:
		signer, err = rsa.GenerateKey(rand.Reader, rsaBits)
	default:
		return nil, fmt.Errorf("no keys are made for %.64q", alg)
	}
	if err != nil {
		return nil, fmt.Errorf("make a key for %s: %w", alg, err)
	}
	return NewKeyFor(signer, "", alg)
}

// ParseKeyFor reads what Marshal wrote (PKCS #8), of a key that signs with alg;
// "": as NewKey says.
func ParseKeyFor(der []byte, kid, alg string) (*Key, error) {
	k, err := ParseKey(der, kid)
	if err != nil || alg == "" || alg == k.alg {
		return k, err
	}
	return NewKeyFor(k.signer, kid, alg)
}

// NewKeyFor is NewKey for a certain algorithm. An RSA key signs with one of
// the two that it could sign with, for ever.
func NewKeyFor(signer crypto.Signer, kid, alg string) (*Key, error) {
	k, err := NewKey(signer, kid)
	switch {
	case err != nil:
		return nil, err
	case k.alg == RS256 && alg == PS256:
		k.alg = PS256
	case k.alg != alg:
		return nil, fmt.Errorf("a %T does not sign with %.64q", k.pub, alg)
	}
	return k, nil
}

// NewKey wraps a signer that the caller has (P-256 ECDSA: ES256, Ed25519:
// EdDSA, RSA of at least 2048 bits: RS256). kid "": the thumbprint.
func NewKey(signer crypto.Signer, kid string) (*Key, error) {
	if signer == nil {
		return nil, errors.New("no signing key given")
	}
	k := &Key{signer: signer, pub: signer.Public(), id: kid}
	for _, alg := range []string{ES256, EdDSA, RS256} {
		if suits(k.pub, alg) {
			k.alg = alg
		}
	}
	if k.alg == "" {
		return nil, fmt.Errorf("a %T cannot sign here: use P-256, Ed25519, or RSA of %d to %d bits", k.pub, minRSA, maxRSA)
	}
	if kid == "" {
		var err error
		if k.id, err = thumbprint(k.pub); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// ParseKey reads what Marshal wrote (PKCS #8).
func ParseKey(der []byte, kid string) (*Key, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("the signing key is no PKCS #8 private key")
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T cannot sign", parsed)
	}
	return NewKey(signer, kid)
}

// Marshal returns the private key as PKCS #8, to be sealed before it is stored.
// A key that another device holds (any other crypto.Signer) gives an error.
func (k *Key) Marshal() ([]byte, error) {
	switch k.signer.(type) {
	case *ecdsa.PrivateKey, ed25519.PrivateKey, *rsa.PrivateKey:
		return x509.MarshalPKCS8PrivateKey(k.signer)
	}
	return nil, fmt.Errorf("a %T does not give its private key away", k.signer)
}

// ID is the kid.
func (k *Key) ID() string { return k.id }

// Alg is the algorithm it signs with.
func (k *Key) Alg() string { return k.alg }

// buffers keeps what a token is put together in.
var buffers = sync.Pool{New: func() any { return new(scratch) }}

type scratch struct {
	payload bytes.Buffer
	token   []byte
}

// Sign makes a compact JWS of the JSON of claims with the header typ, alg, kid.
// Claims that are no JSON object, and tokens over MaxToken, give an error.
func (k *Key) Sign(typ string, claims any) (string, error) {
	header, err := k.header(typ)
	if err != nil {
		return "", err
	}
	return k.compact(header, claims)
}

// compact is a header, as header returns it, with claims and a signature.
func (k *Key) compact(header string, claims any) (string, error) {
	s := buffers.Get().(*scratch)
	defer buffers.Put(s)
	payload, err := s.encode(claims)
	if err != nil {
		return "", fmt.Errorf("claims: %w", err)
	}
	if len(payload) == 0 || payload[0] != '{' {
		return "", errors.New("claims are no JSON object")
	}
	s.token = append(s.token[:0], header...)
	s.token = base64.RawURLEncoding.AppendEncode(s.token, payload)
	signature, err := k.sign(s.token)
	if err != nil {
		return "", fmt.Errorf("sign with key %s: %w", k.id, err)
	}
	s.token = append(s.token, '.')
	s.token = base64.RawURLEncoding.AppendEncode(s.token, signature)
	if len(s.token) > MaxToken {
		return "", fmt.Errorf("a token of %d bytes is over the limit of %d", len(s.token), MaxToken)
	}
	return string(s.token), nil
}

// encode is the JSON of claims, until the scratch is used again.
func (s *scratch) encode(claims any) ([]byte, error) {
	s.payload.Reset()
	if c, ok := claims.(jsonobj.Appender); ok {
		b, err := c.AppendJSON(s.payload.AvailableBuffer())
		s.payload.Write(b) // which grows it, if there was too little room
		return b, err
	}
	enc := json.NewEncoder(&s.payload)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(claims); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(s.payload.Bytes(), []byte("\n")), nil
}

// header is the encoded protected header for typ, made once. Types are
// constants of the callers, so the cache stays small.
func (k *Key) header(typ string) (string, error) {
	if h, ok := k.headers.Load(typ); ok {
		return h.(string), nil
	}
	raw, err := json.Marshal(struct {
		Typ string `json:"typ,omitempty"`
		Alg string `json:"alg"`
		Kid string `json:"kid"`
	}{typ, k.alg, k.id})
	if err != nil {
		return "", fmt.Errorf("header: %w", err)
	}
	h := base64.RawURLEncoding.EncodeToString(raw) + "."
	k.headers.Store(typ, h)
	return h, nil
}

func (k *Key) sign(input []byte) ([]byte, error) {
	if k.alg == EdDSA {
		return k.signer.Sign(rand.Reader, input, crypto.Hash(0))
	}
	digest := sha256.Sum256(input)
	if k.alg == PS256 { // RFC 7518 section 3.5
		return k.signer.Sign(rand.Reader, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	}
	random := rand.Reader
	if _, ours := k.signer.(*ecdsa.PrivateKey); ours { // RFC 6979; another device's key draws as it does
		random = nil
	}
	signature, err := k.signer.Sign(random, digest[:], crypto.SHA256)
	if err != nil || k.alg != ES256 {
		return signature, err
	}
	return rawSignature(signature)
}

// thumbprint is the RFC 7638 thumbprint with SHA-256.
func thumbprint(pub crypto.PublicKey) (string, error) {
	k := gojose.JSONWebKey{Key: pub}
	sum, err := k.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("thumbprint: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}
