package oauth

import "time"

// CallerJWTLife is the longest life of a caller JWT: long enough for clocks
// that differ a little, and too short to be worth stealing.
const CallerJWTLife = time.Minute

// CallerClaims are those of a caller JWT, by which a gateway tells the server
// behind it who calls. Of its issuer it says iss, iat and jti; the gateway says
// the rest. It is no access token: its typ is its own (RFC 8725 section 3.11),
// and its audience is the URL of the server behind, which is nobody's resource
// identifier.
type CallerClaims struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	// Subject is the account, as rules and audit name it; client:ID for a client
	// that acts for itself.
	Subject  string   `json:"sub"`
	Client   string   `json:"client_id"`
	Scope    string   `json:"scope,omitempty"`
	Expires  int64    `json:"exp"`
	IssuedAt int64    `json:"iat"`
	ID       string   `json:"jti"`
	Grant    string   `json:"gid,omitempty"` // what the off switch knows it by
	AuthTime int64    `json:"auth_time,omitempty"`
	ACR      string   `json:"acr,omitempty"`
	AMR      []string `json:"amr,omitempty"`
	Email    string   `json:"email,omitempty"`
	Name     string   `json:"name,omitempty"`
	Groups   []string `json:"groups,omitempty"`
	// HasGroups: there are some, and they are not all told.
	HasGroups bool `json:"hasgroups,omitempty"`
}
