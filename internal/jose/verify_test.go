package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	gojose "github.com/go-jose/go-jose/v4"
)

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// forge signs exactly this header and payload with k.
func forge(t testing.TB, k *Key, header, payload string) string {
	t.Helper()
	input := b64(header) + "." + b64(payload)
	sig, err := k.sign([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + b64(string(sig))
}

func newKey(t testing.TB, signer crypto.Signer, kid string) *Key {
	t.Helper()
	k, err := NewKey(signer, kid)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newP256(t testing.TB, kid string) *Key {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return newKey(t, priv, kid)
}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func header(alg, kid, more string) string {
	return fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"at+jwt"%s}`, alg, kid, more)
}

// covers: X-JWT-06
func TestVerifyForm(t *testing.T) {
	k := newP256(t, "a")
	keys := NewSet(k)
	good := header(ES256, "a", "")
	ok := forge(t, k, good, `{"sub":"x"}`)
	// The last digit of 64 bytes in base64url carries 4 bits that must be zero.
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	loose := ok[:len(ok)-1] + string(digits[strings.IndexByte(digits, ok[len(ok)-1])|1])
	part := strings.Split(ok, ".")
	for name, c := range map[string]struct {
		token string
		want  bool
	}{
		"good":                           {ok, true},
		"unknown header member":          {forge(t, k, header(ES256, "a", `,"x":1`), `{}`), true},
		"empty":                          {"", false},
		"two segments":                   {part[0] + "." + part[1], false},
		"four segments":                  {ok + ".AA", false},
		"no signature":                   {part[0] + "." + part[1] + ".", false},
		"padding":                        {ok + "==", false},
		"trailing line break":            {ok + "\n", false},
		"line break in the payload":      {part[0] + "." + part[1][:4] + "\r\n" + part[1][4:] + "." + part[2], false},
		"space":                          {" " + ok, false},
		"bits after the last byte":       {loose, false},
		"standard alphabet":              {part[0] + "." + part[1] + "." + strings.Repeat("+/", 43), false},
		"crit":                           {forge(t, k, header(ES256, "a", `,"crit":["exp"],"exp":1`), `{}`), false},
		"crit empty":                     {forge(t, k, header(ES256, "a", `,"crit":[]`), `{}`), false},
		"b64":                            {forge(t, k, header(ES256, "a", `,"b64":true`), `{}`), false},
		"payload array":                  {forge(t, k, good, `[{}]`), false},
		"payload string":                 {forge(t, k, good, `"x"`), false},
		"payload null":                   {forge(t, k, good, `null`), false},
		"payload empty":                  {forge(t, k, good, ``), false},
		"payload two objects":            {forge(t, k, good, `{}{}`), false},
		"payload trailing text":          {forge(t, k, good, `{} x`), false},
		"payload repeated member":        {forge(t, k, good, `{"sub":"a","sub":"b"}`), false},
		"payload repeated, escaped name": {forge(t, k, good, `{"sub":"a","s\u0075b":"b"}`), false},
		"payload other case is another":  {forge(t, k, good, `{"sub":"a","SUB":"b"}`), true},
		"payload no UTF-8":               {forge(t, k, good, "{\"sub\":\"\xff\"}"), false},
		"payload deep":                   {forge(t, k, good, `{"a":`+strings.Repeat("[", 11000)+strings.Repeat("]", 11000)+`}`), false},
		"header repeated member":         {forge(t, k, header(ES256, "a", `,"alg":"ES256"`), `{}`), false},
		"header trailing text":           {forge(t, k, good+"{}", `{}`), false},
		"header array":                   {forge(t, k, "["+good+"]", `{}`), false},
		"alg a number":                   {forge(t, k, `{"alg":1,"kid":"a","typ":"at+jwt"}`, `{}`), false},
		"alg in another case":            {forge(t, k, `{"Alg":"ES256","kid":"a","typ":"at+jwt"}`, `{}`), false},
		"kid a number":                   {forge(t, k, `{"alg":"ES256","kid":1,"typ":"at+jwt"}`, `{}`), false},
		"at the limit of size":           {forge(t, k, good, `{"a":"`+strings.Repeat("x", 12000)+`"}`), true},
		"over the limit of size":         {forge(t, k, good, `{"a":"`+strings.Repeat("x", 12200)+`"}`), false},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Verify(c.token, keys, []string{ES256}, []string{"at+jwt"}); (err == nil) != c.want {
				t.Errorf("err = %v, want accepted: %v", err, c.want)
			}
		})
	}
}

// covers: X-JWT-04
func TestVerifyType(t *testing.T) {
	k := newP256(t, "a")
	for _, c := range []struct {
		typ   string
		types []string
		want  bool
	}{
		{"at+jwt", []string{"at+jwt"}, true},
		{"AT+JWT", []string{"at+jwt"}, true},
		{"application/at+jwt", []string{"at+jwt"}, true},
		{"Application/AT+jwt", []string{"application/at+jwt"}, true},
		{"dpop+jwt", []string{"at+jwt"}, false},
		{"oauth-id-jag+jwt", []string{"at+jwt", "jwt"}, false},
		{"application/application/at+jwt", []string{"at+jwt"}, false},
		{"application/", []string{""}, false},
		{"x/at+jwt", []string{"at+jwt"}, false},
		{"at+jwt ", []string{"at+jwt"}, false},
		{"o\u212a+jwt", []string{"ok+jwt"}, false},
		{"", []string{"at+jwt"}, false},
		{"", []string{"jwt", ""}, true},
		{"anything", nil, true},
		{"anything", []string{}, false},
	} {
		typ, _ := json.Marshal(c.typ)
		h := `{"alg":"ES256","kid":"a","typ":` + string(typ) + `}`
		if c.typ == "" {
			h = `{"alg":"ES256","kid":"a"}`
		}
		if _, err := Verify(forge(t, k, h, `{}`), NewSet(k), []string{ES256}, c.types); (err == nil) != c.want {
			t.Errorf("typ %q for %q: %v, want accepted: %v", c.typ, c.types, err, c.want)
		}
	}
}

// covers: X-JWT-01, X-JWT-02, SEC-18
func TestAlgorithmConfusion(t *testing.T) {
	ec, other := newP256(t, "ec"), newKey(t, rsaKey(), "rsa")
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := NewSet(ec, other).Merge(&Set{keys: []publicKey{
		{id: "p384", pub: &p384.PublicKey},
		{id: "only-ps", alg: PS256, pub: rsaKey().Public()},
	}})
	input := func(alg, kid string) string { return b64(header(alg, kid, "")) + "." + b64(`{"sub":"x"}`) }
	spki, err := x509.MarshalPKIXPublicKey(ec.pub)
	if err != nil {
		t.Fatal(err)
	}
	mac := func(kid string, secret []byte) string {
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(input("HS256", kid)))
		return input("HS256", kid) + "." + b64(string(m.Sum(nil)))
	}
	digest := sha256.Sum256([]byte(input(ES256, "p384")))
	r, s, err := ecdsa.Sign(rand.Reader, p384, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	long := r.FillBytes(make([]byte, 48))
	long = append(long, s.FillBytes(make([]byte, 48))...)
	good := forge(t, ec, header(ES256, "ec", ""), `{"sub":"x"}`)
	raw := decode(t, good[strings.LastIndexByte(good, '.')+1:])
	with := func(sig []byte) string { return input(ES256, "ec") + "." + b64(string(sig)) }
	zero := make([]byte, 32)
	order := elliptic.P256().Params().N.Bytes()
	all := []string{ES256, "ES384", EdDSA, RS256, PS256, "none", "None", "NONE", "nOnE", "", "HS256"}
	for name, c := range map[string]struct {
		token string
		algs  []string
		want  bool
	}{
		"good ES256":                {good, []string{ES256}, true},
		"good RS256":                {forge(t, other, header(RS256, "rsa", ""), `{}`), []string{RS256}, true},
		"not in the list":           {good, []string{RS256, EdDSA}, false},
		"empty list":                {good, nil, false},
		"list in another case":      {good, []string{"es256"}, false},
		"none, no signature":        {input("none", "ec") + ".", all, false},
		"none, a signature":         {forge(t, ec, header("none", "ec", ""), `{}`), all, false},
		"None":                      {input("None", "ec") + ".", all, false},
		"NONE":                      {input("NONE", "ec") + ".", all, false},
		"nOnE":                      {input("nOnE", "ec") + ".", all, false},
		"empty alg":                 {input("", "ec") + ".", all, false},
		"es256 in lower case":       {forge(t, ec, header("es256", "ec", ""), `{}`), append(all, "es256"), false},
		"HS256 with the SPKI":       {mac("ec", spki), all, false},
		"HS256 with the modulus":    {mac("rsa", rsaKey().N.Bytes()), all, false},
		"RSA key, ES256 header":     {forge(t, other, header(ES256, "rsa", ""), `{}`), all, false},
		"EC key, RS256 header":      {forge(t, ec, header(RS256, "ec", ""), `{}`), all, false},
		"EC key, EdDSA header":      {forge(t, ec, header(EdDSA, "ec", ""), `{}`), all, false},
		"P-384 key, ES256 header":   {input(ES256, "p384") + "." + b64(string(long)), all, false},
		"RS256 with a key for PS":   {forge(t, other, header(RS256, "only-ps", ""), `{}`), all, false},
		"RS256 signature, PS alg":   {forge(t, other, header(PS256, "only-ps", ""), `{}`), all, false},
		"truncated signature":       {with(raw[:63]), all, false},
		"half a signature":          {with(raw[:32]), all, false},
		"empty signature":           {with(nil), all, false},
		"longer signature":          {with(append(raw[:64:64], 0)), all, false},
		"zero r and s":              {with(make([]byte, 64)), all, false},
		"zero r":                    {with(append(zero[:32:32], raw[32:]...)), all, false},
		"zero s":                    {with(append(raw[:32:32], zero...)), all, false},
		"r and s the group's order": {with(append(order[:32:32], order...)), all, false},
		"s and r exchanged":         {with(append(raw[32:64:64], raw[:32]...)), all, false},
		"payload of another token":  {b64(header(ES256, "ec", "")) + "." + b64(`{"sub":"y"}`) + "." + b64(string(raw)), all, false},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Verify(c.token, keys, c.algs, nil); (err == nil) != c.want {
				t.Errorf("err = %v, want accepted: %v", err, c.want)
			}
		})
	}
}

// covers: X-JWT-03, SEC-19
func TestKeyConfusion(t *testing.T) {
	issuer, attacker, third := newP256(t, "k1"), newP256(t, "k1"), newP256(t, "k1")
	jwk, err := json.Marshal(gojose.JSONWebKey{Key: attacker.pub, KeyID: "k1", Algorithm: ES256})
	if err != nil {
		t.Fatal(err)
	}
	jku := `,"jku":"https://attacker.example/jwks.json"`
	x5u := `,"x5u":"https://attacker.example/cert.pem"`
	embed := `,"jwk":` + string(jwk)
	chain := `,"x5c":["` + base64.StdEncoding.EncodeToString([]byte("no certificate")) + `"]`
	for name, c := range map[string]struct {
		keys    *Set
		token   string
		want    bool
		unknown bool
	}{
		"jwk of the attacker":           {NewSet(issuer), forge(t, attacker, header(ES256, "k1", embed), `{}`), false, false},
		"jwk of the attacker, no kid":   {NewSet(issuer), forge(t, attacker, `{"alg":"ES256"`+embed+`}`, `{}`), false, false},
		"jku of the attacker":           {NewSet(issuer), forge(t, attacker, header(ES256, "k1", jku), `{}`), false, false},
		"x5u of the attacker":           {NewSet(issuer), forge(t, attacker, header(ES256, "k1", x5u), `{}`), false, false},
		"x5c of the attacker":           {NewSet(issuer), forge(t, attacker, header(ES256, "k1", chain), `{}`), false, false},
		"these are ignored, not obeyed": {NewSet(issuer), forge(t, issuer, header(ES256, "k1", embed+jku+x5u+chain), `{}`), true, false},
		"same kid at another issuer":    {NewSet(issuer), forge(t, attacker, header(ES256, "k1", ""), `{}`), false, false},
		"kid of nobody":                 {NewSet(issuer), forge(t, issuer, header(ES256, "k2", ""), `{}`), false, true},
		"kid with a path":               {NewSet(issuer), forge(t, attacker, header(ES256, "../../dev/null", ""), `{}`), false, true},
		"kid with SQL":                  {NewSet(issuer), forge(t, attacker, header(ES256, "k1' OR '1'='1", ""), `{}`), false, true},
		"kid in another case":           {NewSet(issuer), forge(t, issuer, header(ES256, "K1", ""), `{}`), false, true},
		"two keys with one kid, 1st":    {NewSet(issuer, third), forge(t, issuer, header(ES256, "k1", ""), `{}`), true, false},
		"two keys with one kid, 2nd":    {NewSet(issuer, third), forge(t, third, header(ES256, "k1", ""), `{}`), true, false},
		"two keys with one kid, other":  {NewSet(issuer, third), forge(t, attacker, header(ES256, "k1", ""), `{}`), false, false},
		"one kid, first does not fit":   {NewSet(newKey(t, rsaKey(), "k1"), issuer), forge(t, issuer, header(ES256, "k1", ""), `{}`), true, false},
		"no kid, one of those":          {NewSet(third, issuer), forge(t, issuer, `{"alg":"ES256"}`, `{}`), true, false},
		"no kid, none of those":         {NewSet(third, issuer), forge(t, attacker, `{"alg":"ES256"}`, `{}`), false, false},
		"no kid, no key that fits":      {NewSet(newKey(t, rsaKey(), "r")), forge(t, issuer, `{"alg":"ES256"}`, `{}`), false, true},
		"empty set":                     {&Set{}, forge(t, issuer, header(ES256, "k1", ""), `{}`), false, true},
		"nil set":                       {nil, forge(t, issuer, header(ES256, "k1", ""), `{}`), false, true},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Verify(c.token, c.keys, []string{ES256}, nil)
			if (err == nil) != c.want || errors.Is(err, ErrUnknownKey) != c.unknown {
				t.Errorf("err = %v, want accepted: %v, unknown key: %v", err, c.want, c.unknown)
			}
		})
	}
}

// A token without kid costs a bounded number of checks.
func TestTriesAreBounded(t *testing.T) {
	var keys []*Key
	for i := range maxTries + 1 {
		keys = append(keys, newP256(t, fmt.Sprint(i)))
	}
	set := NewSet(keys...)
	for i, want := range map[int]bool{0: true, maxTries - 1: true, maxTries: false} {
		if _, err := Verify(forge(t, keys[i], `{"alg":"ES256"}`, `{}`), set, []string{ES256}, nil); (err == nil) != want {
			t.Errorf("key %d: %v, want accepted: %v", i, err, want)
		}
	}
}

func TestRestByLibrary(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for alg, priv := range map[string]crypto.Signer{PS256: rsaKey(), RS256: rsaKey(), "RS512": rsaKey(), "ES384": p384} {
		signer, err := gojose.NewSigner(gojose.SigningKey{Algorithm: gojose.SignatureAlgorithm(alg), Key: priv}, nil)
		if err != nil {
			t.Fatal(err)
		}
		jws, err := signer.Sign([]byte(`{"sub":"x"}`))
		if err != nil {
			t.Fatal(err)
		}
		token, err := jws.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		keys := &Set{keys: []publicKey{{id: "a", pub: priv.Public()}}}
		if _, err := Verify(token, keys, []string{alg}, nil); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		payload := strings.Replace(token, b64(`{"sub":"x"}`), b64(`{"sub":"y"}`), 1)
		if _, err := Verify(payload, keys, []string{alg}, nil); err == nil {
			t.Errorf("%s: a changed payload passed", alg)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	k := newKey(t, ed25519.NewKeyFromSeed(make([]byte, 32)), "e")
	for name, claims := range map[string]any{
		"array": []int{1}, "string": "x", "nil": nil, "function": func() {}, "too long": map[string]string{"a": strings.Repeat("x", MaxToken)},
	} {
		if token, err := k.Sign("JWT", claims); err == nil {
			t.Errorf("%s: signed as %.40s", name, token)
		}
	}
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err == nil { // some builds refuse to make such a key at all
		if _, err := NewKey(short, ""); err == nil {
			t.Error("an RSA key of 1024 bits signs")
		}
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewKey(p384, ""); err == nil {
		t.Error("a P-384 key signs")
	}
	if _, err := NewKey(nil, ""); err == nil {
		t.Error("no key signs")
	}
}

// covers: AS-DPOP-01
func TestVerifyEmbedded(t *testing.T) {
	k := newP256(t, "")
	jwk, err := gojose.JSONWebKey{Key: k.pub, KeyID: "mine"}.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	private, err := gojose.JSONWebKey{Key: k.signer}.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	other, err := gojose.JSONWebKey{Key: newP256(t, "").pub}.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	algs, types := []string{ES256, PS256}, []string{"dpop+jwt"}
	proof := forge(t, k, `{"alg":"ES256","typ":"dpop+jwt","kid":"other","jwk":`+string(jwk)+`}`, `{"jti":"1"}`)
	v, jkt, err := VerifyEmbedded(proof, algs, types)
	if err != nil {
		t.Fatal(err)
	}
	if jti, _ := v.Claims().Text("jti"); jkt != k.ID() || jti != "1" {
		t.Errorf("thumbprint %s, want %s; jti %s", jkt, k.ID(), jti)
	}
	if _, _, err := VerifyEmbedded(proof, []string{PS256}, types); err == nil {
		t.Error("taken with an algorithm that is not asked for")
	}
	for name, rest := range map[string]string{
		"absent":         `"alg":"ES256","typ":"dpop+jwt"`,
		"private":        `"alg":"ES256","typ":"dpop+jwt","jwk":` + string(private),
		"symmetric":      `"alg":"ES256","typ":"dpop+jwt","jwk":{"kty":"oct","k":"AAAA"}`,
		"no object":      `"alg":"ES256","typ":"dpop+jwt","jwk":"x"`,
		"repeated":       `"alg":"ES256","typ":"dpop+jwt","jwk":` + strings.Replace(string(jwk), "{", `{"kty":"EC",`, 1),
		"another key":    `"alg":"ES256","typ":"dpop+jwt","jwk":` + string(other),
		"another typ":    `"alg":"ES256","typ":"at+jwt","jwk":` + string(jwk),
		"no typ":         `"alg":"ES256","jwk":` + string(jwk),
		"another alg":    `"alg":"EdDSA","typ":"dpop+jwt","jwk":` + string(jwk),
		"alg of another": `"alg":"PS256","typ":"dpop+jwt","jwk":` + string(jwk),
		"alg none":       `"alg":"none","typ":"dpop+jwt","jwk":` + string(jwk),
	} {
		if _, _, err := VerifyEmbedded(forge(t, k, `{`+rest+`}`, `{}`), algs, types); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// What is signed with its key inside verifies with it, and holds no more of the
// key than its public half.
func TestSignEmbedded(t *testing.T) {
	for _, k := range []*Key{newP256(t, "named"), newKey(t, ed25519.NewKeyFromSeed(make([]byte, 32)), "")} {
		token, err := k.SignEmbedded("dpop+jwt", map[string]string{"jti": "1"})
		if err != nil {
			t.Fatal(err)
		}
		v, jkt, err := VerifyEmbedded(token, []string{ES256, EdDSA}, []string{"dpop+jwt"})
		if want, _ := k.Thumbprint(); err != nil || jkt != want || v.Header().Kid != "" {
			t.Errorf("%s: thumbprint %s, want %s; %+v; %v", k.Alg(), jkt, want, v.Header(), err)
		}
		if _, err := k.SignEmbedded("dpop+jwt", "text"); err == nil {
			t.Error("claims that are a string")
		}
	}
}

// The example of RFC 9449 sections 4.1 and 6.1.
func TestThumbprintOfTheRFC(t *testing.T) {
	const proof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
	v, jkt, err := VerifyEmbedded(proof, []string{ES256}, []string{"dpop+jwt"})
	if err != nil {
		t.Fatal(err)
	}
	if jkt != "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" {
		t.Errorf("thumbprint %s", jkt)
	}
	if jti, _ := v.Claims().Text("jti"); jti != "-BwC3ESc6acc2lTc" {
		t.Errorf("jti %s", jti)
	}
}
