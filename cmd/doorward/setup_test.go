package main

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What is pasted into clients is compared with testdata/setup; UPDATE_GOLDEN=1
// writes it.
func TestSetup(t *testing.T) {
	d := newDesk(t)
	for _, entry := range setupEntries() {
		for name, args := range map[string][]string{
			entry.Name:                 {"setup", entry.Name, "https://mcp.example.com/files/mcp"},
			entry.Name + "-enterprise": {"setup", entry.Name, "https://mcp.example.com/mcp", "--issuer", "https://acme.okta.com", "--idp-client-id", "0oa1", "--client-id", "desk", "--name", "mine"},
		} {
			got := d.must(args...)
			golden := filepath.Join("testdata", "setup", name+".txt")
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil || got != strings.ReplaceAll(string(want), "\r\n", "\n") {
				t.Errorf("%s: %v; got\n%s", name, err, got)
			}
		}
	}
}

func TestSetupTable(t *testing.T) {
	d := newDesk(t)
	for _, entry := range setupEntries() {
		if _, err := time.Parse(time.DateOnly, entry.Date); err != nil || entry.Source == "" || entry.Title == "" || len(entry.Parts) == 0 {
			t.Errorf("%s: without title, source or date", entry.Name)
		}
		for source := range strings.SplitSeq(entry.Source, "; ") {
			if u, err := url.Parse(source); err != nil || u.Scheme != "https" {
				t.Errorf("%s: %q is no address", entry.Name, source)
			}
		}
		var got struct {
			Name  string
			URL   string
			Parts []setupPart
		}
		out := d.must("setup", entry.Name, "--json", "--issuer", "https://acme.okta.com")
		if err := json.Unmarshal([]byte(out), &got); err != nil || got.Name != entry.Name || got.URL != "http://127.0.0.1:8080/mcp" || len(got.Parts) == 0 {
			t.Errorf("%s: %v %s", entry.Name, err, out)
		}
		for _, p := range got.Parts {
			if strings.HasPrefix(p.Text, "{") && !json.Valid([]byte(p.Text)) {
				t.Errorf("%s: %q is not the JSON that it looks like", entry.Name, p.Title)
			}
			for _, left := range []string{"{name}", "{url}", "{issuer}", "{client_id}", "{idp_client_id}"} {
				if strings.Contains(p.Title+p.Text, left) {
					t.Errorf("%s: %s is left in %q", entry.Name, left, p.Text)
				}
			}
		}
		// A client in its maker's cloud cannot reach loopback, and that is said.
		if r := d.run("setup", entry.Name); (r.errs == "") != entry.Local {
			t.Errorf("%s on loopback: %q", entry.Name, r.errs)
		}
	}
}

func TestServerName(t *testing.T) {
	for address, want := range map[string]string{
		"https://mcp.example.com/files/mcp": "files", "https://mcp.example.com/mcp": "mcp-example-com", "http://127.0.0.1:8080/mcp": "doorward",
		"http://localhost/": "doorward", "https://a.example/b%20c/mcp/": "b-c", "http://[::1]:1/mcp": "doorward",
	} {
		if got := serverName(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}
