package authserver

import (
	"strings"
	"testing"
)

// A login_hint stands in the form of the own sign-in, as text and never as
// markup, and one that can be no name does not.
//
// covers: Q06
func TestLoginHintInForm(t *testing.T) {
	s := newSite(t, nil)
	for hint, want := range map[string]string{
		"alice":                        `value="alice" autocomplete`,
		"zoë@example.com":              `value="zoë@example.com" autocomplete`,
		`"><script>alert(1)</script>`:  `value="&#34;&gt;&lt;script&gt;alert(1)&lt;/script&gt;" autocomplete`,
		strings.Repeat("a", maxText):   `value="` + strings.Repeat("a", maxText) + `" autocomplete`,
		strings.Repeat("a", maxText+1): `value="" autocomplete`,
		"alice\u202emoc.elpmaxe@evil":  `value="" autocomplete`,
		"":                             `value="" autocomplete`,
	} {
		p := s.browser().get(s.ask("desktop", desktopCB, "login_hint", hint))
		if p.status != 200 || !strings.Contains(p.body, want) || strings.Contains(p.body, "<script") {
			t.Errorf("%.40q: %d, the form is not filled in with %.60q:\n%s", hint, p.status, want, p.body)
		}
	}
}

// Whatever the hint, a provider of either kind gets it letter by letter.
//
// covers: Q06
func TestLoginHintToProvider(t *testing.T) {
	const hint = "carol+x&prompt=none@corp.example"
	s, f := newProvidedSite(t, nil)
	f.letIn(s.browser().get(s.ask("desktop", desktopBack, "login_hint", hint)))
	if f.asked.Get("login_hint") != hint || f.asked.Has("prompt") {
		t.Errorf("the provider was asked %v", f.asked)
	}
	f.letIn(s.browser().get(s.ask("desktop", desktopBack)))
	if f.asked.Has("login_hint") {
		t.Errorf("a hint that nobody gave: %v", f.asked)
	}
}
