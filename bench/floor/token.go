package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"
)

// answer is a token response; refresh may be "".
func answer(token []byte, refresh string) []byte {
	b := make([]byte, 0, len(token)+len(refresh)+128)
	b = append(append(append(b, `{"access_token":"`...), token...), `","token_type":"Bearer","expires_in":900`...)
	if refresh != "" {
		b = append(append(append(b, `,"refresh_token":"`...), refresh...), '"')
	}
	return append(b, `,"scope":"use"}`...)
}

// active is the answer of an introspection, of the size of ours.
func active(subject string) []byte {
	now := time.Now().Unix()
	b := make([]byte, 0, 384)
	b = append(append(append(b, `{"active":true,"scope":"use","client_id":"desktop","token_type":"Bearer","sub":"`...), subject...), `","exp":`...)
	b = append(strconv.AppendInt(b, now+3600, 10), `,"iat":`...)
	b = append(strconv.AppendInt(b, now, 10), `,"aud":"http://127.0.0.1:8080/mcp","iss":"http://127.0.0.1:8080"`...)
	return append(b, `,"jti":"BBBBBBBBBBBBBBBBBBBBBBBBBB"}`...)
}

var header = base64.RawURLEncoding.EncodeToString([]byte(`{"typ":"at+jwt","alg":"ES256","kid":"3q2-7wAAAAAAAAAAAAAAAA3q2-7wAAAAAAAAAAAAAAAA"}`)) + "."

// sign makes an ES256 JWT with as many claims as an access token of ours has.
func sign(key *ecdsa.PrivateKey) ([]byte, error) {
	now := time.Now().Unix()
	payload := make([]byte, 0, 320)
	payload = append(payload, `{"iss":"http://127.0.0.1:8080","sub":"corp/alice","aud":"http://127.0.0.1:8080/mcp","client_id":"desktop","exp":`...)
	payload = append(strconv.AppendInt(payload, now+3600, 10), `,"iat":`...)
	payload = strconv.AppendInt(payload, now, 10)
	payload = append(payload, `,"jti":"BBBBBBBBBBBBBBBBBBBBBBBBBB","scope":"use","gid":"AAAAAAAAAAAAAAAAAAAAAA"}`...)
	token := make([]byte, 0, 640)
	token = base64.RawURLEncoding.AppendEncode(append(token, header...), payload)
	digest := sha256.Sum256(token)
	der, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		return nil, err
	}
	var raw [64]byte
	r := der[4 : 4+der[3]] // SEQUENCE, length, INTEGER, length, r, INTEGER, length, s
	fill(raw[:32], r)
	fill(raw[32:], der[4+len(r)+2:])
	return base64.RawURLEncoding.AppendEncode(append(token, '.'), raw[:]), nil
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

// verify checks an ES256 JWT and returns one of its claims, a string without
// escapes.
func verify(key *ecdsa.PublicKey, token, claim string) (string, error) {
	dot := strings.LastIndexByte(token, '.')
	first := strings.IndexByte(token, '.')
	if first < 0 || first == dot {
		return "", errToken
	}
	var raw [66]byte
	if n, err := base64.RawURLEncoding.Decode(raw[:], []byte(token[dot+1:])); err != nil || n != 64 {
		return "", errToken
	}
	der := integer(integer(append(make([]byte, 0, 72), 0x30, 0), raw[:32]), raw[32:64])
	der[1] = byte(len(der) - 2)
	digest := sha256.Sum256([]byte(token[:dot]))
	if !ecdsa.VerifyASN1(key, digest[:], der) {
		return "", errToken
	}
	payload, err := base64.RawURLEncoding.DecodeString(token[first+1 : dot])
	if err != nil {
		return "", err
	}
	_, rest, found := bytes.Cut(payload, []byte(`"`+claim+`":"`))
	value, _, ended := bytes.Cut(rest, []byte(`"`))
	if !found || !ended {
		return "", errToken
	}
	return string(value), nil
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }
