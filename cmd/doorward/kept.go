package main

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"doorward"
	"doorward/internal/keep"
	"doorward/internal/oauth"
)

// keptToken is what the library keeps of one person's access to one server, as
// far as it is shown, revoked or looked for here.
type keptToken struct {
	Covers   string    `json:"covers"` // the server's URL, or a prefix of it
	Issuer   string    `json:"issuer"`
	Private  bool      `json:"private"`  // the server's address was in private space
	Loopback bool      `json:"loopback"` // or on this machine
	Access   string    `json:"access"`
	Refresh  string    `json:"refresh"`
	Expires  time.Time `json:"expires"`
	Client   struct {
		ID     string `json:"id"`
		Secret string `json:"secret"`
		Method string `json:"method"`
	} `json:"client"`
}

// client is the one that the token was given to, as far as that is known.
func (k keptToken) client(p keep.Profile) keep.Client {
	named := p.Clients[k.Issuer]
	if k.Client.ID == "" || k.Client.ID == named.ID {
		return named
	}
	return keep.Client{ID: k.Client.ID, Secret: k.Client.Secret}
}

// keptTokens are those of a profile, sorted by server.
func keptTokens(p keep.Profile) []keptToken {
	var all []keptToken
	for _, value := range p.Tokens {
		var k keptToken
		if json.Unmarshal(value, &k) == nil && k.Covers != "" && (k.Access != "" || k.Refresh != "") {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, func(a, b keptToken) int {
		return strings.Compare(a.Covers+" "+a.Issuer+" "+a.Client.ID, b.Covers+" "+b.Issuer+" "+b.Client.ID)
	})
	return all
}

// knownClient is the client that the person named before for the authorization
// server of this MCP server: its secret goes to that issuer and to no other.
func knownClient(p keep.Profile, server string) (doorward.Credentials, bool) {
	for _, k := range keptTokens(p) {
		if c, ok := p.Clients[k.Issuer]; ok && oauth.ResourceCovers(k.Covers, server) {
			return doorward.Credentials{Issuer: k.Issuer, ID: c.ID, Secret: c.Secret}, true
		}
	}
	return doorward.Credentials{}, false
}

// tokens is where a run keeps what it gets; nil, with a word about it, where
// nothing can be kept.
func (f *tokenFlags) tokens(e env, client doorward.Credentials) doorward.TokenStore {
	store, err := e.kept()
	if err == nil {
		err = store.Ready()
	}
	if err != nil {
		e.say("(the next start signs in again: %v)", err)
		return nil
	}
	// What was asked for with other flags is another grant.
	var space string
	if len(f.scopes) > 0 || f.resource != "" {
		scopes := slices.Clone(f.scopes)
		slices.Sort(scopes)
		b, _ := json.Marshal([]any{slices.Compact(scopes), f.resource}) // strings always can be
		space = string(b)
	}
	return store.Tokens(f.profileName(), space, func(p *keep.Profile, value []byte) {
		var k keptToken
		if f.clientID == "" || json.Unmarshal(value, &k) != nil || k.Covers == "" {
			return
		}
		if p.Clients == nil {
			p.Clients = map[string]keep.Client{}
		}
		p.Clients[k.Issuer] = keep.Client{ID: client.ID, Secret: client.Secret}
	})
}

func (f *tokenFlags) profileName() string {
	if f.profile == "" {
		return defaultProfile
	}
	return f.profile
}
