package authserver

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// spoiler stands before a provider and answers one of its addresses in its
// place.
type spoiler struct {
	*fakeProvider
	mu     sync.Mutex
	path   string // "": none
	answer func(*http.Request) (*http.Response, error)
	// Requests that nothing would end, and to hosts that are not the provider.
	endless, elsewhere int
}

func (x *spoiler) RoundTrip(r *http.Request) (*http.Response, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if at, ok := r.Context().Deadline(); !ok || time.Until(at) > 2*issuerTimeout {
		x.endless++
	}
	if r.URL.Host != "login.example" {
		x.elsewhere++
	}
	if x.path != "" && r.URL.Path == x.path {
		return x.answer(r)
	}
	return x.fakeProvider.RoundTrip(r)
}

func (x *spoiler) spoil(path string, answer func(*http.Request) (*http.Response, error)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.path, x.answer = path, answer
}

// says answers whatever is asked.
func says(status int, kind, body string, more ...string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		h := http.Header{"Content-Type": {kind}}
		for i := 0; i < len(more); i += 2 {
			h.Set(more[i], more[i+1])
		}
		return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
}

const strangePage = `<!doctype html><title>Maintenance</title><script>alert("strange")</script>`

// A page, nothing, too much or no answer at each step of a sign-in: a page of
// ours without a word of theirs, nobody signed in, and a way on when it is over.
func TestProviderIsNotItselfAtAStep(t *testing.T) {
	answers := map[string]func(*http.Request) (*http.Response, error){
		"a page":             says(200, "text/html", strangePage),
		"a page not found":   says(404, "text/html", strangePage),
		"a page of an error": says(503, "text/html", strangePage),
		"a page as JSON":     says(200, "application/json", strangePage),
		"nothing":            says(200, "application/json", ""),
		"half an answer":     says(200, "application/json", `{"issuer":"https://login.exam`),
		"a list":             says(200, "application/json", `[{}]`),
		"null":               says(200, "application/json", `null`),
		"far too much":       says(200, "application/json", `{"pad":"`+strings.Repeat("strange", 1<<19)+`"}`),
		"another address":    says(302, "text/html", strangePage, "Location", "https://strange.example/"),
		"no answer in time":  func(*http.Request) (*http.Response, error) { return nil, context.DeadlineExceeded },
	}
	for step, path := range map[string]string{"metadata": "/.well-known/openid-configuration", "keys": "/jwks", "token": "/token", "userinfo": "/userinfo"} {
		for name, answer := range answers {
			t.Run(step+": "+name, func(t *testing.T) {
				t.Parallel()
				var log logBuffer
				x := &spoiler{fakeProvider: newProvider(t)}
				x.spoil(path, answer)
				s := newSite(t, func(c *Config) {
					c.HTTP, c.SignIn, c.Logger = x, OIDC(provided(nil)), slog.New(slog.NewTextHandler(&log, nil))
				})
				x.fakeProvider.s = s
				x.userinfo, x.claims = map[string]any{"sub": "u-1"}, map[string]any{"groups": nil} // so that userinfo is asked
				b := s.browser()
				p := b.get(s.ask("desktop", desktopBack))
				if p.left {
					p = b.get(x.letIn(p))
				}
				if p.left || p.status != 502 && p.status != 503 || !strings.Contains(p.body, "Reference") || strings.Contains(p.body, "strange") {
					t.Fatalf("%d at %s: %s", p.status, p.url, p.body)
				}
				if strings.Contains(log.String(), "alert(") || len(log.String()) > 4000 {
					t.Errorf("the log repeats it: %.300s", log.String())
				}
				x.spoil("", nil)
				// What the server asks by itself may fail a moment later than the page.
				for try := 0; try == 0 || !p.left && p.status == 503 && try < 3; try++ {
					s.wait(31 * time.Second)
					p = b.get(s.ask("desktop", desktopBack))
				}
				if !p.left { // somebody was signed in, or nothing goes on
					t.Fatalf("%d at %s: %s", p.status, p.url, p.body)
				}
				b.get(x.letIn(p)).shows(t, 200, "Desktop", carolID)
				if x.endless > 0 || x.elsewhere > 0 {
					t.Errorf("%d requests may take as long as they like, %d went elsewhere", x.endless, x.elsewhere)
				}
			})
		}
	}
}

// Somebody who leaves between two steps comes no further, whichever it is.
func TestLeavingBetweenSteps(t *testing.T) {
	leave := func(s *site) {
		t.Helper()
		if _, err := s.ledger.Leave(t.Context(), carolID); err != nil {
			t.Fatal(err)
		}
	}
	signedIn := func() (*site, *fakeProvider, *browser, page) {
		s, f := newProvidedSite(t, nil)
		b := s.browser()
		return s, f, b, b.get(f.letIn(b.get(s.ask("desktop", desktopBack))))
	}
	// On the way back from the provider.
	s, f, _, _ := signedIn()
	other := s.browser()
	back := f.letIn(other.get(s.ask("desktop", desktopBack)))
	leave(s)
	other.get(back).shows(t, 403, "closed")
	if p := other.get(siteURL + "/login"); !p.left {
		t.Errorf("signed in all the same: %s", p.body)
	}
	// Before the answer to the consent page.
	s, _, b, consent := signedIn()
	leave(s)
	if p := b.submit(consent); p.left && p.url.Query().Has("code") {
		t.Errorf("consented after leaving: %s", p.url)
	}
	// Before the code is redeemed.
	s, _, b, consent = signedIn()
	code := b.submit(consent).arrived(t, "https://desktop.example.com/cb").Get("code")
	leave(s)
	r := post(s.Server, "/token", "desktop a secret of the desktop", form("grant_type=authorization_code", "code="+code, "code_verifier="+verifier,
		"redirect_uri="+desktopBack))
	if r.status != 400 || r.text("error") != "invalid_grant" {
		t.Errorf("a code of somebody who left: %d %s", r.status, r.body)
	}
}

// Another name and another address are the same person: the account stays, and
// rules for the address of before let nobody in any more.
func TestRenamedBetweenSignIns(t *testing.T) {
	s, f := newProvidedSite(t, func(c *Config, _ *OIDCProvider) {
		c.Resources[0].Allow, c.Resources[0].Deny = []Rule{{Who: []string{"carol@corp.example"}}}, nil
	})
	f.tokens(s, s.browser())
	f.claims = map[string]any{"name": "Carol Young", "email": "young@corp.example"}
	b := s.browser()
	if got := b.get(f.letIn(b.get(s.ask("desktop", desktopBack)))).arrived(t, "https://desktop.example.com/cb").Get("error"); got != "access_denied" {
		t.Errorf("by the address of before: %q", got)
	}
	acc, err := s.ledger.Account(t.Context(), carolID)
	if err != nil || acc.Name != "Carol Young" || acc.Email != "young@corp.example" {
		t.Errorf("%+v %v", acc, err)
	}
	// Who gets the old address is somebody else.
	f.claims = map[string]any{"sub": "u-2", "name": "Another Carol"}
	b = s.browser()
	b.get(f.letIn(b.get(s.ask("desktop", desktopBack)))).shows(t, 200, "Desktop", "login/u-2")
}

// A provider that is taken out while somebody is there brings nobody back.
func TestProviderTakenOutMeanwhile(t *testing.T) {
	s, f := choosing(t, false)
	b := s.browser()
	action, fields := b.get(s.ask("desktop", desktopBack)).form(t, "provider", "login")
	back := f.letIn(b.post(action, fields))
	c := s.cfg
	c.SignIn = OIDC(OIDCProvider{Name: "second", Title: "Second", Issuer: "https://second.example", ClientID: "x"})
	if err := s.Reload(c); err != nil {
		t.Fatal(err)
	}
	b.get(back).shows(t, 404)
	if len(f.forms) != 0 {
		t.Error("the code was sent")
	}
}
