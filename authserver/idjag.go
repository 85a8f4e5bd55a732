package authserver

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"doorward/internal/dpop"
	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// What an ID-JAG must be (ID-JAG section 4.4.1), without I/O and without a
// clock of its own: claims, policy and time go in, an idjag or a rejection
// comes out.

// idjag is an acceptable assertion.
type idjag struct {
	jti       string
	key       string // thumbprint of the key that it is bound to; "": none
	expires   time.Time
	subject   oauth.Subject
	resources []string
	scopes    oauth.Scopes // as asserted
	scoped    bool         // it has a scope claim
	// Rich authorization details: as asserted, and read for the resource.
	detailsText string
	details     oauth.Details
}

// rejection is why an assertion is not acceptable: a reason code and the
// details, both for the operator only.
type rejection struct{ reason, detail string }

func (r *rejection) Error() string { return r.reason + ": " + r.detail }

func reject(reason, format string, args ...any) *rejection {
	return &rejection{reason, fmt.Sprintf(format, args...)}
}

// assertionSkew is how far the clocks of an issuer and ours may differ.
const assertionSkew = 30 * time.Second

// Bounds of what assertions may bring.
const (
	maxAccountClaim = 200  // bytes
	maxText         = 512  // bytes of a name, an address, an acr
	maxGroups       = 1000 // more are a sign of a mistake at the issuer
)

// checkIDJAG checks the claims of an assertion whose signature and class were
// checked. own is this issuer, client the authenticated client's id, key the
// thumbprint of the key that it proved to have; "": none.
func checkIDJAG(c jose.Claims, from *issuer, own, client, key string, now time.Time) (idjag, error) {
	var a idjag
	err := formed(c, from)
	if err == nil {
		err = a.required(c, own, client)
	}
	if err == nil {
		err = a.times(c, from, now)
	}
	if err == nil {
		err = a.rich(c)
	}
	if err == nil {
		err = confirmed(c, key)
	}
	if err == nil {
		err = a.account(c, from)
	}
	if err == nil {
		err = a.person(c, from)
	}
	if err == nil {
		err = a.targets(c)
	}
	if err != nil {
		return idjag{}, err
	}
	return a, nil
}

// required checks aud, client_id, sub and jti (AS-JAG-05, 06, 07).
func (a *idjag) required(c jose.Claims, own, client string) error {
	var asks string
	for _, name := range [...]string{"iss", "sub", "client_id", "jti"} {
		text, err := c.Text(name)
		if err != nil {
			return reject("claim_type", "%v", err)
		}
		if text == "" || len(text) > maxText {
			return reject("claim_missing", "%s is missing or too long", name)
		}
		switch name {
		case "client_id":
			asks = text
		case "jti":
			a.jti = text
		}
	}
	aud, err := c.Texts("aud")
	if err != nil {
		return reject("claim_type", "%v", err)
	}
	if single, ok := oauth.SingleAudience(aud); !ok || single != own {
		return reject("wrong_audience", "aud is %.200q, not this issuer alone", aud)
	}
	if asks != client {
		return reject("wrong_client", "client_id is %.200q, but %.200q asks", asks, client)
	}
	return nil
}

// times checks exp, iat and the lifetime between them (AS-JAG-08).
func (a *idjag) times(c jose.Claims, from *issuer, now time.Time) error {
	if err := jose.CheckTimes(c, now, assertionSkew); err != nil {
		return reject("time", "%v", err)
	}
	exp, err1 := c.Time("exp")
	iat, err2 := c.Time("iat")
	if err1 != nil || err2 != nil || iat.IsZero() {
		return reject("claim_missing", "exp and iat must be there")
	}
	if life := exp.Sub(iat); life > from.MaxLifetime || life <= 0 {
		return reject("lifetime", "exp is %s after iat, allowed are %s", life, from.MaxLifetime)
	}
	if at, _ := c.Time("auth_time"); at.After(now.Add(assertionSkew)) {
		return reject("time", "claim auth_time is later than now: check the clocks")
	}
	a.expires = exp
	return nil
}

// rich keeps the rich authorization details, which are read for the resource
// once it is known: they must not be dropped in silence (AS-JAG-15).
func (a *idjag) rich(c jose.Claims) error {
	a.detailsText = string(c["authorization_details"])
	if _, err := oauth.ParseDetails(a.detailsText); err != nil {
		return reject("authorization_details", "%v", err)
	}
	return nil
}

// confirmed checks that the request proved possession of the key that the
// assertion is bound to, if it is bound (ID-JAG section 9, AS-JAG-23). Bound to
// anything but a DPoP key, or to more, it is refused: what is not checked must
// not be dropped.
func confirmed(c jose.Claims, key string) error {
	if !c.Has("cnf") {
		return nil
	}
	var cnf jose.Claims
	if err := c.Decode("cnf", &cnf); err != nil {
		return reject("claim_type", "%v", err)
	}
	jkt, err := cnf.Text("jkt")
	switch {
	case err != nil:
		return reject("claim_type", "%v", err)
	case jkt == "" || len(cnf) != 1:
		return reject("cnf", "cnf binds it to something other than a DPoP key (jkt)")
	case key == "":
		return reject(dpop.ReasonKey, "cnf binds it to a key, and no DPoP proof came")
	case jkt != key:
		return reject(dpop.ReasonKey, "cnf binds it to another key than the DPoP proof's")
	}
	return nil
}

// unsupported refuses rich authorization details where no rule for them exists.
func unsupported(c jose.Claims) error {
	if c.Has("authorization_details") {
		return reject("authorization_details", "the claim authorization_details is not supported here")
	}
	return nil
}

// account finds out whose assertion it is (AS-JAG-18, 19, 21).
func (a *idjag) account(c jose.Claims, from *issuer) error {
	tenantClaim, tenant, err := from.tenant(c)
	if err != nil {
		return err
	}
	audTenant, err1 := c.Text("aud_tenant")
	audSub, err2 := c.Text("aud_sub")
	if err1 != nil || err2 != nil {
		return reject("claim_type", "aud_tenant and aud_sub must be strings")
	}
	names, prefix := from.Account, ""
	values, err := from.SAML.account(c, tenant)
	switch {
	case err != nil:
		return err
	case values != nil:
		names = nil
	case audTenant != "" && audSub != "" && from.directory:
		return reject("account", "aud_tenant and aud_sub name an account of which the provider's directory (SCIM) says nothing")
	case audTenant != "" && audSub != "":
		prefix, names = audPrefix, []string{"aud_tenant", "aud_sub"}
	case tenant != "" && !slices.Contains(names, "tenant") && !slices.Contains(names, "tid"):
		names = append([]string{tenantClaim}, names...)
	}
	for _, name := range names {
		v, err := c.Text(name)
		if err != nil || !namesAccount(v) {
			return reject("account", "the claim %s, which names the account, is missing or unusable", name)
		}
		if name == "email" && unverified(c) { // whoever types it in would be its owner
			return reject("account", "the claim email names the account, and the issuer says that it is not verified")
		}
		values = append(values, v)
	}
	account := prefix + joinAccount(values)
	a.subject = oauth.Subject{ID: from.name + "/" + account, Provider: from.name, Account: account, Tenant: tenant}
	if len(a.subject.ID) > maxAccountID {
		return reject("account", "the account's name is too long")
	}
	return nil
}

// tenant is the tenant that the claims name, and the claim that names it: one
// that is allowed, or none if none is configured.
func (i *issuer) tenant(c jose.Claims) (claim, tenant string, err error) {
	claim = "tenant"
	if len(i.Tenants) > 0 && !c.Has(claim) {
		claim = "tid" // as Microsoft Entra ID calls it
	}
	if tenant, err = c.Text(claim); err != nil {
		return claim, "", reject("claim_type", "%v", err)
	}
	switch {
	case len(i.Tenants) == 0 && tenant != "":
		return claim, tenant, reject("tenant", "it names the tenant %.200q and none is configured", tenant)
	case len(i.Tenants) > 0 && !slices.Contains(i.Tenants, tenant):
		return claim, tenant, reject("tenant", "the tenant %.200q is not allowed", tenant)
	}
	return claim, tenant, nil
}

// namesAccount says whether a value may be (part of) an account's name.
func namesAccount(v string) bool {
	return v != "" && len(v) <= maxAccountClaim && !strings.ContainsFunc(v, unprintable)
}

// audPrefix tells an account that the issuer names by our own identifiers
// (aud_tenant, aud_sub) from one that it names by its own.
const audPrefix = "aud:"

// maxAccountID keeps an account within an index name of the store.
const maxAccountID = 480

// joinAccount makes one name of the claims that name an account, such that
// different values cannot make the same name. A single claim stands as it is,
// unless it looks like another form.
func joinAccount(values []string) string {
	if len(values) == 1 && !strings.HasPrefix(values[0], audPrefix) {
		return values[0]
	}
	escaped := make([]string, len(values))
	for i, v := range values {
		escaped[i] = strings.NewReplacer("%", "%25", ":", "%3A").Replace(v)
	}
	return strings.Join(escaped, ":")
}

func unprintable(r rune) bool { return r < 0x20 || r == 0x7f || r == '\ufffd' }

// person reads what else is said about the person. The address counts only
// for domains that the issuer is believed about, and if the issuer does not
// say that it is unverified (AS-JAG-20).
func (a *idjag) person(c jose.Claims, from *issuer) error {
	p := &a.subject
	for _, name := range [...]string{"email", "name", "acr"} {
		v, err := c.Text(name)
		if err != nil || len(v) > maxText {
			return reject("claim_type", "%s must be a short string", name)
		}
		switch {
		case name == "name":
			p.Name = v
		case name == "acr":
			p.ACR = v
		case believed(v, from.EmailDomains) && !unverified(c):
			p.Email = v
		}
	}
	var err error
	if p.Groups, err = c.Texts(from.GroupsClaim); err != nil || len(p.Groups) > maxGroups {
		return reject("claim_type", "%s must be at most %d strings", from.GroupsClaim, maxGroups)
	}
	p.GroupsUnknown = overage(c, from.GroupsClaim)
	if p.AMR, err = c.Texts("amr"); err != nil {
		return reject("claim_type", "%v", err)
	}
	if p.AuthTime, err = c.Time("auth_time"); err != nil {
		return reject("claim_type", "%v", err)
	}
	return nil
}

// unverified says whether the issuer says that it did not verify the address;
// some write the truth value as a string.
func unverified(c jose.Claims) bool {
	switch string(c["email_verified"]) {
	case "", "null", "true", `"true"`:
		return false
	}
	return true
}

// believed says whether an address lies in one of the domains.
func believed(email string, domains []string) bool {
	local, domain, ok := strings.Cut(email, "@")
	return ok && local != "" && !strings.ContainsAny(domain, "@ ") &&
		slices.ContainsFunc(domains, func(d string) bool { return strings.EqualFold(d, domain) })
}

// targets reads resource and scope.
func (a *idjag) targets(c jose.Claims) error {
	var err error
	if a.resources, err = c.Texts("resource"); err != nil {
		return reject("claim_type", "%v", err)
	}
	if c.Has("resource") && len(a.resources) == 0 {
		return reject("resource", "resource is an empty list")
	}
	text, err := c.Text("scope")
	if err != nil {
		return reject("claim_type", "%v", err)
	}
	if a.scopes, err = oauth.ParseScope(text); err != nil {
		return reject("scope", "claim scope: %v", err)
	}
	a.scoped = len(a.scopes) > 0
	return nil
}

// pickResource finds the one resource of ours that the assertion is for: the
// one that it names, or of several the one that the request names (AS-JAG-10,
// 11), or, if it names none, the request's or our only one (AS-JAG-12).
func (a *idjag) pickResource(st *settings, asked []string) (*resource, error) {
	if a.resources == nil {
		return st.resource(asked)
	}
	var ours []*resource
	for _, name := range a.resources {
		if res := st.byID(oauth.MatchResource(st.resourceIDs, name)); res != nil && !slices.Contains(ours, res) {
			ours = append(ours, res)
		}
	}
	if len(ours) == 0 {
		return nil, reject("resource", "resource %.200q is none of this issuer", a.resources)
	}
	if len(asked) == 0 {
		if len(ours) > 1 {
			return nil, reject("resource", "resource names several, and the request none")
		}
		return ours[0], nil
	}
	res, err := st.resource(asked)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(ours, res) {
		return nil, &oauth.Error{Code: oauth.InvalidTarget, Description: "the assertion is not for this resource"}
	}
	return res, nil
}

// entitled is the scopes that the assertion, the client's registration and the
// issuer's bound leave at the resource (AS-JAG-13, 14).
func (a idjag) entitled(res *resource, client, bound oauth.Scopes) (oauth.Scopes, error) {
	scopes := a.scopes.Minus(oauth.Scopes{"offline_access"})
	if !a.scoped {
		scopes = res.DefaultScopes
	}
	if extra := scopes.Minus(res.scopes); len(extra) > 0 {
		return nil, reject("scope", "scope: %.200q are none of the resource", extra.String())
	}
	return res.bound(res.bound(scopes, client), bound), nil
}

// jtiHash is how the audit names an assertion.
func jtiHash(jti string) string {
	sum := sha256.Sum256([]byte(jti))
	var room [16]byte
	return string(hex.AppendEncode(room[:0], sum[:8]))
}
