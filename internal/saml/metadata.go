package saml

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"
)

// maxCertificates bounds how many keys a provider may sign with.
const maxCertificates = 16

// IdentityProvider is what a provider's metadata says.
type IdentityProvider struct {
	EntityID     string
	SSO          string // where requests go, by HTTP-Redirect
	Certificates []*x509.Certificate
	WantsSigned  bool      // it says that it refuses requests without a signature
	ValidUntil   time.Time // zero: not said
	Formats      []string  // of the NameIDs that it makes
}

// ParseMetadata reads the metadata of one identity provider (metadata sections
// 2.3 and 2.4.3). It is believed because of where it was read: a file, or TLS.
func ParseMetadata(raw []byte, now time.Time) (IdentityProvider, error) {
	var p IdentityProvider
	if err := checkXML(raw, true); err != nil {
		return p, err
	}
	root, err := tree(raw)
	if err != nil {
		return p, err
	}
	entity, err := soleProvider(root)
	if err != nil {
		return p, err
	}
	if p.EntityID = attr(entity, "entityID"); p.EntityID == "" || len(p.EntityID) > 1024 {
		return p, refuse("metadata", "entityID is missing or too long")
	}
	idp, err := one(entity, nsMetadata, "IDPSSODescriptor")
	if err != nil {
		return p, err
	}
	if !slices.Contains(strings.Fields(attr(idp, "protocolSupportEnumeration")), nsProtocol) {
		return p, refuse("metadata", "the provider does not say that it speaks SAML 2.0")
	}
	want := attr(idp, "WantAuthnRequestsSigned")
	p.WantsSigned = want == "true" || want == "1"
	for _, el := range []*etree.Element{root, entity, idp} {
		until, err := instant(el, "validUntil")
		if err != nil {
			return p, err
		}
		if !until.IsZero() && (p.ValidUntil.IsZero() || until.Before(p.ValidUntil)) {
			p.ValidUntil = until
		}
	}
	if !p.ValidUntil.IsZero() && !now.Before(p.ValidUntil) {
		return p, refuse("time", "the metadata was valid until %s", p.ValidUntil.Format(time.RFC3339))
	}
	for _, f := range children(idp, nsMetadata, "NameIDFormat") {
		format, err := text(f)
		if err != nil {
			return p, err
		}
		p.Formats = append(p.Formats, strings.TrimSpace(format))
	}
	if err := p.endpoint(idp); err != nil {
		return p, err
	}
	return p, p.certificates(idp)
}

// soleProvider finds the one entity that signs people in.
func soleProvider(root *etree.Element) (*etree.Element, error) {
	if is(root, nsMetadata, "EntityDescriptor") {
		return root, nil
	}
	if !is(root, nsMetadata, "EntitiesDescriptor") {
		return nil, refuse("metadata", "it is no SAML 2.0 metadata")
	}
	var found []*etree.Element
	for _, e := range children(root, nsMetadata, "EntityDescriptor") {
		if len(children(e, nsMetadata, "IDPSSODescriptor")) > 0 {
			found = append(found, e)
		}
	}
	if len(found) != 1 {
		return nil, refuse("metadata", "it describes %d identity providers: give the metadata of one", len(found))
	}
	return found[0], nil
}

func (p *IdentityProvider) endpoint(idp *etree.Element) error {
	for _, s := range children(idp, nsMetadata, "SingleSignOnService") {
		if attr(s, "Binding") != bindingRedirect {
			continue
		}
		u, err := url.Parse(attr(s, "Location"))
		if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
			return refuse("metadata", "the address for sign-ins is no https URL")
		}
		p.SSO = u.String()
		return nil
	}
	return refuse("metadata", "there is no SingleSignOnService by HTTP-Redirect")
}

func (p *IdentityProvider) certificates(idp *etree.Element) error {
	for _, k := range children(idp, nsMetadata, "KeyDescriptor") {
		if use := attr(k, "use"); use != "" && use != "signing" {
			continue
		}
		for _, info := range children(k, nsSignature, "KeyInfo") {
			for _, data := range children(info, nsSignature, "X509Data") {
				for _, c := range children(data, nsSignature, "X509Certificate") {
					cert, err := certificate(c)
					if err != nil {
						return err
					}
					p.Certificates = append(p.Certificates, cert)
				}
			}
		}
	}
	if n := len(p.Certificates); n == 0 || n > maxCertificates {
		return refuse("metadata", "it has %d certificates for signatures: 1 to %d are accepted", n, maxCertificates)
	}
	return nil
}

func certificate(el *etree.Element) (*x509.Certificate, error) {
	encoded, err := text(el)
	if err != nil {
		return nil, err
	}
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(encoded), ""))
	if err != nil {
		return nil, refuse("metadata", "a certificate is not base64")
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, refuse("metadata", "a certificate cannot be read: %v", err)
	}
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 {
			return nil, refuse("metadata", "a certificate's key has fewer than 2048 bits")
		}
	case *ecdsa.PublicKey:
	default:
		return nil, refuse("metadata", "a certificate's key is neither RSA nor ECDSA")
	}
	return cert, nil
}
