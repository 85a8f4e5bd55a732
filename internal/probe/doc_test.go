package probe_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"doorward/authtest"
	"doorward/internal/probe"
)

var update = flag.Bool("update", false, "write docs/probe.md")

// docs/probe.md is written from the rules and from the faults of the weak
// server: go test ./internal/probe -run TestDocument -update
func TestDocument(t *testing.T) {
	const file = "../../docs/probe.md"
	var b strings.Builder
	faults, rules := authtest.Faults(), probe.Rules()
	fmt.Fprintf(&b, `# What doorward probe tries

This table is written by a test from the rules of `+"`internal/probe`"+` and the faults of the deliberately weak server in `+"`authtest`"+`
(`+"`authtest.NewWeak(t, \"AS-PKCE-02.plain\")`"+`): each of the %d rules has one fault there that breaks it.

A rule is held, broken or not testable; it is only held if the same request without the one mistake works. The id begins with the row of
docs/requirements.md. `+"`--only AS-PKCE`"+` tries the rules whose ids begin like that.

| rule | what must be so | source | what the weak server does instead |
|---|---|---|---|
`, len(rules))
	for _, r := range rules {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.ID, r.Title, r.Source, faults[r.ID])
	}
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != b.String() {
		t.Error("docs/probe.md is out of date: go test ./internal/probe -run TestDocument -update")
	}
}
