package authtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"doorward/internal/oauth"
)

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func weakJWK(k *ecdsa.PublicKey, kid string) map[string]any {
	raw, err := k.Bytes()
	if err != nil {
		panic(err) // a P-256 key has them
	}
	return map[string]any{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid, "x": b64(raw[1:33]), "y": b64(raw[33:])}
}

// weakJWT is a token taken apart.
type weakJWT struct {
	header, claims map[string]any
	input          string
	signature      []byte
}

func splitJWT(token string) (weakJWT, bool) {
	var t weakJWT
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return t, false
	}
	t.input = parts[0] + "." + parts[1]
	for i, to := range []*map[string]any{&t.header, &t.claims} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(raw, to) != nil {
			return t, false
		}
	}
	var err error
	t.signature, err = base64.RawURLEncoding.DecodeString(parts[2])
	return t, err == nil
}

func (t weakJWT) text(name string) string   { s, _ := t.claims[name].(string); return s }
func (t weakJWT) headed(name string) string { s, _ := t.header[name].(string); return s }

// assertionGrant redeems an ID-JAG.
func (w *Weak) assertionGrant(c *weakClient, form url.Values, key string) (map[string]any, *weakError) {
	if form.Get("assertion") == "" {
		if w.has("AS-JAG-01.missing") {
			return nil, weakRefusal(oauth.InvalidGrant, "the assertion is not acceptable")
		}
		return nil, weakRefusal(oauth.InvalidRequest, "assertion is missing")
	}
	if !slices.Contains(c.grants, oauth.JWTBearer) && !(c.secret == "" && w.has("AS-JAG-02.public")) {
		return nil, weakRefusal(oauth.UnauthorizedClient, "this client may not use the grant")
	}
	t, ok := splitJWT(form.Get("assertion"))
	if !ok || !w.verified(t) || !w.acceptable(t, c) {
		return nil, weakRefusal(oauth.InvalidGrant, "the assertion is not acceptable")
	}
	scope := t.text("scope")
	if asked := form.Get("scope"); asked != "" {
		if !within(asked, strings.Fields(scope)) && !w.has("AS-JAG-13.scope") {
			return nil, weakRefusal(oauth.InvalidScope, "the assertion does not have this scope")
		}
		scope = asked
	}
	g := &weakGrant{client: c.id, person: t.text("iss") + " " + t.text("sub"), scope: scope, resource: w.Resource, key: key}
	return w.issue(g, w.has("AS-JAG-17.refresh")), nil
}

// verified checks issuer, class and signature.
func (w *Weak) verified(t weakJWT) bool {
	iss := t.text("iss")
	w.mu.Lock()
	trusted := slices.Contains(w.trusted, iss)
	home := iss
	if iss == w.Issuer && len(w.trusted) > 0 && w.has("AS-JAG-25.own") { // trusts itself, and takes any key for its own
		trusted, home = true, w.trusted[0]
	}
	w.mu.Unlock()
	_, critical := t.header["crit"]
	switch {
	case !trusted && !w.has("AS-JAG-04.issuer"), iss == w.Issuer && !w.has("AS-JAG-25.own"):
		return false
	case t.headed("typ") != oauth.TypIDJAG && !w.has("AS-JAG-03.typ"):
		return false
	case critical && !w.has("X-JWT-06.crit"):
		return false
	case t.headed("alg") == "none":
		return w.has("X-JWT-01.none")
	}
	keys := w.keysFor(t, home)
	for _, k := range keys {
		if w.signedBy(t, k) {
			return true
		}
	}
	return false
}

// keysFor is the keys that may have signed a token.
func (w *Weak) keysFor(t weakJWT, home string) []*ecdsa.PublicKey {
	keys := fetchKeys(home + "/jwks")
	if jku := t.headed("jku"); jku != "" && w.has("X-JWT-03.jku") {
		keys = fetchKeys(jku)
	}
	if jwk, ok := t.header["jwk"].(map[string]any); ok && w.has("X-JWT-03.jwk") {
		keys = map[string]*ecdsa.PublicKey{t.headed("kid"): publicKey(jwk)}
	}
	var out []*ecdsa.PublicKey
	for kid, k := range keys {
		if k != nil && (kid == t.headed("kid") || w.has("X-JWT-03.kid")) {
			out = append(out, k)
		}
	}
	return out
}

func (w *Weak) signedBy(t weakJWT, k *ecdsa.PublicKey) bool {
	switch t.headed("alg") {
	case "HS256":
		der, err := x509.MarshalPKIXPublicKey(k)
		m := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		m.Write([]byte(t.input))
		return err == nil && w.has("X-JWT-02.hmac") && hmac.Equal(m.Sum(nil), t.signature)
	case "ES256":
		if w.has("AS-JAG-04.signature") && len(t.signature) == 64 {
			return true
		}
		sum := sha256.Sum256([]byte(t.input))
		return len(t.signature) == 64 && ecdsa.Verify(k, sum[:], new(big.Int).SetBytes(t.signature[:32]), new(big.Int).SetBytes(t.signature[32:]))
	}
	return false
}

// fetchKeys gets a key set; none if there is none.
func fetchKeys(address string) map[string]*ecdsa.PublicKey {
	client := &http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get(address)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&set) != nil {
		return nil
	}
	out := map[string]*ecdsa.PublicKey{}
	for _, k := range set.Keys {
		kid, _ := k["kid"].(string)
		out[kid] = publicKey(k)
	}
	return out
}

func publicKey(jwk map[string]any) *ecdsa.PublicKey {
	raw := []byte{4}
	for _, name := range []string{"x", "y"} {
		text, _ := jwk[name].(string)
		b, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil || len(b) != 32 {
			return nil
		}
		raw = append(raw, b...)
	}
	k, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), raw)
	if err != nil {
		return nil
	}
	return k
}

// acceptable checks the claims.
func (w *Weak) acceptable(t weakJWT, c *weakClient) bool {
	return w.rightTimes(t) && w.rightAudience(t.claims["aud"]) &&
		(t.text("sub") != "" && t.text("jti") != "" || w.has("AS-JAG-05.claims")) &&
		(t.text("client_id") == c.id || w.has("AS-JAG-07.client")) &&
		(t.text("resource") == w.Resource || w.has("AS-JAG-10.resource")) &&
		(t.claims["cnf"] == nil || w.has("AS-JAG-23.cnf"))
}

func (w *Weak) rightTimes(t weakJWT) bool {
	exp, hasExp := t.claims["exp"].(float64)
	iat, hasIat := t.claims["iat"].(float64)
	now := float64(time.Now().Unix())
	if t.claims["iat"] != nil && !hasIat {
		if !w.has("X-JWT-05.type") {
			return false
		}
		iat, hasIat = now, true
	}
	if !hasExp || !hasIat {
		return w.has("AS-JAG-05.claims")
	}
	return (exp > now || w.has("AS-JAG-08.expired")) && (iat < now+60 || w.has("AS-JAG-08.future")) && (exp-iat <= 300 || w.has("AS-JAG-08.long"))
}

func (w *Weak) rightAudience(aud any) bool {
	switch aud := aud.(type) {
	case string:
		return aud == w.Issuer || aud == w.Issuer+"/" && w.has("AS-JAG-06.slash") || strings.TrimSuffix(aud, "/") != w.Issuer && w.has("AS-JAG-06.other")
	case []any:
		return len(aud) == 1 && aud[0] == w.Issuer || len(aud) > 1 && slices.Contains(aud, any(w.Issuer)) && w.has("AS-JAG-06.array")
	}
	return false
}
