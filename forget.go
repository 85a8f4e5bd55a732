package doorward

import (
	"context"
	"errors"
	"net/url"
	"strings"
)

// Forget drops what is held for one person at the MCP server at address: access
// and refresh tokens and ID-JAGs, also those in the Store; the next request
// starts anew. An empty address stands for all servers that this Transport
// has tokens of theirs for, and drops what proves the person to the IdP, too.
// who is as the Flow names the person: the zero Subject if its tokens are nobody's.
//
// Forget asks nobody and waits for no attempt that is under way, so that a
// callback of the Flow may call it; what such an attempt brings is used by those
// who wait for it, and is not kept. The tokens are not revoked at their issuer.
func (t *Transport) Forget(ctx context.Context, who Subject, address string) error {
	if t.Flow == nil {
		return misconfigured("Transport needs a Flow")
	}
	who = who.named()
	var all []*grant
	server := ""
	if address != "" {
		u, err := url.Parse(address)
		if err != nil || u.Host == "" {
			return misconfigured("the address of the MCP server is no URL")
		}
		at := addressOf(u)
		all, server = t.grants(at, who.Person), at.whole()
	} else {
		all = t.grantsOf(who.Person)
	}
	covered := map[string]bool{}
	for _, g := range all {
		covered[g.covers] = true
		g.end()
	}
	t.state.jags.dropAll(func(k jagKey) bool {
		return k.person == who.Person && (address == "" || covered[k.resource])
	})
	if address == "" {
		t.state.proofs.dropAll(func(k proofKey) bool { return k.person == who.Person })
	}
	return t.unsave(ctx, server, who.Person, covered)
}

// grantsOf are all that a person has.
func (t *Transport) grantsOf(person string) []*grant {
	var all []*grant
	for _, s := range t.state.shelves.values(func(p place) bool { return p.person == person }) {
		s.mu.Lock()
		all = append(all, s.grants...)
		s.mu.Unlock()
	}
	return all
}

// end takes everything from a grant, for good.
func (g *grant) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gone, g.held = true, held{}
}

func (g *grant) ended() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.gone
}

// unsave removes from the Store what was forgotten, and for one server also
// what this Transport has not taken up yet.
func (t *Transport) unsave(ctx context.Context, server, person string, covered map[string]bool) error {
	if t.Store == nil {
		return nil
	}
	if server != "" {
		for _, covers := range prefixes(server) {
			covered[covers] = true
		}
	}
	var failed error
	for covers := range covered {
		failed = errors.Join(failed, t.Store.Save(ctx, t.grantKey(covers, person), nil))
	}
	if failed != nil {
		server, _, _ = strings.Cut(server, "?")
		return storeFailed(server, "what is forgotten could not be removed", failed)
	}
	return nil
}
