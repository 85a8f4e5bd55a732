package authserver

import (
	"errors"
	"net/http"
	"strings"

	"doorward/internal/audit"
	"doorward/internal/ledger"
	"doorward/internal/login"
	"doorward/internal/oauth"
	"doorward/store"
)

// Attempts is where this issuer's refusals are kept under their references,
// for `doorward why` and for gateways in the same process.
func (s *Server) Attempts() *audit.Attempts { return s.attempts }

// attemptError is a refusal with what is known about who was refused.
type attemptError struct {
	error
	event audit.Event
	known bool // the caller proved who they are, or named something genuine
}

func (e *attemptError) Unwrap() error { return e.error }

// refused is the error of a token request with what it found out. What
// strangers cause (no secret shown that an administrator gave, no genuine grant
// or assertion named) is kept in memory only, so that they cannot fill a disk.
func (a *asked) refused(err error) error {
	a.seen.Action = "token.refuse"
	proven := a.client.proven && a.client.client.OfAdministrator()
	return &attemptError{err, a.seen, proven || a.seen.Grant != "" || a.seen.Person != ""}
}

// keepRefusal keeps a refusal at an endpoint and returns its reference.
func (s *Server) keepRefusal(r *http.Request, err error, e *oauth.Error) string {
	event, known := audit.Event{Action: s.endpointOf(r) + ".refuse", Address: address(r)}, false
	var at *attemptError
	if errors.As(err, &at) {
		event, known = at.event, at.known
	}
	return s.keepAttempt(event, e, known)
}

// keepAttempt fills in why, and keeps a refusal.
func (s *Server) keepAttempt(event audit.Event, e *oauth.Error, known bool) string {
	event.Outcome, event.Reason = "refused", e.Reason
	switch {
	case e.Code == oauth.ServerError:
		event.Outcome, event.Reason = "failed", oauth.ServerError
	case e.Reason == "":
		event.Reason = e.Code
	}
	if e.Code != oauth.ServerError {
		event.Detail = oauth.Printable(e.Description)
		if e.Err != nil {
			event.Detail = oauth.Printable(e.Err.Error())
		}
	}
	return s.attempts.Keep(s.event(event.Action, event), known)
}

// endpointOf is the last part of the path: token, register, revoke, … What
// stands behind /register/ is whatever a caller wrote there, behind
// /backchannel-logout/ the name of a provider.
func (s *Server) endpointOf(r *http.Request) string {
	path := strings.TrimSuffix(r.URL.Path, "/")
	if strings.HasPrefix(path, s.current().path+managePath) {
		return "register"
	}
	if strings.HasPrefix(path, s.current().path+backchannelPath) {
		return "backchannel_logout"
	}
	if strings.HasPrefix(path, s.current().path+scimPath) {
		return "scim"
	}
	return path[strings.LastIndexByte(path, '/')+1:]
}

// keepPage keeps the refusal that a page tells of, and returns its reference.
func (v *visit) keepPage(cause error) string {
	event := audit.Event{Action: "page.refuse", Address: address(v.r)}
	if v.session != nil {
		event.Person = v.session.Subject.ID
	}
	e := &oauth.Error{Code: oauth.InvalidRequest, Reason: pageReason(cause), Err: cause}
	var inner *oauth.Error
	if errors.As(cause, &inner) && (inner.Reason != "" || e.Reason == reasonSignIn) {
		if e.Description, e.Err = inner.Description, inner.Err; inner.Reason != "" {
			e.Reason = inner.Reason
		}
	}
	return v.s.keepAttempt(event, e, v.session != nil)
}

const reasonSignIn = "sign_in_failed"

// pageReason is the reason of a page that ends a visit before there is a
// request to speak of.
func pageReason(cause error) string {
	for _, known := range []struct {
		err    error
		reason string
	}{
		{errOtherBrowser, "other_browser"}, {errNoAttempt, "attempt_lost"}, {errCrossOrigin, "cross_origin"},
		{errNoSignIn, "no_sign_in"}, {store.ErrSeen, "answered_already"}, {ledger.ErrInactive, reasonInactive}, {ledger.ErrLeft, reasonLeft},
	} {
		if errors.Is(cause, known.err) {
			return known.reason
		}
	}
	return reasonSignIn
}

// keepPassword keeps a sign-in that did not work; the page shows its reference.
// What strangers type as a name is not written down.
func (v *visit) keepPassword(person string, known bool, err error) string {
	event := audit.Event{Action: "sign_in", Outcome: "refused", Reason: "wrong_password", Address: address(v.r)}
	var tooMany *login.TooMany
	if errors.As(err, &tooMany) { // as many as a stranger likes
		event.Reason, known = "too_many_passwords", false
	}
	if known {
		event.Person = person
	}
	return v.s.attempts.Keep(v.s.event(event.Action, event), known)
}

// keepGuarded keeps the refusal of a request to a server under Protect.
func (s *Server) keepGuarded(resource string) func(r *http.Request, reason, detail string) string {
	return func(r *http.Request, reason, detail string) string {
		return s.attempts.Keep(s.event("request.refuse", audit.Event{Outcome: "refused", Reason: reason, Detail: oauth.Printable(detail),
			Resource: resource, Address: address(r)}), false)
	}
}
