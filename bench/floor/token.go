package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// claims are as many as an access token of ours has.
type claims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	Client   string `json:"client_id"`
	Expires  int64  `json:"exp"`
	IssuedAt int64  `json:"iat"`
	ID       string `json:"jti"`
	Scope    string `json:"scope"`
	Grant    string `json:"gid"`
}

// answer is a token response.
type answer struct {
	Token   string `json:"access_token"`
	Type    string `json:"token_type"`
	Expires int    `json:"expires_in"`
	Refresh string `json:"refresh_token,omitempty"`
	Scope   string `json:"scope"`
}

var header = base64.RawURLEncoding.EncodeToString([]byte(`{"typ":"at+jwt","alg":"ES256","kid":"3q2-7wAAAAAAAAAAAAAAAA3q2-7wAAAAAAAAAAAAAAAA"}`)) + "."

// sign makes an ES256 JWT.
func sign(key *ecdsa.PrivateKey, v any) (string, error) {
	payload, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	token := base64.RawURLEncoding.AppendEncode([]byte(header), payload)
	digest := sha256.Sum256(token)
	der, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		return "", err
	}
	var raw [64]byte
	r := der[4 : 4+der[3]] // SEQUENCE, length, INTEGER, length, r, INTEGER, length, s
	fill(raw[:32], r)
	fill(raw[32:], der[4+len(r)+2:])
	return string(base64.RawURLEncoding.AppendEncode(append(token, '.'), raw[:])), nil
}

// fill writes a DER integer without its sign at the end of to.
func fill(to, integer []byte) {
	if len(integer) > len(to) {
		integer = integer[len(integer)-len(to):]
	}
	copy(to[len(to)-len(integer):], integer)
}

// integer appends a DER integer.
func integer(to, n []byte) []byte {
	for len(n) > 1 && n[0] == 0 {
		n = n[1:]
	}
	if n[0] >= 0x80 {
		return append(append(to, 2, byte(len(n)+1), 0), n...)
	}
	return append(append(to, 2, byte(len(n))), n...)
}

var errToken = errors.New("bad token")

// verify checks an ES256 JWT and reads its payload.
func verify(key *ecdsa.PublicKey, token string, v any) error {
	dot := strings.LastIndexByte(token, '.')
	first := strings.IndexByte(token, '.')
	if first < 0 || first == dot {
		return errToken
	}
	raw, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil || len(raw) != 64 {
		return errToken
	}
	der := integer(integer([]byte{0x30, 0}, raw[:32]), raw[32:])
	der[1] = byte(len(der) - 2)
	digest := sha256.Sum256([]byte(token[:dot]))
	if !ecdsa.VerifyASN1(key, digest[:], der) {
		return errToken
	}
	payload, err := base64.RawURLEncoding.DecodeString(token[first+1 : dot])
	if err != nil {
		return err
	}
	return json.Unmarshal(payload, v)
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func someClaims() claims {
	now := time.Now()
	return claims{"http://127.0.0.1:8080", "corp/alice", "http://127.0.0.1:8080/mcp", "desktop", now.Add(time.Hour).Unix(), now.Unix(),
		"BBBBBBBBBBBBBBBBBBBBBBBBBB", "use", "AAAAAAAAAAAAAAAAAAAAAA"}
}

func someAnswer(token string) answer { return answer{token, "Bearer", 900, "", "use"} }
