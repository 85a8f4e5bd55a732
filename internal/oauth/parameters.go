package oauth

import (
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ownParameters are those of an authorization request that say who asks whom for
// what, or that the request of a client decides. A fixed value would undo what
// they are for.
var ownParameters = []string{
	"response_type", "response_mode", "client_id", "redirect_uri", "scope", "state", // RFC 6749 section 4.1.1
	"client_secret", "client_assertion", "client_assertion_type",
	"code_challenge", "code_challenge_method", // RFC 7636
	"resource",               // RFC 8707
	"request", "request_uri", // RFC 9101, RFC 9126
	"dpop_jkt", "iss", // RFC 9449, RFC 9207
	"nonce", "max_age", "acr_values", "login_hint", "id_token_hint", "claims", "registration", // OpenID Connect Core section 3.1.2.1
}

const (
	maxParameterName  = 64
	maxParameterValue = 512
)

// CheckParameter checks a further parameter that an operator adds to our own
// authorization requests at one server (RFC 6749 section 3.1: what a server does
// not know it ignores). Of prompt only consent may be added, as what a client or a
// rule wishes of the sign-in goes there.
func CheckParameter(name, value string) error {
	switch {
	case name == "" || len(name) > maxParameterName || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("a name is 1 to 64 visible ASCII characters")
	case slices.Contains(ownParameters, name):
		return errors.New("is a parameter of the protocol, which the request has anyway or must not have")
	case name == "prompt" && value != "consent":
		return errors.New("can only be consent: what else is wished of a sign-in depends on the request")
	case value == "" || len(value) > maxParameterValue || !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		return errors.New("a value is text of 1 to 512 bytes, without control characters")
	}
	return nil
}
