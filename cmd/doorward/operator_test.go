package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// forwarded asks for a token with a header of proxies, and a wrong secret.
func forwarded(t *testing.T, issuer, secret, by string) answer {
	t.Helper()
	body := url.Values{"grant_type": {"client_credentials"}, "resource": {originOf(issuer) + "/one/mcp"}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, issuer+"/token", strings.NewReader(body.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("X-Forwarded-For", by)
	req.SetBasicAuth("agent", secret)
	return do(t, req)
}

// Behind a proxy that the file names, callers are told apart; limits that are
// given hold on loopback, too, and a reload changes both.
//
// covers: H06, H08, SEC-33
func TestLimitsBehindAProxy(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	const rates = "limits: {token: 50/m}\n"
	file := siteAt(t, d, rates+"trusted_proxies: [127.0.0.0/8]\n")
	p := d.start("serve", "--config", file)
	wrong := func(by string) int { return forwarded(t, p.url, "a-wrong-secret-of-some-length", by).status }
	for range 10 {
		if status := wrong("203.0.113.9, 198.51.100.1"); status != http.StatusUnauthorized {
			t.Fatalf("%d", status)
		}
	}
	if status := wrong("198.51.100.1"); status != http.StatusTooManyRequests {
		t.Errorf("the eleventh guess of one caller: %d", status)
	}
	if status := wrong("198.51.100.2"); status != http.StatusUnauthorized {
		t.Errorf("another caller behind the proxy: %d", status)
	}
	if a := forwarded(t, p.url, agentsSecret, "198.51.100.2"); a.status != http.StatusOK {
		t.Errorf("the client itself: %d %s", a.status, a.body)
	}

	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeFile(file, []byte(strings.Replace(string(text), "trusted_proxies: [127.0.0.0/8]\n", "", 1))); err != nil {
		t.Fatal(err)
	}
	p.errs.wait(t, "configuration reloaded")
	for i := range 10 {
		if status := wrong(fmt.Sprintf("198.51.100.%d", 10+i)); status != http.StatusUnauthorized {
			t.Fatalf("%d", status)
		}
	}
	if status := wrong("198.51.100.99"); status != http.StatusTooManyRequests {
		t.Errorf("whoever says that they are somebody else: %d", status)
	}

	if err := writeFile(file, []byte(strings.Replace(string(text), rates, "", 1))); err != nil {
		t.Fatal(err)
	}
	p.errs.wait(t, `(?s)(configuration reloaded.*){2}`)
	for range 30 {
		if status := wrong("198.51.100.1"); status != http.StatusUnauthorized {
			t.Fatalf("without limits: %d", status)
		}
	}
}

// The address of the caller stands in the audit.
//
// covers: SEC-33
func TestAuditNamesTheCallerBehindAProxy(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	file := siteAt(t, d, "trusted_proxies: [127.0.0.0/8]\n")
	p := d.start("serve", "--config", file)
	a := forwarded(t, p.url, "a-wrong-secret-of-some-length", "203.0.113.9, 198.51.100.1")
	if out := d.must("why", refOf(t, a.body), "--config", file, "--json"); !strings.Contains(out, `"address":"198.51.100.1"`) {
		t.Errorf("%s", out)
	}
	if !strings.Contains(p.errs.String(), "address=198.51.100.1") {
		t.Errorf("the log:\n%s", p.errs)
	}
}

// The counts of an instance: by words of ours and of the file, whatever
// strangers send, and without anything that they sent.
//
// covers: SEC-27
func TestMetrics(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ops := free(t)
	d.vars["ALICE"], d.vars["AGENT"] = alicesPassword, agentsSecret
	dir := write(t, map[string]string{"doorward.yaml": "url: http://" + free(t) + strings.Replace(site, `ops: ""`, "ops: "+ops, 1)})
	p := d.start("serve", "--config", filepath.Join(dir, "doorward.yaml"))
	token := agentToken(t, p.url)
	if !opens(t, p.url+"/one/mcp", token) {
		t.Fatal("the token does not open the server")
	}
	d.token(p.url+"/one/mcp", "alice", alicesPassword)
	ask(t, p.url+"/token", "agent", "canary-secret-4711-canary", "grant_type", "canary_grant")
	ask(t, p.url+"/token", "canary-client", "canary-secret-4711-canary", "grant_type", "client_credentials")
	for _, path := range []string{"/canary", "/callback/canary", "/.well-known/canary", "/one/mcp/canary", "/authorize?client_id=canary"} {
		get(t, p.url+path)
	}
	post(t, p.url+"/one/mcp", "Authorization: Bearer canary.canary.canary", initialize)
	d.must("leave", "alice", "--config", filepath.Join(dir, "doorward.yaml"))
	a := get(t, "http://"+ops+"/metrics")
	if a.status != http.StatusOK || !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatalf("%d %v", a.status, a.header)
	}
	for _, want := range []string{
		`doorward_requests_total\{route="/token",status="200"\} \d+`, `doorward_requests_total\{route="/token",status="400"\} 1`,
		`doorward_requests_total\{route="/token",status="401"\} 1`, `doorward_requests_total\{route="/one/mcp",status="200"\} \d+`,
		`doorward_requests_total\{route="/one/mcp",status="401"\} \d+`, `doorward_requests_total\{route="other",status="404"\} 4`,
		`doorward_requests_total\{route="/.well-known/oauth-protected-resource/one/mcp",status="200"\} \d+`,
		`doorward_answer_seconds_bucket\{route="/token",le="\+Inf"\} \d+`, `doorward_answer_seconds_count\{route="/authorize"\} \d+`,
		`doorward_tokens_issued_total\{grant_type="client_credentials"\} 1`, `doorward_tokens_issued_total\{grant_type="authorization_code"\} 1`,
		`doorward_tokens_issued_total\{grant_type="refresh_token"\} 0`,
		`doorward_refusals_total\{reason="client_unknown"\} \d+`, `doorward_refusals_total\{reason="unsupported_grant_type"\} 1`,
		`doorward_refusals_total\{reason="token_signature|doorward_refusals_total\{reason="token_unreadable`,
		`doorward_grants_made_total 2`, `doorward_grants_ended 1`, `doorward_audit_waiting \d+`,
		`doorward_store_commits_total\{result="ok"\} [1-9]`, `doorward_store_commit_seconds_count [1-9]`,
		`doorward_build_info\{version="[^"]+",role="serve"\} 1`, `go_goroutines [1-9]`, `go_memory_bytes [1-9]`, `process_start_time_seconds [1-9]`,
	} {
		if !regexp.MustCompile(`(?m)^(` + want + `)`).MatchString(a.body) {
			t.Errorf("no %s", want)
		}
	}
	if t.Failed() || strings.Contains(a.body, "canary") || strings.Contains(a.body, "alice") {
		t.Errorf("%s", a.body)
	}
	if b := get(t, p.url+"/metrics"); b.status != http.StatusNotFound {
		t.Errorf("/metrics at the public address: %d", b.status)
	}
}
