package authserver

import (
	"errors"
	"net/http"
	"net/url"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// The pages of what can go wrong on the way. Each leads back to the sign-in.

// failAtProvider shows a page with a way to try again and, for a client that
// people may be sent to, a way back to it.
func (v *visit) failAtProvider(p *provider, at attempt, status int, page failure, code string, cause error) {
	cause = &oauth.Error{Code: oauth.AccessDenied, Reason: code, Description: "sign-in at " + p.Name, Err: cause}
	page.Reference = v.keepPage(cause)
	again := at
	again.Provider, again.Fresh, again.SignedIn = "", false, ""
	again.Switch = again.Switch || status == http.StatusForbidden // the same account would not get further
	if v.browser() != "" {                                        // else nobody knows whose attempt it would be
		page.Again = v.st.path + "/login?attempt=" + v.seal(forLogin, again)
	}
	if at.Request != nil {
		if a, err := v.examine(at); err == nil && trusted(a) {
			page.Link = v.errorURL(a, v.referred(&oauth.Error{Code: oauth.AccessDenied, Description: "nobody signed in"}, page.Reference))
			page.LinkHost = hostOf(a.redirect)
		}
	}
	v.fail(status, page, cause)
}

func (v *visit) providerDown(p *provider, at attempt, cause error) {
	v.w.Header().Set("Retry-After", "10")
	v.failAtProvider(p, at, http.StatusServiceUnavailable, failure{Title: isolated(p.Title) + " does not answer",
		Happened: "People sign in here by " + isolated(p.Title) + ", which cannot be reached at the moment.",
		Do:       "Try again in a minute: it is asked anew each time. If it stays, tell an administrator the reference.",
		Who:      "whoever runs " + isolated(p.Title)}, "provider_down", cause)
}

func (v *visit) providerWrong(p *provider, at attempt, cause error) {
	v.failAtProvider(p, at, http.StatusBadGateway, failure{Title: "The answer of " + isolated(p.Title) + " is not acceptable",
		Happened: "What came back from the sign-in there does not belong to it, or cannot be verified. Nobody was signed in. The reason is in the log.",
		Do:       "Try again. If it stays, tell an administrator the reference.", Who: "an administrator of " + v.st.name}, "provider_answer", cause)
}

// providerSaidNo answers an error of the provider (OpenID Connect Core section
// 3.1.2.6).
func (v *visit) providerSaidNo(p *provider, at attempt, q url.Values) {
	e := &providerError{status: http.StatusOK}
	e.Code, e.Description = oauth.Printable(q.Get("error")), oauth.Printable(q.Get("error_description"))
	said := e.Code
	if e.Description != "" {
		said += ": " + e.Description
	}
	switch e.Code {
	case oauth.TemporarilyUnavailable, oauth.ServerError:
		v.providerDown(p, at, e)
	case oauth.AccessDenied:
		v.failAtProvider(p, at, http.StatusForbidden, failure{Title: "You were not signed in",
			Happened: isolated(p.Title) + " did not let you in, or you stopped there (" + said + ").",
			Do:       "Try again, or ask whoever runs " + isolated(p.Title) + " whether this application is meant for you.",
			Who:      "you, else whoever runs " + isolated(p.Title)}, "provider_denied", e)
	case oauth.InvalidRequest:
		if v.askAnew(p, at) {
			return
		}
		fallthrough
	default:
		v.failAtProvider(p, at, http.StatusBadGateway, failure{Title: "The sign-in at " + isolated(p.Title) + " did not work",
			Happened: "It answered: " + said + ".",
			Do:       "Try again. If it stays, tell an administrator the reference.", Who: "an administrator of " + v.st.name}, "provider_error", e)
	}
}

// askAnew goes back to a provider that refused prompt=select_account, which
// providers may (OpenID Connect Core section 3.1.2.1) and need not announce.
func (v *visit) askAnew(p *provider, at attempt) bool {
	if at.Anew || at.Request == nil || !hasPrompt(*at.Request, "select_account") || p.plain != nil {
		return false
	}
	a, err := v.examine(at)
	if err != nil {
		return false
	}
	at.Anew = true
	v.sendTo(p, at, a)
	return true
}

// providerFailed tells what is wrong with a sign-in that came back.
func (v *visit) providerFailed(p *provider, at attempt, err error) {
	var r *rejection
	var none *noAccount
	var said *providerError
	var network *url.Error
	switch {
	case errors.Is(err, ledger.ErrLeft):
		v.signInFailed(err)
	case errors.Is(err, store.ErrSeen):
		v.failAtProvider(p, at, http.StatusBadRequest, failure{Title: "This was answered already",
			Happened: "The page belongs to a sign-in that has ended; it can bring somebody in only once.",
			Do:       "Go back to the application, or sign in again.", Who: "you"}, "state_used", err)
	case errors.As(err, &none):
		v.failAtProvider(p, at, http.StatusForbidden, failure{Title: "You have no account here",
			Happened: "You signed in at " + isolated(p.Title) + ", which may not make accounts at " + v.st.name + ".",
			Do:       "Ask an administrator for an account.", Who: "an administrator of " + v.st.name}, "no_account", err)
	case errors.As(err, &r) && (r.reason == "tenant" || r.reason == "account"):
		v.failAtProvider(p, at, http.StatusForbidden, failure{Title: "This account cannot be used here",
			Happened: "You signed in at " + isolated(p.Title) + " with an account that " + v.st.name + " does not take. The reason is in the log.",
			Do:       "Try again with another account, or tell an administrator the reference.", Who: "an administrator of " + v.st.name}, r.reason, err)
	case errors.Is(err, notFresh{}) && p.plain != nil:
		v.failAtProvider(p, at, http.StatusForbidden, failure{Title: "A fresh sign-in is needed",
			Happened: "The application wants to know how long ago you signed in, and " + isolated(p.Title) + " does not say when that was.",
			Do:       "Sign in another way, if there is one.", Who: "an administrator of " + v.st.name}, "not_fresh", err)
	case errors.Is(err, notFresh{}):
		v.failAtProvider(p, at, http.StatusForbidden, failure{Title: "A fresh sign-in is needed",
			Happened: isolated(p.Title) + " was asked to let you sign in anew and did not.",
			Do:       "Sign out there, then try again.", Who: "you, else whoever runs " + isolated(p.Title)}, "not_fresh", err)
	case errors.As(err, &network), errors.As(err, &said) && said.status >= http.StatusInternalServerError:
		v.providerDown(p, at, err)
	default:
		v.providerWrong(p, at, err)
	}
}
