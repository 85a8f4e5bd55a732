package authserver

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"doorward/internal/access"
	"doorward/internal/jose"
	"doorward/internal/oauth"
	"doorward/store"
)

// Signing in at a provider is two requests of the browser: sendTo takes it
// there, callbackPage takes it back. Between them nothing is kept here: the
// attempt travels, sealed, as the state parameter.

// callbackRoute is where a provider sends people back to: /callback/NAME.
// Providers come and go by reloads, so they are no rows of the route table.
func (s *Server) callbackRoute(path string) (route, bool) {
	st := s.current()
	name, ok := strings.CutPrefix(path, st.path+"/callback/")
	if rt, is := s.samlRoute(path); is {
		return rt, true
	}
	p := st.provider(name)
	switch {
	case !ok || p == nil:
		return route{}, false
	case p.saml != nil:
		return route{[]string{http.MethodGet, http.MethodPost}, noCORS, s.samlCallback}, true
	}
	return route{[]string{http.MethodGet}, noCORS, s.callbackPage}, true
}

func (st *settings) callbackURL(p *provider) string { return st.cfg.URL + "/callback/" + p.Name }

// maxState bounds the state parameter: providers put it into URLs of theirs.
const maxState = 6 << 10

// sendTo takes the browser to a provider. a is what the person signs in for,
// nil if they came by themselves.
func (v *visit) sendTo(p *provider, at attempt, a *asking) {
	if p.saml != nil {
		v.sendToSAML(p, at, a)
		return
	}
	ctx := v.r.Context()
	meta, err := p.metadata(ctx)
	if err == nil && p.plain == nil {
		_, err = p.keys.Keys(ctx) // what cannot be checked later is not begun
	}
	if err != nil {
		v.providerDown(p, at, err)
		return
	}
	at.Provider = p.Name
	q := p.request(v.st.callbackURL(p), meta)
	v.wishes(q, &at, a, meta)
	if a != nil && p.resourceParameter(a.resource.ID) != "" {
		q.Set("resource", a.resource.ID)
	}
	id := newID()
	if p.plain == nil {
		q.Set("nonce", v.s.drawn("nonce", id))
	} else { // OpenID Connect's, and a plain provider would not hear them
		q.Del("max_age")
		q.Del("acr_values")
	}
	q.Set("code_challenge", oauth.S256(v.s.drawn("verifier", id)))
	state := v.sealAs(id, forReturn, at)
	if len(state) > maxState {
		v.tooLong(p)
		return
	}
	q.Set("state", state)
	sep := "?"
	if strings.Contains(meta.AuthorizationEndpoint, "?") { // RFC 6749 section 3.1: its own query stays
		sep = "&"
	}
	v.see(meta.AuthorizationEndpoint + sep + q.Encode())
}

func (v *visit) tooLong(p *provider) {
	v.fail(http.StatusBadRequest, failure{Title: "The request of the application is too long",
		Happened: "It does not fit into what leads to the sign-in at " + isolated(p.Title) + " and back.",
		Do:       "Tell the makers of the application: a shorter state or fewer scopes and resources.", Who: "the makers of the application"},
		errors.New("the state for the provider is too long"))
}

// wishes carries on what the client asked of the sign-in. Who must prove anew
// who they are, be it that a rule wants it, is not let through by a session
// that they have at the provider.
func (v *visit) wishes(q url.Values, at *attempt, a *asking, meta providerMetadata) {
	prompt := ""
	again := v.session != nil && at.SignedIn == "" && v.st.proxied == nil
	if a != nil {
		for name, value := range map[string]string{"login_hint": a.LoginHint, "acr_values": a.ACRValues, "max_age": a.MaxAge} {
			if value != "" {
				q.Set(name, value)
			}
		}
		if a.MaxAge == "" {
			if within := freshest(a.resource.rules); within > 0 { // the answer must say how old the sign-in is
				q.Set("max_age", strconv.FormatInt(seconds(within), 10))
			}
		}
		switch {
		case hasPrompt(a.AuthorizationRequest, "login"), again && !hasPrompt(a.AuthorizationRequest, "select_account"):
			prompt = "login"
		case hasPrompt(a.AuthorizationRequest, "select_account"):
			prompt = "select_account"
		}
	}
	switch {
	case at.Switch:
		prompt = "select_account"
		if !slices.Contains(meta.PromptValues, prompt) {
			prompt = "login" // the one that every provider knows
		}
	case prompt == "select_account" && (at.Anew || len(meta.PromptValues) > 0 && !slices.Contains(meta.PromptValues, prompt)):
		prompt = "login"
	}
	at.Fresh = prompt == "login"
	if prompt != "" { // beside the consent that the operator wants asked
		q.Set("prompt", strings.TrimSpace(prompt+" "+q.Get("prompt")))
	}
}

// freshest is the longest age of a sign-in that some rule of the resource
// bounds; 0: none does.
func freshest(rules access.Rules) time.Duration {
	var longest time.Duration
	for _, r := range rules.Allow {
		longest = max(longest, r.Require.SignedInWithin)
	}
	return longest
}

// drawn is a value of this attempt that nobody else can compute, so that it
// need not travel.
func (s *Server) drawn(use, id string) string {
	return base64.RawURLEncoding.EncodeToString(newMACKey(s.vault.Derive("sign-in")).mac([]byte(use + "\x00" + id)))
}

// callbackPage takes back a browser that a provider sent.
func (s *Server) callbackPage(w http.ResponseWriter, r *http.Request) {
	v := s.visit(w, r)
	p := v.st.provider(strings.TrimPrefix(r.URL.Path, v.st.path+"/callback/"))
	q, err := onceEach(r.URL.RawQuery)
	if p == nil || err != nil {
		v.answerLost(attempt{}, errors.Join(errNoAttempt, err))
		return
	}
	at, ok := v.backFrom(p, q.Get("state"))
	if !ok {
		return
	}
	meta, err := p.metadata(r.Context())
	if err != nil {
		v.providerDown(p, at, err)
		return
	}
	// RFC 9207 section 2.4: before anything else is believed. A plain provider has
	// no identifier to compare: that its redirect URI is its own tells it apart
	// (RFC 9700 section 4.4.2.2).
	if iss := q.Get("iss"); p.plain == nil && iss != p.Issuer && (q.Has("iss") || meta.AuthorizationResponseIss) {
		v.providerWrong(p, at, errors.New("the answer does not come from "+p.Issuer+" (iss)"))
		return
	}
	if q.Has("error") {
		v.providerSaidNo(p, at, q)
		return
	}
	who, tokens, err := v.fetchPerson(p, meta, at, q.Get("code"))
	if err != nil {
		v.providerFailed(p, at, err)
		return
	}
	v.takeIn(p, at, who, tokens)
}

// onceEach reads a query in which no parameter may stand twice.
func onceEach(raw string) (url.Values, error) {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return nil, errors.New("the query cannot be read")
	}
	for name, values := range q {
		if len(values) > 1 {
			return nil, errors.New("the query repeats " + oauth.Printable(name))
		}
	}
	return q, nil
}

// backFrom is the attempt of this browser with which a provider sends it back.
// false: a page was shown, since there is none, or it is over.
func (v *visit) backFrom(p *provider, sealed string) (attempt, bool) {
	at, _, err := v.unseal(forReturn, sealed)
	if err == nil && at.Provider != p.Name {
		at, err = attempt{}, errNoAttempt
	}
	if err != nil {
		v.answerLost(at, err)
		return at, false
	}
	return at, !v.alreadyBack(p, at)
}

// alreadyBack goes on with a sign-in that this very answer brought about
// before: somebody came by the back button. The code is not sent again, since
// providers take back what they gave for a code that comes twice.
func (v *visit) alreadyBack(p *provider, at attempt) bool {
	if v.session == nil {
		return false
	}
	if v.st.proxied != nil {
		return v.alreadyAnswered(p, at)
	}
	kept, err := v.s.wordOf(v.r.Context(), v.session.ID)
	if err != nil || kept.Attempt != at.ID || kept.Provider != p.Name {
		return false
	}
	at.SignedIn = v.session.Subject.ID
	v.goOn(at)
	return true
}

// fetchPerson redeems the code and finds out who it stands for.
func (v *visit) fetchPerson(p *provider, meta providerMetadata, at attempt, code string) (jose.Claims, providerTokens, error) {
	if code == "" || len(code) > maxRequest {
		return nil, providerTokens{}, errors.New("the provider's answer has no usable code")
	}
	// The work goes on if the person closes the page: the code is spent by it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(v.r.Context()), 2*issuerTimeout)
	defer cancel()
	client := issuerClient(v.st.cfg.HTTP)
	form := url.Values{"grant_type": {oauth.AuthorizationCode}, "code": {code},
		"redirect_uri": {v.st.callbackURL(p)}, "code_verifier": {v.s.drawn("verifier", at.ID)}}
	if id := v.resourceAt(p, at); id != "" {
		form.Set("resource", id)
	}
	tokens, err := p.redeem(ctx, client, meta, form)
	if err != nil {
		return nil, tokens, err
	}
	if p.plain != nil {
		claims, err := p.describe(ctx, client, tokens.AccessToken)
		return claims, tokens, err
	}
	claims, err := p.checkIDToken(ctx, tokens.IDToken, v.s.drawn("nonce", at.ID), v.s.now())
	if err != nil {
		return nil, tokens, err
	}
	return claims, tokens, p.complete(ctx, client, meta, claims, tokens.AccessToken)
}

// takeIn makes the session of somebody whom a provider brought.
func (v *visit) takeIn(p *provider, at attempt, claims jose.Claims, tokens providerTokens) {
	ctx := v.r.Context()
	subject, err := p.subject(claims)
	if err == nil {
		err = v.freshEnough(at, subject)
	}
	if err == nil && p.ExistingOnly {
		if _, missing := v.s.ledger.Account(ctx, subject.ID); notFound(missing) {
			err = &noAccount{subject.ID}
		} else {
			err = missing
		}
	}
	if err != nil {
		v.providerFailed(p, at, err)
		return
	}
	// The state is good once: a second answer to it finds this name used.
	if err := v.s.ledger.Store.Commit(ctx, store.Once("sign-in/"+at.ID, at.Until)); err != nil {
		v.providerFailed(p, at, err)
		return
	}
	if v.st.proxied != nil {
		v.takeInProxied(p, at, claims, subject, tokens)
		return
	}
	word, issued, err := wordOn(p, subject, claims)
	if err != nil {
		v.providerFailed(p, at, err)
		return
	}
	word.Attempt, word.Ends, word.Checked, word.Since = at.ID, v.ends, v.s.now(), v.s.now()
	v.startSession(subject, at, func(session string) error {
		return v.s.keepSignIn(ctx, v.st, p, session, word, tokens, issued)
	})
}

// noAccount: the provider may not make accounts, and this person has none.
type noAccount struct{ person string }

func (e *noAccount) Error() string { return e.person + " has no account here" }

// notFresh: the provider let somebody through who should have proved anew who
// they are.
type notFresh struct{}

func (notFresh) Error() string {
	return "the provider was asked for a fresh sign-in and gave an older one, or did not say how old it is"
}

// freshEnough checks that a wish for a fresh sign-in was heard (OpenID Connect
// Core section 3.1.2.1: with max_age the answer says auth_time).
func (v *visit) freshEnough(at attempt, who oauth.Subject) error {
	begun := at.Until.Add(-attemptLife - assertionSkew)
	if at.Fresh && !who.AuthTime.IsZero() && who.AuthTime.Before(begun) {
		return notFresh{}
	}
	if at.Request == nil || at.Request.MaxAge == "" {
		return nil
	}
	a, err := v.examine(at)
	if err != nil {
		return err
	}
	if who.AuthTime.IsZero() || who.AuthTime.Before(begun.Add(-a.maxAge)) {
		return notFresh{}
	}
	return nil
}
