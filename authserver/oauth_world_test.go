package authserver

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"doorward/internal/oauth"
)

const (
	hubURL    = "https://hub.example"
	hubSecret = "s3cret of the hub"
)

// fakeHub is a plain OAuth server shaped like GitHub: token answers as forms,
// refusals with the status of a success, numbers as account ids, and null where
// somebody said nothing. A test can change every answer.
type fakeHub struct {
	t  *testing.T
	mu sync.Mutex

	down    bool
	token   string // answer of the token endpoint; "": a form with hub-access
	status  int    // of it; 0: 200
	more    string // what comes with the access token, as a form
	user    string // answer of userinfo
	userIs  int    // its status; 0: 200
	asked   url.Values
	forms   []url.Values
	bearers []string
	codes   map[string]url.Values
}

func (h *fakeHub) answer(status int, kind, body string) (*http.Response, error) {
	if status == 0 {
		status = 200
	}
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: http.Header{"Content-Type": {kind}},
		Body: io.NopCloser(strings.NewReader(body))}, nil
}

// RoundTrip answers requests of the server under test.
func (h *fakeHub) RoundTrip(r *http.Request) (*http.Response, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.down || r.URL.Host != "hub.example":
		return nil, errors.New("connection refused")
	case r.URL.Path == "/token":
		return h.redeem(r)
	case r.URL.Path == "/user":
		h.bearers = append(h.bearers, r.Header.Get("Authorization"))
		return h.answer(h.userIs, "application/json", h.user)
	}
	return h.answer(404, "text/html", "<h1>Not found</h1>")
}

func (h *fakeHub) redeem(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	h.forms = append(h.forms, form)
	if h.token != "" {
		return h.answer(h.status, "text/html", strings.ReplaceAll(h.token, "CODE", form.Get("code")))
	}
	if form.Get("client_id") != "hub-client" || form.Get("client_secret") != hubSecret || r.Header.Get("Authorization") != "" {
		return h.answer(200, "application/x-www-form-urlencoded", "error=incorrect_client_credentials")
	}
	if form.Get("grant_type") == oauth.AuthorizationCode {
		asked, ok := h.codes[form.Get("code")]
		delete(h.codes, form.Get("code"))
		if !ok || oauth.S256(form.Get("code_verifier")) != asked.Get("code_challenge") || form.Get("redirect_uri") != asked.Get("redirect_uri") {
			return h.answer(200, "application/x-www-form-urlencoded", "error=bad_verification_code&error_description=no+good%3A+"+form.Get("code"))
		}
	}
	return h.answer(200, "application/x-www-form-urlencoded", fmt.Sprintf("access_token=hub-access-%d&scope=&token_type=bearer%s", len(h.forms), h.more))
}

// letIn is the hub's page, at which the person says yes.
func (h *fakeHub) letIn(p page) string {
	h.t.Helper()
	q := p.arrived(h.t, hubURL+"/authorize?tenant=a&")
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = q
	code := "hubcode-" + newID()
	h.codes[code] = q
	// As GitHub does, it names itself, by a name that nobody configured.
	return q.Get("redirect_uri") + "?" + url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {hubURL + "/login"}}.Encode()
}

const daveID = "hub/583231"

func newHubSite(t *testing.T, change func(*Config, *OAuthProvider)) (*site, *fakeHub) {
	t.Helper()
	h := &fakeHub{t: t, codes: map[string]url.Values{}, user: `{"login":"dave","id":583231,"name":null,"email":"dave@corp.example","email_verified":true,"tid":"t","amr":["hwk"],"auth_time":1,"groups":["eng"]}`}
	s := newSite(t, func(c *Config) {
		c.HTTP = h
		p := OAuthProvider{Name: "hub", Title: "The Hub", AuthorizeURL: hubURL + "/authorize?tenant=a", TokenURL: hubURL + "/token", UserinfoURL: hubURL + "/user",
			ClientID: "hub-client", ClientSecret: hubSecret, Scopes: []string{"read:user"}, Account: []string{"id"}, EmailDomains: []string{"corp.example"}}
		if change != nil {
			change(c, &p)
		}
		c.SignIn = OAuth(p)
	})
	return s, h
}

// tokens walks dave to the client: his tokens there.
func (h *fakeHub) tokens(s *site, b *browser) reply {
	h.t.Helper()
	p := b.get(h.letIn(b.get(s.ask("desktop", desktopBack))))
	if !p.left {
		p = b.submit(p)
	}
	code := p.arrived(h.t, "https://desktop.example.com/cb").Get("code")
	r := post(s.Server, "/token", "desktop a secret of the desktop", form("grant_type=authorization_code", "code="+code, "code_verifier="+verifier, "redirect_uri="+desktopBack))
	if r.status != 200 {
		h.t.Fatalf("token: %d %s", r.status, r.body)
	}
	return r
}
