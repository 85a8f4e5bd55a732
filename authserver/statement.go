package authserver

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"time"

	"doorward/internal/jsonobj"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// The same statement said again is the same grant (docs/adr/0012): a client that
// brings an ID-JAG an hour makes one grant, not one an hour, as long as the
// issuer says the same of the person.

// statementSpan is for how long a statement is the same grant: from one multiple
// of it to the next, in UTC.
const statementSpan = 8 * time.Hour

// maxEnded is how many grants of a statement, that were ended, are passed over
// before the next ID-JAG makes one that nothing else finds.
const maxEnded = 8

// grantOfStatement finds the grant of what was stated, or makes stated one. One
// that was ended stays ended: the next one counts. It lives until the last token of its
// span is over, so that the mark of its end covers every token that names it.
func (s *Server) grantOfStatement(ctx context.Context, stated *ledger.Grant, life time.Duration) (*ledger.Grant, error) {
	now := s.now()
	span := now.UTC().Truncate(statementSpan)
	var room [statementRoom]byte
	text, err := statementText(room[:0], &stated.Grant, span)
	if err != nil {
		return nil, err
	}
	stated.Created, stated.Expires = now, span.Add(statementSpan+life)
	for n := range maxEnded {
		stated.ID = s.statementID(text, span, byte(n))
		rec, err := s.ledger.FindGrant(ctx, stated.ID)
		switch {
		case notFound(err):
			stated.TokensUntil = stated.Expires
			return stated, nil
		case err != nil || rec.Ended.IsZero():
			return rec, err
		}
	}
	stated.ID, stated.Expires = orderedText(now, idSize), now.Add(life)
	stated.TokensUntil = stated.Expires
	return stated, nil
}

// statementRoom is what most statements fit into.
const statementRoom = 768

// statementText is everything that is stated, and of which span, at the end of b.
func statementText(b []byte, stated *oauth.Grant, span time.Time) ([]byte, error) {
	stated.Created = span
	o := jsonobj.Begin(b)
	err := stated.AppendMembers(&o)
	return o.End(), err
}

// statementID is the same in every process on the store. It begins with the
// span, so that new grants lie together.
func (s *Server) statementID(text []byte, span time.Time, n byte) string {
	sum := s.derived.assertion.mac(append(text, n))
	id := append(binary.BigEndian.AppendUint64(nil, uint64(span.Unix()))[4:], sum...)
	return base64.RawURLEncoding.EncodeToString(id[:idSize])
}

// assertionUse is the use of an ID-JAG by a request.
type assertionUse struct {
	name  string    // that is remembered
	until time.Time // for so long
	same  []byte    // of requests with the same bytes by the same client for the same resource
	again bool      // such a one is answered again
}

const (
	usePrefix = "jag:"
	useText   = len(usePrefix) + 2*sha256.Size
)

// useOf is what is remembered of this request: the jti, or where the issuer's
// policy lets it be used again anywhere, this use of it.
func (s *Server) useOf(a *asked, from *issuer, jag *idjag, resource string) assertionUse {
	u := assertionUse{until: jag.expires.Add(assertionSkew + afterwards), again: a.client.proven && from.Replay != replayNever}
	hash := longHash(a.Assertion)
	var room [512]byte
	u.same = s.derived.assertion.mac(quoted(append(room[:0], hash[:]...), a.client.client.ID, resource))
	name := quoted(room[:0], from.Issuer, jag.jti)
	if u.again && from.Replay == replayUntilExpiry {
		name = append(name, u.same...)
	}
	hash = sha256.Sum256(name)
	var text [useText]byte
	u.name = string(hex.AppendEncode(append(text[:0], usePrefix...), hash[:]))
	return u
}

// quoted appends two texts so that no other two make the same.
func quoted(b []byte, one, two string) []byte {
	return appendQuoted(append(appendQuoted(b, one), ' '), two)
}

// appendQuoted is strconv.AppendQuote, faster for texts that need no escapes.
func appendQuoted(b []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return strconv.AppendQuote(b, text)
		}
	}
	return append(append(append(b, '"'), text...), '"')
}

// useNonce is the size of what makes the value of each use another one, so that
// it tells whether a commit was this request's.
const useNonce = 8

// op remembers the use, and the grant that it was answered with.
func (u assertionUse) op(grant string) store.Op {
	op := store.Once(u.name, u.until)
	op.Record.Value = append(append(append(make([]byte, 0, 64+len(grant)), u.same...), make([]byte, useNonce)...), grant...)
	rand.Read(op.Record.Value[len(u.same):][:useNonce]) // never fails
	return op
}

// usedBefore is the refusal after the ID-JAG was found to be used. nil: by the
// same request, and then a.repeats is the grant that it was answered with.
func (s *Server) usedBefore(ctx context.Context, a *asked) error {
	refusal := a.invalid("replay", nil)
	if !a.use.again || a.repeats != "" {
		return refusal
	}
	r, err := s.ledger.Store.Get(ctx, store.KindOnce, a.use.name)
	switch n := len(a.use.same); {
	case notFound(err):
		return refusal
	case err != nil:
		return err
	case len(r.Value) <= n+useNonce || !hmac.Equal(r.Value[:n], a.use.same):
		return refusal
	default:
		a.repeats = string(r.Value[n+useNonce:])
	}
	return nil
}
