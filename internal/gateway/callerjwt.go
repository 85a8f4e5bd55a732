package gateway

import (
	"crypto/sha256"
	"net/http"
	"slices"
	"strings"
	"time"

	"doorward/internal/oauth"
)

const (
	// maxStatements bounds one generation of the caller JWTs that are remembered,
	// of one server.
	maxStatements = 10_000
	// maxGroupBytes is how much of a caller JWT names of groups may be: servers
	// bound their headers, many at 8 KiB.
	maxGroupBytes = 2 << 10
)

// statement is a caller JWT that is used again for the same access token.
type statement struct {
	bearer  string
	groups  []string // those that it was made with
	until   time.Time
	unknown bool
}

// openCaller makes the statement of who calls, for a server that takes that. It
// is made once for most of its life: a third of it is left when it is sent last.
// Its key is the access token, since that fixes all of it but the groups.
func (x *exchange) openCaller() *refusal {
	if !x.e.s.CallerJWT {
		return nil
	}
	now := x.e.g.c.Now()
	key := sha256.Sum256([]byte(x.r.Header.Get("Authorization")))
	groups, unknown := x.groupsTold()
	if s, ok := x.e.statements.get(key, maxStatements); ok && now.Before(s.until) && s.unknown == unknown && slices.Equal(s.groups, groups) {
		x.credential = s.bearer
		return nil
	}
	token, err := x.e.g.c.SignCaller(x.callerClaims(groups, unknown))
	if err != nil {
		return x.unsigned(err)
	}
	life := min(oauth.CallerJWTLife, x.caller.Expires.Sub(now))
	s := &statement{bearer: "Bearer " + token, groups: groups, until: now.Add(life * 2 / 3), unknown: unknown}
	x.e.statements.put(key, s, maxStatements)
	x.credential = s.bearer
	return nil
}

func (x *exchange) unsigned(err error) *refusal {
	x.e.g.c.Logger.Error("a caller JWT could not be made", "server", x.e.key, "error", err)
	return &refusal{status: http.StatusServiceUnavailable, code: codeInternal, reason: oauth.ServerError,
		message: "this cannot be sent on now; try again"}
}

// callerClaims say who calls as rules and audit name them, so that nobody of a
// further issuer is one of our people.
func (x *exchange) callerClaims(groups []string, unknown bool) oauth.CallerClaims {
	c := oauth.CallerClaims{
		Audience: x.e.audience(), Subject: x.subject.Person, Client: x.subject.Client, Scope: x.scopes().String(),
		Expires: x.caller.Expires.Unix(), Grant: x.caller.Grant, ACR: x.caller.ACR, AMR: x.caller.AMR, Groups: groups, HasGroups: unknown,
	}
	if c.Subject == "" {
		c.Subject = "client:" + c.Client
	}
	if !x.caller.AuthTime.IsZero() {
		c.AuthTime = x.caller.AuthTime.Unix()
	}
	if x.tells("email") {
		c.Email = x.subject.Email
	}
	if x.tells("name") {
		c.Name = x.name
	}
	return c
}

func (x *exchange) tells(claim string) bool { return slices.Contains(x.e.s.CallerClaims, claim) }

// groupsTold are the groups of now, if they are told; of more than a header can
// carry, that there are some.
func (x *exchange) groupsTold() (groups []string, unknown bool) {
	if !x.tells("groups") {
		return nil, false
	}
	size := 0
	for _, g := range x.subject.Groups {
		size += len(g) + len(`"",`)
	}
	if size > maxGroupBytes {
		return nil, true
	}
	return x.subject.Groups, x.subject.GroupsUnknown
}

// audience is the upstream's URL without a query, as it is configured.
func (e *endpoint) audience() string {
	url, _, _ := strings.Cut(e.s.Upstream, "?")
	return url
}
