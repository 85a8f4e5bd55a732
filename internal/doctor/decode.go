package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"doorward/internal/jose"
	"doorward/internal/oauth"
)

// short cuts what somebody else wrote; a token cannot be put together from it.
func short(s string) string {
	if len(s) > 80 {
		return s[:77] + "..."
	}
	return s
}

// told is what a JWT says, in words: chosen claims, no signature.
func told(c jose.Claims, now time.Time, names ...string) string {
	var parts []string
	for _, name := range names {
		if all, err := c.Texts(name); err == nil && len(all) > 0 {
			parts = append(parts, name+" "+short(strings.Join(all, " ")))
		}
	}
	if exp, err := c.Time("exp"); err == nil && !exp.IsZero() {
		parts = append(parts, "ends in "+exp.Sub(now).Round(time.Second).String())
	}
	return strings.Join(parts, ", ")
}

// check looks at the ID-JAG of an exchange as the authorization server has to
// (ID-JAG section 4.4.1). said is what it says; a problem: what is wrong.
func (c chain) check(x tokenExchange, now time.Time) (p problem, said string) {
	wrong := func(mend, format string, args ...any) (problem, string) {
		return problem{saw: fmt.Sprintf(format, args...), mend: mend}, ""
	}
	if x.answer.IssuedTokenType != oauth.TokenTypeIDJAG {
		return wrong("Answer issued_token_type "+oauth.TokenTypeIDJAG+".", "issued_token_type is %q", short(x.answer.IssuedTokenType))
	}
	h, claims, err := jose.Peek(x.answer.AccessToken)
	if err != nil {
		return wrong("Issue a signed JWT.", "it is no JWT that can be read: %v", err)
	}
	said = told(claims, now, "iss", "sub", "aud", "client_id", "resource", "scope")
	text := func(name string) string {
		s, _ := claims.Text(name) // of another type is as good as missing
		return s
	}
	aud, _ := claims.Texts("aud")
	resources, _ := claims.Texts("resource")
	exp, expErr := claims.Time("exp")
	iat, iatErr := claims.Time("iat")
	switch {
	case h.Typ != oauth.TypIDJAG:
		return wrong("Set typ in the header to "+oauth.TypIDJAG+".", "its typ is %q", h.Typ)
	case strings.EqualFold(h.Alg, "none") || strings.HasPrefix(h.Alg, "HS"):
		return wrong("Sign with an asymmetric key (ES256, RS256).", "it is signed with %q", h.Alg)
	case text("iss") != c.idp:
		return wrong("Set iss to the issuer of the metadata: "+c.idp, "its iss is %q", short(text("iss")))
	case len(aud) != 1 || aud[0] != c.issuer:
		return wrong("Set aud to the issuer of the authorization server, alone and letter by letter: "+c.issuer, "its aud is %s", list(aud))
	case text("client_id") != c.client:
		return wrong(fmt.Sprintf("Set client_id to the client's id at the authorization server, %q, which is another than at the identity provider.", c.client), "its client_id is %q", short(text("client_id")))
	case text("sub") == "" || text("jti") == "":
		return wrong("Set sub and jti.", "sub or jti is missing")
	case expErr != nil || exp.IsZero() || iatErr != nil || iat.IsZero():
		return wrong("Set exp and iat, as numbers of seconds.", "exp or iat is missing or no number")
	case !exp.After(now):
		return wrong("Set the clocks by NTP, and let ID-JAGs live for some minutes.", "it has ended %s ago", now.Sub(exp).Round(time.Second))
	case iat.After(now.Add(time.Minute)):
		return wrong("Set the clocks by NTP.", "its iat is %s in the future", iat.Sub(now).Round(time.Second))
	case exp.Sub(iat) > time.Hour:
		return wrong("Let ID-JAGs live for some minutes: they are redeemed at once.", "it lives for %s", exp.Sub(iat).Round(time.Second))
	case !slices.Contains(resources, c.resource):
		return wrong("Set resource to the resource that was asked for: "+c.resource, "its resource is %s", list(resources))
	}
	return c.signed(x.answer.AccessToken, said)
}

// signed checks the signature against the provider's published keys.
func (c chain) signed(token, said string) (problem, string) {
	if c.keys == nil {
		return problem{}, said
	}
	if _, err := jose.Verify(token, c.keys, []string{jose.ES256, jose.RS256, jose.PS256, jose.EdDSA}, []string{oauth.TypIDJAG}); err != nil {
		return problem{saw: "its signature does not fit the keys at the identity provider's jwks_uri: " + err.Error(), mend: "Publish the key that signs, with its kid, at jwks_uri."}, ""
	}
	return problem{}, said
}

// accessToken decodes the access token, where it is a JWT.
func (w *walk) accessToken(t *trail) bool {
	x, _ := t.last("")
	h, c, err := jose.Peek(x.answer.AccessToken)
	if err != nil {
		return w.ok("access_token", "no JWT: only the server and its authorization server can tell what it says")
	}
	aud, _ := c.Texts("aud")
	iss, _ := c.Text("iss")
	exp, _ := c.Time("exp")
	p := problem{}
	switch {
	case iss != w.issuer:
		p = problem{fmt.Sprintf("its iss is %q, the metadata says %q", short(iss), w.issuer), "Make both the same: the MCP server looks for the keys of the one that the token names.", ""}
	case len(aud) == 0:
		p = problem{"it names no audience", "Put the resource into aud: " + w.resource.Resource, ""}
	case !slices.Contains(aud, w.resource.Resource):
		p = problem{"it is for " + list(aud), "Put the resource that was asked for into aud: " + w.resource.Resource, ""}
	case !exp.IsZero() && !exp.After(w.Now()):
		p = problem{"it has ended already", "Set the clocks by NTP, and let tokens live for some minutes.", ""}
	case h.Typ != oauth.TypAccessToken:
		return w.warn("access_token", problem{fmt.Sprintf("its typ is %q", h.Typ), "Set typ to at+jwt, so that no other token is taken for one.", ""})
	}
	if p.saw == "" {
		return w.ok("access_token", told(c, w.Now(), "iss", "sub", "aud", "client_id", "scope"))
	}
	if k := providerOf(w.server, w.issuer); k.trap != "" {
		p.mend, p.who = k.mend, IdPAdmin
	}
	// The call shows whether the server minds.
	return w.still("access_token", p)
}
