// Package saml_test signs in at SAML identity providers of other makers.
package saml_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"doorward/internal/saml"
	"doorward/interop/rig"
)

const (
	entity = "https://auth.example/saml/samlify"
	acs    = "https://auth.example/callback/samlify"
)

// said is what idp.mjs writes.
type said struct{ Metadata, Response, Issuer, ID string }

// samlify lets that library answer our request, with its own reading of our
// metadata and of the request. whole: it signs the response, too.
func samlify(t *testing.T, whole bool) said {
	t.Helper()
	rig.Node(t, "samlify")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "samlify"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	metadata, err := saml.ServiceProvider(entity, acs)
	if err != nil {
		t.Fatal(err)
	}
	to, err := saml.Request{ID: "_request", From: entity, ACS: acs, Format: saml.FormatPersistent, Fresh: true, Issued: time.Now()}.URL(
		saml.IdentityProvider{SSO: "https://samlify.example/sso"}, "relay")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	input, err := json.Marshal(map[string]any{"sp": string(metadata), "message": whole,
		"key":   string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
		"cert":  string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})),
		"query": map[string]string{"SAMLRequest": u.Query().Get("SAMLRequest"), "RelayState": "relay"}})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "idp.mjs")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var answer said
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return answer
}

func TestSamlify(t *testing.T) {
	for name, whole := range map[string]bool{"assertion signed": false, "both signed": true} {
		t.Run(name, func(t *testing.T) {
			answer := samlify(t, whole)
			if answer.ID != "_request" || answer.Issuer != entity {
				t.Errorf("it read our request as %+v", answer)
			}
			idp, err := saml.ParseMetadata([]byte(answer.Metadata), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			raw, err := base64.StdEncoding.DecodeString(answer.Response)
			if err != nil {
				t.Fatal(err)
			}
			if got := bytes.Count(raw, []byte("SignatureValue>")); got != map[bool]int{false: 2, true: 4}[whole] {
				t.Errorf("%d signatures", got/2)
			}
			e := saml.Expected{From: idp, Audience: entity, Recipients: []string{acs}, InResponseTo: "_request", Now: time.Now()}
			a, err := saml.CheckResponse(raw, e)
			if err != nil {
				t.Fatalf("%v: %s", err, raw)
			}
			if a.Subject.Value != "carol" || a.Subject.Format != saml.FormatPersistent || strings.Join(a.Attributes["mail"], " ") != "carol@corp.example" {
				t.Errorf("it says %+v", a)
			}
			if _, err := saml.CheckResponse(bytes.Replace(raw, []byte(">carol<"), []byte(">admin<"), 1), e); err == nil {
				t.Error("a changed name was accepted")
			}
		})
	}
}
