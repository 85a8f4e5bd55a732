package bridge

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// named is what Mcp-Name says of a message (MCP 2026-07-28, transports).
func (p meta) named(method string) string {
	switch method {
	case "tools/call", "prompts/get":
		return p.Name
	case "resources/read":
		return p.URI
	}
	return ""
}

// maxTools bounds the tools whose headers are remembered.
const maxTools = 10_000

// toolHeaders are the arguments that a server wants to see in headers, too
// (x-mcp-header in a tool's schema). They are learned from tools/list.
type toolHeaders struct {
	mu sync.Mutex
	m  map[string][]toolHeader
}

type toolHeader struct {
	path   []string // of the argument
	header string
}

// schema is what matters of a tool's input schema.
type schema struct {
	Header     string            `json:"x-mcp-header"`
	Properties map[string]schema `json:"properties"`
}

// learn reads the result of tools/list.
func (t *toolHeaders) learn(result json.RawMessage) {
	var list struct {
		Tools []struct {
			Name  string `json:"name"`
			Input schema `json:"inputSchema"`
		} `json:"tools"`
	}
	if json.Unmarshal(result, &list) != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = map[string][]toolHeader{}
	}
	for _, tool := range list.Tools {
		delete(t.m, tool.Name)
		if headers := tool.Input.headers(nil); len(headers) > 0 && len(t.m) < maxTools {
			t.m[tool.Name] = headers
		}
	}
}

func (s schema) headers(path []string) []toolHeader {
	var all []toolHeader
	for name, p := range s.Properties {
		at := append(path[:len(path):len(path)], name)
		if isToken(p.Header) {
			all = append(all, toolHeader{at, p.Header})
		}
		if len(at) < 16 {
			all = append(all, p.headers(at)...)
		}
	}
	return all
}

// set adds the headers of a call.
func (t *toolHeaders) set(h http.Header, p meta) {
	t.mu.Lock()
	headers := t.m[p.Name]
	t.mu.Unlock()
	for _, th := range headers {
		if value, ok := argument(p.Arguments, th.path); ok {
			h.Set("Mcp-Param-"+th.header, headerValue(value))
		}
	}
}

// argument is a string, whole number or boolean among the arguments, as text.
func argument(args map[string]json.RawMessage, path []string) (string, bool) {
	for ; len(path) > 1; path = path[1:] {
		var inner map[string]json.RawMessage
		if json.Unmarshal(args[path[0]], &inner) != nil {
			return "", false
		}
		args = inner
	}
	var value any
	if json.Unmarshal(args[path[0]], &value) != nil {
		return "", false
	}
	switch v := value.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case float64:
		// Whole numbers that JSON carries exactly.
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return strconv.FormatInt(int64(v), 10), true
		}
	}
	return "", false
}

// headerValue is a text as it may stand in a header: as it is, or in base64
// where that would not be the same text.
func headerValue(s string) string {
	plain := s == strings.Trim(s, " \t") && !(strings.HasPrefix(s, "=?base64?") && strings.HasSuffix(s, "?=")) &&
		!strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e })
	if plain {
		return s
	}
	return "=?base64?" + base64.StdEncoding.EncodeToString([]byte(s)) + "?="
}

// isToken is RFC 9110 section 5.6.2.
func isToken(s string) bool {
	return s != "" && len(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	})
}
