package gateway

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"doorward/internal/access"
	"doorward/internal/audit"
	"doorward/internal/oauth"
)

// decide asks the two questions, in this order: may they reach the server and
// has the token the scopes for this operation; then, of a tool call, may they
// call the tool.
func (x *exchange) decide() *refusal {
	if a := x.may(""); !a.Allowed {
		return x.byRule(a, http.StatusForbidden, "reach")
	}
	tool := x.call.tool()
	needed := x.e.needed
	if more := x.e.s.Tools[tool]; tool != "" && len(more) > 0 {
		needed = needed.Union(more)
	}
	if !oauth.Scopes(x.caller.Scopes).HasAll(needed) && !x.scopes().HasAll(needed) {
		return &refusal{status: http.StatusForbidden, reason: oauth.InsufficientScope, message: lacksScope, needed: needed}
	}
	if tool == "" {
		return nil
	}
	a := x.may(tool)
	if !a.Allowed {
		status := http.StatusOK // an answer to this call, not a failure of the wire
		if x.call.id == nil {
			status = http.StatusForbidden
		}
		return x.byRule(a, status, "tool")
	}
	if log := x.e.g.c.Audit; log != nil {
		e := x.event()
		e.Outcome, e.Rule = "ok", a.Rule
		log.Add(e)
	}
	return nil
}

// may asks the rules that are in force now. tool "": may they reach the server.
func (x *exchange) may(tool string) access.Answer {
	rules := &x.e.s.Rules
	if now := x.e.g.table.Load().endpoints[x.e.s.Path]; now != nil {
		rules = &now.s.Rules
	}
	return rules.Decide(access.Question{Subject: x.subject, Resource: x.e.resource, Tool: tool, Now: x.e.g.c.Now()})
}

// scopes are the token's with all that they imply.
func (x *exchange) scopes() oauth.Scopes { return oauth.Scopes(x.caller.Scopes).Imply(x.e.implies) }

// byRule is the refusal that an answer of the rules is, at that step.
func (x *exchange) byRule(a access.Answer, status int, step string) *refusal {
	if a.Reason == access.NeedsLogin {
		return x.needsLogin(a, step)
	}
	message := "refused: no rule of " + x.e.s.Rules.Name + " allows it"
	if a.Rule != "" {
		message = "refused by rule " + a.Rule
	}
	return &refusal{status: status, code: codeRefused, message: message, reason: a.Reason, rule: a.Rule, step: step}
}

// needsLogin asks for a fresh or stronger sign-in (RFC 9470 section 3).
func (x *exchange) needsLogin(a access.Answer, step string) *refusal {
	description, maxAge := "A fresh sign-in is needed", ""
	if len(a.AMR) > 0 {
		description = "A sign-in with " + strings.Join(a.AMR, ", ") + " is needed"
	}
	if a.MaxAge > 0 {
		maxAge = fmt.Sprint(int64(a.MaxAge / time.Second))
	}
	return &refusal{
		status: http.StatusUnauthorized, code: codeRefused, message: description, reason: a.Reason, rule: a.Rule, step: step,
		challenge: []string{oauth.InsufficientUserAuth, "max_age", maxAge},
	}
}

// invalidToken refuses a token whose grant is no longer good.
func (x *exchange) invalidToken(reason string) *refusal {
	x.e.g.c.Logger.Debug("token refused", "server", x.e.key, "cause", reason)
	const description = "The access token is not valid here"
	return &refusal{
		status: http.StatusUnauthorized, code: codeRefused, message: description, reason: oauth.InvalidToken, detail: reason,
		challenge: []string{oauth.InvalidToken},
	}
}

// event is a decision about a tool, or about the server as a whole.
func (x *exchange) event() audit.Event {
	action, tool := "server.reach", x.call.tool()
	if tool != "" {
		action = "tool.call"
	}
	return audit.Event{
		Time: x.e.g.c.Now(), Action: action, Tool: tool, Person: x.subject.Person, Client: x.subject.Client,
		Resource: x.e.resource, Grant: x.caller.Grant, Address: addressOf(x.r),
	}
}

// addressOf is the caller's, without the port.
func addressOf(r *http.Request) string {
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return address
}
