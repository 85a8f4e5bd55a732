package authserver

import (
	"strings"
	"testing"
	"time"
)

// No request gets this far with a line break; all the same, codes and refresh tokens
// are taken in the one spelling that they were given out in. The decoder of the
// standard library passes over line breaks: a code with one in it would not raise the
// alarm when the real one comes, and a text of nothing else would be shorter than
// anybody reads.
func TestLineBreaksInTokens(t *testing.T) {
	key := newMACKey([]byte("0123456789abcdef0123456789abcdef"))
	code := (&borrowedCode{grant: "AAAAAAAAAAAAAAAAAAAAAA", session: "s", until: time.UnixMilli(1785229200000), client: "c", redirect: "https://a.example/cb", resource: files}).text(key)
	if _, ok := parseBorrowed(key, code); !ok {
		t.Fatal("the code itself is refused")
	}
	refresh := refreshToken{generation: 7}.text(key)
	if _, ok := parseRefresh(key, refresh); !ok {
		t.Fatal("the refresh token itself is refused")
	}
	for _, br := range []string{"\n", "\r", "\r\n"} {
		for at := range len(code) + 1 {
			if c, ok := parseBorrowed(key, code[:at]+br+code[at:]); ok {
				t.Fatalf("%q at %d of a code: %+v", br, at, c)
			}
		}
		for n := 1; n <= len(refresh)/len(br); n++ { // of the same length
			if _, ok := parseRefresh(key, refresh[n*len(br):]+strings.Repeat(br, n)); ok {
				t.Fatalf("%q at the end of a refresh token is taken", br)
			}
		}
		w := newWorld(t)
		for _, text := range []string{strings.Repeat(br, len(refresh)/len(br)), refresh[:len(refresh)-len(br)] + br} {
			got := w.refreshed(text)
			if got.status != 400 || got.text("error") != "invalid_request" {
				t.Errorf("%q: %s", text, got.brief())
			}
		}
	}
}
