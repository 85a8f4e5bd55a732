package main

import (
	"encoding/json"
	"strings"
	"testing"

	"doorward/internal/doctor"
)

// The whole chain with the flags of token: what it decodes, which arrow breaks
// and who can mend it; no token is shown.
func TestDoctorEnterprise(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	idp, p, _ := company(t, d)
	server := p.url + "/mcp"
	args := []string{"doctor", server, "--flow", "enterprise", "--no-browser", "--idp", idp.url, "--idp-client-id", "desktop-idp",
		"--idp-client-secret", "env:IDP_SECRET", "--client-id", "desktop", "--client-secret", "env:SERVER_SECRET"}
	r := d.browser(person(t, "alice", alicesPassword), args...)
	for _, says := range []string{"Nothing is broken.", "ID token, for an ID-JAG", "aud " + p.url + ", client_id", "it speaks a protocol version that there is: 2025-11-25 (initialize)"} {
		if said := strings.Join(strings.Fields(r.out), " "); r.code != 0 || !strings.Contains(said, says) {
			t.Errorf("exit %d, %q is not said:\n%s%s", r.code, says, r.out, r.errs)
		}
	}
	if strings.Contains(r.out, "eyJ") || strings.Contains(r.out, "\x1b") {
		t.Errorf("a token, or colours where there is no terminal: %q", r.out)
	}

	bob := d.browser(person(t, "bob", d.vars["BOB"]), append(args, "--json")...)
	var report doctor.Report
	if err := json.Unmarshal([]byte(bob.out), &report); err != nil || bob.code != 1 || report.OK {
		t.Fatalf("exit %d, %v\n%s%s", bob.code, err, bob.out, bob.errs)
	}
	for _, s := range report.Steps {
		if s.Result == doctor.Fail && (s.ID != "exchange" || s.Who != doctor.IdPAdmin || !strings.Contains(s.Saw, "deny[0]")) || s.ID == "redeem" {
			t.Errorf("%+v", s)
		}
	}
}

func TestDoctorBrowser(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := d.start("serve", "--config", siteAt(t, d, ""))
	r := d.browser(person(t, "alice", alicesPassword), "doctor", p.url+"/one/mcp", "--flow", "browser", "--no-browser")
	for _, says := range []string{"the authorization server gives a token: by authorization_code", "the server takes the token"} {
		if r.code != 0 || !strings.Contains(r.out, says) {
			t.Errorf("exit %d, %q is not said:\n%s%s", r.code, says, r.out, r.errs)
		}
	}
	d.vars["WRONG"] = "not-the-secret-of-the-agent"
	r = d.run("doctor", p.url+"/one/mcp", "--flow", "client", "--client-id", "agent", "--client-secret", "env:WRONG")
	if r.code != 1 || !strings.Contains(r.out, "It breaks at token (client's maker acts)") || strings.Contains(r.out+r.errs, d.vars["WRONG"]) {
		t.Errorf("exit %d\n%s%s", r.code, r.out, r.errs)
	}
}

func TestDoctorWrongUse(t *testing.T) {
	d := newDesk(t)
	d.refused(2, []string{"doctor", "http://127.0.0.1:1/mcp", "--client-id", "x"}, "--client-id goes with --flow")
	d.refused(2, []string{"doctor", "http://127.0.0.1:1/mcp", "--flow", "auto"}, "one at a time")
	d.refused(2, []string{"doctor", "http://127.0.0.1:1/mcp", "--flow", "x"}, "--flow")
	d.refused(2, []string{"doctor", "http://127.0.0.1:1/mcp", "--flow", "enterprise"}, "--client-id")
	d.refused(2, []string{"doctor", "http://127.0.0.1:1/mcp", "--flow", "client", "--client-id", "a", "--client-secret", "plain"}, "env:NAME")
}
