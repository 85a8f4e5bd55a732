package oauth

import (
	"slices"
	"strings"
)

// Scopes is a set of scope tokens in the order in which they came.
type Scopes []string

// maxScopes bounds a set, since sets are compared member by member.
const maxScopes = 256

// ParseScope reads a scope parameter (RFC 6749 section 3.3): tokens of
// %x21, %x23-5B, %x5D-7E, parted by spaces and by nothing else. Repeated tokens
// count once; more than 256 are refused.
func ParseScope(s string) (Scopes, error) {
	var out Scopes
	for t := range strings.SplitSeq(s, " ") {
		if t == "" {
			continue
		}
		for i := range len(t) {
			if c := t[i]; c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
				return nil, &Error{Code: InvalidScope, Description: "scope has a character that RFC 6749 does not allow"}
			}
		}
		if slices.Contains(out, t) {
			continue
		}
		if out = append(out, t); len(out) > maxScopes {
			return nil, &Error{Code: InvalidScope, Description: "too many scopes"}
		}
	}
	return out, nil
}

// String is the scope parameter (RFC 6749 section 3.3).
func (s Scopes) String() string { return strings.Join(s, " ") }

// Has reports whether t is in the set.
func (s Scopes) Has(t string) bool { return slices.Contains(s, t) }

// HasAll reports whether every scope of need is in the set.
func (s Scopes) HasAll(need Scopes) bool { return len(need.Minus(s)) == 0 }

// Minus returns the scopes of s that are not in t.
func (s Scopes) Minus(t Scopes) Scopes {
	var out Scopes
	for _, x := range s {
		if !t.Has(x) {
			out = append(out, x)
		}
	}
	return out
}

// Intersect returns the scopes of s that are also in t.
func (s Scopes) Intersect(t Scopes) Scopes {
	var out Scopes
	for _, x := range s {
		if t.Has(x) {
			out = append(out, x)
		}
	}
	return out
}

// Narrow returns the scopes asked for, all of s if none are. One that is not in
// s is invalid_scope.
func (s Scopes) Narrow(asked Scopes) (Scopes, error) {
	if len(asked) == 0 {
		return s, nil
	}
	if extra := asked.Minus(s); len(extra) > 0 {
		return s, &Error{Code: InvalidScope, Description: "scope not granted: " + Printable(extra.String())}
	}
	return asked, nil
}

// Union returns s and what t adds to it.
func (s Scopes) Union(t Scopes) Scopes { return append(slices.Clone(s), t.Minus(s)...) }

// Imply returns s with everything that its members imply, directly or through
// others (implies: a broader scope to the narrower ones it includes).
func (s Scopes) Imply(implies map[string]Scopes) Scopes {
	out := slices.Clone(s)
	for i := 0; i < len(out); i++ {
		out = out.Union(implies[out[i]])
	}
	return out
}
