package authserver

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"doorward/internal/oauth"
)

var requestURIForm = regexp.MustCompile(`^urn:ietf:params:oauth:request_uri:[A-Za-z0-9_-]{43}$`)

// cmdNamed checks the form of a request_uri: 256 bits.
func (s *script) cmdNamed(neg bool, args []string) {
	if requestURIForm.MatchString(args[0]) == neg {
		s.ts.Fatalf("request_uri %s", args[0])
	}
}

// push pushes a request of the client desktop.
func (s *site) push(t *testing.T, pairs ...string) string {
	t.Helper()
	u, err := url.Parse(s.ask("desktop", desktopCB, pairs...))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	r := post(s.Server, "/par", "desktop a secret of the desktop", q)
	if r.status != http.StatusCreated {
		t.Fatalf("%d %s", r.status, r.body)
	}
	return s.url + "/authorize?client_id=desktop&request_uri=" + url.QueryEscape(r.text("request_uri"))
}

// covers: AS-PAR-04, AS-PAR-06, C30
func TestPushedRequest(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	target := s.push(t, "scope", "files:read", "nonce", "n-42")
	// What else the query says does not count.
	p := b.get(target + "&scope=files:write&state=other&redirect_uri=https://evil.example.net/&prompt=none&max_age=x")
	p.shows(t, 200, "Sign in")
	// The person reloads the page; the same browser may come again.
	p = b.signIn(b.get(target), "alice")
	p.shows(t, 200, "Allow", "Read files")
	if strings.Contains(p.body, "Change files") {
		t.Error("the query widened the request")
	}
	b.get(target).shows(t, 200, "Allow", "Read files")
	s.browser().get(target).shows(t, 400, "request_uri")
	q := b.submit(p).arrived(t, "https://desktop.example.com/cb?keep=1&code=")
	if q.Get("state") != "st+te/1" || q.Get("iss") != siteURL {
		t.Errorf("answer %v", q)
	}
	if g := s.grantOf("alice"); g.Nonce != "n-42" {
		t.Errorf("nonce %q", g.Nonce)
	}
	// One pushed request brings one code.
	b.get(target).shows(t, 400, "answered already")
	if n := len(s.grantsOf("alice")); n != 1 {
		t.Errorf("%d grants", n)
	}
	// A client that must push finds its own code good.
	status, doc := b.redeemAs("desktop a secret of the desktop", q.Get("code"))
	if status != http.StatusOK {
		t.Errorf("redemption: %d %v", status, doc)
	}
}

func (b *browser) redeemAs(who, code string) (int, string) {
	b.t.Helper()
	r := post(b.site.Server, "/token", who, form("grant_type="+oauth.AuthorizationCode, "code="+code, "code_verifier="+verifier))
	return r.status, r.body
}

// A page that lay open for too long cannot begin a pushed request again.
func TestPushedRequestThatIsTooOld(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	p := b.get(s.push(t))
	s.wait(pushedLife)
	p = b.signIn(p, "alice") // the pages live longer than the name
	p.shows(t, 200, "Allow")
	s.wait(attemptLife)
	b.submit(p).shows(t, 400, "request_uri")
	if n := len(s.grantsOf("alice")); n != 0 {
		t.Errorf("%d grants", n)
	}
}

// A pushed request brings one code, though each page of it lives ten minutes
// more and two of them are answered far apart.
//
// covers: AS-PAR-04
func TestPushedRequestBringsNoSecondCodeLate(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	target := s.push(t, "prompt", "consent")
	first, second := b.get(target), b.get(target)
	b.submit(b.signIn(first, "alice")).arrived(t, desktopCB)
	later := func() {
		s.wait(9 * time.Minute)
		if _, err := s.ledger.Store.Sweep(t.Context(), 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	later()
	page := b.signIn(second, "alice")
	page.shows(t, http.StatusOK, "Allow")
	later()
	b.submit(page).shows(t, http.StatusBadRequest, "answered already")
	// By more pages, of a provider for instance, it could go on for longer: none
	// outlives the mark of its code.
	r := httptest.NewRequest(http.MethodGet, s.ask("desktop", desktopCB), nil)
	req, err := oauth.ParseAuthorizationRequest(r.URL.Query())
	if err != nil {
		t.Fatal(err)
	}
	for left, want := range map[time.Duration]error{time.Second: nil, 0: errPushedOver} {
		_, err := s.visit(httptest.NewRecorder(), r).examine(attempt{Request: &req, Pushed: "x", PushedUntil: s.now().Add(left)})
		if err != want {
			t.Errorf("%s before the end: %v", left, err)
		}
	}
}

// covers: AS-PAR-06
// The wish to push only can be registered, and stands in a metadata document.
func TestClientsThatOnlyPush(t *testing.T) {
	s := newSite(t, nil)
	const redirect = "http://127.0.0.1:3000/callback"
	const wish = `{"client_name":"T","redirect_uris":["` + redirect + `"],"token_endpoint_auth_method":"none"`
	plain := s.mustRegister(wish + `}`)
	doc := s.mustRegister(wish + `,"require_pushed_authorization_requests":true}`)
	if doc["require_pushed_authorization_requests"] != true || doc["client_id"] == plain["client_id"] {
		t.Errorf("registered: %v", doc)
	}
	q := s.browser().get(s.ask(doc["client_id"].(string), redirect)).arrived(t, redirect)
	if q.Get("error") != oauth.InvalidRequest || !strings.Contains(q.Get("error_description"), "pushed") {
		t.Errorf("a direct request: %v", q)
	}
	c, err := parseDocument("https://c.example/m", []byte(`{"client_id":"https://c.example/m","client_name":"C","redirect_uris":["https://c.example/cb"],"require_pushed_authorization_requests":true}`))
	if err != nil || !c.PushedOnly {
		t.Errorf("document: %+v, %v", c, err)
	}
	if _, err := parseDocument("https://c.example/m", []byte(`{"client_id":"https://c.example/m","client_name":"C","redirect_uris":["https://c.example/cb"],"require_pushed_authorization_requests":"yes"}`)); err == nil {
		t.Error("a text for a boolean passes")
	}
}

// covers: AS-PAR-05
func TestPushedRequestsAreLimited(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Limits.Token = Rate{Requests: 2, Per: 60_000_000_000} })
	u, _ := url.Parse(s.ask("cli", "http://127.0.0.1:4000/callback"))
	var last reply
	for range 4 {
		last = post(s.Server, "/par", "", u.Query())
	}
	if last.status != http.StatusTooManyRequests || last.header.Get("Retry-After") == "" {
		t.Errorf("%d %v", last.status, last.header)
	}
}

// covers: AS-PAR-01, AS-PAR-05
func TestPushedRequestsOfAnotherForm(t *testing.T) {
	s := newSite(t, nil)
	u, _ := url.Parse(s.ask("cli", "http://127.0.0.1:4000/callback"))
	send := func(mediaType, body string) reply {
		r := httptest.NewRequest(http.MethodPost, s.url+"/par", strings.NewReader(body))
		r.Header.Set("Content-Type", mediaType)
		return send(s.Server, r)
	}
	const form = "application/x-www-form-urlencoded"
	if r := send(form, u.RawQuery); r.status != http.StatusCreated {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r := send("application/json", `{"client_id":"cli"}`); r.status != http.StatusBadRequest || r.text("error") != oauth.InvalidRequest {
		t.Errorf("JSON: %d %s", r.status, r.body)
	}
	long := strings.Repeat("x", 7<<10)
	for name, body := range map[string]string{
		"too long to be sent on": u.RawQuery + "&nonce=" + long + "&login_hint=" + long + "&acr_values=" + long,
		"too large a body":       u.RawQuery + "&x=" + strings.Repeat("y", defaultBodyLimit),
	} {
		if r := send(form, body); r.status != http.StatusRequestEntityTooLarge || r.text("error") != oauth.InvalidRequest {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
}

// A name of a request is as hard to guess as a token.
func TestNamesOfPushedRequests(t *testing.T) {
	s := newSite(t, nil)
	seen := map[string]bool{}
	for range 100 {
		u, _ := url.Parse(s.push(t))
		name := strings.TrimPrefix(u.Query().Get("request_uri"), pushedPrefix)
		if b, err := base64.RawURLEncoding.DecodeString(name); err != nil || len(b) != 32 || seen[name] {
			t.Fatalf("name %q: %v", name, err)
		}
		seen[name] = true
	}
}

// Who has the name of a pushed request and not its client's takes nothing away.
//
// covers: AS-PAR-04
func TestPushedRequestOfAnotherClientStays(t *testing.T) {
	s := newSite(t, nil)
	target := s.push(t)
	s.browser().get(strings.Replace(target, "client_id=desktop", "client_id=two", 1)).shows(t, http.StatusBadRequest, "request_uri")
	s.browser().get(target).shows(t, http.StatusOK, "Sign in")
}
