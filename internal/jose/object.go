package jose

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// object reads one JSON object into its members by exact name. Anything after
// it, a repeated member and text that is no UTF-8 are errors: two readers of
// such a text could see two different things (RFC 8725 section 2.4, RFC 7519
// section 4). The values share data.
func object(data []byte) (map[string]json.RawMessage, error) {
	if !json.Valid(data) || !utf8.Valid(data) {
		return nil, errors.New("no valid JSON")
	}
	i := space(data, 0)
	if data[i] != '{' {
		return nil, errors.New("no JSON object")
	}
	// From here on the text is known to be well formed.
	members := make(map[string]json.RawMessage, min(12, bytes.Count(data, []byte{':'}))) // no more than there are
	for i = space(data, i+1); data[i] != '}'; {
		end := value(data, i)
		name, err := text(data[i:end])
		if err != nil {
			return nil, err
		}
		start := space(data, space(data, end)+1) // past the colon
		end = value(data, start)
		if _, twice := members[name]; twice {
			return nil, fmt.Errorf("member %.64q stands there twice", name)
		}
		members[name] = data[start:end:end]
		if i = space(data, end); data[i] == ',' {
			i = space(data, i+1)
		}
	}
	return members, nil
}

// space is the index of the first byte from i on that is no white space.
func space(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\t' || data[i] == '\n' || data[i] == '\r') {
		i++
	}
	return i
}

// value is the index after the value that starts at i.
func value(data []byte, i int) int {
	depth := 0
	for ; i < len(data); i++ {
		switch data[i] {
		case '"':
			for i++; data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // the end of a number or literal
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return i
			}
		}
	}
	return i
}

// text is the string that raw is in JSON.
func text(raw []byte) (string, error) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", errors.New("no JSON string")
	}
	if inner := string(raw[1 : len(raw)-1]); !strings.Contains(inner, `\`) {
		return inner, nil
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err
}

// member is a string member of an object: "" if absent.
func member(members map[string]json.RawMessage, name string) (string, error) {
	raw, ok := members[name]
	if !ok {
		return "", nil
	}
	s, err := text(raw)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}
