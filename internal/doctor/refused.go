package doctor

import (
	"net/http"
	"slices"
	"strings"

	"doorward/internal/oauth"
)

// unauthorized looks at the answer to a request without a token.
func (w *walk) unauthorized() bool {
	a := w.refused
	p := problem{saw: a.kind()}
	switch {
	case a.status == http.StatusUnauthorized:
		return w.ok("unauthorized", "")
	case a.status/100 == 2 && strings.Contains(a.kind(), "HTML"):
		p.mend, p.who = "This address is a page for people, not an MCP endpoint: check it (often it ends in /mcp).", Person
	case a.status/100 == 2:
		p.saw = "an answer to a client without a token"
		p.mend = "Put the server behind an authorization check: anybody who reaches it can use it. If that is meant so, clients need no sign-in, and nothing of what follows."
	case a.status == http.StatusNotFound:
		p.mend, p.who = "There is no MCP endpoint at this path: check the address (often it ends in /mcp).", Person
	case a.status == http.StatusMethodNotAllowed:
		p.saw += " for a POST"
		p.mend, p.who = "Clients POST to the MCP endpoint, and this address does not take that: check it. One that ends in /sse is the transport of 2024, which has another endpoint for messages.", Person
	case a.status == http.StatusForbidden:
		p.mend = "Answer 401 with a challenge, not 403: clients do not know otherwise that they need a token. If a firewall or a check for bots in front says no, let programs through."
	case a.status == http.StatusBadRequest, a.status == http.StatusNotAcceptable, a.status == http.StatusUnsupportedMediaType:
		p.mend = "Ask for the token before anything else in the request is looked at: a POST of initialize without one gets 401."
	case a.status >= 500:
		p.mend = "Look into the log of the server, or of the proxy in front of it: the request broke it, or it is down."
	default:
		p.mend = "An MCP endpoint answers a POST of initialize without a token with 401."
	}
	return w.fail("unauthorized", p)
}

func (w *walk) readChallenge() bool {
	values := w.refused.header.Values("WWW-Authenticate")
	all := oauth.ParseChallenges(values)
	w.challenge = bearer(all)
	p := problem{mend: `Send WWW-Authenticate: Bearer resource_metadata="..." with the 401.`}
	switch {
	case len(values) == 0:
		p.saw = "no WWW-Authenticate header with the 401"
		return w.warn("challenge", p)
	case w.challenge == nil:
		p.saw = "no Bearer challenge in it: " + strings.Join(values, ", ")
		return w.warn("challenge", p)
	case w.challenge["resource_metadata"] == "":
		p.saw = "a Bearer challenge without resource_metadata"
		if w.challenge["as_uri"]+w.challenge["resource"]+w.challenge["authorization_uri"] != "" {
			p.saw += ", but with a parameter of an older draft"
		}
		return w.warn("challenge", p)
	case w.challenge["error"] != "":
		return w.warn("challenge", problem{saw: "error=" + w.challenge["error"] + " where no token was sent",
			mend: "Leave error out when the request had no token (RFC 6750 section 3.1): some clients throw their good token away for it."})
	}
	saw := w.challenge["resource_metadata"]
	if scope := w.challenge["scope"]; scope != "" {
		saw += ", scope " + scope
	}
	return w.ok("challenge", saw)
}

// bearer is the Bearer challenge, and of several the one with metadata.
func bearer(all []oauth.Challenge) (params map[string]string) {
	for _, c := range all {
		if strings.EqualFold(c.Scheme, "Bearer") && (params == nil || params["resource_metadata"] == "") {
			params = c.Params
		}
	}
	return params
}

// wires asks as a client of 2026-07-28 does, and for a stream as older ones do.
func (w *walk) wires() bool {
	a, err := w.post(w.url.String(), discovery, "2026-07-28")
	if err != nil {
		return w.warn("wires", problem{saw: "a request of 2026-07-28: " + explain(err), mend: "Answer it as the others, with 401."})
	}
	if a.status != http.StatusUnauthorized {
		return w.warn("wires", problem{saw: "401 for initialize, but " + a.kind() + " for a request of 2026-07-28",
			mend: "Ask for the token before the protocol version is looked at: a client of that revision does not learn otherwise that it needs one."})
	}
	a, err = w.ask(w.fetch, http.MethodGet, w.url.String(), "", "Accept", "text/event-stream", "Mcp-Protocol-Version", "2025-11-25")
	switch {
	case err != nil:
		return w.warn("wires", problem{saw: "GET: " + explain(err), mend: "Answer GET with 401 without a token, or with 405 if there are no streams."})
	case a.status/100 == 2 && strings.HasPrefix(a.header.Get("Content-Type"), "text/event-stream"):
		return w.still("wires", problem{saw: "POST wants a token, and GET opens a stream without one", mend: "Ask for the token on every method."})
	case a.status != http.StatusUnauthorized && a.status != http.StatusMethodNotAllowed:
		return w.warn("wires", problem{saw: "GET gets " + a.kind(), mend: "Answer GET with 401 without a token, or with 405 if there are no streams: clients take other answers for a fault."})
	}
	return w.ok("wires", "401 on both")
}

// inspector is the origin of a common client that is a page (the MCP Inspector).
const inspector = "http://localhost:6274"

// browserHeaders are those that a page sends with its messages.
var browserHeaders = []string{"authorization", "content-type", "mcp-protocol-version"}

// cors asks as a browser does for a page. A server that lets no page in is
// right, too; one that lets them in by half is not.
func (w *walk) cors() bool {
	pre, err := w.ask(w.fetch, http.MethodOptions, w.url.String(), "", "Origin", inspector,
		"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", strings.Join(browserHeaders, ","))
	if err != nil {
		return w.warn("cors", problem{saw: "OPTIONS: " + explain(err), mend: "Answer OPTIONS, and at once."})
	}
	real, err := w.post(w.url.String(), initialize, "2025-11-25", "Origin", inspector)
	if err != nil {
		return w.warn("cors", problem{saw: "a request of a page: " + explain(err), mend: "Answer requests with an Origin header, if only with 403."})
	}
	before, after := allows(pre, inspector), allows(real, inspector)
	w.pages = before || after
	if !before && !after {
		return w.ok("cors", "pages of other origins cannot call it; other clients can")
	}
	if p := half(pre, real, before, after); p.saw != "" {
		return w.warn("cors", p)
	}
	return w.ok("cors", "pages of other origins can call it")
}

// allows reports whether a browser shows the answer to a page of the origin.
func allows(a *answer, origin string) bool {
	allowed := a.header.Values("Access-Control-Allow-Origin")
	return len(allowed) == 1 && (allowed[0] == "*" || allowed[0] == origin)
}

func half(pre, real *answer, before, after bool) problem {
	var missing []string
	for _, h := range browserHeaders {
		// A star is for all headers but Authorization (Fetch standard).
		if !named(pre, "Access-Control-Allow-Headers", h) && (h == "authorization" || !named(pre, "Access-Control-Allow-Headers", "*")) {
			missing = append(missing, h)
		}
	}
	switch {
	case pre.status/100 != 2:
		return problem{"the preflight (OPTIONS) gets " + pre.kind() + ", so that no page sends its request",
			"Answer OPTIONS with 204 and the CORS headers, before the check for a token: browsers send none with it.", ""}
	case !before:
		return problem{"the answer to POST allows other origins, that to the preflight (OPTIONS) does not", "Send Access-Control-Allow-Origin with both.", ""}
	case !after:
		return problem{"the preflight (OPTIONS) allows other origins, the 401 does not", "Send Access-Control-Allow-Origin with refusals, too.", ""}
	case len(missing) > 0:
		return problem{"Access-Control-Allow-Headers lacks " + list(missing), "Name there what pages of clients send: " + strings.Join(browserHeaders, ", ") + ", mcp-session-id, last-event-id.", ""}
	case !named(real, "Access-Control-Expose-Headers", "www-authenticate") && !named(real, "Access-Control-Expose-Headers", "*"):
		return problem{"a page cannot see WWW-Authenticate, so it never learns where the metadata is", "Send Access-Control-Expose-Headers: WWW-Authenticate, Mcp-Session-Id.", ""}
	}
	return problem{}
}

// named reports whether a list header has a word in it.
func named(a *answer, header, word string) bool {
	all := strings.Split(strings.Join(a.header.Values(header), ","), ",")
	return slices.ContainsFunc(all, func(s string) bool { return strings.EqualFold(strings.TrimSpace(s), word) })
}
