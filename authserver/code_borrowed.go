package authserver

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// Most authorization requests change nothing: somebody who is signed in comes
// with a client that they let in before. The code of such a request need not be
// kept until it is redeemed, for what it stands on is kept anyway, the session
// and the consent. It says itself what was asked, under a MAC, and names the
// grant that its redemption makes: a second redemption meets that grant. Of the
// person it says nothing; who they are the session says. Whatever ends the
// session or the consent meanwhile ends the code.

// borrowedCode is what such a code says (see docs/adr/0013).
type borrowedCode struct {
	grant    string // the id of the grant that it will be
	session  string // the public id of the session
	until    time.Time
	client   string
	redirect string
	resource string
	scopes   string
	nonce    string
	proof    string // code_challenge, S256
	key      string // dpop_jkt
}

const (
	borrowedVersion = 1
	// maxBorrowed is how long such a code may be: it travels in a URL, which some
	// programs cut at 2,000 characters. A longer one is kept instead.
	maxBorrowed = 1024
)

func (c *borrowedCode) fields() [9]*string {
	return [9]*string{&c.grant, &c.session, &c.client, &c.redirect, &c.resource, &c.scopes, &c.nonce, &c.proof, &c.key}
}

// text is the code as clients hold it; "" if it is too long.
func (c *borrowedCode) text(key *macKey) string {
	var room [maxBorrowed * 3 / 4]byte
	b := append(room[:0], borrowedVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(c.until.UnixMilli()))
	for _, f := range c.fields() {
		b = binary.AppendUvarint(b, uint64(len(*f)))
		b = append(b, *f...)
	}
	b = append(b, key.mac(b)...)
	if n := base64.RawURLEncoding.EncodedLen(len(b)); n <= codeText || n > maxBorrowed {
		return ""
	}
	var written [maxBorrowed]byte
	return string(base64.RawURLEncoding.AppendEncode(written[:0], b))
}

// parseBorrowed opens a code; false if it is not one of ours of this form.
func parseBorrowed(key *macKey, text string) (borrowedCode, bool) {
	var c borrowedCode
	if len(text) <= codeText || len(text) > maxBorrowed {
		return c, false
	}
	var room [maxBorrowed * 3 / 4]byte
	b, err := jose.Segment(room[:0], text)
	body := len(b) - sha256.Size
	if err != nil || body < 1+8 || b[0] != borrowedVersion || !hmac.Equal(b[body:], key.mac(b[:body])) {
		return c, false
	}
	c.until = time.UnixMilli(int64(binary.BigEndian.Uint64(b[1:])))
	rest := b[1+8 : body]
	said := string(rest) // the fields are pieces of it
	for _, f := range c.fields() {
		n, w := binary.Uvarint(rest)
		if w <= 0 || n > uint64(len(rest)-w) {
			return c, false
		}
		end := w + int(n)
		*f, rest, said = said[w:end], rest[end:], said[end:]
	}
	return c, len(rest) == 0
}

// borrowed is the code of a request that nothing must be written for; "" if
// there is something, or the code would be too long.
func (v *visit) borrowed(a *asking, id string, now time.Time) string {
	if !a.remembered || a.device != nil || a.pushed != "" || len(a.details) > 0 || v.st.proxied != nil ||
		v.session.Expires.Before(now.Add(codeLife)) {
		return ""
	}
	c := borrowedCode{grant: id, session: v.session.ID, until: now.Add(codeLife), client: a.client.ID, redirect: a.redirect,
		resource: a.resource.ID, scopes: a.scopes.String(), nonce: a.Nonce, proof: a.CodeChallenge, key: a.DPoPKey}
	return c.text(v.s.derived.code)
}

// record is the grant as it would lie here if the code had been kept. Whose it
// is comes from the session, when everything else is right.
func (c *borrowedCode) record(code string) *ledger.Grant {
	g := &ledger.Grant{Code: &ledger.Code{Hash: hashText(code), Until: c.until, RedirectURI: c.redirect, Challenge: c.proof, Key: c.key}}
	g.ID, g.Client, g.Resource, g.Scopes, g.Nonce = c.grant, c.client, c.resource, scopesOf(c.scopes), c.nonce
	g.Type, g.Created, g.Expires = oauth.AuthorizationCode, c.until.Add(-codeLife), c.until
	g.Subject.Session = c.session
	return g
}

// scopesOf is a scope string that we wrote.
func scopesOf(text string) oauth.Scopes {
	if text == "" {
		return nil
	}
	return strings.Split(text, " ")
}

// errNotLent: the session or the consent that a code stands on is not there any more.
var errNotLent = errors.New("the session or the consent behind the code is over")

// lender is whose session lends a code what it stands on, with the ops that let a
// commit through only as long as it does. errNotLent if the session is over, the
// consent does not cover the scopes any more, or everything at the server was ended
// since the code was made.
func (s *Server) lender(ctx context.Context, a *asked, g *ledger.Grant) (oauth.Subject, []store.Op, error) {
	sess, ok, err := s.sessions.Named(ctx, g.Subject.Session)
	if err != nil {
		return oauth.Subject{}, nil, err
	}
	res := a.st.byID(g.Resource)
	if !ok || res == nil {
		return oauth.Subject{}, nil, errNotLent
	}
	cut, uncut, err := s.ledger.CutSince(ctx, g.Resource, g.Created)
	if err != nil {
		return oauth.Subject{}, nil, err
	}
	given, consent, err := s.heldConsents(ctx, sess.Subject.ID, a.client.client, res)
	if err != nil {
		return oauth.Subject{}, nil, err
	}
	if cut || len(given) == 0 || !given.HasAll(g.Scopes) {
		return oauth.Subject{}, nil, errNotLent
	}
	return sess.Subject, append(make([]store.Op, 0, 4), sess.Same(), uncut, consent), nil
}
