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
		return x.byRule(a, http.StatusForbidden)
	}
	tool := x.call.tool()
	needed := x.e.needed
	if more := x.e.s.Tools[tool]; tool != "" && len(more) > 0 {
		needed = needed.Union(more)
	}
	if !oauth.Scopes(x.caller.Scopes).HasAll(needed) && !x.scopes().HasAll(needed) {
		x.audit("refused", oauth.InsufficientScope, "", needed.String())
		return &refusal{status: http.StatusForbidden, needed: needed}
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
		return x.byRule(a, status)
	}
	x.audit("ok", "", a.Rule, "")
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

// byRule is the refusal that an answer of the rules is.
func (x *exchange) byRule(a access.Answer, status int) *refusal {
	x.audit("refused", a.Reason, a.Rule, "")
	if a.Reason == access.NeedsLogin {
		return x.needsLogin(a)
	}
	message := "refused: no rule of " + x.e.s.Rules.Name + " allows it"
	if a.Rule != "" {
		message = "refused by rule " + a.Rule
	}
	return &refusal{status: status, code: codeRefused, message: message, reason: a.Reason, rule: a.Rule}
}

// needsLogin asks for a fresh or stronger sign-in (RFC 9470 section 3).
func (x *exchange) needsLogin(a access.Answer) *refusal {
	description, maxAge := "A fresh sign-in is needed", ""
	if len(a.AMR) > 0 {
		description = "A sign-in with " + strings.Join(a.AMR, ", ") + " is needed"
	}
	if a.MaxAge > 0 {
		maxAge = fmt.Sprint(int64(a.MaxAge / time.Second))
	}
	return &refusal{
		status: http.StatusUnauthorized, code: codeRefused, message: description, reason: a.Reason, rule: a.Rule,
		challenge: oauth.FormatChallenge("Bearer", "error", oauth.InsufficientUserAuth, "error_description", description,
			"max_age", maxAge, "resource_metadata", x.e.metadataURL, "scope", x.e.needed.String()),
	}
}

// invalidToken refuses a token whose grant is no longer good.
func (x *exchange) invalidToken(reason string) *refusal {
	x.e.g.c.Logger.Debug("token refused", "server", x.e.key, "cause", reason)
	const description = "The access token is not valid here"
	return &refusal{
		status: http.StatusUnauthorized, code: codeRefused, message: description, reason: oauth.InvalidToken,
		challenge: oauth.FormatChallenge("Bearer", "error", oauth.InvalidToken, "error_description", description,
			"resource_metadata", x.e.metadataURL, "scope", x.e.needed.String()),
	}
}

// audit writes down a decision: about a tool, or about the server as a whole.
func (x *exchange) audit(outcome, reason, rule, scope string) {
	log := x.e.g.c.Audit
	if log == nil {
		return
	}
	action, tool := "server.reach", x.call.tool()
	if tool != "" {
		action = "tool.call"
	}
	address, _, err := net.SplitHostPort(x.r.RemoteAddr)
	if err != nil {
		address = x.r.RemoteAddr
	}
	log.Add(audit.Event{
		Time: x.e.g.c.Now(), Action: action, Outcome: outcome, Reason: reason, Rule: rule, Tool: tool, Scope: scope,
		Person: x.subject.Person, Client: x.subject.Client, Resource: x.e.resource, Grant: x.caller.Grant, Address: address,
	})
}
