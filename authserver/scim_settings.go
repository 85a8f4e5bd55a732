package authserver

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"doorward/internal/limit"
	"doorward/internal/oauth"
	"doorward/internal/scim"
)

// directory is a Directory with the rules of trust of its provider.
type directory struct {
	Directory
	name    string
	trust   TrustedIssuer
	tenant  string // the one that its people are of; "": none
	tokenIs [sha256.Size]byte
}

// Attributes that may name the account.
const (
	attrExternalID = "externalId"
	attrUserName   = "userName"
)

func (st *settings) addDirectories() error {
	st.directories = make(map[string]*directory, len(st.cfg.Directories))
	for name, d := range st.cfg.Directories {
		if d.Attribute == "" {
			d.Attribute = attrExternalID
		}
		trust, ok := st.trustOf(name)
		switch {
		case !providerName.MatchString(name):
			return fmt.Errorf("directory %q: the name stands in a path: 1 to 63 of a-z, 0-9, dot, dash and underscore", name)
		case !ok:
			return fmt.Errorf("directory %s: there is no provider with that name, by ID-JAG or by sign-in", name)
		case d.Token == "":
			return fmt.Errorf("directory %s: the token is missing", name)
		case len(d.Token) < minSecret && !st.loopback && !st.cfg.InsecurePublic:
			return fmt.Errorf("directory %s: the token needs at least %d characters", name, minSecret)
		case d.Attribute != attrExternalID && d.Attribute != attrUserName:
			return fmt.Errorf("directory %s: attribute %q: %s or %s", name, d.Attribute, attrExternalID, attrUserName)
		}
		dir := &directory{Directory: d, name: name, trust: trust, tokenIs: sha256.Sum256([]byte(d.Token))}
		if err := dir.checkAccount(); err != nil {
			return fmt.Errorf("directory %s: %w", name, err)
		}
		st.directories[name] = dir
		for _, i := range st.issuers {
			i.directory = i.directory || i.name == name
		}
	}
	return nil
}

// trustOf is how the people of a provider are named.
func (st *settings) trustOf(name string) (TrustedIssuer, bool) {
	for _, i := range st.issuers {
		if i.name == name {
			return i.TrustedIssuer, true
		}
	}
	if p := st.provider(name); p != nil {
		return p.trust.TrustedIssuer, true
	}
	return TrustedIssuer{}, false
}

// checkAccount says whether one attribute of a user is enough to name the
// account that claims name at a sign-in and in an ID-JAG.
func (d *directory) checkAccount() error {
	if d.trust.SAML != (SAMLSubjects{}) {
		return errors.New("its ID-JAGs name people by sub_id, of which SCIM says nothing")
	}
	claims := d.trust.Account
	of := slices.IndexFunc(claims, isTenant) >= 0
	if !of && len(d.trust.Tenants) > 0 { // an account is then TENANT:ACCOUNT
		claims, of = append([]string{"tenant"}, claims...), true
	}
	if of {
		if len(d.trust.Tenants) != 1 {
			return errors.New("an account is named by its tenant too, and SCIM does not say which: list exactly one tenant")
		}
		d.tenant = d.trust.Tenants[0]
	}
	d.trust.Account = claims
	if others := slices.DeleteFunc(slices.Clone(claims), isTenant); len(others) != 1 {
		return fmt.Errorf("an account is named by %q, and one attribute of SCIM cannot hold all of them", claims)
	}
	return nil
}

func isTenant(claim string) bool { return claim == "tenant" || claim == "tid" }

// person is the account of a user of the directory, as idjag.account names it.
func (d *directory) person(u scim.User) (string, error) {
	value := u.ExternalID
	if d.Attribute == attrUserName {
		value = u.UserName
	}
	if value == "" || len(value) > maxAccountClaim || strings.ContainsFunc(value, unprintable) {
		return "", &scim.Error{Type: scim.InvalidValue, Detail: fmt.Sprintf("%s is required and has at most %d bytes: it names the account here", d.Attribute, maxAccountClaim)}
	}
	values := make([]string, len(d.trust.Account))
	for i, claim := range d.trust.Account {
		if values[i] = value; isTenant(claim) {
			values[i] = d.tenant
		}
	}
	id := d.name + "/" + joinAccount(values)
	if len(id) > maxAccountID {
		return "", &scim.Error{Type: scim.InvalidValue, Detail: d.Attribute + " is too long to name an account"}
	}
	return id, nil
}

// admit lets the directory's client in by its token (RFC 6750), which is
// compared in constant time, and bounds how often others may try.
func (s *Server) admit(st *settings, d *directory, r *http.Request) error {
	network, now := limit.Network(r.RemoteAddr), s.now()
	key := "scim " + d.name
	wrong := st.limits.wrong
	if wrong != nil {
		if wait := wrong.wait(now, key, network); wait > 0 {
			return tooMany(wait)
		}
	}
	header := r.Header["Authorization"]
	e := &oauth.Error{Code: oauth.InvalidToken, Reason: "scim_token", Description: "the bearer token of this directory is needed"}
	if len(header) == 0 {
		return e
	}
	scheme, token, _ := strings.Cut(header[0], " ")
	got := sha256.Sum256([]byte(strings.TrimSpace(token)))
	if len(header) != 1 || !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], d.tokenIs[:]) != 1 {
		if wrong != nil {
			wrong.count(now, key, network)
		}
		return e
	}
	if wrong != nil {
		wrong.right.Add(now, key+" "+network)
	}
	if st.limits.token != nil {
		if wait := st.limits.token.Take(now, key); wait > 0 {
			return tooMany(wait)
		}
	}
	return nil
}
