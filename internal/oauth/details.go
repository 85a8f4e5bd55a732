package oauth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
)

// Details are the elements of authorization_details (RFC 9396 section 2), each
// in the one spelling that ParseDetails gives it.
type Details []json.RawMessage

// Bounds of authorization_details. It stands in the access token, which has to
// fit into a header.
const (
	maxDetails     = 4 << 10 // bytes in all
	maxDetail      = 20      // elements
	maxDetailDepth = 8
)

// ParseDetails reads the parameter authorization_details: a JSON array of 1 to
// 20 objects, each with a type, 4 KiB in all. A member that stands there twice, a
// control character and more than 8 levels are refused, as is everything else
// with invalid_authorization_details (RFC 9396 section 5). "" is none.
func ParseDetails(text string) (Details, error) {
	if text == "" {
		return nil, nil
	}
	if len(text) > maxDetails {
		return nil, badDetails("authorization_details is longer than %d bytes", maxDetails)
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if err := walk(dec, 0); err != nil {
		return nil, badDetails("authorization_details: %v", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, badDetails("authorization_details: something follows the JSON")
	}
	dec = json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var list []map[string]any
	if err := dec.Decode(&list); err != nil {
		return nil, badDetails("authorization_details is no JSON array of objects")
	}
	if len(list) == 0 || len(list) > maxDetail {
		return nil, badDetails("authorization_details must have 1 to %d elements", maxDetail)
	}
	out, size := make(Details, len(list)), 0
	for i, d := range list {
		if name, ok := d["type"].(string); !ok || name == "" {
			return nil, badDetails("authorization_details[%d] has no type", i)
		}
		var err error
		if out[i], err = json.Marshal(d); err != nil {
			return nil, badDetails("authorization_details[%d] cannot be written: %v", i, err)
		}
		if size += len(out[i]); size > maxDetails { // escapes make it longer
			return nil, badDetails("authorization_details is longer than %d bytes", maxDetails)
		}
	}
	return out, nil
}

func badDetails(format string, args ...any) *Error {
	return &Error{Code: InvalidAuthzDetails, Description: Printable(fmt.Sprintf(format, args...))}
}

// walk reads one value and refuses what two readers could see differently.
func walk(dec *json.Decoder, depth int) error {
	if depth > maxDetailDepth {
		return fmt.Errorf("more than %d levels", maxDetailDepth)
	}
	t, err := dec.Token()
	if err != nil {
		return fmt.Errorf("no valid JSON")
	}
	switch t := t.(type) {
	case string:
		return readableText(t)
	case json.Delim:
		return walkInside(dec, depth, t)
	}
	return nil
}

func walkInside(dec *json.Decoder, depth int, open json.Delim) error {
	seen := map[string]bool{}
	for dec.More() {
		if open == '{' {
			t, err := dec.Token()
			name, ok := t.(string)
			switch {
			case err != nil || !ok:
				return fmt.Errorf("no valid JSON")
			case seen[name]:
				return fmt.Errorf("a member stands there twice")
			}
			if err := readableText(name); err != nil {
				return err
			}
			seen[name] = true
		}
		if err := walk(dec, depth+1); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil { // what closes it
		return fmt.Errorf("no valid JSON")
	}
	return nil
}

func readableText(s string) error {
	if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }) {
		return fmt.Errorf("a control character or a character that is no UTF-8")
	}
	return nil
}

// Has reports whether the element is among them.
func (d Details) Has(one json.RawMessage) bool {
	return slices.ContainsFunc(d, func(e json.RawMessage) bool { return bytes.Equal(e, one) })
}

// HasAll reports whether all elements of more are among them.
func (d Details) HasAll(more Details) bool {
	return !slices.ContainsFunc(more, func(e json.RawMessage) bool { return !d.Has(e) })
}
