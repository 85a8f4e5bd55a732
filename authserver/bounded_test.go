package authserver

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"doorward/internal/oauth"
)

// What is granted never exceeds ID-JAG ∩ client ∩ rules ∩ the issuer's bound,
// over random ones of each: by assertion, by code, after narrowing, after a
// refresh, and after the configuration changed in between.

var boundScopes = oauth.Scopes{"a", "b", "c", "d", "e"}

// bounds is a random configuration and what it permits, computed from what it
// says and not by the code under test.
type bounds struct {
	client, issuer oauth.Scopes // nil: none
	implies        map[string][]string
	allow          map[string]oauth.Scopes // by group
	deny           map[string]oauth.Scopes
}

func some(r *rand.Rand, of oauth.Scopes, chance int) oauth.Scopes {
	var out oauth.Scopes
	for _, s := range of {
		if r.IntN(100) < chance {
			out = append(out, s)
		}
	}
	return out
}

func randomBounds(r *rand.Rand) bounds {
	b := bounds{implies: map[string][]string{}, allow: map[string]oauth.Scopes{}, deny: map[string]oauth.Scopes{}}
	if r.IntN(2) == 0 {
		b.client = some(r, boundScopes, 60)
	}
	if r.IntN(3) == 0 {
		b.issuer = some(r, boundScopes, 70)
	}
	for n := range boundScopes { // towards the end only, so that nothing implies itself
		if narrow := some(r, boundScopes[n+1:], 20); len(narrow) > 0 {
			b.implies[boundScopes[n]] = narrow
		}
	}
	for _, group := range []string{"x", "y", "z"} {
		if r.IntN(4) > 0 {
			b.allow[group] = some(r, boundScopes, 60)
		}
		if r.IntN(4) == 0 {
			b.deny[group] = some(r, boundScopes, 30)
		}
	}
	return b
}

// apply writes the bounds into a configuration.
func (b bounds) apply(as, _ *Config) {
	res := Resource{ID: filesURL, Name: "Files", RuleName: "servers.files", Default: true, DefaultScopes: boundScopes[:1], Scopes: map[string]string{}, Implies: b.implies}
	for _, s := range boundScopes {
		res.Scopes[s] = s
	}
	for _, group := range []string{"x", "y", "z"} {
		if scopes := b.allow[group]; len(scopes) > 0 {
			res.Allow = append(res.Allow, Rule{Who: []string{"group:corp/" + group}, Scopes: scopes})
		}
		if scopes := b.deny[group]; len(scopes) > 0 {
			res.Deny = append(res.Deny, Rule{Who: []string{"group:corp/" + group}, Scopes: scopes})
		}
	}
	if len(res.Allow) == 0 {
		res.Allow = []Rule{{Who: []string{"person:corp/nobody"}}}
	}
	as.Resources = []Resource{res}
	as.Clients = map[string]Client{"desktop": {Secret: desktopSecret, Scopes: b.client, RedirectURIs: []string{crowdBack}}}
	changeIssuer(func(i *TrustedIssuer) { i.Scopes = b.issuer })(as, nil)
}

// reach is a bound with what its scopes imply; an empty bound is none.
func (b bounds) reach(bound oauth.Scopes) oauth.Scopes {
	if len(bound) == 0 {
		return boundScopes
	}
	out := slices.Clone(bound)
	for n := 0; n < len(out); n++ {
		for _, s := range b.implies[out[n]] {
			if !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out
}

// permitted is what the rules leave to somebody of these groups.
func (b bounds) permitted(groups []string) oauth.Scopes {
	var may, not oauth.Scopes
	for _, g := range groups {
		may, not = append(may, b.allow[g]...), append(not, b.deny[g]...)
	}
	return may.Minus(not)
}

// over is what of a token is more than all of these leave.
func over(t *testing.T, r reply, limits ...oauth.Scopes) oauth.Scopes {
	t.Helper()
	said, err := oauth.ParseScope(r.text("scope"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := claimsOf(t, r.text("access_token")).Text("scope")
	if err != nil || text != r.text("scope") || len(said) == 0 {
		t.Fatalf("the answer says %q and the token %q, %v", r.text("scope"), text, err)
	}
	var extra oauth.Scopes
	for _, limit := range limits {
		extra = append(extra, said.Minus(limit)...)
	}
	return extra
}

// covers: AS-JAG-13
func TestGrantedIsBounded(t *testing.T) {
	n, seed := soaking(t, isolationSteps, 10)
	r := rand.New(rand.NewPCG(seed, 13))
	b := randomBounds(r)
	w := newWorld(t, b.apply)
	type kept struct {
		refresh string
		granted oauth.Scopes
		groups  []string
	}
	var tokens []kept
	counts := map[string]int{}
	asking := func(scopes oauth.Scopes, entries ...string) reply {
		if len(scopes) > 0 {
			entries = append(entries, "scope="+scopes.String())
		}
		return post(w.as, "/token", desktop, form(entries...))
	}
	limit := func(scopes oauth.Scopes) oauth.Scopes { // of a request: absent is none
		if len(scopes) == 0 {
			return boundScopes
		}
		return scopes
	}
	for step := range n {
		if r.IntN(50) == 0 {
			b = randomBounds(r)
			cfg := w.asConfig(nil)
			b.apply(&cfg, nil)
			if err := w.as.Reload(cfg); err != nil {
				t.Fatal(err)
			}
		}
		groups := some(r, oauth.Scopes{"x", "y", "z"}, 60)
		asserted, asked := some(r, boundScopes, 60), some(r, boundScopes, 50)
		if r.IntN(3) == 0 {
			asked = nil
		}
		what, answer, extra := "", reply{}, oauth.Scopes(nil)
		switch d := r.IntN(10); {
		case d < 6:
			what = "assertion"
			claims := map[string]any{"sub": fmt.Sprintf("p%d", r.IntN(100)), "scope": asserted.String(), "groups": []string(groups)}
			if len(asserted) == 0 {
				claims["scope"], asserted = nil, boundScopes[:1] // the resource's defaults
			}
			if len(groups) == 0 {
				claims["groups"] = nil
			}
			answer = asking(asked, "grant_type="+oauth.JWTBearer, "assertion="+w.jag(t, claims))
			if answer.status == 200 {
				extra = over(t, answer, asserted, limit(asked), b.reach(b.client), b.reach(b.issuer), b.permitted(groups))
			}
		case d < 8 && len(asserted) > 0:
			what = "code"
			g := oauth.Grant{Client: "desktop", Resource: filesURL, Scopes: asserted, Subject: oauth.Subject{ID: "corp/c", Provider: "corp", Account: "c", Groups: groups}}
			code := w.code(t, w.as, g, crowdBack)
			answer = asking(nil, "grant_type=authorization_code", "code="+code, "code_verifier="+codeVerifier, "redirect_uri="+crowdBack)
			if answer.status == 200 {
				extra = over(t, answer, asserted, b.reach(b.client), b.permitted(groups))
				tokens = append(tokens, kept{answer.text("refresh_token"), asserted, groups})
			}
		case len(tokens) > 0:
			what = "refresh"
			k := &tokens[r.IntN(len(tokens))]
			answer = asking(asked, "grant_type=refresh_token", "refresh_token="+k.refresh)
			if answer.status == 200 {
				extra = over(t, answer, k.granted, limit(asked), b.reach(b.client), b.permitted(k.groups))
				k.refresh = answer.text("refresh_token")
			}
		default:
			continue
		}
		if len(extra) > 0 {
			t.Fatalf("step %d of seed %d: %s: granted %s, of which %s is too much; asserted %s, asked %s, groups %s, %+v", step, seed, what, answer.text("scope"), extra, asserted, asked, groups, b)
		}
		if answer.status >= 500 || answer.status == 200 && answer.text("access_token") == "" {
			t.Fatalf("step %d of seed %d: %s: %d %s", step, seed, what, answer.status, answer.body)
		}
		counts[fmt.Sprint(what, " ", answer.status == 200)]++
		if len(tokens) > 100 {
			tokens = tokens[50:]
		}
	}
	t.Log(counts)
	for _, what := range []string{"assertion true", "assertion false", "code true", "refresh true", "refresh false"} {
		if counts[what] < n/100 {
			t.Errorf("%s: only %d times", what, counts[what])
		}
	}
}
