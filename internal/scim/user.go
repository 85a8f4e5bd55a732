package scim

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// User is a person as a directory describes them (RFC 7643 section 4.1): what
// of it is kept here. Everything else that comes is ignored.
type User struct {
	ID          string    `json:"id"`
	UserName    string    `json:"userName"`
	ExternalID  string    `json:"externalId,omitempty"`
	DisplayName string    `json:"displayName,omitempty"`
	Name        Name      `json:"name,omitzero"`
	Emails      []Email   `json:"emails,omitempty"`
	Active      bool      `json:"active"`
	Created     time.Time `json:"created"`
	Modified    time.Time `json:"modified"`
}

// Name is the parts of a name.
type Name struct {
	Formatted  string `json:"formatted,omitempty"`
	FamilyName string `json:"familyName,omitempty"`
	GivenName  string `json:"givenName,omitempty"`
}

// Email is one address.
type Email struct {
	Value   string `json:"value"`
	Type    string `json:"type,omitempty"`
	Primary bool   `json:"primary,omitempty"`
}

// NewUser reads the body of a POST. Who is not said to be inactive is active.
func NewUser(body []byte) (User, error) {
	u := User{Active: true}
	return u, u.Replace(body)
}

// Replace reads the body of a PUT (RFC 7644 section 3.5.1). Without active or
// externalId, which Okta leaves out, these stay what they are: nobody comes back,
// or becomes somebody else, because a word is missing.
func (u *User) Replace(body []byte) error {
	attrs, err := object(body)
	if err != nil {
		return err
	}
	*u = User{ID: u.ID, ExternalID: u.ExternalID, Active: u.Active, Created: u.Created, Modified: u.Modified}
	for _, name := range slices.Sorted(maps.Keys(attrs)) { // the whole before its parts
		v := attrs[name]
		if v == nil && (name == "active" || name == "externalid") {
			continue
		}
		if err := u.set("replace", Path{Attr: name}, v); err != nil {
			return err
		}
	}
	return u.check()
}

func (u *User) check() error {
	if strings.TrimSpace(u.UserName) == "" {
		return refuse(InvalidValue, "userName is required")
	}
	return nil
}

// Patch does the operations of a PATCH (RFC 7644 section 3.5.2): all of them, or
// with an error none that counts.
func (u *User) Patch(body []byte) error {
	ops, err := operations(body)
	if err != nil {
		return err
	}
	for _, op := range ops {
		if err := u.set(op.do, op.path, op.value); err != nil {
			return err
		}
	}
	return u.check()
}

// set does one operation on one attribute. Those that are not kept, and those
// that are the server's, are passed over.
func (u *User) set(do string, p Path, v any) error {
	if do == "remove" {
		v = nil
	}
	switch p.Attr {
	case "username":
		return setText(&u.UserName, "userName", v)
	case "externalid":
		return setText(&u.ExternalID, "externalId", v)
	case "displayname":
		return setText(&u.DisplayName, "displayName", v)
	case "active":
		active, err := truth("active", v)
		if err == nil {
			u.Active = active
		}
		return err
	case "name":
		return u.setName(do, p.Sub, v)
	case "emails":
		return u.setEmails(do, p, v)
	}
	return nil
}

func setText(to *string, name string, v any) error {
	s, err := text(name, v)
	if err == nil {
		*to = s
	}
	return err
}

func (u *User) setName(do, sub string, v any) error {
	switch sub {
	case "":
	case "formatted":
		return setText(&u.Name.Formatted, "name.formatted", v)
	case "familyname":
		return setText(&u.Name.FamilyName, "name.familyName", v)
	case "givenname":
		return setText(&u.Name.GivenName, "name.givenName", v)
	default:
		return nil
	}
	parts, ok := v.(map[string]any)
	if v != nil && !ok {
		return refuse(InvalidValue, "name must be an object")
	}
	if do != "add" {
		u.Name = Name{}
	}
	for part, value := range parts {
		if err := u.setName(do, strings.ToLower(part), value); err != nil || part == "" {
			return err
		}
	}
	return nil
}

// Email is the address to show: the primary one, else the first.
func (u User) Email() string {
	for _, e := range u.Emails {
		if e.Primary {
			return e.Value
		}
	}
	if len(u.Emails) > 0 {
		return u.Emails[0].Value
	}
	return ""
}

// Called is the name to show.
func (u User) Called() string {
	for _, s := range []string{u.DisplayName, u.Name.Formatted, strings.TrimSpace(u.Name.GivenName + " " + u.Name.FamilyName)} {
		if s != "" {
			return s
		}
	}
	return u.UserName
}

// Is reports whether the condition holds. userName and addresses have no case
// (RFC 7643 section 4.1), externalId has (section 3.1).
func (u User) Is(c Condition) bool {
	want, _ := c.Value.(string)
	switch c.Attr {
	case "id":
		return c.Value == u.ID
	case "username":
		return strings.EqualFold(want, u.UserName) && want != ""
	case "externalid":
		return c.Value == u.ExternalID
	case "displayname":
		return strings.EqualFold(want, u.DisplayName) && want != ""
	case "active":
		return c.Value == u.Active
	case "emails":
		for _, e := range u.Emails {
			if (c.Only == nil || e.is(*c.Only)) && strings.EqualFold(e.Value, want) && want != "" {
				return true
			}
		}
	}
	return false
}

// Filterable reports whether users can be found by the attribute.
func (User) Filterable(p Path) bool {
	switch p.Attr {
	case "id", "username", "externalid", "displayname", "active":
		return p.Sub == "" && p.Only == nil
	case "emails":
		return p.Sub == "" || p.Sub == "value"
	}
	return false
}
