// Package access answers one question: may they, and which rule decides.
//
// It is pure: rules and a question in, an answer with its rule and reason out.
// All allows add up, a deny wins, nothing is nobody. The identity provider asks
// it at the exchange, the authorization server at its token endpoint, the
// gateway at each call and for each entry of tools/list; so what is shown and
// what is permitted cannot differ. Read [Rules.Decide] first.
package access

import (
	"slices"
	"strconv"
	"time"
)

// Rules are the rules of one server or one audience.
type Rules struct {
	Name  string // how a rule is named in answers: "servers.files", then ".allow[0]" or ".deny[2]"
	Allow []Rule
	Deny  []Rule
	// Open lets whoever signed in here (or at Home) do everything that no deny rule forbids when
	// Allow is empty (a loopback url without rules). The deciding rule is then
	// Name + ".allow (none written; loopback)".
	Open bool
	// Home is the issuer at which people sign in in our place: they are everyone,
	// too. "": none.
	Home string
}

// Rule says who, and for what. An empty list of tools, resources or scopes
// means all of them.
type Rule struct {
	Who       []string // everyone (allow: whoever signed in; deny: clients acting for themselves too) | person:NAME | person:PROVIDER/ACCOUNT | an e-mail address | group:NAME | group:PROVIDER/NAME | client:ID | issuer:ISSUER | issuer:ISSUER#SUB
	Tools     []string // patterns with * for any run of characters
	Resources []string // likewise (the IdP's audiences)
	Scopes    []string // likewise
	Require   Require  // allow rules only
}

// Require is what must be true of the sign-in for an allow rule to count.
type Require struct {
	AMR            []string      // all of them must be in the sign-in's amr
	SignedInWithin time.Duration // 0: whenever
}

// Subject is who asks.
type Subject struct {
	Person   string // NAME or PROVIDER/ACCOUNT; "" if the client acts for itself
	Issuer   string // "" for whom we know; else whose token it is, Person is ISSUER#SUB and Client ISSUER#ID
	Provider string // "" for local people
	Email    string // only if it may be believed
	Groups   []string
	// GroupsUnknown: they have groups that their provider did not name. Then a deny
	// rule for a group that may be one of those refuses, and an allow rule does not.
	GroupsUnknown bool
	AMR           []string
	AuthTime      time.Time
	Client        string

	home bool // Issuer is Rules.Home
}

// Question is one question.
type Question struct {
	Subject  Subject
	Resource string
	Tool     string // "": may they reach the server at all
	Scope    string // "": not about a scope
	Now      time.Time
}

// Reason codes of an Answer.
const (
	Allowed    = "allowed"
	Denied     = "denied_by_rule" // a deny rule matched
	NoRule     = "no_allow_rule"  // nothing lets them
	NeedsLogin = "needs_sign_in"  // an allow rule would, after a fresh or stronger sign-in
	// Overage: a rule for a group decides, and nobody knows their groups.
	Overage = "groups_overage"
)

// Answer is what was decided and by what.
type Answer struct {
	Allowed bool
	Rule    string // "servers.files.deny[0]"; "" with NoRule; with Overage the first rule that needs to know
	Reason  string
	MaxAge  time.Duration // with NeedsLogin: how old the sign-in may be; 0: age does not matter
	AMR     []string      // with NeedsLogin: methods that were missing
}

// Decide answers q. For Tool "" an allow rule counts whatever tools it names,
// and a deny rule counts only if it names no tools; likewise for scopes.
func (r Rules) Decide(q Question) Answer { return r.decide(&q) }

func (r *Rules) decide(q *Question) Answer {
	q.Subject.home = r.Home != "" && q.Subject.Issuer == r.Home
	for i := range r.Deny {
		if r.Deny[i].covers(q, false) {
			return Answer{Rule: r.nameOf(".deny[", i), Reason: Denied}
		}
	}
	for i := range r.Deny {
		if r.Deny[i].mayCover(q, false) {
			return Answer{Rule: r.nameOf(".deny[", i), Reason: Overage}
		}
	}
	if r.Open && len(r.Allow) == 0 && (q.Subject.Issuer == "" || q.Subject.home) && matchWho("everyone", q.Subject, false) {
		return Answer{Allowed: true, Rule: r.Name + ".allow (none written; loopback)", Reason: Allowed}
	}
	refusal := Answer{Reason: NoRule}
	for i := range r.Allow {
		rule := &r.Allow[i]
		if !rule.covers(q, true) {
			if refusal.Reason == NoRule && rule.mayCover(q, true) {
				refusal = Answer{Rule: r.nameOf(".allow[", i), Reason: Overage}
			}
			continue
		}
		missing, fresh := rule.Require.unmet(q)
		if len(missing) == 0 && fresh {
			return Answer{Allowed: true, Rule: r.nameOf(".allow[", i), Reason: Allowed}
		}
		// A client that acts for itself cannot be sent to sign in.
		if refusal.Reason != NeedsLogin && q.Subject.Person != "" {
			refusal = Answer{Rule: r.nameOf(".allow[", i), Reason: NeedsLogin, MaxAge: rule.Require.SignedInWithin, AMR: missing}
		}
	}
	return refusal
}

func (r *Rules) nameOf(list string, i int) string { return r.Name + list + strconv.Itoa(i) + "]" }

// Scopes returns those of asked that Decide allows one by one, and the answer
// for the last one that it did not (or, if all were allowed, an allowing one).
// With none asked it is the answer to q without a scope.
func (r Rules) Scopes(q Question, asked []string) ([]string, Answer) {
	var allowed []string
	var last, refused Answer
	for _, scope := range asked {
		if scope == "" {
			continue
		}
		q.Scope = scope
		if last = r.decide(&q); last.Allowed {
			allowed = append(allowed, scope)
		} else {
			refused = last
		}
	}
	switch {
	case refused.Reason != "":
		return allowed, refused
	case last.Reason != "":
		return allowed, last
	}
	q.Scope = ""
	return nil, r.decide(&q)
}

// covers reports whether the rule speaks about q. What a question leaves open
// (no tool, no scope) any allow rule answers, and no deny rule that is narrower.
func (rule *Rule) covers(q *Question, allow bool) bool {
	return slices.ContainsFunc(rule.Who, func(who string) bool { return matchWho(who, q.Subject, allow) }) && rule.about(q, allow)
}

// mayCover reports whether the rule would speak about q if the subject were in
// a group of which nobody knows.
func (rule *Rule) mayCover(q *Question, allow bool) bool {
	return slices.ContainsFunc(rule.Who, func(who string) bool { return mayMatchGroup(who, q.Subject) }) && rule.about(q, allow)
}

// about is covers without regard to who asks.
func (rule *Rule) about(q *Question, allow bool) bool {
	return matchAny(rule.Resources, q.Resource) &&
		(q.Tool == "" && allow || matchAny(rule.Tools, q.Tool) && named(rule.Tools, q.Tool)) &&
		(q.Scope == "" && allow || matchAny(rule.Scopes, q.Scope) && named(rule.Scopes, q.Scope))
}

// named keeps a list of patterns from covering a question that names nothing:
// "*" means every tool, not reaching the server.
func named(patterns []string, s string) bool { return s != "" || len(patterns) == 0 }

// clockSkew is how far ahead of our clock a provider's auth_time may lie.
const clockSkew = time.Minute

// unmet returns the methods that the sign-in lacks, and whether it is young
// enough. A sign-in of unknown age is not, nor is one in the future.
func (r *Require) unmet(q *Question) (missing []string, fresh bool) {
	for _, m := range r.AMR {
		if !slices.Contains(q.Subject.AMR, m) {
			missing = append(missing, m)
		}
	}
	if r.SignedInWithin == 0 {
		return missing, true
	}
	age := q.Now.Sub(q.Subject.AuthTime)
	return missing, !q.Subject.AuthTime.IsZero() && age <= r.SignedInWithin && age >= -clockSkew
}
