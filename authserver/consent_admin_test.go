package authserver

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"doorward/internal/ledger"
)

func consentsByAdmin(c *Config) { c.Consent = Consent{Known: "admin", Others: "admin"} }

// Where an administrator consents for all, people are not asked by a client
// whose answer can only arrive at its own host, and are by every other one.
//
// covers: AS-UI-07
func TestAdministratorConsents(t *testing.T) {
	const chatgpt, vscode = "https://chatgpt.com/connector_platform_oauth_redirect", "http://127.0.0.1:4711/"
	s := newSite(t, consentsByAdmin)
	s.register(ledger.Client{ID: "chat", Name: "ChatGPT", Known: "chatgpt", AuthMethod: authNone, Approved: true, RedirectURIs: []string{chatgpt}})
	s.register(ledger.Client{ID: "code", Name: "Visual Studio Code", Known: "vscode", AuthMethod: authNone, Approved: true, RedirectURIs: []string{vscode}})
	s.register(ledger.Client{ID: "added", Name: "Added", Source: ledger.FromAdmin, AuthMethod: authNone, Approved: true, RedirectURIs: []string{"https://added.example/cb"}})
	b := s.browser()
	b.signIn(b.get(s.ask("chat", chatgpt)), "alice").arrived(t, chatgpt)
	for _, tt := range []struct {
		id, redirect string
		pairs        []string
		asked        bool
	}{
		{"chat", chatgpt, nil, false},
		{"chat", chatgpt, []string{"prompt", "none"}, false},
		{"chat", chatgpt, []string{"prompt", "consent"}, true},
		{"code", vscode, nil, true},
		{"desktop", desktopBack, nil, false},
		{"added", "https://added.example/cb", nil, false},
		{"cli", "http://127.0.0.1:5000/callback", nil, true},
	} {
		for range 2 { // an answer is not remembered where the client proves nothing
			p := b.get(s.ask(tt.id, tt.redirect, tt.pairs...))
			if !tt.asked {
				p.arrived(t, tt.redirect)
				continue
			}
			p.shows(t, http.StatusOK, "Allow")
			b.submit(p).arrived(t, tt.redirect)
		}
	}
	// Rules count as before.
	bob := s.browser()
	if got := bob.signIn(bob.get(s.ask("chat", chatgpt)), "bob").arrived(t, chatgpt).Get("error"); got != "access_denied" {
		t.Errorf("bob, whom a rule denies, got %q", got)
	}
}

// Each kind of client for itself: what is said about one does not hold for the other.
func TestAdministratorConsentsToOneKind(t *testing.T) {
	const chatgpt = "https://chatgpt.com/connector_platform_oauth_redirect"
	for _, known := range []bool{true, false} {
		s := newSite(t, func(c *Config) {
			if c.Consent.Others = "admin"; known {
				c.Consent = Consent{Known: "admin", Others: "person"}
			}
		})
		s.register(ledger.Client{ID: "chat", Known: "chatgpt", AuthMethod: authNone, Approved: true, RedirectURIs: []string{chatgpt}})
		b := s.browser()
		if p := b.signIn(b.get(s.ask("chat", chatgpt)), "alice"); p.left != known {
			t.Errorf("known by admin %v: sent on %v", known, p.left)
		}
		if p := b.get(s.ask("desktop", desktopBack)); p.left == known {
			t.Errorf("known by admin %v: the other was sent on %v", known, p.left)
		}
	}
}

// Others wait for the administrator, also where policy lets them in, and again
// when they say something else of themselves.
func TestOthersWaitForTheAdministrator(t *testing.T) {
	ctx := context.Background()
	s := newSite(t, consentsByAdmin)
	c := s.attacker()
	const cb = "https://evil.example.net/cb"
	b := s.browser()
	b.get(s.ask(c.ID, cb)).shows(t, http.StatusForbidden, "An administrator must approve", "doorward client approve attacker")
	if forAll, err := s.ApproveClient(ctx, c.ID); err != nil || !forAll {
		t.Fatal(forAll, err)
	}
	b.signIn(b.get(s.ask(c.ID, cb)), "alice").arrived(t, cb)

	c, err := s.ledger.Client(ctx, c.ID)
	if err != nil {
		t.Fatal(err)
	}
	c.RedirectURIs = append(c.RedirectURIs, "https://more.example.net/cb")
	if err := s.ledger.Store.Commit(ctx, c.Put()); err != nil {
		t.Fatal(err)
	}
	b.get(s.ask(c.ID, cb)).shows(t, http.StatusForbidden, "An administrator must approve")

	// An approval of the time when people consented is none for all.
	s = newSite(t, nil)
	c = s.attacker()
	if forAll, err := s.ApproveClient(ctx, c.ID); err != nil || forAll {
		t.Fatal(forAll, err)
	}
	consentsByAdmin(&s.cfg)
	if err := s.Reload(s.cfg); err != nil {
		t.Fatal(err)
	}
	s.browser().get(s.ask(c.ID, cb)).shows(t, http.StatusForbidden, "An administrator must approve")
	if _, err := s.ApproveClient(ctx, "nobody"); !errors.Is(err, ErrNoClient) {
		t.Errorf("%v", err)
	}
}

// Of a metadata document the consent is to what it says on that day; one that
// cannot be read cannot be consented to.
//
// covers: AS-CIMD-16
func TestAdministratorConsentsToADocument(t *testing.T) {
	ctx := context.Background()
	s, d := docSite(t, consentsByAdmin)
	const cb = "https://notes.example/cb"
	if _, err := s.ApproveClient(ctx, d.URL+"/c"); err == nil {
		t.Fatal("nobody knows what was approved")
	}
	if _, err := s.ledger.Client(ctx, d.URL+"/c"); !notFound(err) {
		t.Errorf("half done: %v", err)
	}
	s.wait(6 * time.Minute)
	id := d.put("/c", nil)
	b := s.browser()
	b.get(s.ask(id, cb)).shows(t, http.StatusForbidden, "An administrator must approve")
	if forAll, err := s.ApproveClient(ctx, id); err != nil || !forAll {
		t.Fatal(forAll, err)
	}
	b.signIn(b.get(s.ask(id, cb)), "alice").arrived(t, cb)
	b.get(s.ask(id, "http://127.0.0.1:4711/callback")).shows(t, http.StatusOK, "Allow", "Not verified")
	d.put("/c", map[string]any{"redirect_uris": []string{cb, "https://more.example/cb"}})
	s.wait(6 * time.Minute)
	b.get(s.ask(id, cb)).shows(t, http.StatusForbidden, "An administrator must approve")
}

func TestConsentConfigRefused(t *testing.T) {
	for _, c := range []Consent{{Known: "nobody"}, {Others: "ask-admin"}} {
		if s, err := New(Config{URL: siteURL, Store: openStore(t, time.Now), Consent: c}); err == nil {
			s.Close()
			t.Errorf("%+v: it started", c)
		}
	}
}

// A remembered consent is found under the digest of the three names as JSON, by
// every version of the program.
func TestConsentKey(t *testing.T) {
	for _, c := range [][3]string{{"alice", "desktop", "https://as.example/mcp"}, {"corp/ü<&>\"\\", "https://client.example/a?b=c&d", "\u2028\xff\x00"}, {"", "", ""},
		{strings.Repeat("long", 200), "a", "b"}} {
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(text)
		if got, want := consentKey(c[0], c[1], c[2]), base64.RawURLEncoding.EncodeToString(sum[:]); got != want {
			t.Errorf("%q: %s, not %s", c, got, want)
		}
	}
}
