package doorward

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"doorward/internal/oauth"
)

// idp is where the IdP exchanges tokens: its configured endpoint, or what the
// configured issuer publishes, never what an MCP server says (C-EMA-07).
func (f *CrossApp) idp(ctx context.Context, t *Transport) (*oauth.ServerMetadata, error) {
	if f.IdPTokenEndpoint != "" {
		return &oauth.ServerMetadata{Issuer: f.idpName(), TokenEndpoint: f.IdPTokenEndpoint}, nil
	}
	return t.idpMetadata(ctx, f.IdP.Issuer)
}

// exchange asks the IdP for an ID-JAG, with another proof of the person if it
// refuses the first one, or demands another sign-in, and the program can bring
// another.
func (f *CrossApp) exchange(ctx context.Context, w want, as *oauth.ServerMetadata) (jag, time.Time, error) {
	idp, err := f.idp(ctx, w.t)
	if err != nil {
		return jag{}, time.Time{}, err
	}
	if w.t.DPoP == nil || w.key == nil || !slices.Contains(idp.DPoPSigningAlgsSupported, w.key.Alg()) {
		w.key = nil // the access token is bound all the same: where the ID-JAG is redeemed
	}
	for past, more := "", 2; ; more-- {
		key, p, err := f.prove(ctx, w, idp, past)
		if err != nil {
			return jag{}, time.Time{}, err
		}
		j, until, err := f.exchangeWith(ctx, w, idp, as, key, p)
		d, demanded := demandOf(err, stepExchange)
		switch refused := hasCode(err, oauth.InvalidGrant); {
		case refused:
			f.disprove(w, key, p)
			if p.new {
				return j, until, err
			}
		case !demanded || p.new && w.demand.login:
			return j, until, err
		default:
			w.demand = d
		}
		if w.subject.Renew == nil || more == 0 { // others may bring one proof after the other
			return j, until, err
		}
		past, w.subject.Token = p.token, ""
	}
}

// exchangeWith is the token exchange (RFC 8693, EMA section 4). With what a
// refresh token may take the place of there is one at a time.
func (f *CrossApp) exchangeWith(ctx context.Context, w want, idp, as *oauth.ServerMetadata, key proofKey, p proof) (jag, time.Time, error) {
	if p.kind == oauth.TokenTypeRefreshToken || p.kind == oauth.TokenTypeSAML2 {
		done, err := w.t.state.turns.take(ctx, key)
		if err != nil {
			return jag{}, time.Time{}, err
		}
		defer done()
		if held, ok := w.t.state.proofs.get(w.t.now(), key); ok {
			p = held
		}
	}
	if p.kind == oauth.TokenTypeSAML2 {
		var err error
		if p, err = f.fromSAML(ctx, w, idp, key, p); err != nil {
			return jag{}, time.Time{}, err
		}
	}
	form := w.formFor(oauth.TokenExchange)
	if f.OmitResource {
		form.Del("resource")
	}
	form.Set("requested_token_type", oauth.TokenTypeIDJAG)
	form.Set("audience", as.Issuer)
	form.Set("subject_token", p.token)
	form.Set("subject_token_type", p.kind)
	if w.subject.Actor != "" {
		form.Set("actor_token", w.subject.Actor)
		form.Set("actor_token_type", cmp.Or(w.subject.ActorType, oauth.TokenTypeJWT))
	}
	setScope(form, w.scopes)
	a, err := w.tokenRequest(ctx, stepExchange, idp, byUser, f.IdP, "", form)
	if err != nil {
		return jag{}, time.Time{}, err
	}
	if p.kind == oauth.TokenTypeRefreshToken && a.RefreshToken != "" && a.RefreshToken != p.token {
		if err := f.replace(ctx, w, key, a.RefreshToken, time.Time{}); err != nil {
			return jag{}, time.Time{}, err
		}
	}
	return f.readJAG(ctx, w, idp, a)
}

// readJAG takes what an exchange brought, if it is an ID-JAG.
func (f *CrossApp) readJAG(ctx context.Context, w want, idp *oauth.ServerMetadata, a answer) (jag, time.Time, error) {
	// Without issued_token_type the answer could be an access token (C-EMA-03).
	if a.IssuedTokenType != oauth.TokenTypeIDJAG {
		return jag{}, time.Time{}, unusable(stepExchange, idp.Issuer, "issued_token_type is %.80q instead of %s: this is no ID-JAG", a.IssuedTokenType, oauth.TokenTypeIDJAG)
	}
	if !strings.EqualFold(a.TokenType, "N_A") { // real providers send others: CONFLICT-15
		w.t.log().WarnContext(ctx, "ID-JAG with another token_type than N_A", "idp", idp.Issuer, "token_type", oauth.Printable(a.TokenType))
	}
	if err := a.checkBinding(idp.Issuer); err != nil {
		return jag{}, time.Time{}, err
	}
	j := jag{assertion: a.AccessToken, key: a.key, scopes: a.scopes(w.scopes)}
	return j, jagEnd(a, w.t.now()), nil
}

// noRefresh are the errors by which an IdP says that it makes no refresh tokens
// of SAML assertions.
var noRefresh = []string{oauth.InvalidRequest, oauth.InvalidScope, oauth.InvalidTarget, oauth.UnauthorizedClient, oauth.UnsupportedTokenType}

// fromSAML exchanges a SAML assertion for a refresh token, which outlives it
// (EMA section 4, ID-JAG draft section 4.5). Where the IdP does not offer that, the
// assertion itself is exchanged for ID-JAGs.
func (f *CrossApp) fromSAML(ctx context.Context, w want, idp *oauth.ServerMetadata, key proofKey, p proof) (proof, error) {
	not := proofKey{idp: idp.Issuer, client: f.IdP.ID}
	if _, known := w.t.state.proofs.get(w.t.now(), not); known {
		return p, nil
	}
	form := w.formFor(oauth.TokenExchange)
	form.Del("resource")
	form.Set("requested_token_type", oauth.TokenTypeRefreshToken)
	form.Set("subject_token", p.token)
	form.Set("subject_token_type", p.kind)
	form.Set("scope", "openid offline_access")
	a, err := w.tokenRequest(ctx, stepExchange, idp, byUser, f.IdP, "", form)
	var e *Error
	if errors.As(err, &e) && slices.Contains(noRefresh, e.Code) {
		w.t.state.proofs.put(w.t.now(), not, proof{}, w.t.now().Add(time.Hour))
		return p, nil
	}
	if err != nil {
		return proof{}, err
	}
	if a.IssuedTokenType != oauth.TokenTypeRefreshToken {
		return proof{}, unusable(stepExchange, idp.Issuer, "issued_token_type is %.80q instead of %s", a.IssuedTokenType, oauth.TokenTypeRefreshToken)
	}
	until := a.until(w.t.now())
	return proof{token: a.AccessToken, kind: oauth.TokenTypeRefreshToken, until: until}, f.replace(ctx, w, key, a.AccessToken, until)
}
