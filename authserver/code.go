package authserver

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// codeLife is how long an authorization code lives (AS-AUTHZ-11).
const codeLife = 60 * time.Second

// newCode makes a grant and the authorization code that is its handle, in one
// commit with more. The code is the grant's id and a secret. The grant exists from now on, expiring with its code, so
// that whoever leaves or is revoked meanwhile takes it along. redirectURI is
// the one that the code is sent to.
func (s *Server) newCode(ctx context.Context, g oauth.Grant, req oauth.AuthorizationRequest, redirectURI string, more ...store.Op) (string, error) {
	now := s.now()
	if g.ID == "" {
		g.ID = orderedText(now, idSize)
	}
	code := newCodeText(g.ID)
	g.Type = oauth.AuthorizationCode
	g.Created, g.Expires = now, now.Add(codeLife)
	g.Nonce = req.Nonce
	handle := &ledger.Code{Hash: hashText(code), Until: g.Expires, RedirectURI: redirectURI, Challenge: req.CodeChallenge, Key: req.DPoPKey}
	grant := s.ledger.AddGrant(ledger.Grant{Grant: g, Code: handle, Upstream: s.current().proxied != nil})
	if err := s.commit(ctx, append([]store.Op{grant}, more...)...); err != nil {
		return "", err
	}
	if err := s.endIfLeft(ctx, &g); err != nil {
		return "", err
	}
	return code, nil
}

// newCodeText is a code of the grant.
func newCodeText(grant string) string {
	var secret [codeSecret]byte
	rand.Read(secret[:]) // never fails
	var room [codeText]byte
	return string(base64.RawURLEncoding.AppendEncode(append(room[:0], grant...), secret[:]))
}

// endIfLeft ends a grant that was just made if its person left meanwhile:
// leaving marks the account before it lists the grants, so one of the two sees
// the other. The error is then access_denied and wraps ledger.ErrLeft.
func (s *Server) endIfLeft(ctx context.Context, g *oauth.Grant) error {
	if g.Subject.IsClient() {
		return nil
	}
	err := s.checkAgain(ctx, g.Subject.ID)
	if err == nil {
		return s.endIfOver(ctx, g)
	}
	if !errors.Is(err, ledger.ErrLeft) {
		return err
	}
	if _, endErr := s.ledger.End(ctx, ledger.Which{Grant: g.ID}, "leave"); endErr != nil {
		return endErr
	}
	return &oauth.Error{Code: oauth.AccessDenied, Reason: leftReason(err), Description: "this person has left", Err: err}
}

// byCode finds the grant of a code that lives, used or not; store.ErrNotFound
// if there is none. lent: it is a borrowed code's, and not made yet as far as
// anybody knows; again: somebody does.
func (s *Server) byCode(ctx context.Context, code string, again bool) (g *ledger.Grant, lent bool, err error) {
	if len(code) == codeText {
		g, err = s.kept(ctx, code, code[:idText])
		return g, false, err
	}
	c, ok := parseBorrowed(s.derived.code, code)
	if !ok || !s.now().Before(c.until) {
		return nil, false, store.ErrNotFound
	}
	if again || s.ledger.SawGrant(c.grant) { // else it is taken to be new: if it is there, the commit says so
		if g, err = s.kept(ctx, code, c.grant); !notFound(err) {
			return g, false, err
		}
	}
	return c.record(code), true, nil
}

// kept is the grant with the id if it is the code's, and that lives.
func (s *Server) kept(ctx context.Context, code, id string) (*ledger.Grant, error) {
	g, err := s.ledger.SpendGrant(ctx, id)
	if err != nil {
		return nil, err
	}
	if g.Code == nil || subtle.ConstantTimeCompare(hashText(code), g.Code.Hash) != 1 || !s.now().Before(g.Code.Until) {
		return nil, store.ErrNotFound
	}
	return g, nil
}

const (
	codeSecret = 32 // bytes
	idText     = (idSize*8 + 5) / 6
	codeText   = idText + (codeSecret*8+5)/6
)

// codeKey is the key of the record of a device code and of a pushed request: its
// hash, after the moment that it says it was made at, if it says one.
func codeKey(code string) string {
	sum := sha256.Sum256([]byte(code))
	if b, err := base64.RawURLEncoding.DecodeString(code); err == nil && len(b) == codeSize {
		return hex.EncodeToString(b[:momentSize]) + hex.EncodeToString(sum[:])
	}
	return hex.EncodeToString(sum[:])
}

const (
	momentSize = 6
	codeSize   = momentSize + 32
)

// orderedText is a name of n bytes: the millisecond, and the rest random. Records
// whose names begin alike lie together, so that a store touches few pages for
// many new ones.
func orderedText(now time.Time, n int) string {
	var room [drawnRoom]byte
	b := append(room[:0], make([]byte, n)...)
	binary.BigEndian.PutUint64(b, uint64(now.UnixMilli())<<16)
	rand.Read(b[momentSize:]) // never fails
	return textOf(b)
}

// newID is a random 128-bit name, as grants and tokens have.
func newID() string { return randomText(idSize) }

// idSize is the size of a grant id in bytes before it is encoded.
const idSize = 16

// randomText is n random bytes as base64url.
func randomText(n int) string {
	var room [drawnRoom]byte
	b := append(room[:0], make([]byte, n)...)
	rand.Read(b) // never fails
	return textOf(b)
}

// drawnRoom is what most of what is drawn fits into.
const drawnRoom = 64

// textOf is base64url, in one allocation where it is short.
func textOf(b []byte) string {
	var room [2 * drawnRoom]byte
	return string(base64.RawURLEncoding.AppendEncode(room[:0], b))
}
