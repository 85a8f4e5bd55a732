package authserver

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"doorward/internal/access"
	"doorward/internal/audit"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

// notApproved: an administrator has not let the client in yet.
type notApproved struct{ client ledger.Client }

func (e *notApproved) Error() string { return "client " + e.client.ID + " is not approved" }

// ruledOut: an access rule, or the lack of one, keeps the person out.
type ruledOut struct {
	answer access.Answer
	asking *asking
}

func (e *ruledOut) Error() string { return "access rules: " + e.answer.Reason + " " + e.answer.Rule }

// describe names the rule, so that whoever reads it knows whom to ask about
// what.
func (e *ruledOut) describe() string {
	switch e.answer.Reason {
	case access.NeedsLogin:
		return "rule " + e.answer.Rule + " wants a stronger or fresher sign-in" + methods(e.answer.AMR)
	case access.Denied:
		return "rule " + e.answer.Rule + " denies it"
	case access.Overage:
		return "rule " + e.answer.Rule + " is about groups, and the provider did not say which ones these are"
	}
	return "no rule of " + e.asking.resource.RuleName + " allows it"
}

func methods(amr []string) string {
	if len(amr) == 0 {
		return ""
	}
	return " (" + strings.Join(amr, ", ") + ")"
}

// turnDown ends an attempt with an error: at the client if it is one that we
// may send people to, else on a page (AS-AUTHZ-05, -06). Who has signed in
// gets a link there. a nil: the request does not say whose it is.
func (v *visit) turnDown(a *asking, err error) {
	e, page := v.explain(a, err)
	page.Reference = v.keepTurnedDown(a, e, err)
	e = v.referred(e, page.Reference)
	var unapproved *notApproved
	switch {
	case a == nil || errors.As(err, &unapproved) || errors.Is(err, ledger.ErrLeft) || e.Code == oauth.ServerError:
	case trusted(a):
		v.s.logRefusal(v.r, e, page.Reference)
		v.see(v.errorURL(a, e))
		return
	case v.session != nil && a.device == nil:
		page.Link, page.LinkHost = v.errorURL(a, e), hostOf(a.redirect)
	}
	retryAfter(v.w.Header(), e.RetryAfter)
	v.fail(page.status, page, err)
}

// keepTurnedDown keeps the refusal of an authorization request; who has signed
// in is no stranger.
func (v *visit) keepTurnedDown(a *asking, e *oauth.Error, err error) string {
	event := audit.Event{Action: "authorize.refuse", Rule: ruleOf(err), Address: address(v.r)}
	if a != nil {
		event.Client = a.client.ID
		if a.resource != nil {
			event.Resource = a.resource.ID
		}
	}
	if v.session != nil && a != nil {
		event.Person = v.session.Subject.ID
	}
	copied := *e
	if copied.Code != oauth.ServerError {
		copied.Err = nil // what the description says, says it all
	}
	return v.s.keepAttempt(event, &copied, event.Person != "")
}

// referred is the error with its reference in the description.
func (v *visit) referred(e *oauth.Error, ref string) *oauth.Error {
	copied := *e
	copied.Description = audit.Describe(oauth.Printable(e.Description), ref)
	return &copied
}

func ruleOf(err error) string {
	var out *ruledOut
	if errors.As(err, &out) {
		return out.answer.Rule
	}
	return ""
}

// explain turns an error into what the client is told and what the person
// reads.
func (v *visit) explain(a *asking, err error) (*oauth.Error, failure) {
	name := "the application"
	if a != nil {
		name = isolated(displayName(a))
	}
	var e *oauth.Error
	var unapproved *notApproved
	var out *ruledOut
	switch {
	case errors.As(err, &unapproved):
		return &oauth.Error{Code: oauth.AccessDenied, Reason: "client_not_approved", Description: "an administrator has not approved this client", Err: err}, failure{
			status: http.StatusForbidden, Title: "An administrator must approve " + name,
			Happened: "Nobody at " + v.st.name + " has said yet that this application may be used here.",
			Do:       "Send this to an administrator, and try again when they have run it:",
			Command:  "doorward client approve " + shellWord(unapproved.client.ID), Who: "an administrator of " + v.st.name}
	case errors.As(err, &out):
		e = &oauth.Error{Code: oauth.AccessDenied, Reason: out.answer.Reason, Description: oauth.Printable(out.describe()), Err: err}
		return e, failure{status: http.StatusForbidden, Title: "You may not use " + resourceName(a.resource),
			Happened: "You are signed in as " + v.session.Subject.ID + ", and " + out.describe() + ".",
			Do:       "If you need it, ask an administrator and tell them the rule.", Who: "an administrator of " + v.st.name}
	case errors.Is(err, errDeviceOver):
		return &oauth.Error{Code: oauth.InvalidRequest, Reason: "device_over", Description: errDeviceOver.Error(), Err: err}, failure{
			status: http.StatusBadRequest, Title: "This code is over",
			Happened: "The code of the device was answered already, or it is too old.",
			Do:       "If your device still waits, begin again there: it shows a new code.", Who: "you"}
	case errors.Is(err, ledger.ErrLeft):
		return &oauth.Error{Code: oauth.AccessDenied, Reason: leftReason(err), Description: "this person has left", Err: err}, closedAccount(v.st)
	case a == nil && isUnknownClient(err):
		return &oauth.Error{Code: oauth.InvalidClient, Reason: "client_unknown", Description: "unknown client", Err: err}, failure{
			status: http.StatusBadRequest, Title: "This application is not known here",
			Happened: "The application that sent you has no registration at " + v.st.name + ": it has ended, or there never was one.",
			Do:       "Go back to the application, remove this connection there and add it again. If that does not help, ask an administrator to add the application.",
			Who:      "you, else an administrator of " + v.st.name}
	case errors.As(err, &e) && e.Code != oauth.ServerError:
		if e.Reason == "" {
			copied := *e
			copied.Reason = e.Code
			e = &copied
		}
		if e.Code == oauth.TemporarilyUnavailable || e.Code == oauth.TooManyRequests { // nothing is wrong with the request
			return e, failure{status: e.HTTPStatus(), Title: "This does not work at the moment",
				Happened: v.st.name + " says: " + e.Description + ".",
				Do:       "Go back to the application and connect again in a minute. If it stays, tell an administrator the reference.",
				Who:      "an administrator of " + v.st.name}
		}
		return e, failure{status: http.StatusBadRequest, Title: "The request of " + name + " cannot be granted",
			Happened: "It asked for something that does not exist here, or in a form that is not allowed (" + e.Code + ": " + e.Description + ").",
			Do:       "Go back to the application and connect again. If that does not help, tell its makers what stands here.",
			Who:      "the makers of the application"}
	}
	return &oauth.Error{Code: oauth.ServerError, Description: "the server could not do this; its log says why", Err: err}, failure{
		status: http.StatusInternalServerError, Title: "Something is broken here",
		Happened: "The server could not do this. The reason is in its log.",
		Do:       "Try again in a minute. If it stays, tell an administrator the reference.", Who: "an administrator of " + v.st.name}
}

func closedAccount(st *settings) failure {
	return failure{status: http.StatusForbidden, Title: "Your account is closed",
		Happened: "An administrator has marked your account at " + st.name + " as left.",
		Do:       "If this is a mistake, ask an administrator to let you come back.", Who: "an administrator of " + st.name}
}

// trusted reports whether people may be sent to the redirect URI without
// having been asked: it belongs to a client that an administrator named, to a
// known one, or to this computer.
func trusted(a *asking) bool {
	return a.device == nil && (a.client.Source == ledger.FromFile || a.client.Source == ledger.FromAdmin || a.client.Known != "" ||
		oauth.IsLoopbackRedirect(a.redirect))
}

func (v *visit) errorURL(a *asking, e *oauth.Error) string {
	return v.answerURL(a, "error", e.Code, "error_description", oauth.Printable(e.Description))
}

// answerURL is the redirect URI with an answer: its own query stays as it is,
// and state and iss are always there (RFC 9207 section 2; AS-AUTHZ-09).
func (v *visit) answerURL(a *asking, params ...string) string {
	var room [12]string
	params = append(append(room[:0], params...), "state", a.State, "iss", v.st.cfg.URL)
	base, own, _ := strings.Cut(a.redirect, "?")
	var q strings.Builder
	size := len(a.redirect) + 64 // and a few characters that are escaped
	for _, p := range params {
		size += len(p) + 1
	}
	q.Grow(size)
	q.WriteString(base)
	separator := byte('?')
	if own != "" {
		if own = withoutAnswers(own); own != "" {
			q.WriteString("?" + own)
			separator = '&'
		}
	}
	for i := 0; i < len(params); i += 2 {
		if params[i+1] == "" {
			continue
		}
		q.WriteByte(separator)
		q.WriteString(params[i])
		q.WriteByte('=')
		q.WriteString(url.QueryEscape(params[i+1]))
		separator = '&'
	}
	return q.String()
}

// withoutAnswers drops from a redirect URI's own query what would then stand
// there twice.
func withoutAnswers(query string) string {
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
		switch name {
		case "code", "state", "iss", "error", "error_description", "error_uri":
		default:
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "&")
}

// see sends the browser on with a GET (RFC 9700 section 4.12: 303, never 307).
func (v *visit) see(target string) {
	h := v.w.Header()
	h["Cache-Control"] = noStore
	h["Location"] = []string{target}
	v.w.WriteHeader(http.StatusSeeOther)
}

// hostOf is what a person is told about where a redirect URI leads.
func hostOf(redirect string) string {
	u, err := url.Parse(redirect)
	if err != nil {
		return redirect
	}
	if u.Scheme != "https" && u.Scheme != "http" {
		return "the program that opens " + u.Scheme + ": links on this computer"
	}
	return u.Host
}
