package authserver

import (
	"context"
	"net/http"

	"doorward/internal/audit"
)

// logoutPage asks whether to sign out (GET) and does it (POST). A client that
// sends people here (OpenID Connect RP-Initiated Logout) gets no say: neither
// its id_token_hint ends a session without the person, nor does its
// post_logout_redirect_uri take them anywhere.
func (s *Server) logoutPage(w http.ResponseWriter, r *http.Request) {
	v := s.visit(w, r)
	if r.Method == http.MethodPost && v.sameSite() {
		if _, _, err := v.open(forLogout); err == nil {
			v.signOut()
			return
		}
	}
	if r.Method == http.MethodPost { // not by our form: ask
		v.see(v.st.path + "/logout")
		return
	}
	if v.session == nil {
		v.showSignedOut(nil)
		return
	}
	v.show(http.StatusOK, "logout.html", logoutView{frame: v.frame("Sign out"), Person: v.session.Subject.ID, Action: v.st.path + "/logout",
		Token: v.seal(forLogout, attempt{}), Account: v.st.path + "/account"}, "")
}

// logoutView is what the page shows: with a Person it asks, without one they
// are signed out, and Frames tell the clients so.
type logoutView struct {
	frame
	Person, Action, Token, Login, Account string
	Frames                                []string
}

func (v *visit) showSignedOut(frames []string) {
	v.frames = frames
	v.show(http.StatusOK, "logout.html", logoutView{frame: v.frame("You are signed out"), Login: v.st.path + "/login", Frames: frames}, "")
}

// signOut ends the session of the browser. The clients that want to hear of it
// in this browser are on the page that answers; without any the browser is sent
// to a page that it can load again.
func (v *visit) signOut() {
	parties, err := v.parties()
	if err == nil { // also for somebody who is on their way out
		err = v.s.sessions.End(context.WithoutCancel(v.r.Context()), v.w, v.r)
	}
	if err != nil {
		v.turnDown(nil, err)
		return
	}
	if v.session != nil {
		v.s.audit.Add(v.s.event("sign_out", audit.Event{Person: v.session.Subject.ID, Address: address(v.r)}))
	}
	if frames := v.logoutFrames(parties); len(frames) > 0 {
		v.showSignedOut(frames)
		return
	}
	v.see(v.st.path + "/logout")
}
