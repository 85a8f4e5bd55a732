// Package gateway stands in front of MCP servers: it lets a request through
// when its token, the scopes and the rules allow it, and hands it on without
// any credential of the caller.
//
// It owns the servers' paths and their resource metadata. It does not issue
// tokens, keep grants or fetch anything but its upstreams. Read
// endpoint.ServeHTTP first: it is the way of one request.
//
// # What an upstream gets
//
// The request as it came, at the upstream's own path and query, without
// Authorization, DPoP, cookies, Forwarded and X-Forwarded-*, client-certificate
// headers and headers in which other proxies name a user; the session id as the
// upstream gave it; and the headers of Server.Header. A query string of the
// caller stays here.
//
// A Handler in this process, which needs no credential to be told who calls,
// gets further headers, which never go to a URL and which nobody can send from
// outside: Doorward-Subject (the account, "" for a client that acts for
// itself), Doorward-Client (the client id) and Doorward-Scope (the token's
// scopes with what they imply).
//
// With Server.CallerJWT an upstream gets who calls as a signed statement
// (oauth.CallerClaims), for itself alone and for a minute at most. It may be told
// more than the account: e-mail address, name, groups (Server.CallerClaims).
//
// # Whom other issuers vouch for
//
// A server may take tokens of further issuers (Server.Issuers). Their people are
// nobody's account here: in rules and in the audit a person of theirs is
// ISSUER#SUB and a client ISSUER#ID. No rule lets them in but one that names them
// (issuer:ISSUER, issuer:ISSUER#SUB, client:ISSUER#ID), "everyone" does not, and a
// deny for everyone or for the issuer keeps them out. They have no groups and no
// address, and a claim gid of theirs names no grant of ours. What they open ends
// with their token, and within a minute of its issuer saying so if that is asked.
//
// # What a caller gets
//
// Answers of MCP and nothing else: JSON, event streams, plain text with an
// error status. A redirect, a 401 or 403 of the upstream (which would look like
// ours), or a page of HTML becomes 502 with a JSON-RPC error. Response headers
// pass if they are on a list; no cookie is among them.
//
// The answer to server/discover says besides what the server itself says which
// extensions of MCP the gateway and its issuer bring to it (Server.Extensions).
// In an answer that lists tools, those are left out that no rule lets this
// person call. A tool that would be allowed after a fresh sign-in or with a
// further scope stays, since the refusal of its call says how to get there.
package gateway
