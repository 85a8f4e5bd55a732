package authserver

import (
	"encoding/json"
	"strings"
	"testing"

	"doorward/internal/jose"
	"doorward/internal/oauth"
	"doorward/internal/saml"
)

func TestOverage(t *testing.T) {
	for _, tt := range []struct {
		claims string
		want   bool
	}{
		{`{}`, false},
		{`{"groups":["eng"]}`, false},
		{`{"groups":["eng"],"hasgroups":true}`, true}, // a directory named one, and there may be others
		{`{"groups":["eng"],"_claim_names":{"groups":"src1"}}`, false},
		{`{"groups":[]}`, false},
		{`{"_claim_names":{"groups":"src1"},"_claim_sources":{"src1":{"endpoint":"https://graph.example/users/1/getMemberObjects"}}}`, true},
		{`{"_claim_names":{"groups":"src1"}}`, true},
		{`{"_claim_names":{"groups":"src1"},"groups":["eng"]}`, false},
		{`{"_claim_names":{"groups":"src1"},"groups":[]}`, true},
		{`{"_claim_names":{"address":"src1"}}`, false},
		{`{"_claim_names":{"roles":"src1"}}`, false},
		{`{"_claim_names":"groups"}`, true},
		{`{"_claim_names":["groups"]}`, true},
		{`{"hasgroups":true}`, true},
		{`{"hasgroups":"true"}`, true},
		{`{"hasgroups":1}`, true},
		{`{"hasgroups":false}`, false},
		{`{"hasgroups":"false"}`, false},
	} {
		var c jose.Claims
		if err := json.Unmarshal([]byte(tt.claims), &c); err != nil {
			t.Fatal(err)
		}
		if got := overage(c, "groups"); got != tt.want {
			t.Errorf("%s: %v", tt.claims, got)
		}
	}
}

// entra is what it sends for somebody in too many groups.
var entra = map[string]any{"groups": nil, "_claim_names": map[string]string{"groups": "src1"},
	"_claim_sources": map[string]any{"src1": map[string]string{"endpoint": "https://graph.example/users/1/getMemberObjects"}}}

// ruled is a site whose rules are those, and whose person is in too many groups.
func ruled(t *testing.T, allow, deny []Rule) (*site, *fakeProvider) {
	s, f := newProvidedSite(t, func(c *Config, _ *OIDCProvider) {
		c.Resources[0].Allow, c.Resources[0].Deny = allow, deny
	})
	f.claims, f.userinfo = entra, map[string]any{"sub": "u-1"} // as at Entra, where userinfo has no groups
	return s, f
}

// Somebody whose groups the provider does not name is not taken for a member of
// none: a rule that would have to know refuses, by its name.
func TestGroupsOverage(t *testing.T) {
	everyone, temps, other := []Rule{{Who: []string{"everyone"}}}, []Rule{{Who: []string{"group:login/temps"}}}, []Rule{{Who: []string{"group:corp/temps"}}}
	for name, tt := range map[string]struct {
		allow, deny []Rule
		rule        string // "": they get in
	}{
		"deny":              {everyone, temps, "servers.files.deny[0]"},
		"deny by bare name": {everyone, []Rule{{Who: []string{"group:temps"}}}, "servers.files.deny[0]"},
		"allow":             {temps, nil, "servers.files.allow[0]"},
		"another provider":  {everyone, other, ""},
		"no group needed":   {append(temps, everyone...), nil, ""},
	} {
		s, f := ruled(t, tt.allow, tt.deny)
		b := s.browser()
		p := b.get(f.letIn(b.get(s.ask("desktop", desktopBack))))
		if tt.rule == "" {
			if got := b.submit(p).arrived(t, "https://desktop.example.com/cb"); got.Get("code") == "" {
				t.Errorf("%s: %v", name, got)
			}
			continue
		}
		got := p.arrived(t, "https://desktop.example.com/cb")
		if got.Get("error") != "access_denied" || !strings.Contains(got.Get("error_description"), tt.rule+" is about groups") {
			t.Errorf("%s: %v", name, got)
		}
		if e, _ := whyOf(t, s.Server, got.Get("error_description")); e.Reason != "groups_overage" || e.Rule != tt.rule {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

// When such a rule comes later, it finds those who are in already.
func TestGroupsOverageIsKept(t *testing.T) {
	s, f := ruled(t, []Rule{{Who: []string{"everyone"}}}, nil)
	r := f.tokens(s, s.browser())
	account, err := s.ledger.Account(t.Context(), carolID)
	if err != nil || !account.GroupsUnknown {
		t.Errorf("%+v %v", account, err)
	}
	c := s.cfg
	c.Resources[0].Deny = []Rule{{Who: []string{"group:login/temps"}}}
	if err := s.Reload(c); err != nil {
		t.Fatal(err)
	}
	r = refreshWith(s, r.text("refresh_token"))
	if r.status != 400 || r.text("error") != "invalid_grant" {
		t.Errorf("%d %s", r.status, r.body)
	}
	// A sign-in after which the provider names them ends it.
	f.claims = map[string]any{}
	f.tokens(s, s.browser())
	if account, err = s.ledger.Account(t.Context(), carolID); err != nil || account.GroupsUnknown || len(account.Groups) != 1 {
		t.Errorf("%+v %v", account, err)
	}
}

// An ID-JAG says so, too, and ours pass on what a provider said to us.
func TestGroupsOverageInIDJAG(t *testing.T) {
	w := newWorld(t, func(as, _ *Config) {
		as.Resources[0].Deny = []Rule{{Who: []string{"group:corp/temps"}}}
	})
	got := post(w.as, "/token", desktop, form("grant_type="+oauth.JWTBearer, "assertion="+w.jag(t, nil)))
	if got.status != 200 {
		t.Fatalf("without groups: %d %s", got.status, got.body)
	}
	grant := oauth.Grant{Client: "desktop-idp", Resource: idpURL, Scopes: oauth.Scopes{"openid", "profile"}, Subject: oauth.Subject{ID: "alice", GroupsUnknown: true}}
	there := post(w.idp, "/token", desktopIdP, form("grant_type=authorization_code", "code="+w.code(t, w.idp, grant, "http://127.0.0.1/callback"), "code_verifier="+codeVerifier))
	id := there.text("id_token")
	jag := post(w.idp, "/token", desktopIdP, exchangeForm(id, oauth.TokenTypeIDToken)).text("access_token")
	for name, token := range map[string]string{"ID token": id, "ID-JAG": jag} {
		if c := claimsOf(t, token); string(c["hasgroups"]) != "true" || c.Has("groups") {
			t.Errorf("%s: %s %s", name, c["hasgroups"], c["groups"])
		}
	}
	if info := infoOf(grant.Subject, grant.Scopes); !info.HasGroups {
		t.Errorf("userinfo: %+v", info)
	}
	got = post(w.as, "/token", desktop, form("grant_type="+oauth.JWTBearer, "assertion="+jag))
	if e, _ := whyOf(t, w.as, got.body); got.status != 400 || e.Reason != "groups_overage" || e.Rule != w.as.current().resources[0].rules.Name+".deny[0]" {
		t.Errorf("%d %s: %+v", got.status, got.body, e)
	}
}

// Entra's assertions have an address in place of the groups.
func TestGroupsOverageBySAML(t *testing.T) {
	p := &samlProvider{}
	for link, attributes := range map[string]map[string][]string{
		"true": {samlGroupsLink: {"https://graph.example/users/1/getMemberObjects"}},
		"":     {samlGroups[1]: {"eng"}},
	} {
		c, err := p.claims(saml.Assertion{Attributes: attributes})
		if err != nil || string(c["hasgroups"]) != link || overage(c, "groups") != (link != "") {
			t.Errorf("%v: %s %v", attributes, c["hasgroups"], err)
		}
	}
}
