package browser_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"golang.org/x/oauth2"

	"doorward/authtest"
)

const (
	password = "alice-password-12"
	rtlName  = "\u05de\u05e0\u05d4\u05dc \u05d4\u05e7\u05d1\u05e6\u05d9\u05dd (v2) \u0645\u062f\u064a\u0631" // Hebrew, digits, Arabic
)

// longName has no place to break, as long as a registration may have it.
var longName = strings.Repeat("Supercalifragilistic", 5)

// place is an identity provider and a server on one host, and a loopback
// address that programs listen on.
type place struct {
	*authtest.World
	t        *testing.T
	callback string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	program(t)
	p := &place{t: t, World: authtest.New(t, authtest.Config{
		Scopes:        map[string]string{"files:read": "Read the files of your projects", "files:write": "Change and delete the files of your projects"},
		DefaultScopes: []string{"files:read", "files:write"},
	})}
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "<!doctype html><title>back</title><h1>arrived</h1><p id=code>%s</p><p id=error>%s</p>", r.FormValue("code"), r.FormValue("error"))
	}))
	t.Cleanup(back.Close)
	p.callback = back.URL + "/callback"
	return p
}

// ask is the address that a client sends people to.
func (p *place) ask(issuer, client string, pairs ...string) string {
	q := url.Values{"response_type": {"code"}, "client_id": {client}, "redirect_uri": {p.callback}, "state": {"s"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(strings.Repeat("v", 43))}, "code_challenge_method": {"S256"}}
	if issuer == p.IdP {
		q.Set("scope", "openid email offline_access")
	}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	return issuer + "/authorize?" + q.Encode()
}

// register registers a program on this computer under a name of its own choice.
func (p *place) register(name string) string { return p.registerAt(name, p.callback) }

func (p *place) registerAt(name, redirect string) string {
	p.t.Helper()
	body, err := json.Marshal(map[string]any{"client_name": name, "redirect_uris": []string{redirect}, "token_endpoint_auth_method": "none"})
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := http.Post(p.Server+"/register", "application/json", bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct {
		ID string `json:"client_id"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || got.ID == "" {
		p.t.Fatalf("register: %s %v", resp.Status, err)
	}
	return got.ID
}

// redeem turns the code that arrived into tokens, so that there is something
// to see on the account page.
func (p *place) redeem(b *tab) {
	p.t.Helper()
	p.redeemAt(b, p.Server, authtest.ClientID, authtest.ClientSecret)
}

// redeemAt is redeem at an issuer for a client; secret is "" for a public one.
func (p *place) redeemAt(b *tab, issuer, client, secret string) {
	p.t.Helper()
	b.arrived()
	form := url.Values{"grant_type": {"authorization_code"}, "code": {js[string](b, `document.querySelector('#code').innerText`)},
		"code_verifier": {strings.Repeat("v", 43)}, "client_id": {client}}
	if secret != "" {
		form.Set("client_secret", secret)
	}
	p.answerOf(issuer+"/token", "application/x-www-form-urlencoded", []byte(form.Encode()))
}

// arrived checks that the browser came back to the program with a code.
func (b *tab) arrived() {
	b.t.Helper()
	if b.title() != "arrived" || js[string](b, `document.querySelector('#code').innerText`) == "" {
		b.t.Fatalf("not back at the program but at %s:\n%s", b.at(), b.says())
	}
}

const (
	allow  = `button[value=yes]`
	cancel = `button[value=no]`
)

func click(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.Click(chromedp.CSS(selector))
}

// walk leads through every page in its states.
func (p *place) walk(see func(b *tab, name string)) {
	b := newTab(p.t)
	b.open(p.ask(p.Server, authtest.ClientID))
	see(b, "login")
	b.signIn("alice", "not this one")
	see(b, "login-wrong")
	b.signIn("alice", password)
	see(b, "consent")
	b.lands(click(allow))
	p.redeem(b)
	b.open(p.ask(p.Server, p.register("Notes for Teams")))
	see(b, "consent-unverified")
	b.open(p.ask(p.Server, p.register(longName)))
	see(b, "consent-long")
	b.open(p.ask(p.Server, p.register(rtlName)))
	see(b, "consent-rtl")
	b.lands(click(allow))
	p.walkAccount(b, see)
	p.walkDevice(see)
	p.walkRefused(see)
	p.walkProviders(see)
	b.open(p.ask(p.Server, "nobody"))
	see(b, "error-client")
	b.open(p.ask(p.Server, authtest.ClientID, "redirect_uri", "https://elsewhere.example/callback"))
	see(b, "error-redirect")
	const far = "https://notes.example/callback"
	b.open(p.ask(p.Server, p.registerAt("Notes for Teams", far), "redirect_uri", far, "resource", "https://elsewhere.example/mcp"))
	see(b, "error-resource")
	b.open(p.Server + "/consent?attempt=AAAA")
	see(b, "error-attempt")
	b.open(p.ask(p.IdP, authtest.IdPClientID, "prompt", "consent"))
	see(b, "idp-login")
	b.signIn("alice", password)
	see(b, "idp-consent")
}

func (p *place) walkAccount(b *tab, see func(b *tab, name string)) {
	empty := newTab(p.t)
	empty.open(p.Server + "/account")
	empty.signIn("alice", password)
	b.open(p.Server + "/account")
	see(b, "account")
	b.open(p.Server + "/login")
	see(b, "welcome")
	b.open(p.Server + "/logout")
	see(b, "logout")
	out := newTab(p.t)
	out.open(p.Server + "/logout")
	see(out, "signed-out")
	out.open(p.Server + "/account")
	out.signIn("bob", "bob-password-12")
	see(out, "account-empty")
}

// covers: AS-UI-01, AS-UI-05
func TestPagesAreFitToBeUsed(t *testing.T) {
	t.Parallel()
	newPlace(t).walk(func(b *tab, name string) { b.check(name) })
}

// Screenshots of all of it, for eyes: make shots.
func TestShots(t *testing.T) {
	dir := os.Getenv("DOORWARD_SHOTS")
	if dir == "" {
		t.Skip("make shots")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	newPlace(t).walk(func(b *tab, name string) {
		for _, width := range widths {
			for _, scheme := range schemes {
				b.look(width, scheme)
				png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
				if err == nil {
					err = os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%d-%s.png", name, width, scheme)), png, 0o644)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// An identity provider and a server on one host, at two ports: cookies do not
// know ports.
// covers: AS-UI-06
func TestTwoIssuersOnOneHost(t *testing.T) {
	t.Parallel()
	p, b := newPlace(t), newTab(t)
	b.open(p.ask(p.IdP, authtest.IdPClientID, "prompt", "consent"))
	b.signIn("alice", password)
	b.lands(click(allow))
	b.arrived()
	b.open(p.ask(p.Server, authtest.ClientID))
	b.signIn("alice", password)
	b.lands(click(allow))
	b.arrived()
	for _, issuer := range []string{p.IdP, p.Server} {
		b.open(issuer + "/login")
		if b.title() != "You are signed in" {
			t.Errorf("%s: %s", issuer, b.says())
		}
	}
	b.open(p.ask(p.IdP, authtest.IdPClientID))
	b.arrived() // without a page in between
}

func TestRefusedConsentArrives(t *testing.T) {
	t.Parallel()
	p, b := newPlace(t), newTab(t)
	b.open(p.ask(p.Server, authtest.ClientID))
	b.signIn("alice", password)
	b.lands(click(cancel))
	if b.title() != "arrived" || js[string](b, `document.querySelector('#error').innerText`) != "access_denied" {
		t.Errorf("at %s: %s", b.at(), b.says())
	}
}

// Without a mouse, from the first page to the program and through the account.
func TestKeyboardOnly(t *testing.T) {
	t.Parallel()
	p, b := newPlace(t), newTab(t)
	b.open(p.ask(p.Server, authtest.ClientID))
	b.focused("#username") // by itself
	b.keys("alice")
	b.keys(kb.Tab + password)
	if status := b.lands(chromedp.KeyEvent(kb.Enter)); status != 200 || !strings.Contains(b.title(), "Allow") {
		t.Fatalf("%d %s", status, b.says())
	}
	b.tabTo(allow)
	b.lands(chromedp.KeyEvent(" "))
	p.redeem(b)
	b.open(p.Server + "/account")
	b.tabTo(`button[name=given]`)
	b.lands(chromedp.KeyEvent(kb.Enter))
	if !strings.Contains(b.says(), "Nothing: no application") {
		t.Errorf("%s", b.says())
	}
	b.tabTo(`button[name=session]`)
	b.lands(chromedp.KeyEvent(kb.Enter))
	if b.title() != "You are signed out" {
		t.Errorf("%s", b.says())
	}
}

// Names chosen by strangers neither turn their surroundings nor leave them.
// covers: AS-UI-05
func TestNamesOfStrangers(t *testing.T) {
	t.Parallel()
	p, b := newPlace(t), newTab(t)
	b.open(p.ask(p.Server, p.register(rtlName)))
	b.signIn("alice", password)
	if got := b.title(); got != "Allow "+rtlName+"?" {
		t.Errorf("%q", got)
	}
	// "Allow" stands left of the name, the question mark right of it.
	if !js[bool](b, `(() => {
		const h = document.querySelector('h1'), name = h.querySelector('bdi').getClientRects(), r = document.createRange();
		const edge = (node, from, to) => { r.setStart(node, from); r.setEnd(node, to); return r.getBoundingClientRect(); };
		const before = edge(h.firstChild, 0, 5), after = edge(h.lastChild, 0, 1), last = name[name.length - 1];
		return before.left < name[0].left && (after.left >= last.right - 1 || after.top > last.top);
	})()`) {
		t.Error("the name reorders the heading")
	}
	b.open(p.ask(p.Server, p.register(longName)))
	b.look(390, "light")
	if !strings.Contains(strings.ReplaceAll(b.says(), "\n", ""), longName) {
		t.Errorf("the name is cut: %s", b.says())
	}
}

// Two tabs with the same request: each button is answered once, and a page
// that is out of date says so.
func TestTwoTabs(t *testing.T) {
	t.Parallel()
	p, one := newPlace(t), newTab(t)
	one.open(p.ask(p.Server, authtest.ClientID))
	two := one.second()
	two.open(p.ask(p.Server, authtest.ClientID))
	one.signIn("alice", password)
	if !strings.HasPrefix(one.title(), "Allow") {
		t.Fatal(one.says())
	}
	two.signIn("alice", password) // signs in again; both pages stay good
	two.lands(click(allow))
	two.arrived()
	one.lands(click(allow))
	one.arrived()
}

// Back to a page that had its answer gives a page that says so, or the same
// answer, never a dead end.
func TestBackButton(t *testing.T) {
	t.Parallel()
	p, b := newPlace(t), newTab(t)
	b.open(p.ask(p.Server, authtest.ClientID))
	b.signIn("alice", password)
	b.lands(click(allow))
	b.arrived()
	b.do(chromedp.NavigateBack())
	if b.title() == "arrived" {
		return // the consent is remembered: the page leads on
	}
	b.tabTo(allow)
	status := b.lands(chromedp.KeyEvent(" "))
	switch {
	case b.title() == "arrived":
	case status == 400 && strings.Contains(b.says(), "answered already"):
	default:
		t.Errorf("%d at %s: %s", status, b.at(), b.says())
	}
	b.open(p.Server + "/logout")
	b.lands(click("main form button"))
	b.do(chromedp.NavigateBack())
	b.open(p.Server + "/account")
	if b.title() != "Sign in" {
		t.Errorf("after signing out: %s", b.says())
	}
}

func TestCookiesOff(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	browser, stop := start(t, `{"profile":{"default_content_setting_values":{"cookies":2}}}`)
	t.Cleanup(stop)
	b := tabOf(t, browser)
	if status := b.open(p.ask(p.Server, authtest.ClientID)); status != 403 || !strings.Contains(b.says(), "Allow cookies for this site") {
		t.Errorf("%d: %s", status, b.says())
	}
	if b.title() != "This browser sent no cookie" {
		t.Errorf("%s", b.title())
	}
	b.check("cookies off")
}
