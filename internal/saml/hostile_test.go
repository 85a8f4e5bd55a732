package saml

import (
	"strings"
	"testing"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

// The eight ways of wrapping a genuine signature (Somorovsky et al., "On
// Breaking SAML", 2012): what is signed stays in the document somewhere, and
// what is read would be the attacker's.
func TestWrappedSignaturesAreRefused(t *testing.T) {
	evil := func(el *etree.Element, id string) *etree.Element {
		e := el.Copy()
		e.CreateAttr("ID", id)
		for _, s := range children(e, nsSignature, "Signature") {
			e.RemoveChild(s)
		}
		_ = each(e, func(el *etree.Element) error {
			if el.Tag == "NameID" {
				el.SetText("admin")
			}
			return nil
		})
		return e
	}
	bare := func(el *etree.Element) (*etree.Element, *etree.Element) {
		e := el.Copy()
		sig := children(e, nsSignature, "Signature")[0]
		e.RemoveChild(sig)
		return e, sig
	}
	object := func(el *etree.Element) *etree.Element {
		o := etree.NewElement("ds:Object")
		o.AddChild(el)
		return o
	}
	response := func(inner ...*etree.Element) *etree.Element {
		r := element(t, responseXML)
		for _, el := range inner {
			r.AddChild(el)
		}
		return r
	}
	whole := ours().sign(t, around(t, element(t, assertionXML)), dsig.RSASHA256SignatureMethod)
	part := signedAssertion(t, change{})
	if _, err := CheckResponse(written(t, whole), expected()); err != nil {
		t.Fatal(err)
	}

	wrapped := map[string]func() *etree.Element{
		"1: the response in the signature of a false response": func() *etree.Element {
			orig, sig := bare(whole)
			sig.AddChild(object(orig))
			e := evil(whole, "_evil")
			e.AddChild(sig)
			return e
		},
		"2: the response beside its signature in a false response": func() *etree.Element {
			orig, sig := bare(whole)
			e := evil(whole, "_evil")
			e.AddChild(orig)
			e.AddChild(sig)
			return e
		},
		"3: a false assertion before it":     func() *etree.Element { return response(evil(part, "_evil"), part.Copy()) },
		"3: a false assertion after it":      func() *etree.Element { return response(part.Copy(), evil(part, "_evil")) },
		"3: a false assertion of its own ID": func() *etree.Element { return response(evil(part, "_a1"), part.Copy()) },
		"4: it in a false assertion":         func() *etree.Element { e := evil(part, "_evil"); e.AddChild(part.Copy()); return response(e) },
		"5: its signature in a false one": func() *etree.Element {
			orig, sig := bare(part)
			e := evil(part, "_evil")
			e.AddChild(sig)
			return response(e, orig)
		},
		"6: it in its signature in a false": func() *etree.Element {
			orig, sig := bare(part)
			sig.AddChild(orig)
			e := evil(part, "_evil")
			e.AddChild(sig)
			return response(e)
		},
		"7: a false assertion in extensions": func() *etree.Element {
			x := etree.NewElement("samlp:Extensions")
			x.AddChild(evil(part, "_a1"))
			return response(x, part.Copy())
		},
		"8: it in an object of the signature": func() *etree.Element {
			orig, sig := bare(part)
			sig.AddChild(object(orig))
			e := evil(part, "_evil")
			e.AddChild(sig)
			return response(e)
		},
		"the signature alone moved": func() *etree.Element {
			_, sig := bare(part)
			e := evil(part, "_a1")
			e.AddChild(sig)
			return response(e)
		},
		"its signature as the response's": func() *etree.Element {
			_, sig := bare(part)
			r := response(evil(part, "_a1"))
			r.AddChild(sig)
			return r
		},
	}
	for name, make := range wrapped {
		t.Run(name, func(t *testing.T) {
			a, err := CheckResponse(written(t, make()), expected())
			if err == nil {
				t.Fatalf("accepted as %q", a.Subject.Value)
			}
			if a.Subject.Value != "" {
				t.Errorf("refused, and yet it says %q", a.Subject.Value)
			}
		})
	}
}

func TestHostileDocumentsAreRefused(t *testing.T) {
	good := string(written(t, signedAssertion(t, change{})))
	for name, test := range map[string]struct{ xml, rule string }{
		"document type":          {`<!DOCTYPE x [<!ENTITY a "admin">]>` + good, "dtd"},
		"entity":                 {change{">alice<", ">&admin;<"}.in(t, good), "xml"},
		"external entity":        {`<!DOCTYPE x SYSTEM "file:///etc/passwd">` + good, "dtd"},
		"processing instruction": {change{">alice<", ">al<?x y?>ice<"}.in(t, good), "instruction"},
		"style sheet":            {`<?xml-stylesheet href="x"?>` + good, "instruction"},
		"deep":                   {strings.Repeat("<a>", maxDepth+1) + strings.Repeat("</a>", maxDepth+1), "depth"},
		"many nodes":             {"<a>" + strings.Repeat("<b/>", maxNodes/2+1) + "</a>", "size"},
		"large":                  {"<a>" + strings.Repeat("x", maxDocument) + "</a>", "size"},
		"many attributes":        {"<a" + strings.Repeat(` x:a=""`, maxAttrs+1) + "/>", "size"},
		"two documents":          {good + good, "xml"},
		"text behind":            {good + "<", "xml"},
		"another encoding":       {`<?xml version="1.0" encoding="utf-16"?>` + good, "xml"},
		"nothing":                {"", "xml"},
		"no XML":                 {"alice", "xml"},
		"colons in a name":       {change{"<saml:Issuer>", `<saml:Issuer x::y="z">`}.in(t, good), "xml"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := CheckAssertion([]byte(test.xml), expected())
			refused(t, a, err, test.rule)
		})
	}
}

// Whatever is changed in a signed assertion, it says alice or nothing.
func FuzzCheckAssertion(f *testing.F) {
	good := written(f, signedAssertion(f, change{}))
	f.Add(good)
	f.Add([]byte(assertionXML))
	f.Add(written(f, around(f, signedAssertion(f, change{}))))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, check := range []func([]byte, Expected) (Assertion, error){CheckAssertion, CheckResponse} {
			a, err := check(raw, expected())
			if err == nil && (a.Subject.Value != "alice" || a.ID != "_a1") {
				t.Fatalf("accepted: %+v", a)
			}
			if err != nil && a.Subject.Value != "" {
				t.Fatalf("refused, and yet it says %+v", a)
			}
		}
		if p, err := ParseMetadata(raw, now); err == nil && (p.EntityID == "" || p.SSO == "" || len(p.Certificates) == 0) {
			t.Fatalf("metadata accepted: %+v", p)
		}
	})
}
