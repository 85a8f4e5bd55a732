package authserver

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

const nativeBack = "http://127.0.0.1:4567/cb?own=1"

// returning is a relay in front of a whole server that puts its iss into its
// answers, and a client that registered through it.
type returning struct {
	t           *testing.T
	their, ours *site
	client      string
	b           *browser // of the person, at our place
}

func newReturning(t *testing.T) *returning {
	t.Helper()
	const gateURL = "https://gate.example.com"
	their := newSite(t, func(c *Config) {
		res := c.Resources[0]
		res.ID, res.RuleName = gateURL+"/mcp", "gate"
		c.Resources = []Resource{res}
		c.Registration.Mode, c.OtherClients = "open", "allow"
	})
	ours := newSite(t, func(c *Config) {
		c.URL, c.SignIn, c.Mode, c.Separate, c.HTTP = gateURL, nil, "passthrough", Separate{Issuer: siteURL}, hosts{"auth.example.com": their}
		c.Clients, c.Resources = nil, nil
	})
	w := &returning{t: t, their: their, ours: ours, b: ours.browser()}
	r := w.post("/register", "application/json", `{"redirect_uris":["`+nativeBack+`"],"token_endpoint_auth_method":"none","client_name":"Native"}`)
	var said struct {
		ID   string   `json:"client_id"`
		URIs []string `json:"redirect_uris"`
	}
	if err := json.Unmarshal([]byte(r.body), &said); err != nil || r.status != 201 || !slices.Equal(said.URIs, []string{nativeBack}) {
		t.Fatalf("%d %s", r.status, r.body)
	}
	w.client = said.ID
	return w
}

func (w *returning) post(path, kind, body string) reply {
	r := httptest.NewRequest(http.MethodPost, w.ours.url+path, strings.NewReader(body))
	r.Header.Set("Content-Type", kind)
	return send(w.ours.Server, r)
}

func (w *returning) ask(pairs ...string) string {
	return w.ours.ask(w.client, nativeBack, append([]string{"resource", "https://gate.example.com/mcp"}, pairs...)...)
}

// there goes through our endpoint to theirs and says where that leads.
func (w *returning) there(pairs ...string) page {
	w.t.Helper()
	p := w.b.get(w.ask(pairs...))
	if !p.left || p.url.Host != "auth.example.com" {
		w.t.Fatalf("at %s: %d %s", p.url, p.status, p.body)
	}
	return p
}

// here is the way back: by our callback.
func (w *returning) here(p page) page {
	w.t.Helper()
	p.arrived(w.t, w.ours.url+"/callback/separate")
	return w.b.get(p.url.String())
}

// A client that compares iss with the issuer that it asked finds ours in the
// answer of a server that sends its own, after that was compared here.
//
// covers: I01, I03, I12
func TestRelayedReturn(t *testing.T) {
	w := newReturning(t)
	for _, state := range []string{"st+te/1", ""} {
		p := w.there("state", state)
		if q := p.url.Query(); q.Get("redirect_uri") != w.ours.url+"/callback/separate" || q.Get("state") == state || strings.Contains(q.Get("state"), "127.0.0.1") {
			t.Errorf("asked with %v", q)
		}
		b := w.their.browser()
		back := b.signIn(b.get(p.url.String()), "alice")
		if !back.left { // the second time nothing is asked
			back = b.submit(back)
		}
		q := w.here(back).arrived(t, "http://127.0.0.1:4567/cb?own=1&")
		if q.Get("iss") != w.ours.url || len(q["iss"]) != 1 || q.Get("state") != state || q.Has("state") != (state != "") || q.Get("code") == "" {
			t.Fatalf("came back with %v", q)
		}
		redeem := url.Values{"grant_type": {"authorization_code"}, "client_id": {w.client}, "code": {q.Get("code")}, "code_verifier": {verifier}, "redirect_uri": {nativeBack}}
		redeem.Set("redirect_uri", "http://127.0.0.1:4567/other")
		if r := w.post("/token", "application/x-www-form-urlencoded", redeem.Encode()); r.status != 400 {
			t.Errorf("with another redirect URI: %d %s", r.status, r.body)
		}
		redeem.Set("redirect_uri", nativeBack)
		if r := w.post("/token", "application/x-www-form-urlencoded", redeem.Encode()); r.status != 200 || r.text("access_token") == "" {
			t.Errorf("redeemed: %d %s", r.status, r.body)
		}
	}
	p := w.there("prompt", "consent")
	b := w.their.browser()
	no := b.submit(b.signIn(b.get(p.url.String()), "alice"), "decision", "no")
	if q := w.here(no).arrived(t, "http://127.0.0.1:4567/cb?own=1&"); q.Get("error") != "access_denied" || q.Get("iss") != w.ours.url || q.Get("state") != "st+te/1" || q.Has("code") {
		t.Errorf("a no comes back as %v", q)
	}
}

// What is no answer to a request, or comes from somebody else, is not passed on.
//
// covers: I12
func TestRelayedReturnRefused(t *testing.T) {
	w := newReturning(t)
	state := w.there().url.Query().Get("state")
	at := func(q url.Values) page { return w.b.get(w.ours.url + "/callback/separate?" + q.Encode()) }
	good := func() url.Values { return url.Values{"code": {"c"}, "state": {state}, "iss": {siteURL}} }
	for name, change := range map[string]func(url.Values){
		"another iss":  func(q url.Values) { q.Set("iss", "https://evil.example") },
		"our iss":      func(q url.Values) { q.Set("iss", w.ours.url) },
		"no iss":       func(q url.Values) { q.Del("iss") },
		"two iss":      func(q url.Values) { q.Add("iss", siteURL) },
		"two codes":    func(q url.Values) { q.Add("code", "d") },
		"no state":     func(q url.Values) { q.Del("state") },
		"their state":  func(q url.Values) { q.Set("state", "st+te/1") },
		"a bent state": func(q url.Values) { q.Set("state", "AAAA"+state[4:]) },
	} {
		q := good()
		change(q)
		p := at(q)
		if p.shows(t, 400, "not acceptable"); p.left {
			t.Errorf("%s: it was passed on to %s", name, p.url)
		}
	}
	// Somebody else's link must not bring a person's code to whoever made it (AS-PROXY-02).
	w.ours.browser().get(w.ours.url+"/callback/separate?"+good().Encode()).shows(t, 403, "sent no cookie")
	other := w.ours.browser()
	other.get(w.ask())
	if p := other.get(w.ours.url + "/callback/separate?" + good().Encode()); p.left || p.status != 403 {
		t.Errorf("another browser was sent to %s: %d", p.url, p.status)
	}
	if q := at(good()).arrived(t, "http://127.0.0.1:4567/cb?own=1&"); q.Get("code") != "c" {
		t.Errorf("%v", q)
	}
	w.ours.wait(attemptLife + time.Second)
	at(good()).shows(t, 400, "too old")
}

// Nobody is sent to a redirect URI that a client did not register: such a request
// goes on as it stands, and the separate server refuses it.
func TestRelayedReturnOfOthers(t *testing.T) {
	w := newReturning(t)
	for name, pairs := range map[string][]string{
		"another's redirect URI": {"redirect_uri", "https://evil.example.net/cb"},
		"another client":         {"client_id", "desktop"},
		"without PKCE":           {"code_challenge", ""},
	} {
		if q := w.there(pairs...).url.Query(); strings.Contains(q.Get("redirect_uri"), "/callback/separate") || q.Get("state") != "st+te/1" {
			t.Errorf("%s: %v", name, q)
		}
	}
	for _, name := range []string{"request", "request_uri", "response_mode"} {
		p := w.ours.browser().get(w.ask(name, "form_post"))
		p.shows(t, 400, name)
	}
	p := w.ours.browser().get(w.ask("response_mode", "query"))
	if p.url.Query().Get("redirect_uri") != w.ours.url+"/callback/separate" {
		t.Errorf("response_mode query: at %s", p.url)
	}
	w.ours.browser().get(w.ask("state", strings.Repeat("x", 8000))).shows(t, 400, "too long")
}

// A registration that is refused with our address in it is tried as it stands;
// the answer to that is the client's.
//
// covers: I06, I08
func TestRelayedRegistrationWithoutReturn(t *testing.T) {
	s, e, _ := newRelay(t, nil)
	asked := `{"redirect_uris":["https://app.example.com/cb"],"client_name":"App"}`
	e.status, e.body = 400, `{"error":"invalid_redirect_uri"}`
	if r := postJSON(s.Server, "/register", asked); r.status != 400 || r.body != e.body || len(e.bodies) != 2 || e.bodies[1] != asked ||
		e.bodies[0] != `{"client_name":"App","redirect_uris":["https://app.example.com/cb","`+siteURL+`/callback/separate"]}` {
		t.Errorf("%d %s for %s", r.status, r.body, e.bodies)
	}
	// One that takes it and forgets our address keeps its own way.
	e.status, e.body = 201, `{"client_id":"new","redirect_uris":["https://app.example.com/cb"]}`
	if r := postJSON(s.Server, "/register", asked); r.status != 201 || r.body != e.body {
		t.Errorf("%d %s", r.status, r.body)
	}
	p := s.browser().get(s.ask("new", "https://app.example.com/cb"))
	if p.url.Query().Get("redirect_uri") != "https://app.example.com/cb" {
		t.Errorf("at %s", p.url)
	}
}
