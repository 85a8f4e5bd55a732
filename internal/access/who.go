package access

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// CheckWho says what is wrong with a who entry, or nil.
func CheckWho(who string) error {
	kind, name, prefixed := strings.Cut(who, ":")
	switch {
	case who == "":
		return errors.New("who is empty: write everyone, person:NAME, group:NAME, client:ID or an e-mail address")
	case strings.TrimSpace(who) != who:
		return fmt.Errorf("who %q begins or ends with a space: remove it", who)
	case who == "everyone":
		return nil
	case prefixed && kind == "client":
		if name == "" || name == "*" {
			return fmt.Errorf("who %q names no client: write client:ID, or everyone", who)
		}
		return nil
	case prefixed && kind == "issuer":
		issuer, sub, one := strings.Cut(name, "#")
		if !strings.HasPrefix(issuer, "https://") && !strings.HasPrefix(issuer, "http://") || one && sub == "" {
			return fmt.Errorf("who %q is incomplete: write issuer:URL, or issuer:URL#SUB for one person", who)
		}
		return nil
	case strings.Contains(who, "*"):
		return fmt.Errorf("who %q has a *: who takes no patterns, write everyone or the names", who)
	case prefixed && (kind == "person" || kind == "group"):
		provider, rest, qualified := strings.Cut(name, "/")
		if name == "" || qualified && (provider == "" || rest == "") {
			return fmt.Errorf("who %q is incomplete: write %s:NAME or %s:PROVIDER/NAME", who, kind, kind)
		}
		return nil
	case isAddress(who):
		return nil
	}
	return fmt.Errorf("who %q is not known: write everyone, person:NAME, person:PROVIDER/ACCOUNT, group:NAME, group:PROVIDER/NAME, client:ID or an e-mail address", who)
}

func isAddress(s string) bool {
	local, domain, ok := strings.Cut(s, "@")
	return ok && local != "" && domain != "" && !strings.ContainsAny(s, " \t\r\n,;:<>/") && !strings.Contains(domain, "@")
}

// matchWho reports whether a who entry means the subject. person, group and
// address are about people: a client that acts for itself is none of them. An
// allow for everyone means whoever signed in here, or where people sign in in
// our place, so such a client and people whom another issuer vouches for need to
// be named; a deny for everyone spares nobody.
func matchWho(who string, s Subject, allow bool) bool {
	kind, name, prefixed := strings.Cut(who, ":")
	switch {
	case who == "everyone" && allow:
		return s.Person != "" && (s.Issuer == "" || s.home)
	case who == "everyone":
		return s.Person != "" || s.Client != ""
	case prefixed && kind == "issuer":
		return matchIssuer(name, s, allow)
	case prefixed && kind == "client":
		return name != "" && s.Client == name
	case s.Person == "" || s.Issuer != "":
		return false
	case prefixed && kind == "person":
		return matchPerson(name, s)
	case prefixed && kind == "group":
		return matchGroup(name, s)
	}
	return s.Email != "" && isAddress(who) && equalFoldASCII(who, s.Email)
}

// matchIssuer finds whom another issuer vouches for: one person, or all of
// them. A client that acts for itself is named as client:ISSUER#ID; a deny for
// the issuer does not spare it.
func matchIssuer(name string, s Subject, allow bool) bool {
	issuer, _, one := strings.Cut(name, "#") // an issuer identifier has no fragment
	switch {
	case s.Issuer == "" || s.Issuer != issuer:
		return false
	case one:
		return s.Person == name
	}
	return s.Person != "" || !allow
}

// matchPerson keeps a local person whose name has a slash apart from a
// provider's.
func matchPerson(name string, s Subject) bool {
	provider, _, qualified := strings.Cut(name, "/")
	if !qualified {
		provider = ""
	}
	return s.Person == name && s.Provider == provider
}

// matchGroup reads everything up to the first slash as the provider; a group
// whose own name begins with a slash is written PROVIDER//NAME.
func matchGroup(name string, s Subject) bool {
	provider, group, qualified := strings.Cut(name, "/")
	if !qualified {
		return name != "" && slices.Contains(s.Groups, name)
	}
	return provider != "" && group != "" && s.Provider == provider && slices.Contains(s.Groups, group)
}

// mayMatchGroup reports whether a who entry names a group in which the subject
// may be without our knowing.
func mayMatchGroup(who string, s Subject) bool {
	name, is := strings.CutPrefix(who, "group:")
	provider, _, qualified := strings.Cut(name, "/")
	return is && s.GroupsUnknown && s.Person != "" && s.Issuer == "" && (!qualified || provider == s.Provider)
}

// equalFoldASCII does not fold beyond ASCII, where other letters fold into
// a to z (the Kelvin sign into k) and would make two addresses one.
func equalFoldASCII(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// matchAny reports whether one of the patterns matches; no patterns match all.
func matchAny(patterns []string, s string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool { return matchPattern(p, s) })
}

// Matches reports whether a pattern matches the whole of s, * being any run of
// characters.
func Matches(pattern, s string) bool { return matchPattern(pattern, s) }

// matchPattern matches the whole of s, * being any run of characters. The
// first fit of each part is enough, so it takes no backtracking.
func matchPattern(pattern, s string) bool {
	if !strings.Contains(pattern, "*") {
		return pattern == s
	}
	parts := strings.Split(pattern, "*")
	first, last := parts[0], parts[len(parts)-1]
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(s, p)
		if i < 0 {
			return false
		}
		s = s[i+len(p):]
	}
	return true
}
