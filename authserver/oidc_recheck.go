package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/internal/login"
	"doorward/internal/oauth"
	"doorward/store"
)

// lastWord is what a provider last said of a person who signed in there, by
// our session. It outlives the session as long as a grant of it may live.
type lastWord struct {
	Provider string    `json:"provider"`
	Issuer   string    `json:"issuer,omitempty"` // of the provider: a name may be given to another one
	Person   string    `json:"person"`
	Sub      string    `json:"sub"` // whom the provider means
	Tenant   string    `json:"tenant,omitempty"`
	SID      string    `json:"sid,omitempty"` // how the provider calls its session
	Attempt  string    `json:"attempt"`       // the sign-in that brought it about
	Since    time.Time `json:"since"`         // when they signed in
	Checked  time.Time `json:"checked"`       // when the provider last said yes
	Tried    time.Time `json:"tried,omitzero"`
	Ends     time.Time `json:"ends,omitzero"`     // when the provider's own session ends, if it said so
	Refresh  []byte    `json:"refresh,omitempty"` // the provider's refresh token, sealed; nil: it gave none
	// Access is the access token of a plain provider that gave no refresh token
	// and no end of it, sealed.
	Access []byte `json:"access,omitempty"`
	Over   bool   `json:"over,omitempty"` // the sign-in ended, and what came of it is being ended

	version uint64
	expires time.Time
}

// recheckRest is the least time between two questions about one session.
const recheckRest = 30 * time.Second

func wordPlace(session string) string   { return "upstream/" + session }
func accessPlace(session string) string { return "upstream-access/" + session }

func (s *Server) wordOf(ctx context.Context, session string) (lastWord, error) {
	rec, err := s.ledger.Store.Get(ctx, ledger.KindUpstream, session)
	if err != nil {
		return lastWord{}, err
	}
	return s.parseWord(rec)
}

// parseWord reads what a provider said; its slices are not to be written to.
func (s *Server) parseWord(rec store.Record) (lastWord, error) {
	w, err := ledger.Parse[lastWord](s.ledger, rec)
	if err != nil {
		return w, fmt.Errorf("what the provider said cannot be read: %w", err)
	}
	w.version, w.expires = rec.Version, rec.Expires
	return w, nil
}

func (s *Server) wordOp(session string, w lastWord) store.Op {
	value, err := json.Marshal(w)
	if err != nil {
		panic("authserver: record of a provider cannot be encoded: " + err.Error()) // our own type only
	}
	rec := store.Record{Kind: ledger.KindUpstream, Key: session, Value: value, Expires: w.expires, Version: w.version,
		Index: []string{"person=" + w.Person, upstreamName(w.Issuer, "sub", w.Sub)}}
	if w.SID != "" {
		rec.Index = append(rec.Index, upstreamName(w.Issuer, "sid", w.SID))
	}
	if w.version == 0 {
		return store.Create(rec)
	}
	return store.Put(rec)
}

// keepWord keeps what a sign-in brought.
func (s *Server) keepWord(ctx context.Context, st *settings, p *provider, session string, w lastWord, tokens providerTokens) error {
	w.expires = w.Since.Add(login.Lifetime + st.tokens.RefreshMax)
	switch {
	case tokens.RefreshToken != "":
		w.Refresh = s.vault.Seal(wordPlace(session), []byte(tokens.RefreshToken))
	case p.plain != nil && len(tokens.ExpiresIn) == 0:
		w.Access = s.vault.Seal(accessPlace(session), []byte(tokens.AccessToken))
	}
	return s.ledger.Store.Commit(ctx, s.wordOp(session, w))
}

// wordOn is what a provider says of somebody, and when it said so; the zero time
// if it is none that says.
func wordOn(p *provider, who oauth.Subject, c jose.Claims) (w lastWord, issued time.Time, err error) {
	w = lastWord{Provider: p.Name, Issuer: p.Issuer, Person: who.ID, Tenant: who.Tenant, Sub: who.Account}
	if p.plain != nil {
		return w, issued, nil
	}
	if w.Sub, err = c.Text("sub"); err != nil {
		return w, issued, err
	}
	if w.SID, err = c.Text("sid"); err != nil {
		return w, issued, err
	}
	issued, err = c.Time("iat")
	return w, issued, err
}

// keepSignIn is keepWord, unless the provider ended the sign-in while it was
// under way: a logout leaves its mark before it looks for sign-ins, so one of
// the two sees the other.
func (s *Server) keepSignIn(ctx context.Context, st *settings, p *provider, session string, w lastWord, tokens providerTokens, issued time.Time) error {
	if err := s.keepWord(ctx, st, p, session, w, tokens); err != nil || issued.IsZero() {
		return err
	}
	over, err := s.loggedOut(ctx, w, issued)
	if err == nil && over {
		err = &oauth.Error{Code: oauth.AccessDenied, Status: http.StatusForbidden, Reason: "provider_over", Err: errGone,
			Description: "the provider ended this sign-in while it was under way"}
	}
	if err != nil {
		return errors.Join(err, s.endSignIn(context.WithoutCancel(ctx), oauth.Subject{ID: w.Person, Session: session}, "ended while it was under way", new(ledger.Receipt)))
	}
	return nil
}

var (
	// errGone: the provider does not stand by the person any more, or cannot
	// be asked whether it does.
	errGone = errors.New("the provider does not stand by this sign-in any more")
	// errUpstream: the provider did not answer, for too long.
	errUpstream = errors.New("the provider that the person signed in at does not answer")
)

// recheck asks the provider behind a sign-in whether it still stands by it, if
// its last word is older than Recheck. While it does not answer its last word
// holds for another Recheck. Local people and sign-ins by other means pass.
func (s *Server) recheck(ctx context.Context, st *settings, who oauth.Subject) error {
	return s.recheckWithin(ctx, st, who, 0)
}

// recheckWithin is recheck with a bound of its own on the age of the last word,
// unless the operator's is shorter or the provider is never asked; 0: none.
func (s *Server) recheckWithin(ctx context.Context, st *settings, who oauth.Subject, within time.Duration) error {
	if who.Provider == "" || who.Session == "" {
		return nil
	}
	p := st.provider(who.Provider)
	w, err := s.wordOf(ctx, who.Session)
	switch {
	case notFound(err) && p == nil:
		return nil // signed in by a way of the program's own
	case notFound(err):
		return errGone
	case err != nil:
		return err
	case w.Over || p == nil || p.Name != w.Provider || w.Issuer != "" && w.Issuer != p.Issuer:
		return errGone
	}
	if within == 0 || within > p.Recheck {
		within = p.Recheck
	}
	now := s.now()
	switch {
	case !w.Ends.IsZero() && !now.Before(w.Ends):
		return errGone
	case p.Recheck < 0 || now.Sub(w.Checked) < within:
		return nil
	case !w.canAsk() && now.Sub(w.Since) < login.Lifetime:
		return nil // it cannot be asked: a sign-in is good for as long as a session
	case !w.canAsk():
		return errGone
	case now.Sub(w.Tried) < recheckRest:
		return s.heard(ctx, p, who.Session)
	}
	done, first := s.questions.begin(who.Session)
	if !first {
		return s.heard(ctx, p, who.Session)
	}
	defer done()
	// Whoever writes first asks: two requests with one refresh token would look
	// like a stolen one.
	w.Tried = now
	err = s.ledger.Store.Commit(ctx, s.wordOp(who.Session, w))
	if errors.Is(err, store.ErrConflict) { // another process asks, or has ended it
		return s.newest(ctx, p, who.Session)
	}
	if err != nil {
		return err
	}
	w.version++
	return s.ask(context.WithoutCancel(ctx), st, p, who, w)
}

func (w lastWord) canAsk() bool { return w.Refresh != nil || w.Access != nil }

// standing is what holds while there is no new word.
func (w lastWord) standing(p *provider, now time.Time) error {
	if now.Sub(w.Checked) < 2*p.Recheck {
		return nil
	}
	return errUpstream
}

// ask refreshes the sign-in at the provider, and ends what came of it if the
// provider says that it is over.
func (s *Server) ask(ctx context.Context, st *settings, p *provider, who oauth.Subject, w lastWord) error {
	refresh, access, err := s.keptTokens(who.Session, w)
	if err != nil {
		return err
	}
	tokens, err := p.ask(ctx, issuerClient(st.cfg.HTTP), refresh, access, w.Sub, s.now())
	if tokens.RefreshToken != "" { // the one before may be spent, whatever else is wrong
		w.Refresh = s.vault.Seal(wordPlace(who.Session), []byte(tokens.RefreshToken))
	}
	switch {
	case isRefused(err), errors.Is(err, errSomebodyElse), errors.Is(err, errTokenOver):
		return errors.Join(errGone, s.endSignIn(ctx, who, p.Name+" said that the sign-in is over", new(ledger.Receipt)))
	case err != nil:
		s.log.ErrorContext(ctx, "a provider does not say whether a sign-in still stands", "provider", p.Name, "person", who.ID, "error", err)
		err = w.standing(p, s.now())
	default:
		w.Checked, w.Tried = s.now(), time.Time{}
	}
	return errors.Join(err, s.keepAsked(ctx, who, w))
}

// keptTokens opens what a sign-in can be asked about with; "": it is not there.
func (s *Server) keptTokens(session string, w lastWord) (refresh, access string, err error) {
	for _, kept := range []struct {
		place  string
		sealed []byte
		to     *string
	}{{wordPlace(session), w.Refresh, &refresh}, {accessPlace(session), w.Access, &access}} {
		if kept.sealed == nil {
			continue
		}
		plain, err := s.vault.Open(kept.place, kept.sealed)
		if err != nil {
			return "", "", err
		}
		*kept.to = string(plain)
	}
	return refresh, access, nil
}

// ask refreshes a sign-in. The tokens are those that came, be it with an error.
func (p *provider) ask(ctx context.Context, client *http.Client, refresh, access, sub string, now time.Time) (providerTokens, error) {
	if p.plain != nil {
		return p.askPlain(ctx, client, refresh, access, sub)
	}
	meta, err := p.metadata(ctx)
	if err != nil {
		return providerTokens{}, err
	}
	tokens, err := p.redeem(ctx, client, meta, url.Values{"grant_type": {oauth.RefreshToken}, "refresh_token": {refresh}})
	if err == nil && tokens.IDToken != "" { // OpenID Connect Core section 12.2
		err = p.sameAs(ctx, tokens.IDToken, sub, now)
	}
	return tokens, err
}

// keepAsked writes what came of a question.
func (s *Server) keepAsked(ctx context.Context, who oauth.Subject, w lastWord) error {
	err := s.ledger.Store.Commit(ctx, s.wordOp(who.Session, w))
	if errors.Is(err, store.ErrConflict) {
		return errGone // it was ended meanwhile
	}
	return err
}

var errSomebodyElse = errors.New("the refreshed ID token is about somebody else")

func (p *provider) sameAs(ctx context.Context, token, sub string, now time.Time) error {
	c, err := p.checkIDToken(ctx, token, "", now)
	if err != nil {
		return err
	}
	if is, err := c.Text("sub"); err != nil || is != sub {
		return errSomebodyElse
	}
	return nil
}

// recheckFor is recheckWithin as a token request hears of it.
func (s *Server) recheckFor(ctx context.Context, a *asked, who oauth.Subject, within time.Duration) error {
	err := s.recheckWithin(ctx, a.st, who, within)
	switch {
	case errors.Is(err, errGone):
		return a.invalid("provider_over", err)
	case errors.Is(err, errUpstream):
		return &oauth.Error{Code: oauth.TemporarilyUnavailable, Reason: "provider_down", Err: err,
			Description: "the sign-in behind this cannot be verified at the moment: try again in a minute"}
	}
	return err
}
