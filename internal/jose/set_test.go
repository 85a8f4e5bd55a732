package jose

import (
	"encoding/base64"
	"math/big"
	"strings"
	"testing"
)

// covers: X-JWT-02
func TestParseSetPassesOver(t *testing.T) {
	with := func(jwk, more string) string { return strings.TrimSuffix(jwk, "}") + "," + more + "}" }
	modulus := func(bits uint) string {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return base64.RawURLEncoding.EncodeToString(n.Add(n, big.NewInt(1)).Bytes())
	}
	for name, c := range map[string]struct {
		jwk  string
		want int
	}{
		"plain":                  {rfc7515Key, 1},
		"use sig":                {with(rfc7515Key, `"use":"sig"`), 1},
		"use enc":                {with(rfc7515Key, `"use":"enc"`), 0},
		"use of no string":       {with(rfc7515Key, `"use":["sig"]`), 0},
		"key_ops verify":         {with(rfc7515Key, `"key_ops":["verify"]`), 1},
		"key_ops encrypt":        {with(rfc7515Key, `"key_ops":["encrypt"]`), 0},
		"key_ops of no array":    {with(rfc7515Key, `"key_ops":"verify"`), 0},
		"alg that fits":          {with(rfc7515Key, `"alg":"ES256"`), 1},
		"alg of another curve":   {with(rfc7515Key, `"alg":"ES384"`), 0},
		"alg none":               {with(rfc7515Key, `"alg":"none"`), 0},
		"alg HS256":              {with(rfc7515Key, `"alg":"HS256"`), 0},
		"alg of encryption":      {with(rfc7515Key, `"alg":"ECDH-ES"`), 0},
		"kid of no string":       {with(rfc7515Key, `"kid":1`), 0},
		"repeated member":        {with(rfc7515Key, `"kty":"EC"`), 0},
		"private":                {with(rfc7515Key, `"d":"`+rfc7515D+`"`), 0},
		"broken certificate":     {with(rfc7515Key, `"x5c":["AAAA"]`), 1},
		"not on the curve":       {strings.Replace(rfc7515Key, "x_FE", "x_FF", 1), 0},
		"curve of another key":   {strings.Replace(rfc7515Key, "P-256", "P-384", 1), 0},
		"unknown curve":          {strings.Replace(rfc7515Key, "P-256", "secp256k1", 1), 0},
		"Ed25519":                {rfc8037Key, 1},
		"Ed25519 too short":      {`{"kty":"OKP","crv":"Ed25519","x":"11qY"}`, 0},
		"X25519":                 {strings.Replace(rfc8037Key, "Ed25519", "X25519", 1), 0},
		"symmetric":              {`{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`, 0},
		"unknown kty":            {`{"kty":"AKP","pub":"AAAA"}`, 0},
		"no object":              {`"x"`, 0},
		"RSA 2048":               {`{"kty":"RSA","e":"AQAB","n":"` + modulus(2048) + `"}`, 1},
		"RSA 2047":               {`{"kty":"RSA","e":"AQAB","n":"` + modulus(2047) + `"}`, 0},
		"RSA 1024":               {`{"kty":"RSA","e":"AQAB","n":"` + modulus(1024) + `"}`, 0},
		"RSA 16384":              {`{"kty":"RSA","e":"AQAB","n":"` + modulus(16384) + `"}`, 0},
		"RSA with exponent one":  {`{"kty":"RSA","e":"AQ","n":"` + modulus(2048) + `"}`, 0},
		"RSA with even exponent": {`{"kty":"RSA","e":"BA","n":"` + modulus(2048) + `"}`, 0},
	} {
		s, err := ParseSet([]byte(`{"keys":[` + c.jwk + `]}`))
		if err != nil || len(s.keys) != c.want {
			t.Errorf("%s: %+v, %v, want %d keys", name, s, err, c.want)
		}
	}
}

func TestParseSetRefuses(t *testing.T) {
	list := func(n int) string {
		return `{"keys":[` + strings.TrimSuffix(strings.Repeat(rfc8037Key+",", n), ",") + `]}`
	}
	for name, c := range map[string]struct {
		doc  string
		want bool
	}{
		"empty list":     {`{"keys":[]}`, true},
		"other members":  {`{"x":1,"keys":[]}`, true},
		"100 keys":       {list(100), true},
		"101 keys":       {list(101), false},
		"too long":       {`{"keys":[],"x":"` + strings.Repeat("x", maxSet) + `"}`, false},
		"no keys":        {`{}`, false},
		"keys null":      {`{"keys":null}`, false},
		"keys an object": {`{"keys":{}}`, false},
		"Keys":           {`{"Keys":[]}`, false},
		"keys twice":     {`{"keys":[],"keys":[]}`, false},
		"trailing":       {`{"keys":[]} x`, false},
		"an HTML page":   {`<html>`, false},
		"nothing":        {``, false},
	} {
		if _, err := ParseSet([]byte(c.doc)); (err == nil) != c.want {
			t.Errorf("%s: %v, want accepted: %v", name, err, c.want)
		}
	}
}
