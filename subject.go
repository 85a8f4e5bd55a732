package doorward

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// Subject is the person for whom a request is sent.
type Subject struct {
	// Person is how this program tells people apart: tokens of one are never
	// used for another. Empty: the SHA-256 of Token, so that a new Token is a
	// new person.
	Person string
	// Token proves the person to the IdP: the ID token that this program got at
	// sign-in, or what Type says. Empty: Renew brings it.
	Token string
	// Type is the token type of Token (RFC 8693 section 3): that of an ID token,
	// a refresh token of the IdP or a SAML 2.0 assertion (as XML or in base64url).
	// Empty: urn:ietf:params:oauth:token-type:id_token.
	Type string
	// Until is when Token ends. Zero: its exp, if it is a JWT; else not known.
	Until time.Time
	// Renew brings a Token when one is needed and there is none, it has ended or
	// the IdP calls it invalid, or a new sign-in is demanded ([StepUp] tells by
	// ctx); it may ask the person. It is called once at a time for a Person and a
	// demand, and what it brings is kept in memory until it ends; where no end is
	// known, a refresh token is used until it is refused and another Token once.
	// nil: there is no other Token.
	Renew func(ctx context.Context) (Subject, error)
	// Keep gets the refresh token that has taken the place of Token: the IdP
	// rotated it, or made it of a SAML assertion. Whoever keeps sign-ins saves it;
	// an error fails the attempt. nil: this Transport has it in memory only.
	Keep func(ctx context.Context, s Subject) error
	// Actor is a token that proves who acts for the person, ActorType its token
	// type (RFC 8693 section 2.1; empty: that of a JWT). Empty: there is none.
	// Tokens are told apart by Person alone, so each actor needs names of its own.
	Actor, ActorType string
}

// named is a Subject with a Person: the hash of its Token if it has none.
func (s Subject) named() Subject {
	if s.Person == "" && s.Token != "" {
		s.Person = "sha256:" + digest(s.Token)
	}
	return s
}

func digest(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// leeway is how far the IdP's clock may be behind ours before a token that is
// over by its exp is not sent.
const leeway = time.Minute

// proof is what proves a person to the IdP.
type proof struct {
	token, kind string
	until       time.Time // zero: not known
	new         bool      // Renew brought it just now
}

func (s Subject) proof() proof {
	p := proof{token: s.Token, kind: s.Type, until: s.Until}
	if p.kind == "" {
		p.kind = oauth.TokenTypeIDToken
	}
	if p.until.IsZero() && p.kind != oauth.TokenTypeSAML2 {
		p.until = expOf(p.token)
	}
	if p.kind == oauth.TokenTypeSAML2 && strings.HasPrefix(strings.TrimSpace(p.token), "<") {
		p.token = base64.RawURLEncoding.EncodeToString([]byte(p.token)) // RFC 8693 section 3
	}
	return p
}

// over reports whether it is of no use any more, whatever clock the IdP has.
func (p proof) over(now time.Time) bool { return !p.until.IsZero() && now.After(p.until.Add(leeway)) }

// expOf is the exp of a JWT; zero if it is none.
func expOf(token string) time.Time {
	_, claims, err := jose.Peek(token)
	if err != nil {
		return time.Time{}
	}
	exp, err := claims.Time("exp")
	if err != nil {
		return time.Time{}
	}
	return exp
}

// proofKey names what proves a person: presented is the digest of what the
// program gave; empty: what its Renew brings.
type proofKey struct{ idp, client, person, presented string }

// proving is what Renew is called for.
type proving struct {
	proofKey
	demand demand
}

// prove finds what proves the person: what took the place of the Token that
// the program gave, that Token, or what Renew brings. past is what the IdP has
// refused; where a new sign-in is demanded, everything is past.
func (f *CrossApp) prove(ctx context.Context, w want, idp *oauth.ServerMetadata, past string) (key proofKey, p proof, err error) {
	s := w.subject
	key = proofKey{idp: idp.Issuer, client: f.IdP.ID, person: s.Person}
	given := s.proof()
	if s.Token != "" && (s.Renew == nil || !given.over(w.t.now().Add(leeway+requestTime))) {
		key.presented = digest(s.Token)
	}
	if held, ok := f.proven(w, key, past); ok {
		return key, held, nil
	}
	switch {
	case s.Renew != nil && (key.presented == "" || w.demand.login):
		p, err = w.t.state.proving.do(ctx, proving{key, w.demand}, func(ctx context.Context) (proof, error) { return f.renew(ctx, w, key, past) })
		return key, p, err
	case s.Token == "":
		return key, p, f.unproved("Subject has no Token to exchange", nil)
	case given.over(w.t.now()):
		return key, p, f.unproved("the token that proves the person has ended at "+given.until.UTC().Format(time.RFC3339), nil)
	}
	return key, given, nil
}

// proven is what is held and may do. Where a new sign-in is demanded, that is
// only what came after the proof that the IdP has refused.
func (f *CrossApp) proven(w want, key proofKey, past string) (proof, bool) {
	held, ok := w.t.state.proofs.get(w.t.now(), key)
	if w.demand.login && w.subject.Renew != nil {
		ok = ok && past != "" && held.token != past
	}
	return held, ok
}

// renew asks the program for a Token, for all who wait for it.
func (f *CrossApp) renew(ctx context.Context, w want, key proofKey, past string) (proof, error) {
	if held, ok := f.proven(w, key, past); ok {
		return held, nil
	}
	s, err := w.subject.Renew(w.demand.in(ctx))
	if err != nil {
		return proof{}, f.unproved("the person's token could not be renewed", err)
	}
	p := s.proof()
	switch {
	case s.Person != "" && s.Person != key.person:
		return proof{}, &Error{Step: stepSubject, Server: f.idpName(), Who: whoMaker, Description: "Renew brought the token of another person"}
	case p.token == "":
		return proof{}, f.unproved("Renew brought no Token", nil)
	case p.over(w.t.now()):
		return proof{}, f.unproved("Renew brought a token that has ended", nil)
	}
	switch {
	case !p.until.IsZero():
		w.t.state.proofs.put(w.t.now(), key, p, p.until.Add(-requestTime))
	case p.kind == oauth.TokenTypeRefreshToken:
		w.t.state.proofs.put(w.t.now(), key, p, time.Time{}) // until it is refused
	default:
		w.t.state.proofs.drop(key) // what came before must not take its place
	}
	p.new = true
	return p, nil
}

// disprove forgets what the IdP refused.
func (f *CrossApp) disprove(w want, key proofKey, p proof) {
	w.t.state.proofs.dropIf(key, func(held proof) bool { return held.token == p.token })
}

// unproved is the error that nothing proves the person.
func (f *CrossApp) unproved(description string, err error) error {
	if err != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return &Error{Step: stepSubject, Server: f.idpName(), Retry: true, Description: description, Err: err}
	}
	return &Error{Step: stepSubject, Server: f.idpName(), Who: whoPerson, Description: description, Err: err}
}

// replace puts a refresh token in the place of what proved the person before.
func (f *CrossApp) replace(ctx context.Context, w want, key proofKey, token string, until time.Time) error {
	p := proof{token: token, kind: oauth.TokenTypeRefreshToken, until: until}
	w.t.state.proofs.put(w.t.now(), key, p, until)
	if w.subject.Keep == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	err := w.subject.Keep(ctx, Subject{Person: w.subject.Person, Token: token, Type: p.kind, Until: until})
	if err != nil {
		return &Error{Step: stepSubject, Server: f.idpName(), Who: whoMaker, Description: "the person's new refresh token could not be kept", Err: err}
	}
	return nil
}

// turns lets one at a time do what has a key.
type turns[K comparable] struct {
	mu sync.Mutex
	m  map[K]*turn
}

type turn struct {
	ch   chan struct{}
	want int
}

// take waits for the turn, and returns what ends it.
func (t *turns[K]) take(ctx context.Context, key K) (func(), error) {
	t.mu.Lock()
	one, ok := t.m[key]
	if !ok {
		one = &turn{ch: make(chan struct{}, 1)}
		if t.m == nil {
			t.m = map[K]*turn{}
		}
		t.m[key] = one
	}
	one.want++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if one.want--; one.want == 0 {
			delete(t.m, key)
		}
	}
	select {
	case one.ch <- struct{}{}:
		return func() { <-one.ch; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
