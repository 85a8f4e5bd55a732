package scim

import (
	"slices"
	"strings"
	"time"
)

// Group is a group of a directory (RFC 7643 section 4.2), without its members,
// of which there may be many.
type Group struct {
	ID          string    `json:"id"`
	DisplayName string    `json:"displayName"`
	ExternalID  string    `json:"externalId,omitempty"`
	Created     time.Time `json:"created"`
	Modified    time.Time `json:"modified"`
}

// Members is what a request does to the members of a group, by their ids: if All
// is set those that were there go, then Remove go and Add come. No id is in both.
type Members struct {
	All         bool
	Add, Remove []string
}

// NewGroup reads the body of a POST.
func NewGroup(body []byte) (Group, Members, error) {
	var g Group
	m, err := g.Replace(body)
	return g, m, err
}

// Replace reads the body of a PUT (RFC 7644 section 3.5.1): members too.
func (g *Group) Replace(body []byte) (Members, error) {
	m := Members{All: true}
	attrs, err := object(body)
	if err != nil {
		return m, err
	}
	*g = Group{ID: g.ID, Created: g.Created, Modified: g.Modified}
	for name, v := range attrs {
		if err := g.set(&m, "replace", Path{Attr: name}, v); err != nil {
			return m, err
		}
	}
	return m, g.check(m)
}

// Patch does the operations of a PATCH (RFC 7644 section 3.5.2).
func (g *Group) Patch(body []byte) (Members, error) {
	var m Members
	ops, err := operations(body)
	if err != nil {
		return m, err
	}
	for _, op := range ops {
		if err := g.set(&m, op.do, op.path, op.value); err != nil {
			return m, err
		}
	}
	return m, g.check(m)
}

func (g *Group) check(m Members) error {
	switch {
	case strings.TrimSpace(g.DisplayName) == "":
		return refuse(InvalidValue, "displayName is required")
	case len(m.Add)+len(m.Remove) > MaxMembers:
		return refuse(TooMany, "more than %d members in one request", MaxMembers)
	}
	return nil
}

func (g *Group) set(m *Members, do string, p Path, v any) error {
	switch p.Attr {
	case "displayname":
		if do == "remove" {
			v = nil
		}
		return setText(&g.DisplayName, "displayName", v)
	case "externalid":
		if do == "remove" {
			v = nil
		}
		return setText(&g.ExternalID, "externalId", v)
	case "members":
		return m.set(do, p, v)
	}
	return nil
}

// set does one operation on members.
func (m *Members) set(do string, p Path, v any) error {
	if p.Only != nil { // members[value eq "id"]: Okta, and RFC 7644 figure 6
		id, ok := p.Only.Value.(string)
		if do != "remove" || !ok || p.Only.Attr != "value" || p.Sub != "" {
			return refuse(InvalidPath, "of members picked by a filter only remove with [value eq \"id\"] is understood")
		}
		m.remove(id)
		return nil
	}
	if p.Sub != "" && p.Sub != "value" {
		return nil
	}
	ids, err := memberIDs(v)
	switch {
	case err != nil:
		return err
	case do == "remove" && v != nil: // Microsoft Entra ID names them in the value
		for _, id := range ids {
			m.remove(id)
		}
		return nil
	case do != "add":
		*m = Members{All: true}
	}
	for _, id := range ids {
		m.add(id)
	}
	return nil
}

func (m *Members) add(id string) {
	m.Remove = slices.DeleteFunc(m.Remove, func(s string) bool { return s == id })
	if !slices.Contains(m.Add, id) {
		m.Add = append(m.Add, id)
	}
}

func (m *Members) remove(id string) {
	m.Add = slices.DeleteFunc(m.Add, func(s string) bool { return s == id })
	if !slices.Contains(m.Remove, id) {
		m.Remove = append(m.Remove, id)
	}
}

func memberIDs(v any) ([]string, error) {
	values, err := list("members", v, MaxMembers)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, value := range values {
		if o, ok := value.(map[string]any); ok {
			if o, err = lower(o); err != nil {
				return nil, err
			}
			value = o["value"]
		}
		id, err := text("members.value", value)
		if err != nil {
			return nil, err
		}
		if id == "" {
			return nil, refuse(InvalidValue, "a member has no value")
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// Is reports whether the condition holds.
func (g Group) Is(c Condition) bool {
	want, _ := c.Value.(string)
	switch c.Attr {
	case "id":
		return c.Value == g.ID
	case "displayname":
		return strings.EqualFold(want, g.DisplayName) && want != ""
	case "externalid":
		return c.Value == g.ExternalID
	}
	return false
}

// Filterable reports whether groups can be found by the attribute.
func (Group) Filterable(p Path) bool {
	return p.Sub == "" && p.Only == nil && (p.Attr == "id" || p.Attr == "displayname" || p.Attr == "externalid")
}
