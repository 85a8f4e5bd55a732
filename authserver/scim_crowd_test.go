package authserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// provisioning sends as the SCIM client of corp.
func provisioning(s *Server, method, path, body string) reply {
	r := httptest.NewRequest(method, asURL+"/scim/corp"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+scimToken)
	r.Header.Set("Content-Type", "application/scim+json")
	return send(s, r)
}

func withDirectory(as, _ *Config) { as.Directories = map[string]Directory{"corp": {Token: scimToken}} }

// scimUsers makes users u1 to un and returns their ids.
func scimUsers(t *testing.T, s *Server, n int) []string {
	t.Helper()
	ids := make([]string, n)
	for i := range ids {
		r := provisioning(s, "POST", "/Users", fmt.Sprintf(`{"userName":"u%d","externalId":"u%d"}`, i+1, i+1))
		if ids[i] = r.text("id"); r.status != http.StatusCreated || ids[i] == "" {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	return ids
}

// groupMembers are the ids of the members of a group.
func groupMembers(t *testing.T, s *Server, group string) []string {
	t.Helper()
	ids, err := s.ledger.GroupMembers(context.Background(), "corp", group)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(ids)
	return ids
}

// Two processes change one group at the same time: no change is lost.
func TestGroupChangesAreNotLost(t *testing.T) {
	w := newWorld(t, withDirectory)
	second, err := New(w.asCfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { second.Close() })
	ids := scimUsers(t, w.as, 40)
	group := provisioning(w.as, "POST", "/Groups", `{"displayName":"eng","members":[{"value":"`+ids[0]+`"}]}`).text("id")
	var sent sync.WaitGroup
	for i, id := range ids[1:] {
		sent.Go(func() {
			s := []*Server{w.as, second}[i%2]
			if r := provisioning(s, "PATCH", "/Groups/"+group, `{"Operations":[{"op":"add","path":"members","value":[{"value":"`+id+`"}]}]}`); r.status != http.StatusNoContent {
				t.Errorf("%d %s", r.status, r.body)
			}
		})
	}
	sent.Wait()
	if got := groupMembers(t, w.as, group); len(got) != len(ids) {
		t.Errorf("%d members, not %d", len(got), len(ids))
	}
	for i, id := range ids[1:] {
		sent.Go(func() {
			s := []*Server{w.as, second}[i%2]
			method, path, body := "DELETE", "/Users/"+id, ""
			if i%2 == 0 {
				method, path, body = "PATCH", "/Groups/"+group, `{"Operations":[{"op":"remove","path":"members[value eq \"`+id+`\"]"}]}`
			}
			if r := provisioning(s, method, path, body); r.status != http.StatusNoContent {
				t.Errorf("%d %s", r.status, r.body)
			}
		})
	}
	sent.Wait()
	if got := groupMembers(t, second, group); !slices.Equal(got, ids[:1]) {
		t.Errorf("%d members, not the first alone", len(got))
	}
}

// A group of many: pages of PATCHes fill it, a list without its members stays
// small, and PUT and DELETE are one change.
func TestLargeGroup(t *testing.T) {
	w := newWorld(t, withDirectory)
	const n = 2500
	ids := make([]string, n)
	var ops []store.Op
	for i := range ids {
		u := ledger.DirectoryUser{Provider: "corp", Person: fmt.Sprint("corp/u", i)}
		u.ID, u.UserName, u.Active = fmt.Sprintf("USER%06d", i), fmt.Sprint("u", i), true
		ids[i] = u.ID
		ops = append(ops, ledger.DirectoryUserOps(nil, &u)...)
	}
	if err := w.as.ledger.Store.Commit(context.Background(), ops...); err != nil {
		t.Fatal(err)
	}
	group := provisioning(w.as, "POST", "/Groups", `{"displayName":"all"}`).text("id")
	members := func(ids []string) string { return `[{"value":"` + strings.Join(ids, `"},{"value":"`) + `"}]` }
	for page := range slices.Chunk(ids, 1000) {
		if r := provisioning(w.as, "PATCH", "/Groups/"+group, `{"Operations":[{"op":"add","path":"members","value":`+members(page)+`}]}`); r.status != http.StatusNoContent {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	if got := groupMembers(t, w.as, group); len(got) != n {
		t.Fatalf("%d members", len(got))
	}
	if r := provisioning(w.as, "GET", "/Groups?excludedAttributes=members", ""); len(r.body) > 1000 {
		t.Errorf("a list without members has %d bytes", len(r.body))
	}
	if r := provisioning(w.as, "PUT", "/Groups/"+group, `{"displayName":"all","members":`+members(ids[:2])+`}`); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if got := groupMembers(t, w.as, group); !slices.Equal(got, ids[:2]) {
		t.Errorf("%d members, not two", len(got))
	}
	if r := provisioning(w.as, "PATCH", "/Groups/"+group, `{"Operations":[{"op":"add","path":"members","value":[`+strings.Repeat(`{"value":"x"},`, 10_000)+`{"value":"x"}]}]}`); r.status != http.StatusBadRequest || r.text("scimType") != "tooMany" {
		t.Errorf("10,001 members in one request: %d %.200s", r.status, r.body)
	}
	if r := provisioning(w.as, "DELETE", "/Groups/"+group, ""); r.status != http.StatusNoContent {
		t.Errorf("%d %s", r.status, r.body)
	}
	if got := groupMembers(t, w.as, group); len(got) != 0 {
		t.Errorf("%d records of members are left", len(got))
	}
}

// tired is a store that does so many commits more and then none: where it stops
// a process could.
type tired struct {
	store.Store
	mu   sync.Mutex
	left int // negative: any number
}

var errTired = errors.New("no more")

func (s *tired) Commit(ctx context.Context, ops ...store.Op) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == 0 {
		return errTired
	}
	s.left--
	return s.Store.Commit(ctx, ops...)
}

func (s *tired) after(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = n
}

// Wherever the store stops, either nothing was done, or the person is marked and
// their grants are over; a repeated request, or one that contradicts it, leaves
// what it says.
func TestDirectoryStopsInTheMiddle(t *testing.T) {
	for stop := range 6 {
		t.Run(fmt.Sprint(stop, " commits"), func(t *testing.T) {
			var db *tired
			w := newWorld(t, withDirectory, func(as, _ *Config) { db = &tired{Store: as.Store, left: -1}; as.Store = db })
			id := scimUsers(t, w.as, 1)[0]
			token := func() reply {
				return post(w.as, "/token", "desktop "+desktopSecret, form("grant_type="+oauth.JWTBearer, "assertion="+w.jag(t, map[string]any{"sub": "u1"})))
			}
			r := token()
			if r.status != http.StatusOK {
				t.Fatalf("%d %s", r.status, r.body)
			}
			grant := gid(t, r.text("access_token"))
			if err := w.as.audit.Flush(context.Background()); err != nil {
				t.Fatal(err)
			}
			db.after(stop)
			answer := provisioning(w.as, "PATCH", "/Users/"+id, `{"Operations":[{"op":"replace","value":{"active":false}}]}`)
			db.after(-1)
			u, err := w.as.ledger.DirectoryUser(context.Background(), "corp", id)
			g, err2 := w.as.ledger.Grant(context.Background(), grant)
			left := w.as.ledger.CheckPerson(context.Background(), "corp/u1")
			if err != nil || err2 != nil {
				t.Fatal(err, err2)
			}
			if over := !g.Ended.IsZero(); u.Active == over || over != errors.Is(left, ledger.ErrInactive) || answer.status == http.StatusOK && !over {
				t.Errorf("answer %d, active %t, grant over %t, %v", answer.status, u.Active, over, left)
			}
			if stop == 0 && !u.Active {
				t.Error("something was done by no commit")
			}
			if again := provisioning(w.as, "PATCH", "/Users/"+id, `{"Operations":[{"op":"replace","value":{"active":false}}]}`); again.status != http.StatusOK {
				t.Errorf("again: %d %s", again.status, again.body)
			}
			recs, _, err := w.as.ledger.Store.List(context.Background(), store.Query{Kind: ledger.KindLeaving})
			if err != nil || len(recs) > 0 {
				t.Errorf("%d ends are not finished %v", len(recs), err)
			}
			if r := token(); r.status != http.StatusBadRequest {
				t.Errorf("%d %s", r.status, r.body)
			}
		})
	}
}

// Requests that contradict each other, out of order and repeated, over two
// processes: the user and the account say the same in the end.
func TestDirectoryOutOfOrder(t *testing.T) {
	w := newWorld(t, withDirectory)
	second, err := New(w.asCfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { second.Close() })
	id := scimUsers(t, w.as, 1)[0]
	var sent sync.WaitGroup
	for i := range 40 {
		sent.Go(func() {
			body := fmt.Sprintf(`{"Operations":[{"op":"replace","path":"active","value":%t}]}`, i%3 == 0)
			if r := provisioning([]*Server{w.as, second}[i%2], "PATCH", "/Users/"+id, body); r.status != http.StatusOK {
				t.Errorf("%d %s", r.status, r.body)
			}
		})
	}
	sent.Wait()
	u, err := w.as.ledger.DirectoryUser(context.Background(), "corp", id)
	a, err2 := second.ledger.Account(context.Background(), "corp/u1")
	if err != nil || err2 != nil || u.Active != (a.Directory == ledger.DirectoryActive) {
		t.Errorf("active %t, the account says %q; %v %v", u.Active, a.Directory, err, err2)
	}
}
