package authtest

import "doorward/internal/oauth"

// Where facts are from.
const (
	fromClaude    = "https://claude.com/docs/connectors/building/authentication"
	fromClaudeBug = "https://github.com/anthropics/claude-ai-mcp/issues/667"
	fromCode      = "https://code.claude.com/docs/en/mcp"
	fromChatGPT   = "https://developers.openai.com/apps-sdk/build/auth"
	fromChatGPTID = "https://github.com/django-oauth/django-oauth-toolkit/issues/1857"
	fromVSCode    = "https://github.com/microsoft/vscode/blob/05f882b02c51633f2e1e8252722f8c3b626d74a9/src/vs/base/common/oauth.ts"
	fromVSPorts   = "https://github.com/microsoft/vscode/issues/278512"
	fromVSEMA     = "https://github.com/microsoft/vscode/pull/318067"
	fromCursor    = "https://cursor.com/docs/mcp"
	fromRemote    = "https://github.com/geelen/mcp-remote/blob/00cc07f3f4a1b0e8d94b682c65e0619f6c69ec64/src/lib/node-oauth-client-provider.ts"
	fromMCPC      = "https://github.com/apify/mcp-cli/blob/04aac33039c23b4ea406d258a33645a15e48f58f/src/lib/auth/oauth-flow.ts"
	fromInspector = "https://github.com/modelcontextprotocol/inspector/blob/006abfb83ae6d2a8f1361a039f41d54429966a88/client/src/lib/auth.ts"
	fromTS        = "https://github.com/modelcontextprotocol/typescript-sdk"
	fromCS        = "https://github.com/modelcontextprotocol/csharp-sdk"
	fromGo        = "https://github.com/modelcontextprotocol/go-sdk"
	fromPython    = "https://github.com/modelcontextprotocol/python-sdk/blob/023c442c97a98275608e66d3a9c96d7ed56c33e4/src/mcp/client/auth/oauth2.py"
	fromOld       = "https://modelcontextprotocol.io/specification/2025-03-26/basic/authorization"
)

const (
	claudeAI  = "https://claude.ai/api/mcp/auth_callback"
	claudeCom = "https://claude.com/api/mcp/auth_callback"
)

var (
	claudeGrants = []string{oauth.AuthorizationCode, oauth.RefreshToken, oauth.JWTBearer}
	claudeURIs   = []string{claudeAI, claudeCom}
	deviceGrants = []string{oauth.AuthorizationCode, oauth.RefreshToken, oauth.DeviceCode}
	vscodeURIs   = []string{"https://insiders.vscode.dev/redirect", "https://vscode.dev/redirect", "http://127.0.0.1/", "http://127.0.0.1:33418/", "http://127.0.0.1:{port}/"}
	cursorURIs   = []string{"cursor://anysphere.cursor-mcp/oauth/callback", "https://www.cursor.com/agents/mcp/oauth/callback", "http://localhost:8787/callback"}
)

// zoo is every client in every way that it comes. A quirk is what a server has
// to bear; a test shows of each a server that cannot.
var zoo = []Client{
	{Name: "claude", Way: "document", Source: fromClaude,
		Quirks: []string{"its document lists jwt-bearer, though it is a public client", "takes its document only where metadata lists `none`", "has a callback on claude.ai and one on claude.com"},
		habits: habits{way: document, document: "https://claude.ai/oauth/mcp-oauth-client-metadata", name: "Claude", redirects: claudeURIs, grants: claudeGrants, auth: authNone, noneListed: true,
			members: map[string]any{"client_uri": "https://claude.ai"}}},
	{Name: "claude", Way: "document, claude.com", Source: fromClaude,
		Quirks: []string{"comes back to claude.com"},
		habits: habits{way: document, document: "https://claude.ai/oauth/mcp-oauth-client-metadata", name: "Claude", redirects: claudeURIs, comes: 1, grants: claudeGrants, auth: authNone, noneListed: true,
			members: map[string]any{"client_uri": "https://claude.ai"}}},
	{Name: "claude", Way: "registration", Source: fromClaude,
		Quirks: []string{"registers anew for each connection, and goes on with the older ones"},
		habits: habits{way: registration, name: "Claude", redirects: claudeURIs[:1], auth: authNone, registersAnew: true, sendsScope: true,
			members: map[string]any{"client_uri": "https://claude.ai"}}},
	{Name: "claude", Way: "typed in", Source: fromClaudeBug,
		Quirks: []string{"sends a secret that was typed in by client_secret_post, whatever is advertised"},
		habits: habits{way: typedIn, name: "Claude", redirects: claudeURIs, auth: authPost}},
	{Name: "claude-code", Way: "document", Source: fromCode,
		Quirks: []string{"its document has loopback URIs without a port; it comes from any port"},
		habits: habits{way: document, document: "https://claude.ai/oauth/claude-code-client-metadata", name: "Claude Code", redirects: []string{"http://localhost:{port}/callback"},
			listed: []string{"http://localhost/callback", "http://127.0.0.1/callback"}, auth: authNone, noneListed: true, members: map[string]any{"client_uri": "https://claude.ai"}}},
	{Name: "claude-code", Way: "registration", Source: fromCode,
		Quirks: []string{"keeps its registration and comes from another port the next time"},
		habits: habits{way: registration, name: "Claude Code (files)", redirects: []string{"http://localhost:{port}/callback"}, auth: authNone}},
	{Name: "chatgpt", Way: "document", Source: fromChatGPTID,
		Quirks: []string{"its document chooses private_key_jwt (RS256, keys at jwks_uri) and offers `none` beside it"},
		habits: habits{way: document, document: "https://chatgpt.com/oauth/client.json", name: "ChatGPT", redirects: []string{"https://chatgpt.com/connector_platform_oauth_redirect"}, auth: authKey,
			members: map[string]any{"client_uri": "https://chatgpt.com/", "token_endpoint_auth_methods_supported": []string{"none", "private_key_jwt"}, "token_endpoint_auth_signing_alg": "RS256"}}},
	{Name: "chatgpt", Way: "registration", Source: fromChatGPT,
		habits: habits{way: registration, name: "ChatGPT", redirects: []string{"https://chatgpt.com/connector_platform_oauth_redirect"}, auth: authNone}},
	{Name: "chatgpt", Way: "registration, own callback", Source: fromChatGPT,
		Quirks: []string{"has a callback of its own for each connector: /connector/oauth/{id}"},
		habits: habits{way: registration, name: "ChatGPT", redirects: []string{"https://chatgpt.com/connector/oauth/{id}"}, auth: authBasic}},
	{Name: "vscode", Way: "document", Source: fromVSCode,
		Quirks: []string{"its state is a URL, compared byte for byte after the way over vscode.dev"},
		habits: habits{way: document, document: "https://vscode.dev/oauth/client-metadata.json", name: "Visual Studio Code", redirects: []string{"https://vscode.dev/redirect"},
			listed: []string{"http://127.0.0.1:33418/", "https://vscode.dev/redirect", "https://insiders.vscode.dev/redirect"}, grants: deviceGrants, auth: authNone, state: stateURL,
			members: map[string]any{"client_uri": "https://vscode.dev/product", "application_type": "native"}}},
	{Name: "vscode", Way: "registration", Source: fromVSCode,
		Quirks: []string{"registers https and loopback URIs together", "registers the device grant"},
		habits: habits{way: registration, name: "Visual Studio Code", redirects: vscodeURIs[:4], comes: 1, grants: deviceGrants, auth: authNone, state: stateURL, sendsScope: true,
			members: map[string]any{"client_uri": "https://code.visualstudio.com", "application_type": "native"}}},
	{Name: "vscode", Way: "registration, loopback", Source: fromVSPorts,
		Quirks: []string{"comes from another port than the two that it registered when 33418 is taken", "its state is base64 with + / =, compared byte for byte"},
		habits: habits{way: registration, name: "Visual Studio Code", redirects: vscodeURIs, comes: 4, registers: 4, grants: deviceGrants, auth: authNone, state: stateBase64, sendsScope: true,
			members: map[string]any{"client_uri": "https://code.visualstudio.com", "application_type": "native"}}},
	{Name: "vscode", Way: "enterprise", Source: fromVSEMA,
		Quirks: []string{"issuer, client id and secret of the company's provider are a setting of its own; it redeems an ID-JAG"},
		habits: habits{way: enterprise, name: "Visual Studio Code", redirects: []string{"http://127.0.0.1:{port}/"}, auth: authBasic}},
	{Name: "cursor", Way: "registration", Source: fromCursor,
		Quirks: []string{"registers a callback of a private-use scheme: cursor://anysphere.cursor-mcp/…"},
		habits: habits{way: registration, name: "Cursor", redirects: cursorURIs, auth: authNone}},
	{Name: "cursor", Way: "registration, web", Source: fromCursor,
		Quirks: []string{"its agents on the web come back to www.cursor.com"},
		habits: habits{way: registration, name: "Cursor", redirects: cursorURIs, comes: 1, auth: authNone}},
	{Name: "cursor", Way: "registration, loopback", Source: fromCursor,
		Quirks: []string{"its command line comes back to port 8787 of localhost, which it registers"},
		habits: habits{way: registration, name: "Cursor", redirects: cursorURIs, comes: 2, auth: authNone}},
	{Name: "mcp-remote", Way: "registration", Source: fromRemote,
		Quirks: []string{"gets the authorization URL by itself before it opens the browser with it", "looks for its loopback URI in the registration's answer"},
		habits: habits{way: registration, name: "MCP CLI Proxy", redirects: []string{"http://localhost:{port}/oauth/callback"}, auth: authNone, looksFirst: true, ownRedirect: true, sendsScope: true,
			members: map[string]any{"client_uri": "https://github.com/modelcontextprotocol/mcp-cli", "software_id": "2e6dc280-f3c3-4e01-99a7-8181dbd1d23d", "software_version": "0.1.37"}}},
	{Name: "mcpc", Way: "registration", Source: fromMCPC,
		Quirks: []string{"registers anew at each sign-in", "registers with logo_uri, tos_uri and policy_uri"},
		habits: habits{way: registration, name: "mcpc", redirects: []string{"http://localhost:{port}/callback"}, auth: authNone, registersAnew: true,
			members: map[string]any{"client_uri": "https://github.com/apify/mcpc", "logo_uri": "https://apify.github.io/mcpc/client-logo.png",
				"tos_uri": "https://github.com/apify/mcpc/blob/main/LICENSE", "policy_uri": "https://github.com/apify/mcpc#security"}}},
	{Name: "inspector", Way: "registration", Source: fromInspector,
		Quirks: []string{"is a page in a browser: metadata, registration and tokens need CORS", "sends MCP-Protocol-Version with its look for metadata, so the browser asks first", "registers with an empty scope"},
		habits: habits{way: registration, name: "MCP Inspector", redirects: []string{"http://localhost:6274/oauth/callback", "http://localhost:6274/oauth/callback/debug"}, auth: authNone, browser: true,
			members: map[string]any{"client_uri": "https://github.com/modelcontextprotocol/inspector", "scope": ""}}},
	{Name: "inspector", Way: "registration, debugger", Source: fromInspector,
		Quirks: []string{"its debugger has a second callback, registered with the first"},
		habits: habits{way: registration, name: "MCP Inspector", redirects: []string{"http://localhost:6274/oauth/callback", "http://localhost:6274/oauth/callback/debug"}, comes: 1, auth: authNone, browser: true, allScopes: true,
			members: map[string]any{"client_uri": "https://github.com/modelcontextprotocol/inspector", "scope": ""}}},
	{Name: "typescript-sdk", Way: "registration", Source: fromTS,
		Quirks: []string{"its URL type adds a slash to a resource without a path", "asks for offline_access with prompt=consent where metadata lists it"},
		habits: habits{way: registration, name: "TypeScript SDK", redirects: []string{"http://127.0.0.1:{port}/callback"}, auth: authBasic, slash: true, offline: true}},
	{Name: "csharp-sdk", Way: "registration", Source: fromCS,
		Quirks: []string{"reads openid-configuration before RFC 8414's document", "authenticates by the first method that metadata lists", "demands token_type Bearer", "demands S256 in metadata"},
		habits: habits{way: registration, name: "C# SDK", redirects: []string{"http://localhost:{port}/callback"}, auth: authFirst, oidcFirst: true, wantsBearer: true, wantsPKCE: true, slash: true, offline: true}},
	{Name: "go-sdk", Way: "registration", Source: fromGo,
		Quirks: []string{"compares the resource letter by letter", "refuses iss where metadata does not announce it", "renews without resource", "registers anew at each sign-in"},
		habits: habits{way: registration, name: "Go SDK", redirects: []string{"http://localhost:{port}/callback"}, auth: authPost, exact: true, noSurprises: true, renewsBare: true, wantsPKCE: true, registersAnew: true}},
	{Name: "python-sdk", Way: "registration", Source: fromPython,
		Quirks: []string{"has verifiers of 128 characters"},
		habits: habits{way: registration, name: "Python SDK", redirects: []string{"http://localhost:{port}/callback"}, auth: authPost, longVerifier: true, sendsScope: true, slash: true}},
	{Name: "mcp-2025-03-26", Way: "registration", Source: fromOld,
		Quirks: []string{"looks for the authorization server's metadata at the MCP server's origin, and names no resource"},
		habits: habits{way: registration, revision: "2025-03-26", name: "An older client", redirects: []string{"http://localhost:{port}/callback"}, auth: authNone, rootOnly: true}},
	{Name: "mcp-2025-03-26", Way: "registration, no metadata", Source: fromOld,
		Quirks: []string{"reads no metadata: /authorize, /token and /register at the MCP server's origin"},
		habits: habits{way: registration, revision: "2025-03-26", name: "An older client", redirects: []string{"http://localhost:{port}/callback"}, auth: authNone, blind: true}},
}
