package authserver

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"

	"doorward/internal/audit"
	"doorward/internal/ledger"
	"doorward/internal/scim"
)

// mostMembers is how many members one answer lists, over all its groups.
const mostMembers = 100_000

// createGroup is POST /Groups (RFC 7644 section 3.3).
func (c *scimCall) createGroup(ctx context.Context) (scimAnswer, error) {
	body, err := c.body()
	if err != nil {
		return scimAnswer{}, err
	}
	g := ledger.DirectoryGroup{Provider: c.d.name}
	var m scim.Members
	if g.Group, m, err = scim.NewGroup(body); err != nil {
		return scimAnswer{}, err
	}
	g.ID, g.Created = rand.Text(), c.s.now().UTC()
	for range attempts {
		if err = c.writeGroup(ctx, "scim.create", nil, &g, m); err == nil {
			return c.showGroup(ctx, g, http.StatusCreated)
		}
		if !conflicted(err) {
			return scimAnswer{}, err
		}
	}
	return scimAnswer{}, crowdedRecord()
}

// oneGroup is what may be done with /Groups/ID.
func (c *scimCall) oneGroup(ctx context.Context) (scimAnswer, error) {
	body, err := c.change()
	if err != nil {
		return scimAnswer{}, err
	}
	switch c.r.Method {
	case http.MethodPut:
		return c.changeGroup(ctx, "scim.replace", func(g *scim.Group) (scim.Members, error) { return g.Replace(body) })
	case http.MethodPatch:
		return c.changeGroup(ctx, "scim.patch", func(g *scim.Group) (scim.Members, error) { return g.Patch(body) })
	case http.MethodDelete:
		return c.changeGroup(ctx, "scim.delete", nil)
	}
	g, err := c.s.ledger.DirectoryGroup(ctx, c.d.name, c.id)
	if err != nil {
		return scimAnswer{}, err
	}
	return c.showGroup(ctx, g, http.StatusOK)
}

// changeGroup changes a group and its members, or with nil deletes it. Whoever
// changed it meanwhile makes it begin anew, so that no change is lost.
func (c *scimCall) changeGroup(ctx context.Context, action string, change func(*scim.Group) (scim.Members, error)) (scimAnswer, error) {
	for range attempts {
		before, err := c.s.ledger.DirectoryGroup(ctx, c.d.name, c.id)
		if err == nil {
			err = c.ifMatch(before.Version)
		}
		if err != nil {
			return scimAnswer{}, err
		}
		var after *ledger.DirectoryGroup
		var m scim.Members
		if change != nil {
			g := before
			if m, err = change(&g.Group); err != nil {
				return scimAnswer{}, err
			}
			after = &g
		}
		err = c.writeGroup(ctx, action, &before, after, m)
		switch {
		case conflicted(err):
			continue
		case err != nil:
			return scimAnswer{}, err
		case after == nil:
			return scimAnswer{status: http.StatusNoContent}, nil
		case c.r.Method == http.MethodPatch && !c.r.URL.Query().Has("attributes"): // its members may be many
			return scimAnswer{status: http.StatusNoContent, version: after.Version}, nil
		}
		return c.showGroup(ctx, *after, http.StatusOK)
	}
	return scimAnswer{}, crowdedRecord()
}

// writeGroup writes a group, who comes and goes, and the event in one commit.
func (c *scimCall) writeGroup(ctx context.Context, action string, before, after *ledger.DirectoryGroup, m scim.Members) error {
	l, shown := c.s.ledger, after
	if after == nil {
		shown = before
	}
	changes, err := c.memberChanges(ctx, before, m)
	if err != nil {
		return err
	}
	if before != nil && after != nil && len(changes) == 0 && *before == *after {
		return nil
	}
	if after != nil {
		after.Modified = c.s.now().UTC()
	}
	ops := ledger.DirectoryGroupOps(before, after, changes)
	ops = append(ops, l.AuditOp(c.s.event(action, audit.Event{Issuer: c.d.trust.Issuer, Address: address(c.r),
		Detail: fmt.Sprintf("directory %s: group %.100q, %d members changed", c.d.name, shown.DisplayName, len(changes))})))
	err = l.Store.Commit(ctx, ops...)
	switch {
	case conflicted(err) && after != nil:
		if taken, takenErr := l.GroupTaken(ctx, *after); takenErr != nil {
			return takenErr
		} else if taken {
			return &scim.Error{Type: scim.Uniqueness, Detail: "another group of this directory has this displayName"}
		}
		return err
	case err != nil:
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if after == nil {
		return l.ForgetMembers(ctx, "group", c.d.name, before.ID)
	}
	after.Version++
	return l.ForgetGone(ctx, c.d.name, after.ID, changes)
}

// memberChanges are who comes and who goes. Whoever comes must be a user of the
// directory; of those who go nobody needs to be there.
func (c *scimCall) memberChanges(ctx context.Context, before *ledger.DirectoryGroup, m scim.Members) (map[string]bool, error) {
	changes := map[string]bool{}
	for id, in := range m.Change {
		was := false
		var err error
		if before != nil {
			if was, err = c.s.ledger.IsMember(ctx, c.d.name, before.ID, id); err != nil {
				return nil, err
			}
		}
		if was == in {
			continue
		}
		if in {
			if _, err = c.s.ledger.DirectoryUser(ctx, c.d.name, id); notFound(err) {
				return nil, &scim.Error{Type: scim.InvalidValue, Detail: "a member is no user of this directory: value must be the id of one"}
			} else if err != nil {
				return nil, err
			}
		}
		changes[id] = in
	}
	if !m.All || before == nil {
		return changes, nil
	}
	members, err := c.s.ledger.GroupMembers(ctx, c.d.name, before.ID)
	for _, id := range members {
		if !m.Change[id] {
			changes[id] = false
		}
	}
	return changes, err
}

// listGroups is GET /Groups.
func (c *scimCall) listGroups(ctx context.Context) (scimAnswer, error) {
	_, p, conditions, err := c.query()
	if err != nil {
		return scimAnswer{}, err
	}
	for _, one := range conditions {
		if !(scim.Group{}).Filterable(one.Path) {
			return scimAnswer{}, &scim.Error{Type: scim.InvalidFilter, Detail: "groups can be found by id, displayName, externalId and members"}
		}
	}
	l, members := listing{part: p, found: []map[string]any{}}, 0
	return l.answer(c.eachGroup(ctx, conditions, func(g ledger.DirectoryGroup) bool {
		var is bool
		if is, l.failed = c.groupIs(ctx, g, conditions); l.failed != nil || !is {
			return l.failed == nil
		}
		return c.add(&l, func() (map[string]any, error) { return c.groupBody(ctx, g, &members) })
	}))
}

func (c *scimCall) groupIs(ctx context.Context, g ledger.DirectoryGroup, conditions []scim.Condition) (bool, error) {
	for _, one := range conditions {
		if !g.Is(one) {
			return false, nil
		}
		if one.Attr != "members" {
			continue
		}
		user, _ := one.Value.(string)
		if is, err := c.s.ledger.IsMember(ctx, c.d.name, g.ID, user); err != nil || !is {
			return false, err
		}
	}
	return true, nil
}

// eachGroup calls fn for those of which the conditions may hold.
func (c *scimCall) eachGroup(ctx context.Context, conditions []scim.Condition, fn func(ledger.DirectoryGroup) bool) error {
	l, externalID := c.s.ledger, ""
	for _, one := range conditions {
		value, _ := one.Value.(string)
		var g ledger.DirectoryGroup
		var err error
		switch one.Attr {
		case "id":
			g, err = l.DirectoryGroup(ctx, c.d.name, value)
		case "displayname":
			g, err = l.DirectoryGroupNamed(ctx, c.d.name, value)
		case "externalid":
			externalID = value
			continue
		default:
			continue
		}
		if err == nil {
			fn(g)
		}
		return ignoreNotFound(err)
	}
	return l.EachDirectoryGroup(ctx, c.d.name, externalID, fn)
}

// showGroup is a group as an answer.
func (c *scimCall) showGroup(ctx context.Context, g ledger.DirectoryGroup, status int) (scimAnswer, error) {
	body, err := c.groupBody(ctx, g, new(int))
	if err != nil {
		return scimAnswer{}, err
	}
	a := scimAnswer{status: status, version: max(g.Version, 1), body: c.selected(body)}
	if status == http.StatusCreated {
		a.location = c.base() + "/Groups/" + g.ID
	}
	return a, nil
}

// groupBody is a group with its schema, meta and members, which listed counts.
func (c *scimCall) groupBody(ctx context.Context, g ledger.DirectoryGroup, listed *int) (map[string]any, error) {
	body := map[string]any{"schemas": []string{scim.GroupURN}, "id": g.ID, "displayName": g.DisplayName,
		"meta": c.meta("Group", g.ID, g.Created, g.Modified, max(g.Version, 1))}
	if g.ExternalID != "" {
		body["externalId"] = g.ExternalID
	}
	if !c.wants("members") {
		return body, nil
	}
	ids, err := c.s.ledger.GroupMembers(ctx, c.d.name, g.ID)
	if err != nil {
		return nil, err
	}
	if *listed += len(ids); *listed > mostMembers {
		return nil, &scim.Error{Type: scim.TooMany, Detail: fmt.Sprintf("more than %d members: ask with excludedAttributes=members, or for fewer groups (count)", mostMembers)}
	}
	slices.Sort(ids)
	members := make([]map[string]string, len(ids))
	for i, id := range ids {
		members[i] = map[string]string{"value": id, "type": "User", "$ref": c.base() + "/Users/" + id}
	}
	body["members"] = members
	return body, nil
}
