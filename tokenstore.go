package doorward

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// TokenStore keeps the tokens of a [Transport] between runs of a program, and
// lets several processes of one user share them: whoever renews a token holds
// its Lock, and the others take what was saved instead of renewing it again.
// All methods may be called by many goroutines at once.
//
// A key is a name of ours for one person's tokens at one resource: 64 to 80
// characters of a to z, 0 to 9 and "-", without a word about either. A value is at
// most 256 KiB and holds access and refresh tokens: a store has to keep it from
// everybody else (encrypted, or in a file that only its owner can read).
type TokenStore interface {
	// Load returns what was saved last under key; nil without an error if there
	// is nothing.
	Load(ctx context.Context, key string) ([]byte, error)
	// Save puts value in the place of what was saved under key, as a whole or
	// not at all. An empty value removes it, which is no error if there is nothing.
	Save(ctx context.Context, key string, value []byte) error
	// Lock waits until nobody else, in this process or another, holds key, and
	// returns what gives it back; it gives up when ctx ends. It may be held as
	// long as a person takes to sign in, and ends with the process that holds
	// it. Load and Save of the same key are called while it is held; a Load
	// also before, and a Save that removes also in spite of another's Lock.
	Lock(ctx context.Context, key string) (unlock func(), err error)
}

const (
	maxKeptValue = 256 << 10
	maxPrefixes  = 32          // of a server's path that are looked for
	lookAgain    = time.Minute // how long nothing was found counts
	saveTimeout  = 10 * time.Second
)

// keptGrant is a grant as it lies in a TokenStore.
type keptGrant struct {
	Version  int         `json:"v"`
	Covers   string      `json:"covers"`
	Resource string      `json:"resource,omitempty"`
	Issuer   string      `json:"issuer"`
	Offered  string      `json:"offered,omitempty"` // scopes_supported of the resource
	Legacy   bool        `json:"legacy,omitempty"`
	Private  bool        `json:"private,omitempty"`  // the server's address was in private space,
	Loopback bool        `json:"loopback,omitempty"` // or on this machine
	Bound    bool        `json:"bound,omitempty"`    // the resource demands bound tokens
	JKT      string      `json:"jkt,omitempty"`      // thumbprint of the key that the tokens are bound to,
	Key      []byte      `json:"key,omitempty"`      // and that key (PKCS #8), unless the program has it
	Access   string      `json:"access,omitempty"`
	Refresh  string      `json:"refresh,omitempty"`
	Scopes   string      `json:"scopes,omitempty"`
	Made     time.Time   `json:"made,omitzero"`
	Expires  time.Time   `json:"expires,omitzero"`
	Client   *keptClient `json:"client,omitempty"`
}

// keptClient is a registration as it lies in a TokenStore.
type keptClient struct {
	ID       string    `json:"id"`
	Secret   string    `json:"secret,omitempty"`
	Method   string    `json:"method,omitempty"`
	Redirect string    `json:"redirect,omitempty"`
	Dynamic  bool      `json:"dynamic,omitempty"`
	Until    time.Time `json:"until,omitzero"`
}

// keepClient leaves out the secret of a configured client: the program has it.
func keepClient(r registration) *keptClient {
	switch {
	case r.id == "":
		return nil
	case !r.dynamic:
		r.secret = ""
	}
	return &keptClient{ID: r.id, Secret: r.secret, Method: r.method, Redirect: r.redirect, Dynamic: r.dynamic}
}

func (c *keptClient) registration() registration {
	if c == nil {
		return registration{}
	}
	return registration{id: c.ID, secret: c.Secret, method: c.Method, redirect: c.Redirect, dynamic: c.Dynamic}
}

// storeFailed is an error of the program's TokenStore.
func storeFailed(server, what string, err error) error {
	return &Error{Step: stepStore, Server: server, Description: what, Err: err, Retry: errors.Is(err, context.DeadlineExceeded)}
}

// keyOf names what is kept for a Flow: its kind, its client, and then parts.
func (t *Transport) keyOf(kind string, parts ...string) string {
	as := t.Flow.server()
	all := []string{kind, fmt.Sprintf("%T", t.Flow), as.ID}
	if f, ok := t.Flow.(*CrossApp); ok {
		all = append(all, f.IdP.Issuer, f.IdP.ID)
	}
	name, err := json.Marshal(append(all, parts...))
	if err != nil {
		panic(err) // strings always can be
	}
	sum := sha256.Sum256(name)
	return kind + "-" + hex.EncodeToString(sum[:])
}

// grantKey is the key of a person's grant for a resource, or for the part of a
// server's URL that a resource could be.
func (t *Transport) grantKey(covers, person string) string {
	place := covers
	if u, err := url.Parse(covers); err == nil {
		o := originOf(u)
		place = o.scheme + "://" + o.host + ":" + o.port + strings.TrimSuffix(u.EscapedPath(), "/")
		if u.RawQuery != "" {
			place += "?" + u.RawQuery
		}
	}
	return t.keyOf("grant", place, person)
}

// looked is what was looked for in the TokenStore.
type looked struct {
	server address
	person string
}

// restore takes up what the TokenStore has for a server, if nothing is held.
func (t *Transport) restore(ctx context.Context, server address, person string) error {
	if len(t.grants(server, person)) > 0 {
		return nil
	}
	_, err := t.state.looked.get(ctx, t.now, looked{server, person}, lookAgain, func(ctx context.Context) (bool, error) {
		found, called := false, server.String()
		for _, covers := range prefixes(server.whole()) {
			k, err := t.load(ctx, called, t.grantKey(covers, person))
			if err != nil {
				return false, err
			}
			at, ok := t.targetOf(k, server)
			if !ok {
				continue
			}
			g, h := t.grantFor(at, server, person), t.heldOf(k)
			g.mu.Lock()
			g.held, g.stored = h, h.stamp()
			g.isOf(subOf(h.access))
			g.mu.Unlock()
			t.keep(g, placeOf(server, person), h)
			found = true
		}
		return found, nil
	})
	return err
}

// prefixes are the resources that can cover a server, the closest first.
func prefixes(server string) []string {
	u, err := url.Parse(server)
	if err != nil {
		return nil
	}
	origin := u.Scheme + "://" + u.Host
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	var all []string
	if u.RawQuery != "" {
		all = append(all, origin+path+"?"+u.RawQuery)
	}
	for ; path != "" && len(all) < maxPrefixes; path = path[:strings.LastIndexByte(path, '/')] {
		all = append(all, origin+path)
	}
	return append(all, origin)
}

// load reads a grant. What is no grant of this version is none.
func (t *Transport) load(ctx context.Context, server, key string) (*keptGrant, error) {
	value, err := t.Store.Load(ctx, key)
	if err != nil {
		return nil, storeFailed(server, "what was saved cannot be read", err)
	}
	var k keptGrant
	if len(value) == 0 || len(value) > maxKeptValue || json.Unmarshal(value, &k) != nil || k.Version != 1 {
		return nil, nil
	}
	return &k, nil
}

// targetOf is what a kept grant is for, if it is for the server and of the
// issuer that the Flow is configured for.
func (t *Transport) targetOf(k *keptGrant, server address) (target, bool) {
	if k == nil || !oauth.ResourceCovers(k.Covers, server.whole()) || oauth.CheckIssuer(k.Issuer) != nil {
		return target{}, false
	}
	own := t.Flow.server().Issuer
	if own != "" && own != k.Issuer || k.Legacy && !t.Legacy {
		return target{}, false
	}
	by := trust{origin: originOf(server.url()), reach: reach{private: k.Private, loopback: k.Loopback}}
	if own != "" {
		by = byUser
	}
	offered, _ := oauth.ParseScope(k.Offered)
	return target{server: server.String(), covers: k.Covers, resource: k.Resource, issuer: k.Issuer, scopes: offered, legacy: k.Legacy, by: by, bound: k.Bound}, true
}

// heldOf is what a kept grant holds, without tokens that are bound to a key that
// is not there, and without those of the wrong type (C-DPOP-03).
func (t *Transport) heldOf(k *keptGrant) held {
	scopes, _ := oauth.ParseScope(k.Scopes)
	key, ok := t.keptKey(k)
	if !ok {
		k.Access, k.Refresh = "", ""
	}
	if key == nil && t.DPoP != nil {
		k.Access = ""
	}
	h := held{access: k.Access, key: key, header: headerOf(k.Access, key), refresh: k.Refresh, scopes: scopes, client: k.Client.registration(), made: k.Made, expires: k.Expires}
	if h.access != "" && !visible(h.access) {
		h.access = ""
	}
	return h
}

// isOf notes who signed in, where the token says it. The caller holds mu.
func (g *grant) isOf(sub string) {
	if sub != "" {
		g.signed = sub
	}
}

// subOf is the sub of an access token that is a JWT; "" of another. It is not
// checked: it only tells one person's sign-in from another's.
func subOf(token string) string {
	_, claims, err := jose.Peek(token)
	if err != nil {
		return ""
	}
	sub, err := claims.Text("sub")
	if err != nil {
		return ""
	}
	return sub
}

// stamp tells one saved grant from the next.
type stamp struct{ access, refresh string }

func (h held) stamp() stamp { return stamp{h.access, h.refresh} }

// alone holds the TokenStore's lock for a grant, and takes up what another
// process has saved in the meantime.
func (t *Transport) alone(ctx context.Context, g *grant, at target, person string) (unlock func(), err error) {
	if t.Store == nil {
		return func() {}, nil
	}
	key := t.grantKey(g.covers, person)
	unlock, err = t.Store.Lock(ctx, key)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, storeFailed(at.server, "its lock cannot be had", err)
	}
	k, err := t.load(ctx, at.server, key)
	if err != nil {
		unlock()
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if k == nil || k.Issuer != g.issuer || k.Covers != g.covers {
		if g.stored != (stamp{}) { // it was saved, and somebody has removed it: it is over here, too
			g.held, g.stored = held{}, stamp{}
		}
		return unlock, nil
	}
	// By what was saved and not by when: a clock may have been set back.
	if h := t.heldOf(k); h.stamp() != g.stored {
		of := subOf(h.access)
		if person == "" && of != "" && g.signed != "" && of != g.signed {
			unlock()
			return nil, &Error{Step: stepStore, Server: at.server, Who: whoPerson,
				Description: "somebody else has signed in there meanwhile, with this store: start this program again to go on as them"}
		}
		g.held, g.stored = h, h.stamp()
		g.isOf(of)
	}
	return unlock, nil
}

// save keeps a grant. It goes on when the one who waited for the token has
// left: what is lost after a rotation cannot be had again.
func (t *Transport) save(ctx context.Context, g *grant, person string) error {
	if t.Store == nil {
		return nil
	}
	g.mu.Lock()
	at, h, gone := g.target, g.held, g.gone
	g.mu.Unlock()
	if gone {
		return nil
	}
	// What the user configured may lie anywhere, also for who ends it later.
	ours := at.by == byUser
	value, err := json.Marshal(keptGrant{
		Version: 1, Covers: at.covers, Resource: at.resource, Issuer: at.issuer, Offered: at.scopes.String(), Legacy: at.legacy,
		Private: ours || at.by.reach.private, Loopback: ours || at.by.reach.loopback,
		Bound: at.bound, JKT: thumbprintOf(h.key), Key: t.keyToKeep(h.key),
		Access: h.access, Refresh: h.refresh, Scopes: h.scopes.String(), Made: h.made, Expires: h.expires, Client: keepClient(h.client),
	})
	if err == nil && len(value) > maxKeptValue {
		err = fmt.Errorf("%d bytes are too many", len(value))
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
		defer cancel()
		err = t.Store.Save(ctx, t.grantKey(g.covers, person), value)
	}
	if err != nil {
		g.notSaved(t.now())
		return storeFailed(at.server, "the new token could not be saved and lives in this process only", err)
	}
	g.mu.Lock()
	g.stored, g.unsaved = h.stamp(), 0
	g.mu.Unlock()
	return nil
}
