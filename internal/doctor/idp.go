package doctor

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"doorward"
	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// chain is what the ID-JAG must fit.
type chain struct {
	idp      string // issuer
	issuer   string // of the authorization server
	resource string
	client   string // id at the authorization server
	keys     *jose.Set
}

// identityProvider reads the provider's metadata and asks who is signed in.
func (w *walk) identityProvider(t *trail, f *doorward.CrossApp) (chain, bool) {
	c := chain{idp: f.IdP.Issuer, issuer: w.issuer, resource: w.resource.Resource, client: f.Server.ID}
	w.report.idp = c.idp
	w.Progress(titles["idp_metadata"].Title)
	meta, ok := w.idpMetadata(t, c.idp)
	if !ok {
		return c, false
	}
	w.Progress(titles["sign_in"].Title)
	who, err := f.Subject(w.ctx)
	switch {
	case err == nil && who.Token == "" && who.Renew != nil:
		w.ok("sign_in", "brought when it is needed")
	case err != nil || who.Token == "":
		saw := "nobody is signed in"
		if err != nil {
			saw += ": " + explain(err)
		}
		return c, w.fail("sign_in", problem{saw: saw, mend: "Sign in: doorward login " + c.idp})
	case !w.signedIn(who, f):
		return c, false
	}
	var doc struct{}
	outer := w.fetch
	w.fetch = t.idp
	if d := w.get(meta.JWKSURI, &doc); d.there() {
		c.keys, _ = jose.ParseSet(d.answer.body) // nil: the signature is then the authorization server's matter alone
	}
	w.fetch = outer
	return c, true
}

// idpMetadata reads the provider's document as a client does, and lets the
// trail reach what it names.
func (w *walk) idpMetadata(t *trail, issuer string) (m oauth.ServerMetadata, ok bool) {
	places, err := oauth.MetadataURLs(issuer)
	u, _ := url.Parse(issuer)
	if err != nil || u == nil {
		return m, w.fail("idp_metadata", problem{saw: err.Error(), who: Person, mend: "Give the issuer of the identity provider as it calls itself."})
	}
	addrs, err := w.lookup(u.Hostname())
	if err != nil {
		return m, w.fail("idp_metadata", problem{saw: explain(err), who: Person, mend: "Check the spelling of the issuer."})
	}
	t.idp = w.fetcherFor(addrs)
	outer := w.fetch
	w.fetch = t.idp
	defer func() { w.fetch = outer }()
	first := strings.TrimSuffix(issuer, "/") + oauth.WellKnownOIDC
	places = append([]string{first}, slices.DeleteFunc(places, func(p string) bool { return p == first })...)
	var wrong []string
	for _, place := range places {
		d := w.get(place, &m)
		if d.wrong != "" {
			wrong = append(wrong, d.wrong)
			continue
		}
		return m, w.readIdP(t, issuer, m)
	}
	return m, w.fail("idp_metadata", problem{saw: "none: " + list(wrong), who: Person, mend: "Give the issuer of the identity provider as it calls itself; its metadata is at " + first + "."})
}

func (w *walk) readIdP(t *trail, issuer string, m oauth.ServerMetadata) bool {
	for _, at := range []string{issuer, m.TokenEndpoint, m.JWKSURI, m.AuthorizationEndpoint, m.RevocationEndpoint} {
		if u, err := url.Parse(at); err == nil && u.Host != "" {
			t.own[originOf(u)] = true
		}
	}
	p := problem{}
	switch {
	case m.Issuer != issuer:
		p = problem{fmt.Sprintf("asked for was %q, the metadata is of %q", issuer, m.Issuer), "Give the issuer letter by letter as it calls itself; a slash at the end counts.", Person}
	case m.TokenEndpoint == "":
		p = problem{"token_endpoint is missing", "Publish it: ID-JAGs are asked for there.", ""}
	case m.GrantTypesSupported != nil && !slices.Contains(m.GrantTypesSupported, oauth.TokenExchange):
		return w.warn("idp_metadata", problem{"token-exchange is not among grant_types_supported", "Switch token exchange for ID-JAGs on, and list it. If the identity provider cannot issue them at all, put doorward idp in front of it.", ""})
	case !slices.Contains(m.IdentityChainingRequestedTokenTypes, oauth.TokenTypeIDJAG):
		return w.warn("idp_metadata", problem{"identity_chaining_requested_token_types_supported does not list ID-JAGs", "List " + oauth.TokenTypeIDJAG + " there (ID-JAG section 7.1); the exchange may work all the same.", ""})
	default:
		return w.ok("idp_metadata", issuer)
	}
	return w.fail("idp_metadata", p)
}

// signedIn looks at the person's token before it is spent.
func (w *walk) signedIn(who doorward.Subject, f *doorward.CrossApp) bool {
	if who.Type != "" && who.Type != oauth.TokenTypeIDToken {
		return w.ok("sign_in", "a "+strings.TrimPrefix(who.Type, "urn:ietf:params:oauth:token-type:"))
	}
	h, c, err := jose.Peek(who.Token)
	if err != nil {
		return w.fail("sign_in", problem{saw: "the ID token cannot be read: " + err.Error(), mend: "Sign in again: doorward login " + f.IdP.Issuer})
	}
	sub, _ := c.Text("sub")
	iss, _ := c.Text("iss")
	aud, _ := c.Texts("aud")
	exp, _ := c.Time("exp")
	again := "Sign in again: doorward login " + f.IdP.Issuer
	switch {
	case h.Typ == oauth.TypIDJAG || h.Typ == oauth.TypAccessToken:
		return w.fail("sign_in", problem{saw: "a token of type " + h.Typ + " where an ID token belongs", mend: again})
	case iss != f.IdP.Issuer:
		return w.fail("sign_in", problem{saw: fmt.Sprintf("the ID token is of %q", iss), mend: again})
	case !slices.Contains(aud, f.IdP.ID):
		return w.fail("sign_in", problem{saw: "the ID token is for the client " + list(aud) + ", and " + f.IdP.ID + " would exchange it", mend: again + " --client-id " + f.IdP.ID})
	case !exp.IsZero() && exp.Before(w.Now()):
		return w.fail("sign_in", problem{saw: "the ID token ended " + w.Now().Sub(exp).Round(time.Second).String() + " ago", mend: again})
	}
	return w.ok("sign_in", short(sub)+" at "+iss)
}
