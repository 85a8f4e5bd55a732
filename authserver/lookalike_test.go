package authserver

import (
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestLooksLike(t *testing.T) {
	for name, want := range map[string]string{
		"Claude": "claude", "claude": "claude", "CLAUDE": "claude", "C l a u d e": "claude", "Claude!": "claude", "Official Claude": "claude",
		"Сlаudе": "claude", // Cyrillic С, а, е
		"Ϲlaude": "claude", "CIaude": "claude", "C1aude": "claude", "Cl@ude": "claude", "Ｃｌａｕｄｅ": "claude", "𝐂𝐥𝐚𝐮𝐝𝐞": "claude", "Cláudé": "claude", "ᴄʟᴀᴜᴅᴇ": "claude",
		"Claude Code": "claude-code", "Claude-Code": "claude-code", "ClaudeCode Pro": "claude-code", "СІаude Соdе": "claude-code",
		"ChatGPT": "chatgpt", "Chat GPT": "chatgpt", "ChаtGРT": "chatgpt", "chatgpt connector": "chatgpt",
		"Visual Studio Code": "vscode", "Visua1 Studio C0de": "vscode", "Code - OSS": "vscode",
		"Cursor": "cursor", "Сursоr": "cursor", "My Cursor": "cursor", "Curs0r": "cursor",
		"Recursor": "", "Note Taker": "", "Clouds": "", "Studio": "", "Код": "", "Ωmega": "", "猫": "", "": "", "🙂": "",
	} {
		if k, _ := looksLike(name); k.Name != want {
			t.Errorf("%q (%s): %q, want %q", name, skeleton(name), k.Name, want)
		}
	}
	for name, want := range map[string]bool{
		"Claude": false, "Сlaude": true, "Привет": false, "Hello Привет": false, "Ωmega": true, "ελληνικά": false, "zwölf 猫": false, "Ꮯlaude": true, "": false,
	} {
		if got := mixesAlphabets(name); got != want {
			t.Errorf("%q mixes alphabets: %t", name, got)
		}
	}
}

// covers: SEC-16, SEC-32, AS-UI-01
func TestLookAlikesOnThePage(t *testing.T) {
	s := newSite(t, nil)
	ask := func(name, redirect string) page {
		t.Helper()
		id := s.mustRegister(`{"client_name":"` + name + `","redirect_uris":["` + redirect + `"],"token_endpoint_auth_method":"none"}`)["client_id"].(string)
		b := s.browser()
		return b.signIn(b.get(s.ask(id, redirect)), "alice")
	}
	const evil = "https://evil.example.net/cb"
	ask("Сlаudе", evil).shows(t, http.StatusOK, "This is not known to be Claude", "evil.example.net", "letters of several alphabets", "chose this name itself")
	ask("ChatGPT", evil).shows(t, http.StatusOK, "This is not known to be ChatGPT", "evil.example.net")
	ask("Cursor", "http://127.0.0.1:9/cb").shows(t, http.StatusOK, "This is not known to be Cursor", "127.0.0.1")
	for name, p := range map[string]page{
		"another name":     ask("Note Taker", evil),
		"the known one":    ask("Claude", "https://claude.ai/api/mcp/auth_callback"),
		"known by its way": ask("Claude Code (files)", "http://localhost:54545/callback"),
	} {
		if p.status != http.StatusOK || strings.Contains(p.body, "not known to be") || strings.Contains(p.body, "alphabets") {
			t.Errorf("%s has the warning:\n%s", name, p.body)
		}
	}
	// So has a metadata document, and no client that an administrator named.
	d, docs := docSite(t, nil)
	b := d.browser()
	id := docs.put("/c", map[string]any{"client_name": "C1aude"})
	b.signIn(b.get(d.ask(id, "https://notes.example/cb")), "alice").shows(t, http.StatusOK, "This is not known to be Claude", "notes.example")
	own := newSite(t, func(c *Config) {
		c.Clients = map[string]Client{"desktop": {Name: "Claude Desktop", RedirectURIs: []string{desktopCB}}}
	})
	b = own.browser()
	if p := b.signIn(b.get(own.ask("desktop", desktopCB)), "alice"); p.status != http.StatusOK || strings.Contains(p.body, "not known to be") {
		t.Errorf("a client of the file: %d %s", p.status, p.body)
	}
}

func FuzzSkeleton(f *testing.F) {
	for _, name := range []string{"Claude", "Сlаudе", "a\u0301\u200d", "\xff\xfe", "𝐂ᴄ", "ǆ"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		s := skeleton(name)
		if !utf8.ValidString(s) || strings.TrimSpace(s) != s {
			t.Errorf("%q: %q", name, s)
		}
		if k, ok := looksLike("Claude " + name); !ok {
			t.Errorf("%q is no look-alike of %s", "Claude "+name, k.Name)
		}
		mixesAlphabets(name)
	})
}
