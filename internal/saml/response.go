package saml

import (
	"slices"
	"strings"
)

// CheckResponse checks the response to a request of ours (profiles section
// 4.1.4): the response, its assertion or both are signed, and what is signed is
// all that is read.
func CheckResponse(raw []byte, e Expected) (Assertion, error) {
	root, err := parse(raw)
	if err != nil {
		return Assertion{}, err
	}
	if !is(root, nsProtocol, "Response") {
		return Assertion{}, refuse("root", "it is no SAML 2.0 response")
	}
	if err := checkShape(root); err != nil {
		return Assertion{}, err
	}
	signed, err := verified(root, e.From.Certificates, e.Now)
	if err != nil {
		return Assertion{}, err
	}
	whole := signed != nil
	if whole {
		root = signed
	}
	issued, err := instant(root, "IssueInstant")
	switch {
	case err != nil:
		return Assertion{}, err
	case attr(root, "Version") != "2.0":
		return Assertion{}, refuse("version", "the response is not of SAML 2.0")
	case issued.IsZero() || issued.After(e.Now.Add(Skew)) || issued.Before(e.Now.Add(-maxAge)):
		return Assertion{}, refuse("time", "the response is of another time (are both clocks right?)")
	case attr(root, "InResponseTo") != e.InResponseTo:
		return Assertion{}, refuse("in_response_to", "the response does not answer the request of this sign-in")
	// Bindings section 3.5.5.2: a signed message names its destination.
	case attr(root, "Destination") == "" && whole, attr(root, "Destination") != "" && !slices.Contains(e.Recipients, attr(root, "Destination")):
		return Assertion{}, refuse("destination", "the response is for %.200q, not %q", attr(root, "Destination"), e.Recipients)
	}
	if len(children(root, nsAssertion, "Issuer")) > 0 {
		if iss, err := issuerOf(root); err != nil || iss != e.From.EntityID {
			return Assertion{}, refuse("issuer", "the response is of %.200q, not %q", iss, e.From.EntityID)
		}
	}
	st, err := one(root, nsProtocol, "Status")
	if err != nil {
		return Assertion{}, err
	}
	code, err := one(st, nsProtocol, "StatusCode")
	if err != nil {
		return Assertion{}, err
	}
	if attr(code, "Value") != statusSuccess {
		said := shortStatus(attr(code, "Value"))
		for _, inner := range children(code, nsProtocol, "StatusCode") {
			said += " (" + shortStatus(attr(inner, "Value")) + ")"
		}
		return Assertion{}, refuse("status", "the provider says %.200q", said)
	}
	el, err := one(root, nsAssertion, "Assertion")
	if err != nil {
		return Assertion{}, err
	}
	signed, err = verified(el, e.From.Certificates, e.Now)
	switch {
	case err != nil:
		return Assertion{}, err
	case signed != nil:
		el = signed
	case !whole:
		return Assertion{}, refuse("unsigned", "neither the response nor the assertion is signed")
	}
	return readAssertion(el, e)
}

func shortStatus(code string) string {
	return strings.TrimPrefix(code, "urn:oasis:names:tc:SAML:2.0:status:")
}
