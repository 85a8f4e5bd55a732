package scim

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"testing"
)

// refusal fails unless err is nil or one of ours.
func refusal(t *testing.T, err error) {
	t.Helper()
	var own *Error
	if err != nil && (!errors.As(err, &own) || own.Type == "" || own.Detail == "") {
		t.Fatalf("an error of another kind: %v", err)
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{`userName eq "a"`, `id eq "x" and members eq "y"`, `emails[type eq "work"].value eq "a"`, `active eq true`, `a eq "\u0041`, `urn:x:y eq "a"`, `a eq "b" and`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		all, err := ParseFilter(s)
		refusal(t, err)
		if err == nil && (len(all) == 0 || len(all) > maxConditions || slices.ContainsFunc(all, func(c Condition) bool { return c.Attr == "" || c.Value == nil })) {
			t.Fatalf("%q is read as %+v", s, all)
		}
		for _, c := range all {
			User{UserName: "a"}.Is(c)
			Group{DisplayName: "a"}.Is(c)
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"members", `members[value eq "a"]`, `emails[type eq "work"].value`, "name.familyName", UserURN + ":active", "urn:x", "a[", "a.b.c", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePath(s)
		refusal(t, err)
		if err == nil && p.Attr == "" {
			t.Fatalf("%q names nothing", s)
		}
	})
}

// Whatever comes, a user stays one that can be kept: a request that is refused
// changes nothing of what counts, and the same again changes nothing more.
func FuzzUser(f *testing.F) {
	for _, s := range []string{`{"userName":"b"}`, `{"Operations":[{"op":"replace","value":{"active":false}}]}`, `{"Operations":[{"op":"Add","path":"emails[type eq \"work\"].value","value":"a@b"}]}`,
		`{"Operations":[{"op":"remove","path":"userName"}]}`, `{"userName":"b","active":null,"externalId":null}`, `{"Operations":[{"op":"add","value":{"name.familyName":"x","name":{"givenName":"y"}}}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := User{ID: "i", UserName: "a", ExternalID: "e", Active: false, Emails: []Email{{Value: "x@y", Type: "work", Primary: true}}}
		for name, do := range map[string]func(*User) error{"PUT": func(u *User) error { return u.Replace(body) }, "PATCH": func(u *User) error { return u.Patch(body) }} {
			u := before
			u.Emails = slices.Clone(before.Emails)
			err := do(&u)
			refusal(t, err)
			if err != nil {
				continue
			}
			if u.ID != "i" || u.UserName == "" || len(u.Emails) > maxValues || len(u.ExternalID) > maxText {
				t.Fatalf("%s makes %+v", name, u)
			}
			if _, err := json.Marshal(u); err != nil {
				t.Fatal(err)
			}
			again := u
			again.Emails = slices.Clone(u.Emails)
			if err := do(&again); err == nil && name == "PUT" && !reflect.DeepEqual(u, again) {
				t.Fatalf("%s twice: %+v, then %+v", name, u, again)
			}
		}
	})
}

func FuzzGroup(f *testing.F) {
	for _, s := range []string{`{"displayName":"g","members":[{"value":"a"},{"value":"b"}]}`, `{"Operations":[{"op":"remove","path":"members[value eq \"a\"]"},{"op":"add","path":"members","value":[{"value":"b"}]}]}`,
		`{"Operations":[{"op":"Remove","path":"members","value":[{"value":"a"}]}]}`, `{"Operations":[{"op":"replace","path":"members","value":[]}]}`, `{"Operations":[{"op":"add","value":{"members":{"value":"c"}}}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, do := range []func(*Group) (Members, error){func(g *Group) (Members, error) { return g.Replace(body) }, func(g *Group) (Members, error) { return g.Patch(body) }} {
			g := Group{ID: "i", DisplayName: "a"}
			m, err := do(&g)
			refusal(t, err)
			if err != nil {
				continue
			}
			if g.ID != "i" || g.DisplayName == "" || len(m.Change) > MaxMembers {
				t.Fatalf("%+v %+v", g, m)
			}
			for id, in := range m.Change {
				if m.All && !in || len(id) > maxExpression {
					t.Fatalf("%+v", m)
				}
			}
		}
	})
}
