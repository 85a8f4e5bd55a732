package saml

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	dsig "github.com/russellhaering/goxmldsig"
)

func TestSignedAssertionIsRead(t *testing.T) {
	whole := ours().sign(t, around(t, element(t, assertionXML)), dsig.RSASHA256SignatureMethod)
	both := ours().sign(t, around(t, signedAssertion(t, change{})), dsig.RSASHA512SignatureMethod)
	for name, raw := range map[string][]byte{
		"assertion signed": written(t, around(t, signedAssertion(t, change{}))),
		"response signed":  written(t, whole),
		"both signed":      written(t, both),
	} {
		t.Run(name, func(t *testing.T) {
			a, err := CheckResponse(raw, expected())
			if err != nil {
				t.Fatal(err)
			}
			if a.Subject != (NameID{Value: "alice", Format: FormatPersistent}) || a.ID != "_a1" || a.Issuer != idpID {
				t.Errorf("it says %+v", a)
			}
			if !strings.HasSuffix(a.ACR, ":PasswordProtectedTransport") || !a.AuthnInstant.Equal(now.Add(-20*time.Second)) {
				t.Errorf("sign-in: %q at %s", a.ACR, a.AuthnInstant)
			}
			if !a.SessionEnds.Equal(now.Add(8*time.Hour)) || !a.Until.Equal(now.Add(5*time.Minute+Skew)) {
				t.Errorf("ends %s, forgotten at %s", a.SessionEnds, a.Until)
			}
			if got := strings.Join(a.Attributes["groups"], " "); got != "eng ops" {
				t.Errorf("groups %q", got)
			}
		})
	}
	many := signedAssertion(t, change{"<saml:AttributeValue>eng</saml:AttributeValue>", strings.Repeat("<saml:AttributeValue>eng</saml:AttributeValue>", 1500)})
	if a, err := CheckResponse(written(t, around(t, many)), expected()); err != nil || len(a.Attributes["groups"]) != 1501 {
		t.Errorf("somebody in many groups: %v", err)
	}
	if _, err := CheckAssertion(written(t, signedAssertion(t, change{})), expected()); err != nil {
		t.Errorf("by itself: %v", err)
	}
}

// Each is signed properly by the provider, and is not for us, not now, or not
// what it must be.
func TestAssertionIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change
		rule string
	}{
		"another issuer":          {change{"<saml:Issuer>https://login.example/metadata", "<saml:Issuer>https://evil.example"}, "issuer"},
		"issuer is no entity":     {change{"<saml:Issuer>", `<saml:Issuer Format="urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress">`}, "issuer"},
		"no issuer":               {change{"<saml:Issuer>https://login.example/metadata</saml:Issuer>", ""}, "missing"},
		"two issuers":             {change{"<saml:Subject>", "<saml:Issuer>https://login.example/metadata</saml:Issuer><saml:Subject>"}, "twice"},
		"another audience":        {change{"https://auth.example/saml/adfs", "https://other.example"}, "audience"},
		"audience with a slash":   {change{"https://auth.example/saml/adfs<", "https://auth.example/saml/adfs/<"}, "audience"},
		"no audience":             {change{"<saml:AudienceRestriction><saml:Audience>https://auth.example/saml/adfs</saml:Audience></saml:AudienceRestriction>", ""}, "audience"},
		"one of two restrictions": {change{"</saml:Conditions>", "<saml:AudienceRestriction><saml:Audience>x</saml:Audience></saml:AudienceRestriction></saml:Conditions>"}, "audience"},
		"unknown condition":       {change{"</saml:Conditions>", "<saml:Condition/></saml:Conditions>"}, "condition"},
		"no conditions":           {change{"saml:Conditions", "saml:Terms"}, "missing"},
		"another recipient":       {change{acsURL, "https://auth.example/callback/other"}, "recipient"},
		"no recipient":            {change{` Recipient="https://auth.example/callback/adfs"`, ""}, "recipient"},
		"another request":         {change{`InResponseTo="_request"`, `InResponseTo="_other"`}, "in_response_to"},
		"no request":              {change{`InResponseTo="_request" `, ""}, "in_response_to"},
		"confirmation over":       {change{`NotOnOrAfter="2026-11-28T12:05:00Z" Recipient`, `NotOnOrAfter="2026-11-28T11:59:30Z" Recipient`}, "time"},
		"confirmation endless":    {change{`NotOnOrAfter="2026-11-28T12:05:00Z" Recipient`, `Recipient`}, "confirmation"},
		"confirmation later":      {change{`InResponseTo="_request" `, `InResponseTo="_request" NotBefore="2026-11-28T11:00:00Z" `}, "confirmation"},
		"not by bearer":           {change{"cm:bearer", "cm:holder-of-key"}, "confirmation"},
		"no confirmation data":    {change{"saml:SubjectConfirmationData", "saml:Data"}, "missing"},
		"conditions over":         {change{`NotOnOrAfter="2026-11-28T12:05:00Z"><saml:Aud`, `NotOnOrAfter="2026-11-28T11:59:30Z"><saml:Aud`}, "time"},
		"conditions later":        {change{`NotBefore="2026-11-28T11:59:00Z"`, `NotBefore="2026-11-28T12:00:31Z"`}, "time"},
		"issued later":            {change{`IssueInstant="2026-11-28T11:59:50Z"`, `IssueInstant="2026-11-28T12:00:31Z"`}, "time"},
		"issued long ago":         {change{`IssueInstant="2026-11-28T11:59:50Z"`, `IssueInstant="2026-11-28T10:59:50Z"`}, "time"},
		"issued some time":        {change{`IssueInstant="2026-11-28T11:59:50Z"`, `IssueInstant="yesterday"`}, "time"},
		"signed in later":         {change{`AuthnInstant="2026-11-28T11:59:40Z"`, `AuthnInstant="2026-11-28T12:00:31Z"`}, "time"},
		"session over":            {change{`SessionNotOnOrAfter="2026-11-28T20:00:00Z"`, `SessionNotOnOrAfter="2026-11-28T12:00:00Z"`}, "time"},
		"no sign-in":              {change{"saml:AuthnStatement", "saml:Statement"}, "missing"},
		"SAML 1.1":                {change{`Version="2.0"`, `Version="1.1"`}, "version"},
		"no NameID":               {change{"saml:NameID", "saml:BaseID"}, "missing"},
		"empty NameID":            {change{">alice<", "><"}, "nameid"},
		"long NameID":             {change{">alice<", ">" + strings.Repeat("a", maxText+1) + "<"}, "nameid"},
		"elements in NameID":      {change{">alice<", ">al<b/>ice<"}, "mixed"},
		"encrypted NameID":        {change{"saml:NameID", "saml:EncryptedID"}, "encrypted"},
		"encrypted attribute":     {change{`<saml:Attribute Name="mail"><saml:AttributeValue>alice@example.com</saml:AttributeValue></saml:Attribute>`, "<saml:EncryptedAttribute/>"}, "encrypted"},
		"attribute without name":  {change{`Name="mail"`, ""}, "attribute"},
		"assertion in advice":     {change{"<saml:AuthnStatement", "<saml:Advice><saml:Assertion/></saml:Advice><saml:AuthnStatement"}, "assertions"},
		"too many values":         {change{"<saml:AttributeValue>eng</saml:AttributeValue>", strings.Repeat("<saml:AttributeValue>x</saml:AttributeValue>", maxValues)}, "size"},
	} {
		t.Run(name, func(t *testing.T) {
			signed := signedAssertion(t, test.change)
			a, err := CheckResponse(written(t, around(t, signed)), expected())
			refused(t, a, err, test.rule)
			a, err = CheckAssertion(written(t, signed), expected())
			refused(t, a, err, test.rule)
		})
	}
}

// The response around a proper assertion.
func TestResponseIsRefused(t *testing.T) {
	inner := string(written(t, signedAssertion(t, change{})))
	for name, test := range map[string]struct {
		change
		rule string
	}{
		"another destination": {change{`Destination="https://auth.example/callback/adfs"`, `Destination="https://auth.example/callback/x"`}, "destination"},
		"another request":     {change{`InResponseTo="_request"`, `InResponseTo="_other"`}, "in_response_to"},
		"another issuer":      {change{"<saml:Issuer>https://login.example/metadata", "<saml:Issuer>https://evil.example"}, "issuer"},
		"old":                 {change{`IssueInstant="2026-11-28T11:59:50Z"`, `IssueInstant="2026-11-28T10:59:50Z"`}, "time"},
		"another version":     {change{`Version="2.0"`, `Version="1.1"`}, "version"},
		"an error":            {change{"status:Success", "status:Requester"}, "status"},
		"no status":           {change{"samlp:Status>", "samlp:State>"}, "missing"},
		"encrypted":           {change{"</samlp:Response>", "<saml:EncryptedAssertion/></samlp:Response>"}, "encrypted"},
		"no assertion":        {change{"</samlp:Response>", "<!---->"}, "comment"},
		"another root":        {change{"samlp:Response", "samlp:ArtifactResponse"}, "root"},
	} {
		t.Run(name, func(t *testing.T) {
			xml := test.in(t, responseXML)
			if name == "no assertion" {
				xml = responseXML
				test.rule = "missing"
			} else {
				end := strings.LastIndex(xml, "</")
				xml = xml[:end] + inner + xml[end:]
			}
			a, err := CheckResponse([]byte(xml), expected())
			refused(t, a, err, test.rule)
		})
	}
	t.Run("signed without destination", func(t *testing.T) {
		r := around(t, element(t, assertionXML))
		r.RemoveAttr("Destination")
		a, err := CheckResponse(written(t, ours().sign(t, r, dsig.RSASHA256SignatureMethod)), expected())
		refused(t, a, err, "destination")
	})
}

func TestSignatureIsRefused(t *testing.T) {
	other := newSigner(t, 2048)
	good := string(written(t, signedAssertion(t, change{})))
	for name, test := range map[string]struct{ xml, rule string }{
		"unsigned":            {assertionXML, "unsigned"},
		"another certificate": {string(written(t, other.sign(t, element(t, assertionXML), dsig.RSASHA256SignatureMethod))), "signature"},
		"SHA-1":               {string(written(t, ours().sign(t, element(t, assertionXML), dsig.RSASHA1SignatureMethod))), "algorithm"},
		"another name":        {change{">alice<", ">admin<"}.in(t, good), "signature"},
		"another group":       {change{">ops<", ">admins<"}.in(t, good), "signature"},
		"a comment in a name": {change{">alice<", ">al<!-- -->ice<"}.in(t, good), "comment"},
		"a reference to all":  {change{`URI="#_a1"`, `URI=""`}.in(t, good), "reference"},
		"another reference":   {change{`URI="#_a1"`, `URI="#_a2"`}.in(t, good), "reference"},
		"another transform":   {change{`xmldsig#enveloped-signature"/>`, `xmldsig#enveloped-signature"/><ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116"/>`}.in(t, good), "transform"},
		"no transform":        {change{`<ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>`, ""}.in(t, good), "transform"},
		"an HMAC":             {change{"http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"}.in(t, good), "algorithm"},
		"digest of SHA-1":     {change{"http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2000/09/xmldsig#sha1"}.in(t, good), "algorithm"},
		"an object":           {change{"</ds:Signature>", "<ds:Object/></ds:Signature>"}.in(t, good), "signature"},
		"two values":          {change{"</ds:Signature>", "<ds:SignatureValue/></ds:Signature>"}.in(t, good), "signature"},
		"two signatures":      {change{"</ds:Signature>", `</ds:Signature><ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"/>`}.in(t, good), "twice"},
		"a signature deeper":  {change{"</saml:Subject>", `<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"/></saml:Subject>`}.in(t, good), "place"},
		"no value":            {good[:strings.Index(good, "<ds:SignatureValue>")] + good[strings.Index(good, "</ds:SignatureValue>")+len("</ds:SignatureValue>"):], "signature"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := CheckAssertion([]byte(test.xml), expected())
			refused(t, a, err, test.rule)
			r := responseXML
			end := strings.LastIndex(r, "</")
			a, err = CheckResponse([]byte(r[:end]+test.xml+r[end:]), expected())
			refused(t, a, err, test.rule)
		})
	}
	t.Run("expired certificate", func(t *testing.T) {
		e := expected()
		e.Now = ours().cert.NotAfter.Add(time.Second)
		a, err := CheckAssertion([]byte(good), e)
		refused(t, a, err, "signature")
		if !strings.Contains(err.Error(), "expired") {
			t.Errorf("it does not say why: %v", err)
		}
	})
	t.Run("response signed by another, assertion by the provider", func(t *testing.T) {
		r := other.sign(t, around(t, signedAssertion(t, change{})), dsig.RSASHA256SignatureMethod)
		a, err := CheckResponse(written(t, r), expected())
		refused(t, a, err, "signature")
	})
	t.Run("response signed by the provider, assertion by another", func(t *testing.T) {
		r := ours().sign(t, around(t, other.sign(t, element(t, assertionXML), dsig.RSASHA256SignatureMethod)), dsig.RSASHA256SignatureMethod)
		a, err := CheckResponse(written(t, r), expected())
		refused(t, a, err, "signature")
	})
	t.Run("one of two certificates", func(t *testing.T) {
		e := expected()
		e.From.Certificates = []*x509.Certificate{other.cert, ours().cert}
		if _, err := CheckAssertion([]byte(good), e); err != nil {
			t.Errorf("a provider that changes its key: %v", err)
		}
	})
	t.Run("KeyInfo does not matter", func(t *testing.T) {
		swapped := change{encoded(ours().cert), encoded(other.cert)}.in(t, good)
		if _, err := CheckAssertion([]byte(swapped), expected()); err != nil {
			t.Errorf("a certificate that comes along was looked at: %v", err)
		}
	})
}
