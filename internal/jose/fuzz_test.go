package jose

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"unicode/utf8"

	gojose "github.com/go-jose/go-jose/v4"
)

// FuzzVerifyAgainstGoJose takes header, payload and what is done to the token,
// and asks: is what we accept accepted by go-jose with the same payload, and do
// we accept what go-jose made?
func FuzzVerifyAgainstGoJose(f *testing.F) {
	ec, ed := newP256(f, "ec"), newKey(f, ed25519.NewKeyFromSeed(make([]byte, 32)), "ed")
	keys := NewSet(ec, ed)
	f.Add(`{"alg":"ES256","kid":"ec"}`, `{"sub":"x"}`, 0, byte(0))
	f.Add(`{"alg":"EdDSA","kid":"ed","typ":"JWT"}`, `{}`, 3, byte(1))
	f.Add(`{"alg":"ES256","kid":"ec","jwk":{}}`, `{"a":1,"a":2}`, 0, byte(0))
	f.Add(`{"alg":"none"}`, `[]`, 0, byte(0))
	f.Add(`{"alg":"ES256","crit":["b64"],"b64":false}`, `{}`, 40, byte('\n'))
	algs := []gojose.SignatureAlgorithm{gojose.ES256, gojose.EdDSA}
	f.Fuzz(func(t *testing.T, header, payload string, at int, flip byte) {
		for _, k := range []*Key{ec, ed} {
			token := []byte(forge(t, k, header, payload))
			if flip != 0 && at >= 0 {
				token[at%len(token)] ^= flip
			}
			v, err := Verify(string(token), keys, []string{ES256, EdDSA}, nil)
			if err != nil {
				continue
			}
			jws, err := gojose.ParseSignedCompact(string(token), algs)
			if err != nil {
				// It also reads the key and the certificates in a header, which
				// we pass over unread.
				if _, ours, _ := Peek(string(token)); ours != nil && hasKeyMember(header) {
					continue
				}
				t.Fatalf("accepted, but go-jose does not parse it: %v\n%s", err, token)
			}
			pub := ec.pub
			if v.Header().Alg == EdDSA {
				pub = ed.pub
			}
			body, err := jws.Verify(pub)
			if err != nil {
				t.Fatalf("accepted, but go-jose does not verify it: %v\n%s", err, token)
			}
			same, err := object(body)
			if err != nil || len(same) != len(v.Claims()) {
				t.Fatalf("go-jose reads another payload: %s", body)
			}
			for name, raw := range v.Claims() {
				if !bytes.Equal(raw, same[name]) {
					t.Fatalf("claim %q differs: %s and %s", name, raw, same[name])
				}
			}
		}
		roundTrip(t, ec, gojose.ES256, payload)
		roundTrip(t, ed, gojose.EdDSA, payload)
	})
}

func hasKeyMember(header string) bool {
	m, err := object([]byte(header))
	return err == nil && len(m) > 0 && (m["jwk"] != nil || m["x5c"] != nil || m["x5u"] != nil || m["nonce"] != nil)
}

// roundTrip: a well-formed token of go-jose passes here.
func roundTrip(t *testing.T, k *Key, alg gojose.SignatureAlgorithm, payload string) {
	if _, err := object([]byte(payload)); err != nil {
		return
	}
	signer, err := gojose.NewSigner(gojose.SigningKey{Algorithm: alg, Key: k.signer},
		(&gojose.SignerOptions{}).WithType("at+jwt").WithHeader("kid", k.id))
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	if len(token) > MaxToken {
		return
	}
	if _, err := Verify(token, NewSet(k), []string{string(alg)}, []string{"at+jwt"}); err != nil {
		t.Fatalf("a token of go-jose is refused: %v\n%s", err, token)
	}
	if _, err := Verify(token, NewSet(newP256(t, k.id)), []string{string(alg)}, nil); err == nil {
		t.Fatal("a token passes with another key")
	}
}

// FuzzPeek: no input panics, and what is read is what encoding/json reads.
func FuzzPeek(f *testing.F) {
	f.Add(rfc7515Token)
	f.Add("..")
	f.Add(b64(`{"alg":"x"}`) + "." + b64(` {"a" : [1,{"b":"}\""}] , "c":-1e3,"d":null } `) + ".")
	f.Add(b64(`{"alg":"ES256","typ":"Application/JWT"}`) + "." + b64(`{"\u0061":"\\","b":tru`) + ".AA")
	f.Fuzz(func(t *testing.T, token string) {
		_, c, err := Peek(token)
		if err != nil {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(decode(t, strings.Split(token, ".")[1]), &want); err != nil {
			t.Fatalf("taken, but no JSON object: %v", err)
		}
		if len(want) != len(c) {
			t.Fatalf("%d members, want %d", len(c), len(want))
		}
		for name, raw := range want {
			if !bytes.Equal(c[name], raw) {
				t.Fatalf("member %q: %s, want %s", name, c[name], raw)
			}
		}
		for name := range c {
			_, _ = c.Text(name)
			_, _ = c.Texts(name)
			_, _ = c.Time(name)
		}
	})
}

// FuzzParseSet: what was read of a key set, written again and read again, has the
// same keys, and each of them is public.
func FuzzParseSet(f *testing.F) {
	k := newP256(f, "k1")
	own, err := json.Marshal(NewSet(k))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(own)
	for _, s := range []string{"", "null", "[]", `{"keys":null}`, `{"keys":[{}]}`, `{"keys":[{"kty":"oct","k":"AAAA"}]}`, `{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`,
		`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`, `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","use":"enc"}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := ParseSet(data)
		if err != nil {
			return
		}
		written, err := json.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(written, []byte(`"d":`)) || bytes.Contains(written, []byte(`"k":`)) {
			t.Fatalf("a secret in %s", written)
		}
		again, err := ParseSet(written)
		if len(set.IDs()) == 0 {
			return
		}
		if err != nil || strings.Join(again.IDs(), " ") != strings.Join(set.IDs(), " ") {
			t.Fatalf("%v read again: %v", set.IDs(), err)
		}
	})
}

// An object is read where encoding/json sees one in UTF-8 without a member twice,
// and every member is the same.
func FuzzObject(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":null}`, ` { "a" : 1 , "b":[1,-2.5e-3,{"c":null}],"d":"x\u00e9\n","e":true,"f":false}` + "\n", `{"a":}`, `{"a":01}`, `{"a":-}`, `{"a":1.}`,
		`{"a":1e}`, `{"a":"\u12g4"}`, `{"a":"` + "\x01" + `"}`, `{"a":1,}`, `{,}`, `{"a":[1,]}`, `{"a":{"b"}}`, `{"a" "b"}`, `{"a":1}x`, `[1]`, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`,
		`{"a":tru}`, `{"a":nulll}`, `{"a":"\ud800"}`, `{"a":1 2}`, `{"a":"b`, `{"a":"b\`, `{"a`, `{`, ``, ` `, "{\"\x00\":1}", "{\"a\":0\x00}", "{\"a\":\"\xff\"}",
		`{"a":` + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1) + `}`, `{"a":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := object(data)
		var want map[string]json.RawMessage
		wantErr := json.Unmarshal(data, &want)
		if err != nil {
			if wantErr == nil && want != nil && utf8.Valid(data) && !strings.Contains(err.Error(), "twice") {
				t.Errorf("%q: %v", data, err)
			}
			return
		}
		if wantErr != nil || !utf8.Valid(data) || !maps.EqualFunc(got, want, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
			t.Errorf("%q: %s, want %s (%v)", data, got, want, wantErr)
		}
	})
}
