package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"doorward"
	"doorward/internal/oauth"
)

// withToken goes the rest of the way: a token by the flow, and a call.
func (w *walk) withToken() bool {
	if w.Client == nil {
		return true
	}
	t := &trail{w: w, own: map[string]bool{}}
	cross, enterprise := w.enterpriseFlow()
	// Where the program brings the ID-JAG, or knows no issuer, there is nothing to compare.
	enterprise = enterprise && cross.Assertion == nil && cross.IdP.Issuer != ""
	var jag chain
	if enterprise {
		if w.failed("id_jag") {
			return false
		}
		var ok bool
		if jag, ok = w.identityProvider(t, cross); !ok {
			return false
		}
	}
	w.Client.Base, w.Client.Now, w.Client.Store = t, w.Now, nil
	w.Progress(titles["token"].Title)
	_, err := w.Client.Token(w.ctx, w.url.String())
	if enterprise {
		if !w.enterprise(t, cross, jag, err) {
			return false
		}
	} else if !w.granted(t, err) {
		return false
	}
	return w.accessToken(t) && w.call(w.Client)
}

// failed reports whether a step has failed.
func (w *walk) failed(id string) bool {
	return slices.ContainsFunc(w.report.Steps, func(s Step) bool { return s.ID == id && s.Result == Fail })
}

// found reports whether a step has something to mend.
func (w *walk) found(id string) bool {
	return slices.ContainsFunc(w.report.Steps, func(s Step) bool { return s.ID == id && s.Result != OK })
}

// granted is the end of a flow without ID-JAG.
func (w *walk) granted(t *trail, err error) bool {
	if err != nil {
		return w.refusal("token", err)
	}
	x, _ := t.last("")
	return w.ok("token", "by "+shortNames([]string{x.grant})[0])
}

// enterprise tells the two legs of cross-app access apart.
func (w *walk) enterprise(t *trail, f *doorward.CrossApp, jag chain, err error) bool {
	x, asked := t.last(oauth.TokenExchange)
	var e *doorward.Error
	if err != nil && (!asked || errors.As(err, &e) && e.Step == "exchange") {
		return w.refusal("exchange", err)
	}
	p, said := jag.check(x, w.Now())
	switch {
	case x.answer.AccessToken == "":
		return w.fail("exchange", problem{saw: "no ID-JAG", mend: "Ask the identity provider's maker: the answer of its token endpoint has none."})
	case !strings.EqualFold(x.answer.TokenType, "N_A"):
		w.warn("exchange", problem{saw: fmt.Sprintf("an ID-JAG with token_type %q", x.answer.TokenType), mend: "Answer token_type N_A: an ID-JAG is no access token, and some clients refuse it otherwise."})
	default:
		w.ok("exchange", "")
	}
	switch {
	case p.saw != "" && err != nil:
		return w.fail("id_jag_claims", p)
	case p.saw != "":
		w.warn("id_jag_claims", problem{p.saw + " (this authorization server takes it all the same)", p.mend, p.who})
	default:
		w.ok("id_jag_claims", said)
	}
	if err != nil {
		return w.refusal("redeem", err)
	}
	y, _ := t.last(oauth.JWTBearer)
	saw := "a token"
	if y.answer.Scope != "" {
		saw += ", scope " + y.answer.Scope
	}
	return w.ok("redeem", saw)
}

// steps of the client library, as steps of the walk.
var libraryStep = map[string]string{"subject": "sign_in", "exchange": "exchange", "redeem": "redeem", "discover": "as_metadata", "register": "registration_endpoint", "authorize": "authorize"}

// refusal notes why no token came.
func (w *walk) refusal(id string, err error) bool {
	var e *doorward.Error
	if errors.Is(err, context.Canceled) {
		return w.fail(id, problem{saw: "it was broken off", mend: "Start again.", who: Person})
	}
	if !errors.As(err, &e) {
		return w.fail(id, problem{saw: explain(err), mend: "Look why it does not answer."})
	}
	byHand := libraryStep[e.Step] == "registration_endpoint" && w.server.RegistrationEndpoint == ""
	if step, ok := libraryStep[e.Step]; ok && !byHand {
		id = step
	}
	said := strings.TrimPrefix(e.Error(), "doorward: "+e.Step)
	said, _, _ = strings.Cut(said, "; ") // its hint: here stands a longer one
	p := problem{saw: strings.TrimPrefix(strings.TrimSpace(said), "at "), mend: w.mendRefusal(id, e), who: e.Who}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		p.saw = "no answer in time"
	case id == "redeem" && e.Code == oauth.InvalidGrant:
		p.who = Operator
	case byHand:
		p.who, p.mend = Operator, "Register a client there by hand, with a redirect URI on loopback (http://127.0.0.1/callback) if it is for programs on people's machines, and give its id: --client-id."
	}
	if !slices.Contains([]string{Person, Operator, IdPAdmin, Maker}, p.who) {
		p.who = ""
	}
	return w.fail(id, p)
}

// mendRefusal is what to do after a refusal, by its code.
func (w *walk) mendRefusal(id string, e *doorward.Error) string {
	idp := id == "exchange"
	switch {
	case e.Code == oauth.InvalidClient && idp:
		return "Check the client id and secret at the identity provider (--idp-client-id, --idp-client-secret)."
	case e.Code == oauth.InvalidClient:
		return "Check the client id and secret at the authorization server (--client-id, --client-secret), and how that client authenticates there."
	case idp && e.Code == oauth.InvalidGrant:
		return "Sign in again (doorward login ISSUER): the sign-in is over, or the identity provider ended it."
	case idp && e.Code == oauth.InsufficientUserAuth:
		return "Sign in again in the way that the identity provider asks for: " + e.Description
	case idp && (e.Code == oauth.UnauthorizedClient || e.Code == oauth.UnsupportedGrantType):
		return "Allow this client the token exchange for ID-JAGs. If the identity provider cannot issue them at all, put doorward idp in front of it."
	case idp && (e.Code == oauth.InvalidTarget || e.Code == oauth.AccessDenied || e.Code == oauth.InvalidScope):
		return "Allow this client and person the authorization server " + w.issuer + " and the resource " + w.resource.Resource + " there, written exactly so. Signing in again does not help."
	case idp:
		return "Look into the identity provider's log for the token exchange."
	case id == "redeem" && e.Code == oauth.InvalidGrant:
		return "Trust the identity provider's issuer, letter by letter, at the authorization server, for this client, and look into its log for the reason (with Doorward: doorward why REFERENCE)."
	case id == "redeem" && e.Code == oauth.UnsupportedGrantType:
		return "Switch ID-JAGs on at the authorization server (grant jwt-bearer), or put a Doorward in front."
	case id == "redeem" && e.Code == oauth.UnauthorizedClient:
		return "Allow this client the grant jwt-bearer at the authorization server."
	case id == "registration_endpoint" && e.Code == oauth.InvalidClientMetadata:
		return "Add a client for this flow there by hand (with Doorward: doorward client add), and give its id: --client-id."
	case e.Code == oauth.InvalidScope:
		return "Ask for scopes that the server has (--scope)."
	case e.Code == oauth.InvalidTarget:
		return "Make the authorization server know the resource " + w.resource.Resource + ", written exactly so."
	case e.Retry:
		return "Try again in a while; if it stays so, look into the server's log."
	}
	return "Look into the server's log for this refusal."
}
