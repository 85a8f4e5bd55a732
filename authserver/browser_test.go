package authserver

import (
	"context"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"doorward/internal/ledger"
	"doorward/internal/login"
	"doorward/internal/oauth"
	"doorward/store/sqlite"
)

const (
	siteURL  = "https://auth.example.com"
	files    = "https://files.example.com/mcp"
	password = "seven purple umbrellas"
	verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)

var passwordHash = login.Hash(password)

// site is an issuer in memory, with people and clients of all kinds.
type site struct {
	*Server
	t     *testing.T
	url   string
	clock atomic.Int64 // Unix nanoseconds; background work reads it too
	cfg   Config
}

func (s *site) wait(d time.Duration) { s.clock.Add(int64(d)) }

func newSite(t *testing.T, change func(*Config)) *site {
	t.Helper()
	s := &site{t: t, url: siteURL}
	s.clock.Store(time.Now().UnixNano())
	now := func() time.Time { return time.Unix(0, s.clock.Load()) }
	db, err := sqlite.OpenConfig(sqlite.Config{Path: ":memory:", Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s.cfg = Config{
		Limits: unlimited,
		URL:    siteURL, Store: db, Now: now, Name: "Example",
		SignIn: LocalPeople(map[string]LocalPerson{
			"alice": {Email: "alice@example.com", Groups: []string{"eng"}, Password: passwordHash},
			"bob":   {Email: "bob@example.com", Password: passwordHash},
		}),
		Clients: map[string]Client{
			"desktop": {Name: "Desktop", Secret: "a secret of the desktop", RedirectURIs: []string{"https://desktop.example.com/cb?keep=1"}},
			"cli":     {Name: "Tool", RedirectURIs: []string{"http://127.0.0.1/callback"}},
			"two":     {Name: "Two", Secret: "a secret of the second", RedirectURIs: []string{"https://two.example.com/a", "https://two.example.com/b"}},
			"tv":      {Name: "Living room <b>TV</b>", GrantTypes: []string{oauth.DeviceCode, oauth.RefreshToken}},
			"machine": {Name: "Machine", Secret: "a secret of the machine", GrantTypes: []string{oauth.ClientCredentials}, RedirectURIs: []string{"https://machine.example.com/cb"}},
		},
		Registration: Registration{Mode: "limited"}, KnownClients: []string{"claude", "claude-code", "chatgpt", "vscode", "cursor"},
		OtherClients: "allow",
		Resources: []Resource{{
			ID: files, Name: "Files", RuleName: "servers.files",
			Scopes:        map[string]string{"files:read": "Read files", "files:write": "Change files"},
			DefaultScopes: []string{"files:read"},
			Allow:         []Rule{{Who: []string{"everyone"}}},
			Deny:          []Rule{{Who: []string{"person:bob"}}},
		}},
	}
	if change != nil {
		change(&s.cfg)
	}
	s.url = s.cfg.URL
	if s.Server, err = New(s.cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// register puts a client into the store as registration would.
func (s *site) register(c ledger.Client) ledger.Client {
	s.t.Helper()
	if c.Source == "" {
		c.Source = ledger.FromDynamic
	}
	if c.GrantTypes == nil {
		c.GrantTypes = []string{oauth.AuthorizationCode, oauth.RefreshToken}
	}
	if err := s.ledger.Store.Commit(context.Background(), c.Put()); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// attacker is a registered client of somebody who means no good.
func (s *site) attacker() ledger.Client {
	return s.register(ledger.Client{ID: "attacker", Name: "Nice App", AuthMethod: authNone, Approved: true,
		RedirectURIs: []string{"https://evil.example.net/cb"}})
}

// ask is the URL of an authorization request; pairs change its parameters, an
// empty value takes one away.
func (s *site) ask(client, redirect string, pairs ...string) string {
	q := url.Values{"response_type": {"code"}, "client_id": {client}, "redirect_uri": {redirect}, "state": {"st+te/1"},
		"code_challenge": {oauth.S256(verifier)}, "code_challenge_method": {"S256"}, "resource": {files}, "scope": {"files:read"}}
	for i := 0; i < len(pairs); i += 2 {
		q.Del(pairs[i])
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return s.url + "/authorize?" + q.Encode()
}

// RoundTrip serves the request in memory; other hosts are where a client's
// redirect URI arrives.
func (s *site) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	r.RequestURI, r.RemoteAddr, r.Host = r.URL.RequestURI(), "192.0.2.10:4711", r.URL.Host
	s.ServeHTTP(rec, r)
	res := rec.Result()
	res.Request = r
	return res, nil
}

// browser follows redirects within the issuer and keeps cookies.
type browser struct {
	t      *testing.T
	site   *site
	client http.Client
	seen   []*http.Response // every answer, for scans
}

func (s *site) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &browser{t: s.t, site: s, client: http.Client{Transport: s, Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// page is what a browser shows in the end, or where it left the issuer.
type page struct {
	status int
	url    *url.URL // where it is; with left: where it was sent
	left   bool
	body   string
	header http.Header
}

// do sends a request and follows it until it shows a page or leaves.
func (b *browser) do(r *http.Request) page {
	b.t.Helper()
	for range 10 {
		res, err := b.client.Do(r)
		if err != nil {
			b.t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			b.t.Fatal(err)
		}
		b.seen = append(b.seen, res)
		p := page{status: res.StatusCode, url: r.URL, body: string(body), header: res.Header}
		if res.StatusCode < 300 || res.StatusCode > 399 {
			return p
		}
		if res.StatusCode != http.StatusSeeOther {
			b.t.Errorf("%s %s redirects with %d", r.Method, r.URL.Path, res.StatusCode)
		}
		if p.url, err = r.URL.Parse(res.Header.Get("Location")); err != nil {
			b.t.Fatal(err)
		}
		if p.url.Host != r.URL.Host {
			p.left = true
			return p
		}
		r, _ = http.NewRequest(http.MethodGet, p.url.String(), nil)
	}
	b.t.Fatal("too many redirects")
	return page{}
}

func (b *browser) get(target string) page {
	b.t.Helper()
	r, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(r)
}

func (b *browser) post(target string, form url.Values) page {
	b.t.Helper()
	r, err := http.NewRequest(http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", b.site.url)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return b.do(r)
}

var (
	formTag   = regexp.MustCompile(`(?s)<form method="post" action="([^"]*)">(.*?)</form>`)
	hiddenTag = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
	textTag   = regexp.MustCompile(`<input type="text" id="[^"]*" name="([^"]*)" value="([^"]+)"`)
	buttonTag = regexp.MustCompile(`(?s)<button type="submit"(?: name="([^"]*)" value="([^"]*)")?`)
	linkTag   = regexp.MustCompile(`<a href="([^"]*)">`)
)

// form is the page's first form with its hidden fields, what stands in it and what is typed.
func (p page) form(t *testing.T, typed ...string) (action string, form url.Values) {
	t.Helper()
	m := formTag.FindStringSubmatch(p.body)
	if m == nil {
		t.Fatalf("no form on %s (%d):\n%s", p.url, p.status, p.body)
	}
	form = url.Values{}
	for _, tag := range []*regexp.Regexp{hiddenTag, textTag} {
		for _, h := range tag.FindAllStringSubmatch(m[2], -1) {
			form.Set(h[1], html.UnescapeString(h[2]))
		}
	}
	for i := 0; i < len(typed); i += 2 {
		form.Set(typed[i], typed[i+1])
	}
	u, err := p.url.Parse(html.UnescapeString(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return u.String(), form
}

// submit sends the first form as a click on its first button would.
func (b *browser) submit(p page, typed ...string) page {
	b.t.Helper()
	action, form := p.form(b.t, typed...)
	if m := buttonTag.FindStringSubmatch(p.body); m != nil && m[1] != "" && !form.Has(m[1]) {
		form.Set(m[1], m[2])
	}
	return b.post(action, form)
}

func (b *browser) signIn(p page, name string) page {
	b.t.Helper()
	return b.submit(p, "username", name, "password", password)
}

// arrived checks that the browser was sent to a redirect URI and returns the
// parameters there.
func (p page) arrived(t *testing.T, prefix string) url.Values {
	t.Helper()
	if !p.left || !strings.HasPrefix(p.url.String(), prefix) {
		t.Fatalf("not at %s but at %s (%d):\n%s", prefix, p.url, p.status, p.body)
	}
	for name, values := range p.url.Query() {
		if len(values) != 1 {
			t.Errorf("%s is there %d times", name, len(values))
		}
	}
	return p.url.Query()
}

// shows checks that the page is one of the issuer's and holds the texts.
func (p page) shows(t *testing.T, status int, texts ...string) {
	t.Helper()
	body := html.UnescapeString(p.body)
	if p.left || p.status != status {
		t.Fatalf("at %s with %d, want a page with %d:\n%s", p.url, p.status, status, body)
	}
	for _, text := range texts {
		if !strings.Contains(body, text) {
			t.Errorf("the page does not say %q:\n%s", text, body)
		}
	}
}
