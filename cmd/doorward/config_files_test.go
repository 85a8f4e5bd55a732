package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// variables is an environment of its own.
func variables(pairs ...string) func(string) (string, bool) {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) (string, bool) { v, ok := m[name]; return v, ok }
}

const longSecret = "vVnZ2m0qk7-long-enough"

// everything sets each variable that the files name.
var everything = variables(
	"OKTA_SECRET", longSecret, "OKTA_SCIM_TOKEN", longSecret, "GITHUB_SECRET", longSecret, "DESKTOP_SECRET", longSecret,
	"IDP_SECRET", longSecret, "WIKI_SECRET", longSecret, "ALICE_PASSWORD", "orchard-tango-27", "BOB_PASSWORD", "violet-anvil-83")

var notInThisVersion = regexp.MustCompile(`^([^ ]+): not in this version`)

// What the manual shows loads, or is refused for keys that rough-edges.md
// lists, and for nothing else.
func TestManual(t *testing.T) {
	rows := roughEdges(t)
	for _, tt := range []struct {
		file string
		role role
		want []string // keys that are refused
	}{
		{"testdata/manual-idp.yaml", roleIdP, nil},
		{"testdata/manual-serve.yaml", roleServe, nil},
	} {
		_, findings := loadConfig(tt.file, tt.role, everything)
		var got []string
		for _, f := range findings {
			m := notInThisVersion.FindStringSubmatch(f.Text)
			if m == nil {
				t.Errorf("%s", f)
				continue
			}
			got = append(got, m[1])
			if !slices.ContainsFunc(rows, keyPath(strings.Split(m[1], ".")).matches) {
				t.Errorf("%s: docs/rough-edges.md has no row for it", f)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: refused %q, want %q", tt.file, got, tt.want)
		}
	}
}

// roughEdges are the keys of the table in the docs.
func roughEdges(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("../../docs/rough-edges.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for line := range strings.Lines(string(b)) {
		if cell, ok := strings.CutPrefix(line, "| `"); ok {
			key, _, _ := strings.Cut(cell, "`")
			rows = append(rows, key)
		}
	}
	return rows
}

func TestRoughEdgesAreTheCodesOwnList(t *testing.T) {
	rows := roughEdges(t)
	var keys []string
	for _, g := range gaps {
		keys = append(keys, g.Key)
	}
	slices.Sort(rows)
	slices.Sort(keys)
	if !slices.Equal(rows, keys) {
		t.Errorf("docs/rough-edges.md has %d rows %q\nthe code refuses %d keys %q", len(rows), rows, len(keys), keys)
	}
	if len(slices.Compact(keys)) != len(gaps) {
		t.Errorf("a key stands in the list twice")
	}
}

func TestExamplesLoad(t *testing.T) {
	files, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("examples: %q, %v", files, err)
	}
	for _, file := range files {
		findings, cfg, err := checkFile(file, everything)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range findings {
			if !f.Warning {
				t.Errorf("%s", f)
			}
		}
		if slices.Contains([]string{"idp.yaml", "bridge.yaml"}, filepath.Base(file)) != (cfg.role == roleIdP) {
			t.Errorf("%s was read for %s", file, cfg.role)
		}
	}
}

// write makes files by name in a directory and returns it.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(files[name]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// inDir loads c.yaml of a directory and returns findings without the directory.
func inDir(dir string, r role, env func(string) (string, bool)) (*Config, []string) {
	cfg, findings := loadConfig(filepath.Join(dir, "c.yaml"), r, env)
	var out []string
	for _, f := range findings {
		out = append(out, strings.ReplaceAll(f.String(), dir+string(filepath.Separator), ""))
	}
	return cfg, out
}

const oneServer = "servers:\n  s: {path: /mcp, run: sample}\n"

func TestInclude(t *testing.T) {
	dir := write(t, map[string]string{
		"c.yaml":             "include: [servers.d/*.yaml, missing.yaml, none.d/*.yaml]\nservers:\n  a: {path: /a, run: sample}\nclients:\n  known: [claude]\n",
		"servers.d/1.yaml":   "version: 1\nservers:\n  b:\n    path: /b\n    upstream: http://127.0.0.1:1/\n  a: {path: /c, run: sample}\nclients:\n  registered:\n    x: {secret: \"file:x.secret\"}\n",
		"servers.d/2.yaml":   "servers:\n  c: {path: /b, run: sample, tools: {t: [u]}}\nclients: {known: [cursor]}\ninclude: [../c.yaml]\ndatabase: sqlite:sub/x.db\n",
		"servers.d/x.secret": "from the file\n",
	})
	cfg, got := inDir(dir, roleServe, variables())
	want := []string{
		"c.yaml:1:29: include: there is no file missing.yaml",
		"servers.d/1.yaml:6:3: servers.a is given twice: also at c.yaml:3:3",
		`servers.d/2.yaml:2:13: servers.c.path: /b is also the path of servers.b`,
		`servers.d/2.yaml:2:42: servers.c.tools.t[0]: "u" is not among the server's scopes`,
		"servers.d/2.yaml:3:11: clients.known is given twice: also at c.yaml:5:3",
		"servers.d/2.yaml:4:1: include stands in the configuration file only, not in a file that it includes",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if cfg.Servers["a"].Path != "/a" || cfg.Servers["b"].Upstream == "" || len(cfg.Servers) != 3 {
		t.Errorf("servers: %+v", cfg.Servers)
	}
	if got := cfg.Clients.Registered["x"].Secret; got != "from the file" {
		t.Errorf("a secret's path is not relative to the file that it stands in: %d bytes", len(got))
	}
	if want := "sqlite:" + filepath.Join(dir, "servers.d", "sub", "x.db"); cfg.Database != want {
		t.Errorf("database %q, want %q", cfg.Database, want)
	}
}

func TestSecretFiles(t *testing.T) {
	dir := write(t, map[string]string{
		"open": "aaaaaaaaaaaaaaaaaaaa", "empty": "\n", "good": "bbbbbbbbbbbbbbbbbbbb\r\n", "dir/x": "",
		"big":    strings.Repeat("x", maxSecretFile+1),
		"key":    strings.Repeat("ab", 32),
		"c.yaml": "",
	})
	if err := os.Chmod(filepath.Join(dir, "open"), 0o640); err != nil {
		t.Fatal(err)
	}
	const client = "clients: {registered: {x: {secret: \"file:%\", redirect_uris: [\"https://a.example/cb\"]}}}\n"
	for name, want := range map[string]string{
		"good":  "",
		"open":  "c.yaml:1:36: clients.registered.x.secret: open can be read by others: chmod 600 open",
		"empty": "c.yaml:1:36: clients.registered.x.secret: empty is empty",
		"dir":   "c.yaml:1:36: clients.registered.x.secret: dir is not a regular file",
		"big":   "c.yaml:1:36: clients.registered.x.secret: big is larger than 64 KiB: is this a secret?",
	} {
		text := strings.ReplaceAll(client, "%", name) + oneServer
		if err := os.WriteFile(filepath.Join(dir, "c.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, got := inDir(dir, roleServe, variables())
		if strings.Join(got, "\n") != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
		if secret := cfg.Clients.Registered["x"].Secret; name == "good" && secret != "bbbbbbbbbbbbbbbbbbbb" {
			t.Errorf("the secret has %d bytes", len(secret))
		}
	}
	for text, want := range map[string]string{
		"keys: {master: file:key}\n":  "",
		"keys: {master: key}\n":       "c.yaml:1:16: keys.master must be file:PATH (a new key: openssl rand -hex 32)",
		"keys: {master: file:open}\n": "c.yaml:1:16: keys.master: open can be read by others: chmod 600 open",
	} {
		if err := os.WriteFile(filepath.Join(dir, "c.yaml"), []byte(text+oneServer), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, got := inDir(dir, roleServe, variables())
		if strings.Join(got, "\n") != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
		if want == "" && string(cfg.Keys.Master) != filepath.Join(dir, "key") {
			t.Errorf("keys.master is %q", cfg.Keys.Master)
		}
	}
}
