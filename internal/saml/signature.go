package saml

import (
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

const (
	enveloped = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
	exclusive = nsExclusive
)

// What signs and hashes: nothing with SHA-1.
var (
	signers = []string{
		"http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384",
		"http://www.w3.org/2001/04/xmldsig-more#rsa-sha512", "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
		"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384", "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512",
	}
	digests = []string{
		"http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2001/04/xmldsig-more#sha384", "http://www.w3.org/2001/04/xmlenc#sha512",
	}
)

// verified checks the signature of an element and returns what it signs, read
// anew from the bytes that were hashed; nil if the element has no signature.
// Certificates are the provider's own, from its metadata: one that comes along
// in KeyInfo proves nothing and is not looked at.
func verified(el *etree.Element, certs []*x509.Certificate, now time.Time) (*etree.Element, error) {
	sig, err := only(el, nsSignature, "Signature")
	if sig == nil || err != nil {
		return nil, err
	}
	if err := checkSignature(sig, attr(el, "ID")); err != nil {
		return nil, err
	}
	el = detached(el)
	for _, own := range children(el, nsSignature, "Signature") {
		for _, info := range children(own, nsSignature, "KeyInfo") {
			own.RemoveChild(info)
		}
	}
	expired := false
	for _, cert := range certs {
		if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
			expired = true
			continue
		}
		v := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{cert}})
		v.Clock = dsig.NewFakeClockAt(now)
		signed, err := v.Validate(el)
		if err == nil && signed == nil {
			err = errors.New("nothing is signed")
		}
		if err == nil && (signed.Tag != el.Tag || attr(signed, "ID") != attr(el, "ID")) {
			err = errors.New("another element is signed")
		}
		if err == nil {
			return signed, nil
		}
	}
	if expired {
		return nil, refuse("signature", "the signature is by no certificate of the provider's metadata that is valid now: one of them has expired")
	}
	return nil, refuse("signature", "the signature is by none of the certificates in the provider's metadata, or what it signs was changed")
}

// detached is a copy of an element that stands by itself: the namespaces that
// were declared around it are declared on it.
func detached(el *etree.Element) *etree.Element {
	out := el.Copy()
	for around := el.Parent(); around != nil; around = around.Parent() {
		for _, a := range around.Attr {
			declares := a.Space == "xmlns" || a.Space == "" && a.Key == "xmlns"
			if declares && out.SelectAttr(a.FullKey()) == nil {
				out.CreateAttr(a.FullKey(), a.Value)
			}
		}
	}
	return out
}

// checkSignature is the profile of signatures (core section 5.4): one
// reference, to the element that the signature stands in; nothing else is
// transformed away than the signature itself.
func checkSignature(sig *etree.Element, id string) error {
	if id == "" {
		return refuse("signature", "what is signed has no ID")
	}
	seen := map[string]int{}
	for _, c := range sig.ChildElements() {
		if c.NamespaceURI() != nsSignature || !slices.Contains([]string{"SignedInfo", "SignatureValue", "KeyInfo"}, c.Tag) {
			return refuse("signature", "%s has no place in a signature", c.Tag)
		}
		if seen[c.Tag]++; seen[c.Tag] > 1 {
			return refuse("signature", "%s stands twice", c.Tag)
		}
	}
	info, err := one(sig, nsSignature, "SignedInfo")
	if err != nil {
		return err
	}
	if err := algorithm(info, "CanonicalizationMethod", exclusive); err != nil {
		return err
	}
	if err := algorithm(info, "SignatureMethod", signers...); err != nil {
		return err
	}
	ref, err := one(info, nsSignature, "Reference")
	if err != nil {
		return err
	}
	if attr(ref, "URI") != "#"+id {
		return refuse("reference", "the signature is not about the element that it stands in")
	}
	if err := algorithm(ref, "DigestMethod", digests...); err != nil {
		return err
	}
	return checkTransforms(ref)
}

func algorithm(el *etree.Element, name string, allowed ...string) error {
	c, err := one(el, nsSignature, name)
	if err != nil {
		return err
	}
	if alg := attr(c, "Algorithm"); !slices.Contains(allowed, alg) {
		return refuse("algorithm", "%s: %.100q is not accepted (SHA-256 or better, exclusive canonical XML)", name, alg)
	}
	return nil
}

func checkTransforms(ref *etree.Element) error {
	all, err := one(ref, nsSignature, "Transforms")
	if err != nil {
		return err
	}
	var names []string
	for _, t := range all.ChildElements() {
		if !is(t, nsSignature, "Transform") {
			return refuse("transform", "%s is no transform", t.Tag)
		}
		names = append(names, attr(t, "Algorithm"))
	}
	if !slices.Equal(names, []string{enveloped, exclusive}) {
		return refuse("transform", "the signature must be enveloped, over exclusive canonical XML, and nothing else")
	}
	return nil
}
