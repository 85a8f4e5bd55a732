package authserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// elsewhere is a separate authorization server, whose every answer a test says.
type elsewhere struct {
	mu     sync.Mutex
	down   bool
	status int
	header http.Header
	body   string
	meta   map[string]any
	seen   []*http.Request
	bodies []string
}

func (e *elsewhere) RoundTrip(r *http.Request) (*http.Response, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.down || r.URL.Host != "login.example" {
		return nil, errors.New("connection refused")
	}
	rec := httptest.NewRecorder()
	if strings.HasPrefix(r.URL.Path, "/.well-known/") || r.URL.Path == "/jwks" {
		b, err := json.Marshal(e.meta)
		fmt.Fprint(rec, string(b))
		return rec.Result(), err
	}
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	e.seen, e.bodies = append(e.seen, r), append(e.bodies, string(body))
	for name, values := range e.header {
		rec.Header()[name] = values
	}
	rec.WriteHeader(e.status)
	rec.WriteString(e.body)
	return rec.Result(), nil
}

// last is what was relayed last.
func (e *elsewhere) last(t *testing.T) (*http.Request, url.Values) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.seen) == 0 {
		t.Fatal("nothing was relayed")
	}
	form, _ := url.ParseQuery(e.bodies[len(e.bodies)-1])
	return e.seen[len(e.seen)-1], form
}

const elsewhereSecret = "a secret of the gate, over there"

func newRelay(t *testing.T, change func(*Separate)) (*site, *elsewhere, *logBuffer) {
	t.Helper()
	return newRelayTo(t, true, change)
}

// newRelayTo is newRelay in front of a server whose answers carry its iss, or do
// not.
func newRelayTo(t *testing.T, named bool, change func(*Separate)) (*site, *elsewhere, *logBuffer) {
	t.Helper()
	e := &elsewhere{status: 200, header: http.Header{"Content-Type": {"application/json"}}, body: `{"access_token":"theirs","token_type":"Bearer","scope":null}`,
		meta: map[string]any{"issuer": loginURL, "authorization_endpoint": loginURL + "/authorize?tenant=acme", "token_endpoint": loginURL + "/token", "jwks_uri": loginURL + "/jwks",
			"revocation_endpoint": loginURL + "/revoke", "registration_endpoint": loginURL + "/register", "scopes_supported": []string{"openid", "files"},
			"token_endpoint_auth_methods_supported": []string{"client_secret_post", "none"}, "authorization_response_iss_parameter_supported": named}}
	log := &logBuffer{}
	s := newSite(t, func(c *Config) {
		c.HTTP, c.SignIn, c.Mode, c.Separate, c.Logger = e, nil, "passthrough", Separate{Issuer: loginURL}, slog.New(slog.NewTextHandler(log, nil))
		if change != nil {
			change(&c.Separate)
		}
	})
	return s, e, log
}

// gate is our client there, which all clients are.
func gate(sep *Separate) { sep.ClientID, sep.ClientSecret = "gate", elsewhereSecret }

// The browser goes on with all that the client said, known here or not, beside
// the query of the endpoint's own URL.
//
// covers: I01, I02
func TestRelayedAuthorize(t *testing.T) {
	s, _, _ := newRelay(t, nil)
	p := s.browser().get(s.ask("their-client", "https://app.example.com/cb", "prompt", "login", "login_hint", "carol", "nonce", "n", "claims", `{"id_token":{}}`,
		"foreign", "x y&z", "tenant", "evil"))
	if !p.left || !strings.HasPrefix(p.url.String(), loginURL+"/authorize?tenant=acme&") {
		t.Fatalf("at %s (%d)", p.url, p.status)
	}
	q := p.url.Query()
	for name, want := range map[string]string{"response_type": "code", "client_id": "their-client", "redirect_uri": "https://app.example.com/cb", "state": "st+te/1",
		"code_challenge_method": "S256", "resource": files, "scope": "files:read", "prompt": "login", "login_hint": "carol", "nonce": "n", "claims": `{"id_token":{}}`,
		"foreign": "x y&z", "tenant": "acme"} {
		if len(q[name]) != 1 || q.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, q[name], want)
		}
	}
	s.browser().get(s.ask("their-client", "https://app.example.com/cb")+"&client_id=other").shows(t, 400, "repeats client_id")
}

// covers: I01, I02, I14
func TestRelayedAuthorizeOfOneClient(t *testing.T) {
	s, _, _ := newRelay(t, func(sep *Separate) {
		gate(sep)
		sep.Resource, sep.Scopes, sep.AuthorizeURL = "drop", []string{"files", "offline_access"}, loginURL+"/start?policy=1"
	})
	p := s.browser().get(s.ask("gate", "https://app.example.com/cb", "scope", ""))
	q := p.arrived(t, loginURL+"/start?policy=1&")
	if q.Get("client_id") != "gate" || q.Has("resource") || q.Get("scope") != "files offline_access" || q.Has("client_secret") {
		t.Errorf("%v", q)
	}
	s.browser().get(s.ask("another", "https://app.example.com/cb")).shows(t, 400)
	s.browser().get(s.ask("gate", "https://app.example.com/cb", "code_challenge", "")).shows(t, 400, "code_challenge")
	s.browser().get(s.ask("gate", "https://app.example.com/cb", "code_challenge_method", "plain")).shows(t, 400, "S256")
}

// What a client sends goes on as it is, and what comes back too: statuses,
// codes and members, be they null.
//
// covers: I03, I04, I05, I07, I15
func TestRelayedForms(t *testing.T) {
	s, e, _ := newRelay(t, nil)
	r := post(s.Server, "/token", "their-client their-secret", form("grant_type=authorization_code", "code=c", "code_verifier=v", "redirect_uri=https://app.example.com/cb", "resource="+files))
	got, sent := e.last(t)
	id, secret, _ := got.BasicAuth()
	if r.status != 200 || r.body != e.body || id != "their-client" || secret != url.QueryEscape("their-secret") && secret != "their-secret" {
		t.Errorf("%d %s, as %q %q", r.status, r.body, id, secret)
	}
	for name, want := range map[string]string{"grant_type": "authorization_code", "code": "c", "code_verifier": "v", "redirect_uri": "https://app.example.com/cb", "resource": files} {
		if sent.Get(name) != want {
			t.Errorf("%s is %q", name, sent.Get(name))
		}
	}
	post(s.Server, "/token", "", form("grant_type=refresh_token", "refresh_token=r", "client_id=a", "client_secret=b", "scope=files", "resource="+files))
	if got, sent := e.last(t); got.URL.Path != "/token" || sent.Encode() != "client_id=a&client_secret=b&grant_type=refresh_token&refresh_token=r&resource="+url.QueryEscape(files)+"&scope=files" {
		t.Errorf("%s %v", got.URL, sent)
	}
	e.body = ""
	if r := post(s.Server, "/revoke", "", form("token=t", "token_type_hint=refresh_token", "client_id=a")); r.status != 200 || r.body != "" {
		t.Errorf("revoked: %d %s", r.status, r.body)
	}
	if got, sent := e.last(t); got.URL.Path != "/revoke" || sent.Get("token") != "t" || sent.Get("token_type_hint") != "refresh_token" {
		t.Errorf("%s %v", got.URL, sent)
	}
	for _, c := range []struct {
		status int
		code   string
	}{{400, "invalid_grant"}, {401, "invalid_client"}, {400, "invalid_target"}, {400, "x_of_their_own"}, {429, "slow_down"}, {503, "temporarily_unavailable"}} {
		e.status, e.body = c.status, `{"error":"`+c.code+`","error_description":"as they say it","error_uri":"https://login.example/e"}`
		e.header = http.Header{"Content-Type": {"application/json;charset=UTF-8"}, "Retry-After": {"7"}, "Www-Authenticate": {`Basic realm="r"`}, "Set-Cookie": {"a=b"}, "Location": {"/x"}}
		r := post(s.Server, "/token", "", form("grant_type=refresh_token", "refresh_token=r", "client_id=a"))
		if r.status != c.status || r.body != e.body || r.header.Get("Retry-After") != "7" || r.header.Get("Www-Authenticate") == "" || r.header.Get("Set-Cookie")+r.header.Get("Location") != "" ||
			r.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s %v", c.code, r.status, r.body, r.header)
		}
	}
}

// What is no answer of an authorization server is not passed on, and nothing of
// it is in the log.
//
// covers: I11, I15
func TestRelayedAnswersRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*elsewhere)
		status int
		code   string
	}{
		{"a page", func(e *elsewhere) { e.body = "<html>welcome" }, 502, "server_error"},
		{"a page of an error", func(e *elsewhere) { e.status, e.body = 404, "<html>no" }, 502, "server_error"},
		{"broken there", func(e *elsewhere) { e.status, e.body = 500, "<html>oops" }, 503, "temporarily_unavailable"},
		{"no token", func(e *elsewhere) { e.body = `{"token_type":"Bearer"}` }, 502, "server_error"},
		{"null for a token", func(e *elsewhere) { e.body = `{"access_token":null}` }, 502, "server_error"},
		{"a list", func(e *elsewhere) { e.body = `["access_token"]` }, 502, "server_error"},
		{"nothing", func(e *elsewhere) { e.body = "" }, 502, "server_error"},
		{"a redirect", func(e *elsewhere) { e.status, e.header = 307, http.Header{"Location": {"https://evil.example/"}} }, 502, "server_error"},
		{"too much", func(e *elsewhere) { e.body = `{"access_token":"` + strings.Repeat("x", maxIssuerDocument) + `"}` }, 502, "server_error"},
		{"down", func(e *elsewhere) { e.down = true }, 503, "temporarily_unavailable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, e, log := newRelay(t, gate)
			if r := s.browser().get(s.ask("gate", "https://app.example.com/cb")); !r.left {
				t.Fatalf("at %s", r.url)
			}
			e.mu.Lock()
			c.change(e)
			e.mu.Unlock()
			r := post(s.Server, "/token", "", form("grant_type=authorization_code", "code=canary-code", "code_verifier=canary-verifier", "client_id=gate"))
			if r.status != c.status || r.text("error") != c.code || !strings.Contains(r.body, "(ref ") || strings.Contains(r.body, "html") {
				t.Errorf("%d %s", r.status, r.body)
			}
			for _, secret := range []string{elsewhereSecret, "canary-code", "canary-verifier"} {
				if strings.Contains(log.String()+r.body, secret) {
					t.Errorf("%s is in the log or the answer", secret)
				}
			}
		})
	}
}

// With one client for all its secret is used for what a client holds already,
// in the way that is configured, and for nothing else.
//
// covers: I09, I14
func TestRelayedSecret(t *testing.T) {
	for method, seen := range map[string]func(*http.Request, url.Values) bool{
		"client_secret_basic": func(r *http.Request, f url.Values) bool {
			id, secret, ok := r.BasicAuth()
			return ok && id == "gate" && secret == url.QueryEscape(elsewhereSecret) && !f.Has("client_secret") && !f.Has("client_id")
		},
		"client_secret_post": func(r *http.Request, f url.Values) bool {
			return r.Header.Get("Authorization") == "" && f.Get("client_id") == "gate" && f.Get("client_secret") == elsewhereSecret
		},
		"": func(r *http.Request, f url.Values) bool { // what its metadata lists
			return r.Header.Get("Authorization") == "" && f.Get("client_secret") == elsewhereSecret
		},
	} {
		s, e, _ := newRelay(t, func(sep *Separate) { gate(sep); sep.AuthMethod = method })
		for _, c := range []struct {
			auth   string
			fields []string
			status int
			code   string
		}{
			{"", []string{"grant_type=authorization_code", "code=c", "code_verifier=v", "client_id=gate"}, 200, ""},
			{"", []string{"grant_type=refresh_token", "refresh_token=r", "client_id=gate"}, 200, ""},
			{"gate " + elsewhereSecret, []string{"grant_type=client_credentials"}, 200, ""},
			{"", []string{"grant_type=client_credentials", "client_id=gate", "client_secret=" + elsewhereSecret}, 200, ""},
			{"", []string{"grant_type=client_credentials", "client_id=gate"}, 400, "unsupported_grant_type"},
			{"", []string{"grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion=a", "client_id=gate"}, 400, "unsupported_grant_type"},
			{"", []string{"client_id=gate"}, 400, "unsupported_grant_type"},
			{"", []string{"grant_type=authorization_code", "code=c", "client_id=gate"}, 400, "invalid_request"},
			{"", []string{"grant_type=refresh_token", "refresh_token=r", "client_id=other"}, 401, "invalid_client"},
			{"", []string{"grant_type=refresh_token", "refresh_token=r"}, 401, "invalid_client"},
			{"", []string{"grant_type=refresh_token", "refresh_token=r", "client_id=gate", "client_secret=wrong"}, 401, "invalid_client"},
			{"gate wrong", []string{"grant_type=refresh_token", "refresh_token=r"}, 401, "invalid_client"},
			{"gate " + elsewhereSecret, []string{"grant_type=refresh_token", "refresh_token=r", "client_secret=" + elsewhereSecret}, 401, "invalid_client"},
			{"", []string{"grant_type=refresh_token", "refresh_token=r", "client_id=gate", "client_assertion=x"}, 401, "invalid_client"},
			{"", []string{"grant_type=refresh_token", "grant_type=client_credentials", "client_id=gate"}, 400, "invalid_request"},
		} {
			before := len(e.seen)
			r := post(s.Server, "/token", c.auth, form(c.fields...))
			if r.status != c.status || c.code != "" && r.text("error") != c.code {
				t.Errorf("%s %q %q: %d %s", method, c.auth, c.fields, r.status, r.body)
			}
			if c.status != 200 {
				if len(e.seen) != before {
					t.Errorf("%s %q: it was relayed", method, c.fields)
				}
				continue
			}
			if got, sent := e.last(t); !seen(got, sent) {
				t.Errorf("%s %q: %v %v", method, c.fields, got.Header, sent)
			}
		}
	}
}

// That the separate server is down is no fault of the application, and the page
// does not say so.
func TestRelayedAuthorizeDown(t *testing.T) {
	s := newSite(t, func(c *Config) {
		c.HTTP, c.SignIn, c.Clients, c.Resources = &elsewhere{down: true}, nil, nil, nil
		c.Mode, c.Separate = "passthrough", Separate{Issuer: loginURL}
	})
	p := s.browser().get(s.ask("app", "https://app.example.com/cb"))
	p.shows(t, 503, "does not work at the moment", "the separate server cannot be reached", "an administrator of")
	if strings.Contains(p.body, "makers") {
		t.Error("the page blames the application")
	}
}

// A registration goes on as it is, with nothing of ours in it; with one client
// for all that one is the answer, without its secret.
//
// covers: I06, I08, I14
func TestRelayedRegistration(t *testing.T) {
	s, e, _ := newRelayTo(t, false, nil) // else TestRelayedReturn
	asked := `{"redirect_uris":["https://app.example.com/cb"],"client_name":"App","x_theirs":[1]}`
	e.status, e.body = 201, `{"client_id":"new","client_secret":"s","redirect_uris":["https://app.example.com/cb"],"x":null}`
	if r := postJSON(s.Server, "/register", asked); r.status != 201 || r.body != e.body || e.bodies[0] != asked {
		t.Errorf("%d %s for %s", r.status, r.body, e.bodies)
	}
	e.status, e.body = 400, `{"error":"invalid_redirect_uri"}`
	if r := postJSON(s.Server, "/register", asked); r.status != 400 || r.body != e.body {
		t.Errorf("%d %s", r.status, r.body)
	}
	e.status, e.body = 201, `{"redirect_uris":[]}`
	if r := postJSON(s.Server, "/register", asked); r.status != 502 {
		t.Errorf("without client_id: %d %s", r.status, r.body)
	}
	s, e, _ = newRelay(t, gate)
	r := postJSON(s.Server, "/register", asked)
	if r.status != 201 || r.text("client_id") != "gate" || r.text("token_endpoint_auth_method") != "none" || strings.Contains(r.body, "secret") || len(e.seen) != 0 {
		t.Errorf("%d %s", r.status, r.body)
	}
	for _, bad := range []string{`{}`, `{"redirect_uris":["javascript:alert(1)"]}`, `[]`, `{"redirect_uris":["http://app.example.com/cb"]}`} {
		if r := postJSON(s.Server, "/register", bad); r.status != 400 {
			t.Errorf("%s: %d %s", bad, r.status, r.body)
		}
	}
}

func postJSON(s *Server, path, body string) reply {
	r := httptest.NewRequest(http.MethodPost, siteURL+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return send(s, r)
}

// The metadata is ours and true: the endpoints relay, no iss is promised, since
// answers come back with another one, and nothing else is served.
//
// covers: I12
func TestRelayedMetadata(t *testing.T) {
	s, e, _ := newRelay(t, nil)
	get := func(s *site, path string) reply {
		return send(s.Server, httptest.NewRequest(http.MethodGet, siteURL+path, nil))
	}
	r := get(s, "/.well-known/oauth-authorization-server")
	var m map[string]any
	if err := json.Unmarshal([]byte(r.body), &m); err != nil || r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	for name, want := range map[string]any{"issuer": siteURL, "authorization_endpoint": siteURL + "/authorize", "token_endpoint": siteURL + "/token",
		"revocation_endpoint": siteURL + "/revoke", "registration_endpoint": siteURL + "/register", "jwks_uri": loginURL + "/jwks",
		"authorization_response_iss_parameter_supported": nil, "client_id_metadata_document_supported": nil, "introspection_endpoint": nil} {
		if m[name] != want {
			t.Errorf("%s is %v, want %v", name, m[name], want)
		}
	}
	if fmt.Sprint(m["scopes_supported"], m["code_challenge_methods_supported"], m["token_endpoint_auth_methods_supported"]) != "[openid files] [S256] [client_secret_post none]" {
		t.Errorf("%v", m)
	}
	for _, path := range []string{"/.well-known/openid-configuration", "/login", "/consent", "/account", "/callback/other", "/register/x", "/par", "/introspect", "/userinfo"} {
		if r := get(s, path); r.status != 404 {
			t.Errorf("%s: %d", path, r.status)
		}
	}
	e.mu.Lock()
	e.down = true
	e.mu.Unlock()
	s2, _, _ := newRelay(t, func(sep *Separate) { *sep = Separate{AuthorizeURL: loginURL + "/a", TokenURL: loginURL + "/t"} })
	if r := get(s2, "/.well-known/oauth-authorization-server"); r.status != 200 || strings.Contains(r.body, "revocation") || strings.Contains(r.body, "registration") {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := post(s2.Server, "/revoke", "", form("token=t", "client_id=a")); r.status != 404 {
		t.Errorf("revoked: %d %s", r.status, r.body)
	}
}

// A revocation that fails there fails here, in the same words; a success needs no
// body.
//
// covers: I05, I07
func TestRelayedRevocationFailure(t *testing.T) {
	s, e, _ := newRelay(t, nil)
	e.status, e.body = 400, `{"error":"unsupported_token_type"}`
	if r := post(s.Server, "/revoke", "", form("token=t", "client_id=a")); r.status != 400 || r.body != e.body {
		t.Errorf("%d %s", r.status, r.body)
	}
	e.status, e.body = 403, "<html>"
	if r := post(s.Server, "/revoke", "", form("token=t", "client_id=a")); r.status != 502 || r.text("error") != "server_error" {
		t.Errorf("%d %s", r.status, r.body)
	}
}
