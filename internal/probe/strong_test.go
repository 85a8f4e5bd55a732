package probe_test

import (
	"net/http/httptest"
	"testing"

	"doorward/authserver"
	"doorward/authtest"
	"doorward/internal/probe"
	"doorward/store/sqlite"
)

const (
	user     = "alice"
	password = "alice-password-12"
)

// strong is the real authorization server, with two scopes.
type strong struct {
	*httptest.Server
	engine *authserver.Server
	config authserver.Config
}

func newStrong(t *testing.T) *strong {
	t.Helper()
	db, err := sqlite.OpenConfig(sqlite.Config{Path: ":memory:"})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(nil)
	issuer := "http://" + srv.Listener.Addr().String()
	s := &strong{Server: srv, config: authserver.Config{
		URL: issuer, Store: db, SignIn: authserver.LocalPeople(map[string]authserver.LocalPerson{user: {Password: password}}),
		Clients:      map[string]authserver.Client{authtest.ClientID: {Name: "Desktop", Secret: authtest.ClientSecret, RedirectURIs: []string{"http://127.0.0.1/callback"}}},
		Registration: authserver.Registration{Mode: "open"},
		Resources: []authserver.Resource{{ID: issuer + "/mcp", Name: "mcp", Scopes: map[string]string{"mcp:read": "Read", "mcp:write": "Write"},
			DefaultScopes: []string{"mcp:read"}, RuleName: "servers.mcp", Allow: []authserver.Rule{{Who: []string{"everyone"}}}}},
	}}
	if s.engine, err = authserver.New(s.config); err != nil {
		t.Fatal(err)
	}
	srv.Config.Handler = s.engine
	srv.Start()
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
		if err := s.engine.Close(); err != nil {
			t.Error(err)
		}
		db.Close()
	})
	return s
}

// trust makes the engine trust an issuer from now on.
func (s *strong) trust(t *testing.T) func(string) {
	return func(issuer string) {
		s.config.Issuers = map[string]authserver.TrustedIssuer{"probe": {Issuer: issuer}}
		if err := s.engine.Reload(s.config); err != nil {
			t.Error(err)
		}
	}
}

// Against the real server nothing is broken, and everything can be tried and
// holds, but for what plain http cannot have.
//
// covers: C03, C04, C05, C08, C10, C12, C18, C19, C26, C28, REV-06, REV-07
func TestNoFalseAlarmAtTheStrongServer(t *testing.T) {
	s := newStrong(t)
	r, err := probe.Run(t.Context(), probe.Config{
		Issuer: s.URL, ClientID: authtest.ClientID, ClientSecret: authtest.ClientSecret, User: user, Password: password,
		Pace: -1, IdPAddress: "127.0.0.1:0", Trust: s.trust(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, res := range r.Rules {
		if res.Result != probe.Held && res.ID != "AS-UI-06.secure" {
			t.Errorf("%s is %s: %s\n%+v", res.ID, res.Result, res.Saw, res.Exchange)
		}
	}
	if r.Broken != 0 || r.Held+1 != len(probe.Rules()) {
		t.Errorf("held %d, broken %d, not testable %d", r.Held, r.Broken, r.NotTestable)
	}
}
