package doorward

import (
	"context"

	"doorward/internal/oauth"
)

// ClientCredentials gets tokens for the client itself (RFC 6749 section 4.4
// and the MCP extension io.modelcontextprotocol/oauth-client-credentials). No
// person is involved.
type ClientCredentials struct {
	// Client is the identity at the authorization server; ID is required, and
	// a Secret, a Key, an Assertion, or a client certificate in Transport.Base.
	Client Credentials
	// Scopes are asked for besides those that the MCP server names.
	Scopes []string
}

func (f *ClientCredentials) server() Credentials { return f.Client }

func (f *ClientCredentials) configured() error {
	if f.Client.ID == "" {
		return misconfigured("ClientCredentials needs Client.ID")
	}
	return nil
}

func (f *ClientCredentials) subject(context.Context) (Subject, error) {
	return Subject{}, f.configured()
}

// provable wants something to authenticate with.
func (f *ClientCredentials) provable(t *Transport) error {
	if f.Client.proven() || t.certificate() != absent {
		return nil
	}
	return misconfigured("ClientCredentials needs a Client.Secret, Key or Assertion, or a client certificate in the TLSClientConfig of Transport.Base")
}

func (f *ClientCredentials) obtain(ctx context.Context, w want) (got, error) {
	if w.demand.login {
		return got{}, w.demand.without(w.target)
	}
	md, err := w.t.metadata(ctx, w.target)
	if err != nil {
		return got{}, err
	}
	if err := w.t.bound(f.Client, md.Issuer); err != nil {
		return got{}, err
	}
	form := w.formFor(oauth.ClientCredentials)
	setScope(form, w.scopes.Union(f.Scopes))
	a, err := w.tokenRequest(ctx, stepToken, md, w.target.by, f.Client, "", form)
	if err == nil {
		err = a.checkType(stepToken, md.Issuer)
	}
	if err != nil {
		return got{}, err
	}
	return got{access: a.AccessToken, key: a.key, expires: a.until(w.t.now())}, nil
}
