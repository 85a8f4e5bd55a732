package jsonobj

import (
	"encoding/json"
	"strings"
	"testing"
)

// A text is written as encoding/json writes it, wherever in it something stands
// that has a meaning.
func TestTexts(t *testing.T) {
	for c := range 0x100 {
		for at := range 20 {
			text := strings.Repeat("x", at) + string([]byte{byte(c)}) + strings.Repeat("y", 19-at)
			sameText(t, text)
		}
	}
	for _, text := range []string{"", "a", "é", "\u2028", "\xc3", "a<b", strings.Repeat("a", 1000) + "\"", "eight888\\", "\x00"} {
		sameText(t, text)
	}
}

func sameText(t *testing.T, text string) {
	t.Helper()
	want, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	if got := appendText(nil, text); string(got) != string(want) {
		t.Fatalf("%q: %s, and encoding/json writes %s", text, got, want)
	}
}

// FuzzTexts: an array of texts is what encoding/json writes.
func FuzzTexts(f *testing.F) {
	f.Add("a", "")
	f.Add("https://as.example/files?a=b&c=<d>", "\xff\x00\u2029")
	f.Fuzz(func(t *testing.T, a, b string) {
		want, err := json.Marshal([]string{a, b})
		if err != nil {
			t.Fatal(err)
		}
		if got := AppendTexts(nil, a, b); string(got) != string(want) {
			t.Fatalf("%s, and encoding/json writes %s", got, want)
		}
	})
}
