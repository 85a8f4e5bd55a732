package authserver

import (
	"bytes"
	"encoding/json"
	"fmt"

	"doorward/internal/oauth"
)

// Rich authorization requests (RFC 9396): elements of types that the program
// knows, which a person reads on the consent page and which then stand in the
// access token.

// Detail is one element of authorization_details, decoded from JSON; numbers
// are json.Number.
type Detail = map[string]any

// DetailType is a type of authorization_details that this issuer knows. Both
// functions may be called by many goroutines, and get elements that strangers
// wrote; Words only such as passed Check.
type DetailType struct {
	// Check says what is wrong with the fields and values of an element for a
	// resource; nil if nothing is. The client reads the error's text.
	Check func(resource string, d Detail) error
	// Words describe on the consent page what the element lets the client do.
	Words func(d Detail) string
}

const maxWords = 300 // runes on the consent page

func (st *settings) checkDetailTypes() error {
	for name, t := range st.cfg.AuthorizationDetails {
		if name == "" || t.Check == nil || t.Words == nil {
			return fmt.Errorf("AuthorizationDetails[%q] needs a name, Check and Words", name)
		}
	}
	return nil
}

// details reads what was asked for at a resource (RFC 9396 section 5).
func (st *settings) details(text string, res *resource) (oauth.Details, error) {
	list, err := oauth.ParseDetails(text)
	if err != nil {
		return nil, err
	}
	for i, raw := range list {
		d, t, known := st.detail(raw)
		if !known {
			return nil, badDetail(i, "is of a type that is not known here")
		}
		if where, given := d["locations"]; given && !onlyAt(where, res.ID) { // section 2.2
			return nil, badDetail(i, "is for another location than the resource")
		}
		if err := t.Check(res.ID, d); err != nil {
			return nil, badDetail(i, err.Error())
		}
	}
	return list, nil
}

func badDetail(i int, what string) error {
	return &oauth.Error{Code: oauth.InvalidAuthzDetails, Description: oauth.Printable(fmt.Sprintf("authorization_details[%d] %s", i, what))}
}

// detail decodes an element and finds its type.
func (st *settings) detail(raw json.RawMessage) (d Detail, t DetailType, known bool) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&d); err != nil {
		return nil, t, false
	}
	name, _ := d["type"].(string)
	t, known = st.cfg.AuthorizationDetails[name]
	return d, t, known
}

func onlyAt(where any, resource string) bool {
	list, ok := where.([]any)
	for _, l := range list {
		text, isText := l.(string)
		ok = ok && isText && oauth.MatchResource([]string{resource}, text) != ""
	}
	return ok && len(list) > 0
}

// words describe the elements to people, whatever stands in them.
func (st *settings) words(list oauth.Details) []string {
	var out []string
	for _, raw := range list {
		d, t, known := st.detail(raw)
		if !known {
			continue
		}
		text := cleanText(t.Words(d), maxWords)
		if text == "" {
			text, _ = d["type"].(string)
		}
		out = append(out, text)
	}
	return out
}

// narrowDetails is what of the elements that were granted the request asks
// for: all if it names none (RFC 9396 section 6.1). Only a person grants them,
// so that a request whose grant has none cannot bring any.
func (a *asked) narrowDetails(granted oauth.Details) (oauth.Details, error) {
	for _, raw := range granted {
		if _, _, known := a.st.detail(raw); !known {
			return nil, a.invalid("scope_withdrawn", nil)
		}
	}
	asked, err := oauth.ParseDetails(a.AuthorizationDetails)
	switch {
	case err != nil:
		return nil, err
	case asked == nil:
		return granted, nil
	case !granted.HasAll(asked):
		return nil, &oauth.Error{Code: oauth.InvalidAuthzDetails, Description: "authorization_details were not granted"}
	}
	return asked, nil
}
