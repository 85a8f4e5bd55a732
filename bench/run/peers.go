package main

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// peer is another maker's server (bench/peers), a column of its own.
type peer struct {
	name    string
	about   string // what has to be said beside its figures
	version string // as it says itself
	start   func(b *bench) (*process, error)
	signsIn bool // its people sign in, and it remembers them

	redirect int               // as target's
	scope    string            // as target's
	rows     map[string]theirs // by the name of the row; others it does not have
}

// theirs is a row of a peer.
type theirs struct {
	side
	remark string
}

const (
	fosite       = "fosite"
	oidcProvider = "oidc-provider"
	sdk          = "TypeScript SDK"
	volatile     = "not durable"
	opaque       = "opaque"
	opaqueNow    = "opaque, not durable"
)

func peers() []peer {
	return []peer{
		{name: fosite, about: "SHA-256 of secrets instead of its default bcrypt, which alone would take 240 ms", start: startFosite, rows: map[string]theirs{
			credentialsRow:   {same(fosite, "/token", credentials), ""},
			refreshRow:       {side{fosite, refresh}, volatile},
			codeRow:          {side{fosite, code}, volatile},
			assertionRow:     {side{fosite, assertions("/token")}, volatile},
			introspectionRow: {side{fosite, introspect(introspectBasic)}, ""},
		}},
		{name: oidcProvider, about: "its adapter in memory", start: node("oidc.mjs"), signsIn: true, scope: "use", rows: map[string]theirs{
			metadataRow:      {fetch(oidcProvider, "/.well-known/oauth-authorization-server"), ""},
			credentialsRow:   {same(oidcProvider, "/token", credentials), ""},
			refreshRow:       {side{oidcProvider, refresh}, volatile},
			codeRow:          {side{oidcProvider, code}, volatile},
			registrationRow:  {register(oidcProvider), volatile},
			introspectionRow: {side{oidcProvider, introspectOpaque}, opaque},
		}},
		{name: sdk, about: "`mcpAuthRouter` and `requireBearerAuth` with the provider of its own example and refresh tokens", start: node("sdk.mjs"), redirect: 302, rows: map[string]theirs{
			metadataRow:     {fetch(sdk, "/.well-known/oauth-authorization-server"), ""},
			refreshRow:      {side{sdk, refresh}, opaqueNow},
			codeRow:         {side{sdk, code}, opaqueNow},
			registrationRow: {register(sdk), volatile},
			guardRow:        {side{sdk, guardOpaque}, opaque},
		}},
	}
}

// introspectBasic is introspectForm by a client that knows client_secret_basic
// only.
func introspectBasic(host, path, token string) []byte {
	return post(host, path, "application/x-www-form-urlencoded",
		"Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte("api:"+secret))+"\r\n", "token="+token)
}

// introspectOpaque asks about a token that is no JWT.
func introspectOpaque(t target, n int) (operation, error) {
	return introspect(introspectForm, "resource", t.base+"/opaque")(t, n)
}

// guardOpaque sends a token of the target's own, for each connection the same.
func guardOpaque(t target, _ int) (operation, error) {
	c, err := dial(t.base)
	if err != nil {
		return nil, err
	}
	defer c.wire.Close()
	err = t.codeFlow(c, "/token", "")
	return always(get(t.host, "/guarded", "Authorization: Bearer "+c.member("access_token")+"\r\n"), 200), err
}

// share is how much of a row's requests a peer is sent: they take about so many
// times as long.
const share = 3

// roundOfPeers measures a row at every peer that has it. The first round warms
// up.
func (b *bench) roundOfPeers(l *line, round int, seconds float64) error {
	for _, p := range b.peers {
		t, ok := p.rows[l.row.name]
		if !ok {
			continue
		}
		f, err := b.measure(l.row, t.side, seconds/share)
		if err != nil {
			return err
		}
		if round > 0 {
			l.theirs[p.name] = l.theirs[p.name].better(f)
		}
	}
	return nil
}

// heads are the columns of the peers, and the line under the whole head.
func (r *results) heads() string {
	var names, rule strings.Builder
	for _, p := range r.peers {
		names.WriteString(" " + p.name + " |")
		rule.WriteString("--:|")
	}
	return names.String() + "\n|---|--:|--:|--:|--:|---|--:|--:|--:|" + rule.String()
}

// cells are a row's figures of the peers.
func (r *results) cells(l *line) string {
	var b strings.Builder
	for _, p := range r.peers {
		f, ok := l.theirs[p.name]
		if !ok {
			b.WriteString(" – |")
			continue
		}
		fmt.Fprintf(&b, " %.0f", f.cpu)
		if remark := p.rows[l.row.name].remark; remark != "" {
			b.WriteString(" (" + remark + ")")
		}
		b.WriteString(" |")
	}
	return b.String()
}

// aboutPeers says what the columns of the peers are.
func (r *results) aboutPeers() string {
	if len(r.peers) == 0 {
		return ""
	}
	var all []string
	for _, p := range r.peers {
		all = append(all, fmt.Sprintf("%s (%s): %s", p.name, p.version, p.about))
	}
	return "\nThe last columns are other makers' servers, µs of CPU in every other of the same rounds. They keep everything in memory, so no answer of theirs outlives a crash. " +
		"–: they do not have it. " + strings.Join(all, "; ") + ".\n"
}
