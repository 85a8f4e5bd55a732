package authserver

import (
	"context"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// overage reports whether a provider says that somebody is in groups, and not
// in which. Microsoft Entra does so above 200 of them (150 in SAML): with a
// distributed claim (OpenID Connect Core section 5.6.2), whose address is one of
// Microsoft Graph and not of the provider, or with hasgroups. What cannot be read
// counts as said: that somebody is in no group is what must be certain.
func overage(c jose.Claims, groupsClaim string) bool {
	if c.Has("hasgroups") && string(c["hasgroups"]) != "false" && string(c["hasgroups"]) != `"false"` {
		return true // whatever is named beside it: a doorward names those that a directory knows
	}
	if named, err := c.Texts(groupsClaim); err == nil && len(named) > 0 {
		return false
	}
	var names jose.Claims
	return c.Has("_claim_names") && (c.Decode("_claim_names", &names) != nil || names.Has(groupsClaim))
}

// noteOverage tells the operator, and is what the audit says besides.
func (s *Server) noteOverage(ctx context.Context, who oauth.Subject) string {
	if !who.GroupsUnknown {
		return ""
	}
	s.log.WarnContext(ctx, "a person has too many groups for their provider to name: rules for groups refuse them (groups_overage)",
		"person", who.ID, "provider", who.Provider)
	return "groups_overage: the provider did not say in which groups"
}
