package doorward

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"doorward/internal/oauth"
)

// Who can mend an [Error].
const (
	whoPerson   = "person"
	whoMaker    = "client's maker"
	whoIdP      = "IdP's administrator"
	whoOperator = "operator"
)

// Steps at which an [Error] can arise, in the order in which they are taken.
const (
	stepConfigure = "configure"
	stepSubject   = "subject"
	stepDiscover  = "discover"
	stepRegister  = "register"
	stepAuthorize = "authorize"
	stepExchange  = "exchange"
	stepRedeem    = "redeem"
	stepToken     = "token"
	stepRefresh   = "refresh"
	stepStore     = "store"
)

// Error says why no token could be had, and who can change that. Every error
// that a [Transport] adds to those of the network is one; errors.As finds it
// under the *url.Error of an http.Client.
type Error struct {
	// Step is where it broke: configure (a field of the Flow), subject (the
	// function that names the person), discover (metadata of the server or of
	// an issuer), register (a client of this authorization server), authorize
	// (the browser's way), exchange (ID-JAG at the IdP), redeem (code or ID-JAG
	// at the authorization server), token (client credentials), refresh, store
	// (the TokenStore of the program).
	Step string
	// Server is who answered or was asked: an issuer, or the MCP server's URL.
	Server string
	// Code is the OAuth error code of the answer (RFC 6749 section 5.2 and its
	// registries); empty if there was none.
	Code string
	// Description is the answer's error_description, made printable, or our own
	// words. It never holds a token or a secret.
	Description string
	// URI is the https page about the error that the answer names (error_uri); it
	// is the server's word, and nothing here opens it. Empty: none.
	URI string
	// Status is the HTTP status of the answer; 0 if there was none.
	Status int
	// Retry reports whether the same attempt may succeed later without anybody
	// changing anything.
	Retry bool
	// RetryAfter is how long the answer asks to wait (Retry-After), up to an hour.
	// 0: it does not say.
	RetryAfter time.Duration
	// StepUp are the acr_values and max_age that the server demands of the
	// person's next sign-in, as parameters of the authorization request (RFC 9470
	// section 4), where Code is insufficient_user_authentication. nil: neither.
	StepUp url.Values
	// Who can mend it: "person", "client's maker", "IdP's administrator" or
	// "operator" (of the MCP server and its authorization server). Empty if the
	// network failed.
	Who string
	// Err is the cause, if there is one.
	Err error
}

// Error is one line: the step, the server, what it said, and what to do next.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("doorward: " + e.Step)
	if e.Server != "" {
		b.WriteString(" at " + e.Server)
	}
	for _, s := range []string{e.Code, e.Description} {
		if s != "" {
			b.WriteString(": " + s)
		}
	}
	if e.Status != 0 {
		fmt.Fprintf(&b, " (HTTP %d)", e.Status)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if h := e.hint(); h != "" {
		b.WriteString("; " + h)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// hint is what to do next.
func (e *Error) hint() string {
	switch {
	case e.Retry:
		return "try again later"
	case e.Who == whoPerson && e.Step == stepExchange:
		return "the person has to sign in at the IdP again"
	case e.Who == whoPerson:
		return "the person has to allow it"
	case e.Who == whoIdP && e.Step == stepDiscover:
		return "check the configured issuer with the IdP's administrator"
	case e.Who == whoIdP && e.Code == "":
		return "the IdP's administrator has to mend it"
	case e.Who == whoIdP:
		return "the IdP's administrator has to allow this client, person and server; signing in again does not help"
	case e.Who == whoMaker && e.Code == oauth.InvalidClient:
		return "check the client id and the secret or key configured for this issuer"
	case e.Who == whoMaker:
		return "the program that calls has to be changed or configured"
	case e.Who == whoOperator:
		return "the operator of the MCP server or of its authorization server has to mend it"
	case e.Err != nil:
		return "check the address, its certificate, the network and the proxy"
	}
	return ""
}

// misconfigured is an error of the program that calls.
func misconfigured(format string, args ...any) *Error {
	return &Error{Step: stepConfigure, Who: whoMaker, Description: fmt.Sprintf(format, args...)}
}

// unusable is an error in what a server publishes or answers.
func unusable(step, server, format string, args ...any) *Error {
	e := &Error{Step: step, Server: server, Who: whoOperator, Description: oauth.Printable(fmt.Sprintf(format, args...))}
	if step == stepExchange {
		e.Who = whoIdP
	}
	return e
}

// unreachable is an error of the network.
func unreachable(step, server string, err error) *Error {
	return &Error{Step: step, Server: server, Err: err,
		Retry: transient(err) || errors.Is(err, context.DeadlineExceeded)}
}

// givenUp is the error of a caller whose ctx ended before there was a token.
// Others who wait for the same one go on.
func givenUp(server address, err error) *Error {
	return &Error{Step: stepToken, Server: server.String(), Description: "the caller waited no longer for a token", Retry: true, Err: err}
}

// refusal is the error that an endpoint answered with.
func refusal(step, server string, status int, code, description string) *Error {
	e := &Error{Step: step, Server: server, Status: status,
		Code: oauth.Printable(code), Description: oauth.Printable(description), Who: whoOperator}
	e.Retry = status == http.StatusTooManyRequests || status >= 500 ||
		code == oauth.TemporarilyUnavailable || code == oauth.ServerError
	switch code {
	case oauth.InvalidClient, oauth.InvalidRequest, oauth.InvalidRedirectURI, oauth.InvalidClientMetadata, oauth.InvalidDPoPProof:
		e.Who = whoMaker
	case oauth.InsufficientUserAuth, oauth.LoginRequired, oauth.ConsentRequired:
		e.Who = whoPerson
	}
	switch step {
	case stepAuthorize:
		if code == oauth.AccessDenied {
			e.Who = whoPerson
		}
	case stepExchange:
		switch code {
		case oauth.InvalidGrant: // requirements CONFLICT-4: a new sign-in helps
			e.Who = whoPerson
		case oauth.InvalidTarget, oauth.InvalidScope, oauth.AccessDenied, oauth.UnauthorizedClient, oauth.UnsupportedGrantType:
			e.Who = whoIdP
		default:
			if e.Who == whoOperator {
				e.Who = whoIdP
			}
		}
	}
	return e
}

// hasCode reports whether err is an endpoint's refusal with this code.
func hasCode(err error, code string) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}
