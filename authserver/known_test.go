package authserver

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"doorward/internal/oauth"
)

// knownRegistrations are registration requests in the shape of those that the
// known clients send.
var knownRegistrations = []struct {
	known, title string
	body         string
	redirects    []string // where each of its sign-ins comes back to
}{
	{"claude", "Claude", `{"client_name":"Claude","grant_types":["authorization_code","refresh_token"],"response_types":["code"],
		"token_endpoint_auth_method":"none","scope":"files:read","redirect_uris":["https://claude.ai/api/mcp/auth_callback"]}`,
		[]string{"https://claude.ai/api/mcp/auth_callback"}},
	{"claude", "Claude", `{"client_name":"Claude","client_uri":"https://claude.ai","redirect_uris":["https://claude.ai/api/mcp/auth_callback","https://claude.com/api/mcp/auth_callback"],
		"grant_types":["authorization_code","refresh_token","urn:ietf:params:oauth:grant-type:jwt-bearer"],"token_endpoint_auth_method":"client_secret_post"}`,
		[]string{"https://claude.ai/api/mcp/auth_callback", "https://claude.com/api/mcp/auth_callback"}},
	{"claude-code", "Claude Code (files)", `{"client_name":"Claude Code (files)","redirect_uris":["http://localhost:54545/callback"],
		"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none"}`,
		[]string{"http://localhost:54545/callback", "http://localhost:3118/callback"}},
	{"chatgpt", "ChatGPT", `{"client_name":"ChatGPT","redirect_uris":["https://chatgpt.com/connector_platform_oauth_redirect"],
		"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none"}`,
		[]string{"https://chatgpt.com/connector_platform_oauth_redirect"}},
	{"chatgpt", "ChatGPT", `{"client_name":"ChatGPT","redirect_uris":["https://chatgpt.com/connector/oauth/aB3_x-9Q"],
		"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"client_secret_basic"}`,
		[]string{"https://chatgpt.com/connector/oauth/aB3_x-9Q"}},
	{"vscode", "Visual Studio Code", `{"client_name":"Visual Studio Code","client_uri":"https://code.visualstudio.com",
		"grant_types":["authorization_code","refresh_token","urn:ietf:params:oauth:grant-type:device_code"],"response_types":["code"],
		"redirect_uris":["https://insiders.vscode.dev/redirect","https://vscode.dev/redirect","http://127.0.0.1/","http://127.0.0.1:33418/"],
		"scope":"files:read","token_endpoint_auth_method":"none","application_type":"native"}`,
		[]string{"https://vscode.dev/redirect", "https://insiders.vscode.dev/redirect", "http://127.0.0.1:33418/", "http://127.0.0.1:54321/"}},
	{"cursor", "Cursor", `{"client_name":"Cursor","redirect_uris":["cursor://anysphere.cursor-mcp/oauth/callback"],
		"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none"}`,
		[]string{"cursor://anysphere.cursor-mcp/oauth/callback"}},
	{"cursor", "Cursor", `{"client_name":"Cursor","redirect_uris":["cursor://anysphere.cursor-mcp/oauth/callback","https://www.cursor.com/agents/mcp/oauth/callback","http://localhost:8787/callback"],
		"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none"}`,
		[]string{"https://www.cursor.com/agents/mcp/oauth/callback", "http://localhost:8787/callback"}},
}

// Each known client registers as it does, needs no administrator, and comes to
// a token and its successor; what its way back proves stands on the page.
//
// covers: AS-DCR-01, AS-DCR-08, AS-REDIR-04, SEC-16
func TestKnownClientsRegister(t *testing.T) {
	s := newSite(t, func(c *Config) { c.OtherClients = "ask-admin" })
	for _, k := range knownRegistrations {
		doc := s.mustRegister(k.body)
		id, secret := doc["client_id"].(string), ""
		if text, ok := doc["client_secret"].(string); ok {
			secret = text
		}
		c, err := s.ledger.Client(t.Context(), id)
		if err != nil || c.Known != k.known || !c.Approved {
			t.Errorf("%s: %+v, %v", k.known, c, err)
		}
		for _, redirect := range k.redirects {
			b := s.browser()
			page := b.signIn(b.get(s.ask(id, redirect)), "alice")
			if !page.left {
				page.shows(t, http.StatusOK, "Allow", k.title, hostOf(redirect))
				verified := !oauth.IsLoopbackRedirect(redirect)
				if got := !strings.Contains(page.body, "Not verified"); got != verified {
					t.Errorf("%s at %s: verified %t", k.known, redirect, got)
				}
				page = b.submit(page)
			}
			s.finish(k.known, id, secret, redirect, page.arrived(t, redirect).Get("code"))
		}
	}
	// The same client again is the same client, whatever its port is now.
	for i := range knownRegistrations {
		k := knownRegistrations[i]
		if !strings.Contains(k.body, `"none"`) {
			continue
		}
		first, again := s.mustRegister(k.body), s.mustRegister(strings.Replace(k.body, ":54545", ":54546", 1))
		if first["client_id"] != again["client_id"] {
			t.Errorf("%s registers twice and is two clients", k.known)
		}
	}
}

// finish redeems a code and refreshes.
func (s *site) finish(name, id, secret, redirect, code string) {
	s.t.Helper()
	who := ""
	fields := []string{"client_id=" + id}
	if secret != "" {
		who = id + " " + secret
		if c, err := s.client(s.t.Context(), s.current(), id); err == nil && c.AuthMethod == authPost {
			who, fields = "", append(fields, "client_secret="+secret)
		}
	}
	got := post(s.Server, "/token", who, form(append(fields, "grant_type=authorization_code", "code="+code, "redirect_uri="+redirect, "code_verifier="+verifier, "resource="+files)...))
	if got.status != http.StatusOK || got.text("access_token") == "" || got.text("refresh_token") == "" {
		s.t.Fatalf("%s at %s: %d %s", name, redirect, got.status, got.body)
	}
	if client, _ := claimsOf(s.t, got.text("access_token")).Text("client_id"); client != id {
		s.t.Errorf("%s: the token is of %s", name, client)
	}
	next := post(s.Server, "/token", who, form(append(fields, "grant_type=refresh_token", "refresh_token="+got.text("refresh_token"))...))
	if next.status != http.StatusOK || next.text("access_token") == "" {
		s.t.Errorf("%s: refresh %d %s", name, next.status, next.body)
	}
}

// knownDocuments are metadata documents in the shape of those that lie at the
// addresses of known clients.
var knownDocuments = []struct{ known, id, title, document, redirect string }{
	{"claude", "https://claude.ai/oauth/mcp-oauth-client-metadata", "Claude", `{"client_id":"https://claude.ai/oauth/mcp-oauth-client-metadata","client_name":"Claude",
		"client_uri":"https://claude.ai","logo_uri":"https://claude.ai/images/claude_app_icon.png",
		"redirect_uris":["https://claude.ai/api/mcp/auth_callback","https://claude.com/api/mcp/auth_callback"],
		"grant_types":["authorization_code","refresh_token","urn:ietf:params:oauth:grant-type:jwt-bearer"],"response_types":["code"],"token_endpoint_auth_method":"none"}`,
		"https://claude.ai/api/mcp/auth_callback"},
	{"claude-code", "https://claude.ai/oauth/claude-code-client-metadata", "Claude Code", `{"client_id":"https://claude.ai/oauth/claude-code-client-metadata","client_name":"Claude Code",
		"client_uri":"https://claude.ai","redirect_uris":["http://localhost/callback","http://127.0.0.1/callback"],
		"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none"}`,
		"http://localhost:54545/callback"},
	{"vscode", "https://vscode.dev/oauth/client-metadata.json", "Visual Studio Code", `{"client_id":"https://vscode.dev/oauth/client-metadata.json","client_name":"Visual Studio Code",
		"client_uri":"https://vscode.dev/product","redirect_uris":["http://127.0.0.1:33418/","https://vscode.dev/redirect","https://insiders.vscode.dev/redirect"],
		"grant_types":["authorization_code","refresh_token","urn:ietf:params:oauth:grant-type:device_code"],"response_types":["code"],"token_endpoint_auth_method":"none","application_type":"native"}`,
		"https://vscode.dev/redirect"},
}

// The documents are read as they are, and put where a fetch would have put
// them: what lies at real addresses is not for a test to depend on.
//
// covers: AS-CIMD-01, AS-CIMD-17, AS-DCR-08, SEC-32
func TestKnownClientsByDocument(t *testing.T) {
	s := newSite(t, func(c *Config) { c.OtherClients = "ask-admin" })
	for _, k := range knownDocuments {
		c, err := parseDocument(k.id, []byte(k.document))
		if err != nil {
			t.Errorf("%s: %v", k.known, err)
			continue
		}
		docs := s.current().documents
		docs.mu.Lock()
		docs.keep(k.id, &keptDocument{client: c, fresh: s.now().Add(time.Hour), stale: s.now().Add(time.Hour), used: s.now()})
		docs.mu.Unlock()
		got, err := s.client(t.Context(), s.current(), k.id)
		if err != nil || got.Known != k.known || !got.Approved || !got.Public() {
			t.Errorf("%s: %+v, %v", k.known, got, err)
		}
		for _, g := range got.GrantTypes {
			if g == oauth.JWTBearer {
				t.Errorf("%s gives itself %s", k.known, g)
			}
		}
		b := s.browser()
		page := b.signIn(b.get(s.ask(k.id, k.redirect)), "alice")
		page.shows(t, http.StatusOK, "Allow", k.title, documentHost(k.id), hostOf(k.redirect))
		if warned := strings.Contains(page.body, "Careful"); warned != oauth.IsLoopbackRedirect(k.redirect) {
			t.Errorf("%s: warned %t", k.known, warned)
		}
		s.finish(k.known, k.id, "", k.redirect, b.submit(page).arrived(t, k.redirect).Get("code"))
	}
	// ChatGPT's chooses private_key_jwt.
	const chatgpt = "https://chatgpt.com/oauth/client.json"
	c, err := parseDocument(chatgpt, []byte(`{"client_id":"`+chatgpt+`","client_name":"ChatGPT","client_uri":"https://chatgpt.com/","redirect_uris":["https://chatgpt.com/connector_platform_oauth_redirect"],
		"token_endpoint_auth_method":"private_key_jwt","token_endpoint_auth_methods_supported":["none","private_key_jwt"],"token_endpoint_auth_signing_alg":"RS256",
		"jwks_uri":"https://chatgpt.com/oauth/jwks.json","grant_types":["authorization_code","refresh_token"],"response_types":["code"]}`))
	if err != nil || c.AuthMethod != "private_key_jwt" || !c.Public() {
		t.Fatalf("%+v, %v", c, err)
	}
	docs := s.current().documents
	docs.mu.Lock()
	docs.keep(chatgpt, &keptDocument{client: c, fresh: s.now().Add(time.Hour), stale: s.now().Add(time.Hour), used: s.now()})
	docs.mu.Unlock()
	if got, err := s.client(t.Context(), s.current(), chatgpt); err != nil || got.Known != "chatgpt" || !got.Approved {
		t.Errorf("%+v, %v", got, err)
	}
	// The catalogue has all of them, and nothing that is no document address.
	for _, k := range known {
		for _, id := range k.Documents {
			if oauth.CheckClientURL(id) != nil {
				t.Errorf("%s: %s", k.Name, id)
			}
		}
	}
}

// Claude sends a secret that somebody typed in by client_secret_post, whatever
// the metadata says; VS Code's enterprise setting comes to http://localhost.
//
// covers: AS-CAUTH-02, AS-REDIR-04
func TestKnownClientsOfTheFile(t *testing.T) {
	const cb = "https://claude.ai/api/mcp/auth_callback"
	s := newSite(t, func(c *Config) {
		c.Clients = map[string]Client{
			"claude-typed": {Name: "Claude", Secret: "a secret that somebody typed in", RedirectURIs: []string{cb}},
			"cursor-typed": {Name: "Cursor", RedirectURIs: []string{"cursor://anysphere.cursor-mcp/oauth/callback"}},
		}
	})
	b := s.browser()
	code := b.submit(b.signIn(b.get(s.ask("claude-typed", cb)), "alice")).arrived(t, cb).Get("code")
	got := post(s.Server, "/token", "", form("grant_type=authorization_code", "code="+code, "redirect_uri="+cb, "code_verifier="+verifier, "client_id=claude-typed", "client_secret=a secret that somebody typed in"))
	if got.status != http.StatusOK {
		t.Errorf("%d %s", got.status, got.body)
	}
	page := b.get(s.ask("cursor-typed", "cursor://anysphere.cursor-mcp/oauth/callback"))
	page.shows(t, http.StatusOK, "Allow", "Cursor")
	b.submit(page).arrived(t, "cursor://anysphere.cursor-mcp/oauth/callback")
	for _, other := range []string{"cursor://anysphere.cursor-mcp/oauth/callback/x", "cursor://evil/oauth/callback", "cursor:/oauth/callback"} {
		b.get(s.ask("cursor-typed", other)).shows(t, http.StatusBadRequest, "redirect_uri")
	}
}

func TestKnownCatalogueIsData(t *testing.T) {
	var list []map[string]any
	if err := json.Unmarshal(knownText, &list); err != nil || len(list) != len(known) {
		t.Fatalf("%d entries, %v", len(list), err)
	}
	for _, k := range list {
		for name := range k {
			switch name {
			case "name", "title", "redirect_uris", "client_names", "documents", "source", "date":
			default:
				t.Errorf("%v: nobody reads %s", k["name"], name)
			}
		}
	}
}
