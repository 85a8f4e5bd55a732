package jsonobj

import (
	"encoding/json"
	"testing"
)

// Every byte at every place of a text is written as encoding/json writes it.
func TestEveryByteAtEveryPlace(t *testing.T) {
	for length := 1; length <= 10; length++ {
		for at := range length {
			for c := range 256 {
				text := []byte("abcdefghij")[:length]
				text[at] = byte(c)
				want, err := json.Marshal(string(text))
				if got := appendText(nil, string(text)); err != nil || string(got) != string(want) {
					t.Fatalf("%q: %s, encoding/json: %s, %v", text, got, want, err)
				}
			}
		}
	}
}
