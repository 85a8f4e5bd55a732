package authserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"doorward/internal/limit"
	"doorward/internal/oauth"
)

// Limits bound how often one caller may ask: a client that an administrator made
// or a person at another client, once they are proven; before that an address
// (IPv6: its /64). So a stranger who is refused keeps nobody else out. The answer is 429 with Retry-After. Each
// process counts for itself.
type Limits struct {
	// Token is for every endpoint at which clients authenticate. Unless it is
	// off, failed authentications are bound, too: 10 a minute of one client from
	// one address, and, but for a client where it authenticated within a day, 100 of
	// one address and 1,000 of one client. The zero value: 100 a second; none for an
	// issuer on loopback.
	Token Rate
	// Authorize is for authorization requests. The zero value: 20 a second; none
	// for an issuer on loopback.
	Authorize Rate
	// Register is for registrations and their changes, per address. The zero value: 20 an hour;
	// none for an issuer on loopback.
	Register Rate
}

// Rate is Requests at once, and as many back each Per. Requests below zero: no
// bound.
type Rate struct {
	Requests int
	Per      time.Duration
}

// limits are the buckets behind Limits; nil limiters are off.
type limits struct {
	token, authorize, register *limit.Limiter
	wrong                      *wrongSecrets // nil: off
}

// Failed authentications of clients, a minute. A secret has 128 bits or more,
// so that none of this is needed against guessing one that we made; operators
// type shorter ones.
const (
	wrongHere    = 10
	wrongAddress = 100
	wrongClient  = 1000
	rightLately  = 24 * time.Hour
)

// wrongSecrets counts failed authentications of clients.
type wrongSecrets struct {
	here, address, client *limit.Limiter
	right                 *limit.Set // where clients authenticated
}

// newLimits makes the buckets, and keeps those of before whose rate is the same.
func newLimits(cfg Config, loopback bool, before *limits) *limits {
	if before == nil {
		before = &limits{}
	}
	keep := func(r, usual Rate, old *limit.Limiter) *limit.Limiter {
		if r == (Rate{}) {
			if r = usual; loopback {
				return nil
			}
		}
		want := limit.Rate{N: r.Requests, Per: r.Per}
		switch {
		case r.Requests < 0:
			return nil
		case old != nil && old.Rate() == want:
			return old
		}
		return limit.New(want, limit.Keys)
	}
	l := &limits{
		token:     keep(cfg.Limits.Token, Rate{100, time.Second}, before.token),
		authorize: keep(cfg.Limits.Authorize, Rate{20, time.Second}, before.authorize),
		register:  keep(cfg.Limits.Register, Rate{20, time.Hour}, before.register),
	}
	if l.token == nil {
		return l
	}
	if l.wrong = before.wrong; l.wrong == nil {
		a := func(n int) *limit.Limiter { return limit.New(limit.Rate{N: n, Per: time.Minute}, limit.Keys) }
		l.wrong = &wrongSecrets{a(wrongHere), a(wrongAddress), a(wrongClient), limit.NewSet(rightLately, limit.Keys)}
	}
	return l
}

func (c Limits) check() error {
	for _, r := range []Rate{c.Token, c.Authorize, c.Register} {
		if r.Requests > 0 && r.Per <= 0 {
			return fmt.Errorf("Limits: %d requests in no time", r.Requests)
		}
	}
	return nil
}

// caller is who asks at an endpoint where clients authenticate, until more is
// known than an address.
type caller struct {
	limits  *limits
	network string
	known   bool          // a client or a person was charged instead
	free    bool          // a proven client of an administrator is not charged
	wait    time.Duration // the address has used what it may
}

type callerKey struct{}

// callerOf is nil where no limit holds.
func callerOf(ctx context.Context) *caller {
	c, _ := ctx.Value(callerKey{}).(*caller)
	return c
}

// limited counts the requests of an endpoint where clients authenticate. It
// charges the address at the end, unless somebody proved who they are: till
// then nobody is turned away, for who shares an address with a flood may have a
// secret to show.
func (s *Server) limited(h http.HandlerFunc) http.HandlerFunc { return s.limitedAs(caller{}, h) }

// limitedStrangers counts those who proved nothing, and the clients that
// strangers made: a resource server asks as often as it is asked itself.
func (s *Server) limitedStrangers(h http.HandlerFunc) http.HandlerFunc {
	return s.limitedAs(caller{free: true}, h)
}

func (s *Server) limitedAs(kind caller, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		l := s.current().limits
		if l.token == nil {
			h(w, r)
			return
		}
		c := &caller{limits: l, network: limit.Network(r.RemoteAddr), free: kind.free}
		c.wait = l.token.Wait(s.now(), "address "+c.network)
		h(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
		if !c.known {
			l.token.Take(s.now(), "address "+c.network)
		}
	}
}

// registering is the limit of registrations.
func registering(l *limits) *limit.Limiter { return l.register }

// limitedTo counts the requests of an endpoint by address alone.
func (s *Server) limitedTo(pick func(*limits) *limit.Limiter, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		l := pick(s.current().limits)
		if l == nil {
			h(w, r)
			return
		}
		if wait := l.Take(s.now(), limit.Network(r.RemoteAddr)); wait > 0 {
			announce(w.Header(), l)
			s.refuse(w, r, tooMany(wait))
			return
		}
		h(w, r)
	}
}

// tooMany is the refusal of whoever asks too often.
func tooMany(wait time.Duration) *oauth.Error {
	seconds := int((wait + time.Second - 1) / time.Second) // at least 1
	return &oauth.Error{Code: oauth.TooManyRequests, RetryAfter: seconds, Reason: reasonTooMany,
		Description: fmt.Sprintf("too many requests: try again in %d s", seconds)}
}

const reasonTooMany = "too_many_requests"

// announce says what the limit is (draft-ietf-httpapi-ratelimit-headers-06, as
// the middleware of the MCP SDK sends it).
func announce(h http.Header, l *limit.Limiter) {
	r := l.Rate()
	n, seconds := strconv.Itoa(r.N), strconv.Itoa(int(r.Per/time.Second))
	h.Set("RateLimit-Limit", n)
	h.Set("RateLimit-Policy", n+";w="+seconds)
	h.Set("RateLimit-Remaining", "0")
}

// retryAfter writes how long to wait, readable for scripts of other origins
// where those may call.
func retryAfter(h http.Header, seconds int) {
	if seconds <= 0 {
		return
	}
	h.Set("Retry-After", strconv.Itoa(seconds))
	h.Set("RateLimit-Reset", strconv.Itoa(seconds))
	if h.Get("Access-Control-Allow-Origin") != "" {
		h.Add("Access-Control-Expose-Headers", "Retry-After, RateLimit-Limit, RateLimit-Policy, RateLimit-Remaining, RateLimit-Reset")
	}
}

// overdrawn turns the refusal of a stranger whose address has used what it may
// into 429. A fault of ours stays one.
func overdrawn(ctx context.Context, h http.Header, err error) error {
	c := callerOf(ctx)
	if c == nil {
		return err
	}
	var e *oauth.Error
	if c.wait > 0 && !c.known && errors.As(err, &e) && e.HTTPStatus() < http.StatusInternalServerError && e.Code != oauth.TooManyRequests {
		err = tooMany(c.wait)
	}
	if errors.As(err, &e) && e.Code == oauth.TooManyRequests {
		announce(h, c.limits.token)
	}
	return err
}

// authenticate is prove, within the limits: what was proven is charged to the
// client instead of the address, what failed is counted against guessing. Of
// clients that register themselves, or describe themselves, a stranger can have
// as many as they like: there it is the person that counts (chargePerson).
func (s *Server) authenticate(ctx context.Context, st *settings, h http.Header, req *oauth.TokenRequest) (authenticated, error) {
	c := callerOf(ctx)
	if c == nil {
		return s.prove(ctx, st, h, req)
	}
	now, id, guess := s.now(), req.ClientID, len(h["Authorization"]) > 0
	if cred, err := readCredentials(h, req); err == nil {
		id, guess = cred.id, cred.method != authNone
	}
	// A name alone guesses nothing: it gets its answer, as a client must whose
	// registration has ended (AS-DCR-10).
	if wait := c.limits.wrong.wait(now, id, c.network); guess && wait > 0 {
		return authenticated{}, tooMany(wait)
	}
	client, err := s.prove(ctx, st, h, req)
	var e *oauth.Error
	switch {
	case errors.As(err, &e) && e.Code == oauth.InvalidClient:
		if !guess || e.Reason == badDocument {
			break
		}
		c.limits.wrong.count(now, id, c.network)
	case err == nil && client.proven:
		c.limits.wrong.right.Add(now, id+" "+c.network)
		if client.client.OfAdministrator() {
			return client, c.chargeClient(now, id)
		}
	}
	if err == nil && c.wait > 0 { // a name proves nothing, nor does a secret of a client that anybody can make
		return authenticated{}, tooMany(c.wait)
	}
	return client, err
}

// chargeClient charges a client instead of the address.
func (c *caller) chargeClient(now time.Time, id string) error {
	c.known = true
	if c.free {
		return nil
	}
	if wait := c.limits.token.Take(now, "client "+id); wait > 0 {
		return tooMany(wait)
	}
	return nil
}

// wait is how long no authentication of the client is tried from there.
func (t *wrongSecrets) wait(now time.Time, id, network string) time.Duration {
	wait := t.here.Wait(now, id+" "+network)
	if !t.right.Has(now, id+" "+network) { // else strangers could lock it out where it works
		wait = max(wait, t.address.Wait(now, network), t.client.Wait(now, id))
	}
	return wait
}

func (t *wrongSecrets) count(now time.Time, id, network string) {
	t.here.Take(now, id+" "+network)
	t.address.Take(now, network)
	t.client.Take(now, id)
}

// chargePerson charges a person at a client that no administrator made or that
// is public, who showed something genuine, instead of the address.
func (s *Server) chargePerson(ctx context.Context, a *asked) error {
	c := callerOf(ctx)
	if c == nil || c.known {
		return nil
	}
	c.known = true
	if wait := c.limits.token.Take(s.now(), "person "+a.client.client.ID+" "+a.seen.Person); wait > 0 {
		return tooMany(wait)
	}
	return nil
}

// crowded shows a page to whoever begins too often: the person who is signed
// in, else the address.
func (v *visit) crowded() bool {
	l, key := v.st.limits.authorize, ""
	if l == nil {
		return false
	}
	if v.session != nil {
		key = "person " + v.session.Subject.ID
	} else {
		key = "address " + limit.Network(v.r.RemoteAddr)
	}
	wait := l.Take(v.s.now(), key)
	if wait <= 0 {
		return false
	}
	e := tooMany(wait)
	announce(v.w.Header(), l)
	retryAfter(v.w.Header(), e.RetryAfter)
	v.fail(http.StatusTooManyRequests, failure{
		Title:    "Too many sign-ins at once",
		Happened: "More sign-ins than usual were begun from here within a short time.",
		Do:       fmt.Sprintf("Go back to the application and begin again, in %d s at the earliest.", e.RetryAfter),
		Who:      "you; if it stays, the operator of this server",
	}, e)
	return true
}
