package saml

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"

	"github.com/beevik/etree"
	roundtrip "github.com/mattermost/xml-roundtrip-validator"
)

// Bounds of a document: well above what providers send.
const (
	maxDocument = 512 << 10
	maxDepth    = 32
	maxNodes    = 20000
	maxAttrs    = 64 // of one element
)

// parse reads a signed document. It has no document type, so no entities, no
// processing instructions and no comments: none has a place in a message of the
// protocol, and each has been used to make two readers see two texts.
func parse(raw []byte) (*etree.Element, error) {
	if err := checkXML(raw, false); err != nil {
		return nil, err
	}
	if err := roundtrip.Validate(bytes.NewReader(raw)); err != nil {
		return nil, refuse("roundtrip", "the XML does not survive being written again: %v", err)
	}
	return tree(raw)
}

func tree(raw []byte) (*etree.Element, error) {
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(raw); err != nil || doc.Root() == nil {
		return nil, refuse("xml", "it is not XML")
	}
	return doc.Root(), nil
}

// checkXML holds a document against the bounds, before a tree is made of it.
func checkXML(raw []byte, comments bool) error {
	if len(raw) > maxDocument {
		return refuse("size", "the document has more than %d bytes", maxDocument)
	}
	dec := xml.NewDecoder(bytes.NewReader(raw))
	depth, roots := 0, 0
	for nodes := 0; ; nodes++ {
		start := dec.InputOffset()
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return refuse("xml", "it is not XML of UTF-8 without entities of its own: %v", err)
		}
		if nodes > maxNodes {
			return refuse("size", "the document has more than %d nodes", maxNodes)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if depth == 0 {
				roots++
			}
			if depth++; depth > maxDepth {
				return refuse("depth", "elements stand more than %d deep", maxDepth)
			}
			if len(tok.Attr) > maxAttrs {
				return refuse("size", "an element has more than %d attributes", maxAttrs)
			}
		case xml.EndElement:
			depth--
		case xml.Directive:
			return refuse("dtd", "a document type has no place here")
		case xml.ProcInst:
			if tok.Target != "xml" || start != 0 {
				return refuse("instruction", "a processing instruction has no place here")
			}
		case xml.Comment:
			if !comments {
				return refuse("comment", "a comment has no place here")
			}
		}
	}
	if roots != 1 {
		return refuse("xml", "the document must have one element at the top")
	}
	return nil
}

// each visits an element and all below it.
func each(el *etree.Element, visit func(*etree.Element) error) error {
	if err := visit(el); err != nil {
		return err
	}
	for _, c := range el.ChildElements() {
		if err := each(c, visit); err != nil {
			return err
		}
	}
	return nil
}

// checkShape is what makes moving signed parts about pointless: every ID
// stands once, there is one assertion, it stands where it belongs, and so do
// the signatures: one for each of what may be signed.
func checkShape(root *etree.Element) error {
	ids, assertions := map[string]bool{}, 0
	return each(root, func(el *etree.Element) error {
		for _, a := range el.Attr {
			if a.Key != "ID" && a.Key != "Id" && a.Key != "id" {
				continue
			}
			if ids[a.Value] {
				return refuse("id", "an ID stands twice")
			}
			ids[a.Value] = true
		}
		parent := el.Parent()
		switch {
		case is(el, nsAssertion, "EncryptedAssertion"), is(el, nsAssertion, "EncryptedID"), is(el, nsAssertion, "EncryptedAttribute"):
			return refuse("encrypted", "%s: encrypted parts cannot be read here: turn encryption off at the provider, TLS protects the way", el.Tag)
		case is(el, nsAssertion, "Assertion"):
			if assertions++; assertions > 1 {
				return refuse("assertions", "there are several assertions")
			}
			if el != root && parent != root {
				return refuse("place", "the assertion does not stand where it belongs")
			}
		case is(el, nsProtocol, "Response") && el != root:
			return refuse("place", "a response stands within another element")
		case is(el, nsSignature, "Signature"):
			if !is(parent, nsProtocol, "Response") && !is(parent, nsAssertion, "Assertion") {
				return refuse("place", "a signature does not stand in what it signs")
			}
		}
		return nil
	})
}
