package authtest_test

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"doorward/authtest"
)

func zooClient(t *testing.T, name string) authtest.Client {
	t.Helper()
	all := authtest.Clients()
	i := slices.IndexFunc(all, func(c authtest.Client) bool { return c.String() == name })
	if i < 0 {
		t.Fatalf("the zoo has no %s", name)
	}
	return all[i]
}

// quirk is a server that cannot bear a client, and one that it lets in.
type quirk struct {
	client, quirk string
	server        spoil
	step          string // where the client fails
	spares        string
}

var quirks = []quirk{
	{"claude/document", "its document lists jwt-bearer, though it is a public client",
		refusesDocument(func(w wanted, _ string) bool {
			return slices.Contains(w.Grants, "urn:ietf:params:oauth:grant-type:jwt-bearer")
		}), "token", "claude-code/document"},
	{"claude/document", "takes its document only where metadata lists `none`",
		both(without("registration_endpoint", asDocument, oidcDocument), with("token_endpoint_auth_methods_supported", []string{"client_secret_basic"}, asDocument, oidcDocument)),
		"registration", "vscode/document"},
	{"claude/document", "has a callback on claude.ai and one on claude.com",
		refusesDocument(func(w wanted, _ string) bool {
			return len(w.Redirects) > 1 && strings.HasPrefix(w.Redirects[1], "https://claude.com")
		}), "token", "claude-code/document"},
	{"claude/document, claude.com", "comes back to claude.com",
		refusesDocument(func(w wanted, at string) bool { return at != w.Redirects[0] }), "token", "claude/document"},
	{"claude/registration", "registers anew for each connection, and goes on with the older ones", registersOnce(), "registration", "claude-code/registration"},
	{"claude/typed in", "sends a secret that was typed in by client_secret_post, whatever is advertised",
		both(with("token_endpoint_auth_methods_supported", []string{"client_secret_basic"}, asDocument),
			refuses("/token", "invalid_client", func(q url.Values) bool { return q.Has("client_secret") })), "token", "vscode/enterprise"},
	{"claude-code/document", "its document has loopback URIs without a port; it comes from any port",
		refusesDocument(func(w wanted, at string) bool { return !slices.Contains(w.Redirects, at) }), "token", "vscode/document"},
	{"claude-code/registration", "keeps its registration and comes from another port the next time", refusesRedirect(unlisted), "token", "cursor/registration"},
	{"chatgpt/document", "its document chooses private_key_jwt (RS256, keys at jwks_uri) and offers `none` beside it",
		refusesDocument(func(w wanted, _ string) bool { return w.Method != "none" }), "token", "claude/document"},
	{"chatgpt/registration, own callback", "has a callback of its own for each connector: /connector/oauth/{id}",
		refusesClient(func(w wanted) bool { return strings.Contains(w.Redirects[0], "/connector/oauth/") }), "registration", "chatgpt/registration"},
	{"vscode/document", "its state is a URL, compared byte for byte after the way over vscode.dev",
		bendsState(func(s string) string { before, _, _ := strings.Cut(s, "&"); return before }), "token", "claude/document"},
	{"vscode/registration", "registers https and loopback URIs together",
		refusesClient(func(w wanted) bool {
			return slices.ContainsFunc(w.Redirects, secure) && !allOf(w.Redirects, secure)
		}), "registration", "claude/registration"},
	{"vscode/registration", "registers the device grant",
		refusesClient(func(w wanted) bool {
			return !allOf(w.Grants, func(g string) bool { return g == "authorization_code" || g == "refresh_token" })
		}), "registration", "mcpc/registration"},
	{"vscode/registration, loopback", "comes from another port than the two that it registered when 33418 is taken", refusesRedirect(unlisted), "token", "vscode/registration"},
	{"vscode/registration, loopback", "its state is base64 with + / =, compared byte for byte",
		bendsState(func(s string) string { return strings.ReplaceAll(s, "+", " ") }), "token", "vscode/registration"},
	{"vscode/enterprise", "issuer, client id and secret of the company's provider are a setting of its own; it redeems an ID-JAG",
		refuses("/token", "unsupported_grant_type", func(q url.Values) bool { return strings.HasSuffix(q.Get("grant_type"), ":jwt-bearer") }), "token", "claude/typed in"},
	{"cursor/registration", "registers a callback of a private-use scheme: cursor://anysphere.cursor-mcp/…",
		refusesClient(func(w wanted) bool {
			return !allOf(w.Redirects, func(uri string) bool { return strings.HasPrefix(uri, "http") })
		}), "registration", "vscode/registration"},
	{"cursor/registration, web", "its agents on the web come back to www.cursor.com", refusesRedirect(notFirst), "token", "cursor/registration"},
	{"cursor/registration, loopback", "its command line comes back to port 8787 of localhost, which it registers", refusesRedirect(notFirst), "token", "cursor/registration"},
	{"mcp-remote/registration", "gets the authorization URL by itself before it opens the browser with it", spendsAtFirstLook(), "token", "mcpc/registration"},
	{"mcp-remote/registration", "looks for its loopback URI in the registration's answer", without("redirect_uris", "/register"), "registration", "mcpc/registration"},
	{"mcpc/registration", "registers anew at each sign-in", registersOnce(), "registration", "mcp-remote/registration"},
	{"mcpc/registration", "registers with logo_uri, tos_uri and policy_uri", refusesClient(func(w wanted) bool { return w.Terms != "" }), "registration", "mcp-remote/registration"},
	{"inspector/registration", "is a page in a browser: metadata, registration and tokens need CORS", takesHeader("Access-Control-Allow-Origin", http.MethodPost, "/token"), "token", "mcpc/registration"},
	{"inspector/registration", "is a page in a browser: metadata, registration and tokens need CORS", takesHeader("Access-Control-Allow-Origin", http.MethodGet, prmDocument), "resource metadata", "mcpc/registration"},
	{"inspector/registration", "is a page in a browser: metadata, registration and tokens need CORS", takesHeader("Access-Control-Allow-Headers", http.MethodOptions, "/register"), "registration", "mcpc/registration"},
	{"inspector/registration", "sends MCP-Protocol-Version with its look for metadata, so the browser asks first", takesHeader("Access-Control-Allow-Headers", http.MethodOptions, "/.well-known"), "resource metadata", "mcpc/registration"},
	{"inspector/registration", "registers with an empty scope", refusesClient(func(w wanted) bool { return w.Scope != nil && *w.Scope == "" }), "registration", "mcp-remote/registration"},
	{"inspector/registration, debugger", "its debugger has a second callback, registered with the first", refusesRedirect(notFirst), "token", "inspector/registration"},
	{"typescript-sdk/registration", "asks for offline_access with prompt=consent where metadata lists it",
		refuses("/authorize", "invalid_request", func(q url.Values) bool { return q.Has("prompt") }), "token", "go-sdk/registration"},
	{"typescript-sdk/registration", "asks for offline_access with prompt=consent where metadata lists it",
		refuses("/authorize", "invalid_scope", func(q url.Values) bool { return strings.Contains(q.Get("scope"), "offline_access") }), "token", "go-sdk/registration"},
	{"csharp-sdk/registration", "reads openid-configuration before RFC 8414's document", with("issuer", "https://other.example.com", oidcDocument), "server metadata", "typescript-sdk/registration"},
	{"csharp-sdk/registration", "authenticates by the first method that metadata lists",
		with("token_endpoint_auth_methods_supported", []string{"private_key_jwt", "client_secret_basic", "none"}, asDocument, oidcDocument), "", "typescript-sdk/registration"},
	{"csharp-sdk/registration", "demands token_type Bearer", with("token_type", "DPoP", "/token"), "token", "typescript-sdk/registration"},
	{"csharp-sdk/registration", "demands S256 in metadata", without("code_challenge_methods_supported", asDocument, oidcDocument), "server metadata", "typescript-sdk/registration"},
	{"go-sdk/registration", "compares the resource letter by letter",
		answers(func(m map[string]any) { text, _ := m["resource"].(string); m["resource"] = text + "/" }, prmDocument), "resource metadata", "python-sdk/registration"},
	{"go-sdk/registration", "refuses iss where metadata does not announce it", without("authorization_response_iss_parameter_supported", asDocument, oidcDocument), "token", "python-sdk/registration"},
	{"go-sdk/registration", "renews without resource",
		refuses("/token", "invalid_target", func(q url.Values) bool { return q.Get("grant_type") == "refresh_token" && !q.Has("resource") }), "renewal", "python-sdk/registration"},
	{"go-sdk/registration", "registers anew at each sign-in", registersOnce(), "registration", "python-sdk/registration"},
	{"python-sdk/registration", "has verifiers of 128 characters", refuses("/token", "invalid_grant", func(q url.Values) bool { return len(q.Get("code_verifier")) > 64 }), "token", "go-sdk/registration"},
	{"mcp-2025-03-26/registration", "looks for the authorization server's metadata at the MCP server's origin, and names no resource",
		refuses("/authorize", "invalid_target", func(q url.Values) bool { return !q.Has("resource") }), "token", "typescript-sdk/registration"},
	{"mcp-2025-03-26/registration, no metadata", "reads no metadata: /authorize, /token and /register at the MCP server's origin", elsewhere(), "registration", "mcp-2025-03-26/registration"},
}

func secure(uri string) bool { return strings.HasPrefix(uri, "https://") }

func allOf(list []string, good func(string) bool) bool {
	return !slices.ContainsFunc(list, func(s string) bool { return !good(s) })
}

// unlisted compares redirect URIs as letters, ports and all.
func unlisted(registered []string, at string) bool { return !slices.Contains(registered, at) }

// notFirst knows the first redirect URI of a client only.
func notFirst(registered []string, at string) bool { return at != registered[0] }

// twice is a client that comes, and comes again.
func twice(ctx context.Context, c authtest.Client, site authtest.Site) error {
	first, err := c.Connect(ctx, site)
	if err != nil {
		return err
	}
	if _, err = first.Again(ctx); err != nil {
		return err
	}
	return first.Call(ctx)
}

// Each quirk is real: a server that cannot bear it fails the client, at the
// step where that shows, and lets another in that does not have it.
func TestZooQuirks(t *testing.T) {
	for _, q := range quirks {
		t.Run(q.client+" "+q.quirk, func(t *testing.T) {
			t.Parallel()
			c := zooClient(t, q.client)
			if !slices.Contains(c.Quirks, q.quirk) {
				t.Fatalf("%s has no quirk %q", q.client, q.quirk)
			}
			site := newSite(t, q.server)
			for client, fails := range map[string]bool{q.client: true, q.spares: false} {
				err := twice(t.Context(), zooClient(t, client), site)
				if fails != (err != nil) || err != nil && !strings.Contains(err.Error(), ": "+q.step) {
					t.Errorf("%s: %v", client, err)
				}
			}
		})
	}
	for _, c := range authtest.Clients() {
		for _, own := range c.Quirks {
			shown := slices.ContainsFunc(quirks, func(q quirk) bool { return q.client == c.String() && q.quirk == own })
			if !shown && own != addsSlash {
				t.Errorf("%s: nothing shows that it %s", c, own)
			}
		}
	}
}

// addsSlash needs a server without a path: TestZooAtTheRoot.
const addsSlash = "its URL type adds a slash to a resource without a path"

func slashed(q url.Values) bool { return strings.HasSuffix(q.Get("resource"), "/") }
