package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"doorward/internal/scim"
	"doorward/store"
)

// DirectoryUser is a person as the SCIM client of a provider wrote them.
type DirectoryUser struct {
	scim.User
	Provider string `json:"provider"`
	Person   string `json:"person"` // the account here; "": no attribute names one

	Version uint64 `json:"-"`
}

func directoryKey(provider, id string) string { return provider + "/" + id }

// directoryName is the record that keeps others from having the name.
func directoryName(provider, kind, name string) string {
	sum := sha256.Sum256([]byte(name))
	return provider + "/" + kind + "/" + hex.EncodeToString(sum[:])
}

// names are those that nobody else of the directory may have.
func (u *DirectoryUser) names() []string {
	if u == nil {
		return nil
	}
	out := []string{directoryName(u.Provider, "user", strings.ToLower(u.UserName))}
	if u.Person != "" {
		out = append(out, directoryName(u.Provider, "person", u.Person))
	}
	return out
}

// DirectoryUserOps write the change from one state of a user to the next: nil
// is not there. They fail with store.ErrConflict if somebody else changed it
// meanwhile, or has a name that only one may have (Taken says which).
func DirectoryUserOps(before, after *DirectoryUser) []store.Op {
	var ops []store.Op
	switch {
	case after == nil:
		still := before.record()
		still.Version = before.Version
		ops = append(ops, store.Put(still), store.Delete(KindDirectoryUser, still.Key))
	case before == nil:
		ops = append(ops, store.Create(after.record()))
	default:
		r := after.record()
		r.Version = before.Version
		ops = append(ops, store.Put(r))
	}
	id := ""
	if after != nil {
		id = after.ID
	}
	return append(ops, nameOps(before.names(), after.names(), id)...)
}

// nameOps gives names back and takes others.
func nameOps(before, after []string, id string) []store.Op {
	var ops []store.Op
	had := map[string]bool{}
	for _, name := range before {
		had[name] = true
	}
	for _, name := range after {
		if !had[name] {
			ops = append(ops, store.Create(store.Record{Kind: KindDirectoryName, Key: name, Value: []byte(id)}))
		}
		delete(had, name)
	}
	for name := range had {
		ops = append(ops, store.Delete(KindDirectoryName, name))
	}
	return ops
}

func (u *DirectoryUser) record() store.Record {
	r := store.Record{Kind: KindDirectoryUser, Key: directoryKey(u.Provider, u.ID), Value: encode(u),
		Index: []string{"provider=" + u.Provider}}
	if u.ExternalID != "" {
		r.Index = append(r.Index, "externalId="+u.Provider+"/"+u.ExternalID)
	}
	return r
}

// Taken reports whether another user of the directory has one of the names.
func (l *Ledger) Taken(ctx context.Context, u DirectoryUser) (bool, error) {
	return l.nameTaken(ctx, u.ID, u.names())
}

func (l *Ledger) nameTaken(ctx context.Context, id string, names []string) (bool, error) {
	for _, name := range names {
		r, err := l.Store.Get(ctx, KindDirectoryName, name)
		if err == nil && string(r.Value) != id {
			return true, nil
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return false, err
		}
	}
	return false, nil
}

// DirectoryUser reads a user by their id. store.ErrNotFound if there is none.
func (l *Ledger) DirectoryUser(ctx context.Context, provider, id string) (DirectoryUser, error) {
	if id == "" || len(id) > 64 {
		return DirectoryUser{}, store.ErrNotFound
	}
	r, err := l.Store.Get(ctx, KindDirectoryUser, directoryKey(provider, id))
	if err != nil {
		return DirectoryUser{}, err
	}
	return directoryUserOf(r)
}

func directoryUserOf(r store.Record) (DirectoryUser, error) {
	var u DirectoryUser
	err := decode(r, &u)
	u.Version = r.Version
	return u, err
}

// DirectoryUserNamed reads a user by their userName.
func (l *Ledger) DirectoryUserNamed(ctx context.Context, provider, userName string) (DirectoryUser, error) {
	r, err := l.Store.Get(ctx, KindDirectoryName, directoryName(provider, "user", strings.ToLower(userName)))
	if err != nil {
		return DirectoryUser{}, err
	}
	return l.DirectoryUser(ctx, provider, string(r.Value))
}

// DirectoryUserOf reads what the directory says of a person.
func (l *Ledger) DirectoryUserOf(ctx context.Context, provider, person string) (DirectoryUser, error) {
	r, err := l.Store.Get(ctx, KindDirectoryName, directoryName(provider, "person", person))
	if err != nil {
		return DirectoryUser{}, err
	}
	return l.DirectoryUser(ctx, provider, string(r.Value))
}

// EachDirectoryUser calls fn for every user of the provider, with an externalId
// if that is not "", until it returns false.
func (l *Ledger) EachDirectoryUser(ctx context.Context, provider, externalID string, fn func(DirectoryUser) bool) error {
	q := store.Query{Kind: KindDirectoryUser, Index: "provider=" + provider, Limit: store.MaxPage}
	if externalID != "" {
		q.Index = "externalId=" + provider + "/" + externalID
	}
	return l.each(ctx, q, func(r store.Record) (bool, error) {
		u, err := directoryUserOf(r)
		return err == nil && fn(u), err
	})
}

// each calls fn for every record until it returns false or an error.
func (l *Ledger) each(ctx context.Context, q store.Query, fn func(store.Record) (bool, error)) error {
	for {
		recs, next, err := l.Store.List(ctx, q)
		if err != nil {
			return err
		}
		for _, r := range recs {
			if more, err := fn(r); err != nil || !more {
				return err
			}
		}
		if q.After = next; next == "" {
			return nil
		}
	}
}

// ForgetDirectory takes away what a directory that is not there any more said of
// a person.
func (l *Ledger) ForgetDirectory(ctx context.Context, person string) error {
	if err := l.FinishLeaving(ctx, person); err != nil {
		return err
	}
	a, err := l.Account(ctx, person)
	if err != nil {
		return err
	}
	a.Directory, a.Said = "", time.Time{}
	return l.Store.Commit(ctx, a.Put())
}
