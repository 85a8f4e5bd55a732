package authtest

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"time"

	"doorward/internal/oauth"
)

// provenKey is the thumbprint of the key of a request's DPoP proof; "" if there
// is none.
func (w *Weak) provenKey(r *http.Request) (string, *weakError) {
	proofs := r.Header.Values("Dpop")
	if len(proofs) == 0 {
		return "", nil
	}
	bad := weakRefusal("invalid_dpop_proof", "the proof is not acceptable")
	if w.has("AS-DPOP-02.error") {
		bad.code = oauth.InvalidRequest
	}
	t, ok := splitJWT(proofs[0])
	if !ok || len(proofs) > 1 && !w.has("AS-DPOP-01.twice") {
		return "", bad
	}
	jwk, _ := t.header["jwk"].(map[string]any)
	if !w.rightProof(r, t, jwk) || !w.signedProof(t, jwk) || !w.firstUse(t.text("jti")) {
		return "", bad
	}
	return thumbprint(jwk), nil
}

// rightProof checks what a proof says.
func (w *Weak) rightProof(r *http.Request, t weakJWT, jwk map[string]any) bool {
	iat, _ := t.claims["iat"].(float64)
	age := time.Since(time.Unix(int64(iat), 0)).Abs()
	return jwk != nil &&
		(t.headed("typ") == "dpop+jwt" || w.has("AS-DPOP-01.typ")) &&
		(jwk["d"] == nil || w.has("AS-DPOP-01.private")) &&
		(t.text("htm") == r.Method || w.has("AS-DPOP-01.htm")) &&
		(t.text("htu") == w.Issuer+"/token" || w.has("AS-DPOP-01.htu")) &&
		(age < time.Minute || w.has("AS-DPOP-01.iat")) &&
		(t.text("jti") != "" || w.has("AS-DPOP-01.jti"))
}

// signedProof verifies a proof with the key that it brings.
func (w *Weak) signedProof(t weakJWT, jwk map[string]any) bool {
	switch t.headed("alg") {
	case "none":
		return w.has("AS-DPOP-01.none")
	case "HS256":
		text, _ := jwk["k"].(string)
		secret, err := base64.RawURLEncoding.DecodeString(text)
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(t.input))
		return err == nil && w.has("AS-DPOP-01.hmac") && hmac.Equal(m.Sum(nil), t.signature)
	case "ES256":
		k := publicKey(jwk)
		sum := sha256.Sum256([]byte(t.input))
		return k != nil && len(t.signature) == 64 &&
			(w.has("AS-DPOP-01.signature") || ecdsa.Verify(k, sum[:], new(big.Int).SetBytes(t.signature[:32]), new(big.Int).SetBytes(t.signature[32:])))
	}
	return false
}

// firstUse remembers a proof.
func (w *Weak) firstUse(jti string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.proofs[jti] && jti != "" && !w.has("AS-DPOP-07.replay") {
		return false
	}
	w.proofs[jti] = true
	return true
}

// thumbprint is that of RFC 7638.
func thumbprint(jwk map[string]any) string {
	members := map[string]any{}
	for _, name := range []string{"crv", "k", "kty", "x", "y"} {
		if jwk[name] != nil {
			members[name] = jwk[name]
		}
	}
	b, err := json.Marshal(members) // which sorts them
	if err != nil {
		panic(err) // it came as JSON
	}
	sum := sha256.Sum256(b)
	return b64(sum[:])
}
