package bridge

import (
	"bytes"
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

// learn reads the result of tools/list. bad are the tools whose headers break
// the rules: clients leave those out (MCP 2026-07-28, streamable HTTP).
func (t *toolHeaders) learn(result json.RawMessage) (bad []string) {
	var list struct {
		Tools []struct {
			Name  string          `json:"name"`
			Input json.RawMessage `json:"inputSchema"`
		} `json:"tools"`
	}
	if json.Unmarshal(result, &list) != nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = map[string][]toolHeader{}
	}
	for _, tool := range list.Tools {
		delete(t.m, tool.Name)
		headers, ok := schemaHeaders(tool.Input)
		if !ok {
			bad = append(bad, tool.Name)
		}
		if len(headers) > 0 && len(t.m) < maxTools {
			t.m[tool.Name] = headers
		}
	}
	return bad
}

// knows reports the headers of a tool.
func (t *toolHeaders) knows(tool string) []toolHeader {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.m[tool]
}

// schemaHeaders reads the x-mcp-header annotations of a tool's schema; not ok:
// one stands where it may not.
func schemaHeaders(schema json.RawMessage) (all []toolHeader, ok bool) {
	if !bytes.Contains(schema, []byte("x-mcp-header")) && !bytes.Contains(schema, []byte(`\u`)) {
		return nil, true
	}
	var root any
	if json.Unmarshal(schema, &root) != nil {
		return nil, false
	}
	seen := map[string]bool{}
	ok = true
	walkSchema(root, nil, true, func(path []string, s map[string]any) {
		name, isText := s["x-mcp-header"].(string)
		kind, _ := s["type"].(string)
		lower := strings.ToLower(name)
		if !isText || !isToken(name) || len(path) == 0 || seen[lower] || kind != "string" && kind != "integer" && kind != "boolean" {
			ok = false
			return
		}
		seen[lower] = true
		all = append(all, toolHeader{path, name})
	})
	return all, ok
}

// walkSchema calls each with the annotated schemas; path is nil for one that is
// not reached by properties alone.
func walkSchema(node any, path []string, reached bool, each func(path []string, s map[string]any)) {
	switch node := node.(type) {
	case []any:
		for _, inner := range node {
			walkSchema(inner, nil, false, each)
		}
	case map[string]any:
		if _, annotated := node["x-mcp-header"]; annotated {
			each(path, node)
		}
		for key, inner := range node {
			properties, isMap := inner.(map[string]any)
			switch {
			case key == "x-mcp-header" || isData(key):
			case key != "properties" || !isMap:
				walkSchema(inner, nil, false, each)
			default:
				for name, property := range properties {
					var at []string
					if reached {
						at = append(path[:len(path):len(path)], name)
					}
					walkSchema(property, at, reached, each)
				}
			}
		}
	}
}

// isData reports the keywords of JSON Schema whose values are no schemas.
func isData(keyword string) bool {
	switch keyword {
	case "default", "examples", "enum", "const":
		return true
	}
	return false
}

// set adds the headers of a call.
func (t *toolHeaders) set(h http.Header, p meta) {
	for _, th := range t.knows(p.Name) {
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
