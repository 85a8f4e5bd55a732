package authserver

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"doorward/internal/jsonobj"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// consentLife is how long a consent is remembered without being given again.
const consentLife = 180 * 24 * time.Hour

// consentPage asks the person (GET) and takes their answer (POST).
func (s *Server) consentPage(w http.ResponseWriter, r *http.Request) {
	v := s.visit(w, r)
	if r.Method == http.MethodPost && !v.sameSite() {
		v.failOtherSite()
		return
	}
	at, token, err := v.open(forConsent)
	if err != nil || at.Request == nil {
		v.answerLost(at, errors.Join(err, missingRequest(at)))
		return
	}
	a, err := v.examine(at)
	if err != nil {
		v.turnDown(a, err)
		return
	}
	next, err := v.next(a, at)
	switch {
	case err != nil:
		v.turnDown(a, err)
	case next == toSignIn || at.Person != v.person() || at.Described != described(*a.client):
		// Nobody, or somebody else, is signed in since the page was shown, or
		// the client says something else of itself (AS-CIMD-16).
		v.goOn(at)
	case r.Method == http.MethodPost:
		v.decide(a, at)
	case next == toClient: // said yes in another tab meanwhile
		v.bring(a, at)
	default:
		v.askConsent(a, at, token)
	}
}

func missingRequest(at attempt) error {
	if at.Request == nil {
		return errNoAttempt
	}
	return nil
}

// decide takes the answer: yes is good once, and everything else is no.
func (v *visit) decide(a *asking, at attempt) {
	if v.field("decision") != "yes" {
		v.turnDownByPerson(a)
		return
	}
	if v.st.proxied != nil {
		v.agree(a, at)
		return
	}
	if a.device != nil {
		v.approveDevice(a, store.Once("consent/"+at.ID, at.Until.Add(afterwards)))
		return
	}
	remembered, err := v.s.consents(v.r.Context(), v.session.Subject.ID, a.client, a.resource)
	if err != nil {
		v.turnDown(a, err)
		return
	}
	v.approve(a,
		store.Once("consent/"+at.ID, at.Until.Add(afterwards)),
		v.s.consentOp(v.session.Subject.ID, a, remembered.Union(a.scopes)))
}

func (v *visit) turnDownByPerson(a *asking) {
	if a.device != nil {
		v.refuseDevice(a)
		return
	}
	e := &oauth.Error{Code: oauth.AccessDenied, Reason: "person_refused", Description: "the person refused"}
	v.see(v.errorURL(a, v.referred(e, v.keepTurnedDown(a, e, nil))))
}

// mustConsent reports whether the person has to be asked. An identity provider
// does not ask for its administrator's own clients that only want to know who
// signs in.
func (v *visit) mustConsent(a *asking) (bool, error) {
	// RFC 8628 section 5.4; and details are not remembered.
	if hasPrompt(a.AuthorizationRequest, "consent") || a.device != nil || len(a.details) > 0 {
		return true, nil
	}
	signInOnly := oauth.Scopes{"openid", "profile", "email", "offline_access"}
	if v.st.idp && a.client.Source == ledger.FromFile && signInOnly.HasAll(a.scopes) {
		return false, nil
	}
	if !proven(a) {
		return true, nil
	}
	if v.st.forAll(*a.client) {
		return false, nil
	}
	given, err := v.s.consents(v.r.Context(), v.session.Subject.ID, a.client, a.resource)
	a.remembered = err == nil && given.HasAll(a.scopes) && len(given) > 0
	return !a.remembered, err
}

// proven reports whether an earlier consent speaks for this client: somebody
// else could come with the name of a public client, unless the answer can only
// arrive at the https host that it registered (RFC 8252 section 8.6).
func proven(a *asking) bool {
	if claimed(a.redirect) {
		return true
	}
	return !a.client.Public() && a.client.Source != ledger.FromDynamic && a.client.Source != ledger.FromDocument
}

// consents is what the person has let the client do there, as far as it is
// remembered. They are not to be written to.
func (s *Server) consents(ctx context.Context, person string, c *ledger.Client, res *resource) (oauth.Scopes, error) {
	scopes, _, err := s.heldConsents(ctx, person, c, res)
	return scopes, err
}

// heldConsents is consents, with the op that lets a commit through only as long as
// they are as they were read.
func (s *Server) heldConsents(ctx context.Context, person string, c *ledger.Client, res *resource) (oauth.Scopes, store.Op, error) {
	key := consentKey(person, c.ID, res.ID)
	rec, err := s.ledger.Store.Get(ctx, ledger.KindConsent, key)
	if err != nil && !notFound(err) {
		return nil, store.Op{}, err
	}
	same := store.Same(ledger.KindConsent, key, rec.Version) // 0: there are none
	if err != nil {
		return nil, same, nil
	}
	given, err := ledger.Parse[consentRecord](s.ledger, rec)
	if err != nil {
		return nil, same, fmt.Errorf("consent of %s cannot be read: %w", person, err)
	}
	if given.Described != described(*c) { // AS-CIMD-16
		return nil, same, nil
	}
	return given.Scopes, same, nil
}

type consentRecord struct {
	Person   string       `json:"person"`
	Client   string       `json:"client"`
	Resource string       `json:"resource"`
	Scopes   oauth.Scopes `json:"scopes"`
	Given    time.Time    `json:"given"`
	// Described is what the client's metadata document said then; "": it has none.
	Described string `json:"described,omitempty"`
}

func (s *Server) consentOp(person string, a *asking, scopes oauth.Scopes) store.Op {
	now := s.now()
	value, err := json.Marshal(consentRecord{person, a.client.ID, a.resource.ID, scopes, now, described(*a.client)})
	if err != nil {
		panic("authserver: consent cannot be encoded: " + err.Error()) // our own type only
	}
	return store.Put(store.Record{Kind: ledger.KindConsent, Key: consentKey(person, a.client.ID, a.resource.ID), Value: value,
		Index: []string{"person=" + person, "client=" + a.client.ID, "resource=" + a.resource.ID}, Expires: now.Add(consentLife)})
}

func consentKey(person, client, resource string) string {
	var room [256]byte
	sum := sha256.Sum256(jsonobj.AppendTexts(room[:0], person, client, resource))
	return textOf(sum[:])
}

// consentView is what the consent page shows.
type consentView struct {
	frame
	Action, Token string
	Client        string
	Warnings      []string
	Person        string // "": nobody is signed in yet (mode proxy)
	Elsewhere     string // where the browser goes next to sign in (mode proxy); "": nowhere
	Server        string // name of the MCP server
	ServerID      string // its resource identifier
	Scopes        []string
	Host          string // where the answer goes
	Document      string // host of the client's metadata document; "": it has none
	Code          string // that the device shows which asks; "": a browser brought the request
	Lasts         string // how long the access lasts; "": as long as one access token
	Switch        string // link to sign in as somebody else; "": there is none
}

func (v *visit) askConsent(a *asking, at attempt, token string) {
	again := at
	again.SignedIn, again.Person, again.Switch = "", "", true
	view := consentView{
		frame: v.frame("Allow " + isolated(displayName(a)) + "?"), Action: v.st.path + "/consent", Token: token,
		Client: displayName(a), Warnings: v.st.warnings(a), Person: v.person(),
		Server: resourceName(a.resource), ServerID: a.resource.ID, Host: hostOf(a.redirect), Document: documentHost(a.client.ID),
		Switch: v.st.path + "/login?attempt=" + v.seal(forLogin, again),
	}
	if p := v.st.proxied; p != nil {
		view.Elsewhere, view.Switch, v.leaves = p.Title, "", true // nothing leads there before the answer
	}
	if a.device != nil {
		code := a.device.userCode
		view.Code = code[:userLength/2] + "-" + code[userLength/2:]
	}
	for _, scope := range a.scopes {
		words := a.resource.Scopes[scope]
		if words == "" {
			words = scope
		}
		view.Scopes = append(view.Scopes, words)
	}
	view.Scopes = append(view.Scopes, v.st.words(a.details)...)
	if slices.Contains(a.client.GrantTypes, oauth.RefreshToken) {
		view.Lasts = fmt.Sprintf("at most %s, as long as it is in use, or until you or an administrator end it", inDays(v.st.tokens.RefreshMax))
	}
	v.show(http.StatusOK, "consent.html", view, a.redirect)
}

// warnings say what this issuer does not know about the client (AS-UI-01).
func (st *settings) warnings(a *asking) []string {
	var out []string
	switch {
	case a.client.Source == ledger.FromDocument && (a.client.Known == "" || a.device != nil || oauth.IsLoopbackRedirect(a.redirect)):
		out = append(out, "Not verified: the application describes itself, at "+documentHost(a.client.ID)+". "+st.name+" does not know who made it.")
	case a.client.Source != ledger.FromDynamic:
	case a.client.Known != "" && a.device == nil && !oauth.IsLoopbackRedirect(a.redirect):
	default:
		out = append(out, "Not verified: the application chose this name itself. "+st.name+" does not know who made it.")
	}
	if a.device != nil {
		return append(out, "The access goes to the device or program that shows this code. Allow it only if you have it in front of you and began this yourself.")
	}
	if a.client.Known == "" && (a.client.Source == ledger.FromDynamic || a.client.Source == ledger.FromDocument) {
		out = append(out, oddName(displayName(a), hostOf(a.redirect))...)
	}
	if len(a.client.RedirectURIs) > 0 && !slices.ContainsFunc(a.client.RedirectURIs, func(u string) bool { return !oauth.IsLoopbackRedirect(u) }) {
		out = append(out, "The access goes to a program on this computer, and any program on it can pretend to be this one. Allow it only if you have just started it yourself.")
	}
	return out
}

// displayName is what people are told the client is called: a known client,
// if its callback proves that it is one, by its name in the catalogue.
func displayName(a *asking) string {
	if k, ok := knownClient(a.client.Known); ok && a.device == nil && !oauth.IsLoopbackRedirect(a.redirect) {
		return k.Title
	}
	if name := cleanName(a.client.Name); name != "" {
		return name
	}
	if a.device != nil {
		return a.client.ID
	}
	return hostOf(a.redirect)
}

// isolated keeps a name of the other writing direction from reordering the
// sentence that it stands in (what <bdi> does where there is markup).
func isolated(name string) string { return "\u2068" + name + "\u2069" }

func resourceName(res *resource) string {
	if res.Name != "" {
		return res.Name
	}
	return res.ID
}

func inDays(d time.Duration) string {
	if d < 48*time.Hour {
		return fmt.Sprintf("%d hours", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}
