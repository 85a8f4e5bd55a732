package saml

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/xml"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"
)

func metadataXML() string {
	return `<?xml version="1.0"?><!-- made by hand --><md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="https://login.example/metadata" validUntil="2026-11-29T12:00:00Z">` +
		`<md:IDPSSODescriptor WantAuthnRequestsSigned="false" protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">` +
		`<md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509Certificate>` + "\n" + encoded(ours().cert) + "\n" +
		`</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor><md:NameIDFormat>` + FormatPersistent + `</md:NameIDFormat>` +
		`<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="https://login.example/post"/>` +
		`<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://login.example/sso?tenant=1"/>` +
		`</md:IDPSSODescriptor></md:EntityDescriptor>`
}

func TestMetadata(t *testing.T) {
	aggregate := func(n int) string {
		one := metadataXML()[strings.Index(metadataXML(), "<md:Entity"):]
		return `<md:EntitiesDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata">` + strings.Repeat(one, n) + `</md:EntitiesDescriptor>`
	}
	for _, xml := range []string{metadataXML(), aggregate(1)} {
		p, err := ParseMetadata([]byte(xml), now)
		if err != nil {
			t.Fatal(err)
		}
		if p.EntityID != idpID || p.SSO != "https://login.example/sso?tenant=1" || p.WantsSigned || len(p.Formats) != 1 ||
			len(p.Certificates) != 1 || !p.Certificates[0].Equal(ours().cert) || !p.ValidUntil.Equal(now.Add(24*time.Hour)) {
			t.Errorf("it says %+v", p)
		}
	}
	for name, test := range map[string]struct {
		xml  string
		rule string
	}{
		"over":            {change{"2026-11-29", "2026-11-28"}.in(t, metadataXML()), "time"},
		"no certificate":  {change{`use="signing"`, `use="encryption"`}.in(t, metadataXML()), "metadata"},
		"no redirect":     {change{"HTTP-Redirect", "HTTP-Artifact"}.in(t, metadataXML()), "metadata"},
		"a script":        {change{"https://login.example/sso?tenant=1", "javascript:alert(1)"}.in(t, metadataXML()), "metadata"},
		"no name":         {change{`entityID="https://login.example/metadata"`, ""}.in(t, metadataXML()), "metadata"},
		"SAML 1.1":        {change{"SAML:2.0:protocol", "SAML:1.1:protocol"}.in(t, metadataXML()), "metadata"},
		"a service":       {change{"IDPSSODescriptor", "SPSSODescriptor"}.in(t, metadataXML()), "missing"},
		"a small key":     {change{encoded(ours().cert), encoded(newSigner(t, 1024).cert)}.in(t, metadataXML()), "metadata"},
		"no certificate!": {change{encoded(ours().cert), "AAAA"}.in(t, metadataXML()), "metadata"},
		"two providers":   {aggregate(2), "metadata"},
		"HTML":            {"<html/>", "metadata"},
		"document type":   {"<!DOCTYPE x>" + aggregate(1), "dtd"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseMetadata([]byte(test.xml), now)
			refused(t, Assertion{}, err, test.rule)
		})
	}
}

func TestRequest(t *testing.T) {
	r := Request{ID: "_1", From: spID, ACS: acsURL, Format: FormatPersistent, Fresh: true, ACR: "a b", Issued: now}
	to, err := r.URL(IdentityProvider{SSO: "https://login.example/sso?tenant=1"}, "relay+&")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil || u.Query().Get("tenant") != "1" || u.Query().Get("RelayState") != "relay+&" || u.Host != "login.example" {
		t.Fatalf("%s, %v", to, err)
	}
	packed, err := base64.StdEncoding.DecodeString(u.Query().Get("SAMLRequest"))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(flate.NewReader(bytes.NewReader(packed)))
	if err != nil {
		t.Fatal(err)
	}
	var got authnRequest
	if err := xml.Unmarshal(plain, &got); err != nil {
		t.Fatalf("%v: %s", err, plain)
	}
	if got.ID != "_1" || got.Issuer.Value != spID || got.ACS != acsURL || !got.Force || got.Binding != bindingPOST || got.Issued != "2026-11-28T12:00:00Z" ||
		got.To != "https://login.example/sso?tenant=1" || got.NameID.Format != FormatPersistent || !got.NameID.Create ||
		got.Requested == nil || len(got.Requested.Classes) != 2 {
		t.Errorf("the request is %s", plain)
	}
	r.Fresh, r.ACR = false, ""
	if plain, err := xml.Marshal(authnRequest{Force: r.Fresh}); err != nil || bytes.Contains(plain, []byte("ForceAuthn")) || bytes.Contains(plain, []byte("Requested")) {
		t.Errorf("what was not asked for: %s, %v", plain, err)
	}
}

func TestServiceProvider(t *testing.T) {
	out, err := ServiceProvider(spID, acsURL)
	if err != nil {
		t.Fatal(err)
	}
	var got spMetadata
	if err := xml.Unmarshal(out, &got); err != nil || got.EntityID != spID || got.SP.ACS.Location != acsURL || got.SP.ACS.Binding != bindingPOST || !got.SP.WantSigned {
		t.Errorf("%v: %s", err, out)
	}
}
