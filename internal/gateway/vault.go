package gateway

import (
	"context"
	"errors"
	"net/http"

	"doorward/internal/ledger"
)

// openVault gets what a separate server issued for this grant, for a server
// that takes that. The caller's own token never goes upstream (RS-TOK-10).
func (x *exchange) openVault() *refusal {
	if !x.e.s.Vault {
		return nil
	}
	token, refused := x.vaulted(x.r.Context())
	if refused == nil {
		x.credential = "Bearer " + token
	}
	return refused
}

// vaulted is what lies in the vault for the caller's grant.
func (x *exchange) vaulted(ctx context.Context) (string, *refusal) {
	if x.caller.Grant == "" {
		return "", x.nothingVaulted()
	}
	token, err := x.e.g.c.Vault(ctx, x.caller.Grant)
	switch {
	case err == nil:
		return token, nil
	case errors.Is(err, ledger.ErrUpstreamOver):
		return "", x.invalidToken("the separate server's token behind it is over")
	case errors.Is(err, ledger.ErrNoUpstream):
		return "", x.nothingVaulted()
	case errors.Is(err, ledger.ErrUpstreamDown):
		f := x.badUpstream("provider_down", "the sign-in behind this cannot be renewed now; try again")
		f.status, f.retry = http.StatusServiceUnavailable, "5"
		return "", f
	case ctx.Err() != nil: // the caller went away
		return "", x.badUpstream("provider_down", "the sign-in behind this could not be renewed in time; try again")
	}
	x.e.g.c.Logger.Error("a token could not be had from the vault", "server", x.e.key, "grant", x.caller.Grant, "error", err)
	return "", &refusal{status: http.StatusServiceUnavailable, code: codeInternal, reason: "store_unavailable",
		message: "this cannot be decided now; try again"}
}

// nothingVaulted refuses whoever did not come by the separate server, as by an
// ID-JAG or for a client itself.
func (x *exchange) nothingVaulted() *refusal {
	return &refusal{status: http.StatusForbidden, code: codeRefused, reason: "not_vaulted",
		message: x.e.label() + " takes people who signed in for it in a browser: it needs a token of theirs"}
}
