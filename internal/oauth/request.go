package oauth

import (
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// TokenRequest is a token request's form, each parameter at most once
// (RFC 6749 section 3.2; resource and audience may repeat).
type TokenRequest struct {
	GrantType                       string
	ClientID, ClientSecret          string // from the body
	ClientAssertion                 string
	ClientAssertionType             string
	Code, RedirectURI, CodeVerifier string
	RefreshToken                    string
	DeviceCode                      string
	Assertion                       string
	Scope                           Scopes
	Resources, Audiences            []string
	SubjectToken, SubjectTokenType  string
	RequestedTokenType              string
	ActorToken, ActorTokenType      string
	AuthorizationDetails            string
}

// AuthorizationRequest is the query (or form) of the authorization endpoint.
type AuthorizationRequest struct {
	ResponseType        string   `json:"response_type,omitempty"`
	ResponseMode        string   `json:"response_mode,omitempty"`
	ClientID            string   `json:"client_id"`
	RedirectURI         string   `json:"redirect_uri"` // as sent; may be empty
	State               string   `json:"state,omitempty"`
	Scope               Scopes   `json:"scope,omitempty"`
	Resources           []string `json:"resource,omitempty"`
	CodeChallenge       string   `json:"code_challenge,omitempty"`
	CodeChallengeMethod string   `json:"code_challenge_method,omitempty"`
	Nonce               string   `json:"nonce,omitempty"`
	Prompt              string   `json:"prompt,omitempty"`
	MaxAge              string   `json:"max_age,omitempty"`
	LoginHint           string   `json:"login_hint,omitempty"`
	ACRValues           string   `json:"acr_values,omitempty"`
	Details             string   `json:"authorization_details,omitempty"` // as sent
	DPoPKey             string   `json:"dpop_jkt,omitempty"`              // RFC 9449 section 10
}

// Bounds of a request's values, in bytes and in number.
const (
	maxValue     = 8 << 10
	maxAssertion = 16 << 10
	maxTargets   = 10
)

// ParseTokenRequest reads a token request. A parameter with an empty value
// counts as absent, unknown ones are ignored, a repeated one is
// invalid_request; so is a value that is not UTF-8, has control characters or
// is longer than 8 KiB (16 KiB for assertions and tokens to be exchanged), and
// more than 10 resources or audiences. With an error it returns what could
// still be read.
func ParseTokenRequest(form url.Values) (TokenRequest, error) {
	var r TokenRequest
	err := r.Read(form)
	return r, err
}

// Read is ParseTokenRequest into r, whatever was there.
func (r *TokenRequest) Read(form url.Values) error {
	f := formReader{form: form}
	*r = TokenRequest{
		GrantType:            f.one("grant_type", maxValue),
		ClientID:             f.one("client_id", maxValue),
		ClientSecret:         f.one("client_secret", maxValue),
		ClientAssertion:      f.one("client_assertion", maxAssertion),
		ClientAssertionType:  f.one("client_assertion_type", maxValue),
		Code:                 f.one("code", maxValue),
		RedirectURI:          f.one("redirect_uri", maxValue),
		CodeVerifier:         f.one("code_verifier", maxValue),
		RefreshToken:         f.one("refresh_token", maxValue),
		DeviceCode:           f.one("device_code", maxValue),
		Assertion:            f.one("assertion", maxAssertion),
		Resources:            f.many("resource"),
		Audiences:            f.many("audience"),
		SubjectToken:         f.one("subject_token", maxAssertion),
		SubjectTokenType:     f.one("subject_token_type", maxValue),
		RequestedTokenType:   f.one("requested_token_type", maxValue),
		ActorToken:           f.one("actor_token", maxAssertion),
		ActorTokenType:       f.one("actor_token_type", maxValue),
		AuthorizationDetails: f.one("authorization_details", maxValue),
		Scope:                f.scope(),
	}
	return f.err
}

// ParseAuthorizationRequest reads an authorization request by the same rules.
// With an error it returns what could still be read, so that the caller can
// tell whether the error may be sent to the client (a repeated client_id,
// redirect_uri or state leaves that field empty). request and request_uri
// are refused (request_not_supported, request_uri_not_supported).
func ParseAuthorizationRequest(form url.Values) (AuthorizationRequest, error) {
	f := formReader{form: form}
	r := AuthorizationRequest{
		ClientID:            f.one("client_id", maxValue),
		RedirectURI:         f.one("redirect_uri", maxValue),
		State:               f.state(),
		ResponseType:        f.one("response_type", maxValue),
		ResponseMode:        f.one("response_mode", maxValue),
		Resources:           f.many("resource"),
		CodeChallenge:       f.one("code_challenge", maxValue),
		CodeChallengeMethod: f.one("code_challenge_method", maxValue),
		Nonce:               f.one("nonce", maxValue),
		Prompt:              f.one("prompt", maxValue),
		MaxAge:              f.one("max_age", maxValue),
		LoginHint:           f.one("login_hint", maxValue),
		ACRValues:           f.one("acr_values", maxValue),
		Details:             f.one("authorization_details", maxValue),
		DPoPKey:             f.one("dpop_jkt", maxValue),
		Scope:               f.scope(),
	}
	f.absent("request", RequestNotSupported)
	f.absent("request_uri", RequestURINotSupported)
	return r, f.err
}

// formReader takes parameters out of a form and keeps the first complaint.
type formReader struct {
	form url.Values
	err  error
}

func (f *formReader) refuse(code, format string, args ...any) {
	if f.err == nil {
		f.err = &Error{Code: code, Description: fmt.Sprintf(format, args...)}
	}
}

// one reads a parameter that may stand once (OAuth 2.1 sections 3.1, 3.2).
func (f *formReader) one(name string, limit int) string {
	values := f.form[name]
	switch {
	case len(values) == 0:
		return ""
	case len(values) > 1:
		f.refuse(InvalidRequest, "%s is given more than once", name)
		return ""
	case !f.readable(name, values[0], limit):
		return ""
	}
	return values[0]
}

// many reads resource or audience (RFC 8707 section 2, RFC 8693 section 2.1).
func (f *formReader) many(name string) []string {
	var out []string
	for _, v := range f.form[name] {
		switch {
		case v == "":
		case len(out) == maxTargets:
			f.refuse(InvalidRequest, "%s is given more than %d times", name, maxTargets)
			return nil
		case !f.readable(name, v, maxValue):
			return nil
		default:
			out = append(out, v)
		}
	}
	return out
}

// state goes back to the client as it came, so it must be what RFC 6749
// appendix A.5 allows: visible ASCII and spaces.
func (f *formReader) state() string {
	s := f.one("state", maxValue)
	if !isASCII(s) {
		f.refuse(InvalidRequest, "state has a character that RFC 6749 does not allow")
		return ""
	}
	return s
}

func (f *formReader) scope() Scopes {
	s, err := ParseScope(f.one("scope", maxValue))
	if err != nil && f.err == nil {
		f.err = err
	}
	return s
}

func (f *formReader) absent(name, code string) {
	for _, v := range f.form[name] {
		if v != "" {
			f.refuse(code, "%s is not supported; send the parameters themselves", name)
		}
	}
}

// isASCII reports whether there is nothing in the text but visible ASCII and
// spaces. It looks at eight bytes together: with the highest bit of a byte in the
// sums below it is none of ' ' to '~'. A carry or borrow comes only from such a one.
func isASCII(s string) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for ; len(s) >= 8; s = s[8:] {
		x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		if (x|(x+ones)|(x-' '*ones))&high != 0 {
			return false
		}
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func (f *formReader) readable(name, value string, limit int) bool {
	switch {
	case len(value) <= limit && isASCII(value): // nearly all
		return true
	case len(value) > limit:
		f.refuse(InvalidRequest, "%s is longer than %d bytes", name, limit)
	case !utf8.ValidString(value):
		f.refuse(InvalidRequest, "%s is not UTF-8", name)
	case strings.ContainsFunc(value, unicode.IsControl):
		f.refuse(InvalidRequest, "%s has a control character", name)
	default:
		return true
	}
	return false
}
