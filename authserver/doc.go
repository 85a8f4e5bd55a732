// Package authserver is one OAuth 2.1 issuer as an http.Handler: metadata,
// keys, authorization with PKCE, sign-in and consent, tokens, registration and
// revocation. The same engine is an MCP authorization server (it accepts
// ID-JAGs) and an identity provider (it issues them): Config.Audiences decides.
//
// It owns the protocol's endpoints and the pages between them. It does not
// proxy MCP traffic, read configuration files or open listeners. Whom a request
// is from is its RemoteAddr: behind a proxy, whoever serves it must set that.
//
// # How a token request walks
//
// Read token.go first. A request becomes five values, each made by one
// function, in this order:
//
//	oauth.TokenRequest   parsed; a repeated parameter is refused
//	authenticated        clientauth.go; only authenticate can make one
//	granted              grant_*.go, the only step that differs between grants
//	granted, narrower    narrow: request, registration, resource, access rules
//	oauth.TokenResponse  mint.go: sign, then one durable commit
//
// A grant function reads and decides; what it wants written it returns, and
// mint writes all of it in one commit, with the audit event. If another request
// was faster with the same record the commit fails as a whole and the request
// starts again from the grant. Everything single-use (a code, a jti, a refresh
// token's turn) is spent in that commit and nowhere else.
//
// # Files
//
// Each endpoint and each grant has a file: who knows /revoke opens revoke.go.
// server.go has the route table, respond.go writes every answer and every
// error, settings.go is the configuration as requests see it, keys.go the
// signing keys, trusted.go other issuers' keys, idjag.go the rules of an
// assertion without I/O. The browser's side begins in authorize.go.
package authserver
