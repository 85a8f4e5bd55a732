package ledger

import (
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"doorward/internal/oauth"
	"doorward/store"
	"doorward/store/sqlite"
)

func memory(t *testing.T) *Ledger {
	t.Helper()
	db, err := sqlite.Open(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &Ledger{Store: db}
}

// What is remembered of a record is no piece of the request that named it.
func TestMemoHoldsNoRequest(t *testing.T) {
	l := &Ledger{}
	request := strings.Repeat("k", 1<<20)
	if _, err := Parse[Account](l, store.Record{Kind: KindAccount, Key: request[:10], Value: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	if l.parsed.byID.Len() != 1 {
		t.Fatalf("%d records are remembered", l.parsed.byID.Len())
	}
	for at := range l.parsed.byID.All() {
		if unsafe.StringData(at.key) == unsafe.StringData(request) {
			t.Error("the whole request stays in memory with the key")
		}
	}
}

// What SpendGrant returns is the caller's alone, whether it was remembered as it
// was written or is read again, and says the same both times.
func TestSpendGrant(t *testing.T) {
	l := memory(t)
	now := time.Now()
	g := Grant{Grant: oauth.Grant{ID: "g1", Client: "desktop", Resource: "https://mcp.example/", Scopes: oauth.Scopes{"read", "write"}, Type: oauth.AuthorizationCode,
		Subject: oauth.Subject{ID: "alice", Groups: []string{"eng"}, AMR: []string{"pwd"}, AuthTime: now}, Created: now, Expires: now.Add(time.Minute)},
		Code: &Code{Hash: []byte{1, 2}, Until: now.Add(time.Minute), RedirectURI: "http://127.0.0.1/", Challenge: "c"}}
	if err := l.Store.Commit(t.Context(), l.AddGrant(g)); err != nil {
		t.Fatal(err)
	}
	g.Scopes[0], g.Subject.AMR[0] = "write", "otp" // whoever added it has it still
	var got [3]*Grant
	for i := range got {
		var err error
		if got[i], err = l.SpendGrant(t.Context(), "g1"); err != nil {
			t.Fatal(err)
		}
	}
	if got[0].version == 0 || !reflect.DeepEqual(got[0], got[1]) || !reflect.DeepEqual(got[1], got[2]) {
		t.Errorf("%+v\n%+v\n%+v", got[0], got[1], got[2])
	}
	got[0].Code.Used, got[0].Scopes[0], got[1].Subject.Groups[0], got[1].Code.Hash[0] = true, "all", "admins", 9
	again, err := l.Grant(t.Context(), "g1")
	if err != nil || again.Code.Used || again.Scopes[0] != "read" || again.Subject.Groups[0] != "eng" || again.Code.Hash[0] != 1 {
		t.Errorf("%+v %v", again, err)
	}
	if !got[2].Expires.Equal(again.Expires) || got[2].Scopes[0] != "read" || got[2].Subject.AMR[0] != "pwd" {
		t.Error("two readers share a grant")
	}
	if _, err := l.SpendGrant(t.Context(), "g2"); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
}

// Who writes a grant does not write to what others read of it.
func TestPutGrantLeavesReadersAlone(t *testing.T) {
	l := memory(t)
	now := time.Now()
	g := Grant{Grant: oauth.Grant{ID: "g1", Client: "desktop", Resource: "https://mcp.example/", Created: now, Expires: now.Add(time.Minute)},
		Code: &Code{Hash: []byte{1}, Until: now}, Refresh: &Refresh{Hash: []byte{2}, IdleUntil: now}}
	if err := l.Store.Commit(t.Context(), l.AddGrant(g)); err != nil {
		t.Fatal(err)
	}
	var read [2]*Grant
	for i := range read {
		var err error
		if read[i], err = l.FindGrant(t.Context(), "g1"); err != nil {
			t.Fatal(err)
		}
	}
	var both sync.WaitGroup
	both.Go(func() { l.PutGrant(read[0], true) })
	both.Go(func() { read[1].Put() })
	both.Wait()
	if read[0].Code == read[1].Code || read[0].Refresh == read[1].Refresh || g.Code.Until != now || g.Refresh.IdleUntil != now {
		t.Error("a grant that was put shares what another reader has")
	}
}

// What is remembered of a client ends with the bytes that it was read from.
func TestKnownClient(t *testing.T) {
	l := memory(t)
	if _, err := l.KnownClient(t.Context(), "c1"); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
	c := Client{ID: "c1", Name: "One", RedirectURIs: []string{"https://client.example/"}, GrantTypes: []string{oauth.AuthorizationCode}, Source: FromDynamic}
	for i, name := range []string{"One", "Two", "Two"} {
		c.Name = name
		if err := l.Store.Commit(t.Context(), c.Put()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			known, err := l.KnownClient(t.Context(), "c1")
			if err != nil || known.Name != name || known.Version != uint64(i+1) || len(known.RedirectURIs) != 1 {
				t.Fatalf("%+v %v", known, err)
			}
			c = known
		}
	}
	if err := l.Store.Commit(t.Context(), store.Delete(KindClient, "c1")); err != nil {
		t.Fatal(err)
	}
	if _, err := l.KnownClient(t.Context(), "c1"); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
}
