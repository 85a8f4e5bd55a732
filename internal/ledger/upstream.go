package ledger

import "errors"

// What can be wrong with the token of a separate server that belongs to a
// grant: the issuer says it, and the gateway hears of it.
var (
	// ErrUpstreamOver: it is over and cannot be renewed, and the grant ended with it.
	ErrUpstreamOver = errors.New("the separate server's token is over")
	// ErrUpstreamDown: it has to be renewed, and the separate server does not answer.
	ErrUpstreamDown = errors.New("the separate server does not answer")
	// ErrNoUpstream: the grant has none.
	ErrNoUpstream = errors.New("the grant has no token of a separate server")
)
