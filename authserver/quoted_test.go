package authserver

import (
	"strconv"
	"testing"
)

// What names a use stays the same name: every byte is quoted as strconv quotes it.
func TestQuotedAsEver(t *testing.T) {
	texts := []string{"", "a", "https://idp.example", "jti-0123 x", "ä日本", "a\"b", `a\b`, "\x00", "\xff\xfe", "\u2028", "~ "}
	for c := range 256 {
		texts = append(texts, "ab"+string([]byte{byte(c)})+"cd")
	}
	for _, text := range texts {
		if got, want := string(appendQuoted([]byte("x"), text)), "x"+strconv.Quote(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	if got := string(quoted(nil, "a b", `c" "d`)); got != `"a b" "c\" \"d"` {
		t.Errorf("two texts: %s", got)
	}
}
