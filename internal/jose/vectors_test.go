package jose

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"strings"
	"testing"
)

// RFC 7515 appendix A.3.
const (
	rfc7515Key   = `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`
	rfc7515D     = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"
	rfc7515Token = "eyJhbGciOiJFUzI1NiJ9" +
		".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ" +
		".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
)

// RFC 8037 appendix A.
const (
	rfc8037Key   = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	rfc8037D     = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
	rfc8037Print = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
	rfc8037Input = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
	rfc8037Sig   = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)

// RFC 7638 section 3.1.
const (
	rfc7638Key = `{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256"}`
	rfc7638Id  = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
)

func setOf(t testing.TB, jwks ...string) *Set {
	t.Helper()
	s, err := ParseSet([]byte(`{"keys":[` + strings.Join(jwks, ",") + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.keys) != len(jwks) {
		t.Fatalf("%d of %d keys were taken", len(s.keys), len(jwks))
	}
	return s
}

func decode(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectorES256(t *testing.T) {
	v, err := Verify(rfc7515Token, setOf(t, rfc7515Key), []string{ES256}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if iss, _ := v.Claims().Text("iss"); iss != "joe" {
		t.Errorf("iss = %q, want joe", iss)
	}
	priv, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), decode(t, rfc7515D))
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewKey(priv, "")
	if err != nil {
		t.Fatal(err)
	}
	token, err := k.Sign("JWT", map[string]string{"iss": "joe"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(token, setOf(t, rfc7515Key), []string{ES256}, []string{"jwt"}); err != nil {
		t.Errorf("our own token with the RFC's key: %v", err)
	}
}

// RFC 6979 appendix A.2.5, with SHA-256: what is signed says how, so no state of
// a random generator can give the key away.
func TestVectorDeterministic(t *testing.T) {
	priv, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), unhex(t, "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewKey(priv, "")
	if err != nil {
		t.Fatal(err)
	}
	for input, want := range map[string]string{
		"sample": "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716" + "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
		"test":   "F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367" + "019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083",
	} {
		got, err := k.sign([]byte(input))
		if err != nil || !bytes.Equal(got, unhex(t, want)) {
			t.Errorf("%s: %X %v", input, got, err)
		}
	}
}

// A key that another device holds signs with randomness, as its interface asks.
func TestDeviceDraws(t *testing.T) {
	d := &device{Signer: newPrivate(t)}
	k, err := NewKey(d, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.sign([]byte("sample")); err != nil || d.random == nil {
		t.Errorf("random: %v; %v", d.random, err)
	}
}

type device struct {
	crypto.Signer
	random io.Reader
}

func (d *device) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	d.random = random
	return d.Signer.Sign(random, digest, opts)
}

func newPrivate(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return priv
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectorEdDSA(t *testing.T) {
	k, err := NewKey(ed25519.NewKeyFromSeed(decode(t, rfc8037D)), "")
	if err != nil {
		t.Fatal(err)
	}
	if k.ID() != rfc8037Print {
		t.Errorf("thumbprint %s, want %s", k.ID(), rfc8037Print)
	}
	sig, err := k.sign([]byte(rfc8037Input))
	if err != nil || base64.RawURLEncoding.EncodeToString(sig) != rfc8037Sig {
		t.Errorf("signature %x (%v), want the RFC's", sig, err)
	}
	key := setOf(t, rfc8037Key).keys[0]
	p := parsed{header: Header{Alg: EdDSA}, input: rfc8037Input, signature: decode(t, rfc8037Sig)}
	if !verifies(key, p, "") {
		t.Error("the RFC's signature does not verify")
	}
	p.signature[0] ^= 1
	if verifies(key, p, "") {
		t.Error("a changed signature verifies")
	}
	// The RFC's payload is no JSON object, so as a JWT the token is refused.
	if _, err := Verify(rfc8037Input+"."+rfc8037Sig, setOf(t, rfc8037Key), []string{EdDSA}, nil); err == nil {
		t.Error("a payload that is no JSON object passed")
	}
}

func TestVectorThumbprint(t *testing.T) {
	if got := setOf(t, rfc7638Key).IDs(); len(got) != 1 || got[0] != rfc7638Id {
		t.Errorf("thumbprint %v, want %s", got, rfc7638Id)
	}
}

func TestSetRoundTrip(t *testing.T) {
	k, err := NewES256()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(NewSet(k))
	if err != nil {
		t.Fatal(err)
	}
	var out struct{ Keys []map[string]string }
	if err := json.Unmarshal(doc, &out); err != nil {
		t.Fatal(err)
	}
	m := out.Keys[0]
	if m["kid"] != k.ID() || m["alg"] != ES256 || m["use"] != "sig" || m["d"] != "" || len(m) != 7 {
		t.Errorf("published key: %v", m)
	}
	if empty, err := json.Marshal(&Set{}); err != nil || string(empty) != `{"keys":[]}` {
		t.Errorf("empty set: %s, %v", empty, err)
	}
	der, err := k.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	same, err := ParseKey(der, "")
	if err != nil || same.ID() != k.ID() {
		t.Errorf("read back: %v", err)
	}
	token, err := same.Sign("at+jwt", map[string]int{"exp": 1})
	if err != nil {
		t.Fatal(err)
	}
	parsedSet, err := ParseSet(doc)
	if err != nil {
		t.Fatal(err)
	}
	v, err := Verify(token, (&Set{}).Merge(parsedSet), []string{ES256}, []string{"AT+JWT"})
	if err != nil {
		t.Fatal(err)
	}
	if h := v.Header(); h.Kid != k.ID() || h.Typ != "at+jwt" || h.Alg != ES256 {
		t.Errorf("header %+v", h)
	}
}
