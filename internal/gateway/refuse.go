package gateway

import "encoding/json"

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
	message   string // for the person; names no secret
	reason    string // a code for programs
	rule      string // the access rule that decided
	challenge string // WWW-Authenticate
	allow     string // Allow
	id        []byte // of the message, if the exchange does not know it yet
	needed    []string
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
	e.Error.Code, e.Error.Message = f.code, f.message
	if f.reason != "" {
		e.Error.Data = &rpcData{Reason: f.reason, Rule: f.rule}
	}
	b, err := json.Marshal(e)
	if err != nil {
		panic(err) // strings, and an id that was read as JSON
	}
	return b
}

func (x *exchange) refuse(f *refusal) {
	if f.needed != nil {
		x.e.guard.InsufficientScope(x.w, x.r, f.needed...)
		return
	}
	h := x.w.Header()
	if f.challenge != "" {
		h.Set("WWW-Authenticate", f.challenge)
	}
	if f.allow != "" {
		h.Set("Allow", f.allow)
	}
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	x.w.WriteHeader(f.status)
	_, _ = x.w.Write(f.body(x.call.id)) // a client that went away gets nothing
}
