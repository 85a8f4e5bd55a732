package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"doorward/internal/ledger"
	"doorward/store/sqlite"
)

// A name that a stranger chose, or a provider, does nothing to the terminal of
// an administrator.
func TestListsCleanNames(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	file := siteAt(t, d, "")
	d.start("serve", "--config", file).stop()
	s, err := sqlite.Open(filepath.Join(filepath.Dir(file), ".doorward", "doorward.db"))
	if err != nil {
		t.Fatal(err)
	}
	const bad = "\x1b[2J\r\u202e\u0085"
	err = s.Commit(t.Context(),
		ledger.Account{ID: "okta/m" + bad + "allory", Provider: "okta", Account: "m" + bad + "allory", Email: bad + "m@x.example", Groups: []string{"e" + bad + "ng"}, Created: time.Now()}.Put(),
		ledger.Client{ID: "c-1", Name: "No" + bad + "tes", Source: ledger.FromDynamic, Created: time.Now()}.Put())
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	d.start("serve", "--config", file)
	for line, want := range map[string]string{"user": "okta/m[2Jallory", "client": "No[2Jtes"} {
		out := d.must(line, "list", "--config", file)
		if !strings.Contains(out, want) || strings.ContainsAny(out, bad[:1]+"\r\u202e\u0085") {
			t.Errorf("%s list: %q", line, out)
		}
	}
	if out := d.must("user", "list", "--config", file); !strings.Contains(out, "[2Jm@x.example") || !strings.Contains(out, "e[2Jng") {
		t.Errorf("%q", out)
	}
}
