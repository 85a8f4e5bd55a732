package authserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"doorward/internal/oauth"
)

// upstream: server-legacy/test/auth/handlers/register.test.ts
func TestParityRegister(t *testing.T) {
	w := newWorld(t)
	register := func(body string) reply { return jsonPost(w.as, "/register", body) }
	minimal := `{"redirect_uris":["https://app.example/callback"]`
	cases{
		"throws error if client store does not support registration": func(t *testing.T) {
			s := newWorld(t, func(as, _ *Config) { as.Registration = Registration{} }).as
			jsonPost(s, "/register", minimal+"}").want(t, 404, "invalid_request")
			if _, there := ask(s, http.MethodGet, asURL+oauth.WellKnownAS).field("registration_endpoint"); there {
				t.Error("an endpoint that is off is in the metadata")
			}
		},
		"creates handler if client store supports registration": func(t *testing.T) {
			if ask(w.as, http.MethodGet, asURL+oauth.WellKnownAS).text("registration_endpoint") != asURL+"/register" {
				t.Error("not in the metadata")
			}
		},
		"requires POST method": func(t *testing.T) {
			r := ask(w.as, http.MethodGet, asURL+"/register")
			r.all(t, map[string]bool{"405": r.status == http.StatusMethodNotAllowed, "Allow": r.header.Get("Allow") == "POST"})
		},
		"validates required client metadata": func(t *testing.T) {
			register(`{"client_name":"App"}`).want(t, 400, "invalid_redirect_uri")
			register(`{"redirect_uris":[]}`).want(t, 400, "invalid_redirect_uri")
			register(`{"redirect_uris":"https://app.example/callback"}`).want(t, 400, "invalid_client_metadata")
		},
		"validates redirect URIs format": func(t *testing.T) {
			for _, uri := range []string{"invalid-url", "javascript:alert(1)", "data:,x", "http://app.example/cb", "https://app.example/cb#x", "//app.example/cb", ""} {
				register(fmt.Sprintf(`{"redirect_uris":[%q]}`, uri)).want(t, 400, "invalid_redirect_uri")
			}
		},
		"successfully registers client with minimal metadata": func(t *testing.T) {
			r := register(minimal + "}")
			issued, _ := r.field("client_id_issued_at")
			expires, there := r.field("client_secret_expires_at")
			r.all(t, map[string]bool{"201": r.status == 201, "id": r.text("client_id") != "", "secret": len(r.text("client_secret")) >= 43, "issued": issued == float64(w.now().Unix()),
				"when the secret ends": there && expires != nil, "no-store": r.header.Get("Cache-Control") == "no-store", "method": r.text("token_endpoint_auth_method") == "client_secret_basic"})
		},
		"sets client_secret to undefined for token_endpoint_auth_method=none": func(t *testing.T) {
			r := register(minimal + `,"token_endpoint_auth_method":"none"}`)
			_, secret := r.field("client_secret")
			r.all(t, map[string]bool{"201": r.status == 201, "no secret": !secret})
		},
		"sets client_secret_expires_at for public clients only": func(t *testing.T) {
			// The upstream's name for: only where there is a secret.
			public, confidential := register(minimal+`,"token_endpoint_auth_method":"none"}`), register(minimal+`,"token_endpoint_auth_method":"client_secret_post"}`)
			_, of := public.field("client_secret_expires_at")
			_, with := confidential.field("client_secret_expires_at")
			if of || !with {
				t.Errorf("public: %t, with a secret: %t", of, with)
			}
		},
		"sets expiry based on clientSecretExpirySeconds": func(t *testing.T) {
			s := newWorld(t, func(as, _ *Config) { as.Registration.SecretLife = time.Hour })
			if at, _ := jsonPost(s.as, "/register", minimal+"}").field("client_secret_expires_at"); at != float64(s.now().Add(time.Hour).Unix()) {
				t.Errorf("expires at %v", at)
			}
		},
		"sets no expiry when clientSecretExpirySeconds=0": func(t *testing.T) {
			if at, _ := register(minimal + "}").field("client_secret_expires_at"); at != 0.0 {
				t.Errorf("expires at %v", at)
			}
		},
		"handles client with all metadata fields": func(t *testing.T) {
			r := register(`{"redirect_uris":["https://app.example/callback","http://localhost:3000/cb"],"token_endpoint_auth_method":"client_secret_basic",
				"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"client_name":"Test Client","client_uri":"https://app.example",
				"logo_uri":"https://app.example/logo.png","scope":"profile email","contacts":["dev@app.example"],"tos_uri":"https://app.example/tos",
				"policy_uri":"https://app.example/privacy","jwks":{"keys":[]},"software_id":"test-software","software_version":"1.0.0"}`)
			uris, _ := r.field("redirect_uris")
			r.all(t, map[string]bool{"201": r.status == 201, "name": r.text("client_name") == "Test Client", "uris": fmt.Sprint(uris) == "[https://app.example/callback http://localhost:3000/cb]"})
		},
		"includes CORS headers in response": func(t *testing.T) { corsOf(t, w.as, "/register", register(minimal+"}")) },
	}.run(t)
}

// upstream: server-legacy/test/auth/handlers/metadata.test.ts
func TestParityMetadata(t *testing.T) {
	w := newWorld(t)
	at := asURL + oauth.WellKnownAS
	cases{
		"requires GET method": func(t *testing.T) {
			r := ask(w.as, http.MethodPost, at)
			r.all(t, map[string]bool{"405": r.status == http.StatusMethodNotAllowed, "Allow": r.header.Get("Allow") == "GET, HEAD", "says why": r.text("error") != ""})
		},
		"returns the metadata object": func(t *testing.T) {
			r := ask(w.as, http.MethodGet, at)
			r.all(t, map[string]bool{"200": r.status == 200, "JSON": r.header.Get("Content-Type") == "application/json", "issuer": r.text("issuer") == asURL, "token": r.text("token_endpoint") == asURL+"/token"})
		},
		"includes CORS headers in response": func(t *testing.T) {
			r := ask(w.as, http.MethodGet, at, "Origin", "https://page.example")
			r.all(t, map[string]bool{"origin": r.header.Get("Access-Control-Allow-Origin") == "*"})
		},
		"supports OPTIONS preflight requests": func(t *testing.T) {
			r := ask(w.as, http.MethodOptions, at, corsOrigin...)
			r.all(t, map[string]bool{"204": r.status == http.StatusNoContent, "origin": r.header.Get("Access-Control-Allow-Origin") == "*"})
		},
		"works with minimal metadata": func(t *testing.T) { minimalMetadata(t) },
	}.run(t)
}

// minimalMetadata is that of an issuer where everything that can be off is off.
func minimalMetadata(t *testing.T) {
	t.Helper()
	s := newWorld(t, func(as, _ *Config) {
		as.Registration, as.SignIn, as.Issuers, as.Clients = Registration{}, nil, nil, nil
	}).as
	r := ask(s, http.MethodGet, asURL+oauth.WellKnownAS)
	_, registers := r.field("registration_endpoint")
	_, documented := r.field("service_documentation")
	r.all(t, map[string]bool{"200": r.status == 200, "issuer": r.text("issuer") == asURL, "authorize": r.text("authorization_endpoint") == asURL+"/authorize",
		"token": r.text("token_endpoint") == asURL+"/token", "no registration": !registers, "no documentation": !documented})
}

// upstream: server-legacy/test/auth/middleware/allowedMethods.test.ts
func TestParityAllowedMethods(t *testing.T) {
	w := newWorld(t)
	cases{
		"allows specified HTTP method": func(t *testing.T) { ask(w.as, http.MethodGet, asURL+"/jwks").want(t, 200, "") },
		"returns 405 for unspecified HTTP methods": func(t *testing.T) {
			for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
				r := ask(w.as, method, asURL+"/jwks")
				r.all(t, map[string]bool{method: r.status == http.StatusMethodNotAllowed, "says what it takes": strings.Contains(r.text("error_description"), "GET")})
			}
		},
		"includes Allow header with specified methods": func(t *testing.T) {
			if got := ask(w.as, http.MethodPut, asURL+"/token").header.Get("Allow"); got != "POST" {
				t.Errorf("Allow: %s", got)
			}
		},
		"works with multiple allowed methods": func(t *testing.T) {
			if got := ask(w.as, http.MethodPut, asURL+"/authorize").header.Get("Allow"); got != "GET, HEAD, POST" {
				t.Errorf("Allow: %s", got)
			}
		},
	}.run(t)
}

// upstream: server-legacy/test/auth/router.test.ts
func TestParityRouter(t *testing.T) {
	made := func(url string) error {
		w := newWorld(t)
		cfg := w.asConfig(openStore(t, w.now))
		cfg.URL, cfg.Resources = url, nil
		s, err := New(cfg)
		if err == nil {
			s.Close()
		}
		return err
	}
	refused := func(urls ...string) func(*testing.T) {
		return func(t *testing.T) {
			for _, u := range urls {
				if made(u) == nil {
					t.Errorf("%s was taken", u)
				}
			}
		}
	}
	taken := func(urls ...string) func(*testing.T) {
		return func(t *testing.T) {
			for _, u := range urls {
				if err := made(u); err != nil {
					t.Error(err)
				}
			}
		}
	}
	w := newWorld(t)
	if err := w.as.Protect("/mcp", http.NotFoundHandler()); err != nil {
		t.Fatal(err)
	}
	metadata := ask(w.as, http.MethodGet, asURL+oauth.WellKnownAS)
	resource := ask(w.as, http.MethodGet, asURL+oauth.WellKnownPRM+"/mcp")
	cases{
		"throws error for non-HTTPS issuer URL":          refused("http://auth.example.com", "http://127.0.0.1.example.com", "ftp://auth.example.com", "auth.example.com"),
		"allows localhost HTTP for development":          taken("http://localhost:3000", "http://127.0.0.1:3000", "http://[::1]:3000"),
		"throws error for issuer URL with fragment":      refused("https://auth.example.com/#fragment", "https://auth.example.com#"),
		"throws error for issuer URL with query string":  refused("https://auth.example.com/?param=value", "https://auth.example.com?"),
		"successfully creates router with valid options": taken("https://auth.example.com", "https://auth.example.com/tenant"),
		"returns complete metadata for full-featured router": func(t *testing.T) {
			var m oauth.ServerMetadata
			if err := json.Unmarshal([]byte(metadata.body), &m); err != nil {
				t.Fatal(err)
			}
			if m.Issuer != asURL || m.AuthorizationEndpoint != asURL+"/authorize" || m.TokenEndpoint != asURL+"/token" || m.RegistrationEndpoint != asURL+"/register" || m.RevocationEndpoint != asURL+"/revoke" ||
				fmt.Sprint(m.ResponseTypesSupported) != "[code]" || fmt.Sprint(m.CodeChallengeMethodsSupported) != "[S256]" || !strings.Contains(fmt.Sprint(m.GrantTypesSupported), "authorization_code") ||
				!strings.Contains(fmt.Sprint(m.GrantTypesSupported), "refresh_token") || !strings.Contains(fmt.Sprint(m.TokenEndpointAuthMethodsSupported), "client_secret_post") ||
				!strings.Contains(fmt.Sprint(m.TokenEndpointAuthMethodsSupported), "none") || !strings.Contains(fmt.Sprint(m.ScopesSupported), "files:read") || len(m.RevocationEndpointAuthMethods) == 0 {
				t.Errorf("%+v", m)
			}
		},
		"derives authorization_response_iss_parameter_supported from the provider": func(t *testing.T) {
			if v, _ := metadata.field("authorization_response_iss_parameter_supported"); v != true { // every answer has iss
				t.Errorf("%v", v)
			}
		},
		"returns minimal metadata for minimal router": minimalMetadata,
		"provides protected resource metadata": func(t *testing.T) {
			servers, _ := resource.field("authorization_servers")
			resource.all(t, map[string]bool{"200": resource.status == 200, "resource": resource.text("resource") == asURL+"/mcp", "issuer": fmt.Sprint(servers) == "["+asURL+"]"})
		},
		"routes to authorization endpoint": func(t *testing.T) {
			r := ask(w.as, http.MethodGet, asURL+"/authorize?client_id=nobody")
			r.all(t, map[string]bool{"a page of ours": r.status == 400 && strings.Contains(r.body, "This application is not known here")})
		},
		"routes to token endpoint": func(t *testing.T) { post(w.as, "/token", desktop, form()).want(t, 400, "invalid_request") },
		"routes to registration endpoint": func(t *testing.T) {
			jsonPost(w.as, "/register", `{"redirect_uris":["https://app.example/cb"]}`).want(t, 201, "")
		},
		"routes to revocation endpoint": func(t *testing.T) { post(w.as, "/revoke", desktop, form("token=x")).want(t, 200, "") },
		"excludes endpoints for unsupported features": func(t *testing.T) {
			s := newWorld(t, func(as, _ *Config) { as.Registration = Registration{Mode: "off"} }).as
			jsonPost(s, "/register", `{"redirect_uris":["https://app.example/cb"]}`).want(t, 404, "invalid_request")
			if r := ask(s, http.MethodGet, asURL+"/userinfo"); r.status != 404 { // of an identity provider only
				t.Errorf("userinfo: %d", r.status)
			}
		},
	}.run(t)
}
