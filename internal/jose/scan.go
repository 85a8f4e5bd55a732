package jose

import (
	"bytes"
	"strings"
)

// What JSON is (RFC 8259), told without a reader of types: checking it and finding
// where a value ends is one step.

// at is a byte of data; 0, which no JSON has outside strings, after its end.
func at(data []byte, i int) byte {
	if i < 0 || i >= len(data) {
		return 0
	}
	return data[i]
}

// space is the index of the first byte from i on that is no white space.
func space(data []byte, i int) int {
	for i >= 0 && i < len(data) && (data[i] == ' ' || data[i] == '\t' || data[i] == '\n' || data[i] == '\r') {
		i++
	}
	return i
}

// maxDepth is how deep values may lie in each other, as encoding/json has it.
const maxDepth = 10000

// value is the index after the JSON value that begins at i and lies in depth
// others, -1 if none does (RFC 8259).
func value(data []byte, i, depth int) int {
	switch c := at(data, i); {
	case c == '"':
		return quoted(data, i+1)
	case c == '{' || c == '[':
		return composed(data, i, depth+1)
	case c == 't':
		return literal(data, i, "true")
	case c == 'f':
		return literal(data, i, "false")
	case c == 'n':
		return literal(data, i, "null")
	}
	return number(data, i)
}

// composed is value of an object or array, which is in depth ones with itself.
func composed(data []byte, i, depth int) int {
	closing := data[i] + 2 // in ASCII
	i = space(data, i+1)
	switch {
	case depth > maxDepth:
		return -1
	case at(data, i) == closing:
		return i + 1
	}
	for {
		if closing == '}' {
			if at(data, i) != '"' {
				return -1
			}
			i = space(data, quoted(data, i+1))
			if at(data, i) != ':' {
				return -1
			}
			i = space(data, i+1)
		}
		i = space(data, value(data, i, depth))
		switch at(data, i) {
		case closing:
			return i + 1
		case ',':
			i = space(data, i+1)
		default:
			return -1
		}
	}
}

// quoted is value of a string after its first quote.
func quoted(data []byte, i int) int {
	for ; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			return i + 1
		case c < ' ':
			return -1
		case c == '\\':
			i++
			switch at(data, i) {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				for range 4 {
					if i++; !strings.ContainsRune("0123456789abcdefABCDEF", rune(at(data, i))) {
						return -1
					}
				}
			default:
				return -1
			}
		}
	}
	return -1
}

func literal(data []byte, i int, word string) int {
	if !bytes.HasPrefix(data[i:], []byte(word)) {
		return -1
	}
	return i + len(word)
}

// number is value of a number.
func number(data []byte, i int) int {
	if at(data, i) == '-' {
		i++
	}
	start := i
	i = digits(data, i)
	if i == start || data[start] == '0' && i > start+1 {
		return -1
	}
	if at(data, i) == '.' {
		if start, i = i+1, digits(data, i+1); i == start {
			return -1
		}
	}
	if c := at(data, i); c == 'e' || c == 'E' {
		if i++; at(data, i) == '+' || at(data, i) == '-' {
			i++
		}
		if start, i = i, digits(data, i); i == start {
			return -1
		}
	}
	return i
}

// digits is the index of the first byte from i on that is none.
func digits(data []byte, i int) int {
	for c := at(data, i); c >= '0' && c <= '9'; c = at(data, i) {
		i++
	}
	return i
}
