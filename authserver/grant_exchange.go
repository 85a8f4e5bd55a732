package authserver

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"doorward/internal/access"
	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// exchangeRecheck is how old the word of the provider that the person signed in
// at may be: an ID-JAG carries the sign-in to where nobody asks that provider.
const exchangeRecheck = time.Minute

// grantExchange turns a sign-in here into a grant that another authorization
// server will make of our ID-JAG (RFC 8693 section 2, ID-JAG section 4.3).
func (s *Server) grantExchange(ctx context.Context, a *asked) (*granted, error) {
	if err := checkExchange(&a.TokenRequest); err != nil {
		return nil, err
	}
	if a.RequestedTokenType == oauth.TokenTypeRefreshToken {
		return s.grantSAML(ctx, a)
	}
	g, ops, err := s.subjectGrant(ctx, a)
	if err != nil {
		return nil, err
	}
	a.seen.Grant, a.seen.Person = g.ID, g.Subject.ID
	if err := s.recheckFor(ctx, a, g.Subject, exchangeRecheck); err != nil {
		return nil, err
	}
	aud, err := a.audience()
	if err != nil {
		return nil, err
	}
	res, err := aud.resource(a.Resources)
	if err != nil {
		return nil, err
	}
	there, err := aud.clientThere(a.client.client.ID)
	if err != nil {
		return nil, err
	}
	if aud.Subject == "email" && g.Subject.Email == "" {
		return nil, &oauth.Error{Code: oauth.InvalidTarget, Reason: "no_email",
			Description: "this audience knows people by e-mail address, and this person has none that is believed"}
	}
	out := g.Grant
	if out.Subject, err = s.today(ctx, a.st, g.Subject); err != nil {
		return nil, err
	}
	out.Client, out.Resource, out.Scopes = there, res, a.Scope
	if err := s.scopesNamed(aud, a, out); err != nil {
		return nil, err
	}
	return &granted{grant: out, rules: aud.rules, life: a.st.tokens.IDJAG, audience: aud, ops: ops}, nil
}

// subjectTypes are what can be exchanged.
var subjectTypes = []string{oauth.TokenTypeIDToken, oauth.TokenTypeRefreshToken, oauth.TokenTypeSAML2}

// checkExchange is the shape of the request (RFC 8693 section 2.1, IDP-TX-03).
func checkExchange(r *oauth.TokenRequest) error {
	bad := func(text string) error { return &oauth.Error{Code: oauth.InvalidRequest, Description: text} }
	refresh := r.RequestedTokenType == oauth.TokenTypeRefreshToken && r.SubjectTokenType == oauth.TokenTypeSAML2
	switch {
	case r.RequestedTokenType != oauth.TokenTypeIDJAG && !refresh:
		return bad("requested_token_type must be " + oauth.TokenTypeIDJAG + ", or " + oauth.TokenTypeRefreshToken + " for a SAML assertion")
	case r.SubjectToken == "":
		return bad("subject_token is missing")
	case !slices.Contains(subjectTypes, r.SubjectTokenType):
		return bad("subject_token_type must be one of " + strings.Join(subjectTypes, ", "))
	case r.ActorToken != "" || r.ActorTokenType != "":
		return bad("actor_token is not supported")
	case len(r.Audiences) == 0 && !refresh:
		return bad("audience is missing")
	case r.AuthorizationDetails != "":
		return &oauth.Error{Code: oauth.InvalidAuthzDetails, Description: "no type of authorization_details exists here"}
	}
	return nil
}

// subjectGrant is the living grant that the subject token stands for; of a SAML
// assertion it is none that is kept, and its use has to be written.
func (s *Server) subjectGrant(ctx context.Context, a *asked) (ledger.Grant, []store.Op, error) {
	switch a.SubjectTokenType {
	case oauth.TokenTypeRefreshToken: // IDP-TX-05: it is not rotated by this
		_, g, _, err := s.checkRefresh(ctx, a, a.SubjectToken)
		if err != nil {
			return ledger.Grant{}, nil, err
		}
		return *g, nil, nil
	case oauth.TokenTypeSAML2:
		who, err := s.samlSubject(ctx, a)
		return ledger.Grant{Grant: oauth.Grant{Subject: who.Subject}}, who.ops, err
	}
	g, err := s.idTokenGrant(ctx, a)
	return g, nil, err
}

// idTokenGrant checks an own ID token (IDP-TX-04) and that the sign-in behind
// it still stands (IDP-TX-07). Who the person is comes from the record.
func (s *Server) idTokenGrant(ctx context.Context, a *asked) (ledger.Grant, error) {
	v, err := s.verifyOwn(ctx, a.SubjectToken, oauth.TypIDToken)
	if err != nil {
		return ledger.Grant{}, a.invalid("subject_token", err)
	}
	c := v.Claims()
	if err := jose.CheckTimes(c, s.now(), 0); err != nil {
		return ledger.Grant{}, a.invalid("subject_token_time", err)
	}
	id, err := readIDToken(c, a.st.cfg.URL, a.client.client.ID)
	if err != nil {
		return ledger.Grant{}, a.invalid("subject_token_claims", err)
	}
	g, err := s.ledger.Grant(ctx, id.grant)
	if notFound(err) {
		return g, a.invalid("grant_unknown", nil)
	}
	if err != nil {
		return g, err
	}
	if !g.Active(s.now()) || g.Subject.ID != id.subject || g.Client != a.client.client.ID {
		return g, a.invalid("grant_over", nil)
	}
	if id.session == "" && g.Subject.Session == "" {
		return g, nil
	}
	alive, err := s.sessions.Alive(ctx, id.session)
	if err == nil && !alive {
		err = a.invalid("session_over", nil)
	}
	return g, err
}

type ownIDToken struct{ subject, grant, session string }

// readIDToken reads the claims of an ID token of ours that was made for the client.
func readIDToken(c jose.Claims, own, client string) (ownIDToken, error) {
	var t ownIDToken
	texts := map[string]*string{"sub": &t.subject, "gid": &t.grant, "sid": &t.session}
	var iss, azp string
	texts["iss"], texts["azp"] = &iss, &azp
	for name, to := range texts {
		v, err := c.Text(name)
		if err != nil {
			return t, err
		}
		*to = v
	}
	aud, err := c.Texts("aud")
	switch {
	case err != nil:
		return t, err
	case iss != own:
		return t, errors.New("the ID token is not of this issuer")
	case !slices.Contains(aud, client) || azp != "" && azp != client: // IDP-TX-14
		return t, errors.New("the ID token was made for another client")
	case t.subject == "" || t.grant == "":
		return t, errors.New("the ID token names no grant")
	}
	return t, nil
}

// audience finds the authorization server that the request names, and whether
// this client may ask for it at all (IDP-TX-02, 09, 13).
func (a *asked) audience() (*audience, error) {
	if len(a.Audiences) > 1 {
		return nil, &oauth.Error{Code: oauth.InvalidTarget, Description: "one audience at a time"}
	}
	aud := a.st.audiences[a.Audiences[0]]
	if aud == nil {
		return nil, &oauth.Error{Code: oauth.InvalidTarget, Description: "no such audience here: " + oauth.Printable(a.Audiences[0])}
	}
	if !a.client.registeredFor(oauth.TokenExchange) && !listed(aud.PublicClients, a.client.client) {
		return nil, &oauth.Error{Code: oauth.UnauthorizedClient, Reason: "public_client",
			Description: "this audience is not for clients without a secret"}
	}
	return aud, nil
}

// resource is the one that the request names, of those that belong to the
// audience (IDP-TX-08); it may be left out if there is only one.
func (aud *audience) resource(asked []string) (string, error) {
	switch {
	case len(asked) > 1:
		return "", &oauth.Error{Code: oauth.InvalidTarget, Description: "one resource at a time"}
	case len(asked) == 1:
		if id := oauth.MatchResource(aud.Resources, asked[0]); id != "" {
			return id, nil
		}
		return "", &oauth.Error{Code: oauth.InvalidTarget, Description: "this resource does not belong to the audience: " + oauth.Printable(asked[0])}
	case len(aud.Resources) == 1:
		return aud.Resources[0], nil
	}
	return "", &oauth.Error{Code: oauth.InvalidTarget, Description: "name the resource: the audience has several or none"}
}

// clientThere is the client's id at the audience (IDP-JAG-03).
func (aud *audience) clientThere(client string) (string, error) {
	if id := aud.ClientIDs[client]; id != "" {
		return id, nil
	}
	if strings.HasPrefix(client, "https://") { // a client metadata document's URL is the same everywhere
		return client, nil
	}
	return "", &oauth.Error{Code: oauth.InvalidTarget, Reason: "client_unknown_there",
		Description: "this client has no client id at that audience (client_ids)"}
}

// scopesNamed refuses a request without scope if the rules bound scopes for
// this person: the other server would give its defaults, which they may not have.
func (s *Server) scopesNamed(aud *audience, a *asked, g oauth.Grant) error {
	if len(a.Scope) > 0 {
		return nil
	}
	bounded := slices.ContainsFunc(aud.rules.Deny, func(r Rule) bool { return len(r.Scopes) > 0 })
	if !bounded {
		q := access.Question{Subject: subjectOf(&g.Subject, a.client.client.ID), Resource: g.Resource, Now: s.now()}
		if !aud.rules.Decide(q).Allowed {
			return nil // refused for another reason, which narrow names
		}
		q.Scope = "scope that no rule names"
		bounded = !aud.rules.Decide(q).Allowed
	}
	if bounded {
		return &oauth.Error{Code: oauth.InvalidScope, Description: "name the scopes: the rules of this audience bound them"}
	}
	return nil
}
