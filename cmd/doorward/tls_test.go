package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority signs certificates for a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, n: 1}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.key = key
	return a
}

// issue writes a certificate for a host and its key, and returns the serial
// number.
func (a *authority) issue(dir, host string, until time.Time) int64 {
	a.t.Helper()
	a.n++
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(a.n), NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.put(dir, "tls.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	a.put(dir, "tls.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return a.n
}

func (a *authority) put(dir, name string, b []byte) {
	a.t.Helper()
	if err := writeFile(filepath.Join(dir, name), b); err != nil {
		a.t.Fatal(err)
	}
}

// shows is the serial number of the certificate at an address, by a handshake
// of at most that version of TLS.
func (a *authority) shows(address string, version uint16) (int64, error) {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	c, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS10, MaxVersion: version})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64(), nil
}

// TLS ends here: version 1.2 at least, HTTP/2, and files that change are read
// again without a restart, unless they are broken.
func TestServeTLS(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ca := newAuthority(t)
	address := free(t)
	d.vars["ALICE"], d.vars["AGENT"] = alicesPassword, agentsSecret
	dir := write(t, map[string]string{"doorward.yaml": "url: https://" + address + "\nlisten: " + address + "\ntls: {cert: tls.crt, key: tls.key}" + site})
	first := ca.issue(dir, "127.0.0.1", time.Now().Add(time.Hour))
	p := d.start("serve", "--config", filepath.Join(dir, "doorward.yaml"))
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		if n, err := ca.shows(address, version); err != nil || n != first {
			t.Errorf("TLS %x: certificate %d, %v", version, n, err)
		}
	}
	if _, err := ca.shows(address, tls.VersionTLS11); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	resp, err := client.Get(p.url + "/.well-known/oauth-authorization-server")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 || resp.Header.Get("Strict-Transport-Security") != "" {
		t.Errorf("%s %s %v", resp.Proto, resp.Status, resp.Header)
	}

	ca.put(dir, "tls.crt", []byte("half written"))
	p.errs.waitWhile(t, "the new certificate is not taken", func() {
		if n, err := ca.shows(address, tls.VersionTLS13); err != nil || n != first {
			t.Errorf("while the file is broken: certificate %d, %v", n, err)
		}
	})
	second := ca.issue(dir, "127.0.0.1", time.Now().Add(time.Hour))
	p.errs.waitWhile(t, "certificate read again", func() {
		if _, err := ca.shows(address, tls.VersionTLS13); err != nil {
			t.Error(err)
		}
	})
	if n, err := ca.shows(address, tls.VersionTLS13); err != nil || n != second {
		t.Errorf("after the change: certificate %d, %v; want %d", n, err, second)
	}
}

// waitWhile does something again and again until a text comes.
func (b *buffer) waitWhile(t *testing.T, text string, do func()) {
	t.Helper()
	for end := time.Now().Add(patience); !strings.Contains(b.String(), text); time.Sleep(50 * time.Millisecond) {
		if do(); time.Now().After(end) {
			t.Fatalf("%q never came:\n%s", text, b)
		}
	}
}

// A public https URL says that it is to be reached by https only, also where
// TLS ends in front; a loopback one, whose host other programs share, does not.
func TestStrictTransport(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	local := d.start("serve", "--config", siteAt(t, d, ""))
	if a := get(t, local.url+"/jwks"); a.header.Get("Strict-Transport-Security") != "" {
		t.Errorf("%v", a.header)
	}
	address := free(t)
	dir := write(t, map[string]string{"doorward.yaml": "url: https://auth.example.com\nlisten: " + address + site})
	d.start("serve", "--config", filepath.Join(dir, "doorward.yaml"))
	for _, path := range []string{"/jwks", "/one/mcp", "/authorize", "/nothing"} {
		if a := get(t, "http://"+address+path); a.header.Get("Strict-Transport-Security") != "max-age=31536000" {
			t.Errorf("%s: %d %v", path, a.status, a.header)
		}
	}
}

func TestMistakesOfTLS(t *testing.T) {
	d := newDesk(t)
	ca := newAuthority(t)
	d.vars["ALICE"], d.vars["AGENT"] = alicesPassword, agentsSecret
	const good = "tls: {cert: tls.crt, key: tls.key}"
	for _, tt := range []struct {
		name, url, tls, host string
		change               func(dir string)
		says                 string
	}{
		{"no key", "https://127.0.0.1:1", "tls: {cert: tls.crt}", "127.0.0.1", nil, "doorward.yaml:2:13: tls.cert: goes with tls.key"},
		{"no certificate", "https://127.0.0.1:1", "tls: {key: tls.key}", "127.0.0.1", nil, "tls.key: goes with tls.cert"},
		{"http", "http://127.0.0.1:1", good, "127.0.0.1", nil, "tls: url is http://127.0.0.1:1: with tls it must be https"},
		{"no file", "https://127.0.0.1:1", good, "127.0.0.1", func(dir string) { os.Remove(filepath.Join(dir, "tls.crt")) }, "tls.cert: certificate and key cannot be read"},
		{"no key file", "https://127.0.0.1:1", good, "127.0.0.1", func(dir string) { os.Remove(filepath.Join(dir, "tls.key")) }, "no such file"},
		{"open key", "https://127.0.0.1:1", good, "127.0.0.1", func(dir string) { os.Chmod(filepath.Join(dir, "tls.key"), 0o604) }, "can be read by everybody: chmod o="},
		{"another key", "https://127.0.0.1:1", good, "127.0.0.1", func(dir string) {
			b, _ := os.ReadFile(filepath.Join(dir, "tls.crt"))
			ca.issue(dir, "127.0.0.1", time.Now().Add(time.Hour))
			ca.put(dir, "tls.crt", b)
		}, "private key does not match"},
		{"other host", "https://127.0.0.1:1", good, "auth.example.com", nil, "warning: tls.cert: the certificate is not for 127.0.0.1"},
		{"acme", "https://127.0.0.1:1", "tls: {acme: {hosts: [auth.example.com], email: ops@example.com}}", "127.0.0.1", nil, "tls.acme: not in this version"},
	} {
		dir := write(t, map[string]string{"doorward.yaml": "url: " + tt.url + "\n" + tt.tls + site})
		ca.issue(dir, tt.host, time.Now().Add(time.Hour))
		if tt.change != nil {
			tt.change(dir)
		}
		if r := d.run("doctor", filepath.Join(dir, "doorward.yaml")); !strings.Contains(r.out, tt.says) {
			t.Errorf("%s: %q %s%s", tt.name, tt.says, r.out, r.errs)
		}
	}
	dir := write(t, map[string]string{"doorward.yaml": "url: https://127.0.0.1:1\n" + good + site})
	ca.issue(dir, "127.0.0.1", time.Now().Add(-time.Hour))
	if r := d.run("doctor", filepath.Join(dir, "doorward.yaml")); !strings.Contains(r.out, "the certificate is valid from") {
		t.Errorf("expired: %s%s", r.out, r.errs)
	}
}
