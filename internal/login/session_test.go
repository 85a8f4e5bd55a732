package login

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/internal/vault"
	"doorward/store/sqlite"
)

type world struct {
	*Sessions
	ledger *ledger.Ledger
	clock  time.Time
}

func newWorld(t *testing.T, issuer string, secure bool) *world {
	t.Helper()
	db, err := sqlite.Open(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	v, err := vault.New(make([]byte, vault.MasterKeySize))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{clock: time.Now()}
	now := func() time.Time { return w.clock }
	w.ledger = &ledger.Ledger{Store: db, Now: now}
	w.Sessions = NewSessions(w.ledger, v, issuer, secure, now)
	return w
}

// start signs alice in with a browser that sends cookies.
func (w *world) start(t *testing.T, cookies ...*http.Cookie) (Session, []*http.Cookie) {
	t.Helper()
	rec := httptest.NewRecorder()
	sess, err := w.Start(context.Background(), rec, request(cookies...), oauth.Subject{ID: "alice", Email: "alice@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	return sess, rec.Result().Cookies()
}

func request(cookies ...*http.Cookie) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/login", nil)
	for _, c := range cookies {
		r.AddCookie(c)
	}
	return r
}

// covers: AS-UI-06
func TestCookieAttributes(t *testing.T) {
	_, cookies := newWorld(t, "https://auth.example.com", true).start(t)
	c := cookies[0]
	if !strings.HasPrefix(c.Name, "__Host-dw-") || len(c.Name) != len("__Host-dw-1a2b3c4d") {
		t.Errorf("name %q", c.Name)
	}
	if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
		t.Errorf("attributes of %s", c.Raw)
	}
	_, cookies = newWorld(t, "http://127.0.0.1:8080", false).start(t)
	if c := cookies[0]; c.Secure || strings.HasPrefix(c.Name, "__Host-") || !c.HttpOnly {
		t.Errorf("on http: %s", c.Raw)
	}
	_, other := newWorld(t, "http://127.0.0.1:8090", false).start(t)
	if cookies[0].Name == other[0].Name {
		t.Errorf("two issuers on one host share the cookie %s", other[0].Name)
	}
}

// covers: SEC-25
func TestStartReplacesTheCookieThatWasThere(t *testing.T) {
	w := newWorld(t, "https://auth.example.com", true)
	first, before := w.start(t)
	second, after := w.start(t, before...)
	if before[0].Value == after[0].Value || first.ID == second.ID {
		t.Fatal("the session survived the sign-in")
	}
	if _, ok, _ := w.From(context.Background(), request(before...)); ok {
		t.Error("the session from before still opens")
	}
	planted := &http.Cookie{Name: after[0].Name, Value: newSecret()}
	if _, ok, _ := w.From(context.Background(), request(planted)); ok {
		t.Error("a made-up cookie opens a session")
	}
	_, fresh := w.start(t, planted)
	if fresh[0].Value == planted.Value {
		t.Error("a planted cookie became the session")
	}
}

func TestSessionLife(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, "https://auth.example.com", true)
	sess, cookies := w.start(t)
	got, ok, _ := w.From(ctx, request(cookies...))
	if !ok || got.ID != sess.ID || got.Subject.Email != "alice@example.com" || got.Subject.Session != sess.ID || got.Subject.AuthTime.IsZero() {
		t.Fatalf("session %+v, %v", got, ok)
	}
	if strings.Contains(cookies[0].Value, sess.ID) || cookies[0].Value == sess.ID {
		t.Error("the public id is the secret")
	}
	named := &http.Cookie{Name: cookies[0].Name, Value: sess.ID}
	if _, ok, _ := w.From(ctx, request(named)); ok {
		t.Error("the public id opens the session")
	}
	if _, ok, _ := w.From(ctx, request(cookies[0], cookies[0])); ok {
		t.Error("two cookies of one name are read")
	}
	if alive, err := w.Alive(ctx, sess.ID); !alive || err != nil {
		t.Fatalf("alive %v, %v", alive, err)
	}
	w.clock = w.clock.Add(Lifetime)
	if _, ok, _ := w.From(ctx, request(cookies...)); ok {
		t.Error("lives longer than its lifetime")
	}
	if alive, _ := w.Alive(ctx, sess.ID); alive {
		t.Error("alive after its lifetime")
	}
}

func TestEndAndLeave(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, "https://auth.example.com", true)
	sess, cookies := w.start(t)
	rec := httptest.NewRecorder()
	if err := w.End(ctx, rec, request(cookies...)); err != nil {
		t.Fatal(err)
	}
	if alive, _ := w.Alive(ctx, sess.ID); alive {
		t.Error("alive after End")
	}
	for _, c := range rec.Result().Cookies() {
		if c.MaxAge >= 0 {
			t.Errorf("cookie %s stays", c.Name)
		}
	}
	sess, _ = w.start(t)
	if _, err := w.ledger.Leave(ctx, "alice"); err != nil {
		t.Fatal(err)
	}
	if alive, _ := w.Alive(ctx, sess.ID); alive {
		t.Error("alive after the person left")
	}
	_, err := w.Start(ctx, httptest.NewRecorder(), request(), oauth.Subject{ID: "alice"})
	if !errors.Is(err, ledger.ErrLeft) {
		t.Errorf("who left signs in: %v", err)
	}
}

func TestBrowser(t *testing.T) {
	w := newWorld(t, "http://127.0.0.1:8080", false)
	if _, ok := w.BrowserOf(request()); ok {
		t.Error("a browser without cookie has a name")
	}
	rec := httptest.NewRecorder()
	name := w.Browser(rec, request())
	again := httptest.NewRecorder()
	if got := w.Browser(again, request(rec.Result().Cookies()...)); got != name || len(again.Result().Cookies()) != 0 {
		t.Errorf("name %q, then %q with %d cookies", name, got, len(again.Result().Cookies()))
	}
	if other := w.Browser(httptest.NewRecorder(), request()); other == name {
		t.Error("two browsers have one name")
	}
	bad := &http.Cookie{Name: rec.Result().Cookies()[0].Name, Value: "short"}
	if _, ok := w.BrowserOf(request(bad)); ok {
		t.Error("a made-up cookie is taken")
	}
}
