package oauth

import "time"

// Grant is the one noun of Doorward: Subject lets Client use Resource with
// Scopes until Expires, holding Key.
type Grant struct {
	ID       string    `json:"id"`
	Subject  Subject   `json:"subject"`
	Client   string    `json:"client"`
	Resource string    `json:"resource"`
	Scopes   Scopes    `json:"scopes,omitempty"`
	Details  Details   `json:"authorization_details,omitempty"`
	Type     string    `json:"type"`             // the grant_type that made it
	Issuer   string    `json:"issuer,omitempty"` // of the assertion that it was made from; empty: our own sign-in
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires"`
	Nonce    string    `json:"nonce,omitempty"` // OpenID Connect nonce of the authorization request
	Key      string    `json:"key,omitempty"`   // RFC 7638 thumbprint that its tokens are bound to
}

// Subject is who a grant is about: a person, or the client itself.
type Subject struct {
	// ID is the account here: NAME for a local person, PROVIDER/ACCOUNT for a
	// person of a provider, client:ID for a client that acts for itself.
	ID       string   `json:"id"`
	Provider string   `json:"provider,omitempty"` // key in the configuration; empty: local
	Account  string   `json:"account,omitempty"`  // what the provider calls the person
	Tenant   string   `json:"tenant,omitempty"`
	Name     string   `json:"name,omitempty"`
	Email    string   `json:"email,omitempty"` // only one that the provider is believed about
	Groups   []string `json:"groups,omitempty"`
	// GroupsUnknown: the provider said that there are groups, and not which.
	GroupsUnknown bool      `json:"groups_unknown,omitempty"`
	AuthTime      time.Time `json:"auth_time,omitzero"`
	ACR           string    `json:"acr,omitempty"`
	AMR           []string  `json:"amr,omitempty"`
	Session       string    `json:"session,omitempty"` // id of the sign-in session it came from, if any
}

// IsClient reports whether the subject is the client itself (client_credentials).
func (s Subject) IsClient() bool { return len(s.ID) > 7 && s.ID[:7] == "client:" }

// Narrow returns the grant with at most the scopes asked for. Scopes outside
// the grant are refused with invalid_scope (RFC 6749 section 6).
func (g Grant) Narrow(asked Scopes) (Grant, error) {
	var err error
	g.Scopes, err = g.Scopes.Narrow(asked)
	return g, err
}
