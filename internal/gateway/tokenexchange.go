package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"doorward/internal/oauth"
)

// Exchange is our client at the authorization server that an upstream takes
// tokens of, where it gets one for each caller (RFC 8693).
type Exchange struct {
	// Issuer is its issuer identifier, which a caller JWT is addressed to.
	Issuer string
	// TokenURL is its token endpoint.
	TokenURL               string
	ClientID, ClientSecret string
	// AuthMethod is client_secret_basic ("") or client_secret_post.
	AuthMethod string
	// Audience, Resource and Scopes say what for, as that server wants it. "", nil:
	// not sent.
	Audience, Resource string
	Scopes             []string
	// Vault: the subject token is what Config.Vault has for the caller's grant, of
	// the same server. Otherwise it is a caller JWT (Config.SignCaller).
	Vault bool
}

const (
	exchangeTime  = 10 * time.Second
	exchangeBody  = 64 << 10
	exchangeAhead = 30 * time.Second // a token is replaced so long before its end, or a quarter of its life
	// exchangeUnsaid is the life of a token whose server says none, and
	// exchangeLongest the longest that is believed.
	exchangeUnsaid  = 5 * time.Minute
	exchangeLongest = time.Hour
	// exchangeRest is how long a refusal stands without asking again.
	exchangeRest = 5 * time.Second
)

// obtained is the outcome of one exchange, for all requests of an access token.
// Before done is closed nobody reads the rest.
type obtained struct {
	done   chan struct{}
	bearer string
	failed *refusal // nil: there is a token
	until  time.Time
}

func (o *obtained) stands(now time.Time) bool {
	select {
	case <-o.done:
		return now.Before(o.until)
	default:
		return true
	}
}

// openExchange gets a token of the upstream's own authorization server for this
// caller. The first request of an access token asks for it and the others wait.
func (x *exchange) openExchange() *refusal {
	if x.e.s.Exchange == nil {
		return nil
	}
	key := sha256.Sum256([]byte(x.r.Header.Get("Authorization")))
	x.e.obtaining.Lock()
	o, ok := x.e.obtained.get(key, maxStatements)
	if !ok || !o.stands(x.e.g.c.Now()) {
		o = &obtained{done: make(chan struct{})}
		x.e.obtained.put(key, o, maxStatements)
		// Whoever began it may go away; the others still wait for it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), exchangeTime)
		go func() {
			defer cancel()
			x.obtain(ctx, o)
		}()
	}
	x.e.obtaining.Unlock()
	select {
	case <-o.done:
	case <-x.r.Context().Done(): // nobody reads this
		return x.badUpstream("exchange_down", "nobody waits any more")
	}
	if o.failed != nil {
		f := *o.failed // each has a reference of its own
		return &f
	}
	x.credential = o.bearer
	x.obtained = o
	return nil
}

func (x *exchange) obtain(ctx context.Context, o *obtained) {
	defer close(o.done)
	now := x.e.g.c.Now
	subject, kind, failed := x.subjectToken(ctx)
	var life time.Duration
	if failed == nil {
		o.bearer, life, failed = x.e.exchange(ctx, subject, kind)
	}
	o.failed, o.until = failed, now().Add(life-min(exchangeAhead, life/4))
	if failed != nil {
		o.until = now().Add(exchangeRest)
	}
}

// spent forgets a token that the upstream refused, so that the next request gets
// another one.
func (x *exchange) spent() {
	if x.obtained == nil {
		return
	}
	x.e.obtaining.Lock()
	defer x.e.obtaining.Unlock()
	key := sha256.Sum256([]byte(x.r.Header.Get("Authorization")))
	if o, ok := x.e.obtained.get(key, maxStatements); ok && o == x.obtained {
		// Not at once: an upstream that refuses them all must not cost an exchange for
		// each request.
		x.e.obtained.put(key, &obtained{done: o.done, bearer: o.bearer, until: minTime(o.until, x.e.g.c.Now().Add(exchangeRest))}, maxStatements)
	}
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// subjectToken is what stands for the caller there: never their own token (RS-TOK-10).
func (x *exchange) subjectToken(ctx context.Context) (token, kind string, refused *refusal) {
	if x.e.s.Exchange.Vault {
		token, refused = x.vaulted(ctx)
		return token, oauth.TokenTypeAccessToken, refused
	}
	c := x.callerClaims(nil, false)
	c.Audience = x.e.s.Exchange.Issuer
	token, err := x.e.g.c.SignCaller(c)
	if err != nil {
		return "", "", x.unsigned(err)
	}
	return token, oauth.TokenTypeJWT, nil
}

// exchange is the request (RFC 8693 section 2.1) and what came of it.
func (e *endpoint) exchange(ctx context.Context, subject, kind string) (bearer string, life time.Duration, refused *refusal) {
	c := e.s.Exchange
	form := url.Values{"grant_type": {oauth.TokenExchange}, "subject_token": {subject}, "subject_token_type": {kind},
		"requested_token_type": {oauth.TokenTypeAccessToken}}
	for name, value := range map[string]string{"audience": c.Audience, "resource": c.Resource, "scope": strings.Join(c.Scopes, " ")} {
		if value != "" {
			form.Set(name, value)
		}
	}
	if c.AuthMethod == oauth.AuthPost {
		form.Set("client_id", c.ClientID)
		form.Set("client_secret", c.ClientSecret)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, e.exchangeFailed(http.StatusBadGateway, "exchange_failed", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if c.AuthMethod != oauth.AuthPost { // RFC 6749 section 2.3.1
		req.SetBasicAuth(url.QueryEscape(c.ClientID), url.QueryEscape(c.ClientSecret))
	}
	res, err := e.g.base.RoundTrip(req)
	if err != nil {
		return "", 0, e.exchangeFailed(http.StatusServiceUnavailable, "exchange_down", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, exchangeBody+1))
	switch {
	case err != nil || res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests:
		return "", 0, e.exchangeFailed(http.StatusServiceUnavailable, "exchange_down", fmt.Errorf("it answers %d", res.StatusCode))
	case len(body) > exchangeBody:
		return "", 0, e.exchangeFailed(http.StatusBadGateway, "exchange_failed", errors.New("its answer is too large"))
	}
	var a exchangeAnswer
	if err := json.Unmarshal(body, &a); err != nil {
		return "", 0, e.exchangeFailed(http.StatusBadGateway, "exchange_failed", fmt.Errorf("it answers %d, and no JSON", res.StatusCode))
	}
	if res.StatusCode != http.StatusOK || a.Error != "" {
		said := strings.NewReplacer(subject, "[hidden]", c.ClientSecret, "[hidden]").Replace(a.Error + " " + a.Description)
		err := fmt.Errorf("it answers %d: %s", res.StatusCode, oauth.Printable(said))
		switch a.Error {
		case oauth.InvalidGrant, oauth.InvalidRequest, oauth.AccessDenied, oauth.InvalidTarget, oauth.InvalidScope:
			return "", 0, e.exchangeFailed(http.StatusForbidden, "exchange_refused", err)
		}
		return "", 0, e.exchangeFailed(http.StatusBadGateway, "exchange_failed", err)
	}
	if err := a.check(); err != nil {
		return "", 0, e.exchangeFailed(http.StatusBadGateway, "exchange_failed", err)
	}
	return "Bearer " + a.Token, a.life(), nil
}

// exchangeAnswer is RFC 8693 section 2.2.
type exchangeAnswer struct {
	Token       string          `json:"access_token"`
	Type        string          `json:"token_type"`
	Issued      string          `json:"issued_token_type"`
	ExpiresIn   json.RawMessage `json:"expires_in"`
	Error       string          `json:"error"`
	Description string          `json:"error_description"`
}

// check finds an answer that is no access token which a header can carry.
func (a exchangeAnswer) check() error {
	switch {
	case a.Token == "" || strings.ContainsFunc(a.Token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("its answer has no access_token that a header can carry")
	case !strings.EqualFold(a.Type, "bearer"):
		return errors.New("its answer is no bearer token: token_type " + oauth.Printable(a.Type))
	case a.Issued != "" && a.Issued != oauth.TokenTypeAccessToken && a.Issued != oauth.TokenTypeJWT:
		return errors.New("its answer is no access token: issued_token_type " + oauth.Printable(a.Issued))
	}
	return nil
}

// life is how long the token lives; some send the number as a text.
func (a exchangeAnswer) life() time.Duration {
	var n float64
	if json.Unmarshal([]byte(strings.Trim(string(a.ExpiresIn), `"`)), &n) != nil || n <= 0 {
		return exchangeUnsaid
	}
	return time.Duration(min(n, exchangeLongest.Seconds()) * float64(time.Second))
}

// exchangeFailed says to the caller what they can do, and to the log and the
// audit why.
func (e *endpoint) exchangeFailed(status int, reason string, err error) *refusal {
	e.g.c.Logger.Warn("a token exchange failed", "server", e.key, "reason", reason, "error", err)
	f := &refusal{status: status, code: codeInternal, reason: reason, detail: oauth.Printable(err.Error()),
		message: "the token that " + e.label() + " needs cannot be had"}
	switch reason {
	case "exchange_refused":
		f.code, f.message = codeRefused, "the authorization server of "+e.label()+" gives no token for you"
	case "exchange_down":
		f.retry = "5"
		f.message += " now; try again"
	}
	return f
}
