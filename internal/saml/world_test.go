package saml

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

const (
	idpID   = "https://login.example/metadata"
	spID    = "https://auth.example/saml/adfs"
	acsURL  = "https://auth.example/callback/adfs"
	request = "_request"
)

var now = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// signer is an identity provider's key with its certificate.
type signer struct {
	key  *rsa.PrivateKey
	cert *x509.Certificate
}

func newSigner(t testing.TB, bits int) signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "login.example"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return signer{key, cert}
}

var ours = sync.OnceValue(func() signer { return newSigner(&testing.T{}, 2048) })

func (s signer) sign(t testing.TB, el *etree.Element, method string) *etree.Element {
	t.Helper()
	ctx, err := dsig.NewSigningContext(s.key, [][]byte{s.cert.Raw})
	if err != nil {
		t.Fatal(err)
	}
	ctx.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	if method == dsig.RSASHA1SignatureMethod {
		ctx.Hash = crypto.SHA1
	} else if err := ctx.SetSignatureMethod(method); err != nil {
		t.Fatal(err)
	}
	signed, err := ctx.SignEnveloped(el)
	if err != nil {
		t.Fatal(err)
	}
	signed = element(t, string(written(t, signed)))
	sig := children(signed, nsSignature, "Signature")[0] // where the schema wants it: behind Issuer
	signed.RemoveChild(sig)
	signed.InsertChildAt(1, sig)
	return signed
}

const assertionXML = `<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_a1" Version="2.0" IssueInstant="2026-11-28T11:59:50Z">` +
	`<saml:Issuer>https://login.example/metadata</saml:Issuer>` +
	`<saml:Subject><saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">alice</saml:NameID>` +
	`<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData InResponseTo="_request" ` +
	`NotOnOrAfter="2026-11-28T12:05:00Z" Recipient="https://auth.example/callback/adfs"/></saml:SubjectConfirmation></saml:Subject>` +
	`<saml:Conditions NotBefore="2026-11-28T11:59:00Z" NotOnOrAfter="2026-11-28T12:05:00Z"><saml:AudienceRestriction>` +
	`<saml:Audience>https://auth.example/saml/adfs</saml:Audience></saml:AudienceRestriction></saml:Conditions>` +
	`<saml:AuthnStatement AuthnInstant="2026-11-28T11:59:40Z" SessionIndex="_s1" SessionNotOnOrAfter="2026-11-28T20:00:00Z"><saml:AuthnContext>` +
	`<saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>` +
	`<saml:AttributeStatement><saml:Attribute Name="groups"><saml:AttributeValue>eng</saml:AttributeValue><saml:AttributeValue>ops</saml:AttributeValue></saml:Attribute>` +
	`<saml:Attribute Name="mail"><saml:AttributeValue>alice@example.com</saml:AttributeValue></saml:Attribute></saml:AttributeStatement></saml:Assertion>`

const responseXML = `<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_r1" Version="2.0" ` +
	`IssueInstant="2026-11-28T11:59:50Z" Destination="https://auth.example/callback/adfs" InResponseTo="_request">` +
	`<saml:Issuer>https://login.example/metadata</saml:Issuer><samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status></samlp:Response>`

func element(t testing.TB, xml string) *etree.Element {
	t.Helper()
	root, err := tree([]byte(xml))
	if err != nil {
		t.Fatalf("%v: %s", err, xml)
	}
	return root
}

func written(t testing.TB, el *etree.Element) []byte {
	t.Helper()
	doc := etree.NewDocument()
	doc.SetRoot(el.Copy())
	out, err := doc.WriteToBytes()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// change is a text that stands in the document, and what stands there instead.
type change struct{ from, to string }

func (c change) in(t testing.TB, xml string) string {
	t.Helper()
	if c.from == "" {
		return xml
	}
	if !strings.Contains(xml, c.from) {
		t.Fatalf("%q does not stand in the document", c.from)
	}
	return strings.ReplaceAll(xml, c.from, c.to)
}

// signedAssertion is the assertion, changed before it is signed.
func signedAssertion(t testing.TB, c change) *etree.Element {
	return ours().sign(t, element(t, c.in(t, assertionXML)), dsig.RSASHA256SignatureMethod)
}

// around is a response, without a signature, with the assertion in it.
func around(t testing.TB, assertion *etree.Element) *etree.Element {
	r := element(t, responseXML)
	r.AddChild(assertion.Copy())
	return r
}

func expected() Expected {
	return Expected{From: IdentityProvider{EntityID: idpID, Certificates: []*x509.Certificate{ours().cert}}, Audience: spID,
		Recipients: []string{acsURL}, InResponseTo: request, Now: now}
}

// refused wants the rule that refuses.
func refused(t *testing.T, got Assertion, err error, rule string) {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) {
		t.Fatalf("not refused: %+v, %v", got, err)
	}
	if r.Rule != rule {
		t.Fatalf("refused by %q, want %q: %v", r.Rule, rule, err)
	}
	if got.ID != "" || got.Subject.Value != "" {
		t.Fatalf("refused, and yet it says %+v", got)
	}
}

func encoded(cert *x509.Certificate) string { return base64.StdEncoding.EncodeToString(cert.Raw) }
