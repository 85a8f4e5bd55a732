package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
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
