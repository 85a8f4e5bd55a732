package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/internal/access"
	"doorward/internal/audit"
	"doorward/internal/gateway"
	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store/sqlite"
)

// rig is a gateway on loopback with a real ledger and real tokens.
type rig struct {
	testing.TB
	url    string
	key    *jose.Key
	ledger *ledger.Ledger
	gw     *gateway.Gateway
	events *sink
	config gateway.Config
	n      int
}

const corpIssuer = "https://auth.example"

// sink keeps audit events.
type sink struct {
	mu     sync.Mutex
	events []audit.Event
	log    *audit.Log
}

func (s *sink) Write(_ context.Context, events []audit.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, events...)
	return nil
}

func (s *sink) all(t testing.TB) []audit.Event {
	t.Helper()
	if err := s.log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

var refForm = regexp.MustCompile(` \(ref ([a-z2-9]{8})\)`)

// withoutRef takes the reference, which must be there, from a refusal's text.
func (r *rig) withoutRef(text string) string {
	r.Helper()
	if len(refForm.FindAllString(text, -1)) != 1 {
		r.Errorf("no reference: %s", text)
	}
	return refForm.ReplaceAllString(text, "")
}

func newRig(t testing.TB, servers map[string]gateway.Server) *rig {
	t.Helper()
	db, err := sqlite.OpenConfig(sqlite.Config{Path: ":memory:"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	r := &rig{TB: t, ledger: &ledger.Ledger{Store: db}, events: &sink{}}
	if r.key, err = jose.NewES256(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	ended, err := r.ledger.WatchEnded(ctx)
	if err != nil {
		t.Fatal(err)
	}
	r.events.log = audit.New(func(err error) { t.Error(err) }, r.events)
	t.Cleanup(func() { _ = r.events.log.Close() })
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !r.gw.Owns(req.URL.Path) {
			http.Error(w, "not the gateway's", http.StatusTeapot)
			return
		}
		r.gw.ServeHTTP(w, req)
	}))
	t.Cleanup(srv.Close)
	r.url = srv.URL
	r.config = gateway.Config{
		URL: r.url, Issuer: corpIssuer, Ended: ended, Grant: r.ledger.Grant, Servers: servers, Audit: r.events.log,
		Keys:   func(context.Context, string) ([]byte, error) { return r.keys() },
		Logger: slog.New(slog.NewTextHandler(testWriter{t}, nil)), BodyLimit: 64 << 10,
	}
	r.gw = r.with(nil)
	return r
}

type testWriter struct{ testing.TB }

func (w testWriter) Write(p []byte) (int, error) { return len(p), nil }

// grant makes a grant and a token of it.
func (r *rig) grant(person, path string, scopes ...string) (id, token string) {
	return r.grantOf(oauth.Subject{ID: "corp/" + person, Provider: "corp", Account: person, Groups: []string{person + "s"},
		AuthTime: time.Now().Add(-time.Hour)}, path, nil, scopes...)
}

func (r *rig) grantOf(s oauth.Subject, path string, changes map[string]any, scopes ...string) (id, token string) {
	r.Helper()
	r.n++
	id = fmt.Sprintf("grant-%d", r.n)
	now := time.Now()
	exp := now.Add(10 * time.Minute)
	g := ledger.Grant{Grant: oauth.Grant{ID: id, Subject: s, Client: "desktop", Resource: r.url + path, Scopes: scopes,
		Created: now, Expires: now.Add(time.Hour)}, TokensUntil: exp}
	if err := r.ledger.Store.Commit(r.Context(), g.Put()); err != nil {
		r.Fatal(err)
	}
	claims := map[string]any{
		"iss": corpIssuer, "sub": s.ID, "aud": r.url + path, "client_id": "desktop", "jti": id, "gid": id,
		"iat": now.Unix(), "exp": exp.Unix(), "scope": strings.Join(scopes, " "),
	}
	for name, value := range changes {
		claims[name] = value
	}
	token, err := r.key.Sign(oauth.TypAccessToken, claims)
	if err != nil {
		r.Fatal(err)
	}
	return id, token
}

func (r *rig) do(method, path, token, body string, header ...string) (*http.Response, string) {
	r.Helper()
	req, err := http.NewRequestWithContext(r.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json, text/event-stream")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		switch header[i] {
		case "Host":
			req.Host = header[i+1]
		case "Content-Type":
			req.Header.Set(header[i], header[i+1])
		default:
			req.Header[header[i]] = append(req.Header[header[i]], header[i+1])
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.Fatal(err)
	}
	return resp, string(text)
}

func toolCall(tool string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + tool + `","arguments":{}}}`
}

// upstream is an MCP server that records what reaches it.
type upstream struct {
	*httptest.Server
	mu     sync.Mutex
	seen   []*http.Request
	bodies []string
	answer http.HandlerFunc // nil: a result
}

func newUpstream(t testing.TB) *upstream {
	u := &upstream{}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		u.mu.Lock()
		u.seen, u.bodies = append(u.seen, r), append(u.bodies, string(body))
		answer := u.answer
		u.mu.Unlock()
		if answer != nil {
			r.Body = io.NopCloser(bytes.NewReader(body))
			answer(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"jsonrpc":"2.0","id":1,"result":{}}`)
	}))
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) respond(h http.HandlerFunc) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answer = h
}

func (u *upstream) requests() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.seen)
}

func (u *upstream) last() (*http.Request, string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.seen[len(u.seen)-1], u.bodies[len(u.bodies)-1]
}

// files is a server with rules: alice may read and write, bob may read, and
// nobody may delete.
func files(url string) gateway.Server {
	return gateway.Server{
		Path: "/files/mcp", Name: "Files", Upstream: url,
		Scopes:        map[string]string{"files:read": "Read", "files:write": "Change", "files:all": "All"},
		DefaultScopes: []string{"files:read"},
		Implies:       map[string][]string{"files:all": {"files:write"}, "files:write": {"files:read"}},
		Tools:         map[string][]string{"write_file": {"files:write"}},
		Rules: access.Rules{
			Name: "servers.files",
			Allow: []access.Rule{
				{Who: []string{"group:corp/alices"}},
				{Who: []string{"group:corp/bobs"}, Tools: []string{"read_*"}},
				{Who: []string{"group:corp/bobs"}, Tools: []string{"audit_log"}, Require: access.Require{SignedInWithin: time.Minute}},
				{Who: []string{"client:desktop"}, Tools: []string{"ping_tool"}, Require: access.Require{AMR: []string{"hwk"}}},
			},
			Deny: []access.Rule{{Who: []string{"everyone"}, Tools: []string{"delete_*"}}, {Who: []string{"person:corp/carol"}}},
		},
	}
}

// rpcReply is what is read of an answer.
type rpcReply struct {
	ID    json.RawMessage `json:"id"`
	Error struct {
		Code    int               `json:"code"`
		Message string            `json:"message"`
		Data    map[string]string `json:"data"`
	} `json:"error"`
}

func reply(t testing.TB, body string) rpcReply {
	t.Helper()
	var m rpcReply
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return m
}

func (r *rig) keys() ([]byte, error) { return json.Marshal(jose.NewSet(r.key)) }

// with is the rig's gateway again, over another transport.
func (r *rig) with(base http.RoundTripper) *gateway.Gateway {
	r.Helper()
	c := r.config
	c.Base = base
	g, err := gateway.New(c)
	if err != nil {
		r.Fatal(err)
	}
	return g
}
