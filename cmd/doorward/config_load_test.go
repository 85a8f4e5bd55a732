package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func FuzzLoad(f *testing.F) {
	for _, name := range []string{"testdata/manual-serve.yaml", "testdata/manual-idp.yaml", "../../examples/serve.yaml", "../../examples/idp.yaml"} {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add("a: &a [*a]\nservers: *a\n")
	f.Add("servers: {s: {path: /mcp, run: &r [*r], allow: [{who: *r}], scopes: {\"\": ${X}}}}\n")
	f.Add("include: [\"[\", \"/\"]\n? {a: b}\n: c\n")
	f.Add("\"\\q\"\n")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "include") && strings.ContainsAny(text, "/*?.") {
			t.Skip("would read files of this machine")
		}
		path := filepath.Join(dir, "c.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, r := range []role{roleServe, roleIdP} {
			cfg, findings := loadConfig(path, r, everything)
			for _, found := range append(findings, cfg.hints()...) {
				if found.File != path || found.Line < 1 || found.Col < 1 || found.Text == "" {
					t.Fatalf("%s has no place", found)
				}
			}
		}
	})
}
