package authserver

import (
	"errors"
	"fmt"

	"doorward/internal/oauth"
)

// Modes of an issuer.
const (
	modeDirect      = "direct"
	modeProxy       = "proxy"
	modePassthrough = "passthrough"
)

// Separate is the authorization server of somebody else that people sign in at.
//
// With Config.Mode "proxy" ClientID is required, and Issuer of an OpenID provider,
// or AuthorizeURL, TokenURL, UserinfoURL and Account of a plain OAuth 2.0 server
// (as of OAuthProvider). The redirect URI to register there is Config.URL +
// "/callback/separate"; accounts are separate/ACCOUNT. It needs no dynamic
// registration, no client metadata documents and no PKCE of its own.
//
// With "passthrough" its endpoints are relayed. Clients get its codes and its
// tokens, so their redirect URIs have to be registered there; registrations that
// come through us get Config.URL + "/callback/separate" beside them. Issuer, or
// AuthorizeURL and TokenURL, are required, ClientID is not: with one, all clients
// are that one there.
type Separate struct {
	// Issuer is its issuer identifier, to the letter: an OpenID provider, whose
	// endpoints and keys are discovered.
	Issuer string
	// AuthorizeURL, TokenURL, RevokeURL and RegisterURL (passthrough) take the
	// place of what its metadata says; with the first two it needs none.
	AuthorizeURL, TokenURL, RevokeURL, RegisterURL string
	// UserinfoURL (proxy) is where a plain OAuth server says whom an access token
	// stands for. With it AuthorizeURL and TokenURL are required, and Issuer is "".
	UserinfoURL string

	Title        string   // what people see; "": separate
	ClientID     string   // ours there
	ClientSecret string   // "": a public client
	AuthMethod   string   // "client_secret_basic" or "client_secret_post"; "": what its metadata lists, basic first
	Scopes       []string // asked for there, for the tokens in the vault; nil: openid, email, profile, of a plain OAuth server none (passthrough: of requests that name none; nil: none)
	// Parameters (proxy) is as in OIDCProvider.
	Parameters map[string]string
	// Resource says whether the resource parameter (RFC 8707) is sent: "send", or
	// "drop", for servers that refuse what they do not know. "": drop
	// (passthrough: send).
	Resource string

	Account      []string // claims that name the account; nil: sub, which a plain OAuth server has not
	Tenants      []string // as of OIDCProvider; a plain OAuth server names none
	EmailDomains []string // as of OIDCProvider
	GroupsClaim  string   // "": groups
}

// separateName is the provider's name: accounts and the callback begin with it.
const separateName = "separate"

// addSeparate makes the separate server of mode proxy the only way to sign in.
func (st *settings) addSeparate() error {
	sep := st.cfg.Separate
	switch st.cfg.Mode {
	case "", modeDirect:
		if sep.Issuer != "" || sep.ClientID != "" || sep.TokenURL != "" || sep.UserinfoURL != "" {
			return errors.New("Separate is set, and Mode is direct: say proxy or passthrough, or leave it out")
		}
		return nil
	case modeProxy, modePassthrough:
	default:
		return fmt.Errorf("the Mode %q is none of direct, proxy and passthrough", st.cfg.Mode)
	}
	switch {
	case st.idp:
		return fmt.Errorf("the Mode %s is for authorization servers: an identity provider issues no tokens for others", st.cfg.Mode)
	case st.cfg.SignIn != nil:
		return fmt.Errorf("the Mode %s signs people in at Separate: leave SignIn out", st.cfg.Mode)
	case sep.Resource != "" && sep.Resource != "send" && sep.Resource != "drop":
		return fmt.Errorf("Separate.Resource %q: send or drop", sep.Resource)
	case sep.AuthMethod != "" && sep.AuthMethod != oauth.AuthBasic && sep.AuthMethod != oauth.AuthPost:
		return fmt.Errorf("Separate.AuthMethod %q: %s or %s", sep.AuthMethod, oauth.AuthBasic, oauth.AuthPost)
	case sep.AuthMethod != "" && sep.ClientSecret == "":
		return errors.New("Separate.AuthMethod is set without a ClientSecret")
	}
	if st.cfg.Mode == modePassthrough {
		if sep.UserinfoURL != "" {
			return errors.New("Separate.UserinfoURL is for Mode proxy: with passthrough nobody signs in here")
		}
		if len(sep.Parameters) > 0 {
			return errors.New("Separate.Parameters is for Mode proxy: with passthrough a client's own go along")
		}
		return st.addRelay(sep)
	}
	if err := st.addProxied(sep); err != nil {
		return fmt.Errorf("Separate: %w", err)
	}
	st.proxied = st.provider(separateName)
	st.proxied.separate = &sep
	return nil
}

// addProxied adds the provider that people are sent to in mode proxy.
func (st *settings) addProxied(sep Separate) error {
	switch {
	case sep.UserinfoURL != "" && (sep.Issuer != "" || len(sep.Tenants) > 0 || sep.RegisterURL+sep.RevokeURL != ""):
		return errors.New("UserinfoURL is for a plain OAuth server, which has no Issuer and no Tenants; RevokeURL and RegisterURL are for Mode passthrough")
	case sep.UserinfoURL != "":
		return st.addPlain(OAuthProvider{Name: separateName, Title: sep.Title, AuthorizeURL: sep.AuthorizeURL, TokenURL: sep.TokenURL, UserinfoURL: sep.UserinfoURL,
			ClientID: sep.ClientID, ClientSecret: sep.ClientSecret, Scopes: sep.Scopes, Parameters: sep.Parameters, Account: sep.Account, EmailDomains: sep.EmailDomains, GroupsClaim: sep.GroupsClaim})
	case sep.AuthorizeURL+sep.TokenURL+sep.RevokeURL+sep.RegisterURL != "":
		return errors.New("URLs without UserinfoURL are for Mode passthrough: with proxy those of an OpenID provider are discovered")
	}
	return st.addProvider(OIDCProvider{Name: separateName, Title: sep.Title, Issuer: sep.Issuer, ClientID: sep.ClientID,
		ClientSecret: sep.ClientSecret, Scopes: sep.Scopes, Parameters: sep.Parameters, Account: sep.Account, Tenants: sep.Tenants,
		EmailDomains: sep.EmailDomains, GroupsClaim: sep.GroupsClaim})
}

// resourceParameter is what goes along as resource (RFC 8707) when somebody
// is sent there for that resource; "": nothing.
func (p *provider) resourceParameter(id string) string {
	if p.separate == nil || p.separate.Resource != "send" {
		return ""
	}
	return id
}
