package authserver

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"doorward/internal/ledger"
)

var endTag = regexp.MustCompile(`<button type="submit" name="(given|session)" value="([^"]*)"`)

// ends are the values of the page's End buttons, by what they end.
func (p page) ends() map[string][]string {
	out := map[string][]string{}
	for _, m := range endTag.FindAllStringSubmatch(p.body, -1) {
		out[m[1]] = append(out[m[1]], html.UnescapeString(m[2]))
	}
	return out
}

// covers: AS-UI-08
func TestAccount(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	p := b.get(s.url + "/account")
	p.shows(t, 200, "Sign in")
	p = b.signIn(p, "alice")
	p.shows(t, 200, "Your account", "alice", "Nothing: no application", "This browser")
	if p.url.Path != "/account" {
		t.Errorf("the sign-in led to %s", p.url)
	}

	b.submit(b.get(s.ask("desktop", desktopCB, "scope", "files:read files:write"))).arrived(t, desktopCB)
	s.wait(time.Hour)
	b.submit(b.get(s.ask("cli", "http://127.0.0.1:1/callback"))).arrived(t, "http://127.0.0.1:1/")
	p = b.get(s.url + "/account")
	p.shows(t, 200, "Desktop", "Tool", "Files", files, "Read files", "Change files", "No access at the moment") // the desktop's code has expired
	given := p.ends()["given"]
	if len(given) != 2 || strings.Index(p.body, "Tool") > strings.Index(p.body, "Desktop") {
		t.Fatalf("%d entries:\n%s", len(given), p.body)
	}

	action, form := p.form(t, "given", given[0])
	after := b.post(action, form)
	after.shows(t, 200, "Desktop")
	if strings.Contains(after.body, "Tool") || after.url.RawQuery != "" {
		t.Errorf("at %s, after the end:\n%s", after.url, after.body)
	}
	for _, g := range s.grantsOf("alice") {
		if g.Client == "cli" && (g.Ended.IsZero() || g.EndReason != "ended by the person") {
			t.Errorf("the grant of the tool: %+v", g)
		}
	}
	b.post(action, form).shows(t, 200, "Desktop") // again: nothing more happens

	// The desktop would have come back without asking; it has to ask now.
	if at := b.get(s.ask("desktop", desktopCB)); !at.left {
		t.Fatalf("the consent is not remembered: %s", at.url)
	}
	p = b.get(s.url + "/account")
	action, form = p.form(t, "given", p.ends()["given"][0])
	b.post(action, form).shows(t, 200, "Nothing: no application")
	b.get(s.ask("desktop", desktopCB)).shows(t, 200, "Allow")
}

func TestAccountSessions(t *testing.T) {
	s := newSite(t, nil)
	here, there := s.browser(), s.browser()
	there.signIn(there.get(s.url+"/account"), "alice")
	s.wait(time.Minute)
	p := here.signIn(here.get(s.url+"/account"), "alice")
	sessions := p.ends()["session"]
	if len(sessions) != 2 || !strings.Contains(p.body, "Another browser") {
		t.Fatalf("%d sessions:\n%s", len(sessions), p.body)
	}
	action, form := p.form(t, "session", sessions[1])
	here.post(action, form).shows(t, 200, "This browser")
	there.get(s.url+"/account").shows(t, 200, "Password")
	_, form = p.form(t, "session", sessions[0])
	here.post(action, form).shows(t, 200, "You are signed out")
	here.get(s.url+"/account").shows(t, 200, "Password")
}

// What belongs to somebody else, or was not sent by this person's own page,
// ends nothing.
// covers: SEC-25, AS-UI-02
func TestAccountIsOnesOwn(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Resources[0].Deny = nil })
	alice, bob := s.browser(), s.browser()
	alice.signIn(alice.get(s.url+"/account"), "alice")
	alice.submit(alice.get(s.ask("desktop", desktopCB)))
	p := alice.get(s.url + "/account")
	given, session := p.ends()["given"][0], p.ends()["session"][0]
	bobs := bob.signIn(bob.get(s.url+"/account"), "bob")
	if strings.Contains(bobs.body, "Desktop") || strings.Contains(bobs.body, session) {
		t.Fatal("bob sees what alice gave")
	}
	action, form := bobs.form(t, "given", given)
	bob.post(action, form).shows(t, 200, "Your account")
	_, form = bobs.form(t, "session", session)
	bob.post(action, form).shows(t, 200, "Your account")

	_, form = p.form(t, "given", given)
	bob.post(action, form).shows(t, 403, "another browser")
	s.browser().post(action, form)
	alice.do(foreignFormOf(t, action, form)).shows(t, 403, "Another site")
	without := url.Values{"given": {given}}
	alice.post(action, without).shows(t, 400, "nothing to go on")
	welcome := alice.get(s.url + "/logout")
	_, other := welcome.form(t, "given", given)
	alice.post(action, other).shows(t, 400, "nothing to go on")
	// Somebody else signed in here meanwhile: the page was shown to alice.
	alice.signIn(alice.get(s.url+"/login?attempt="+attemptOfLink(t, p)), "bob").shows(t, 200, "Your account", "bob")
	alice.post(action, form).shows(t, 200, "bob")
	for _, g := range s.grantsOf("alice") {
		if !g.Ended.IsZero() {
			t.Errorf("%+v ended", g)
		}
	}
}

// An old page shows what holds now.
func TestAccountPageGrowsOld(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	b.signIn(b.get(s.url+"/account"), "alice")
	b.submit(b.get(s.ask("desktop", desktopCB)))
	p := b.get(s.url + "/account")
	action, form := p.form(t, "given", p.ends()["given"][0])
	s.wait(attemptLife)
	b.post(action, form).shows(t, 200, "Desktop")
	late := s.browser()
	signIn := late.get(s.url + "/account")
	s.wait(attemptLife)
	if p := late.signIn(signIn, "alice"); !strings.Contains(p.body, "Password") {
		t.Errorf("a sign-in that came too late: %s", p.body)
	}
}

// Names that others chose stand isolated and are said to be their own.
// covers: AS-UI-05
func TestAccountNamesOfStrangers(t *testing.T) {
	s := newSite(t, nil)
	s.register(ledger.Client{ID: "dyn-x", Name: "<b>\u202eeman</b>", AuthMethod: authNone, Approved: true, RedirectURIs: []string{"http://127.0.0.1/cb"}})
	b := s.browser()
	b.signIn(b.get(s.url+"/account"), "alice")
	b.submit(b.get(s.ask("dyn-x", "http://127.0.0.1:5/cb")))
	p := b.get(s.url + "/account")
	if !strings.Contains(p.body, `<bdi class="name">&lt;b&gt;eman&lt;/b&gt;</bdi>`) {
		t.Errorf("%s", p.body)
	}
	p.shows(t, 200, "chose this name itself")
}

func foreignFormOf(t *testing.T, action string, form url.Values) *http.Request {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, action, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "https://evil.example.net")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	return r
}

// attemptOfLink is the attempt of the page's link to the sign-in.
func attemptOfLink(t *testing.T, p page) string {
	t.Helper()
	m := regexp.MustCompile(`/login\?attempt=([^"]+)"`).FindStringSubmatch(p.body)
	if m == nil {
		t.Fatal("no link to another account")
	}
	return html.UnescapeString(m[1])
}
