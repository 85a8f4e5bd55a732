package oauth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
)

// S256 is the code challenge of a verifier (RFC 7636 section 4.2).
func S256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	var text [(sha256.Size*8 + 5) / 6]byte
	base64.RawURLEncoding.Encode(text[:], sum[:])
	return string(text[:])
}

// reasonPKCE is the audit's reason for whatever is wrong with PKCE.
const reasonPKCE = "pkce"

// CheckChallenge checks code_challenge and code_challenge_method of an
// authorization request: S256 only (RFC 7636 section 4.3); a missing
// challenge, a missing method (which means plain) and any other are
// invalid_request.
func CheckChallenge(challenge, method string) error {
	switch {
	case challenge == "":
		return &Error{Code: InvalidRequest, Reason: reasonPKCE, Description: "code_challenge is missing: PKCE with S256 is required"}
	case method == "":
		return &Error{Code: InvalidRequest, Reason: reasonPKCE, Description: "code_challenge_method is missing, which means plain: send S256"}
	case method != "S256":
		return &Error{Code: InvalidRequest, Reason: reasonPKCE, Description: "code_challenge_method must be S256"}
	case !isVerifier(challenge):
		return &Error{Code: InvalidRequest, Reason: reasonPKCE, Description: "code_challenge must be 43 to 128 unreserved characters"}
	}
	return nil
}

// CheckVerifier compares a verifier with the challenge bound to the code, in
// constant time. A malformed or missing verifier is invalid_request, as is one
// for a code without a challenge; a wrong one is invalid_grant (RFC 7636
// section 4.6).
func CheckVerifier(verifier, challenge string) error {
	switch {
	case challenge == "":
		return &Error{Code: InvalidRequest, Reason: reasonPKCE, Description: "no code_challenge is bound to this code"}
	case verifier == "":
		return &Error{Code: InvalidRequest, Reason: reasonPKCE, Description: "code_verifier is missing"}
	case !isVerifier(verifier):
		return &Error{Code: InvalidRequest, Reason: reasonPKCE, Description: "code_verifier must be 43 to 128 unreserved characters"}
	case subtle.ConstantTimeCompare([]byte(S256(verifier)), []byte(challenge)) != 1:
		return &Error{Code: InvalidGrant, Reason: reasonPKCE, Description: "code_verifier does not fit the code_challenge"}
	}
	return nil
}

// isVerifier is code-verifier and code-challenge of RFC 7636 sections 4.1, 4.2.
func isVerifier(s string) bool {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && strings.IndexByte("-._~", s[i]) < 0 {
			return false
		}
	}
	return 43 <= len(s) && len(s) <= 128
}

// CheckIssuer says whether a URL may be an issuer identifier: https without
// query, fragment and user info; http only on a loopback host (RFC 8414
// section 2).
func CheckIssuer(issuer string) error {
	u, err := parseURI(issuer)
	switch {
	case err != nil:
		return fmt.Errorf("issuer %q %w", issuer, err)
	case u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("issuer %q must be an https URL", issuer)
	case u.Host == "" || u.Hostname() == "":
		return fmt.Errorf("issuer %q has no host", issuer)
	case u.User != nil:
		return fmt.Errorf("issuer %q must not have user info", issuer)
	case strings.Contains(issuer, "#"):
		return fmt.Errorf("issuer %q must not have a fragment", issuer)
	case strings.Contains(issuer, "?"):
		return fmt.Errorf("issuer %q must not have a query", issuer)
	case u.Scheme == "http" && !IsLoopbackHost(u.Host):
		return fmt.Errorf("issuer %q must be https: http is for loopback hosts only", issuer)
	}
	return nil
}

// SingleAudience returns the sole audience of a claim that may be a string or
// an array, and false if there is none or more than one.
func SingleAudience(aud []string) (string, bool) {
	if len(aud) != 1 || aud[0] == "" {
		return "", false
	}
	return aud[0], true
}

// MetadataURLs are the places of an issuer's metadata, in the order in which a
// client tries them (MCP 2026-07-28, authorization server discovery). The
// error says why the issuer is none.
func MetadataURLs(issuer string) ([]string, error) {
	if err := CheckIssuer(issuer); err != nil {
		return nil, err
	}
	origin, path := splitOrigin(issuer)
	// A terminating slash is removed before insertion (RFC 8414 section 3.1).
	path = strings.TrimSuffix(path, "/")
	urls := []string{origin + WellKnownAS + path, origin + WellKnownOIDC + path}
	if path != "" {
		urls = append(urls, origin+path+WellKnownOIDC)
	}
	return urls, nil
}

// ResourceMetadataURL is the path-inserted well-known URL of a resource
// (RFC 9728 section 3.1), which keeps the resource's query. A resource that is
// no http or https URL is invalid_target.
func ResourceMetadataURL(resource string) (string, error) {
	if err := CheckResource(resource); err != nil {
		return "", err
	}
	origin, path := splitOrigin(resource)
	if s := strings.ToLower(origin); !strings.HasPrefix(s, "https://") && !strings.HasPrefix(s, "http://") {
		return "", &Error{Code: InvalidTarget, Description: "resource must be an https URL to have metadata"}
	}
	// Only the slash that stands alone after the host is removed.
	if path == "/" || strings.HasPrefix(path, "/?") {
		path = path[1:]
	}
	return origin + WellKnownPRM + path, nil
}

// EscapeBasic and UnescapeBasic encode and decode one part of client_secret_basic
// (application/x-www-form-urlencoded, RFC 6749 section 2.3.1).
func EscapeBasic(s string) string { return url.QueryEscape(s) }

// UnescapeBasic is the inverse of EscapeBasic. The error names no part of s,
// which may be a secret.
func UnescapeBasic(s string) (string, error) {
	out, err := url.QueryUnescape(s)
	if err != nil {
		return "", &Error{Code: InvalidClient, Description: "client_id and secret must be form-urlencoded in the Authorization header", Basic: true}
	}
	return out, nil
}
