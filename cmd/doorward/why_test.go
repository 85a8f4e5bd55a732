package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"doorward/internal/audit"
	"doorward/internal/doctor"
)

// refOf is the reference in a refusal.
func refOf(t *testing.T, text string) string {
	t.Helper()
	m := regexp.MustCompile(`\(ref ([a-z2-9]{8})\)`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no reference: %s", text)
	}
	return m[1]
}

func told(t *testing.T, issuer, client, secret string, pairs ...string) string {
	t.Helper()
	_, got := ask(t, issuer+"/token", client, secret, pairs...)
	text, _ := got["error_description"].(string)
	return refOf(t, text)
}

// The refusal of a client that proved who it is is explained whether the
// server runs or not; that of a stranger while it runs.
func TestWhy(t *testing.T) {
	inBothStates(t, "", func(t *testing.T, c *counter) {
		known := told(t, c.url, "agent", agentsSecret, "grant_type", "client_credentials", "resource", "https://other.example/mcp")
		stranger := told(t, c.url, "nobody", "wrong", "grant_type", "client_credentials")
		guarded := refOf(t, post(t, c.mcp(), "Authorization: Bearer x.y.z", initialize).header.Get("WWW-Authenticate"))
		scope := refOf(t, post(t, c.mcp(), "Authorization: Bearer "+agentToken(t, c.url), `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":""}}`).body)

		r := c.admin("why", known)
		for _, word := range []string{known, "client agent", "ok     the client is known", "BROKEN the resource exists", "-      scopes are left",
			"who acts:  client's maker", "mend:"} {
			if r.code != 0 || !strings.Contains(r.out, word) {
				t.Errorf("exit %d, %q is not said:\n%s%s", r.code, word, r.out, r.errs)
			}
		}
		if strings.Contains(r.out, "\x1b") {
			t.Error("colours, and no terminal")
		}
		var x audit.Explanation
		if r := c.admin("why", strings.ToUpper(known), "--json"); r.code != 0 || json.Unmarshal([]byte(r.out), &x) != nil || x.Broken != "resource" || x.Who != audit.Maker {
			t.Errorf("exit %d %s%s", r.code, r.out, r.errs)
		}
		if r := c.admin("why", scope, "--json"); r.code != 0 || json.Unmarshal([]byte(r.out), &x) != nil || x.Broken != "body" {
			t.Errorf("exit %d %s%s", r.code, r.out, r.errs)
		}
		for _, ref := range []string{stranger, guarded} {
			switch r := c.admin("why", ref); {
			case c.running && (r.code != 0 || !strings.Contains(r.out, "BROKEN")):
				t.Errorf("exit %d %s%s", r.code, r.out, r.errs)
			case !c.running && (r.code != 1 || !strings.Contains(r.errs, "does not run")):
				t.Errorf("of a stopped server: exit %d %s%s", r.code, r.out, r.errs)
			}
		}
		if r := c.admin("why", "abcdefgh"); r.code != 1 || !strings.Contains(r.errs, "mistyped") {
			t.Errorf("unknown: exit %d %s%s", r.code, r.out, r.errs)
		}
		if r := c.admin("why", "abcdefgh", "--json"); r.code != 1 || !strings.Contains(r.out, `"unknown"`) {
			t.Errorf("unknown: exit %d %s%s", r.code, r.out, r.errs)
		}
		if r := c.admin("why", "no-reference"); r.code != 2 {
			t.Errorf("no reference at all: exit %d %s%s", r.code, r.out, r.errs)
		}
	})
}

// A restart forgets strangers, and says so.
func TestWhyAfterARestart(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	file := siteAt(t, d, "")
	p := d.start("serve", "--config", file)
	ref := told(t, p.url, "nobody", "wrong", "grant_type", "client_credentials")
	p.stop()
	d.start("serve", "--config", file)
	if r := d.run("why", ref, "--config", file); r.code != 1 || !strings.Contains(r.errs, "started again") {
		t.Errorf("exit %d %s%s", r.code, r.out, r.errs)
	}
}

func TestDoctorOfAURL(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := d.start("serve", "--config", siteAt(t, d, ""))
	r := d.run("doctor", p.url+"/one/mcp")
	for _, line := range []string{"ok    a request without a token gets 401", "ok    PKCE with S256", "ok    its keys can be read"} {
		if r.code != 0 || !strings.Contains(r.out, line) {
			t.Errorf("exit %d, %q is not said:\n%s%s", r.code, line, r.out, r.errs)
		}
	}
	var report doctor.Report
	if r := d.run("doctor", p.url+"/one/mcp", "--json", "--timeout", "20s"); r.code != 0 || json.Unmarshal([]byte(r.out), &report) != nil || !report.OK || report.URL != p.url+"/one/mcp" {
		t.Errorf("exit %d %s%s", r.code, r.out, r.errs)
	}
	open := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer open.Close()
	if r := d.run("doctor", open.URL); r.code != 1 || !strings.Contains(r.out, "who acts: operator") {
		t.Errorf("an open server: exit %d %s%s", r.code, r.out, r.errs)
	}
	if r := d.run("doctor", "http://mcp.example/mcp", "--json"); r.code != 1 || json.Unmarshal([]byte(r.out), &report) != nil || report.OK {
		t.Errorf("plain http: exit %d %s%s", r.code, r.out, r.errs)
	}
}
