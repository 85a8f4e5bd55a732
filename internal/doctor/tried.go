package doctor

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"doorward/internal/oauth"
)

// A client that nobody knows: whatever it asks for is refused, and how that is
// done shows what stands there.
const (
	nobody   = "doorward-doctor"
	verifier = "doorward-doctor-has-no-code-to-redeem-at-all"
	callback = "http://127.0.0.1/callback"
)

// tryAuthorize opens the authorization endpoint as a browser would.
func (w *walk) tryAuthorize() bool {
	if w.server.AuthorizationEndpoint == "" {
		return w.ok("authorize", "there is none")
	}
	u, err := url.Parse(w.server.AuthorizationEndpoint)
	if err != nil {
		return w.still("authorize", problem{saw: err.Error(), mend: "Publish a URL."})
	}
	q := u.Query()
	for name, value := range map[string]string{"response_type": "code", "client_id": nobody, "redirect_uri": callback, "state": "doctor",
		"code_challenge": oauth.S256(verifier), "code_challenge_method": "S256", "resource": w.resource.Resource} {
		q.Set(name, value)
	}
	u.RawQuery = q.Encode()
	a, err := w.ask(w.fetch, http.MethodGet, u.String(), "", "Accept", "text/html")
	if err != nil {
		return w.still("authorize", problem{saw: explain(err), mend: "Look why nothing answers there: people's browsers are sent to it."})
	}
	to, _ := url.Parse(a.header.Get("Location"))
	switch {
	case a.status == http.StatusNotFound || a.status == http.StatusMethodNotAllowed:
		return w.still("authorize", problem{saw: w.server.AuthorizationEndpoint + ": " + a.kind(), mend: "Publish the address at which the sign-in page really is."})
	case a.status >= 500:
		return w.warn("authorize", problem{saw: w.server.AuthorizationEndpoint + ": " + a.kind(), mend: "Answer an unknown client with a page that says so: people who come back after a while see it."})
	case a.status/100 == 3 && to != nil && to.Host == "127.0.0.1":
		return w.warn("authorize", problem{saw: "an unknown client is sent to the redirect URI that it names",
			mend: "Show a page instead: who is not registered may send nobody anywhere (open redirector)."})
	}
	return w.ok("authorize", "")
}

// tryToken redeems a code that is none.
func (w *walk) tryToken() bool {
	form := url.Values{"grant_type": {"authorization_code"}, "code": {nobody}, "redirect_uri": {callback}, "client_id": {nobody}, "code_verifier": {verifier}}
	a, err := w.ask(w.fetch, http.MethodPost, w.server.TokenEndpoint, form.Encode(), "Content-Type", "application/x-www-form-urlencoded", "Accept", "application/json")
	if err != nil {
		return w.still("token_endpoint", problem{saw: explain(err), mend: "Look why nothing answers there: every client has to come by."})
	}
	said, p := oauthError(a)
	switch {
	case a.status == http.StatusTooManyRequests || a.status == http.StatusServiceUnavailable:
		return w.warn("token_endpoint", problem{saw: a.kind(), mend: "It has no time now. If this stays so, raise its limits."})
	case a.status/100 == 2:
		return w.still("token_endpoint", problem{saw: fmt.Sprintf("status %d for a code that does not exist, from a client that does not exist", a.status),
			mend: "Refuse with 400 or 401 and a JSON object with error: clients take 200 for success."})
	case p.saw != "":
		return w.still("token_endpoint", p)
	case said == oauth.InvalidGrant:
		return w.warn("token_endpoint", problem{saw: "invalid_grant for an unknown client",
			mend: "Answer invalid_client: it tells clients whose registration is gone to register again, and otherwise they are stuck."})
	case !strings.Contains(a.header.Get("Cache-Control"), "no-store"):
		return w.warn("token_endpoint", problem{saw: "no Cache-Control: no-store", mend: "Send it with every answer of this endpoint: they have tokens in them."})
	}
	return w.ok("token_endpoint", fmt.Sprintf("%s (%d) for an unknown client", said, a.status))
}

// oauthError reads the error of an endpoint; a problem: it is none.
func oauthError(a *answer) (code string, p problem) {
	p.mend = "Answer with 400 or 401 and a JSON object with error, from the endpoint itself: what stands in front of it (firewall, gateway, framework) must not answer in its place."
	switch {
	case a.status == http.StatusNotFound, a.status == http.StatusMethodNotAllowed, a.status/100 == 3:
		p.saw, p.mend = "POST gets "+a.kind(), "Publish the address at which the endpoint really is: clients POST there and follow no redirects."
		return "", p
	case a.status == http.StatusUnsupportedMediaType:
		p.saw, p.mend = "POST of a form gets "+a.kind(), "Take application/x-www-form-urlencoded: JSON is not what OAuth sends."
		return "", p
	}
	var said struct {
		Error       any `json:"error"`
		Description any `json:"error_description"`
	}
	if err := json.Unmarshal(a.body, &said); err != nil {
		p.saw = "a refusal that is no JSON object: " + a.kind()
		if strings.HasPrefix(strings.TrimSpace(string(a.body)), "<") {
			p.saw += ", a page (HTML)"
		}
		return "", p
	}
	code, ok := said.Error.(string)
	if !ok || code == "" {
		p.saw = fmt.Sprintf("a refusal (%d) without error", a.status)
		return "", p
	}
	if a.status >= 500 {
		p.saw = fmt.Sprintf("%s with status %d", code, a.status)
		p.mend = "Answer a wrong request with 400: clients try again after a 500, and again."
		return "", p
	}
	return code, problem{}
}

// tryRegistration sends what cannot be a registration: an endpoint that asks
// for a token says so before it reads.
func (w *walk) tryRegistration() bool {
	at := w.server.RegistrationEndpoint
	if at == "" {
		return w.ok("registration_endpoint", "there is none")
	}
	a, err := w.ask(w.fetch, http.MethodPost, at, "{", "Content-Type", "application/json", "Accept", "application/json")
	if err != nil {
		return w.still("registration_endpoint", problem{saw: explain(err), mend: "Look why nothing answers there, or take registration_endpoint out of the metadata."})
	}
	switch {
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		p := problem{saw: at + ": " + a.kind(), mend: "Let clients register without a token, offer metadata documents (CIMD), or add clients by hand and take registration_endpoint out of the metadata: clients try it, and stop there."}
		if known := providerOf(w.server, w.issuer); known.gated != "" {
			p.saw, p.mend, p.who = p.saw+" ("+known.name+")", known.gated, IdPAdmin
		}
		return w.warn("registration_endpoint", p)
	case a.status/100 == 2:
		return w.still("registration_endpoint", problem{saw: fmt.Sprintf("status %d for something that is no JSON", a.status), mend: "Refuse with 400 and invalid_client_metadata, and look what was registered."})
	case a.status == http.StatusTooManyRequests || a.status == http.StatusServiceUnavailable:
		return w.warn("registration_endpoint", problem{saw: a.kind(), mend: "It has no time now. Some clients register for each connection: if this stays so, raise its limits."})
	}
	if _, p := oauthError(a); p.saw != "" {
		if a.status == http.StatusNotFound || a.status == http.StatusMethodNotAllowed || a.status/100 == 3 {
			return w.still("registration_endpoint", p)
		}
		return w.warn("registration_endpoint", p)
	}
	return w.ok("registration_endpoint", "")
}

// corsDocuments is for servers that let pages of other origins in: they need
// the documents and the endpoints, too.
func (w *walk) corsDocuments() bool {
	if !w.pages {
		return w.ok("cors_documents", "not needed: such pages cannot call the server")
	}
	for _, place := range []string{w.documents[0].place, w.forms[0].place} {
		a, err := w.ask(w.fetch, http.MethodGet, place, "", "Accept", "application/json", "Origin", inspector)
		if err != nil || !allows(a, inspector) {
			return w.warn("cors_documents", problem{saw: place + " is without Access-Control-Allow-Origin", mend: "Send Access-Control-Allow-Origin: * with the metadata: it is public anyway."})
		}
	}
	for _, e := range []struct{ name, at, header string }{{"token_endpoint", w.server.TokenEndpoint, "authorization"}, {"registration_endpoint", w.server.RegistrationEndpoint, "content-type"}} {
		if e.at == "" {
			continue
		}
		a, err := w.ask(w.fetch, http.MethodOptions, e.at, "", "Origin", inspector, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", e.header)
		if err != nil || !allows(a, inspector) {
			p := problem{saw: e.name + " answers no preflight (OPTIONS)", mend: "Answer OPTIONS there with Access-Control-Allow-Origin and Access-Control-Allow-Headers: " + e.header + ", if pages in a browser are to sign in."}
			if known := providerOf(w.server, w.issuer); known.cors != "" {
				p.mend, p.who = known.cors, IdPAdmin
			}
			return w.warn("cors_documents", p)
		}
	}
	return w.ok("cors_documents", "")
}
