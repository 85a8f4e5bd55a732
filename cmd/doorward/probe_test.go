package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"doorward/internal/probe"
)

// Against a server without a configuration nothing is broken, and most rules
// can be tried.
func TestProbeServeWithoutConfiguration(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := d.start("serve", "--url", "http://"+free(t), "--ops", "off")
	password := p.errs.wait(t, `with the password (\S+) \(written to (\S+);`)
	args := []string{"probe", p.url, "--user", "admin", "--password", "file:" + password[2]}
	r := d.run(append(args, "--json")...)
	var got probe.Report
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != 0 {
		t.Fatalf("exit %d, %v\n%s%s", r.code, err, r.out, r.errs)
	}
	if got.Issuer != p.url || got.Broken != 0 || got.Held < 40 || len(got.Rules) != got.Held+got.NotTestable {
		t.Errorf("held %d, broken %d, not testable %d of %d", got.Held, got.Broken, got.NotTestable, len(got.Rules))
	}
	for _, res := range got.Rules {
		if res.Result == probe.Held && len(res.Exchange) == 0 {
			t.Errorf("%s is held, and no exchange shows it", res.ID)
		}
		if res.Result == probe.Broken || res.Result == probe.NotTestable && !strings.HasPrefix(res.ID, "AS-JAG") && !strings.HasPrefix(res.ID, "X-JWT") {
			t.Logf("%s: %s: %s", res.ID, res.Result, res.Saw)
		}
	}
	t.Logf("%d held, %d not testable", got.Held, got.NotTestable)
	if strings.Contains(r.out+r.errs, password[1]) {
		t.Error("the password is shown")
	}
	if !strings.Contains(r.errs, "id_jag: {}") { // nobody trusts the probe's provider
		t.Errorf("no entry for the ID-JAG rules:\n%s", r.errs)
	}

	text := d.must(append(args, "--only", "AS-PKCE-02")...)
	if !strings.Contains(text, "held          AS-PKCE-02.plain") || !strings.HasSuffix(text, "4 held, 0 broken, 0 not testable\n") || strings.Contains(text, "\x1b") {
		t.Errorf("%s", text)
	}
}

// A broken rule is shown with what was sent, what came back, where the rule
// stands and what to do.
func TestProbeShowsWhatIsBroken(t *testing.T) {
	d := newDesk(t)
	srv := httptest.NewUnstartedServer(nil)
	issuer := "http://" + srv.Listener.Addr().String()
	srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"issuer":"%s/","authorization_endpoint":"%[1]s/authorize","token_endpoint":"%[1]s/token","response_types_supported":["code"]}`, issuer)
	})
	srv.Start()
	defer srv.Close()
	r := d.run("probe", issuer, "--no-browser", "--only", "AS-META-02,AS-META-03")
	if r.code != 1 || !strings.HasSuffix(r.out, "2 held, 2 broken, 0 not testable\n") {
		t.Fatalf("exit %d\n%s%s", r.code, r.out, r.errs)
	}
	for _, part := range []string{
		"broken        AS-META-02.issuer", "found:   issuer is \"" + issuer + "/\", not \"" + issuer + "\"", "rule:    RFC 8414 section 3.3",
		"mend:    Publish the issuer exactly", "sent:    GET " + issuer + "/.well-known/oauth-authorization-server", "answer:  200", "held          AS-META-02.type",
	} {
		if !strings.Contains(r.out, part) {
			t.Errorf("no %q in\n%s", part, r.out)
		}
	}
}

// What is printed for the ID-JAG rules is a configuration that starts.
func TestProbeEntryIsAConfiguration(t *testing.T) {
	d := newDesk(t, "PROBE_SECRET", "a-probe-secret-of-some-length")
	file := filepath.Join(t.TempDir(), "doorward.yaml")
	if err := os.WriteFile(file, []byte("servers:\n  one: {path: /one/mcp, run: sample}\n"+probe.Entry("", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	d.must("doctor", file)
}

func TestProbeWrongUse(t *testing.T) {
	d := newDesk(t)
	for _, c := range []struct{ line, says string }{
		{"probe", "ISSUER is missing"},
		{"probe auth.example.com", "no issuer"},
		{"probe https://auth.example.com", "--mine"},
		{"probe http://auth.example.com --mine", "no issuer"},
		{"probe http://127.0.0.1:1 --only AS-NOTHING", "no rule"},
		{"probe http://127.0.0.1:1 --user alice", "go together"},
		{"probe http://127.0.0.1:1 --client-secret env:HOME", "--client-id"},
		{"probe http://127.0.0.1:1 --redirect-uri http://127.0.0.1/cb", "--client-id"},
		{"probe http://127.0.0.1:1 --user alice --password secret", "env:NAME or file:PATH"},
	} {
		d.refused(2, strings.Fields(c.line), c.says)
	}
	d.refused(1, []string{"probe", "http://" + free(t), "--no-browser"}, "has no metadata")
}
