package authserver

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"doorward/internal/oauth"
)

// everyRoute is every path of the route table, of what providers bring back and
// of what Protect added, with its methods. What is added later is among them.
func everyRoute(t *testing.T, s *Server) map[string]route {
	t.Helper()
	all := maps.Clone(s.routes)
	st := s.current()
	for _, p := range st.providers {
		path := st.path + "/callback/" + p.Name
		rt, ok := s.callbackRoute(path)
		if !ok {
			t.Fatalf("no route %s", path)
		}
		all[path] = rt
	}
	return all
}

var readsParameter = regexp.MustCompile(`(?:\bone|\bmany|\babsent|\bfield|\.Get|\.Has)\("([a-z_]+)"|orm\["([a-z_]+)"\]`)

// parameterNames is what the code reads from forms and queries.
func parameterNames(t *testing.T) []string {
	t.Helper()
	names := map[string]bool{"unheard_of": true, "client_id": true}
	for _, dir := range []string{".", "../internal/oauth"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range readsParameter.FindAllStringSubmatch(string(b), -1) {
				names[m[1]+m[2]] = true
			}
		}
	}
	if !names["code_verifier"] || !names["attempt"] || !names["token"] || len(names) < 25 {
		t.Fatalf("these are not all: %v", slices.Sorted(maps.Keys(names)))
	}
	return slices.Sorted(maps.Keys(names))
}

// goTrace is what Go prints of a fault. The word panic alone is none: among
// millions of pages one has it in what is sealed.
var goTrace = regexp.MustCompile(`goroutine \d|\.go:\d+|runtime error|\bnil pointer|\bpanic[:(]`)

// proper checks the answer to a bad request: no fault of the server, no trace of
// its inside, and an error in the form of the endpoint.
func proper(t *testing.T, what string, r reply) {
	t.Helper()
	switch {
	case r.status >= 500:
		t.Errorf("%s: %s", what, r.brief())
	case goTrace.MatchString(r.body):
		t.Errorf("%s: a look inside: %s", what, r.brief())
	case !utf8.ValidString(r.body):
		t.Errorf("%s: not UTF-8: %q", what, r.brief())
	case r.status >= 300 && r.status < 400:
		if to, err := url.Parse(r.header.Get("Location")); err != nil || to.String() == "" {
			t.Errorf("%s: sent to %q", what, r.header.Get("Location"))
		}
	case r.status >= 400 && !strings.Contains(what, " HEAD "):
		kind := r.header.Get("Content-Type")
		_, described := r.field("error_description")
		page := strings.HasPrefix(kind, "text/html") && strings.Contains(r.body, "<h1>") && strings.Contains(r.header.Get("Content-Security-Policy"), "default-src 'none'")
		if !page && (kind != "application/json" || !described) {
			t.Errorf("%s: neither an error nor a page: %q %s", what, kind, r.brief())
		}
		if r.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: may be cached", what)
		}
	}
	if text := r.text("error_description"); text != oauth.Printable(text) && r.status >= 400 {
		t.Errorf("%s: error_description %q", what, text)
	}
}

// throw sends a request as a browser of the issuer's own pages would.
func throw(s *Server, method, target, kind, body string) reply {
	r := httptest.NewRequest("GET", asURL, strings.NewReader(body))
	r.Method, r.ContentLength = method, int64(len(body))
	path, query, _ := strings.Cut(target, "?")
	r.URL.Path, r.URL.RawQuery = path, query
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return send(s, r)
}

// badServers are an authorization server with pages and providers, and an
// identity provider.
func badServers(t *testing.T) map[string]*Server {
	w := newWorld(t, func(as, _ *Config) {
		as.SignIn = AnyOf(LocalPeople(map[string]LocalPerson{"alice": {Password: passwordHash}}),
			OIDC(OIDCProvider{Name: "corp", Issuer: idpURL, ClientID: "as", ClientSecret: "a secret of the server"}))
	})
	return map[string]*Server{"as": w.as, "idp": w.idp}
}

const formKind = "application/x-www-form-urlencoded"

// Each endpoint takes its methods and says which, in the form of its errors.
//
// covers: D01
func TestBadMethods(t *testing.T) {
	for name, s := range badServers(t) {
		for path, rt := range everyRoute(t, s) {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "BREW"} {
				r := throw(s, method, path, "", "")
				what := fmt.Sprint(name, " ", method, " ", path)
				proper(t, what, r)
				if allows(rt.methods, method) || rt.cors != noCORS && method == http.MethodOptions {
					continue
				}
				if r.status != http.StatusMethodNotAllowed || r.header.Get("Allow") == "" || strings.Contains(", "+r.header.Get("Allow")+",", ", "+method+",") {
					t.Errorf("%s: %d, Allow %q", what, r.status, r.header.Get("Allow"))
				}
			}
		}
	}
}

// badBodies are bodies of all kinds, with the types that they come with.
func badBodies() map[string][2]string {
	deep := strings.Repeat("[", 100_000)
	bodies := map[string][2]string{
		"nothing": {formKind, ""}, "no type": {"", "grant_type=x"}, "a broken type": {"/;;=", "grant_type=x"},
		"a type of many": {formKind + ", application/json", "grant_type=x"}, "multipart": {"multipart/form-data; boundary=x", "--x\r\n\r\n--x--"},
		"multipart without boundary": {"multipart/form-data", "--x"}, "text": {"text/plain", "grant_type=x"},
		"bad escape": {formKind, "grant_type=%zz"}, "semicolons": {formKind, "grant_type=x;code=y"}, "bytes": {formKind, "\xff\xfe\x00=\x80"},
		"only separators": {formKind, strings.Repeat("&=", 10_000)}, "many names": {formKind, strings.Repeat("a&", 100_000)},
		"huge": {formKind, "code=" + strings.Repeat("a", 2<<20)},
	}
	for name, text := range map[string]string{
		"null": "null", "a number": "7", "a string": `"x"`, "a list": "[]", "half": `{"redirect_uris":[`, "two": "{}{}", "an empty object": "{}", "BOM": "\ufeff{}",
		"deep": deep, "deep member": `{"jwks":` + strings.Repeat(`{"a":`, 50_000) + "1" + strings.Repeat("}", 50_000) + "}", "a huge number": `{"a":1e999999,"b":` + strings.Repeat("9", 10_000) + "}",
		"wrong types": `{"redirect_uris":{"a":1},"client_name":[7],"grant_types":"x"}`, "nulls": `{"redirect_uris":null,"client_name":null,"jwks":null}`,
		"not UTF-8": "{\"client_name\":\"\xff\xfe\",\"redirect_uris\":[\"https://a.example/\xff\"]}", "lone surrogate": `{"client_name":"\ud800","redirect_uris":["https://a.example/\udfff"]}`,
		"huge": `{"client_name":"` + strings.Repeat("a", 2<<20) + `"}`, "many members": "{" + strings.Repeat(`"a":1,`, 10_000) + `"b":1}`,
		"many URIs": `{"redirect_uris":["https://a.example/cb"` + strings.Repeat(`,"https://a.example/cb"`, 2000) + "]}",
	} {
		bodies["JSON: "+name] = [2]string{"application/json", text}
	}
	return bodies
}

// Every endpoint and every body: an error of ours, and quickly.
func TestBadBodies(t *testing.T) {
	for name, s := range badServers(t) {
		for path, rt := range everyRoute(t, s) {
			for kind, body := range badBodies() {
				for _, method := range rt.methods {
					begun := time.Now()
					proper(t, fmt.Sprint(name, " ", method, " ", path, ": ", kind), throw(s, method, path, body[0], body[1]))
					if took := time.Since(begun); took > 5*time.Second {
						t.Errorf("%s %s: %s took %v", name, path, kind, took)
					}
				}
			}
		}
	}
}

// goodForms are requests that are nearly right, so that a bad value among them is
// reached.
func goodForms(s *Server) []url.Values {
	forms := []url.Values{
		form("response_type=code", "client_id=web", "redirect_uri=https://web.example/callback", "state=s", "code_challenge="+oauth.S256(codeVerifier),
			"code_challenge_method=S256", "resource="+filesURL, "scope=files:read", "token=x", "attempt=x"),
		form("client_id=agent", "client_secret="+agentSecret, "token=x", "scope=files:read"),
		form("attempt=x", "username=alice", "password=x", "decision=yes", "state=x", "code=x"),
	}
	for _, grant := range s.grantTypes() {
		forms = append(forms, form("grant_type="+grant, "client_id=desktop", "client_secret="+desktopSecret, "code=x", "code_verifier="+codeVerifier, "refresh_token=x",
			"assertion=x.y.z", "subject_token=x.y.z", "subject_token_type="+oauth.TokenTypeIDToken, "requested_token_type="+oauth.TokenTypeIDJAG, "audience="+asURL, "device_code=x"))
	}
	return forms
}

// badValues of a parameter.
func badValues() map[string][]string {
	return map[string][]string{
		"twice": {"x", "x"}, "twice, once empty": {"", "x"}, "empty": {""}, "blank": {" "}, "huge": {strings.Repeat("a", 100_000)}, "long": {strings.Repeat("a", 9000)},
		"not UTF-8": {"\xff\xfe"}, "NUL": {"a\x00b"}, "a new line": {"a\r\nSet-Cookie: a=b"}, "quotes": {`"><script>alert(1)</script>`}, "template": {"{{.}}%s%n"},
		"right to left": {"\u202eabc"}, "beyond the BMP": {"😀"}, "a list": {"[]"}, "a path": {"../../etc/passwd"}, "a URL": {"javascript:alert(1)//https://a.example"},
		"a number": {"-1"}, "a big number": {"99999999999999999999"}, "JWT-like": {"e30.e30."}, "many": slices.Repeat([]string{"https://a.example"}, 100),
	}
}

// Every parameter that the code reads, at every endpoint, with every bad value,
// in requests of all kinds in turn.
func TestBadParameters(t *testing.T) {
	names := parameterNames(t)
	turn := 0
	for name, s := range badServers(t) {
		forms := goodForms(s)
		for path, rt := range everyRoute(t, s) {
			for _, good := range forms {
				missing(t, s, name+" "+path, path, rt, good)
			}
			if rt.cors != noCORS && slices.Equal(rt.methods, []string{http.MethodGet}) {
				continue // a document: nothing is read
			}
			for _, parameter := range names {
				for kind, values := range badValues() {
					if turn++; raceDetector && turn%17 != 0 {
						continue
					}
					f := maps.Clone(forms[turn%len(forms)])
					f[parameter] = values
					method := rt.methods[turn%len(rt.methods)]
					badParameter(t, s, method, path, f, fmt.Sprint(name, " ", method, " ", path, ": ", parameter, " ", kind))
				}
			}
		}
	}
}

func badParameter(t *testing.T, s *Server, method, path string, f url.Values, what string) {
	t.Helper()
	if method == http.MethodPost {
		proper(t, what, throw(s, method, path, formKind, f.Encode()))
	} else {
		proper(t, what, throw(s, method, path+"?"+f.Encode(), "", ""))
	}
}

// missing leaves out each parameter in turn.
func missing(t *testing.T, s *Server, what, path string, rt route, good url.Values) {
	t.Helper()
	for parameter := range good {
		f := maps.Clone(good)
		delete(f, parameter)
		for _, method := range rt.methods {
			badParameter(t, s, method, path, f, what+": without "+parameter)
		}
	}
}

// A clock that is ten minutes off, here or there: refused where it matters, and
// never a fault.
//
// covers: X-JWT-05
func TestClocksAreOff(t *testing.T) {
	for off, want := range map[time.Duration]int{10 * time.Minute: http.StatusBadRequest, -10 * time.Minute: http.StatusBadRequest, 20 * time.Second: http.StatusOK} {
		w := newWorld(t)
		now := w.now().Add(off)
		jag := w.jag(t, map[string]any{"iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix()})
		r := post(w.as, "/token", desktop, form("grant_type="+oauth.JWTBearer, "assertion="+jag))
		if r.status != want || want != http.StatusOK && r.text("error") != "invalid_grant" {
			t.Errorf("an identity provider that is %v off: %s", off, r.brief())
		}
	}
	// Our own clock goes back: what was made before holds, and nothing is a fault.
	w := newWorld(t)
	if err := w.as.Protect("/extra", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})); err != nil {
		t.Fatal(err)
	}
	g := filesGrant("desktop")
	g.Resource, g.Scopes = asURL+"/extra", nil
	redeem := func(code string) reply {
		return post(w.as, "/token", desktop, form("grant_type=authorization_code", "code="+code, "code_verifier="+codeVerifier))
	}
	code, later := w.code(t, w.as, g, "http://127.0.0.1/callback"), w.code(t, w.as, g, "http://127.0.0.1/callback")
	opens := func(r reply) int {
		return ask(w.as, http.MethodGet, asURL+"/extra", "Authorization", "Bearer "+r.text("access_token")).status
	}
	first := redeem(code)
	w.forward(-10 * time.Minute)
	if status := opens(first); status != http.StatusUnauthorized {
		t.Errorf("a token from ten minutes ahead: %d", status)
	}
	back := redeem(later)
	if back.status != http.StatusOK || opens(back) != http.StatusOK {
		t.Errorf("ten minutes back, a code: %s", back.brief())
	}
	next := post(w.as, "/token", desktop, form("grant_type=refresh_token", "refresh_token="+first.text("refresh_token")))
	if next.status != http.StatusOK || opens(next) != http.StatusOK {
		t.Errorf("ten minutes back, a refresh: %s", next.brief())
	}
	w.forward(20 * time.Minute)
	if r := redeem(w.code(t, w.as, g, "http://127.0.0.1/callback")); r.status != http.StatusOK || opens(r) != http.StatusOK {
		t.Errorf("ten minutes ahead: %s", r.brief())
	}
	if status := opens(back); status != http.StatusUnauthorized {
		t.Errorf("a token of 15 minutes after 20: %d", status)
	}
}
