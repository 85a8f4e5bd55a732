package jose

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

var errNotJSON = errors.New("no valid JSON")

// object reads one JSON object into its members by exact name. Anything after
// it, a repeated member and text that is no UTF-8 are errors: two readers of
// such a text could see two different things (RFC 8725 section 2.4, RFC 7519
// section 4). The values share data, and are valid JSON each.
func object(data []byte) (map[string]json.RawMessage, error) {
	i := space(data, 0)
	switch {
	case !utf8.Valid(data):
		return nil, errNotJSON
	case at(data, i) != '{':
		return nil, errors.New("no JSON object")
	}
	names := string(data) // which the members' names are pieces of
	// No more members than colons.
	members := make(map[string]json.RawMessage, min(12, bytes.Count(data, []byte{':'})))
	i = space(data, i+1)
	for more := at(data, i) != '}'; more; {
		end := value(data, i, 1)
		colon := space(data, end)
		start := space(data, colon+1)
		if at(data, i) != '"' || end < 0 || at(data, colon) != ':' {
			return nil, errNotJSON
		}
		name := names[i+1 : end-1]
		if strings.IndexByte(name, '\\') >= 0 {
			var err error
			if name, err = text(data[i:end]); err != nil {
				return nil, err
			}
		}
		if end = value(data, start, 1); end < 0 {
			return nil, errNotJSON
		}
		if _, twice := members[name]; twice {
			return nil, fmt.Errorf("member %.64q stands there twice", name)
		}
		members[name] = data[start:end:end]
		switch i = space(data, end); at(data, i) {
		case ',':
			i = space(data, i+1)
		case '}':
			more = false
		default:
			return nil, errNotJSON
		}
	}
	if space(data, i+1) != len(data) {
		return nil, errNotJSON
	}
	return members, nil
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

// texts are the strings of the array of strings that raw is in JSON.
func texts(raw []byte) ([]string, error) {
	if at(raw, 0) != '[' {
		return nil, errNotJSON
	}
	list := make([]string, 0, min(8, bytes.Count(raw, []byte{','})+1))
	i := space(raw, 1)
	for more := at(raw, i) != ']'; more; {
		end := value(raw, i, 1)
		if end < 0 {
			return nil, errNotJSON
		}
		s, err := text(raw[i:end])
		if err != nil {
			return nil, err
		}
		list = append(list, s)
		switch i = space(raw, end); at(raw, i) {
		case ',':
			i = space(raw, i+1)
		case ']':
			more = false
		default:
			return nil, errNotJSON
		}
	}
	if i+1 != len(raw) {
		return nil, errNotJSON
	}
	return list, nil
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
