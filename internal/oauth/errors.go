package oauth

import (
	"net/http"
	"strings"
)

// Error is a refusal. Code and Description go out to the caller; Err goes to
// the log and the audit and never leaves.
type Error struct {
	Code        string // RFC 6749 section 5.2 and its registries
	Description string // printable ASCII, for the developer or the person
	Err         error  // the cause, for the log only
	Reason      string // the audit's reason code, finer than Code; "" = Code
	Status      int    // 0: by Code
	MaxAge      int    // with insufficient_user_authentication: seconds; 0 = not sent
	ACRValues   string // with insufficient_user_authentication
	Basic       bool   // invalid_client after HTTP Basic: 401 names the scheme
	RetryAfter  int    // seconds to wait (RFC 9110 section 10.2.3); 0 = not sent
	DPoP        bool   // of a resource, after the scheme DPoP: so does its challenge
}

// Error is for logs: it holds the cause. What goes out is Code and Description.
func (e *Error) Error() string {
	s := e.Code
	if e.Description != "" {
		s += ": " + e.Description
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

// HTTPStatus is the status that goes with the code at token, registration,
// revocation and introspection endpoints (RFC 6749 section 5.2).
func (e *Error) HTTPStatus() int {
	switch {
	case e.Status != 0:
		return e.Status
	case e.Code == InvalidClient || e.Code == InvalidToken:
		return http.StatusUnauthorized
	case e.Code == InsufficientScope:
		return http.StatusForbidden
	case e.Code == ServerError:
		return http.StatusInternalServerError
	case e.Code == TemporarilyUnavailable:
		return http.StatusServiceUnavailable
	case e.Code == TooManyRequests:
		return http.StatusTooManyRequests
	}
	return http.StatusBadRequest
}

// Printable replaces what must not stand in error and error_description
// (RFC 6749 section 5.2: %x20-21, %x23-5B, %x5D-7E) and cuts long text.
func Printable(s string) string {
	const limit = 300
	s = quotable(s)
	if len(s) > limit {
		s = s[:limit-3] + "..."
	}
	return s
}

// quotable replaces what RFC 6749 keeps out of error texts and RFC 6750 section
// 3 out of challenge attributes.
func quotable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r < 0x20 || r > 0x7e || r == '\\':
			return '?'
		}
		return r
	}, s)
}
