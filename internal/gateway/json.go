package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"
)

const (
	maxDepth   = 128 // of nested arrays and objects
	maxMembers = 512 // of an object whose members are looked at
)

var (
	errSyntax   = errors.New("this is not JSON (RFC 8259)")
	errDepth    = errors.New("the JSON is nested too deeply")
	errRepeated = errors.New("a member stands there twice")
	errMembers  = errors.New("an object has too many members")
)

// scanner reads JSON strictly, without building anything: what it cannot read
// in one way only is an error. The input must be UTF-8.
type scanner struct {
	b []byte
	i int
}

// document reads one value and nothing after it.
func (s *scanner) document() error {
	if !utf8.Valid(s.b) {
		return errSyntax
	}
	if err := s.value(0); err != nil {
		return err
	}
	if s.space(); s.i != len(s.b) {
		return errSyntax
	}
	return nil
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// next is the byte after white space, or 0 at the end.
func (s *scanner) next() byte {
	if s.space(); s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

// value passes over one value.
func (s *scanner) value(depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	switch c := s.next(); {
	case c == '{':
		return s.list('}', func() error {
			if s.next() != '"' {
				return errSyntax
			}
			if err := s.text(); err != nil {
				return err
			}
			return s.colonValue(depth)
		})
	case c == '[':
		return s.list(']', func() error { return s.value(depth + 1) })
	case c == '"':
		return s.text()
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	}
	return errSyntax
}

func (s *scanner) colonValue(depth int) error {
	if s.next() != ':' {
		return errSyntax
	}
	s.i++
	return s.value(depth + 1)
}

// list reads what stands between brackets, one item per call of item.
func (s *scanner) list(end byte, item func() error) error {
	s.i++
	if s.next() == end {
		s.i++
		return nil
	}
	for {
		if err := item(); err != nil {
			return err
		}
		switch s.next() {
		case ',':
			s.i++
		case end:
			s.i++
			return nil
		default:
			return errSyntax
		}
	}
}

func (s *scanner) literal(word string) error {
	if !bytes.HasPrefix(s.b[s.i:], []byte(word)) {
		return errSyntax
	}
	s.i += len(word)
	return nil
}

func (s *scanner) text() error {
	for s.i++; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return nil
		case c < 0x20:
			return errSyntax
		case c == '\\':
			s.i++
			if s.i >= len(s.b) {
				return errSyntax
			}
			switch s.b[s.i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if s.i+4 >= len(s.b) || !isHex(s.b[s.i+1:s.i+5]) {
					return errSyntax
				}
				s.i += 4
			default:
				return errSyntax
			}
		}
	}
	return errSyntax
}

func isHex(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}

func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > start
}

func (s *scanner) number() error {
	at := func(chars string) bool {
		if s.i < len(s.b) && bytes.IndexByte([]byte(chars), s.b[s.i]) >= 0 {
			s.i++
			return true
		}
		return false
	}
	at("-")
	if !at("0") && !s.digits() {
		return errSyntax
	}
	if at(".") && !s.digits() {
		return errSyntax
	}
	if at("eE") {
		if at("+-"); !s.digits() {
			return errSyntax
		}
	}
	return nil
}

// members calls fn with each member of the object that b is: its name as it
// means (escapes read), its value, and where in b that begins. A name that
// stands there twice is an error. b has passed document.
func members(b []byte, fn func(name, value []byte, at int) error) error {
	s := scanner{b: b}
	if s.next() != '{' {
		return errSyntax
	}
	var few [16][]byte
	seen := few[:0]
	return s.list('}', func() error {
		s.space()
		start := s.i
		if err := s.text(); err != nil {
			return err
		}
		name, err := unquote(b[start:s.i])
		if err != nil {
			return err
		}
		for _, other := range seen {
			if bytes.Equal(other, name) {
				return errRepeated
			}
		}
		if seen = append(seen, name); len(seen) > maxMembers {
			return errMembers
		}
		if s.next() != ':' {
			return errSyntax
		}
		s.i++
		s.space()
		start = s.i
		if err := s.value(1); err != nil {
			return err
		}
		return fn(name, b[start:s.i], start)
	})
}

// elements calls fn with where each element of the array lies that b is.
func elements(b []byte, fn func(start, end int) error) error {
	s := scanner{b: b}
	if s.next() != '[' {
		return errSyntax
	}
	return s.list(']', func() error {
		s.space()
		start := s.i
		if err := s.value(1); err != nil {
			return err
		}
		return fn(start, s.i)
	})
}

// unquote is what a JSON string means. One that means no text (half of a
// surrogate pair) is an error: parsers differ about it.
func unquote(quoted []byte) ([]byte, error) {
	if len(quoted) < 2 || quoted[0] != '"' {
		return nil, errSyntax
	}
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner, nil
	}
	var text string
	if err := json.Unmarshal(quoted, &text); err != nil {
		return nil, errSyntax
	}
	if strings.ContainsRune(text, utf8.RuneError) {
		return nil, errSyntax
	}
	return []byte(text), nil
}
