package saml

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/xml"
	"net/url"
	"strings"
	"time"
)

// Request is an AuthnRequest (core section 3.4.1).
type Request struct {
	ID     string // an NCName that nobody can guess
	From   string // our entity id
	ACS    string // where the response goes, by HTTP-POST
	Format string // of the NameID; "": the provider's choice
	Fresh  bool   // ForceAuthn: the person proves anew who they are
	ACR    string // AuthnContextClassRef that is asked for; "": none
	Issued time.Time
}

type authnRequest struct {
	XMLName   xml.Name      `xml:"urn:oasis:names:tc:SAML:2.0:protocol AuthnRequest"`
	ID        string        `xml:"ID,attr"`
	Version   string        `xml:"Version,attr"`
	Issued    string        `xml:"IssueInstant,attr"`
	To        string        `xml:"Destination,attr"`
	Force     bool          `xml:"ForceAuthn,attr,omitempty"`
	Binding   string        `xml:"ProtocolBinding,attr"`
	ACS       string        `xml:"AssertionConsumerServiceURL,attr"`
	Issuer    issuerElement `xml:"urn:oasis:names:tc:SAML:2.0:assertion Issuer"`
	NameID    nameIDPolicy  `xml:"urn:oasis:names:tc:SAML:2.0:protocol NameIDPolicy"`
	Requested *requested    `xml:"urn:oasis:names:tc:SAML:2.0:protocol RequestedAuthnContext"`
}

type issuerElement struct {
	Value string `xml:",chardata"`
}

type nameIDPolicy struct {
	Format string `xml:"Format,attr,omitempty"`
	Create bool   `xml:"AllowCreate,attr"`
}

type requested struct {
	Comparison string   `xml:"Comparison,attr"`
	Classes    []string `xml:"urn:oasis:names:tc:SAML:2.0:assertion AuthnContextClassRef"`
}

// URL is where a browser goes with the request (bindings section 3.4.4.1:
// DEFLATE). relay comes back with the response; it has at most 80 bytes.
func (r Request) URL(p IdentityProvider, relay string) (string, error) {
	doc := authnRequest{ID: r.ID, Version: "2.0", Issued: r.Issued.UTC().Format("2006-01-02T15:04:05Z"), To: p.SSO, Force: r.Fresh,
		Binding: bindingPOST, ACS: r.ACS, Issuer: issuerElement{r.From}, NameID: nameIDPolicy{r.Format, true}}
	if classes := strings.Fields(r.ACR); len(classes) > 0 {
		doc.Requested = &requested{"exact", classes}
	}
	plain, err := xml.Marshal(doc)
	if err != nil {
		return "", err
	}
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	if err != nil {
		return "", err
	}
	if _, err := w.Write(plain); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	q := "SAMLRequest=" + url.QueryEscape(base64.StdEncoding.EncodeToString(packed.Bytes())) + "&RelayState=" + url.QueryEscape(relay)
	sep := "?"
	if strings.Contains(p.SSO, "?") {
		sep = "&"
	}
	return p.SSO + sep + q, nil
}

type spMetadata struct {
	XMLName  xml.Name     `xml:"urn:oasis:names:tc:SAML:2.0:metadata EntityDescriptor"`
	EntityID string       `xml:"entityID,attr"`
	SP       spDescriptor `xml:"urn:oasis:names:tc:SAML:2.0:metadata SPSSODescriptor"`
}

type spDescriptor struct {
	Signed     bool     `xml:"AuthnRequestsSigned,attr"`
	WantSigned bool     `xml:"WantAssertionsSigned,attr"`
	Protocols  string   `xml:"protocolSupportEnumeration,attr"`
	Formats    []string `xml:"urn:oasis:names:tc:SAML:2.0:metadata NameIDFormat"`
	ACS        acs      `xml:"urn:oasis:names:tc:SAML:2.0:metadata AssertionConsumerService"`
}

type acs struct {
	Binding  string `xml:"Binding,attr"`
	Location string `xml:"Location,attr"`
	Index    int    `xml:"index,attr"`
	Default  bool   `xml:"isDefault,attr"`
}

// ServiceProvider is our own metadata, for the provider's administrator.
func ServiceProvider(entityID, acsURL string) ([]byte, error) {
	out, err := xml.MarshalIndent(spMetadata{EntityID: entityID, SP: spDescriptor{WantSigned: true, Protocols: nsProtocol,
		Formats: []string{FormatPersistent, FormatEmail, FormatUnspecified},
		ACS:     acs{bindingPOST, acsURL, 0, true}}}, "", "  ")
	return append([]byte(xml.Header), append(out, '\n')...), err
}
