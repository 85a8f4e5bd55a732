package bridge

import (
	"bytes"
	"encoding/json"
	"errors"
)

// JSON-RPC 2.0 error codes, section 5.1; codeServer is of the range that is
// left to implementations.
const (
	codeParse    = -32700
	codeInvalid  = -32600
	codeNoMethod = -32601
	codeParams   = -32602
	codeServer   = -32000
)

// message is a JSON-RPC message, as far as the wire depends on it.
type message struct {
	raw []byte // compact, without a line feed

	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params"`
	Result  json.RawMessage `json:"result"`
	Error   json.RawMessage `json:"error"`
}

// parse reads one message.
func parse(text []byte) (message, error) {
	var m message
	text = trim(text)
	if err := json.Unmarshal(text, &m); err != nil {
		return m, errors.New("the line is no JSON object")
	}
	if string(m.ID) == "null" {
		m.ID = nil
	}
	answer := len(m.Result) > 0 || len(m.Error) > 0
	switch {
	case m.Version != "2.0":
		return m, errors.New(`the object is no JSON-RPC 2.0 message ("jsonrpc": "2.0")`)
	case len(m.ID) > 0 && (m.ID[0] == '{' || m.ID[0] == '[' || m.ID[0] == 't' || m.ID[0] == 'f'):
		return m, errors.New("the id is neither a string nor a number")
	case m.Method == "" && !answer:
		return m, errors.New("the message has neither a method nor an answer")
	}
	var compact bytes.Buffer
	compact.Grow(len(text))
	if err := json.Compact(&compact, text); err != nil {
		return m, err
	}
	m.raw = compact.Bytes()
	return m, nil
}

func (m message) isCall() bool { return m.Method != "" && len(m.ID) > 0 }

// answers reports whether m is the answer to a call.
func (m message) answers(call message) bool {
	return m.Method == "" && len(m.ID) > 0 && len(call.ID) > 0 && sameID(m.ID, call.ID)
}

// sameID compares ids as values: a server may write one in other letters.
func sameID(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && x == y
}

// with is the same message with another id.
func (m message) with(id json.RawMessage) (message, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(m.raw, &members); err != nil {
		return m, err
	}
	members["id"] = id
	text, err := json.Marshal(members)
	if err != nil {
		return m, err
	}
	return parse(text)
}

// meta is what the wire needs of a message's parameters.
type meta struct {
	Name      string                     `json:"name"`
	URI       string                     `json:"uri"`
	RequestID json.RawMessage            `json:"requestId"`
	Arguments map[string]json.RawMessage `json:"arguments"`
	Meta      struct {
		Version string `json:"io.modelcontextprotocol/protocolVersion"`
	} `json:"_meta"`
}

func (m message) meta() meta {
	var p meta
	if json.Unmarshal(m.Params, &p) != nil {
		return meta{}
	}
	return p
}

func trim(b []byte) []byte { return bytes.TrimSpace(b) }
