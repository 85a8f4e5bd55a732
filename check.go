package doorward

import (
	"net/url"
	"strings"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// Check says what is wrong with the configuration of the Transport and its
// Flow, without a request: required fields, issuers, keys, scopes. The error is
// an [Error] with the step configure. What is missing is an error of the first
// request, too; a program that starts learns it earlier this way.
func (t *Transport) Check() error {
	if t.Flow == nil {
		return misconfigured("Transport needs a Flow")
	}
	if t.DPoP != nil {
		if _, err := t.proofKey(""); err != nil {
			return err
		}
	}
	if f, ok := t.Flow.(interface{ configured() error }); ok {
		if err := f.configured(); err != nil {
			return err
		}
	}
	switch f := t.Flow.(type) {
	case *CrossApp:
		return firstError(f.IdP.check("IdP"), f.Server.check("Server"), checkScopes(f.Scopes))
	case *ClientCredentials:
		return firstError(f.Client.check("Client"), f.provable(t), checkScopes(f.Scopes))
	case *Workload:
		return firstError(f.Client.check("Client"), checkScopes(f.Scopes))
	case *AuthorizationCode:
		return firstError(f.Client.check("Client"), f.checkAddresses(), checkScopes(f.Scopes))
	}
	return t.Flow.server().check("the client")
}

func firstError(all ...error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

// check looks at a client's identity at one issuer.
func (c Credentials) check(name string) error {
	if c.Issuer != "" {
		if err := oauth.CheckIssuer(c.Issuer); err != nil {
			return misconfigured("%s.Issuer: %v", name, err)
		}
	}
	if c.ID == "" && (c.Secret != "" || c.Key != nil) {
		return misconfigured("%s has a Secret or a Key and no ID", name)
	}
	if c.Key != nil {
		if _, err := jose.NewKey(c.Key, c.KeyID); err != nil {
			return misconfigured("%s.Key: %v", name, err)
		}
	}
	return nil
}

func checkScopes(scopes []string) error {
	if _, err := oauth.ParseScope(strings.Join(scopes, " ")); err != nil {
		return misconfigured("Scopes: %v", err)
	}
	return nil
}

// checkAddresses looks at the URLs of the code flow.
func (f *AuthorizationCode) checkAddresses() error {
	if f.Open == nil && f.ShowCode == nil {
		return misconfigured("AuthorizationCode needs Open or ShowCode")
	}
	if u, err := url.Parse(f.ClientIDMetadataURL); f.ClientIDMetadataURL != "" && (err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") == "") {
		return misconfigured("ClientIDMetadataURL is no https URL with a path")
	}
	if u, err := url.Parse(f.RedirectURL); f.RedirectURL != "" && (err != nil || u.Scheme != "http" || !oauth.IsLoopbackHost(u.Host)) {
		return misconfigured("RedirectURL is no http URL on loopback")
	}
	return nil
}
