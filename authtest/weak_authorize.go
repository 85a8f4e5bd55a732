package authtest

import (
	"crypto/rand"
	"html"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"doorward/internal/oauth"
)

// weakAttempt is an authorization request that waits for its person.
type weakAttempt struct {
	client   *weakClient
	redirect string
	query    url.Values
	session  string // of the browser that began it
}

func (w *Weak) authorize(rw http.ResponseWriter, r *http.Request) {
	if w.has("AS-AUTHZ-01.cors") {
		rw.Header().Set("Access-Control-Allow-Origin", "*")
	}
	q := r.URL.Query()
	c, redirect, wrong := w.whose(q)
	if wrong != "" {
		w.errorPage(rw, wrong)
		return
	}
	_, person := w.session(r)
	if e := w.checkRequest(q); e != nil {
		w.sendError(rw, r, q, redirect, e, person != "")
		return
	}
	if q.Get("prompt") == "none" && person == "" {
		w.sendError(rw, r, q, redirect, weakRefusal("login_required", "nobody is signed in"), false)
		return
	}
	session := w.startSession(rw, r)
	a := &weakAttempt{client: c, redirect: redirect, query: q, session: session}
	id := rand.Text()
	w.mu.Lock()
	w.attempts[id] = a
	remembered := w.has("AS-UI-07.again") && w.approved[person+" "+c.id]
	w.mu.Unlock()
	switch {
	case person == "":
		http.Redirect(rw, r, "/login?attempt="+id, http.StatusSeeOther)
	case remembered:
		w.approve(rw, r, a, person, http.StatusSeeOther)
	default:
		http.Redirect(rw, r, "/consent?attempt="+id, http.StatusSeeOther)
	}
}

// whose finds the client and its redirect URI; without them an error must stay
// here.
func (w *Weak) whose(q url.Values) (c *weakClient, redirect, wrong string) {
	uris := q["redirect_uri"]
	redirect = q.Get("redirect_uri")
	w.mu.Lock()
	c = w.clients[q.Get("client_id")]
	w.mu.Unlock()
	switch {
	case redirect != "" && q.Get("client_id") == "" && w.has("AS-AUTHZ-02.no-client"), redirect != "" && c == nil && q.Get("client_id") != "" && w.has("AS-AUTHZ-02.client"):
		return &weakClient{}, redirect, ""
	case c == nil:
		return nil, "", "the client is not known"
	case len(uris) > 1 && !w.has("X-HTTP-03.redirect"):
		return nil, "", "redirect_uri is there twice"
	case redirect == "" && (len(c.redirects) == 1 || w.has("AS-REDIR-05.missing")):
		return c, c.redirects[0], ""
	case w.has("AS-AUTHZ-02.redirect"):
	case !slices.ContainsFunc(c.redirects, func(uri string) bool { return w.sameRedirect(uri, redirect) }):
		return nil, "", "redirect_uri is not registered"
	}
	if len(uris) > 1 { // looks at the first, goes to the last
		redirect = uris[len(uris)-1]
	}
	return c, redirect, ""
}

// sameRedirect compares a registered redirect URI with the one of a request.
func (w *Weak) sameRedirect(registered, given string) bool {
	if oauth.MatchRedirect([]string{registered}, given) {
		return true
	}
	r, err1 := url.Parse(registered)
	g, err2 := url.Parse(given)
	if err1 != nil || err2 != nil {
		return false
	}
	loopback := oauth.IsLoopbackRedirect(registered)
	for fault, equal := range map[string]func() bool{
		"AS-REDIR-01.prefix": func() bool { return strings.HasPrefix(given, registered) },
		"AS-REDIR-01.host": func() bool {
			return g.Scheme == r.Scheme && g.EscapedPath() == r.EscapedPath() && g.RawQuery == r.RawQuery && g.Fragment == r.Fragment
		},
		"AS-REDIR-01.subdomain": func() bool { return strings.HasSuffix(g.Host, "."+r.Host) && g.Path == r.Path },
		"AS-REDIR-01.suffix":    func() bool { return strings.HasPrefix(g.Host, r.Host+".") && g.Path == r.Path },
		"AS-REDIR-01.userinfo":  func() bool { g.User = nil; return g.String() == registered },
		"AS-REDIR-01.scheme":    func() bool { g.Scheme = r.Scheme; return g.String() == registered },
		"AS-REDIR-01.port":      func() bool { return !loopback && g.Hostname() == r.Hostname() && g.Port() != "" && g.Path == r.Path },
		"AS-REDIR-01.case":      func() bool { return strings.EqualFold(given, registered) },
		"AS-REDIR-01.slash":     func() bool { return strings.TrimSuffix(given, "/") == registered },
		"AS-REDIR-01.query":     func() bool { g.RawQuery = ""; return g.String() == registered },
		"AS-REDIR-01.dots":      func() bool { g.Path = path.Clean(g.Path); return g.String() == registered },
		"AS-REDIR-01.encoding":  func() bool { g.RawPath = ""; return g.String() == registered },
		"AS-REDIR-01.fragment":  func() bool { g.Fragment = ""; return g.String() == registered },
		"AS-REDIR-01.loopback-path": func() bool {
			return loopback && g.Scheme == r.Scheme && g.Hostname() == r.Hostname()
		},
		"AS-REDIR-03.loopback": func() bool { return loopback && oauth.IsLoopbackRedirect(given) && g.Path == r.Path },
	} {
		if w.has(fault) && equal() {
			return true
		}
	}
	return false
}

// checkRequest is every rule whose error may go to the client.
func (w *Weak) checkRequest(q url.Values) *weakError {
	if name := repeated(q, "resource", "redirect_uri"); name != "" && !w.has("X-HTTP-03.authorize") {
		return weakRefusal(oauth.InvalidRequest, name+" is there twice")
	}
	switch t := q.Get("response_type"); {
	case t == "code", t == "token" && w.has("AS-AUTHZ-04.token"):
	case w.has("AS-AUTHZ-04.code"):
		return weakRefusal(oauth.InvalidRequest, "response_type must be code")
	default:
		return weakRefusal(oauth.UnsupportedResponseType, "response_type must be code")
	}
	if e := w.checkChallenge(q.Get("code_challenge"), q.Get("code_challenge_method")); e != nil {
		return e
	}
	if !within(q.Get("scope"), weakScopes()) && !w.has("AS-AUTHZ-12.scope") {
		return weakRefusal(oauth.InvalidScope, "there is no such scope")
	}
	for _, res := range q["resource"] {
		if e := w.checkResource(res); e != nil {
			return e
		}
	}
	return nil
}

func (w *Weak) checkChallenge(challenge, method string) *weakError {
	switch {
	case challenge == "" && w.has("AS-PKCE-01.missing"):
		return nil
	case challenge == "":
		return weakRefusal(oauth.InvalidRequest, "code_challenge is missing")
	case method == "S256" || method == "plain" && w.has("AS-PKCE-02.plain") || method == "" && w.has("AS-PKCE-02.absent") || method != "" && method != "plain" && w.has("AS-PKCE-02.unknown"):
	default:
		return weakRefusal(oauth.InvalidRequest, "code_challenge_method must be S256")
	}
	if !unreserved(challenge) && !w.has("AS-PKCE-03.challenge") {
		return weakRefusal(oauth.InvalidRequest, "code_challenge has 43 to 128 unreserved characters")
	}
	return nil
}

// unreserved reports whether a challenge or verifier has the form of RFC 7636.
func unreserved(s string) bool {
	return len(s) >= 43 && len(s) <= 128 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~") == ""
}

func (w *Weak) checkResource(res string) *weakError {
	u, err := url.Parse(res)
	switch {
	case err == nil && u.Fragment != "" && w.has("AS-RES-01.fragment"), err == nil && !u.IsAbs() && w.has("AS-RES-01.relative"):
		return nil
	case res == w.Resource, err == nil && u.IsAbs() && u.Fragment == "" && w.has("AS-RES-01.unknown"):
		return nil
	}
	return weakRefusal(oauth.InvalidTarget, "there is no such resource")
}

// sendError brings an error to the client, or shows it if nobody has signed in
// and the client could be anybody on the web.
func (w *Weak) sendError(rw http.ResponseWriter, r *http.Request, q url.Values, redirect string, e *weakError, signedIn bool) {
	if !signedIn && !oauth.IsLoopbackRedirect(redirect) && !w.has("AS-AUTHZ-05.stranger") {
		w.errorPage(rw, e.text)
		return
	}
	out := url.Values{"error": {e.code}, "error_description": {e.text}, "iss": {w.Issuer}}
	if w.has("AS-AUTHZ-08.error") {
		out.Del("iss")
	}
	if state := q.Get("state"); state != "" && !w.has("AS-AUTHZ-03.state") || state == "" && w.has("AS-AUTHZ-09.none") {
		out.Set("state", state)
	}
	http.Redirect(rw, r, joinQuery(redirect, out), http.StatusSeeOther)
}

func joinQuery(uri string, q url.Values) string {
	sep := "?"
	if strings.Contains(uri, "?") {
		sep = "&"
	}
	return uri + sep + q.Encode()
}

// approve makes the code (or, for the implicit grant, the token) and brings it
// to the client.
func (w *Weak) approve(rw http.ResponseWriter, r *http.Request, a *weakAttempt, person string, status int) {
	q := a.query
	g := &weakGrant{client: a.client.id, person: person, scope: q.Get("scope"), resource: w.Resource}
	if g.scope == "" {
		g.scope = weakScopes()[0]
	}
	w.mu.Lock()
	w.approved[person+" "+a.client.id] = true
	w.mu.Unlock()
	if q.Get("response_type") == "token" {
		out := url.Values{"access_token": {w.accessToken(g)}, "token_type": {"Bearer"}, "state": {q.Get("state")}}
		http.Redirect(rw, r, a.redirect+"#"+out.Encode(), status)
		return
	}
	code := rand.Text()
	w.mu.Lock()
	w.codes[code] = &weakCode{grant: g, redirect: a.redirect, challenge: q.Get("code_challenge"), method: q.Get("code_challenge_method"), key: q.Get("dpop_jkt")}
	w.mu.Unlock()
	out := url.Values{"code": {code}, "iss": {w.Issuer}}
	if state := q.Get("state"); state != "" {
		out.Set("state", state)
		if w.has("AS-AUTHZ-09.state") {
			out.Set("state", strings.ToLower(url.QueryEscape(state)))
		}
	}
	if w.has("AS-AUTHZ-08.iss") {
		out.Del("iss")
	}
	if w.has("AS-AUTHZ-09.once") {
		out.Add("code", code)
	}
	http.Redirect(rw, r, joinQuery(a.redirect, out), status)
}

// errorPage shows an error to the person.
func (w *Weak) errorPage(rw http.ResponseWriter, text string) {
	w.page(rw, http.StatusBadRequest, "AS-UI-03.error", "Something is wrong", "<p>"+html.EscapeString(text)+"</p>")
}
