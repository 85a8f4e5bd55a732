package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// OAuthProvider is a plain OAuth 2.0 authorization server that people sign in
// at: one without ID tokens, such as GitHub. Who somebody is says its userinfo
// address, a JSON object behind the access token. Name, the three URLs (https,
// or http on loopback), ClientID and Account are required. The redirect URI to
// register there is Config.URL + "/callback/" + Name.
//
// When and how somebody proved who they are such a provider does not say: rules
// that ask for it and a client's max_age let nobody in who comes this way.
type OAuthProvider struct {
	Name  string // what accounts begin with (NAME/ACCOUNT): a-z, 0-9, dot, dash, underscore
	Title string // what people see; "": Name

	AuthorizeURL, TokenURL, UserinfoURL string

	ClientID     string
	ClientSecret string   // sent in the body (client_secret_post); "": a public client
	Scopes       []string // nil: none is asked for
	// Parameters is as in OIDCProvider.
	Parameters map[string]string
	// Recheck is as in OIDCProvider. A provider that gave no refresh token, and
	// an access token without an end, is asked with that.
	Recheck time.Duration

	// Account names the members of the userinfo object, texts or whole numbers,
	// that name the account. They must never be given to somebody else, as names
	// to log in with sometimes are.
	Account      []string
	ExistingOnly bool // no new accounts by sign-in
	// EmailDomains are those whose addresses it is believed about, if it says that
	// it verified them (email_verified).
	EmailDomains []string
	GroupsClaim  string // member with a list of texts; "": groups
}

// OAuth is a sign-in at plain OAuth 2.0 servers: by the authorization code flow
// with PKCE and a state that one browser can use once. Everything else is as
// with OIDC.
func OAuth(providers ...OAuthProvider) SignIn { return oauthSignIn(providers) }

type oauthSignIn []OAuthProvider

// SignIn is never called, as of OIDC.
func (oauthSignIn) SignIn(http.ResponseWriter, *http.Request, Attempt) (*Person, error) {
	return nil, errNotByItself
}

// addPlain adds a provider that has no issuer identifier. What its accounts
// are told apart by from those of others is where they are described.
func (st *settings) addPlain(p OAuthProvider) error {
	for name, where := range map[string]string{"AuthorizeURL": p.AuthorizeURL, "TokenURL": p.TokenURL, "UserinfoURL": p.UserinfoURL} {
		if checkProviderURL(where) != nil {
			return fmt.Errorf("%s %q must be an https URL (http only on loopback)", name, where)
		}
	}
	if len(p.Account) == 0 || slices.Contains(p.Account, "") {
		return errors.New("no Account is given: the member of userinfo that names the account, such as id")
	}
	return st.useProvider(&provider{plain: &providerMetadata{ServerMetadata: oauth.ServerMetadata{
		AuthorizationEndpoint: p.AuthorizeURL, TokenEndpoint: p.TokenURL, UserinfoEndpoint: p.UserinfoURL,
		TokenEndpointAuthMethodsSupported: []string{oauth.AuthPost}}},
		OIDCProvider: OIDCProvider{Name: p.Name, Title: p.Title, Issuer: p.UserinfoURL, ClientID: p.ClientID, ClientSecret: p.ClientSecret,
			Scopes: p.Scopes, Parameters: p.Parameters, Recheck: p.Recheck, Account: p.Account, ExistingOnly: p.ExistingOnly, EmailDomains: p.EmailDomains, GroupsClaim: p.GroupsClaim}})
}

// metadata is what the provider says of itself; of a plain one, what the
// configuration says.
func (p *provider) metadata(ctx context.Context) (providerMetadata, error) {
	if p.plain != nil {
		return *p.plain, nil
	}
	return p.found.get(ctx)
}

// asJSON is the token answer of a plain provider as RFC 6749 section 5.1 has
// it: some answer with a form.
func asJSON(body []byte) []byte {
	form, err := url.ParseQuery(string(body))
	if json.Valid(body) || err != nil || !form.Has("access_token") && !form.Has("error") {
		return body
	}
	members := map[string]string{}
	for name := range form {
		members[name] = form.Get(name)
	}
	b, err := json.Marshal(members)
	if err != nil {
		return body
	}
	return b
}

// wholeNumber is an account id as GitHub and others write it.
var wholeNumber = regexp.MustCompile(`^(0|[1-9][0-9]{0,18})$`)

// describe asks a plain provider whom an access token stands for. Of the
// answer nothing is taken but who they are: it is no statement about tenants,
// or about how somebody signed in.
func (p *provider) describe(ctx context.Context, client *http.Client, access string) (jose.Claims, error) {
	if access == "" {
		return nil, errors.New("the provider sent no access token")
	}
	info, err := userinfo(ctx, client, p.plain.UserinfoEndpoint, access)
	if err != nil {
		return nil, err
	}
	c := jose.Claims{}
	for _, name := range append([]string{"name", p.trust.GroupsClaim}, p.trust.Account...) {
		if info.Has(name) {
			c[name] = info[name]
		}
	}
	for _, name := range p.trust.Account {
		if raw := c[name]; wholeNumber.Match(raw) {
			c[name] = json.RawMessage(`"` + string(raw) + `"`)
		}
	}
	if !c.Has("name") && info.Has("login") {
		c["name"] = info["login"]
	}
	// Without such a word anybody could have typed the address in.
	if v := string(info["email_verified"]); v == "true" || v == `"true"` {
		c["email"] = info["email"]
	} else if slices.Contains(p.trust.Account, "email") {
		return nil, reject("account", "the member email names the account, and the provider does not say that it verified it")
	}
	return c, nil
}

// errTokenOver: an access token that was good is not any more.
var errTokenOver = errors.New("the provider does not take the access token of this sign-in any more")

// askPlain asks a plain provider again: by a refresh token, or by the access
// token if it gave one without an end.
func (p *provider) askPlain(ctx context.Context, client *http.Client, refresh, access, sub string) (providerTokens, error) {
	tokens := providerTokens{AccessToken: access}
	if refresh != "" {
		var err error
		tokens, err = p.redeem(ctx, client, *p.plain, url.Values{"grant_type": {oauth.RefreshToken}, "refresh_token": {refresh}})
		if err != nil {
			return tokens, err
		}
	}
	err := p.sameAccount(ctx, client, tokens.AccessToken, sub)
	var said *providerError
	if refresh == "" && errors.As(err, &said) && said.status == http.StatusUnauthorized {
		return tokens, errTokenOver
	}
	return tokens, err
}

// sameAccount checks that an access token still stands for the same account.
func (p *provider) sameAccount(ctx context.Context, client *http.Client, access, account string) error {
	c, err := p.describe(ctx, client, access)
	if err != nil {
		return err
	}
	who, err := p.subject(c)
	if err == nil && who.Account != account {
		err = errSomebodyElse
	}
	return err
}
