package authserver

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"doorward/internal/oauth"
)

// payment is a type as a program would write one.
var payment = DetailType{
	Check: func(resource string, d Detail) error {
		for name := range d {
			switch name {
			case "type", "locations", "amount", "creditor":
			default:
				return fmt.Errorf("has an unknown field %s", name)
			}
		}
		if amount, _ := d["amount"].(string); amount == "" || resource == notesURL {
			return errors.New("needs an amount, and another server than that for notes")
		}
		return nil
	},
	Words: func(d Detail) string {
		creditor, _ := d["creditor"].(string)
		return fmt.Sprintf("Pay %v to %s", d["amount"], creditor)
	},
}

func withPayments(c *Config) {
	c.AuthorizationDetails = map[string]DetailType{"payment": payment, "photo": {Check: func(string, Detail) error { return nil }, Words: func(Detail) string { return "" }}}
}

const pay = `[{"amount":"123.50 EUR","creditor":"Merchant A","type":"payment"}]`

// covers: AS-RAR-01, AS-RAR-02, AS-RAR-03
func TestDetailsFromRequestToToken(t *testing.T) {
	s := newSite(t, withPayments)
	b := s.browser()
	p := b.signIn(b.get(s.ask("desktop", desktopCB, "authorization_details", `[ {"type":"payment", "creditor":"Merchant A", "amount":"123.50 EUR"} ]`)), "alice")
	p.shows(t, 200, "Allow", "Read files", "Pay 123.50 EUR to Merchant A") // scope and details on one page
	q := b.submit(p).arrived(t, "https://desktop.example.com/cb")
	const who = "desktop a secret of the desktop"
	r := post(s.Server, "/token", who, form("grant_type="+oauth.AuthorizationCode, "code="+q.Get("code"), "code_verifier="+verifier))
	has := func(name string, r reply) {
		t.Helper()
		got, _ := r.field("authorization_details")
		if r.status != http.StatusOK || plain(got) != pay || r.text("scope") != "files:read" {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	has("token", r)
	var claim any
	if err := claimsOf(t, r.text("access_token")).Decode("authorization_details", &claim); err != nil || plain(claim) != pay {
		t.Errorf("claim %s, %v", plain(claim), err)
	}
	has("introspection", post(s.Server, "/introspect", who, form("token="+r.text("access_token"))))
	has("introspection of the refresh token", post(s.Server, "/introspect", who, form("token="+r.text("refresh_token"))))
	// A refresh keeps them, and may ask for those that were granted, not for more.
	more := post(s.Server, "/token", who, form("grant_type=refresh_token", "refresh_token="+r.text("refresh_token"), `authorization_details=[{"type":"payment","amount":"9999 EUR"}]`))
	if more.status != http.StatusBadRequest || more.text("error") != oauth.InvalidAuthzDetails {
		t.Errorf("more than was granted: %d %s", more.status, more.body)
	}
	r = post(s.Server, "/token", who, form("grant_type=refresh_token", "refresh_token="+r.text("refresh_token"), "authorization_details="+pay))
	has("refresh", r)
	has("second refresh", post(s.Server, "/token", who, form("grant_type=refresh_token", "refresh_token="+r.text("refresh_token"))))
	b.get(s.url+"/account").shows(t, 200, "Pay 123.50 EUR to Merchant A")
	// A person is asked about each payment.
	b.get(s.ask("desktop", desktopCB, "authorization_details", pay)).shows(t, 200, "Allow", "Pay 123.50 EUR to Merchant A")
}

// A refresh may narrow the details of one token; the grant keeps all.
func TestFewerDetails(t *testing.T) {
	s := newSite(t, withPayments)
	b := s.browser()
	const two = `[{"amount":"1 EUR","type":"payment"},{"amount":"2 EUR","type":"payment"}]`
	q := b.submit(b.signIn(b.get(s.ask("desktop", desktopCB, "authorization_details", two)), "alice")).arrived(t, "https://desktop.example.com/cb")
	const who = "desktop a secret of the desktop"
	r := post(s.Server, "/token", who, form("grant_type="+oauth.AuthorizationCode, "code="+q.Get("code"), "code_verifier="+verifier, `authorization_details=[{"amount":"2 EUR","type":"payment"}]`))
	if got, _ := r.field("authorization_details"); plain(got) != `[{"amount":"2 EUR","type":"payment"}]` {
		t.Errorf("narrowed: %s", r.body)
	}
	r = post(s.Server, "/token", who, form("grant_type=refresh_token", "refresh_token="+r.text("refresh_token")))
	if got, _ := r.field("authorization_details"); plain(got) != two {
		t.Errorf("afterwards: %s", r.body)
	}
	// The program forgets the type: what stands on it is over.
	cfg := s.cfg
	cfg.AuthorizationDetails = nil
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	r = post(s.Server, "/token", who, form("grant_type=refresh_token", "refresh_token="+r.text("refresh_token")))
	if r.text("error") != oauth.InvalidGrant {
		t.Errorf("a type that is gone: %d %s", r.status, r.body)
	}
}

// covers: AS-RAR-01
func TestWrongDetails(t *testing.T) {
	s := newSite(t, withPayments)
	for name, text := range map[string]string{
		"no JSON":         `payment`,
		"no array":        `{"type":"payment","amount":"1"}`,
		"no type":         `[{"amount":"1"}]`,
		"unknown type":    `[{"type":"transfer","amount":"1"}]`,
		"one of two":      `[{"type":"payment","amount":"1"},{"type":"transfer"}]`,
		"unknown field":   `[{"type":"payment","amount":"1","currency":"EUR"}]`,
		"missing field":   `[{"type":"payment"}]`,
		"wrong value":     `[{"type":"payment","amount":1}]`,
		"other location":  `[{"type":"payment","amount":"1","locations":["https://other.example.com/mcp"]}]`,
		"no location":     `[{"type":"payment","amount":"1","locations":[]}]`,
		"one of two more": `[{"type":"payment","amount":"1","locations":["` + files + `","https://other.example.com/mcp"]}]`,
		"odd location":    `[{"type":"payment","amount":"1","locations":"` + files + `"}]`,
	} {
		q := s.browser().get(s.ask("desktop", desktopCB, "authorization_details", text)).arrived(t, desktopCB)
		if q.Get("error") != oauth.InvalidAuthzDetails || q.Get("state") == "" || q.Get("error_description") != oauth.Printable(q.Get("error_description")) {
			t.Errorf("%s: %v", name, q)
		}
		u, _ := url.Parse(s.ask("desktop", desktopCB, "authorization_details", text))
		if r := post(s.Server, "/par", "desktop a secret of the desktop", u.Query()); r.status != http.StatusBadRequest || r.text("error") != oauth.InvalidAuthzDetails {
			t.Errorf("%s, pushed: %d %s", name, r.status, r.body)
		}
		r := post(s.Server, "/device_authorization", "", form("client_id=tv", "authorization_details="+text))
		if r.status != http.StatusBadRequest || r.text("error") != oauth.InvalidAuthzDetails {
			t.Errorf("%s, of a device: %d %s", name, r.status, r.body)
		}
	}
	s.browser().get(s.ask("desktop", desktopCB, "authorization_details", `[{"type":"payment","amount":"1","locations":["`+files+`"]}]`)).shows(t, 200, "Sign in")
	// Without a person nobody grants them.
	r := post(s.Server, "/token", "machine a secret of the machine", form("grant_type=client_credentials", "authorization_details="+pay))
	if r.text("error") != oauth.InvalidAuthzDetails {
		t.Errorf("client_credentials: %d %s", r.status, r.body)
	}
	// An issuer that knows no types refuses them all.
	none := newSite(t, nil)
	if q := none.browser().get(none.ask("desktop", desktopCB, "authorization_details", pay)).arrived(t, desktopCB); q.Get("error") != oauth.InvalidAuthzDetails {
		t.Errorf("without types: %v", q)
	}
}

// covers: AS-RAR-03
func TestDetailsAreShownSafely(t *testing.T) {
	s := newSite(t, withPayments)
	b := s.browser()
	p := b.signIn(b.get(s.ask("desktop", desktopCB, "authorization_details",
		`[{"type":"payment","amount":"1 <b>EUR</b>","creditor":"\u202eA tnahcreM`+strings.Repeat("x", 1000)+`"},{"type":"photo"}]`)), "alice")
	p.shows(t, 200, "Pay 1 <b>EUR</b> to A tnahcreMxxx", "…", "photo")
	if strings.Contains(p.body, "<b>EUR") || strings.Contains(p.body, "\u202e") || strings.Contains(p.body, strings.Repeat("x", maxWords)) {
		t.Errorf("what strangers wrote is shown as it is:\n%s", p.body)
	}
}

// covers: AS-RAR-02
func TestDetailsOfADevice(t *testing.T) {
	s := newSite(t, withPayments)
	r := post(s.Server, "/device_authorization", "", form("client_id=tv", "authorization_details="+pay))
	b := s.browser()
	p := b.submit(b.signIn(b.get(r.text("verification_uri_complete")), "alice"))
	p.shows(t, 200, "Pay 123.50 EUR to Merchant A")
	b.submit(p)
	r = s.poll(r.text("device_code"))
	if got, _ := r.field("authorization_details"); plain(got) != pay {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// A type without a check would let anything through.
func TestTypesOfDetailsAreWhole(t *testing.T) {
	s := newSite(t, withPayments)
	for name, types := range map[string]map[string]DetailType{
		"no check": {"payment": {Words: payment.Words}}, "no words": {"payment": {Check: payment.Check}}, "no name": {"": payment},
	} {
		cfg := s.cfg
		cfg.AuthorizationDetails = types
		if err := s.Reload(cfg); err == nil {
			t.Errorf("%s: it passes", name)
		}
	}
	if got := s.current().metadata(nil).AuthorizationDetailsTypes; strings.Join(got, " ") != "payment photo" {
		t.Errorf("metadata: %q", got)
	}
}
