package scim

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of one value, and of a list of values.
const (
	maxText    = 400 // bytes: within a name of the store
	maxValues  = 50
	maxPatches = 1000 // operations of one request
	// MaxMembers is how many members one request may name.
	MaxMembers = 10_000
)

// object reads a body, the names of attributes in lower case. The same name
// twice, also in different case, is refused: it would be anybody's guess which
// one counts.
func object(body []byte) (map[string]any, error) {
	var raw map[string]any
	d := json.NewDecoder(bytes.NewReader(body))
	if err := d.Decode(&raw); err != nil || raw == nil {
		return nil, refuse(InvalidSyntax, "the body is no JSON object")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, refuse(InvalidSyntax, "the body is more than one JSON object")
	}
	return lower(raw)
}

func lower(raw map[string]any) (map[string]any, error) {
	out := make(map[string]any, len(raw))
	for name, v := range raw {
		folded := strings.ToLower(name)
		if _, twice := out[folded]; twice {
			return nil, refuse(InvalidSyntax, "an attribute is there twice")
		}
		out[folded] = v
	}
	return out, nil
}

// text is a string without control characters; null is "".
func text(name string, v any) (string, error) {
	if v == nil {
		return "", nil
	}
	s, ok := v.(string)
	if !ok || len(s) > maxText || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return "", refuse(InvalidValue, "%s must be a string of at most %d bytes, without control characters", name, maxText)
	}
	return s, nil
}

// truth is a truth value, or one in words, as Microsoft Entra ID writes it.
func truth(name string, v any) (bool, error) {
	switch v := v.(type) {
	case bool:
		return v, nil
	case string:
		switch strings.ToLower(v) {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
	}
	return false, refuse(InvalidValue, "%s must be true or false", name)
}

// list is a list of values; one value stands for itself.
func list(name string, v any, most int) ([]any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case []any:
		if len(v) > most {
			return nil, refuse(TooMany, "%s has more than %d values", name, most)
		}
		return v, nil
	}
	return []any{v}, nil
}

// Stamp is a time as meta has it.
func Stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
