// Package audit is one event per decision.
//
// An event says who asked for what, what was decided, by which rule, and why.
// It never holds a token, a code or a secret; an assertion is named by the hash
// of its jti. Events of decisions that write anyway travel in that commit;
// [Log.Add] queues the others, and the queue is written within 100 ms and at
// the end.
package audit

import (
	"context"
	"time"
)

// Event is one decision.
type Event struct {
	Time      time.Time `json:"time"`
	Action    string    `json:"action"`           // token.issue, token.refuse, authorize.approve, tool.call, sign_in, leave, revoke, …
	Outcome   string    `json:"outcome"`          // ok | refused | failed
	Reason    string    `json:"reason,omitempty"` // reason code
	Rule      string    `json:"rule,omitempty"`   // access rule that decided
	Person    string    `json:"person,omitempty"`
	Client    string    `json:"client,omitempty"`
	Resource  string    `json:"resource,omitempty"`
	Tool      string    `json:"tool,omitempty"`
	Scope     string    `json:"scope,omitempty"`
	Grant     string    `json:"grant,omitempty"`
	Issuer    string    `json:"issuer,omitempty"` // of an assertion
	JTI       string    `json:"jti,omitempty"`    // SHA-256 of it, first 16 hex digits
	GrantType string    `json:"grant_type,omitempty"`
	Workload  string    `json:"workload,omitempty"` // entry of workloads that a JWT fits; "unknown": none yet
	Address   string    `json:"address,omitempty"`  // of the caller
	Detail    string    `json:"detail,omitempty"`   // cause, for the operator; no secret
	Ref       string    `json:"ref,omitempty"`      // of a refusal: what the caller was told, and why explains
	Step      string    `json:"step,omitempty"`     // of the ladder, where it broke; "": the reason says
}

// Sink keeps events. Write is called by one goroutine at a time; the slice is
// the caller's again when it returns.
type Sink interface {
	Write(ctx context.Context, events []Event) error
}
