package doorward

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"doorward/internal/oauth"
)

// demand is what a person's next sign-in has to fulfil (RFC 9470 section 3).
type demand struct {
	login    bool // a token that comes without a new sign-in is no answer
	acr, age string
}

// readDemand takes what can stand in an authorization request; the rest is left out.
func readDemand(acr, age string) demand {
	d := demand{login: true}
	if oauth.Printable(acr) == acr { // and is no longer than error texts may be
		d.acr = strings.Join(strings.Fields(acr), " ")
	}
	if len(age) <= 10 && strings.Trim(age, "0123456789") == "" {
		d.age = age
	}
	return d
}

// parameters are those of an authorization request; nil: none.
func (d demand) parameters() url.Values {
	var q url.Values
	for name, value := range map[string]string{"acr_values": d.acr, "max_age": d.age} {
		if value != "" {
			if q == nil {
				q = url.Values{}
			}
			q.Set(name, value)
		}
	}
	return q
}

// demandOf is what the endpoint of a step demands that refused with err.
func demandOf(err error, step string) (demand, bool) {
	var e *Error
	if !errors.As(err, &e) || e.Step != step || e.Code != oauth.InsufficientUserAuth {
		return demand{}, false
	}
	return readDemand(e.StepUp.Get("acr_values"), e.StepUp.Get("max_age")), true
}

// without is the error of a flow that no person takes part in.
func (d demand) without(at target) error {
	return &Error{Step: stepToken, Server: at.server, Code: oauth.InsufficientUserAuth, StepUp: d.parameters(), Who: whoOperator,
		Description: "the MCP server demands that a person signs in, and this flow has none"}
}

type stepUpKey struct{}

func (d demand) in(ctx context.Context) context.Context {
	if !d.login {
		return ctx
	}
	return context.WithValue(ctx, stepUpKey{}, d)
}

// StepUp reports what [Subject].Renew or [CrossApp].Assertion is called for, by
// the ctx that it got: ok if the person has to sign in at the IdP once more,
// because the MCP server or the IdP demands a stronger or more recent sign-in
// (RFC 9470); parameters are then acr_values and max_age as they were demanded,
// to be added to the authorization request (section 4). Nil: neither was named.
func StepUp(ctx context.Context) (parameters url.Values, ok bool) {
	d, ok := ctx.Value(stepUpKey{}).(demand)
	return d.parameters(), ok
}
