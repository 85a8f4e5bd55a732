package doctor_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"doorward/internal/doctor"
	"doorward/internal/oauth"
)

// site is an MCP server and its authorization server at one address, as they
// should be until a test breaks something.
type site struct {
	url       string
	status    int
	challenge string
	date      time.Time // zero: the right one
	resource  map[string]any
	server    map[string]any
	keys      string
	missing   map[string]bool // paths
}

func newSite(t *testing.T, secure bool) (*site, *httptest.Server) {
	s := &site{status: http.StatusUnauthorized, keys: `{"keys":[{}]}`, missing: map[string]bool{}}
	srv := httptest.NewUnstartedServer(s)
	if secure {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	s.url = srv.URL
	s.challenge = `Bearer resource_metadata="` + s.url + oauth.WellKnownPRM + `/mcp", scope="read"`
	s.resource = map[string]any{"resource": s.url + "/mcp", "authorization_servers": []string{s.url}}
	s.server = map[string]any{
		"issuer": s.url, "authorization_endpoint": s.url + "/authorize", "token_endpoint": s.url + "/token", "jwks_uri": s.url + "/jwks",
		"registration_endpoint": s.url + "/register", "code_challenge_methods_supported": []string{"S256"},
		"authorization_response_iss_parameter_supported": true, "authorization_grant_profiles_supported": []string{oauth.ProfileIDJAG},
	}
	return s, srv
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.date.IsZero() {
		w.Header().Set("Date", s.date.UTC().Format(http.TimeFormat))
	}
	documents := map[string]any{oauth.WellKnownPRM + "/mcp": s.resource, oauth.WellKnownPRM: s.resource, oauth.WellKnownAS: s.server, "/jwks": json.RawMessage(s.keys)}
	doc, there := documents[r.URL.Path]
	switch {
	case s.missing[r.URL.Path]:
		http.NotFound(w, r)
	case there:
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(doc)
	case r.URL.Path == "/mcp" && r.Method == http.MethodPost:
		if s.challenge != "" {
			w.Header().Set("WWW-Authenticate", s.challenge)
		}
		w.WriteHeader(s.status)
	default:
		http.NotFound(w, r)
	}
}

func find(r doctor.Report, id string) doctor.Step {
	for _, s := range r.Steps {
		if s.ID == id {
			return s
		}
	}
	return doctor.Step{}
}

func TestAGoodServer(t *testing.T) {
	for _, secure := range []bool{false, true} {
		s, srv := newSite(t, secure)
		c := doctor.Config{}
		if secure {
			c.Transport = srv.Client().Transport.(*http.Transport)
		}
		r := doctor.Walk(t.Context(), c, s.url+"/mcp")
		if !r.OK || r.URL != s.url+"/mcp" || len(r.Steps) < 15 {
			t.Errorf("%+v", r)
		}
		for _, step := range r.Steps {
			if step.Result != doctor.OK || step.Title == "" {
				t.Errorf("%+v", step)
			}
		}
	}
}

// Each thing that is broken is found at its step, with what to do and who.
func TestWhatIsBroken(t *testing.T) {
	for _, c := range []struct {
		name   string
		ruin   func(*site)
		id     string
		result string
		saw    string
	}{
		{"open", func(s *site) { s.status = 200 }, "unauthorized", doctor.Fail, "200"},
		{"nothing there", func(s *site) { s.status = 404 }, "unauthorized", doctor.Fail, "404"},
		{"403", func(s *site) { s.status = 403 }, "unauthorized", doctor.Fail, "403"},
		{"no challenge", func(s *site) { s.challenge = "" }, "challenge", doctor.Warn, "no Bearer"},
		{"a bare challenge", func(s *site) { s.challenge = "Bearer" }, "challenge", doctor.Warn, "without resource_metadata"},
		{"no metadata where it is said to be", func(s *site) { s.missing[oauth.WellKnownPRM+"/mcp"] = true }, "resource_metadata", doctor.Fail, "none at"},
		{"metadata at the root only", func(s *site) { s.challenge, s.missing[oauth.WellKnownPRM+"/mcp"] = "Bearer", true }, "resource_metadata", doctor.Warn, "but not at"},
		{"no metadata at all", func(s *site) {
			s.challenge, s.missing[oauth.WellKnownPRM+"/mcp"], s.missing[oauth.WellKnownPRM] = "Bearer", true, true
		}, "resource_metadata", doctor.Fail, "none at"},
		{"another resource", func(s *site) { s.resource["resource"] = "https://internal.example/mcp" }, "resource", doctor.Fail, "internal.example"},
		{"no authorization server", func(s *site) { delete(s.resource, "authorization_servers") }, "authorization_servers", doctor.Fail, "empty"},
		{"an unusable authorization server", func(s *site) { s.resource["authorization_servers"] = []string{"http://auth.example"} }, "authorization_servers", doctor.Fail, "https"},
		{"no server metadata", func(s *site) { s.missing[oauth.WellKnownAS] = true }, "as_metadata", doctor.Fail, "none at"},
		{"another issuer", func(s *site) { s.server["issuer"] = s.url + "/" }, "issuer", doctor.Fail, "the metadata is of"},
		{"no token endpoint", func(s *site) { delete(s.server, "token_endpoint") }, "endpoints", doctor.Fail, "token_endpoint"},
		{"no PKCE", func(s *site) { s.server["code_challenge_methods_supported"] = []string{"plain"} }, "pkce", doctor.Fail, "plain"},
		{"no registration", func(s *site) { delete(s.server, "registration_endpoint") }, "registration", doctor.Warn, "by hand"},
		{"CIMD without none", func(s *site) {
			s.server["client_id_metadata_document_supported"], s.server["token_endpoint_auth_methods_supported"] = true, []string{"client_secret_basic"}
		}, "registration", doctor.Warn, "none"},
		{"no keys", func(s *site) { s.keys = `{"keys":[]}` }, "jwks", doctor.Fail, "no keys"},
		{"keys that are gone", func(s *site) { s.missing["/jwks"] = true }, "jwks", doctor.Fail, "nothing at"},
		{"no iss", func(s *site) { delete(s.server, "authorization_response_iss_parameter_supported") }, "iss", doctor.Warn, ""},
		{"no ID-JAG", func(s *site) { delete(s.server, "authorization_grant_profiles_supported") }, "id_jag", doctor.Warn, "no"},
		{"a clock that is wrong", func(s *site) { s.date = time.Now().Add(-time.Hour) }, "clock", doctor.Fail, "1h0m"},
		{"a clock that drifts", func(s *site) { s.date = time.Now().Add(time.Minute) }, "clock", doctor.Warn, "m"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _ := newSite(t, false)
			c.ruin(s)
			r := doctor.Walk(t.Context(), doctor.Config{}, s.url+"/mcp")
			step := find(r, c.id)
			if step.Result != c.result || !strings.Contains(step.Saw, c.saw) || step.Mend == "" || step.Who == "" {
				t.Errorf("%+v\n%+v", step, r)
			}
			if r.OK != (c.result != doctor.Fail) {
				t.Errorf("ok is %t", r.OK)
			}
		})
	}
}

func TestAddressesThatCannotBe(t *testing.T) {
	for address, id := range map[string]string{
		"ftp://a.example": "url", "http://a.example/mcp": "url", "https://u:p@a.example/": "url", "https://": "url",
		"https://nobody.invalid/mcp": "dns", "http://127.0.0.1:1/mcp": "connect",
	} {
		r := doctor.Walk(t.Context(), doctor.Config{Timeout: 10 * time.Second}, address)
		if len(r.Steps) == 0 || r.OK || r.Steps[len(r.Steps)-1].ID != id {
			t.Errorf("%s: %+v", address, r)
		}
	}
}

// A certificate that nobody vouches for ends the walk.
func TestUnknownCertificate(t *testing.T) {
	s, _ := newSite(t, true)
	if r := doctor.Walk(t.Context(), doctor.Config{}, s.url+"/mcp"); find(r, "tls").Result != doctor.Fail || r.OK {
		t.Errorf("%+v", r)
	}
}

// What a server names is not fetched from this machine's own network unless
// the server itself is there: a walk brings nobody where they could not go.
func TestNoFetchOfWhatStrangersName(t *testing.T) {
	s, _ := newSite(t, false)
	s.server["jwks_uri"] = "https://10.0.0.1/keys"
	r := doctor.Walk(t.Context(), doctor.Config{Timeout: 5 * time.Second}, s.url+"/mcp")
	if step := find(r, "jwks"); step.Result != doctor.Fail || !strings.Contains(step.Saw, "address") {
		t.Errorf("%+v", step)
	}
}
