package jsonobj

import "strings"

// Plain is a value of a plain object: a text, some texts, or true or false.
type Plain struct {
	kind  kind
	text  string
	texts []string
	truth bool
}

type kind uint8

const (
	isText kind = iota + 1
	isTexts
	isBool
)

// Text writes the value to to. false: it is no text.
func (v Plain) Text(to *string) bool {
	if v.kind == isText {
		*to = v.text
	}
	return v.kind == isText
}

// Texts writes the value to to. false: it is no array.
func (v Plain) Texts(to *[]string) bool {
	if v.kind == isTexts {
		*to = v.texts
	}
	return v.kind == isTexts
}

// Bool writes the value to to. false: it is neither true nor false.
func (v Plain) Bool(to *bool) bool {
	if v.kind == isBool {
		*to = v.truth
	}
	return v.kind == isBool
}

// ReadPlain reads an object and gives its members to member, in their order, at
// a tenth of the cost of encoding/json. It reads only what is plain: texts,
// arrays of texts, true and false, all of printable ASCII without escapes, under
// names of small letters, digits and underscores, which no other spelling of a
// name can mean. false: the text is something else, or member did not like a
// member; what it is is for encoding/json to say. Values are parts of text.
func ReadPlain(text string, member func(name string, v Plain) bool) bool {
	r := plainReader{text}
	if !r.next('{') {
		return false
	}
	for first := true; !r.next('}'); first = false {
		if !first && !r.next(',') {
			return false
		}
		name, ok := r.quoted()
		if !ok || !plainName(name) || !r.next(':') {
			return false
		}
		v, ok := r.value()
		if !ok || !member(name, v) {
			return false
		}
	}
	return r.space() == ""
}

func plainName(name string) bool {
	for i := range len(name) {
		if c := name[i]; c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// plainReader is what is left of a text.
type plainReader struct{ rest string }

// space skips white space (RFC 8259 section 2) and returns what is left.
func (r *plainReader) space() string {
	i := 0
	for i < len(r.rest) && (r.rest[i] == ' ' || r.rest[i] == '\n' || r.rest[i] == '\t' || r.rest[i] == '\r') {
		i++
	}
	r.rest = r.rest[i:]
	return r.rest
}

// next takes the character c, if it is the next one.
func (r *plainReader) next(c byte) bool {
	if s := r.space(); s == "" || s[0] != c {
		return false
	}
	r.rest = r.rest[1:]
	return true
}

// quoted takes a text.
func (r *plainReader) quoted() (text string, ok bool) {
	if !r.next('"') {
		return "", false
	}
	for i := range len(r.rest) {
		switch c := r.rest[i]; {
		case c == '"':
			text, r.rest = r.rest[:i], r.rest[i+1:]
			return text, true
		case c < ' ' || c > '~' || c == '\\':
			return "", false
		}
	}
	return "", false
}

func (r *plainReader) value() (v Plain, ok bool) {
	s := r.space()
	switch {
	case strings.HasPrefix(s, `"`):
		v.kind = isText
		v.text, ok = r.quoted()
	case strings.HasPrefix(s, "["):
		v.kind = isTexts
		v.texts, ok = r.array()
	case strings.HasPrefix(s, "true"):
		v.kind, v.truth, ok = isBool, true, true
		r.rest = s[len("true"):]
	case strings.HasPrefix(s, "false"):
		v.kind, ok = isBool, true
		r.rest = s[len("false"):]
	}
	return v, ok
}

func (r *plainReader) array() ([]string, bool) {
	r.next('[')
	out := make([]string, 0, 2)
	for !r.next(']') {
		if len(out) > 0 && !r.next(',') {
			return nil, false
		}
		text, ok := r.quoted()
		if !ok {
			return nil, false
		}
		out = append(out, text)
	}
	return out, true
}
