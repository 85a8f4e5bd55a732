package oauth

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestParseScope(t *testing.T) {
	many := make([]string, 257)
	for i := range many {
		many[i] = fmt.Sprint("s", i)
	}
	for in, want := range map[string]Scopes{
		"": nil, " ": nil, "a": {"a"}, "b a b": {"b", "a"}, " a  b ": {"a", "b"}, "files:read !#[]~": {"files:read", "!#[]~"},
		strings.Join(many[:256], " "): many[:256], strings.Repeat("a ", 1000): {"a"},
	} {
		if got, err := ParseScope(in); err != nil || !slices.Equal(got, want) {
			t.Errorf("%.40q: %q, %v", in, got, err)
		}
	}
	for _, bad := range []string{`a"`, `a\b`, "a\tb", "a\u00a0b", "é", "a\nb", "\x7f", "a \x00", strings.Join(many, " ")} {
		got, err := ParseScope(bad)
		wantCode(t, err, InvalidScope)
		if got != nil {
			t.Errorf("%.40q left %q", bad, got)
		}
	}
}

func FuzzParseScope(f *testing.F) {
	for _, s := range []string{"", "a b", "files:read  files:write ", `"`, "a\u00a0b", "\x00", "é a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseScope(s)
		if err != nil {
			return
		}
		for i, scope := range got {
			if scope == "" || strings.ContainsFunc(scope, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
				t.Fatalf("accepted %q", scope)
			}
			if slices.Contains(got[:i], scope) || !slices.Contains(strings.Split(s, " "), scope) {
				t.Fatalf("%q is repeated or invented, out of %q", scope, s)
			}
		}
		if again, err := ParseScope(got.String()); err != nil || !slices.Equal(again, got) {
			t.Fatalf("%q read again is %q, %v", got, again, err)
		}
	})
}

func TestScopeSets(t *testing.T) {
	s := Scopes{"a", "b", "c"}
	for what, ok := range map[string]bool{
		"has":            s.Has("b") && !s.Has("B") && !s.Has(""),
		"has all":        s.HasAll(Scopes{"c", "a"}) && s.HasAll(nil) && !s.HasAll(Scopes{"a", "d"}),
		"minus":          slices.Equal(s.Minus(Scopes{"b", "x"}), Scopes{"a", "c"}),
		"intersect":      slices.Equal(s.Intersect(Scopes{"c", "x", "a"}), Scopes{"a", "c"}),
		"union":          slices.Equal(s.Union(Scopes{"d", "a"}), Scopes{"a", "b", "c", "d"}),
		"implied":        slices.Equal(Scopes{"w"}.Imply(map[string]Scopes{"w": {"r"}, "r": {"l", "w"}}), Scopes{"w", "r", "l"}),
		"not implied":    slices.Equal(Scopes{"r"}.Imply(map[string]Scopes{"w": {"r"}}), Scopes{"r"}),
		"left untouched": slices.Equal(s, Scopes{"a", "b", "c"}),
	} {
		if !ok {
			t.Error(what)
		}
	}
}

// covers: AS-RT-04
func TestNarrow(t *testing.T) {
	g := Grant{Scopes: Scopes{"a", "b"}}
	for _, tt := range []struct{ asked, want Scopes }{{nil, Scopes{"a", "b"}}, {Scopes{"b"}, Scopes{"b"}}, {Scopes{"b", "a"}, Scopes{"b", "a"}}} {
		if got, err := g.Narrow(tt.asked); err != nil || !slices.Equal(got.Scopes, tt.want) {
			t.Errorf("%q: %q, %v", tt.asked, got.Scopes, err)
		}
	}
	if !slices.Equal(g.Scopes, Scopes{"a", "b"}) {
		t.Errorf("the grant itself became %q", g.Scopes)
	}
	for _, asked := range []Scopes{{"c"}, {"a", "c"}, {"A"}} {
		_, err := g.Narrow(asked)
		wantCode(t, err, InvalidScope)
	}
}

func TestSubjectIsClient(t *testing.T) {
	for id, want := range map[string]bool{"client:x": true, "client:": false, "alice": false, "okta/client:x": false, "": false} {
		if got := (Subject{ID: id}).IsClient(); got != want {
			t.Errorf("%q: %v", id, got)
		}
	}
}

// covers: X-HTTP-05
func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain text!": "plain text!", `say "no"`: "say 'no'", `a\b`: "a?b", "line\r\nX: y": "line??X: y", "é\x7f\xff": "???", strings.Repeat("a", 400): strings.Repeat("a", 297) + "...",
	} {
		if got := Printable(in); got != want {
			t.Errorf("Printable(%.20q) = %q", in, got)
		}
	}
}

func TestError(t *testing.T) {
	cause := errors.New("cause")
	err := &Error{Code: InvalidGrant, Description: "no", Err: cause}
	if err.Error() != "invalid_grant: no: cause" || !errors.Is(err, cause) {
		t.Error(err)
	}
	for code, want := range map[string]int{
		InvalidRequest: http.StatusBadRequest, InvalidGrant: http.StatusBadRequest, InvalidClient: http.StatusUnauthorized, InvalidToken: http.StatusUnauthorized,
		InsufficientScope: http.StatusForbidden, ServerError: http.StatusInternalServerError, TemporarilyUnavailable: http.StatusServiceUnavailable,
	} {
		if got := (&Error{Code: code}).HTTPStatus(); got != want {
			t.Errorf("%s: %d", code, got)
		}
	}
	if got := (&Error{Code: InvalidRequest, Status: 413}).HTTPStatus(); got != 413 {
		t.Error(got)
	}
}
