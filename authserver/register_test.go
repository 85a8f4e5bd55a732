package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

// postRegistration registers over HTTP and returns status, headers and the document.
func (s *site) postRegistration(body string) (int, http.Header, map[string]any) {
	s.t.Helper()
	r := httptest.NewRequest(http.MethodPost, s.url+"/register", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, r)
	var doc map[string]any
	if err := json.Unmarshal(rec.Body.Bytes(), &doc); err != nil {
		s.t.Fatalf("%d %s: %v", rec.Code, rec.Body, err)
	}
	return rec.Code, rec.Header(), doc
}

func (s *site) mustRegister(body string) map[string]any {
	s.t.Helper()
	status, _, doc := s.postRegistration(body)
	if status != http.StatusCreated {
		s.t.Fatalf("%s: %d %v", body, status, doc)
	}
	return doc
}

// covers: AS-DCR-01, AS-DCR-02, AS-DCR-03, AS-DCR-04, X-RND-01, E10, F01, F07, F09, F10, F11
func TestRegisterDefaults(t *testing.T) {
	s := newSite(t, nil)
	status, header, doc := s.postRegistration(`{"client_name":"App","redirect_uris":["https://app.example.com/cb"],"unknown":{"x":1},"logo_uri":"http://169.254.169.254/"}`)
	if status != http.StatusCreated || header.Get("Cache-Control") != "no-store" || header.Get("Access-Control-Allow-Origin") != "*" {
		t.Fatalf("%d %v %v", status, header, doc)
	}
	if got := get(s.Server, "/register"); got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != "POST" {
		t.Errorf("GET: %d %v", got.status, got.header)
	}
	if doc["token_endpoint_auth_method"] != "client_secret_basic" || fmt.Sprint(doc["grant_types"]) != "[authorization_code]" ||
		fmt.Sprint(doc["response_types"]) != "[code]" || fmt.Sprint(doc["redirect_uris"]) != "[https://app.example.com/cb]" || doc["client_name"] != "App" {
		t.Errorf("document %v", doc)
	}
	secret, _ := doc["client_secret"].(string)
	if len(secret) != 43 || doc["client_secret_expires_at"] != 0.0 || doc["client_id_issued_at"] == nil {
		t.Errorf("secret of %d characters, %v", len(secret), doc)
	}
	if doc["logo_uri"] != nil || doc["unknown"] != nil {
		t.Errorf("what is not kept is answered: %v", doc)
	}
	c, err := s.ledger.Client(context.Background(), doc["client_id"].(string))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(fmt.Sprintf("%s%v", c.SecretHash, c), secret) || len(c.SecretHash) != 32 || c.Source != ledger.FromDynamic {
		t.Errorf("record %+v", c)
	}
	again := s.mustRegister(`{"client_name":"App","redirect_uris":["https://app.example.com/cb"]}`)
	if again["client_id"] == doc["client_id"] || again["client_secret"] == secret {
		t.Error("a client with a secret registered twice is one")
	}
	public := s.mustRegister(`{"redirect_uris":["https://app.example.com/cb"],"token_endpoint_auth_method":"none"}`)
	if _, has := public["client_secret"]; has || public["client_secret_expires_at"] != nil {
		t.Errorf("a public client has a secret: %v", public)
	}
}

// covers: AS-DCR-04, AS-DCR-05, AS-DCR-06, AS-DCR-09, AS-REDIR-04, F03, F04, F05, F06, F12, F13, F14
func TestRegisterRefuses(t *testing.T) {
	s := newSite(t, nil)
	uri := func(u string) string { b, _ := json.Marshal([]string{u}); return `{"redirect_uris":` + string(b) + `}` }
	with := func(member string) string { return `{"redirect_uris":["https://app.example.com/cb"],` + member + `}` }
	for name, c := range map[string]struct{ body, code string }{
		"not JSON":                {`redirect_uris=x`, oauth.InvalidClientMetadata},
		"broken JSON":             {`{"redirect_uris":`, oauth.InvalidClientMetadata},
		"array":                   {`[]`, oauth.InvalidClientMetadata},
		"null":                    {`null`, oauth.InvalidClientMetadata},
		"two documents":           {`{} {}`, oauth.InvalidClientMetadata},
		"wrong type":              {`{"redirect_uris":"https://app.example.com/cb"}`, oauth.InvalidClientMetadata},
		"name is a number":        {with(`"client_name":7`), oauth.InvalidClientMetadata},
		"too large":               {with(`"x":"` + strings.Repeat("x", maxRegistration) + `"`), oauth.InvalidClientMetadata},
		"no redirect URIs":        {`{}`, oauth.InvalidRedirectURI},
		"empty redirect URIs":     {`{"redirect_uris":[]}`, oauth.InvalidRedirectURI},
		"too many":                {`{"redirect_uris":[` + strings.TrimSuffix(manyURIs(maxRedirectURIs+1), ",") + `]}`, oauth.InvalidRedirectURI},
		"empty":                   {uri(""), oauth.InvalidRedirectURI},
		"relative":                {uri("/cb"), oauth.InvalidRedirectURI},
		"fragment":                {uri("https://app.example.com/cb#x"), oauth.InvalidRedirectURI},
		"http":                    {uri("http://app.example.com/cb"), oauth.InvalidRedirectURI},
		"http look-alike":         {uri("http://127.0.0.1.example.com/cb"), oauth.InvalidRedirectURI},
		"0.0.0.0":                 {uri("http://0.0.0.0/cb"), oauth.InvalidRedirectURI},
		"user info":               {uri("https://app@example.com/cb"), oauth.InvalidRedirectURI},
		"javascript":              {uri("javascript:alert(1)"), oauth.InvalidRedirectURI},
		"Javascript":              {uri("JavaScript://x/%0aalert(1)"), oauth.InvalidRedirectURI},
		"data":                    {uri("data:text/html,x"), oauth.InvalidRedirectURI},
		"file":                    {uri("file:///etc/passwd"), oauth.InvalidRedirectURI},
		"blob":                    {uri("blob:https://x"), oauth.InvalidRedirectURI},
		"private use":             {uri("com.example.app:/cb"), oauth.InvalidRedirectURI},
		"cursor, another path":    {uri("cursor://anysphere.cursor-mcp/oauth/callback2"), oauth.InvalidRedirectURI},
		"cursor, another case":    {uri("Cursor://anysphere.cursor-mcp/oauth/callback"), oauth.InvalidRedirectURI},
		"the pattern itself":      {uri("chat://x/{id}"), oauth.InvalidRedirectURI},
		"one bad among good":      {`{"redirect_uris":["https://app.example.com/cb","http://app.example.com/cb"]}`, oauth.InvalidRedirectURI},
		"web on loopback":         {`{"redirect_uris":["http://127.0.0.1/cb"],"application_type":"web"}`, oauth.InvalidRedirectURI},
		"unknown application":     {with(`"application_type":"tv"`), oauth.InvalidClientMetadata},
		"jwks and jwks_uri":       {with(`"jwks":{"keys":[]},"jwks_uri":"https://app.example.com/jwks"`), oauth.InvalidClientMetadata},
		"private_key_jwt":         {with(`"token_endpoint_auth_method":"private_key_jwt","jwks":{"keys":[]}`), oauth.InvalidClientMetadata},
		"unknown method":          {with(`"token_endpoint_auth_method":"magic"`), oauth.InvalidClientMetadata},
		"only client_credentials": {with(`"grant_types":["client_credentials"]`), oauth.InvalidClientMetadata},
		"only refresh_token":      {with(`"grant_types":["refresh_token"]`), oauth.InvalidClientMetadata},
		"no grant":                {with(`"grant_types":[]`), oauth.InvalidClientMetadata},
		"implicit response":       {with(`"response_types":["token"]`), oauth.InvalidClientMetadata},
		"code and token":          {with(`"response_types":["code","token"]`), oauth.InvalidClientMetadata},
		"no response":             {with(`"response_types":[]`), oauth.InvalidClientMetadata},
	} {
		status, _, doc := s.postRegistration(c.body)
		if doc["error"] != c.code || status/100 != 4 || doc["client_id"] != nil {
			t.Errorf("%s: %d %v, want %s", name, status, doc, c.code)
		}
	}
	if list, _, _ := s.ledger.Clients(context.Background(), ""); len(list) != 0 {
		t.Errorf("%d clients were kept", len(list))
	}
}

func manyURIs(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"https://app.example.com/%d",`, i)
	}
	return b.String()
}

// covers: AS-DCR-07, AS-DCR-08, SEC-24, F17
func TestRegisterGrantsNoPrivileges(t *testing.T) {
	s := newSite(t, nil)
	for asked, want := range map[string]string{
		`["authorization_code","refresh_token"]`: "[authorization_code refresh_token]",
		`["authorization_code","refresh_token","client_credentials","` + oauth.JWTBearer + `","` + oauth.TokenExchange + `","implicit"]`: "[authorization_code refresh_token]",
		`["` + oauth.DeviceCode + `","authorization_code"]`: "[authorization_code]",
	} {
		doc := s.mustRegister(`{"redirect_uris":["http://localhost:9/cb"],"token_endpoint_auth_method":"none","scope":"files:read admin","grant_types":` + asked + `}`)
		if fmt.Sprint(doc["grant_types"]) != want || doc["scope"] != nil {
			t.Errorf("%s: %v", asked, doc)
		}
		c, err := s.ledger.Client(context.Background(), doc["client_id"].(string))
		if err != nil || fmt.Sprint(c.GrantTypes) != want || len(c.Scopes) != 0 {
			t.Errorf("%s: record %+v, %v", asked, c, err)
		}
	}
}

// covers: AS-DCR-07
func TestRegisterAccepts(t *testing.T) {
	s := newSite(t, nil)
	for name, body := range map[string]string{
		"loopback without type": `{"redirect_uris":["http://127.0.0.1:1234/cb","http://[::1]/cb","http://localhost/cb"]}`,
		"native":                `{"redirect_uris":["http://127.0.0.1/cb","https://app.example.com/cb"],"application_type":"native"}`,
		"web":                   `{"redirect_uris":["https://app.example.com/cb"],"application_type":"web"}`,
		"cursor":                `{"client_name":"Cursor","redirect_uris":["cursor://anysphere.cursor-mcp/oauth/callback"],"token_endpoint_auth_method":"none"}`,
		"one of two key sets":   `{"redirect_uris":["https://app.example.com/cb"],"jwks_uri":"https://10.0.0.1/jwks"}`,
		"post":                  `{"redirect_uris":["https://app.example.com/cb"],"token_endpoint_auth_method":"client_secret_post"}`,
	} {
		if status, _, doc := s.postRegistration(body); status != http.StatusCreated {
			t.Errorf("%s: %d %v", name, status, doc)
		}
	}
}

func TestRegisterAgain(t *testing.T) {
	s := newSite(t, nil)
	public := func(name, uri string) string {
		return `{"client_name":"` + name + `","redirect_uris":["` + uri + `"],"token_endpoint_auth_method":"none"}`
	}
	claude, cb := "Claude", "https://claude.ai/api/mcp/auth_callback"
	first := s.mustRegister(public(claude, cb))
	if again := s.mustRegister(public(claude, cb)); again["client_id"] != first["client_id"] {
		t.Error("a known client has two ids")
	}
	if other := s.mustRegister(public("Other", cb)); other["client_id"] != first["client_id"] || other["client_name"] != claude {
		t.Errorf("a known client under another name is another client: %v", other)
	}
	local := s.mustRegister(public("Tool", "http://localhost:1111/cb"))
	if other := s.mustRegister(public("Other", "http://localhost:1111/cb")); other["client_id"] == local["client_id"] {
		t.Error("two names have one id")
	}
	moved := s.mustRegister(public("Tool", "http://localhost:2222/cb"))
	if local["client_id"] != moved["client_id"] || fmt.Sprint(moved["redirect_uris"]) != "[http://localhost:2222/cb]" {
		t.Errorf("another port is another client: %v", moved)
	}
	for _, uri := range []string{"http://localhost:1111/cb2", "http://127.0.0.1:1111/cb"} {
		if other := s.mustRegister(public("Tool", uri)); other["client_id"] == local["client_id"] {
			t.Errorf("%s is the same client", uri)
		}
	}
	a := s.mustRegister(public("Web", "https://app.example.com/cb"))
	if b := s.mustRegister(public("Web", "https://app.example.com/cb")); a["client_id"] == b["client_id"] {
		t.Error("two strangers on the web are one client")
	}
}

func TestRegistrationPolicy(t *testing.T) {
	known := `{"client_name":"Claude","redirect_uris":["https://claude.ai/api/mcp/auth_callback"],"token_endpoint_auth_method":"none"}`
	other := `{"client_name":"Claude","redirect_uris":["https://claude.ai.example.net/api/mcp/auth_callback"],"token_endpoint_auth_method":"none"}`
	for policy, approved := range map[string]bool{"allow": true, "ask-admin": false, "": false} {
		s := newSite(t, func(c *Config) { c.OtherClients = policy })
		for body, want := range map[string]bool{known: true, other: approved} {
			c, err := s.ledger.Client(context.Background(), s.mustRegister(body)["client_id"].(string))
			if err != nil || c.Approved != want || (c.Known == "claude") != (body == known) {
				t.Errorf("%q: %+v, %v", policy, c, err)
			}
		}
	}
	s := newSite(t, func(c *Config) { c.OtherClients = "refuse" })
	s.mustRegister(known)
	if status, _, doc := s.postRegistration(other); status != 400 || !strings.Contains(doc["error_description"].(string), "policy") {
		t.Errorf("refuse: %d %v", status, doc)
	}
	s = newSite(t, func(c *Config) { c.OtherClients, c.KnownClients = "refuse", nil })
	if status, _, _ := s.postRegistration(known); status != 400 {
		t.Errorf("a client of the catalogue that is not wanted: %d", status)
	}
	s = newSite(t, func(c *Config) { c.Registration.Mode = "off" })
	if status, _, _ := s.postRegistration(known); status != 404 {
		t.Errorf("off: %d", status)
	}
}

// covers: AS-DCR-09, SEC-24, F18
func TestRegistrationsAreBounded(t *testing.T) {
	s := newSite(t, func(c *Config) {
		c.OtherClients, c.Registration = "ask-admin", Registration{Mode: "limited", Total: 10, Unused: time.Hour}
	})
	stranger := func() int {
		status, _, _ := s.postRegistration(`{"redirect_uris":["https://app.example.com/cb"]}`)
		return status
	}
	for range 5 {
		if status := stranger(); status != http.StatusCreated {
			t.Fatal(status)
		}
	}
	if status := stranger(); status != http.StatusServiceUnavailable {
		t.Errorf("strangers take more than half: %d", status)
	}
	for i := range 5 {
		s.mustRegister(fmt.Sprintf(`{"client_name":"ChatGPT","redirect_uris":["https://chatgpt.com/connector/oauth/%d"],"token_endpoint_auth_method":"none"}`, i))
	}
	if status, _, doc := s.postRegistration(`{"client_name":"ChatGPT","redirect_uris":["https://chatgpt.com/connector/oauth/abc"]}`); status != http.StatusServiceUnavailable {
		t.Errorf("more than the total: %d %v", status, doc)
	}
	s.wait(time.Hour)
	if status := stranger(); status != http.StatusCreated {
		t.Errorf("after the unused ones ended: %d", status)
	}
}

func TestUseProlongsARegistration(t *testing.T) {
	s := newSite(t, nil)
	doc := s.mustRegister(`{"client_name":"Tool","redirect_uris":["http://127.0.0.1/cb"],"token_endpoint_auth_method":"none"}`)
	id := doc["client_id"].(string)
	before, err := s.ledger.Client(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	b := s.browser()
	b.submit(b.signIn(b.get(s.ask(id, "http://127.0.0.1:8/cb")), "alice")).arrived(t, "http://127.0.0.1:8/cb?code=")
	after, err := s.ledger.Client(context.Background(), id)
	if err != nil || !after.Expires.After(before.Expires) {
		t.Errorf("expires %s, before %s, %v", after.Expires, before.Expires, err)
	}
	s.wait(before.Expires.Sub(s.now()) + time.Minute)
	if _, err := s.client(context.Background(), s.current(), id); err != nil {
		t.Errorf("a client in use ended: %v", err)
	}
	s.wait(after.Expires.Sub(s.now()))
	if _, err := s.client(context.Background(), s.current(), id); err == nil {
		t.Error("an unused client never ends")
	}
}

func TestCleanName(t *testing.T) {
	for name, want := range map[string]string{
		"":                          "",
		"  Claude   Code\t(x) ":     "Claude Code (x)",
		"Good\u202eelpA":            "GoodelpA",
		"a\u200bb\u2066c\ufeff\x00": "abc",
		"zwölf 猫":                   "zwölf 猫",
		"a\u2028b\r\nc":             "a b c",
		" a":                        "a",
		"a ":                        "a",
		"a  b":                      "a b",
		"a\x7fb":                    "ab",
		" ":                         "",
	} {
		if got := cleanName(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	if got := cleanName(strings.Repeat("ü", 500)); utf8.RuneCountInString(got) != maxName {
		t.Errorf("%d characters", utf8.RuneCountInString(got))
	}
}

func FuzzRegistration(f *testing.F) {
	f.Add(`{"redirect_uris":["https://a.example/"],"client_name":"x"}`)
	f.Add(`{"redirect_uris":["cursor://anysphere.cursor-mcp/oauth/callback"],"grant_types":["authorization_code","refresh_token","x"]}`)
	f.Add(`{"redirect_uris":[null],"jwks":null}`)
	f.Fuzz(func(t *testing.T, body string) {
		w, err := parseWish([]byte(body))
		if err != nil {
			return
		}
		c, err := w.check()
		var e *oauth.Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("%q: %v", body, err)
		}
		if err != nil {
			return
		}
		for _, uri := range c.RedirectURIs {
			if oauth.CheckRedirectURI(uri, false) != nil && !inCatalogue(uri) {
				t.Errorf("%q is registered", uri)
			}
		}
		for _, g := range c.GrantTypes {
			if g != oauth.AuthorizationCode && g != oauth.RefreshToken {
				t.Errorf("%q is granted", g)
			}
		}
		if cleanName(c.Name) != c.Name {
			t.Errorf("name %q is not clean", c.Name)
		}
	})
}

func TestCatalogue(t *testing.T) {
	all := []string{"claude", "claude-code", "chatgpt", "vscode", "cursor"}
	for _, k := range known {
		if !slices.Contains(all, k.Name) || k.Title == "" || !strings.HasPrefix(k.Source, "https://") {
			t.Errorf("entry %+v", k)
		}
		if _, err := time.Parse(time.DateOnly, k.Date); err != nil {
			t.Errorf("%s: %v", k.Name, err)
		}
	}
	for _, c := range []struct {
		want string
		name string
		uris []string
	}{
		{"claude", "whatever", []string{"https://claude.ai/api/mcp/auth_callback", "https://claude.com/api/mcp/auth_callback"}},
		{"", "Claude", []string{"https://claude.ai/api/mcp/auth_callback", "https://evil.example.net/"}},
		{"", "Claude", []string{"https://claude.ai/api/mcp/auth_callback?x=1"}},
		{"chatgpt", "", []string{"https://chatgpt.com/connector/oauth/aB_3-x"}},
		{"", "ChatGPT", []string{"https://chatgpt.com/connector/oauth/a/../b"}},
		{"", "ChatGPT", []string{"https://chatgpt.com/connector/oauth/"}},
		{"", "ChatGPT", []string{"https://chatgpt.com/connector/oauth/{id}"}},
		{"", "ChatGPT", []string{"https://chatgptxcom/connector/oauth/abc"}},
		{"claude-code", "Claude Code (files)", []string{"http://localhost:54545/callback"}},
		{"", "Some Code", []string{"http://localhost:54545/callback"}},
		{"", "Claude Code", []string{"http://127.0.0.1:54545/callback"}},
		{"vscode", "Visual Studio Code", []string{"https://insiders.vscode.dev/redirect", "https://vscode.dev/redirect", "http://127.0.0.1/", "http://127.0.0.1:33418/"}},
		{"cursor", "Cursor", []string{"cursor://anysphere.cursor-mcp/oauth/callback"}},
		{"cursor", "Cursor", []string{"http://localhost:8787/callback"}},
	} {
		if got := matchKnown(all, c.uris, c.name); got != c.want {
			t.Errorf("%q %v: %q, want %q", c.name, c.uris, got, c.want)
		}
		if got := matchKnown(nil, c.uris, c.name); got != "" {
			t.Errorf("%v: %q although none is wanted", c.uris, got)
		}
	}
}
