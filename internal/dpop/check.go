package dpop

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// The headers of RFC 9449, as net/http writes their names.
const (
	Header      = "Dpop"
	NonceHeader = "Dpop-Nonce"
)

// How far the iat of a proof may be from now, either way.
const (
	// Fresh is enough without a nonce.
	Fresh = time.Minute
	// Allowed is the most, and needs a nonce of ours: then the nonce says when
	// the proof was made, and iat only how wrong the client's clock is.
	Allowed = 5 * time.Minute
)

const (
	maxProof = 8 << 10 // bytes
	maxID    = 512     // bytes of a jti
)

// Algs are the algorithms that proofs may be signed with: asymmetric ones only
// (RFC 9449 section 4.3, check 5).
func Algs() []string { return []string{jose.ES256, jose.EdDSA, jose.PS256, jose.RS256} }

// Target is the request that a proof is for.
type Target struct {
	Method string
	URL    string // as clients see it; query and fragment do not count
	Token  string // the access token that comes with it; "": none, at a token endpoint
}

// Proof is a proof that was checked. Only Check makes one; the zero Proof is
// none.
type Proof struct {
	key    string
	id     string
	until  time.Time
	renew  bool
	digest string
}

// Key is the RFC 7638 thumbprint (SHA-256, base64url) of the key that made the
// proof; "" of the zero Proof.
func (p Proof) Key() string { return p.key }

// afterwards is how long after the check of a proof it may take to write down
// that it was used: two requests may be checked in its last moment and written
// after it.
const afterwards = time.Minute

// Once is a name of this proof, the same for no other, and how long it must be
// remembered so that the proof is accepted once.
func (p Proof) Once() (name string, until time.Time) {
	sum := p.sum()
	return "dpop:" + hex.EncodeToString(sum[:]), p.until.Add(afterwards)
}

// sum tells proofs apart: the jti is unique to its key (RFC 9449 section 4.2).
func (p Proof) sum() [sha256.Size]byte { return sha256.Sum256([]byte(p.key + " " + p.id)) }

// Renew reports whether the proof had a nonce that is not the newest, so that
// the answer should bring that (RFC 9449 section 8.2).
func (p Proof) Renew() bool { return p.renew }

// IsThumbprint reports whether text has the form of a Key.
func IsThumbprint(text string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil && len(b) == sha256.Size && len(text) == base64.RawURLEncoding.EncodedLen(sha256.Size)
}

// Sent reports whether a request has a proof, good or not.
func Sent(h http.Header) bool { return len(h[Header]) > 0 }

// Checker checks proofs.
type Checker struct {
	Nonces *Nonces
	Now    func() time.Time
}

// The audit's reasons.
const (
	ReasonMissing   = "dpop_missing"
	ReasonUnread    = "dpop_unreadable"
	ReasonSignature = "dpop_signature"
	ReasonTarget    = "dpop_target"
	ReasonToken     = "dpop_token"
	ReasonTime      = "dpop_time"
	ReasonNonce     = "dpop_nonce"
	ReasonReplay    = "dpop_replay"
	ReasonKey       = "dpop_key"
	ReasonBody      = "dpop_body"
)

// Refuse is invalid_dpop_proof.
func Refuse(reason, description string, cause error) *oauth.Error {
	return &oauth.Error{Code: oauth.InvalidDPoPProof, Reason: reason, Description: description, Err: cause}
}

func useNonce(description string) *oauth.Error {
	return &oauth.Error{Code: oauth.UseDPoPNonce, Reason: ReasonNonce, Description: description}
}

// Replayed is the refusal of a proof that was used before.
func Replayed() *oauth.Error {
	return Refuse(ReasonReplay, "this DPoP proof was used before: make one for each request", nil)
}

// Check makes the checks of RFC 9449 section 4.3 of the proof in a request's
// header, all but the comparison of its key with that of a token. The error is
// invalid_dpop_proof, or use_dpop_nonce if the proof needs a nonce of ours
// (Nonces.Current) or has one that is too old: a nonce is needed where iat is
// more than Fresh from now.
func (c Checker) Check(h http.Header, t Target) (Proof, *oauth.Error) {
	text, refusal := single(h)
	if refusal != nil {
		return Proof{}, refusal
	}
	v, key, err := jose.VerifyEmbedded(text, Algs(), []string{oauth.TypDPoP})
	if err != nil {
		return Proof{}, Refuse(ReasonSignature, "the DPoP proof is not a dpop+jwt that the public key in it signed, with an algorithm that is allowed", err)
	}
	claims, err := readClaims(v.Claims())
	if err != nil {
		return Proof{}, Refuse(ReasonUnread, "the DPoP proof lacks a claim or has a wrong one: it needs jti, htm, htu and iat", err)
	}
	if refusal := claims.checkTarget(t); refusal != nil {
		return Proof{}, refusal
	}
	p := Proof{key: key, id: claims.jti, digest: claims.digest}
	if refusal := c.checkTime(claims, &p); refusal != nil {
		return Proof{}, refusal
	}
	return p, nil
}

// single is the one proof of a request (check 1).
func single(h http.Header) (string, *oauth.Error) {
	values := h[Header]
	switch {
	case len(values) == 0:
		return "", Refuse(ReasonMissing, "a DPoP proof is needed", nil)
	case len(values) > 1 || strings.Contains(values[0], ","): // proxies join repeated headers
		return "", Refuse(ReasonUnread, "more than one DPoP header", nil)
	case len(values[0]) > maxProof:
		return "", Refuse(ReasonUnread, "the DPoP proof is too long", nil)
	}
	return values[0], nil
}

// claims are a proof's (RFC 9449 section 4.2).
type claims struct {
	jti, htm, htu, ath, nonce, digest string
	iat                               time.Time
}

// readClaims reads them and wants those that must be there (check 3).
func readClaims(c jose.Claims) (claims, error) {
	var out claims
	for _, m := range []struct {
		name     string
		into     *string
		required bool
	}{
		{"jti", &out.jti, true}, {"htm", &out.htm, true}, {"htu", &out.htu, true},
		{"ath", &out.ath, false}, {"nonce", &out.nonce, false}, {"content_digest", &out.digest, false},
	} {
		text, err := c.Text(m.name)
		switch {
		case err != nil:
			return out, err
		case text == "" && (m.required || c.Has(m.name)):
			return out, fmt.Errorf("claim %s is missing or empty", m.name)
		}
		*m.into = text
	}
	if len(out.jti) > maxID {
		return out, fmt.Errorf("claim jti is longer than %d bytes", maxID)
	}
	var err error
	if out.iat, err = c.Time("iat"); err == nil && out.iat.IsZero() {
		err = errors.New("claim iat is missing")
	}
	return out, err
}

// checkTarget is whether the proof is for this request (checks 8, 9, 12a).
func (c claims) checkTarget(t Target) *oauth.Error {
	made, err := canonical(c.htu)
	want, _ := canonical(t.URL)
	switch {
	case c.htm != t.Method:
		return Refuse(ReasonTarget, "htm of the DPoP proof is not the method of this request", nil)
	case err != nil || made != want:
		return Refuse(ReasonTarget, "htu of the DPoP proof is not the URL of this request: "+oauth.Printable(want), err)
	case t.Token == "":
		return nil
	}
	if subtle.ConstantTimeCompare([]byte(c.ath), []byte(TokenHash(t.Token))) != 1 {
		return Refuse(ReasonToken, "ath of the DPoP proof is not the hash of this access token", nil)
	}
	return nil
}

// TokenHash is the ath of a proof for an access token (RFC 9449 section 4.2).
func TokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// checkTime is whether the proof was made just now (checks 10, 11), and says
// how long it must be remembered.
func (c Checker) checkTime(claims claims, p *Proof) *oauth.Error {
	now := c.Now()
	off, window := now.Sub(claims.iat).Abs(), Fresh
	if off > Allowed {
		return Refuse(ReasonTime, "iat of the DPoP proof is too far from now: make one for each request, and check the clock", nil)
	}
	if claims.nonce != "" {
		known, newest := c.Nonces.known(claims.nonce, now)
		if !known {
			return useNonce("the nonce of the DPoP proof is not one of the last: use that of the header DPoP-Nonce")
		}
		window, p.renew = Allowed, !newest
	}
	if off > window {
		return useNonce("iat of the DPoP proof is not this minute's: use the nonce of the header DPoP-Nonce, and check the clock")
	}
	p.until = claims.iat.Add(window)
	return nil
}

// canonical is a URL as htu is compared: without query and fragment, scheme
// and host in lower case, no default port, and a slash for an empty path
// (RFC 9449 section 4.3, RFC 3986 sections 6.2.2 and 6.2.3).
func canonical(raw string) (string, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return "", err
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Opaque != "":
		return "", errors.New("no http or https URL")
	}
	host := strings.ToLower(u.Host)
	if u.Scheme == "https" {
		host = strings.TrimSuffix(host, ":443")
	} else {
		host = strings.TrimSuffix(host, ":80")
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	return u.Scheme + "://" + host + path, nil
}
