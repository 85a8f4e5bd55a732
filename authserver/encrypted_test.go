package authserver

import (
	"encoding/json"
	"maps"
	"net/http/httptest"
	"testing"

	"doorward/internal/oauth"

	gojose "github.com/go-jose/go-jose/v4"
)

// encryptionKeys are the keys with use enc that a server publishes.
func encryptionKeys(t testing.TB, s *Server) []gojose.JSONWebKey {
	t.Helper()
	r := send(s, httptest.NewRequest("GET", asURL+"/jwks", nil))
	var set gojose.JSONWebKeySet
	if err := json.Unmarshal([]byte(r.body), &set); err != nil {
		t.Fatal(err)
	}
	var keys []gojose.JSONWebKey
	for _, k := range set.Keys {
		if !k.IsPublic() || k.Use != "enc" && k.Use != "sig" {
			t.Fatalf("published: %s", r.body)
		}
		if k.Use == "enc" {
			keys = append(keys, k)
		}
	}
	return keys
}

// encryptTo encrypts a token as its issuer does, with what it was told.
func encryptTo(t testing.TB, k gojose.JSONWebKey, token string) string {
	t.Helper()
	e, err := gojose.NewEncrypter(gojose.A256GCM, gojose.Recipient{Algorithm: gojose.KeyAlgorithm(k.Algorithm), Key: k}, (&gojose.EncrypterOptions{}).WithContentType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	jwe, err := e.Encrypt([]byte(token))
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwe.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func encrypting(as, _ *Config) {
	changeIssuer(func(i *TrustedIssuer) { i.Encrypted = true })(as, nil)
}

// reason is why the operator finds that a request was refused; "" if it was not.
func (w *world) reason(t testing.TB, r reply) string {
	t.Helper()
	ref := refTail.FindStringSubmatch(r.text("error_description"))
	if ref == nil {
		return ""
	}
	for _, e := range eventsOf(t, w.as) {
		if e.Ref == ref[1] {
			return e.Reason
		}
	}
	e, _ := w.as.Attempts().Recent(ref[1])
	return e.Reason
}

// covers: AS-JAG-27
func TestEncryptedIDJAG(t *testing.T) {
	w := newWorld(t, encrypting)
	redeem := func(token string) reply {
		return post(w.as, "/token", desktop, form("grant_type="+oauth.JWTBearer, "assertion="+token))
	}
	keys := encryptionKeys(t, w.as)
	if len(keys) != 2 {
		t.Fatalf("%d keys to encrypt to", len(keys))
	}
	for _, k := range keys {
		jag := w.jag(t, nil)
		first := redeem(encryptTo(t, k, jag))
		if first.status != 200 {
			t.Fatalf("%s: %d %s", k.Algorithm, first.status, first.body)
		}
		// It is what is inside that is redeemed, however often it was encrypted.
		for name, token := range map[string]string{"encrypted again": encryptTo(t, keys[0], jag), "as it was signed": jag} {
			if again := redeem(token); again.status != 200 || gid(t, again.text("access_token")) != gid(t, first.text("access_token")) {
				t.Errorf("%s: %s: %d %s", k.Algorithm, name, again.status, again.body)
			}
		}
	}

	// Every rule applies to what is inside.
	signed := w.jag(t, nil)
	for name, tt := range map[string]struct{ token, reason string }{
		"not signed":         {`{"iss":"https://idp.example","sub":"alice"}`, "malformed"},
		"encrypted twice":    {encryptTo(t, keys[1], signed), "malformed"},
		"another's key":      {w.sign(t, testKeys()["es"], oauth.TypIDJAG, nil), "signature"},
		"another type":       {w.sign(t, w.idp.signingKey(), "JWT", nil), "signature"},
		"another client's":   {w.jag(t, map[string]any{"client_id": "reader"}), "wrong_client"},
		"another audience's": {w.jag(t, map[string]any{"aud": idpURL}), "wrong_audience"},
		"an unknown issuer":  {w.jag(t, map[string]any{"iss": "https://nobody.example"}), "unknown_issuer"},
		"its own issuer":     {w.jag(t, map[string]any{"iss": asURL}), "own_issuer"},
		"over":               {w.jag(t, map[string]any{"exp": w.now().Unix() - 60}), "time"},
	} {
		r := redeem(encryptTo(t, keys[0], tt.token))
		if r.status != 400 || r.text("error") != oauth.InvalidGrant || refTail.ReplaceAllString(r.text("error_description"), "") != "assertion is not acceptable" {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
		if got := w.reason(t, r); got != tt.reason {
			t.Errorf("%s: reason %s, want %s", name, got, tt.reason)
		}
	}

	// Another server on the store, and one that starts again, has the same keys.
	cfg := w.asCfg
	second, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	for i, k := range encryptionKeys(t, second) {
		if k.KeyID != keys[i].KeyID {
			t.Errorf("key %d is %s there and %s here", i, k.KeyID, keys[i].KeyID)
		}
	}

	// Off: the keys are gone, and what was encrypted to them is refused.
	if err := w.as.Reload(w.asConfig(nil)); err != nil {
		t.Fatal(err)
	}
	if r := redeem(encryptTo(t, keys[0], w.jag(t, nil))); r.status != 400 || w.reason(t, r) != "encrypted" || len(encryptionKeys(t, w.as)) != 0 {
		t.Errorf("after it was switched off: %d %s", r.status, r.body)
	}
	if r := redeem(w.jag(t, nil)); r.status != 200 {
		t.Errorf("a signed one: %d %s", r.status, r.body)
	}
	on := w.asConfig(nil)
	encrypting(&on, nil)
	if err := w.as.Reload(on); err != nil {
		t.Fatal(err)
	}
	if r := redeem(encryptTo(t, keys[0], w.jag(t, nil))); r.status != 200 || len(encryptionKeys(t, w.as)) != 2 {
		t.Errorf("after it was switched on again: %d %s", r.status, r.body)
	}
}

// Who may encrypt is said for each issuer; single use is of what is inside.
//
// covers: AS-JAG-27, AS-JAG-09
func TestEncryptedIDJAGPolicies(t *testing.T) {
	w := newWorld(t, func(as, _ *Config) {
		as.Issuers = maps.Clone(as.Issuers)
		as.HTTP = keysOf{"other.example": jwksOf("ed")}
		changeIssuer(func(i *TrustedIssuer) { i.JWKSURI = "https://other.example/jwks" })(as, nil)
		as.Issuers["other"] = TrustedIssuer{Issuer: "https://other.example", JWKSURI: "https://other.example/jwks", Encrypted: true, Replay: replayNever}
	})
	keys := encryptionKeys(t, w.as)
	redeem := func(token string) reply {
		return post(w.as, "/token", desktop, form("grant_type="+oauth.JWTBearer, "assertion="+token))
	}
	of := func(issuer string) string {
		return w.sign(t, testKeys()["ed"], oauth.TypIDJAG, map[string]any{"iss": issuer})
	}
	if r := redeem(encryptTo(t, keys[0], of(idpURL))); r.status != 400 || w.reason(t, r) != "encrypted" {
		t.Errorf("of an issuer that may not encrypt: %d %s", r.status, r.body)
	}
	jag := of("https://other.example")
	if r := redeem(encryptTo(t, keys[0], jag)); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	for name, token := range map[string]string{"encrypted again": encryptTo(t, keys[1], jag), "as it was signed": jag} {
		if r := redeem(token); r.status != 400 || w.reason(t, r) != "replay" {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
}
