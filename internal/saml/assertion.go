package saml

import (
	"slices"
	"time"

	"github.com/beevik/etree"
)

// Skew is how far the clocks of a provider and ours may differ.
const Skew = 30 * time.Second

// Bounds of what an assertion may say.
const (
	maxText   = 512 // bytes of an ID or a name
	maxValues = 2000
	// maxAge bounds how long ago an assertion was issued that names no end
	// sooner.
	maxAge = time.Hour
)

// NameID is what a provider calls somebody (core section 2.2.3).
type NameID struct {
	Value, Format, NameQualifier, SPNameQualifier, SPProvidedID string
}

// Assertion is what a provider says about one person, all of it signed.
type Assertion struct {
	ID      string
	Issuer  string
	Subject NameID
	// Until is when it must be forgotten that the assertion was used: it is not
	// believed from then on anyway.
	Until        time.Time
	AuthnInstant time.Time // when they proved who they are
	SessionEnds  time.Time // zero: not said
	SessionIndex string
	ACR          string // AuthnContextClassRef; "": not said
	// Attributes are its attributes by Name, each in the order of the document.
	Attributes map[string][]string
}

// Expected is what an assertion must fit.
type Expected struct {
	From     IdentityProvider
	Audience string // our entity id, or another name that the assertion may be made for
	// Recipients are the URLs that it may be sent to.
	Recipients []string
	// InResponseTo is the ID of our request; "": there was none, and an
	// assertion that answers some request is refused.
	InResponseTo string
	// AnyRequest: the assertion was sent to somebody else, who alone knows what
	// they asked; InResponseTo is not looked at.
	AnyRequest bool
	Now        time.Time
}

// IssuerOf is whose an assertion says to be. Nothing of it was checked.
func IssuerOf(raw []byte) (string, error) {
	root, err := parse(raw)
	if err != nil {
		return "", err
	}
	if !is(root, nsAssertion, "Assertion") {
		return "", refuse("root", "it is no SAML 2.0 assertion")
	}
	return issuerOf(root)
}

// CheckAssertion checks an assertion that comes by itself, such as a subject
// token (RFC 8693 section 3): it must be signed itself. Of InResponseTo only
// what Expected says is accepted.
func CheckAssertion(raw []byte, e Expected) (Assertion, error) {
	root, err := parse(raw)
	if err != nil {
		return Assertion{}, err
	}
	if !is(root, nsAssertion, "Assertion") {
		return Assertion{}, refuse("root", "it is no SAML 2.0 assertion")
	}
	if err := checkShape(root); err != nil {
		return Assertion{}, err
	}
	signed, err := verified(root, e.From.Certificates, e.Now)
	if err != nil {
		return Assertion{}, err
	}
	if signed == nil {
		return Assertion{}, refuse("unsigned", "the assertion is not signed")
	}
	return readAssertion(signed, e)
}

// readAssertion checks an element that a signature covers.
func readAssertion(el *etree.Element, e Expected) (Assertion, error) {
	a := Assertion{ID: attr(el, "ID"), Attributes: map[string][]string{}}
	steps := []func(*etree.Element, Expected) error{a.head, a.subject, a.conditions, a.authn, a.attributes}
	for _, step := range steps {
		if err := step(el, e); err != nil {
			return Assertion{}, err
		}
	}
	return a, nil
}

func (a *Assertion) head(el *etree.Element, e Expected) error {
	if attr(el, "Version") != "2.0" {
		return refuse("version", "the assertion is not of SAML 2.0")
	}
	if a.ID == "" || len(a.ID) > maxText {
		return refuse("id", "the assertion's ID is missing or too long")
	}
	issued, err := instant(el, "IssueInstant")
	if err != nil {
		return err
	}
	if issued.IsZero() || issued.After(e.Now.Add(Skew)) {
		return refuse("time", "the assertion was issued in the future (are both clocks right?)")
	}
	if issued.Before(e.Now.Add(-maxAge)) {
		return refuse("time", "the assertion was issued more than %s ago", maxAge)
	}
	a.Until = issued.Add(maxAge)
	if a.Issuer, err = issuerOf(el); err != nil {
		return err
	}
	if a.Issuer != e.From.EntityID {
		return refuse("issuer", "the assertion is of %.200q, not %q", a.Issuer, e.From.EntityID)
	}
	return nil
}

// issuerOf reads the Issuer of a message or an assertion: an entity id.
func issuerOf(el *etree.Element) (string, error) {
	iss, err := one(el, nsAssertion, "Issuer")
	if err != nil {
		return "", err
	}
	if f := attr(iss, "Format"); f != "" && f != formatEntity {
		return "", refuse("issuer", "the issuer is no entity id")
	}
	return text(iss)
}

// subject is core section 2.4 with the web browser profile's confirmation
// (profiles section 4.1.4.2).
func (a *Assertion) subject(el *etree.Element, e Expected) error {
	sub, err := one(el, nsAssertion, "Subject")
	if err != nil {
		return err
	}
	id, err := one(sub, nsAssertion, "NameID")
	if err != nil {
		return err
	}
	value, err := text(id)
	if err != nil {
		return err
	}
	a.Subject = NameID{value, attr(id, "Format"), attr(id, "NameQualifier"), attr(id, "SPNameQualifier"), attr(id, "SPProvidedID")}
	if value == "" || len(value) > maxText {
		return refuse("nameid", "the NameID is empty or too long")
	}
	why := refuse("confirmation", "no SubjectConfirmation is by bearer")
	for _, c := range children(sub, nsAssertion, "SubjectConfirmation") {
		if attr(c, "Method") != methodBearer {
			continue
		}
		var until time.Time
		if until, why = confirmed(c, e); why == nil {
			a.before(until)
			return nil
		}
	}
	return why
}

// before notes that the assertion is believed until t only.
func (a *Assertion) before(t time.Time) {
	if t = t.Add(Skew); t.Before(a.Until) {
		a.Until = t
	}
}

func confirmed(c *etree.Element, e Expected) (time.Time, error) {
	data, err := one(c, nsAssertion, "SubjectConfirmationData")
	if err != nil {
		return time.Time{}, err
	}
	until, err := instant(data, "NotOnOrAfter")
	switch {
	case err != nil:
		return until, err
	case attr(data, "NotBefore") != "":
		return until, refuse("confirmation", "a confirmation by bearer must not have NotBefore")
	case until.IsZero():
		return until, refuse("confirmation", "the confirmation names no end")
	case !e.Now.Before(until.Add(Skew)):
		return until, refuse("time", "the confirmation is over")
	case !slices.Contains(e.Recipients, attr(data, "Recipient")):
		return until, refuse("recipient", "the assertion is for the recipient %.200q, not %q", attr(data, "Recipient"), e.Recipients)
	case !e.AnyRequest && attr(data, "InResponseTo") != e.InResponseTo:
		return until, refuse("in_response_to", "the assertion does not answer the request of this sign-in")
	}
	return until, nil
}

// conditions is core section 2.5.1: a condition that is not understood makes
// the assertion worthless.
func (a *Assertion) conditions(el *etree.Element, e Expected) error {
	cond, err := one(el, nsAssertion, "Conditions")
	if err != nil {
		return err
	}
	from, err1 := instant(cond, "NotBefore")
	until, err2 := instant(cond, "NotOnOrAfter")
	switch {
	case err1 != nil:
		return err1
	case err2 != nil:
		return err2
	case from.After(e.Now.Add(Skew)):
		return refuse("time", "the assertion is not valid yet (are both clocks right?)")
	case !until.IsZero() && !e.Now.Before(until.Add(Skew)):
		return refuse("time", "the assertion is over")
	case !until.IsZero():
		a.before(until)
	}
	audiences := 0
	for _, c := range cond.ChildElements() {
		switch {
		case is(c, nsAssertion, "AudienceRestriction"):
			audiences++
			if err := meant(c, e.Audience); err != nil {
				return err
			}
		case is(c, nsAssertion, "OneTimeUse"), is(c, nsAssertion, "ProxyRestriction"): // each is used once; none is passed on
		default:
			return refuse("condition", "the condition %.100q is not known here", c.Tag)
		}
	}
	if audiences == 0 {
		return refuse("audience", "the assertion names no audience")
	}
	return nil
}

func meant(restriction *etree.Element, audience string) error {
	for _, c := range children(restriction, nsAssertion, "Audience") {
		if name, err := text(c); err != nil || name == audience {
			return err
		}
	}
	return refuse("audience", "the assertion is for another audience than %q", audience)
}

// authn is core section 2.7.2.
func (a *Assertion) authn(el *etree.Element, e Expected) error {
	st, err := one(el, nsAssertion, "AuthnStatement")
	if err != nil {
		return err
	}
	if a.AuthnInstant, err = instant(st, "AuthnInstant"); err != nil {
		return err
	}
	if a.SessionEnds, err = instant(st, "SessionNotOnOrAfter"); err != nil {
		return err
	}
	a.SessionIndex = attr(st, "SessionIndex")
	switch {
	case a.AuthnInstant.IsZero() || a.AuthnInstant.After(e.Now.Add(Skew)):
		return refuse("time", "the person signed in in the future (are both clocks right?)")
	case !a.SessionEnds.IsZero() && !e.Now.Before(a.SessionEnds):
		return refuse("time", "the session at the provider is over")
	}
	ctx, err := only(st, nsAssertion, "AuthnContext")
	if ctx == nil || err != nil {
		return err
	}
	class, err := only(ctx, nsAssertion, "AuthnContextClassRef")
	if class == nil || err != nil {
		return err
	}
	a.ACR, err = text(class)
	if err == nil && len(a.ACR) > maxText {
		err = refuse("size", "AuthnContextClassRef is too long")
	}
	return err
}

// attributes is core section 2.7.3.
func (a *Assertion) attributes(el *etree.Element, _ Expected) error {
	total := 0
	for _, st := range children(el, nsAssertion, "AttributeStatement") {
		for _, at := range children(st, nsAssertion, "Attribute") {
			name := attr(at, "Name")
			if name == "" || len(name) > maxText {
				return refuse("attribute", "an attribute's name is missing or too long")
			}
			for _, v := range children(at, nsAssertion, "AttributeValue") {
				if len(v.ChildElements()) > 0 {
					continue // structured values name nobody
				}
				value, err := text(v)
				if err != nil {
					return err
				}
				if total++; total > maxValues {
					return refuse("size", "there are more than %d attribute values", maxValues)
				}
				a.Attributes[name] = append(a.Attributes[name], value)
			}
		}
	}
	return nil
}

// instant reads a time, which is in UTC (core section 1.3.3); zero: it is not
// there.
func instant(el *etree.Element, name string) (time.Time, error) {
	v := attr(el, name)
	if v == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil || t.IsZero() {
		return t, refuse("time", "%s is no time", name)
	}
	return t, nil
}
