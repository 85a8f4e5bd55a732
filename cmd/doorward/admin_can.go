package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"doorward/internal/access"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

type canIn struct {
	Person   string   `json:"person"`
	Server   string   `json:"server"`
	Tool     string   `json:"tool,omitempty"`
	Client   string   `json:"client,omitempty"`
	Groups   []string `json:"groups,omitempty"`
	Email    string   `json:"email,omitempty"`
	AMR      []string `json:"amr,omitempty"`
	SignedIn string   `json:"signed_in,omitempty"` // ago, a duration; "": just now
}

type canOut struct {
	Allowed bool   `json:"allowed"`
	Rule    string `json:"rule,omitempty"`
	Reason  string `json:"reason"`
	Person  string `json:"person"`
	Server  string `json:"server"`
	Tool    string `json:"tool,omitempty"`
}

// can asks the rules as they are now about a person as they were last seen.
func (i *instance) can(ctx context.Context, in canIn) (canOut, error) {
	cfg := i.config()
	rules, resource, name, err := cfg.rulesOf(in.Server)
	if err != nil {
		return canOut{}, err
	}
	sub, left, err := i.subject(ctx, in)
	if err != nil {
		return canOut{}, err
	}
	out := canOut{Person: sub.Person, Server: name, Tool: in.Tool}
	if left != nil {
		if out.Reason = "left"; errors.Is(left, ledger.ErrInactive) {
			out.Reason = "inactive"
		}
		return out, nil
	}
	a := rules.Decide(access.Question{Subject: sub, Resource: resource, Tool: in.Tool, Now: time.Now()})
	out.Allowed, out.Rule, out.Reason = a.Allowed, a.Rule, a.Reason
	return out, nil
}

// subject is the person as the file has them, else as their newest grant says,
// else as they last signed in.
func (i *instance) subject(ctx context.Context, in canIn) (_ access.Subject, left, _ error) {
	id, err := i.person(ctx, in.Person)
	if err != nil {
		return access.Subject{}, nil, err
	}
	ago := time.Duration(0)
	if in.SignedIn != "" {
		if ago, err = time.ParseDuration(in.SignedIn); err != nil {
			return access.Subject{}, nil, wrongUse{fmt.Errorf("--signed-in: %w", err)}
		}
	}
	s := access.Subject{Person: id, Client: in.Client, Groups: in.Groups, Email: in.Email, AMR: in.AMR, AuthTime: time.Now().Add(-ago)}
	a, err := i.ledger.Account(ctx, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return s, nil, err
	}
	s.Provider = a.Provider
	if p, _, ok := strings.Cut(id, "/"); ok && a.ID == "" { // who never came
		s.Provider = p
	}
	if p, ok := i.config().People[id]; ok {
		s.Email, s.Groups = or(s.Email, p.Email), orList(s.Groups, p.Groups)
	}
	asked := len(s.Groups) > 0 // of given ones, or of the file's: known, whatever a provider said
	last := oauth.Subject{Email: a.Email, Groups: a.Groups, GroupsUnknown: a.GroupsUnknown}
	if g, err := i.newestGrant(ctx, id); err != nil {
		return s, nil, err
	} else if g.ID != "" { // what the gateway goes by
		last = g.Subject
	}
	s.Email, s.Groups = or(s.Email, or(last.Email, a.Email)), orList(s.Groups, last.Groups)
	s.GroupsUnknown = !asked && last.GroupsUnknown
	if len(in.Groups) > 0 {
		return s, a.Here(), nil
	}
	s.Groups, err = i.engine.Groups(ctx, oauth.Subject{ID: id, Provider: s.Provider, Groups: s.Groups})
	return s, a.Here(), err
}

func (i *instance) newestGrant(ctx context.Context, person string) (ledger.Grant, error) {
	var newest ledger.Grant
	for after := ""; ; {
		recs, next, err := i.store.List(ctx, store.Query{Kind: ledger.KindGrant, Index: "person=" + person, After: after, Limit: 500})
		if err != nil {
			return newest, err
		}
		for _, r := range recs {
			if g, err := i.ledger.Grant(ctx, r.Key); err == nil && g.Created.After(newest.Created) {
				newest = g
			}
		}
		if after = next; after == "" {
			return newest, nil
		}
	}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func orList(a, b []string) []string {
	if len(a) > 0 {
		return a
	}
	return b
}

// rulesOf finds the rules of a server, or of an audience, by name or identifier.
func (c *Config) rulesOf(typed string) (rules access.Rules, resource, name string, err error) {
	engine := c.authserverConfig()
	if len(engine.Audiences) > 0 {
		for issuer, a := range engine.Audiences {
			for _, res := range a.Resources {
				if typed == issuer || typed == res {
					return access.Rules{Name: fmt.Sprintf("audiences[%q]", issuer), Allow: a.Allow, Deny: a.Deny}, res, issuer, nil
				}
			}
		}
		return rules, "", "", fmt.Errorf("%q is no audience and no resource of one%s", typed, thereAre(sortedNames(engine.Audiences)))
	}
	for _, r := range engine.Resources {
		if typed == r.ID || "servers."+typed == r.RuleName {
			return access.Rules{Name: r.RuleName, Allow: r.Allow, Deny: r.Deny, Open: r.Open}, r.ID, r.RuleName, nil
		}
	}
	return rules, "", "", fmt.Errorf("there is no server %q%s", typed, thereAre(sortedNames(c.Servers)))
}
