package authserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode"

	"doorward/internal/ledger"
)

// Ten thousand registrations fill half of the places and no more: known clients
// still come in, and nothing that is there is lost.
//
// covers: SEC-24, AS-DCR-09, F18
func TestTenThousandRegistrations(t *testing.T) {
	s := newSite(t, func(c *Config) { c.OtherClients = "ask-admin" })
	first := s.mustRegister(`{"client_name":"First","redirect_uris":["` + webCB + `"]}`)
	created := 1
	for i := range 10_000 {
		status, _, doc := s.postRegistration(fmt.Sprintf(`{"client_name":"App %d","redirect_uris":["https://app%d.example.com/cb"]}`, i, i))
		switch {
		case status == http.StatusCreated:
			created++
		case status != http.StatusServiceUnavailable || doc["error"] != "temporarily_unavailable":
			t.Fatalf("registration %d: %d %v", i, status, doc)
		}
	}
	if want := defaultTotal / 2; created != want {
		t.Errorf("%d strangers were let in, want %d", created, want)
	}
	if _, err := s.ledger.Client(t.Context(), first["client_id"].(string)); err != nil {
		t.Errorf("the first one: %v", err)
	}
	s.mustRegister(`{"client_name":"Claude","redirect_uris":["https://claude.ai/api/mcp/auth_callback"],"token_endpoint_auth_method":"none"}`)
}

// covers: SEC-24, AS-DCR-09, F14
func TestHugeRegistrations(t *testing.T) {
	s := newSite(t, nil)
	megabyte := strings.Repeat("x", 1<<20)
	for name, body := range map[string]string{
		"a name":            `{"redirect_uris":["` + webCB + `"],"client_name":"` + megabyte + `"}`,
		"a redirect URI":    `{"redirect_uris":["https://app.example.com/` + megabyte + `"]}`,
		"a member":          `{"redirect_uris":["` + webCB + `"],"x":"` + megabyte + `"}`,
		"a deep one":        `{"redirect_uris":["` + webCB + `"],"x":` + strings.Repeat("[", 1<<19) + strings.Repeat("]", 1<<19) + `}`,
		"many redirects":    `{"redirect_uris":[` + strings.Repeat(`"`+webCB+`",`, 30_000) + `"` + webCB + `"]}`,
		"a key set":         `{"redirect_uris":["` + webCB + `"],"token_endpoint_auth_method":"private_key_jwt","jwks":{"keys":["` + megabyte + `"]}}`,
		"deep within 64 KB": `{"redirect_uris":["` + webCB + `"],"x":` + strings.Repeat("[", 30_000) + strings.Repeat("]", 30_000) + `}`,
	} {
		status, _, doc := s.postRegistration(body)
		if status != http.StatusRequestEntityTooLarge && status != http.StatusBadRequest || doc["error"] == nil {
			t.Errorf("%s: %d %v", name, status, doc)
		}
	}
	if list, _, _ := s.ledger.Clients(t.Context(), ""); len(list) != 0 {
		t.Errorf("%d were kept", len(list))
	}
}

// Names are hostile text: on the page they are text, one line, in one
// direction, and they take nothing else with them.
//
// covers: SEC-24, AS-UI-01, AS-DCR-09
func TestHostileNamesOnThePage(t *testing.T) {
	s := newSite(t, nil)
	for name, c := range map[string]struct{ given, shown string }{
		"HTML":         {`<script>alert(1)</script><img src=x onerror=alert(1)>`, `<script>alert(1)</script>`},
		"attribute":    {`x" autofocus onfocus="alert(1)`, `x" autofocus onfocus="alert(1)`},
		"template":     {`{{.Token}}`, `{{.Token}}`},
		"bidi":         {"Good\u202egnihtemos\u202c \u2066App\u2069", "Goodgnihtemos App"},
		"lines":        {"App\r\n\r\nSet-Cookie: a=b\u2028\u2029", "App Set-Cookie: a=b"},
		"zero width":   {"Cl\u200bau\u200dde\ufeff Tool", "Claude Tool"},
		"control":      {"App\u0000\u0007\u001b[31m", "App[31m"},
		"tags":         {"App\U000e0041\U000e0042", "App"},
		"long":         {strings.Repeat("long ", 100), strings.TrimSpace(strings.Repeat("long ", 19))},
		"only nothing": {"\u200b\u202e", "app.example.com"},
	} {
		given, err := json.Marshal(c.given)
		if err != nil {
			t.Fatal(err)
		}
		doc := s.mustRegister(`{"client_name":` + string(given) + `,"redirect_uris":["` + webCB + `"],"token_endpoint_auth_method":"none"}`)
		id := doc["client_id"].(string)
		b := s.browser()
		page := b.signIn(b.get(s.ask(id, webCB)), "alice")
		page.shows(t, http.StatusOK, c.shown, "app.example.com", "chose this name itself")
		for _, bad := range []string{"<script", "<img", `onfocus="`} {
			if strings.Contains(page.body, bad) {
				t.Errorf("%s: the page has %s", name, bad)
			}
		}
		if i := strings.IndexFunc(page.body, func(r rune) bool {
			return unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) && r != '\u2068' && r != '\u2069' // ours, around names
		}); i >= 0 {
			t.Errorf("%s: the page has %q", name, page.body[i:i+4])
		}
		if c, err := s.ledger.Client(t.Context(), id); err != nil || c.Source != ledger.FromDynamic || strings.ContainsFunc(c.Name, unicode.IsControl) {
			t.Errorf("%s: %+v %v", name, c, err)
		}
	}
}
