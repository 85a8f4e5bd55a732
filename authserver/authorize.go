package authserver

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"doorward/internal/access"
	"doorward/internal/audit"
	"doorward/internal/dpop"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// asking is an authorization request that was checked against its client.
type asking struct {
	oauth.AuthorizationRequest
	client   *ledger.Client // not to be written to
	redirect string         // where the answer goes, one of the client's
	resource *resource
	scopes   oauth.Scopes  // what would be granted
	maxAge   time.Duration // with max_age; negative: none was asked
	device   *fromDevice   // nil: a browser brought it
	details  oauth.Details // what would be granted besides
	pushed   string        // key of the pushed request that it is; "": none
	// remembered: a consent that is kept lets it through, which nothing else need do.
	remembered bool
	// pushedUntil is when that can bring no code any more.
	pushedUntil time.Time
}

// authorizePage is the authorization endpoint (OAuth 2.1 section 4.1.1). It
// shows nothing itself: it sends the browser on to the login page, to the
// consent page, or back to the client.
func (s *Server) authorizePage(w http.ResponseWriter, r *http.Request) {
	v := s.visit(w, r)
	if v.crowded() {
		return
	}
	if r.Method == http.MethodPost {
		v.authorizeByGet()
		return
	}
	if len(r.URL.RawQuery) > maxRequest {
		v.turnDown(nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "the authorization request is too long"})
		return
	}
	query, err := oauth.ParseForm(r.URL.RawQuery)
	if err != nil {
		v.turnDown(nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "the authorization request is not a form", Err: err})
		return
	}
	if uri, ok := pushedURI(query); ok {
		v.authorizePushed(query["client_id"], uri)
		return
	}
	req, parseErr := oauth.ParseAuthorizationRequest(query)
	if req.RedirectURI == "" && strings.Join(query["redirect_uri"], "") != "" {
		// One that cannot be read must not fall back to the registered one.
		v.turnDown(nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "redirect_uri is given twice or cannot be read"})
		return
	}
	a, err := s.examine(v.readingClient(req.ClientID), v.st, req)
	switch {
	case a != nil && parseErr != nil:
		err = parseErr
	case err == nil && a.client.PushedOnly: // RFC 9126 section 6
		err = &oauth.Error{Code: oauth.InvalidRequest, Description: "this client sends its requests to the pushed authorization request endpoint only"}
	}
	if err != nil {
		v.turnDown(a, err)
		return
	}
	v.proceed(a, attempt{Request: &req})
}

// authorizeByGet sends a posted request round as a query. A form of another
// site comes without our cookies (SameSite=Lax), the GET that follows has them.
func (v *visit) authorizeByGet() {
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxRequest)
	if err := v.r.ParseForm(); err != nil {
		v.turnDown(nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "the authorization request is too long or not a form", Err: err})
		return
	}
	v.see(v.st.path + "/authorize?" + v.r.PostForm.Encode())
}

// examine checks a request. Without an asking the error must not go to the
// redirect URI, since nobody knows whose it is (AS-AUTHZ-02).
func (s *Server) examine(ctx context.Context, st *settings, req oauth.AuthorizationRequest) (*asking, error) {
	if req.ClientID == "" {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "client_id is missing or given twice"}
	}
	a := &asking{AuthorizationRequest: req, client: st.clients[req.ClientID], maxAge: -1}
	if a.client == nil {
		c, err := s.client(ctx, st, req.ClientID)
		if err != nil {
			return nil, err
		}
		a.client = c
	}
	var err error
	if a.redirect, err = redirectOf(a.client, req.RedirectURI); err != nil {
		return nil, err
	}
	return a, a.check(st)
}

// redirectOf is the redirect URI that a request means (AS-REDIR-01, -05).
func redirectOf(c *ledger.Client, given string) (string, error) {
	switch {
	case given == "" && len(c.RedirectURIs) == 1:
		return c.RedirectURIs[0], nil
	case given == "":
		return "", &oauth.Error{Code: oauth.InvalidRequest, Reason: "redirect_uri", Description: "redirect_uri is missing, and the client has not exactly one"}
	case !oauth.MatchRedirect(c.RedirectURIs, given):
		return "", &oauth.Error{Code: oauth.InvalidRequest, Reason: "redirect_uri", Description: "redirect_uri is not one that the client registered"}
	}
	return given, nil
}

// check is every rule that needs neither the person nor the store.
func (a *asking) check(st *settings) error {
	refusal := func(code, description string) error { return &oauth.Error{Code: code, Description: description} }
	switch {
	case a.ResponseType == "":
		return refusal(oauth.InvalidRequest, "response_type is missing")
	case a.ResponseType != "code":
		return refusal(oauth.UnsupportedResponseType, "response_type must be code")
	case a.ResponseMode != "" && a.ResponseMode != "query":
		return refusal(oauth.InvalidRequest, "response_mode must be query")
	case !slices.Contains(a.client.GrantTypes, oauth.AuthorizationCode):
		return refusal(oauth.UnauthorizedClient, "this client may not use authorization_code")
	case hasPrompt(a.AuthorizationRequest, "none") && len(strings.Fields(a.Prompt)) > 1:
		return refusal(oauth.InvalidRequest, "prompt none stands alone")
	}
	if err := oauth.CheckChallenge(a.CodeChallenge, a.CodeChallengeMethod); err != nil {
		return err
	}
	if a.MaxAge != "" {
		seconds, err := strconv.ParseUint(a.MaxAge, 10, 31)
		if err != nil {
			return refusal(oauth.InvalidRequest, "max_age must be a number of seconds")
		}
		a.maxAge = time.Duration(seconds) * time.Second
	}
	switch {
	case st.dpopMode() == dpopOff:
		a.DPoPKey = ""
	case a.DPoPKey != "" && !dpop.IsThumbprint(a.DPoPKey):
		return refusal(oauth.InvalidRequest, "dpop_jkt must be a SHA-256 thumbprint in base64url")
	}
	var err error
	if a.resource, err = st.resource(a.Resources); err != nil {
		return err
	}
	if a.scopes, err = st.narrowed(a.client, a.resource, a.Scope); err != nil {
		return err
	}
	a.details, err = st.details(a.Details, a.resource)
	return err
}

// narrowed is what of the scopes asked for can be had there by that client
// (AS-AUTHZ-12); the defaults if none is asked for. offline_access asks for a
// refresh token and is no scope of an MCP server.
func (st *settings) narrowed(c *ledger.Client, res *resource, asked oauth.Scopes) (oauth.Scopes, error) {
	if !st.idp {
		asked = asked.Minus(oauth.Scopes{"offline_access"})
	}
	if len(asked) == 0 {
		return res.bound(res.DefaultScopes, c.Scopes), nil
	}
	got := asked.Intersect(res.bound(res.scopes, c.Scopes))
	if len(got) == 0 {
		return nil, &oauth.Error{Code: oauth.InvalidScope, Description: "none of the scopes is available here: " + oauth.Printable(asked.String())}
	}
	return got, nil
}

// step is where an attempt goes next.
type step int

const (
	toSignIn step = iota
	toConsent
	toClient
)

// goOn takes an attempt one step further.
func (v *visit) goOn(at attempt) {
	if at.Request == nil {
		page := "/login"
		switch {
		case at.Account:
			page = "/account"
		case at.Entering:
			page = "/device?user_code=" + at.UserCode
		}
		v.see(v.st.path + page)
		return
	}
	a, err := v.examine(at)
	if err != nil {
		v.turnDown(a, err)
		return
	}
	v.proceed(a, at)
}

// proceed is goOn with a request that was examined.
func (v *visit) proceed(a *asking, at attempt) {
	next, err := v.next(a, at)
	if err != nil {
		v.turnDown(a, err)
		return
	}
	switch next {
	case toSignIn:
		v.see(v.st.path + "/login?attempt=" + v.seal(forLogin, at))
	case toConsent:
		at.Person, at.Described = v.person(), described(*a.client)
		v.see(v.st.path + "/consent?attempt=" + v.seal(forConsent, at))
	case toClient:
		v.bring(a, at)
	}
}

// bring goes to the client with a yes.
func (v *visit) bring(a *asking, at attempt) {
	if v.st.proxied != nil {
		v.approveProxied(a, at)
		return
	}
	v.approve(a)
}

// person is who is signed in; "": nobody.
func (v *visit) person() string {
	if v.session == nil {
		return ""
	}
	return v.session.Subject.ID
}

// next decides what is still missing, in this order: an administrator who
// knows the client, a person, a rule that lets them, their consent.
func (v *visit) next(a *asking, at attempt) (step, error) {
	if v.st.waits(*a.client) {
		return 0, &notApproved{*a.client}
	}
	if v.st.proxied != nil {
		return v.nextProxied(a, at)
	}
	if v.session == nil && v.unread != nil {
		return 0, v.unread
	}
	silent := hasPrompt(a.AuthorizationRequest, "none")
	if v.mustSignIn(a, at) {
		if silent {
			return 0, &oauth.Error{Code: oauth.LoginRequired, Description: "nobody is signed in, or not recently enough"}
		}
		return toSignIn, nil
	}
	subject := v.session.Subject
	if err := v.s.ledger.CheckPerson(v.r.Context(), subject.ID); err != nil {
		return 0, err
	}
	switch err := v.s.recheck(v.r.Context(), v.st, subject); {
	case errors.Is(err, errGone) && silent:
		return 0, &oauth.Error{Code: oauth.LoginRequired, Description: "the sign-in is over", Err: err}
	case errors.Is(err, errGone):
		return toSignIn, nil
	case errors.Is(err, errUpstream):
		return 0, &oauth.Error{Code: oauth.TemporarilyUnavailable, Description: "the sign-in cannot be verified at the moment", Err: err}
	case err != nil:
		return 0, err
	}
	answer, err := v.s.mayReach(v.r.Context(), v.st, a.resource, subject, a.client.ID)
	if err != nil {
		return 0, err
	}
	if !answer.Allowed {
		if answer.Reason == access.NeedsLogin && at.SignedIn != subject.ID && !silent {
			return toSignIn, nil
		}
		return 0, &ruledOut{answer, a}
	}
	ask, err := v.mustConsent(a)
	switch {
	case err != nil:
		return 0, err
	case ask && silent:
		return 0, &oauth.Error{Code: oauth.ConsentRequired, Description: "the person has to consent"}
	case ask:
		return toConsent, nil
	}
	return toClient, nil
}

// mustSignIn reports whether the person has to sign in (again) for this request.
func (v *visit) mustSignIn(a *asking, at attempt) bool {
	if v.session == nil {
		return true
	}
	if at.SignedIn == v.session.Subject.ID {
		return false
	}
	return hasPrompt(a.AuthorizationRequest, "login") || hasPrompt(a.AuthorizationRequest, "select_account") ||
		a.maxAge >= 0 && v.s.now().Sub(v.session.Subject.AuthTime) > a.maxAge
}

// approve makes the code and brings it to the client. more is committed with
// it.
func (v *visit) approve(a *asking, more ...store.Op) {
	v.approveAs(a, orderedText(v.s.now(), idSize), more...)
}

// approveAs is approve for a grant of that id.
func (v *visit) approveAs(a *asking, id string, more ...store.Op) {
	subject := v.session.Subject
	approved := v.s.event("authorize.approve", audit.Event{Person: subject.ID,
		Client: a.client.ID, Resource: a.resource.ID, Scope: a.scopes.String(), Address: address(v.r)})
	if code := v.borrowed(a, id, approved.Time); code != "" && len(more) == 0 {
		v.s.audit.Add(approved)
		v.s.keepRegistration(v.r.Context(), v.st, *a.client)
		v.see(v.answerURL(a, "code", code))
		return
	}
	g := oauth.Grant{ID: id, Subject: subject, Client: a.client.ID, Resource: a.resource.ID, Scopes: a.scopes, Details: a.details}
	more = append(more, v.pushedOnce(a)...)
	more = append(more, v.s.ledger.AuditOp(approved))
	code, err := v.s.newCode(v.r.Context(), g, a.AuthorizationRequest, a.redirect, more...)
	if errors.Is(err, store.ErrSeen) {
		v.fail(http.StatusBadRequest, failure{
			Title:    "This was answered already",
			Happened: "The request of " + isolated(displayName(a)) + " has had its answer; a page can give it only once.",
			Do:       "Go back to the application. If it does not go on there, begin again.",
			Who:      "you",
		}, err)
		return
	}
	if err != nil {
		v.turnDown(a, err)
		return
	}
	v.s.keepRegistration(v.r.Context(), v.st, *a.client)
	v.see(v.answerURL(a, "code", code))
}
