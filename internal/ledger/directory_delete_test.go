package ledger_test

import (
	"errors"
	"testing"

	"doorward/internal/ledger"
	"doorward/internal/scim"
	"doorward/store"
)

// What was changed since it was read is not removed with the name that it had
// then, which may be another's by now.
func TestDirectoryDeletesWhatItRead(t *testing.T) {
	l := open(t)
	commit := func(ops []store.Op) error { return l.Store.Commit(t.Context(), ops...) }

	was := ledger.DirectoryGroup{Provider: "corp", Group: scim.Group{ID: "g", DisplayName: "X"}}
	if err := commit(ledger.DirectoryGroupOps(nil, &was, nil)); err != nil {
		t.Fatal(err)
	}
	was.Version = 1
	is := was
	is.DisplayName = "Y"
	if err := commit(ledger.DirectoryGroupOps(&was, &is, nil)); err != nil {
		t.Fatal(err)
	}
	if err := commit(ledger.DirectoryGroupOps(&was, nil, nil)); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a group that was renamed meanwhile: %v", err)
	}
	is.Version = 2
	if err := commit(ledger.DirectoryGroupOps(&is, nil, nil)); err != nil {
		t.Error(err)
	}

	user := ledger.DirectoryUser{Provider: "corp", User: scim.User{ID: "u", UserName: "carol"}}
	if err := commit(ledger.DirectoryUserOps(nil, &user)); err != nil {
		t.Fatal(err)
	}
	user.Version = 1
	renamed := user
	renamed.UserName = "caroline"
	if err := commit(ledger.DirectoryUserOps(&user, &renamed)); err != nil {
		t.Fatal(err)
	}
	if err := commit(ledger.DirectoryUserOps(&user, nil)); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a user who was renamed meanwhile: %v", err)
	}
	renamed.Version = 2
	if err := commit(ledger.DirectoryUserOps(&renamed, nil)); err != nil {
		t.Error(err)
	}
	if again := (ledger.DirectoryUser{Provider: "corp", User: scim.User{ID: "v", UserName: "caroline"}}); commit(ledger.DirectoryUserOps(nil, &again)) != nil {
		t.Error("the name is not free again")
	}
}
