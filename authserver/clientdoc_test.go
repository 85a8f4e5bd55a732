package authserver

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

// docs is a web server on loopback with clients' documents.
type docs struct {
	*httptest.Server
	mu    sync.Mutex
	pages map[string]func(w http.ResponseWriter)
	seen  map[string]int
}

func newDocs(t *testing.T) *docs {
	d := &docs{pages: map[string]func(http.ResponseWriter){}, seen: map[string]int{}}
	d.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.seen[r.URL.Path]++
		if f := d.pages[r.URL.Path]; f != nil {
			f(w)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(d.Close)
	return d
}

// put publishes a document at a path and returns its URL. members change the
// usual ones; a nil value takes one away.
func (d *docs) put(path string, members map[string]any, headers ...string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	doc := map[string]any{"client_id": d.URL + path, "client_name": "Note Taker", "redirect_uris": []string{"https://notes.example/cb", "http://127.0.0.1/callback"},
		"grant_types": []string{"authorization_code", "refresh_token"}, "token_endpoint_auth_method": "none"}
	for name, v := range members {
		if doc[name] = v; v == nil {
			delete(doc, name)
		}
	}
	body, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	d.pages[path] = func(w http.ResponseWriter) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.Write(body)
	}
	return d.URL + path
}

// raw publishes an answer as it is.
func (d *docs) raw(path string, answer func(http.ResponseWriter)) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pages[path] = answer
	return d.URL + path
}

func (d *docs) count(path string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seen[path]
}

// docSite is an issuer on loopback that trusts the certificate of docs.
func docSite(t *testing.T, change func(*Config)) (*site, *docs) {
	t.Helper()
	d := newDocs(t)
	roots := x509.NewCertPool()
	roots.AddCert(d.Certificate())
	return newSite(t, func(c *Config) {
		c.URL, c.Fetch = "http://127.0.0.1:8080", Fetch{Roots: roots}
		if change != nil {
			change(c)
		}
	}), d
}

// covers: AS-CIMD-01, AS-CIMD-07, AS-CIMD-15, AS-META-07, B15, F19
func TestClientByItsDocument(t *testing.T) {
	s, d := docSite(t, nil)
	id := d.put("/c.json", nil)
	b := s.browser()
	page := b.signIn(b.get(s.ask(id, "http://127.0.0.1:4711/callback")), "alice")
	page.shows(t, http.StatusOK, "Note Taker", strings.TrimPrefix(d.URL, "https://"), "Not verified")
	back := b.submit(page).arrived(t, "http://127.0.0.1:4711/callback")
	status, got := b.redeem(id, "http://127.0.0.1:4711/callback", back.Get("code"))
	if status != http.StatusOK || got["access_token"] == "" || got["refresh_token"] == nil {
		t.Fatalf("%d %v", status, got)
	}
	if client, _ := claimsOf(t, got["access_token"].(string)).Text("client_id"); client != id {
		t.Errorf("the token is of %s", client)
	}
	if n := d.count("/c.json"); n != 1 {
		t.Errorf("the document was fetched %d times", n)
	}
	b.get(s.ask(id, "https://evil.example/cb")).shows(t, http.StatusBadRequest, "redirect_uri")
	pushed, err := url.Parse(s.ask(id, "http://127.0.0.1:4711/callback"))
	if err != nil {
		t.Fatal(err)
	}
	if r := post(s.Server, "/par", "", pushed.Query()); r.status != http.StatusCreated {
		t.Errorf("pushed: %d %s", r.status, r.body)
	}
	if doc := (get(s.Server, oauth.WellKnownAS)); doc.status != http.StatusOK || !strings.Contains(doc.body, `"client_id_metadata_document_supported":true`) {
		t.Errorf("metadata: %s", doc.body)
	}
}

func get(s *Server, path string) reply {
	return send(s, httptest.NewRequest(http.MethodGet, s.current().cfg.URL+path, nil))
}

// A document that breaks a rule gives a page without a way out, and
// invalid_client at the token endpoint.
//
// covers: AS-CIMD-02, AS-CIMD-03, AS-CIMD-04, AS-CIMD-05, AS-CIMD-06, AS-CIMD-11, AS-CIMD-14
func TestBadDocuments(t *testing.T) {
	s, d := docSite(t, nil)
	good := d.put("/good", nil)
	jwk := func(members ...string) map[string]any {
		key := map[string]any{"kty": "EC"}
		for _, m := range members {
			key[m] = "AQAB"
		}
		return map[string]any{"keys": []any{key}}
	}
	for name, id := range map[string]string{
		"no path":          d.URL,
		"a root path":      d.URL + "/",
		"a fragment":       good + "#x",
		"dots":             d.URL + "/a/../good",
		"user info":        strings.Replace(good, "https://", "https://u:p@", 1),
		"nothing there":    d.URL + "/nowhere",
		"another id":       d.put("/id", map[string]any{"client_id": good}),
		"no id":            d.put("/noid", map[string]any{"client_id": nil}),
		"an id in capital": d.put("/ID", map[string]any{"client_id": nil, "CLIENT_ID": d.URL + "/ID"}),
		"no name":          d.put("/name", map[string]any{"client_name": nil}),
		"a blank name":     d.put("/blank", map[string]any{"client_name": " \u200b "}),
		"no redirect":      d.put("/r1", map[string]any{"redirect_uris": nil}),
		"an empty list":    d.put("/r2", map[string]any{"redirect_uris": []string{}}),
		"a text":           d.put("/r3", map[string]any{"redirect_uris": "https://notes.example/cb"}),
		"numbers":          d.put("/r4", map[string]any{"redirect_uris": []any{1}}),
		"bad redirects":    d.put("/r5", map[string]any{"redirect_uris": []string{"javascript:alert(1)", "http://notes.example/cb", "https://notes.example/cb#f"}}),
		"a secret":         d.put("/s1", map[string]any{"client_secret": "x"}),
		"its expiry":       d.put("/s2", map[string]any{"client_secret_expires_at": 0}),
		"a private key":    d.put("/s3", map[string]any{"jwks": jwk("x", "y", "d")}),
		"a symmetric key":  d.put("/s4", map[string]any{"jwks": jwk("k")}),
		"basic":            d.put("/m1", map[string]any{"token_endpoint_auth_method": "client_secret_basic"}),
		"post":             d.put("/m2", map[string]any{"token_endpoint_auth_method": "client_secret_post"}),
		"secret jwt":       d.put("/m3", map[string]any{"token_endpoint_auth_method": "client_secret_jwt"}),
		"no keys":          d.put("/m4", map[string]any{"token_endpoint_auth_method": "private_key_jwt"}),
		"two key sets":     d.put("/m6", map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://notes.example/jwks", "jwks": json.RawMessage(jwksOf("es"))}),
		"a plain key set":  d.put("/m7", map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "http://notes.example/jwks"}),
		"mTLS":             d.put("/m8", map[string]any{"token_endpoint_auth_method": "tls_client_auth"}),
		"none not among":   d.put("/m5", map[string]any{"token_endpoint_auth_methods_supported": []string{"private_key_jwt"}}),
		"5 KiB and more":   d.put("/big", map[string]any{"x": strings.Repeat("x", 5<<10)}),
		"no JSON":          d.raw("/j1", func(w http.ResponseWriter) { fmt.Fprint(w, "<html>") }),
		"null":             d.raw("/j2", func(w http.ResponseWriter) { fmt.Fprint(w, "null") }),
		"a list":           d.raw("/j3", func(w http.ResponseWriter) { fmt.Fprint(w, "[]") }),
		"a redirect": d.raw("/302", func(w http.ResponseWriter) {
			w.Header().Set("Location", good)
			w.WriteHeader(http.StatusFound)
		}),
		"another status": d.raw("/203", func(w http.ResponseWriter) { w.WriteHeader(http.StatusNonAuthoritativeInfo); fmt.Fprint(w, "{}") }),
	} {
		s.current().documents.failed = map[string]*failures{}
		s.current().documents.requesters = nil
		page := s.browser().get(s.ask(id, "https://notes.example/cb"))
		if page.left || page.status != http.StatusBadRequest || strings.Contains(page.body, "Sign in") {
			t.Errorf("%s: %d, left %t at %s", name, page.status, page.left, page.url)
		}
		got := post(s.Server, "/token", "", form("grant_type=authorization_code", "code=x", "client_id="+id, "redirect_uri=https://notes.example/cb"))
		if got.status != http.StatusUnauthorized || got.text("error") != oauth.InvalidClient {
			t.Errorf("%s: token %d %s", name, got.status, got.body)
		}
	}
	if n := d.count("/good"); n != 0 {
		t.Errorf("%d requests for the target of a redirect", n)
	}
	if s.browser().get(s.ask(good, "https://notes.example/cb")).status != http.StatusOK {
		t.Error("a good document is refused")
	}
}

// What a document asks beyond code and refresh is not given, and not a reason
// to refuse it; none among several methods is enough.
//
// covers: AS-CIMD-08, AS-DCR-08
func TestDocumentsOfRealClients(t *testing.T) {
	c, err := parseDocument("https://app.example/c", []byte(`{"client_id":"https://app.example/c","client_name":"App","redirect_uris":["https://app.example/cb","app:/cb"],
		"grant_types":["refresh_token","urn:ietf:params:oauth:grant-type:jwt-bearer","authorization_code","client_credentials"],"logo_uri":"http://169.254.169.254/",
		"token_endpoint_auth_method":"private_key_jwt","token_endpoint_auth_methods_supported":["none","private_key_jwt"],"client_uri":"https://app.example/"}`))
	if err != nil || fmt.Sprint(c.GrantTypes, c.RedirectURIs) != "[authorization_code refresh_token] [https://app.example/cb]" || !c.Public() || c.URI != "https://app.example/" {
		t.Errorf("%+v, %v", c, err)
	}
	c, err = parseDocument("https://app.example/c", []byte(`{"client_id":"https://app.example/c","client_name":"App","redirect_uris":["https://app.example/cb"]}`))
	if err != nil || fmt.Sprint(c.GrantTypes) != "[authorization_code]" || c.AuthMethod != authNone {
		t.Errorf("a short one: %+v, %v", c, err)
	}
}

// covers: AS-CIMD-10, AS-CIMD-09
func TestDocumentsOnLoopbackAreForLoopback(t *testing.T) {
	s, d := docSite(t, func(c *Config) { c.URL = siteURL })
	for _, id := range []string{d.put("/c", nil), strings.Replace(d.URL, "127.0.0.1", "localhost", 1) + "/c"} {
		s.browser().get(s.ask(id, "https://notes.example/cb")).shows(t, http.StatusBadRequest, "cannot be fetched")
	}
	s.cfg.Fetch.Private = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	if err := s.Reload(s.cfg); err != nil {
		t.Fatal(err)
	}
	s.browser().get(s.ask(d.URL+"/c", "https://notes.example/cb")).shows(t, http.StatusBadRequest, "cannot be fetched")
	if d.count("/c") != 0 {
		t.Error("loopback was asked")
	}
}

// covers: AS-CIMD-12, AS-CIMD-13
func TestDocumentsAreKept(t *testing.T) {
	s, d := docSite(t, nil)
	works := func(id string) bool {
		return s.browser().get(s.ask(id, "https://notes.example/cb")).status == http.StatusOK
	}
	id := d.put("/c", nil)
	for _, step := range []struct {
		wait time.Duration
		want int
	}{{0, 1}, {4 * time.Minute, 1}, {2 * time.Minute, 2}} {
		s.wait(step.wait)
		if !works(id) || d.count("/c") != step.want {
			t.Errorf("after %s: fetched %d times", step.wait, d.count("/c"))
		}
	}
	d.raw("/c", func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) })
	if s.wait(6 * time.Minute); !works(id) {
		t.Error("a server that is away for a moment makes its client unknown")
	}
	if s.wait(25 * time.Hour); works(id) {
		t.Error("a document of yesterday is used")
	}
	d.put("/c", nil)
	if !works(id) {
		t.Error("an error was kept")
	}
	d.raw("/c", func(w http.ResponseWriter) { w.WriteHeader(http.StatusGone) })
	if s.wait(6 * time.Minute); works(id) {
		t.Error("a document that was withdrawn is used")
	}
	expires := func(after string) http.Header {
		return http.Header{"Date": {"Fri, 27 Nov 2026 10:00:00 GMT"}, "Expires": {after}}
	}
	for after, want := range map[string]time.Duration{"Fri, 27 Nov 2026 10:30:00 GMT": 30 * time.Minute, "Fri, 27 Nov 2026 09:00:00 GMT": time.Minute,
		"0": time.Minute, "Sat, 28 Nov 2027 10:00:00 GMT": 24 * time.Hour} {
		if got := lifeOf(expires(after)); got != want {
			t.Errorf("Expires %s: %s, want %s", after, got, want)
		}
	}
	for value, want := range map[string]time.Duration{"": 5 * time.Minute, "max-age=600": 10 * time.Minute, "public, MAX-AGE=\"90\"": 90 * time.Second,
		"max-age=1": time.Minute, "no-store": time.Minute, "max-age=99999999": 24 * time.Hour, "max-age=x": 5 * time.Minute, "max-age=-5": time.Minute} {
		if got := lifeOf(http.Header{"Cache-Control": {value}}); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

// covers: AS-CIMD-13, SEC-24
func TestStrangersCannotMakeUsAskForever(t *testing.T) {
	s, d := docSite(t, nil)
	for i := range 40 {
		s.browser().get(s.ask(fmt.Sprintf("%s/missing/%d", d.URL, i), "https://notes.example/cb"))
	}
	d.mu.Lock()
	if len(d.seen) != maxFailures {
		t.Errorf("%d requests", len(d.seen))
	}
	d.mu.Unlock()
	id := d.put("/c", nil)
	s.browser().get(s.ask(id, "https://notes.example/cb")).shows(t, http.StatusBadRequest, "try in a minute")
	s.wait(failureWindow)
	if s.browser().get(s.ask(id, "https://notes.example/cb")).status != http.StatusOK {
		t.Error("a minute later it is still refused")
	}
	if a, b := askedHost("https://Evil.Example:8443/x"), askedHost("https://evil.example./y"); a != b || a != "evil.example" {
		t.Errorf("one host is counted as %q and %q", a, b)
	}
	docs := s.current().documents
	for i := range maxDocuments + 10 {
		docs.keep(fmt.Sprint(i), &keptDocument{used: s.now().Add(time.Duration(i))})
	}
	if len(docs.kept) != maxDocuments {
		t.Errorf("%d documents are kept", len(docs.kept))
	}
	for i := range maxFailingHosts + 10 {
		docs.countFailure(fmt.Sprint(i), s.now())
	}
	if len(docs.failed) > maxFailingHosts {
		t.Errorf("%d hosts are counted", len(docs.failed))
	}
}

// Whoever causes many fetches is stopped, and nobody else with them; those of
// others at a host keep no known client out.
//
// covers: AS-CIMD-13, SEC-24
func TestFetchesOfOneRequester(t *testing.T) {
	s, d := docSite(t, nil)
	from := func(address, id string) error {
		_, err := s.client(context.WithValue(t.Context(), requesterKey{}, address), s.current(), id)
		return err
	}
	for i := range maxOfRequester + 20 {
		err := from("192.0.2.1", d.put(fmt.Sprintf("/c/%d", i), nil))
		if (err == nil) != (i < maxOfRequester) {
			t.Fatalf("fetch %d: %v", i, err)
		}
	}
	if err := from("192.0.2.1", d.URL+"/c/0"); err != nil {
		t.Errorf("a document that is kept: %v", err)
	}
	if err := from("192.0.2.2", d.put("/other", nil)); err != nil {
		t.Errorf("another requester: %v", err)
	}
	s.wait(failureWindow)
	if err := from("192.0.2.1", d.put("/later", nil)); err != nil {
		t.Errorf("a minute later: %v", err)
	}
	// A page counts for the address that asks for it.
	b := s.browser()
	for i := range maxOfRequester {
		b.get(s.ask(d.put(fmt.Sprintf("/p/%d", i), nil), "https://notes.example/cb"))
	}
	b.get(s.ask(d.put("/p", nil), "https://notes.example/cb")).shows(t, http.StatusBadRequest, "try in a minute")

	docs, claude := s.current().documents, "https://claude.ai/oauth/mcp-oauth-client-metadata"
	for range maxFailures {
		docs.countFailure(failingAt("https://claude.ai/nothing"), s.now())
	}
	if _, err := docs.enter(t.Context(), "https://claude.ai/else", false, s.now()); err == nil {
		t.Error("a host that fails is asked again")
	}
	if _, err := docs.enter(t.Context(), claude, true, s.now()); err != nil {
		t.Error("failures of others at its host keep a known client out")
	}
}

func TestOneFetchForAll(t *testing.T) {
	s, d := docSite(t, nil)
	id := d.put("/c", nil)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := s.client(t.Context(), s.current(), id); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := d.count("/c"); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

// The account page calls a client what the consent page called it.
func TestDocumentsOnTheAccountPage(t *testing.T) {
	s, d := docSite(t, nil)
	b := s.browser()
	b.signIn(b.get(s.url+"/account"), "alice")
	known := d.put("/known", map[string]any{"client_name": "Payroll", "redirect_uris": []string{"https://claude.ai/api/mcp/auth_callback"}})
	b.submit(b.get(s.ask(known, "https://claude.ai/api/mcp/auth_callback")))
	p := b.get(s.url + "/account")
	p.shows(t, http.StatusOK, ">Claude<")
	if strings.Contains(p.body, "Payroll") || strings.Contains(p.body, "chose this name itself") {
		t.Errorf("a known client stands under the name of its document:\n%s", p.body)
	}
	b.submit(b.get(s.ask(d.put("/c", nil), "https://notes.example/cb")))
	b.get(s.url+"/account").shows(t, http.StatusOK, "Note Taker", "chose this name itself")

	// It waits for nobody's server: what was kept is shown, else the address.
	before := d.count("/c")
	s.wait(time.Hour)
	b.get(s.url+"/account").shows(t, http.StatusOK, "Note Taker", "chose this name itself")
	clear(s.current().documents.kept)
	b.get(s.url+"/account").shows(t, http.StatusOK, d.URL+"/c", d.URL+"/known")
	if n := d.count("/c"); n != before {
		t.Errorf("the page made %d fetches", n-before)
	}
}

// An administrator's word is kept under the URL; the name that a document gives
// itself is nobody's.
//
// covers: AS-CIMD-18
func TestPolicyOfDocuments(t *testing.T) {
	s, d := docSite(t, func(c *Config) { c.OtherClients = "ask-admin" })
	id := d.put("/c", map[string]any{"client_name": "Claude Code", "redirect_uris": []string{"http://localhost/callback"}})
	b := s.browser()
	b.get(s.ask(id, "http://localhost:1/callback")).shows(t, http.StatusForbidden, "doorward client approve "+id)
	got := post(s.Server, "/token", "", form("grant_type=authorization_code", "code=x", "client_id="+id))
	if got.text("error") != oauth.UnauthorizedClient {
		t.Errorf("token: %s", got.body)
	}
	known := d.put("/known", map[string]any{"redirect_uris": []string{"https://claude.ai/api/mcp/auth_callback"}})
	page := b.get(s.ask(known, "https://claude.ai/api/mcp/auth_callback"))
	page = b.signIn(page, "alice")
	page.shows(t, http.StatusOK, "Claude")
	if strings.Contains(page.body, "Careful") {
		t.Error("a known client at its own address has a warning")
	}
	mixed := d.put("/mixed", map[string]any{"redirect_uris": []string{"https://claude.ai/api/mcp/auth_callback", "https://evil.example/cb"}})
	b.get(s.ask(mixed, "https://evil.example/cb")).shows(t, http.StatusForbidden, "client approve")

	approved := ledger.Client{ID: id, Source: ledger.FromDocument, Approved: true}
	if err := s.ledger.Store.Commit(t.Context(), approved.Put()); err != nil {
		t.Fatal(err)
	}
	s.browser().get(s.ask(id, "http://localhost:1/callback")).shows(t, http.StatusOK, "Sign in")

	s.cfg.OtherClients = "refuse"
	if err := s.Reload(s.cfg); err != nil {
		t.Fatal(err)
	}
	s.browser().get(s.ask(id, "http://localhost:1/callback")).shows(t, http.StatusOK, "Sign in")
	s.browser().get(s.ask(mixed, "https://evil.example/cb")).shows(t, http.StatusBadRequest, "only known clients")
	odd := d.put("/a;rm$IFS-rf'", nil)
	if want := `'` + d.URL + `/a;rm$IFS-rf'\'''`; shellWord(odd) != want {
		t.Errorf("%s, want %s", shellWord(odd), want)
	}
}

// covers: AS-CIMD-16, AS-CIMD-17
func TestDocumentThatChangedIsAskedAboutAgain(t *testing.T) {
	s, d := docSite(t, nil)
	const cb = "https://notes.example/cb"
	id := d.put("/c", nil)
	b := s.browser()
	b.submit(b.signIn(b.get(s.ask(id, cb)), "alice")).arrived(t, cb)
	b.get(s.ask(id, cb)).arrived(t, cb)
	for _, change := range []map[string]any{{"client_name": "Another"}, {"redirect_uris": []string{cb, "https://more.example/cb"}},
		{"token_endpoint_auth_method": "private_key_jwt", "jwks": json.RawMessage(jwksOf("es"))},
		{"token_endpoint_auth_method": "private_key_jwt", "jwks": json.RawMessage(jwksOf("es2"))},
		{"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://notes.example/jwks"}} {
		d.put("/c", change)
		s.wait(6 * time.Minute)
		page := b.get(s.ask(id, cb))
		page.shows(t, http.StatusOK, "Allow", "described at", documentHost(id))
		b.submit(page).arrived(t, cb)
	}
	b.get(s.ask(id, cb)).arrived(t, cb)
}

// A yes is to what the page said: a document that changes while the page waits
// is asked about anew.
// covers: AS-CIMD-16
func TestDocumentThatChangesUnderThePage(t *testing.T) {
	s, d := docSite(t, nil)
	const cb = "https://notes.example/cb"
	id := d.put("/c", nil)
	b := s.browser()
	page := b.signIn(b.get(s.ask(id, cb)), "alice")
	page.shows(t, http.StatusOK, "Note Taker")
	d.put("/c", map[string]any{"client_name": "Another", "redirect_uris": []string{cb, "https://more.example/cb"}})
	s.wait(6 * time.Minute)
	page = b.submit(page)
	page.shows(t, http.StatusOK, "Allow", "Another")
	b.submit(page).arrived(t, cb)
	b.get(s.ask(id, cb)).arrived(t, cb)
}

// A public client redeems assertions only if its URL is listed, or it is a
// known client by its URL.
//
// covers: AS-JAG-02
func TestDocumentsAndAssertions(t *testing.T) {
	d := newDocs(t)
	roots := x509.NewCertPool()
	roots.AddCert(d.Certificate())
	listedID, other := d.put("/listed", map[string]any{"grant_types": []string{oauth.JWTBearer}}), d.put("/other", map[string]any{"grant_types": []string{oauth.JWTBearer}})
	pretender := d.put("/pretender", map[string]any{"redirect_uris": []string{"https://claude.ai/api/mcp/auth_callback"}})
	w := newWorld(t, func(as, _ *Config) {
		as.OtherClients, as.KnownClients = "allow", []string{"claude"}
		corp := as.Issuers["corp"]
		corp.PublicClients = []string{listedID, "claude"}
		as.Issuers = map[string]TrustedIssuer{"corp": corp}
	})
	st := w.as.current()
	st.documents = newDocuments(Config{Fetch: Fetch{Roots: roots}}, true)
	redeem := func(id string) reply {
		return post(w.as, "/token", "", url.Values{"grant_type": {oauth.JWTBearer}, "client_id": {id}, "assertion": {w.jag(t, map[string]any{"client_id": id})}})
	}
	if got := redeem(listedID); got.status != http.StatusOK || got.text("access_token") == "" {
		t.Errorf("listed: %s", got.body)
	}
	if got := redeem(other); got.text("error") != oauth.UnauthorizedClient {
		t.Errorf("not listed: %s", got.body)
	}
	if got := redeem(pretender); got.text("error") != oauth.UnauthorizedClient {
		t.Errorf("with the redirect URI of a known client: %s", got.body)
	}
	real := ledger.Client{ID: "https://claude.ai/oauth/mcp-oauth-client-metadata", Source: ledger.FromDocument, Known: "claude"}
	if !listed([]string{"claude"}, &real) {
		t.Error("the known client itself is not in")
	}
}

// FuzzParseDocument: what is accepted is a client of that URL that is public or has keys.
func FuzzParseDocument(f *testing.F) {
	const id = "https://app.example/c"
	f.Add([]byte(`{"client_id":"https://app.example/c","client_name":"App","redirect_uris":["https://app.example/cb"]}`))
	f.Add([]byte(`{"client_id":"https://app.example/c","client_name":"App","redirect_uris":["http://localhost"],"jwks":{"keys":[{"d":1}]}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := parseDocument(id, body)
		if err != nil {
			return
		}
		if c.ID != id || c.Name == "" || len(c.RedirectURIs) == 0 || c.Takes(authBasic) || c.Takes(authPost) || !c.Public() && len(c.JWKS) == 0 && c.JWKSURI == "" || c.Approved || c.Known != "" {
			t.Errorf("%+v", c)
		}
		for _, g := range c.GrantTypes {
			if g != oauth.AuthorizationCode && g != oauth.RefreshToken {
				t.Errorf("grant %s", g)
			}
		}
	})
}

// What was fetched outlives new settings, so that a client whose server is away
// stays known, and so do the bounds; with other rules for fetching nothing does.
//
// covers: AS-CIMD-12, AS-CIMD-13
func TestDocumentsOutliveAReload(t *testing.T) {
	s, d := docSite(t, nil)
	id := d.put("/c", nil)
	ask := func() reply { return begin(s, "192.0.2.1:1", id) }
	if got := ask(); got.status != http.StatusSeeOther {
		t.Fatalf("%d %s", got.status, got.body)
	}
	d.raw("/c", func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) })
	d.raw("/jwks", func(w http.ResponseWriter) { w.Write(jwksOf("es")) })
	signer := ledger.Client{ID: "c", Source: ledger.FromDynamic, JWKSURI: d.URL + "/jwks"}
	roots := x509.NewCertPool()
	roots.AddCert(d.Certificate())
	s.cfg.Name, s.cfg.Fetch.Roots = "Another", roots // the same ones, read again
	for range 3 {
		if _, err := s.current().clientKeys.set(t.Context(), signer, s.now); err != nil {
			t.Fatal(err)
		}
		s.wait(6 * time.Minute) // past the time of the document
		if err := s.Reload(s.cfg); err != nil {
			t.Fatal(err)
		}
		if got := ask(); got.status != http.StatusSeeOther {
			t.Errorf("after a reload: %d %s", got.status, got.body)
		}
		s.clock.Add(-int64(6 * time.Minute))
	}
	if d.count("/jwks") != 1 {
		t.Errorf("keys are fetched %d times", d.count("/jwks"))
	}
	if s.current().documents.failed[askedHost(id)] == nil {
		t.Error("the failures of a host are forgotten")
	}
	s.cfg.Fetch.MaxBytes = 1 << 10
	if err := s.Reload(s.cfg); err != nil {
		t.Fatal(err)
	}
	if got := ask(); got.status != http.StatusBadRequest {
		t.Errorf("by other rules: %d %s", got.status, got.body)
	}
}
