package gateway

import (
	"encoding/json"
	"net/http"

	"doorward/internal/audit"
	"doorward/internal/oauth"
)

// JSON-RPC error codes (JSON-RPC 2.0 section 5.1; MCP 2026-07-28; the server's
// own range for the rest).
const (
	codeParse          = -32700
	codeInvalidRequest = -32600
	codeInternal       = -32603
	codeSession        = -32001
	codeRefused        = -32003
	codeHeaderMismatch = -32020
)

// refusal is what a caller gets instead of an answer of the server.
type refusal struct {
	status    int
	code      int
	message   string   // for the person; names no secret
	reason    string   // a code for programs
	rule      string   // the access rule that decided
	step      string   // where it broke, if the reason does not say
	detail    string   // for the operator; "": the message
	ref       string   // what the caller is told to ask about
	challenge []string // of WWW-Authenticate: the error, then name, value, …; nil: none
	allow     string   // Allow
	retry     string   // Retry-After
	id        []byte   // of the message, if the exchange does not know it yet
	needed    oauth.Scopes
}

type rpcError struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Error   struct {
		Code    int      `json:"code"`
		Message string   `json:"message"`
		Data    *rpcData `json:"data,omitempty"`
	} `json:"error"`
}

type rpcData struct {
	Reason string `json:"reason"`
	Rule   string `json:"rule,omitempty"`
	Ref    string `json:"ref,omitempty"`
}

// body is the refusal as a JSON-RPC error response.
func (f *refusal) body(id []byte) []byte {
	if id == nil {
		id = f.id
	}
	if id == nil {
		id = []byte("null")
	}
	e := rpcError{Version: "2.0", ID: id}
	e.Error.Code, e.Error.Message = f.code, f.described()
	if f.reason != "" || f.ref != "" {
		e.Error.Data = &rpcData{Reason: f.reason, Rule: f.rule, Ref: f.ref}
	}
	b, err := json.Marshal(e)
	if err != nil {
		panic(err) // strings, and an id that was read as JSON
	}
	return b
}

// described is the message with its reference.
func (f *refusal) described() string {
	if f.ref == "" {
		return f.message
	}
	return audit.Describe(f.message, f.ref)
}

// keep keeps the refusal under a reference.
func (x *exchange) keep(f *refusal) {
	if f.reason == "" {
		f.reason = "invalid_message"
	}
	e := x.event()
	e.Outcome, e.Reason, e.Rule, e.Step, e.Scope, e.Detail = "refused", f.reason, f.rule, f.step, f.needed.String(), f.detail
	if e.Detail == "" {
		e.Detail = oauth.Printable(f.message)
	}
	switch {
	case f.needed != nil:
		e.Detail = "the token has " + x.scopes().String() + "; needed are " + e.Scope
	case f.status == http.StatusBadGateway || f.status == http.StatusServiceUnavailable:
		e.Outcome = "failed"
	}
	f.ref = x.e.g.c.Attempts.Keep(e, true)
}

// refusedAtDoor keeps what the guard refuses: nobody knows who that was.
func (g *Gateway) refusedAtDoor(resource string) func(r *http.Request, reason, detail string) string {
	return func(r *http.Request, reason, detail string) string {
		return g.c.Attempts.Keep(audit.Event{Time: g.c.Now(), Action: "server.reach", Outcome: "refused", Reason: reason,
			Detail: oauth.Printable(detail), Resource: resource, Address: addressOf(r)}, false)
	}
}

const lacksScope = "This needs a scope that the access token does not have"

func (x *exchange) refuse(f *refusal) {
	x.keep(f)
	h := x.w.Header()
	if f.challenge != nil {
		x.e.guard.Challenge(x.w, x.r, x.e.needed, append([]string{"error", f.challenge[0], "error_description", f.described()}, f.challenge[1:]...)...)
	}
	if f.allow != "" {
		h.Set("Allow", f.allow)
	}
	if f.retry != "" {
		h.Set("Retry-After", f.retry)
	}
	body := f.body(x.call.id)
	if f.needed != nil {
		body = x.stepUp(f)
	}
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	x.w.WriteHeader(f.status)
	_, _ = x.w.Write(body) // a client that went away gets nothing
}

// addsUp is the revision of MCP whose clients add the scopes of a challenge to
// those that they have. Older ones ask for what it names and would lose the rest.
const addsUp = "2026-07-28"

// granted are the scopes of the token that can be asked for again.
func (x *exchange) granted() oauth.Scopes {
	var scopes oauth.Scopes
	for _, scope := range x.caller.Scopes {
		if _, known := x.e.s.Scopes[scope]; known {
			scopes = append(scopes, scope)
		}
	}
	return scopes
}

// stepUp sets the challenge that lets a client ask for more, as
// doorward.Guard.InsufficientScope does (MCP 2026-07-28, runtime insufficient
// scope), and returns the body that goes with it.
func (x *exchange) stepUp(f *refusal) []byte {
	scopes := f.needed
	if v := x.r.Header.Get("Mcp-Protocol-Version"); v != "" && v < addsUp {
		scopes = scopes.Union(x.granted())
	}
	x.e.guard.Challenge(x.w, x.r, scopes, "error", oauth.InsufficientScope, "error_description", f.described())
	body, err := json.Marshal(struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{oauth.InsufficientScope, f.described()})
	if err != nil {
		panic(err) // two strings
	}
	return body
}
