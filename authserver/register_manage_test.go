package authserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

const webCB = "https://app.example.com/cb"

// manage sends a management request with a token ("": none) and returns the
// answer.
func (s *site) manageAt(method, uri, token, body string) reply {
	r := httptest.NewRequest(method, uri, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return send(s.Server, r)
}

// registeredWith is what a registration says: id, secret, where it is managed
// and the token.
func registeredWith(doc map[string]any) (id, secret, uri, token string) {
	text := func(name string) string { s, _ := doc[name].(string); return s }
	return text("client_id"), text("client_secret"), text("registration_client_uri"), text("registration_access_token")
}

// covers: AS-DCR-11, AS-DCR-12, F16
func TestRegistrationIsManaged(t *testing.T) {
	s := newSite(t, nil)
	id, secret, uri, token := registeredWith(s.mustRegister(`{"client_name":"App","redirect_uris":["` + webCB + `"],"grant_types":["authorization_code","refresh_token"]}`))
	if uri != s.url+"/register/"+id || len(token) != 43 {
		t.Fatalf("%s, token of %d characters", uri, len(token))
	}
	c, err := s.ledger.Client(t.Context(), id)
	if err != nil || strings.Contains(string(c.Put().Record.Value), token) || len(c.RegistrationHash) != 32 {
		t.Errorf("record %+v, %v", c, err)
	}
	got := s.manageAt("GET", uri, token, "")
	if got.status != http.StatusOK || got.text("client_id") != id || got.text("client_name") != "App" || got.text("registration_access_token") != token ||
		got.text("registration_client_uri") != uri || got.text("client_secret") != "" || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("read: %d %s", got.status, got.body)
	}
	// PUT replaces the whole record: what is left out is gone.
	got = s.manageAt("PUT", uri, token, `{"client_id":"`+id+`","client_secret":"`+secret+`","client_name":"New","redirect_uris":["https://app.example.com/new"]}`)
	if got.status != http.StatusOK || got.text("client_name") != "New" || got.text("client_secret") != "" {
		t.Errorf("replaced: %d %s", got.status, got.body)
	}
	if c, err = s.ledger.Client(t.Context(), id); err != nil || fmt.Sprint(c.RedirectURIs, c.GrantTypes) != "[https://app.example.com/new] [authorization_code]" {
		t.Errorf("record %+v, %v", c, err)
	}
	if got := post(s.Server, "/token", id+" "+secret, form("grant_type=authorization_code", "code=x", "redirect_uri="+webCB, "code_verifier="+verifier)); got.text("error") != oauth.InvalidGrant {
		t.Errorf("the secret ends with an update: %s", got.body)
	}
	with := func(member string) string {
		return `{"client_id":"` + id + `","redirect_uris":["` + webCB + `"],` + member + `}`
	}
	for name, body := range map[string]string{
		"no client_id":       `{"redirect_uris":["` + webCB + `"]}`,
		"another client_id":  `{"client_id":"desktop","redirect_uris":["` + webCB + `"]}`,
		"another secret":     with(`"client_secret":"` + strings.Repeat("x", 43) + `"`),
		"an empty secret":    with(`"client_secret":""`),
		"a secret of number": with(`"client_secret":7`),
		"its token":          with(`"registration_access_token":"` + token + `"`),
		"its address":        with(`"registration_client_uri":"` + uri + `"`),
		"its date":           with(`"client_id_issued_at":0`),
		"the secret's end":   with(`"client_secret_expires_at":0`),
		"a bad redirect":     `{"client_id":"` + id + `","redirect_uris":["http://app.example.com/cb"]}`,
		"no JSON":            `client_id=x`,
	} {
		if got := s.manageAt("PUT", uri, token, body); got.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	if after, err := s.ledger.Client(t.Context(), id); err != nil || after.Version != c.Version {
		t.Errorf("a refused update changed the record: %+v", after)
	}
}

// covers: AS-DCR-12, SEC-26
func TestRegistrationIsManagedByItsOwner(t *testing.T) {
	s := newSite(t, nil)
	id, secret, uri, token := registeredWith(s.mustRegister(`{"redirect_uris":["` + webCB + `"]}`))
	_, _, other, otherToken := registeredWith(s.mustRegister(`{"redirect_uris":["` + webCB + `"]}`))
	shared := s.mustRegister(`{"client_name":"Tool","redirect_uris":["http://127.0.0.1/cb"],"token_endpoint_auth_method":"none"}`)
	if _, _, at, its := registeredWith(shared); at != "" || its != "" {
		t.Error("a registration that others share can be managed by each of them")
	}
	challenge := func(name string, got reply) {
		t.Helper()
		if got.status != http.StatusUnauthorized || got.text("error") != oauth.InvalidToken || !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: %d %s %v", name, got.status, got.body, got.header)
		}
	}
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		body := ""
		if method == "PUT" {
			body = `{"client_id":"` + id + `","redirect_uris":["` + webCB + `"]}`
		}
		challenge(method+" without a token", s.manageAt(method, uri, "", body))
		challenge(method+" with the secret", s.manageAt(method, uri, secret, body))
		challenge(method+" of another client", s.manageAt(method, uri, otherToken, body))
		challenge(method+" of nobody", s.manageAt(method, s.url+"/register/dyn-nobody", token, body))
		challenge(method+" of a client of the file", s.manageAt(method, s.url+"/register/desktop", token, body))
		challenge(method+" of a shared one", s.manageAt(method, s.url+"/register/"+shared["client_id"].(string), token, body))
	}
	basic := httptest.NewRequest("GET", uri, nil)
	basic.SetBasicAuth(id, secret)
	challenge("the client's own authentication", send(s.Server, basic))
	query := httptest.NewRequest("GET", uri+"?access_token="+token, nil)
	challenge("a token in the query", send(s.Server, query))
	if got := s.manageAt("POST", uri, token, ""); got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != "GET, HEAD, PUT, DELETE" {
		t.Errorf("POST: %d, allowed %s", got.status, got.header.Get("Allow"))
	}
	if got := s.manageAt("GET", s.url+"/register/"+id+"/x", token, ""); got.status != http.StatusNotFound {
		t.Errorf("below it: %d", got.status)
	}
	if got := s.manageAt("GET", other, otherToken, ""); got.status != http.StatusOK {
		t.Errorf("the other one was touched: %d %s", got.status, got.body)
	}
}

// covers: AS-DCR-12, AS-DCR-10
func TestDeletedRegistrationEndsItsTokens(t *testing.T) {
	s := newSite(t, nil)
	id, secret, uri, token := registeredWith(s.mustRegister(`{"redirect_uris":["` + webCB + `"],"grant_types":["authorization_code","refresh_token"]}`))
	b := s.browser()
	code := b.submit(b.signIn(b.get(s.ask(id, webCB)), "alice")).arrived(t, webCB).Get("code")
	got := post(s.Server, "/token", id+" "+secret, form("grant_type=authorization_code", "code="+code, "redirect_uri="+webCB, "code_verifier="+verifier))
	if got.status != http.StatusOK {
		t.Fatalf("%s", got.body)
	}
	if ended := s.manageAt("DELETE", uri, token, ""); ended.status != http.StatusNoContent || ended.body != "" {
		t.Errorf("%d %s", ended.status, ended.body)
	}
	if !s.ended.Has(gid(t, got.text("access_token"))) {
		t.Error("its access token lives on")
	}
	if again := post(s.Server, "/token", id+" "+secret, form("grant_type=refresh_token", "refresh_token="+got.text("refresh_token"))); again.status != http.StatusUnauthorized || again.text("error") != oauth.InvalidClient {
		t.Errorf("its refresh token: %d %s", again.status, again.body)
	}
	for _, method := range []string{"GET", "DELETE"} {
		if gone := s.manageAt(method, uri, token, ""); gone.status != http.StatusUnauthorized {
			t.Errorf("%s afterwards: %d", method, gone.status)
		}
	}
}

// What an administrator approved was what the client said then; and a person
// who consented to one name is asked about another.
//
// covers: AS-DCR-12, SEC-24
func TestChangedRegistrationIsApprovedAnew(t *testing.T) {
	s := newSite(t, func(c *Config) { c.OtherClients = "ask-admin" })
	id, _, uri, token := registeredWith(s.mustRegister(`{"client_name":"App","redirect_uris":["` + webCB + `"]}`))
	approve := func() {
		c, err := s.ledger.Client(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		c.Approved = true
		if err := s.ledger.Store.Commit(t.Context(), c.Put()); err != nil {
			t.Fatal(err)
		}
	}
	put := func(name, redirect string) {
		t.Helper()
		if got := s.manageAt("PUT", uri, token, `{"client_id":"`+id+`","client_name":"`+name+`","redirect_uris":["`+redirect+`"]}`); got.status != http.StatusOK {
			t.Fatalf("%s", got.body)
		}
	}
	approve()
	b := s.browser()
	b.submit(b.signIn(b.get(s.ask(id, webCB)), "alice")).arrived(t, webCB)
	put("App", webCB)
	b.get(s.ask(id, webCB)).arrived(t, webCB) // nothing changed: approved and consented as before
	put("App", "https://evil.example.net/cb")
	b.get(s.ask(id, "https://evil.example.net/cb")).shows(t, http.StatusForbidden, "doorward client approve "+id)
	put("Payroll", webCB)
	b.get(s.ask(id, webCB)).shows(t, http.StatusForbidden, "client approve")
	approve()
	b.get(s.ask(id, webCB)).shows(t, http.StatusOK, "Allow", "Payroll")
	s.cfg.OtherClients = "refuse"
	if err := s.Reload(s.cfg); err != nil {
		t.Fatal(err)
	}
	if got := s.manageAt("PUT", uri, token, `{"client_id":"`+id+`","redirect_uris":["`+webCB+`"]}`); got.status != http.StatusBadRequest {
		t.Errorf("a policy that refuses: %d %s", got.status, got.body)
	}
	s.cfg.Registration = Registration{}
	if err := s.Reload(s.cfg); err != nil {
		t.Fatal(err)
	}
	if got := s.manageAt("GET", uri, token, ""); got.status != http.StatusNotFound {
		t.Errorf("registration is off: %d", got.status)
	}
}

// covers: E07, F08, AS-DCR-03, AS-DCR-11
func TestSecretsExpire(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Registration.SecretLife = time.Hour })
	doc := s.mustRegister(`{"redirect_uris":["` + webCB + `"]}`)
	id, secret, uri, token := registeredWith(doc)
	if got := int64(doc["client_secret_expires_at"].(float64)); got != s.now().Add(time.Hour).Unix() {
		t.Errorf("it expires at %d", got)
	}
	ask := func(secret string) reply {
		return post(s.Server, "/token", id+" "+secret, form("grant_type=authorization_code", "code=x", "redirect_uri="+webCB, "code_verifier="+verifier))
	}
	if got := ask(secret); got.text("error") != oauth.InvalidGrant {
		t.Errorf("before: %s", got.body)
	}
	update := `{"client_id":"` + id + `","redirect_uris":["` + webCB + `"]}`
	if got := s.manageAt("PUT", uri, token, update); got.status != http.StatusOK || got.text("client_secret") != "" {
		t.Errorf("a secret that is good is made anew: %s", got.body)
	}
	s.wait(time.Hour)
	if got := ask(secret); got.status != http.StatusUnauthorized || got.text("error") != oauth.InvalidClient {
		t.Errorf("after: %d %s", got.status, got.body)
	}
	renewed := s.manageAt("PUT", uri, token, update)
	if fresh := renewed.text("client_secret"); fresh == "" || fresh == secret || ask(fresh).text("error") != oauth.InvalidGrant || ask(secret).status != http.StatusUnauthorized {
		t.Errorf("renewed: %s", renewed.body)
	}
	public := s.mustRegister(`{"redirect_uris":["` + webCB + `"],"token_endpoint_auth_method":"none"}`)
	if _, there := public["client_secret_expires_at"]; there {
		t.Error("a public client has an end of its secret")
	}
	never := newSite(t, nil)
	doc = never.mustRegister(`{"redirect_uris":["` + webCB + `"]}`)
	if id, secret, _, _ = registeredWith(doc); doc["client_secret_expires_at"] != 0.0 {
		t.Errorf("0 means never, not %v", doc["client_secret_expires_at"])
	}
	never.wait(20 * 24 * time.Hour)
	if got := post(never.Server, "/token", id+" "+secret, form("grant_type=authorization_code", "code=x", "redirect_uri="+webCB, "code_verifier="+verifier)); got.text("error") != oauth.InvalidGrant {
		t.Errorf("a secret without an end: %s", got.body)
	}
}

// covers: F02, F15, AS-DCR-01
func TestInitialAccessToken(t *testing.T) {
	const initial = "initial-access-token-0123"
	s := newSite(t, func(c *Config) {
		c.OtherClients, c.Registration = "ask-admin", Registration{Mode: "token", Token: initial}
	})
	register := func(header string, more ...string) reply {
		r := httptest.NewRequest("POST", s.url+"/register", strings.NewReader(`{"client_name":"App","redirect_uris":["`+webCB+`"]`+strings.Join(more, "")+`}`))
		r.Header.Set("Content-Type", "application/json")
		if header != "" {
			r.Header.Set("Authorization", header)
		}
		return send(s.Server, r)
	}
	for name, header := range map[string]string{"none": "", "wrong": "Bearer wrong-token-0123456789", "empty": "Bearer ", "Basic": "Basic " + initial, "half": "Bearer " + initial[:10]} {
		if got := register(header); got.status != http.StatusUnauthorized || got.text("error") != oauth.InvalidToken || !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	got := register("bearer " + initial)
	if got.status != http.StatusCreated {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if c, err := s.ledger.Client(t.Context(), got.text("client_id")); err != nil || !c.Approved || c.Source != ledger.FromDynamic {
		t.Errorf("%+v, %v", c, err)
	}
	// Software statements: nobody's are approved.
	for statement, code := range map[string]string{
		`"` + s.signedStatement(t) + `"`: oauth.UnapprovedSoftwareStatement,
		`"not a JWT"`:                    oauth.InvalidSoftwareStatement,
		`{"iss":"x"}`:                    oauth.InvalidSoftwareStatement,
	} {
		if got := register("Bearer "+initial, `,"software_statement":`+statement); got.status != http.StatusBadRequest || got.text("error") != code {
			t.Errorf("statement %.20s: %d %s", statement, got.status, got.body)
		}
	}
	for name, r := range map[string]Registration{
		"no token": {Mode: "token"}, "a short one": {Mode: "token", Token: "short"}, "a token for nothing": {Mode: "open", Token: initial},
		"a mode of its own": {Mode: "free"}, "a secret's life": {Mode: "open", SecretLife: -1},
	} {
		cfg := s.cfg
		cfg.Registration = r
		if err := s.Reload(cfg); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func (s *site) signedStatement(t *testing.T) string {
	t.Helper()
	token, err := testKeys()["es"].Sign("", map[string]any{"iss": "https://publisher.example", "software_id": "app", "redirect_uris": []string{webCB}})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// covers: B11
func TestMetadataListsRegistrationIfItIsThere(t *testing.T) {
	for mode, want := range map[string]bool{"off": false, "": false, "limited": true, "open": true, "token": true} {
		s := newSite(t, func(c *Config) {
			c.Registration = Registration{Mode: mode}
			if mode == "token" {
				c.Registration.Token = "initial-access-token-0123"
			}
		})
		doc := get(s.Server, oauth.WellKnownAS)
		if _, there := doc.field("registration_endpoint"); there != want {
			t.Errorf("mode %q: %s", mode, doc.body)
		}
	}
}

// A store that fails in the middle leaves nothing half done: the registration
// is refused with 500, and what the store said stays inside.
//
// covers: F12
func TestRegistrationOnABrokenStore(t *testing.T) {
	f := &failing{}
	s := newSite(t, func(c *Config) { f.Store = c.Store; c.Store = f })
	_, _, uri, token := registeredWith(s.mustRegister(`{"redirect_uris":["` + webCB + `"]}`))
	s.mustRegister(`{"redirect_uris":["` + webCB + `"]}`) // places are reserved
	f.next(true)
	status, _, doc := s.postRegistration(`{"redirect_uris":["` + webCB + `"]}`)
	if status != http.StatusInternalServerError || doc["error"] != oauth.ServerError || strings.Contains(fmt.Sprint(doc), "disk") {
		t.Errorf("%d %v", status, doc)
	}
	f.next(true)
	if got := s.manageAt("DELETE", uri, token, ""); got.status != http.StatusInternalServerError || strings.Contains(got.body, "disk") {
		t.Errorf("delete: %d %s", got.status, got.body)
	}
	if got := s.manageAt("DELETE", uri, token, ""); got.status != http.StatusNoContent {
		t.Errorf("delete again: %d %s", got.status, got.body)
	}
}

func FuzzRegistrationUpdate(f *testing.F) {
	f.Add(`{"client_id":"c","redirect_uris":["https://a.example/"]}`)
	f.Add(`{"client_id":"c","client_secret":"x"}`)
	f.Add(`{"client_id":["c"]}`)
	f.Fuzz(func(t *testing.T, body string) {
		if checkUpdate([]byte(body), ledger.Client{ID: "c", SecretHash: hashText("secret")}) != nil {
			return
		}
		var m map[string]any
		if err := json.Unmarshal([]byte(body), &m); err != nil || m["client_id"] != "c" || m["client_secret"] != nil && m["client_secret"] != "secret" {
			t.Errorf("%s is taken", body)
		}
	})
}

// An update is no registration: where registrations need the initial access
// token, whoever changes theirs without it has not been approved by that.
//
// covers: AS-DCR-12, SEC-24
func TestUpdateDoesNotApprove(t *testing.T) {
	const initial = "initial-access-token-0123"
	s := newSite(t, func(c *Config) { c.OtherClients = "ask-admin" })
	id, _, uri, token := registeredWith(s.mustRegister(`{"client_name":"App","redirect_uris":["` + webCB + `"]}`))
	s.cfg.Registration = Registration{Mode: "token", Token: initial}
	if err := s.Reload(s.cfg); err != nil {
		t.Fatal(err)
	}
	approved := func(id, uri, token, name string) bool {
		t.Helper()
		if got := s.manageAt("PUT", uri, token, `{"client_id":"`+id+`","client_name":"`+name+`","redirect_uris":["`+webCB+`"]}`); got.status != http.StatusOK {
			t.Fatalf("%d %s", got.status, got.body)
		}
		c, err := s.ledger.Client(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return c.Approved
	}
	if approved(id, uri, token, "App") {
		t.Error("a stranger's update approved the stranger")
	}
	got := s.manageAt("POST", s.url+"/register", initial, `{"client_name":"App","redirect_uris":["`+webCB+`"]}`)
	if got.status != http.StatusCreated {
		t.Fatalf("%d %s", got.status, got.body)
	}
	id, uri, token = got.text("client_id"), got.text("registration_client_uri"), got.text("registration_access_token")
	if !approved(id, uri, token, "App") {
		t.Error("an update that says the same ended the approval")
	}
	if approved(id, uri, token, "Payroll") {
		t.Error("another name was approved")
	}
}

// Access that lasts longer than what a person allowed needs their word again.
//
// covers: SEC-24
func TestLongerAccessIsConsentedAnew(t *testing.T) {
	s := newSite(t, nil)
	id, _, uri, token := registeredWith(s.mustRegister(`{"client_name":"App","redirect_uris":["` + webCB + `"]}`))
	b := s.browser()
	b.submit(b.signIn(b.get(s.ask(id, webCB)), "alice")).arrived(t, webCB)
	b.get(s.ask(id, webCB)).arrived(t, webCB)
	if got := s.manageAt("PUT", uri, token, `{"client_id":"`+id+`","client_name":"App","redirect_uris":["`+webCB+`"],"grant_types":["authorization_code","refresh_token"]}`); got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.body)
	}
	b.get(s.ask(id, webCB)).shows(t, http.StatusOK, "Allow", "App", "as long as it is in use")
}

// A client that an administrator approved stays for good; one that says
// something else of itself since then waits for approval no longer than others.
//
// covers: AS-DCR-12, SEC-24
func TestChangedRegistrationExpires(t *testing.T) {
	s := newSite(t, func(c *Config) { c.OtherClients = "ask-admin" })
	id, _, uri, token := registeredWith(s.mustRegister(`{"client_name":"App","redirect_uris":["` + webCB + `"]}`))
	client := func() ledger.Client {
		t.Helper()
		c, err := s.ledger.Client(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := client()
	c.Approved, c.Expires = true, time.Time{}
	if err := s.ledger.Store.Commit(t.Context(), c.Put()); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name  string
		until time.Time
	}{{"App", time.Time{}}, {"Payroll", s.now().Add(defaultUnused)}} {
		got := s.manageAt("PUT", uri, token, `{"client_id":"`+id+`","client_name":"`+step.name+`","redirect_uris":["`+webCB+`"]}`)
		if until := client().Expires; got.status != http.StatusOK || !until.Equal(step.until) {
			t.Errorf("%s: %d, until %v, not %v", step.name, got.status, until, step.until)
		}
	}
}
