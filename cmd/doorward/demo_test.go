package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// demoRun runs `doorward demo --once` through the wiring of the command.
func demoRun(t *testing.T, d *demo) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	d.env = env{stdout: &out, stderr: &locked{w: &errs}, lookup: os.LookupEnv}
	d.once = true
	if d.listen == nil {
		d.listen = func(string, string) (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	if err := d.run(ctx); err != nil {
		code = 1
	}
	return code, out.String(), errs.String()
}

type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

var lineForm = regexp.MustCompile(`^ *\d+  .+ → .+  (GET|POST) +/\S+ +\d{3}  .+  \d+\.\d ms$`)

// covers: C-EMA-02, C-EMA-03, C-EMA-04, IDP-JAG-01, AS-JAG-11
func TestDemo(t *testing.T) {
	code, out, errs := demoRun(t, &demo{})
	if code != 0 {
		t.Fatalf("exit %d\n%s%s", code, out, errs)
	}
	steps, _, _ := strings.Cut(out, "\n\nThe receipt:")
	lines := strings.Split(strings.TrimRight(steps, "\n"), "\n")
	if len(lines) != demoSteps {
		t.Errorf("%d lines, want %d:\n%s", len(lines), demoSteps, out)
	}
	for i, line := range lines {
		if !lineForm.MatchString(line) || !strings.HasPrefix(strings.TrimSpace(line), fmt.Sprint(i+1)+"  ") {
			t.Errorf("line %d is not of the documented form: %q", i+1, line)
		}
	}
	for _, word := range []string{"Alice", "Bob", "ID-JAG", "tools/call", "leave", "deny[0]", "partner/alice", "corp/carol", "revoke issuer:partner"} {
		if !strings.Contains(out, word) {
			t.Errorf("%q does not stand in the output", word)
		}
	}
}

func TestDemoRemovesItsFiles(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	if code, out, errs := demoRun(t, &demo{}); code != 0 {
		t.Fatalf("%s%s", out, errs)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// covers: X-LOG-01
func TestDemoShowsNoSecrets(t *testing.T) {
	d := &demo{trace: true}
	code, out, errs := demoRun(t, d)
	if code != 0 {
		t.Fatal(out, errs)
	}
	for name, secret := range d.secrets {
		if strings.Contains(out, secret) {
			t.Errorf("the trace shows the secret %s", name)
		}
	}
	jws := regexp.MustCompile(`eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}`)
	if token := jws.FindString(out + errs); token != "" {
		t.Error("a whole token stands in the trace")
	}
	for _, word := range []string{"requested_token_type=urn:ietf:params:oauth:token-type:id-jag", "oauth-id-jag+jwt: {", "at+jwt: {"} {
		if !strings.Contains(out, strings.ToLower(word)) && !strings.Contains(out, word) {
			t.Errorf("the trace lacks %q", word)
		}
	}
}

// demoSteps is how many there are.
const demoSteps = 24

// fault is something that goes wrong at a party's door.
type fault struct {
	step int
	part string // idp, serve, admin
	name string
	hits func(r *http.Request, form url.Values, body string, seen *history) bool
	kind string // 500, refused, aud, endless
}

// history is what passed the doors so far.
type history struct {
	codes int  // redeemed codes at the IdPs
	left  bool // leave was asked

	revoked bool // revoke was asked
}

func isToken(r *http.Request, form url.Values, grant string) bool {
	return r.URL.Path == "/token" && strings.HasSuffix(form.Get("grant_type"), grant)
}

func demoFaults() []fault {
	signIn := func(n int) func(*http.Request, url.Values, string, *history) bool {
		return func(r *http.Request, form url.Values, _ string, seen *history) bool {
			return isToken(r, form, "authorization_code") && seen.codes == n
		}
	}
	grant := func(grant string, left bool) func(*http.Request, url.Values, string, *history) bool {
		return func(r *http.Request, form url.Values, _ string, seen *history) bool {
			return isToken(r, form, grant) && seen.left == left
		}
	}
	path := func(method, path, word string, left bool) func(*http.Request, url.Values, string, *history) bool {
		return func(r *http.Request, _ url.Values, body string, seen *history) bool {
			return r.Method == method && r.URL.Path == path && strings.Contains(body, word) && seen.left == left
		}
	}
	after := func(codes int, grant string) func(*http.Request, url.Values, string, *history) bool {
		return func(r *http.Request, form url.Values, _ string, seen *history) bool {
			return isToken(r, form, grant) && seen.codes == codes
		}
	}
	calls := func(codes int, revoked bool) func(*http.Request, url.Values, string, *history) bool {
		return func(r *http.Request, _ url.Values, body string, seen *history) bool {
			return r.URL.Path == "/mcp" && strings.Contains(body, "tools/call") && seen.codes == codes && seen.revoked == revoked
		}
	}
	bob := func(r *http.Request, form url.Values, _ string, seen *history) bool {
		return isToken(r, form, "token-exchange") && seen.codes == 2
	}
	return []fault{
		{1, "idp", "Alice's sign-in", signIn(0), "500"},
		{1, "idp", "Alice's sign-in", signIn(0), "refused"},
		{1, "idp", "Alice's sign-in", signIn(0), "aud"},
		{2, "serve", "the challenge", path("POST", "/mcp", "initialize", false), "500"},
		{2, "serve", "the challenge", path("POST", "/mcp", "initialize", false), "refused"},
		{3, "serve", "the resource metadata", path("GET", "/.well-known/oauth-protected-resource/mcp", "", false), "500"},
		{4, "serve", "the server metadata", path("GET", "/.well-known/oauth-authorization-server", "", false), "500"},
		{5, "idp", "the exchange", grant("token-exchange", false), "500"},
		{5, "idp", "the exchange", grant("token-exchange", false), "refused"},
		{5, "idp", "the exchange", grant("token-exchange", false), "aud"},
		{6, "serve", "the redemption", grant("jwt-bearer", false), "500"},
		{6, "serve", "the redemption", grant("jwt-bearer", false), "refused"},
		{6, "serve", "the redemption", grant("jwt-bearer", false), "aud"},
		{7, "serve", "the call", path("POST", "/mcp", "tools/call", false), "500"},
		{8, "serve", "the stream", path("GET", "/mcp", "", false), "500"},
		{9, "idp", "Bob's sign-in", signIn(1), "500"},
		{9, "idp", "Bob's sign-in", signIn(1), "aud"},
		{10, "idp", "Bob's exchange", bob, "500"},
		{11, "admin", "leave", path("POST", "/leave", "alice", true), "500"},
		{11, "admin", "leave", path("POST", "/leave", "alice", true), "refused"},
		{12, "serve", "the stream", path("GET", "/mcp", "", false), "endless"},
		{13, "serve", "the ended token", path("POST", "/mcp", "tools/list", true), "500"},
		{14, "serve", "the new ID-JAG", grant("jwt-bearer", true), "500"},
		{15, "partner idp", "the other Alice's sign-in", signIn(2), "500"},
		{15, "partner idp", "the other Alice's sign-in", signIn(2), "aud"},
		{16, "partner idp", "the other Alice's exchange", after(3, "token-exchange"), "500"},
		{16, "partner idp", "the other Alice's exchange", after(3, "token-exchange"), "aud"},
		{17, "serve", "the other Alice's redemption", after(3, "jwt-bearer"), "500"},
		{17, "serve", "the other Alice's redemption", after(3, "jwt-bearer"), "aud"},
		{18, "serve", "the other Alice's call", calls(3, false), "500"},
		{19, "idp", "Carol's sign-in", signIn(3), "500"},
		{20, "serve", "Carol's call", calls(4, false), "500"},
		{20, "idp", "Carol's exchange", after(4, "token-exchange"), "500"},
		{21, "partner idp", "the exchange under the new rule", after(4, "token-exchange"), "500"},
		{22, "admin", "revoke", path("POST", "/revoke", "partner", true), "500"},
		{22, "admin", "revoke", path("POST", "/revoke", "partner", true), "refused"},
		{23, "serve", "the other Alice's ended token", func(r *http.Request, _ url.Values, body string, seen *history) bool {
			return seen.revoked && strings.Contains(body, "tools/list")
		}, "500"},
		{24, "serve", "Carol's second call", calls(4, true), "500"},
	}
}

// Every step fails, with its number, when its peer does.
func TestDemoFaults(t *testing.T) {
	covered := map[int]bool{}
	for _, f := range demoFaults() {
		covered[f.step] = true
		t.Run(fmt.Sprintf("%d %s %s", f.step, f.name, f.kind), func(t *testing.T) {
			t.Parallel()
			code, out, errs := demoRun(t, faulty(f))
			lines := strings.Split(strings.TrimSpace(out), "\n")
			if want := fmt.Sprintf("step %d ", f.step); code != 1 || !strings.HasPrefix(lines[len(lines)-1], want) {
				t.Errorf("exit %d, last line %q, want exit 1 and %q…\n%s%s", code, lines[len(lines)-1], want, out, errs)
			}
		})
	}
	for n := 1; n <= demoSteps; n++ {
		if !covered[n] {
			t.Errorf("nothing makes step %d fail", n)
		}
	}
}

// faulty is a demo in which one thing goes wrong.
func faulty(f fault) *demo {
	var mu sync.Mutex
	seen := &history{}
	doors := map[string]net.Listener{}
	return &demo{
		listen: func(part, _ string) (net.Listener, error) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			mu.Lock()
			doors[part] = l
			mu.Unlock()
			return l, err
		},
		wrap: func(part string, h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					panic(err)
				}
				r.Body = io.NopCloser(bytes.NewReader(body))
				form, err := url.ParseQuery(string(body))
				if err != nil {
					form = url.Values{}
				}
				mu.Lock()
				seen.revoked = seen.revoked || r.URL.Path == "/revoke" && part == "admin"
				seen.left = seen.left || r.URL.Path == "/leave"
				hit := part == f.part && f.hits(r, form, string(body), seen)
				if isToken(r, form, "authorization_code") {
					seen.codes++
				}
				door := doors[part]
				mu.Unlock()
				if !hit {
					h.ServeHTTP(w, r)
					return
				}
				f.happen(w, r, h, door)
			})
		},
	}
}

func (f fault) happen(w http.ResponseWriter, r *http.Request, h http.Handler, door net.Listener) {
	switch f.kind {
	case "500":
		http.Error(w, "something is broken here", http.StatusInternalServerError)
	case "refused": // from now on
		if door != nil {
			door.Close()
		}
		panic(http.ErrAbortHandler)
	case "aud":
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, otherAudience(rec.Body.Bytes()))
	case "endless":
		if r.Header.Get("Authorization") == "" {
			h.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
}

// otherAudience rewrites the audience of the tokens of a token response.
func otherAudience(body []byte) string {
	var resp map[string]any
	if json.Unmarshal(body, &resp) != nil {
		return string(body)
	}
	for _, name := range []string{"access_token", "id_token"} {
		parts := strings.Split(fmt.Sprint(resp[name]), ".")
		if len(parts) != 3 {
			continue
		}
		raw, err := base64.RawURLEncoding.DecodeString(parts[1])
		var claims map[string]any
		if err != nil || json.Unmarshal(raw, &claims) != nil {
			continue
		}
		claims["aud"] = "https://somebody.else.example"
		raw, err = json.Marshal(claims)
		if err != nil {
			continue
		}
		resp[name] = parts[0] + "." + base64.RawURLEncoding.EncodeToString(raw) + "." + parts[2]
	}
	out, err := json.Marshal(resp)
	if err != nil {
		return string(body)
	}
	return string(out)
}

// The output is read from the exchange: another port and another claim show.
func TestDemoPrintsWhatWasThere(t *testing.T) {
	var port string
	d := &demo{json: true}
	d.listen = func(part, _ string) (net.Listener, error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err == nil && part == "serve" {
			_, port, err = net.SplitHostPort(l.Addr().String())
		}
		return l, err
	}
	d.wrap = func(part string, h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if part != "serve" || r.URL.Path != "/mcp" || r.Header.Get("Authorization") != "" {
				h.ServeHTTP(w, r)
				return
			}
			h.ServeHTTP(&rewriteScope{w}, r)
		})
	}
	code, out, errs := demoRun(t, d)
	if code != 0 {
		t.Fatalf("%s%s", out, errs)
	}
	var steps []map[string]any
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		var s map[string]any
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		for _, key := range []string{"n", "from", "to", "method", "url", "status", "claims", "ok", "ms"} {
			if _, ok := s[key]; !ok || len(s) != 9 {
				t.Errorf("step %v lacks %q, or has more than the documented members: %s", s["n"], key, line)
			}
		}
		steps = append(steps, s)
	}
	if got := fmt.Sprint(steps[1]["url"]); !strings.Contains(got, ":"+port+"/") {
		t.Errorf("the challenge came from port %s, shown: %s", port, got)
	}
	if got := steps[5]["claims"].(map[string]any)["scope"]; got != "sample:read sample:write" {
		t.Errorf("the token's scope is shown as %v", got)
	}
}

// rewriteScope makes the challenge ask for one more scope.
type rewriteScope struct{ http.ResponseWriter }

func (w *rewriteScope) WriteHeader(status int) {
	for i, v := range w.Header()["Www-Authenticate"] {
		w.Header()["Www-Authenticate"][i] = strings.Replace(v, `scope="sample:read"`, `scope="sample:read sample:write"`, 1)
	}
	w.ResponseWriter.WriteHeader(status)
}
