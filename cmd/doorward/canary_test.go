package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"doorward/internal/oauth"
)

// canary is part of every secret that somebody chose. Those that the servers
// make are collected on the wire.
const canary = "cAnArY-7q1Fz"

// wire stands in front of both servers and collects what is secret in what
// passes: browser, clients, and the servers among themselves.
type wire struct {
	t *testing.T

	mu      sync.Mutex
	secrets map[string]string // value to what it is
	urls    []*url.URL
}

// front is an address at which requests for another are answered.
func (w *wire) front(to string) string {
	w.t.Helper()
	target, err := url.Parse("http://" + to)
	if err != nil {
		w.t.Fatal(err)
	}
	p := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
		ModifyResponse: func(resp *http.Response) error {
			return w.answered(resp)
		},
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.asked(r)
		p.ServeHTTP(rw, r)
	}))
	l, err := net.Listen("tcp", free(w.t))
	if err != nil {
		w.t.Fatal(err)
	}
	srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	w.t.Cleanup(srv.Close)
	return srv.URL
}

// keep collects a secret; short words are none.
func (w *wire) keep(what, value string) {
	if len(value) < 8 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, known := w.secrets[value]; !known { // where it was seen first
		w.secrets[value] = what
	}
}

// secretFields are parameters and members of answers that are secret.
var secretFields = []string{"code", "code_verifier", "client_secret", "client_assertion", "assertion", "subject_token", "refresh_token", "access_token",
	"id_token", "token", "password", "device_code", "user_code", "registration_access_token"}

func (w *wire) asked(r *http.Request) {
	w.mu.Lock()
	w.urls = append(w.urls, r.URL)
	w.mu.Unlock()
	if scheme, value, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok {
		w.keep(scheme+" of a request", value)
		if raw, err := base64.StdEncoding.DecodeString(value); err == nil {
			_, secret, _ := strings.Cut(string(raw), ":")
			w.keep("basic secret", secret)
		}
	}
	for _, c := range r.Cookies() {
		w.keep("cookie "+c.Name, c.Value)
	}
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	if form, err := url.ParseQuery(string(body)); err == nil {
		for _, name := range secretFields {
			w.keep("parameter "+name, form.Get(name))
		}
	}
}

func (w *wire) answered(resp *http.Response) error {
	for _, c := range resp.Cookies() {
		w.keep("cookie "+c.Name, c.Value)
	}
	if to, err := resp.Location(); err == nil {
		w.keep("code", to.Query().Get("code"))
	}
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		return nil
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var m map[string]any
	if json.Unmarshal(body, &m) == nil {
		for _, name := range secretFields {
			s, _ := m[name].(string)
			w.keep("member "+name, s)
		}
	}
	return err
}

// absent looks for every secret in a text.
func (w *wire) absent(where, text string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := strings.Index(text, canary); i >= 0 {
		w.t.Errorf("%s: a chosen secret: …%q…", where, text[max(0, i-120):min(len(text), i+40)])
	}
	for value, what := range w.secrets {
		if i := strings.Index(text, value); i >= 0 {
			w.t.Errorf("%s: %s: …%q…", where, what, text[max(0, i-120):min(len(text), i+20)])
		}
	}
}

// world of the canary: an identity provider, a server that signs people in
// there and takes its ID-JAGs, an MCP server with a credential of its own.
type aviary struct {
	*wire
	d           *desk
	idp, serve  *process
	idpURL, url string
	idpDir, dir string
	idpOps, ops string
	callback    string // of a client
	arrived     chan url.Values
	upstream    *upstream
}

const aviaryIdP = `
telemetry: {log: debug}
audit: {file: audit.jsonl}
people: {alice: {email: alice@example.com, groups: [eng], password: "${PASSWORD}"}}
clients:
  registration: {dynamic: open}
  registered:
    doorward: {secret: "${PROVIDER}", redirect_uris: ["%[1]s/callback/corp"]}
    desktop-idp: {secret: "${CLIENT}", redirect_uris: ["http://127.0.0.1/callback"]}
audiences:
  %[1]s: {resources: ["%[1]s/one/mcp"], client_ids: {desktop-idp: desktop}, claims: [email, groups], allow: [{who: everyone}]}
`

const aviaryServe = `
telemetry: {log: debug}
audit: {file: audit.jsonl}
providers:
  corp: {issuer: "%[1]s", sign_in: {client_id: doorward, client_secret: "${PROVIDER}", recheck: 1s}, id_jag: {}, account: [email], scim: {token: "${SCIM}", attribute: userName}}
clients:
  registration: {dynamic: token, token: "${REGISTRATION}"}
  registered:
    desktop: {secret: "${CLIENT}", redirect_uris: ["http://127.0.0.1/callback"], grant_types: [authorization_code, refresh_token, jwt-bearer, client_credentials, device_code]}
servers:
  one: {path: /one/mcp, default: true, upstream: "%[2]s/mcp", credential: {header: {X-Key: "${UPSTREAM}"}}, allow: [{who: [everyone, "client:desktop"]}]}
  told: {path: /told/mcp, upstream: "%[2]s/mcp", credential: caller-jwt, allow: [{who: "client:desktop"}]}
  given: {path: /given/mcp, upstream: "%[2]s/mcp", credential: {exchange: {issuer: "%[3]s", token_url: "%[3]s/token", client_id: gate, client_secret: "${EXCHANGE}"}}, allow: [{who: "client:desktop"}]}
  asked: {path: /asked/mcp, upstream: "%[2]s/mcp", issuers: [{issuer: "%[3]s", introspect: {client_id: gate, client_secret: "${INTROSPECT}"}}], allow: [{who: "issuer:%[3]s"}]}
`

func newAviary(t *testing.T) *aviary {
	t.Helper()
	a := &aviary{wire: &wire{t: t, secrets: map[string]string{}}, arrived: make(chan url.Values, 10), upstream: newUpstream(t)}
	a.d = newDesk(t)
	for _, name := range []string{"PASSWORD", "PROVIDER", "CLIENT", "REGISTRATION", "UPSTREAM", "EXCHANGE", "SCIM", "INTROSPECT"} {
		a.d.vars[name] = strings.ToLower(name) + "-" + canary + "-of-some-length"
	}
	idpListen, listen := free(t), free(t)
	a.idpURL, a.url, a.idpOps, a.ops = a.front(idpListen), a.front(listen), free(t), free(t)
	a.idpDir = write(t, map[string]string{"idp.yaml": fmt.Sprintf("url: %s\nlisten: %s\nops: %s", a.idpURL, idpListen, a.idpOps) + fmt.Sprintf(aviaryIdP, a.url)})
	a.dir = write(t, map[string]string{"serve.yaml": fmt.Sprintf("url: %s\nlisten: %s\nops: %s", a.url, listen, a.ops) + fmt.Sprintf(aviaryServe, a.idpURL, a.upstream.URL, a.elsewhere().URL)})
	a.idp = a.d.start("idp", "--config", filepath.Join(a.idpDir, "idp.yaml"))
	a.serve = a.d.start("serve", "--config", filepath.Join(a.dir, "serve.yaml"))
	client := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.arrived <- r.URL.Query()
		io.WriteString(w, "You may close this page.")
	}))
	t.Cleanup(client.Close)
	a.callback = client.URL + "/callback"
	return a
}

const verifier = "verifier-" + canary + "-of-at-least-forty-three-characters"

// form is a token request's or a like one; it must be answered as wanted.
func (a *aviary) form(endpoint, client, secret string, want int, pairs ...string) map[string]any {
	a.t.Helper()
	status, got := ask(a.t, endpoint, client, secret, pairs...)
	if status != want {
		a.t.Errorf("%s: %d %v", endpoint, status, got)
	}
	return got
}

// code sends alice through the browser and returns what arrives at the client.
func (a *aviary) code(issuer, client, scope string, more ...string) string {
	a.t.Helper()
	q := url.Values{"client_id": {client}, "response_type": {"code"}, "redirect_uri": {a.callback}, "code_challenge": {oauth.S256(verifier)},
		"code_challenge_method": {"S256"}, "scope": {scope}, "state": {"state-of-the-client"}}
	for i := 0; i < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	if err := person(a.t, "alice", a.d.vars["PASSWORD"]).Open(a.t.Context(), issuer+"/authorize?"+q.Encode()); err != nil {
		a.t.Fatal(err)
	}
	select {
	case got := <-a.arrived:
		if got.Get("code") == "" {
			a.t.Fatalf("%v", got)
		}
		return got.Get("code")
	case <-time.After(patience):
		a.t.Fatal("nobody came back")
	}
	return ""
}

// browserFlow is a code of each server, its tokens, and what is done wrong with
// them.
func (a *aviary) browserFlow() (access string) {
	secret := a.d.vars["CLIENT"]
	code := a.code(a.url, "desktop", "one")
	redeem := []string{"grant_type", "authorization_code", "code", code, "redirect_uri", a.callback, "code_verifier"}
	a.form(a.url+"/token", "desktop", secret, 400, append(redeem, "wrong-"+verifier)...)
	code = a.code(a.url, "desktop", "one")
	redeem[3] = code
	got := a.form(a.url+"/token", "desktop", secret, 200, append(redeem, verifier)...)
	refresh, _ := got["refresh_token"].(string)
	again := a.form(a.url+"/token", "desktop", secret, 200, "grant_type", "refresh_token", "refresh_token", refresh)
	access, _ = again["access_token"].(string)
	a.form(a.url+"/token", "desktop", secret, 400, "grant_type", "refresh_token", "refresh_token", "refresh-"+canary)
	a.form(a.url+"/introspect", "desktop", secret, 200, "token", access)
	a.form(a.url+"/introspect", "desktop", secret, 200, "token", "token-"+canary)
	pushed := a.form(a.url+"/par", "desktop", secret, 201, "client_id", "desktop", "response_type", "code", "redirect_uri", a.callback,
		"code_challenge", oauth.S256(verifier), "code_challenge_method", "S256", "state", "state-of-the-client")
	if uri, _ := pushed["request_uri"].(string); uri == "" {
		a.t.Errorf("%v", pushed)
	}
	return access
}

// assertionFlow takes a sign-in at the identity provider to the server by an
// ID-JAG.
func (a *aviary) assertionFlow() {
	secret := a.d.vars["CLIENT"]
	code := a.code(a.idpURL, "desktop-idp", "openid email profile offline_access", "nonce", "nonce-of-the-client")
	got := a.form(a.idpURL+"/token", "desktop-idp", secret, 200, "grant_type", "authorization_code", "code", code, "redirect_uri", a.callback, "code_verifier", verifier)
	id, _ := got["id_token"].(string)
	exchange := []string{"grant_type", oauth.TokenExchange, "requested_token_type", oauth.TokenTypeIDJAG, "audience", a.url, "resource", a.url + "/one/mcp",
		"subject_token_type", oauth.TokenTypeIDToken, "subject_token"}
	jag := a.form(a.idpURL+"/token", "desktop-idp", secret, 200, append(exchange, id)...)
	a.form(a.idpURL+"/token", "desktop-idp", secret, 400, append(exchange, "id-token."+canary+".x")...)
	assertion, _ := jag["access_token"].(string)
	a.form(a.url+"/token", "desktop", secret, 200, "grant_type", oauth.JWTBearer, "assertion", assertion)
	a.form(a.url+"/token", "desktop", secret, 400, "grant_type", oauth.JWTBearer, "assertion", "assertion."+canary+".x")
	userinfo, err := http.NewRequest(http.MethodGet, a.idpURL+"/userinfo", nil)
	if err != nil {
		a.t.Fatal(err)
	}
	access, _ := got["access_token"].(string)
	userinfo.Header.Set("Authorization", "Bearer "+access)
	if r := do(a.t, userinfo); r.status != http.StatusOK {
		a.t.Errorf("userinfo: %d %s", r.status, r.body)
	}
}

// wrongSecrets are shown in each way that there is.
func (a *aviary) wrongSecrets() {
	wrong := "wrong-" + canary + "-secret"
	credentials := []string{"grant_type", "client_credentials"}
	a.form(a.url+"/token", "desktop", wrong, 401, credentials...)
	a.form(a.url+"/token", "stranger", wrong, 401, credentials...)
	a.form(a.url+"/token", "desktop", "", 401, append(credentials, "client_secret", wrong)...)
	a.form(a.url+"/token", "desktop", "", 401, append(credentials, "client_assertion_type", oauth.ClientAssertionJWT, "client_assertion", "a."+canary+".c")...)
	a.form(a.url+"/revoke", "desktop", wrong, 401, "token", wrong)
	if err := person(a.t, "alice", wrong).Open(a.t.Context(), a.idpURL+"/login"); err == nil {
		a.t.Error("a wrong password signed in")
	}
}

// registrations come with their token, get secrets, and are managed.
func (a *aviary) registrations() {
	send := func(method, at, token, body string, want int) map[string]any {
		a.t.Helper()
		req, err := http.NewRequestWithContext(a.t.Context(), method, at, strings.NewReader(body))
		if err != nil {
			a.t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+token)
		r := do(a.t, req)
		var m map[string]any
		_ = json.Unmarshal([]byte(r.body), &m)
		if r.status != want {
			a.t.Errorf("%s %s: %d %s", method, at, r.status, r.body)
		}
		return m
	}
	const wish = `{"client_name":"Bird","redirect_uris":["http://127.0.0.1/callback"]}`
	send(http.MethodPost, a.url+"/register", "wrong-"+canary, wish, 401)
	got := send(http.MethodPost, a.url+"/register", a.d.vars["REGISTRATION"], wish, 201)
	token, _ := got["registration_access_token"].(string)
	at, _ := got["registration_client_uri"].(string)
	if token == "" || at == "" || got["client_secret"] == nil {
		a.t.Fatalf("%v", got)
	}
	send(http.MethodGet, at, token, "", 200)
	send(http.MethodGet, at, "wrong-"+canary, "", 401)
}

// device asks for a code for a device, and asks whether somebody typed it.
func (a *aviary) device() {
	secret := a.d.vars["CLIENT"]
	got := a.form(a.url+"/device_authorization", "desktop", secret, 200, "scope", "one")
	code, _ := got["device_code"].(string)
	a.form(a.url+"/token", "desktop", secret, 400, "grant_type", oauth.DeviceCode, "device_code", code)
	a.form(a.url+"/token", "desktop", secret, 400, "grant_type", oauth.DeviceCode, "device_code", "device-"+canary)
}

// elsewhere is somebody else's authorization server: it gives a token for the first
// subject token, and what it knows of the first token that it is asked about; then
// it says no to either, with all that it was told.
func (a *aviary) elsewhere() *httptest.Server {
	var given, asked atomic.Int32
	mux := http.NewServeMux()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.asked(r)
		w.Header().Set("Content-Type", "application/json")
		mux.ServeHTTP(w, r)
	}))
	no := func(w http.ResponseWriter, r *http.Request, token string) {
		_, secret, _ := r.BasicAuth()
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant", "error_description": r.PostFormValue(token) + " of " + secret})
	}
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		if given.Add(1) > 1 {
			no(w, r, "subject_token")
			return
		}
		io.WriteString(w, `{"access_token":"exchanged-`+canary+`","token_type":"Bearer"}`)
	})
	mux.HandleFunc("/.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": srv.URL, "introspection_endpoint": srv.URL + "/introspect", "token_endpoint": srv.URL + "/token",
			"response_types_supported": []string{"code"}})
	})
	mux.HandleFunc("/introspect", func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) > 1 {
			no(w, r, "token")
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"active": true, "iss": srv.URL, "sub": "bob", "aud": a.url + "/asked/mcp", "client_id": "theirs",
			"scope": "asked", "exp": time.Now().Add(time.Hour).Unix(), "note": r.PostFormValue("token")})
	})
	a.t.Cleanup(srv.Close)
	return srv
}

// opaque are tokens of the other authorization server, which is asked about each.
func (a *aviary) opaque() {
	if r := post(a.t, a.url+"/asked/mcp", "Authorization: Bearer opaque-1-"+canary, initialize); r.status != http.StatusOK {
		a.t.Errorf("an opaque token: %d %s", r.status, r.body)
	}
	if r := post(a.t, a.url+"/asked/mcp", "Authorization: Bearer opaque-2-"+canary, initialize); r.status < 400 {
		a.t.Errorf("an opaque token that nobody answers for: %d %s", r.status, r.body)
	}
}

// provisioning comes with its token, and with a wrong one.
func (a *aviary) provisioning() {
	for token, want := range map[string]int{a.d.vars["SCIM"]: http.StatusOK, "wrong-" + canary: http.StatusUnauthorized} {
		req, err := http.NewRequestWithContext(a.t.Context(), http.MethodGet, a.url+"/scim/corp/Users", nil)
		if err != nil {
			a.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		if r := do(a.t, req); r.status != want {
			a.t.Errorf("SCIM: %d %s", r.status, r.body)
		}
	}
}

// told are calls at servers that are told who calls, by a statement or by a token
// that is given for one.
func (a *aviary) told() {
	call := func(path string, want int) {
		a.t.Helper()
		got := a.form(a.url+"/token", "desktop", a.d.vars["CLIENT"], 200, "grant_type", "client_credentials", "resource", a.url+path)
		access, _ := got["access_token"].(string)
		if r := post(a.t, a.url+path, "Authorization: Bearer "+access, initialize); r.status != want {
			a.t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	sent := func() string {
		a.upstream.mu.Lock()
		defer a.upstream.mu.Unlock()
		return strings.TrimPrefix(a.upstream.seen.Get("Authorization"), "Bearer ")
	}
	call("/told/mcp", http.StatusOK)
	a.keep("caller JWT", sent())
	call("/given/mcp", http.StatusOK)
	if sent() != "exchanged-"+canary {
		a.t.Errorf("the MCP server got %q", sent())
	}
	call("/given/mcp", http.StatusForbidden) // another access token, another exchange
}

// calls reach the MCP server, or do not.
func (a *aviary) calls(access string) {
	if r := post(a.t, a.url+"/one/mcp", "Authorization: Bearer "+access, initialize); r.status != http.StatusOK {
		a.t.Errorf("%d %s", r.status, r.body)
	}
	a.upstream.mu.Lock()
	if a.upstream.seen.Get("X-Key") != a.d.vars["UPSTREAM"] {
		a.t.Error("the credential did not reach the MCP server")
	}
	a.upstream.mu.Unlock()
	post(a.t, a.url+"/one/mcp", "Authorization: Bearer bearer."+canary+".x", initialize)
	post(a.t, a.url+"/one/mcp", "Authorization: DPoP dpop."+canary+".x", initialize)
	post(a.t, a.url+"/one/mcp", "Authorization: Bearer "+access, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"key":"`+canary+`"}}}`)
	a.upstream.Close()
	if r := post(a.t, a.url+"/one/mcp", "Authorization: Bearer "+access, initialize); r.status != http.StatusBadGateway {
		a.t.Errorf("%d %s", r.status, r.body)
	}
}

// No secret of any flow is said on stdout or stderr with the log at debug, in
// metrics, in the audit or in a URL, and none lies in the clear in a file.
//
// covers: SEC-27, X-LOG-01
func TestCanary(t *testing.T) {
	a := newAviary(t)
	access := a.browserFlow()
	a.assertionFlow()
	a.wrongSecrets()
	a.registrations()
	a.device()
	a.told()
	a.opaque()
	a.provisioning()
	a.calls(access)
	for _, s := range []struct {
		name, file, ops string
		p               *process
	}{{"serve", filepath.Join(a.dir, "serve.yaml"), a.ops, a.serve}, {"idp", filepath.Join(a.idpDir, "idp.yaml"), a.idpOps, a.idp}} {
		a.absent(s.name+" /metrics", get(t, "http://"+s.ops+"/metrics").body)
		a.absent(s.name+" audit", a.d.must("audit", "export", "--config", s.file))
		a.absent(s.name+" ls", a.d.must("ls", "--config", s.file, "--json"))
		state := filepath.Join(filepath.Dir(s.file), ".doorward")
		a.files(s.name+" while it runs", filepath.Dir(s.file))
		s.p.stop()
		a.absent(s.name+" stdout", s.p.out.String())
		a.absent(s.name+" stderr", s.p.errs.String())
		if !strings.Contains(s.p.errs.String(), "level=INFO") {
			t.Errorf("%s logged nothing", s.name)
		}
		a.files(s.name, filepath.Dir(s.file))
		if _, err := os.Stat(filepath.Join(state, "doorward.db")); err != nil {
			t.Error(err)
		}
	}
	a.inURLs()
	if len(a.secrets) < 30 {
		t.Errorf("only %d secrets were seen: %v", len(a.secrets), a.secrets)
	}
	for _, what := range []string{"member access_token", "member refresh_token", "member id_token", "member client_secret", "member registration_access_token",
		"member device_code", "member user_code", "code", "caller JWT", "parameter password", "parameter subject_token", "basic secret"} {
		seen := false
		for _, w := range a.secrets {
			seen = seen || w == what
		}
		if !seen {
			t.Errorf("no %s was seen", what)
		}
	}
}

// files looks into every file of a directory, the write-ahead logs among them.
func (w *wire) files(who, dir string) {
	w.t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || runtime.GOOS == "windows" && strings.HasSuffix(path, "-shm") { // an index, which is locked there
			return err
		}
		b, err := os.ReadFile(path)
		n++
		w.absent(who+": "+filepath.Base(path), string(b))
		return err
	})
	if err != nil || n < 3 {
		w.t.Errorf("%s: %d files, %v", who, n, err)
	}
}

// inURLs looks at the addresses of all requests. Only a code travels in one, to
// the callback.
func (a *aviary) inURLs() {
	for _, u := range a.urls {
		q := u.Query()
		if strings.Contains(u.Path, "/callback/") {
			q.Del("code")
		}
		q.Del("state") // what the client chose
		a.absent("URL of "+u.Path, u.Path+"?"+q.Encode())
	}
}
