package main

import (
	"net/url"
	"slices"
	"time"

	"doorward/authserver"
)

// plainOAuth checks what only one kind of provider has: the addresses of a
// plain OAuth server, which an OpenID provider publishes itself.
func (k *checker) plainOAuth(at keyPath, p ProviderConfig) {
	plain := p.Kind == "oauth"
	for _, u := range [][2]string{{"authorize_url", p.AuthorizeURL}, {"token_url", p.TokenURL}, {"userinfo_url", p.UserinfoURL}} {
		key, where := at.add(u[0]), u[1]
		switch {
		case k.broken(key):
		case !plain:
			k.must(where == "", key, "is for kind: oauth: an OpenID provider says itself where it is")
		case where == "":
			k.fail(key, "is missing: kind: oauth needs authorize_url, token_url and userinfo_url")
		default:
			k.must(keysURL(where) && noFragment(where), key, "must be an https URL (http on loopback)")
		}
	}
	if !plain {
		return
	}
	account := at.add("account")
	k.must(k.given(account...), account, "is missing: write the member of the userinfo answer that names the account for ever, such as id")
	for i, name := range p.Account {
		if slices.Contains(passedOn, name) {
			k.warn(account.add(index(i)), "%s may pass to somebody else, who would then have this account: write the number or id that never does", name)
		}
	}
	k.must(p.Issuer == "" || k.broken(at.add("issuer")), at.add("issuer"), "is for kind: oidc: a plain OAuth server has none")
	k.must(len(p.Tenants) == 0, at.add("tenants"), "is for kind: oidc: a plain OAuth server names none")
	k.must(p.IDJAG == nil, at.add("id_jag"), "is for kind: oidc: a plain OAuth server issues none")
}

// passedOn are members of userinfo answers that people can change or give up.
var passedOn = []string{"login", "username", "preferred_username", "nickname", "name", "email"}

func noFragment(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Fragment == ""
}

// plainSignIn is the sign-in at a plain OAuth server of the file.
func plainSignIn(name string, p ProviderConfig) authserver.SignIn {
	return authserver.OAuth(authserver.OAuthProvider{
		Name: name, Title: p.Name, AuthorizeURL: p.AuthorizeURL, TokenURL: p.TokenURL, UserinfoURL: p.UserinfoURL,
		ClientID: p.SignIn.ClientID, ClientSecret: string(p.SignIn.ClientSecret), Scopes: p.SignIn.Scopes, Parameters: p.SignIn.Parameters, Recheck: p.SignIn.recheck(),
		Account: p.Account, ExistingOnly: p.Accounts == "existing", EmailDomains: p.EmailDomains, GroupsClaim: p.Groups.Claim,
	})
}

// recheck is the engine's value: zero would mean its default.
func (s SignInConfig) recheck() time.Duration {
	if s.Recheck == 0 {
		return -1
	}
	return s.Recheck
}

// where is what tells whose a provider is: its issuer identifier, or where a
// plain one signs people in.
func (p ProviderConfig) where() string {
	if p.Kind == "oauth" {
		return p.AuthorizeURL
	}
	if p.Kind == "saml" {
		return string(p.Metadata)
	}
	return p.Issuer
}
