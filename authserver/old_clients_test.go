package authserver

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"testing"

	"doorward/internal/oauth"
)

// membersOf are the names of an answer's members, sorted.
func membersOf(t *testing.T, r reply) []string {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal([]byte(r.body), &m); err != nil {
		t.Fatalf("%d %s", r.status, r.body)
	}
	return slices.Sorted(maps.Keys(m))
}

// oldSite is an issuer whose MCP server lies at its own origin, as clients of
// 2025-03-26 take for granted.
func oldSite(t *testing.T) *site {
	return newSite(t, func(c *Config) {
		c.Resources[0].ID = siteURL + "/mcp"
		c.Resources = append(c.Resources, Resource{ID: siteURL + "/notes/mcp", Name: "Notes", Open: true})
		c.Resources[0].Default = true
	})
}

// covers: REV-02, REV-03
// A client of 2025-03-26 knows the MCP server's origin only: the metadata lies
// there under that issuer, and the endpoints lie where it looks for them when it
// reads no metadata.
func TestMetadataAtTheServersOrigin(t *testing.T) {
	s := oldSite(t)
	base := origin(siteURL + "/mcp")
	r := send(s.Server, httptest.NewRequest(http.MethodGet, base+oauth.WellKnownAS, nil))
	if r.status != http.StatusOK || r.text("issuer") != base {
		t.Errorf("%d %s", r.status, r.body)
	}
	for member, path := range map[string]string{"authorization_endpoint": "/authorize", "token_endpoint": "/token", "registration_endpoint": "/register"} {
		if r.text(member) != base+path {
			t.Errorf("%s is %s", member, r.text(member))
		}
		if r := send(s.Server, httptest.NewRequest(http.MethodPost, base+path, nil)); r.status == http.StatusNotFound || r.status == http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", path, r.status)
		}
	}
}

// covers: REV-04, REV-06, REV-08
// It names no resource, does not know iss, and sends redirect_uri twice; one of
// OAuth 2.1 leaves it out of the second request.
func TestClientsOfOlderRevisions(t *testing.T) {
	s := oldSite(t)
	const cb = "http://127.0.0.1:3000/callback"
	for name, redirect := range map[string][]string{
		"OAuth 2.0": {"redirect_uri=" + cb}, "OAuth 2.1": nil,
	} {
		b := s.browser()
		q := b.submit(b.signIn(b.get(s.ask("cli", cb, "resource", "")), "alice")).arrived(t, cb)
		if q.Get("iss") != siteURL || q.Get("code") == "" {
			t.Errorf("%s: answer %v", name, q)
		}
		r := post(s.Server, "/token", "", form(append(redirect, "client_id=cli", "grant_type=authorization_code", "code="+q.Get("code"), "code_verifier="+verifier)...))
		if r.status != http.StatusOK {
			t.Fatalf("%s: %d %s", name, r.status, r.body)
		}
		for what, token := range map[string]string{"code": r.text("access_token"),
			"refresh": post(s.Server, "/token", "", form("client_id=cli", "grant_type=refresh_token", "refresh_token="+r.text("refresh_token"))).text("access_token")} {
			if aud, err := claimsOf(t, token).Texts("aud"); err != nil || !slices.Equal(aud, []string{siteURL + "/mcp"}) {
				t.Errorf("%s, %s: audience %q, %v", name, what, aud, err)
			}
		}
	}
	// Another redirect URI than before is no way round.
	b := s.browser()
	q := b.submit(b.signIn(b.get(s.ask("cli", cb, "resource", "")), "alice")).arrived(t, cb)
	r := post(s.Server, "/token", "", form("redirect_uri=http://127.0.0.1:3001/callback", "client_id=cli", "grant_type=authorization_code", "code="+q.Get("code"), "code_verifier="+verifier))
	if r.text("error") != oauth.InvalidGrant {
		t.Errorf("another redirect_uri: %d %s", r.status, r.body)
	}
	// Without a default among several there is none to take.
	cfg := s.cfg
	cfg.Resources = slices.Clone(cfg.Resources)
	cfg.Resources[0].Default = false
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if q := s.browser().get(s.ask("cli", cb, "resource", "")).arrived(t, cb); q.Get("error") != oauth.InvalidTarget {
		t.Errorf("no default: %v", q)
	}
}

// covers: REV-05, REV-07
func TestBothMetadataDocumentsAndBothRegistrations(t *testing.T) {
	s := oldSite(t)
	documents := func() (as, oidc map[string]any) {
		for path, into := range map[string]*map[string]any{oauth.WellKnownAS: &as, oauth.WellKnownOIDC: &oidc} {
			r := send(s.Server, httptest.NewRequest(http.MethodGet, s.url+path, nil))
			if err := json.Unmarshal([]byte(r.body), into); err != nil {
				t.Fatal(err)
			}
		}
		return as, oidc
	}
	as, oidc := documents()
	for name, v := range as {
		if !reflect.DeepEqual(oidc[name], v) {
			t.Errorf("%s: %v here, %v there", name, v, oidc[name])
		}
	}
	if as["registration_endpoint"] != siteURL+"/register" || as["client_id_metadata_document_supported"] != true {
		t.Errorf("ways in: %v, %v", as["registration_endpoint"], as["client_id_metadata_document_supported"])
	}
	cfg := s.cfg
	cfg.Registration.Mode = "off"
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if as, _ = documents(); as["registration_endpoint"] != nil {
		t.Error("registration is off and advertised")
	}
}
