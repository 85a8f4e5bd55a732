package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every configuration of a recipe is one that `doctor FILE` finds nothing in,
// and the README leads to each recipe.
func TestRecipes(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	secrets := func(name string) (string, bool) {
		return "a secret that nobody could ever guess", strings.HasSuffix(name, "_SECRET") || strings.HasSuffix(name, "_TOKEN")
	}
	for _, name := range []string{"okta", "entra", "google", "github", "keycloak", "auth0", "cognito"} {
		page, err := os.ReadFile(filepath.Join("../../docs/recipes", name+".md"))
		if err != nil {
			t.Error(err)
			continue
		}
		if !strings.Contains(string(readme), "docs/recipes/"+name+".md") {
			t.Errorf("README.md does not lead to the recipe of %s", name)
		}
		blocks := strings.Split(string(page), "```yaml\n")[1:]
		if len(blocks) == 0 {
			t.Errorf("%s has no configuration", name)
		}
		for i, block := range blocks {
			text, _, closed := strings.Cut(block, "\n```")
			file := filepath.Join(write(t, map[string]string{"c.yaml": text + "\n"}), "c.yaml")
			findings, cfg, err := checkFile(file, secrets)
			if err != nil || !closed {
				t.Fatalf("%s, configuration %d: %v", name, i+1, err)
			}
			for _, f := range findings {
				t.Errorf("%s, configuration %d: %s", name, i+1, f)
			}
			if cfg.role != roleServe || len(cfg.Servers) == 0 {
				t.Errorf("%s, configuration %d guards nothing", name, i+1)
			}
		}
	}
}
