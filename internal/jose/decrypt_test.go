package jose

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	gojose "github.com/go-jose/go-jose/v4"
)

// decrypters is a key for each algorithm, made once.
var decrypters = sync.OnceValue(func() []*Decrypter {
	var keys []*Decrypter
	for _, alg := range EncryptionAlgs() {
		d, err := NewDecrypter(alg)
		if err != nil {
			panic(err)
		}
		keys = append(keys, d)
	}
	return keys
})

// encrypted encrypts a text as another maker's issuer does.
func encrypted(t testing.TB, text string, alg gojose.KeyAlgorithm, enc gojose.ContentEncryption, key any, opts *gojose.EncrypterOptions) string {
	t.Helper()
	e, err := gojose.NewEncrypter(enc, gojose.Recipient{Algorithm: alg, Key: key}, opts)
	if err != nil {
		t.Fatal(err)
	}
	jwe, err := e.Encrypt([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s, err := jwe.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// reheaded is a token with a changed header; what authenticates it no longer fits.
func reheaded(t testing.TB, token string, change func(h map[string]any)) string {
	t.Helper()
	head, rest, _ := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		t.Fatal(err)
	}
	h := map[string]any{}
	if err := json.Unmarshal(raw, &h); err != nil {
		t.Fatal(err)
	}
	change(h)
	if raw, err = json.Marshal(h); err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(raw) + "." + rest
}

// What is published is all that an issuer needs, and tells nothing else.
func TestDocumentIsWhatIssuersEncryptTo(t *testing.T) {
	signer, err := NewES256()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := Document(NewSet(signer), decrypters())
	if err != nil {
		t.Fatal(err)
	}
	var set gojose.JSONWebKeySet
	if err := json.Unmarshal(doc, &set); err != nil || len(set.Keys) != 3 {
		t.Fatalf("%s: %v", doc, err)
	}
	for _, k := range set.Keys[1:] {
		if k.Use != "enc" || !k.IsPublic() || !k.Valid() {
			t.Errorf("%+v", k)
		}
		for _, enc := range contents {
			for _, name := range []string{k.KeyID, ""} {
				k := k
				k.KeyID = name
				token := encrypted(t, "inner", gojose.KeyAlgorithm(k.Algorithm), enc, k, nil)
				if got, err := Decrypt(token, decrypters()); err != nil || got != "inner" || !IsEncrypted(token) {
					t.Errorf("%s %s kid %q: %q, %v", k.Algorithm, enc, name, got, err)
				}
			}
		}
	}
	if got, err := Decrypt(encrypted(t, "inner", gojose.ECDH_ES, gojose.A256GCM, set.Keys[1], nil), decrypters()); err != nil || got != "inner" {
		t.Errorf("ECDH-ES: %q, %v", got, err)
	}
	// Whoever checks signatures with the document passes over them.
	read, err := ParseSet(doc)
	if err != nil || len(read.IDs()) != 1 || read.IDs()[0] != signer.ID() {
		t.Errorf("for signatures: %v, %v", read.IDs(), err)
	}
}

func TestDecrypterIsKept(t *testing.T) {
	for _, d := range decrypters() {
		der, err := d.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseDecrypter(der)
		if err != nil || again.id != d.id || again.alg != d.alg {
			t.Errorf("%s: %+v, %v", d.alg, again, err)
		}
	}
	for _, der := range []string{"", "x"} {
		if _, err := ParseDecrypter([]byte(der)); err == nil {
			t.Errorf("%q is a key", der)
		}
	}
	if _, err := NewDecrypter("RSA1_5"); err == nil {
		t.Error("a key for RSA1_5")
	}
}

// covers: AS-JAG-27
func TestDecryptRefuses(t *testing.T) {
	ec, rsaKey := decrypters()[0], decrypters()[1]
	ecPub, rsaPub := ec.public.(*ecdsa.PublicKey), rsaKey.public.(*rsa.PublicKey)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := encrypted(t, "inner", gojose.ECDH_ES_A256KW, gojose.A256GCM, gojose.JSONWebKey{Key: ecPub, KeyID: ec.id}, nil)
	if _, err := Decrypt(good, decrypters()); err != nil {
		t.Fatal(err)
	}
	coordinates := func(x, y string) map[string]any {
		return map[string]any{"kty": "EC", "crv": "P-256", "x": x, "y": y}
	}
	one := base64.RawURLEncoding.EncodeToString(append(make([]byte, 31), 1))
	for name, token := range map[string]string{
		"dir":                  encrypted(t, "inner", gojose.DIRECT, gojose.A256GCM, make([]byte, 32), nil),
		"symmetric wrap":       encrypted(t, "inner", gojose.A256KW, gojose.A256GCM, make([]byte, 32), nil),
		"password":             encrypted(t, "inner", gojose.PBES2_HS256_A128KW, gojose.A256GCM, []byte("password"), nil),
		"RSA1_5":               encrypted(t, "inner", gojose.RSA1_5, gojose.A256GCM, rsaPub, nil),
		"RSA-OAEP with SHA-1":  encrypted(t, "inner", gojose.RSA_OAEP, gojose.A256GCM, rsaPub, nil),
		"A192GCM":              encrypted(t, "inner", gojose.RSA_OAEP_256, gojose.A192GCM, rsaPub, nil),
		"ECDH-ES+A128KW":       encrypted(t, "inner", gojose.ECDH_ES_A128KW, gojose.A256GCM, ecPub, nil),
		"another key":          encrypted(t, "inner", gojose.ECDH_ES, gojose.A256GCM, &other.PublicKey, nil),
		"another curve":        encrypted(t, "inner", gojose.ECDH_ES, gojose.A256GCM, &p384.PublicKey, nil),
		"kid of another":       encrypted(t, "inner", gojose.ECDH_ES, gojose.A256GCM, gojose.JSONWebKey{Key: ecPub, KeyID: "who"}, nil),
		"kid of the RSA key":   encrypted(t, "inner", gojose.ECDH_ES, gojose.A256GCM, gojose.JSONWebKey{Key: ecPub, KeyID: rsaKey.id}, nil),
		"compressed":           encrypted(t, strings.Repeat("x", 100), gojose.ECDH_ES, gojose.A256GCM, ecPub, &gojose.EncrypterOptions{Compression: gojose.DEFLATE}),
		"crit":                 reheaded(t, good, func(h map[string]any) { h["crit"] = []string{"exp"}; h["exp"] = 1 }),
		"no alg":               reheaded(t, good, func(h map[string]any) { delete(h, "alg") }),
		"alg null":             reheaded(t, good, func(h map[string]any) { h["alg"] = nil }),
		"alg none":             reheaded(t, good, func(h map[string]any) { h["alg"] = "none" }),
		"alg of the other key": reheaded(t, good, func(h map[string]any) { h["alg"] = RSAOAEP256; delete(h, "kid") }),
		"no enc":               reheaded(t, good, func(h map[string]any) { delete(h, "enc") }),
		"no epk":               reheaded(t, good, func(h map[string]any) { delete(h, "epk") }),
		"epk of nothing":       reheaded(t, good, func(h map[string]any) { h["epk"] = map[string]any{} }),
		"epk off the curve":    reheaded(t, good, func(h map[string]any) { h["epk"] = coordinates(one, one) }),
		"epk of P-384": reheaded(t, good, func(h map[string]any) {
			h["epk"] = gojose.JSONWebKey{Key: &p384.PublicKey}
		}),
		"another header": reheaded(t, good, func(h map[string]any) { h["cty"] = "JWT" }),
		"too long":       good + strings.Repeat("A", MaxEncrypted),
		"four segments":  good[:strings.LastIndexByte(good, '.')],
		"six segments":   good + ".AA",
		"white space":    good[:40] + "\n" + good[40:],
		"padded":         good + "==",
		"empty":          "",
		"only dots":      "....",
	} {
		if got, err := Decrypt(token, decrypters()); err == nil {
			t.Errorf("%s: %q", name, got)
		} else if strings.Contains(err.Error(), "inner") {
			t.Errorf("%s: the error tells: %v", name, err)
		}
	}
	if _, err := Decrypt(good, nil); err == nil {
		t.Error("without keys")
	}
	// Each segment is authenticated.
	segments := strings.Split(good, ".")
	for i, s := range segments {
		if i == 0 {
			continue // a changed header is in the table
		}
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		b[0] ^= 1
		changed := append([]string{}, segments...)
		changed[i] = base64.RawURLEncoding.EncodeToString(b)
		if _, err := Decrypt(strings.Join(changed, "."), decrypters()); err == nil {
			t.Errorf("segment %d changed", i)
		}
		changed[i] = ""
		if _, err := Decrypt(strings.Join(changed, "."), decrypters()); err == nil {
			t.Errorf("segment %d empty", i)
		}
	}
	twice := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":%q,"alg":"dir","enc":"A256GCM"}`, ECDHES))
	if _, err := Decrypt(twice+good[strings.IndexByte(good, '.'):], decrypters()); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("a member twice: %v", err)
	}
}

// Whatever comes, nothing decrypts but what was encrypted to the key.
func FuzzDecrypt(f *testing.F) {
	keys := decrypters()[:1]
	good := encrypted(f, "inner", gojose.ECDH_ES_A256KW, gojose.A128CBC_HS256, gojose.JSONWebKey{Key: keys[0].public, KeyID: keys[0].id}, nil)
	f.Add(good)
	f.Add(encrypted(f, "", gojose.ECDH_ES, gojose.A256GCM, keys[0].public, nil))
	f.Add("....")
	f.Add("eyJhbGciOiJFQ0RILUVTIiwiZW5jIjoiQTI1NkdDTSIsImVwayI6e319..AA.AA.AA")
	f.Fuzz(func(t *testing.T, token string) {
		got, err := Decrypt(token, keys)
		if err == nil && token != good && got != "" {
			t.Errorf("%q decrypts to %q", token, got)
		}
	})
}
