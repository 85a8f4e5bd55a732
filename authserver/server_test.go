package authserver

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

func ask(s *Server, method, target string, header ...string) reply {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return send(s, r)
}

// covers: AS-TOKEN-01, AS-META-14, B17, D01
func TestMethodsAndOrigins(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		path, allow string
		cors        bool
	}{
		{"/.well-known/oauth-authorization-server", "GET, HEAD", true},
		{"/.well-known/openid-configuration", "GET, HEAD", true},
		{"/jwks", "GET, HEAD", true},
		{"/token", "POST", true},
		{"/revoke", "POST", true},
		{"/register", "POST", true},
		{"/authorize", "GET, HEAD, POST", false},
		{"/login", "GET, HEAD, POST", false},
		{"/consent", "GET, HEAD, POST", false},
		{"/logout", "GET, HEAD, POST", false},
	} {
		r := ask(w.as, "DELETE", asURL+tt.path)
		if r.status != http.StatusMethodNotAllowed || r.header.Get("Allow") != tt.allow {
			t.Errorf("%s: %d, Allow %q", tt.path, r.status, r.header.Get("Allow"))
		}
		if got := r.header.Get("Access-Control-Allow-Origin"); (got == "*") != tt.cors {
			t.Errorf("%s: Access-Control-Allow-Origin %q", tt.path, got)
		}
		r = ask(w.as, "OPTIONS", asURL+tt.path, "Origin", "https://app.example", "Access-Control-Request-Method", "POST")
		if (r.status == http.StatusNoContent) != tt.cors || r.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: preflight %d %v", tt.path, r.status, r.header)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"} {
			if got := r.header.Get(name); got != want {
				t.Errorf("%s: %s %q", tt.path, name, got)
			}
		}
	}
	if r := ask(w.as, "HEAD", asURL+"/jwks"); r.status != http.StatusOK {
		t.Errorf("HEAD /jwks: %d", r.status)
	}
	if r := ask(w.as, "GET", asURL+"/nothing"); r.status != http.StatusNotFound {
		t.Errorf("unknown path: %d", r.status)
	}
}

// covers: AS-TOKEN-01, X-HTTP-06, D02, D20, H10
func TestTokenRequestBodies(t *testing.T) {
	w := newWorld(t, func(as, _ *Config) { as.BodyLimit = 4096 })
	good := form("grant_type=client_credentials", "client_id=agent", "client_secret="+agentSecret)
	for _, tt := range []struct {
		name, query, body, contentType string
		status                         int
		code                           string
	}{
		{"a form", "", good.Encode(), "application/x-www-form-urlencoded", 200, ""},
		{"a form with a charset", "", good.Encode(), "Application/X-WWW-Form-Urlencoded; charset=utf-8", 200, ""},
		{"parameters in the query", "?" + good.Encode(), "", "application/x-www-form-urlencoded", 400, "invalid_request"},
		{"the secret in the query", "?client_secret=" + agentSecret, "grant_type=client_credentials&client_id=agent", "application/x-www-form-urlencoded", 401, "invalid_client"},
		{"JSON", "", `{"grant_type":"client_credentials"}`, "application/json", 400, "invalid_request"},
		{"no type", "", good.Encode(), "", 400, "invalid_request"},
		{"no form", "", "grant_type=%zz", "application/x-www-form-urlencoded", 400, "invalid_request"},
		{"too large", "", good.Encode() + "&x=" + strings.Repeat("x", 5000), "application/x-www-form-urlencoded", 413, "invalid_request"},
	} {
		r := httptest.NewRequest("POST", asURL+"/token"+tt.query, strings.NewReader(tt.body))
		r.Header.Set("Content-Type", tt.contentType)
		got := send(w.as, r)
		if got.status != tt.status || got.text("error") != tt.code {
			t.Errorf("%s: %d %s", tt.name, got.status, got.body)
		}
		if got.header.Get("Cache-Control") != "no-store" || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v", tt.name, got.header)
		}
	}
}

// covers: AS-META-13, SEC-33
func TestForgedHostChangesNothing(t *testing.T) {
	w := newWorld(t)
	plain := ask(w.as, "GET", asURL+"/.well-known/oauth-authorization-server")
	r := httptest.NewRequest("GET", "http://evil.example/.well-known/oauth-authorization-server", nil)
	r.Header.Set("X-Forwarded-Host", "evil.example")
	r.Header.Set("X-Forwarded-Proto", "http")
	r.Header.Set("Forwarded", "host=evil.example")
	if forged := send(w.as, r); forged.body != plain.body {
		t.Errorf("the metadata follows the request: %s", forged.body)
	}
}

// covers: AS-META-01, AS-META-02, B02, B04, B05
func TestIssuerWithPath(t *testing.T) {
	const issuer = "https://as.example/tenant/one"
	w := newWorld(t, func(as, _ *Config) { as.URL = issuer })
	for _, path := range []string{"/.well-known/oauth-authorization-server/tenant/one", "/.well-known/openid-configuration/tenant/one", "/tenant/one/.well-known/openid-configuration"} {
		r := ask(w.as, "GET", asURL+path)
		if r.status != http.StatusOK || r.text("issuer") != issuer || r.text("token_endpoint") != issuer+"/token" {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	for _, path := range []string{"/.well-known/oauth-authorization-server", "/token", "/jwks"} {
		if r := ask(w.as, "GET", asURL+path); r.status != http.StatusNotFound {
			t.Errorf("%s of an issuer with a path: %d", path, r.status)
		}
	}
	if r := post(w.as, "/token", "agent "+agentSecret, form("grant_type=client_credentials")); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// The metadata lists the grants that the token endpoint has, and no other.
func TestMetadataListsTheGrants(t *testing.T) {
	w := newWorld(t)
	every := []string{oauth.AuthorizationCode, oauth.RefreshToken, oauth.ClientCredentials, oauth.JWTBearer, oauth.TokenExchange, oauth.DeviceCode, "password", "implicit"}
	for _, s := range []*Server{w.as, w.idp} {
		r := ask(s, "GET", s.current().cfg.URL+"/.well-known/oauth-authorization-server")
		for _, grant := range every {
			listed := strings.Contains(r.body, `"`+grant+`"`) && strings.Contains(r.body, "grant_types_supported")
			known := post(s, "/token", "", form("grant_type="+grant)).text("error") != oauth.UnsupportedGrantType
			if listed != known {
				t.Errorf("%s at %s: listed %t, known %t", grant, s.current().cfg.URL, listed, known)
			}
		}
	}
}

func TestPanicIsAServerError(t *testing.T) {
	var log logBuffer
	w := newWorld(t, func(as, _ *Config) { as.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	w.as.routes["/panic"] = route{[]string{"GET"}, noCORS, func(http.ResponseWriter, *http.Request) { panic("secret thing") }}
	r := ask(w.as, "GET", asURL+"/panic")
	if r.status != http.StatusInternalServerError || r.text("error") != "server_error" || strings.Contains(r.body, "secret thing") {
		t.Errorf("%d %s", r.status, r.body)
	}
	if !strings.Contains(log.String(), "panic") || strings.Contains(log.String(), "secret thing") {
		t.Errorf("the log: %s", log.String())
	}
}

// covers: SEC-27, X-LOG-01, X-HTTP-05
func TestNoSecretInLogsAndErrors(t *testing.T) {
	var log logBuffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w := newWorld(t, func(as, idp *Config) { as.Logger, idp.Logger = logger, logger })
	x := w.everything(t)
	secrets := []string{x.access, x.refresh, x.code, x.idToken, x.idAccess, x.idRefresh, x.idCode, x.jag, desktopSecret, "canary-secret-0123456789", codeVerifier}
	var out strings.Builder
	try := func(s *Server, path, who string, entries ...string) {
		r := post(s, path, who, form(entries...))
		if r.status == http.StatusOK && path == "/token" {
			t.Errorf("%q passed", entries)
		}
		out.WriteString(r.body + r.header.Get("WWW-Authenticate"))
	}
	for _, secret := range secrets {
		try(w.as, "/token", "desktop canary-secret-0123456789", "grant_type=refresh_token", "refresh_token="+secret)
		try(w.as, "/token", "other other-secret-0123456789", "grant_type=refresh_token", "refresh_token="+secret)
		try(w.as, "/token", "other other-secret-0123456789", "grant_type="+oauth.JWTBearer, "assertion="+secret)
		try(w.as, "/token", "other other-secret-0123456789", "grant_type=authorization_code", "code="+secret, "code_verifier="+codeVerifier)
		try(w.idp, "/token", "other-idp other-idp-secret-0123456789", "grant_type="+oauth.TokenExchange, "requested_token_type="+oauth.TokenTypeIDJAG, "audience="+asURL, "resource="+filesURL,
			"subject_token="+secret, "subject_token_type="+oauth.TokenTypeIDToken)
		try(w.as, "/revoke", "other other-secret-0123456789", "token="+secret)
	}
	for _, s := range []*Server{w.as, w.idp} {
		for _, e := range eventsOf(t, s) {
			out.WriteString(e.Detail + e.Reason)
		}
	}
	for i, secret := range secrets {
		if strings.Contains(log.String(), secret) {
			t.Errorf("secret %d is in the log", i)
		}
		if strings.Contains(out.String(), secret) {
			t.Errorf("secret %d is in an answer or the audit", i)
		}
	}
	if log.String() == "" {
		t.Error("nothing was logged")
	}
}

// Strangers, who show no secret and name nothing that is ours, cannot fill the audit.
func TestStrangersAreNotAudited(t *testing.T) {
	w := newWorld(t)
	before := len(eventsOf(t, w.as))
	for _, f := range []url.Values{
		form("grant_type=refresh_token", "refresh_token=x", "client_id=web"),
		form("grant_type=authorization_code", "code=x", "code_verifier="+codeVerifier, "client_id=web"),
		form("grant_type=client_credentials", "client_id=agent", "client_secret=wrong"),
		form("grant_type="+oauth.JWTBearer, "assertion=x", "client_id=mobile"),
	} {
		post(w.as, "/token", "", f)
	}
	if after := len(eventsOf(t, w.as)); after != before {
		t.Errorf("%d events more", after-before)
	}
}

// A registered client authenticates by exactly the method that it registered,
// and waits for its approval.
//
// covers: AS-CAUTH-01, E05
func TestRegisteredClients(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		method    string
		approved  bool
		basic     bool
		wantError string
	}{
		{authBasic, true, true, ""},
		{authBasic, true, false, oauth.InvalidClient},
		{authPost, true, false, ""},
		{authPost, true, true, oauth.InvalidClient},
		{authPost, false, false, oauth.UnauthorizedClient},
	} {
		c := ledger.Client{ID: "registered", SecretHash: hashText("registered-secret"), AuthMethod: tt.method, GrantTypes: []string{oauth.ClientCredentials},
			Source: ledger.FromAdmin, Approved: tt.approved}
		if err := w.as.ledger.Store.Commit(context.Background(), store.Delete(ledger.KindClient, c.ID), c.Put()); err != nil {
			t.Fatal(err)
		}
		who, f := "", form("grant_type=client_credentials", "client_id="+c.ID, "client_secret=registered-secret")
		if tt.basic {
			who, f = c.ID+" registered-secret", form("grant_type=client_credentials")
		}
		if r := post(w.as, "/token", who, f); r.text("error") != tt.wantError {
			t.Errorf("%+v: %d %s", tt, r.status, r.body)
		}
		if err := w.as.ledger.Store.Commit(context.Background(), store.Delete(ledger.KindClient, c.ID)); err != nil {
			t.Fatal(err)
		}
		if r := post(w.as, "/token", who, f); r.text("error") != oauth.InvalidClient {
			t.Errorf("a deleted client: %s", r.body)
		}
	}
}

func TestReload(t *testing.T) {
	w := newWorld(t)
	for name, change := range map[string]func(*Config){
		"URL":       func(c *Config) { c.URL = "https://new.example" },
		"MasterKey": func(c *Config) { c.MasterKey = []byte("fedcba9876543210fedcba9876543210") },
		"Audiences": func(c *Config) { c.Audiences = map[string]Audience{} },
		"Clients":   func(c *Config) { c.Clients = map[string]Client{"short": {Secret: "short"}} },
	} {
		cfg := w.asCfg
		change(&cfg)
		if err := w.as.Reload(cfg); err == nil {
			t.Errorf("a reload changed %s", name)
		}
	}
	if r := post(w.as, "/token", "agent "+agentSecret, form("grant_type=client_credentials")); r.status != http.StatusOK {
		t.Fatalf("a refused reload changed something: %s", r.body)
	}
	cfg := w.asCfg
	cfg.Clients = map[string]Client{"new": {Secret: "new-secret-0123456789", GrantTypes: []string{oauth.ClientCredentials}}}
	cfg.Tokens.Access = time.Minute
	cfg.Issuers = nil
	if err := w.as.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if r := post(w.as, "/token", "agent "+agentSecret, form("grant_type=client_credentials")); r.text("error") != oauth.InvalidClient {
		t.Errorf("a client that is gone: %s", r.body)
	}
	r := post(w.as, "/token", "new new-secret-0123456789", form("grant_type=client_credentials"))
	if got, _ := r.field("expires_in"); got != 60.0 {
		t.Errorf("expires_in %v: %s", got, r.body)
	}
}

// covers: B06, B07, X-URI-02
func TestSettingsRefuse(t *testing.T) {
	w := &world{}
	for _, issuer := range []string{asURL, "http://127.0.0.1:8080", "http://[::1]:8080", "http://localhost:8080", asURL + "/path"} {
		cfg := w.asConfig(nil)
		cfg.URL = issuer
		if _, err := newSettings(cfg, nil); err != nil {
			t.Errorf("%s: %v", issuer, err)
		}
	}
	for name, change := range map[string]func(*Config){
		"a URL with a slash":           func(c *Config) { c.URL += "/" },
		"a URL with a query":           func(c *Config) { c.URL += "?x" },
		"plain http":                   func(c *Config) { c.URL = "http://as.example" },
		"a short secret":               func(c *Config) { c.Clients["x"] = Client{Secret: "short"} },
		"a redirect URI with fragment": func(c *Config) { c.Clients["x"] = Client{RedirectURIs: []string{"https://x.example/#a"}} },
		"a resource twice":             func(c *Config) { c.Resources = append(c.Resources, c.Resources[0]) },
		"two defaults":                 func(c *Config) { c.Resources[1].Default = true },
		"a relative resource":          func(c *Config) { c.Resources[0].ID = "/files" },
		"an unknown default scope":     func(c *Config) { c.Resources[0].DefaultScopes = []string{"x"} },
		"a wrong rule":                 func(c *Config) { c.Resources[0].Allow = []Rule{{Who: []string{"grup:x"}}} },
		"its own issuer":               func(c *Config) { c.Issuers["self"] = TrustedIssuer{Issuer: asURL} },
		"an issuer twice":              func(c *Config) { c.Issuers["again"] = TrustedIssuer{Issuer: idpURL} },
		"an issuer with a slash":       func(c *Config) { c.Issuers["a/b"] = TrustedIssuer{Issuer: "https://b.example"} },
		"an unknown algorithm":         func(c *Config) { c.Issuers["x"] = TrustedIssuer{Issuer: "https://b.example", Algs: []string{"HS256"}} },
		"an unknown replay policy":     func(c *Config) { c.Issuers["x"] = TrustedIssuer{Issuer: "https://b.example", Replay: "often"} },
		"keys by plain http": func(c *Config) {
			c.Issuers["x"] = TrustedIssuer{Issuer: "https://b.example", JWKSURI: "http://b.example/jwks"}
		},
		"an unknown policy for clients": func(c *Config) { c.OtherClients = "maybe" },
		"an unknown registration mode":  func(c *Config) { c.Registration.Mode = "maybe" },
		"a negative lifetime":           func(c *Config) { c.Tokens.Access = -1 },
	} {
		cfg := w.asConfig(nil)
		change(&cfg)
		if _, err := newSettings(cfg, nil); err == nil {
			t.Errorf("%s passed", name)
		}
	}
	for name, change := range map[string]func(*Config){
		"itself as audience":            func(c *Config) { c.Audiences[idpURL] = Audience{} },
		"an unknown subject":            func(c *Config) { c.Audiences["https://b.example"] = Audience{Subject: "name"} },
		"an unknown claim":              func(c *Config) { c.Audiences["https://b.example"] = Audience{Claims: []string{"phone"}} },
		"an audience that is no issuer": func(c *Config) { c.Audiences["b"] = Audience{} },
	} {
		cfg := w.idpConfig(nil)
		change(&cfg)
		if _, err := newSettings(cfg, nil); err == nil {
			t.Errorf("%s passed", name)
		}
	}
}

// FuzzParseRefresh: nothing that we did not make opens, and what we made does.
func FuzzParseRefresh(f *testing.F) {
	key, another := newMACKey([]byte("0123456789abcdef0123456789abcdef")), newMACKey([]byte("another key"))
	f.Add("", uint32(0))
	f.Add(refreshToken{generation: 7}.text(key), uint32(7))
	f.Fuzz(func(t *testing.T, text string, generation uint32) {
		if token, ok := parseRefresh(key, text); ok && token.text(key) != text {
			t.Errorf("%q opens and is written %q", text, token.text(key))
		}
		mine := refreshToken{generation: generation}
		copy(mine.secret[:], text)
		got, ok := parseRefresh(key, mine.text(key))
		if !ok || got != mine {
			t.Errorf("%+v came back as %+v", mine, got)
		}
		if _, ok := parseRefresh(another, mine.text(key)); ok {
			t.Error("opens with another key")
		}
		if next := mine.next(key); next.secret == mine.secret || next.generation != generation+1 || next != mine.next(key) {
			t.Errorf("successor %+v", next)
		}
	})
}
