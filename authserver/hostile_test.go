package authserver

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"doorward/internal/jose"
)

// deadlines is a ResponseWriter that remembers the read deadline.
type deadlines struct {
	*httptest.ResponseRecorder
	read time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.read = t
	return nil
}

// lateBody looks, when it is read, whether there is an end to waiting for it.
type lateBody struct {
	strings.Reader
	w       *deadlines
	bounded bool
}

func (b *lateBody) Read(p []byte) (int, error) {
	until := time.Until(b.w.read)
	b.bounded = until > 0 && until <= time.Minute
	return b.Reader.Read(p)
}

func (b *lateBody) Close() error { return nil }

// Whoever announces a body and never sends it must not hold a connection.
//
// covers: X-HTTP-06, SEC-38
func TestBodiesHaveATime(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/token", "/revoke", "/register", "/authorize", "/login", "/consent", "/logout", "/jwks", "/nothing"} {
		rec := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		body := &lateBody{w: rec}
		body.Reset("a=b")
		r := httptest.NewRequest(http.MethodPost, asURL+path, body)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if path == "/register" {
			r.Header.Set("Content-Type", "application/json")
		}
		w.as.ServeHTTP(rec, r)
		if until := time.Until(rec.read); until <= 0 || until > time.Minute {
			t.Errorf("%s: the body may take %v", path, until)
		}
		if body.Len() < 3 && !body.bounded {
			t.Errorf("%s: the body was read before its time was set", path)
		}
	}
}

// A 307 repeats the form, and with it the password.
//
// covers: AS-AUTHZ-07, SEC-29
func TestUncleanPathsAreNotRedirected(t *testing.T) {
	w := newWorld(t)
	if err := w.as.Protect("/extra", http.NotFoundHandler()); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"//login", "/./login", "/x/../login", "/login/", "//extra", "/extra/../token", "//evil.example/login", "/"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if r := ask(w.as, method, asURL+path); r.status != http.StatusNotFound || r.header.Get("Location") != "" {
				t.Errorf("%s %s: %d %s", method, path, r.status, r.header.Get("Location"))
			}
		}
	}
	for _, path := range []string{"/extra", "/extra/", "/extra/below"} {
		if r := ask(w.as, http.MethodPost, asURL+path); r.status != http.StatusUnauthorized {
			t.Errorf("%s: %d", path, r.status)
		}
	}
}

// The last tokens of a day live into the next one, and so must their grant.
func TestClientTokensOutliveMidnight(t *testing.T) {
	w := newWorld(t)
	w.forward(15*time.Hour - 10*time.Second) // 23:59:50
	token := post(w.as, "/token", "agent "+agentSecret, form("grant_type=client_credentials")).text("access_token")
	_, claims, err := jose.Peek(token)
	if err != nil {
		t.Fatal(err)
	}
	id, err := claims.Text("gid")
	if err != nil {
		t.Fatal(err)
	}
	exp, err := claims.Time("exp")
	if err != nil {
		t.Fatal(err)
	}
	w.forward(exp.Sub(w.now()) - time.Second)
	g, err := w.as.ledger.Grant(t.Context(), id)
	if err != nil || !g.Active(w.now()) {
		t.Errorf("a second before the token's end its grant is over: %v, expired %v", err, g.Expires)
	}
}

func TestCataloguePatternIsNoRedirectURI(t *testing.T) {
	w := newWorld(t)
	for uri, want := range map[string]int{
		"https://chatgpt.com/connector/oauth/{id}": http.StatusBadRequest,
		"https://chatgpt.com/connector/oauth/abc":  http.StatusCreated,
	} {
		r := httptest.NewRequest(http.MethodPost, asURL+"/register", strings.NewReader(`{"redirect_uris":["`+uri+`"]}`))
		r.Header.Set("Content-Type", "application/json")
		if got := send(w.as, r); got.status != want {
			t.Errorf("%s: %d", uri, got.status)
		}
	}
}
