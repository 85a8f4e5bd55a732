package authserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"

	"doorward/internal/keyset"
	"doorward/internal/oauth"
	"doorward/internal/saml"
)

// OIDCProvider is an OpenID provider that people sign in at. Name, Issuer and
// ClientID are required. The redirect URI to register there is Config.URL +
// "/callback/" + Name; logout tokens (OpenID Connect Back-Channel Logout 1.0) are
// taken at Config.URL + "/backchannel-logout/" + Name, and end the sessions,
// grants, tokens and streams of the session or person that they name.
type OIDCProvider struct {
	Name  string // what accounts begin with (NAME/ACCOUNT): a-z, 0-9, dot, dash, underscore
	Title string // what people see; "": Name
	// Issuer is its issuer identifier, to the letter. Endpoints and keys are
	// discovered there (OpenID Connect Discovery), in the background: New does
	// not wait for it.
	Issuer       string
	ClientID     string
	ClientSecret string   // "": a public client, which PKCE protects alone
	Scopes       []string // nil: openid, email, profile
	// Parameters go along in each authorization request there: what one maker
	// wants beside the protocol, such as access_type of Google. Those of the
	// protocol are refused, but for prompt with the value consent. nil: none.
	Parameters map[string]string
	Algs       []string // of ID tokens; nil: ES256, RS256, PS256, EdDSA
	// Recheck is how old the provider's last word on a person may be when
	// their tokens are refreshed: then it is asked again with the refresh
	// token that it gave; at an exchange for an ID-JAG, if it is a minute old.
	// 0: 1 hour; negative: it is never asked again.
	Recheck time.Duration

	Account      []string // claims that name the account; nil: sub
	ExistingOnly bool     // no new accounts by sign-in
	Tenants      []string // a sign-in must name one of them (tenant, else tid); nil: one that names a tenant is refused
	EmailDomains []string // domains whose addresses it is believed about
	GroupsClaim  string   // "": groups
}

// OIDC is a sign-in at OpenID providers: by the authorization code flow with
// PKCE, nonce and a state that one browser can use once. With a single provider
// and nothing beside it people are sent there at once. It works within a Server
// only.
func OIDC(providers ...OIDCProvider) SignIn { return oidcSignIn(providers) }

// AnyOf offers several ways to sign in on one page: a form for the local people
// first, then a button for each provider. It takes what LocalPeople (at most
// one), OIDC and OAuth make.
func AnyOf(ways ...SignIn) SignIn { return anyOf(ways) }

type (
	oidcSignIn []OIDCProvider
	anyOf      []SignIn
)

var errNotByItself = errors.New("authserver: this sign-in was called by something else than the login page of a Server")

// SignIn is never called: the server's login page goes to the providers itself.
func (oidcSignIn) SignIn(http.ResponseWriter, *http.Request, Attempt) (*Person, error) {
	return nil, errNotByItself
}

// SignIn is never called, as of OIDC.
func (anyOf) SignIn(http.ResponseWriter, *http.Request, Attempt) (*Person, error) {
	return nil, errNotByItself
}

// provider is an OIDCProvider with its defaults, its rules of trust as for
// ID-JAGs, and what was found out about it.
type provider struct {
	OIDCProvider
	plain    *providerMetadata // of one that is no OpenID provider: what OAuth says; nil: discovered
	trust    *issuer
	separate *Separate // mode proxy: what it is made of; nil: a provider of SignIn
	keys     *keyset.Remote
	found    *discovery[providerMetadata]
	saml     *samlProvider // of one that speaks SAML; nil: it does not
}

var providerName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// addSignIn takes Config.SignIn apart: page is what shows a page of its own.
func (st *settings) addSignIn() error {
	ways := []SignIn{st.cfg.SignIn}
	if several, ok := st.cfg.SignIn.(anyOf); ok {
		ways = several
	}
	for _, way := range ways {
		switch way := way.(type) {
		case nil:
		case oidcSignIn:
			for _, p := range way {
				if err := st.addProvider(p); err != nil {
					return fmt.Errorf("sign-in at %s: %w", p.Name, err)
				}
			}
		case oauthSignIn:
			for _, p := range way {
				if err := st.addPlain(p); err != nil {
					return fmt.Errorf("sign-in at %s: %w", p.Name, err)
				}
			}
		case samlSignIn:
			for _, p := range way {
				if err := st.addSAML(p); err != nil {
					return fmt.Errorf("sign-in at %s: %w", p.Name, err)
				}
			}
		case *localPeople:
			if st.page != nil {
				return errors.New("AnyOf has LocalPeople twice")
			}
			st.page = way
		default:
			if len(ways) > 1 {
				return errors.New("AnyOf takes what LocalPeople, OIDC, OAuth and SAML make")
			}
			st.page = way
		}
	}
	return nil
}

func (st *settings) addProvider(p OIDCProvider) error {
	if err := oauth.CheckIssuer(p.Issuer); err != nil {
		return fmt.Errorf("issuer %q: %w", p.Issuer, err)
	}
	if p.Scopes == nil {
		p.Scopes = []string{"openid", "email", "profile"}
	}
	if !slices.Contains(p.Scopes, "openid") { // OpenID Connect Core section 3.1.2.1
		return errors.New("openid is missing among the scopes")
	}
	return st.useProvider(&provider{OIDCProvider: p})
}

// useProvider checks what every kind of provider must be, and adds it.
func (st *settings) useProvider(p *provider) error {
	trust := TrustedIssuer{Issuer: p.Issuer, Algs: p.Algs, Account: p.Account, ExistingOnly: p.ExistingOnly,
		Tenants: p.Tenants, EmailDomains: p.EmailDomains, GroupsClaim: p.GroupsClaim}.withDefaults()
	if p.Recheck == 0 {
		p.Recheck = time.Hour
	}
	if p.Title == "" {
		p.Title = p.Name
	}
	other := st.issuers[p.Issuer]
	switch {
	case !providerName.MatchString(p.Name):
		return fmt.Errorf("name %q: it stands in a path and in the names of accounts: 1 to 63 of a-z, 0-9, dot, dash and underscore", p.Name)
	case p.ClientID == "":
		return errors.New("the client id is missing")
	case p.Issuer == st.cfg.URL:
		return errors.New("an issuer cannot sign people in at itself")
	case checkParameters(p.Parameters) != nil:
		return checkParameters(p.Parameters)
	case len(oauth.Scopes(trust.Algs).Minus(assertionAlgs)) > 0:
		return fmt.Errorf("algorithms must be of %q", assertionAlgs)
	case other != nil && other.name != p.Name:
		return fmt.Errorf("its issuer is trusted as %s: a person must be one account", other.name)
	}
	for _, trusted := range st.issuers {
		if trusted.name == p.Name && trusted.Issuer != p.Issuer {
			return fmt.Errorf("the issuer %s has the same name: its people would be taken for those of %s", trusted.Issuer, p.Issuer)
		}
	}
	for _, had := range st.providers {
		if had.Name == p.Name || had.Issuer == p.Issuer {
			return fmt.Errorf("its name or its issuer is also that of %s", had.Name)
		}
	}
	p.trust = &issuer{TrustedIssuer: trust, name: p.Name}
	st.providers = append(st.providers, p)
	return nil
}

// provider returns the one with that name, or nil.
func (st *settings) provider(name string) *provider {
	i := slices.IndexFunc(st.providers, func(p *provider) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return st.providers[i]
}

// upstreams is what was found out about providers, over reloads.
type upstreams struct {
	mu      sync.Mutex
	running map[string]upstream // by issuer
}

type upstream struct {
	keys  *keyset.Remote
	found *discovery[providerMetadata]
	saml  *discovery[saml.IdentityProvider]
	stop  context.CancelFunc
}

// use gives every provider of st its discovery and its keys. Both are fetched
// in the background, so that one that is down keeps nothing from starting.
func (u *upstreams) use(ctx context.Context, st *settings, now func() time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	next := make(map[string]upstream, len(st.providers))
	client := issuerClient(st.cfg.HTTP)
	for _, p := range st.discovered() {
		if p.plain != nil {
			continue
		}
		up := u.running[p.Issuer]
		switch {
		case p.saml != nil && up.saml == nil:
			up = upstream{saml: newSAMLMetadata(client, p.saml.Metadata, now), stop: func() {}}
		case p.saml == nil && up.found == nil:
			up = startUpstream(ctx, client, p.Issuer, now)
		}
		if p.saml != nil {
			p.saml.found = up.saml
		}
		p.keys, p.found, next[p.Issuer] = up.keys, up.found, up
	}
	for name, up := range u.running {
		if _, stays := next[name]; !stays {
			up.stop()
		}
	}
	u.running = next
}

// discovered are the providers whose metadata is fetched.
func (st *settings) discovered() []*provider {
	if st.relay != nil && st.relay.provider != nil {
		return []*provider{st.relay.provider}
	}
	return st.providers
}

func startUpstream(ctx context.Context, client *http.Client, issuer string, now func() time.Time) upstream {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	up := upstream{found: newDiscovery(client, issuer, now), stop: stop}
	up.keys = keyset.New(keyset.Config{Now: now, Cooldown: providerRest, Fetch: func(ctx context.Context) ([]byte, error) {
		meta, err := up.found.get(ctx)
		if err != nil {
			return nil, err
		}
		return fetchDocument(ctx, client, meta.JWKSURI)
	}})
	up.keys.Start(ctx)
	return up
}

func (u *upstreams) stop() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, up := range u.running {
		up.stop()
	}
	u.running = nil
}

// chosen is the provider that the person goes to: the one whose button they
// pressed, or the only way in.
func (v *visit) chosen() *provider {
	if v.r.Method == http.MethodPost {
		return v.st.provider(v.r.PostFormValue("provider"))
	}
	if v.st.page == nil && len(v.st.providers) == 1 {
		return v.st.providers[0]
	}
	return nil
}

// showProviders is the login page where nobody has a password.
func (v *visit) showProviders(ask Attempt) {
	v.leaves = true
	view := loginView{frame: v.frame("Sign in"), Attempt: ask}
	view.Providers, view.Last = v.offered()
	v.show(http.StatusOK, "providers.html", view, "")
}
