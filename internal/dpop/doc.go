// Package dpop makes and checks proofs of possession (RFC 9449): a JWT, fresh
// for each request, signed with a key of the client's own, that tokens are
// bound to by the key's thumbprint.
//
// Read [Checker.Check] first. What it does not do: compare the key with that of
// a token, and remember proofs. The guard does that with [Seen], the
// authorization server in its store, under the name that [Proof.Once] gives.
package dpop
