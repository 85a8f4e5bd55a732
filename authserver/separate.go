package authserver

import (
	"errors"
	"fmt"

	"doorward/internal/oauth"
)

// Modes of an issuer.
const (
	modeDirect = "direct"
	modeProxy  = "proxy"
)

// Separate is the authorization server of somebody else that people sign in at
// when Config.Mode is "proxy". Issuer and ClientID are required. The redirect
// URI to register there is Config.URL + "/callback/separate"; accounts are
// separate/ACCOUNT. It needs no dynamic registration, no client metadata
// documents and no PKCE of its own.
type Separate struct {
	// Issuer is its issuer identifier, to the letter: an OpenID provider, whose
	// endpoints and keys are discovered.
	Issuer       string
	Title        string   // what people see; "": separate
	ClientID     string   // ours there
	ClientSecret string   // "": a public client
	AuthMethod   string   // "client_secret_basic" or "client_secret_post"; "": what its metadata lists, basic first
	Scopes       []string // asked for there, for the tokens in the vault; nil: openid, email, profile
	// Resource says whether the resource parameter (RFC 8707) is sent: "send", or
	// "drop" (also ""), for servers that refuse what they do not know.
	Resource string

	Account      []string // claims that name the account; nil: sub
	Tenants      []string // as of OIDCProvider
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
		if sep.Issuer != "" || sep.ClientID != "" {
			return errors.New("Separate is set, and Mode is direct: say proxy, or leave it out")
		}
		return nil
	case modeProxy:
	default:
		return fmt.Errorf("Mode %q: direct or proxy", st.cfg.Mode)
	}
	switch {
	case st.idp:
		return errors.New("Mode proxy is for authorization servers: an identity provider issues no tokens for others")
	case st.cfg.SignIn != nil:
		return errors.New("Mode proxy signs people in at Separate: leave SignIn out")
	case sep.Resource != "" && sep.Resource != "send" && sep.Resource != "drop":
		return fmt.Errorf("Separate.Resource %q: send or drop", sep.Resource)
	case sep.AuthMethod != "" && sep.AuthMethod != oauth.AuthBasic && sep.AuthMethod != oauth.AuthPost:
		return fmt.Errorf("Separate.AuthMethod %q: %s or %s", sep.AuthMethod, oauth.AuthBasic, oauth.AuthPost)
	case sep.AuthMethod != "" && sep.ClientSecret == "":
		return errors.New("Separate.AuthMethod is set without a ClientSecret")
	}
	err := st.addProvider(OIDCProvider{Name: separateName, Title: sep.Title, Issuer: sep.Issuer, ClientID: sep.ClientID,
		ClientSecret: sep.ClientSecret, Scopes: sep.Scopes, Account: sep.Account, Tenants: sep.Tenants,
		EmailDomains: sep.EmailDomains, GroupsClaim: sep.GroupsClaim})
	if err != nil {
		return fmt.Errorf("Separate: %w", err)
	}
	st.proxied = st.provider(separateName)
	st.proxied.separate = &sep
	return nil
}

// resourceParameter is what goes along as resource (RFC 8707) when somebody
// is sent there for that resource; "": nothing.
func (p *provider) resourceParameter(id string) string {
	if p.separate == nil || p.separate.Resource != "send" {
		return ""
	}
	return id
}
