package audit

import (
	"slices"
	"time"
)

// Who can mend a refusal.
const (
	Person   = "person"
	Maker    = "client's maker"
	IdPAdmin = "IdP's administrator"
	Operator = "operator"
)

// Results of a step.
const (
	StepOK         = "ok"
	StepBroken     = "broken"
	StepNotReached = "not reached"
)

// Step is one rung of a ladder.
type Step struct {
	Name   string `json:"name"`
	Title  string `json:"title"`
	Result string `json:"result"` // ok | broken | not reached
	Saw    string `json:"saw,omitempty"`
}

// Explanation is what became of an attempt.
type Explanation struct {
	Ref     string    `json:"ref"`
	Time    time.Time `json:"time"`
	Attempt string    `json:"attempt"` // what was attempted
	Event   Event     `json:"event"`
	Steps   []Step    `json:"steps"`
	Broken  string    `json:"broken"` // name of the step
	Reason  string    `json:"reason"`
	Rule    string    `json:"rule,omitempty"`
	Means   string    `json:"means"`
	Who     string    `json:"who"` // person | client's maker | IdP's administrator | operator
	Mend    string    `json:"mend"`
}

// Explain derives the ladder of a refusal from where it happened and from its
// reason: the steps have a fixed order, so those before the broken one held.
func Explain(e Event) Explanation {
	l := ladderOf(e)
	c := causeOf(l.name, e)
	x := Explanation{Ref: e.Ref, Time: e.Time, Attempt: l.title, Event: e, Broken: c.step, Reason: e.Reason,
		Means: c.means, Who: c.who, Mend: c.mend}
	if slices.Contains([]string{"rules", "reach", "tool"}, c.step) { // else the rule let them
		x.Rule = e.Rule
	}
	at := slices.Index(l.steps, c.step)
	for i, name := range l.steps {
		s := Step{Name: name, Title: titles[name], Result: StepOK}
		switch {
		case i == at:
			s.Result, s.Saw = StepBroken, e.Detail
		case at < 0 || i > at:
			s.Result = StepNotReached
		}
		x.Steps = append(x.Steps, s)
	}
	if at < 0 { // a fault of the server itself may happen anywhere
		x.Steps = append(x.Steps, Step{Name: c.step, Title: titles[c.step], Result: StepBroken, Saw: e.Detail})
	}
	return x
}

// causeOf finds the entry of the reason, at this ladder if it has one of its
// own.
func causeOf(ladder string, e Event) cause {
	c, ok := causes[ladder+" "+e.Reason]
	if !ok {
		c, ok = causes[e.Reason]
	}
	if !ok {
		c = cause{"request", "The request is not as the specification wants it; what was seen names the mistake.", Maker,
			"Change the program that sends it."}
	}
	if e.Step != "" {
		c.step = e.Step
	}
	// Whose mistake it is: the rules of an identity provider are its administrator's.
	if ladder == exchangeLadder && c.who == Operator {
		c.who = IdPAdmin
	}
	return c
}

// ladder is the fixed order in which the steps of an attempt are taken.
type ladder struct {
	name, title string
	steps       []string
}

const (
	signInLadder   = "sign-in"
	exchangeLadder = "exchange"
	requestLadder  = "request"
	workloadLadder = "workload"
)

func ladderOf(e Event) ladder {
	name := ""
	switch e.Action {
	case "tool.call", "server.reach", "request.refuse":
		name = requestLadder
	case "authorize.refuse", "sign_in", "page.refuse":
		name = signInLadder
	case "token.refuse":
		name = e.GrantType
		if e.Workload != "" {
			name = workloadLadder
		}
	}
	for _, l := range ladders {
		if l.name == name {
			return l
		}
	}
	if e.Action == "token.refuse" {
		return ladder{"token", "a token request", []string{"request", "client", "grant"}}
	}
	return ladder{"endpoint", "a request to an endpoint (" + e.Action + ")", []string{"request", "client"}}
}
