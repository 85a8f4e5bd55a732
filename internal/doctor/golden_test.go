package doctor_test

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/authtest"
	"doorward/internal/doctor"
)

var update = flag.Bool("update", false, "write docs/doctor.md and testdata/reports.txt")

// golden compares a file with what it should be.
func golden(t *testing.T, file, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is out of date: go test ./internal/doctor -run '%s' -update, and read what changed", file, t.Name())
	}
}

// Reports as people see them: what they say is read when it changes.
func TestReports(t *testing.T) {
	shown := []string{
		"the name is misspelt", "the certificate is for another name", "a redirect to the name with www", "open to everybody", "403 in the place of 401",
		"the challenge names an internal port", "http in resource", "another issuer", "endpoints at the internal port, plain http", "Entra does not say PKCE",
		"Okta registers for administrators only", "invalid_grant from upstream becomes 500", "another port than 443",
	}
	var b strings.Builder
	for _, name := range shown {
		i := slices.IndexFunc(broken, func(c brokenServer) bool { return c.name == name })
		if i < 0 {
			t.Fatalf("there is no server %q", name)
		}
		s := newSite(t)
		broken[i].ruin(s)
		fmt.Fprintf(&b, "-- %s --\n%s\n", name, s.walk(t).Text(nil))
	}
	healthy := newSite(t)
	fmt.Fprintf(&b, "-- healthy, in colours --\n%s\n", healthy.walk(t).Text(func(result, text string) string { return "<" + result + ">" + text + "</>" }))
	golden(t, "testdata/reports.txt", steady.Replace(ends.ReplaceAllString(b.String(), "${1}DAY")))
}

var (
	ends   = regexp.MustCompile(`(ends\s+)\d{4}-\d\d-\d\d`)
	steady = strings.NewReplacer("each in less than 0.1s", "SOON", "the slowest took 0.1s", "SOON", "the slowest took 0.2s", "SOON")
)

// The chain of cross-app access, and the arrow that breaks.
func TestEnterpriseDrawing(t *testing.T) {
	x := newChain(t, authtest.Config{})
	places := strings.NewReplacer(x.Server, "http://127.0.0.1:8080", x.IdP, "http://127.0.0.1:8090")
	got := places.Replace(x.walk(t).Draw(nil))
	x.ruin = ruin{"idp", "urn:ietf:params:oauth:grant-type:token-exchange", func(int, map[string]any) (int, map[string]any) {
		return 400, map[string]any{"error": "invalid_target", "error_description": "no rule allows this (ref ab12cd34)"}
	}}
	got += "\n" + places.Replace(x.walk(t).Draw(nil))
	golden(t, "testdata/enterprise.txt", got)
}

// docs/doctor.md is written from the table of steps, and lists the broken
// servers on which each was tried.
func TestDocument(t *testing.T) {
	var b strings.Builder
	checks := doctor.Checks()
	fmt.Fprintf(&b, `# What doorward doctor URL looks at

This page is written by a test from the table of steps in `+"`internal/doctor/checks.go`"+` (%d steps) and from the %d broken servers on which they are
tried (`+"`internal/doctor/broken_test.go`"+`).

`+"`doorward doctor URL`"+` walks as a client would, without a token, and ends where a client would have to. A step is *ok*, *warn* (some clients, or later
on) or *fail*. It changes nothing: it POSTs a first message, a code that is none, and a registration that is no JSON, as a client that does not
exist; every answer to that which is no refusal is a finding. The walk takes 30 s at most (`+"`--timeout`"+`), one answer 10 s and 1 MiB. What a server
names is connected to only where the server itself is: nothing private is reached from a public server.

`+"`--flow enterprise|browser|device|client`"+` goes on with a token, got as `+"`doorward token`"+` gets it, with the same flags; 5 min unless `+"`--timeout`"+` is given.
What comes by is decoded and compared with what the next party has to check; no token and no signature is shown. The session that the call opens is
ended again.

`+"`--json`"+` prints `+"`{url, ok, steps: [{id, title, result, saw, rule, mend, who}]}`"+`; `+"`rule`, `mend` and `who`"+` are there where the result is not ok, and an id
is there once at most. Exit status 1 if a step fails.

| step | should be | rule | who mends it, as a rule |
|---|---|---|---|
`, len(checks), len(broken))
	for _, c := range checks {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", c.ID, c.Title, c.Rule, c.Who)
	}
	b.WriteString(`
The steps from ` + "`idp_metadata`" + ` to ` + "`protocol`" + ` are those of ` + "`--flow`" + `. *operator* is whoever runs the MCP server and its authorization server; *person* whoever
asks; *client's maker* also whoever configures the client.

## Broken servers

What each is told by: the step that names it, its result, and the party. The second column is the public thread that it was rebuilt from
(repository and number), or the row of tables (d) and (e) of docs/parity.md.

| broken | from | step | result | who |
|---|---|---|---|---|
`)
	for _, c := range broken {
		fmt.Fprintf(&b, "| %s | %s | `%s` | %s | %s |\n", c.name, c.from, c.id, c.result, c.who)
	}
	golden(t, "../../docs/doctor.md", b.String())
}

// Each step has a server that breaks it, and each that breaks has a step.
func TestEachStepIsTried(t *testing.T) {
	tried := map[string]bool{"speed": true} // TestSpeed
	for _, id := range []string{"idp_metadata", "sign_in", "exchange", "id_jag_claims", "redeem", "token", "access_token", "call", "protocol"} {
		tried[id] = true // flow_test.go
	}
	for _, c := range broken {
		tried[c.id] = true
	}
	for _, c := range doctor.Checks() {
		if !tried[c.ID] {
			t.Errorf("no server breaks %s", c.ID)
		}
	}
}

// An answer that takes longer than hosted clients like is told.
func TestSpeed(t *testing.T) {
	s := newSite(t)
	now := time.Now()
	r := s.walk(t, func(c *doctor.Config) {
		c.Now = func() time.Time { now = now.Add(3 * time.Second); return now }
	})
	if step := find(r, "speed"); step.Result != doctor.OK {
		t.Errorf("%+v", step)
	}
	r = s.walk(t, func(c *doctor.Config) {
		c.Now = func() time.Time { now = now.Add(7 * time.Second); return now }
	})
	if step := find(r, "speed"); step.Result != doctor.Warn || !strings.Contains(step.Saw, "7s") {
		t.Errorf("%+v", step)
	}
}
