package oauth

import "strings"

// Challenge is one challenge of a WWW-Authenticate header (RFC 9110 section
// 11.6.1).
type Challenge struct {
	Scheme  string            // as sent
	Token68 string            // the other form of a challenge, if used
	Params  map[string]string // names in lower case
}

// maxChallenge is the longest header value that is read, maxChallenges is how
// much is read of all, in bytes. What is longer is passed over: it comes from a
// server that nobody trusts yet.
const (
	maxChallenge  = 16 << 10
	maxChallenges = 64 << 10
)

// ParseChallenges reads all challenges of all WWW-Authenticate header values:
// several challenges in one value, quoted strings, token68. What cannot be
// read is passed over; of a parameter that a challenge repeats the first
// stands.
func ParseChallenges(values []string) []Challenge {
	var out []Challenge
	left := maxChallenges
	for _, v := range values {
		if len(v) <= min(maxChallenge, left) {
			left -= len(v)
			out = append(out, (&challengeReader{rest: v}).all()...)
		}
	}
	return out
}

// FormatChallenge writes one challenge with its parameters in the order given
// (name, value, name, value, …), each quoted and once; parameters with an empty
// value are left out; characters that may not stand in a quoted string are
// replaced.
func FormatChallenge(scheme string, params ...string) string {
	var b strings.Builder
	b.WriteString(scheme)
	seen := map[string]bool{}
	sep := " "
	for i := 0; i+1 < len(params); i += 2 {
		name, value := params[i], params[i+1]
		key := strings.ToLower(name)
		if value == "" || seen[key] || !isToken(name) {
			continue
		}
		seen[key] = true
		b.WriteString(sep + name + `="` + quotable(value) + `"`)
		sep = ", "
	}
	return b.String()
}

// challengeReader reads one header value from its front. A list element that
// is a token followed by "=" is a parameter of the challenge before it; any
// other token is the scheme of a new challenge. That needs no commas, so values
// that lack them or have too many are read as well.
type challengeReader struct {
	rest string
	out  []Challenge
}

func (r *challengeReader) all() []Challenge {
	for {
		r.rest = strings.TrimLeft(r.rest, " \t,")
		if r.rest == "" {
			return r.out
		}
		name := r.token()
		if name == "" {
			r.junk()
			continue
		}
		after := strings.TrimLeft(r.rest, " \t")
		if strings.HasPrefix(after, "=") {
			r.rest = strings.TrimLeft(after[1:], " \t")
			r.param(name)
			continue
		}
		r.out = append(r.out, Challenge{Scheme: name, Params: map[string]string{}})
		if len(after) < len(r.rest) {
			r.rest = after
			r.token68()
		}
	}
}

// param reads the value of a parameter and gives it to the last challenge.
func (r *challengeReader) param(name string) {
	value, ok := r.value()
	if !ok || len(r.out) == 0 {
		return
	}
	c := &r.out[len(r.out)-1]
	name = strings.ToLower(name)
	if _, repeated := c.Params[name]; repeated {
		return
	}
	c.Params[name] = value
}

// value reads a quoted string or, as servers send it, any run of characters up
// to a comma or a space (a bare URL is not a token, but is sent all the same).
func (r *challengeReader) value() (string, bool) {
	if strings.HasPrefix(r.rest, `"`) {
		return r.quoted()
	}
	end := strings.IndexAny(r.rest, " \t,\"")
	if end < 0 {
		end = len(r.rest)
	}
	v := r.rest[:end]
	r.rest = r.rest[end:]
	return v, v != ""
}

// quoted reads a quoted-string (RFC 9110 section 5.6.4). One without an end
// swallows the rest of the header and counts as unreadable.
func (r *challengeReader) quoted() (string, bool) {
	var b strings.Builder
	s := r.rest
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			r.rest = s[i+1:]
			return b.String(), true
		case '\\':
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(s[i])
		}
	}
	r.rest = ""
	return "", false
}

// token68 takes what follows a scheme if it has that form (RFC 9110 section
// 11.2) and ends the list element; otherwise it takes nothing.
func (r *challengeReader) token68() {
	n := 0
	for n < len(r.rest) && isToken68(r.rest[n]) {
		n++
	}
	if n == 0 {
		return
	}
	for n < len(r.rest) && r.rest[n] == '=' {
		n++
	}
	after := strings.TrimLeft(r.rest[n:], " \t")
	if after != "" && after[0] != ',' {
		return
	}
	r.out[len(r.out)-1].Token68 = r.rest[:n]
	r.rest = after
}

func (r *challengeReader) token() string {
	n := 0
	for n < len(r.rest) && isTokenChar(r.rest[n]) {
		n++
	}
	t := r.rest[:n]
	r.rest = r.rest[n:]
	return t
}

// junk passes over a character that begins nothing; a quoted string whole, so
// that its content is never read as a challenge.
func (r *challengeReader) junk() {
	if r.rest[0] == '"' {
		r.quoted()
		return
	}
	r.rest = r.rest[1:]
}

// isToken is token of RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		if !isTokenChar(s[i]) {
			return false
		}
	}
	return s != ""
}

func isTokenChar(c byte) bool {
	return isAlphanumeric(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func isToken68(c byte) bool {
	return isAlphanumeric(c) || strings.IndexByte("-._~+/", c) >= 0
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
