package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"doorward/authserver"
	"doorward/internal/audit"
	"doorward/internal/ledger"
	"doorward/store"
	"doorward/store/sqlite"
)

// Somebody of a provider who never came is asked about as whom the gateway
// would meet, and an address of two people is no answer.
func TestCanAndLeaveWhoNeverCame(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "ALICE", alicesPassword)
	dir := write(t, map[string]string{"doorward.yaml": fmt.Sprintf(`
url: http://%s
ops: ""
people: {bob: {email: bob@x.example, password: "${ALICE}"}}
providers: {okta: {issuer: "https://okta.example", id_jag: {}}}
servers:
  one: {path: /one, run: sample, allow: [{who: everyone}], deny: [{who: "person:okta/00u1"}]}
  two: {path: /two, run: sample, allow: [{who: "group:okta/eng"}]}
`, free(t))})
	file := filepath.Join(dir, "doorward.yaml")
	d.start("serve", "--config", file).stop()
	can := func(args ...string) ran { return d.run(append([]string{"can", "--config", file}, args...)...) }
	if r := can("okta/00u1", "one"); r.code != 1 || !strings.HasPrefix(r.out, "no: denied_by_rule") {
		t.Errorf("%s%s", r.out, r.errs)
	}
	if r := can("okta/00u1", "two", "--group", "eng"); r.code != 0 {
		t.Errorf("%s%s", r.out, r.errs)
	}
	s, err := sqlite.Open(filepath.Join(dir, ".doorward", "doorward.db"))
	if err != nil {
		t.Fatal(err)
	}
	err = s.Commit(t.Context(), ledger.Account{ID: "okta/00u9", Provider: "okta", Account: "00u9", Email: "bob@x.example", Created: time.Now()}.Put())
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	d.refused(1, []string{"leave", "bob@x.example", "--config", file}, "is several people: bob, okta/00u9")
}

// What an end is in the audit is there with the receipt, and the file's ends
// are, too.
func TestEndsAreWrittenDown(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "ALICE", alicesPassword)
	const text = "url: http://%s\nops: \"\"\npeople:\n  alice: {password: \"${ALICE}\"}\n%sservers: {one: {path: /one, run: sample, allow: [{who: everyone}]}}\n"
	at := free(t)
	dir := write(t, map[string]string{"doorward.yaml": fmt.Sprintf(text, at, "  carol: {password: \"${ALICE}\"}\n")})
	file := filepath.Join(dir, "doorward.yaml")
	p := d.start("serve", "--config", file)
	d.must("leave", "alice", "--config", file)
	if got := writtenDown(t, dir, "leave"); len(got) != 1 || got[0].Person != "alice" {
		t.Errorf("%+v", got)
	}
	d.must("revoke", "server:one", "--config", file)
	if got := writtenDown(t, dir, "revoke"); len(got) != 1 {
		t.Errorf("%+v", got)
	}
	p.stop()
	if err := os.WriteFile(file, fmt.Appendf(nil, text, at, ""), 0o600); err != nil {
		t.Fatal(err)
	}
	d.start("serve", "--config", file).stop()
	if got := writtenDown(t, dir, "revoke"); len(got) != 2 || got[1].Person != "carol" || got[1].Detail != "changed in the configuration file" {
		t.Errorf("%+v", got)
	}
}

// writtenDown are the events of an action in the database, as another process
// finds them at this moment.
func writtenDown(t *testing.T, dir, action string) (events []audit.Event) {
	t.Helper()
	s, err := sqlite.Open(filepath.Join(dir, ".doorward", "doorward.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	recs, _, err := s.List(t.Context(), store.Query{Kind: ledger.KindAudit})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range recs {
		var e audit.Event
		if err := json.Unmarshal(r.Value, &e); err != nil {
			t.Fatal(err)
		}
		if e.Action == action {
			events = append(events, e)
		}
	}
	return events
}

func TestCertificateOfAClientIsPartOfIt(t *testing.T) {
	i := &instance{state: state{t.TempDir()}}
	if _, err := i.state.master("", true); err != nil {
		t.Fatal(err)
	}
	of := func(subject string) inFile {
		cfg := &Config{}
		cfg.Clients.Registered = map[string]ClientConfig{"agent": {TLSSubject: subject}}
		f, err := i.fingerprints(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	if one := of("dns:one.example"); len(one.changed(of("dns:two.example"))) != 1 || len(one.changed(of("dns:one.example"))) != 0 {
		t.Error("the change of a certificate's name is none")
	}
	if isPublic(authserver.Client{TLSSubject: "dns:one.example"}) {
		t.Error("a client with a certificate is public")
	}
}

func TestIncludedFilesAreWatched(t *testing.T) {
	include := []string{"servers.d/*.yml", "more"}
	for name, want := range map[string]bool{"/c/servers.d/two.yml": true, "/c/more": true, "/c/doorward.conf": true, "/c/notes.txt": false} {
		if got := concerns(name, "/c/doorward.conf", include); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
