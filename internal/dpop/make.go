package dpop

import (
	"crypto/rand"
	"encoding/base64"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// made are the claims of a proof.
type made struct {
	ID       string `json:"jti"`
	Method   string `json:"htm"`
	URL      string `json:"htu"`
	IssuedAt int64  `json:"iat"`
	Token    string `json:"ath,omitempty"`
	Nonce    string `json:"nonce,omitempty"`
}

// Make makes a proof for one request (RFC 9449 section 4.2). nonce is the
// last that the server sent; "": none. An error is the key's.
func Make(key *jose.Key, t Target, nonce string, now time.Time) (string, error) {
	id := make([]byte, 16)
	rand.Read(id) // never fails
	url := t.URL
	if c, err := canonical(url); err == nil {
		url = c
	}
	m := made{ID: base64.RawURLEncoding.EncodeToString(id), Method: t.Method, URL: url, IssuedAt: now.Unix(), Nonce: nonce}
	if t.Token != "" {
		m.Token = TokenHash(t.Token)
	}
	return key.SignEmbedded(oauth.TypDPoP, m)
}
