package doorward

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// requestTime is what a request may take: what ends sooner is not used for it.
const requestTime = 5 * time.Second

// CrossApp gets tokens by cross-app access, the MCP extension
// io.modelcontextprotocol/enterprise-managed-authorization: it exchanges what
// proves the person at the company's IdP for an ID-JAG and redeems that at the
// MCP server's authorization server, which is found from the server itself.
// Nobody sees a consent page, and a refusal by the IdP is final: there is no
// other way to the token. ID-JAGs and tokens are used until they end, and
// renewed before that, by the authorization server's refresh token if it gave one.
type CrossApp struct {
	// IdP is this client's identity at the company's IdP: ID, and an Issuer whose
	// metadata names the token endpoint, or IdPTokenEndpoint.
	IdP Credentials
	// IdPTokenEndpoint is where the IdP exchanges tokens; its metadata is then not
	// asked for, and a Secret goes as client_secret_basic. Empty: as IdP.Issuer
	// publishes it (OpenID Connect Discovery or RFC 8414); issuer and
	// token_endpoint are all that its metadata needs to have.
	IdPTokenEndpoint string
	// Server is this client's identity at the authorization server; ID is
	// required. With an Issuer, only that authorization server is used, whether
	// or not its metadata mentions ID-JAGs, or client ID metadata documents where
	// ID is the URL of one.
	Server Credentials
	// Subject returns the person of the request whose context it gets. It is
	// asked for each request, so that a program that serves many people never
	// mixes their tokens, and should answer from memory: what takes time or asks
	// the person belongs into Subject.Renew.
	Subject func(ctx context.Context) (Subject, error)
	// Assertion brings the ID-JAG of the person s for the authorization server,
	// the resource (empty: the server has none) and the scopes that it gets, from
	// wherever the program has it; no IdP is needed then. It is used until its
	// exp. nil: it is asked for at the IdP.
	Assertion func(ctx context.Context, s Subject, issuer, resource string, scopes []string) (string, error)
	// OmitResource leaves the resource out of the exchange, for IdPs that refuse
	// it (EMA section 4: it is optional); the authorization server gets it all
	// the same.
	OmitResource bool
	// Scopes are asked for besides those that the MCP server names.
	Scopes []string
}

func (f *CrossApp) server() Credentials { return f.Server }

// configured says what the fields lack, or have too much.
func (f *CrossApp) configured() error {
	switch {
	case f.Server.ID == "" || f.Subject == nil:
		return misconfigured("CrossApp needs Server.ID and Subject")
	case f.Assertion == nil && (f.IdP.ID == "" || f.IdP.Issuer == "" && f.IdPTokenEndpoint == ""):
		return misconfigured("CrossApp needs IdP.ID, and IdP.Issuer or IdPTokenEndpoint; or an Assertion")
	}
	if f.IdPTokenEndpoint != "" {
		if _, err := checkEndpoint(f.IdPTokenEndpoint); err != nil {
			return misconfigured("IdPTokenEndpoint: %v", err)
		}
	}
	return nil
}

func (f *CrossApp) subject(ctx context.Context) (Subject, error) {
	if err := f.configured(); err != nil {
		return Subject{}, err
	}
	s, err := f.Subject(ctx)
	if err != nil {
		return Subject{}, f.unproved("nobody is signed in", err)
	}
	if s.Person == "" && s.Token == "" {
		return Subject{}, &Error{Step: stepSubject, Server: f.idpName(), Who: whoMaker, Description: "Subject names neither a Person nor a Token"}
	}
	return s.named(), nil
}

// idpName is what errors and caches call the IdP.
func (f *CrossApp) idpName() string { return cmp.Or(f.IdP.Issuer, f.IdPTokenEndpoint) }

// jagKey is what an ID-JAG is for.
type jagKey struct{ idp, client, issuer, resource, person, scopes, jkt string }

// jag is an ID-JAG that is kept until its exp, with the scopes that it carries.
type jag struct {
	assertion string
	key       *jose.Key // that it is bound to; nil: none
	scopes    oauth.Scopes
}

// obtain uses the authorization server's refresh token if there is one, else
// redeems an ID-JAG that is still held, and asks for a new one when there is
// none or the authorization server refuses it, once (C-EMA-06).
func (f *CrossApp) obtain(ctx context.Context, w want) (got, error) {
	as, err := w.t.metadata(ctx, w.target)
	if err != nil {
		return got{}, err
	}
	if err := f.check(as); err != nil {
		return got{}, err
	}
	if err := w.t.bound(f.Server, as.Issuer); err != nil {
		return got{}, err
	}
	w.scopes = w.scopes.Union(f.Scopes)
	if w.refresh != "" && !w.wider && !w.demand.login {
		g, err := f.refresh(ctx, w, as)
		var more bool
		if w.demand, more = demandOf(err, stepRefresh); !more && !hasCode(err, oauth.InvalidGrant) {
			return g, err
		}
		w.t.log().InfoContext(ctx, "refresh token refused", "issuer", as.Issuer, "error", err)
	}
	key := jagKey{f.idpName(), f.IdP.ID, as.Issuer, w.target.resource, w.subject.Person, w.scopes.String(), thumbprintOf(w.key)}
	if held, ok := w.t.state.jags.get(w.t.now(), key); ok && !w.demand.login {
		g, err := f.redeem(ctx, w, as, held)
		var more bool
		if w.demand, more = demandOf(err, stepRedeem); !more && !hasCode(err, oauth.InvalidGrant) {
			return g, err
		}
		w.t.state.jags.drop(key)
	}
	g, err := f.anew(ctx, w, as, key)
	if d, more := demandOf(err, stepRedeem); more && !w.demand.login && (f.Assertion != nil || w.subject.Renew != nil) {
		w.demand = d
		g, err = f.anew(ctx, w, as, key)
	}
	return g, err
}

// anew redeems a new ID-JAG.
func (f *CrossApp) anew(ctx context.Context, w want, as *oauth.ServerMetadata, key jagKey) (got, error) {
	j, until, err := f.assertion(ctx, w, as)
	if err != nil {
		return got{}, err
	}
	g, err := f.redeem(ctx, w, as, j)
	if !until.IsZero() && !hasCode(err, oauth.InvalidGrant) {
		w.t.state.jags.put(w.t.now(), key, j, until)
	}
	return g, err
}

// check wants the authorization server to take ID-JAGs, and the client's
// metadata document if its id is the URL of one, by its metadata or because it
// was configured (C-EMA-01, C-REG-01).
func (f *CrossApp) check(as *oauth.ServerMetadata) error {
	switch {
	case f.Server.Issuer != "":
		return nil
	case slices.Contains(as.AuthorizationGrantProfiles, oauth.ProfileIDJAG), slices.Contains(as.GrantTypesSupported, oauth.JWTBearer):
		if as.ClientIDMetadataDocument || checkDocumentURL(f.Server.ID) != nil {
			return nil
		}
		return unusable(stepDiscover, as.Issuer, "the client's id is the URL of a metadata document, and its metadata does not say that it takes these (client_id_metadata_document_supported): it needs a client that is registered there; if it knows this one all the same, set Server.Issuer of the CrossApp")
	}
	return unusable(stepDiscover, as.Issuer, "its metadata does not say that it takes ID-JAGs (authorization_grant_profiles_supported); if it does, set Server.Issuer of the CrossApp")
}

// assertion is a new ID-JAG: what the program brings, or the IdP's.
func (f *CrossApp) assertion(ctx context.Context, w want, as *oauth.ServerMetadata) (jag, time.Time, error) {
	if f.Assertion == nil {
		return f.exchange(ctx, w, as)
	}
	text, err := f.Assertion(w.demand.in(ctx), w.subject, as.Issuer, w.target.resource, w.scopes)
	if err != nil {
		return jag{}, time.Time{}, f.unproved("there is no ID-JAG", err)
	}
	if text == "" {
		return jag{}, time.Time{}, f.unproved("Assertion brought no ID-JAG", nil)
	}
	return jag{assertion: text, scopes: w.scopes}, jagEnd(answer{AccessToken: text}, w.t.now()), nil
}

// jagEnd is when an ID-JAG is given up: by its exp and by expires_in, whichever
// is first, less what a request may take. Zero: it is not kept.
func jagEnd(a answer, now time.Time) time.Time {
	until := a.until(now)
	if exp := expOf(a.AccessToken); !exp.IsZero() && (until.IsZero() || exp.Before(until)) {
		until = exp
	}
	if until.IsZero() {
		return until
	}
	return until.Add(-requestTime)
}

// redeem gets an access token for an ID-JAG (RFC 7523 section 2.1, EMA section 5).
func (f *CrossApp) redeem(ctx context.Context, w want, as *oauth.ServerMetadata, j jag) (got, error) {
	form := w.formFor(oauth.JWTBearer)
	form.Set("assertion", j.assertion)
	setScope(form, j.scopes)
	if j.key != nil {
		w.key = j.key
	}
	return f.token(ctx, stepRedeem, w, as, form)
}

// refresh gets the next token of the same grant (RFC 6749 section 6).
func (f *CrossApp) refresh(ctx context.Context, w want, as *oauth.ServerMetadata) (got, error) {
	form := w.formFor(oauth.RefreshToken)
	form.Set("refresh_token", w.refresh)
	g, err := withoutResource(form, func() (got, error) { return f.token(ctx, stepRefresh, w, as, form) })
	if err == nil && g.refresh == "" {
		g.refresh = w.refresh // not rotated
	}
	return g, err
}

func (f *CrossApp) token(ctx context.Context, step string, w want, as *oauth.ServerMetadata, form url.Values) (got, error) {
	a, err := w.tokenRequest(ctx, step, as, w.target.by, f.Server, "", form)
	if err == nil {
		err = a.checkType(step, as.Issuer)
	}
	if err != nil {
		return got{}, err
	}
	return got{access: a.AccessToken, key: a.key, refresh: a.RefreshToken, expires: a.until(w.t.now()), granted: a.scopes(w.scopes)}, nil
}
