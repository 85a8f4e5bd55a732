package authserver

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"doorward/internal/jose"
	"doorward/internal/ledger"
	"doorward/internal/saml"
	"doorward/store"
)

// A sign-in by SAML is three requests of the browser. sendToSAML takes it there;
// the attempt stays behind in a cookie, sealed, since RelayState has 80 bytes.
// The response comes as a form of another site, with which browsers send no
// cookies: acceptResponse checks it, keeps what it says and sends the browser
// on to the same address, where finishSAML has the cookies and puts the two
// together.

// maxSAMLState bounds the cookie with the attempt: browsers keep 4096 bytes.
const maxSAMLState = 3800

// arrivalLife is how long a browser may take from the form to the next page.
const arrivalLife = 2 * time.Minute

// arrival is what a checked response said. Its key in the store is the SHA-256
// of its name.
type arrival struct {
	Provider string      `json:"provider"`
	Attempt  string      `json:"attempt"` // that the response answers
	Claims   jose.Claims `json:"claims"`
	Ends     time.Time   `json:"ends,omitzero"`
}

// samlRequestID is the ID of the request of an attempt; nobody else can compute it.
func (s *Server) samlRequestID(attempt string) string { return "_" + s.drawn("saml-request", attempt) }

func (v *visit) sendToSAML(p *provider, at attempt, a *asking) {
	idp, err := p.saml.describe(v.r.Context(), v.s.now())
	if err != nil {
		v.providerDown(p, at, err)
		return
	}
	at.Provider = p.Name
	q := url.Values{}
	v.wishes(q, &at, a, providerMetadata{})
	at.Fresh = at.Fresh || q.Has("max_age") // SAML has no age to ask for: somebody signs in anew, or need not
	id := newID()
	state := v.sealAs(id, forReturn, at)
	if len(state) > maxSAMLState {
		v.tooLong(p)
		return
	}
	to, err := saml.Request{ID: v.s.samlRequestID(id), From: v.st.entityID(p), ACS: v.st.callbackURL(p), Format: p.saml.format(idp),
		Fresh: at.Fresh, ACR: q.Get("acr_values"), Issued: v.s.now()}.URL(idp, id)
	if err != nil {
		v.signInFailed(err)
		return
	}
	v.samlCookie(p, state, int(attemptLife/time.Second))
	v.see(to)
}

// format is what the NameID shall be: one that stays the same, if the provider
// says that it makes those and the NameID names the account.
func (p *samlProvider) format(idp saml.IdentityProvider) string {
	if len(p.Account) > 0 && !(len(p.Account) == 1 && p.Account[0] == "sub") {
		return ""
	}
	for _, f := range idp.Formats {
		if f == saml.FormatPersistent {
			return f
		}
	}
	return ""
}

// samlCookieName keeps providers and issuers on one host apart.
func (v *visit) samlCookieName(p *provider) string {
	sum := sha256.Sum256([]byte(v.st.entityID(p)))
	name := "dw-saml-" + hex.EncodeToString(sum[:4])
	if !v.st.plain {
		name = "__Host-" + name
	}
	return name
}

// samlCookie keeps the attempt in the browser; a negative age takes it away.
func (v *visit) samlCookie(p *provider, value string, age int) {
	http.SetCookie(v.w, &http.Cookie{Name: v.samlCookieName(p), Value: value, Path: "/", MaxAge: age,
		Secure: !v.st.plain, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

// samlCallback takes back a browser that a provider sent.
func (s *Server) samlCallback(w http.ResponseWriter, r *http.Request) {
	v := s.visit(w, r)
	p := v.st.provider(strings.TrimPrefix(r.URL.Path, v.st.path+"/callback/"))
	switch {
	case p == nil || p.saml == nil:
		v.answerLost(attempt{}, errNoAttempt)
	case r.Method == http.MethodPost && v.crowded(): // anybody may send documents that cost a signature check
	case r.Method == http.MethodPost:
		v.acceptResponse(p)
	default:
		v.finishSAML(p)
	}
}

// errUnasked: a response that no request of ours led to.
var errUnasked = errors.New("the response answers no sign-in that was begun here (sign-ins begin here, not at the provider)")

// acceptResponse checks a response (bindings section 3.5.4). Nobody is signed
// in by it yet: whose browser it is, the next request tells.
func (v *visit) acceptResponse(p *provider) {
	v.named, v.nobody = "", true // a form of another site proves nothing by a cookie, should one come
	form, err := v.samlForm()
	if err != nil {
		v.providerWrong(p, attempt{}, err)
		return
	}
	ctx := v.r.Context()
	idp, err := p.saml.describe(ctx, v.s.now())
	if err != nil {
		v.providerDown(p, attempt{}, err)
		return
	}
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(form.Get("SAMLResponse")), ""))
	if err != nil {
		v.providerWrong(p, attempt{}, errors.New("SAMLResponse is not base64"))
		return
	}
	id := form.Get("RelayState")
	said, err := saml.CheckResponse(raw, saml.Expected{From: idp, Audience: v.st.entityID(p), Recipients: []string{v.st.callbackURL(p)},
		InResponseTo: v.s.samlRequestID(id), Now: v.s.now()})
	if err != nil {
		v.responseRefused(p, err)
		return
	}
	claims, err := p.saml.claims(said)
	if err != nil {
		v.signInFailed(err)
		return
	}
	value, err := json.Marshal(arrival{p.Name, id, claims, said.SessionEnds})
	if err != nil {
		v.signInFailed(err)
		return
	}
	name := randomText(32)
	// The assertion is good once, in whichever process it comes again.
	err = v.s.ledger.Store.Commit(ctx, store.Once(assertionOnce(said), said.Until),
		store.Create(store.Record{Kind: ledger.KindArrival, Key: codeKey(name), Value: value, Expires: v.s.now().Add(arrivalLife)}))
	if err != nil {
		v.providerFailed(p, attempt{}, err)
		return
	}
	v.see(v.st.path + "/callback/" + p.Name + "?response=" + name)
}

// assertionOnce is the name under which an assertion is used once.
func assertionOnce(a saml.Assertion) string {
	sum := sha256.Sum256([]byte(a.Issuer + "\x00" + a.ID))
	return "saml/" + hex.EncodeToString(sum[:])
}

func (v *visit) samlForm() (url.Values, error) {
	if err := v.r.ParseForm(); err != nil {
		return nil, errors.New("the form cannot be read")
	}
	form := v.r.PostForm
	switch {
	case len(form["SAMLResponse"]) != 1:
		return nil, errors.New("the form must have one SAMLResponse")
	case len(form["RelayState"]) != 1 || form.Get("RelayState") == "" || len(form.Get("RelayState")) > 80:
		return nil, errUnasked
	}
	return form, nil
}

// responseRefused tells an error of the provider from one of its answer.
func (v *visit) responseRefused(p *provider, err error) {
	var r *saml.Refusal
	if errors.As(err, &r) && r.Rule == "status" {
		v.failAtProvider(p, attempt{}, http.StatusForbidden, failure{Title: "You were not signed in",
			Happened: isolated(p.Title) + " did not let you in, or you stopped there.",
			Do:       "Go back to the application and try again, or ask whoever runs " + isolated(p.Title) + " whether it is meant for you.",
			Who:      "you, else whoever runs " + isolated(p.Title)}, "provider_denied", err)
		return
	}
	v.providerWrong(p, attempt{}, err)
}

// finishSAML puts what the response said to the attempt of this browser.
func (v *visit) finishSAML(p *provider) {
	cookie, err := v.r.Cookie(v.samlCookieName(p))
	if err != nil {
		v.answerLost(attempt{}, errNoAttempt)
		return
	}
	at, ok := v.backFrom(p, cookie.Value)
	if !ok {
		return
	}
	q, err := onceEach(v.r.URL.RawQuery)
	if err != nil {
		v.answerLost(attempt{}, errors.Join(errNoAttempt, err))
		return
	}
	key := codeKey(q.Get("response"))
	rec, err := v.s.ledger.Store.Get(v.r.Context(), ledger.KindArrival, key)
	if err == nil && !v.s.now().Before(rec.Expires) || notFound(err) {
		v.answerLost(attempt{}, errNoAttempt)
		return
	}
	var came arrival
	if err == nil {
		err = json.Unmarshal(rec.Value, &came)
	}
	if err == nil && (came.Provider != p.Name || came.Attempt != at.ID) {
		err = errUnasked
	}
	if err != nil {
		v.providerFailed(p, at, err)
		return
	}
	v.ends = came.Ends
	v.takeIn(p, at, came.Claims, providerTokens{})
}
