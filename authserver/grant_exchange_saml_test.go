package authserver

import (
	"context"
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/internal/audit"
	"doorward/internal/oauth"
)

const (
	samlSP  = "https://desktop.example.com/saml"
	samlACS = "https://desktop.example.com/acs"
)

// newSAMLIdP is an identity provider whose client desktop is a SAML service
// provider too, and two more clients that are not.
func newSAMLIdP(t *testing.T, change func(*Config, *SAMLProvider)) (*site, *samlIdP) {
	return newSAMLSite(t, func(c *Config, p *SAMLProvider) {
		c.Resources = nil
		c.Audiences = map[string]Audience{asURL: {Resources: []string{files}, ClientIDs: map[string]string{"desktop": "desktop there", "two": "two there", "cli": "cli there"},
			Claims: []string{"email"}, PublicClients: []string{"cli"}, Allow: []Rule{{Who: []string{"everyone"}}}}}
		for id, entity := range map[string]string{"desktop": samlSP, "two": "https://two.example.com/saml", "cli": "https://cli.example.com/saml"} {
			cl := c.Clients[id]
			cl.SAMLEntityID, cl.SAMLACS = entity, []string{"https://desktop.example.com/other", samlACS}
			c.Clients[id] = cl
		}
		if change != nil {
			change(c, p)
		}
	})
}

// assertion is one that the provider made for the desktop, changed before it
// was signed.
func (f *samlIdP) assertion(change ...string) string {
	f.t.Helper()
	f.asked = samlAsked{ID: "_asked-by-the-desktop", ACS: samlACS, Issuer: samlSP}
	f.change = [2]string{}
	copy(f.change[:], change)
	doc, err := base64.StdEncoding.DecodeString(f.response().Get("SAMLResponse"))
	if err != nil {
		f.t.Fatal(err)
	}
	text := string(doc)
	return text[strings.Index(text, "<saml:Assertion "):strings.Index(text, "</samlp:Response>")]
}

func exchangesSAML(s *site, who, wanted, assertion string, more ...string) reply {
	v := url.Values{"grant_type": {oauth.TokenExchange}, "requested_token_type": {wanted}, "subject_token_type": {oauth.TokenTypeSAML2},
		"subject_token": {base64.RawURLEncoding.EncodeToString([]byte(assertion))}}
	if wanted == oauth.TokenTypeIDJAG {
		v.Set("audience", asURL)
		v.Set("resource", files)
		v.Set("scope", "files:read")
	} else {
		v.Set("scope", "openid offline_access")
	}
	for i := 0; i < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return post(s.Server, "/token", who, v)
}

const desktopBasic = "desktop a secret of the desktop"

// An assertion for the client becomes an ID-JAG, about who signed in there by
// the rules of a sign-in in the browser, once.
//
// covers: IDP-TX-06
func TestExchangeSAMLAssertion(t *testing.T) {
	s, f := newSAMLIdP(t, nil)
	assertion := f.assertion()
	r := exchangesSAML(s, desktopBasic, oauth.TokenTypeIDJAG, assertion)
	if r.status != 200 || r.text("issued_token_type") != oauth.TokenTypeIDJAG || r.text("token_type") != "N_A" {
		t.Fatalf("%d %s", r.status, r.body)
	}
	c := claimsOf(t, r.text("access_token"))
	for claim, want := range map[string]string{"sub": "adfs/u-1", "aud": asURL, "client_id": "desktop there", "email": "carol@corp.example", "acr": "https://refeds.org/profile/mfa"} {
		if is, err := c.Text(claim); err != nil || is != want {
			t.Errorf("%s is %q, %v, not %q", claim, is, err, want)
		}
	}
	if at, err := c.Time("auth_time"); err != nil || s.now().Sub(at) < 5*time.Second {
		t.Errorf("auth_time %s, %v", at, err)
	}
	if acc, err := s.ledger.Account(context.Background(), "adfs/u-1"); err != nil || acc.Email != "carol@corp.example" || acc.Provider != "adfs" {
		t.Errorf("account %+v, %v", acc, err)
	}
	for _, wanted := range []string{oauth.TokenTypeIDJAG, oauth.TokenTypeRefreshToken} {
		if r := exchangesSAML(s, desktopBasic, wanted, assertion); r.status != 400 || r.text("error") != oauth.InvalidGrant {
			t.Errorf("once more: %d %s", r.status, r.body)
		}
	}
	f.id = "_a-name-of-its-own"
	if r := exchangesSAML(s, desktopBasic, oauth.TokenTypeRefreshToken, f.assertion()); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r := exchangesSAML(s, desktopBasic, oauth.TokenTypeIDJAG, f.assertion()); r.status != 400 || r.text("error") != oauth.InvalidGrant {
		t.Errorf("another assertion of the same name: %d %s", r.status, r.body)
	}
}

// The use of an assertion is in the store: of two processes one wins.
func TestSAMLAssertionOnceOverProcesses(t *testing.T) {
	s, f := newSAMLIdP(t, nil)
	other, err := New(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	assertion := f.assertion()
	if r := exchangesSAML(s, desktopBasic, oauth.TokenTypeIDJAG, assertion); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r := exchangesSAML(&site{Server: other}, desktopBasic, oauth.TokenTypeIDJAG, assertion); r.status != 400 || r.text("error") != oauth.InvalidGrant {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// It becomes a refresh token of ours, which lives like a sign-in and brings
// ID-JAGs and ID tokens.
//
// covers: IDP-SAML-01, Q10
func TestSAMLAssertionForRefreshToken(t *testing.T) {
	s, f := newSAMLIdP(t, nil)
	r := exchangesSAML(s, desktopBasic, oauth.TokenTypeRefreshToken, f.assertion())
	refresh := r.text("access_token")
	_, second := r.field("refresh_token")
	_, lasts := r.field("expires_in")
	if r.status != 200 || r.text("issued_token_type") != oauth.TokenTypeRefreshToken || r.text("token_type") != "N_A" || refresh == "" || second || lasts ||
		r.text("scope") != "offline_access openid" && r.text("scope") != "openid offline_access" || r.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %s", r.status, r.body)
	}
	for range 2 {
		if r := exchanges(s, oauth.TokenTypeRefreshToken, refresh); r.status != 200 {
			t.Fatalf("for an ID-JAG: %d %s", r.status, r.body)
		}
	}
	if r := post(s.Server, "/token", "two a secret of the second", form("grant_type=refresh_token", "refresh_token="+refresh)); r.status != 400 {
		t.Errorf("another client: %d %s", r.status, r.body)
	}
	r = refreshWith(s, refresh)
	if sub, _ := claimsOf(t, r.text("id_token")).Text("sub"); r.status != 200 || sub != "adfs/u-1" {
		t.Fatalf("refreshed: %d %s", r.status, r.body)
	}
	refresh = r.text("refresh_token")
	s.wait(2*time.Hour - time.Minute)
	if r = refreshWith(s, refresh); r.status != 200 {
		t.Fatalf("within the provider's session: %d %s", r.status, r.body)
	}
	s.wait(2 * time.Minute)
	if r = refreshWith(s, r.text("refresh_token")); r.status != 400 || r.text("error") != oauth.InvalidGrant {
		t.Errorf("after the provider's session: %d %s", r.status, r.body)
	}

	gone := exchangesSAML(s, desktopBasic, oauth.TokenTypeRefreshToken, f.assertion()).text("access_token")
	with := s.cfg
	without := with
	without.SignIn = LocalPeople(nil)
	if err := s.Reload(without); err != nil {
		t.Fatal(err)
	}
	if r := exchanges(s, oauth.TokenTypeRefreshToken, gone); r.status != 400 || r.text("error") != oauth.InvalidGrant {
		t.Errorf("for an ID-JAG, with the provider taken out: %d %s", r.status, r.body)
	}
	if r := refreshWith(s, gone); r.status != 400 || r.text("error") != oauth.InvalidGrant {
		t.Errorf("refreshed, with the provider taken out: %d %s", r.status, r.body)
	}
	if err := s.Reload(with); err != nil {
		t.Fatal(err)
	}

	left := exchangesSAML(s, desktopBasic, oauth.TokenTypeRefreshToken, f.assertion()).text("access_token")
	if _, err := s.ledger.Leave(context.Background(), "adfs/u-1"); err != nil {
		t.Fatal(err)
	}
	if r := refreshWith(s, left); r.status != 400 || r.text("error") != oauth.InvalidGrant {
		t.Errorf("somebody who left: %d %s", r.status, r.body)
	}
	for _, wanted := range []string{oauth.TokenTypeIDJAG, oauth.TokenTypeRefreshToken} {
		if r := exchangesSAML(s, desktopBasic, wanted, f.assertion()); r.status != 400 || r.text("error") != oauth.InvalidGrant {
			t.Errorf("an assertion about them: %d %s", r.status, r.body)
		}
	}
}

// What is wrong with an assertion looks the same from outside, and the operator
// finds out what it was.
//
// covers: IDP-TX-06
func TestSAMLAssertionRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		change []string
		edit   func(string) string
		detail string
	}{
		"another audience":            {change: []string{"<saml:Audience>" + samlSP, "<saml:Audience>https://two.example.com/saml"}, detail: "audience"},
		"our own audience":            {change: []string{"<saml:Audience>" + samlSP, "<saml:Audience>" + siteURL + "/saml/adfs"}, detail: "audience"},
		"no audience":                 {change: []string{"<saml:AudienceRestriction><saml:Audience>" + samlSP + "</saml:Audience></saml:AudienceRestriction>", ""}, detail: "audience"},
		"another recipient":           {change: []string{`Recipient="` + samlACS, `Recipient="https://two.example.com/acs`}, detail: "recipient"},
		"another issuer":              {change: []string{"<saml:Issuer>" + samlEntity, "<saml:Issuer>https://evil.example"}, detail: "issuer"},
		"another method":              {change: []string{"cm:bearer", "cm:holder-of-key"}, detail: "bearer"},
		"an unknown condition":        {change: []string{"<saml:AudienceRestriction>", `<saml:Condition/><saml:AudienceRestriction>`}, detail: "condition"},
		"no sign-in":                  {change: []string{"AuthnStatement", "AuthnDecision"}, detail: "AuthnStatement"},
		"changed after it was signed": {edit: func(a string) string { return strings.Replace(a, ">u-1<", ">admin<", 1) }, detail: "sign"},
		"not signed": {edit: func(a string) string {
			return a[:strings.Index(a, "<ds:Signature")] + a[strings.Index(a, "</ds:Signature>")+len("</ds:Signature>"):]
		}, detail: "not signed"},
		"a response": {edit: func(a string) string {
			return `<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol">` + a + "</samlp:Response>"
		}, detail: "no SAML 2.0 assertion"},
		"a comment":        {edit: func(a string) string { return strings.Replace(a, ">u-1<", ">u-1<!-- x --><", 1) }, detail: ""},
		"no XML":           {edit: func(string) string { return "eyJhbGciOiJFUzI1NiJ9.e30.x" }, detail: ""},
		"a transient name": {change: []string{"nameid-format:persistent", "nameid-format:transient"}, detail: "sub"},
	} {
		t.Run(name, func(t *testing.T) {
			s, f := newSAMLIdP(t, nil)
			a := f.assertion(tt.change...)
			if tt.edit != nil {
				a = tt.edit(a)
			}
			for _, wanted := range []string{oauth.TokenTypeIDJAG, oauth.TokenTypeRefreshToken} {
				r := exchangesSAML(s, desktopBasic, wanted, a)
				if r.status != 400 || r.text("error") != oauth.InvalidGrant || !strings.HasPrefix(r.text("error_description"), "subject_token is not acceptable: sign in again") {
					t.Errorf("%d %s", r.status, r.body)
				}
			}
			if !slices.ContainsFunc(eventsOf(t, s.Server), func(e audit.Event) bool { return e.Reason == "saml_assertion" && strings.Contains(e.Detail, tt.detail) }) {
				t.Errorf("the operator does not find %q", tt.detail)
			}
			if _, err := s.ledger.Account(context.Background(), "adfs/u-1"); !notFound(err) {
				t.Errorf("an account was made: %v", err)
			}
		})
	}
	t.Run("over", func(t *testing.T) {
		s, f := newSAMLIdP(t, nil)
		a := f.assertion()
		s.wait(6 * time.Minute)
		if r := exchangesSAML(s, desktopBasic, oauth.TokenTypeIDJAG, a); r.status != 400 || r.text("error") != oauth.InvalidGrant {
			t.Errorf("%d %s", r.status, r.body)
		}
	})
	t.Run("not base64url", func(t *testing.T) {
		s, f := newSAMLIdP(t, nil)
		if r := exchangesSAML(s, desktopBasic, oauth.TokenTypeIDJAG, "", "subject_token", f.assertion()); r.status != 400 || r.text("error") != oauth.InvalidGrant {
			t.Errorf("%d %s", r.status, r.body)
		}
	})
	t.Run("nobody has an account", func(t *testing.T) {
		s, f := newSAMLIdP(t, func(_ *Config, p *SAMLProvider) { p.ExistingOnly = true })
		if r := exchangesSAML(s, desktopBasic, oauth.TokenTypeRefreshToken, f.assertion()); r.status != 400 || r.text("error") != oauth.InvalidGrant {
			t.Errorf("%d %s", r.status, r.body)
		}
	})
	t.Run("the metadata is away", func(t *testing.T) {
		s, f := newSAMLIdP(t, nil)
		f.publish("<html/>")
		s.wait(metadataStale)
		if r := exchangesSAML(s, desktopBasic, oauth.TokenTypeIDJAG, f.assertion()); r.status != 503 || r.text("error") != oauth.TemporarilyUnavailable {
			t.Errorf("%d %s", r.status, r.body)
		}
	})
}

// Who may ask, and for what.
//
// covers: IDP-SAML-01
func TestSAMLExchangeRequests(t *testing.T) {
	s, f := newSAMLIdP(t, func(c *Config, _ *SAMLProvider) {
		c.Clients["none"] = Client{Secret: "a secret of no service provider", RedirectURIs: []string{"https://none.example.com/cb"}}
		cl := c.Clients["desktop"]
		cl.GrantTypes, cl.SAMLEntityID = []string{oauth.TokenExchange}, "https://brief.example.com/saml"
		c.Clients["brief"] = cl
	})
	for _, tt := range []struct {
		name, who, wanted, code string
		more                    []string
	}{
		{"the assertion of another", "two a secret of the second", oauth.TokenTypeRefreshToken, oauth.InvalidGrant, nil},
		{"no service provider", "none a secret of no service provider", oauth.TokenTypeIDJAG, oauth.UnauthorizedClient, nil},
		{"a public client", "", oauth.TokenTypeIDJAG, oauth.UnauthorizedClient, []string{"client_id", "cli"}},
		{"no refresh tokens", "brief a secret of the desktop", oauth.TokenTypeRefreshToken, oauth.UnauthorizedClient, nil},
		{"without offline_access", desktopBasic, oauth.TokenTypeRefreshToken, oauth.InvalidScope, []string{"scope", "openid"}},
		{"without openid", desktopBasic, oauth.TokenTypeRefreshToken, oauth.InvalidScope, []string{"scope", "offline_access"}},
		{"without scopes", desktopBasic, oauth.TokenTypeRefreshToken, oauth.InvalidScope, []string{"scope", ""}},
		{"another resource", desktopBasic, oauth.TokenTypeRefreshToken, oauth.InvalidTarget, []string{"resource", files}},
		{"a refresh token for an ID token", desktopBasic, oauth.TokenTypeRefreshToken, oauth.InvalidRequest, []string{"subject_token_type", oauth.TokenTypeIDToken}},
		{"an access token", desktopBasic, oauth.TokenTypeAccessToken, oauth.InvalidRequest, nil},
		{"an actor", desktopBasic, oauth.TokenTypeRefreshToken, oauth.InvalidRequest, []string{"actor_token", "x"}},
		{"nothing to exchange", desktopBasic, oauth.TokenTypeRefreshToken, oauth.InvalidRequest, []string{"subject_token", ""}},
	} {
		if r := exchangesSAML(s, tt.who, tt.wanted, f.assertion(), tt.more...); r.status != 400 || r.text("error") != tt.code {
			t.Errorf("%s: %d %s, want %s", tt.name, r.status, r.body, tt.code)
		}
	}
	for name, c := range map[string]Config{
		"an authorization server": {Clients: map[string]Client{"c": {Secret: wikiSecret, SAMLEntityID: samlSP, SAMLACS: []string{samlACS}}}},
		"two of one name": {Audiences: map[string]Audience{}, Clients: map[string]Client{"c": {Secret: wikiSecret, SAMLEntityID: samlSP, SAMLACS: []string{samlACS}},
			"d": {Secret: wikiSecret, SAMLEntityID: samlSP, SAMLACS: []string{samlACS + "/d"}}}},
		"nowhere to send it":   {Audiences: map[string]Audience{}, Clients: map[string]Client{"c": {Secret: wikiSecret, SAMLEntityID: samlSP}}},
		"nobody to send it to": {Audiences: map[string]Audience{}, Clients: map[string]Client{"c": {Secret: wikiSecret, SAMLACS: []string{samlACS}}}},
	} {
		c.URL, c.Store = siteURL, openStore(t, time.Now)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), "SAML") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
