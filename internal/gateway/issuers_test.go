package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"doorward"
	"doorward/internal/access"
	"doorward/internal/gateway"
	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// elsewhere is an authorization server that is none of ours: it publishes its
// keys and answers about its tokens, which are all good until ended.
type elsewhere struct {
	*httptest.Server
	key   *jose.Key
	ended atomic.Bool
	asked atomic.Int32
}

func newElsewhere(t testing.TB) *elsewhere {
	key, err := jose.NewES256()
	if err != nil {
		t.Fatal(err)
	}
	e := &elsewhere{key: key}
	mux := http.NewServeMux()
	mux.HandleFunc(oauth.WellKnownAS, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(oauth.ServerMetadata{Issuer: e.URL, JWKSURI: e.URL + "/jwks", IntrospectionEndpoint: e.URL + "/introspect"})
	})
	mux.HandleFunc("/jwks", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(jose.NewSet(key)) })
	mux.HandleFunc("POST /introspect", func(w http.ResponseWriter, r *http.Request) {
		e.asked.Add(1)
		if id, secret, _ := r.BasicAuth(); id != "gate" || secret != "s3cret" || e.ended.Load() {
			fmt.Fprint(w, `{"active":false}`)
			return
		}
		v, err := jose.Verify(r.FormValue("token"), jose.NewSet(key), []string{jose.ES256}, nil)
		if err != nil {
			fmt.Fprint(w, `{"active":false}`)
			return
		}
		claims := v.Claims()
		claims["active"] = json.RawMessage("true")
		_ = json.NewEncoder(w).Encode(map[string]json.RawMessage(claims))
	})
	e.Server = httptest.NewServer(mux)
	t.Cleanup(e.Close)
	return e
}

// token is one of that server for one of ours.
func (e *elsewhere) token(t testing.TB, resource, sub, client string, changes map[string]any) string {
	now := time.Now()
	claims := map[string]any{"iss": e.URL, "sub": sub, "aud": resource, "client_id": client, "jti": sub, "iat": now.Unix(),
		"exp": now.Add(10 * time.Minute).Unix(), "scope": "files:read files:write"}
	for name, value := range changes {
		claims[name] = value
	}
	token, err := e.key.Sign(oauth.TypAccessToken, claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Whom another issuer vouches for is nobody of ours, whatever their token
// says, and no client with a person's name is that person.
// covers: SEC-04, SEC-30, RS-TOK-04, RS-TOK-13, J24
func TestPeopleOfOtherIssuers(t *testing.T) {
	up, there, stranger := newUpstream(t), newElsewhere(t), newElsewhere(t)
	s := files(up.URL)
	s.Issuers = []string{there.URL}
	s.Rules.Allow = append(s.Rules.Allow,
		access.Rule{Who: []string{"everyone", "person:corp/alice", "client:desktop", "alice@corp.example", "person:alice"}},
		access.Rule{Who: []string{"issuer:" + there.URL + "#alice", "client:" + there.URL + "#agent"}, Tools: []string{"read_*"}},
	)
	r := newRig(t, map[string]gateway.Server{"files": s})
	ours, _ := r.grant("alice", "/files/mcp", "files:read")
	resource := r.url + "/files/mcp"
	for _, c := range []struct {
		name    string
		e       *elsewhere
		sub     string
		client  string
		changes map[string]any
		status  int
		reason  string
	}{
		{"named", there, "alice", "desktop", nil, 200, ""},
		{"the rule for their client", there, "agent", "agent", nil, 200, ""},
		{"another of theirs", there, "mallory", "desktop", nil, 403, "no_allow_rule"},
		{"called like one of ours", there, "corp/alice", "desktop", nil, 403, "no_allow_rule"},
		{"with one of our grants", there, "mallory", "desktop", map[string]any{"gid": ours}, 403, "no_allow_rule"},
		{"with groups and an address", there, "mallory", "desktop", map[string]any{"groups": []string{"alices"}, "email": "alice@corp.example"}, 403, "no_allow_rule"},
		{"a client called like a person", there, "alice", "alice", nil, 403, "no_allow_rule"},
		{"named, at an issuer that is not taken", stranger, "alice", "desktop", nil, 401, ""},
		{"under the name of ours", there, "corp/alice", "desktop", map[string]any{"iss": corpIssuer, "gid": ours}, 401, ""},
		{"a name that shows as another", there, "alice\u202ebob", "desktop", nil, 401, ""},
		{"a name of two lines", there, "alice\nbob", "desktop", nil, 401, ""},
		{"a name too long to read", there, strings.Repeat("a", 256), "desktop", nil, 401, ""},
		{"for another of our servers", there, "alice", "desktop", map[string]any{"aud": r.url + "/other/mcp"}, 401, ""},
	} {
		token := c.e.token(t, resource, c.sub, c.client, c.changes)
		resp, body := r.do(http.MethodPost, "/files/mcp", token, toolCall("read_file"))
		if resp.StatusCode != c.status || c.reason != "" && reply(t, body).Error.Data["reason"] != c.reason {
			t.Errorf("%s: %d %s", c.name, resp.StatusCode, body)
		}
	}
	resp, body := r.do(http.MethodPost, "/files/mcp", there.token(t, resource, "alice", "desktop", nil), toolCall("write_file"))
	if resp.StatusCode != 200 || reply(t, body).Error.Data["reason"] != "no_allow_rule" {
		t.Errorf("a tool that no rule gives them: %d %s", resp.StatusCode, body)
	}
	seen := false
	for _, e := range r.events.all(t) {
		seen = seen || e.Outcome == "ok" && e.Person == there.URL+"#alice" && e.Client == there.URL+"#desktop" && e.Grant == ""
		if e.Person == "corp/alice" && e.Grant != ours {
			t.Errorf("one of ours is said to have called: %+v", e)
		}
	}
	if !seen {
		t.Error("the audit does not say who called")
	}
	resp, body = r.do(http.MethodGet, "/.well-known/oauth-protected-resource/files/mcp", "", "")
	if want := `"authorization_servers":["` + corpIssuer + `","` + there.URL + `"]`; resp.StatusCode != 200 || !strings.Contains(body, want) {
		t.Errorf("metadata: %s, want %s", body, want)
	}
}

// Without rules a server on loopback is open to our people, and to nobody else's.
func TestOpenIsNotForOtherIssuers(t *testing.T) {
	up, there := newUpstream(t), newElsewhere(t)
	r := newRig(t, map[string]gateway.Server{"open": {Path: "/open", Upstream: up.URL, Issuers: []string{there.URL}, Rules: access.Rules{Name: "servers.open", Open: true}}})
	_, ours := r.grant("alice", "/open")
	for token, want := range map[string]int{ours: 200, there.token(t, r.url+"/open", "alice", "desktop", nil): 403} {
		if resp, body := r.do(http.MethodPost, "/open", token, toolCall("t")); resp.StatusCode != want {
			t.Errorf("%d %s, want %d", resp.StatusCode, body, want)
		}
	}
}

// A session of a person is not that of a client of the same name, nor that of a
// person of the same name at another issuer.
// covers: SEC-25, RS-TR-03
func TestSessionsOfOtherIssuers(t *testing.T) {
	up, there := newUpstream(t), newElsewhere(t)
	up.respond(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Mcp-Session-Id", "s1")
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"jsonrpc":"2.0","id":1,"result":{}}`)
	})
	r := newRig(t, map[string]gateway.Server{"files": {Path: "/files/mcp", Upstream: up.URL, Issuers: []string{there.URL},
		Rules: access.Rules{Allow: []access.Rule{{Who: []string{"everyone", "issuer:" + there.URL, "client:" + there.URL + "#corp/alice"}}}}}})
	_, ours := r.grant("alice", "/files/mcp")
	tokens := map[string]string{
		"ours": ours, "theirs": there.token(t, r.url+"/files/mcp", "corp/alice", "desktop", nil),
		"their client": there.token(t, r.url+"/files/mcp", "corp/alice", "corp/alice", nil),
	}
	for owner, token := range tokens {
		resp, body := r.do(http.MethodPost, "/files/mcp", token, `{"jsonrpc":"2.0","id":1,"method":"initialize"}`)
		id := resp.Header.Get("Mcp-Session-Id")
		if resp.StatusCode != 200 || id == "" {
			t.Fatalf("%s: %d %s", owner, resp.StatusCode, body)
		}
		for user, token := range tokens {
			want := http.StatusNotFound
			if user == owner {
				want = http.StatusOK
			}
			if resp, _ := r.do(http.MethodPost, "/files/mcp", token, toolCall("t"), "Mcp-Session-Id", id); resp.StatusCode != want {
				t.Errorf("the session of %s, shown by %s: %d", owner, user, resp.StatusCode)
			}
		}
	}
}

// covers: RS-TOK-11, J25
func TestAskedIssuer(t *testing.T) {
	up, there := newUpstream(t), newElsewhere(t)
	r := newRig(t, map[string]gateway.Server{"files": {Path: "/files/mcp", Upstream: up.URL, Issuers: []string{there.URL},
		Introspect: map[string]doorward.Credentials{there.URL: {ID: "gate", Secret: "s3cret"}},
		Rules:      access.Rules{Allow: []access.Rule{{Who: []string{"issuer:" + there.URL}}}}}})
	token := there.token(t, r.url+"/files/mcp", "alice", "desktop", nil)
	for range 3 {
		if resp, body := r.do(http.MethodPost, "/files/mcp", token, toolCall("t")); resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
	}
	if n := there.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	there.ended.Store(true)
	other := there.token(t, r.url+"/files/mcp", "bob", "desktop", nil)
	if resp, _ := r.do(http.MethodPost, "/files/mcp", other, toolCall("t")); resp.StatusCode != 401 {
		t.Errorf("not active, and %d", resp.StatusCode)
	}
}

// What is open ends when the issuer is taken from the server, and at the latest
// a minute after the issuer does not stand by the token any more.
// covers: RS-TR-05
func TestStreamsOfOtherIssuersEnd(t *testing.T) {
	for _, how := range []string{"reload", "introspection"} {
		t.Run(how, func(t *testing.T) {
			up, there := newUpstream(t), newElsewhere(t)
			open := make(chan struct{}, 1)
			up.respond(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				_ = http.NewResponseController(w).Flush()
				open <- struct{}{}
				<-r.Context().Done()
			})
			s := gateway.Server{Path: "/files/mcp", Upstream: up.URL, Issuers: []string{there.URL},
				Introspect: map[string]doorward.Credentials{there.URL: {ID: "gate", Secret: "s3cret"}},
				Rules:      access.Rules{Allow: []access.Rule{{Who: []string{"issuer:" + there.URL}}}}}
			r := newRig(t, map[string]gateway.Server{"files": s})
			var ahead atomic.Int64
			r.config.Now, r.config.AskEvery = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }, 10*time.Millisecond
			r.gw = r.with(nil)
			token := there.token(t, r.url+"/files/mcp", "alice", "desktop", nil)
			ended := make(chan struct{})
			go func() {
				r.do(http.MethodGet, "/files/mcp", token, "")
				close(ended)
			}()
			<-open
			if how == "reload" {
				s.Issuers, s.Introspect = nil, nil
				if err := r.gw.Reload(map[string]gateway.Server{"files": s}); err != nil {
					t.Fatal(err)
				}
			} else {
				there.ended.Store(true)
				select { // its word counts for 30 seconds
				case <-ended:
					t.Fatal("asked at every turn")
				case <-time.After(100 * time.Millisecond):
				}
				ahead.Store(int64(31 * time.Second))
			}
			select {
			case <-ended:
			case <-time.After(5 * time.Second):
				t.Fatal("the stream goes on")
			}
		})
	}
}
