// Package ledger is what a client, a grant, an account is, written once above
// the store: typed records, their keys and indexes, and the one way to end
// them. Everybody who reads or writes these records goes through it.
//
// Read [Ledger.End] first: it is the off switch.
package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"doorward/internal/oauth"
	"doorward/store"
)

// Kinds of records.
const (
	KindGrant   store.Kind = "grant"
	KindClient  store.Kind = "client"
	KindAccount store.Kind = "account"
	KindSession store.Kind = "session"
	// KindParty is a client that is told when a session ends.
	KindParty store.Kind = "party"
	// KindUpstream is what a provider that somebody signed in at last said of them.
	KindUpstream store.Kind = "upstream"
	// KindRevoke is what a separate server issued for a grant that ended, until it
	// is revoked there.
	KindRevoke store.Kind = "revoke"
	// KindLogout is what a provider said is over, for as long as that matters.
	KindLogout  store.Kind = "logout"
	KindConsent store.Kind = "consent"
	KindDevice  store.Kind = "device"
	KindPushed  store.Kind = "pushed"
	// KindArrival is what a provider said in a form that another site sent, until
	// the browser comes for it with its cookie.
	KindArrival  store.Kind = "arrival"
	KindUserCode store.Kind = "usercode"
	KindEnded    store.Kind = "ended"
	// KindCut says when everything at a server was ended, as long as a code of
	// before may live of which nothing lies here.
	KindCut   store.Kind = "cut"
	KindKey   store.Kind = "key"
	KindAudit store.Kind = "audit"
	KindMeta  store.Kind = "meta"

	// KindDirectoryUser is what a provider's SCIM client wrote, KindDirectoryName
	// what makes its names unique.
	KindDirectoryUser store.Kind = "scim-user"
	KindDirectoryName store.Kind = "scim-name"
	// KindDirectoryGroup is a group of it, KindDirectoryMember that somebody is in one.
	KindDirectoryGroup  store.Kind = "scim-group"
	KindDirectoryMember store.Kind = "scim-member"
	// KindLeaving is a person whose things are being ended.
	KindLeaving store.Kind = "leaving"
)

// Ledger keeps typed records in a store.
type Ledger struct {
	Store store.Store
	Now   func() time.Time // nil: time.Now
	// AuditKeep is how long events are kept; 0: DefaultAuditKeep.
	AuditKeep time.Duration

	parsed memo
}

func (l *Ledger) now() time.Time {
	if l.Now == nil {
		return time.Now()
	}
	return l.Now()
}

// Grant is a grant with what its handles need.
type Grant struct {
	oauth.Grant
	Code        *Code     `json:"code,omitempty"`
	Refresh     *Refresh  `json:"refresh,omitempty"`
	TokensUntil time.Time `json:"tokens_until,omitzero"` // when the last access token that names it expires
	Ended       time.Time `json:"ended,omitzero"`
	EndReason   string    `json:"end_reason,omitempty"`
	// Assertion names the workload's JWT it was made from: SHA-256 of the whole JWS.
	Assertion []byte `json:"assertion,omitempty"`
	// Upstream: a record of KindUpstream under its id holds the tokens of a
	// separate server, and ends with it.
	Upstream bool `json:"upstream,omitempty"`

	version uint64
}

// Code is the authorization code that a grant is redeemed by, once.
type Code struct {
	Hash        []byte    `json:"hash"` // SHA-256 of the code
	Until       time.Time `json:"until"`
	Used        bool      `json:"used,omitempty"`
	RedirectURI string    `json:"redirect_uri,omitempty"` // where the code was sent to
	Challenge   string    `json:"challenge,omitempty"`
	Key         string    `json:"key,omitempty"` // dpop_jkt of the request
}

// Refresh is the state of a grant's one living refresh token. Only hashes lie
// here; the successor is derived from the predecessor (authserver).
type Refresh struct {
	Hash       []byte    `json:"hash"`               // SHA-256 of the token that is current
	Previous   []byte    `json:"previous,omitempty"` // of its predecessor
	Generation uint32    `json:"generation"`
	Rotated    time.Time `json:"rotated,omitzero"`
	IdleUntil  time.Time `json:"idle_until"`
}

// Active reports whether the grant may still be used at the time.
func (g Grant) Active(now time.Time) bool { return g.Ended.IsZero() && now.Before(g.Expires) }

// New reports whether the grant is not in the store yet, as far as was read.
func (g Grant) New() bool { return g.version == 0 }

// Put is the op that writes the grant: a new one must not exist yet, one that
// was read must not have changed since.
func (g Grant) Put() store.Op { return g.put() }

func (g *Grant) put() store.Op {
	r := store.Record{Kind: KindGrant, Key: g.ID, Value: encodeGrant(g), Version: g.version, Index: make([]string, 0, 4)}
	if !g.Subject.IsClient() {
		r.Index = append(r.Index, "person="+g.Subject.ID)
	}
	r.Index = append(r.Index, "client="+g.Client, "resource="+g.Resource)
	if g.Issuer != "" {
		r.Index = append(r.Index, "issuer="+g.Issuer)
	}
	r.Expires = g.Expires
	if g.TokensUntil.After(r.Expires) {
		r.Expires = g.TokensUntil
	}
	return unwatched(r)
}

// unwatched is the op that writes a record that nobody watches: one that is new must
// not exist yet, one that was read must not have changed since.
func unwatched(r store.Record) store.Op {
	op := store.Put(r)
	if r.Version == 0 {
		op = store.Create(r)
	}
	op.Unwatched = true
	return op
}

// Add is the op that writes a grant that is new and whose id is random.
func (g Grant) Add() store.Op {
	op := g.Put()
	op.Do = store.DoAdd
	return op
}

// Grant reads a grant, ended or not. store.ErrNotFound if there is none.
func (l *Ledger) Grant(ctx context.Context, id string) (Grant, error) {
	r, err := l.Store.Get(ctx, KindGrant, id)
	if err != nil {
		return Grant{}, err
	}
	return l.grantOf(r)
}

// FindGrant is Grant with one copy less; what it returns is the caller's own.
func (l *Ledger) FindGrant(ctx context.Context, id string) (*Grant, error) {
	r, err := l.Store.Get(ctx, KindGrant, id)
	if err != nil {
		return nil, err
	}
	p, err := Parse[*Grant](l, r)
	if err != nil {
		return nil, err
	}
	g := *p
	g.own()
	g.version = r.Version
	return &g, nil
}

func (l *Ledger) grantOf(r store.Record) (Grant, error) {
	p, err := Parse[*Grant](l, r)
	if err != nil {
		return Grant{}, err
	}
	g := *p
	g.own()
	g.version = r.Version
	return g, nil
}

// SpendGrant is Grant for whoever reads it to write it over: nobody reads it as it
// is again, so this process forgets it. What it remembered is not the caller's to
// change, for others may be reading it.
func (l *Ledger) SpendGrant(ctx context.Context, id string) (*Grant, error) {
	r, err := l.Store.Get(ctx, KindGrant, id)
	if err != nil {
		return nil, err
	}
	var g *Grant
	if p, ok := l.parsed.take(r).(*Grant); ok {
		g = new(Grant)
		*g = *p
		g.own()
		if p.Code != nil {
			code := *p.Code
			g.Code = &code
		}
		if p.Refresh != nil {
			refresh := *p.Refresh
			g.Refresh = &refresh
		}
	} else if err := decode(r, &g); err != nil {
		return nil, err
	}
	g.version = r.Version
	return g, nil
}

// own gives a copy of a grant slices of its own, which whoever holds it may change.
func (g *Grant) own() {
	g.Scopes, g.Subject.Groups, g.Subject.AMR = slices.Clone(g.Scopes), slices.Clone(g.Subject.Groups), slices.Clone(g.Subject.AMR)
}

// Client sources.
const (
	FromFile    = "file"
	FromAdmin   = "admin"
	FromDynamic = "dynamic"
	// FromDocument is a client whose id is the URL of its metadata document; what
	// lies in the store is only what an administrator decided about it.
	FromDocument = "document"
)

// Client is a registered client. Clients of the configuration file have this
// shape too, but are not stored.
type Client struct {
	ID           string       `json:"id"`
	Name         string       `json:"name,omitempty"`
	SecretHash   []byte       `json:"secret_hash,omitempty"` // SHA-256; nil: public
	AuthMethod   string       `json:"auth_method,omitempty"` // none, client_secret_basic, client_secret_post, private_key_jwt; "": basic or post
	RedirectURIs []string     `json:"redirect_uris,omitempty"`
	GrantTypes   []string     `json:"grant_types"`
	Scopes       oauth.Scopes `json:"scopes,omitempty"` // empty: no bound of its own
	Source       string       `json:"source"`
	Known        string       `json:"known,omitempty"`    // name in the catalogue of known clients
	Approved     bool         `json:"approved,omitempty"` // an administrator let it in, or policy did
	// Consented is a digest of what the client said of itself when an administrator
	// consented to it for all; "": none did.
	Consented   string   `json:"consented,omitempty"`
	URI         string   `json:"uri,omitempty"` // client_uri
	Application string   `json:"application_type,omitempty"`
	Introspects []string `json:"introspects,omitempty"` // resources whose access tokens it may introspect
	PushedOnly  bool     `json:"require_pushed_authorization_requests,omitempty"`
	DPoPBound   bool     `json:"dpop_bound_access_tokens,omitempty"` // its tokens must be bound to a key
	CertBound   bool     `json:"tls_client_certificate_bound_access_tokens,omitempty"`
	TLSSubject  string   `json:"tls_subject,omitempty"` // of its certificate, for tls_client_auth
	Logout
	SAMLEntityID string    `json:"saml_entity_id,omitempty"` // its name in the audience of SAML assertions
	SAMLACS      []string  `json:"saml_acs,omitempty"`       // where they are sent to it
	Created      time.Time `json:"created,omitzero"`
	Expires      time.Time `json:"expires,omitzero"` // unused registrations end then; zero: never

	// SecretExpires is when the secret ends; zero: never.
	SecretExpires time.Time `json:"secret_expires,omitzero"`
	// RegistrationHash is SHA-256 of the registration access token (RFC 7592);
	// nil: the client does not manage its registration.
	RegistrationHash []byte `json:"registration_hash,omitempty"`
	// AuthMethods are those that it may choose from at each request, if there are several.
	AuthMethods []string `json:"auth_methods,omitempty"`
	// JWKS (RFC 7517) or JWKSURI are its keys for private_key_jwt, AuthAlg the
	// only algorithm that it signs with; "": any that its keys suit.
	JWKS    json.RawMessage `json:"jwks,omitempty"`
	JWKSURI string          `json:"jwks_uri,omitempty"`
	AuthAlg string          `json:"auth_alg,omitempty"`

	Version uint64 `json:"-"`
}

// Logout is where a client wants to be told that a session ended which it
// signed somebody in by (OpenID Connect Back-Channel and Front-Channel Logout
// 1.0). It gets the session's id (sid) whether or not it says that it needs it.
type Logout struct {
	Backchannel         string `json:"backchannel_logout_uri,omitempty"`
	BackchannelSession  bool   `json:"backchannel_logout_session_required,omitempty"`
	Frontchannel        string `json:"frontchannel_logout_uri,omitempty"`
	FrontchannelSession bool   `json:"frontchannel_logout_session_required,omitempty"`
}

// Public reports whether the client may come without credentials.
func (c *Client) Public() bool { return c.Takes(oauth.AuthNone) }

// OfAdministrator reports whether an administrator made the client. What one
// that made itself can show proves only that it is the same stranger.
func (c *Client) OfAdministrator() bool { return c.Source == FromFile || c.Source == FromAdmin }

// Takes reports whether the client may authenticate by the method (none: by
// its name alone).
func (c *Client) Takes(method string) bool {
	switch {
	case len(c.AuthMethods) > 0:
		return slices.Contains(c.AuthMethods, method)
	case c.AuthMethod != "":
		return method == c.AuthMethod
	case len(c.SecretHash) > 0:
		return method == oauth.AuthBasic || method == oauth.AuthPost
	}
	return method == oauth.AuthNone
}

// Put is the op that writes the client.
func (c Client) Put() store.Op {
	r := store.Record{Kind: KindClient, Key: c.ID, Value: encodeClient(&c), Expires: c.Expires, Version: c.Version,
		Index: []string{"source=" + c.Source}}
	return unwatched(r)
}

// Add is the op that writes a client that is new and whose id is random.
func (c Client) Add() store.Op {
	op := c.Put()
	op.Do = store.DoAdd
	return op
}

// Client reads a client of the store.
func (l *Ledger) Client(ctx context.Context, id string) (Client, error) {
	r, err := l.Store.Get(ctx, KindClient, id)
	if err != nil {
		return Client{}, err
	}
	return clientOf(r)
}

// KnownClient is Client for whoever only reads it: what it returns shares its
// slices with later callers, and is parsed once for the same bytes.
func (l *Ledger) KnownClient(ctx context.Context, id string) (Client, error) {
	r, err := l.Store.Get(ctx, KindClient, id)
	if err != nil {
		return Client{}, err
	}
	c, err := Parse[Client](l, r)
	c.Version = r.Version
	return c, err
}

func clientOf(r store.Record) (Client, error) {
	var c Client
	if err := decode(r, &c); err != nil {
		return Client{}, err
	}
	c.Version = r.Version
	return c, nil
}

// Clients lists the clients of the store, a page at a time.
func (l *Ledger) Clients(ctx context.Context, after string) ([]Client, string, error) {
	recs, next, err := l.Store.List(ctx, store.Query{Kind: KindClient, After: after})
	if err != nil {
		return nil, "", err
	}
	out := make([]Client, 0, len(recs))
	for _, r := range recs {
		c, err := clientOf(r)
		if err != nil {
			return nil, "", err
		}
		out = append(out, c)
	}
	return out, next, nil
}

// Account is a person as this issuer knows them.
type Account struct {
	ID       string    `json:"id"` // NAME or PROVIDER/ACCOUNT
	Provider string    `json:"provider,omitempty"`
	Account  string    `json:"account,omitempty"`
	Name     string    `json:"name,omitempty"`
	Email    string    `json:"email,omitempty"`
	Created  time.Time `json:"created"`
	Left     time.Time `json:"left,omitzero"` // the person left: nothing new is granted
	// Directory is what the provider's directory says of them (SCIM): active,
	// inactive or deleted; "": nothing. Said is since when.
	Directory string    `json:"directory,omitempty"`
	Said      time.Time `json:"said,omitzero"`
	// Password is an argon2id hash, for local people that `user add` made.
	Password string   `json:"password,omitempty"`
	Groups   []string `json:"groups,omitempty"` // likewise
	// GroupsUnknown: their provider said that there are groups, and not which.
	GroupsUnknown bool `json:"groups_unknown,omitempty"`

	Version uint64 `json:"-"`
}

// Put is the op that writes the account.
func (a Account) Put() store.Op {
	r := store.Record{Kind: KindAccount, Key: a.ID, Value: encode(a), Version: a.Version}
	if a.Version == 0 {
		return store.Create(r)
	}
	return store.Put(r)
}

// Same is the op that lets a commit through only as long as the account is as it
// was read.
func (a Account) Same() store.Op { return store.Same(KindAccount, a.ID, a.Version) }

// Account reads an account.
func (l *Ledger) Account(ctx context.Context, id string) (Account, error) {
	r, err := l.Store.Get(ctx, KindAccount, id)
	if err != nil {
		return Account{}, err
	}
	return l.accountOf(r)
}

func (l *Ledger) accountOf(r store.Record) (Account, error) {
	a, err := Parse[Account](l, r)
	if err != nil {
		return Account{}, err
	}
	a.Version, a.Groups = r.Version, slices.Clone(a.Groups)
	return a, nil
}

// Accounts lists all accounts, a page at a time.
func (l *Ledger) Accounts(ctx context.Context, after string) ([]Account, string, error) {
	recs, next, err := l.Store.List(ctx, store.Query{Kind: KindAccount, After: after})
	if err != nil {
		return nil, "", err
	}
	out := make([]Account, 0, len(recs))
	for _, r := range recs {
		a, err := l.accountOf(r)
		if err != nil {
			return nil, "", err
		}
		out = append(out, a)
	}
	return out, next, nil
}

// ErrLeft: the person left.
var ErrLeft = errors.New("this person has left")

// ErrInactive is the ErrLeft of a person whom the provider's directory does not
// say to be active any more.
var ErrInactive = fmt.Errorf("the provider's directory says inactive: %w", ErrLeft)

// What a directory says of a person.
const (
	DirectoryActive   = "active"
	DirectoryInactive = "inactive"
	DirectoryDeleted  = "deleted"
)

// Here is nil, or why nothing new is granted to the person: ErrLeft, or the
// ErrInactive that is one.
func (a Account) Here() error {
	switch {
	case !a.Left.IsZero():
		return ErrLeft
	case a.Directory == DirectoryInactive, a.Directory == DirectoryDeleted:
		return ErrInactive
	}
	return nil
}

// CheckPerson returns ErrLeft if the person left. Whoever makes a grant asks
// again after the commit, or holds it to the answer (HoldPerson): leaving marks the
// account first and lists the grants after, so one of the two sees the other.
func (l *Ledger) CheckPerson(ctx context.Context, id string) error {
	_, err := l.HoldPerson(ctx, id)
	return err
}

// HoldPerson is CheckPerson, and the op that lets a commit through only as long as
// the account is as it was read.
func (l *Ledger) HoldPerson(ctx context.Context, id string) (store.Op, error) {
	r, err := l.Store.Get(ctx, KindAccount, id)
	if errors.Is(err, store.ErrNotFound) {
		return store.Same(KindAccount, id, 0), nil
	}
	if err != nil {
		return store.Op{}, err
	}
	a, err := Parse[Account](l, r)
	if err != nil {
		return store.Op{}, err
	}
	return store.Same(KindAccount, id, r.Version), a.Here()
}

func decode(r store.Record, v any) (err error) {
	if g, ok := v.(**Grant); ok && !bytes.HasPrefix(r.Value, []byte("{")) {
		*g, err = decodeGrant(r.Value)
	} else {
		err = json.Unmarshal(r.Value, v)
	}
	if err != nil {
		return fmt.Errorf("ledger: %s %s cannot be read: %w", r.Kind, r.Key, err)
	}
	return nil
}
