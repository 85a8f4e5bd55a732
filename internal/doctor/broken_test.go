package doctor_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/internal/doctor"
	"doorward/internal/oauth"
)

type brokenServer struct {
	name, from string
	ruin       func(*site)
	id, result string
	who        string
	saw        string // part of what is said
}

// broken are servers that do not work, rebuilt from public threads (repository
// and number), from tables (d) and (e) of docs/parity.md (d2.6), or from what
// the standards forbid ("").
var broken = []brokenServer{
	// The way to the server.
	{"the name is misspelt", "", func(s *site) { s.url = "https://mcp.exmaple.com/mcp" }, "dns", doctor.Fail, doctor.Person, "has no address"},
	{"no web address", "", func(s *site) { s.url = "ftp://mcp.example.com/mcp" }, "url", doctor.Fail, doctor.Person, "no http or https URL"},
	{"no host", "", func(s *site) { s.url = "https:///mcp" }, "url", doctor.Fail, doctor.Person, "no http or https URL"},
	{"plain http on the web", "", func(s *site) { s.url = "http://mcp.example.com/mcp" }, "url", doctor.Fail, doctor.Operator, "plain http"},
	{"a token in the address", "", func(s *site) { s.url = "https://u:p@mcp.example.com/mcp" }, "url", doctor.Fail, doctor.Person, "user info"},
	{"nothing listens", "", func(s *site) { s.dead["93.184.215.14"] = true }, "connect", doctor.Fail, doctor.Operator, "refused"},
	{"IPv6 in DNS, and nobody listens there", "", func(s *site) {
		s.names[mcpHost], s.dead["2606:2800:21f::1"] = []string{"2606:2800:21f::1", "93.184.215.14"}, true
	}, "connect", doctor.Warn, doctor.Operator, "not all"},
	{"the certificate is of an unknown authority", "", func(s *site) { s.direct = true }, "tls", doctor.Fail, doctor.Operator, "authority"},
	{"the certificate has ended", "", func(s *site) {
		s.cert = func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
	}, "tls", doctor.Fail, doctor.Operator, "not valid now"},
	{"the certificate ends soon", "", func(s *site) { s.cert = func(c *x509.Certificate) { c.NotAfter = time.Now().Add(48 * time.Hour) } }, "tls", doctor.Warn, doctor.Operator, "ends"},
	{"the certificate is for another name", "", func(s *site) { s.cert = func(c *x509.Certificate) { c.DNSNames = []string{"old.example.com"} } }, "tls", doctor.Fail, doctor.Operator, "old.example.com"},
	{"TLS 1.1 only", "", func(s *site) { s.tlsMax = tls.VersionTLS11 }, "tls", doctor.Fail, doctor.Operator, "version"},
	{"http on the port of https", "", func(s *site) { s.url, s.resource["resource"] = "https://mcp.example.com:8080/mcp", "" }, "tls", doctor.Fail, doctor.Operator, "TLS"},
	{"a redirect to the name with www", "koala73/worldmonitor#2426", func(s *site) {
		s.names["www.example.com"], s.hosts["www.example.com"] = []string{"93.184.215.14"}, s.hosts[mcpHost]
		s.answer[mcpHost+"/mcp"] = func(w http.ResponseWriter, r *http.Request) {
			if r.Host == mcpHost {
				http.Redirect(w, r, "https://www.example.com/mcp", http.StatusTemporaryRedirect)
				return
			}
			s.mcp(w, r)
		}
	}, "redirects", doctor.Fail, doctor.Person, "www.example.com"},
	{"a slash is added by a redirect to http", "modelcontextprotocol/python-sdk, mounted apps", func(s *site) { s.answer[mcpHost+"/mcp"] = redirects(307, "http://mcp.example.com/mcp/") }, "redirects", doctor.Fail, doctor.Operator, "plain http"},
	{"redirects in a circle", "", func(s *site) {
		s.answer[mcpHost+"/mcp"], s.answer[mcpHost+"/mcp/"] = redirects(308, "/mcp/"), redirects(308, "/mcp")
	}, "redirects", doctor.Fail, doctor.Operator, "back"},
	{"redirects without end", "", func(s *site) {
		s.answer[mcpHost+"/mcp"] = redirects(302, "/a")
		for c := 'a'; c < 'z'; c++ {
			s.answer[mcpHost+"/"+string(c)] = redirects(302, "/"+string(c+1))
		}
	}, "redirects", doctor.Fail, doctor.Operator, "more than"},
	{"a redirect into the private network", "", func(s *site) {
		s.names["intranet.example.com"] = []string{"10.0.0.7"}
		s.answer[mcpHost+"/mcp"] = redirects(302, "https://intranet.example.com/mcp")
	}, "redirects", doctor.Fail, doctor.Operator, "special-use"},

	// The 401 and its challenge.
	{"open to everybody", "anthropics/claude-ai-mcp#905", func(s *site) { s.status = 200 }, "unauthorized", doctor.Fail, doctor.Operator, "without a token"},
	{"a page for people", "", func(s *site) {
		s.answer[mcpHost+"/mcp"] = answers(200, "text/html", "<!doctype html><title>Docs</title>")
	}, "unauthorized", doctor.Fail, doctor.Person, "HTML"},
	{"no such path", "", func(s *site) { s.gone[mcpHost+"/mcp"] = true }, "unauthorized", doctor.Fail, doctor.Person, "404"},
	{"the transport of 2024", "", func(s *site) { s.answer[mcpHost+"/mcp"] = answers(405, "text/plain", "") }, "unauthorized", doctor.Fail, doctor.Person, "405"},
	{"403 in the place of 401", "", func(s *site) { s.status = 403 }, "unauthorized", doctor.Fail, doctor.Operator, "403"},
	{"a firewall that keeps programs out", "anthropics/claude-ai-mcp#905", func(s *site) { s.answer[mcpHost+"/mcp"] = answers(403, "text/html", "<title>Just a moment...</title>") }, "unauthorized", doctor.Fail, doctor.Operator, "403"},
	{"the body is read before the token", "docfork/docfork#155", func(s *site) { s.status = 406 }, "unauthorized", doctor.Fail, doctor.Operator, "406"},
	{"it breaks", "", func(s *site) { s.status = 502 }, "unauthorized", doctor.Fail, doctor.Operator, "502"},
	{"no challenge", "", func(s *site) { s.header.Del("WWW-Authenticate") }, "challenge", doctor.Warn, doctor.Operator, "no WWW-Authenticate"},
	{"a bare challenge", "", func(s *site) { s.challenge("Bearer") }, "challenge", doctor.Warn, doctor.Operator, "without resource_metadata"},
	{"Basic in the place of Bearer", "", func(s *site) { s.challenge(`Basic realm="mcp"`) }, "challenge", doctor.Warn, doctor.Operator, "Basic"},
	{"error where no token was sent", "d2.11", func(s *site) {
		s.challenge(`Bearer error="invalid_token", error_description="No authorization provided", resource_metadata="https://` + prmAt + `"`)
	}, "challenge", doctor.Warn, doctor.Operator, "invalid_token"},
	{"the protocol version is read before the token", "open-metadata/OpenMetadata#30673", func(s *site) {
		s.answer[mcpHost+"/mcp"] = func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Mcp-Protocol-Version") == "2026-07-28" {
				answers(400, "application/json", "{}")(w, r)
				return
			}
			s.mcp(w, r)
		}
	}, "wires", doctor.Warn, doctor.Operator, "400"},
	{"GET opens a stream without a token", "", func(s *site) {
		s.answer[mcpHost+"/mcp"] = func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				w.Header().Set("Content-Type", "text/event-stream")
				w.WriteHeader(200)
				w.(http.Flusher).Flush()
				<-r.Context().Done()
				return
			}
			s.mcp(w, r)
		}
	}, "wires", doctor.Fail, doctor.Operator, "stream"},
	{"the preflight is asked for a token", "IBM/mcp-context-forge#2152", func(s *site) { s.header.Set("Access-Control-Allow-Origin", "*") }, "cors", doctor.Warn, doctor.Operator, "OPTIONS"},
	{"pages may not send the protocol version", "GDKsoftware/Delphi-MCP-Server#16", cors("Access-Control-Allow-Headers", "Authorization, Content-Type", "Access-Control-Expose-Headers", "*"), "cors", doctor.Warn, doctor.Operator, "mcp-protocol-version"},
	{"a star does not allow Authorization", "", cors("Access-Control-Allow-Headers", "*", "Access-Control-Expose-Headers", "*"), "cors", doctor.Warn, doctor.Operator, "authorization"},
	{"pages cannot see the challenge", "twentyhq/twenty#19836", cors("Access-Control-Allow-Headers", "*, Authorization"), "cors", doctor.Warn, doctor.Operator, "WWW-Authenticate"},
	{"the documents are closed to pages", "envoyproxy/ai-gateway#2307", cors("Access-Control-Allow-Headers", "*, Authorization", "Access-Control-Expose-Headers", "WWW-Authenticate"), "cors_documents", doctor.Warn, doctor.Operator, "without Access-Control"},

	// The resource metadata.
	{"no metadata where it is said to be", "", func(s *site) { s.gone[prmAt] = true }, "resource_metadata", doctor.Fail, doctor.Operator, "404"},
	{"the challenge names an internal port", "taylorwilsdon/google_workspace_mcp#182", func(s *site) {
		s.challenge(`Bearer resource_metadata="https://mcp.example.com:8000/.well-known/oauth-protected-resource/mcp"`)
	}, "resource_metadata", doctor.Fail, doctor.Operator, "8000"},
	{"the challenge names plain http", "mesh/mesh-mcp#20", func(s *site) {
		s.challenge(`Bearer resource_metadata="http://` + prmAt + `"`)
	}, "resource_metadata", doctor.Fail, doctor.Operator, "plain http"},
	{"a relative address in the challenge", "", func(s *site) { s.challenge(`Bearer resource_metadata="/.well-known/oauth-protected-resource"`) }, "resource_metadata", doctor.Fail, doctor.Operator, "host"},
	{"metadata at the root only", "akutishevsky/nutrition-mcp#51", func(s *site) {
		s.challenge(`Bearer resource_metadata="https://` + mcpHost + oauth.WellKnownPRM + `"`)
		s.gone[prmAt] = true
	}, "resource_metadata", doctor.Warn, doctor.Operator, "but not at"},
	{"no metadata at all", "", func(s *site) {
		s.challenge("Bearer")
		s.gone[prmAt], s.gone[mcpHost+oauth.WellKnownPRM] = true, true
	}, "resource_metadata", doctor.Fail, doctor.Operator, "none"},
	{"metadata behind the check for a token", "", func(s *site) { s.answer[prmAt] = answers(401, "application/json", "{}") }, "resource_metadata", doctor.Fail, doctor.Operator, "401"},
	{"the endpoint swallows the well-known path", "docfork/docfork#155", func(s *site) { s.answer[prmAt] = answers(406, "application/json", "{}") }, "resource_metadata", doctor.Fail, doctor.Operator, "406"},
	{"the app's page for every path", "", func(s *site) { s.answer[prmAt] = answers(200, "text/html", "<!doctype html><div id=root></div>") }, "resource_metadata", doctor.Fail, doctor.Operator, "HTML"},
	{"an empty document", "", func(s *site) { s.answer[prmAt] = answers(200, "application/json", "") }, "resource_metadata", doctor.Fail, doctor.Operator, "empty"},
	{"a list where an object belongs", "", func(s *site) { s.answer[prmAt] = answers(200, "application/json", "[]") }, "resource_metadata", doctor.Fail, doctor.Operator, "no JSON object"},
	{"text/plain", "", func(s *site) {
		s.answer[prmAt] = answers(200, "text/plain", `{"resource":"https://mcp.example.com/mcp","authorization_servers":["https://auth.example.com"]}`)
	}, "resource_metadata", doctor.Warn, doctor.Operator, "text/plain"},
	{"one server in the place of a list", "", func(s *site) { s.resource["authorization_servers"] = "https://auth.example.com" }, "resource_metadata", doctor.Fail, doctor.Operator, "authorization_servers is a JSON string"},
	{"two documents that differ", "akutishevsky/nutrition-mcp#55", func(s *site) {
		s.challenge(`Bearer resource_metadata="https://` + mcpHost + oauth.WellKnownPRM + `"`)
		s.answer[prmAt] = answers(200, "application/json", `{"resource":"https://mcp.example.com/mcp","authorization_servers":["https://other.example.com"]}`)
	}, "resource_metadata", doctor.Warn, doctor.Operator, "different authorization servers"},
	{"http in resource", "Mnexa-AI/e2a#635", func(s *site) { s.resource["resource"] = "http://mcp.example.com/mcp" }, "resource", doctor.Fail, doctor.Operator, "http://mcp.example.com"},
	{"the internal host in resource", "elastic/docs-builder#2805", func(s *site) { s.resource["resource"] = "https://internal-alb.example.com/mcp" }, "resource", doctor.Fail, doctor.Operator, "internal-alb"},
	{"one resource for all paths", "exa-labs/exa-mcp-server#387", func(s *site) { s.resource["resource"] = "https://mcp.example.com/other" }, "resource", doctor.Fail, doctor.Operator, "/other"},
	{"the origin in resource", "akutishevsky/nutrition-mcp#55", func(s *site) { s.resource["resource"] = "https://mcp.example.com" }, "resource", doctor.Warn, doctor.Operator, "clients call"},
	{"a slash at the end of resource", "d5.12", func(s *site) { s.resource["resource"] = "https://mcp.example.com/mcp/" }, "resource", doctor.Warn, doctor.Operator, "/mcp/"},
	{"no resource", "", func(s *site) { delete(s.resource, "resource") }, "resource", doctor.Fail, doctor.Operator, "missing"},
	{"no authorization server", "", func(s *site) { delete(s.resource, "authorization_servers") }, "authorization_servers", doctor.Fail, doctor.Operator, "missing"},
	{"http in authorization_servers", "mesh/mesh-mcp#19", func(s *site) { s.resource["authorization_servers"] = []string{"http://auth.example.com"} }, "authorization_servers", doctor.Fail, doctor.Operator, "https"},
	{"localhost in authorization_servers", "KeeperHub/keeperhub#701", func(s *site) { s.resource["authorization_servers"] = []string{"http://localhost:3000"} }, "authorization_servers", doctor.Fail, doctor.Operator, "own machine"},
	{"the metadata's address as the issuer", "google-gemini/gemini-cli#18798", func(s *site) {
		s.resource["authorization_servers"] = []string{"https://auth.example.com/.well-known/openid-configuration"}
	}, "authorization_servers", doctor.Fail, doctor.Operator, ".well-known"},
	{"scopes with commas and quotes", "", func(s *site) { s.challenge(`Bearer resource_metadata="https://` + prmAt + `", scope="read\"write"`) }, "scopes", doctor.Warn, doctor.Operator, "scope"},
	{"all scopes in one string", "", func(s *site) { s.resource["scopes_supported"] = []string{"read write"} }, "scopes", doctor.Warn, doctor.Operator, "one string"},
	{"offline_access from the resource", "SEP-2207", func(s *site) { s.resource["scopes_supported"] = []string{"read", "offline_access"} }, "scopes", doctor.Warn, doctor.Operator, "offline_access"},

	// The authorization server and its metadata.
	{"an authorization server that only the cluster knows", "tuist/tuist#10812", func(s *site) { s.resource["authorization_servers"] = []string{"https://keycloak.auth.svc"} }, "as_reach", doctor.Fail, doctor.Operator, "has no address"},
	{"an authorization server in the private network", "", func(s *site) { s.names[authHost] = []string{"10.1.2.3"} }, "as_reach", doctor.Fail, doctor.Operator, "not public"},
	{"an authorization server that is down", "", func(s *site) { s.dead["93.184.215.15"] = true }, "as_reach", doctor.Fail, doctor.Operator, "refused"},
	{"no server metadata", "", func(s *site) { s.gone[asAt], s.gone[oidcAt] = true, true }, "as_metadata", doctor.Fail, doctor.Operator, "none"},
	{"a path in the issuer, the document at the root", "d2.6", func(s *site) {
		s.resource["authorization_servers"] = []string{"https://auth.example.com/v1"}
	}, "as_metadata", doctor.Fail, doctor.Operator, "would be"},
	{"500 at the first place", "d3.2", func(s *site) { s.answer[asAt] = answers(500, "text/plain", "oops") }, "as_metadata", doctor.Fail, doctor.Operator, "500"},
	{"the metadata is redirected", "github/copilot-cli#4769", func(s *site) {
		s.answer[asAt], s.gone[oidcAt] = redirects(301, "https://other.example.com/.well-known/openid-configuration"), true
	}, "as_metadata", doctor.Fail, doctor.Operator, "redirect"},
	{"a string in the place of true", "", func(s *site) { s.server["authorization_response_iss_parameter_supported"] = "true" }, "as_metadata", doctor.Fail, doctor.Operator, "authorization_response_iss_parameter_supported is a JSON string"},
	{"another issuer", "upstash/context7#2723", func(s *site) { s.server["issuer"] = "https://clerk.example.com" }, "issuer", doctor.Fail, doctor.Operator, "clerk.example.com"},
	{"the provider's issuer at the server's own place", "forcedotcom/mcp-hosted#44", func(s *site) {
		s.resource["authorization_servers"] = []string{"https://mcp.example.com"}
		s.answer[mcpHost+oauth.WellKnownAS] = func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, 200, s.server) }
	}, "issuer", doctor.Fail, doctor.Operator, "mcp.example.com"},
	{"a slash too many in the issuer", "NousResearch/hermes-agent#95508", func(s *site) { s.server["issuer"] = "https://auth.example.com/" }, "issuer", doctor.Fail, doctor.Operator, "auth.example.com/"},
	{"no issuer", "home-assistant/core#153820", func(s *site) { delete(s.server, "issuer") }, "issuer", doctor.Fail, doctor.Operator, "missing"},
	{"the issuer of many tenants", "Microsoft Entra ID, common", func(s *site) {
		s.move("https://login.microsoftonline.com/common/v2.0")
		s.server["issuer"] = "https://login.microsoftonline.com/{tenantid}/v2.0"
	}, "issuer", doctor.Fail, doctor.IdPAdmin, "tenantid"},
	{"two documents with different endpoints", "", func(s *site) {
		other := serverAt("https://auth.example.com")
		other["token_endpoint"] = "https://auth.example.com/oauth2/token"
		s.answer[oidcAt] = func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, 200, other) }
	}, "as_forms", doctor.Warn, doctor.Operator, "token_endpoint"},
	{"PKCE in one document only", "modelcontextprotocol/conformance#207", func(s *site) {
		other := serverAt("https://auth.example.com")
		delete(other, "code_challenge_methods_supported")
		s.answer[oidcAt] = func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, 200, other) }
	}, "as_forms", doctor.Warn, doctor.Operator, "missing"},
	{"no token endpoint", "d4.3", func(s *site) { delete(s.server, "token_endpoint") }, "endpoints", doctor.Fail, doctor.Operator, "token_endpoint"},
	{"endpoints without a host", "home-assistant/core#153820", func(s *site) { s.server["authorization_endpoint"] = "/auth/authorize" }, "endpoints", doctor.Fail, doctor.Operator, "no whole URL"},
	{"endpoints at the internal port, plain http", "andrea-magni/MARS#203", func(s *site) { s.server["token_endpoint"] = "http://auth.example.com:8080/token" }, "endpoints", doctor.Fail, doctor.Operator, "not https"},
	{"endpoints at 0.0.0.0", "KeeperHub/keeperhub#701", func(s *site) { s.server["registration_endpoint"] = "https://0.0.0.0:3000/register" }, "endpoints", doctor.Fail, doctor.Operator, "not public"},
	{"two slashes", "d5.10", func(s *site) { s.server["authorization_endpoint"] = "https://auth.example.com//authorize" }, "endpoints", doctor.Fail, doctor.Operator, "two slashes"},
	{"keys in the private network", "", func(s *site) { s.server["jwks_uri"] = "https://10.0.0.1/keys" }, "endpoints", doctor.Fail, doctor.Operator, "10.0.0.1"},
	{"keys at the cloud's own metadata", "", func(s *site) { s.server["jwks_uri"] = "https://169.254.169.254/latest" }, "endpoints", doctor.Fail, doctor.Operator, "169.254.169.254"},

	// What it offers.
	{"no PKCE", "", func(s *site) { s.server["code_challenge_methods_supported"] = []string{"plain"} }, "pkce", doctor.Fail, doctor.Operator, "plain"},
	{"plain beside S256", "RFC 9700", func(s *site) { s.server["code_challenge_methods_supported"] = []string{"S256", "plain"} }, "pkce", doctor.Warn, doctor.Operator, "plain"},
	{"Cognito does not say PKCE", "anthropics/claude-ai-mcp#946", func(s *site) {
		s.move("https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_A")
		delete(s.server, "code_challenge_methods_supported")
	}, "pkce", doctor.Fail, doctor.IdPAdmin, "Cognito"},
	{"Entra does not say PKCE", "modelcontextprotocol/typescript-sdk#832", func(s *site) {
		s.move("https://login.microsoftonline.com/11111111-1111-1111-1111-111111111111/v2.0")
		delete(s.server, "code_challenge_methods_supported")
	}, "pkce", doctor.Fail, doctor.IdPAdmin, "Entra"},
	{"no response types", "vercel/ai#17334", func(s *site) { delete(s.server, "response_types_supported") }, "grants", doctor.Warn, doctor.Operator, "response_types_supported"},
	{"the implicit flow only", "", func(s *site) { s.server["response_types_supported"] = []string{"token"} }, "grants", doctor.Fail, doctor.Operator, "token"},
	{"client credentials only, with a sign-in page", "", func(s *site) { s.server["grant_types_supported"] = []string{"client_credentials"} }, "grants", doctor.Fail, doctor.Operator, "client_credentials"},
	{"no registration", "sudowealth/schwab-mcp#22", func(s *site) {
		delete(s.server, "registration_endpoint")
		delete(s.server, "client_id_metadata_document_supported")
	}, "registration", doctor.Warn, doctor.Operator, "by hand"},
	{"Google has no registration", "anthropics/claude-ai-mcp#900", func(s *site) {
		s.move("https://accounts.google.com")
		delete(s.server, "registration_endpoint")
		delete(s.server, "client_id_metadata_document_supported")
	}, "registration", doctor.Warn, doctor.Operator, "Google"},
	{"CIMD without none", "catalogue: Claude", func(s *site) {
		s.server["token_endpoint_auth_methods_supported"] = []string{"client_secret_basic"}
	}, "client_auth", doctor.Warn, doctor.Operator, "none"},
	{"key authentication without algorithms", "RFC 8414", func(s *site) {
		s.server["token_endpoint_auth_methods_supported"] = []string{"none", "private_key_jwt"}
	}, "client_auth", doctor.Warn, doctor.Operator, "private_key_jwt"},
	{"registration for confidential clients only", "garrytan/gbrain#746", func(s *site) {
		delete(s.server, "client_id_metadata_document_supported")
		s.server["token_endpoint_auth_methods_supported"] = []string{"client_secret_basic"}
	}, "clients", doctor.Warn, doctor.Operator, "client_secret_basic"},
	{"no iss", "open-metadata/OpenMetadata#30673", func(s *site) { delete(s.server, "authorization_response_iss_parameter_supported") }, "iss", doctor.Warn, doctor.Operator, "not true"},
	{"jwt-bearer without the profile", "d1.12", func(s *site) { delete(s.server, "authorization_grant_profiles_supported") }, "id_jag", doctor.Warn, doctor.Operator, "profile"},
	{"the profile without jwt-bearer", "ID-JAG section 7.2", func(s *site) { s.server["grant_types_supported"] = []string{"authorization_code"} }, "id_jag", doctor.Warn, doctor.Operator, "grant is not"},
	{"DPoP with a shared secret", "RFC 9449", func(s *site) { s.server["dpop_signing_alg_values_supported"] = []string{"HS256"} }, "dpop", doctor.Warn, doctor.Operator, "HS256"},
	{"DPoP wanted and not offered", "", func(s *site) { s.resource["dpop_bound_access_tokens_required"] = true }, "dpop", doctor.Fail, doctor.Operator, "does not list"},

	// Keys.
	{"keys that are gone", "", func(s *site) { s.gone[authHost+"/jwks"] = true }, "jwks", doctor.Fail, doctor.Operator, "404"},
	{"no keys", "", func(s *site) { s.keys = `{"keys":[]}` }, "jwks", doctor.Fail, doctor.Operator, "no keys"},
	{"the private key", "", func(s *site) { s.keys = `{"keys":[` + strings.TrimSuffix(someKey, "}") + `,"d":"AAAA"}]}` }, "jwks", doctor.Fail, doctor.Operator, "private"},
	{"a shared secret", "", func(s *site) { s.keys = `{"keys":[{"kty":"oct","k":"AAAA","kid":"h"}]}` }, "jwks", doctor.Fail, doctor.Operator, "secret"},
	{"keys for encryption only", "", func(s *site) { s.keys = strings.ReplaceAll(`{"keys":[`+someKey+`]}`, `"sig"`, `"enc"`) }, "jwks", doctor.Fail, doctor.Operator, "no key that can check"},
	{"two keys of one kid", "RFC 7517", func(s *site) { s.keys = `{"keys":[` + someKey + `,` + someKey + `]}` }, "jwks", doctor.Warn, doctor.Operator, "two keys"},
	{"keys without kid", "", func(s *site) {
		bare := strings.Replace(someKey, `"kid":"k1",`, "", 1)
		s.keys = `{"keys":[` + bare + `,` + bare + `]}`
	}, "jwks", doctor.Warn, doctor.Operator, "without kid"},

	// Endpoints, tried.
	{"no sign-in page", "NousResearch/hermes-agent#95508", func(s *site) { s.gone[authHost+"/authorize"] = true }, "authorize", doctor.Fail, doctor.Operator, "404"},
	{"whoever comes is sent wherever they want", "higgsfield-ai/cli#67", func(s *site) {
		s.answer[authHost+"/authorize"] = func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Query().Get("redirect_uri")+"?error="+url.QueryEscape("invalid_client"), http.StatusFound)
		}
	}, "authorize", doctor.Warn, doctor.Operator, "sent to"},
	{"the token endpoint answers with a page", "liliMozi/openhanako#1357", func(s *site) { s.answer[authHost+"/token"] = answers(400, "text/html", "<h1>Bad Request</h1>") }, "token_endpoint", doctor.Fail, doctor.Operator, "HTML"},
	{"the token endpoint answers 200 with an error", "d3.3", func(s *site) {
		s.answer[authHost+"/token"] = answers(200, "application/json", `{"error":"invalid_grant"}`)
	}, "token_endpoint", doctor.Fail, doctor.Operator, "200"},
	{"invalid_grant from upstream becomes 500", "d2.1, BerriAI/litellm#29588", func(s *site) {
		s.answer[authHost+"/token"] = answers(500, "application/json", `{"error":"server_error"}`)
	}, "token_endpoint", doctor.Fail, doctor.Operator, "server_error with status 500"},
	{"invalid_grant for an unknown client", "better-auth/better-auth#11035", func(s *site) {
		s.answer[authHost+"/token"] = answers(400, "application/json", `{"error":"invalid_grant"}`, "Cache-Control", "no-store")
	}, "token_endpoint", doctor.Warn, doctor.Operator, "invalid_grant"},
	{"the token endpoint is redirected", "koala73/worldmonitor#2426", func(s *site) { s.answer[authHost+"/token"] = redirects(307, "https://www.example.com/token") }, "token_endpoint", doctor.Fail, doctor.Operator, "redirect"},
	{"the token endpoint takes JSON only", "", func(s *site) { s.answer[authHost+"/token"] = answers(415, "application/json", `{}`) }, "token_endpoint", doctor.Fail, doctor.Operator, "415"},
	{"an error of the maker's own", "supabase/mcp#355", func(s *site) {
		s.answer[authHost+"/token"] = answers(422, "application/json", `{"message":"Unrecognized client_id"}`)
	}, "token_endpoint", doctor.Fail, doctor.Operator, "without error"},
	{"token answers may be stored", "d2.5", func(s *site) {
		s.answer[authHost+"/token"] = answers(401, "application/json", `{"error":"invalid_client"}`)
	}, "token_endpoint", doctor.Warn, doctor.Operator, "no-store"},
	{"Okta registers for administrators only", "modelcontextprotocol/modelcontextprotocol#695", func(s *site) {
		s.move("https://acme.okta.com/oauth2/default")
		s.answer["acme.okta.com/oauth2/default/register"] = answers(403, "application/json", `{"errorCode":"E0000005"}`)
	}, "registration_endpoint", doctor.Warn, doctor.IdPAdmin, "Okta"},
	{"registration with an initial access token", "elgorro/aiquila#457", func(s *site) { s.answer[authHost+"/register"] = answers(401, "application/json", `{}`) }, "registration_endpoint", doctor.Warn, doctor.Operator, "401"},
	{"registration for a list of makers", "apify/mcpc#298", func(s *site) { s.answer[authHost+"/register"] = answers(403, "text/plain", "Forbidden") }, "registration_endpoint", doctor.Warn, doctor.Operator, "403"},
	{"registration is announced and not there", "garrytan/gbrain#746", func(s *site) { s.gone[authHost+"/register"] = true }, "registration_endpoint", doctor.Fail, doctor.Operator, "404"},
	{"a broken registration is an HTML page with a stack", "d2.7", func(s *site) {
		s.answer[authHost+"/register"] = answers(500, "text/html", "<pre>SyntaxError: Unexpected end of JSON input")
	}, "registration_endpoint", doctor.Warn, doctor.Operator, "HTML"},
	{"registration takes anything", "", func(s *site) {
		s.answer[authHost+"/register"] = answers(201, "application/json", `{"client_id":"x"}`)
	}, "registration_endpoint", doctor.Fail, doctor.Operator, "201"},

	// Providers.
	{"Entra refuses resource", "modelcontextprotocol/csharp-sdk#1587", func(s *site) {
		s.move("https://login.microsoftonline.com/11111111-1111-1111-1111-111111111111/v2.0")
	}, "provider", doctor.Warn, doctor.IdPAdmin, "AADSTS9010010"},
	{"Entra behind a document of the server's own", "punkpeye/mcp-remote#217", func(s *site) {
		s.names["login.microsoftonline.com"] = []string{"93.184.215.15"}
		s.hosts["login.microsoftonline.com"] = s.hosts[authHost]
		s.server["authorization_endpoint"] = "https://login.microsoftonline.com/t/oauth2/v2.0/authorize"
		s.answer[authHost+"/t/oauth2/v2.0/authorize"] = answers(200, "text/html", "<p>")
	}, "provider", doctor.Warn, doctor.IdPAdmin, "Entra"},
	{"Okta's own authorization server", "envoyproxy/ai-gateway#2074", func(s *site) { s.move("https://acme.okta.com") }, "provider", doctor.Warn, doctor.IdPAdmin, "organization"},
	{"Cognito's tokens have no audience", "danny-avila/LibreChat#13401", func(s *site) { s.move("https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_A") }, "provider", doctor.Warn, doctor.IdPAdmin, "audience"},
	{"Auth0 wants audience", "modelcontextprotocol/inspector#566", func(s *site) { s.move("https://acme.eu.auth0.com/") }, "provider", doctor.Warn, doctor.IdPAdmin, "audience"},
	{"Keycloak and its trusted hosts", "keycloak/keycloak#39629", func(s *site) { s.move("https://sso.example.org/realms/acme") }, "provider", doctor.Warn, doctor.IdPAdmin, "Trusted Hosts"},
	{"Keycloak's registration is closed to pages", "keycloak/keycloak#43514", func(s *site) {
		s.move("https://sso.example.org/realms/acme")
		for host, h := range s.hosts {
			s.hosts[host] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasSuffix(r.URL.Path, "/register") {
					w.Header().Set("Access-Control-Allow-Origin", "*")
					w.Header().Set("Access-Control-Allow-Headers", "*, Authorization")
					w.Header().Set("Access-Control-Expose-Headers", "WWW-Authenticate")
					if r.Method == http.MethodOptions {
						w.WriteHeader(204)
						return
					}
				}
				h.ServeHTTP(w, r)
			})
		}
	}, "cors_documents", doctor.Warn, doctor.IdPAdmin, "registration_endpoint"},
	{"Hydra ignores resource", "agentarea/agentarea#381", func(s *site) { s.move("https://acme.projects.oryapis.com") }, "provider", doctor.Warn, doctor.IdPAdmin, "ignores"},

	// Hosted clients, clocks, time.
	{"another port than 443", "anthropics/claude-ai-mcp#85", func(s *site) {
		s.open["5050"], s.url = true, "https://mcp.example.com:5050/mcp"
		s.resource["resource"] = s.url
		s.challenge(`Bearer resource_metadata="https://mcp.example.com:5050/.well-known/oauth-protected-resource/mcp"`)
	}, "hosted", doctor.Warn, doctor.Operator, "5050"},
	{"a server in the office", "catalogue: hosted clients", func(s *site) {
		s.names[mcpHost], s.names[authHost] = []string{"192.168.1.20"}, []string{"192.168.1.21"}
	}, "hosted", doctor.Warn, doctor.Operator, "192.168.1.20"},
	{"a private address beside the public one", "", func(s *site) { s.names[mcpHost] = []string{"93.184.215.14", "10.0.0.9"} }, "hosted", doctor.Warn, doctor.Operator, "public and private"},
	{"IPv6 alone", "", func(s *site) { s.names[mcpHost] = []string{"2606:2800:21f::1"} }, "hosted", doctor.Warn, doctor.Operator, "IPv6"},
	{"a clock that is an hour late", "", clocks(-time.Hour), "clock", doctor.Fail, doctor.Operator, "behind"},
	{"a clock that is a minute ahead", "", clocks(time.Minute), "clock", doctor.Warn, doctor.Operator, "ahead of"},
}

// cors answers with headers of CORS, and a preflight without asking for a token.
func cors(header ...string) func(*site) {
	return func(s *site) {
		s.header.Set("Access-Control-Allow-Origin", "*")
		for i := 0; i < len(header); i += 2 {
			s.header.Set(header[i], header[i+1])
		}
		s.answer[mcpHost+"/mcp"] = func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodOptions {
				for name, values := range s.header {
					w.Header()[name] = values
				}
				w.WriteHeader(http.StatusNoContent)
				return
			}
			s.mcp(w, r)
		}
	}
}

func clocks(off time.Duration) func(*site) {
	return func(s *site) {
		for host, h := range s.hosts {
			s.hosts[host] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
				h.ServeHTTP(w, r)
			})
		}
	}
}

// Each server that is broken gets a finding at the step that broke, and the
// party that can mend it; where it only limps, the rest is still looked at.
func TestBroken(t *testing.T) {
	if len(broken) < 60 {
		t.Fatalf("%d servers", len(broken))
	}
	for _, c := range broken {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			c.ruin(s)
			r := s.walk(t)
			step := find(r, c.id)
			if step.Result != c.result || step.Who != c.who || !strings.Contains(step.Saw, c.saw) || step.Mend == "" || strings.HasSuffix(step.Mend, "...") {
				t.Errorf("want %s at %s by %s, got %+v\nall: %s", c.result, c.id, c.who, step, brief(r))
			}
			if c.result == doctor.Fail && r.OK {
				t.Error("ok is true")
			}
			for _, before := range r.Steps {
				if before.ID == c.id {
					break
				}
				if before.Result == doctor.Fail {
					t.Errorf("it is said to break at %s: %s", before.ID, before.Saw)
				}
			}
		})
	}
}

func brief(r doctor.Report) string {
	var b strings.Builder
	for _, s := range findings(r) {
		fmt.Fprintf(&b, "%s %s %s (%s)\n", s.Result, s.ID, s.Saw, s.Who)
	}
	return b.String()
}
