package doorward

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

const (
	// guardSkew is how far an issuer's clock may be ahead of ours. A token's end
	// is taken at its word.
	guardSkew = time.Minute
	// guardRemember is how long a checked token is believed without checking its
	// signature again, so that a withdrawn key stops counting soon.
	guardRemember = 5 * time.Minute
	// guardForm is how much of a form is searched for a second token.
	guardForm = 64 << 10
)

// guardAlgs are the algorithms that access tokens may be signed with.
func guardAlgs() []string { return []string{jose.ES256, jose.EdDSA, jose.RS256, jose.PS256} }

// check finds the request's token, checks it and says who it is. The error's
// description goes to the caller, its cause to the log only.
func (g *Guard) check(r *http.Request) (*Caller, *oauth.Error) {
	token, refusal := g.presentedToken(r)
	if refusal != nil {
		return nil, refusal
	}
	key := sha256.Sum256([]byte(token))
	now := g.c.Now()
	if record, ok := g.seen.get(key, now); ok {
		if now.UnixMilli() < record.until {
			c := record.caller()
			if g.ended(c.Grant) {
				g.seen.drop(key)
				return nil, badToken(errGrantEnded)
			}
			return c, nil
		}
		g.seen.drop(key)
	}
	c, refusal := g.verify(r.Context(), token, now)
	if refusal != nil {
		return nil, refusal
	}
	if g.ended(c.Grant) {
		return nil, badToken(errGrantEnded)
	}
	remember := guardRemember
	if g.asked[c.Issuer] != nil {
		remember = introspectRemember
	}
	g.seen.put(key, c, now, now.Add(remember))
	return c, nil
}

var errGrantEnded = fault("grant_over", "its grant has ended")

func (g *Guard) ended(grant string) bool {
	return grant != "" && g.c.Ended != nil && g.c.Ended(grant)
}

// presentedToken takes the token from the Authorization header and from nowhere
// else (OAuth 2.1 section 5.1; MCP forbids the query).
func (g *Guard) presentedToken(r *http.Request) (string, *oauth.Error) {
	values := r.Header["Authorization"]
	if len(values) == 0 {
		return "", noToken()
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.Trim(token, " ")
	switch {
	case len(values) > 1, strings.Contains(token, ","):
		// Proxies join repeated headers with commas.
		return "", twoTokens()
	case !strings.EqualFold(scheme, "Bearer") && !g.withDPoP(r), token == "":
		return "", noToken()
	case len(token) > jose.MaxToken:
		return "", badToken(fault(faultUnreadable, "it is too long"))
	case strings.ContainsAny(token, " \t"):
		return "", badToken(fault(faultUnreadable, "the header has words after the token"))
	case r.Body != nil && isForm(r) && formHasToken(r):
		return "", twoTokens()
	}
	return token, nil
}

func noToken() *oauth.Error {
	return &oauth.Error{Status: http.StatusUnauthorized, Reason: "token_missing", Description: "an access token is needed; WWW-Authenticate says where to get one"}
}

func twoTokens() *oauth.Error {
	return &oauth.Error{Code: oauth.InvalidRequest, Status: http.StatusBadRequest, Reason: "token_twice", Description: "send one access token, in one Authorization header"}
}

// badToken is the same from outside whatever is wrong with the token.
func badToken(cause error) *oauth.Error {
	e := &oauth.Error{Code: oauth.InvalidToken, Status: http.StatusUnauthorized, Reason: faultUnreadable, Description: "The access token is not valid here", Err: cause}
	var f *tokenFault
	if errors.As(cause, &f) {
		e.Reason = f.reason
	}
	return e
}

// tokenFault is what is wrong with a token: a code for GuardConfig.Refused, and
// in words.
type tokenFault struct {
	reason string
	err    error
}

func (f *tokenFault) Error() string { return f.err.Error() }
func (f *tokenFault) Unwrap() error { return f.err }

func fault(reason, text string) error { return &tokenFault{reason, errors.New(text)} }

// Reasons that several faults share.
const (
	faultUnreadable = "token_unreadable"
	faultSignature  = "token_signature"
	faultClaims     = "token_claims"
)

func isForm(r *http.Request) bool {
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(media), "application/x-www-form-urlencoded")
}

// formHasToken looks for an access_token in the form and puts the body back.
func formHasToken(r *http.Request) bool {
	head, err := io.ReadAll(io.LimitReader(r.Body, guardForm))
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), r.Body), r.Body}
	if err != nil {
		return false
	}
	form, _ := url.ParseQuery(string(head)) // what can be read of it is enough
	return form.Has("access_token")
}

// verify checks a token that was not seen before (RFC 9068 section 4).
func (g *Guard) verify(ctx context.Context, token string, now time.Time) (*Caller, *oauth.Error) {
	issuer, err := g.issuerOf(token)
	if err != nil {
		return nil, badToken(err)
	}
	if asked := g.asked[issuer]; asked != nil {
		return g.introspect(ctx, asked, token, now)
	}
	keys := g.issuers[issuer]
	v, err := keys.Verify(ctx, token, guardAlgs(), []string{oauth.TypAccessToken})
	if err != nil {
		if _, keyErr := keys.Keys(ctx); keyErr != nil {
			g.c.Logger.Warn("no keys to check access tokens with", "issuer", issuer, "error", keyErr)
			return nil, &oauth.Error{Code: oauth.TemporarilyUnavailable, Reason: "keys_unavailable", Description: "the token cannot be checked now; try again", Err: keyErr}
		}
		return nil, badToken(&tokenFault{faultSignature, err})
	}
	for _, name := range []string{"iat", "jti"} { // RFC 9068 section 2.2; callerOf reads the others
		if !v.Claims().Has(name) {
			return nil, badToken(fault(faultClaims, "claim "+name+": missing"))
		}
	}
	return g.accept(v.Claims(), issuer, now)
}

// issuerOf is the issuer that a token says it is of: believed only after the
// signature, or when the issuer says so too.
func (g *Guard) issuerOf(token string) (string, error) {
	if len(g.issuers) == 1 && len(g.asked) == 0 {
		return g.c.Issuers[0], nil
	}
	_, claims, err := jose.Peek(token)
	switch {
	case err == nil && claims.Has("iss"):
	case g.opaque != "" && visible(token):
		return g.opaque, nil
	case err != nil:
		return "", err
	}
	issuer, err := claims.Text("iss")
	if err != nil || g.issuers[issuer] == nil {
		return "", fault(faultSignature, "its issuer is not one of ours")
	}
	return issuer, nil
}

// accept makes the caller of claims that the issuer's key or the issuer itself
// vouches for.
func (g *Guard) accept(claims jose.Claims, issuer string, now time.Time) (*Caller, *oauth.Error) {
	c, err := g.callerOf(claims, issuer)
	if err != nil {
		return nil, badToken(err)
	}
	if !now.Before(c.Expires) {
		return nil, &oauth.Error{Code: oauth.InvalidToken, Status: http.StatusUnauthorized, Reason: "token_expired", Description: "The access token expired"}
	}
	if err := jose.CheckTimes(claims, now, guardSkew); err != nil {
		return nil, badToken(&tokenFault{"token_time", err})
	}
	return c, nil
}

// callerOf reads the claims of a token: those that RFC 9068 section 2.2
// requires must be there, and it must be for us.
func (g *Guard) callerOf(claims jose.Claims, issuer string) (*Caller, error) {
	read := claimReader{claims: claims}
	c := &Caller{
		Issuer: read.required("iss"), Subject: read.required("sub"), ClientID: read.required("client_id"),
		Grant: read.text("gid"), ACR: read.text("acr"),
		Expires: read.time("exp"), AuthTime: read.time("auth_time"), AMR: read.texts("amr"),
	}
	aud := read.texts("aud")
	scopes, scopeErr := oauth.ParseScope(read.text("scope"))
	c.Scopes = scopes
	switch {
	case read.err != nil:
		return nil, &tokenFault{faultClaims, read.err}
	case scopeErr != nil:
		return nil, &tokenFault{faultClaims, scopeErr}
	case c.Issuer != issuer:
		return nil, fault(faultSignature, "its issuer is not the one whose key signed it")
	case !slices.Contains(aud, g.c.Resource):
		return nil, fault("token_audience", "it is for another audience")
	case c.Expires.IsZero():
		return nil, fault(faultClaims, "it has no exp")
	}
	return c, g.readBindings(claims, c)
}

// claimReader reads claims and keeps the first error.
type claimReader struct {
	claims jose.Claims
	err    error
}

func (r *claimReader) keep(name string, err error) {
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("claim %s: %w", name, err)
	}
}

func (r *claimReader) text(name string) string {
	s, err := r.claims.Text(name)
	r.keep(name, err)
	return s
}

func (r *claimReader) required(name string) string {
	s := r.text(name)
	if s == "" {
		r.keep(name, errors.New("missing"))
	}
	return s
}

func (r *claimReader) texts(name string) []string {
	s, err := r.claims.Texts(name)
	r.keep(name, err)
	return s
}

func (r *claimReader) time(name string) time.Time {
	t, err := r.claims.Time(name)
	r.keep(name, err)
	return t
}
