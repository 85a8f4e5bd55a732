package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"doorward/authserver"
	"doorward/internal/audit"
	"doorward/internal/ledger"
	"doorward/internal/login"
	"doorward/internal/oauth"
	"doorward/store"
)

// nameForm is what clients and people that an administrator adds may be called.
var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

type clientIn struct {
	ID           string   `json:"id"`
	Name         string   `json:"name,omitempty"`
	RedirectURIs []string `json:"redirect_uris,omitempty"`
	GrantTypes   []string `json:"grant_types,omitempty"` // short names
	Scopes       []string `json:"scopes,omitempty"`
	Public       bool     `json:"public,omitempty"`

	JWKS    json.RawMessage `json:"jwks,omitempty"` // for private_key_jwt
	JWKSURI string          `json:"jwks_uri,omitempty"`
}

func (in clientIn) keys() bool { return len(in.JWKS) > 0 || in.JWKSURI != "" }

// checkKeys says what is wrong with the keys of a client that is to be added.
func (in clientIn) checkKeys() error {
	switch {
	case !in.keys():
		return nil
	case in.Public || len(in.JWKS) > 0 && in.JWKSURI != "":
		return errors.New("--public, --jwks and --jwks-uri exclude each other")
	case in.JWKSURI != "" && !keysURL(in.JWKSURI):
		return errors.New("--jwks-uri must be an https URL (http on loopback)")
	case len(in.JWKS) > 0:
		if problem := keySetProblem(in.JWKS); problem != "" {
			return fmt.Errorf("--jwks %s", problem)
		}
	}
	return nil
}

type clientOut struct {
	ID           string    `json:"id"`
	Name         string    `json:"name,omitempty"`
	Secret       string    `json:"secret,omitempty"` // only where it was just made
	RedirectURIs []string  `json:"redirect_uris,omitempty"`
	GrantTypes   []string  `json:"grant_types"`
	Scopes       []string  `json:"scopes,omitempty"`
	Source       string    `json:"source"`
	Public       bool      `json:"public"`
	Approved     bool      `json:"approved"`
	ForAll       bool      `json:"for_all,omitempty"` // the approval was the consent for all
	Created      time.Time `json:"created,omitzero"`
}

func showClient(c ledger.Client) clientOut {
	return clientOut{ID: c.ID, Name: c.Name, RedirectURIs: c.RedirectURIs, GrantTypes: c.GrantTypes, Scopes: c.Scopes,
		Source: c.Source, Public: c.Public(), Approved: c.Approved, Created: c.Created}
}

func (i *instance) clientAdd(ctx context.Context, in clientIn) (clientOut, error) {
	if i.config().hasClient(in.ID) {
		return clientOut{}, fmt.Errorf("the configuration file has a client %q: change it there", in.ID)
	}
	c, err := i.newClient(in)
	if err != nil {
		return clientOut{}, wrongUse{err}
	}
	secret := ""
	switch {
	case in.keys():
		c.AuthMethod, c.JWKS, c.JWKSURI = oauth.AuthPrivateKeyJWT, in.JWKS, in.JWKSURI
	case in.Public:
		c.AuthMethod = oauth.AuthNone
	default:
		secret = rand.Text() + rand.Text()
		sum := sha256.Sum256([]byte(secret))
		c.SecretHash = sum[:]
	}
	e := audit.Event{Action: "client.add", Outcome: "ok", Client: c.ID}
	err = i.ledger.Store.Commit(ctx, c.Put(), i.ledger.AuditOp(e))
	if errors.Is(err, store.ErrConflict) {
		return clientOut{}, fmt.Errorf("there is a client %q already", c.ID)
	}
	if err != nil {
		return clientOut{}, err
	}
	out := showClient(c)
	out.Secret = secret
	return out, nil
}

func (i *instance) newClient(in clientIn) (ledger.Client, error) {
	c := ledger.Client{ID: in.ID, Name: in.Name, RedirectURIs: in.RedirectURIs, Scopes: in.Scopes,
		Source: ledger.FromAdmin, Approved: true, Created: time.Now().UTC()}
	if !nameForm.MatchString(in.ID) {
		return c, fmt.Errorf("%q cannot be a client id: lower-case letters, digits, dot, hyphen and underscore, 63 at most", in.ID)
	}
	if err := in.checkKeys(); err != nil {
		return c, err
	}
	for _, short := range in.GrantTypes {
		g, ok := grantTypes[cmp.Or(shortGrants[short], short)]
		switch {
		case !ok:
			return c, fmt.Errorf("unknown grant type %q: one of %s", short, strings.Join(sortedNames(grantTypes), ", "))
		case g == oauth.TokenExchange && i.role == roleServe:
			return c, errors.New("token-exchange is for `doorward idp`: here an ID-JAG is redeemed with jwt-bearer")
		case g == oauth.JWTBearer && i.role == roleIdP:
			return c, errors.New("jwt-bearer is for `doorward serve`: here an ID-JAG is asked for with token-exchange")
		}
		c.GrantTypes = append(c.GrantTypes, g)
	}
	if len(in.GrantTypes) == 0 {
		c.GrantTypes = i.usualGrants(in.Public)
	}
	if in.Public && slices.Contains(c.GrantTypes, oauth.ClientCredentials) {
		return c, errors.New("client_credentials is for clients with a secret: leave out --public")
	}
	for _, s := range in.Scopes {
		if !isScope(s) {
			return c, fmt.Errorf("--scope %q is not one scope", s)
		}
	}
	for _, uri := range in.RedirectURIs {
		if err := oauth.CheckRedirectURI(uri, true); err != nil {
			return c, fmt.Errorf("%s: %w", uri, err)
		}
	}
	if len(in.RedirectURIs) == 0 && (slices.Contains(in.GrantTypes, oauth.AuthorizationCode) || in.Public && len(in.GrantTypes) == 0) {
		return c, errors.New("authorization_code needs a --redirect-uri")
	}
	return c, nil
}

// usualGrants are those of a client for which none are named.
func (i *instance) usualGrants(public bool) []string {
	grants := []string{oauth.AuthorizationCode, oauth.RefreshToken}
	if public {
		return grants
	}
	return append(grants, map[role]string{roleServe: oauth.JWTBearer, roleIdP: oauth.TokenExchange}[i.role])
}

type named struct {
	ID string `json:"id"`
}

func (i *instance) storedClient(ctx context.Context, id string) (ledger.Client, error) {
	if i.config().hasClient(id) {
		return ledger.Client{}, inTheFile(id)
	}
	c, err := i.ledger.Client(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return c, noClient(id)
	}
	return c, err
}

func inTheFile(id string) error {
	return fmt.Errorf("client %q is in the configuration file: change it there", id)
}

func noClient(id string) error {
	return fmt.Errorf("there is no client %q: `doorward client list` shows them", id)
}

func (i *instance) clientApprove(ctx context.Context, in named) (clientOut, error) {
	if i.config().hasClient(in.ID) {
		return clientOut{}, inTheFile(in.ID)
	}
	forAll, err := i.engine.ApproveClient(ctx, in.ID)
	if errors.Is(err, authserver.ErrNoClient) {
		return clientOut{}, noClient(in.ID)
	}
	if err != nil {
		return clientOut{}, err
	}
	c, err := i.storedClient(ctx, in.ID)
	out := showClient(c)
	out.ForAll = forAll
	return out, err
}

func (i *instance) clientRemove(ctx context.Context, in named) (receipt, error) {
	start := time.Now()
	c, err := i.storedClient(ctx, in.ID)
	if err != nil {
		return receipt{}, err
	}
	e := audit.Event{Action: "client.remove", Outcome: "ok", Client: c.ID}
	if err := i.ledger.Store.Commit(ctx, store.Delete(ledger.KindClient, c.ID), i.ledger.AuditOp(e)); err != nil {
		return receipt{}, err
	}
	got, err := i.ledger.End(ctx, ledger.Which{Client: c.ID}, "client removed")
	return i.receipt("client "+c.ID, "removed", got, start), err
}

func (i *instance) clientList(ctx context.Context, _ struct{}) ([]clientOut, error) {
	out := []clientOut{}
	for id, c := range i.config().clientsOf() {
		if len(c.GrantTypes) == 0 && len(c.Introspects) == 0 {
			c.GrantTypes = i.usualGrants(isPublic(c))
		}
		out = append(out, clientOut{ID: id, Name: c.Name, RedirectURIs: c.RedirectURIs, GrantTypes: c.GrantTypes, Scopes: c.Scopes,
			Source: ledger.FromFile, Public: isPublic(c), Approved: true})
	}
	for _, id := range i.config().workloadClients() {
		out = append(out, clientOut{ID: id, Name: id, GrantTypes: []string{oauth.JWTBearer}, Source: ledger.FromFile, Approved: true})
	}
	for after := ""; ; {
		page, next, err := i.ledger.Clients(ctx, after)
		if err != nil {
			return nil, err
		}
		for _, c := range page {
			out = append(out, showClient(c))
		}
		if after = next; after == "" {
			slices.SortFunc(out, func(a, b clientOut) int { return strings.Compare(a.ID, b.ID) })
			return out, nil
		}
	}
}

// isPublic reports whether a client of the file has no credentials.
func isPublic(c authserver.Client) bool {
	return c.Secret == "" && len(c.JWKS) == 0 && c.JWKSURI == "" && c.TLSSubject == ""
}

type userIn struct {
	Name     string   `json:"name"`
	Email    string   `json:"email,omitempty"`
	Groups   []string `json:"groups,omitempty"`
	Password string   `json:"password,omitempty"` // "": one is made
}

type userOut struct {
	Name     string    `json:"name"`
	Provider string    `json:"provider,omitempty"`
	Email    string    `json:"email,omitempty"`
	Groups   []string  `json:"groups,omitempty"`
	Source   string    `json:"source"`
	Left     time.Time `json:"left,omitzero"`
	// Directory is what the provider's directory says: active, inactive or deleted.
	Directory string `json:"directory,omitempty"`
	Password  string `json:"password,omitempty"` // only one that was just made
}

func (i *instance) userAdd(ctx context.Context, in userIn) (userOut, error) {
	if !nameForm.MatchString(in.Name) {
		return userOut{}, wrongUse{fmt.Errorf("%q cannot be a name: lower-case letters, digits, dot, hyphen and underscore, 63 at most", in.Name)}
	}
	if _, ok := i.config().People[in.Name]; ok {
		return userOut{}, fmt.Errorf("the configuration file has a person %q: change them there", in.Name)
	}
	a := ledger.Account{ID: in.Name, Account: in.Name, Email: in.Email, Groups: in.Groups, Created: time.Now().UTC()}
	return i.setPassword(ctx, a, in.Password, "user.add")
}

func (i *instance) userPassword(ctx context.Context, in userIn) (userOut, error) {
	if _, ok := i.config().People[in.Name]; ok {
		return userOut{}, fmt.Errorf("%q is in the configuration file: change the password there", in.Name)
	}
	a, err := i.ledger.Account(ctx, in.Name)
	if errors.Is(err, store.ErrNotFound) || err == nil && a.Password == "" {
		return userOut{}, fmt.Errorf("%q is no local person that `doorward user add` made", in.Name)
	}
	if err != nil {
		return userOut{}, err
	}
	return i.setPassword(ctx, a, in.Password, "user.password")
}

// setPassword also ends the person's sessions and grants (a new password is
// often the answer to a stolen one), except for a person who is new.
func (i *instance) setPassword(ctx context.Context, a ledger.Account, password, action string) (userOut, error) {
	out := userOut{Name: a.ID, Email: a.Email, Groups: a.Groups, Source: ledger.FromAdmin}
	if password == "" {
		password = newPassword()
		out.Password = password
	} else if why := login.Weak(password); why != "" {
		return userOut{}, wrongUse{fmt.Errorf("this password will not do: %s", why)}
	}
	a.Password = login.Hash(password)
	err := i.ledger.Store.Commit(ctx, a.Put(), i.ledger.AuditOp(audit.Event{Action: action, Outcome: "ok", Person: a.ID}))
	if errors.Is(err, store.ErrConflict) {
		return userOut{}, fmt.Errorf("there is a person %q already (`doorward user password` changes the password of one who was added)", a.ID)
	}
	if err == nil && a.Version != 0 {
		_, err = i.ledger.End(ctx, ledger.Which{Person: a.ID}, "password changed")
	}
	return out, err
}

func (i *instance) userList(ctx context.Context, _ struct{}) ([]userOut, error) {
	out := []userOut{}
	left := map[string]time.Time{}
	for after := ""; ; {
		page, next, err := i.ledger.Accounts(ctx, after)
		if err != nil {
			return nil, err
		}
		for _, a := range page {
			if _, ok := i.config().People[a.ID]; ok {
				left[a.ID] = a.Left
				continue
			}
			source := ledger.FromAdmin
			if a.Provider != "" {
				source = "provider"
			}
			out = append(out, userOut{Name: a.ID, Provider: a.Provider, Email: a.Email, Groups: a.Groups, Source: source, Left: a.Left, Directory: a.Directory})
		}
		if after = next; after == "" {
			break
		}
	}
	for name, p := range i.config().People {
		out = append(out, userOut{Name: name, Email: p.Email, Groups: p.Groups, Source: ledger.FromFile, Left: left[name]})
	}
	slices.SortFunc(out, func(a, b userOut) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

type keyOut struct {
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`

	From time.Time `json:"from,omitzero"` // when New begins to sign; zero: it does already
	IDs  []string  `json:"ids,omitempty"`

	Keys []authserver.KeyInfo `json:"keys,omitempty"`
}

type keyIn struct {
	Now bool `json:"now,omitempty"`
}

func (i *instance) keyRotate(ctx context.Context, in keyIn) (keyOut, error) {
	if in.Now {
		id, err := i.engine.ReplaceKey(ctx)
		return keyOut{New: id}, err
	}
	old, next, err := i.engine.RotateKey(ctx)
	if err != nil {
		return keyOut{}, err
	}
	keys, err := i.engine.Keys(ctx)
	out := keyOut{Old: old, New: next}
	for _, k := range keys {
		if k.ID == next {
			out.From = k.Signs
		}
	}
	return out, err
}

func (i *instance) keyList(ctx context.Context, _ struct{}) (keyOut, error) {
	keys, err := i.engine.Keys(ctx)
	out := keyOut{Keys: keys}
	for _, k := range keys {
		out.IDs = append(out.IDs, k.ID)
	}
	return out, err
}
