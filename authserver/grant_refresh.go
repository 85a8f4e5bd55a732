package authserver

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"sync"
	"time"

	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

// refreshToken is what a refresh token says when it is opened. Its MAC tells a
// genuine one, however old, from rubbish, without a record of each.
type refreshToken struct {
	grant      [idSize]byte
	generation uint32
	secret     [32]byte
}

const (
	refreshVersion = 1
	refreshBody    = 1 + idSize + 4 + 32
	refreshSize    = refreshBody + 16 // with the MAC
)

func (t refreshToken) body() []byte {
	b := make([]byte, 0, refreshSize)
	b = append(b, refreshVersion)
	b = append(b, t.grant[:]...)
	b = binary.BigEndian.AppendUint32(b, t.generation)
	return append(b, t.secret[:]...)
}

// text is the token as clients hold it.
func (t refreshToken) text(key *macKey) string {
	b := t.body()
	return textOf(append(b, key.mac(b)[:16]...))
}

// parseRefresh opens a token; false if it is not one of ours.
func parseRefresh(key *macKey, text string) (refreshToken, bool) {
	var t refreshToken
	if len(text) != base64.RawURLEncoding.EncodedLen(refreshSize) {
		return t, false
	}
	var room [refreshSize]byte
	b, err := jose.Segment(room[:0], text)
	if err != nil || b[0] != refreshVersion || !hmac.Equal(b[refreshBody:], key.mac(b[:refreshBody])[:16]) {
		return t, false
	}
	copy(t.grant[:], b[1:])
	t.generation = binary.BigEndian.Uint32(b[1+idSize:])
	copy(t.secret[:], b[1+idSize+4:])
	return t, true
}

// next is the successor, derived and not drawn: whoever shows the same token
// again gets the same successor, and only hashes lie at rest.
func (t refreshToken) next(key *macKey) refreshToken {
	n := refreshToken{grant: t.grant, generation: t.generation + 1}
	copy(n.secret[:], key.mac(t.body()))
	return n
}

// grantID is the id of the grant as records and claims have it.
func (t refreshToken) grantID() string { return base64.RawURLEncoding.EncodeToString(t.grant[:]) }

// macKey is a key of HMAC-SHA-256. What computes with it is used again, since
// the key's part of the work is half of a short MAC.
type macKey struct{ idle sync.Pool }

func newMACKey(key []byte) *macKey {
	k := &macKey{}
	k.idle.New = func() any { return &macOf{hash: hmac.New(sha256.New, key)} }
	return k
}

// macOf is an HMAC and a copy of what it is of, so that the original can lie on a stack.
type macOf struct {
	hash hash.Hash
	data []byte
}

func (k *macKey) mac(data []byte) []byte {
	m := k.idle.Get().(*macOf)
	defer k.idle.Put(m)
	m.data = append(m.data[:0], data...)
	m.hash.Reset()
	m.hash.Write(m.data)
	clear(m.data)
	return m.hash.Sum(nil)
}

func hashText(text string) []byte {
	var room [512]byte // for nearly all codes
	sum := sha256.Sum256(append(room[:0], text...))
	return sum[:]
}

// longHash is the SHA-256 of a text that is too long for a stack.
func longHash(text string) [sha256.Size]byte {
	b := buffers.Get().(*bytes.Buffer)
	defer giveBack(b)
	b.WriteString(text)
	return sha256.Sum256(b.Bytes())
}

// firstRefresh gives a grant its refresh token and its longest life.
func (s *Server) firstRefresh(g *ledger.Grant, tokens Tokens) (string, error) {
	var t refreshToken
	id, err := base64.RawURLEncoding.DecodeString(g.ID)
	if err != nil || len(id) != idSize {
		return "", fmt.Errorf("authserver: grant id %q is none of ours", g.ID)
	}
	copy(t.grant[:], id)
	rand.Read(t.secret[:]) // never fails
	text, now := t.text(s.derived.refreshMAC), s.now()
	g.Expires = now.Add(tokens.RefreshMax)
	g.Refresh = &ledger.Refresh{Hash: hashText(text), IdleUntil: now.Add(tokens.RefreshIdle)}
	return text, nil
}

// grantRefresh rotates a refresh token (OAuth 2.1 section 4.3). The
// predecessor gets the same successor again for a moment, in case the answer
// was lost; any older token ends the grant.
func (s *Server) grantRefresh(ctx context.Context, a *asked) (*granted, error) {
	if a.RefreshToken == "" {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "refresh_token is missing"}
	}
	t, g, repeated, err := s.checkRefresh(ctx, a, a.RefreshToken)
	if err != nil {
		return nil, err
	}
	if err := a.sameResource(g.Resource); err != nil {
		return nil, err
	}
	if err := s.upstreamStands(ctx, a, g); err != nil {
		return nil, err
	}
	res := a.st.byID(g.Resource)
	if res == nil {
		return nil, a.invalid("resource_gone", nil)
	}
	out := &granted{grant: g.Grant, stored: g, rules: res.rules, life: a.st.tokens.Access, write: true}
	if out.grant.Scopes, err = a.boundBy(res, g.Scopes); err != nil {
		return nil, err
	}
	now := s.now()
	out.refresh = t.next(s.derived.refreshNext).text(s.derived.refreshMAC)
	if repeated { // binds nothing: whoever has the successor already may have no key
		out.withinKept(g, now)
		return out, nil
	}
	g.Key = a.bindTo(g.Key)
	if g.Code != nil && !now.Before(g.Code.Until) { // nobody can show it any more
		g.Code = nil
	}
	g.Refresh = &ledger.Refresh{Hash: hashText(out.refresh), Previous: g.Refresh.Hash, Generation: t.generation + 1,
		Rotated: now, IdleUntil: now.Add(a.st.tokens.RefreshIdle)}
	return out, nil
}

// checkRefresh finds the grant of a refresh token that may be used: the current
// one, or (repeated) its predecessor while the current one is unused and the
// grace lasts. Reuse of any other genuine token ends the grant (AS-RT-03), with
// whatever key: else a thief's key would keep the owner from the alarm. Nor has
// the owner of a bound one ever a reason to show its predecessor without the key.
func (s *Server) checkRefresh(ctx context.Context, a *asked, text string) (t refreshToken, g *ledger.Grant, repeated bool, err error) {
	t, ok := parseRefresh(s.derived.refreshMAC, text)
	if !ok {
		return t, g, false, a.invalid("refresh_unknown", nil)
	}
	g, err = s.ledger.FindGrant(ctx, t.grantID())
	if notFound(err) {
		return t, g, false, a.invalid("grant_unknown", nil)
	}
	if err != nil {
		return t, g, false, err
	}
	a.seen.Grant, a.seen.Person, a.seen.Resource = g.ID, g.Subject.ID, g.Resource
	now := s.now()
	switch {
	case g.Client != a.client.client.ID: // AS-RT-01
		return t, g, false, a.invalid("refresh_of_another_client", nil)
	case !g.Active(now) || g.Refresh == nil:
		return t, g, false, a.invalid("grant_over", nil)
	case g.Type == oauth.TokenExchange && !a.st.signsInBySAML(g.Subject.Provider):
		return t, g, false, a.invalid("grant_over", nil)
	case !now.Before(g.Refresh.IdleUntil): // AS-RT-05
		return t, g, false, a.invalid("refresh_idle", nil)
	}
	current, again := refreshUse(g, text, a.st.tokens.RefreshGrace, now)
	switch held := a.holds(g.Key); {
	case current && held != nil: // of no use to whoever has it
		return t, g, false, held
	case held == nil && (current || again):
		return t, g, again, nil
	}
	_, err = s.ledger.End(ctx, ledger.Which{Grant: g.ID}, "refresh token reused")
	return t, g, false, errors.Join(err, a.invalid("refresh_reused", nil))
}

// refreshUse says what a genuine token is to the grant that it names: the
// current one, the one before it while the grace lasts, or neither.
func refreshUse(g *ledger.Grant, text string, grace time.Duration, now time.Time) (current, again bool) {
	hash := hashText(text)
	current = subtle.ConstantTimeCompare(hash, g.Refresh.Hash) == 1
	again = !current && subtle.ConstantTimeCompare(hash, g.Refresh.Previous) == 1 && now.Sub(g.Refresh.Rotated) <= grace
	return current, again
}
