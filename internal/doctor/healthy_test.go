package doctor_test

import (
	"net/http"
	"testing"

	"doorward/authtest"
	"doorward/internal/doctor"
)

// A healthy server has no finding: neither one of other makers' shape, with a
// path in its issuer, nor ours.
func TestHealthy(t *testing.T) {
	for name, make := range map[string]func(*site){
		"as it should be": func(*site) {},
		"an issuer with a path": func(s *site) {
			s.move("https://login.example.org/tenants/one")
		},
		"an issuer that ends in a slash": func(s *site) { s.move("https://login.example.org/") },
		"OpenID Connect only": func(s *site) {
			s.gone[asAt] = true
		},
		"registration only": func(s *site) { delete(s.server, "client_id_metadata_document_supported") },
		"programs only": func(s *site) {
			for _, name := range []string{"authorization_endpoint", "response_types_supported", "code_challenge_methods_supported"} {
				delete(s.server, name)
			}
		},
		"pages of other origins": func(s *site) {
			headers := []string{"Access-Control-Allow-Origin", "*", "Access-Control-Allow-Headers", "Authorization, Content-Type, MCP-Protocol-Version", "Access-Control-Expose-Headers", "WWW-Authenticate"}
			for host, h := range s.hosts {
				s.hosts[host] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					for i := 0; i < len(headers); i += 2 {
						w.Header().Set(headers[i], headers[i+1])
					}
					if r.Method == http.MethodOptions {
						w.WriteHeader(http.StatusNoContent)
						return
					}
					h.ServeHTTP(w, r)
				})
			}
		},
		"told apart by a query": func(s *site) {
			s.url += "?tenant=1"
			s.resource["resource"] = s.url
			s.challenge(`Bearer resource_metadata="https://` + mcpHost + `/.well-known/oauth-protected-resource/mcp?tenant=1"`)
			inner := s.hosts[mcpHost]
			s.hosts[mcpHost] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.RawQuery != "tenant=1" {
					http.NotFound(w, r)
					return
				}
				inner.ServeHTTP(w, r)
			})
		},
		"on loopback": func(s *site) {
			s.url = "http://localhost:8080/mcp"
			s.names["localhost"] = []string{"127.0.0.1", "::1"}
			s.hosts["localhost"] = s.hosts[mcpHost]
			s.resource["resource"] = s.url
			s.challenge(`Bearer resource_metadata="http://localhost:8080/.well-known/oauth-protected-resource/mcp"`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			make(s)
			r := s.walk(t)
			if bad := findings(r); name == "programs only" && len(bad) == 1 && bad[0].ID == "endpoints" && r.OK {
				return // documented: it says that nobody signs in by the browser
			} else if !r.OK || len(bad) > 0 || len(r.Steps) < 30 {
				t.Errorf("%d steps, ok is %t: %+v", len(r.Steps), r.OK, bad)
			}
			for i, step := range r.Steps {
				if step.Title == "" || step.Mend != "" || step.Who != "" || find(r, step.ID) != r.Steps[i] {
					t.Errorf("%+v", step)
				}
			}
		})
	}
}

// Our own: the authorization server with the gateway and the sample's shape, in memory.
func TestHealthyOwn(t *testing.T) {
	w := authtest.New(t, authtest.Config{})
	r := doctor.Walk(t.Context(), doctor.Config{}, w.MCP)
	if !r.OK || len(findings(r)) > 0 {
		t.Errorf("ok is %t: %+v", r.OK, findings(r))
	}
}
