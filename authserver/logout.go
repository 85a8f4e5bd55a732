package authserver

import (
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
	view := struct {
		frame
		Person, Action, Token, Login, Account string
	}{frame: v.frame("Sign out"), Action: v.st.path + "/logout", Token: v.seal(forLogout, attempt{}), Login: v.st.path + "/login",
		Account: v.st.path + "/account"}
	if v.session != nil {
		view.Person = v.session.Subject.ID
	} else {
		view.frame = v.frame("You are signed out")
	}
	v.show(http.StatusOK, "logout.html", view, "")
}

func (v *visit) signOut() {
	if err := v.s.sessions.End(v.r.Context(), v.w, v.r); err != nil {
		v.turnDown(nil, err)
		return
	}
	if v.session != nil {
		v.s.audit.Add(v.s.event("sign_out", audit.Event{Person: v.session.Subject.ID, Address: address(v.r)}))
	}
	v.see(v.st.path + "/logout")
}
