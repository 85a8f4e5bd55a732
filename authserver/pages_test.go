package authserver

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/internal/ledger"
	"doorward/internal/login"
)

// everyPage visits every route that answers with HTML, in each of its states.
func everyPage(t *testing.T, s *site) map[string]page {
	t.Helper()
	s.attacker()
	s.register(ledger.Client{ID: "dyn-new", Name: "New App", AuthMethod: authNone, RedirectURIs: []string{"http://127.0.0.1/cb"}})
	b := s.browser()
	out := map[string]page{}
	out["login"] = b.get(s.ask("desktop", desktopCB))
	out["wrong password"] = b.submit(out["login"], "username", "alice", "password", "wrong")
	out["consent"] = b.signIn(out["login"], "alice")
	out["welcome"] = b.get(s.url + "/login")
	out["account"] = b.get(s.url + "/account")
	out["logout"] = b.get(s.url + "/logout")
	_, user := s.newCodes(t)
	out["device"] = b.get(s.url + "/device?user_code=" + user)
	out["device's code is wrong"] = b.submit(out["device"], "user_code", "BCDF-GHJK")
	out["device's consent"] = b.submit(out["device"])
	out["device's end"] = b.submit(out["device's consent"])
	out["device's code is over"] = b.submit(out["device's consent"])
	out["no client"] = b.get(s.ask("", desktopCB))
	out["stranger's error"] = b.get(s.ask("attacker", "https://evil.example.net/cb", "scope", "nothing"))
	out["not approved"] = b.get(s.ask("dyn-new", "http://127.0.0.1:1/cb"))
	out["damaged attempt"] = b.get(s.url + "/consent?attempt=AAAA")
	out["other browser"] = s.browser().get(out["consent"].url.String())
	out["other site"] = b.do(foreignForm(t, out["consent"]))
	out["denied"] = b.get(s.ask("attacker", "https://evil.example.net/cb", "resource", "https://x.example.com/"))
	out["signed out"] = b.submit(out["logout"])
	for range 12 {
		out["too many"] = b.submit(out["login"], "username", "bob", "password", "wrong")
	}
	return out
}

func foreignForm(t *testing.T, p page) *http.Request {
	t.Helper()
	action, form := p.form(t, "decision", "yes")
	r, err := http.NewRequest(http.MethodPost, action, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "https://evil.example.net")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	return r
}

// covers: AS-UI-03, AS-UI-04, SEC-15, SEC-28
func TestEveryPageHasItsHeaders(t *testing.T) {
	s := newSite(t, nil)
	styleBlock := regexp.MustCompile(`(?s)<style>(.*?)</style>`)
	for name, p := range everyPage(t, s) {
		if !strings.HasPrefix(p.header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: %d %s at %s", name, p.status, p.header.Get("Content-Type"), p.url)
			continue
		}
		for header, want := range map[string]string{
			"X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
		} {
			if got := p.header.Get(header); got != want {
				t.Errorf("%s: %s %q", name, header, got)
			}
		}
		csp := p.header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(csp, part) {
				t.Errorf("%s: policy %q lacks %s", name, csp, part)
			}
		}
		if p.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: other origins may read it", name)
		}
		m := styleBlock.FindStringSubmatch(p.body)
		if m == nil {
			t.Errorf("%s: no style sheet", name)
			continue
		}
		sum := sha256.Sum256([]byte(m[1]))
		if hash := "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(csp, "style-src "+hash) {
			t.Errorf("%s: the policy does not let the style sheet through", name)
		}
		for _, foreign := range []string{"<script", "<img", "<link", "<iframe", " src=", "url(", "@import", " style=", " on"} {
			if text := strings.Replace(p.body, m[1], "", 1); strings.Contains(text, foreign) && foreign != " on" || foreign == " on" && regexp.MustCompile(`<[^>]* on[a-z]+=`).MatchString(text) {
				t.Errorf("%s: has %s", name, foreign)
			}
		}
		for _, link := range linkTag.FindAllStringSubmatch(p.body, -1) {
			if !strings.HasPrefix(link[1], "/") && !strings.HasPrefix(link[1], "https://evil.example.net/cb?error=") {
				t.Errorf("%s: links to %s", name, link[1])
			}
		}
	}
}

// covers: AS-AUTHZ-07, SEC-29
func TestPostsAnswer303(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	p := b.signIn(b.get(s.ask("desktop", desktopCB)), "alice")
	b.submit(p)
	b.submit(b.get(s.url + "/logout"))
	posts := 0
	for _, res := range b.seen {
		if res.Request.Method != http.MethodPost {
			continue
		}
		posts++
		if res.StatusCode != http.StatusSeeOther || res.ContentLength > 0 {
			t.Errorf("POST %s answers %d", res.Request.URL.Path, res.StatusCode)
		}
		if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("POST %s: headers %v", res.Request.URL.Path, res.Header)
		}
	}
	if posts != 3 {
		t.Errorf("%d posts", posts)
	}
}

func TestFormActionNamesTheRedirectURI(t *testing.T) {
	for redirect, want := range map[string]string{
		"":                                    "",
		"https://app.example.com/cb?x=1":      " https://app.example.com",
		"https://app.example.com:8443/cb":     " https://app.example.com:8443",
		"http://127.0.0.1:3000/callback":      " http://127.0.0.1:3000",
		"http://[::1]:3000/callback":          " http:",
		"cursor://anysphere.cursor-mcp/oauth": " cursor:",
		"https://a;script-src *.example/":     "",
	} {
		if got := formTarget(redirect); got != want && !(strings.Contains(redirect, ";") && !strings.ContainsAny(got, ";*")) {
			t.Errorf("%s: %q, want %q", redirect, got, want)
		}
	}
	s := newSite(t, nil)
	b := s.browser()
	for _, p := range []page{b.get(s.ask("cli", "http://127.0.0.1:4321/callback")), b.signIn(b.get(s.ask("cli", "http://127.0.0.1:4321/callback")), "alice")} {
		if csp := p.header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' http://127.0.0.1:4321;") {
			t.Errorf("%s: %s", p.url.Path, csp)
		}
	}
}

// covers: AS-UI-02, SEC-25
func TestFormsAreBoundToBrowserAndRequest(t *testing.T) {
	s := newSite(t, nil)
	alice, bob := s.browser(), s.browser()
	login := alice.get(s.ask("desktop", desktopCB))
	consent := alice.signIn(login, "alice")
	action, form := consent.form(t, "decision", "yes")
	_, loginForm := login.form(t, "username", "alice", "password", password)
	with := func(f url.Values, token string) url.Values {
		out := url.Values{}
		for k, v := range f {
			out[k] = v
		}
		out.Set("attempt", token)
		return out
	}
	refused := func(name string, p page) {
		t.Helper()
		if p.left || p.status < 400 {
			t.Errorf("%s: %d at %s", name, p.status, p.url)
		}
	}
	refused("no token", alice.post(action, with(form, "")))
	other := "A"
	if form.Get("attempt")[20] == 'A' {
		other = "B"
	}
	refused("altered token", alice.post(action, with(form, form.Get("attempt")[:20]+other+form.Get("attempt")[21:])))
	refused("login's token at consent", alice.post(action, with(form, loginForm.Get("attempt"))))
	refused("consent's token at login", alice.post(s.url+"/login", with(loginForm, form.Get("attempt"))))
	refused("another browser's form", bob.post(action, form))
	refused("another browser's form, with a cookie", func() page { bob.get(s.url + "/login"); return bob.post(action, form) }())
	refused("another browser's login", s.browser().post(s.url+"/login", loginForm))
	refused("another site's form", alice.do(foreignForm(t, consent)))
	if n := len(s.grantsOf("alice")); n != 0 {
		t.Fatalf("%d grants were made", n)
	}
	// Another person in the same browser: the page was shown to alice.
	alice.signIn(alice.get(s.url+"/login?attempt="+attemptOf(t, consent)), "bob")
	cfg := s.cfg
	cfg.Resources = slices.Clone(cfg.Resources)
	cfg.Resources[0].Deny = nil
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	alice.post(action, form).shows(t, 200, "Allow", "bob")
	if n := len(s.grantsOf("bob")) + len(s.grantsOf("alice")); n != 0 {
		t.Fatalf("%d grants were made", n)
	}
}

// attemptOf is the attempt of the page's link to sign in as somebody else.
func attemptOf(t *testing.T, p page) string {
	t.Helper()
	u, err := url.Parse(html.UnescapeString(linkTag.FindStringSubmatch(p.body)[1]))
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get("attempt")
}

func TestConsentIsGoodOnce(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	consent := b.signIn(b.get(s.ask("cli", "http://127.0.0.1:1/callback")), "alice")
	b.submit(consent).arrived(t, "http://127.0.0.1:1/callback?code=")
	b.submit(consent).shows(t, 400, "answered already")
	if n := len(s.grantsOf("alice")); n != 1 {
		t.Errorf("%d grants", n)
	}
}

func TestEverythingButYesIsNo(t *testing.T) {
	s := newSite(t, nil)
	s.attacker()
	for _, decision := range []string{"no", "", "YES", "maybe"} {
		b := s.browser()
		consent := b.signIn(b.get(s.ask("attacker", "https://evil.example.net/cb")), "alice")
		q := b.submit(consent, "decision", decision).arrived(t, "https://evil.example.net/cb?error=")
		if q.Get("error") != "access_denied" || q.Get("state") != "st+te/1" || q.Get("iss") != siteURL {
			t.Errorf("%q: %v", decision, q)
		}
	}
	if n := len(s.grantsOf("alice")); n != 0 {
		t.Errorf("%d grants", n)
	}
}

func TestTwoTabs(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	first, second := b.get(s.ask("desktop", desktopCB)), b.get(s.ask("cli", "http://127.0.0.1:1/callback"))
	consent := b.signIn(first, "alice")
	other := b.signIn(second, "alice") // a new session takes the place of the first tab's
	b.submit(consent).arrived(t, "https://desktop.example.com/cb")
	b.submit(other).arrived(t, "http://127.0.0.1:1/callback?code=")
}

func TestAttemptThatIsTooOldBeginsAgain(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	login := b.get(s.ask("desktop", desktopCB))
	s.wait(attemptLife)
	p := b.signIn(login, "alice")
	p.shows(t, 200, "Password")
	consent := b.signIn(p, "alice")
	s.wait(attemptLife)
	b.submit(consent).shows(t, 200, "Allow") // asked anew, not approved
	if n := len(s.grantsOf("alice")); n != 0 {
		t.Errorf("%d grants", n)
	}
}

// covers: AS-UI-06, SEC-25
func TestSignInMakesANewSession(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	cookies := func() map[string]string {
		out := map[string]string{}
		u, _ := url.Parse(s.url)
		for _, c := range b.client.Jar.Cookies(u) {
			out[c.Name] = c.Value
		}
		return out
	}
	session := ""
	for name := range cookies() {
		t.Errorf("a cookie before the first page: %s", name)
	}
	p := b.get(s.ask("desktop", desktopCB))
	before := cookies()
	b.signIn(p, "alice")
	for name, value := range cookies() {
		if before[name] != value {
			session = name
		}
	}
	first := cookies()[session]
	if !strings.HasPrefix(session, "__Host-dw-") || first == "" {
		t.Fatalf("session cookie %q", session)
	}
	b.signIn(b.get(s.ask("desktop", desktopCB, "prompt", "login")), "alice")
	if second := cookies()[session]; second == first || second == "" {
		t.Error("the session survived the sign-in")
	}
	for _, res := range b.seen {
		for _, c := range res.Cookies() {
			if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/" {
				t.Errorf("cookie %s", c.Raw)
			}
		}
	}
}

// covers: AS-UI-01, SEC-16
func TestConsentOfALoopbackClient(t *testing.T) {
	s := newSite(t, nil)
	s.register(ledger.Client{ID: "dyn-local", Name: "Claude", AuthMethod: authNone, Approved: true, RedirectURIs: []string{"http://127.0.0.1/cb", "http://localhost/cb"}})
	b := s.browser()
	p := b.signIn(b.get(s.ask("dyn-local", "http://localhost:7777/cb")), "alice")
	p.shows(t, 200, "localhost:7777", "a program on this computer", "Not verified", "Claude", "Read files", "Files")
	b.submit(p).arrived(t, "http://localhost:7777/cb?code=")
	b.get(s.ask("dyn-local", "http://localhost:7777/cb")).shows(t, 200, "Allow")
}

// covers: AS-UI-05, SEC-24, SEC-32
func TestHostileNames(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	b.signIn(b.get(s.url+"/login"), "alice")
	for _, name := range []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, "</bdi></title><form>", "{{.Token}}",
		"Good\u202eelpA\u202c", "a\u0000b\u001bc", strings.Repeat("W", 5000), "\u2066x", "\xff\xfe", "line\nbreak\u2028s",
	} {
		s.register(ledger.Client{ID: "dyn-" + newID(), Name: name, AuthMethod: authNone, Approved: true, RedirectURIs: []string{"https://evil.example.net/cb"}})
		list, _, err := s.ledger.Clients(context.Background(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list {
			for _, ask := range []string{s.ask(c.ID, c.RedirectURIs[0]), s.ask(c.ID, c.RedirectURIs[0], "scope", "none")} {
				p := b.get(ask)
				if p.left {
					t.Fatalf("%q: sent to %s", name, p.url)
				}
				text := strings.NewReplacer("\u2068", "", "\u2069", "").Replace(p.body)
				for _, bad := range []string{"<script>", "<img", "</bdi></title>", "\u202e", "\u2066", "\x00", "\x1b", strings.Repeat("W", 101)} {
					if strings.Contains(text, bad) {
						t.Errorf("%q: the page has %q", name, bad)
					}
				}
				if strings.Count(text, "<form ") > 1 {
					t.Errorf("%q: a form was added", name)
				}
			}
		}
	}
}

func TestKnownClientIsCalledByItsName(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	b.signIn(b.get(s.url+"/login"), "alice")
	const cb = "https://claude.ai/api/mcp/auth_callback"
	s.register(ledger.Client{ID: "dyn-k", Name: "Payroll", Known: "claude", AuthMethod: authNone, Approved: true, RedirectURIs: []string{cb}})
	p := b.get(s.ask("dyn-k", cb))
	p.shows(t, 200, "Allow", "Claude", "claude.ai")
	if strings.Contains(p.body, "Payroll") || strings.Contains(p.body, "Not verified") {
		t.Error("the page believes the registration rather than the catalogue")
	}
}

func TestWrongPasswords(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	p := b.get(s.ask("desktop", desktopCB))
	for range 10 {
		b.submit(p, "username", "alice", "password", "wrong").shows(t, 403, "The name or the password is not right", `value="alice"`)
	}
	late := b.signIn(p, "alice")
	late.shows(t, 429, "Too many wrong passwords")
	if late.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	b.signIn(b.get(s.ask("desktop", desktopCB)), "bob").arrived(t, "https://desktop.example.com/cb") // refused by a rule, after the sign-in
	s.wait(time.Minute)
	other := s.browser()
	other.signIn(other.get(s.ask("desktop", desktopCB)), "alice").shows(t, 200, "Allow")
	unknown, empty := b.submit(p, "username", "nobody", "password", "x"), b.submit(p, "username", "", "password", "")
	if unknown.status != 403 || empty.status != 403 {
		t.Errorf("nobody: %d, nothing: %d", unknown.status, empty.status)
	}
}

func TestPeopleOfTheStore(t *testing.T) {
	s := newSite(t, nil)
	acc := ledger.Account{ID: "carol", Email: "carol@example.com", Groups: []string{"ops"}, Password: login.Hash("another long password"), Created: time.Now()}
	if err := s.ledger.Store.Commit(context.Background(), acc.Put(), ledger.Account{ID: "corp/dave", Provider: "corp", Account: "dave"}.Put()); err != nil {
		t.Fatal(err)
	}
	b := s.browser()
	p := b.get(s.ask("desktop", desktopCB))
	b.submit(p, "username", "corp/dave", "password", "").shows(t, 403)
	b.submit(b.submit(p, "username", " carol ", "password", "another long password")).arrived(t, "https://desktop.example.com/cb")
	if g := s.grantOf("carol"); g.Subject.Email != "carol@example.com" || g.Subject.Groups[0] != "ops" {
		t.Errorf("subject %+v", g.Subject)
	}
	kept, err := s.ledger.Account(context.Background(), "carol")
	if err != nil || kept.Password != acc.Password {
		t.Errorf("account %+v, %v", kept, err)
	}
}

func TestSignOut(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	b.signIn(b.get(s.url+"/login"), "alice").shows(t, 200, "You are signed in", "alice")
	b.get(s.url+"/logout?post_logout_redirect_uri=https://evil.example.net/&id_token_hint=x").shows(t, 200, "Sign out?", "alice")
	b.post(s.url+"/logout", url.Values{}).shows(t, 200, "Sign out?") // a form that is not ours asks
	b.submit(b.get(s.url+"/logout")).shows(t, 200, "You are signed out")
	b.get(s.ask("desktop", desktopCB)).shows(t, 200, "Password")
}

// foreignSignIn is a sign-in of somebody else's making.
type foreignSignIn func(http.ResponseWriter, *http.Request, Attempt) (*Person, error)

func (f foreignSignIn) SignIn(w http.ResponseWriter, r *http.Request, a Attempt) (*Person, error) {
	return f(w, r, a)
}

// covers: AS-CC-03
func TestOwnSignIn(t *testing.T) {
	var answer func() (*Person, error)
	var seen Attempt
	s := newSite(t, func(c *Config) {
		c.SignIn = foreignSignIn(func(_ http.ResponseWriter, _ *http.Request, a Attempt) (*Person, error) {
			seen = a
			return answer()
		})
	})
	b := s.browser()
	answer = func() (*Person, error) {
		return &Person{ID: "corp/eve", Provider: "corp", Account: "eve", Email: "eve@example.com", AMR: []string{"mfa"}}, nil
	}
	b.get(s.ask("desktop", desktopCB, "login_hint", "eve")).shows(t, 200, "Allow", "corp/eve")
	if seen.Hint != "eve" || seen.Client != "Desktop" || seen.Action != "/login" || seen.Token == "" {
		t.Errorf("attempt %+v", seen)
	}
	for name, answer2 := range map[string]func() (*Person, error){
		"error":       func() (*Person, error) { return nil, errors.New("secret cause") },
		"no id":       func() (*Person, error) { return &Person{}, nil },
		"client's id": func() (*Person, error) { return &Person{ID: "client:desktop"}, nil },
	} {
		answer = answer2
		p := s.browser().get(s.ask("desktop", desktopCB))
		p.shows(t, 500, "The sign-in did not work", "Reference")
		if strings.Contains(p.body, "secret cause") {
			t.Errorf("%s: the cause is on the page", name)
		}
	}
}
