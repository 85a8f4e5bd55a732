package login

import (
	"net/http"
	"strings"
	"testing"
)

// FuzzOnlyCookie: what is taken for the secret of a cookie is the only one that
// net/http finds under its name.
func FuzzOnlyCookie(f *testing.F) {
	s := &Sessions{session: "dw-1"}
	secret := strings.Repeat("Az09_-", 7) + "A"
	for _, line := range []string{"dw-1=" + secret, " a=b;\tdw-1=" + secret + " ;", "dw-1=" + secret + "; dw-1=", "dw-1=" + secret + "; dw-1\r", "dw-1=" + secret + "\ndw-1=x",
		`dw-1="` + secret + `"`, "dw-1", "DW-1=" + secret, "dw-1 =" + secret, "dw-1==" + secret, "dw-10=" + secret + ";dw-1=" + secret[1:]} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, lines string) {
		r := &http.Request{Header: http.Header{"Cookie": strings.Split(lines, "\n")}}
		got, ok := s.secretOf(r, s.session)
		found := r.CookiesNamed(s.session)
		if ok && (len(found) != 1 || found[0].Value != got) {
			t.Fatalf("%q: %q, and net/http has %v", lines, got, found)
		}
	})
}

func TestOneCookie(t *testing.T) {
	s := &Sessions{session: "dw-1"}
	secret := strings.Repeat("Az09_-", 7) + "A"
	for lines, want := range map[string]bool{
		"dw-1=" + secret:                          true,
		"other=1; dw-1=" + secret + "; more=2":    true,
		"other=1\ndw-1=" + secret:                 true,
		"dw-1=" + secret + "; dw-1=" + secret:     false,
		"dw-1=" + secret + "\ndw-1=" + secret:     false,
		"dw-1=" + secret[1:]:                      false,
		"dw-1=" + secret + "A":                    false,
		"dw-1=" + strings.Repeat("*", secretText): false,
		"dw-11=" + secret:                         false,
		"x-dw-1=" + secret:                        false,
		"":                                        false,
	} {
		r := &http.Request{Header: http.Header{"Cookie": strings.Split(lines, "\n")}}
		if got, ok := s.secretOf(r, s.session); ok != want || ok && got != secret {
			t.Errorf("%q: %q %v", lines, got, ok)
		}
	}
}
