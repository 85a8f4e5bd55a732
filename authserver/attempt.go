package authserver

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"doorward/internal/login"
	"doorward/internal/oauth"
)

// attemptLife is how long a page may wait for its answer.
const attemptLife = 10 * time.Minute

// maxRequest bounds an authorization request, in bytes: it travels on in the
// query of the pages.
const maxRequest = 16 << 10

// What a sealed attempt is good for; one page's cannot be used at another.
const (
	forLogin   = "login"
	forConsent = "consent"
	forLogout  = "logout"
	forReturn  = "return" // from a provider: the state parameter
	forAccount = "account"
	forDevice  = "device"
)

// attempt is what a browser carries from page to page, sealed by the vault: the
// authorization request and how far it got. Nothing of it is kept here. It is
// the token of the page's form too: bound to one browser, to one request and,
// for consent, to the person whom the page was shown to.
type attempt struct {
	ID      string                      `json:"id"` // new with every seal; what is approved once
	Browser string                      `json:"browser"`
	Until   time.Time                   `json:"until"`
	Request *oauth.AuthorizationRequest `json:"request,omitempty"` // nil: the person came by themselves
	// SignedIn is who signed in for this very request, so that prompt=login
	// and max_age=0 end.
	SignedIn string `json:"signed_in,omitempty"`
	Person   string `json:"person,omitempty"`
	// Described is what the client's metadata document said when the consent
	// page was shown.
	Described string `json:"described,omitempty"`
	// Agreed is what somebody said yes to before the browser left for the separate
	// server (mode proxy), AgreedIn the name of that yes, which is good once, and
	// AgreedUntil how long the page of it was.
	Agreed      string    `json:"agreed,omitempty"`
	AgreedIn    string    `json:"agreed_in,omitempty"`
	AgreedUntil time.Time `json:"agreed_until,omitzero"`
	// Provider is where the person was sent to sign in, and Fresh that it was
	// asked to let them prove anew who they are.
	Provider string `json:"provider,omitempty"`
	Fresh    bool   `json:"fresh,omitempty"`
	Anew     bool   `json:"anew,omitempty"`    // it does not know prompt=select_account: login does instead
	Switch   bool   `json:"switch,omitempty"`  // the person wants another account
	Account  bool   `json:"account,omitempty"` // with no Request: they came for their account page
	// Pushed is the key of the pushed request that Request is; from PushedUntil on
	// no page of it goes on, however young the page is.
	Pushed      string    `json:"pushed,omitempty"`
	PushedUntil time.Time `json:"pushed_until,omitzero"`
	// Entering, with no Request: they came to type the code of a device. Device
	// is the key of its record once they have, UserCode what they typed, and Done
	// how it ended.
	Entering bool   `json:"entering,omitempty"`
	Device   string `json:"device,omitempty"`
	UserCode string `json:"user_code,omitempty"`
	Done     string `json:"done,omitempty"`
}

var (
	errNoAttempt    = errors.New("the sign-in attempt is missing or damaged")
	errOtherBrowser = errors.New("the sign-in attempt belongs to another browser")
	errLate         = errors.New("the sign-in attempt is too old")
	errCrossOrigin  = errors.New("cross-origin form")
	errNoSignIn     = errors.New("no sign-in is configured")
)

// visit is one request of a browser to a page.
type visit struct {
	s       *Server
	st      *settings
	w       http.ResponseWriter
	r       *http.Request
	named   string         // what browser says, once it was asked
	nobody  bool           // no cookie counts for browser
	session *login.Session // nil: nobody is signed in
	brought login.Session  // what session points to, if the browser brought it
	unread  error          // why nobody knows whether somebody is
	ends    time.Time      // of the session that is about to begin; zero: as long as sessions last
	frames  []string       // URLs that the page loads in frames
	leaves  bool           // the page has a form that leads to a provider, and to wherever that leads
}

// visit reads the cookies. A page that is fetched gives the browser a name if
// it has none; a form that was posted must have brought it.
func (s *Server) visit(w http.ResponseWriter, r *http.Request) *visit {
	v := &visit{s: s, st: s.current(), w: w, r: r}
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, v.st.bodyLimit)
	} else if !s.sessions.KnowsBrowser(r) {
		v.named = s.sessions.Browser(w, r)
	}
	var ok bool
	if v.brought, ok, v.unread = s.sessions.From(r.Context(), r); ok {
		v.session = &v.brought
	}
	return v
}

// browser is the name of the browser; "": a form that came without our cookie.
func (v *visit) browser() string {
	if v.named == "" && !v.nobody {
		v.named, _ = v.s.sessions.BrowserOf(v.r)
	}
	return v.named
}

func (v *visit) seal(use string, at attempt) string {
	return v.sealAs(newID(), use, at)
}

func (v *visit) sealAs(id, use string, at attempt) string {
	at.ID, at.Browser, at.Until = id, v.browser(), v.s.now().Add(attemptLife)
	plain, err := json.Marshal(at)
	if err != nil {
		panic("authserver: attempt cannot be encoded: " + err.Error()) // our own type only
	}
	return base64.RawURLEncoding.EncodeToString(v.s.vault.Seal("attempt/"+use, plain))
}

// open reads the attempt of a request. With errLate it is returned all the
// same: it is authentic, and can be begun again.
func (v *visit) open(use string) (attempt, string, error) {
	return v.unseal(use, v.field("attempt"))
}

func (v *visit) unseal(use, token string) (attempt, string, error) {
	var at attempt
	sealed, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || token == "" {
		return at, "", errNoAttempt
	}
	plain, err := v.s.vault.Open("attempt/"+use, sealed)
	if err != nil {
		return at, "", errNoAttempt
	}
	if err := json.Unmarshal(plain, &at); err != nil {
		return attempt{}, "", errNoAttempt
	}
	if at.Browser == "" || at.Browser != v.browser() {
		return attempt{}, "", errOtherBrowser
	}
	if !v.s.now().Before(at.Until) {
		return at, "", errLate
	}
	return at, token, nil
}

// examine checks the request that the visit is about.
func (v *visit) examine(at attempt) (*asking, error) {
	if at.Device != "" {
		return v.s.examineDevice(v.asRequester(), v.st, at.Device, at.UserCode)
	}
	if at.Pushed != "" && !v.s.now().Before(at.PushedUntil) {
		return nil, errPushedOver
	}
	a, err := v.s.examine(v.readingClient(at.Request.ClientID), v.st, *at.Request)
	if a != nil {
		a.pushed, a.pushedUntil = at.Pushed, at.PushedUntil
	}
	return a, err
}

// cookieCame reports whether the browser brought the cookie that tells it apart.
func (v *visit) cookieCame() bool {
	return v.s.sessions.KnowsBrowser(v.r)
}

// field reads a value of the form, else of the query.
func (v *visit) field(name string) string {
	if err := v.r.ParseForm(); err != nil {
		return ""
	}
	return v.r.Form.Get(name)
}

// answerLost answers an attempt that could not be opened. One that is only
// too old begins again.
func (v *visit) answerLost(at attempt, err error) {
	switch {
	case errors.Is(err, errLate) && (at.Entering || at.Device != "" || at.Done != ""):
		v.see(v.st.path + "/device?user_code=" + at.UserCode)
	case errors.Is(err, errLate) && at.Pushed != "":
		v.turnDown(nil, errPushedOver)
	case errors.Is(err, errLate) && at.Request != nil:
		v.see(v.st.path + "/authorize?" + queryOf(*at.Request).Encode())
	case errors.Is(err, errLate):
		v.goOn(attempt{Account: at.Account})
	case errors.Is(err, errOtherBrowser) && !v.cookieCame():
		v.fail(http.StatusForbidden, failure{
			Title:    "This browser sent no cookie",
			Happened: "Signing in needs a cookie of " + v.r.Host + ", and this browser sent none: it does not keep cookies here, or the sign-in was begun in another browser.",
			Do:       "Allow cookies for this site, go back to the application and begin again there.",
			Who:      "you",
		}, err)
	case errors.Is(err, errOtherBrowser):
		v.fail(http.StatusForbidden, failure{
			Title:    "This page belongs to another browser",
			Happened: "The sign-in was begun in another browser, or in a private window.",
			Do:       "Go back to that browser, or begin again here from the application.",
			Who:      "you",
		}, err)
	default:
		v.fail(http.StatusBadRequest, failure{
			Title:    "There is nothing to go on with",
			Happened: "The address of this page is incomplete or was changed on the way.",
			Do:       "Go back to the application and begin again there.",
			Who:      "you",
		}, err)
	}
}

// sameSite reports whether a form was sent by a page of this issuer, as far as
// the browser says; the sealed attempt in the form is what proves it. Our own
// pages send no referrer, and browsers that do not send Sec-Fetch-Site then
// call their origin null.
func (v *visit) sameSite() bool {
	if v.r.Header.Get("Sec-Fetch-Site") == "" && v.r.Header.Get("Origin") == "null" {
		return true
	}
	protection := http.NewCrossOriginProtection()
	if err := protection.AddTrustedOrigin(origin(v.st.cfg.URL)); err != nil {
		return false
	}
	return protection.Check(v.r) == nil
}

func (v *visit) failOtherSite() {
	v.fail(http.StatusForbidden, failure{
		Title:    "Another site sent this form",
		Happened: "The form did not come from a page of " + v.st.name + ", so nothing was done.",
		Do:       "Close this page. If you wanted to sign in, begin again in the application.",
		Who:      "you",
	}, errCrossOrigin)
}

// queryOf writes a request as the query that it came in.
func queryOf(req oauth.AuthorizationRequest) url.Values {
	q := url.Values{}
	for _, p := range [][2]string{
		{"response_type", req.ResponseType}, {"response_mode", req.ResponseMode}, {"client_id", req.ClientID},
		{"redirect_uri", req.RedirectURI}, {"state", req.State}, {"scope", req.Scope.String()},
		{"code_challenge", req.CodeChallenge}, {"code_challenge_method", req.CodeChallengeMethod},
		{"nonce", req.Nonce}, {"prompt", req.Prompt}, {"max_age", req.MaxAge},
		{"login_hint", req.LoginHint}, {"acr_values", req.ACRValues},
		{"authorization_details", req.Details},
		{"dpop_jkt", req.DPoPKey},
	} {
		if p[1] != "" {
			q.Set(p[0], p[1])
		}
	}
	for _, r := range req.Resources {
		q.Add("resource", r)
	}
	return q
}

// hasPrompt reports whether the prompt parameter holds the value (OpenID
// Connect Core section 3.1.2.1).
func hasPrompt(req oauth.AuthorizationRequest, value string) bool {
	for p := range strings.FieldsSeq(req.Prompt) {
		if p == value {
			return true
		}
	}
	return false
}

// asRequester is the context of what the request causes at other servers.
func (v *visit) asRequester() context.Context {
	return context.WithValue(v.r.Context(), requesterKey{}, v.r.RemoteAddr)
}

// readingClient is asRequester of reading a client: only one that describes
// itself elsewhere causes anything there.
func (v *visit) readingClient(id string) context.Context {
	if !oauth.IsClientURL(id) {
		return v.r.Context()
	}
	return v.asRequester()
}
