package authserver

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"doorward/internal/audit"
	"doorward/internal/ledger"
	"doorward/store"
)

// written is how many events of an action lie in the store.
func (s *site) written(action string) int {
	s.t.Helper()
	if err := s.attempts.Flush(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	n := 0
	for after := ""; ; {
		events, next, err := s.ledger.Events(s.t.Context(), after)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, e := range events {
			if e.Action == action {
				n++
			}
		}
		if after = next; after == "" {
			return n
		}
	}
}

// kept is the refusal behind an error_description, as it lies in memory.
func (s *site) kept(r reply) (audit.Event, bool) {
	_, tail, _ := strings.Cut(r.text("error_description"), "(ref ")
	return s.attempts.Recent(strings.TrimSuffix(tail, ")"))
}

// A client that a stranger registered proves with its secret only that it is
// the same stranger: its refusals are not written down.
//
// covers: SEC-38, AS-DCR-09
func TestRefusalsOfOwnClientsFillNoDisk(t *testing.T) {
	s := newSite(t, nil)
	id, secret, _, _ := registeredWith(s.mustRegister(`{"redirect_uris":["` + webCB + `"]}`))
	rubbish := form("grant_type=authorization_code", "code=x", "code_verifier="+verifier)
	got := post(s.Server, "/token", id+" "+secret, rubbish)
	if e, ok := s.kept(got); !ok || e.Reason != "code_unknown" || e.Client != id {
		t.Errorf("%s is kept as %+v", got.body, e)
	}
	if n := s.written("token.refuse"); n != 0 {
		t.Errorf("%d refusals of a stranger's client were written", n)
	}
	post(s.Server, "/token", "desktop a secret of the desktop", rubbish)
	if n := s.written("token.refuse"); n != 1 {
		t.Errorf("%d refusals of the administrator's client were written", n)
	}
}

// Each change of a registration is written down for months, so it counts as a
// registration.
//
// covers: SEC-31, SEC-38
func TestChangesOfRegistrationsAreLimited(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Limits = Limits{Token: Rate{Requests: -1}, Register: Rate{4, time.Hour}} })
	id, _, uri, token := registeredWith(s.mustRegister(`{"redirect_uris":["` + webCB + `"]}`))
	n, last := crowd(t, func() reply {
		return s.manageAt("PUT", uri, token, `{"client_id":"`+id+`","redirect_uris":["`+webCB+`"]}`)
	})
	tooManyAs(t, last, 3600)
	if written := s.written("client.update"); n != 3 || written != 3 {
		t.Errorf("%d changes were made, %d written", n, written)
	}
	if got := s.manageAt("GET", uri, token, ""); got.status != http.StatusOK {
		t.Errorf("to read it: %d", got.status)
	}
	s.wait(15 * time.Minute)
	if got := s.manageAt("DELETE", uri, token, ""); got.status != http.StatusNoContent {
		t.Errorf("to delete it: %d", got.status)
	}
}

// The action of a refusal is a word of ours, whatever stands in the path.
//
// covers: SEC-38
func TestActionsAreOurWords(t *testing.T) {
	s := newSite(t, nil)
	for _, name := range []string{"sign_in", "token", "%0aok", strings.Repeat("x", 1000)} {
		got := s.manageAt("GET", s.url+"/register/"+name, "x", "")
		if e, ok := s.kept(got); !ok || e.Action != "register.refuse" {
			t.Errorf("/register/%.20s: %d, kept as %q", name, got.status, e.Action)
		}
	}
}

// Only resource servers introspect without a limit: a client that a stranger
// made is none.
//
// covers: H02, SEC-31
func TestIntrospectionOfStrangersIsLimited(t *testing.T) {
	s := newSite(t, func(c *Config) {
		c.Limits = Limits{Token: Rate{3, time.Minute}, Register: Rate{Requests: -1}}
		c.Clients["files-server"] = Client{Secret: "a secret of the files", Introspects: []string{files}}
	})
	id, secret, _, _ := registeredWith(s.mustRegister(`{"redirect_uris":["` + webCB + `"]}`))
	n, last := crowd(t, func() reply { return post(s.Server, "/introspect", id+" "+secret, form("token=x")) })
	tooManyAs(t, last, 60)
	if n != 3 {
		t.Errorf("%d were answered", n)
	}
	for range 10 {
		if got := post(s.Server, "/introspect", "files-server a secret of the files", form("token=x")); got.status != http.StatusOK {
			t.Fatalf("a resource server: %d %s", got.status, got.body)
		}
	}
}

// What a flood of requests leaves behind is gone with the next sweep, however
// much it is.
//
// covers: SEC-38
func TestSweepKeepsUp(t *testing.T) {
	s := newSite(t, nil)
	for range 12 {
		ops := make([]store.Op, 1000)
		for i := range ops {
			ops[i] = store.Add(store.Record{Kind: ledger.KindPushed, Key: newID(), Expires: s.now().Add(pushedLife)})
		}
		if err := s.ledger.Store.Commit(t.Context(), ops...); err != nil {
			t.Fatal(err)
		}
	}
	s.wait(pushedLife)
	if err := s.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := s.ledger.Store.Sweep(t.Context(), 1); n != 0 || err != nil {
		t.Errorf("%d were left, %v", n, err)
	}
}

// However many clients a stranger registers, they have one limit: that of their
// address. A person at one of them has their own.
//
// covers: H02, H07, SEC-31
func TestManyClientsOfOneStranger(t *testing.T) {
	s := newSite(t, func(c *Config) {
		c.Limits = Limits{Token: Rate{6, time.Minute}, Register: Rate{Requests: -1}, Authorize: Rate{Requests: -1}}
	})
	body := `{"redirect_uris":["` + webCB + `"],"grant_types":["authorization_code","refresh_token"]}`
	id, secret, _, _ := registeredWith(s.mustRegister(body))
	b := s.browser()
	code := b.submit(b.signIn(b.get(s.ask(id, webCB)), "alice")).arrived(t, webCB).Get("code")
	got := post(s.Server, "/token", id+" "+secret, form("grant_type=authorization_code", "code="+code, "redirect_uri="+webCB, "code_verifier="+verifier))
	if got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.body)
	}
	n, last := crowd(t, func() reply {
		other, its, _, _ := registeredWith(s.mustRegister(body))
		return post(s.Server, "/token", other+" "+its, form("grant_type=authorization_code", "code=x", "code_verifier="+verifier))
	})
	tooManyAs(t, last, 60)
	if n != 6 {
		t.Errorf("%d requests of as many clients were answered", n)
	}
	if got := post(s.Server, "/token", "desktop a secret of the desktop", form("grant_type=authorization_code", "code=x", "code_verifier="+verifier)); got.status != http.StatusBadRequest {
		t.Errorf("an administrator's client at the same address: %d %s", got.status, got.body)
	}
	s.wait(10 * time.Second)
	if got := post(s.Server, "/token", id+" "+secret, form("grant_type=refresh_token", "refresh_token="+got.text("refresh_token"))); got.status != http.StatusOK {
		t.Errorf("a person's client: %d %s", got.status, got.body)
	}
}
