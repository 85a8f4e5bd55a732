package ledger

import (
	"context"
	"errors"
	"slices"
	"strings"

	"doorward/internal/scim"
	"doorward/store"
)

// DirectoryGroup is a group as the SCIM client of a provider wrote it. Who is in
// it are records of their own, which mean nothing once the group or the user is
// gone: ids do not come again.
type DirectoryGroup struct {
	scim.Group
	Provider string `json:"provider"`

	Version uint64 `json:"-"`
}

func (g *DirectoryGroup) names() []string {
	if g == nil {
		return nil
	}
	return []string{directoryName(g.Provider, "group", strings.ToLower(g.DisplayName))}
}

// DirectoryGroupOps write the change from one state of a group to the next, and
// of those who are in it: nil is not there. They fail with store.ErrConflict if
// somebody else changed the group or its members meanwhile, or if another group
// has the name (GroupTaken says which).
func DirectoryGroupOps(before, after *DirectoryGroup, members map[string]bool) []store.Op {
	if after == nil {
		key := directoryKey(before.Provider, before.ID)
		still := store.Put(store.Record{Kind: KindDirectoryGroup, Key: key, Value: encode(before), Version: before.Version})
		return append([]store.Op{still, store.Delete(KindDirectoryGroup, key)}, nameOps(before.names(), nil, "")...)
	}
	r := store.Record{Kind: KindDirectoryGroup, Key: directoryKey(after.Provider, after.ID), Value: encode(after), Index: []string{"provider=" + after.Provider}}
	if after.ExternalID != "" {
		r.Index = append(r.Index, "externalId="+after.Provider+"/"+after.ExternalID)
	}
	op := store.Create(r)
	if before != nil {
		r.Version = before.Version
		op = store.Put(r)
	}
	ops := append([]store.Op{op, store.Put(store.Record{Kind: KindDirectoryName, Key: groupsName(after.Provider, after.DisplayName)})},
		nameOps(before.names(), after.names(), after.ID)...)
	for user, in := range members {
		ops = append(ops, memberOp(after.Provider, after.ID, user, in))
	}
	return ops
}

func memberOp(provider, group, user string, in bool) store.Op {
	key := directoryKey(provider, group) + "/" + user
	if !in {
		return store.Delete(KindDirectoryMember, key)
	}
	return store.Put(store.Record{Kind: KindDirectoryMember, Key: key, Index: []string{memberIndex("group", provider, group), memberIndex("user", provider, user)}})
}

func memberIndex(what, provider, id string) string { return what + "=" + directoryKey(provider, id) }

// groupsName is the record of a name that a group of the directory has or had: what
// a sign-in once said does not count again when the group is renamed or deleted.
func groupsName(provider, name string) string {
	return directoryName(provider, "groups", strings.ToLower(name))
}

// GroupTaken reports whether another group of the directory has the name.
func (l *Ledger) GroupTaken(ctx context.Context, g DirectoryGroup) (bool, error) {
	return l.nameTaken(ctx, g.ID, g.names())
}

// DirectoryGroup reads a group by its id. store.ErrNotFound if there is none.
func (l *Ledger) DirectoryGroup(ctx context.Context, provider, id string) (DirectoryGroup, error) {
	if id == "" || len(id) > 64 {
		return DirectoryGroup{}, store.ErrNotFound
	}
	r, err := l.Store.Get(ctx, KindDirectoryGroup, directoryKey(provider, id))
	if err != nil {
		return DirectoryGroup{}, err
	}
	return l.directoryGroupOf(r)
}

func (l *Ledger) directoryGroupOf(r store.Record) (DirectoryGroup, error) {
	g, err := Parse[DirectoryGroup](l, r)
	g.Version = r.Version
	return g, err
}

// DirectoryGroupNamed reads a group by its displayName, in any case.
func (l *Ledger) DirectoryGroupNamed(ctx context.Context, provider, name string) (DirectoryGroup, error) {
	r, err := l.Store.Get(ctx, KindDirectoryName, directoryName(provider, "group", strings.ToLower(name)))
	if err != nil {
		return DirectoryGroup{}, err
	}
	return l.DirectoryGroup(ctx, provider, string(r.Value))
}

// EachDirectoryGroup calls fn for every group of the provider, with an
// externalId if that is not "", until it returns false.
func (l *Ledger) EachDirectoryGroup(ctx context.Context, provider, externalID string, fn func(DirectoryGroup) bool) error {
	q := store.Query{Kind: KindDirectoryGroup, Index: "provider=" + provider, Limit: store.MaxPage}
	if externalID != "" {
		q.Index = "externalId=" + provider + "/" + externalID
	}
	return l.each(ctx, q, func(r store.Record) (bool, error) {
		g, err := l.directoryGroupOf(r)
		return err == nil && fn(g), err
	})
}

// GroupMembers are the ids of the users of a group.
func (l *Ledger) GroupMembers(ctx context.Context, provider, group string) ([]string, error) {
	return l.memberships(ctx, memberIndex("group", provider, group), func(_, user string) string { return user })
}

// IsMember reports whether a user is in a group.
func (l *Ledger) IsMember(ctx context.Context, provider, group, user string) (bool, error) {
	if len(user) > 64 {
		return false, nil
	}
	_, err := l.Store.Get(ctx, KindDirectoryMember, directoryKey(provider, group)+"/"+user)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// memberships are the ids that pick takes of the memberships of an index.
func (l *Ledger) memberships(ctx context.Context, index string, pick func(group, user string) string) ([]string, error) {
	var ids []string
	err := l.each(ctx, store.Query{Kind: KindDirectoryMember, Index: index, Limit: store.MaxPage}, func(r store.Record) (bool, error) {
		_, rest, _ := strings.Cut(r.Key, "/")
		group, user, _ := strings.Cut(rest, "/")
		ids = append(ids, pick(group, user))
		return true, nil
	})
	return ids, err
}

// GroupsOfUser are the groups that a user is in.
func (l *Ledger) GroupsOfUser(ctx context.Context, provider, user string) ([]DirectoryGroup, error) {
	ids, err := l.memberships(ctx, memberIndex("user", provider, user), func(group, _ string) string { return group })
	if err != nil {
		return nil, err
	}
	var groups []DirectoryGroup
	for _, id := range ids {
		g, err := l.DirectoryGroup(ctx, provider, id)
		switch {
		case err == nil:
			groups = append(groups, g)
		case !errors.Is(err, store.ErrNotFound):
			return nil, err
		}
	}
	return groups, nil
}

// ForgetMembers takes away what is left of the members of a group that is gone,
// or of the groups of a user who is ("group" or "user").
func (l *Ledger) ForgetMembers(ctx context.Context, what, provider, id string) error {
	_, err := l.deleteAll(ctx, KindDirectoryMember, memberIndex(what, provider, id), &along{})
	return err
}

// ForgetGone takes those users out of a group who were deleted while they were
// added to it.
func (l *Ledger) ForgetGone(ctx context.Context, provider, group string, members map[string]bool) error {
	for user, in := range members {
		if !in {
			continue
		}
		_, err := l.DirectoryUser(ctx, provider, user)
		if errors.Is(err, store.ErrNotFound) {
			err = l.Store.Commit(ctx, memberOp(provider, group, user, false))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// GroupsOf are the names of the groups that a person is in: those of the
// provider's directory, and of those that the provider itself named (claimed) the
// ones that the directory never had: who is in a group of its own, it says alone.
func (l *Ledger) GroupsOf(ctx context.Context, provider, person string, claimed []string) ([]string, error) {
	var names []string
	u, err := l.DirectoryUserOf(ctx, provider, person)
	if err == nil {
		var groups []DirectoryGroup
		groups, err = l.GroupsOfUser(ctx, provider, u.ID)
		for _, g := range groups {
			names = append(names, g.DisplayName)
		}
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	for _, name := range claimed {
		_, err := l.Store.Get(ctx, KindDirectoryName, groupsName(provider, name))
		switch {
		case errors.Is(err, store.ErrNotFound):
			names = append(names, name)
		case err != nil:
			return nil, err
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
