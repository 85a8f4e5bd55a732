package authserver

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"doorward/internal/audit"
	"doorward/internal/ledger"
	"doorward/internal/limit"
	"doorward/internal/oauth"
)

// Codes typed a minute: by one person, and from one address, where many people
// may sit. Whoever guesses has signed in, and holds off only themselves.
const (
	typedByPerson  = 10
	typedByAddress = 100
)

// typedCodes counts the user codes that are typed.
type typedCodes struct{ person, address *limit.Limiter }

func newTypedCodes() typedCodes {
	a := func(n int) *limit.Limiter { return limit.New(limit.Rate{N: n, Per: time.Minute}, limit.Keys) }
	return typedCodes{a(typedByPerson), a(typedByAddress)}
}

// take counts one code, or says how long to wait.
func (t typedCodes) take(now time.Time, person, address string) time.Duration {
	if wait := t.person.Take(now, person); wait > 0 { // first: who waits uses up nothing of the others
		return wait
	}
	return t.address.Take(now, limit.Network(address))
}

// How a visit of the device page ended.
const (
	doneYes = "yes"
	doneNo  = "no"
)

// deviceView is what the page for the code of a device shows.
type deviceView struct {
	frame
	Action, Token string
	Code          string // as typed
	Problem       string
	Person        string
	Switch        string // link to sign in as somebody else
}

// devicePage is the verification URI (RFC 8628 section 3.3). A person signs in,
// types the code that their device shows, and goes on to the consent page. A
// code in the link stands in the form and must be confirmed all the same.
func (s *Server) devicePage(w http.ResponseWriter, r *http.Request) {
	v := s.visit(w, r)
	typed := readUserCode(v.field("user_code"))
	if r.Method != http.MethodPost {
		v.showDevice(typed)
		return
	}
	if !v.sameSite() {
		v.failOtherSite()
		return
	}
	at, _, err := v.open(forDevice)
	switch {
	case err != nil:
		v.answerLost(at, err)
	case v.session == nil: // it ended meanwhile
		v.signInForDevice(typed)
	default:
		v.takeCode(typed)
	}
}

// showDevice shows the form, or how it ended.
func (v *visit) showDevice(typed string) {
	if token := v.field("attempt"); token != "" {
		at, _, err := v.open(forDevice)
		if err != nil {
			v.answerLost(at, err)
			return
		}
		if at.Done != "" {
			v.showDone(at.Done)
			return
		}
	}
	if v.session == nil {
		v.signInForDevice(typed)
		return
	}
	v.askForCode(http.StatusOK, typed, "")
}

func (v *visit) signInForDevice(typed string) {
	v.see(v.st.path + "/login?attempt=" + v.seal(forLogin, attempt{Entering: true, UserCode: typed}))
}

func (v *visit) askForCode(status int, code, problem string) {
	if len(code) == userLength {
		code = code[:userLength/2] + "-" + code[userLength/2:]
	}
	v.show(status, "device.html", deviceView{frame: v.frame("Connect a device"), Action: v.st.path + "/device", Token: v.seal(forDevice, attempt{Entering: true}),
		Code: code, Problem: problem, Person: v.session.Subject.ID,
		Switch: v.st.path + "/login?attempt=" + v.seal(forLogin, attempt{Entering: true, UserCode: readUserCode(code), Switch: true})}, "")
}

// takeCode goes on with the request behind a code.
func (v *visit) takeCode(typed string) {
	ctx, now := v.r.Context(), v.s.now()
	if wait := v.s.typed.take(now, v.session.Subject.ID, v.r.RemoteAddr); wait > 0 {
		seconds := int(wait.Seconds()) + 1
		v.w.Header().Set("Retry-After", strconv.Itoa(seconds))
		v.askForCode(http.StatusTooManyRequests, typed, fmt.Sprintf("Too many codes. Wait %d s, then try again. Reference: %s", seconds, v.keepCode("too_many_codes")))
		return
	}
	if typed != "" {
		rec, err := v.s.ledger.Store.Get(ctx, ledger.KindUserCode, v.s.userCodeKey(typed))
		if err != nil && !notFound(err) {
			v.turnDown(nil, err)
			return
		}
		if err == nil {
			d, _, ok, err := v.s.device(ctx, string(rec.Value))
			if err != nil {
				v.turnDown(nil, err)
				return
			}
			if ok {
				req := oauth.AuthorizationRequest{ClientID: d.Client}
				v.goOn(attempt{Request: &req, Device: string(rec.Value), UserCode: typed})
				return
			}
		}
	}
	v.askForCode(http.StatusBadRequest, typed, "This code is not right, or it is too old. Compare it with what your device shows; a device that waited longer than "+
		inMinutes(deviceLife)+" shows a new one if you begin again there. Reference: "+v.keepCode("user_code"))
}

// keepCode keeps the refusal of a code. What was typed is not written down.
func (v *visit) keepCode(reason string) string {
	return v.s.attempts.Keep(v.s.event("page.refuse", audit.Event{Outcome: "refused", Reason: reason, Person: v.session.Subject.ID,
		Address: address(v.r)}), false)
}

// doneView is the end of a visit.
type doneView struct {
	frame
	Heading, Text string
	Account       string // link to what the person gave; "": nothing was
}

func (v *visit) showDone(done string) {
	view := doneView{Heading: "Your device is connected", Text: "It goes on by itself in a few seconds. You can close this page.", Account: v.st.path + "/account"}
	if done != doneYes {
		view = doneView{Heading: "Nothing was allowed", Text: "Your device learns that you said no. You can close this page."}
	}
	view.frame = v.frame(view.Heading)
	v.show(http.StatusOK, "done.html", view, "")
}

func inMinutes(d time.Duration) string { return fmt.Sprintf("%d minutes", int(d.Minutes())) }
