// Package saml reads what a SAML 2.0 identity provider says about a person:
// its metadata, the response to a request of ours, and an assertion by itself.
// Nothing is believed but what a signature of the provider covers, and values
// are read only from the bytes that the signature was checked on.
package saml

import (
	"fmt"

	"github.com/beevik/etree"
)

// Namespaces (SAML 2.0 core section 1.2, metadata section 1.2, XML Signature).
const (
	nsProtocol  = "urn:oasis:names:tc:SAML:2.0:protocol"
	nsAssertion = "urn:oasis:names:tc:SAML:2.0:assertion"
	nsMetadata  = "urn:oasis:names:tc:SAML:2.0:metadata"
	nsSignature = "http://www.w3.org/2000/09/xmldsig#"
	nsExclusive = "http://www.w3.org/2001/10/xml-exc-c14n#"
)

// Bindings (SAML 2.0 bindings sections 3.4 and 3.5).
const (
	bindingRedirect = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
	bindingPOST     = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
)

// Formats of a NameID (core section 8.3).
const (
	FormatUnspecified = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"
	FormatEmail       = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
	FormatPersistent  = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
	FormatTransient   = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
	formatEntity      = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity"
)

const (
	methodBearer  = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
	statusSuccess = "urn:oasis:names:tc:SAML:2.0:status:Success"
)

// Refusal is why something that a provider said is not believed.
type Refusal struct {
	Rule   string // one word for the rule, for tests and logs
	Detail string // for the operator; it repeats no value that is a secret
}

// Error is for the log.
func (r *Refusal) Error() string { return "SAML: " + r.Detail }

func refuse(rule, format string, args ...any) error {
	return &Refusal{rule, fmt.Sprintf(format, args...)}
}

func is(el *etree.Element, space, tag string) bool {
	return el.Tag == tag && el.NamespaceURI() == space
}

// children are the children of a name, in order.
func children(el *etree.Element, space, tag string) []*etree.Element {
	var out []*etree.Element
	for _, c := range el.ChildElements() {
		if is(c, space, tag) {
			out = append(out, c)
		}
	}
	return out
}

// only is the child of a name, nil if there is none; several are refused.
func only(el *etree.Element, space, tag string) (*etree.Element, error) {
	switch found := children(el, space, tag); len(found) {
	case 0:
		return nil, nil
	case 1:
		return found[0], nil
	}
	return nil, refuse("twice", "%s has several %s", el.Tag, tag)
}

// one is like only, but there must be one.
func one(el *etree.Element, space, tag string) (*etree.Element, error) {
	c, err := only(el, space, tag)
	if err == nil && c == nil {
		err = refuse("missing", "%s has no %s", el.Tag, tag)
	}
	return c, err
}

// text is what stands in an element that has nothing but text.
func text(el *etree.Element) (string, error) {
	if len(el.ChildElements()) > 0 {
		return "", refuse("mixed", "%s has elements where only text belongs", el.Tag)
	}
	all := ""
	for _, c := range el.Child {
		if data, ok := c.(*etree.CharData); ok {
			all += data.Data
		}
	}
	return all, nil
}

// attr is an attribute without a namespace.
func attr(el *etree.Element, name string) string {
	for _, a := range el.Attr {
		if a.Space == "" && a.Key == name {
			return a.Value
		}
	}
	return ""
}
