package scim

import (
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

// Members is what a request does to the members of a group: if All is set those
// that were there go; then those of Change come (true) or go (false), by their ids.
type Members struct {
	All    bool
	Change map[string]bool
}

// NewGroup reads the body of a POST.
func NewGroup(body []byte) (Group, Members, error) {
	var g Group
	m, err := g.Replace(body)
	return g, m, err
}

// Replace reads the body of a PUT (RFC 7644 section 3.5.1): members too, so that
// without the word the group has none. Without externalId it stays what it is.
func (g *Group) Replace(body []byte) (Members, error) {
	m := Members{All: true, Change: map[string]bool{}}
	attrs, err := object(body)
	if err != nil {
		return m, err
	}
	*g = Group{ID: g.ID, ExternalID: g.ExternalID, Created: g.Created, Modified: g.Modified}
	for name, v := range attrs {
		if v == nil && name == "externalid" {
			continue
		}
		if err := g.set(&m, "replace", Path{Attr: name}, v); err != nil {
			return m, err
		}
	}
	return m, g.check(m)
}

// Patch does the operations of a PATCH (RFC 7644 section 3.5.2): all of them, or
// with an error none that counts.
func (g *Group) Patch(body []byte) (Members, error) {
	m := Members{Change: map[string]bool{}}
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
	case len(m.Change) > MaxMembers:
		return refuse(TooMany, "more than %d members in one request", MaxMembers)
	}
	return nil
}

// set does one operation on one attribute; those that are not kept, and those
// that are the server's, are passed over.
func (g *Group) set(m *Members, do string, p Path, v any) error {
	if p.Attr == "members" {
		return m.set(do, p, v)
	}
	if do == "remove" {
		v = nil
	}
	switch p.Attr {
	case "displayname":
		return setText(&g.DisplayName, "displayName", v)
	case "externalid":
		return setText(&g.ExternalID, "externalId", v)
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
		m.change(id, false)
		return nil
	}
	if p.Sub != "" && p.Sub != "value" {
		return refuse(InvalidPath, "of members only the value can be set")
	}
	ids, err := memberIDs(v)
	if err != nil {
		return err
	}
	if do == "remove" && v != nil { // Microsoft Entra ID names them in the value
		for _, id := range ids {
			m.change(id, false)
		}
		return nil
	}
	if do != "add" {
		*m = Members{All: true, Change: map[string]bool{}}
	}
	for _, id := range ids {
		m.change(id, true)
	}
	return nil
}

// change notes what the last word about a member is.
func (m *Members) change(id string, add bool) {
	if !add && m.All {
		delete(m.Change, id)
		return
	}
	m.Change[id] = add
}

func memberIDs(v any) ([]string, error) {
	values, err := list("members", v, MaxMembers)
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(values))
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

// Is reports whether the condition holds; of members, which a Group does not
// know, it says nothing.
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
	return c.Attr == "members"
}

// Filterable reports whether groups can be found by the attribute.
func (Group) Filterable(p Path) bool {
	switch p.Attr {
	case "id", "displayname", "externalid":
		return p.Sub == "" && p.Only == nil
	case "members":
		return (p.Sub == "" || p.Sub == "value") && p.Only == nil
	}
	return false
}
