package access

import (
	"path"
	"strings"
	"testing"
)

// covers: SEC-30
func TestMatchWho(t *testing.T) {
	const iss = "https://login.example/a"
	other := Subject{Person: iss + "#alice", Issuer: iss, Client: iss + "#desktop"}
	agent := Subject{Issuer: iss, Client: iss + "#alice"} // it calls itself like a person there
	provider := Subject{Person: "okta/alice", Provider: "okta", Client: "desktop"}
	for _, tt := range []struct {
		who  string
		s    Subject
		want bool
	}{
		{"everyone", alice, true},
		{"everyone", bob, true},
		{"everyone", job, false},
		{"everyone", Subject{}, false},
		{"Everyone", alice, false},
		{"", alice, false},
		{"", Subject{}, false},
		{"alice", alice, false},

		{"issuer:" + iss, other, true},
		{"issuer:" + iss + "#alice", other, true},
		{"issuer:" + iss + "#bob", other, false},
		{"issuer:" + iss + "#", other, false},
		{"issuer:" + iss + "/", other, false},
		{"issuer:https://login.example", other, false},
		{"issuer:https://login.example#a#alice", other, false},
		{"issuer:", alice, false},
		{"issuer:" + iss, alice, false},
		{"issuer:" + iss, agent, false},
		{"issuer:" + iss + "#alice", agent, false},
		{"client:" + iss + "#alice", agent, true},
		{"client:alice", agent, false},
		{"client:desktop", other, false},
		{"everyone", other, false},
		{"everyone", agent, false},
		{"person:alice", other, false},
		{"person:" + iss + "#alice", other, false},
		{"group:eng", Subject{Person: iss + "#x", Issuer: iss, Groups: []string{"eng"}}, false},
		{"x@example.com", Subject{Person: iss + "#x", Issuer: iss, Email: "x@example.com"}, false},

		{"person:alice", alice, true},
		{"person:Alice", alice, false},
		{"person:al*", alice, false},
		{"person:", alice, false},
		{"person:", Subject{}, false},
		{"person:alice", provider, false},
		{"person:okta/alice", provider, true},
		{"person:okta/alice", alice, false},
		{"person:okta/alice", Subject{Person: "okta/alice"}, false}, // a local name that imitates a provider's
		{"person:okta/alice", Subject{Person: "okta/alice", Provider: "entra"}, false},
		{"person:alice", Subject{Person: "alice", Provider: "okta"}, false},
		{"person:/alice", alice, false},
		{"person:okta/a/b", Subject{Person: "okta/a/b", Provider: "okta"}, true},
		{"person:job", job, false},
		{"person:alice", Subject{Client: "alice"}, false}, // a client that calls itself like a person
		{"person:alice", Subject{Client: "person:alice"}, false},

		{"alice@example.com", alice, true},
		{"ALICE@EXAMPLE.COM", alice, true},
		{"alice@example.com", bob, false},
		{"alice@example.com", job, false},
		{"alice@example.com.evil", alice, false},
		{"*@example.com", alice, false},
		{"mike@example.com", Subject{Person: "m", Email: "mi\u212ae@example.com"}, false}, // the Kelvin sign folds into k
		{"zoë@example.com", Subject{Person: "z", Email: "zoë@example.com"}, true},
		{"@", Subject{Person: "z", Email: "@"}, false},

		{"group:eng", alice, true},
		{"group:eng", bob, true},
		{"group:eng", job, false},
		{"group:Eng", alice, false},
		{"group:", Subject{Person: "x", Groups: []string{""}}, false},
		{"group:okta/eng", bob, true},
		{"group:okta/eng", alice, false},
		{"group:entra/eng", bob, false},
		{"group:okta//path/eng", bob, true},
		{"group:/path/eng", bob, false},
		{"group:/eng", alice, false},
		{"group:okta/", Subject{Person: "okta/x", Provider: "okta", Groups: []string{""}}, false},
		{"group:okta/eng", Subject{Person: "alice", Groups: []string{"okta/eng"}}, false}, // a local group that imitates a provider's

		{"client:job", job, true},
		{"client:desktop", alice, true},
		{"client:Job", job, false},
		{"client:", Subject{Person: "x"}, false},
		{"client:alice", alice, false},
		{"client:https://app.example/client.json", Subject{Client: "https://app.example/client.json"}, true},
	} {
		if got := matchWho(tt.who, tt.s, true); got != tt.want {
			t.Errorf("matchWho(%q, %+v) = %v", tt.who, tt.s, got)
		}
	}
}

// An allow for everyone is for whoever signed in; a deny for everyone is for
// clients that act for themselves, too.
func TestEveryone(t *testing.T) {
	everyone := []Rule{{Who: []string{"everyone"}}}
	named := []Rule{{Who: []string{"client:job"}}}
	issuer := []Rule{{Who: []string{"issuer:https://login.example"}}}
	other := Subject{Person: "https://login.example#alice", Issuer: "https://login.example", Client: "https://login.example#c"}
	agent := Subject{Issuer: "https://login.example", Client: "https://login.example#c"}
	for _, tt := range []struct {
		name  string
		rules Rules
		who   Subject
		want  bool
	}{
		{"allow, a person", Rules{Allow: everyone}, alice, true},
		{"allow, a client for itself", Rules{Allow: everyone}, job, false},
		{"named, a client for itself", Rules{Allow: named}, job, true},
		{"deny, a client for itself", Rules{Allow: named, Deny: everyone}, job, false},
		{"open on loopback, a client for itself", Rules{Open: true}, job, true},
		{"allow, another issuer's person", Rules{Allow: everyone}, other, false},
		{"open on loopback, another issuer's person", Rules{Open: true}, other, false},
		{"open on loopback, another issuer's client", Rules{Open: true}, agent, false},
		{"allow, a person of where everybody signs in", Rules{Allow: everyone, Home: "https://login.example"}, other, true},
		{"allow, a client for itself from there", Rules{Allow: everyone, Home: "https://login.example"}, agent, false},
		{"open on loopback, a person from there", Rules{Open: true, Home: "https://login.example"}, other, true},
		{"deny, a person from there", Rules{Allow: everyone, Deny: everyone, Home: "https://login.example"}, other, false},
		{"allow, a person of an issuer besides", Rules{Allow: everyone, Home: "https://home.example"}, other, false},
		{"named, another issuer's people", Rules{Allow: issuer}, other, true},
		{"named, another issuer's client", Rules{Allow: issuer}, agent, false},
		{"deny, another issuer's person", Rules{Allow: issuer, Deny: everyone}, other, false},
		{"deny of another issuer", Rules{Allow: append(everyone, issuer...), Deny: issuer}, other, false},
		{"deny of another issuer, and its client", Rules{Allow: []Rule{{Who: []string{"client:https://login.example#c"}}}, Deny: issuer}, agent, false},
		{"deny of another issuer, and our people", Rules{Allow: everyone, Deny: issuer}, alice, true},
	} {
		if a := tt.rules.Decide(Question{Subject: tt.who, Now: now}); a.Allowed != tt.want {
			t.Errorf("%s: %+v", tt.name, a)
		}
	}
}

func TestCheckWho(t *testing.T) {
	for _, ok := range []string{"everyone", "person:alice", "person:okta/00u1", "person:okta/a@b.example", "alice@example.com", "group:eng", "group:okta/eng", "group:kc//eng",
		"client:job", "client:https://app.example/client.json?x=*", "issuer:https://login.example", "issuer:http://127.0.0.1:1/a#x#*y"} {
		if err := CheckWho(ok); err != nil {
			t.Error(err)
		}
	}
	for bad, reason := range map[string]string{
		"": "empty", " everyone": "space", "person:alice ": "space", "person:": "incomplete", "person:/alice": "incomplete", "person:okta/": "incomplete",
		"group:": "incomplete", "group:/eng": "incomplete", "group:okta/": "incomplete", "client:": "no client", "client:*": "no client",
		"issuer:": "incomplete", "issuer:login.example": "incomplete", "issuer:https://login.example#": "incomplete",
		"*": "patterns", "group:*": "patterns", "*@example.com": "patterns", "alice": "not known", "Everyone": "not known", "user:alice": "not known",
		"@example.com": "not known", "alice@": "not known", "a@b@c": "not known", "a b@example.com": "not known", "Person:alice": "not known", "<a@b.c>": "not known",
	} {
		if err := CheckWho(bad); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("CheckWho(%q) = %v, want the reason %q", bad, err, reason)
		}
	}
}

func TestMatchPattern(t *testing.T) {
	for _, tt := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"*", "", true}, {"*", "anything/at all", true}, {"a", "a", true}, {"a*", "a", true}, {"*a", "ba", true}, {"a*c", "abc", true},
		{"a*b*c", "a-b-b-c", true}, {"*b*", "abc", true}, {"a**c", "ac", true}, {"*ab*ab*", "abab", true}, {"https://a/*", "https://a/b/c", true}, {"?", "?", true}, {"[a]", "[a]", true},
		{"", "a", false}, {"a", "", false}, {"a", "A", false}, {"a", "ab", false}, {"a*", "ba", false}, {"*a", "ab", false}, {"a*a", "a", false}, {"ab*bc", "abc", false},
		{"a*b*c", "acb", false}, {"*ab*ab*", "aba", false}, {"?", "a", false}, {"[a]", "a", false}, {"a.c", "abc", false},
	} {
		if got := matchPattern(tt.pattern, tt.s); got != tt.want {
			t.Errorf("matchPattern(%q, %q) = %v", tt.pattern, tt.s, got)
		}
	}
}

func FuzzMatchPattern(f *testing.F) {
	f.Add("a*b", "a-b")
	f.Add("*ab*ab*", "abab")
	f.Add("ab*bc", "abc")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		// path.Match agrees wherever its other signs and its separator are absent.
		if strings.ContainsAny(pattern+s, `?[]\/`) {
			return
		}
		want, err := path.Match(pattern, s)
		if err != nil {
			t.Skip()
		}
		if got := matchPattern(pattern, s); got != want {
			t.Errorf("matchPattern(%q, %q) = %v", pattern, s, got)
		}
	})
}

// An entry that may not be written means nobody, should one slip past the
// configuration.
func TestRefusedWhoMeansNobody(t *testing.T) {
	people := []Subject{alice, bob, job, {Person: "x", Provider: "p", Groups: []string{"*", "", "/eng"}, Email: "@", Client: "*"}}
	for _, who := range []string{"", "person:", "person:/alice", "person:okta/", "group:", "group:/eng", "group:okta/", "client:", "alice", "@", "*", "Everyone"} {
		if CheckWho(who) == nil {
			t.Errorf("%q may be written", who)
		}
		for _, s := range people {
			if matchWho(who, s, false) {
				t.Errorf("%q may not be written and means %+v", who, s)
			}
		}
	}
}
