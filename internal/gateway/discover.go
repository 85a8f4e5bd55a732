package gateway

import (
	"encoding/json"
	"slices"
)

// advertise adds extensions to those that the answer to server/discover lists
// (MCP 2026-07-28: result.capabilities.extensions). Every other byte stays, and
// so does a message that is no such answer. An error means that it cannot be
// told what the message says.
func advertise(message []byte, extensions []string) ([]byte, error) {
	s := scanner{b: message}
	if err := s.document(); err != nil {
		return nil, err
	}
	object, at, err := member(message, "result", 0)
	if err != nil || object == nil || object[0] != '{' || len(extensions) == 0 {
		return message, err
	}
	missing := extensions
	var above []string // members that are not there and must be made
	for _, name := range []string{"capabilities", "extensions"} {
		if len(above) > 0 {
			above = append(above, name)
			continue
		}
		value, valueAt, err := member(object, name, at)
		switch {
		case err != nil, value != nil && value[0] != '{':
			return message, err
		case value == nil:
			above = append(above, name)
		default:
			object, at = value, valueAt
		}
	}
	if len(above) == 0 {
		missing = nil
		for _, id := range extensions {
			if there, _, err := member(object, id, at); err != nil {
				return nil, err
			} else if there == nil {
				missing = append(missing, id)
			}
		}
	}
	if len(missing) == 0 {
		return message, nil
	}
	text := membersFor(missing)
	for _, name := range slices.Backward(above) {
		text = quote(name) + ":{" + text + "}"
	}
	if rest := (&scanner{b: object, i: 1}); rest.next() != '}' {
		text += ","
	}
	return slices.Insert(slices.Clone(message), at+1, []byte(text)...), nil
}

// membersFor are members without settings.
func membersFor(names []string) string {
	text := ""
	for i, name := range names {
		if i > 0 {
			text += ","
		}
		text += quote(name) + ":{}"
	}
	return text
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string
	}
	return string(b)
}
