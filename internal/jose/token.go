package jose

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
)

// Header is the protected header of a JWS. jku, x5u, x5c and jwk are ignored
// (RFC 8725 section 3.10).
type Header struct {
	Alg string
	Kid string
	Typ string // in lower case, without "application/"
}

// parsed is a token taken apart, nothing of it checked but its form.
type parsed struct {
	header    Header
	members   map[string]json.RawMessage // of the header
	claims    Claims
	input     string // what the signature is over
	signature []byte
}

// parse takes a compact JWS apart: three segments of strict base64url, two
// JSON objects (RFC 7515 section 5.2 steps 1 to 7, RFC 7519 section 7.2).
func parse(token string) (parsed, error) {
	if len(token) > MaxToken {
		return parsed{}, fmt.Errorf("token: %d bytes are over the limit of %d", len(token), MaxToken)
	}
	head, rest, ok1 := strings.Cut(token, ".")
	body, tail, ok2 := strings.Cut(rest, ".")
	if !ok1 || !ok2 {
		return parsed{}, errors.New("token: not three segments, so no signed JWT")
	}
	h, err := readHead(head)
	if err != nil {
		return parsed{}, fmt.Errorf("token header: %w", err)
	}
	payload, err := segment(body)
	if err != nil {
		return parsed{}, fmt.Errorf("token payload: %w", err)
	}
	p := parsed{header: h.header, members: h.members, input: token[:len(head)+1+len(body)]}
	if p.signature, err = segment(tail); err != nil {
		return parsed{}, fmt.Errorf("token signature: %w", err)
	}
	if p.claims, err = object(payload); err != nil {
		return parsed{}, fmt.Errorf("token payload: %w", err)
	}
	return p, nil
}

// head is the protected header of a token, as it came and as it was read.
type head struct {
	text    string
	header  Header
	members map[string]json.RawMessage // nobody writes to them
}

// lastHead is what was read last: all tokens that one key signs begin alike.
var lastHead atomic.Pointer[head]

// keptHead is the longest header that is kept, in bytes.
const keptHead = 512

func readHead(text string) (*head, error) {
	if last := lastHead.Load(); last != nil && last.text == text {
		return last, nil
	}
	raw, err := segment(text)
	if err != nil {
		return nil, err
	}
	h := &head{text: text}
	if h.members, err = object(raw); err != nil {
		return nil, err
	}
	if h.header, err = readHeader(h.members); err != nil {
		return nil, err
	}
	if _, own := h.members["jwk"]; !own && len(text) <= keptHead { // a DPoP proof's is one client's
		h.text = strings.Clone(text) // not a piece of the token
		lastHead.Store(h)
	}
	return h, nil
}

var strict = base64.RawURLEncoding.Strict()

// Segment appends what unpadded base64url says to b. Each text has one spelling: the
// decoder of the standard library passes over line breaks, so these are looked for
// first.
func Segment(b []byte, s string) ([]byte, error) {
	if strings.IndexByte(s, '\r') >= 0 || strings.IndexByte(s, '\n') >= 0 {
		return nil, errors.New("white space in base64url")
	}
	var room [1024]byte // a conversion of the text would escape
	b, err := strict.AppendDecode(b, append(room[:0], s...))
	if err != nil {
		return nil, errors.New("no strict base64url without padding (RFC 7515 section 2)")
	}
	return b, nil
}

func segment(s string) ([]byte, error) { return Segment(nil, s) }

func readHeader(m map[string]json.RawMessage) (Header, error) {
	// We implement no extension, so none may be critical (RFC 7515 section
	// 4.1.11), and b64 must be understood or refused (RFC 7797 section 6).
	for _, name := range []string{"crit", "b64"} {
		if _, there := m[name]; there {
			return Header{}, fmt.Errorf("%s is not supported", name)
		}
	}
	var h Header
	var err error
	if h.Alg, err = member(m, "alg"); err != nil {
		return Header{}, err
	}
	if h.Alg == "" {
		return Header{}, errors.New("alg is missing")
	}
	if h.Kid, err = member(m, "kid"); err != nil {
		return Header{}, err
	}
	if h.Typ, err = member(m, "typ"); err != nil {
		return Header{}, err
	}
	h.Typ = mediaType(h.Typ)
	return h, nil
}

// mediaType is typ as it is compared: without case, and without "application/"
// where no other slash is in it (RFC 7515 section 4.1.9). Only ASCII letters
// are lowered: no other letter may turn into one.
func mediaType(typ string) string {
	lower := strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, typ)
	if rest, ok := strings.CutPrefix(lower, "application/"); ok && rest != "" && !strings.Contains(rest, "/") {
		return rest
	}
	return lower
}

// Peek reads a token without checking its signature, to find out whose key to
// check it with. Nothing in it may be believed.
func Peek(token string) (Header, Claims, error) {
	p, err := parse(token)
	return p.header, p.claims, err
}

// Unverified is a token that was read and not checked: what it says serves to
// find the keys for its Verify, and nothing else.
type Unverified struct {
	parsed
	token string
}

// Read is Peek for whoever verifies the token next.
func Read(token string) (Unverified, error) {
	p, err := parse(token)
	return Unverified{p, token}, err
}

// Claims are what the token says. They may not be believed.
func (u Unverified) Claims() Claims { return u.claims }
