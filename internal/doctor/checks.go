package doctor

// Check is what a step is about.
type Check struct {
	ID    string
	Title string // what should be so
	Rule  string // what asks for it
	Who   string // who mends it as a rule; a step may know better
	arrow arrow  // of the drawing
}

// Checks are all steps, in the order in which a walk takes them. docs/doctor.md
// is written from this table.
func Checks() []Check { return checks }

var checks = []Check{
	{"url", "the address can be used", "MCP authorization: HTTPS, plain http on loopback only", Person, request},
	{"dns", "the host has an address", "RFC 9110 section 4.3.3", Operator, request},
	{"connect", "the port answers", "RFC 9110 section 4.3.3", Operator, request},
	{"tls", "TLS with a certificate that clients believe", "RFC 9110 section 4.3.4, RFC 9325 section 3.1", Operator, request},
	{"redirects", "the address answers itself", "MCP authorization: tokens go to no other resource (C-TOK-02)", Person, request},
	{"unauthorized", "a request without a token gets 401", "MCP authorization; RFC 6750 section 3, RFC 9728 section 5", Operator, refusal},
	{"challenge", "the challenge names the resource metadata", "RFC 9728 section 5.1", Operator, refusal},
	{"wires", "old and new protocol revisions are asked for a token alike", "MCP 2025-11-25 and 2026-07-28, streamable HTTP", Operator, refusal},
	{"cors", "pages in a browser get an answer that they can read", "Fetch standard, CORS protocol", Operator, refusal},
	{"resource_metadata", "the resource metadata is there", "RFC 9728 section 3; MCP authorization: where clients look", Operator, describe},
	{"resource", "the metadata is this server's", "RFC 9728 section 3.3", Operator, describe},
	{"authorization_servers", "it names an authorization server", "RFC 9728 section 2; MCP authorization", Operator, describe},
	{"scopes", "the scopes fit together", "RFC 6750 section 3, RFC 9728 section 2; MCP SEP-2207", Operator, describe},
	{"as_reach", "the authorization server can be reached", "MCP security best practices: SSRF; RFC 9728 section 7.7", Operator, discover},
	{"as_metadata", "the authorization server's metadata is there", "RFC 8414 section 3, OpenID Connect Discovery section 4", Operator, discover},
	{"issuer", "its issuer is the one that was named", "RFC 8414 section 3.3", Operator, discover},
	{"as_forms", "its metadata is the same wherever clients look", "MCP authorization server discovery; RFC 8414 section 5", Operator, discover},
	{"endpoints", "its endpoints can be used", "RFC 8414 section 2, OAuth 2.1 section 1.5", Operator, discover},
	{"pkce", "PKCE with S256", "MCP authorization: code_challenge_methods_supported; RFC 7636", Operator, signIn},
	{"grants", "it offers the code flow and states what it offers", "RFC 8414 section 2, OAuth 2.1 section 10", Operator, signIn},
	{"registration", "how clients become known", "MCP authorization: client registration", Operator, register},
	{"client_auth", "clients can say who they are", "RFC 8414 section 2, RFC 7591 section 2", Operator, register},
	{"iss", "it names itself in authorization responses", "RFC 9207 section 3", Operator, signIn},
	{"id_jag", "it takes ID-JAGs (enterprise-managed authorization)", "ID-JAG section 7.2; MCP enterprise-managed authorization", Operator, redeem},
	{"dpop", "what it says of DPoP can be met", "RFC 9449 section 5.1, RFC 9728 section 2", Operator, redeem},
	{"jwks", "its keys can be read", "RFC 7517 sections 4 and 5, RFC 8725 section 3.1", Operator, keys},
	{"authorize", "the authorization endpoint answers", "OAuth 2.1 section 4.1.2.1", Operator, signIn},
	{"token_endpoint", "the token endpoint answers as OAuth does", "OAuth 2.1 sections 3.2.3 and 3.2.4", Operator, redeem},
	{"registration_endpoint", "the registration endpoint is open to who has no token", "RFC 7591 section 3; MCP authorization: client registration", Operator, register},
	{"cors_documents", "pages in a browser can read the documents, too", "Fetch standard, CORS protocol", Operator, discover},
	{"provider", "nothing is known of this provider that stands in the way", "public threads and documentation", IdPAdmin, signIn},
	{"hosted", "hosted clients can reach it", "public documentation of hosted clients", Operator, request},
	{"clients", "common clients find a way to be known", "public documentation of Claude, ChatGPT, VS Code and Cursor", Operator, register},
	{"idp_metadata", "the identity provider's metadata is there", "OpenID Connect Discovery section 4", IdPAdmin, exchange},
	{"sign_in", "somebody is signed in at the identity provider", "MCP enterprise-managed authorization", Person, exchange},
	{"exchange", "the identity provider gives an ID-JAG", "ID-JAG section 4.3, RFC 8693", IdPAdmin, exchange},
	{"id_jag_claims", "the ID-JAG says what it must", "ID-JAG sections 3.1 and 4.4.1", IdPAdmin, exchange},
	{"redeem", "the authorization server takes the ID-JAG", "ID-JAG section 4.4, RFC 7523", Operator, redeem},
	{"token", "the authorization server gives a token", "OAuth 2.1 section 3.2", Operator, redeem},
	{"access_token", "the access token is for this server", "RFC 9068 section 2.2, RFC 8707 section 2", Operator, redeem},
	{"call", "the server takes the token", "MCP authorization: token handling; RFC 6750 section 3.1", Operator, call},
	{"protocol", "it speaks a protocol version that there is", "MCP lifecycle, version negotiation", Operator, call},
	{"clock", "the clocks agree", "RFC 7519 section 4.1.4", Operator, request},
	{"speed", "the answers come in time", "public documentation of hosted clients", Operator, request},
}

var titles = func() map[string]Check {
	m := map[string]Check{}
	for _, c := range checks {
		m[c.ID] = c
	}
	return m
}()
