package authserver

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"

	"doorward/internal/jose"
	"doorward/internal/oauth"
	"doorward/store"
)

// Mode proxy: every grant has a sign-in at the separate server of its own,
// whose tokens lie in the vault beside it (proxy_vault.go). The order of the
// pages is another one than in mode direct: consent comes before the browser
// leaves, whoever it may be that comes back (AS-PROXY-01, SEC-01).

// nextProxied decides what is still missing of an approved client's request.
func (v *visit) nextProxied(a *asking, at attempt) (step, error) {
	if v.session == nil && v.unread != nil {
		return 0, v.unread
	}
	brought := false
	if v.session != nil && !v.mustSignIn(a, at) {
		pending, err := v.s.pendingUpstream(v.r.Context(), v.session.ID)
		if err != nil {
			return 0, err
		}
		brought = pending.Access != nil && pending.Target == v.st.proxied.resourceParameter(a.resource.ID)
	}
	silent := hasPrompt(a.AuthorizationRequest, "none")
	if !brought {
		return v.beforeLeaving(a, at, silent)
	}
	subject := v.session.Subject
	if err := v.s.ledger.CheckPerson(v.r.Context(), subject.ID); err != nil {
		return 0, err
	}
	answer, err := v.s.mayReach(v.r.Context(), v.st, a.resource, subject, a.client.ID)
	if err != nil {
		return 0, err
	}
	if !answer.Allowed {
		return 0, &ruledOut{answer, a}
	}
	if v.agreed(a, at) {
		return toClient, nil
	}
	ask, err := v.mustConsent(a)
	switch {
	case err != nil:
		return 0, err
	case ask && silent:
		return 0, consentRequired()
	case ask:
		return toConsent, nil
	}
	return toClient, nil
}

// beforeLeaving is what comes before the separate server is asked.
func (v *visit) beforeLeaving(a *asking, at attempt, silent bool) (step, error) {
	ask := !v.agreed(a, at)
	if ask && v.session != nil {
		var err error
		if ask, err = v.mustConsent(a); err != nil {
			return 0, err
		}
	}
	switch {
	case ask && silent:
		return 0, consentRequired()
	case silent:
		return 0, &oauth.Error{Code: oauth.LoginRequired, Description: "people sign in elsewhere for each access, which cannot be done without a page"}
	case ask:
		return toConsent, nil
	}
	return toSignIn, nil
}

func consentRequired() error {
	return &oauth.Error{Code: oauth.ConsentRequired, Description: "the person has to consent"}
}

// agreed reports whether somebody said yes in this very attempt to exactly
// this, and nobody else came back than whom the page named, if it named anybody.
func (v *visit) agreed(a *asking, at attempt) bool {
	return at.Agreed != "" && at.Agreed == agreement(a) && (at.Person == "" || v.session == nil || at.Person == v.session.Subject.ID)
}

// agreement names all that a consent page says.
func agreement(a *asking) string {
	b, err := json.Marshal([]any{a.client.ID, a.redirect, a.resource.ID, a.scopes, a.details, described(*a.client)})
	if err != nil {
		panic("authserver: agreement: " + err.Error()) // strings only
	}
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// agree takes a yes along, to the separate server if that was not asked yet.
func (v *visit) agree(a *asking, at attempt) {
	at.Agreed, at.AgreedIn, at.AgreedUntil = agreement(a), at.ID, at.Until
	v.goOn(at)
}

// approveProxied makes the grant with the tokens that the sign-in brought, and
// spends the consent of this attempt in the same commit.
func (v *visit) approveProxied(a *asking, at attempt) {
	ctx, subject := v.r.Context(), v.session.Subject
	id := orderedText(v.s.now(), idSize)
	more, err := v.s.takePending(ctx, v.st, v.session.ID, id)
	if err == nil && at.Agreed != "" {
		more = append(more, store.Once("consent/"+at.AgreedIn, at.AgreedUntil.Add(2*attemptLife+afterwards)))
		if a.device == nil {
			var remembered oauth.Scopes
			remembered, err = v.s.consents(ctx, subject.ID, a.client, a.resource)
			more = append(more, v.s.consentOp(subject.ID, a, remembered.Union(a.scopes)))
		}
	}
	switch {
	case errors.Is(err, errNotPending):
		v.turnDown(a, &oauth.Error{Code: oauth.TemporarilyUnavailable, Status: http.StatusConflict, Err: err,
			Description: "this sign-in was used by another page: try again"})
	case err != nil:
		v.turnDown(a, err)
	case a.device != nil:
		v.approveDeviceAs(a, id, more...)
	default:
		v.approveAs(a, id, more...)
	}
}

// alreadyAnswered goes on with a sign-in whose answer came before: somebody
// came by the back button. Its code is not sent again.
func (v *visit) alreadyAnswered(p *provider, at attempt) bool {
	kept, err := v.s.pendingUpstream(v.r.Context(), v.session.ID)
	if err != nil || kept.Attempt != at.ID || kept.Issuer != p.Issuer {
		return false
	}
	at.SignedIn = v.session.Subject.ID
	v.goOn(at)
	return true
}

// takeInProxied makes the session of somebody whom the separate server brought,
// and keeps its tokens for the grant that is next.
func (v *visit) takeInProxied(p *provider, at attempt, claims jose.Claims, who oauth.Subject, tokens providerTokens) {
	sub, err := who.Account, error(nil)
	if p.plain == nil {
		sub, err = claims.Text("sub")
	}
	if err == nil {
		err = tokens.usable()
	}
	if err != nil {
		v.providerFailed(p, at, err)
		return
	}
	u := upstreamTokens{Person: who.ID, Issuer: p.Issuer, Sub: sub, Attempt: at.ID, Target: v.resourceAt(p, at)}
	v.startSession(who, at, func(session string) error { return v.s.keepPending(v.r.Context(), session, u, tokens) })
}

// resourceAt is the resource parameter of an attempt's token request there.
func (v *visit) resourceAt(p *provider, at attempt) string {
	if at.Request == nil {
		return ""
	}
	a, err := v.examine(at)
	if err != nil {
		return ""
	}
	return p.resourceParameter(a.resource.ID)
}
