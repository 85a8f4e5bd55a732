package stdio

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"unicode/utf8"
)

// JSON-RPC error codes (JSON-RPC 2.0 section 5.1; the server's own range for
// the rest).
const (
	codeInvalidRequest = -32600
	codeInternal       = -32603
	codeSession        = -32001
	codeCancelled      = -32800
)

// message is one JSON-RPC message, as far as its way depends on it.
type message struct {
	raw    []byte // on one line
	id     json.RawMessage
	method string // "": a response
	token  string // of the progress that a request asks for, or a notification is about; "": none
	cancel string // the request that a notification cancels; "": none
}

var errNotMessage = errors.New("this is not a JSON-RPC message")

// parseMessage reads one message. Nothing of it is changed but white space: a
// line break would end it, in a pipe as in an event stream.
func parseMessage(body []byte) (message, error) {
	if !utf8.Valid(body) {
		return message{}, errNotMessage
	}
	var line bytes.Buffer
	if err := json.Compact(&line, body); err != nil {
		return message{}, errNotMessage
	}
	var m struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
		Result json.RawMessage `json:"result"`
		Error  json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(line.Bytes(), &m); err != nil {
		return message{}, errNotMessage
	}
	out := message{raw: line.Bytes(), id: m.ID, method: m.Method}
	if string(m.ID) == "null" {
		out.id = nil
	}
	if (m.Method == "") == (m.Result == nil && m.Error == nil) || m.Method == "" && out.id == nil {
		return message{}, errNotMessage
	}
	out.readParams(m.Params)
	return out, nil
}

func (m *message) readParams(params json.RawMessage) {
	if m.method == "" || !bytes.HasPrefix(params, []byte("{")) {
		return
	}
	var p struct {
		Token     json.RawMessage `json:"progressToken"`
		RequestID json.RawMessage `json:"requestId"`
		Meta      struct {
			Token json.RawMessage `json:"progressToken"`
		} `json:"_meta"`
	}
	_ = json.Unmarshal(params, &p) // what cannot be read names nothing
	switch {
	case m.id != nil:
		m.token = key(p.Meta.Token)
	case m.method == "notifications/progress":
		m.token = key(p.Token)
	case m.method == "notifications/cancelled":
		m.cancel = key(p.RequestID)
	}
}

func (m message) isRequest() bool  { return m.method != "" && m.id != nil }
func (m message) isResponse() bool { return m.method == "" }

// key makes ids comparable that are written in different ways: "a" and
// "\u0061", 1 and 1.0. "" for what is neither a string nor a number.
func key(id json.RawMessage) string {
	if len(id) == 0 {
		return ""
	}
	if id[0] == '"' {
		var text string
		if json.Unmarshal(id, &text) != nil {
			return ""
		}
		return "s" + text
	}
	if n, err := strconv.ParseInt(string(id), 10, 64); err == nil {
		return "n" + strconv.FormatInt(n, 10)
	}
	if f, err := strconv.ParseFloat(string(id), 64); err == nil {
		return "n" + strconv.FormatFloat(f, 'f', -1, 64)
	}
	return ""
}

// errorMessage is a JSON-RPC error response.
func errorMessage(id json.RawMessage, code int, text string) []byte {
	if id == nil {
		id = json.RawMessage("null")
	}
	type rpcError struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}
	b, err := json.Marshal(struct {
		Version string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Error   rpcError        `json:"error"`
	}{"2.0", id, rpcError{code, text}})
	if err != nil {
		panic(err) // strings, and an id that was read as JSON
	}
	return b
}
