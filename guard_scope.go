package doorward

import (
	"fmt"
	"net/http"
	"strings"

	"doorward/internal/oauth"
)

// ResourceMetadataURL is where the metadata of a resource stands (RFC 9728
// section 3.1): the well-known path goes between the resource's host and path.
// A resource that is no http or https URL is an error.
func ResourceMetadataURL(resource string) (string, error) {
	return oauth.ResourceMetadataURL(resource)
}

func parseImplies(in map[string][]string) (map[string]oauth.Scopes, error) {
	var out map[string]oauth.Scopes
	for broad, narrow := range in {
		for _, scope := range append([]string{broad}, narrow...) {
			if parsed, err := oauth.ParseScope(scope); err != nil || len(parsed) != 1 {
				return nil, fmt.Errorf("doorward: GuardConfig.Implies: %q is no scope", scope)
			}
		}
		if out == nil {
			out = map[string]oauth.Scopes{}
		}
		out[broad] = narrow
	}
	return out, nil
}

// Require reports whether the token of a request that the Guard let through has
// all of these scopes, or broader ones that include them. If not, the request
// has been answered as by InsufficientScope, and the handler must return.
func (g *Guard) Require(w http.ResponseWriter, r *http.Request, scopes ...string) bool {
	caller, ok := r.Context().Value(callerKey{}).(*Caller)
	switch {
	case !ok:
		g.refuse(w, r, noToken())
		return false
	case !caller.HasScope(scopes...):
		g.InsufficientScope(w, r, scopes...)
		return false
	}
	return true
}

// InsufficientScope answers 403 with the challenge that lets a client step up
// (OAuth 2.1 section 5.3.2; MCP 2026-07-28, runtime insufficient scope). Name
// all of the scopes that this operation needs: the client adds what it has.
func (g *Guard) InsufficientScope(w http.ResponseWriter, r *http.Request, scopes ...string) {
	description := "This needs a scope that the access token does not have"
	needed := strings.Join(scopes, " ")
	if c, ok := r.Context().Value(callerKey{}).(*Caller); ok {
		if g.c.RepeatGranted {
			scopes = withoutOffline(oauth.Scopes(scopes).Union(c.Scopes))
		}
		g.c.Logger.Debug("scope missing", "resource", g.c.Resource, "subject", c.Subject, "client", c.ClientID, "needed", needed)
	}
	if g.c.Refused != nil {
		description = referred(description, g.c.Refused(r, oauth.InsufficientScope, "needed are "+needed))
	}
	g.Challenge(w, r, scopes, "error", oauth.InsufficientScope, "error_description", description)
	writeRefusal(w, http.StatusForbidden, oauth.InsufficientScope, description)
}
