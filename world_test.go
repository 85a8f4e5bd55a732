package doorward_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"doorward"
)

// world is an MCP server, its authorization server and an IdP on loopback, as
// small as they can be. Its fields may be changed before the first request.
type world struct {
	mcp, as, idp *httptest.Server

	prm, asMetadata, idpMetadata map[string]any

	// scope is what the 401 asks for; needs are the scopes that a call needs.
	scope, needs string
	// token and exchange answer the token endpoints; nil: success.
	token, exchange func(form url.Values) (int, map[string]any)
	// authorize changes the answer that the browser carries back.
	authorize func(q url.Values)
	// demand is what the challenge says to a token that this request brought,
	// which is not refused for anything else; nil and empty: it is let in.
	demand func(form url.Values) string
	// noHeader leaves resource_metadata out of the challenge; bad refuses every token.
	noHeader, bad bool

	mu     sync.Mutex
	lines  []string
	forms  map[string][]url.Values // token requests by who got them
	heads  map[string][]http.Header
	live   map[string]url.Values // token → the request that brought it
	bodies []string              // of calls that were let in
	people []string              // whose tokens they came with
	issued int
	sent   []url.Values // authorization requests
	made   []map[string]any
}

type m = map[string]any

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{forms: map[string][]url.Values{}, heads: map[string][]http.Header{}, live: map[string]url.Values{}}
	w.mcp = w.serve(t, "mcp", map[string]http.HandlerFunc{
		"/.well-known/oauth-protected-resource/mcp": func(rw http.ResponseWriter, r *http.Request) { reply(rw, 200, w.prm) },
		"/mcp":      w.call,
		"/mcp/deep": w.call,
	})
	w.as = w.serve(t, "as", map[string]http.HandlerFunc{
		"/.well-known/oauth-authorization-server": func(rw http.ResponseWriter, r *http.Request) { reply(rw, 200, w.asMetadata) },
		"/token":     func(rw http.ResponseWriter, r *http.Request) { w.answerToken(rw, r, "as") },
		"/authorize": w.browser,
		"/register":  w.register,
	})
	w.idp = w.serve(t, "idp", map[string]http.HandlerFunc{
		"/.well-known/openid-configuration": func(rw http.ResponseWriter, r *http.Request) { reply(rw, 200, w.idpMetadata) },
		"/token":                            func(rw http.ResponseWriter, r *http.Request) { w.answerToken(rw, r, "idp") },
	})
	w.prm = m{"resource": w.url(), "authorization_servers": []string{w.as.URL}}
	w.asMetadata = m{"issuer": w.as.URL, "token_endpoint": w.as.URL + "/token", "authorization_endpoint": w.as.URL + "/authorize",
		"registration_endpoint": w.as.URL + "/register", "code_challenge_methods_supported": []string{"S256"},
		"authorization_grant_profiles_supported":         []string{"urn:ietf:params:oauth:grant-profile:id-jag"},
		"authorization_response_iss_parameter_supported": true,
		"token_endpoint_auth_methods_supported":          []string{"client_secret_basic", "none"}}
	w.idpMetadata = m{"issuer": w.idp.URL, "token_endpoint": w.idp.URL + "/token"}
	return w
}

// url is the MCP server's.
func (w *world) url() string { return w.mcp.URL + "/mcp" }

// serve starts one party and writes down its requests.
func (w *world) serve(t *testing.T, name string, paths map[string]http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		if h, ok := paths[r.URL.Path]; ok {
			h(rec, r)
		} else {
			rec.WriteHeader(http.StatusNotFound)
		}
		w.mu.Lock()
		w.lines = append(w.lines, fmt.Sprintf("%s %s %s %d", name, r.Method, r.URL.Path, rec.Code))
		w.mu.Unlock()
		maps.Copy(rw.Header(), rec.Header())
		rw.WriteHeader(rec.Code)
		_, _ = rec.Body.WriteTo(rw)
	}))
	t.Cleanup(s.Close)
	return s
}

func reply(rw http.ResponseWriter, status int, v any) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(v)
}

// call is the MCP endpoint.
func (w *world) call(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	token, sent := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	w.mu.Lock()
	defer w.mu.Unlock()
	form, ok := w.live[token]
	challenge, demand := "Bearer ", ""
	if w.demand != nil && ok {
		demand = w.demand(form)
	}
	if !w.noHeader {
		challenge += fmt.Sprintf("resource_metadata=%q, ", w.mcp.URL+"/.well-known/oauth-protected-resource/mcp")
	}
	switch {
	case sent && (!ok || w.bad):
		rw.Header().Set("WWW-Authenticate", challenge+fmt.Sprintf(`error="invalid_token", scope=%q`, w.scope))
		rw.WriteHeader(http.StatusUnauthorized)
	case !sent:
		rw.Header().Set("WWW-Authenticate", challenge+fmt.Sprintf("scope=%q", w.scope))
		rw.WriteHeader(http.StatusUnauthorized)
	case demand != "":
		rw.Header().Set("WWW-Authenticate", challenge+demand)
		rw.WriteHeader(http.StatusUnauthorized)
	case w.needs != "" && !strings.Contains(" "+form.Get("scope")+" ", " "+w.needs+" "):
		rw.Header().Set("WWW-Authenticate", challenge+fmt.Sprintf(`error="insufficient_scope", scope=%q`, w.needs))
		rw.WriteHeader(http.StatusForbidden)
	default:
		w.bodies = append(w.bodies, string(body))
		w.people = append(w.people, form.Get("assertion"))
		_, _ = io.WriteString(rw, "hello")
	}
}

// answerToken is the token endpoint of the AS and of the IdP.
func (w *world) answerToken(rw http.ResponseWriter, r *http.Request, who string) {
	_ = r.ParseForm()
	w.mu.Lock()
	w.forms[who] = append(w.forms[who], r.PostForm)
	w.heads[who] = append(w.heads[who], r.Header.Clone())
	f := w.token
	if who == "idp" {
		f = w.exchange
	}
	w.issued++
	n := w.issued
	w.mu.Unlock()
	status, answer := 200, m{}
	if f != nil {
		status, answer = f(r.PostForm)
	}
	if status == 200 && who == "idp" {
		defaults(answer, m{"access_token": fmt.Sprintf("jag-%d-%s", n, r.PostForm.Get("subject_token")), "token_type": "N_A",
			"issued_token_type": "urn:ietf:params:oauth:token-type:id-jag", "expires_in": 300})
	}
	if status == 200 && who == "as" {
		token := fmt.Sprintf("token-%d", n)
		defaults(answer, m{"access_token": token, "token_type": "Bearer", "expires_in": 3600})
		form := r.PostForm
		if len(w.sent) > 0 && form.Get("scope") == "" {
			form = url.Values{"scope": {w.sent[len(w.sent)-1].Get("scope")}}
		}
		w.mu.Lock()
		w.live[token] = form
		w.mu.Unlock()
	}
	reply(rw, status, answer)
}

func defaults(into, from m) {
	for k, v := range from {
		if _, ok := into[k]; !ok {
			into[k] = v
		}
	}
}

// browser is the authorization endpoint, where nobody has to be asked.
func (w *world) browser(rw http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	w.mu.Lock()
	w.sent = append(w.sent, q)
	w.mu.Unlock()
	back := url.Values{"code": {"code-1"}, "state": {q.Get("state")}, "iss": {w.as.URL}}
	if w.authorize != nil {
		w.authorize(back)
	}
	http.Redirect(rw, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

func (w *world) register(rw http.ResponseWriter, r *http.Request) {
	var asked map[string]any
	_ = json.NewDecoder(r.Body).Decode(&asked)
	w.mu.Lock()
	w.made = append(w.made, asked)
	id := fmt.Sprintf("dynamic-%d", len(w.made))
	w.mu.Unlock()
	reply(rw, 201, m{"client_id": id, "token_endpoint_auth_method": "none"})
}

// trace takes what was written down so far.
func (w *world) trace() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := w.lines
	w.lines = nil
	return lines
}

// count is how many token requests somebody got.
func (w *world) count(who string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.forms[who])
}

// revoke makes the MCP server refuse every token that was issued so far.
func (w *world) revoke() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live = map[string]url.Values{}
}

type personKey struct{}

func as(name string) context.Context {
	return context.WithValue(context.Background(), personKey{}, name)
}

// crossApp asks for the person of the context.
func (w *world) crossApp() *doorward.CrossApp {
	return &doorward.CrossApp{
		IdP:    doorward.Credentials{Issuer: w.idp.URL, ID: "app", Secret: "idp-secret"},
		Server: doorward.Credentials{ID: "agent", Secret: "as-secret"},
		Subject: func(ctx context.Context) (doorward.Subject, error) {
			name, _ := ctx.Value(personKey{}).(string)
			if name == "" {
				return doorward.Subject{}, fmt.Errorf("no session")
			}
			return doorward.Subject{Person: name, Token: "id-token-of-" + name}, nil
		},
	}
}

// code is a browser that does at once what it is told.
func (w *world) code() *doorward.AuthorizationCode {
	return &doorward.AuthorizationCode{Open: visit}
}

func visit(ctx context.Context, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// post calls the MCP server once and returns the status.
func post(ctx context.Context, rt http.RoundTripper, address string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader("body"))
	if err != nil {
		return 0, err
	}
	resp, err := (&http.Client{Transport: rt}).Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, nil
}

// must is a call that is let in.
func must(t *testing.T, ctx context.Context, rt http.RoundTripper, address string) {
	t.Helper()
	if status, err := post(ctx, rt, address); err != nil || status != 200 {
		t.Fatalf("call: status %d, error %v", status, err)
	}
}
