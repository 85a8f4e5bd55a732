package browser_test

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"doorward/authserver"
	"doorward/store/sqlite"
)

// arabicName is as long as a registration may have it, with few places to break.
var arabicName = strings.Repeat("\u0645\u062f\u064a\u0631\u0627\u0644\u0645\u0644\u0641\u0627\u062a", 4) + " (v2) " +
	strings.Repeat("\u0648\u0627\u0644\u0645\u062c\u0644\u062f\u0627\u062a", 5)

// serve runs an issuer for alice with one MCP server, with what change makes of it.
func (p *place) serve(change func(*authserver.Config)) string {
	p.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	db, err := sqlite.Open(":memory:")
	if err != nil {
		p.t.Fatal(err)
	}
	issuer := "http://" + l.Addr().String()
	c := authserver.Config{URL: issuer, Store: db, Name: "Acme", Registration: authserver.Registration{Mode: "open"},
		SignIn: authserver.LocalPeople(map[string]authserver.LocalPerson{"alice": {Password: password}}),
		Resources: []authserver.Resource{{ID: issuer + "/mcp", Name: "Files", Open: true,
			Scopes: map[string]string{"files:read": "Read the files of your projects"}}}}
	change(&c)
	s, err := authserver.New(c)
	if err != nil {
		p.t.Fatal(err)
	}
	srv := &http.Server{Handler: s}
	go srv.Serve(l)
	p.t.Cleanup(func() { srv.Close(); s.Close(); db.Close() })
	return issuer
}

// answerOf posts a body and decodes the answer.
func (p *place) answerOf(address, kind string, body []byte) map[string]any {
	p.t.Helper()
	resp, err := http.Post(address, kind, bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	var got map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || resp.StatusCode/100 != 2 {
		p.t.Fatalf("%s: %s %v %v", address, resp.Status, got, err)
	}
	return got
}

// devices is an issuer with a device whose name is long and one whose name is
// short. Clients that register themselves have no device grant.
func (p *place) devices() string {
	return p.serve(func(c *authserver.Config) {
		c.Clients = map[string]authserver.Client{
			"box": {Name: arabicName, GrantTypes: []string{"urn:ietf:params:oauth:grant-type:device_code", "refresh_token"}},
			"tv":  {Name: "TV", GrantTypes: []string{"urn:ietf:params:oauth:grant-type:device_code"}},
		}
	})
}

// device asks as one of them; the answer is the code that it shows.
func (p *place) device(issuer, client string) string {
	p.t.Helper()
	form := url.Values{"client_id": {client}, "scope": {"files:read"}}
	return p.answerOf(issuer+"/device_authorization", "application/x-www-form-urlencoded", []byte(form.Encode()))["user_code"].(string)
}

// typeCode types what a device shows and goes on.
func (b *tab) typeCode(code string) int64 {
	b.t.Helper()
	b.do(chromedp.Clear(chromedp.CSS("#user_code")), chromedp.SendKeys(chromedp.CSS("#user_code"), code))
	return b.lands(click("main form button"))
}

// walkDevice leads from /device to the end.
func (p *place) walkDevice(see func(b *tab, name string)) {
	b, issuer := newTab(p.t), p.devices()
	b.open(issuer + "/device")
	b.signIn("alice", password)
	see(b, "device")
	b.typeCode("BCDF-GHJK")
	see(b, "device-wrong")
	code := p.device(issuer, "box")
	b.typeCode(strings.ToLower(code))
	see(b, "device-consent-rtl")
	if !strings.Contains(b.says(), code) || !strings.Contains(strings.ReplaceAll(b.says(), "\n", ""), arabicName) {
		p.t.Errorf("neither code nor name: %s", b.says())
	}
	b.lands(click(allow))
	see(b, "device-connected")
	b.open(issuer + "/device?user_code=" + url.QueryEscape(p.device(issuer, "tv")))
	see(b, "device-link")
	b.lands(click("main form button"))
	b.lands(click(cancel))
	see(b, "device-refused")
	for range 30 {
		b.open(issuer + "/device")
		if b.typeCode("BCDF-GHJK") == http.StatusTooManyRequests {
			see(b, "device-too-many")
			return
		}
	}
	p.t.Error("codes can be guessed without end")
}

// walkRefused shows what people meet who may not go on yet.
func (p *place) walkRefused(see func(b *tab, name string)) {
	b := newTab(p.t)
	asks := p.serve(func(c *authserver.Config) { c.OtherClients = "ask-admin" })
	body, err := json.Marshal(map[string]any{"client_name": arabicName, "redirect_uris": []string{p.callback}, "token_endpoint_auth_method": "none"})
	if err != nil {
		p.t.Fatal(err)
	}
	id := p.answerOf(asks+"/register", "application/json", body)["client_id"].(string)
	if b.open(p.ask(asks, id)) == http.StatusOK {
		b.signIn("alice", password)
	}
	see(b, "error-approval")
	if !strings.Contains(b.says(), "doorward client approve "+id) {
		p.t.Errorf("nothing to give to an administrator: %s", b.says())
	}
	few := p.serve(func(c *authserver.Config) {
		c.Limits.Authorize = authserver.Rate{Requests: 1, Per: time.Minute}
		c.Clients = map[string]authserver.Client{"notes": {Name: "Notes", RedirectURIs: []string{p.callback}}}
	})
	b.open(p.ask(few, "notes"))
	if status := b.open(p.ask(few, "notes")); status != http.StatusTooManyRequests {
		p.t.Errorf("%d: %s", status, b.says())
	}
	see(b, "error-too-many")
}

// A device is connected without a mouse, its name in place.
// covers: AS-UI-05
func TestDeviceByKeyboard(t *testing.T) {
	t.Parallel()
	p, b := newPlace(t), newTab(t)
	issuer := p.devices()
	code := p.device(issuer, "box")
	b.open(issuer + "/device")
	b.focused("#username")
	b.keys("alice" + kb.Tab + password)
	b.lands(chromedp.KeyEvent(kb.Enter))
	b.focused("#user_code")
	b.keys(code)
	b.lands(chromedp.KeyEvent(kb.Enter))
	if got := b.title(); got != "Allow "+arabicName+"?" {
		t.Errorf("%q", got)
	}
	b.tabTo(allow)
	b.lands(chromedp.KeyEvent(" "))
	if b.title() != "Your device is connected" {
		t.Error(b.says())
	}
}
