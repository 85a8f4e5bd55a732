package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
	"doorward/internal/saml"
)

// SAMLProvider is a SAML 2.0 identity provider that people sign in at. Name and
// Metadata are required. What its administrator needs of us (entity id, where
// responses go) is our metadata, at Config.URL + "/saml/" + Name, which is also
// our entity id.
type SAMLProvider struct {
	Name  string // what accounts begin with (NAME/ACCOUNT): a-z, 0-9, dot, dash, underscore
	Title string // what people see; "": Name
	// Metadata is the https URL (http on loopback) or the path of the file of
	// its metadata. It is read when it is needed, and again after 10 minutes.
	Metadata string
	// EntityID is what the metadata must name; "": whatever it names.
	EntityID string

	// Account are the attributes that name the account; nil: sub, the NameID,
	// which must not be a transient one then.
	Account      []string
	ExistingOnly bool     // no new accounts by sign-in
	Tenants      []string // a sign-in must name one of them (Microsoft Entra's tenantid attribute); nil: any
	EmailDomains []string // domains whose addresses it is believed about
	GroupsClaim  string   // the attribute with groups; "": groups, or one of the names that are usual
}

// SAML is a sign-in at SAML 2.0 identity providers (web browser profile:
// requests by HTTP-Redirect, responses by HTTP-POST). It works within a Server
// only, alone or in AnyOf.
func SAML(providers ...SAMLProvider) SignIn { return samlSignIn(providers) }

type samlSignIn []SAMLProvider

// SignIn is never called, as of OIDC.
func (samlSignIn) SignIn(http.ResponseWriter, *http.Request, Attempt) (*Person, error) {
	return nil, errNotByItself
}

// samlProvider is what a provider that speaks SAML has besides.
type samlProvider struct {
	SAMLProvider
	found *discovery[saml.IdentityProvider]
}

func (st *settings) addSAML(p SAMLProvider) error {
	if p.Metadata == "" {
		return errors.New("the metadata is missing")
	}
	if isWebAddress(p.Metadata) {
		if err := checkProviderURL(p.Metadata); err != nil {
			return fmt.Errorf("metadata %q must be an https URL (http only on loopback) or a file", p.Metadata)
		}
	}
	own := OIDCProvider{Name: p.Name, Title: p.Title, Issuer: "saml:" + p.Metadata, Account: p.Account,
		ExistingOnly: p.ExistingOnly, Tenants: p.Tenants, EmailDomains: p.EmailDomains, GroupsClaim: p.GroupsClaim}
	add := &provider{OIDCProvider: own, saml: &samlProvider{SAMLProvider: p}}
	add.ClientID = st.entityID(add)
	return st.useProvider(add)
}

func isWebAddress(text string) bool {
	return strings.HasPrefix(text, "https://") || strings.HasPrefix(text, "http://")
}

// newSAMLMetadata reads a provider's metadata where the administrator said.
func newSAMLMetadata(client *http.Client, from string, now func() time.Time) *discovery[saml.IdentityProvider] {
	return &discovery[saml.IdentityProvider]{name: from, now: now, fetch: func(ctx context.Context) (saml.IdentityProvider, error) {
		read := func() ([]byte, error) { return os.ReadFile(from) }
		if isWebAddress(from) {
			read = func() ([]byte, error) { return fetchDocument(ctx, client, from) }
		}
		doc, err := read()
		if err != nil {
			return saml.IdentityProvider{}, err
		}
		return saml.ParseMetadata(doc, now())
	}}
}

// describe is the provider's metadata, as far as it may be used now.
func (p *samlProvider) describe(ctx context.Context, now time.Time) (saml.IdentityProvider, error) {
	idp, err := p.found.get(ctx)
	switch {
	case err != nil:
		return idp, err
	case !idp.ValidUntil.IsZero() && !now.Before(idp.ValidUntil):
		return idp, fmt.Errorf("%s: the metadata was valid until %s", p.Metadata, idp.ValidUntil.Format(time.RFC3339))
	case p.EntityID != "" && idp.EntityID != p.EntityID:
		return idp, fmt.Errorf("%s describes %.200q, not %q", p.Metadata, idp.EntityID, p.EntityID)
	}
	if checkProviderURL(idp.SSO) != nil {
		return idp, fmt.Errorf("%s: the address for sign-ins is no https URL (http is for loopback)", p.Metadata)
	}
	return idp, nil
}

// Attributes as providers spell them, the usual first.
var (
	samlEmail = []string{"email", "mail", "emailAddress", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress",
		"urn:oid:0.9.2342.19200300.100.1.3"}
	samlName = []string{"name", "displayName", "http://schemas.microsoft.com/identity/claims/displayname",
		"urn:oid:2.16.840.1.113730.3.1.241", "cn", "urn:oid:2.5.4.3"}
	samlGroups = []string{"groups", "http://schemas.microsoft.com/ws/2008/06/identity/claims/groups", "http://schemas.xmlsoap.org/claims/Group",
		"memberOf", "urn:oid:1.3.6.1.4.1.5923.1.5.1.1"}
)

const (
	// In place of too many groups Entra sends the address of a list of them.
	samlGroupsLink = "http://schemas.microsoft.com/claims/groups.link"
	samlTenant     = "http://schemas.microsoft.com/identity/claims/tenantid"
	samlMethods    = "http://schemas.microsoft.com/claims/authnmethodsreferences"
)

// samlReserved are claims that no attribute can be.
var samlReserved = []string{"iss", "sub", "aud", "exp", "iat", "nbf", "acr", "amr", "auth_time", "nonce", "sid", "tenant", "tid", "aud_tenant", "aud_sub",
	"email_verified"}

// claims is what an assertion says, in the words of OpenID Connect, so that
// the rules about accounts, addresses and groups are the same.
func (p *samlProvider) claims(a saml.Assertion) (jose.Claims, error) {
	out := map[string]any{}
	for name, values := range a.Attributes {
		switch {
		case slices.Contains(samlReserved, name):
		case len(values) == 1:
			out[name] = values[0]
		default:
			out[name] = values
		}
	}
	first := func(names []string) (string, bool) {
		for _, n := range names {
			if v := a.Attributes[n]; len(v) > 0 {
				return v[0], true
			}
		}
		return "", false
	}
	for claim, names := range map[string][]string{"email": samlEmail, "name": samlName} {
		if v, ok := first(names); ok {
			out[claim] = v
		}
	}
	if _, has := out["email"]; !has && a.Subject.Format == saml.FormatEmail {
		out["email"] = a.Subject.Value
	}
	if p.GroupsClaim == "" {
		for _, n := range samlGroups {
			if v := a.Attributes[n]; len(v) > 0 {
				out["groups"] = v
				break
			}
		}
	}
	if _, ok := first([]string{samlGroupsLink}); ok {
		out["hasgroups"] = true
	}
	if v, ok := first([]string{samlTenant}); ok && len(p.Tenants) > 0 {
		out["tid"] = v
	}
	if a.Subject.Format != saml.FormatTransient { // a name of one sign-in only
		out["sub"] = a.Subject.Value
	}
	out["auth_time"] = a.AuthnInstant.Unix()
	if a.ACR != "" {
		out["acr"] = a.ACR
	}
	if amr := methodsOf(a); amr != nil {
		out["amr"] = amr
	}
	doc, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	var c jose.Claims
	return c, json.Unmarshal(doc, &c)
}

// methodsOf says how somebody signed in, in the words of RFC 8176.
func methodsOf(a saml.Assertion) []string {
	var amr []string
	switch strings.TrimPrefix(a.ACR, "urn:oasis:names:tc:SAML:2.0:ac:classes:") {
	case "Password", "PasswordProtectedTransport":
		amr = append(amr, "pwd")
	case "MobileTwoFactorContract", "MobileTwoFactorUnregistered", "TimeSyncToken", "https://refeds.org/profile/mfa",
		"http://schemas.microsoft.com/claims/multipleauthn":
		amr = append(amr, "mfa")
	case "Smartcard", "SmartcardPKI":
		amr = append(amr, "sc")
	case "Kerberos", "urn:federation:authentication:windows":
		amr = append(amr, "wia")
	}
	if slices.Contains(a.Attributes[samlMethods], "http://schemas.microsoft.com/claims/multipleauthn") && !slices.Contains(amr, "mfa") {
		amr = append(amr, "mfa")
	}
	return amr
}

// entityID is ours at a provider, and where our metadata for it is.
func (st *settings) entityID(p *provider) string { return st.cfg.URL + "/saml/" + p.Name }

// samlRoute is the route of our metadata: /saml/NAME.
func (s *Server) samlRoute(path string) (route, bool) {
	st := s.current()
	name, ok := strings.CutPrefix(path, st.path+"/saml/")
	p := st.provider(name)
	if !ok || p == nil || p.saml == nil {
		return route{}, false
	}
	return route{[]string{http.MethodGet}, noCORS, func(w http.ResponseWriter, r *http.Request) {
		doc, err := saml.ServiceProvider(st.entityID(p), st.callbackURL(p))
		if err != nil {
			s.refuse(w, r, &oauth.Error{Code: oauth.ServerError, Err: err})
			return
		}
		w.Header().Set("Content-Type", "application/samlmetadata+xml")
		_, _ = w.Write(doc)
	}}, true
}
