package main

import (
	"log/slog"
	"net/http"
	"time"

	"doorward"
	"doorward/authserver"
	"doorward/store"
)

// elsewhere is an MCP server in another process than the issuer's: it fetches the
// issuer's keys, or asks the issuer about each token. Every field of the guard's
// configuration stands here; all but Resource and Issuers may be left out.
func elsewhere(resource, issuer, secret string, h http.Handler) (http.Handler, error) {
	g, err := doorward.NewGuard(doorward.GuardConfig{
		Resource:       resource,
		Name:           "Files",
		Issuers:        []string{issuer},
		Scopes:         []string{"files:read"},
		Implies:        map[string][]string{"files:write": {"files:read"}},
		RepeatGranted:  false,
		InsecureHTTP:   false,
		AllowedOrigins: []string{"https://app.example.com"},
		Keys:           nil, // the issuer's metadata names them
		KeysPause:      30 * time.Second,
		Introspect:     map[string]doorward.Credentials{issuer: {ID: "files", Secret: secret}},
		Ended:          nil, // introspection says it
		DPoP:           "optional",
		DPoPNonceKey:   nil, // the same key in every process behind one address
		Base:           http.DefaultTransport,
		Refused:        func(_ *http.Request, reason, _ string) string { slog.Info("refused", "reason", reason); return "" },
		Logger:         slog.Default(),
		Now:            time.Now,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	g.Mount(mux, h, "files:read")
	return mux, nil
}

// signIns are the ways to sign in that the library has, besides one's own.
func signIns(people map[string]authserver.LocalPerson) authserver.SignIn {
	return authserver.AnyOf(authserver.LocalPeople(people), authserver.OIDC(authserver.OIDCProvider{
		Name: "corp", Title: "Corp SSO", Issuer: "https://idp.example.com", ClientID: "doorward", ClientSecret: "from a secret store",
		Scopes: []string{"openid", "email"}, Parameters: map[string]string{"access_type": "offline"}, Algs: []string{"ES256"}, Recheck: time.Hour, Account: []string{"sub"}, ExistingOnly: false,
		Tenants: nil, EmailDomains: []string{"example.com"}, GroupsClaim: "groups",
	}), authserver.OAuth(authserver.OAuthProvider{
		Name: "github", Title: "GitHub", AuthorizeURL: "https://github.com/login/oauth/authorize", TokenURL: "https://github.com/login/oauth/access_token",
		UserinfoURL: "https://api.github.com/user", ClientID: "doorward", ClientSecret: "from a secret store", Scopes: []string{"read:user"}, Recheck: time.Hour, Parameters: nil,
		Account: []string{"id"}, ExistingOnly: true, EmailDomains: nil, GroupsClaim: "groups",
	}))
}

// proxied is an issuer whose people sign in at somebody else's server, for each
// access anew: its tokens stay in the vault (Server.UpstreamToken), and clients
// get tokens of this one.
func proxied(url string, db store.Store, key []byte) (*authserver.Server, error) {
	return authserver.New(authserver.Config{URL: url, Store: db, MasterKey: key, Mode: "proxy", Separate: authserver.Separate{
		Issuer: "https://login.example.com", AuthorizeURL: "", TokenURL: "", RevokeURL: "", RegisterURL: "", UserinfoURL: "", // a plain OAuth server has the first two and the last, and no Issuer
		Title: "Example SSO", ClientID: "gate", ClientSecret: "from a secret store", AuthMethod: "client_secret_basic",
		Scopes: []string{"openid", "email", "offline_access"}, Parameters: nil, Resource: "drop",
		Account: []string{"sub"}, Tenants: nil, EmailDomains: []string{"example.com"}, GroupsClaim: "groups",
	}})
}
