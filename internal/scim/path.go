package scim

import (
	"encoding/json"
	"strings"
)

// Path names an attribute (RFC 7644 section 3.5.2): attr, attr.sub, attr[filter]
// or attr[filter].sub. Names are in lower case, for they have none (RFC 7643
// section 2.1).
type Path struct {
	Attr string
	Only *Condition // of the values of a multi-valued attribute; nil: all
	Sub  string
}

// Condition is `attribute eq value`, the one comparison that is understood.
// Value is a string or a bool.
type Condition struct {
	Path
	Value any
}

// Bounds of what a caller may write.
const (
	maxExpression = 2048
	maxConditions = 8
)

// ParsePath reads a path.
func ParsePath(s string) (Path, error) {
	if len(s) > maxExpression {
		return Path{}, refuse(InvalidPath, "the path is too long")
	}
	p, rest, ok := readPath(strings.TrimSpace(s), true)
	if !ok || strings.TrimSpace(rest) != "" {
		return Path{}, refuse(InvalidPath, "the path cannot be read: attribute, attribute.sub or attribute[sub eq \"value\"].sub")
	}
	return p, nil
}

// ParseFilter reads comparisons that `and` joins (RFC 7644 section 3.4.2.2).
// Other operators are refused: nothing is read and ignored.
func ParseFilter(s string) ([]Condition, error) {
	wrong := refuse(InvalidFilter, "the filter cannot be read: attribute eq \"value\", joined by and, is what is understood here")
	if len(s) > maxExpression {
		return nil, wrong
	}
	var all []Condition
	for rest := strings.TrimSpace(s); ; {
		c, after, ok := readCondition(rest, true)
		if all = append(all, c); !ok || len(all) > maxConditions {
			return nil, wrong
		}
		if after = strings.TrimSpace(after); after == "" {
			return all, nil
		}
		word, next, _ := strings.Cut(after, " ")
		if !strings.EqualFold(word, "and") {
			return nil, wrong
		}
		rest = strings.TrimSpace(next)
	}
}

// readPath reads a path at the beginning of s; brackets only where deep.
func readPath(s string, deep bool) (p Path, rest string, ok bool) {
	s = withoutCore(s)
	if len(s) >= 4 && strings.EqualFold(s[:4], "urn:") { // of an extension, all of which are unknown here
		name, after, _ := strings.Cut(s, " ")
		if after != "" {
			after = " " + after
		}
		return Path{Attr: strings.ToLower(name)}, after, true
	}
	if p.Attr, rest = readName(s); p.Attr == "" {
		return p, rest, false
	}
	if strings.HasPrefix(rest, "[") {
		c, after, ok := readCondition(strings.TrimSpace(rest[1:]), false)
		after = strings.TrimSpace(after)
		if !deep || !ok || !strings.HasPrefix(after, "]") {
			return p, rest, false
		}
		p.Only, rest = &c, after[1:]
	}
	if strings.HasPrefix(rest, ".") {
		if p.Sub, rest = readName(rest[1:]); p.Sub == "" {
			return p, rest, false
		}
	}
	return p, rest, true
}

// withoutCore takes the name of a schema that is ours off an attribute
// (RFC 7644 section 3.10).
func withoutCore(s string) string {
	for _, urn := range []string{UserURN, GroupURN} {
		if len(s) > len(urn) && strings.EqualFold(s[:len(urn)], urn) && s[len(urn)] == ':' {
			return s[len(urn)+1:]
		}
	}
	return s
}

// readName reads ATTRNAME of RFC 7643 section 2.1, and $ref.
func readName(s string) (name, rest string) {
	i := strings.IndexFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '$' || r == '-' || r == '_')
	})
	if i < 0 {
		i = len(s)
	}
	return strings.ToLower(s[:i]), s[i:]
}

func readCondition(s string, deep bool) (c Condition, rest string, ok bool) {
	if c.Path, rest, ok = readPath(s, deep); !ok || !strings.HasPrefix(rest, " ") {
		return c, rest, false
	}
	op, rest := readName(strings.TrimLeft(rest, " "))
	if op != "eq" || !strings.HasPrefix(rest, " ") {
		return c, rest, false
	}
	c.Value, rest, ok = readLiteral(strings.TrimLeft(rest, " "))
	return c, rest, ok
}

// readLiteral reads a JSON string, true or false.
func readLiteral(s string) (v any, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		word, rest := readName(s)
		return word == "true", rest, word == "true" || word == "false"
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			var text string
			if json.Unmarshal([]byte(s[:i+1]), &text) != nil {
				return nil, s, false
			}
			return text, s[i+1:], true
		}
	}
	return nil, s, false
}
