package authserver

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"doorward/internal/audit"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/internal/scim"
	"doorward/store"
)

// createUser is POST /Users (RFC 7644 section 3.3). Somebody who was deleted
// may come back by it, as somebody new.
func (c *scimCall) createUser(ctx context.Context) (scimAnswer, error) {
	body, err := c.body()
	if err != nil {
		return scimAnswer{}, err
	}
	u := ledger.DirectoryUser{Provider: c.d.name}
	if u.User, err = scim.NewUser(body); err != nil {
		return scimAnswer{}, err
	}
	u.ID, u.Created = rand.Text(), c.s.now().UTC()
	for range attempts {
		taken, err := c.writeUser(ctx, "scim.create", nil, &u)
		switch {
		case err == nil:
			return c.showUser(ctx, u, http.StatusCreated)
		case taken:
			return scimAnswer{}, &scim.Error{Type: scim.Uniqueness, Detail: "somebody else of this directory has this userName, or this account"}
		case !conflicted(err):
			return scimAnswer{}, err
		}
	}
	return scimAnswer{}, crowdedRecord()
}

// crowdedRecord: other requests were always faster.
func crowdedRecord() error {
	return &oauth.Error{Code: oauth.TemporarilyUnavailable, Description: "too many requests for the same resource at once", RetryAfter: 1}
}

// oneUser is what may be done with /Users/ID.
func (c *scimCall) oneUser(ctx context.Context) (scimAnswer, error) {
	body, err := c.change()
	if err != nil {
		return scimAnswer{}, err
	}
	switch c.r.Method {
	case http.MethodPut:
		return c.changeUser(ctx, "scim.replace", func(u *scim.User) error { return u.Replace(body) })
	case http.MethodPatch:
		return c.changeUser(ctx, "scim.patch", func(u *scim.User) error { return u.Patch(body) })
	case http.MethodDelete:
		return c.changeUser(ctx, "scim.delete", nil)
	}
	u, err := c.s.ledger.DirectoryUser(ctx, c.d.name, c.id)
	if err != nil {
		return scimAnswer{}, err
	}
	return c.showUser(ctx, u, http.StatusOK)
}

// changeUser changes a user, or with nil deletes them.
func (c *scimCall) changeUser(ctx context.Context, action string, change func(*scim.User) error) (scimAnswer, error) {
	for range attempts {
		before, err := c.s.ledger.DirectoryUser(ctx, c.d.name, c.id)
		if err == nil {
			err = c.ifMatch(before.Version)
		}
		if err != nil {
			return scimAnswer{}, err
		}
		var after *ledger.DirectoryUser
		if change != nil {
			u := before
			u.Emails = slices.Clone(before.Emails)
			if err := change(&u.User); err != nil {
				return scimAnswer{}, err
			}
			after = &u
		}
		taken, err := c.writeUser(ctx, action, &before, after)
		switch {
		case taken:
			return scimAnswer{}, &scim.Error{Type: scim.Uniqueness, Detail: "somebody else of this directory has this userName, or this account"}
		case conflicted(err):
			continue
		case err != nil:
			return scimAnswer{}, err
		case after == nil:
			return scimAnswer{status: http.StatusNoContent}, nil
		}
		return c.showUser(ctx, *after, http.StatusOK)
	}
	return scimAnswer{}, crowdedRecord()
}

// writeUser writes a user, what it means for the person's account and the event
// in one commit, and ends what a person has who is not there any more. taken:
// another user has the name or the account.
func (c *scimCall) writeUser(ctx context.Context, action string, before, after *ledger.DirectoryUser) (taken bool, err error) {
	person, states, err := c.states(before, after)
	if err != nil {
		return false, err
	}
	if after != nil && before != nil && reflect.DeepEqual(*before, *after) {
		if known, err := c.repeated(ctx, person, states[person]); known || err != nil {
			return false, err
		}
	}
	if after != nil {
		after.Modified = c.s.now().UTC()
	}
	ops := ledger.DirectoryUserOps(before, after)
	var gone []string
	for who, state := range states {
		var u *scim.User
		if who == person && after != nil {
			u = &after.User
		}
		more, ends, err := c.accountOps(ctx, who, state, u)
		if err != nil {
			return false, err
		}
		if ops = append(ops, more...); ends {
			gone = append(gone, who)
		}
	}
	ops = append(ops, c.s.ledger.AuditOp(c.s.event(action, audit.Event{Person: person, Issuer: c.d.trust.Issuer, Address: address(c.r),
		Detail: "directory " + c.d.name + ": " + states[person]})))
	err = c.commitUser(ctx, gone, ops)
	switch {
	case conflicted(err) && after != nil:
		clash, takenErr := c.s.ledger.Taken(ctx, *after)
		return clash, errors.Join(takenErr, err)
	case err != nil:
		return false, err
	case after == nil:
		return false, c.s.ledger.ForgetMembers(context.WithoutCancel(ctx), "user", c.d.name, before.ID)
	}
	after.Version++
	return false, nil
}

// states is what a change says of the accounts that it is about, and the one
// that the user has after it, or had.
func (c *scimCall) states(before, after *ledger.DirectoryUser) (person string, states map[string]string, err error) {
	states = map[string]string{}
	if before != nil {
		person, states[before.Person] = before.Person, ledger.DirectoryDeleted
	}
	if after != nil {
		if after.Person, err = c.d.person(after.User); err != nil {
			return "", nil, err
		}
		person, states[after.Person] = after.Person, stateOf(after.User)
	}
	return person, states, nil
}

func stateOf(u scim.User) string {
	if u.Active {
		return ledger.DirectoryActive
	}
	return ledger.DirectoryInactive
}

// repeated reports whether a request that changes nothing of a user changes
// nothing of the account either; what an earlier one did not finish is finished.
func (c *scimCall) repeated(ctx context.Context, person, state string) (bool, error) {
	acc, err := c.s.ledger.Account(ctx, person)
	if err != nil || acc.Directory != state {
		return false, ignoreNotFound(err)
	}
	return true, c.s.ledger.FinishLeaving(ctx, person)
}

// accountOps write what the directory says of a person, and tell whether what
// they have ends with it.
func (c *scimCall) accountOps(ctx context.Context, person, state string, u *scim.User) (ops []store.Op, ends bool, err error) {
	l := c.s.ledger
	if state == ledger.DirectoryActive { // back again: without anything that was theirs before
		if err := l.FinishLeaving(ctx, person); err != nil {
			return nil, false, err
		}
	}
	acc, err := l.Account(ctx, person)
	switch {
	case notFound(err):
		acc = ledger.Account{ID: person, Provider: c.d.name, Account: strings.TrimPrefix(person, c.d.name+"/"), Created: c.s.now().UTC()}
	case err != nil:
		return nil, false, err
	}
	was := acc
	if acc.Directory != state {
		acc.Directory, acc.Said = state, c.s.now().UTC()
	}
	if u != nil && acc.Name == "" {
		acc.Name = u.Called()
	}
	if u != nil && acc.Email == "" && believed(u.Email(), c.d.trust.EmailDomains) {
		acc.Email = u.Email()
	}
	ends = state != ledger.DirectoryActive && was.Directory != state
	if reflect.DeepEqual(was, acc) && acc.Version != 0 {
		return nil, false, nil
	}
	ops = []store.Op{acc.Put()}
	if ends {
		ops = append(ops, ledger.LeavingOp(person, c.reason()))
	}
	return ops, ends, nil
}

// reason is why the grants of somebody whom the directory takes out ended.
func (c *scimCall) reason() string { return "directory " + c.d.name }

// commitUser does ops and ends what people have who are not there any more.
func (c *scimCall) commitUser(ctx context.Context, gone []string, ops []store.Op) error {
	if len(gone) == 0 {
		return c.s.ledger.Store.Commit(ctx, ops...)
	}
	ctx = context.WithoutCancel(ctx) // it goes on if the directory's client does not wait
	for _, person := range gone {
		event := c.s.event("leave", audit.Event{Person: person, Issuer: c.d.trust.Issuer, Detail: "directory " + c.d.name})
		if _, err := c.s.ledger.EndWith(ctx, person, c.reason(), append(ops, c.s.ledger.AuditOp(event))...); err != nil {
			return err
		}
		ops = nil
	}
	return nil
}

// showUser is a user as an answer.
func (c *scimCall) showUser(ctx context.Context, u ledger.DirectoryUser, status int) (scimAnswer, error) {
	body, err := c.userBody(ctx, u)
	if err != nil {
		return scimAnswer{}, err
	}
	a := scimAnswer{status: status, version: max(u.Version, 1), body: c.selected(body)}
	if status == http.StatusCreated {
		a.location = c.base() + "/Users/" + u.ID
	}
	return a, nil
}

// userBody is a user with its schema and meta (RFC 7643 section 3.1).
func (c *scimCall) userBody(ctx context.Context, u ledger.DirectoryUser) (map[string]any, error) {
	body := map[string]any{"schemas": []string{scim.UserURN}, "id": u.ID, "userName": u.UserName, "active": u.Active,
		"meta": c.meta("User", u.ID, u.Created, u.Modified, max(u.Version, 1))}
	put := func(name string, v any, there bool) {
		if there {
			body[name] = v
		}
	}
	put("externalId", u.ExternalID, u.ExternalID != "")
	put("displayName", u.DisplayName, u.DisplayName != "")
	put("name", u.Name, u.Name != scim.Name{})
	put("emails", u.Emails, len(u.Emails) > 0)
	if !c.wants("groups") {
		return body, nil
	}
	groups, err := c.s.ledger.GroupsOfUser(ctx, c.d.name, u.ID)
	var in []map[string]string
	for _, g := range groups {
		in = append(in, map[string]string{"value": g.ID, "display": g.DisplayName, "$ref": c.base() + "/Groups/" + g.ID})
	}
	put("groups", in, len(in) > 0)
	return body, err
}
