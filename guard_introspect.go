package doorward

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

const (
	// introspectRemember is how long an issuer's word on a token counts without
	// asking again (RFC 7662 section 4): what is revoked there counts here for
	// as long at most.
	introspectRemember = 30 * time.Second
	introspectAnswer   = 64 << 10 // bytes of an answer
	// introspectAtOnce bounds the questions to one issuer that are under way:
	// whoever sends tokens that they made up must not drown it.
	introspectAtOnce = 32
	// introspectRefused is how long a token that the issuer does not know is
	// refused without asking again: whoever repeats one that they made up is no
	// burden to the issuer. It is short, because an issuer of several processes
	// may know a new token everywhere a moment later only.
	introspectRefused = 5 * time.Second
	// introspectMetadata is how long the issuer's metadata is believed.
	introspectMetadata = 10 * time.Minute
)

// introspector asks an issuer about its tokens (RFC 7662).
type introspector struct {
	at      guardKeys
	as      Credentials
	now     func() time.Time
	known   fresh[string, oauth.ServerMetadata]
	asking  flights[[32]byte, jose.Claims]
	refused cache[[32]byte, error] // the faults of tokens, by SHA-256
	slots   chan struct{}
}

// introspects takes GuardConfig.Introspect over.
func (g *Guard) introspects(c GuardConfig) error {
	g.asked = map[string]*introspector{}
	for issuer, as := range c.Introspect {
		bad := func(what string) error {
			return fmt.Errorf("doorward: GuardConfig.Introspect: %q %s", issuer, what)
		}
		switch {
		case !slices.Contains(c.Issuers, issuer):
			return bad("is not among Issuers")
		case as.Issuer != "" && as.Issuer != issuer:
			return bad("has the credentials of another issuer")
		case as.ID == "" || as.Secret == "" && as.Key == nil:
			return bad("needs an ID, and a Secret or a Key (RFC 7662 section 2.1)")
		}
		g.asked[issuer] = &introspector{
			at: guardKeys{issuer: issuer, base: c.Base, insecure: c.InsecureHTTP}, as: as, now: c.Now, slots: make(chan struct{}, introspectAtOnce),
		}
		if g.opaque = issuer; len(c.Introspect) > 1 { // a stranger's token is not shown around
			g.opaque = ""
		}
	}
	return nil
}

// introspect checks a token by asking its issuer. What the issuer says is
// checked like the claims of a signed token.
func (g *Guard) introspect(ctx context.Context, i *introspector, token string, now time.Time) (*Caller, *oauth.Error) {
	key := sha256.Sum256([]byte(token))
	if err, ok := i.refused.get(now, key); ok {
		return nil, badToken(err)
	}
	claims, err := i.asking.do(ctx, key, func(ctx context.Context) (jose.Claims, error) { return i.ask(ctx, token) })
	var f *tokenFault
	switch {
	case errors.As(err, &f):
		i.refused.put(now, key, err, now.Add(introspectRefused))
		return nil, badToken(err)
	case err != nil:
		if ctx.Err() == nil {
			g.c.Logger.Warn("an issuer cannot be asked about its tokens", "issuer", i.at.issuer, "error", err)
		}
		return nil, &oauth.Error{Code: oauth.TemporarilyUnavailable, Reason: "introspection_unavailable", Description: "the token cannot be checked now; try again", Err: err}
	}
	return g.accept(claims, i.at.issuer, now)
}

// ask brings back what the issuer says of a token, if it is an active access
// token; a tokenFault if it is not, another error if the issuer cannot be asked.
func (i *introspector) ask(ctx context.Context, token string) (jose.Claims, error) {
	ctx, cancel := context.WithTimeout(ctx, guardFetchTime)
	defer cancel()
	select {
	case i.slots <- struct{}{}:
		defer func() { <-i.slots }()
	case <-ctx.Done():
		return nil, errors.New("too many tokens to ask about")
	}
	md, err := i.known.get(ctx, i.now, "", introspectMetadata, func(ctx context.Context) (oauth.ServerMetadata, error) {
		return i.at.metadata(ctx, func(m oauth.ServerMetadata) string { return m.IntrospectionEndpoint }, "introspection_endpoint")
	})
	if err != nil {
		return nil, err
	}
	req, err := i.request(ctx, md, token)
	if err != nil {
		return nil, err
	}
	data, err := i.at.send(req, introspectAnswer)
	if err != nil {
		return nil, err
	}
	var claims jose.Claims
	if err := json.Unmarshal(data, &claims); err != nil {
		return nil, fmt.Errorf("the answer of %s cannot be read", md.IntrospectionEndpoint)
	}
	return claims, i.check(claims)
}

// request is the question (RFC 7662 section 2.1).
func (i *introspector) request(ctx context.Context, md oauth.ServerMetadata, token string) (*http.Request, error) {
	form, header := url.Values{"token": {token}, "token_type_hint": {"access_token"}}, http.Header{}
	method := chooseMethod(i.as, md.IntrospectionEndpointAuthMethods, absent)
	if method == oauth.AuthNone {
		return nil, fmt.Errorf("%s takes no authentication that we have", md.IntrospectionEndpoint)
	}
	if err := (&Transport{Now: i.now}).authenticate(ctx, form, header, i.at.issuer, md.IntrospectionEndpointAuthSigningAlgs, i.as, method); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, md.IntrospectionEndpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header = header
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return req, nil
}

// check finds whether the answer speaks of an active access token of this
// issuer. An answer that names no issuer is that of the one who gave it.
func (i *introspector) check(claims jose.Claims) error {
	kind, err := claims.Text("token_type")
	use, err2 := claims.Text("token_use") // not registered; some tell refresh tokens by it
	switch {
	case string(claims["active"]) != "true":
		return fault("token_inactive", "its issuer says that it is not active")
	case err != nil || err2 != nil || kind != "" && !strings.EqualFold(kind, "Bearer") && !strings.EqualFold(kind, "DPoP") || use != "" && use != "access_token":
		return fault(faultClaims, "its issuer says that it is no access token")
	case !claims.Has("iss"):
		claims["iss"], err = json.Marshal(i.at.issuer)
	}
	return err
}

// Alive reports whether the token of a request that the Guard let through is
// still good: it has not expired, its grant has not ended, and its issuer, where
// it is one of Introspect, says so again. For answers that last: ask every 30
// seconds or so, and end the answer when it is not.
func (g *Guard) Alive(r *http.Request) bool {
	c, ok := r.Context().Value(callerKey{}).(*Caller)
	now := g.c.Now()
	if !ok || !now.Before(c.Expires) || g.ended(c.Grant) {
		return false
	}
	asked := g.asked[c.Issuer]
	if asked == nil {
		return true
	}
	_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.Trim(token, " ")
	key := sha256.Sum256([]byte(token))
	if record, ok := g.seen.get(key, now); ok && now.UnixMilli() < record.until {
		return true
	}
	again, refusal := g.introspect(r.Context(), asked, token, now)
	if refusal != nil {
		g.seen.drop(key)
		return false
	}
	g.seen.put(key, again, now, now.Add(introspectRemember))
	return true
}
