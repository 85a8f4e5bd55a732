package oauth

import (
	"errors"
	"strings"
)

// IsClientURL reports whether a client identifier names a metadata document
// (draft-ietf-oauth-client-id-metadata-document-01 section 3): identifiers of
// our own never begin so.
func IsClientURL(clientID string) bool { return strings.HasPrefix(clientID, "https://") }

// CheckClientURL says why a URL cannot be a client identifier, or nil: https
// with a path, without dot segments, fragment and user info. The error
// completes a sentence that begins with the identifier.
func CheckClientURL(clientID string) error {
	u, err := parseURI(clientID)
	switch {
	case err != nil:
		return err
	case u.Scheme != "https" || !IsClientURL(clientID):
		return errors.New("must begin with https://")
	case u.Hostname() == "":
		return errors.New("has no host")
	case u.Path == "" || u.Path == "/":
		return errors.New("has no path")
	case u.User != nil:
		return errors.New("must not have user info")
	case strings.Contains(clientID, "#"):
		return errors.New("must not have a fragment")
	case hasDotSegment(u.Path):
		return errors.New("must not have . or .. in its path")
	}
	return nil
}
