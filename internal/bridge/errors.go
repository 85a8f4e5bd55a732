package bridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"

	"doorward"
	"doorward/internal/oauth"
)

// refusal is the error answer to a call; id nil: to nobody in particular.
func refusal(id json.RawMessage, code int, text string, data any) []byte {
	if id == nil {
		id = json.RawMessage("null")
	}
	type rpcError struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Data    any    `json:"data,omitempty"`
	}
	out, err := json.Marshal(struct {
		Version string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Error   rpcError        `json:"error"`
	}{"2.0", id, rpcError{code, text, data}})
	if err != nil { // the id is valid JSON, and the rest is ours
		panic(err)
	}
	return out
}

// cause is what a program may read of an error's data.
type cause struct {
	Step      string `json:"step,omitempty"`
	Server    string `json:"server,omitempty"` // who answered or was asked
	Code      string `json:"code,omitempty"`
	Status    int    `json:"status,omitempty"`
	Who       string `json:"who,omitempty"`       // who can mend it
	Reference string `json:"reference,omitempty"` // under which the server keeps its refusal
	Retry     bool   `json:"retry"`
}

// referenced is how our servers end a description.
var referenced = regexp.MustCompile(`\(ref ([0-9A-Za-z-]{4,32})\)`)

func reference(text string) string {
	if m := referenced.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

// explain is an error in the words for whoever made the call.
func explain(err error) (string, cause) {
	var auth *doorward.Error
	if errors.As(err, &auth) {
		return auth.Error(), cause{auth.Step, auth.Server, auth.Code, auth.Status, auth.Who, reference(auth.Description), auth.Retry}
	}
	var status *statusError
	if errors.As(err, &status) {
		return status.Error(), cause{Server: status.server, Code: status.code, Status: status.status, Reference: reference(status.says),
			Retry: status.status >= 500 || status.status == http.StatusTooManyRequests}
	}
	var wire *wireError
	if errors.As(err, &wire) {
		return wire.Error(), cause{}
	}
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Sprintf("the MCP server cannot be reached: %v; try again when it is up", err), cause{Retry: true}
}

// statusError is an answer that is no success and no JSON-RPC error.
type statusError struct {
	status   int
	server   string
	code     string // of its challenge, printable, as the rest
	says     string
	location string
	wires    string // what may be wrong with them
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("%s answered %d %s", e.server, e.status, http.StatusText(e.status))
	for _, says := range []string{e.code, e.says} {
		if says != "" {
			text += ": " + says
		}
	}
	if e.location != "" {
		text += "; it sends everybody to " + e.location + ": if that is the MCP server, use its address"
	}
	if e.status == http.StatusNotFound || e.status == http.StatusMethodNotAllowed {
		text += "; is this the URL of an MCP server?"
	}
	return text + e.wires
}

// wireError is an answer that is no MCP.
type wireError struct{ text string }

func (e *wireError) Error() string { return e.text }

func wrong(format string, args ...any) error { return &wireError{fmt.Sprintf(format, args...)} }

// redirected is where a refusal points, without what may be secret in it.
func redirected(resp *http.Response) string {
	if resp.StatusCode < 300 || resp.StatusCode > 399 {
		return ""
	}
	to, err := resp.Location()
	if err != nil {
		return ""
	}
	return oauth.Printable((&url.URL{Scheme: to.Scheme, Host: to.Host, Path: to.Path}).String())
}
