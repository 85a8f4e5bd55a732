package dpop

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"

	"doorward/internal/oauth"
)

// HasDigest reports whether the proof says what the body of its request is
// (claim content_digest, of a revision of the MCP DPoP extension).
func (p Proof) HasDigest() bool { return p.digest != "" }

// CheckBody compares the body with what the proof says of it:
// "sha-256=:BASE64:", as RFC 9530 writes it. A proof that says nothing fits
// every body.
func (p Proof) CheckBody(body []byte) *oauth.Error {
	if p.digest == "" {
		return nil
	}
	sum := sha256.Sum256(body)
	for member := range strings.SplitSeq(p.digest, ",") {
		text, ok := strings.CutPrefix(strings.TrimSpace(member), "sha-256=:")
		if !ok {
			continue
		}
		text, ok = strings.CutSuffix(text, ":")
		said, err := base64.StdEncoding.Strict().DecodeString(text)
		if ok && err == nil && subtle.ConstantTimeCompare(said, sum[:]) == 1 {
			return nil
		}
		break
	}
	return Refuse(ReasonBody, "content_digest of the DPoP proof is not the SHA-256 of the body", nil)
}
