package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// client is a certificate of the authority for a client.
func (a *authority) client(name string) tls.Certificate {
	a.t.Helper()
	a.n++
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(a.n), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// certSite is a site with a client that comes with a certificate and wants its
// tokens bound to it.
func certSite(address, more string) string {
	return "listen: " + address + "\n" + more + strings.Replace(site, "    agent: {", "    machine: {tls_subject: \"dns:machine.example\", "+
		"tls_client_certificate_bound_access_tokens: true, grant_types: [client_credentials]}\n    agent: {", 1)
}

// asked is the status and the body of an answer.
func asked(t *testing.T, c *http.Client, method, to string, form url.Values, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, to, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

func machineForm(p *process) url.Values {
	return url.Values{"grant_type": {"client_credentials"}, "client_id": {"machine"}, "resource": {originOf(p.url) + "/one/mcp"}}
}

func accessToken(t *testing.T, body string) string {
	t.Helper()
	var res struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(body), &res); err != nil || res.Token == "" {
		t.Fatalf("%s: %v", body, err)
	}
	return res.Token
}

const listTools = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`

// Over TLS that ends here a client shows its certificate, and its token is good
// with that one alone; whoever has none is not turned away for it.
//
// covers: AS-MTLS-01, AS-MTLS-02, RS-MTLS-01
func TestServeClientCertificates(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ca, address := newAuthority(t), free(t)
	d.vars["ALICE"], d.vars["AGENT"] = alicesPassword, agentsSecret
	dir := write(t, map[string]string{
		"ca.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})),
		"doorward.yaml": "url: https://" + address + "\n" + strings.Replace(certSite(address, "tls: {cert: tls.crt, key: tls.key, client_ca: ca.pem}\n"),
			`who: [everyone, "client:agent"]`, `who: [everyone, "client:agent", "client:machine"]`, 1)})
	ca.issue(dir, "127.0.0.1", time.Now().Add(time.Hour))
	p := d.start("serve", "--config", filepath.Join(dir, "doorward.yaml"))
	if out := d.must("client", "list", "--config", filepath.Join(dir, "doorward.yaml")); !regexp.MustCompile(`(?m)^machine +file +confidential `).MatchString(out) {
		t.Errorf("%s", out)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	over := func(certs ...tls.Certificate) *http.Client {
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: certs}}}
		t.Cleanup(c.CloseIdleConnections)
		return c
	}
	machine := over(ca.client("machine.example"))
	status, body := asked(t, machine, http.MethodPost, p.url+"/token", machineForm(p))
	if status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	token := accessToken(t, body)
	mcp := func(c *http.Client) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, originOf(p.url)+"/one/mcp", strings.NewReader(listTools))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if status := mcp(machine); status == 401 || status == 403 {
		t.Errorf("with its certificate: %d", status)
	}
	for name, c := range map[string]*http.Client{"none": over(), "another of the same name": over(ca.client("machine.example"))} {
		if status := mcp(c); status != 401 {
			t.Errorf("%s: the token is good: %d", name, status)
		}
	}
	for name, c := range map[string]*http.Client{"none": over(), "another name": over(ca.client("other.example"))} {
		if status, body := asked(t, c, http.MethodPost, p.url+"/token", machineForm(p)); status != 401 {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if status, body := asked(t, over(), http.MethodGet, p.url+"/.well-known/oauth-authorization-server", nil); status != 200 || !strings.Contains(body, `"tls_client_auth"`) {
		t.Errorf("without one: %d %s", status, body)
	}
}

// Behind a proxy that ends TLS its word counts, and nobody else's.
//
// covers: AS-MTLS-02, SEC-33
func TestClientCertificatesBehindAProxy(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		proxies string
		status  int
	}{{"127.0.0.0/8", 200}, {"192.0.2.0/24", 401}} {
		d := newDesk(t)
		ca, address := newAuthority(t), free(t)
		d.vars["ALICE"], d.vars["AGENT"] = alicesPassword, agentsSecret
		dir := write(t, map[string]string{
			"ca.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})),
			"doorward.yaml": "url: http://" + address + "\n" + strings.Replace(certSite(address, "tls: {client_ca: ca.pem, client_cert_header: x-shown}\ntrusted_proxies: ["+tt.proxies+"]\n"),
				`who: [everyone, "client:agent"]`, `who: [everyone, "client:agent", "client:machine"]`, 1)})
		p := d.start("serve", "--config", filepath.Join(dir, "doorward.yaml"))
		shown := base64.StdEncoding.EncodeToString(ca.client("machine.example").Certificate[0])
		if status, body := asked(t, http.DefaultClient, http.MethodPost, p.url+"/token", machineForm(p), "X-Shown", shown); status != tt.status {
			t.Errorf("proxies %s: %d %s", tt.proxies, status, body)
		}
		if status, _ := asked(t, http.DefaultClient, http.MethodPost, p.url+"/token", machineForm(p), "X-Client-Cert", shown); status != 401 {
			t.Errorf("proxies %s: another header counts: %d", tt.proxies, status)
		}
	}
}

// What could never work is said when the file is read.
func TestClientCertificateConfig(t *testing.T) {
	ca := newAuthority(t)
	dir := write(t, map[string]string{"ca.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})), "not.pem": "nothing"})
	const header = "trusted_proxies: [10.0.0.0/8]\ntls: {client_ca: ca.pem, client_cert_header: X-Shown}\n"
	for _, tt := range []struct{ name, config, says string }{
		{"whole", header + `clients: {registered: {m: {tls_subject: "CN=m,O=Example"}}}`, ""},
		{"no authorities", `clients: {registered: {m: {tls_subject: "dns:m"}}}`, "clients.registered.m.tls_subject: needs tls.client_ca"},
		{"no subject", header + `clients: {registered: {m: {tls_subject: machine}}}`, `clients.registered.m.tls_subject: "machine" is no subject`},
		{"a secret as well", header + `clients: {registered: {m: {tls_subject: "dns:m", secret: a-secret-of-some-length}}}`, "exclude each other"},
		{"where they come from", "tls: {client_ca: ca.pem}\n", "tls.client_ca"},
		{"bound, and they come from nowhere", `clients: {registered: {m: {tls_client_certificate_bound_access_tokens: true, redirect_uris: ["http://127.0.0.1/cb"]}}}`, "certificates of clients come where TLS ends"},
		{"whose header", "tls: {client_ca: ca.pem, client_cert_header: X-Shown}\n", "is read from trusted_proxies only"},
		{"no header", "trusted_proxies: [10.0.0.0/8]\ntls: {client_ca: ca.pem, client_cert_header: Authorization}\n", "is no name of a header for certificates"},
		{"no certificates", "tls: {client_ca: not.pem}\n", "has no certificate in PEM form"},
		{"no file", "tls: {client_ca: nowhere.pem}\n", "nowhere.pem"},
	} {
		file := filepath.Join(dir, "c.yaml")
		if err := os.WriteFile(file, []byte(tt.config+"\n"+oneServer), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, findings := loadConfig(file, roleServe, variables())
		var said []string
		for _, f := range findings {
			if !f.Warning {
				said = append(said, f.Text)
			}
		}
		all := strings.Join(said, "\n")
		if tt.says == "" && all != "" || tt.says != "" && !strings.Contains(all, tt.says) {
			t.Errorf("%s: %q", tt.name, all)
		}
		if tt.says == "" {
			if c := cfg.authserverConfig(); !c.MTLS || c.ClientCAs == nil || c.Clients["m"].TLSSubject != "CN=m,O=Example" {
				t.Errorf("%s: %+v", tt.name, c)
			}
		}
	}
}
