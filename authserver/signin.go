package authserver

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"doorward/internal/audit"
	"doorward/internal/ledger"
	"doorward/internal/oauth"
	"doorward/store"
)

// Person is somebody who signed in.
type Person struct {
	// ID is the account: NAME for a local person, PROVIDER/ACCOUNT otherwise.
	ID       string
	Provider string // "" for local people
	Account  string // what the provider calls the person
	Name     string
	Email    string
	Groups   []string
	AuthTime time.Time // when they proved who they are; zero: now
	ACR      string
	AMR      []string
}

// Attempt is one sign-in that a page asks for.
type Attempt struct {
	// Token must come back in the field or query parameter "attempt" of every
	// request that goes on with this sign-in.
	Token string
	// Action is the path to post forms to.
	Action string
	// Hint is the login_hint of the client, shown as typed.
	Hint string
	// Client is the name of the client that asks; "" if the person came by
	// themselves.
	Client string
}

// SignIn brings back a person, or writes a page (or a redirect) and returns
// nil, nil: then it is called again with the next request of the attempt. An
// error becomes an error page.
type SignIn interface {
	SignIn(w http.ResponseWriter, r *http.Request, a Attempt) (*Person, error)
}

// LocalPerson is a person with a password.
type LocalPerson struct {
	Email    string
	Groups   []string
	Password string // plain text or an argon2id hash in PHC form
}

// loginPage brings back a person by Config.SignIn and goes on with what they
// came for.
func (s *Server) loginPage(w http.ResponseWriter, r *http.Request) {
	v := s.visit(w, r)
	if v.st.cfg.SignIn == nil && v.st.proxied == nil {
		v.fail(http.StatusNotFound, failure{Title: "Nobody signs in here",
			Happened: v.st.name + " is set up without people: programs only.",
			Do:       "If people should sign in here, an administrator has to say by which provider.", Who: "an administrator of " + v.st.name,
		}, errNoSignIn)
		return
	}
	if r.Method == http.MethodPost && !v.sameSite() {
		v.failOtherSite()
		return
	}
	if v.field("attempt") == "" && r.Method != http.MethodPost {
		v.welcome()
		return
	}
	at, token, err := v.open(forLogin)
	if err != nil {
		v.answerLost(at, err)
		return
	}
	ask := Attempt{Token: token, Action: v.st.path + "/login"}
	redirect := ""
	var a *asking
	if at.Request != nil {
		if a, err = v.examine(at); err != nil {
			v.turnDown(a, err)
			return
		}
		ask.Hint, ask.Client, redirect = a.LoginHint, displayName(a), a.redirect
	}
	if to := v.chosen(); to != nil {
		v.sendTo(to, at, a)
		return
	}
	if v.st.page == nil {
		v.showProviders(ask)
		return
	}
	p, err := v.st.page.SignIn(w, r.WithContext(context.WithValue(r.Context(), localPage{}, &localVisit{v, redirect})), ask)
	switch {
	case err != nil:
		v.signInFailed(err)
	case p != nil:
		v.signedIn(p, at)
	}
}

// welcome answers somebody who came by themselves.
func (v *visit) welcome() {
	if v.session == nil && v.unread != nil {
		v.signInFailed(v.unread)
		return
	}
	if v.session == nil {
		v.see(v.st.path + "/login?attempt=" + v.seal(forLogin, attempt{}))
		return
	}
	v.show(http.StatusOK, "welcome.html", struct {
		frame
		Person, Account, Logout, Switch string
	}{v.frame("You are signed in"), v.session.Subject.ID, v.st.path + "/account", v.st.path + "/logout",
		v.st.path + "/login?attempt=" + v.seal(forLogin, attempt{Switch: true})}, "")
}

// signedIn starts the session of a person who proved who they are.
func (v *visit) signedIn(p *Person, at attempt) {
	subject := oauth.Subject{ID: p.ID, Provider: p.Provider, Account: p.Account, Name: p.Name, Email: p.Email,
		Groups: p.Groups, AuthTime: p.AuthTime, ACR: p.ACR, AMR: p.AMR}
	if subject.ID == "" || subject.IsClient() {
		v.signInFailed(errors.New("the sign-in brought back a person without a usable id"))
		return
	}
	if subject.AuthTime.IsZero() {
		subject.AuthTime = v.s.now()
	}
	v.startSession(subject, at, func(string) error { return nil })
}

// startSession starts the session of somebody, keeps what belongs to it, and
// goes on with what they came for.
func (v *visit) startSession(who oauth.Subject, at attempt, keep func(session string) error) {
	if err := v.s.arrive(v.r.Context(), who); err != nil {
		v.signInFailed(err)
		return
	}
	sess, err := v.s.sessions.StartUntil(v.r.Context(), v.w, v.r, who, v.ends)
	if err == nil {
		err = keep(sess.ID)
	}
	if err != nil {
		v.signInFailed(err)
		return
	}
	v.s.audit.Add(v.s.event("sign_in", audit.Event{Person: who.ID, Address: address(v.r), Detail: v.s.noteOverage(v.r.Context(), who)}))
	v.remember(who.Provider)
	v.session = &sess
	at.SignedIn = who.ID
	v.goOn(at)
}

// arrive keeps the account of a person who signed in as their provider
// describes them today. An account with a password of its own is the
// administrator's, and stays as it is.
func (s *Server) arrive(ctx context.Context, p oauth.Subject) error {
	for {
		acc, err := s.ledger.Account(ctx, p.ID)
		switch {
		case notFound(err):
			acc = ledger.Account{ID: p.ID, Provider: p.Provider, Account: p.Account, Created: s.now()}
		case err != nil:
			return err
		case acc.Here() != nil:
			return acc.Here()
		case acc.Password != "", acc.Name == p.Name && acc.Email == p.Email && slices.Equal(acc.Groups, p.Groups) && acc.GroupsUnknown == p.GroupsUnknown:
			return nil
		}
		acc.Name, acc.Email, acc.Groups, acc.GroupsUnknown = p.Name, p.Email, p.Groups, p.GroupsUnknown
		err = s.ledger.Store.Commit(ctx, acc.Put())
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

func (v *visit) signInFailed(err error) {
	if errors.Is(err, ledger.ErrLeft) {
		page := closedAccount(v.st)
		v.fail(page.status, page, err)
		return
	}
	page := failure{Title: "The sign-in did not work", Happened: "The sign-in could not be completed. The reason is in the log.",
		Do: "Try again in a minute. If it stays, tell an administrator the reference.", Who: "an administrator of " + v.st.name}
	status := http.StatusInternalServerError
	var e *oauth.Error
	if errors.As(err, &e) {
		page.Happened, status = e.Description, e.HTTPStatus()
	}
	v.fail(status, page, err)
}
