package oauth

import (
	"bytes"
	"strings"
	"testing"
)

// Every byte at every place of a text says the same of it, whatever stands beside it.
func TestIsASCIIAtEveryPlace(t *testing.T) {
	for _, around := range []string{"a", " ", "~", "\x80", "\xff", "\x00", "\x1f", "\x7f"} {
		good := around[0] >= ' ' && around[0] <= '~'
		for length := range 26 {
			text := []byte(strings.Repeat(around, length))
			if got, want := isASCII(string(text)), good || length == 0; got != want {
				t.Fatalf("%q: %v", text, got)
			}
			for at := range length {
				for c := range 256 {
					one := bytes.Clone(text)
					one[at] = byte(c)
					if got, want := isASCII(string(one)), c >= ' ' && c <= '~' && (good || length == 1); got != want {
						t.Fatalf("%q: %v", one, got)
					}
				}
			}
		}
	}
}
