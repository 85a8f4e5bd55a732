package oauth

import "context"

type comesBack struct{}

// WithRedirectURI notes where a browser comes back to, for whoever opens it: the
// address of a pushed request (RFC 9126) does not say it.
func WithRedirectURI(ctx context.Context, uri string) context.Context {
	return context.WithValue(ctx, comesBack{}, uri)
}

// RedirectURI is that, or "".
func RedirectURI(ctx context.Context) string {
	uri, _ := ctx.Value(comesBack{}).(string)
	return uri
}
