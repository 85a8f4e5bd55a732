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
	"time"
)

// answer puts a token response with a new token into the scratch; refresh may be "".
func (s *scratch) answer(key *ecdsa.PrivateKey, refresh string) error {
	b, err := sign(append(s.out[:0], `{"access_token":"`...), key)
	b = append(b, `","token_type":"Bearer","expires_in":900`...)
	if refresh != "" {
		b = append(append(append(b, `,"refresh_token":"`...), refresh...), '"')
	}
	s.out = append(b, `,"scope":"use"}`...)
	return err
}

// active puts the answer of an introspection there, of the size of ours.
func (s *scratch) active(subject []byte) {
	now := time.Now().Unix()
	b := s.out[:0]
	b = append(append(append(b, `{"active":true,"scope":"use","client_id":"desktop","token_type":"Bearer","sub":"`...), subject...), `","exp":`...)
	b = append(strconv.AppendInt(b, now+3600, 10), `,"iat":`...)
	b = append(strconv.AppendInt(b, now, 10), `,"aud":"http://127.0.0.1:8080/mcp","iss":"http://127.0.0.1:8080"`...)
	s.out = append(b, `,"jti":"BBBBBBBBBBBBBBBBBBBBBBBBBB"}`...)
}

var header = base64.RawURLEncoding.EncodeToString([]byte(`{"typ":"at+jwt","alg":"ES256","kid":"3q2-7wAAAAAAAAAAAAAAAA3q2-7wAAAAAAAAAAAAAAAA"}`)) + "."

// sign appends an ES256 JWT with as many claims as an access token of ours has.
func sign(to []byte, key *ecdsa.PrivateKey) ([]byte, error) {
	now := time.Now().Unix()
	var room [320]byte
	payload := append(room[:0], `{"iss":"http://127.0.0.1:8080","sub":"corp/alice","aud":"http://127.0.0.1:8080/mcp","client_id":"desktop","exp":`...)
	payload = append(strconv.AppendInt(payload, now+3600, 10), `,"iat":`...)
	payload = strconv.AppendInt(payload, now, 10)
	payload = append(payload, `,"jti":"BBBBBBBBBBBBBBBBBBBBBBBBBB","scope":"use","gid":"AAAAAAAAAAAAAAAAAAAAAA"}`...)
	start := len(to)
	to = base64.RawURLEncoding.AppendEncode(append(to, header...), payload)
	digest := sha256.Sum256(to[start:])
	der, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		return to, err
	}
	var raw [64]byte
	r := der[4 : 4+der[3]] // SEQUENCE, length, INTEGER, length, r, INTEGER, length, s
	fill(raw[:32], r)
	fill(raw[32:], der[4+len(r)+2:])
	return base64.RawURLEncoding.AppendEncode(append(to, '.'), raw[:]), nil
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
// escapes, until the scratch is used again. start is how the claim begins.
func (s *scratch) verify(key *ecdsa.PublicKey, text, start string) ([]byte, error) {
	s.token = append(s.token[:0], text...)
	token := s.token
	dot := bytes.LastIndexByte(token, '.')
	first := bytes.IndexByte(token, '.')
	if first < 0 || first == dot || len(token)-dot > 90 {
		return nil, errToken
	}
	var raw [66]byte
	if n, err := base64.RawURLEncoding.Decode(raw[:], token[dot+1:]); err != nil || n != 64 {
		return nil, errToken
	}
	var room [72]byte
	der := integer(integer(append(room[:0], 0x30, 0), raw[:32]), raw[32:64])
	der[1] = byte(len(der) - 2)
	digest := sha256.Sum256(token[:dot])
	if !ecdsa.VerifyASN1(key, digest[:], der) {
		return nil, errToken
	}
	var err error
	if s.payload, err = base64.RawURLEncoding.AppendDecode(s.payload[:0], token[first+1:dot]); err != nil {
		return nil, err
	}
	at := bytes.Index(s.payload, []byte(start))
	if at < 0 {
		return nil, errToken
	}
	value, _, ended := bytes.Cut(s.payload[at+len(start):], []byte(`"`))
	if !ended {
		return nil, errToken
	}
	return value, nil
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }
