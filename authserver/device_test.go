package authserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

var userCodeForm = regexp.MustCompile(`^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$`)

// cmdUserCode checks the form of a user code.
func (s *script) cmdUserCode(neg bool, args []string) {
	if userCodeForm.MatchString(args[0]) == neg {
		s.ts.Fatalf("user code %s", args[0])
	}
}

// cmdDevice is the answer of a person to a user code, as the consent page takes
// it. With ! there is nothing to answer.
func (s *script) cmdDevice(neg bool, args []string) {
	answer, code, person := args[0], readUserCode(args[1]), args[2]
	ctx := context.Background()
	r := httptest.NewRequest("POST", "/consent", strings.NewReader("decision="+answer))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	v := s.at.visit(httptest.NewRecorder(), r)
	sess, err := s.at.sessions.Start(ctx, v.w, r, oauth.Subject{ID: person, AuthTime: s.now()})
	if err != nil {
		s.ts.Fatalf("%v", err)
	}
	v.session = &sess
	rec, err := s.at.ledger.Store.Get(ctx, ledger.KindUserCode, s.at.userCodeKey(code))
	var a *asking
	if err == nil {
		a, err = s.at.examineDevice(ctx, v.st, string(rec.Value), code)
	}
	if (err != nil) != neg {
		s.ts.Fatalf("user code %s: %v", code, err)
	}
	if err == nil {
		v.decide(a, attempt{ID: newID(), Until: s.now().Add(attemptLife)})
	}
}

// newCodes asks for codes as the device does.
func (s *site) newCodes(t *testing.T) (device, user string) {
	t.Helper()
	r := post(s.Server, "/device_authorization", "", form("client_id=tv", "scope=files:read files:write"))
	if r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	return r.text("device_code"), r.text("user_code")
}

func (s *site) poll(device string) reply {
	return post(s.Server, "/token", "", form("grant_type="+oauth.DeviceCode, "client_id=tv", "device_code="+device))
}

// covers: AS-DEV-04, SEC-32
func TestDevicePages(t *testing.T) {
	s := newSite(t, nil)
	device, user := s.newCodes(t)
	b := s.browser()
	// The link with the code in it: sign in, confirm the code, consent.
	p := b.signIn(b.get(s.url+"/device?user_code="+user), "alice")
	p.shows(t, 200, "Connect a device", `value="`+user+`"`, `name="user_code"`, "Careful.", "alice")
	checkHeaders(t, p)
	p = b.submit(p)
	p.shows(t, 200, "Allow", "Living room <b>TV</b>", "Files", files, "Read files", "Change files", user, "Your device must show this code", "began this yourself")
	checkHeaders(t, p)
	if strings.Contains(p.body, "<b>TV") {
		t.Error("a client's name is markup")
	}
	if got := s.poll(device).text("error"); got != oauth.AuthorizationPending {
		t.Errorf("before the answer: %s", got)
	}
	done := b.submit(p)
	done.shows(t, 200, "Your device is connected")
	checkHeaders(t, done)
	r := s.poll(device)
	if r.status != http.StatusOK || r.text("scope") != "files:read files:write" || r.text("refresh_token") == "" {
		t.Errorf("redemption: %d %s", r.status, r.body)
	}
	if g := s.grantOf("alice"); g.Type != oauth.DeviceCode || g.Client != "tv" || g.Resource != files {
		t.Errorf("grant %+v", g)
	}
	// The same page once more, and the same code: answered already.
	b.submit(p).shows(t, 400, "This code is over")
	b.submit(b.get(s.url+"/device"), "user_code", user).shows(t, 400, "This code is not right")
}

// checkHeaders checks what every page must send (AS-UI-03, AS-UI-04).
func checkHeaders(t *testing.T, p page) {
	t.Helper()
	csp := p.header.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "frame-ancestors 'none'", "form-action 'self';", "base-uri 'none'"} {
		if !strings.Contains(csp, part) {
			t.Errorf("%s: policy %q has no %s", p.url.Path, csp, part)
		}
	}
	for name, want := range map[string]string{"X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"} {
		if got := p.header.Get(name); got != want {
			t.Errorf("%s: %s is %q", p.url.Path, name, got)
		}
	}
}

// The code is typed by hand, as people do.
func TestDeviceCodeTyped(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	b.signIn(b.get(s.url+"/device"), "alice").shows(t, 200, "Connect a device")
	for _, spell := range []func(string) string{strings.ToLower, func(u string) string { return strings.ReplaceAll(u, "-", "") },
		func(u string) string { return " " + strings.ReplaceAll(u, "-", " ") + " " }} {
		_, user := s.newCodes(t)
		b.submit(b.get(s.url+"/device"), "user_code", spell(user)).shows(t, 200, user)
	}
	for _, wrong := range []string{"", "BCDF", "BCDF-GHJKL", "AEIO-UAEI", "BCDF-GHJ1", strings.Repeat("B", 10_000)} {
		b.submit(b.get(s.url+"/device"), "user_code", wrong).shows(t, 400, "This code is not right", "Reference: ")
		s.wait(typedPause)
	}
}

const typedPause = 60_000_000_000 / typedByPerson

// A person says no; the device is told.
func TestDeviceRefused(t *testing.T) {
	s := newSite(t, nil)
	device, user := s.newCodes(t)
	b := s.browser()
	p := b.submit(b.signIn(b.get(s.url+"/device?user_code="+user), "alice"))
	action, form := p.form(t, "decision", "no")
	b.post(action, form).shows(t, 200, "Nothing was allowed")
	if got := s.poll(device).text("error"); got != oauth.AccessDenied {
		t.Errorf("after no: %s", got)
	}
	if n := len(s.grantsOf("alice")); n != 0 {
		t.Errorf("%d grants", n)
	}
}

// A rule keeps the person out; nothing is told to the device, for another
// person may answer.
func TestDeviceOfSomebodyWhoMayNot(t *testing.T) {
	s := newSite(t, nil)
	device, user := s.newCodes(t)
	b := s.browser()
	b.submit(b.signIn(b.get(s.url+"/device?user_code="+user), "bob")).shows(t, 403, "You may not use Files", "servers.files.deny[0]")
	if got := s.poll(device).text("error"); got != oauth.AuthorizationPending {
		t.Errorf("after a refusal by a rule: %s", got)
	}
	a := s.browser()
	a.submit(a.submit(a.signIn(a.get(s.url+"/device?user_code="+user), "alice"))).shows(t, 200, "connected")
}

// covers: AS-DEV-04, SEC-32
// The forms are bound to the browser and to the request, and other sites
// cannot send them; an earlier yes is no yes to another device.
func TestDeviceFormsAreBound(t *testing.T) {
	s := newSite(t, nil)
	_, user := s.newCodes(t)
	b, other := s.browser(), s.browser()
	entry := b.signIn(b.get(s.url+"/device?user_code="+user), "alice")
	consent := b.submit(entry)
	other.signIn(other.get(s.url+"/device"), "alice")
	for name, p := range map[string]page{"entry": entry, "consent": consent} {
		action, form := p.form(t, "decision", "yes", "user_code", user)
		other.post(action, form).shows(t, 403, "another browser")
		r, _ := http.NewRequest(http.MethodPost, action, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", "https://evil.example.net")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		b.do(r).shows(t, 403, "Another site sent this form")
		form.Del("attempt")
		b.post(action, form).shows(t, 400, "There is nothing to go on with")
		if name == "consent" {
			form.Set("attempt", "x")
			b.post(action, form).shows(t, 400, "There is nothing to go on with")
		}
	}
	b.submit(consent).shows(t, 200, "connected")
	_, second := s.newCodes(t)
	b.submit(b.get(s.url+"/device?user_code="+second)).shows(t, 200, "Allow", second)
}

// A device is confirmed each time, also for a client that a remembered consent
// speaks for in the browser; and a yes to a device is remembered for nothing.
//
// covers: AS-DEV-04
func TestEachDeviceIsConfirmed(t *testing.T) {
	const cb = "https://desktop.example.com/cb"
	s := newSite(t, func(c *Config) {
		c.Clients["both"] = Client{Name: "Both", Secret: "a secret of both ways", RedirectURIs: []string{cb}, GrantTypes: []string{oauth.AuthorizationCode, oauth.DeviceCode}}
	})
	b := s.browser()
	codes := func() reply {
		return post(s.Server, "/device_authorization", "both a secret of both ways", form("scope=files:read"))
	}
	b.submit(b.submit(b.signIn(b.get(codes().text("verification_uri_complete")), "alice"))).shows(t, 200, "connected")
	b.submit(b.get(s.ask("both", cb))).arrived(t, cb+"?code=") // the browser's own request still asks
	b.get(s.ask("both", cb)).arrived(t, cb+"?code=")           // once
	user := codes()
	b.submit(b.get(user.text("verification_uri_complete"))).shows(t, 200, "Allow", user.text("user_code"))
}

// The entry page belongs to whoever is signed in; a page that lay too long
// begins again.
func TestDeviceEntryAfterAWhile(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	p := b.signIn(b.get(s.url+"/device"), "alice")
	s.wait(attemptLife)
	_, user := s.newCodes(t)
	b.submit(p, "user_code", user).shows(t, 200, "Connect a device")
	b.submit(b.get(s.url + "/logout"))
	b.get(s.url+"/device?user_code="+user).shows(t, 200, "Sign in")
}

// covers: AS-DEV-02, SEC-31
// Guessing codes holds off who guesses, and nobody else: not another person at
// the same address, and not the device.
func TestDeviceCodesAreHardToGuess(t *testing.T) {
	s := newSite(t, nil)
	device, user := s.newCodes(t)
	b, victim := s.browser(), s.browser()
	b.signIn(b.get(s.url+"/device"), "bob")
	for i := range typedByPerson {
		b.submit(b.get(s.url+"/device"), "user_code", fmt.Sprintf("BCDF-GHJ%c", userLetters[i])).shows(t, 400, "not right")
	}
	p := b.submit(b.get(s.url+"/device"), "user_code", user)
	p.shows(t, 429, "Too many codes")
	if p.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	again := s.browser() // a new session of the same person
	again.submit(again.signIn(again.get(s.url+"/device"), "bob"), "user_code", user).shows(t, 429, "Too many codes")
	victim.submit(victim.submit(victim.signIn(victim.get(s.url+"/device"), "alice"), "user_code", user)).shows(t, 200, "connected")
	if r := s.poll(device); r.status != http.StatusOK {
		t.Errorf("the device: %d %s", r.status, r.body)
	}
	s.wait(typedPause)
	b.submit(b.get(s.url+"/device"), "user_code", user).shows(t, 400, "not right")
	// Many people at one address share a larger bound.
	now, typed := s.now(), newTypedCodes()
	for i := range typedByAddress {
		if wait := typed.take(now, fmt.Sprint("person ", i), "192.0.2.1:4711"); wait > 0 {
			t.Fatalf("%d codes from one address: wait %s", i, wait)
		}
	}
	if typed.take(now, "one more", "192.0.2.1:1") == 0 || typed.take(now, "elsewhere", "192.0.2.2:1") > 0 {
		t.Error("the bound of an address")
	}
}

// covers: AS-DEV-02, X-RND-01
func TestUserCodes(t *testing.T) {
	seen := map[string]bool{}
	letters := map[rune]bool{}
	for range 2000 {
		code := newUserCode()
		if len(code) != userLength || strings.Trim(code, userLetters) != "" || seen[code] {
			t.Fatalf("user code %s", code)
		}
		seen[code] = true
		for _, r := range code {
			letters[r] = true
		}
		if readUserCode(code[:4]+"-"+strings.ToLower(code[4:])) != code {
			t.Errorf("%s is not read back", code)
		}
	}
	if len(letters) != len(userLetters) || strings.ContainsAny(userLetters, "AEIOUY01258") {
		t.Errorf("%d letters of %s", len(letters), userLetters)
	}
	// At rest lies nothing that a user code could be found out from.
	s := newSite(t, nil)
	device, user := s.newCodes(t)
	for _, kind := range []store.Kind{ledger.KindDevice, ledger.KindUserCode} {
		recs, _, err := s.ledger.Store.List(context.Background(), store.Query{Kind: kind})
		if err != nil || len(recs) != 1 {
			t.Fatalf("%d records, %v", len(recs), err)
		}
		plain := readUserCode(user)
		if text := recs[0].Key + string(recs[0].Value); strings.Contains(text, plain) || strings.Contains(text, user) || strings.Contains(text, device) ||
			strings.Contains(text, codeKey(plain)) || strings.Contains(text, codeKey(user)) {
			t.Errorf("%s: %s", kind, text)
		}
	}
}

// One of many redemptions at once wins, and one of two answers on the page.
func TestDeviceOnce(t *testing.T) {
	s := newSite(t, nil)
	device, user := s.newCodes(t)
	b := s.browser()
	p := b.submit(b.signIn(b.get(s.url+"/device?user_code="+user), "alice"))
	q := b.submit(b.get(s.url + "/device?user_code=" + user)) // in another tab
	b.submit(p).shows(t, 200, "connected")
	b.submit(q).shows(t, 400, "This code is over")
	var mu sync.Mutex
	var wg sync.WaitGroup
	got := map[string]int{}
	for range 50 {
		wg.Go(func() {
			r := s.poll(device)
			mu.Lock()
			defer mu.Unlock()
			got[r.text("error")]++
		})
	}
	wg.Wait()
	if got[""] != 1 || got[oauth.InvalidGrant] != 49 {
		t.Errorf("answers %v", got)
	}
	if n := len(s.grantsOf("alice")); n != 1 {
		t.Errorf("%d grants", n)
	}
}

// Two pages of one code: a write in between makes the second one late.
func TestDeviceAnsweredElsewhereMeanwhile(t *testing.T) {
	s := newSite(t, nil)
	_, user := s.newCodes(t)
	rec, err := s.ledger.Store.Get(context.Background(), ledger.KindUserCode, s.userCodeKey(readUserCode(user)))
	if err != nil {
		t.Fatal(err)
	}
	st := s.current()
	a, err := s.examineDevice(context.Background(), st, string(rec.Value), readUserCode(user))
	if err != nil {
		t.Fatal(err)
	}
	b := s.browser()
	p := b.submit(b.signIn(b.get(s.url+"/device?user_code="+user), "alice"))
	b.submit(p).shows(t, 200, "connected")
	v := s.visit(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/consent", nil))
	d := a.device.record
	d.Refused = true
	if err := v.answerDevice(a, d); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a second answer: %v", err)
	}
}

// A client that only registered itself cannot have the grant: its name, and its
// redirect URI that could prove it, are not on the device's side of the page.
func TestNoDeviceGrantForRegisteredClients(t *testing.T) {
	s := newSite(t, nil)
	doc := s.mustRegister(`{"client_name":"Claude","redirect_uris":["https://claude.ai/api/mcp/auth_callback"],"grant_types":["authorization_code","` + oauth.DeviceCode + `"],"token_endpoint_auth_method":"none"}`)
	if g := fmt.Sprint(doc["grant_types"]); strings.Contains(g, "device") {
		t.Errorf("grants %s", g)
	}
	r := post(s.Server, "/device_authorization", "", url.Values{"client_id": {doc["client_id"].(string)}})
	if r.text("error") != oauth.UnauthorizedClient {
		t.Errorf("%d %s", r.status, r.body)
	}
	// And if an administrator gave it: the catalogue's name is not shown.
	c := s.register(ledger.Client{ID: "known", Name: "Claude", Known: "claude", AuthMethod: authNone, Approved: true,
		RedirectURIs: []string{"https://claude.ai/api/mcp/auth_callback"}, GrantTypes: []string{oauth.DeviceCode}})
	a := &asking{client: &c, device: &fromDevice{}}
	if w := s.current().warnings(a); len(w) != 2 || !strings.Contains(w[0], "Not verified") {
		t.Errorf("warnings %q", w)
	}
}
