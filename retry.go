package doorward

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"doorward/internal/oauth"
)

const (
	retries   = 2                      // after the first attempt
	firstWait = 200 * time.Millisecond // before the second attempt; three times that before the third
	mostWait  = 10 * time.Second       // what asks for more is left to the caller
	mostRest  = 5 * time.Minute        // for which an endpoint that asked for it is left alone
)

// tokenRequest is a token request, and the same once more where the server is
// busy or the network failed and nothing can be lost by that: each attempt has
// an authentication and a proof of its own.
func (w want) tokenRequest(ctx context.Context, step string, md *oauth.ServerMetadata, by trust, as Credentials, method string, form url.Values) (answer, error) {
	at := restKey{md.TokenEndpoint, as.ID, w.subject.Person}
	if e, resting := w.t.state.resting.get(w.t.now(), at); resting {
		return answer{}, e
	}
	sending := ctx
	if usedOnce(form) {
		// What such an answer brings cannot be had again: it is read, and kept,
		// also when nobody waits for it any more. The deadline of post ends it.
		sending = context.WithoutCancel(ctx)
	}
	for n, wait := 0, firstWait; ; n, wait = n+1, 3*wait {
		begun := time.Now()
		a, err := w.tokenRequestOnce(sending, step, md, by, as, method, form)
		w.t.log().DebugContext(ctx, "token request", "step", step, "server", md.Issuer, "grant_type", form.Get("grant_type"), "ok", err == nil, "duration", time.Since(begun))
		var e *Error
		if !errors.As(err, &e) || !e.mayRepeat(form) || n >= retries || e.RetryAfter > mostWait {
			if e != nil && e.RetryAfter > 0 {
				w.t.state.resting.put(w.t.now(), at, e, w.t.now().Add(min(e.RetryAfter, mostRest)))
			}
			return a, err
		}
		if err := sleep(ctx, max(jittered(wait), e.RetryAfter)); err != nil {
			return answer{}, e
		}
	}
}

// restKey is whose requests an endpoint does not want for a while.
type restKey struct{ endpoint, client, person string }

// usedOnce reports whether a token request spends something that works once.
func usedOnce(form url.Values) bool {
	switch form.Get("grant_type") {
	case oauth.RefreshToken, oauth.AuthorizationCode:
		return true
	case oauth.TokenExchange:
		return form.Get("subject_token_type") == oauth.TokenTypeRefreshToken || form.Get("subject_token_type") == oauth.TokenTypeSAML2
	}
	return false
}

// mayRepeat reports whether a token request may be sent again at once: always
// if it was not processed (429, no connection); after a 503, or a connection
// that broke, only if it holds neither a code nor another token that the first
// attempt may have used up. Device codes have waits of their own.
func (e *Error) mayRepeat(form url.Values) bool {
	grant := form.Get("grant_type")
	if grant == oauth.DeviceCode {
		return false
	}
	if e.Status == http.StatusTooManyRequests || e.Status == 0 && notSent(e.Err) {
		return true
	}
	again := grant == oauth.ClientCredentials || grant == oauth.TokenExchange && !usedOnce(form)
	return again && (e.Status == http.StatusServiceUnavailable || e.Status == 0 && e.Err != nil && transient(e.Err))
}

// notSent reports whether there was no connection that a request could have gone by.
func notSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" && transient(err)
}

// retryAfter reads how long an answer asks to wait (RFC 9110 section 10.2.3), an hour at most.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if n, err := strconv.Atoi(value); err == nil {
		return min(max(time.Duration(min(n, 3600))*time.Second, 0), time.Hour)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now), 0), time.Hour)
	}
	return 0
}

// jittered is between a half of d and one and a half, so that those who failed
// together do not come together again.
func jittered(d time.Duration) time.Duration { return d/2 + rand.N(d) }

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// withoutResource refreshes once more without the resource where the server
// refuses the request and not the token: some (Entra, AADSTS9010010) take no
// resource there. The new token is for what the grant was for all the same.
func withoutResource(form url.Values, refresh func() (got, error)) (got, error) {
	g, err := refresh()
	var e *Error
	if !errors.As(err, &e) || e.Status != http.StatusBadRequest || !form.Has("resource") {
		return g, err
	}
	switch e.Code {
	case "", oauth.InvalidGrant, oauth.InvalidClient, oauth.UnauthorizedClient, oauth.UnsupportedGrantType, oauth.InvalidDPoPProof, oauth.UseDPoPNonce, oauth.InsufficientUserAuth:
		return g, err
	}
	form.Del("resource")
	return refresh()
}
