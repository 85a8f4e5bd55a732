package access

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

var now = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

var (
	alice = Subject{Person: "alice", Email: "Alice@Example.com", Groups: []string{"eng", "admins"}, AMR: []string{"pwd"}, AuthTime: now.Add(-time.Hour), Client: "desktop"}
	bob   = Subject{Person: "okta/bob", Provider: "okta", Email: "bob@corp.example", Groups: []string{"eng", "/path/eng"}, AMR: []string{"pwd", "mfa"}, AuthTime: now.Add(-10 * time.Hour), Client: "desktop"}
	job   = Subject{Client: "job", Groups: []string{"eng"}, Email: "alice@example.com", AMR: []string{"mfa"}, AuthTime: now}
)

func TestDecide(t *testing.T) {
	everyone := []string{"everyone"}
	ask := func(s Subject, tool, scope string) Question {
		return Question{Subject: s, Resource: "https://mcp.example.com/files", Tool: tool, Scope: scope, Now: now}
	}
	allow := func(rules ...Rule) Rules { return Rules{Name: "servers.files", Allow: rules} }
	deny := func(rules ...Rule) Rules {
		return Rules{Name: "servers.files", Allow: []Rule{{Who: everyone}}, Deny: rules}
	}
	yes := func(rule string) Answer { return Answer{Allowed: true, Rule: "servers.files." + rule, Reason: Allowed} }
	no := func(rule string) Answer { return Answer{Rule: "servers.files." + rule, Reason: Denied} }
	none := Answer{Reason: NoRule}
	login := func(rule string, age time.Duration, amr ...string) Answer {
		return Answer{Rule: "servers.files." + rule, Reason: NeedsLogin, MaxAge: age, AMR: amr}
	}
	many := Subject{Person: "okta/bob", Provider: "okta", GroupsUnknown: true}
	unknown := func(rule string) Answer { return Answer{Rule: "servers.files." + rule, Reason: Overage} }
	mfa, day := Require{AMR: []string{"mfa"}}, Require{SignedInWithin: 24 * time.Hour}
	both := Require{AMR: []string{"mfa", "hwk"}, SignedInWithin: 30 * time.Minute}
	at := func(s Subject, t time.Time) Subject { s.AuthTime = t; return s }

	for _, tt := range []struct {
		name  string
		rules Rules
		q     Question
		want  Answer
	}{
		{"nothing is nobody", Rules{Name: "servers.files"}, ask(alice, "", ""), none},
		{"who is empty", allow(Rule{}), ask(alice, "", ""), none},
		{"everyone", allow(Rule{Who: everyone}), ask(alice, "x", "y"), yes("allow[0]")},
		{"everyone is not nobody", allow(Rule{Who: everyone}), ask(Subject{}, "", ""), none},
		{"second rule", allow(Rule{Who: []string{"person:carol"}}, Rule{Who: []string{"person:dan", "person:alice"}}), ask(alice, "", ""), yes("allow[1]")},
		{"first of two that fit", allow(Rule{Who: everyone}, Rule{Who: everyone}), ask(alice, "", ""), yes("allow[0]")},

		{"a deny for a group that may be theirs", deny(Rule{Who: []string{"group:okta/temps"}}), ask(many, "", ""), unknown("deny[0]")},
		{"a deny for a group by its bare name", deny(Rule{Who: []string{"group:temps"}}), ask(many, "", ""), unknown("deny[0]")},
		{"a deny for another provider's group", deny(Rule{Who: []string{"group:entra/temps"}}), ask(many, "", ""), yes("allow[0]")},
		{"a deny for a group and another tool", deny(Rule{Who: []string{"group:okta/temps"}, Tools: []string{"write"}}), ask(many, "read", ""), yes("allow[0]")},
		{"a deny for a group and this tool", deny(Rule{Who: []string{"group:okta/temps"}, Tools: []string{"write"}}), ask(many, "write", ""), unknown("deny[0]")},
		{"a certain deny comes first", deny(Rule{Who: []string{"group:okta/temps"}}, Rule{Who: []string{"person:okta/bob"}}), ask(many, "", ""), no("deny[1]")},
		{"an allow for a group that may be theirs", allow(Rule{Who: []string{"group:okta/eng"}}), ask(many, "", ""), unknown("allow[0]")},
		{"an allow that needs no group", allow(Rule{Who: []string{"group:okta/eng"}}, Rule{Who: []string{"person:okta/bob"}}), ask(many, "", ""), yes("allow[1]")},
		{"a sign-in would do", allow(Rule{Who: []string{"group:okta/eng"}}, Rule{Who: everyone, Require: mfa}), ask(many, "", ""), login("allow[1]", 0, "mfa")},

		{"tool named", allow(Rule{Who: everyone, Tools: []string{"read_*", "list"}}), ask(alice, "read_file", ""), yes("allow[0]")},
		{"other tool", allow(Rule{Who: everyone, Tools: []string{"read_*", "list"}}), ask(alice, "write_file", ""), none},
		{"tool in another case", allow(Rule{Who: everyone, Tools: []string{"read_*"}}), ask(alice, "READ_file", ""), none},
		{"reaching the server by a rule for a tool", allow(Rule{Who: everyone, Tools: []string{"read_*"}}), ask(alice, "", ""), yes("allow[0]")},
		{"tools of two rules add up", allow(Rule{Who: everyone, Tools: []string{"a"}}, Rule{Who: everyone, Tools: []string{"b"}}), ask(alice, "b", ""), yes("allow[1]")},
		{"scope named", allow(Rule{Who: everyone, Scopes: []string{"files:*"}}), ask(alice, "", "files:read"), yes("allow[0]")},
		{"other scope", allow(Rule{Who: everyone, Scopes: []string{"files:*"}}), ask(alice, "", "notes:read"), none},
		{"not about a scope", allow(Rule{Who: everyone, Scopes: []string{"files:*"}}), ask(alice, "x", ""), yes("allow[0]")},
		{"tool and scope of two rules do not mix", allow(Rule{Who: everyone, Tools: []string{"a"}, Scopes: []string{"r"}}, Rule{Who: everyone, Tools: []string{"b"}, Scopes: []string{"w"}}), ask(alice, "a", "w"), none},
		{"resource named", allow(Rule{Who: everyone, Resources: []string{"https://mcp.example.com/*"}}), ask(alice, "", ""), yes("allow[0]")},
		{"other resource", allow(Rule{Who: everyone, Resources: []string{"https://other.example/*"}}), ask(alice, "", ""), none},
		{"resource is left open", allow(Rule{Who: everyone, Resources: []string{"https://other.example/*"}}), Question{Subject: alice, Now: now}, none},

		{"deny wins", deny(Rule{Who: []string{"person:alice"}}), ask(alice, "", ""), no("deny[0]")},
		{"deny of another", deny(Rule{Who: []string{"person:carol"}}), ask(alice, "", ""), yes("allow[0]")},
		{"second deny", deny(Rule{Who: everyone, Tools: []string{"x"}}, Rule{Who: everyone, Tools: []string{"delete_*"}}), ask(alice, "delete_all", ""), no("deny[1]")},
		{"deny of a tool leaves others", deny(Rule{Who: everyone, Tools: []string{"delete_*"}}), ask(alice, "read", ""), yes("allow[0]")},
		{"deny of a tool leaves the server", deny(Rule{Who: everyone, Tools: []string{"delete_*"}}), ask(alice, "", ""), yes("allow[0]")},
		{"deny of all tools leaves the server", deny(Rule{Who: everyone, Tools: []string{"*"}}), ask(alice, "", ""), yes("allow[0]")},
		{"deny of all tools", deny(Rule{Who: everyone, Tools: []string{"*"}}), ask(alice, "read", ""), no("deny[0]")},
		{"deny of a scope", deny(Rule{Who: everyone, Scopes: []string{"w"}}), ask(alice, "", "w"), no("deny[0]")},
		{"deny of a scope leaves what is not about scopes", deny(Rule{Who: everyone, Scopes: []string{"w"}}), ask(alice, "x", ""), yes("allow[0]")},
		{"deny of a tool with a scope", deny(Rule{Who: everyone, Tools: []string{"x"}, Scopes: []string{"w"}}), ask(alice, "x", "r"), yes("allow[0]")},
		{"deny of a resource", deny(Rule{Who: everyone, Resources: []string{"*/files"}}), ask(alice, "", ""), no("deny[0]")},
		{"deny heeds no requirement", deny(Rule{Who: everyone, Require: mfa}), ask(alice, "", ""), no("deny[0]")},
		{"deny without who", deny(Rule{}), ask(alice, "", ""), yes("allow[0]")},

		{"open", Rules{Name: "servers.files", Open: true}, ask(alice, "x", "y"), Answer{Allowed: true, Rule: "servers.files.allow (none written; loopback)", Reason: Allowed}},
		{"open to nobody", Rules{Name: "servers.files", Open: true}, ask(Subject{}, "", ""), none},
		{"open with a deny", Rules{Name: "servers.files", Open: true, Deny: []Rule{{Who: []string{"person:alice"}}}}, ask(alice, "", ""), no("deny[0]")},
		{"open with an allow", Rules{Name: "servers.files", Open: true, Allow: []Rule{{Who: []string{"person:carol"}}}}, ask(alice, "", ""), none},

		{"methods fit", allow(Rule{Who: everyone, Require: mfa}), ask(bob, "", ""), yes("allow[0]")},
		{"method is missing", allow(Rule{Who: everyone, Require: mfa}), ask(alice, "", ""), login("allow[0]", 0, "mfa")},
		{"young enough", allow(Rule{Who: everyone, Require: day}), ask(bob, "", ""), yes("allow[0]")},
		{"exactly young enough", allow(Rule{Who: everyone, Require: day}), ask(at(alice, now.Add(-24*time.Hour)), "", ""), yes("allow[0]")},
		{"too old", allow(Rule{Who: everyone, Require: day}), ask(at(alice, now.Add(-24*time.Hour-1)), "", ""), login("allow[0]", 24*time.Hour)},
		{"age unknown", allow(Rule{Who: everyone, Require: day}), ask(at(alice, time.Time{}), "", ""), login("allow[0]", 24*time.Hour)},
		{"clocks differ", allow(Rule{Who: everyone, Require: day}), ask(at(alice, now.Add(time.Minute)), "", ""), yes("allow[0]")},
		{"from the future", allow(Rule{Who: everyone, Require: day}), ask(at(alice, now.Add(time.Hour)), "", ""), login("allow[0]", 24*time.Hour)},
		{"both are missing", allow(Rule{Who: everyone, Require: both}), ask(bob, "", ""), login("allow[0]", 30*time.Minute, "hwk")},
		{"another rule lets them", allow(Rule{Who: everyone, Require: mfa}, Rule{Who: everyone}), ask(alice, "", ""), yes("allow[1]")},
		{"first unmet rule", allow(Rule{Who: everyone, Tools: []string{"y"}, Require: mfa}, Rule{Who: everyone, Require: both}, Rule{Who: everyone, Require: mfa}), ask(alice, "x", ""), login("allow[1]", 30*time.Minute, "mfa", "hwk")},
		{"unmet and denied", Rules{Name: "servers.files", Allow: []Rule{{Who: everyone, Require: mfa}}, Deny: []Rule{{Who: everyone}}}, ask(alice, "", ""), no("deny[0]")},
		{"unmet for another tool", allow(Rule{Who: everyone, Tools: []string{"y"}, Require: mfa}), ask(alice, "x", ""), none},
		{"a client cannot sign in", allow(Rule{Who: everyone, Require: both}), ask(job, "", ""), none},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.rules.Decide(tt.q); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestScopes(t *testing.T) {
	rules := Rules{Name: "r",
		Allow: []Rule{{Who: []string{"everyone"}, Scopes: []string{"files:*"}}, {Who: []string{"everyone"}, Scopes: []string{"notes"}, Require: Require{AMR: []string{"mfa"}}}},
		Deny:  []Rule{{Who: []string{"everyone"}, Scopes: []string{"files:delete"}}},
	}
	yes := Answer{Allowed: true, Rule: "r.allow[0]", Reason: Allowed}
	denied := Answer{Rule: "r.deny[0]", Reason: Denied}
	for _, tt := range []struct {
		asked, want []string
		answer      Answer
	}{
		{[]string{"files:read", "files:write"}, []string{"files:read", "files:write"}, yes},
		{[]string{"files:delete", "files:read"}, []string{"files:read"}, denied},
		{[]string{"other", "files:delete"}, nil, denied},
		{[]string{"files:delete", "other", "files:read"}, []string{"files:read"}, Answer{Reason: NoRule}},
		{[]string{"notes"}, nil, Answer{Rule: "r.allow[1]", Reason: NeedsLogin, AMR: []string{"mfa"}}},
		{nil, nil, yes},
		{[]string{""}, nil, yes},
		{[]string{"", "files:read"}, []string{"files:read"}, yes},
	} {
		got, answer := rules.Scopes(Question{Subject: alice, Now: now}, tt.asked)
		if !slices.Equal(got, tt.want) || !reflect.DeepEqual(answer, tt.answer) {
			t.Errorf("%q: %q, %+v", tt.asked, got, answer)
		}
	}
	if got, answer := (Rules{}).Scopes(Question{Subject: alice, Now: now}, nil); got != nil || answer.Allowed {
		t.Errorf("no rules: %q, %+v", got, answer)
	}
}

// A few names that collide often make every kind of rule matter.
var (
	someWho      = []string{"everyone", "person:alice", "person:okta/bob", "group:eng", "group:okta/eng", "client:job", "client:desktop", "alice@example.com", "person:nobody"}
	somePatterns = []string{"*", "read", "read_*", "write", "*_all"}
	someNames    = []string{"", "read", "read_file", "write", "delete_all"}
)

func TestDecideProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		rules, q := randomRules(r), randomQuestion(r)
		was := rules.Decide(q)

		if again := rules.Decide(q); !reflect.DeepEqual(again, was) {
			t.Fatalf("%+v\n%+v: once %+v, then %+v", rules, q, was, again)
		}
		if was.Allowed != (was.Reason == Allowed) || (was.Rule == "") != (was.Reason == NoRule) {
			t.Fatalf("%+v contradicts itself", was)
		}
		if (Rules{Deny: rules.Deny}).Decide(q).Allowed {
			t.Fatalf("%+v\n%+v: allowed without an allow rule", rules, q)
		}
		denied := rules
		denied.Deny = insert(r, rules.Deny, randomRule(r))
		if now := denied.Decide(q); now.Allowed && !was.Allowed || was.Reason == Denied && now.Reason != Denied {
			t.Fatalf("%+v\n%+v: a deny made %+v of %+v", denied, q, now, was)
		}
		allowed := rules
		allowed.Allow = insert(r, rules.Allow, randomRule(r))
		if now := allowed.Decide(q); was.Allowed && !now.Allowed || was.Reason == Denied && now.Reason != Denied {
			t.Fatalf("%+v\n%+v: an allow made %+v of %+v", allowed, q, now, was)
		}
		// A stronger and fresher sign-in takes nothing away, and cures NeedsLogin.
		fresh := q
		fresh.Subject.AuthTime, fresh.Subject.AMR = q.Now, []string{"pwd", "mfa"}
		if now := rules.Decide(fresh); (was.Allowed || was.Reason == NeedsLogin) && !now.Allowed {
			t.Fatalf("%+v\n%+v: a fresh sign-in made %+v of %+v", rules, q, now, was)
		}
		// What is allowed without knowing the groups is allowed whichever they are.
		unknown := q
		unknown.Subject.Groups, unknown.Subject.GroupsUnknown = nil, true
		if got := rules.Decide(unknown); got.Allowed && !was.Allowed {
			t.Fatalf("%+v\n%+v: allowed by not knowing the groups: %+v", rules, q, was)
		}
		// Who may call a tool may reach the server.
		reach := q
		reach.Tool, reach.Scope = "", ""
		if was.Allowed && !rules.Decide(reach).Allowed {
			t.Fatalf("%+v\n%+v: may call and may not connect", rules, q)
		}
	}
}

func randomRules(r *rand.Rand) Rules {
	rules := Rules{Name: "r"}
	for range r.IntN(4) {
		rules.Allow = append(rules.Allow, randomRule(r))
	}
	for range r.IntN(3) {
		rules.Deny = append(rules.Deny, randomRule(r))
	}
	return rules
}

func randomRule(r *rand.Rand) Rule {
	return Rule{
		Who: some(r, someWho), Tools: some(r, somePatterns), Resources: some(r, somePatterns), Scopes: some(r, somePatterns),
		Require: Require{AMR: some(r, []string{"pwd", "mfa"}), SignedInWithin: time.Duration(r.IntN(3)) * time.Hour},
	}
}

func randomQuestion(r *rand.Rand) Question {
	one := func() string { return someNames[r.IntN(len(someNames))] }
	s := []Subject{alice, bob, job, {}}[r.IntN(4)]
	s.AuthTime, s.GroupsUnknown = now.Add(-time.Duration(r.IntN(4))*time.Hour), r.IntN(4) == 0
	return Question{Subject: s, Resource: one(), Tool: one(), Scope: one(), Now: now}
}

func some(r *rand.Rand, from []string) []string {
	var out []string
	for range r.IntN(3) {
		out = append(out, from[r.IntN(len(from))])
	}
	return out
}

func insert(r *rand.Rand, rules []Rule, rule Rule) []Rule {
	return slices.Insert(slices.Clone(rules), r.IntN(len(rules)+1), rule)
}

func ExampleRules_Decide() {
	rules := Rules{
		Name:  "servers.files",
		Allow: []Rule{{Who: []string{"group:eng"}, Tools: []string{"read_*", "delete_*"}}},
		Deny:  []Rule{{Who: []string{"everyone"}, Tools: []string{"delete_*"}}},
	}
	who := Subject{Person: "alice", Groups: []string{"eng"}, Client: "desktop"}
	for _, tool := range []string{"read_file", "delete_file", "write_file"} {
		a := rules.Decide(Question{Subject: who, Tool: tool})
		fmt.Println(tool, a.Allowed, a.Reason, a.Rule)
	}
	// Output:
	// read_file true allowed servers.files.allow[0]
	// delete_file false denied_by_rule servers.files.deny[0]
	// write_file false no_allow_rule
}
