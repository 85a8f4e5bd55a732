package authserver

import (
	"bytes"
	"encoding/json"
	"fmt"

	"doorward/internal/jose"
)

// The JSON types of the claims that an ID-JAG may have (ID-JAG section 3.1,
// AS-JAG-05). One that is there with another type, with null or with nothing in
// it is refused and not passed over: what limits a grant (resource, scope,
// tenant, cnf) must not turn into no limit.

// claimForm is what a claim's value must be; the error says what is wrong with it.
type claimForm func(jose.Claims, string) error

// forms is in the order of the checks.
var forms = []struct {
	claim string
	is    claimForm
}{
	{"resource", aTextOrTexts}, {"scope", aText}, {"tenant", aText}, {"tid", aText}, {"aud_tenant", aText}, {"aud_sub", aText},
	{"cnf", anObject}, {"act", anActor}, {"sub_id", aSubject}, {"authorization_details", aList},
	{"hasgroups", aTruth}, {"_claim_names", anObject},
	{"email", aText}, {"email_verified", aTruth}, {"name", aText}, {"acr", aText}, {"amr", aTextOrTexts}, {"auth_time", aNumber},
}

// formed checks the types of the claims that may be left out.
func formed(c jose.Claims, from *issuer) error {
	for _, f := range forms {
		if err := is(f.is, c, f.claim); err != nil {
			return reject("claim_type", "%v", err)
		}
	}
	if err := is(aTextOrTexts, c, from.GroupsClaim); err != nil {
		return reject("claim_type", "%v", err)
	}
	return nil
}

func is(f claimForm, c jose.Claims, name string) error {
	raw, there := c[name]
	switch {
	case !there:
		return nil
	case string(raw) == "null":
		return fmt.Errorf("claim %s is null", name)
	}
	return f(c, name)
}

func aText(c jose.Claims, name string) error {
	if someText(c[name]) {
		return nil
	}
	text, err := c.Text(name)
	if err == nil && text == "" {
		err = fmt.Errorf("claim %s is empty", name)
	}
	return err
}

// aTextOrTexts lets an empty list pass: nobody's groups are one. What it means
// elsewhere, others check.
func aTextOrTexts(c jose.Claims, name string) error {
	if someText(c[name]) {
		return nil
	}
	texts, err := c.Texts(name)
	for _, text := range texts {
		if text == "" {
			return fmt.Errorf("claim %s has an empty string in it", name)
		}
	}
	return err
}

// someText reports whether raw, which is JSON, is a string with something in it.
func someText(raw json.RawMessage) bool { return len(raw) > len(`""`) && raw[0] == '"' }

func aNumber(c jose.Claims, name string) error {
	_, err := c.Time(name)
	return err
}

// aTruth lets the strings pass that some issuers write.
func aTruth(c jose.Claims, name string) error {
	switch string(c[name]) {
	case "true", "false", `"true"`, `"false"`:
		return nil
	}
	return fmt.Errorf("claim %s is neither true nor false", name)
}

func anObject(c jose.Claims, name string) error {
	var members jose.Claims
	return c.Decode(name, &members)
}

func aList(c jose.Claims, name string) error {
	if !bytes.HasPrefix(c[name], []byte("[")) {
		return fmt.Errorf("claim %s is no array", name)
	}
	var list []json.RawMessage
	return c.Decode(name, &list)
}

const maxActors = 8 // that act one for the other

// anActor is RFC 8693 section 4.1: who acts, and perhaps for whom that one acts.
func anActor(c jose.Claims, name string) error {
	for range maxActors {
		var actor jose.Claims
		if err := c.Decode("act", &actor); err != nil {
			return err
		}
		if len(actor) == 0 {
			return fmt.Errorf("claim %s names nobody", name)
		}
		for _, member := range []string{"iss", "sub", "client_id"} {
			if err := is(aText, actor, member); err != nil {
				return fmt.Errorf("claim %s: %w", name, err)
			}
		}
		raw, nested := actor["act"]
		switch {
		case !nested:
			return nil
		case string(raw) == "null":
			return fmt.Errorf("claim %s: an actor is null", name)
		}
		c = actor
	}
	return fmt.Errorf("claim %s names more than %d actors", name, maxActors)
}

// aSubject is RFC 9493 section 3: an object that says what form it has.
func aSubject(c jose.Claims, name string) error {
	var id jose.Claims
	if err := c.Decode(name, &id); err != nil {
		return err
	}
	if format, err := id.Text("format"); err != nil || format == "" {
		return fmt.Errorf("claim %s does not say its format", name)
	}
	return nil
}
