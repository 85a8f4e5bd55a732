package scim

import (
	"slices"
	"strings"
)

// setEmails does an operation on all addresses, or on those that the path picks.
func (u *User) setEmails(do string, p Path, v any) error {
	picked := func(e Email) bool { return p.Only == nil || e.is(*p.Only) }
	switch {
	case do == "remove" && p.Sub == "":
		u.Emails = slices.DeleteFunc(slices.Clone(u.Emails), picked)
		return nil
	case p.Sub == "" && p.Only == nil:
		return u.putEmails(do, v)
	}
	u.Emails = slices.Clone(u.Emails)
	found := false
	for i := range u.Emails {
		if picked(u.Emails[i]) {
			found = true
			if err := u.Emails[i].set(p.Sub, v); err != nil {
				return err
			}
		}
	}
	if !found && do != "remove" { // as Microsoft Entra ID means it: there is one from now on
		e := Email{}
		if p.Only != nil {
			if err := e.set(p.Only.Attr, p.Only.Value); err != nil {
				return err
			}
		}
		if err := e.set(p.Sub, v); err != nil {
			return err
		}
		u.Emails = append(u.Emails, e)
	}
	return u.tidyEmails()
}

// putEmails adds addresses, or replaces them.
func (u *User) putEmails(do string, v any) error {
	values, err := list("emails", v, maxValues)
	if err != nil {
		return err
	}
	emails := []Email{}
	if do == "add" {
		emails = slices.Clone(u.Emails)
	}
	for _, value := range values {
		var e Email
		if err := e.set("", value); err != nil {
			return err
		}
		emails = slices.DeleteFunc(emails, func(old Email) bool { return old.Value == e.Value && old.Type == e.Type })
		if e.Primary { // there is one at most
			for i := range emails {
				emails[i].Primary = false
			}
		}
		emails = append(emails, e)
	}
	u.Emails = emails
	return u.tidyEmails()
}

func (u *User) tidyEmails() error {
	u.Emails = slices.DeleteFunc(u.Emails, func(e Email) bool { return e.Value == "" })
	if len(u.Emails) > maxValues {
		return refuse(TooMany, "emails has more than %d values", maxValues)
	}
	return nil
}

// set sets one part of an address, or with "" the whole of it.
func (e *Email) set(part string, v any) (err error) {
	switch part {
	case "":
		if s, ok := v.(string); ok {
			return setText(&e.Value, "emails.value", s)
		}
		parts, ok := v.(map[string]any)
		if !ok {
			return refuse(InvalidValue, "emails must be objects with a value")
		}
		for name, value := range parts {
			if name == "" {
				continue
			}
			if err := e.set(strings.ToLower(name), value); err != nil {
				return err
			}
		}
		return nil
	case "value":
		return setText(&e.Value, "emails.value", v)
	case "type":
		return setText(&e.Type, "emails.type", v)
	case "primary":
		if v == nil {
			v = false
		}
		e.Primary, err = truth("emails.primary", v)
	}
	return err
}

func (e Email) is(c Condition) bool {
	want, _ := c.Value.(string)
	switch c.Attr {
	case "type":
		return strings.EqualFold(e.Type, want)
	case "value":
		return strings.EqualFold(e.Value, want)
	case "primary":
		return c.Value == e.Primary
	}
	return false
}
