package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

func TestMistakesOfFetch(t *testing.T) {
	const form = "is no range of addresses: write 10.1.0.0/16 or fd12:3456::/32"
	const space = "is no range of private addresses (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, fc00::/7)"
	for _, m := range []mistake{
		{"proxy", "fetch: {proxy: \"http://p\", private: [10.0.0.0/8]}\n", "c.yaml:1:9: fetch.proxy: not in this version"},
		{"an address", "fetch: {private: [10.1.2.3]}\n", `c.yaml:1:19: fetch.private[0]: "10.1.2.3" ` + form},
		{"no list", "fetch: {private: 10.0.0.0/8}\n", "c.yaml:1:18: fetch.private must be a list ([a, b])"},
		{"bits too many", "fetch: {private: [10.0.0.0/8, 10.1.2.3/16]}\n", `c.yaml:1:31: fetch.private[1]: "10.1.2.3/16" has bits behind its length: write 10.1.0.0/16`},
		{"public", "fetch: {private: [8.8.0.0/16]}\n", `c.yaml:1:19: fetch.private[0]: "8.8.0.0/16" ` + space},
		{"everything", "fetch: {private: [0.0.0.0/0]}\n", `c.yaml:1:19: fetch.private[0]: "0.0.0.0/0" ` + space},
		{"loopback", "fetch: {private: [127.0.0.0/8]}\n", `c.yaml:1:19: fetch.private[0]: "127.0.0.0/8" ` + space},
		{"metadata services", "fetch: {private: [169.254.0.0/16]}\n", `c.yaml:1:19: fetch.private[0]: "169.254.0.0/16" ` + space},
		{"all that are private", "fetch: {private: [10.0.0.0/8, 172.16.0.0/12, 192.168.4.0/24, 100.64.0.0/10, \"fd00::/8\"]}\n", ""},
	} {
		m.check(t, roleServe)
		m.check(t, roleIdP)
	}
}

func TestFetchRoots(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, of, of, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	own, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	dir := write(t, map[string]string{
		"ca.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), "not.pem": "-----BEGIN",
		"c.yaml":  "fetch: {roots: ca.pem, private: [10.0.0.0/8]}\n" + oneServer,
		"no.yaml": "fetch: {roots: nowhere.pem}\n" + oneServer, "bad.yaml": "fetch: {roots: not.pem}\n" + oneServer,
	})
	cfg, findings := loadConfig(dir+"/c.yaml", roleServe, variables())
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	f := cfg.authserverConfig().Fetch
	if _, err := own.Verify(x509.VerifyOptions{Roots: f.Roots}); err != nil || fmt.Sprint(f.Private) != "[10.0.0.0/8]" {
		t.Errorf("%v, private %v", err, f.Private)
	}
	if f := load(t, roleServe, oneServer).authserverConfig().Fetch; f.Roots != nil || f.Private != nil {
		t.Errorf("without the key: %+v", f)
	}
	for file, want := range map[string]string{"no.yaml": "fetch.roots: open ", "bad.yaml": "not.pem has no certificate in PEM form"} {
		_, findings := loadConfig(dir+"/"+file, roleServe, variables())
		if len(findings) != 1 || findings[0].Line != 1 || findings[0].Col != 16 || !strings.Contains(findings[0].Text, want) {
			t.Errorf("%s: %v", file, findings)
		}
	}
}
