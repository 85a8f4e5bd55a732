package authserver

import (
	"context"
	"errors"
	"fmt"

	"doorward/internal/ledger"
	"doorward/internal/oauth"
)

// People of the crowds who come by browser: codes and refresh tokens, in the
// model of isolation_test.go.

const crowdBack = "https://crowd.example/callback"

// signIn makes a code as the consent page does, of which another client may get
// hold; then its own redeems it.
func (i *isolation) signIn() {
	c, person := i.some()
	client, eng := pick(i.Rand, []string{"desktop", "reader", "writer"}), i.IntN(2) == 0
	resource := pick(i.Rand, []string{filesURL, notesURL})
	account := c.account(person)
	want := i.subset(isolationScopes[resource]).Intersect(i.permitted(c, person, eng, resource))
	if bound := isolationClients[client].bound; bound != nil {
		want = want.Intersect(bound)
	}
	if len(want) == 0 {
		return // the consent page is not shown
	}
	p := oauth.Subject{ID: account, Provider: c.provider, Account: fmt.Sprintf("p%d", person), Tenant: c.tenant, AuthTime: i.now()}
	if c.believed {
		p.Email = fmt.Sprintf("p%d@corp.example", person)
	}
	if eng {
		p.Groups = []string{"eng"}
	}
	g := oauth.Grant{ID: orderedText(i.now(), idSize), Subject: p, Client: client, Resource: resource, Scopes: want}
	code, err := i.as.newCode(context.Background(), g, oauth.AuthorizationRequest{CodeChallenge: oauth.S256(codeVerifier)}, crowdBack)
	switch {
	case i.left[account]:
		if !errors.Is(err, ledger.ErrLeft) {
			i.t.Errorf("a code for %s, who has left: %v", account, err)
		}
		i.ended[g.ID] = true
		return
	case err != nil:
		i.t.Error(err)
		return
	}
	h := heldToken{gid: g.ID, client: client, resource: resource, account: account, scopes: want, granted: want}
	redeem := func(by string) reply {
		return post(i.as, "/token", by+" "+isolationClients[by].secret,
			form("grant_type=authorization_code", "code="+code, "code_verifier="+codeVerifier, "redirect_uri="+crowdBack))
	}
	if thief := pick(i.Rand, []string{"desktop", "reader", "writer"}); thief != client && i.IntN(4) == 0 {
		i.refused(redeem(thief), "steal", h)
	}
	r := redeem(client)
	h.refresh = r.text("refresh_token")
	i.takes(r, h)
	i.counts["signed in"]++
}

// refresh uses somebody's refresh token, for all of it or less, as its own
// client or as another.
func (i *isolation) refresh() {
	at := i.IntN(max(len(i.held), 1))
	for n := range i.held {
		if h := (at + n) % len(i.held); i.held[h].refresh != "" {
			i.refreshOne(&i.held[h])
			return
		}
	}
}

func (i *isolation) refreshOne(h *heldToken) {
	by := pick(i.Rand, []string{h.client, h.client, "desktop", "reader", "writer"})
	asked := i.subset(isolationScopes[h.resource])
	entries := []string{"grant_type=refresh_token", "refresh_token=" + h.refresh}
	want := h.granted
	if len(asked) > 0 {
		entries, want = append(entries, "scope="+asked.String()), want.Intersect(asked)
	}
	r := post(i.as, "/token", by+" "+isolationClients[by].secret, form(entries...))
	more := len(asked.Minus(h.granted)) > 0 // than was granted (RFC 6749 section 6)
	if by != h.client || i.ended[h.gid] || i.left[h.account] || more {
		i.refused(r, "refresh", *h)
		return
	}
	next := *h
	next.scopes, next.refresh = want, r.text("refresh_token")
	h.refresh = ""
	i.takes(r, next)
	i.counts["refreshed"]++
}
