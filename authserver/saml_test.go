package authserver

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/internal/oauth"
)

// samlTokens walks carol to the client: her tokens there.
func (f *samlIdP) tokens(b *browser, pairs ...string) reply {
	f.t.Helper()
	f.begin(b.get(f.s.ask("desktop", desktopBack, pairs...)))
	p := b.get(f.back(f.response()))
	if !p.left {
		p = b.submit(p)
	}
	code := p.arrived(f.t, "https://desktop.example.com/cb").Get("code")
	r := post(f.s.Server, "/token", "desktop a secret of the desktop", form("grant_type=authorization_code", "code="+code, "code_verifier="+verifier,
		"redirect_uri="+desktopBack))
	if r.status != 200 {
		f.t.Fatalf("token: %d %s", r.status, r.body)
	}
	return r
}

// There by redirect and back by a form that comes without cookies, with what
// the client wished and what the provider said.
func TestSignInBySAML(t *testing.T) {
	var log logBuffer
	s, f := newSAMLSite(t, func(c *Config, _ *SAMLProvider) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	res := f.tokens(s.browser(), "prompt", "login", "acr_values", "https://refeds.org/profile/mfa")
	if f.asked.ACS != siteURL+"/callback/adfs" || f.asked.Issuer != siteURL+"/saml/adfs" || !f.asked.Force || f.asked.Class != "https://refeds.org/profile/mfa" ||
		!strings.HasSuffix(f.asked.Policy.Format, ":persistent") || len(f.asked.relay) > 80 {
		t.Errorf("asked: %+v", f.asked)
	}
	c := claimsOf(t, res.text("access_token"))
	sub, _ := c.Text("sub")
	acr, _ := c.Text("acr")
	amr, _ := c.Texts("amr")
	at, _ := c.Time("auth_time")
	if sub != "adfs/u-1" || acr != "https://refeds.org/profile/mfa" || !slices.Equal(amr, []string{"mfa"}) || s.now().Sub(at) < 5*time.Second {
		t.Errorf("sub %q acr %q amr %q auth_time %s", sub, acr, amr, at)
	}
	acc, err := s.ledger.Account(context.Background(), "adfs/u-1")
	if err != nil || acc.Email != "carol@corp.example" || acc.Name != "Carol" || !slices.Equal(acc.Groups, []string{"eng", "ops"}) {
		t.Errorf("account %+v, %v", acc, err)
	}
	if strings.Contains(log.String(), "u-1</") || strings.Contains(log.String(), f.response().Get("SAMLResponse")) {
		t.Error("the log holds the response")
	}
	f.asked = samlAsked{}
	f.begin(s.browser().get(s.ask("desktop", desktopBack)))
	if f.asked.Force || f.asked.Class != "" {
		t.Errorf("what nobody wished was asked for: %+v", f.asked)
	}
}

// A response that is not what it must be signs nobody in, whoever's browser
// brings it.
func TestSAMLResponseRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		change [2]string
		form   func(*samlIdP, url.Values)
		status int
		shows  string
	}{
		"another audience":  {[2]string{"<saml:Audience>" + siteURL, "<saml:Audience>https://other.example"}, nil, 502, "not acceptable"},
		"another recipient": {[2]string{`Recipient="` + siteURL, `Recipient="https://other.example`}, nil, 502, "not acceptable"},
		"another issuer":    {[2]string{"<saml:Issuer>" + samlEntity, "<saml:Issuer>https://evil.example"}, nil, 502, "not acceptable"},
		"unsolicited":       {form: func(_ *samlIdP, v url.Values) { v.Del("RelayState") }, status: 502, shows: "not acceptable"},
		"another attempt":   {form: func(_ *samlIdP, v url.Values) { v.Set("RelayState", newID()) }, status: 502, shows: "not acceptable"},
		"two responses":     {form: func(_ *samlIdP, v url.Values) { v.Add("SAMLResponse", "x") }, status: 502, shows: "not acceptable"},
		"no base64":         {form: func(_ *samlIdP, v url.Values) { v.Set("SAMLResponse", "%") }, status: 502, shows: "not acceptable"},
		"no response":       {form: func(_ *samlIdP, v url.Values) { v.Del("SAMLResponse") }, status: 502, shows: "not acceptable"},
		"metadata of another": {form: func(f *samlIdP, _ url.Values) {
			f.publish("<html/>")
			f.s.wait(metadataStale)
		}, status: 503, shows: "does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			s, f := newSAMLSite(t, nil)
			f.begin(s.browser().get(s.ask("desktop", desktopBack)))
			f.change = tt.change
			v := f.response()
			if tt.form != nil {
				tt.form(f, v)
			}
			status := tt.status
			if status == 0 {
				status = 502
			}
			res := f.posted(v)
			body, _ := io.ReadAll(res.Body)
			if res.StatusCode != status || !strings.Contains(string(body), tt.shows) || !strings.Contains(string(body), "Reference") || strings.Contains(string(body), "attempt=") {
				t.Errorf("answered %d %s", res.StatusCode, body)
			}
			if _, err := s.ledger.Account(context.Background(), "adfs/u-1"); !notFound(err) {
				t.Errorf("an account was made: %v", err)
			}
		})
	}
	t.Run("the provider says no", func(t *testing.T) {
		s, f := newSAMLSite(t, nil)
		f.begin(s.browser().get(s.ask("desktop", desktopBack)))
		f.status = "Responder"
		res := f.posted(f.response())
		if body, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusForbidden || !strings.Contains(string(body), "You were not signed in") {
			t.Errorf("answered %d %s", res.StatusCode, body)
		}
	})
}

// A response is for the browser that asked, once, and an assertion is used once
// in all processes, since the store says so.
func TestSAMLResponseIsOfOneBrowserOnce(t *testing.T) {
	s, f := newSAMLSite(t, nil)
	b, mallory := s.browser(), s.browser()
	f.begin(b.get(s.ask("desktop", desktopBack)))
	f.id = "_one"
	form := f.response()
	back := f.back(form)
	mallory.get(back).shows(t, 400, "nothing to go on with") // no attempt
	f2 := *f
	f2.begin(mallory.get(s.ask("desktop", desktopBack)))
	mallory.get(back).shows(t, 502, "not acceptable") // another attempt
	b.get(siteURL+"/callback/adfs?response=x").shows(t, 400, "nothing to go on with")
	b.get(back).shows(t, 200, "Desktop", "adfs/u-1")
	b.get(back).shows(t, 200, "Desktop", "adfs/u-1") // by the back button
	if res := f.posted(form); res.StatusCode != http.StatusBadRequest {
		t.Errorf("the same form again: %d", res.StatusCode)
	}
	// The same assertion id in another response of the provider is no news.
	f2.id = "_one"
	if res := f2.posted(f2.response()); res.StatusCode != http.StatusBadRequest {
		t.Errorf("the same assertion for another sign-in: %d", res.StatusCode)
	}
}

// Late answers and late pages are over.
func TestSAMLTakesNoLateAnswer(t *testing.T) {
	s, f := newSAMLSite(t, nil)
	b := s.browser()
	f.begin(b.get(s.ask("desktop", desktopBack)))
	back := f.back(f.response())
	s.wait(arrivalLife)
	b.get(back).shows(t, 400, "nothing to go on with")
	v := f.response()
	s.wait(6 * time.Minute)
	if res := f.posted(v); res.StatusCode != http.StatusBadGateway {
		t.Errorf("an assertion that is over: %d", res.StatusCode)
	}
}

// The session here ends with the provider's, and so do the tokens.
func TestSAMLSessionEnds(t *testing.T) {
	s, f := newSAMLSite(t, nil)
	b := s.browser()
	refresh := f.tokens(b).text("refresh_token")
	if p := b.get(s.ask("desktop", desktopBack)); p.left && strings.HasPrefix(p.url.String(), "https://adfs.example") {
		t.Error("the session does not live")
	}
	s.wait(2 * time.Hour)
	if p := b.get(s.ask("desktop", desktopBack)); !p.left || !strings.HasPrefix(p.url.String(), "https://adfs.example/sso") {
		t.Errorf("the session outlives the provider's: %d %s", p.status, p.url)
	}
	if r := refreshWith(s, refresh); r.status != 400 || r.text("error") != oauth.InvalidGrant {
		t.Errorf("the refresh token outlives the provider's session: %d %s", r.status, r.body)
	}
}

// A NameID that is new each time is no account; an attribute can be one.
func TestSAMLAccount(t *testing.T) {
	transient := [2]string{"nameid-format:persistent", "nameid-format:transient"}
	s, f := newSAMLSite(t, nil)
	b := s.browser()
	f.begin(b.get(s.ask("desktop", desktopBack)))
	f.change = transient
	b.get(f.back(f.response())).shows(t, 403, "This account cannot be used here")

	s, f = newSAMLSite(t, func(_ *Config, p *SAMLProvider) { p.Account = []string{"email"} })
	b = s.browser()
	f.begin(b.get(s.ask("desktop", desktopBack)))
	f.change = [2]string{">carol@corp.example<", ">carol@other.example<"}
	b.get(f.back(f.response())).shows(t, 200, "adfs/carol@other.example")
	if f.asked.Policy.Format != "" {
		t.Errorf("a format was asked for: %s", f.asked.Policy.Format)
	}
}

func TestSAMLOwnMetadata(t *testing.T) {
	s, _ := newSAMLSite(t, nil)
	r := get(s.Server, "/saml/adfs")
	if r.status != 200 || r.header.Get("Content-Type") != "application/samlmetadata+xml" || !strings.Contains(r.body, `Location="`+siteURL+`/callback/adfs"`) ||
		!strings.Contains(r.body, `entityID="`+siteURL+`/saml/adfs"`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := post(s.Server, "/backchannel-logout/adfs", "", form("logout_token=x")); r.status != 404 {
		t.Errorf("a logout token of a SAML provider: %d", r.status)
	}
	if r := get(s.Server, "/saml/other"); r.status != 404 {
		t.Errorf("no such provider: %d", r.status)
	}
}

func TestSAMLConfigRefused(t *testing.T) {
	for _, p := range []SAMLProvider{{Name: "adfs"}, {Name: "A", Metadata: "x"}, {Name: "adfs", Metadata: "http://adfs.example/metadata"}} {
		if _, err := newSettings(Config{URL: siteURL, SignIn: SAML(p)}, nil); err == nil {
			t.Errorf("accepted: %+v", p)
		}
	}
	if _, err := newSettings(Config{URL: siteURL, SignIn: AnyOf(SAML(SAMLProvider{Name: "a", Metadata: "x"}), SAML(SAMLProvider{Name: "a", Metadata: "y"}))}, nil); err == nil {
		t.Error("two providers of one name were accepted")
	}
}

// Anybody may send the form, and each costs a signature check: after as many as
// the limit of /authorize allows from one address, none is looked at.
func TestSAMLResponsesAreLimited(t *testing.T) {
	_, f := newSAMLSite(t, func(c *Config, _ *SAMLProvider) { c.Limits = Limits{Authorize: Rate{3, time.Minute}} })
	rubbish := url.Values{"SAMLResponse": {"PHg+"}, "RelayState": {"x"}}
	for i := range 3 {
		if res := f.posted(rubbish); res.StatusCode != http.StatusBadRequest && res.StatusCode != http.StatusBadGateway {
			t.Fatalf("%d: %s", i, res.Status)
		}
	}
	if res := f.posted(rubbish); res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" {
		t.Errorf("%s, Retry-After %q", res.Status, res.Header.Get("Retry-After"))
	}
}
