package authserver

import (
	"bytes"
	"compress/flate"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

const samlEntity = "https://adfs.example/trust"

// samlIdP is a SAML provider whose every answer a test can change.
type samlIdP struct {
	t    *testing.T
	s    *site
	key  *rsa.PrivateKey
	cert []byte
	meta string // path of its metadata

	asked  samlAsked
	id     string // of the next assertion; "": a new one
	change [2]string
	status string
}

// samlAsked is what an AuthnRequest says.
type samlAsked struct {
	ID     string `xml:"ID,attr"`
	ACS    string `xml:"AssertionConsumerServiceURL,attr"`
	Force  bool   `xml:"ForceAuthn,attr"`
	Issuer string `xml:"Issuer"`
	Class  string `xml:"RequestedAuthnContext>AuthnContextClassRef"`
	Policy struct {
		Format string `xml:"Format,attr"`
	} `xml:"NameIDPolicy"`
	relay string
}

func newSAMLSite(t *testing.T, change func(*Config, *SAMLProvider)) (*site, *samlIdP) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "adfs"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	f := &samlIdP{t: t, key: key, cert: cert, meta: filepath.Join(t.TempDir(), "metadata.xml")}
	f.publish(`<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="` + samlEntity + `"><md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">` +
		`<md:KeyDescriptor><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509Certificate>` + base64.StdEncoding.EncodeToString(cert) +
		`</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor><md:NameIDFormat>urn:oasis:names:tc:SAML:2.0:nameid-format:persistent</md:NameIDFormat>` +
		`<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://adfs.example/sso"/></md:IDPSSODescriptor></md:EntityDescriptor>`)
	f.s = newSite(t, func(c *Config) {
		p := SAMLProvider{Name: "adfs", Title: "Work", Metadata: f.meta, EmailDomains: []string{"corp.example"}}
		if change != nil {
			change(c, &p)
		}
		c.SignIn = SAML(p)
	})
	return f.s, f
}

func (f *samlIdP) publish(doc string) {
	if err := os.WriteFile(f.meta, []byte(doc), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// begin reads the request that a browser brings.
func (f *samlIdP) begin(p page) {
	f.t.Helper()
	q := p.arrived(f.t, "https://adfs.example/sso?")
	packed, err := base64.StdEncoding.DecodeString(q.Get("SAMLRequest"))
	if err != nil {
		f.t.Fatal(err)
	}
	plain, err := io.ReadAll(flate.NewReader(bytes.NewReader(packed)))
	if err != nil {
		f.t.Fatal(err)
	}
	f.asked = samlAsked{}
	if err := xml.Unmarshal(plain, &f.asked); err != nil {
		f.t.Fatal(err)
	}
	f.asked.relay = q.Get("RelayState")
}

// response is the form that its page sends, for carol.
func (f *samlIdP) response() url.Values {
	f.t.Helper()
	at := func(d time.Duration) string { return f.s.now().Add(d).UTC().Format(time.RFC3339) }
	id := f.id
	if id == "" {
		id = "_" + newID()
	}
	status := f.status
	if status == "" {
		status = "Success"
	}
	assertion := fmt.Sprintf(`<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="%s" Version="2.0" IssueInstant="%s"><saml:Issuer>%s</saml:Issuer>`+
		`<saml:Subject><saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">u-1</saml:NameID><saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">`+
		`<saml:SubjectConfirmationData InResponseTo="%s" NotOnOrAfter="%s" Recipient="%s"/></saml:SubjectConfirmation></saml:Subject>`+
		`<saml:Conditions NotBefore="%s" NotOnOrAfter="%s"><saml:AudienceRestriction><saml:Audience>%s</saml:Audience></saml:AudienceRestriction></saml:Conditions>`+
		`<saml:AuthnStatement AuthnInstant="%s" SessionNotOnOrAfter="%s"><saml:AuthnContext><saml:AuthnContextClassRef>https://refeds.org/profile/mfa</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>`+
		`<saml:AttributeStatement><saml:Attribute Name="urn:oid:0.9.2342.19200300.100.1.3"><saml:AttributeValue>carol@corp.example</saml:AttributeValue></saml:Attribute>`+
		`<saml:Attribute Name="displayName"><saml:AttributeValue>Carol</saml:AttributeValue></saml:Attribute><saml:Attribute Name="sub"><saml:AttributeValue>admin</saml:AttributeValue></saml:Attribute>`+
		`<saml:Attribute Name="http://schemas.xmlsoap.org/claims/Group"><saml:AttributeValue>eng</saml:AttributeValue><saml:AttributeValue>ops</saml:AttributeValue></saml:Attribute></saml:AttributeStatement></saml:Assertion>`,
		id, at(0), samlEntity, f.asked.ID, at(5*time.Minute), f.asked.ACS, at(-time.Minute), at(5*time.Minute), f.asked.Issuer, at(-5*time.Second), at(2*time.Hour))
	if f.change[0] != "" {
		if !strings.Contains(assertion, f.change[0]) {
			f.t.Fatalf("%q does not stand in the assertion", f.change[0])
		}
		assertion = strings.ReplaceAll(assertion, f.change[0], f.change[1])
	}
	doc := fmt.Sprintf(`<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="_r" Version="2.0" IssueInstant="%s" Destination="%s" InResponseTo="%s">`+
		`<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:%s"/></samlp:Status>%s</samlp:Response>`,
		at(0), f.asked.ACS, f.asked.ID, status, f.sign(assertion))
	return url.Values{"SAMLResponse": {base64.StdEncoding.EncodeToString([]byte(doc))}, "RelayState": {f.asked.relay}}
}

func (f *samlIdP) sign(assertion string) string {
	f.t.Helper()
	doc := etree.NewDocument()
	if err := doc.ReadFromString(assertion); err != nil {
		f.t.Fatal(err)
	}
	ctx, err := dsig.NewSigningContext(f.key, [][]byte{f.cert})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	signed, err := ctx.SignEnveloped(doc.Root())
	if err != nil {
		f.t.Fatal(err)
	}
	out := etree.NewDocument()
	out.SetRoot(signed)
	text, err := out.WriteToString()
	if err != nil {
		f.t.Fatal(err)
	}
	return text
}

// posted is the answer to the form, which comes from another site: without
// cookies.
func (f *samlIdP) posted(form url.Values) *http.Response {
	r := httptest.NewRequest(http.MethodPost, "https://auth.example.com/callback/adfs", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "https://adfs.example")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	w := httptest.NewRecorder()
	f.s.ServeHTTP(w, r)
	return w.Result()
}

// back is where the browser goes on after the form.
func (f *samlIdP) back(form url.Values) string {
	f.t.Helper()
	res := f.posted(form)
	if res.StatusCode != http.StatusSeeOther {
		body, _ := io.ReadAll(res.Body)
		f.t.Fatalf("the response was answered %d %s", res.StatusCode, body)
	}
	return siteURL + res.Header.Get("Location")
}
