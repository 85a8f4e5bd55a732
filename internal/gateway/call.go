package gateway

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode"
)

// call is one JSON-RPC message of a POST, as far as the gateway looks into it.
type call struct {
	body   []byte
	id     []byte // as written; nil: a notification
	method string // "": a response to the server
	name   string // params.name
	uri    string // params.uri
}

const (
	toolsCall = "tools/call"
	toolsList = "tools/list"
	discover  = "server/discover"      // MCP 2026-07-28
	listen    = "subscriptions/listen" // a POST whose answer is a stream (MCP 2026-07-28)
)

// maxToolName is four times what MCP calls for (server tools, tool names), in
// bytes.
const maxToolName = 512

// watched are the methods that are treated in a way of their own.
var watched = []string{toolsCall, toolsList, discover, listen}

// tool is the tool that the message calls, "" if it calls none.
func (c *call) tool() string {
	if c.method == toolsCall {
		return c.name
	}
	return ""
}

// readCall reads the body of a POST and checks that there is one way only to
// understand it.
func readCall(r *http.Request, limit int64) (call, *refusal) {
	if err := checkContent(r.Header); err != nil {
		return call{}, &refusal{status: http.StatusUnsupportedMediaType, code: codeInvalidRequest, message: err.Error()}
	}
	body, err := readBody(r, limit)
	switch {
	case errors.Is(err, errTooLarge):
		return call{}, &refusal{status: http.StatusRequestEntityTooLarge, code: codeInvalidRequest, message: err.Error()}
	case errors.Is(err, errHoldsTooMuch):
		return call{}, tooManyOpen(err.Error())
	case err != nil:
		return call{}, &refusal{status: http.StatusBadRequest, code: codeInvalidRequest, message: "the request body could not be read"}
	}
	c, err := parseCall(body)
	if err != nil {
		code := codeInvalidRequest
		if errors.Is(err, errSyntax) {
			code = codeParse
		}
		return call{}, &refusal{status: http.StatusBadRequest, code: code, message: err.Error()}
	}
	if err := c.checkHeaders(r.Header); err != nil {
		return call{}, &refusal{status: http.StatusBadRequest, code: codeHeaderMismatch, message: err.Error(), id: c.id}
	}
	return c, nil
}

// checkContent wants plain JSON: with another charset or coding the upstream
// might read other words than we do.
func checkContent(h http.Header) error {
	media, params, err := "", map[string]string(nil), error(nil)
	switch types := h["Content-Type"]; {
	case len(types) != 1:
		return errors.New("send one Content-Type, application/json")
	case types[0] == "application/json":
		media = types[0]
	default:
		media, params, err = mime.ParseMediaType(types[0])
	}
	charset := params["charset"]
	switch {
	case err != nil || media != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8"):
		return errors.New("the Content-Type must be application/json, in UTF-8")
	case len(h["Content-Encoding"]) > 0:
		return errors.New("the body must come without Content-Encoding")
	}
	return nil
}

var errTooLarge = errors.New("the request body is larger than this server takes")

func readBody(r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, errTooLarge
	}
	if r.ContentLength > 0 {
		body := make([]byte, r.ContentLength)
		_, err := io.ReadFull(r.Body, body)
		return body, err
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if int64(len(body)) > limit {
		return nil, errTooLarge
	}
	return body, err
}

// parseCall reads one JSON-RPC 2.0 message (MCP, base protocol).
func parseCall(body []byte) (call, error) {
	c := call{body: body}
	s := scanner{b: body}
	if err := s.document(); err != nil {
		return c, err
	}
	if first := bytes.TrimLeft(body, " \t\r\n")[0]; first == '[' {
		return c, errors.New("batches are not taken: send one message per request")
	} else if first != '{' {
		return c, errors.New("this is not a JSON-RPC message")
	}
	var version, params []byte
	answer, hasMethod := false, false
	err := members(body, func(name, value []byte, _ int) error {
		switch string(name) {
		case "jsonrpc":
			version = value
		case "id":
			c.id = value
		case "method":
			method, err := unquote(value)
			c.method, hasMethod = string(method), true
			return err
		case "params":
			params = value
		case "result", "error":
			answer = true
		default:
			return misspelt(name, "jsonrpc", "id", "method", "params", "result", "error")
		}
		return nil
	})
	switch {
	case err != nil:
		return c, err
	case string(version) != `"2.0"`:
		return c, errors.New(`this is not JSON-RPC 2.0: it has no "jsonrpc":"2.0"`)
	case hasMethod == answer, hasMethod && c.method == "", answer && c.id == nil:
		return c, errors.New("this is neither a JSON-RPC request nor a response")
	case c.id != nil && c.id[0] != '"' && c.id[0] != '-' && (c.id[0] < '0' || c.id[0] > '9'):
		return c, errors.New("the id must be a string or a number")
	case strings.ContainsFunc(c.method, func(r rune) bool { return r <= ' ' || r > '~' }):
		// A lenient server might trim it, or end it at a NUL.
		return c, errors.New("a method is written in visible ASCII characters")
	case slices.ContainsFunc(watched, func(m string) bool { return strings.EqualFold(c.method, m) && c.method != m }):
		return c, errors.New("methods are written in lower case")
	}
	return c, c.readParams(params)
}

func (c *call) readParams(params []byte) error {
	if params != nil && string(params) != "null" {
		if params[0] != '{' {
			return errors.New("params must be an object")
		}
		err := members(params, func(name, value []byte, _ int) error {
			switch string(name) {
			case "name":
				return textMember(value, &c.name)
			case "uri":
				return textMember(value, &c.uri)
			}
			return misspelt(name, "name", "uri", "arguments", "_meta")
		})
		if err != nil {
			return err
		}
	}
	switch {
	case c.method != toolsCall:
	case c.name == "":
		return errors.New("tools/call names no tool: params.name is missing or not a string")
	case len(c.name) > maxToolName:
		return errors.New("the name of the tool is too long")
	case strings.TrimSpace(c.name) != c.name || strings.ContainsFunc(c.name, unicode.IsControl):
		return errors.New("the name of a tool has white space around it or control characters in it")
	}
	return nil
}

// textMember reads a string; another kind of value counts as absent.
func textMember(value []byte, into *string) error {
	if value[0] != '"' {
		return nil
	}
	text, err := unquote(value)
	*into = string(text)
	return err
}

// misspelt refuses a name that lenient parsers take for one of those listed.
func misspelt(name []byte, listed ...string) error {
	for _, l := range listed {
		if bytes.EqualFold(name, []byte(l)) && string(name) != l {
			return errors.New("a member's name differs from " + l + " in its letters' case")
		}
	}
	return nil
}

// checkHeaders compares Mcp-Method and Mcp-Name with the body (MCP 2026-07-28,
// standard headers), which what stands between us and the upstream might route by.
func (c *call) checkHeaders(h http.Header) error {
	if methods := h["Mcp-Method"]; len(methods) > 1 || len(methods) == 1 && methods[0] != c.method {
		return errors.New("the header Mcp-Method does not say what the body says")
	}
	names := h["Mcp-Name"]
	if len(names) == 0 {
		return nil
	}
	name, ok := headerValue(names[0])
	if len(names) > 1 || !ok || name == "" || name != c.name && (c.method == toolsCall || name != c.uri) {
		return errors.New("the header Mcp-Name does not say what the body says")
	}
	return nil
}

// headerValue reads a header that may carry text beyond ASCII (MCP SEP-2243).
func headerValue(v string) (string, bool) {
	coded, ok := strings.CutPrefix(v, "=?base64?")
	if coded, ok2 := strings.CutSuffix(coded, "?="); ok && ok2 {
		text, err := base64.StdEncoding.DecodeString(coded)
		return string(text), err == nil
	}
	return v, true
}
