package doorward

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// Workload gets tokens for a program by the JWT that the place where it runs has
// given it: a Kubernetes service account token, the identity of a machine in a
// cloud, a SPIFFE JWT (workload identity federation: RFC 7523 section 2.1, MCP
// SEP-1933). Nobody has to give the program a secret. A refusal is final: the
// same JWT is not tried again for a minute, and there is no other way to a token.
type Workload struct {
	// Client is the identity at the authorization server, for one that wants more
	// than the JWT; with an Issuer, only that authorization server is used. Zero:
	// the JWT alone says who asks.
	Client Credentials
	// Assertion returns the workload's JWT, whose audience is issuer. It is
	// called for each token request, so that a file that is replaced from time to
	// time is read anew. A JWT that is addressed to somebody else is sent to
	// Client.Issuer only. Required.
	Assertion func(ctx context.Context, issuer string) (string, error)
	// Scopes are asked for besides those that the MCP server names.
	Scopes []string
}

func (f *Workload) server() Credentials { return f.Client }

func (f *Workload) configured() error {
	if f.Assertion == nil {
		return misconfigured("Workload needs Assertion, a function that returns the workload's JWT")
	}
	return nil
}

func (f *Workload) subject(context.Context) (Subject, error) { return Subject{}, f.configured() }

// refused is a JWT, by its hash, and what it was refused for.
type refusedKey struct {
	jwt                      [sha256.Size]byte
	issuer, resource, scopes string
}

// refusalPause is how long the refusal of a JWT counts.
const refusalPause = time.Minute

func (f *Workload) obtain(ctx context.Context, w want) (got, error) {
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
	if md.GrantTypesSupported != nil && !slices.Contains(md.GrantTypesSupported, oauth.JWTBearer) {
		return got{}, unusable(stepDiscover, md.Issuer, "its metadata does not say that it takes assertions (%s in grant_types_supported)", oauth.JWTBearer)
	}
	text, err := f.assertion(ctx, md)
	if err != nil {
		return got{}, err
	}
	w.scopes = w.scopes.Union(f.Scopes)
	key := refusedKey{sha256.Sum256([]byte(text)), md.Issuer, w.target.resource, w.scopes.String()}
	if err, ok := w.t.state.refusals.get(w.t.now(), key); ok {
		return got{}, err
	}
	form := w.formFor(oauth.JWTBearer)
	form.Set("assertion", text)
	setScope(form, w.scopes)
	a, err := w.tokenRequest(ctx, stepRedeem, md, w.target.by, f.Client, "", form)
	if err == nil {
		err = a.checkType(stepRedeem, md.Issuer)
	}
	if err != nil {
		var e *Error
		if errors.As(err, &e) && e.Code != "" && !e.Retry {
			w.t.state.refusals.put(w.t.now(), key, e, w.t.now().Add(refusalPause))
		}
		return got{}, err
	}
	return got{access: a.AccessToken, key: a.key, expires: a.until(w.t.now())}, nil
}

// assertion is the workload's JWT. An MCP server can name any authorization
// server: unless the program has named one, what is addressed to another is not
// sent, which could use it there (RFC 7523 section 3, number 3).
func (f *Workload) assertion(ctx context.Context, md *oauth.ServerMetadata) (string, error) {
	failed := func(description string, err error) error {
		return &Error{Step: stepSubject, Server: md.Issuer, Who: whoMaker, Description: description, Err: err,
			Retry: errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)}
	}
	text, err := f.Assertion(ctx, md.Issuer)
	if err != nil {
		return "", failed("there is no workload JWT", err)
	}
	_, claims, err := jose.Peek(text)
	if err != nil {
		return "", failed("what Workload.Assertion brought is no JWT", nil) // the cause may quote it
	}
	audience, err := claims.Texts("aud")
	if f.Client.Issuer == "" && (err != nil || !slices.Contains(audience, md.Issuer) && !slices.Contains(audience, md.TokenEndpoint)) {
		return "", failed("the workload JWT is addressed to another (aud) than this authorization server, and is not sent: get one for it, or set Workload.Client.Issuer", nil)
	}
	return text, nil
}
