package authserver

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// Strangers who name a known client's redirect URI fill every place; the known
// client still comes in, and what is used or approved stays.
//
// covers: SEC-24, AS-DCR-09
func TestKnownRedirectsDoNotKeepKnownClientsOut(t *testing.T) {
	s := newSite(t, func(c *Config) {
		c.OtherClients, c.Registration = "ask-admin", Registration{Mode: "limited", Total: 120}
	})
	const claude = "https://claude.ai/api/mcp/auth_callback"
	public := func(name string) (int, map[string]any) {
		status, _, doc := s.postRegistration(fmt.Sprintf(`{"client_name":%q,"redirect_uris":[%q],"token_endpoint_auth_method":"none"}`, name, claude))
		return status, doc
	}
	withSecret := func() (int, map[string]any) {
		status, _, doc := s.postRegistration(`{"client_name":"Claude","redirect_uris":["` + claude + `"]}`)
		return status, doc
	}
	_, used := withSecret()
	b := s.browser()
	b.submit(b.signIn(b.get(s.ask(used["client_id"].(string), claude)), "alice")).arrived(t, claude)
	_, approved := withSecret()
	if _, err := s.ApproveClient(t.Context(), approved["client_id"].(string)); err != nil {
		t.Fatal(err)
	}
	ids := map[any]bool{}
	for i := range 60 {
		status, doc := public(fmt.Sprint("Claude ", i))
		if status != http.StatusCreated {
			t.Fatalf("%d %v", status, doc)
		}
		ids[doc["client_id"]] = true
	}
	if len(ids) != 1 {
		t.Errorf("one known client under many names is %d clients", len(ids))
	}
	for i := range 120 {
		if status, doc := withSecret(); status != http.StatusCreated && i < 100 {
			t.Fatalf("%d %v", status, doc)
		}
	}
	if status, doc := withSecret(); status != http.StatusServiceUnavailable {
		t.Fatalf("no place should be left: %d %v", status, doc)
	}
	s.wait(2 * time.Hour)
	if status, doc := withSecret(); status != http.StatusCreated {
		t.Errorf("the known client is kept out: %d %v", status, doc)
	}
	for what, doc := range map[string]map[string]any{"used": used, "approved": approved} {
		if _, err := s.client(t.Context(), s.current(), doc["client_id"].(string)); err != nil {
			t.Errorf("the one that is %s has ended: %v", what, err)
		}
	}
	_, idles, err := s.countDynamic(t.Context(), s.current())
	if err != nil || len(idles) > 0 {
		t.Errorf("more is left than what was made just now, is used or approved: %v %v", idles, err)
	}
}

// Who waits for an administrator makes room last.
func TestOrderOfMakingRoom(t *testing.T) {
	s := newSite(t, func(c *Config) { c.OtherClients = "ask-admin" })
	waiting := s.mustRegister(`{"redirect_uris":["` + webCB + `"]}`)
	s.wait(time.Minute)
	s.mustRegister(`{"redirect_uris":["https://claude.ai/api/mcp/auth_callback"]}`)
	s.wait(2 * time.Hour)
	_, idles, err := s.countDynamic(t.Context(), s.current())
	if err != nil || len(idles) != 2 || idles[1].id != waiting["client_id"] {
		t.Errorf("%v %v", idles, err)
	}
}
